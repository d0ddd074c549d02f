//! Recorded traffic of the Gemini API and Vertex AI, fed to the provider and trace stages, against
//! what the recordings themselves say.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, its helpers too"
)]

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
    x.method == "POST" && x.path.ends_with(":generateContent")
}

/// What the span must say of texts and calls of tools.
fn parts(candidate: &Value) -> Vec<Value> {
    let list = candidate["content"]["parts"].as_array().cloned();
    let parts = list.unwrap_or_default().into_iter().map(|p| {
        if p["functionCall"].is_object() {
            let call = &p["functionCall"];
            json!({"type": "tool_call", "name": call["name"], "arguments": call["args"]})
        } else if p["thought"] == true {
            json!({"type": "reasoning", "content": p["text"]})
        } else {
            json!({"type": "text", "content": p["text"]})
        }
    });
    parts.collect()
}

/// The same of the span; recorded calls have no ids.
fn said(message: &Value) -> Vec<Value> {
    let list = message["parts"].as_array().cloned().unwrap_or_default();
    let parts = list.into_iter().map(|mut p| {
        if p["id"].is_null() {
            p.as_object_mut().unwrap().remove("id");
        }
        p
    });
    parts.collect()
}

/// How many parts of all contents a request has, and in how many contents.
fn asked_size(contents: &Value) -> (usize, usize) {
    let list = contents.as_array().cloned().unwrap_or_default();
    let parts = list
        .iter()
        .map(|c| c["parts"].as_array().map_or(0, Vec::len));
    (list.len(), parts.sum())
}

fn wanted(x: &Exchange) -> Vec<(&'static str, Option<Value>)> {
    let (asked, answer) = (x.asked(), x.answer());
    let told = |v: &Value| Some(v.clone()).filter(|v| !v.is_null());
    let nonzero = |v: &Value| told(v).filter(|v| v.as_i64() != Some(0));
    let (config, usage) = (&asked["generationConfig"], &answer["usageMetadata"]);
    let sum = |keys: [&str; 2]| {
        let counts: Vec<i64> = keys.iter().filter_map(|k| usage[k].as_i64()).collect();
        (!counts.is_empty()).then(|| json!(counts.iter().sum::<i64>()))
    };
    let name = x.path.rsplit('/').next().unwrap();
    let provider = if x.host.starts_with("generativelanguage.") {
        "gcp.gemini"
    } else {
        "gcp.vertex_ai"
    };
    let reasons: Vec<Value> = answer["candidates"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| match &c["finishReason"] {
            // Two of the recorded clients ask for numbers.
            Value::Number(n) if n.as_i64() == Some(1) => json!("STOP"),
            Value::Number(n) if n.as_i64() == Some(2) => json!("MAX_TOKENS"),
            other => other.clone(),
        })
        .collect();
    vec![
        (attr::OPERATION_NAME, Some(json!("generate_content"))),
        (attr::PROVIDER_NAME, Some(json!(provider))),
        (
            attr::REQUEST_MODEL,
            name.strip_suffix(":generateContent").map(|n| json!(n)),
        ),
        (attr::REQUEST_MAX_TOKENS, told(&config["maxOutputTokens"])),
        (attr::REQUEST_TEMPERATURE, told(&config["temperature"])),
        (attr::REQUEST_TOP_P, told(&config["topP"])),
        (attr::REQUEST_TOP_K, told(&config["topK"])),
        (attr::REQUEST_SEED, told(&config["seed"])),
        (attr::REQUEST_STOP_SEQUENCES, told(&config["stopSequences"])),
        (
            attr::REQUEST_PRESENCE_PENALTY,
            told(&config["presencePenalty"]),
        ),
        (attr::REQUEST_STREAM, None),
        (attr::SERVER_ADDRESS, Some(json!(x.host))),
        (attr::RESPONSE_ID, told(&answer["responseId"])),
        (attr::RESPONSE_MODEL, told(&answer["modelVersion"])),
        (
            attr::RESPONSE_FINISH_REASONS,
            (!reasons.is_empty()).then(|| json!(reasons)),
        ),
        (
            attr::USAGE_INPUT_TOKENS,
            sum(["promptTokenCount", "toolUsePromptTokenCount"]),
        ),
        (
            attr::USAGE_OUTPUT_TOKENS,
            sum(["candidatesTokenCount", "thoughtsTokenCount"]),
        ),
        (
            attr::USAGE_CACHE_READ,
            nonzero(&usage["cachedContentTokenCount"]),
        ),
        (attr::USAGE_REASONING, nonzero(&usage["thoughtsTokenCount"])),
        (attr::ERROR_TYPE, told(&answer["error"]["status"])),
    ]
}

#[test]
fn spans_say_what_the_recordings_say() {
    let Some(lab) = Lab::find() else {
        println!("skipped: no recordings beside this repository");
        return;
    };
    let mut files = Vec::new();
    cassettes(&lab.path("cassettes"), &mut files);
    let (mut spans, mut attributes, mut bugs) = (0, 0, Vec::new());
    let mut recordings = 0;
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
            let answer = x.answer();
            let candidates = answer["candidates"].as_array().cloned().unwrap_or_default();
            let output = ours.attributes.get(attr::OUTPUT_MESSAGES);
            let output = output
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let said: Vec<_> = output.iter().map(said).collect();
            let want: Vec<_> = candidates.iter().map(parts).collect();
            compare("parts", Some(&json!(said)), Some(&json!(want)));
            let input = ours.attributes.get(attr::INPUT_MESSAGES);
            let (messages, parts) = asked_size(input.unwrap_or(&Value::Null));
            let want = asked_size(&x.asked()["contents"]);
            compare("input", Some(&json!([messages, parts])), Some(&json!(want)));
        }
    }
    println!("{recordings} recordings, {spans} spans, {attributes} attributes compared");
    for bug in &bugs {
        println!("BUG {bug}");
    }
    assert!(bugs.is_empty(), "{} differences", bugs.len());
    assert!(spans > 0);
}
