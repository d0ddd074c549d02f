//! OpenAI's protocols, whoever speaks them.

use super::{Must, arguments, asked, first, text, tool_call};
use crate::recordings::Exchange;
use crate::recordings::cassette::events;
use genspan::vocabulary::{attr, operation};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub(super) fn of(x: &Exchange) -> Option<Must> {
    let path = x.path.trim_end_matches('/');
    let asked = x.asked();
    let post = x.method == "POST" && asked.is_object();
    let writer = path.ends_with("/v1/chat") && asked["messages"].is_array();
    let (kind, whole) = if post && (path.ends_with("/chat/completions") || writer) {
        (operation::CHAT, false)
    } else if post && path.ends_with("/completions") {
        (operation::TEXT_COMPLETION, true)
    } else if post && path.ends_with("/responses") {
        (operation::CHAT, false)
    } else if post && path.ends_with("/embeddings") {
        (operation::EMBEDDINGS, false)
    } else if x.method == "GET" && path.rsplit_once('/')?.0.ends_with("/responses") {
        (operation::FETCH_RESPONSE, false)
    } else {
        return None;
    };
    let responses = path.ends_with("/responses");
    let answer = if x.streams() {
        merged(&x.response)
    } else {
        x.answer()
    };
    // Azure's path has the deployment, which is the model when the body has none.
    let deployment = path.split_once("/openai/deployments/").map(|(_, r)| r);
    let deployment = deployment.and_then(|r| r.split('/').next());
    let mut must = Must::call(x, kind, asked["model"].as_str().or(deployment));
    must.whole = whole;
    let provider = PROVIDERS.iter().find(|(host, _)| x.host.contains(host));
    let provider = provider.map_or("openai", |(_, name)| *name);
    must.set(attr::PROVIDER_NAME, Some(json!(provider)));
    for (name, member) in REQUEST {
        add(&mut must, name, asked.get(member));
    }
    if asked["stream"] == true {
        must.set(attr::REQUEST_STREAM, Some(json!(true)));
    }
    if asked["n"].as_i64().is_some_and(|n| n != 1) {
        must.set(attr::REQUEST_CHOICE_COUNT, asked.get("n").cloned());
    }
    match &asked["stop"] {
        Value::String(one) => must.set(attr::REQUEST_STOP_SEQUENCES, Some(json!([one]))),
        several => add(&mut must, attr::REQUEST_STOP_SEQUENCES, Some(several)),
    }
    for (name, pointer) in ANSWER {
        add(&mut must, name, answer.pointer(pointer));
    }
    let choices = answer["choices"].as_array().cloned().unwrap_or_default();
    if kind == operation::TEXT_COMPLETION {
        completion(&mut must, &asked, &choices, x.streams());
        add(
            &mut must,
            attr::USAGE_OUTPUT_TOKENS,
            answer.pointer("/usage/completion_tokens"),
        );
    }
    if !responses {
        let parts = [
            "/prompt_tokens_details/cached_tokens",
            "/prompt_token_details/cached_tokens",
            "/prompt_cache_hit_tokens",
            "/cached_tokens",
        ];
        let reasons = [
            "/completion_tokens_details/reasoning_tokens",
            "/completion_token_details/reasoning_tokens",
            "/reasoning_tokens",
        ];
        let usage = &answer["usage"];
        must.set_parts(usage, &parts, &reasons);
        let places = ["/error/code", "/error/type", "/code", "/type"];
        must.set_error(x, &answer, &places);
        // An answer that is none, and one that is an error in spite of its status.
        let failed = first(&answer, &["/error/code", "/error/type"]).filter(|_| x.status < 400);
        if x.response.is_empty() {
            must.set(attr::ERROR_TYPE, Some(json!("invalid_response")));
        } else if let Some(kind) = failed {
            must.set(attr::ERROR_TYPE, Some(kind.clone()));
        }
    }
    if kind == operation::CHAT && !responses {
        asked::chat(&mut must, &asked);
        must.set(attr::USAGE_OUTPUT_TOKENS, made(x, &answer["usage"]));
        must.set_reasons(choices.iter().map(|c| reason(c, x.streams())));
        let list = choices.iter().map(|c| parts(&c["message"]));
        must.output = Some(list.collect());
    }
    if kind == operation::EMBEDDINGS {
        let format = asked.get("encoding_format").map(|f| json!([f]));
        add(&mut must, attr::REQUEST_ENCODING_FORMATS, format.as_ref());
        let count = dimension(&answer["data"][0]["embedding"]).map(|n| json!(n));
        add(&mut must, attr::EMBEDDINGS_DIMENSION_COUNT, count.as_ref());
    }
    let failed = answer["error"].is_object() && !responses;
    // Neither is what is no document an answer.
    must.failed |= failed || (answer.is_null() && x.method == "POST");
    Some(must)
}

/// A part of a host, and whom it is of; whoever is not known is called by the protocol.
const PROVIDERS: [(&str, &str); 13] = [
    ("openai.azure.com", "azure.ai.openai"),
    ("services.ai.azure.com", "azure.ai.inference"),
    ("models.ai.azure.com", "azure.ai.inference"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.groq.com", "groq"),
    ("api.together.xyz", "together"),
    ("api.writer.com", "writer"),
    ("api.deepseek.com", "deepseek"),
    ("openrouter.ai", "openrouter"),
    ("api.x.ai", "x_ai"),
    ("api.moonshot.", "moonshot_ai"),
    ("aliyuncs.com", "dashscope"),
    ("api.cohere.", "cohere"),
];

const REQUEST: [(&str, &str); 6] = [
    (attr::REQUEST_TEMPERATURE, "temperature"),
    (attr::REQUEST_TOP_P, "top_p"),
    (attr::REQUEST_SEED, "seed"),
    (attr::REQUEST_FREQUENCY_PENALTY, "frequency_penalty"),
    (attr::REQUEST_PRESENCE_PENALTY, "presence_penalty"),
    (attr::REQUEST_MAX_TOKENS, "max_tokens"),
];

const ANSWER: [(&str, &str); 5] = [
    (attr::RESPONSE_ID, "/id"),
    (attr::RESPONSE_MODEL, "/model"),
    (attr::USAGE_INPUT_TOKENS, "/usage/prompt_tokens"),
    (
        attr::OPENAI_RESPONSE_SYSTEM_FINGERPRINT,
        "/system_fingerprint",
    ),
    (attr::OPENAI_RESPONSE_SERVICE_TIER, "/service_tier"),
];

/// Demands what is said; what is not is not judged.
fn add(must: &mut Must, name: &'static str, value: Option<&Value>) {
    if let Some(value) = value.filter(|v| !v.is_null()) {
        must.set(name, Some(value.clone()));
    }
}

/// Numbers in a vector, of which base64 has four bytes each.
fn dimension(vector: &Value) -> Option<usize> {
    match vector {
        Value::Array(list) => Some(list.len()),
        Value::String(text) => Some(text.trim_end_matches('=').len() * 3 / 4 / 4),
        _ => None,
    }
}

/// Tokens of the answer: xAI counts those of its reasoning beside them.
fn made(x: &Exchange, usage: &Value) -> Option<Value> {
    let made = usage.get("completion_tokens")?;
    let thought = usage.pointer("/completion_tokens_details/reasoning_tokens");
    let thought = thought.filter(|_| x.host == "api.x.ai");
    let sum = made.as_i64().zip(thought.and_then(Value::as_i64));
    Some(sum.map_or_else(|| made.clone(), |(made, thought)| json!(made + thought)))
}

fn parts(message: &Value) -> Vec<Value> {
    let mut parts = Vec::new();
    let nonempty = |v: &&Value| v.as_str().is_some_and(|t| !t.is_empty());
    let thought = first(message, &["/reasoning_content", "/reasoning"]).filter(nonempty);
    parts.extend(thought.map(|t| json!({"type": "reasoning", "content": t})));
    for said in ["content", "refusal"] {
        parts.extend(message.get(said).filter(nonempty).map(text));
    }
    let old = message.get("function_call").filter(|f| f.is_object());
    parts.extend(old.map(|f| tool_call(&Value::Null, &f["name"], &arguments(&f["arguments"]))));
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let function = &call["function"];
        let arguments = arguments(&function["arguments"]);
        parts.push(tool_call(&call["id"], &function["name"], &arguments));
    }
    parts
}

/// Why a choice ended; one that does not say it counts as an error, unless it is still to come.
fn reason(choice: &Value, streams: bool) -> Value {
    match &choice["finish_reason"] {
        Value::Null if !streams => json!("error"),
        reason => reason.clone(),
    }
}

/// What only a legacy completion has this way.
fn completion(must: &mut Must, asked: &Value, choices: &[Value], streams: bool) {
    let message =
        |text: &Value| json!({"role": "user", "parts": [{"type": "text", "content": text}]});
    let prompts: Vec<Value> = match &asked["prompt"] {
        Value::Array(list) => list.iter().filter(|p| p.is_string()).map(message).collect(),
        text @ Value::String(_) => vec![message(text)],
        _ => Vec::new(),
    };
    let prompts = (!prompts.is_empty()).then(|| json!(prompts));
    must.set(attr::INPUT_MESSAGES, prompts);
    must.set_reasons(choices.iter().map(|c| reason(c, streams)));
    let messages: Vec<Value> = choices
        .iter()
        .map(|c| {
            let (parts, reason) = ([text(&c["text"])], reason(c, false));
            json!({"role": "assistant", "parts": parts, "finish_reason": reason})
        })
        .collect();
    let messages = (!messages.is_empty()).then(|| json!(messages));
    must.set(attr::OUTPUT_MESSAGES, messages);
}

/// The chunks of a stream as the document that would have come instead: texts joined, the rest as
/// it came last.
fn merged(body: &[u8]) -> Value {
    let mut whole = Map::new();
    let mut choices: BTreeMap<u64, Value> = BTreeMap::new();
    for (_, data) in events(body) {
        let Ok(Value::Object(mut chunk)) = serde_json::from_str(&data) else {
            continue;
        };
        // Responses have the document inside an event.
        if let Some(Value::Object(response)) = chunk.remove("response") {
            chunk = response;
        }
        // Groq's usage; Writer's completions, which are nothing but text.
        if let Some(Value::Object(mut groq)) = chunk.remove("x_groq") {
            whole.extend(groq.remove("usage").map(|u| ("usage".to_owned(), u)));
        }
        if let Some(text) = chunk.remove("value") {
            join(
                choices.entry(0).or_insert_with(|| json!({})),
                &json!({"text": text}),
            );
        }
        let parts = match chunk.remove("choices") {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        whole.extend(chunk.into_iter().filter(|(_, v)| !v.is_null()));
        for mut part in parts {
            // Moonshot's usage.
            let usage = part.as_object_mut().and_then(|p| p.remove("usage"));
            whole.extend(usage.map(|u| ("usage".to_owned(), u)));
            let index = part["index"].as_u64().unwrap_or_default();
            join(choices.entry(index).or_insert_with(|| json!({})), &part);
        }
    }
    let choices: Vec<Value> = choices.into_values().collect();
    whole.insert("choices".to_owned(), json!(choices));
    Value::Object(whole)
}

/// A choice of a chunk onto the choice as it is.
fn join(choice: &mut Value, part: &Value) {
    append(&mut choice["text"], &part["text"]);
    if !part["finish_reason"].is_null() {
        choice["finish_reason"] = part["finish_reason"].clone();
    }
    let delta = first(part, &["/delta", "/message"]).cloned();
    let delta = delta.unwrap_or_default();
    let message = &mut choice["message"];
    for member in ["content", "refusal", "reasoning_content", "reasoning"] {
        append(&mut message[member], &delta[member]);
    }
    if delta["function_call"].is_object() {
        let whole = &mut message["function_call"];
        append(&mut whole["name"], &delta["function_call"]["name"]);
        append(
            &mut whole["arguments"],
            &delta["function_call"]["arguments"],
        );
    }
    for call in delta["tool_calls"].as_array().into_iter().flatten() {
        if !message["tool_calls"].is_array() {
            message["tool_calls"] = json!([]);
        }
        let Some(list) = message["tool_calls"].as_array_mut() else {
            continue;
        };
        let index = call["index"].as_u64().unwrap_or(list.len() as u64);
        let index = usize::try_from(index).unwrap_or_default();
        while list.len() <= index {
            list.push(json!({"function": {}}));
        }
        let whole = &mut list[index];
        if call["id"].as_str().is_some_and(|id| !id.is_empty()) && whole["id"].is_null() {
            whole["id"] = call["id"].clone();
        }
        let function = &call["function"];
        if whole["function"]["name"].is_null() {
            append(&mut whole["function"]["name"], &function["name"]);
        }
        append(&mut whole["function"]["arguments"], &function["arguments"]);
    }
}

fn append(whole: &mut Value, piece: &Value) {
    if let Some(piece) = piece.as_str() {
        *whole = json!(format!("{}{piece}", whole.as_str().unwrap_or_default()));
    }
}
