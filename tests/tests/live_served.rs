//! What a traced process serves: real servers with and without TLS, plain answers and streams.

use anyhow::{Result, ensure};
use genspan::vocabulary::attr;
use genspan_tests::{Agent, Call, Client, Scene, Span, Temp, need};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Servers, as `python/live/served.py` names them.
const SERVERS: [&str; 6] = [
    "uvicorn",
    "uvloop",
    "hypercorn",
    "hypercorn-uvloop",
    "gunicorn",
    "gunicorn-asyncio",
];

fn chat(model: &str, stream: bool) -> Value {
    json!({"do": "chat", "body": {
        "model": model, "stream": stream, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "Say grüß dich, 你好"}],
        "metadata": {"chunks": "20", "delay_ms": "2", "first_delay_ms": "20"}}})
}

/// The least that such a server waits before a stream's first piece, in seconds. The timers of libuv
/// count whole milliseconds of a clock that is read once a round, so its 20 ms are 19 and a bit at
/// times; asyncio's are never short.
fn least_wait(server: &str) -> f64 {
    if server.contains("uvloop") {
        0.019
    } else {
        0.02
    }
}

/// What is known of a served stream beyond what its client saw.
fn check_times(span: &Span, stream: bool, least: f64) {
    let first = span.attribute(attr::RESPONSE_TIME_TO_FIRST_CHUNK).as_f64();
    if stream {
        let first = first.unwrap_or_default();
        assert!(
            first >= least && first * 1e9 < span.duration() as f64,
            "{}",
            span.0
        );
    } else {
        assert_eq!(first, None, "{}", span.0);
    }
}

/// How many values a histogram of the server's has, in series that have this label; as Prometheus is
/// told.
fn count(metrics: &str, name: &str, label: &str) -> u64 {
    let name = format!("{name}_count{{");
    let series = metrics.lines().filter_map(|l| l.strip_prefix(&name));
    let values = series.filter(|l| l.contains(label));
    let values = values.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum::<f64>() as u64
}

/// Of each served call there are the server's metrics, and none of a client's.
fn check_metrics(agent: &mut Agent, calls: u64, streams: u64) -> Result<()> {
    const OK: &str = "gen_ai_operation_name=\"chat\"";
    let begun = Instant::now();
    loop {
        let (status, metrics) = agent.metrics()?;
        assert_eq!(status, 200);
        let of = |name: &str, label: &str| count(&metrics, &format!("gen_ai_server_{name}"), label);
        let seen = (
            of("request_duration_seconds", OK),
            of("request_duration_seconds", "error_type=\"model_not_found\""),
            of("time_to_first_token_seconds", OK),
            of("time_per_output_token_seconds", OK),
        );
        if seen == (calls, 1, streams, streams) {
            assert!(!metrics.contains("gen_ai_client_"), "{metrics}");
            return Ok(());
        }
        // Spans are told a little before what is counted of them.
        ensure!(
            begun.elapsed() < Duration::from_secs(5),
            "{seen:?}: {metrics}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn serves(server: &str, plain: bool) -> Result<()> {
    let (Some(scene), Some(python)) =
        (Scene::served(server, plain)?, need::environment("clients")?)
    else {
        return Ok(());
    };
    let options = ["--prometheus", "0"];
    let mut agent = Agent::attach(&scene.temp, &[scene.provider.pid()], &options)?;
    let mut seen = Vec::new();
    // A connection for each call, and one for all.
    for client in ["urllib", "httpx"] {
        let mut client = scene.client(&python, &[client])?;
        for stream in [false, true, false, true] {
            seen.push(client.call(&chat("served", stream))?);
        }
    }
    let mut client = scene.client(&python, &["httpx"])?;
    let refused = client.ask(&chat("error-404", false))?;
    assert_eq!(refused["status"], 404, "{refused}");
    agent.wait_for_spans(seen.len() + 1)?;
    check_metrics(&mut agent, seen.len() as u64 + 1, seen.len() as u64 / 2)?;
    let finished = agent.stop()?;
    let what = format!("{server}, plain {plain}: {}", finished.log);
    assert_eq!(finished.code, 0, "{what}");
    let calls = Call::of_spans(&finished.spans);
    assert_eq!(calls[..seen.len()], seen, "{what}");
    assert_eq!(calls[seen.len()..].len(), 1, "{what}");
    assert_eq!(calls[seen.len()].error, "model_not_found", "{what}");
    for span in &finished.spans {
        assert_eq!(span.kind(), "SERVER", "{what}");
        assert_eq!(span.text(attr::SERVER_ADDRESS), "localhost", "{}", span.0);
        assert_eq!(
            span.number(attr::SERVER_PORT),
            Some(i64::from(scene.provider.port))
        );
        // Of TLS over memory the peer is known when the answer was sent.
        assert_eq!(span.text(attr::CLIENT_ADDRESS), "127.0.0.1", "{}", span.0);
        check_times(
            span,
            span.attribute(attr::REQUEST_STREAM) == true,
            least_wait(server),
        );
    }
    Ok(())
}

#[test]
fn plain() -> Result<()> {
    SERVERS.iter().try_for_each(|server| serves(server, true))
}

#[test]
fn tls() -> Result<()> {
    SERVERS.iter().try_for_each(|server| serves(server, false))
}

/// What inference servers serve by their own APIs: path, request, provider, how it ended.
fn shapes() -> [(&'static str, Value, &'static str, &'static str); 5] {
    let said = "Red fox jumps high";
    let messages = json!([{"role": "user", "content": said}]);
    [
        (
            "/generate",
            json!({"text": said, "stream": true, "sampling_params": {"max_new_tokens": 8}}),
            "sglang",
            "stop",
        ),
        (
            "/completion",
            json!({"prompt": said, "n_predict": 8, "stream": true}),
            "llama_cpp",
            "eos",
        ),
        (
            "/generate_stream",
            json!({"inputs": said, "parameters": {"max_new_tokens": 8}}),
            "huggingface",
            "eos_token",
        ),
        (
            "/api/chat",
            json!({"model": "m", "messages": messages}),
            "ollama",
            "stop",
        ),
        (
            "/v1/messages",
            json!({"model": "m", "max_tokens": 8, "stream": true, "messages": messages}),
            "anthropic",
            "end_turn",
        ),
    ]
}

/// The streams of inference servers, in the shape of each: of events that add up, of ones that have all
/// of the text so far, and of lines.
#[test]
fn streams_of_inference_servers() -> Result<()> {
    for (server, plain) in [("uvicorn", true), ("uvloop", false)] {
        let (Some(scene), Some(python)) =
            (Scene::served(server, plain)?, need::environment("clients")?)
        else {
            return Ok(());
        };
        let agent = Agent::attach(&scene.temp, &[scene.provider.pid()], &[])?;
        let mut client = scene.client(&python, &["httpx"])?;
        for (path, body, ..) in shapes() {
            let headers = json!({"content-type": "application/json"});
            let step = json!({"do": "request", "method": "POST", "path": path, "headers": headers,
                "data": body.to_string()});
            assert_eq!(client.ask(&step)?["status"], 200, "{path}");
        }
        agent.wait_for_spans(shapes().len())?;
        let finished = agent.stop()?;
        assert_eq!(finished.spans.len(), shapes().len(), "{}", finished.log);
        for (span, (path, _, provider, reason)) in finished.spans.iter().zip(shapes()) {
            assert_eq!(span.kind(), "SERVER", "{path}: {}", span.0);
            assert_eq!(
                span.text(attr::PROVIDER_NAME),
                provider,
                "{path}: {}",
                span.0
            );
            assert_eq!(span.texts(attr::INPUT_MESSAGES), ["Red fox jumps high"]);
            assert_eq!(span.texts(attr::OUTPUT_MESSAGES), ["Red fox jumps"]);
            assert_eq!(span.list(attr::RESPONSE_FINISH_REASONS), [reason], "{path}");
            assert_eq!(span.number(attr::USAGE_OUTPUT_TOKENS), Some(3), "{path}");
            assert_eq!(span.number(attr::USAGE_INPUT_TOKENS), Some(6), "{path}");
            assert!(
                span.attribute(attr::RESPONSE_TIME_TO_FIRST_CHUNK)
                    .is_number()
            );
            assert!(
                span.defects().is_empty() && span.error().is_empty(),
                "{}",
                span.0
            );
        }
    }
    Ok(())
}

/// Calls of a client that is no Python, at the same time on one connection of HTTP/2: they are seen
/// where they are served.
fn asked_by_node(plain: bool) -> Result<()> {
    const AT_ONCE: usize = 32;
    let (Some(scene), Some(node)) = (Scene::served("hypercorn", plain)?, need::command("node")?)
    else {
        return Ok(());
    };
    let agent = Agent::attach(&scene.temp, &[scene.provider.pid()], &[])?;
    let mut command = scene.command(node);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("node/http2_client.mjs"));
    let mut client = Client::start(&mut command, &scene.next_log())?;
    let mut seen = Vec::new();
    for round in 0..2 {
        let step = json!({"at_once": AT_ONCE, "body": {
            "model": format!("m-{round}-{}", "{}"),
            "messages": [{"role": "user", "content": format!("marker {round} {}", "{}")}],
            "metadata": {"answer": format!("of {round} {}", "{}"), "chunks": "12",
                "delay_ms": "2", "first_delay_ms": "20"}}});
        let answer = client.ask(&step)?;
        let answers = answer.as_array().cloned().unwrap_or_default();
        assert_eq!(answers.len(), AT_ONCE, "{}", client.0.complaints());
        for answer in &answers {
            seen.push(Call::of_answer(answer)?);
        }
    }
    // What is no Python is refused, with the reason.
    let pid = client.pid().to_string();
    let refused = genspan_tests::agent::run(&Temp::new()?, &["trace", "--pid", &pid])?;
    assert_eq!(refused.code, 1, "{}", refused.log);
    assert!(refused.log.contains("is not Python"), "{}", refused.log);
    agent.wait_for_spans(seen.len())?;
    let finished = agent.stop()?;
    let told = Call::sorted(Call::of_spans(&finished.spans));
    assert_eq!(told, Call::sorted(seen), "plain {plain}: {}", finished.log);
    let kinds = finished.spans.iter().map(Span::kind);
    assert!(kinds.into_iter().all(|kind| kind == "SERVER"));
    Ok(())
}

#[test]
fn http2_of_node() -> Result<()> {
    [false, true].into_iter().try_for_each(asked_by_node)
}
