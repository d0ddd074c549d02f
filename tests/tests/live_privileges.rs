//! `genspan trace` gives up what tracing does not take, unless it starts a command.

use anyhow::{Context as _, Result};
use genspan::vocabulary::attr;
use genspan_tests::privileges::{self, KEPT, Privileges};
use genspan_tests::{Agent, Scene, Span, need, programs};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

fn chat(model: &str) -> Value {
    json!({"do": "chat", "body": {
        "model": model, "messages": [{"role": "user", "content": "one"}]}})
}

/// As root, it keeps five capabilities, and its calls are filtered; it traces all the same, processes that
/// come, functions and call paths too.
#[test]
fn root_gives_up_the_rest() -> Result<()> {
    let (Some(scene), Some(python), Some(other)) = (
        Scene::new()?,
        need::environment("sdk-new")?,
        need::system_python()?,
    ) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["openai", "--late"])?;
    let recording = scene.temp.file("recording").display().to_string();
    let options = [
        "--record",
        &recording,
        "--stacks",
        "--function",
        "__main__:once",
        "--prometheus",
        "127.0.0.1:0",
    ];
    let mut agent = Agent::attach(&scene.temp, &[client.pid()], &options)?;
    agent.wait_for_log("watching __main__:once (pid")?;
    client.call(&chat("one"))?;
    let threads = privileges::of_threads(agent.process.pid())?;
    assert!(threads.len() > 1, "{threads:?}");
    for thread in &threads {
        assert!(thread.has_only(&KEPT), "{thread:?}");
    }
    client.call(&chat("two"))?;
    // In a process that comes now, whose TLS is its own.
    let program = programs().join("live/one_call.py");
    client.call(&json!({"do": "run", "command": [other, program, "three"]}))?;
    let finished = agent.stop()?;
    let calls = finished.spans.iter().filter(|span| span.kind() == "CLIENT");
    let calls: Vec<&Span> = calls.collect();
    let models: Vec<_> = calls.iter().map(|span| span.model()).collect();
    assert_eq!(models, ["one", "two", "three"], "{}", finished.log);
    assert_ne!(calls[2].pid(), client.pid());
    // Each of the first program's is below the function that made it, and says from where it was made.
    let functions = finished.spans.iter().filter(|span| span.name() == "once");
    let functions: Vec<_> = functions.map(|span| &span.0["span_id"]).collect();
    assert_eq!(functions.len(), 2, "{}", finished.lines);
    for (call, function) in calls.iter().zip(functions) {
        assert_eq!(call.0["parent_span_id"], *function, "{}", call.0);
        let path = call.text(attr::CODE_STACKTRACE);
        let is_of_program = path.contains("client.py\", line") && path.contains(", in once");
        assert!(is_of_program, "{path}");
    }
    assert!(fs::metadata(&recording)?.len() > 0);
    assert!(!finished.log.contains("not needed are"), "{}", finished.log);
    Ok(())
}

/// With nothing but these capabilities, as a user who is nobody.
#[test]
fn four_capabilities_suffice() -> Result<()> {
    let (Some(scene), Some(python), Some(_)) = (
        Scene::new()?,
        need::environment("sdk-new")?,
        need::command("setpriv")?,
    ) else {
        return Ok(());
    };
    fs::set_permissions(scene.temp.path(), fs::Permissions::from_mode(0o777))?;
    let mut client = scene.client(&python, &["openai"])?;
    let four = [
        "CAP_BPF",
        "CAP_PERFMON",
        "CAP_SYS_PTRACE",
        "CAP_DAC_READ_SEARCH",
    ];
    let output = scene.temp.file("spans.jsonl").display().to_string();
    let pid = client.pid().to_string();
    let words = [
        "trace", "--pid", &pid, "--format", "json", "--output", &output,
    ];
    let mut agent = Agent::unprivileged(
        &scene.temp,
        &four.map(str::to_owned),
        &words.map(str::to_owned),
    )?;
    agent.wait_attached(client.pid())?;
    for thread in privileges::of_threads(agent.process.pid())? {
        assert!(thread.has_only(&KEPT[..4]), "{thread:?}");
        assert_eq!(thread.user, 65534, "{thread:?}");
    }
    client.call(&chat("one"))?;
    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    let models: Vec<_> = finished.spans.iter().map(Span::model).collect();
    assert_eq!(models, ["one"], "{}", finished.log);
    Ok(())
}

/// A command has what it would have without us.
#[test]
fn a_command_has_all_that_it_had() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    let mut command = Command::new(&python);
    command.args([
        "-c",
        "print(repr(open('/proc/self/status').read()), flush=True)",
    ]);
    let without = command.output()?;
    let read = |line: &str| {
        let text = line.trim().trim_matches('\'');
        Privileges::read(&text.replace("\\n", "\n").replace("\\t", "\t"))
    };
    let without = read(&String::from_utf8(without.stdout)?)?;
    assert!(!without.no_new, "{without:?}");
    let mut agent = Agent::run(&scene.temp, &[], &command)?;
    let with = read(&agent.process.line()?)?;
    assert_eq!(with, without);
    let finished = agent.wait()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    Ok(())
}

#[test]
fn they_can_be_kept() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    let own = fs::read_to_string("/proc/self/status")?;
    let own = Privileges::read(&own)?;
    let client = scene.client(&python, &["stdlib"])?;
    let agent = Agent::attach(&scene.temp, &[client.pid()], &["--keep-privileges"])?;
    let threads = privileges::of_threads(agent.process.pid())?;
    let kept = threads.first().context("no thread")?;
    assert_eq!(
        (kept.effective, kept.filtered),
        (own.effective, own.filtered)
    );
    agent.stop().map(drop)
}
