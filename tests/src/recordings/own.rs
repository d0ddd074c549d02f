//! What a recording itself says of a call, for calls of which the peer makes no span: legacy
//! completions, and what is sent without the SDK's methods. Written apart from the agent, after
//! the conventions.

use super::Exchange;
use super::cassette::events;
use super::seen::{STRUCTURED, Seen};
use genspan::vocabulary::{attr, operation};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What a span must say.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The span.
    pub seen: Seen,
    /// The span may say nothing else; otherwise what is not in it is not judged.
    pub whole: bool,
}

impl Reference {
    /// Whether an attribute is compared.
    #[must_use]
    pub fn judges(&self, name: &str) -> bool {
        let known = self.seen.attributes.contains_key(name);
        // A time is no property of a recording; who is behind a host is none either.
        let free = [attr::RESPONSE_TIME_TO_FIRST_CHUNK, attr::PROVIDER_NAME].contains(&name);
        known || (self.whole && !free)
    }
}

/// The span of an exchange, if it is a model's.
#[must_use]
pub fn reference(x: &Exchange) -> Option<Reference> {
    let path = x.path.trim_end_matches('/');
    let asked = x.asked();
    let post = x.method == "POST" && asked.is_object();
    let (kind, whole) = if post && path.ends_with("/chat/completions") {
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
    let answer = if x.streams() {
        merged(&x.response)
    } else {
        x.answer()
    };
    let mut set = Set::default();
    set.add(attr::OPERATION_NAME, Some(&json!(kind)));
    set.add(attr::REQUEST_MODEL, asked.get("model"));
    let (host, port) = x.host.split_once(':').unwrap_or((&x.host, "443"));
    set.add(attr::SERVER_ADDRESS, Some(&json!(host)));
    set.add(
        attr::SERVER_PORT,
        port.parse::<u16>().ok().map(|p| json!(p)).as_ref(),
    );
    if host == "api.openai.com" {
        set.add(attr::PROVIDER_NAME, Some(&json!("openai")));
    }
    for (name, member) in REQUEST {
        set.add(name, asked.get(member));
    }
    if asked["stream"] == true {
        set.add(attr::REQUEST_STREAM, Some(&json!(true)));
    }
    if asked["n"].as_i64().is_some_and(|n| n != 1) {
        set.add(attr::REQUEST_CHOICE_COUNT, asked.get("n"));
    }
    match &asked["stop"] {
        Value::String(one) => set.add(attr::REQUEST_STOP_SEQUENCES, Some(&json!([one]))),
        several => set.add(attr::REQUEST_STOP_SEQUENCES, Some(several)),
    }
    for (name, pointer) in ANSWER {
        set.add(name, answer.pointer(pointer));
    }
    if kind == operation::TEXT_COMPLETION {
        completion(&mut set, &asked, &answer);
    }
    if kind == operation::EMBEDDINGS {
        let format = asked.get("encoding_format").map(|f| json!([f]));
        set.add(attr::REQUEST_ENCODING_FORMATS, format.as_ref());
        let count = dimension(&answer["data"][0]["embedding"]).map(|n| json!(n));
        set.add(attr::EMBEDDINGS_DIMENSION_COUNT, count.as_ref());
    }
    let mut name = kind.to_owned();
    if let Some(model) = asked["model"].as_str() {
        name = format!("{kind} {model}");
    }
    let seen = Seen {
        name,
        failed: x.status >= 400,
        attributes: set.0,
    };
    Some(Reference { seen, whole })
}

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

#[derive(Default)]
struct Set(BTreeMap<String, Value>);

impl Set {
    fn add(&mut self, name: &str, value: Option<&Value>) {
        if let Some(value) = value.filter(|v| !v.is_null()) {
            self.0.insert(name.to_owned(), value.clone());
        }
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

/// What only a legacy completion has this way.
fn completion(set: &mut Set, asked: &Value, answer: &Value) {
    let [input, output, ..] = STRUCTURED;
    let message =
        |text: &Value| json!({"role": "user", "parts": [{"type": "text", "content": text}]});
    let prompts: Vec<Value> = match &asked["prompt"] {
        Value::Array(list) => list.iter().filter(|p| p.is_string()).map(message).collect(),
        text @ Value::String(_) => vec![message(text)],
        _ => Vec::new(),
    };
    set.add(input, Some(&json!(prompts)).filter(|_| !prompts.is_empty()));
    let choices = answer["choices"].as_array().cloned().unwrap_or_default();
    let reasons: Vec<&Value> = choices.iter().map(|c| &c["finish_reason"]).collect();
    set.add(
        attr::RESPONSE_FINISH_REASONS,
        Some(&json!(reasons)).filter(|_| !reasons.is_empty()),
    );
    let messages: Vec<Value> = choices
        .iter()
        .map(|c| {
            let parts = json!([{"type": "text", "content": c["text"]}]);
            json!({"role": "assistant", "parts": parts, "finish_reason": c["finish_reason"]})
        })
        .collect();
    set.add(
        output,
        Some(&json!(messages)).filter(|_| !messages.is_empty()),
    );
    set.add(
        attr::USAGE_OUTPUT_TOKENS,
        answer.pointer("/usage/completion_tokens"),
    );
}

/// The chunks of a stream as the document that would have come instead: texts joined, the rest as
/// it came last.
fn merged(body: &[u8]) -> Value {
    let mut whole = Map::new();
    let mut choices: BTreeMap<u64, Map<String, Value>> = BTreeMap::new();
    for (_, data) in events(body) {
        let Ok(Value::Object(mut chunk)) = serde_json::from_str(&data) else {
            continue;
        };
        // Responses have the document inside an event.
        if let Some(Value::Object(response)) = chunk.remove("response") {
            chunk = response;
        }
        let parts = match chunk.remove("choices") {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        whole.extend(chunk.into_iter().filter(|(_, v)| !v.is_null()));
        for part in parts {
            let choice = choices
                .entry(part["index"].as_u64().unwrap_or_default())
                .or_default();
            let before = choice
                .get("text")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let text = format!("{before}{}", part["text"].as_str().unwrap_or_default());
            choice.insert("text".to_owned(), json!(text));
            if !part["finish_reason"].is_null() {
                choice.insert("finish_reason".to_owned(), part["finish_reason"].clone());
            }
        }
    }
    let choices: Vec<Value> = choices.into_values().map(Value::Object).collect();
    whole.insert("choices".to_owned(), json!(choices));
    Value::Object(whole)
}
