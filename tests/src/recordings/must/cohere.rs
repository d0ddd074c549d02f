//! Cohere's chat, generation and rerank.

use super::{Must, arguments, asked, first, text, tool_call};
use crate::recordings::Exchange;
use crate::recordings::cassette::events;
use genspan::vocabulary::attr;
use serde_json::{Value, json};

pub(super) fn of(x: &Exchange) -> Option<Must> {
    if x.method != "POST" || !x.host.starts_with("api.cohere.") {
        return None;
    }
    let kind = match x.path.rsplit('/').next()? {
        "chat" => "chat",
        "generate" => "text_completion",
        "rerank" => "rerank_documents",
        _ => return None,
    };
    let (asked, answer) = (x.asked(), whole(x));
    let mut must = Must::call(x, kind, asked["model"].as_str());
    must.set(attr::PROVIDER_NAME, Some(json!("cohere")));
    must.set(attr::REQUEST_MAX_TOKENS, asked.get("max_tokens").cloned());
    must.set(attr::REQUEST_TEMPERATURE, asked.get("temperature").cloned());
    let usage = ["/usage/billed_units", "/meta/billed_units"];
    let usage = first(&answer, &usage).cloned().unwrap_or_default();
    must.set(attr::USAGE_INPUT_TOKENS, usage.get("input_tokens").cloned());
    must.set(
        attr::USAGE_OUTPUT_TOKENS,
        usage.get("output_tokens").cloned(),
    );
    must.set_error(x, &answer, &[]);
    if asked["messages"].is_array() {
        asked::chat(&mut must, &asked);
    } else if asked["message"].is_string() {
        asked::conversation(&mut must, &asked);
    } else {
        asked::prompt(&mut must, &asked["prompt"]);
    }
    let ids = ["/id", "/response_id", "/generation_id"];
    must.set(attr::RESPONSE_ID, first(&answer, &ids).cloned());
    let reasons = ["/finish_reason", "/generations/0/finish_reason"];
    must.set_reasons(first(&answer, &reasons).cloned());
    let texts = ["/message/content/0/text", "/text", "/generations/0/text"];
    let mut parts = Vec::new();
    if let Some(plan) = first(&answer, &["/message/tool_plan"]) {
        parts.push(json!({"type": "reasoning", "content": plan}));
    }
    parts.extend(first(&answer, &texts).map(text));
    let calls = answer.pointer("/message/tool_calls");
    for call in calls.and_then(Value::as_array).into_iter().flatten() {
        let function = &call["function"];
        let arguments = arguments(&function["arguments"]);
        parts.push(tool_call(&call["id"], &function["name"], &arguments));
    }
    must.output = Some(if parts.is_empty() {
        vec![]
    } else {
        vec![parts]
    });
    Some(must)
}

fn whole(x: &Exchange) -> Value {
    if !x.streams() {
        return x.answer();
    }
    let (mut said, mut whole, mut id) = (String::new(), json!({}), Value::Null);
    for (_, data) in events(&x.response) {
        let event: Value = serde_json::from_str(&data).unwrap_or_default();
        let piece = event.pointer("/delta/message/content/text");
        said.push_str(piece.and_then(Value::as_str).unwrap_or_default());
        match event["type"].as_str() {
            Some("message-start") => id = event["id"].clone(),
            Some("message-end") => whole = event["delta"].clone(),
            _ => {}
        }
    }
    whole["text"] = json!(said);
    whole["id"] = id;
    whole
}
