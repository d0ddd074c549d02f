//! Recorded traffic of Anthropic's messages and completions, fed to the provider and trace stages,
//! against what the recordings themselves say: no in-process peer was run on them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, its helpers too"
)]

use genspan::vocabulary::attr;
use genspan_tests::recordings::seen::same;
use genspan_tests::recordings::{Exchange, Lab, Seen, Stages, cassette};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
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
    let path = x.path.trim_end_matches('/');
    x.method == "POST" && (path.ends_with("/v1/messages") || path.ends_with("/v1/complete"))
}

/// The message of an answer, put together from a stream in the simplest way.
fn message(x: &Exchange) -> Value {
    if !x.streams() {
        return x.answer();
    }
    let mut whole = Map::new();
    let mut blocks: BTreeMap<u64, Value> = BTreeMap::new();
    for (_, data) in cassette::events(&x.response) {
        let event: Value = serde_json::from_str(&data).unwrap();
        let index = event["index"].as_u64().unwrap_or_default();
        match event["type"].as_str().unwrap() {
            "message_start" => whole = event["message"].as_object().unwrap().clone(),
            "content_block_start" => {
                blocks.insert(index, event["content_block"].clone());
            }
            "content_block_delta" => {
                let block = blocks.get_mut(&index).unwrap();
                for key in ["text", "thinking", "partial_json"] {
                    if let Some(piece) = event["delta"][key].as_str() {
                        let before = block[key].as_str().unwrap_or_default();
                        block[key] = json!(format!("{before}{piece}"));
                    }
                }
            }
            "message_delta" => {
                whole.insert(
                    "stop_reason".to_owned(),
                    event["delta"]["stop_reason"].clone(),
                );
                for (key, value) in event["usage"].as_object().unwrap() {
                    whole["usage"][key] = value.clone();
                }
            }
            _ => {}
        }
    }
    for block in blocks.values_mut() {
        if let Some(text) = block["partial_json"].as_str() {
            block["input"] = serde_json::from_str(text).unwrap();
        }
    }
    if !blocks.is_empty() {
        whole.insert("content".to_owned(), blocks.into_values().collect());
    }
    Value::Object(whole)
}

/// What the span must say of texts and calls of tools.
fn parts(answer: &Value) -> Vec<Value> {
    let blocks = answer["content"].as_array().cloned().unwrap_or_default();
    blocks
        .iter()
        .filter_map(|b| match b["type"].as_str()? {
            "text" => Some(json!({"type": "text", "content": b["text"]})),
            "thinking" => Some(json!({"type": "reasoning", "content": b["thinking"]})),
            "tool_use" => Some(json!({"type": "tool_call", "id": b["id"], "name": b["name"], "arguments": b["input"]})),
            _ => None,
        })
        .collect()
}

fn wanted(x: &Exchange) -> Vec<(&'static str, Option<Value>)> {
    let (asked, answer) = (x.asked(), message(x));
    let told = |v: &Value| Some(v.clone()).filter(|v| !v.is_null());
    let nonzero = |v: &Value| told(v).filter(|v| v.as_i64() != Some(0));
    let usage = &answer["usage"];
    let input = usage["input_tokens"].as_i64().map(|n| {
        let more = ["cache_read_input_tokens", "cache_creation_input_tokens"];
        let more = more.iter().filter_map(|key| usage[key].as_i64());
        json!(n + more.sum::<i64>())
    });
    let limit = told(&asked["max_tokens"]).or_else(|| told(&asked["max_tokens_to_sample"]));
    vec![
        (attr::REQUEST_MODEL, told(&asked["model"])),
        (attr::REQUEST_MAX_TOKENS, limit),
        (attr::REQUEST_TEMPERATURE, told(&asked["temperature"])),
        (attr::REQUEST_TOP_P, told(&asked["top_p"])),
        (attr::REQUEST_TOP_K, told(&asked["top_k"])),
        (
            attr::REQUEST_STREAM,
            told(&asked["stream"]).filter(|s| *s == true),
        ),
        (attr::SERVER_ADDRESS, Some(json!(x.host))),
        (attr::RESPONSE_ID, told(&answer["id"])),
        (attr::RESPONSE_MODEL, told(&answer["model"])),
        (
            attr::RESPONSE_FINISH_REASONS,
            told(&answer["stop_reason"]).map(|r| json!([r])),
        ),
        (attr::USAGE_INPUT_TOKENS, input),
        (attr::USAGE_OUTPUT_TOKENS, told(&usage["output_tokens"])),
        (
            attr::USAGE_CACHE_READ,
            nonzero(&usage["cache_read_input_tokens"]),
        ),
        (
            attr::USAGE_CACHE_WRITE,
            nonzero(&usage["cache_creation_input_tokens"]),
        ),
        (attr::ERROR_TYPE, told(&answer["error"]["type"])),
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
            let want = match x.path.ends_with("/v1/complete") {
                false => parts(&message(x)),
                true => continue,
            };
            let output = ours.attributes.get(attr::OUTPUT_MESSAGES);
            let said = output.map_or_else(Vec::new, |m| {
                let parts = m[0]["parts"].as_array().cloned().unwrap_or_default();
                let known = ["text", "reasoning", "tool_call"];
                parts
                    .into_iter()
                    .filter(|p| known.contains(&p["type"].as_str().unwrap()))
                    .collect()
            });
            compare("parts", Some(&json!(said)), Some(&json!(want)));
        }
    }
    println!("{recordings} recordings, {spans} spans, {attributes} attributes compared");
    for bug in &bugs {
        println!("BUG {bug}");
    }
    assert!(bugs.is_empty(), "{} differences", bugs.len());
    assert!(spans > 0);
}
