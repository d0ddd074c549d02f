//! What is in use to see the functions of a process, and what that costs it, as `genspan ps` and `genspan doctor`
//! tell.

use anyhow::{Context as _, Result};
use genspan_tests::{Agent, Process, Temp, agent, need};
use serde_json::Value;
use std::process::Command;

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
    let json: Value = serde_json::from_str(&ask(&["ps", "--json"])?)?;
    let listed = json["processes"].as_array().context("no processes")?;
    let own = listed.iter().find(|p| p["pid"] == program.pid());
    let own = own.context("not listed")?;
    let ways = own["agent"]["mechanisms"].as_array().context("no ways")?;
    let names: Vec<_> = ways.iter().map(|way| way["name"].as_str()).collect();
    let all = ["watchpoints", "resume", "interpreter"];
    let used: Vec<_> = all.iter().filter(|n| names.contains(&Some(n))).collect();
    assert_eq!(used, [&name], "{own:#}");
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
