//! Request bodies: `{model, input, parameters}`.

use super::content::{order, unify};
use crate::model::call::{Api, CallRequest, Message, Operation, Part};
use crate::provider::content::{AUDIO, IMAGE, VIDEO, at_url};
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::openai::{messages, tools};
use crate::provider::shape::Found;
use crate::provider::text::Room;
use serde_json::Value;

/// Members of an input that say where a picture, a sound or a film lies.
const ADDRESSES: [(&str, &str); 12] = [
    ("image_url", IMAGE),
    ("img_url", IMAGE),
    ("base_image_url", IMAGE),
    ("mask_image_url", IMAGE),
    ("ref_img", IMAGE),
    ("ref_image_url", IMAGE),
    ("first_frame_url", IMAGE),
    ("last_frame_url", IMAGE),
    ("person_image_url", IMAGE),
    ("audio_url", AUDIO),
    ("video_url", VIDEO),
    ("url", AUDIO),
];

/// Reads a request's body.
pub(super) fn read(found: &Found, mut body: Object, room: &mut Room) -> CallRequest {
    let mut parameters = match field::take(&mut body, "parameters") {
        Some(Value::Object(o)) => o,
        _ => Object::new(),
    };
    let model = field::owned(&body, "model");
    let input = match field::take(&mut body, "input") {
        Some(Value::Object(o)) => o,
        // Some send the messages as chat completions have them.
        None => std::mem::take(&mut body),
        _ => Object::new(),
    };
    let p = &parameters;
    let mut request = CallRequest {
        model,
        temperature: field::float(p, "temperature"),
        top_p: field::float(p, "top_p"),
        top_k: field::int(p, "top_k"),
        repetition_penalty: field::float(p, "repetition_penalty"),
        presence_penalty: field::float(p, "presence_penalty"),
        frequency_penalty: field::float(p, "frequency_penalty"),
        max_tokens: field::int(p, "max_tokens"),
        seed: field::int(p, "seed"),
        choice_count: field::int(p, "n"),
        stop_sequences: stop(p.get("stop")),
        output_type: output_type(found, p),
        reasoning_level: field::owned(p, "reasoning_effort"),
        dimensions: field::int(p, "dimension"),
        top_n: field::int(p, "top_n"),
        conversation_id: field::owned(&input, "session_id"),
        ..CallRequest::default()
    };
    if found.api == Api::DashScopeRerank {
        let documents = field::list(&input, "documents");
        request.documents = documents.and_then(|d| i64::try_from(d.len()).ok());
    }
    if found.operation != Operation::Embeddings && found.operation != Operation::Rerank {
        request.messages = sent(input, found, room);
    }
    request.tools = tools::offered(field::take_list(&mut parameters, "tools").unwrap_or_default());
    request
}

fn stop(value: Option<&Value>) -> Option<Vec<String>> {
    match value? {
        Value::String(text) => Some(vec![text.clone()]),
        // Token ids are no texts.
        Value::Array(list) => list.iter().map(|s| Some(s.as_str()?.to_owned())).collect(),
        _ => None,
    }
}

fn output_type(found: &Found, parameters: &Object) -> Option<&'static str> {
    let format = field::object(parameters, "response_format").and_then(|f| field::str(f, "type"));
    match format {
        Some("json_object" | "json_schema") => Some("json"),
        Some("text") => Some("text"),
        _ => found.makes,
    }
}

/// What is sent: messages, or a prompt, or a text to speak; and what goes with it.
fn sent(mut input: Object, found: &Found, room: &mut Room) -> Vec<Message> {
    let mut all = Vec::new();
    for turn in field::take_list(&mut input, "history").unwrap_or_default() {
        all.extend(past(turn, room));
    }
    let mut list = field::take_list(&mut input, "messages").unwrap_or_default();
    list.iter_mut()
        .filter_map(Value::as_object_mut)
        .for_each(unify);
    all.extend(messages::sent(list, room));
    order(&mut all);
    let mut parts = Vec::new();
    for key in ["prompt", "text"] {
        if let Some(text) = field::take_string(&mut input, key) {
            parts.push(Part::Text(room.keep(text)));
        }
    }
    if found.operation == Operation::GenerateContent {
        for (key, modality) in ADDRESSES {
            if let Some(url) = field::take_string(&mut input, key).filter(|u| !u.is_empty()) {
                parts.push(at_url(url, modality, room));
            }
        }
        for url in field::take_list(&mut input, "images").unwrap_or_default() {
            if let Value::String(url) = url {
                parts.push(at_url(url, IMAGE, room));
            }
        }
        for url in field::take_list(&mut input, "file_urls").unwrap_or_default() {
            if let Value::String(url) = url {
                parts.push(at_url(url, AUDIO, room));
            }
        }
    }
    if !parts.is_empty() {
        all.push(message("user", parts));
    }
    all
}

/// A turn of the past, as the first models had it.
fn past(turn: Value, room: &mut Room) -> Vec<Message> {
    let Value::Object(mut turn) = turn else {
        return Vec::new();
    };
    [("user", "user"), ("bot", "assistant")]
        .into_iter()
        .filter_map(|(key, role)| {
            let text = field::take_string(&mut turn, key)?;
            Some(message(role, vec![Part::Text(room.keep(text))]))
        })
        .collect()
}

fn message(role: &str, parts: Vec<Part>) -> Message {
    Message {
        role: role.to_owned(),
        parts,
        ..Message::default()
    }
}
