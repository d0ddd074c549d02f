//! Every CPython: the same calls with nothing but its standard library.

use anyhow::Result;
use genspan::vocabulary::resource;
use genspan_tests::{Agent, Call, Client, Scene, agent, need, programs, wait_for};
use serde_json::{Value, json};
use std::path::PathBuf;

fn python(python: Option<PathBuf>, version: Option<&str>) -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, python) else {
        return Ok(());
    };
    let client = scene.client(&python, &["stdlib"])?;
    let agent = scene.attach(&client)?;
    same_calls(client, agent, version)?;
    Ok(())
}

/// Has the client call, and holds what the agent tells against that; gives what the agent said.
fn same_calls(mut client: Client, agent: Agent, version: Option<&str>) -> Result<String> {
    let mut seen = Vec::new();
    for stream in [false, true] {
        seen.push(client.call(&json!({
            "do": "chat", "body": {
                "model": "m", "stream": stream, "stream_options": {"include_usage": true},
                "messages": [{"role": "user", "content": "Why is the sky blue?"}],
                "metadata": {"chunks": "12", "delay_ms": "2"}}}))?);
    }
    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_eq!(Call::of_spans(&finished.spans), seen, "{}", finished.log);
    assert_eq!(seen.len(), 2);
    for (call, span) in seen.iter().zip(&finished.spans) {
        assert_eq!((call.input, call.output), (Some(5), Some(12)));
        assert_eq!(
            call.texts,
            ["The sky is blue because air scatters short waves of light far"]
        );
        assert_eq!(span.pid(), client.pid());
        assert_eq!(span.resource(resource::SERVICE_NAME), "client");
        if let Some(version) = version {
            assert_eq!(span.resource(resource::PROCESS_RUNTIME_VERSION), version);
        }
    }
    Ok(finished.log)
}

#[test]
fn cpython_3_8() -> Result<()> {
    python(need::python(8)?, Some("3.8"))
}

#[test]
fn cpython_3_9() -> Result<()> {
    python(need::python(9)?, Some("3.9"))
}

#[test]
fn cpython_3_10() -> Result<()> {
    python(need::python(10)?, Some("3.10"))
}

#[test]
fn cpython_3_11() -> Result<()> {
    python(need::python(11)?, Some("3.11"))
}

#[test]
fn cpython_3_12() -> Result<()> {
    python(need::python(12)?, Some("3.12"))
}

#[test]
fn cpython_3_13() -> Result<()> {
    python(need::python(13)?, Some("3.13"))
}

/// On Debian an executable without symbols, with OpenSSL in a library of its own.
#[test]
fn the_systems_python() -> Result<()> {
    python(need::system_python()?, None)
}

/// Without the GIL, objects are laid out in another way: calls are told, and that nothing is read of the
/// interpreter is, by name, where one looks for it.
#[test]
fn cpython_3_14_without_the_gil() -> Result<()> {
    const WHY: &str = "a free-threaded build of CPython 3.14 is not read";
    let (Some(scene), Some(python)) = (Scene::new()?, need::free_threaded_python()?) else {
        return Ok(());
    };
    let client = scene.client(&python, &["stdlib"])?;
    let pid = client.pid();
    let options = ["--stacks", "--function", "clients:Stdlib.send"];
    let attached = Agent::attach(&scene.temp, &[pid], &options)?;

    let asked = agent::command(&["ps", "--json", "--socket", "none"])?.output()?;
    let report: Value = serde_json::from_slice(&asked.stdout)?;
    let mut all = report["processes"].as_array().into_iter().flatten();
    let process = all.find(|process| process["pid"] == pid).expect("it");
    assert_eq!(process["python"], "3.14", "{process}");
    assert_eq!(process["tls"]["state"], "reachable", "{process}");
    let why = process["python_unread"].as_str().unwrap_or_default();
    assert!(why.starts_with(WHY), "{process}");
    let number = pid.to_string();
    let asked = agent::command(&["doctor", "--pid", &number])?.output()?;
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(said.contains(WHY), "{said}");

    let log = same_calls(client, attached, Some("3.14"))?;
    for wanted in ["no functions are watched: ", ""] {
        let line = log.lines().find(|l| l.contains(&format!("{wanted}{WHY}")));
        assert!(line.is_some_and(|line| line.contains(&number)), "{log}");
    }
    assert!(
        log.contains("call paths and contexts are not told"),
        "{log}"
    );
    Ok(())
}

/// The same of an agent that finds it, which says so at `/status`.
#[test]
fn an_agent_says_what_it_does_not_read() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::free_threaded_python()?) else {
        return Ok(());
    };
    let mark = scene.temp.file("it").display().to_string();
    let mut command = scene.live(&python, "client.py");
    command
        .args(["stdlib", &mark])
        .env("APSARA_APM_APP_TYPE", "app");
    let mut client = Client::start(&mut command, &scene.next_log())?;
    let pid = client.pid();
    let mut agent = Agent::host(&scene.temp, &["--include", &format!("command=*{mark}*")])?;
    agent.wait_attached(pid)?;
    client.call(&json!({"do": "chat", "body": {
        "model": "m", "messages": [{"role": "user", "content": "Why?"}]}}))?;
    agent.wait_for_spans(1)?;
    let process = wait_for("the process to stand in the status", || {
        let status: Value = serde_json::from_str(&agent.page("/status").ok()?.1).ok()?;
        let mut all = status["processes"].as_array()?.iter();
        let found = all.find(|p| p["pid"] == pid && p["calls"] == 1)?;
        // A process is looked into once it had time to start.
        found["why_not"][0].is_string().then(|| found.clone())
    })?;
    assert_eq!(process["state"], "attached", "{process}");
    let why = process["why_not"][0].as_str().unwrap_or_default();
    assert!(
        why.starts_with("a free-threaded build of CPython 3.14"),
        "{process}"
    );
    assert_eq!(agent.stop()?.code, 0);
    Ok(())
}

/// A program that lives in a sub-interpreter, beside a main one that only waits.
fn in_subinterpreter(python: Option<PathBuf>) -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, python) else {
        return Ok(());
    };
    let mut command = scene.live(&python, "subinterpreter.py");
    command
        .arg(programs().join("live/client.py"))
        .arg("stdlib")
        .env("OTEL_SERVICE_NAME", "client");
    let client = Client::start(&mut command, &scene.next_log())?;
    let agent = scene.attach(&client)?;
    same_calls(client, agent, None)?;
    Ok(())
}

#[test]
fn a_sub_interpreter_of_3_8() -> Result<()> {
    in_subinterpreter(need::python(8)?)
}

#[test]
fn a_sub_interpreter_of_3_13() -> Result<()> {
    in_subinterpreter(need::python(13)?)
}

#[test]
fn a_sub_interpreter_without_the_gil() -> Result<()> {
    in_subinterpreter(need::free_threaded_python()?)
}
