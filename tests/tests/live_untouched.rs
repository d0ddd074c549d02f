//! A process without a framework pays nothing for what frameworks are seen by: its threads have all their
//! watchpoints, and in its interpreter nothing is probed but what says for which request a call is made.
//! That is looked at from outside of the agent: the process's code is compared with the file that it is of,
//! and the watchpoints that are left are taken.

use anyhow::{Context as _, Result, ensure};
use genspan_tests::tree::get;
use genspan_tests::{Agent, Process, Scene, agent, need, programs};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

/// Bytes that a probe changes at most: a breakpoint is one, a call of the kernel's five.
const PROBE: u64 = 8;

/// Most bytes of one mapping that are compared: interpreters have a few million.
const MOST: u64 = 64 << 20;

/// Where the code of a process's interpreter is not what its file has, as offsets in that.
fn changed(pid: u32) -> Result<BTreeSet<u64>> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut all = BTreeSet::new();
    let mut compared = 0;
    for line in maps.lines() {
        let parts: Vec<_> = line.split_ascii_whitespace().collect();
        let [range, rights, offset, _, _, path] = parts[..] else {
            continue;
        };
        let name = Path::new(path).file_name().and_then(|name| name.to_str());
        let is_interpreter =
            name.is_some_and(|name| name.starts_with("python") || name.starts_with("libpython"));
        if !is_interpreter || !rights.contains('x') {
            continue;
        }
        let (from, to) = range.split_once('-').context("no range")?;
        let number = |text: &str| u64::from_str_radix(text, 16);
        let (from, to, offset) = (number(from)?, number(to)?, number(offset)?);
        let length = usize::try_from((to - from).min(MOST))?;
        let (mut there, mut of_file) = (vec![0; length], vec![0; length]);
        memory.read_exact_at(&mut there, from)?;
        // The last page has what is behind it.
        let read = File::open(path)?.read_at(&mut of_file, offset)?;
        let pairs = there.iter().zip(&of_file).take(read);
        let differ = (0..).zip(pairs).filter(|(_, (one, other))| one != other);
        all.extend(differ.map(|(at, _)| offset + at));
        compared += read;
    }
    ensure!(compared > 1 << 20, "{compared} bytes of an interpreter");
    Ok(all)
}

/// What `genspan doctor` finds of the ways in which a process may be looked into.
struct Ways(Value);

impl Ways {
    fn of(pid: u32) -> Result<Self> {
        let pid = pid.to_string();
        let asked = ["doctor", "--json", "--socket", "none", "--pid", &pid];
        let done = agent::command(&asked)?.output()?;
        let mut report: Value = serde_json::from_slice(&done.stdout)?;
        Ok(Self(report["processes"][0]["mechanisms"].take()))
    }

    fn found(&self, name: &str) -> Result<&str> {
        let all = self.0.as_array().context("no ways")?;
        let way = all.iter().find(|way| way["name"] == name);
        way.and_then(|way| way["found"].as_str())
            .with_context(|| format!("no {name}: {}", self.0))
    }

    /// Watchpoints that each thread has left, of four.
    fn watchpoints(&self) -> Result<u32> {
        let found = self.found("watchpoints")?;
        let left = found.split_once(" of 4 left").context(found.to_owned())?;
        Ok(left.0.parse()?)
    }

    /// Where in its file the function is that is probed for this.
    fn place(&self, name: &str) -> Result<u64> {
        let found = self.found(name)?;
        let at = found.split(" at 0x").nth(1).context(found.to_owned())?;
        let at = at.split(' ').next().unwrap_or_default();
        Ok(u64::from_str_radix(at, 16)?)
    }
}

/// Holds that nothing is watched, and that of the interpreter these functions are probed and nothing else.
fn only(pid: u32, functions: &[&str], log: &str) -> Result<()> {
    let ways = Ways::of(pid)?;
    ensure!(ways.watchpoints()? == 4, "{} {log}", ways.0);
    let mut rest = changed(pid)?;
    for name in functions {
        let at = ways.place(name)?;
        let before = rest.len();
        rest.retain(|offset| !(at..at + PROBE).contains(offset));
        ensure!(
            rest.len() < before,
            "{name} at {at:#x} is not probed: {log}"
        );
    }
    ensure!(rest.is_empty(), "changed at {rest:x?}: {} {log}", ways.0);
    Ok(())
}

/// A traced program that calls a model, and the packages that it has loaded for it.
fn client(environment: &str, client: &str, loads: Option<&str>) -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment(environment)?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &[client])?;
    let pid = client.pid();
    let agent = scene.attach(&client)?;
    for _ in 0..3 {
        client.call(&json!({"do": "chat", "body": {
            "model": "m", "messages": [{"role": "user", "content": "one two"}]}}))?;
    }
    agent.wait_for_spans(3)?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let is_loaded = loads.is_none_or(|name| maps.contains(name));
    ensure!(is_loaded, "{loads:?} is not loaded");
    only(pid, &[], &agent.log())?;
    ensure!(agent.stop()?.code == 0);
    Ok(())
}

#[test]
fn a_client_of_the_standard_library() -> Result<()> {
    client("sdk-new", "stdlib", None)
}

/// That is all that the agent sees of a framework before it looks into the interpreter.
#[test]
fn one_with_pydantic() -> Result<()> {
    client("sdk-new", "openai", Some("pydantic"))
}

/// A server that calls models has its contexts followed, and pools: what its parents come by.
#[test]
fn a_server_with_pydantic() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("web312")?) else {
        return Ok(());
    };
    let mut command = scene.live(&python, "web_app.py");
    command.args(["asyncio", "http=h11"]);
    let mut server = Process::start(&mut command, &scene.next_log())?;
    let port: u16 = server.line()?.trim().parse()?;
    get(port, "async?id=1").with_context(|| server.complaints())?;
    let mut agent = Agent::attach(&scene.temp, &[server.pid()], &["--debug"])?;
    agent.wait_for_log("contexts are followed")?;
    agent.wait_for_log("thread pools are followed")?;
    for path in ["sync", "async", "gather", "pool", "executor"] {
        get(port, &format!("{path}?id=2")).with_context(|| server.complaints())?;
    }
    agent.wait_for_spans(10)?;
    agent.wait_placed()?;
    only(server.pid(), &["contexts", "pools"], &agent.log())?;
    ensure!(agent.stop()?.code == 0);
    // And when nobody traces it any more, nothing is left.
    only(server.pid(), &[], "")
}

/// The same looks see what there is for a framework.
#[test]
fn a_program_with_a_framework_is_watched() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("langchain312")?) else {
        return Ok(());
    };
    let mut command = Command::new(python);
    command.arg(programs().join("live/langchain_runs.py"));
    let program = Process::ready(&mut command, &scene.temp)?;
    let mut agent = Agent::attach(&scene.temp, &[program.pid()], &[])?;
    agent.wait_for_log("watching LangChain")?;
    agent.wait_placed()?;
    let ways = Ways::of(program.pid())?;
    ensure!(ways.watchpoints()? == 0, "{}", ways.0);
    let raised = ways.place("exceptions")?;
    let changed = changed(program.pid())?;
    ensure!(changed.range(raised..raised + PROBE).next().is_some());
    Ok(())
}
