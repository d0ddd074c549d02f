//! An agent that uses more than it may leaves out content first, says so, counts it, and tells it again when
//! there is room.

use anyhow::{Context as _, Result};
use genspan::vocabulary::attr;
use genspan_tests::{Agent, Client, Scene, Span, need, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// What `/status` says of the limits.
fn limits(agent: &mut Agent) -> Result<Value> {
    let status: Value = serde_json::from_str(&agent.page("/status")?.1)?;
    Ok(status["limits"].clone())
}

/// A client that the rules of these tests include.
fn client(scene: &Scene, python: &Path) -> Result<Client> {
    let mut command = scene.live(python, "client.py");
    let here = scene.temp.file("it");
    command
        .arg("stdlib")
        .arg(here)
        .env("APSARA_APM_APP_TYPE", "app");
    Client::start(&mut command, &scene.next_log())
}

fn chat(model: &str) -> Value {
    json!({"do": "chat", "body": {
        "model": model, "messages": [{"role": "user", "content": "one"}]}})
}

/// What an agent leaves out with these limits, over which it is under load or at once, and tells again with
/// those, under which it is.
fn left_out_and_told_again(over: &str, under: &str, why: &str, loaded: bool) -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    let rules = scene.temp.file("rules.yaml");
    let include = format!(
        "include: ['command=*{}']\n",
        scene.temp.file("it").display()
    );
    let limit = |limits: &str| {
        fs::write(
            &rules,
            format!("{include}limits: {{{limits}, recover_seconds: 1}}\n"),
        )
    };
    limit(if loaded { under } else { over })?;
    let config = rules.display().to_string();
    let mut client = client(&scene, &python)?;
    let mut agent = Agent::host(&scene.temp, &["--config", &config])?;
    agent.wait_attached(client.pid())?;
    client.call(&chat("before"))?;
    agent.wait_for_spans(1)?;
    let before = limits(&mut agent)?;
    assert_eq!(
        (&before["left_out"], &before["calls_without_content"]),
        (&"nothing".into(), &0.into())
    );
    if loaded {
        limit(over)?;
        agent.process.signal(Signal::SIGHUP)?;
    }

    // Calls go on until content is left out, and after that.
    let mut sent = 0;
    wait_for("content to be left out", || {
        for _ in 0..50 {
            client.call(&chat("load")).ok()?;
            sent += 1;
        }
        agent
            .log()
            .contains("the content of messages is left out")
            .then_some(())
    })?;
    let said = agent.log();
    let line = said
        .lines()
        .find(|line| line.contains("is left out"))
        .context("no line")?;
    assert!(line.contains(why), "{line}");
    client.call(&chat("without"))?;
    agent.wait_for_spans(sent + 2)?;
    // The state is told anew five times a second.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let during = limits(&mut agent)?;
    assert_ne!(during["left_out"], "nothing", "{during}");
    let counted = during["calls_without_content"]
        .as_u64()
        .context("no count")?;
    assert!(counted >= 1, "{during}");
    let metrics = agent.page("/metrics")?.1;
    let shown = |name: &str| {
        metrics
            .lines()
            .any(|line| line.starts_with(name) && !line.ends_with(" 0"))
    };
    assert!(shown("genspan_agent_left_out "), "{metrics}");
    assert!(
        shown("genspan_agent_calls_without_content_total "),
        "{metrics}"
    );

    limit(under)?;
    agent.process.signal(Signal::SIGHUP)?;
    agent.wait_for_log("all is told again")?;
    client.call(&chat("after"))?;
    agent.wait_for_spans(sent + 3)?;
    let last = limits(&mut agent)?;
    assert_eq!(last["left_out"], "nothing", "{last}");
    let counted = last["calls_without_content"].as_u64().context("no count")?;

    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    let content = |span: &&Span| !span.messages(attr::INPUT_MESSAGES).is_empty();
    let of = |model: &str| finished.spans.iter().find(|span| span.model() == model);
    for (model, told) in [("before", true), ("without", false), ("after", true)] {
        let span = of(model).with_context(|| format!("no {model}"))?;
        assert_eq!(content(&span), told, "{model}: {}", finished.log);
        // What is left out is that alone.
        assert_eq!(span.number(attr::USAGE_OUTPUT_TOKENS), Some(12), "{model}");
        assert!(span.defects().is_empty(), "{}", span.0);
    }
    let without = finished.spans.iter().filter(|span| !content(span)).count() as u64;
    assert_eq!(
        without, counted,
        "each call that was told without is counted"
    );
    assert_eq!(finished.spans.len(), sent + 3, "none was lost");
    Ok(())
}

/// Both at the same time: most of it is waiting.
#[test]
fn over_a_limit_content_is_left_out_and_comes_back() -> Result<()> {
    let memory = std::thread::spawn(|| {
        left_out_and_told_again("memory: 1M", "memory: 4G", "of 1 MiB", false)
    });
    left_out_and_told_again("cpu: 0.001", "cpu: 4", "of 0.00 cores", true)?;
    match memory.join() {
        Ok(result) => result.context("the limit of memory"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
