//! DashScope's own protocol.

use super::{Must, arguments, asked, first, text, tool_call};
use crate::recordings::Exchange;
use crate::recordings::cassette::events;
use genspan::vocabulary::attr;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const SERVICES: &str = "/api/v1/services/";

const APPS: &str = "/api/v1/apps/";

pub(super) fn of(x: &Exchange) -> Option<Must> {
    if let Some((_, app)) = x.path.split_once(APPS) {
        return Some(application(x, app.strip_suffix("/completion")?));
    }
    let (_, service) = x.path.split_once(SERVICES)?;
    let asked = x.asked();
    let model = asked["model"].as_str();
    let kind = match service.rsplit('/').next()? {
        "generation" => "chat",
        "text-embedding" | "multimodal-embedding" => "embeddings",
        "text-rerank" => "rerank_documents",
        // What becomes of a task other exchanges tell.
        _ => {
            let mut must = Must::call(x, "generate_content", model);
            must.set(attr::PROVIDER_NAME, Some(json!("dashscope")));
            return Some(must);
        }
    };
    let mut must = Must::call(x, kind, model);
    let answer = whole(x);
    must.set(attr::PROVIDER_NAME, Some(json!("dashscope")));
    let parameters = &asked["parameters"];
    for (name, member) in [
        (attr::REQUEST_TEMPERATURE, "temperature"),
        (attr::REQUEST_TOP_P, "top_p"),
        (attr::REQUEST_TOP_K, "top_k"),
        (attr::REQUEST_MAX_TOKENS, "max_tokens"),
        (attr::REQUEST_SEED, "seed"),
    ] {
        must.set(name, parameters.get(member).cloned());
    }
    must.set(attr::RESPONSE_ID, answer.get("request_id").cloned());
    let usage = &answer["usage"];
    let counts = ["/input_tokens", "/total_tokens"];
    let counts = if kind == "chat" {
        &counts[..1]
    } else {
        &counts[..]
    };
    must.set(attr::USAGE_INPUT_TOKENS, first(usage, counts).cloned());
    must.set(
        attr::USAGE_OUTPUT_TOKENS,
        usage.get("output_tokens").cloned(),
    );
    must.set(attr::ERROR_TYPE, answer.get("code").cloned());
    must.set_parts(
        usage,
        &[
            "/prompt_tokens_details/cached_tokens",
            "/input_tokens_details/cached_tokens",
        ],
        &["/output_tokens_details/reasoning_tokens"],
    );
    if asked["input"]["messages"].is_array() {
        let said = json!({"messages": asked["input"]["messages"], "tools": parameters["tools"]});
        asked::chat(&mut must, &said);
    } else if kind == "chat" {
        asked::prompt(&mut must, &asked["input"]["prompt"]);
    }
    must.failed |= answer["code"].is_string();
    if kind == "embeddings" {
        let vector = answer.pointer("/output/embeddings/0/embedding");
        let length = vector.and_then(Value::as_array).map(Vec::len);
        must.set(attr::EMBEDDINGS_DIMENSION_COUNT, length.map(|n| json!(n)));
    }
    if kind == "chat" {
        let choice = first(&answer, &["/output/choices/0", "/output"]);
        let choice = choice.cloned().unwrap_or_default();
        let reason = choice.get("finish_reason").filter(|r| *r != "null");
        // One that does not say it counts as an error.
        let unsaid = (choice.is_object() && !x.streams()).then(|| json!("error"));
        must.set_reasons(reason.cloned().or(unsaid));
        let parts = parts(&choice);
        must.output = Some(if parts.is_empty() {
            vec![]
        } else {
            vec![parts]
        });
    }
    Some(must)
}

/// A call of an application: which models it uses the answer tells.
fn application(x: &Exchange, app: &str) -> Must {
    let (asked, answer) = (x.asked(), whole(x));
    let mut must = Must::call(x, "invoke_agent", None);
    must.set(attr::PROVIDER_NAME, Some(json!("dashscope")));
    must.set(attr::AGENT_ID, Some(json!(app)));
    must.set(attr::REQUEST_STREAM, x.streams().then(|| json!(true)));
    asked::prompt(&mut must, &asked["input"]["prompt"]);
    for (name, place) in [
        (attr::RESPONSE_ID, "/request_id"),
        (attr::CONVERSATION_ID, "/output/session_id"),
        (attr::RESPONSE_MODEL, "/usage/models/0/model_id"),
        (attr::USAGE_INPUT_TOKENS, "/usage/models/0/input_tokens"),
        (attr::USAGE_OUTPUT_TOKENS, "/usage/models/0/output_tokens"),
    ] {
        must.set(name, answer.pointer(place).cloned());
    }
    must.set_reasons(answer.pointer("/output/finish_reason").cloned());
    must.set(attr::ERROR_TYPE, answer.get("code").cloned());
    let said = answer.pointer("/output/text").map(|t| vec![text(t)]);
    must.output = Some(said.into_iter().collect());
    must
}

fn parts(choice: &Value) -> Vec<Value> {
    let mut parts = Vec::new();
    let message = &choice["message"];
    if let Some(thought) = message["reasoning_content"]
        .as_str()
        .filter(|t| !t.is_empty())
    {
        parts.push(json!({"type": "reasoning", "content": thought}));
    }
    let said = first(choice, &["/message/content", "/text"]);
    match said {
        Some(Value::String(said)) if !said.is_empty() => parts.push(text(&json!(said))),
        Some(Value::Array(list)) => parts.extend(list.iter().map(|p| text(&p["text"]))),
        _ => {}
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let function = &call["function"];
        let arguments = arguments(&function["arguments"]);
        parts.push(tool_call(&call["id"], &function["name"], &arguments));
    }
    parts
}

/// The answer; of a stream its last event, with the texts of all when they are pieces.
fn whole(x: &Exchange) -> Value {
    if !x.streams() {
        return x.answer();
    }
    let pieces = x.asked()["parameters"]["incremental_output"] == true;
    let mut last = Value::Null;
    let (mut said, mut thought) = (String::new(), String::new());
    let mut calls: BTreeMap<u64, Value> = BTreeMap::new();
    for (_, data) in events(&x.response) {
        last = serde_json::from_str(&data).unwrap_or_default();
        let places = [
            "/output/choices/0/message/content",
            "/output/choices/0/message/content/0/text",
            "/output/text",
        ];
        let mut found = places.iter().filter_map(|p| last.pointer(p)?.as_str());
        said.push_str(found.next().unwrap_or_default());
        let more = last.pointer("/output/choices/0/message/reasoning_content");
        thought.push_str(more.and_then(Value::as_str).unwrap_or_default());
        let list = last.pointer("/output/choices/0/message/tool_calls");
        for call in list.and_then(Value::as_array).into_iter().flatten() {
            let index = call["index"].as_u64().unwrap_or_default();
            let whole = calls.entry(index).or_insert_with(|| call.clone());
            if whole != call {
                let before = whole["function"]["arguments"].as_str().unwrap_or_default();
                let more = call["function"]["arguments"].as_str().unwrap_or_default();
                whole["function"]["arguments"] = json!(format!("{before}{more}"));
            }
        }
    }
    if !pieces {
        return last;
    }
    if let Some(message) = last.pointer_mut("/output/choices/0/message") {
        message["content"] = json!(said);
        message["reasoning_content"] = json!(thought);
        if !calls.is_empty() {
            message["tool_calls"] = calls.into_values().collect();
        }
    } else if let Some(output) = last.get_mut("output") {
        output["text"] = json!(said);
    }
    last
}
