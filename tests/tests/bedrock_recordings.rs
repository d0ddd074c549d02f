//! Recorded traffic of Bedrock and Cohere, fed to the provider and trace stages, against what the
//! recordings themselves say.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, its helpers too"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use genspan::model::exchange::SseEvent;
use genspan::protocol::aws_frames::AwsFrames;
use genspan::vocabulary::attr;
use genspan_tests::recordings::seen::same;
use genspan_tests::recordings::{Exchange, Lab, Seen, Stages, cassette};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn cassettes(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            cassettes(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            found.push(path);
        }
    }
    found.sort();
}

fn is_call(x: &Exchange) -> bool {
    let bedrock = x.host.starts_with("bedrock-runtime.") && x.path.starts_with("/model/");
    let cohere = x.host.starts_with("api.cohere.");
    x.method == "POST" && (bedrock || cohere)
}

/// The answer as converse has it, put together from a stream in the simplest way: whoever says
/// something of text, reasons and counts in it means the same.
fn whole(x: &Exchange) -> Value {
    if !x.streams() {
        return x.answer();
    }
    let (mut text, mut whole) = (String::new(), json!({}));
    if x.host.starts_with("api.cohere.") {
        for (_, data) in cassette::events(&x.response) {
            if data == "[DONE]" {
                continue;
            }
            let event: Value = serde_json::from_str(&data).unwrap();
            let piece = event.pointer("/delta/message/content/text");
            text.push_str(piece.and_then(Value::as_str).unwrap_or_default());
            if event["type"] == "message-end" {
                whole = event["delta"].clone();
            }
        }
        whole["text"] = Value::from(text);
        return whole;
    }
    AwsFrames::new().feed(&x.response, &mut |e: SseEvent<'_>| {
        let mut event: Value = serde_json::from_slice(e.data).unwrap();
        if let Some(chunk) = event["bytes"].as_str() {
            event = serde_json::from_slice(&STANDARD.decode(chunk).unwrap()).unwrap();
            if let Some((_, inner)) = event.as_object().unwrap().iter().find(|(name, _)| {
                name.starts_with("message") || name.starts_with("contentBlock")
            }) {
                let mut inner = inner.clone();
                inner["metrics"] = event["amazon-bedrock-invocationMetrics"].clone();
                if inner.is_object() {
                    event = inner;
                }
            }
        }
        let first_block = event["contentBlockIndex"].as_u64().unwrap_or(0) == 0 || joined(x);
        let piece = first(&event, &["/delta/text", "/outputText"]).and_then(Value::as_str);
        text.push_str(piece.filter(|_| first_block).unwrap_or_default());
        let reasons = ["/stopReason", "/delta/stop_reason", "/completionReason"];
        if let Some(reason) = first(&event, &reasons) {
            whole["stopReason"] = reason.clone();
        }
        if let Some(usage) = first(&event, &["/usage"]).filter(|u| u["inputTokens"].is_i64()) {
            whole["usage"] = usage.clone();
        }
        let metrics = first(&event, &["/amazon-bedrock-invocationMetrics"]);
        if let Some(metrics) = metrics {
            whole["usage"] = json!({"inputTokens": metrics["inputTokenCount"], "outputTokens": metrics["outputTokenCount"]});
        }
    });
    if !text.is_empty() {
        whole["text"] = Value::from(text);
    }
    whole
}

/// Nova begins a block for each piece when it is invoked.
fn joined(x: &Exchange) -> bool {
    x.path.ends_with("/invoke-with-response-stream")
}

/// The first of some places that says something.
fn first<'a>(v: &'a Value, places: &[&str]) -> Option<&'a Value> {
    let mut said = places.iter().filter_map(|p| v.pointer(p));
    said.find(|v| !v.is_null())
}

fn header(x: &Exchange, name: &str) -> Option<i64> {
    let (_, value) = x.response_headers.iter().find(|(n, _)| n == name)?;
    value.parse().ok()
}

fn count(x: &Exchange, answer: &Value, places: &[&str], header_name: &str) -> Option<i64> {
    let told = first(answer, places).and_then(Value::as_f64);
    told.map(|n| n as i64).or_else(|| header(x, header_name))
}

fn wanted(x: &Exchange) -> Vec<(&'static str, Option<Value>)> {
    let (asked, answer) = (x.asked(), whole(x));
    let told = |v: &Value, places: &[&str]| first(v, places).cloned();
    let cached = [
        &[
            "/usage/cacheReadInputTokens",
            "/usage/cache_read_input_tokens",
        ][..],
        &[
            "/usage/cacheWriteInputTokens",
            "/usage/cache_creation_input_tokens",
        ][..],
    ];
    let cached: i64 = cached
        .iter()
        .filter_map(|places| first(&answer, places)?.as_i64())
        .sum();
    let input = count(
        x,
        &answer,
        &[
            "/usage/inputTokens",
            "/usage/input_tokens",
            "/usage/prompt_tokens",
            "/inputTextTokenCount",
            "/prompt_token_count",
            "/usage/billed_units/input_tokens",
            "/meta/billed_units/input_tokens",
        ],
        "x-amzn-bedrock-input-token-count",
    );
    let output = count(
        x,
        &answer,
        &[
            "/usage/outputTokens",
            "/usage/output_tokens",
            "/usage/completion_tokens",
            "/results/0/tokenCount",
            "/generation_token_count",
            "/usage/billed_units/output_tokens",
            "/meta/billed_units/output_tokens",
        ],
        "x-amzn-bedrock-output-token-count",
    );
    let reason = told(
        &answer,
        &[
            "/stopReason",
            "/stop_reason",
            "/results/0/completionReason",
            "/generations/0/finish_reason",
            "/choices/0/finish_reason",
            "/finish_reason",
        ],
    );
    let limits = [
        "/inferenceConfig/maxTokens",
        "/inferenceConfig/max_new_tokens",
        "/textGenerationConfig/maxTokenCount",
        "/max_tokens",
        "/max_gen_len",
        "/max_tokens_to_sample",
    ];
    let heats = [
        "/inferenceConfig/temperature",
        "/textGenerationConfig/temperature",
        "/temperature",
    ];
    vec![
        (attr::SERVER_ADDRESS, Some(json!(x.host))),
        (attr::REQUEST_MAX_TOKENS, told(&asked, &limits)),
        (attr::REQUEST_TEMPERATURE, told(&asked, &heats)),
        (attr::USAGE_INPUT_TOKENS, input.map(|n| json!(n + cached))),
        (attr::USAGE_OUTPUT_TOKENS, output.map(|n| json!(n))),
        (attr::RESPONSE_FINISH_REASONS, reason.map(|r| json!([r]))),
    ]
}

/// The text that the answer has, wherever its maker puts it.
fn said(x: &Exchange) -> Option<String> {
    let answer = whole(x);
    let text = first(
        &answer,
        &[
            "/output/message/content/0/text",
            "/content/0/text",
            "/completion",
            "/results/0/outputText",
            "/generation",
            "/generations/0/text",
            "/choices/0/text",
            "/text",
            "/message/content/0/text",
        ],
    )?;
    text.as_str().map(str::to_owned)
}

#[test]
fn spans_say_what_the_recordings_say() {
    let Some(lab) = Lab::find() else {
        println!("skipped: no recordings beside this repository");
        return;
    };
    let mut files = Vec::new();
    cassettes(&lab.path("cassettes"), &mut files);
    let (mut spans, mut attributes, mut recordings) = (0, 0, 0);
    let mut bugs = Vec::new();
    for file in &files {
        let Ok(exchanges) = cassette::load(file) else {
            continue;
        };
        let calls: Vec<_> = exchanges.iter().filter(|x| is_call(x)).collect();
        recordings += usize::from(!calls.is_empty());
        for x in calls {
            let told = Stages::new().feed(x, usize::MAX);
            let [span] = told.as_slice() else {
                bugs.push(format!("{}: {} spans", file.display(), told.len()));
                continue;
            };
            let ours = Seen::of_span(span).unwrap();
            spans += 1;
            let mut compare = |name: &str, ours: Option<&Value>, want: Option<&Value>| {
                attributes += 1;
                let equal = match (ours, want) {
                    (Some(a), Some(b)) => same(a, b),
                    (a, b) => a == b,
                };
                if !equal {
                    bugs.push(format!(
                        "{}: {name}\n  ours {ours:?}\n  must {want:?}",
                        file.display()
                    ));
                }
            };
            for (name, want) in wanted(x) {
                compare(name, ours.attributes.get(name), want.as_ref());
            }
            let output = ours.attributes.get(attr::OUTPUT_MESSAGES);
            let parts = output.and_then(|m| m[0]["parts"].as_array());
            let text = parts.and_then(|p| p.iter().find(|p| p["type"] == "text"));
            let text = text.map(|p| p["content"].clone());
            let want = said(x).map(Value::from);
            compare("text", text.as_ref(), want.as_ref());
        }
    }
    println!("{recordings} recordings, {spans} spans, {attributes} attributes compared");
    for bug in &bugs {
        println!("BUG {bug}");
    }
    assert!(bugs.is_empty(), "{} differences", bugs.len());
    assert!(spans > 0);
}
