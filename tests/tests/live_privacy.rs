//! What must not leave the agent: secrets that stand in what is said.

use anyhow::Result;
use genspan::vocabulary::{attr, event};
use genspan_tests::otlp::Collector;
use genspan_tests::{Agent, Client, Scene, agent, need};
use serde_json::{Value, json};

const SECRET: &str = concat!("sk-", "proj-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789");
const MAIL: &str = "alice@example.com";
const STAFF: &str = "E-123456";

fn chat(stream: bool) -> Value {
    json!({"do": "chat", "body": {
        "model": "plain", "stream": stream,
        "metadata": {"answer": format!("Your key {SECRET} of {MAIL} ends so."), "piece_chars": "3"},
        "messages": [
            {"role": "system", "content": format!("{STAFF} asks")},
            {"role": "user", "content": format!("my key is {SECRET}, mail {MAIL}")}]}})
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|w| w == text.as_bytes())
}

/// A real client says secrets and hears them, whole and in pieces of three characters: they are in
/// nothing that is told, to a file, over OTLP or on a terminal.
#[test]
fn secrets_in_prompts_and_answers_are_told_nowhere() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("sdk-new")?) else {
        return Ok(());
    };
    let collector = Collector::start()?;
    let recording = scene.temp.file("said.rec");
    let recorded = recording.to_string_lossy().into_owned();
    let endpoint = collector.url();
    let redact = [
        "--redact",
        "keys,email",
        "--redact-pattern",
        r"staff=E-\d{6}",
    ];
    let mut options = vec!["--record", &recorded, "--otlp-endpoint", &endpoint];
    options.extend(redact);
    let mut client = scene.client(&python, &["openai"])?;
    let live = Agent::attach(&scene.temp, &[client.pid()], &options)?;
    for stream in [false, true] {
        client.ask(&chat(stream))?;
    }
    let live = live.stop()?;
    assert_eq!((live.code, live.spans.len()), (0, 2), "{}", live.log);
    for span in &live.spans {
        assert_eq!(
            span.texts(attr::INPUT_MESSAGES),
            [
                "[redacted:staff] asks",
                "my key is [redacted:openai_key], mail [redacted:email]"
            ]
        );
        assert_eq!(
            span.texts(attr::OUTPUT_MESSAGES),
            ["Your key [redacted:openai_key] of [redacted:email] ends so."]
        );
    }
    assert!(live.log.contains("redacted: 4 openai_key"), "{}", live.log);

    let shown = scene.temp.file("shown.txt");
    let shown_name = shown.to_string_lossy().into_owned();
    let mut arguments = vec!["replay", &recorded, "-vv", "--format", "pretty"];
    arguments.extend(["--output", &shown_name]);
    arguments.extend(redact);
    let replayed = agent::run(&scene.temp, &arguments)?;
    assert_eq!(replayed.code, 0, "{}", replayed.log);
    let shown = std::fs::read(&shown)?;
    assert!(holds(&shown, "redacted: 4 openai_key, 4 email, 2 staff"));

    let sent = collector.received();
    for (what, bytes) in [
        ("the spans", live.lines.as_bytes()),
        ("the log", live.log.as_bytes()),
        ("what was sent", &sent),
        ("the terminal", &shown),
    ] {
        for secret in [SECRET, &SECRET[3..20], MAIL, STAFF] {
            assert!(!holds(bytes, secret), "{secret} is in {what}");
        }
    }
    for marker in [
        "[redacted:openai_key]",
        "[redacted:email]",
        "[redacted:staff]",
    ] {
        assert!(holds(&sent, marker) && holds(&shown, marker), "{marker}");
    }
    // Which shows that the secrets were there to be found.
    assert!(holds(&std::fs::read(&recording)?, SECRET));
    Ok(())
}

/// Rules that name a place in JSON, on the command line and in a file, redact what a real client
/// says and hears.
#[test]
fn rules_of_paths_and_files_redact() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    let rules = scene.temp.file("rules.yaml");
    std::fs::write(
        &rules,
        "rules: [email]\npatterns:\n  - name: staff\n    regex: 'E-[0-9]{6}'\n\
         paths:\n  - name: ssn\n    path: $..ssn\n",
    )?;
    let rules = rules.to_string_lossy().into_owned();
    let mut client = scene.client(&python, &["stdlib"])?;
    let options = ["--redact-file", &rules, "--redact-path", "$..password"];
    let agent = Agent::attach(&scene.temp, &[client.pid()], &options)?;
    let record = json!({"ssn": 987_654_320, "password": "hunter2", "city": "Oslo"}).to_string();
    let metadata = json!({"answer": &record});
    client.ask(
        &json!({"do": "chat", "body": {"model": "plain", "metadata": metadata, "messages": [
        {"role": "system", "content": format!("{STAFF} of {MAIL} asks, key {SECRET}")},
        {"role": "user", "content": &record}]}}),
    )?;
    let finished = agent.stop()?;
    assert_eq!(
        (finished.code, finished.spans.len()),
        (0, 1),
        "{}",
        finished.log
    );
    let span = &finished.spans[0];
    let asked = span.texts(attr::INPUT_MESSAGES);
    let told = span.texts(attr::OUTPUT_MESSAGES);
    // The file's rules are taken instead of the default ones.
    let system = format!("[redacted:staff] of [redacted:email] asks, key {SECRET}");
    assert_eq!(asked[0], system);
    for text in [&asked[1], &told[0]] {
        assert_eq!(
            serde_json::from_str::<Value>(text)?,
            json!({"ssn": "[redacted:ssn]", "password": "[redacted:path]", "city": "Oslo"})
        );
    }
    for secret in ["987654320", "hunter2", MAIL, STAFF] {
        assert!(!finished.lines.contains(secret), "{secret}");
    }
    Ok(())
}

/// Content goes as log records where the process says so, and as those alone.
#[test]
fn events_take_the_content_where_the_process_says_so() -> Result<()> {
    let setting = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
    for (value, on_spans) in [("event_only", false), ("SPAN_AND_EVENT", true)] {
        let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
            return Ok(());
        };
        let collector = Collector::start()?;
        let endpoint = collector.url();
        let mut command = scene.live(&python, "client.py");
        command.arg("stdlib").env(setting, value);
        let mut client = Client::start(&mut command, &scene.next_log())?;
        let options = ["--otlp-endpoint", &endpoint];
        let agent = Agent::attach(&scene.temp, &[client.pid()], &options)?;
        client.call(&chat(true))?;
        // It fails, as it should.
        client.ask(
            &json!({"do": "chat", "body": {"model": "error-404", "messages": [
            {"role": "user", "content": "a word that stands out: zanzibar"}]}}),
        )?;
        let finished = agent.stop()?;
        assert_eq!(
            (finished.code, finished.spans.len()),
            (0, 2),
            "{}",
            finished.log
        );
        for (span, names) in finished.spans.iter().zip([&event::ALL[..1], &event::ALL]) {
            assert_eq!(!span.text(attr::INPUT_MESSAGES).is_empty(), on_spans);
            let events = span.0["events"].as_array().unwrap();
            let told: Vec<_> = events.iter().map(|e| e["name"].as_str().unwrap()).collect();
            assert_eq!(told, names);
            let content = events[0]["attributes"][attr::INPUT_MESSAGES]
                .as_str()
                .unwrap();
            assert!(serde_json::from_str::<Value>(content)?.is_array());
        }
        let records = collector.received_at("/v1/logs");
        let spans = collector.received_at("/v1/traces");
        for name in event::ALL {
            assert!(holds(&records, name) && !holds(&spans, name), "{name}");
        }
        assert!(holds(&records, "zanzibar") && holds(&records, "[redacted:openai_key]"));
        assert_eq!(holds(&spans, "zanzibar"), on_spans);
        assert!(!holds(&records, SECRET) && !holds(&spans, SECRET));
    }
    Ok(())
}

#[test]
fn a_rule_that_cannot_be_is_wrong_usage() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    for (arguments, word) in [
        (["--redact", "mail"], "there is no rule `mail`"),
        (["--redact-pattern", "x=("], "no regular expression"),
        (["--redact-pattern", "(.)"], "write NAME=REGEX"),
        (["--redact-path", "a.b"], "no JSON path"),
    ] {
        let arguments = ["replay", "none.rec", arguments[0], arguments[1]];
        let finished = agent::run(&scene.temp, &arguments)?;
        assert_eq!(finished.code, 2, "{}", finished.log);
        assert!(finished.log.contains(word), "{}", finished.log);
    }
    let rules = scene.temp.file("rules.yaml");
    std::fs::write(&rules, "rules:\n  - keys\n  - mail\n")?;
    let rules = rules.to_string_lossy();
    let recording = scene.temp.file("empty.rec");
    std::fs::write(&recording, "")?;
    let recording = recording.to_string_lossy();
    let finished = agent::run(
        &scene.temp,
        &["replay", &recording, "--redact-file", &rules],
    )?;
    assert_eq!(finished.code, 1, "{}", finished.log);
    for word in ["rules.yaml", "at line", "there is no rule `mail`"] {
        assert!(finished.log.contains(word), "{}", finished.log);
    }
    Ok(())
}
