//! `--sockets fentry`: where this kernel takes trampolines they tell of a plain call what the program saw;
//! where it does not, who asks for them is told why, and what to do instead. `cargo xtask vm` looks at
//! kernels of several ages.

use anyhow::{Context as _, Result};
use genspan_tests::{Agent, Call, Scene, agent, need};
use serde_json::{Value, json};

const FENTRY: [&str; 2] = ["--sockets", "fentry"];

/// What `genspan doctor` found of plain sockets.
fn doctor() -> Result<String> {
    let done = agent::command(&["doctor", "--json"])?.output()?;
    let report: Value = serde_json::from_slice(&done.stdout)?;
    let checks = report["checks"].as_array().context("no checks")?;
    let check = checks.iter().find(|c| c["name"] == "plain sockets");
    let check = check.context("doctor says nothing of plain sockets")?;
    Ok(check["found"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn trampolines_are_used_or_it_is_said_why_not() -> Result<()> {
    let (Some(_), Some(scene), Some(python)) =
        (need::root()?, Scene::plain()?, need::any_python()?)
    else {
        return Ok(());
    };
    let found = doctor()?;
    let mut client = scene.client(&python, &["stdlib"])?;
    if let Some((_, why)) = found.split_once("not trampolines (fentry): ") {
        println!("not taken here: {why}");
        let pid = client.pid().to_string();
        let asked = ["trace", "--pid", &pid, "--format", "json"];
        let refused = agent::run(&scene.temp, &[&asked[..], &FENTRY].concat())?;
        assert_ne!(refused.code, 0, "{}", refused.log);
        // The kernel's own word, and the other ways.
        let word = why.split(';').next().unwrap_or_default();
        for want in ["no BPF trampolines", word, "--sockets tracepoints"] {
            assert!(refused.log.contains(want), "no {want:?} in {}", refused.log);
        }
        // The program goes on as if nobody had asked.
        client.call(&chat(false))?;
        return Ok(());
    }
    assert!(found.contains("trampolines (fentry)"), "{found}");
    let agent = Agent::attach(&scene.temp, &[client.pid()], &FENTRY)?;
    let seen = [client.call(&chat(false))?, client.call(&chat(true))?];
    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_eq!(Call::of_spans(&finished.spans), seen, "{}", finished.log);
    assert!(!finished.log.contains("lost:"), "{}", finished.log);
    Ok(())
}

fn chat(stream: bool) -> Value {
    json!({"do": "chat", "body": {
        "model": "gpt-fentry", "stream": stream, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "one two"}]}})
}
