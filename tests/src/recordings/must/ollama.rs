//! Ollama's own API.

use super::{Must, asked, first, text, tool_call};
use crate::recordings::Exchange;
use genspan::vocabulary::attr;
use serde_json::{Value, json};

pub(super) fn of(x: &Exchange) -> Option<Must> {
    let kind = match x.path.as_str() {
        "/api/chat" => "chat",
        "/api/generate" => "text_completion",
        "/api/embeddings" | "/api/embed" => "embeddings",
        _ => return None,
    };
    let asked = x.asked();
    let (answer, parts) = whole(x);
    let mut must = Must::call(x, kind, asked["model"].as_str());
    must.set(attr::PROVIDER_NAME, Some(json!("ollama")));
    let options = &asked["options"];
    must.set(
        attr::REQUEST_TEMPERATURE,
        options.get("temperature").cloned(),
    );
    must.set(
        attr::REQUEST_MAX_TOKENS,
        options.get("num_predict").cloned(),
    );
    must.set_error(x, &answer, &[]);
    match kind {
        "chat" => asked::chat(&mut must, &asked),
        "text_completion" => {
            asked::prompt(&mut must, &asked["prompt"]);
            let system = asked.get("system").filter(|s| s.is_string());
            must.system = Some(system.map(text).into_iter().collect());
        }
        _ => {}
    }
    must.set(attr::RESPONSE_ID, None);
    must.set(attr::RESPONSE_MODEL, answer.get("model").cloned());
    must.set(
        attr::USAGE_INPUT_TOKENS,
        answer.get("prompt_eval_count").cloned(),
    );
    must.set(attr::USAGE_OUTPUT_TOKENS, answer.get("eval_count").cloned());
    must.set_reasons(answer.get("done_reason").cloned());
    if kind == "embeddings" {
        let vector = first(&answer, &["/embedding", "/embeddings/0"]);
        let length = vector.and_then(Value::as_array).map(Vec::len);
        must.set(attr::EMBEDDINGS_DIMENSION_COUNT, length.map(|n| json!(n)));
    } else {
        must.output = Some(vec![parts]);
    }
    Some(must)
}

/// What the last line says, and the text and calls of all lines.
fn whole(x: &Exchange) -> (Value, Vec<Value>) {
    let body = String::from_utf8_lossy(&x.response);
    let (mut last, mut said, mut parts) = (Value::Null, String::new(), Vec::new());
    for line in serde_json::Deserializer::from_str(&body).into_iter::<Value>() {
        last = line.unwrap_or_default();
        let piece = first(&last, &["/message/content", "/response"]);
        said.push_str(piece.and_then(Value::as_str).unwrap_or_default());
        let calls = last.pointer("/message/tool_calls");
        for call in calls.and_then(Value::as_array).into_iter().flatten() {
            let function = &call["function"];
            parts.push(tool_call(
                &call["id"],
                &function["name"],
                &function["arguments"],
            ));
        }
    }
    if !said.is_empty() {
        parts.insert(0, text(&json!(said)));
    }
    (last, parts)
}
