//! Processes that are hard to find or to reach: the agent of a host finds them all the same.

use anyhow::{Context as _, Result};
use genspan::vocabulary::resource;
use genspan_tests::{Agent, Call, Client, Process, Scene, need, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// The one child of a process.
fn only_child(process: &Process) -> Result<u32> {
    let pid = process.pid();
    wait_for("a child", || {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    })
}

/// A namespace of a process, as `user:[4026531837]`.
fn namespace(pid: &str, kind: &str) -> Result<PathBuf> {
    let path = format!("/proc/{pid}/ns/{kind}");
    fs::read_link(&path).context(path)
}

/// In a user namespace, with ids of processes and mounts of its own: root in there, and with no rights out here.
/// It is found, told apart and traced as any other.
#[test]
fn a_user_namespace() -> Result<()> {
    let (Some(scene), Some(sdk), Some(unshare)) = (
        Scene::new()?,
        need::environment("sdk-new")?,
        need::command("unshare")?,
    ) else {
        return Ok(());
    };
    let word = scene.temp.file("within");
    let include = format!("command=*/client.py openai {}", word.display());
    let mut agent = Agent::host(&scene.temp, &["--include", &include])?;
    let inner = scene.live(&sdk, "client.py");
    let mut command = scene.command(unshare);
    command.args(["--user", "--map-root-user", "--pid", "--mount", "--fork"]);
    command.args(["--mount-proc", "--kill-child"]);
    command
        .arg(inner.get_program())
        .args(inner.get_args())
        .arg("openai")
        .arg(&word);
    let mut client = Client::start(&mut command, &scene.next_log())?;
    let pid = only_child(&client.0)?;
    for kind in ["user", "pid", "mnt"] {
        let (inside, here) = (namespace(&pid.to_string(), kind)?, namespace("self", kind)?);
        assert_ne!(inside, here, "{kind}");
    }
    agent.wait_attached(pid)?;
    let step = json!({"do": "chat", "body": {
        "model": "within", "messages": [{"role": "user", "content": "one"}]}});
    let seen = client.call(&step)?;
    agent.wait_for_spans(1)?;
    let (_, text) = agent.page("/status")?;
    let status: Value = serde_json::from_str(&text)?;
    let all = status["processes"].as_array().context("no processes")?;
    let told = all.iter().find(|process| process["pid"] == pid);
    let told = told.with_context(|| text.clone())?;
    let finished = agent.stop()?;
    assert_eq!(
        (&told["state"], &told["type"], &told["service"]),
        (&json!("attached"), &json!("app"), &json!("client")),
        "{told}"
    );
    let evidence = told["evidence"].as_str().unwrap_or_default();
    assert!(evidence.starts_with("loaded: openai "), "{told}");
    assert_eq!(Call::of_spans(&finished.spans), [seen], "{}", finished.log);
    let span = &finished.spans[0];
    assert_eq!(span.pid(), pid);
    assert_eq!(*span.resource(resource::OS_TYPE), "linux", "{}", span.0);
    Ok(())
}
