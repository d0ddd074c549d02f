//! HTTP/2: many calls at the same time on one connection.

use anyhow::Result;
use genspan::vocabulary::attr;
use genspan_tests::{Agent, Call, Client, Scene, need};
use serde_json::{Value, json};

/// Calls at the same time, in turns plain and streamed.
const AT_ONCE: usize = 32;

/// Each question has its own marker, and each answer carries it.
fn many(round: usize) -> Value {
    json!({
        "do": "chat", "at_once": AT_ONCE, "mixed": true,
        "headers": {"x-test-padding": if round % 2 == 1 { "7" } else { "0" }},
        "body": {
            "model": format!("m-{round}-{}", "{}"),
            "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": format!("marker {round} {}", "{}")}],
            "metadata": {
                "answer": format!("of {round} {}", "{}"), "chunks": "24", "delay_ms": "2",
                "first_delay_ms": "30"}}})
}

/// What the client saw of calls at the same time.
fn seen(client: &mut Client, step: &Value) -> Result<Vec<Call>> {
    let answer = client.ask(step)?;
    let answers = answer.as_array().cloned().unwrap_or_default();
    anyhow::ensure!(
        answers.len() == AT_ONCE,
        "{answer}; {}",
        client.0.complaints()
    );
    answers.iter().map(Call::of_answer).collect()
}

/// So many connections were made to the provider so far.
fn connections(client: &mut Client) -> Result<i64> {
    let step = json!({"do": "request", "method": "GET", "path": "/other/connections"});
    let answer = client.ask(&step)?;
    Ok(answer["bytes"].as_i64().unwrap_or_default())
}

/// The agent, which is to tell of calls alone.
fn attach(scene: &Scene, client: &Client) -> Result<Agent> {
    Agent::attach(&scene.temp, &[client.pid()], &["--http-spans", "off"])
}

fn check(told: Vec<Call>, seen: Vec<Call>, log: &str) {
    for call in &seen {
        assert_eq!((call.input, call.output), (Some(3), Some(24)), "{call:?}");
        let marker = call.request_model.replace("m-", "").replace('-', " ");
        assert!(
            call.texts[0].starts_with("of ") && marker.contains(' '),
            "{call:?}"
        );
    }
    assert_eq!(Call::sorted(told), Call::sorted(seen), "{log}");
}

/// Three rounds, the agent there from before the first.
fn at_once(arguments: &[&str]) -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::http2()?, need::environment("http2")?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, arguments)?;
    let agent = attach(&scene, &client)?;
    let mut all = Vec::new();
    for round in 0..3 {
        all.extend(seen(&mut client, &many(round))?);
    }
    if arguments[0].starts_with("httpx") {
        assert_eq!(connections(&mut client)?, 1);
    }
    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_eq!(finished.spans.len(), 3 * AT_ONCE, "{}", finished.log);
    // Each question with its own answer.
    for span in &finished.spans {
        let question = span.texts(attr::INPUT_MESSAGES);
        let marker = question[0].replace("marker", "of");
        let words: Vec<&str> = marker.split(' ').collect();
        let model = format!("m-{}-{}", words[1], words[2]);
        assert_eq!(span.model(), model);
        let answer = span.texts(attr::OUTPUT_MESSAGES);
        let want: Vec<&str> = words.iter().copied().cycle().take(24).collect();
        assert_eq!(answer, [want.join(" ")], "{question:?}");
    }
    check(Call::of_spans(&finished.spans), all, &finished.log);
    Ok(())
}

/// Both ends are traced: each of the calls at the same time on one connection is served as its own child,
/// though nobody sends a header.
#[test]
fn both_ends_of_32_calls_at_once() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::http2()?, need::environment("http2")?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["httpx-async-http2"])?;
    let pids = [client.pid(), scene.provider.pid()];
    let agent = Agent::attach(&scene.temp, &pids, &["--http-spans", "off"])?;
    // Addresses are known once bytes went between them.
    for round in 0..2 {
        seen(&mut client, &many(round))?;
    }
    agent.wait_for_spans(4 * AT_ONCE)?;
    let finished = agent.stop()?;
    let (made, served): (Vec<_>, Vec<_>) =
        finished.spans.iter().partition(|s| s.kind() == "CLIENT");
    assert_eq!((made.len(), served.len()), (2 * AT_ONCE, 2 * AT_ONCE));
    for span in served {
        let call = made.iter().find(|call| call.model() == span.model());
        let call = call.expect("the call that it serves");
        assert_eq!(span.text(attr::PARENT_SOURCE), "connection", "{}", span.0);
        for (name, of) in [("parent_span_id", "span_id"), ("trace_id", "trace_id")] {
            assert_eq!(span.0[name], call.0[of], "{}", span.0);
        }
    }
    Ok(())
}

#[test]
fn the_sdk_with_32_calls_at_once() -> Result<()> {
    at_once(&["openai-async-http2"])
}

#[test]
fn the_sdk_on_uvloop() -> Result<()> {
    at_once(&["openai-async-http2", "--uvloop"])
}

#[test]
fn httpx_with_32_calls_at_once() -> Result<()> {
    at_once(&["httpx-async-http2"])
}

/// Codings, splits, errors, trailers and hang-ups, one after the other on one connection.
#[test]
fn every_kind_of_answer() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::http2()?, need::environment("http2")?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["httpx-http2"])?;
    let agent = scene.attach(&client)?;
    let mut all = Vec::new();
    for coding in ["identity", "gzip", "deflate", "br", "zstd"] {
        for stream in [false, true] {
            all.push(client.call(&json!({
                "do": "chat",
                "headers": {
                    "x-test-encoding": coding, "accept-encoding": coding,
                    "x-test-split": "700", "x-test-trailers": "1", "x-test-padding": "3"},
                "body": {
                    "model": coding, "stream": stream,
                    "stream_options": {"include_usage": true},
                    "messages": [{"role": "user", "content": "Say grüß dich, 你好"}],
                    "metadata": {"chunks": "40"}}}))?);
        }
    }
    // A question of several frames, and an answer of several.
    all.push(client.call(&json!({"do": "chat", "body": {
        "model": "long", "messages": [{"role": "user", "content": "long "}],
        "metadata": {"fill": "200000", "chunks": "60", "chunk_chars": "60"}}}))?);
    client.ask(&json!({"do": "chat", "body": {
        "model": "error-429", "messages": [{"role": "user", "content": "a"}]}}))?;
    client.ask(&json!({"do": "chat", "body": {
        "model": "cut", "stream": true, "messages": [{"role": "user", "content": "a"}]}}))?;
    all.push(client.call(&json!({"do": "chat", "body": {
        "model": "after", "messages": [{"role": "user", "content": "one two"}]}}))?);
    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    let mut told = Call::of_spans(&finished.spans);
    assert_eq!(told.len(), all.len() + 2, "{}", finished.log);
    let at = told.iter().position(|c| c.request_model == "error-429");
    let refused = told.remove(at.unwrap_or_default());
    assert_eq!(refused.error, "rate_limit_exceeded", "{refused:?}");
    let at = told.iter().position(|c| c.request_model == "cut");
    let cut = told.remove(at.unwrap_or_default());
    assert_eq!(cut.defects, ["response_cut"], "{cut:?}");
    assert_eq!(told, all, "{}", finished.log);
    Ok(())
}

/// To a connection that is open already. The client puts the path into the connection's header
/// table: of calls on one that was sent before the attach only the answer is told, of others all.
#[test]
fn an_open_connection() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::http2()?, need::environment("http2")?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["httpx-async-http2"])?;
    client.call(&json!({"do": "embeddings", "body": {"model": "before", "input": "one two"}}))?;
    let agent = attach(&scene, &client)?;
    let first = seen(&mut client, &many(0))?;
    let second = seen(&mut client, &many(1))?;
    client.call(&json!({"do": "embeddings", "body": {"model": "known", "input": "one two"}}))?;
    assert_eq!(connections(&mut client)?, 1);
    let finished = agent.stop()?;
    let mut told = Call::of_spans(&finished.spans);
    assert_eq!(told.len(), 2 * AT_ONCE + 1, "{told:?} {}", finished.log);
    let known = told.iter().position(|call| call.model == "known-2026");
    let known = told.remove(known.unwrap_or_default());
    assert_eq!(known.operation, "embeddings", "{known:?}");
    assert_eq!(known.defects, ["attached_midway", "headers_unknown"]);
    assert_eq!((known.request_model.as_str(), known.input), ("", Some(2)));
    for call in &mut told {
        // Some of the headers stay unknown, and that is said.
        assert_eq!(call.defects, ["headers_unknown"], "{call:?}");
        call.defects.clear();
    }
    check(told, [first, second].concat(), &finished.log);
    assert!(
        finished
            .log
            .contains("HTTP/2 requests whose head refers to what was not seen"),
        "{}",
        finished.log
    );
    Ok(())
}
