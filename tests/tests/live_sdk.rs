//! The real SDK, newest and oldest, in every way of calling that it has.

use anyhow::Result;
use genspan::vocabulary::attr;
use genspan_tests::{Call, Finished, Scene, Span, need};
use serde_json::{Value, json};

const NEW: &str = "sdk-new";
const OLD: &str = "sdk-old";

fn user(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

fn sky() -> Value {
    user("Why is the sky blue?")
}

fn tools() -> Value {
    let tool = |name: &str| {
        json!({"type": "function", "function": {"name": name, "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        }}})
    };
    json!([tool("weather"), tool("forecast")])
}

/// Calls that every SDK can make.
fn common() -> Vec<Value> {
    let usage = json!({"include_usage": true});
    vec![
        json!({"do": "chat", "body": {
            "model": "plain", "messages": sky(), "metadata": {"chunks": "4"}}}),
        json!({"do": "chat", "body": {
            "model": "stream", "messages": sky(), "metadata": {"chunks": "30"},
            "stream": true, "stream_options": usage}}),
        json!({"do": "chat", "body": {"model": "no-usage", "messages": sky(), "stream": true}}),
        json!({"do": "chat", "body": {"model": "length", "messages": sky(), "n": 3}}),
        json!({"do": "chat", "body": {
            "model": "two", "messages": sky(), "n": 2, "stream": true}}),
        json!({"do": "chat", "body": {"model": "tools", "messages": sky(), "tools": tools()}}),
        json!({"do": "chat", "body": {
            "model": "tool-stream", "messages": sky(), "tools": tools(), "stream": true}}),
        json!({"do": "chat", "body": {"model": "refusal", "messages": sky()}}),
        json!({"do": "completions", "body": {"model": "legacy", "prompt": "Why is that?"}}),
        json!({"do": "completions", "body": {
            "model": "legacy-stream", "prompt": "Why is that?", "stream": true}}),
        json!({"do": "embeddings", "body": {
            "model": "vector", "input": ["a b", "c"], "dimensions": 16}}),
    ]
    .into_iter()
    .map(|mut step| {
        // Some providers' clients say it so; the oldest SDK knows no `metadata`.
        if let Some(metadata) = step["body"]
            .as_object_mut()
            .and_then(|b| b.remove("metadata"))
        {
            step["headers"] = json!({"x-test-chunks": metadata["chunks"]});
        }
        step
    })
    .collect()
}

/// The same for the oldest SDK, which does not know all of the API.
fn common_to_oldest() -> Vec<Value> {
    let mut steps = common();
    for step in &mut steps {
        let Some(body) = step["body"].as_object_mut() else {
            continue;
        };
        let unknown: serde_json::Map<_, _> = ["stream_options", "tools", "dimensions"]
            .iter()
            .filter_map(|name| body.remove_entry(*name))
            .collect();
        if !unknown.is_empty() {
            body.insert("extra_body".to_owned(), Value::Object(unknown));
        }
    }
    steps
}

/// Calls that only a newer SDK can make.
fn responses() -> Vec<Value> {
    let flat = json!([{"type": "function", "name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}}}]);
    vec![
        json!({"do": "responses", "body": {"model": "response", "input": "Hello there"}}),
        json!({"do": "responses", "body": {
            "model": "response-stream", "input": "Hello there", "stream": true}}),
        json!({"do": "responses", "body": {
            "model": "response-tool", "input": "Hello", "tools": flat, "stream": true}}),
    ]
}

/// Makes the calls while traced: the spans are what the client saw, one each, in order.
fn same(environment: &str, client: &[&str], steps: &[Value]) -> Result<Option<Finished>> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment(environment)?) else {
        return Ok(None);
    };
    let mut client = scene.client(&python, client)?;
    let agent = scene.attach(&client)?;
    let mut seen = Vec::new();
    for step in steps {
        seen.push(client.call(step)?);
    }
    let mut finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    // A stream that is not read to its last byte ends with its connection, later.
    finished.spans.sort_by_key(Span::start);
    assert_eq!(Call::of_spans(&finished.spans), seen, "{}", finished.log);
    Ok(Some(finished))
}

/// Numbers that stand here and not only in the client's answer.
fn check_numbers(finished: &Finished) {
    let call = |model: &str| {
        let of_model: Vec<_> = finished
            .spans
            .iter()
            .filter(|s| s.model() == model)
            .collect();
        assert_eq!(of_model.len(), 1, "{model}");
        of_model[0]
    };
    let plain = call("plain");
    assert_eq!(plain.name(), "chat plain");
    assert_eq!(plain.0["kind"], "CLIENT");
    assert_eq!(plain.texts(attr::INPUT_MESSAGES), ["Why is the sky blue?"]);
    assert_eq!(plain.texts(attr::OUTPUT_MESSAGES), ["The sky is blue"]);
    assert_eq!(plain.number(attr::USAGE_INPUT_TOKENS), Some(5));
    assert_eq!(plain.number(attr::USAGE_OUTPUT_TOKENS), Some(4));
    assert_eq!(plain.list(attr::RESPONSE_FINISH_REASONS), ["stop"]);
    assert_eq!(plain.text(attr::SERVER_ADDRESS), "localhost");
    let stream = call("stream");
    assert_eq!(stream.number(attr::USAGE_OUTPUT_TOKENS), Some(30));
    let first = stream
        .attribute(attr::RESPONSE_TIME_TO_FIRST_CHUNK)
        .as_f64()
        .unwrap_or(f64::NAN);
    assert!(
        first > 0.0 && first * 1e9 <= stream.duration() as f64,
        "{first}"
    );
    let no_usage = call("no-usage");
    assert_eq!(no_usage.number(attr::USAGE_OUTPUT_TOKENS), None);
    assert_eq!(
        call("length").list(attr::RESPONSE_FINISH_REASONS),
        ["length"; 3]
    );
    assert_eq!(call("length").number(attr::REQUEST_CHOICE_COUNT), Some(3));
    assert_eq!(call("two").list(attr::RESPONSE_FINISH_REASONS), ["stop"; 2]);
    let called = Call::of_span(call("tool-stream"));
    let names: Vec<_> = called.tools.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["weather", "forecast"]);
    assert_eq!(called.tools[0].1, json!({"city": "some city", "days": 3}));
    assert_eq!(called.finish, ["tool_calls"]);
    let vector = call("vector");
    assert_eq!(vector.number(attr::EMBEDDINGS_DIMENSION_COUNT), Some(16));
    assert_eq!(vector.number(attr::USAGE_INPUT_TOKENS), Some(3));
}

#[test]
fn newest_sync() -> Result<()> {
    if let Some(finished) = same(NEW, &["openai"], &[common(), responses()].concat())? {
        check_numbers(&finished);
    }
    Ok(())
}

#[test]
fn newest_async() -> Result<()> {
    if let Some(finished) = same(NEW, &["openai-async"], &[common(), responses()].concat())? {
        check_numbers(&finished);
    }
    Ok(())
}

#[test]
fn newest_on_uvloop() -> Result<()> {
    let steps = [common(), responses()].concat();
    if let Some(finished) = same(NEW, &["openai-async", "--uvloop"], &steps)? {
        check_numbers(&finished);
    }
    Ok(())
}

#[test]
fn oldest_sync() -> Result<()> {
    if let Some(finished) = same(OLD, &["openai"], &common_to_oldest())? {
        check_numbers(&finished);
    }
    Ok(())
}

#[test]
fn oldest_async() -> Result<()> {
    if let Some(finished) = same(OLD, &["openai-async"], &common_to_oldest())? {
        check_numbers(&finished);
    }
    Ok(())
}

#[test]
fn a_stored_response_is_fetched() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment(NEW)?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["openai"])?;
    let agent = scene.attach(&client)?;
    let made = client.call(&json!({"do": "responses", "body": {"model": "m", "input": "Hi"}}))?;
    let fetched = client.call(&json!({"do": "retrieve", "id": made.id}))?;
    assert_eq!(fetched.texts, made.texts);
    let spans = agent.stop()?.spans;
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[1].text(attr::OPERATION_NAME), "fetch_response");
    assert_eq!(spans[1].text(attr::RESPONSE_ID), made.id);
    assert_eq!(spans[1].text(attr::RESPONSE_STATUS), "completed");
    Ok(())
}

/// Each failure: the model that asks for it, and `error.type`.
const FAILURES: [(&str, &str); 6] = [
    ("error-400", "invalid_value"),
    ("error-401", "invalid_api_key"),
    ("error-404", "model_not_found"),
    ("error-429", "rate_limit_exceeded"),
    ("error-500", "server_error"),
    ("error-html", "502"),
];

fn failures(environment: &str) -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment(environment)?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["openai"])?;
    let agent = scene.attach(&client)?;
    for (model, _) in FAILURES {
        let answer = client.ask(&json!({
            "do": "chat", "body": {"model": model, "messages": sky()},
            "client": {"max_retries": 0}}))?;
        assert!(
            answer["status"].as_i64().is_some_and(|s| s >= 400),
            "{answer}"
        );
    }
    let mut spans = agent.stop()?.spans;
    // Those that might have been tried again are told last.
    spans.sort_by(|a, b| a.model().cmp(b.model()));
    let told: Vec<_> = spans.iter().map(|s| (s.model(), s.error())).collect();
    assert_eq!(told, FAILURES);
    for span in &spans {
        assert_eq!(span.0["status"]["code"], "ERROR", "{span:?}");
        assert_eq!(span.number(attr::USAGE_INPUT_TOKENS), None);
        assert_eq!(span.attribute(attr::HTTP_RESEND_COUNT), &Value::Null);
        assert_eq!(span.defects(), [""; 0]);
    }
    assert_eq!(
        spans[0].0["status"]["message"],
        "Invalid value for the request."
    );
    Ok(())
}

#[test]
fn failures_newest() -> Result<()> {
    failures(NEW)
}

#[test]
fn failures_oldest() -> Result<()> {
    failures(OLD)
}

fn retries(environment: &str, client: &str) -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment(environment)?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &[client])?;
    let agent = scene.attach(&client)?;
    let chat = |model: &str| {
        json!({"do": "chat", "body": {"model": model, "messages": sky()},
               "client": {"max_retries": 2}})
    };
    let mut limited = client.call(&chat("error-429-then-ok"))?;
    let mut failed = client.call(&chat("error-500-then-ok"))?;
    assert_eq!(client.ask(&chat("error-429"))?["error"], "RateLimitError");
    let finished = agent.stop()?;
    let calls = Call::of_spans(&finished.spans);
    assert_eq!(calls.len(), 3, "{calls:#?}");
    // The old SDK does not say that it tries again; the attempts are told by their sameness.
    limited.resends = Some(1);
    failed.resends = Some(1);
    assert_eq!(calls[0], limited);
    assert_eq!(calls[1], failed);
    assert_eq!(
        (calls[2].resends, calls[2].error.as_str()),
        (Some(2), "rate_limit_exceeded")
    );
    Ok(())
}

#[test]
fn retries_are_one_call() -> Result<()> {
    retries(NEW, "openai")
}

#[test]
fn retries_are_one_call_async() -> Result<()> {
    retries(NEW, "openai-async")
}

#[test]
fn hanging_up_early() -> Result<()> {
    for client in ["openai", "openai-async"] {
        let (Some(scene), Some(python)) = (Scene::new()?, need::environment(NEW)?) else {
            return Ok(());
        };
        let mut client = scene.client(&python, &[client])?;
        let agent = scene.attach(&client)?;
        let seen = client.call(&json!({
            "do": "chat", "stop_after": 4,
            "body": {"model": "early", "messages": sky(), "stream": true,
                     "metadata": {"chunks": "30", "delay_ms": "20"}}}))?;
        let after = client.call(&json!({
            "do": "chat", "body": {"model": "after", "messages": sky()}}))?;
        let finished = agent.stop()?;
        let mut calls = Call::of_spans(&finished.spans);
        assert_eq!(calls.len(), 2, "{calls:#?}");
        // When the connection is seen to be gone is up to the client.
        calls.sort_by(|a, b| b.request_model.cmp(&a.request_model));
        assert_eq!(seen.texts, ["The sky is"]);
        // More may have been read than the program took.
        assert!(
            calls[0].texts[0].starts_with(&seen.texts[0]),
            "{:?}",
            calls[0]
        );
        assert_eq!((calls[0].output, calls[0].finish.len()), (None, 0));
        assert_eq!(calls[0].defects, ["response_cut"]);
        assert_eq!(calls[0].error, "");
        assert_eq!((&calls[0].id, &calls[0].model), (&seen.id, &seen.model));
        assert_eq!(calls[1], after);
    }
    Ok(())
}

#[test]
fn answers_that_break_off() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment(NEW)?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["openai"])?;
    let agent = scene.attach(&client)?;
    let mut chat = |model: &str, stream: bool, timeout: f64| {
        client.ask(&json!({
            "do": "chat", "body": {"model": model, "messages": sky(), "stream": stream},
            "client": {"max_retries": 0, "timeout": timeout}}))
    };
    for (model, stream, timeout, error) in [
        ("midstream-error", true, 30.0, "APIError"),
        ("cut", true, 30.0, "APIConnectionError"),
        ("cut", false, 30.0, "APIConnectionError"),
        ("hang", false, 0.4, "APITimeoutError"),
    ] {
        assert_eq!(chat(model, stream, timeout)?["error"], error, "{model}");
    }
    // Its end closes what is left open.
    client.0.close();
    let spans = agent.wait()?.spans;
    let of = |model: &str, stream: bool| {
        let calls: Vec<_> = spans.iter().map(Call::of_span).collect();
        let calls: Vec<_> = calls
            .into_iter()
            .filter(|c| c.request_model == model && c.stream == stream)
            .collect();
        assert_eq!(calls.len(), 1, "{model}");
        calls[0].clone()
    };
    assert_eq!(spans.len(), 4);
    let told = of("midstream-error", true);
    assert_eq!(told.error, "server_error");
    assert_eq!(told.texts, ["The sky is blue because air"]);
    let cut = of("cut", true);
    assert_eq!(cut.texts, ["The sky is blue because air"]);
    assert_eq!(
        (cut.defects, cut.output),
        (vec!["response_cut".to_owned()], None)
    );
    assert_eq!(cut.error, "connection_reset");
    let cut = of("cut", false);
    assert_eq!(cut.error, "connection_reset");
    assert!(cut.defects.contains(&"response_cut".to_owned()), "{cut:?}");
    assert_eq!(cut.output, None);
    let hung = of("hang", false);
    assert_eq!(hung.texts, [""; 0]);
    assert_eq!(hung.defects, ["response_cut"]);
    assert_eq!(hung.error, "connection_closed");
    Ok(())
}
