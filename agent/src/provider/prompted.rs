//! What the own APIs of inference servers have in common: a prompt goes in, texts come out.

use super::body::Body;
use super::json::{Object, field};
use super::limits::{MAX_MESSAGES, MAX_NAME_BYTES};
use super::text::{Growing, Room};
use crate::model::call::{CallResponse, Message, Part};
use serde_json::Value;

/// Most sequences at which an answer is to stop.
const MAX_STOPS: usize = 64;

/// A prompt, or several, as messages of a user. Tokens say nothing to people and are left out.
pub(super) fn prompts(value: Option<Value>, room: &mut Room) -> Vec<Message> {
    let texts = match value {
        Some(Value::String(text)) => vec![Value::String(text)],
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    texts
        .into_iter()
        .take(MAX_MESSAGES)
        .filter_map(|text| match text {
            Value::String(text) => Some(text),
            // llama.cpp's prompts with pictures.
            Value::Object(mut parts) => field::take_string(&mut parts, "prompt_string"),
            _ => None,
        })
        .map(|text| Message {
            role: "user".to_owned(),
            parts: vec![Part::Text(room.keep(text))],
            ..Message::default()
        })
        .collect()
}

/// The answers of a document that is a list of them: a list of prompts has one, and some servers
/// answer a single prompt so. None when the body is no list; empty when it is no whole one.
pub(super) fn answers(body: &Body) -> Option<Vec<Object>> {
    if body.head().trim_ascii_start().first() != Some(&b'[') {
        return None;
    }
    Some(serde_json::from_slice(body.head()).unwrap_or_default())
}

/// Where an answer is to stop: one text or several.
pub(super) fn stops(value: Option<&Value>) -> Option<Vec<String>> {
    let short = |text: &Value| {
        let text = text.as_str().filter(|t| t.len() <= MAX_NAME_BYTES);
        text.map(str::to_owned)
    };
    match value? {
        text @ Value::String(_) => short(text).map(|t| vec![t]),
        Value::Array(list) => {
            let all: Vec<String> = list.iter().take(MAX_STOPS).filter_map(short).collect();
            Some(all).filter(|all| !all.is_empty())
        }
        _ => None,
    }
}

/// An answer's text, with the reason for which it ended: as it was said, and as messages have it.
/// Without one it was cut, if it began at all.
pub(super) fn close(
    response: &mut CallResponse,
    text: Growing,
    reason: Option<String>,
    mapped: impl Fn(&str) -> &str,
) {
    let told = reason.as_deref().map_or("error", mapped).to_owned();
    let mut parts = Vec::new();
    if !text.is_empty() {
        parts.push(Part::Text(text.into_text()));
    }
    response.messages.push(Message {
        role: "assistant".to_owned(),
        parts,
        finish_reason: Some(told),
        ..Message::default()
    });
    response.finish_reasons.extend(reason);
}
