//! Anthropic's messages and completions.

use super::{Must, asked, first, text, tool_call};
use crate::recordings::Exchange;
use crate::recordings::cassette::events;
use genspan::vocabulary::{attr, operation};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub(super) fn of(x: &Exchange) -> Option<Must> {
    let path = x.path.trim_end_matches('/');
    let messages = path.ends_with("/v1/messages");
    if x.method != "POST" || !(messages || path.ends_with("/v1/complete")) {
        return None;
    }
    let (asked, answer) = (x.asked(), message(x));
    let kind = if messages {
        operation::CHAT
    } else {
        operation::TEXT_COMPLETION
    };
    let mut must = Must::call(x, kind, asked["model"].as_str());
    let limit = first(&asked, &["/max_tokens", "/max_tokens_to_sample"]);
    must.set(attr::REQUEST_MAX_TOKENS, limit.cloned());
    must.set(attr::REQUEST_TEMPERATURE, asked.get("temperature").cloned());
    must.set(attr::REQUEST_TOP_P, asked.get("top_p").cloned());
    must.set(attr::REQUEST_TOP_K, asked.get("top_k").cloned());
    let streams = (asked["stream"] == true).then_some(json!(true));
    must.set(attr::REQUEST_STREAM, streams);
    must.set(attr::RESPONSE_ID, answer.get("id").cloned());
    must.set(attr::RESPONSE_MODEL, answer.get("model").cloned());
    must.set_reasons(answer.get("stop_reason").cloned());
    let usage = &answer["usage"];
    let cached = ["cache_read_input_tokens", "cache_creation_input_tokens"];
    let input = usage["input_tokens"]
        .as_i64()
        .map(|n| n + cached.iter().filter_map(|k| usage[k].as_i64()).sum::<i64>());
    must.set(attr::USAGE_INPUT_TOKENS, input.map(|n| json!(n)));
    must.set(
        attr::USAGE_OUTPUT_TOKENS,
        usage.get("output_tokens").cloned(),
    );
    must.set_nonzero(attr::USAGE_CACHE_READ, usage.get(cached[0]).cloned());
    must.set_nonzero(attr::USAGE_CACHE_WRITE, usage.get(cached[1]).cloned());
    must.set(attr::ERROR_TYPE, answer.pointer("/error/type").cloned());
    must.set(attr::PROVIDER_NAME, Some(json!(provider(&x.host))));
    if messages {
        asked::anthropic(&mut must, &asked);
    } else {
        asked::prompt(&mut must, &asked["prompt"]);
    }
    if messages {
        let parts = parts(&answer);
        must.output = Some(if parts.is_empty() {
            vec![]
        } else {
            vec![parts]
        });
    } else if let Some(said) = answer.get("completion") {
        must.output = Some(vec![vec![text(said)]]);
    }
    Some(must)
}

/// Whom the host is of.
fn provider(host: &str) -> &'static str {
    if host.ends_with("aliyuncs.com") {
        "dashscope"
    } else {
        "anthropic"
    }
}

/// The message of an answer, put together from a stream in the simplest way.
fn message(x: &Exchange) -> Value {
    if !x.streams() {
        return x.answer();
    }
    let mut whole = Map::new();
    let mut blocks: BTreeMap<u64, Value> = BTreeMap::new();
    for (_, data) in events(&x.response) {
        let event: Value = serde_json::from_str(&data).unwrap_or_default();
        let index = event["index"].as_u64().unwrap_or_default();
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => whole = event["message"].as_object().cloned().unwrap_or_default(),
            "content_block_start" => {
                blocks.insert(index, event["content_block"].clone());
            }
            "content_block_delta" => {
                let block = blocks.entry(index).or_default();
                for key in ["text", "thinking", "partial_json"] {
                    if let Some(piece) = event["delta"][key].as_str() {
                        let before = block[key].as_str().unwrap_or_default();
                        block[key] = json!(format!("{before}{piece}"));
                    }
                }
            }
            "message_delta" => {
                let reason = event["delta"]["stop_reason"].clone();
                whole.insert("stop_reason".to_owned(), reason);
                for (key, value) in event["usage"].as_object().into_iter().flatten() {
                    whole["usage"][key] = value.clone();
                }
            }
            _ => {}
        }
    }
    for block in blocks.values_mut() {
        if let Some(text) = block["partial_json"].as_str() {
            block["input"] = serde_json::from_str(text).unwrap_or_default();
        }
    }
    if !blocks.is_empty() {
        whole.insert("content".to_owned(), blocks.into_values().collect());
    }
    Value::Object(whole)
}

fn parts(answer: &Value) -> Vec<Value> {
    let blocks = answer["content"].as_array().into_iter().flatten();
    blocks
        .filter_map(|b| match b["type"].as_str()? {
            "text" => Some(text(&b["text"])),
            "thinking" => Some(json!({"type": "reasoning", "content": b["thinking"]})),
            "tool_use" => Some(tool_call(&b["id"], &b["name"], &b["input"])),
            _ => None,
        })
        .collect()
}
