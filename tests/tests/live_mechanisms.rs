//! What is in use to see the functions of a process, and what that costs it, as `genspan ps` and `genspan doctor`
//! tell.

use anyhow::{Context as _, Result};
use genspan_tests::{Agent, Process, Temp, agent, kernel, need};
use serde_json::Value;
use std::process::Command;

/// The ways in use of a process, as `genspan ps --json` tells them.
fn ways_of(told: &Value, pid: u32) -> Option<Vec<Value>> {
    let mut listed = told["processes"].as_array()?.iter();
    let own = listed.find(|process| process["pid"] == pid)?;
    own["agent"]["mechanisms"].as_array().cloned()
}

/// What an agent in which a function is seen in this way says of it, and that it costs something else than any
/// other way does.
fn told(minor: u32, way: &str, name: &str, cost: &str) -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::python(minor)?) else {
        return Ok(());
    };
    let temp = Temp::new()?;
    let mut command = Command::new(&python);
    command.arg(genspan_tests::programs().join("live/functions.py"));
    let program = Process::ready(&mut command, &temp)?;
    let pid = program.pid().to_string();
    let socket = Agent::socket(&temp).display().to_string();
    let options = [
        "--function",
        "__main__:inner(number)",
        "--function",
        "nowhere:absent",
        "--function-probe",
        way,
        "--socket",
        &socket,
    ];
    let mut genspan = Agent::start(&temp, &options, &["--pid", &pid])?;
    genspan.wait_for_log("watching __main__:inner (pid")?;
    genspan.wait_for_log("waiting for nowhere:absent")?;
    let ask = |what: &[&str]| -> Result<String> {
        let done = agent::command(what)?.args(["--socket", &socket]).output()?;
        Ok(String::from_utf8(done.stdout)?)
    };
    // Its functions are watched before it tells how it stands.
    let ways = genspan_tests::wait_for("the agent to tell how it stands", || {
        let json: Value = serde_json::from_str(&ask(&["ps", "--json"]).ok()?).ok()?;
        ways_of(&json, program.pid()).filter(|ways| ways.len() > 1)
    })?;
    let names: Vec<_> = ways.iter().map(|way| way["name"].as_str()).collect();
    let all = ["watchpoints", "resume", "interpreter"];
    let used: Vec<_> = all.iter().filter(|n| names.contains(&Some(n))).collect();
    assert_eq!(used, [&name], "{ways:#?}");
    let found = ways.iter().find(|way| way["name"] == name);
    let found = found.context("not in use")?;
    assert!(
        found["cost"].as_str().is_some_and(|c| c.contains(cost)),
        "{found}"
    );
    assert!(
        found["used_by"].to_string().contains("__main__:inner"),
        "{found}"
    );
    let imports = ways.iter().find(|way| way["name"] == "imports");
    let imports = imports.context("no imports")?;
    assert!(
        imports["used_by"].to_string().contains("nowhere:absent"),
        "{imports}"
    );
    // As text, too.
    let in_use = |text: &str| {
        let mut lines = text.lines();
        lines.any(|line| line.contains(name) && line.contains("__main__:inner"))
    };
    for what in [&["ps"][..], &["doctor"], &["doctor", "--pid", &pid]] {
        let text = ask(what)?;
        assert!(in_use(&text) && text.contains(cost), "{what:?}: {text}");
    }
    genspan.stop()?;
    assert!(!std::path::Path::new(&socket).exists());
    Ok(())
}

/// Of 3.13, in what the programs are told of a process (`WatchedProcess`): where in a thread's state its frame is.
/// And where its interpreter is (`PyThreadState.interp`), which is no frame.
const THREADS_FRAME: usize = 24 * 4 + 11 * 8 + 8;
const INTERPRETER: u32 = 16;

/// Some builds tell a thread of its new frame after they have fetched the function's first instruction; then only
/// a register has it. Of the builds here none does, so the programs are told a wrong place of the thread's own frame:
/// the look through the registers is all that is left to find one, and finds each.
#[test]
fn frames_that_only_a_register_has() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::python(13)?) else {
        return Ok(());
    };
    for blind in [false, true] {
        let temp = Temp::new()?;
        let mut command = Command::new(&python);
        command.arg(genspan_tests::programs().join("live/functions.py"));
        let mut program = Process::ready(&mut command, &temp)?;
        let pid = program.pid().to_string();
        let socket = Agent::socket(&temp).display().to_string();
        let options = ["--function", "__main__:inner(number)", "--socket", &socket];
        let mut genspan = Agent::start(&temp, &options, &["--pid", &pid])?;
        genspan.wait_for_log("watching __main__:inner (pid")?;
        if blind {
            let change = (program.pid(), THREADS_FRAME, INTERPRETER);
            kernel::set_word(genspan.process.pid(), "WATCHED", change)?;
        }
        program.tell("plain")?;
        let truth = program.record()?;
        let calls = truth.iter().filter(|told| told["name"] == "inner").count();
        let asked = ["ps", "--json", "--socket", &socket];
        let all = if blind { calls as u64 } else { 0 };
        genspan_tests::wait_for("the count of frames in registers", || {
            let told = agent::command(&asked).ok()?.output().ok()?.stdout;
            let ways = ways_of(&serde_json::from_slice(&told).ok()?, program.pid())?;
            let way = ways.iter().find(|way| way["name"] == "watchpoints")?;
            (way["ahead"] == all).then_some(())
        })?;
        let finished = genspan.stop()?;
        // Their ends are not seen so, but at what comes next.
        assert!(calls > 0);
        assert_eq!(finished.spans.len(), calls, "{}", finished.log);
    }
    Ok(())
}

#[test]
fn by_watchpoints() -> Result<()> {
    told(13, "auto", "watchpoints", "a call of a function 40 us")
}

#[test]
fn by_resume() -> Result<()> {
    let cost = "1.3 us for each call of any Python function";
    told(12, "resume", "resume", cost)
}

#[test]
fn by_the_interpreter() -> Result<()> {
    let cost = "0.7 us for each call of any Python function";
    told(10, "interpreter", "interpreter", cost)
}
