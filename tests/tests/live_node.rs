//! A Node without names for its OpenSSL: what is in its executable is found by its code, tried and told.
//!
//! `strip` leaves Node its names, since an executable exports them for its add-ons. So the test takes away those of
//! the library, as a Node has none that was linked without `--export-dynamic` (`pkg`, other single executables).

use anyhow::{Context as _, Result, ensure};
use genspan_tests::{Agent, Call, Client, Scene, memory, need};
use nix::sys::signal::Signal;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `SHT_DYNSYM`, and the lengths of a section's header and of a symbol (`elf.h`, ELF64).
const SHT_DYNSYM: u32 = 11;
const HEADER: usize = 64;
const SYMBOL: usize = 24;

/// Numbers of an ELF file.
struct Elf(Vec<u8>);

impl Elf {
    fn bytes<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        let bytes = self.0.get(at..at.saturating_add(N));
        Ok(bytes.context("the file ends")?.try_into()?)
    }

    fn word(&self, at: usize) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes(at)?))
    }

    fn address(&self, at: usize) -> Result<usize> {
        Ok(usize::try_from(u64::from_le_bytes(self.bytes(at)?))?)
    }

    /// Takes the names of all dynamic symbols that begin so; says how many.
    fn forget(&mut self, prefix: &[u8]) -> Result<usize> {
        let sections = self.address(0x28)?;
        let count = usize::from(u16::from_le_bytes(self.bytes(0x3c)?));
        let mut headers = (0..count).map(|n| sections + n * HEADER);
        let dynamic = headers.find(|at| self.word(at + 4).is_ok_and(|kind| kind == SHT_DYNSYM));
        let dynamic = dynamic.context("no dynamic symbols")?;
        let strings = sections + usize::try_from(self.word(dynamic + 0x28)?)? * HEADER;
        let strings = self.address(strings + 0x18)?;
        let (symbols, length) = (self.address(dynamic + 0x18)?, self.address(dynamic + 0x20)?);
        let mut forgotten = 0;
        for at in (symbols..symbols + length).step_by(SYMBOL) {
            let name = strings + usize::try_from(self.word(at)?)?;
            if self.0.get(name..).is_some_and(|s| s.starts_with(prefix)) {
                self.0[at..at + 4].fill(0);
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    /// Writes another text of the same length wherever this one stands; says how often it did.
    fn replace(&mut self, text: &[u8], other: &[u8]) -> usize {
        assert_eq!(text.len(), other.len());
        let windows = self.0.windows(text.len()).enumerate();
        let all: Vec<_> = windows
            .filter(|(_, w)| *w == text)
            .map(|(at, _)| at)
            .collect();
        for at in &all {
            self.0[*at..*at + other.len()].copy_from_slice(other);
        }
        all.len()
    }
}

/// Node without names; what else is to be changed in it, `change` does. `None` where Node or `strip` is not.
fn nameless(scene: &Scene, change: impl FnOnce(&mut Elf)) -> Result<Option<PathBuf>> {
    let (Some(node), Some(strip)) = (need::command("node")?, need::command("strip")?) else {
        return Ok(None);
    };
    let stripped = scene.temp.file("node");
    let made = Command::new(strip)
        .arg("-o")
        .args([&stripped, &node])
        .status()?;
    ensure!(made.success(), "{} cannot be stripped", node.display());
    let mut elf = Elf(std::fs::read(&stripped)?);
    if elf.forget(b"SSL_")? == 0 {
        return need::missing("a Node with its own OpenSSL");
    }
    change(&mut elf);
    std::fs::write(&stripped, elf.0)?;
    Ok(Some(scene.temp.copy_to_run(&stripped, "nameless")?))
}

fn client(scene: &Scene, node: &Path) -> Result<Client> {
    let mut command = scene.command(node);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("node/https_client.mjs"));
    Client::start(&mut command, &scene.next_log())
}

fn call(client: &mut Client, model: &str) -> Result<()> {
    let said = client.ask(&json!({
        "model": model, "messages": [{"role": "user", "content": "one two"}]}))?;
    assert_eq!(said["status"], 200, "{said}");
    Ok(())
}

/// Most memory that the process ever had, in KiB.
fn peak(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let number = line.and_then(|l| l.split_whitespace().next());
    Ok(number.context("no VmHWM")?.parse()?)
}

#[test]
fn node_without_names() -> Result<()> {
    /// Most memory, KiB: the agent's own, and less than the file (85 MB) twice.
    const MOST: u64 = 256 << 10;
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let Some(node) = nameless(&scene, |_| ())? else {
        return Ok(());
    };
    let mut clients = [client(&scene, &node)?, client(&scene, &node)?];
    let pids = clients.each_ref().map(Client::pid);
    let begun = std::time::Instant::now();
    let agent = Agent::attach(&scene.temp, &pids, &["--debug", "--others"])?;
    let took = begun.elapsed();
    let most = peak(agent.process.pid())?;
    for (number, client) in clients.iter_mut().enumerate() {
        call(client, &format!("first-{number}"))?;
        call(client, &format!("second-{number}"))?;
    }
    agent.wait_for_spans(4)?;
    let finished = agent.stop()?;
    println!("attached to two after {took:?}, {most} KiB at most");
    for part in ["found by code", "found by its code, verified by a call"] {
        assert!(finished.log.contains(part), "{part}: {}", finished.log);
    }
    assert!(!finished.log.contains("given up"), "{}", finished.log);
    let mut models = Vec::new();
    for call in Call::of_spans(&finished.spans) {
        assert_eq!(call.model, format!("{}-2026", call.request_model));
        assert_eq!((call.input, call.output), (Some(2), Some(12)));
        assert!(call.defects.is_empty(), "{call:?}");
        models.push(call.request_model);
    }
    models.sort();
    assert_eq!(models, ["first-0", "first-1", "second-0", "second-1"]);
    assert!(most < MOST, "{most} KiB");
    Ok(())
}

/// The agent traces it by choice, as long as that holds.
#[test]
fn by_choice() -> Result<()> {
    let (Some(scene), Some(node)) = (Scene::new()?, need::command("node")?) else {
        return Ok(());
    };
    let node = scene.temp.copy_to_run(&node, "chosen")?;
    let mut client = client(&scene, &node)?;
    let pid = client.pid();
    let file = scene.temp.file("rules.yaml");
    let choose = |others: &str| {
        let rules = format!("include: ['exe=/none']\ninclude_other: [{others}]\n");
        std::fs::write(&file, rules)
    };
    let chosen = format!("'exe={}'", node.display());
    choose("")?;
    let path = file.display().to_string();
    let mut agent = Agent::host(&scene.temp, &["--config", &path])?;
    agent.wait_for_log("state: http")?;
    let refused = genspan_tests::agent::command(&["trace", "--pid", &pid.to_string()])?.output()?;
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.contains("is not Python") && refused.contains("--others"),
        "{refused}"
    );
    call(&mut client, "before")?;
    choose(&chosen)?;
    agent.process.signal(Signal::SIGHUP)?;
    agent.wait_attached(pid)?;
    call(&mut client, "chosen")?;
    agent.wait_for_spans(1)?;
    choose("")?;
    agent.process.signal(Signal::SIGHUP)?;
    agent.wait_for_log(&format!("no longer tracing process {pid}: not Python"))?;
    call(&mut client, "after")?;
    let finished = agent.stop()?;
    let models: Vec<_> = finished
        .spans
        .iter()
        .map(genspan_tests::Span::model)
        .collect();
    assert_eq!(models, ["chosen"], "{}", finished.log);
    Ok(())
}

/// One in which a function does not say what it is: nothing of it is probed, and that is told.
#[test]
fn node_that_is_not_recognised() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let changed = |elf: &mut Elf| assert!(elf.replace(b"\0SSL_write\0", b"\0SSL_wrote\0") > 0);
    let Some(node) = nameless(&scene, changed)? else {
        return Ok(());
    };
    let mut client = client(&scene, &node)?;
    let agent = Agent::attach(&scene.temp, &[client.pid()], &["--others"])?;
    let code = memory::changed_code(client.pid())?;
    let name = node.to_string_lossy();
    assert!(!code.contains_key(name.as_ref()), "{code:x?}");
    call(&mut client, "unseen")?;
    let finished = agent.stop()?;
    assert!(finished.spans.is_empty(), "{}", finished.log);
    for part in ["found but unreachable", "0 functions look like SSL_write"] {
        assert!(finished.log.contains(part), "{}", finished.log);
    }
    Ok(())
}
