//! The agent dies at any moment: no traced process notices, and nothing stays behind.

use anyhow::{Context as _, Result};
use genspan_tests::kernel::Objects;
use genspan_tests::temp::Temp;
use genspan_tests::{Agent, Client, Process, Scene, memory, need, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rounds unless `GENSPAN_DEATH_ROUNDS` says otherwise.
const ROUNDS: u64 = 10;

#[test]
fn killed_under_load() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    let rounds = match std::env::var("GENSPAN_DEATH_ROUNDS") {
        Ok(text) => text.parse().context("GENSPAN_DEATH_ROUNDS")?,
        Err(_) => ROUNDS,
    };
    let mut command = scene.live(&python, "load.py");
    let mut load = Client::start(command.arg("4"), &scene.next_log())?;
    let mut attached = 0;
    for round in 0..rounds {
        let temp = Temp::new()?;
        let pid = load.pid().to_string();
        let mut agent = Agent::start(&temp, &[], &["--pid", &pid])?;
        if round % 2 == 0 {
            // In full work.
            agent.wait_attached(load.pid())?;
            std::thread::sleep(Duration::from_millis(round * 37 % 250));
            attached += 1;
            let held = Objects::of(agent.process.pid())?;
            assert!(held.programs.len() > 3 && held.maps.len() > 3, "{held:?}");
            // The check below is worth something only if it sees what is there.
            assert_eq!(held.still_there()?, held);
            let changed = memory::changed_code(load.pid())?;
            let bytes: Vec<u8> = changed.values().flatten().map(|(_, byte)| *byte).collect();
            assert!(
                bytes.len() >= 3 && bytes.iter().all(|b| *b == 0xcc),
                "{changed:x?}"
            );
        } else {
            // Anywhere on the way there.
            std::thread::sleep(Duration::from_millis(round * 29 % 400));
        }
        let held = Objects::of(agent.process.pid()).unwrap_or_default();
        agent.process.signal(Signal::SIGKILL)?;
        assert_eq!(agent.process.wait()?, 128 + 9);
        nothing_left(&held, load.pid()).with_context(|| format!("round {round}"))?;
        let counts = ask(&mut load)?;
        assert_eq!(
            (&counts["failed"], &counts["different"]),
            (&0.into(), &0.into()),
            "{counts}"
        );
    }
    let before = ask(&mut load)?["calls"].as_u64();
    std::thread::sleep(Duration::from_millis(300));
    let counts = ask(&mut load)?;
    assert!(
        counts["calls"].as_u64() > before,
        "it works no more: {counts}"
    );
    assert_eq!(
        (&counts["failed"], &counts["different"]),
        (&0.into(), &0.into()),
        "{counts}"
    );
    no_uprobe_events()?;
    println!("{rounds} rounds, {attached} of them attached: {counts}");
    Ok(())
}

fn ask(load: &mut Client) -> Result<Value> {
    load.0.tell("")?;
    load.answer()
}

/// Nothing of a dead agent's is in the kernel, and no breakpoint in the process.
fn nothing_left(held: &Objects, pid: u32) -> Result<()> {
    // The kernel frees programs and maps after a grace period.
    wait_for("the kernel to free the agent's objects", || {
        held.still_there().ok().filter(Objects::is_empty)
    })
    .with_context(|| format!("left: {:?}", held.still_there()))?;
    let changed = memory::changed_code(pid)?;
    anyhow::ensure!(changed.is_empty(), "breakpoints left: {changed:x?}");
    Ok(())
}

/// Where tracefs is mounted: no probe by name.
fn no_uprobe_events() -> Result<()> {
    let path = Path::new("/sys/kernel/tracing/uprobe_events");
    if path.exists() {
        let text = std::fs::read_to_string(path)?;
        anyhow::ensure!(text.trim().is_empty(), "{text}");
    }
    Ok(())
}

/// Also when it ends as it should.
#[test]
fn stopped_under_load() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    let mut command = scene.live(&python, "load.py");
    let mut load = Client::start(command.arg("4"), &scene.next_log())?;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let temp = Temp::new()?;
        let mut agent = Agent::attach(&temp, &[load.pid()], &[])?;
        agent.wait_for_spans(20)?;
        let held = Objects::of(agent.process.pid())?;
        agent.process.signal(signal)?;
        let finished = agent.wait()?;
        assert_eq!(finished.code, 0, "{}", finished.log);
        for span in &finished.spans {
            // Of the calls under way at the attach, the answer alone was seen.
            let midway = span.defects() == ["attached_midway"];
            assert_eq!(span.model(), if midway { "" } else { "load" }, "{span:?}");
        }
        nothing_left(&held, load.pid())?;
    }
    let counts = ask(&mut load)?;
    assert_eq!(
        (&counts["failed"], &counts["different"]),
        (&0.into(), &0.into()),
        "{counts}"
    );
    Ok(())
}

/// Where many are traced, their probes are still being removed when the agent is done with all else: it may not end
/// meanwhile, and ends soon. A thread that removes probes and is killed leaves breakpoints behind
/// (`agent/src/probe/removal.rs`), which the kernel logs.
#[test]
fn stopped_while_probes_are_removed() -> Result<()> {
    /// More of their probes than may wait to be removed.
    const PROCESSES: usize = 40;
    /// One by one it takes 23 seconds; together less than one.
    const MOST: Duration = Duration::from_secs(10);
    let (Some(()), Some(python)) = (need::root()?, need::any_python()?) else {
        return Ok(());
    };
    let processes = match std::env::var("GENSPAN_DEATH_PROCESSES") {
        Ok(text) => text.parse().context("GENSPAN_DEATH_PROCESSES")?,
        Err(_) => PROCESSES,
    };
    let temp = Temp::new()?;
    let idle = "import ssl, sys; print('ready', flush=True); sys.stdin.read()";
    let start = |_| {
        let mut command = std::process::Command::new(&python);
        Process::ready(command.args(["-c", idle]), &temp)
    };
    let idle: Vec<Process> = (0..processes).map(start).collect::<Result<_>>()?;
    let pids: Vec<u32> = idle.iter().map(Process::pid).collect();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut agent = Agent::attach(&temp, &pids, &[])?;
        let held = Objects::of(agent.process.pid())?;
        let log = log_from_now();
        agent.process.signal(signal)?;
        let begun = Instant::now();
        let mut threads = BTreeSet::new();
        while !agent.process.has_ended()? {
            threads.extend(threads_of(agent.process.pid()));
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = begun.elapsed();
        let finished = agent.wait()?;
        assert_eq!(finished.code, 0, "{}", finished.log);
        assert!(threads.len() > 8, "{threads:?}");
        println!(
            "{signal} to the end: {took:?}, {} threads were seen",
            threads.len()
        );
        for pid in &pids {
            nothing_left(&held, *pid)?;
        }
        let leaked = leaked_by(&threads, log);
        assert!(leaked.is_empty(), "{leaked:?}");
        assert!(took < MOST || processes > PROCESSES, "{took:?}");
    }
    Ok(())
}

/// The threads that a process has; none of one that is gone.
fn threads_of(pid: u32) -> BTreeSet<u32> {
    let folder = std::fs::read_dir(format!("/proc/{pid}/task"));
    let names = folder.into_iter().flatten().flatten();
    let numbers = names.map(|entry| entry.file_name().to_string_lossy().parse());
    numbers.filter_map(Result::ok).collect()
}

/// The kernel's log from here on; none where it cannot be read.
fn log_from_now() -> Option<File> {
    let mut options = File::options();
    let log = options.read(true).custom_flags(libc::O_NONBLOCK);
    let mut log = log.open("/dev/kmsg").ok()?;
    log.seek(SeekFrom::End(0)).ok()?;
    Some(log)
}

/// What the kernel's log says of probes that these threads left.
fn leaked_by(threads: &BTreeSet<u32>, log: Option<File>) -> Vec<String> {
    let Some(mut log) = log else {
        return Vec::new();
    };
    let mut left = Vec::new();
    let mut record = [0; 8192];
    // One record with each; `EPIPE` says that some were overwritten.
    loop {
        match log.read(&mut record) {
            Ok(length) if length > 0 => {
                let line = String::from_utf8_lossy(&record[..length]).into_owned();
                let thread = line
                    .split_once(" failed to unregister, leaking uprobe")
                    .and_then(|(before, _)| before.rsplit_once(':')?.1.parse().ok());
                if thread.is_some_and(|id| threads.contains(&id)) {
                    left.push(line);
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            _ => return left,
        }
    }
}
