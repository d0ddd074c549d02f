//! Recordings, and what may not be in them; content settings.

use anyhow::Result;
use genspan::vocabulary::{attr, resource};
use genspan_tests::scene::{COOKIE, KEY};
use genspan_tests::{Agent, Client, Scene, agent, need};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;

fn chat(model: &str, stream: bool) -> Value {
    json!({"do": "chat", "body": {
        "model": model, "stream": stream, "metadata": {"chunks": "8"},
        "messages": [{"role": "user", "content": "a word that stands out: zanzibar"}]}})
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|w| w == text.as_bytes())
}

#[test]
fn a_recording_replays_to_the_same_bytes_and_holds_no_secret() -> Result<()> {
    for (environment, client) in [("sdk-new", "openai"), ("clients", "httpx-async")] {
        let (Some(scene), Some(python)) = (Scene::new()?, need::environment(environment)?) else {
            return Ok(());
        };
        let recording = scene.temp.file("live.rec");
        let name = recording.to_string_lossy().into_owned();
        let mut client = scene.client(&python, &[client])?;
        let live = Agent::attach(&scene.temp, &[client.pid()], &["--record", &name])?;
        for (model, stream) in [
            ("plain", false),
            ("stream", true),
            ("error-404", false),
            ("length", true),
        ] {
            client.ask(&chat(model, stream))?;
        }
        let live = live.stop()?;
        assert_eq!((live.code, live.spans.len()), (0, 4), "{}", live.log);

        let again = scene.temp.file("again.jsonl");
        let again_name = again.to_string_lossy().into_owned();
        let arguments = ["replay", &name, "--format", "json", "--output", &again_name];
        let replayed = agent::run(&scene.temp, &arguments)?;
        assert_eq!(replayed.code, 0, "{}", replayed.log);
        assert_eq!(std::fs::read_to_string(&again)?, live.lines);

        let bytes = std::fs::read(&recording)?;
        assert_eq!(
            std::fs::metadata(&recording)?.permissions().mode() & 0o777,
            0o600
        );
        assert!(holds(&bytes, "zanzibar"), "the content is there");
        for secret in [KEY, COOKIE] {
            assert!(!holds(&bytes, secret), "{secret} is in the recording");
            assert!(!live.lines.contains(secret) && !live.log.contains(secret));
        }

        // In the words of another dialect.
        let told = scene.temp.file("told.jsonl");
        let told_name = told.to_string_lossy().into_owned();
        let dialect = ["--dialect", "aliyun"];
        let arguments = [&arguments[..5], &[&told_name], &dialect].concat();
        let replayed = agent::run(&scene.temp, &arguments)?;
        assert_eq!(replayed.code, 0, "{}", replayed.log);
        let lines = std::fs::read_to_string(&told)?;
        assert_eq!(lines.lines().count(), live.spans.len());
        for (line, before) in lines.lines().zip(&live.spans) {
            let span: Value = serde_json::from_str(line)?;
            assert_eq!(span["attributes"][attr::SPAN_KIND], "LLM", "{span}");
            assert_eq!(before.attribute(attr::SPAN_KIND), &Value::Null);
        }

        let hidden = scene.temp.file("hidden.jsonl");
        let hidden_name = hidden.to_string_lossy().into_owned();
        let arguments = [
            "replay",
            &name,
            "--no-content",
            "--format",
            "json",
            "--output",
            &hidden_name,
        ];
        assert_eq!(agent::run(&scene.temp, &arguments)?.code, 0);
        let hidden = std::fs::read_to_string(&hidden)?;
        assert_eq!(hidden.lines().count(), 4);
        assert!(!hidden.contains("zanzibar"));
    }
    Ok(())
}

#[test]
fn what_is_no_recording() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let file = scene.temp.file("not.rec");
    std::fs::write(&file, "hello")?;
    for (path, word) in [
        (file, "not a genspan recording"),
        (scene.temp.file("absent"), "cannot open"),
    ] {
        let finished = agent::run(&scene.temp, &["replay", &path.to_string_lossy()])?;
        assert_eq!(finished.code, 1);
        assert!(finished.log.contains(word), "{}", finished.log);
    }
    Ok(())
}

/// One plain and one streamed call of a program with this environment, traced with these options.
fn with(variables: &[(&str, &str)], options: &[&str]) -> Result<Option<genspan_tests::Finished>> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(None);
    };
    let mut command = scene.live(&python, "client.py");
    command.arg("stdlib").envs(variables.iter().copied());
    let mut client = Client::start(&mut command, &scene.next_log())?;
    let agent = Agent::attach(&scene.temp, &[client.pid()], options)?;
    client.call(&chat("plain", false))?;
    client.call(&chat("stream", true))?;
    let finished = agent.stop()?;
    assert_eq!(
        (finished.code, finished.spans.len()),
        (0, 2),
        "{}",
        finished.log
    );
    Ok(Some(finished))
}

/// The sum of all series of a metric, as Prometheus is told; none when there is no such metric.
fn sum(metrics: &str, name: &str) -> Option<f64> {
    let series = metrics.lines().filter_map(|l| l.strip_prefix(name));
    let series = series.filter(|rest| rest.starts_with('{'));
    let values = series.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok());
    values.reduce(|a, b| a + b)
}

/// Metrics have the names of before or of now, or both; what they say is what the spans say.
#[test]
fn metrics_in_either_vocabulary() -> Result<()> {
    for (vocabulary, before, now) in [
        ("legacy", true, false),
        ("current", false, true),
        ("both", true, true),
    ] {
        let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
            return Ok(());
        };
        let mut client = scene.client(&python, &["stdlib"])?;
        let options = ["--prometheus", "0", "--vocabulary", vocabulary];
        let mut agent = Agent::attach(&scene.temp, &[client.pid()], &options)?;
        client.call(&chat("plain", false))?;
        client.call(&chat("stream", true))?;
        agent.wait_for_spans(2)?;
        // Spans are told a little before what is counted of them.
        std::thread::sleep(std::time::Duration::from_millis(500));
        let (_, metrics) = agent.metrics()?;
        let finished = agent.stop()?;
        let tokens = |name: &str| {
            let all = finished.spans.iter().filter_map(|s| s.number(name));
            all.sum::<i64>() as f64
        };
        let (read, written) = (
            tokens(attr::USAGE_INPUT_TOKENS),
            tokens(attr::USAGE_OUTPUT_TOKENS),
        );
        assert!(read > 0.0 && written > 0.0, "{}", finished.lines);
        for (name, is_told, value) in [
            ("operation_duration_seconds_count", before, 2.0),
            ("token_usage_sum", before, read + written),
            ("inference_duration_seconds_count", now, 2.0),
            ("inference_usage_input_tokens_total", now, read),
            ("inference_usage_output_tokens_total", now, written),
        ] {
            let told = sum(&metrics, &format!("gen_ai_client_{name}"));
            assert_eq!(
                told,
                is_told.then_some(value),
                "{vocabulary} {name}: {metrics}"
            );
        }
    }
    Ok(())
}

fn check_no_content(finished: &genspan_tests::Finished) {
    assert!(!finished.lines.contains("zanzibar") && !finished.lines.contains("The sky"));
    for span in &finished.spans {
        assert_eq!(span.attribute(attr::INPUT_MESSAGES), &Value::Null);
        assert_eq!(span.number(attr::INPUT_MESSAGES_COUNT), Some(1));
        assert_eq!(span.number(attr::INPUT_MESSAGES_CHARS), Some(32));
        assert_eq!(span.number(attr::OUTPUT_MESSAGES_COUNT), Some(1));
        assert_eq!(span.list(attr::RESPONSE_FINISH_REASONS), ["stop"]);
    }
    assert_eq!(finished.spans[0].number(attr::USAGE_OUTPUT_TOKENS), Some(8));
}

#[test]
fn content_is_off_where_the_process_says_so() -> Result<()> {
    let name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
    for value in ["False", "NO_CONTENT"] {
        if let Some(finished) = with(&[(name, value)], &[])? {
            check_no_content(&finished);
        }
    }
    Ok(())
}

#[test]
fn content_is_off_where_the_operator_says_so() -> Result<()> {
    let name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
    if let Some(finished) = with(&[(name, "True")], &["--no-content"])? {
        check_no_content(&finished);
    }
    Ok(())
}

#[test]
fn the_process_names_its_service() -> Result<()> {
    let variables = [
        ("OTEL_SERVICE_NAME", "shop"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment=test%20bed,service.name=other",
        ),
    ];
    let Some(finished) = with(&variables, &[])? else {
        return Ok(());
    };
    for span in &finished.spans {
        assert_eq!(span.resource(resource::SERVICE_NAME), "shop");
        assert_eq!(span.resource("deployment.environment"), "test bed");
    }
    Ok(())
}

#[test]
fn messages_are_cut_where_the_process_says_so() -> Result<()> {
    let name = "OTEL_INSTRUMENTATION_GENAI_MESSAGE_CONTENT_MAX_LENGTH";
    let Some(finished) = with(&[(name, "6")], &[])? else {
        return Ok(());
    };
    for span in &finished.spans {
        assert_eq!(span.texts(attr::INPUT_MESSAGES), ["a word"]);
        assert_eq!(span.texts(attr::OUTPUT_MESSAGES), ["The sk"]);
    }
    Ok(())
}
