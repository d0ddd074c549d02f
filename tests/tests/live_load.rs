//! Much at once, large and long: nothing is lost, and memory stays bounded.

use anyhow::{Result, anyhow};
use genspan::vocabulary::attr;
use genspan_tests::temp::Temp;
use genspan_tests::{Agent, Call, Client, Provider, Scene, Span, memory, need, programs};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Resident memory, in KiB, that the agent may have at rest, and under fifty streams.
const AT_REST: u64 = 25 << 10;
const UNDER_LOAD: u64 = 40 << 10;

#[test]
fn fifty_streams_at_once() -> Result<()> {
    const COUNT: usize = 50;
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("sdk-new")?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["openai-async"])?;
    let agent = scene.attach(&client)?;
    std::thread::sleep(Duration::from_millis(500));
    let at_rest = agent.resident()?;
    let done = Arc::new(AtomicBool::new(false));
    let watch = {
        let (done, pid) = (Arc::clone(&done), agent.process.pid());
        std::thread::spawn(move || {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = memory::resident(pid).unwrap_or_default().max(most);
                std::thread::sleep(Duration::from_millis(20));
            }
            most
        })
    };
    let words: Vec<String> = (0..40).map(|i| format!("word{i}")).collect();
    let answer = client.ask(&json!({"do": "chat", "at_once": COUNT, "body": {
        "model": "m-{}", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "number {}"}],
        "metadata": {"answer": format!("answer {{}}: {}", words.join(" ")), "delay_ms": "25"}}}))?;
    let after = client.call(&json!({"do": "chat", "body": {
        "model": "z", "messages": [{"role": "user", "content": "one"}]}}))?;
    done.store(true, Ordering::Relaxed);
    let most = watch.join().unwrap_or_default();
    let finished = agent.stop()?;
    let mut seen = Vec::new();
    for one in answer.as_array().map(Vec::as_slice).unwrap_or_default() {
        seen.push(Call::of_answer(one)?);
    }
    assert_eq!(seen.len(), COUNT, "{answer}");
    for call in &seen {
        let number = call.request_model.trim_start_matches("m-");
        assert_eq!(
            call.texts,
            [format!("answer {number}: {}", words.join(" "))]
        );
        assert_eq!((call.input, call.output), (Some(2), Some(42)));
    }
    seen.push(after);
    assert_eq!(
        Call::sorted(Call::of_spans(&finished.spans)),
        Call::sorted(seen),
        "{}",
        finished.log
    );
    println!("resident: {at_rest} KiB at rest, {most} KiB with {COUNT} streams");
    assert!(at_rest < AT_REST, "{at_rest} KiB at rest");
    assert!(most < UNDER_LOAD, "{most} KiB with {COUNT} streams");
    Ok(())
}

/// The agent has hardly any time, as in a container that is throttled: what it comes to late is told all the same.
#[test]
fn an_agent_that_stands_still_most_of_the_time() -> Result<()> {
    const COUNT: usize = 40;
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("sdk-new")?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["openai-async"])?;
    let agent = scene.attach(&client)?;
    let done = Arc::new(AtomicBool::new(false));
    let throttled = {
        let (done, pid) = (Arc::clone(&done), i32::try_from(agent.process.pid())?);
        std::thread::spawn(move || -> Result<()> {
            let pid = Pid::from_raw(pid);
            while !done.load(Ordering::Relaxed) {
                kill(pid, Signal::SIGSTOP)?;
                std::thread::sleep(Duration::from_millis(300));
                kill(pid, Signal::SIGCONT)?;
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        })
    };
    let mut seen = Vec::new();
    for round in 0..3 {
        let answer = client.ask(&json!({"do": "chat", "at_once": COUNT, "body": {
            "model": format!("m-{round}-{{}}"), "stream": true, "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": "number {}"}],
            "metadata": {"chunks": "60", "delay_ms": "10"}}}))?;
        for one in answer.as_array().map(Vec::as_slice).unwrap_or_default() {
            seen.push(Call::of_answer(one)?);
        }
    }
    done.store(true, Ordering::Relaxed);
    throttled.join().map_err(|_| anyhow!("it panicked"))??;
    assert_eq!(seen.len(), 3 * COUNT);
    let finished = agent.stop()?;
    assert_eq!(
        Call::sorted(Call::of_spans(&finished.spans)),
        Call::sorted(seen),
        "{}",
        finished.log
    );
    assert!(!finished.log.contains("lost:"), "{}", finished.log);
    Ok(())
}

#[test]
fn a_request_of_8_mib() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("clients")?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["stdlib"])?;
    let agent = scene.attach(&client)?;
    let seen = client.call(&json!({"do": "chat", "body": {
        "model": "large", "metadata": {"fill": (8 << 20).to_string()},
        "messages": [{"role": "user", "content": "begin "}]}}))?;
    let after = client.call(&json!({"do": "chat", "body": {
        "model": "after", "messages": [{"role": "user", "content": "one"}]}}))?;
    let finished = agent.stop()?;
    let calls = Call::of_spans(&finished.spans);
    assert_eq!(calls.len(), 2, "{}", finished.log);
    assert_eq!(
        calls[0],
        Call {
            defects: vec!["request_over_limit".to_owned()],
            ..seen
        }
    );
    assert_eq!(calls[1], after);
    Ok(())
}

#[test]
fn an_answer_of_8_mib() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("clients")?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["stdlib"])?;
    let agent = scene.attach(&client)?;
    let large = |coding: &str| {
        json!({"do": "chat", "headers": {"x-test-encoding": coding}, "body": {
            "model": "large", "metadata": {"chunks": "8", "chunk_chars": "1048576"},
            "messages": [{"role": "user", "content": "one two"}]}})
    };
    let seen = client.call(&large("identity"))?;
    let packed = client.call(&large("gzip"))?;
    let after = client.call(&json!({"do": "chat", "body": {
        "model": "after", "messages": [{"role": "user", "content": "one"}]}}))?;
    assert!(seen.texts[0].len() >= 8 << 20);
    let finished = agent.stop()?;
    let calls = Call::of_spans(&finished.spans);
    assert_eq!(calls.len(), 3, "{}", finished.log);
    for call in &calls[..2] {
        assert_eq!(call.defects, ["response_over_limit"]);
        assert_eq!(call.request_model, "large");
        assert_eq!((call.input, call.output), (seen.input, seen.output));
        assert_eq!((&call.model, &call.id), (&seen.model, &seen.id));
    }
    assert_eq!((packed.input, packed.output), (Some(2), Some(8)));
    assert_eq!(calls[2], after);
    Ok(())
}

#[test]
fn three_hundred_calls_on_one_connection() -> Result<()> {
    const COUNT: usize = 300;
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("clients")?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["stdlib"])?;
    let agent = scene.attach(&client)?;
    let seen = client.call(&json!({"do": "chat", "times": COUNT, "body": {
        "model": "m", "messages": [{"role": "user", "content": "one two three"}]}}))?;
    let finished = agent.stop()?;
    let calls = Call::of_spans(&finished.spans);
    assert_eq!(calls.len(), COUNT, "{}", finished.log);
    assert!(calls.iter().all(|call| *call == seen));
    assert_eq!(seen.input, Some(3));
    Ok(())
}

/// Requests that are no model's are copied no further than their heads after a while; a model
/// call on such a connection is seen all the same.
#[test]
fn what_is_no_models_is_muted() -> Result<()> {
    muted("off", "copy=Heads")?;
    // Where such requests are told, each of them is, with its answer and its end.
    muted("on", "copy=Outline")
}

fn muted(http_spans: &str, mode: &str) -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("clients")?) else {
        return Ok(());
    };
    let recording = scene.temp.file("muted.rec");
    let mut client = scene.client(&python, &["stdlib"])?;
    let name = recording.to_string_lossy().into_owned();
    let options = ["--debug", "--record", &name, "--http-spans", http_spans];
    let mut agent = Agent::attach(&scene.temp, &[client.pid()], &options)?;
    let other = |times: usize| json!({"do": "request", "method": "GET", "path": "/other?bytes=100000", "times": times});
    let posted = |zeros: usize| json!({"do": "request", "method": "POST", "path": "/other/echo", "zeros": zeros});
    assert_eq!(client.ask(&other(12))?["bytes"], 100_000);
    agent.wait_for_log(mode)?;
    let before = std::fs::metadata(&recording)?.len();
    assert_eq!(client.ask(&other(50))?["bytes"], 100_000);
    assert_eq!(client.ask(&posted(3_000_000))?["bytes"], 3_000_000);
    let chat = |model: &str| {
        json!({"do": "chat", "body": {
            "model": model, "messages": [{"role": "user", "content": "one two"}],
            "metadata": {"first_delay_ms": "100"}}})
    };
    let first = client.call(&chat("first"))?;
    let second = client.call(&chat("second"))?;
    let finished = agent.stop()?;
    let (calls, others): (Vec<Span>, Vec<Span>) = finished
        .spans
        .iter()
        .cloned()
        .partition(|span| !span.model().is_empty());
    let told = if http_spans == "on" { 12 + 50 + 1 } else { 0 };
    assert_eq!(others.len(), told, "{}", finished.lines);
    for span in others {
        assert_eq!(span.number(attr::HTTP_RESPONSE_STATUS_CODE), Some(200));
        assert!(span.duration() > 0 && span.error().is_empty(), "{}", span.0);
    }
    let calls = Call::of_spans(&calls);
    assert_eq!(calls.len(), 2, "{calls:#?}");
    assert_eq!(calls[0].request_model, "first");
    if calls[0].defects.is_empty() {
        assert_eq!(calls[0], first);
    }
    assert_eq!(calls[1], second);
    // Of ten megabytes next to nothing was copied.
    let copied = std::fs::metadata(&recording)?.len() - before;
    assert!(copied < 500_000, "{copied} bytes");
    Ok(())
}

#[test]
fn what_is_not_http_is_muted() -> Result<()> {
    let Some((scene, server, python)) = hostile()? else {
        return Ok(());
    };
    let mut client = raw(&scene, &server, &python)?;
    let mut agent = Agent::attach(&scene.temp, &[client.pid()], &["--debug"])?;
    assert_eq!(
        client.ask(&json!({"words": 400, "size": 4096}))?["bytes"],
        400 * 4096
    );
    agent.wait_for_log("copy=Nothing")?;
    client.ask(&json!({"model": "good"}))?;
    let calls = Call::of_spans(&agent.stop()?.spans);
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].input, calls[0].output), (Some(2), Some(1)));
    Ok(())
}

fn hostile() -> Result<Option<(Scene, Provider, std::path::PathBuf)>> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(None);
    };
    let program = programs().join("live/hostile.py");
    let server = Provider::start_program(&scene.temp, &python, &program, "hostile")?;
    Ok(Some((scene, server, python)))
}

fn raw(scene: &Scene, server: &Provider, python: &std::path::Path) -> Result<Client> {
    let mut command = scene.command_for(python, server);
    command.arg(programs().join("live/raw.py"));
    Client::start(&mut command, &scene.next_log())
}

/// Answers that break every rule. Whatever they do, memory stays bounded, and the next good call
/// is seen.
#[test]
fn hostile_servers() -> Result<()> {
    const MOST: u64 = 150 << 10;
    let Some((scene, server, python)) = hostile()? else {
        return Ok(());
    };
    let mut client = raw(&scene, &server, &python)?;
    let mut report = Vec::new();
    for model in [
        "endless-headers",
        "endless-header",
        "malformed",
        "lying-chunks",
        "gzip-bomb",
        "long-line",
        "deep-json",
    ] {
        let temp = Temp::new()?;
        let agent = Agent::attach(&temp, &[client.pid()], &[])?;
        client.tell(&json!({"model": model}))?;
        client.tell(&json!({"model": "good"}))?;
        let done = Arc::new(AtomicBool::new(false));
        let watch = {
            let (done, pid) = (Arc::clone(&done), agent.process.pid());
            std::thread::spawn(move || {
                let mut most = 0;
                while !done.load(Ordering::Relaxed) {
                    most = memory::resident(pid).unwrap_or_default().max(most);
                    std::thread::sleep(Duration::from_millis(5));
                }
                most
            })
        };
        let bytes = client.answer()?["bytes"].as_u64();
        assert_eq!(
            client.answer()?["bytes"].as_u64().map(|n| n > 100),
            Some(true)
        );
        let ended = agent.stop();
        done.store(true, Ordering::Relaxed);
        let most = watch.join().unwrap_or_default();
        let finished = ended?;
        report.push(format!("{model}: {bytes:?} bytes, {most} KiB"));
        assert_eq!(finished.code, 0, "{model}: {}", finished.log);
        assert!(most < MOST, "{model}: {most} KiB resident");
        let last = finished.spans.last().map(Call::of_span).unwrap_or_default();
        assert_eq!(last.request_model, "good", "{model}: {:?}", finished.spans);
        assert_eq!(
            (last.input, last.output, last.defects.len()),
            (Some(2), Some(1), 0),
            "{model}"
        );
        // Of the bad one there is a span, marked, or none: nothing is made up.
        for span in &finished.spans[..finished.spans.len() - 1] {
            assert_eq!(span.model(), model, "{span:?}");
            assert!(!span.defects().is_empty(), "{span:?}");
            assert_eq!(span.attribute(attr::USAGE_OUTPUT_TOKENS), &Value::Null);
        }
        assert!(finished.spans.len() <= 2, "{model}: {:?}", finished.spans);
    }
    println!("{}", report.join("\n"));
    Ok(())
}
