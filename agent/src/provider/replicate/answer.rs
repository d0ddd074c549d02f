//! What the server says of a prediction: always the same document, whoever asks.

use super::request::{at, is_address};
use crate::model::call::{CallError, Message, Part, Usage};
use crate::provider::content;
use crate::provider::error;
use crate::provider::json::{Document, Object, field};
use crate::provider::limits::MAX_ITEMS;
use crate::provider::shape::Answer;
use crate::provider::tasks::Task;
use crate::provider::text::{Growing, Room};
use serde_json::{Map, Value};

/// What can be said of a prediction. It goes on in the first two.
pub(super) const STATES: [&str; 7] = [
    "starting",
    "processing",
    "succeeded",
    "successful",
    "failed",
    "canceled",
    "aborted",
];

/// Reads the document of a successful exchange.
pub(super) fn read(document: Document, room: &mut Room) -> Answer {
    let Document { mut root, .. } = document;
    let mut answer = Answer::default();
    let Some(id) = field::owned(&root, "id") else {
        return answer;
    };
    let status = field::str(&root, "status").unwrap_or_default();
    let (over, reason) = match status {
        "succeeded" | "successful" => (true, Some("stop")),
        "failed" => (true, Some("error")),
        "canceled" | "aborted" => (true, Some("cancelled")),
        _ => (false, None),
    };
    if status == "failed" {
        answer.error = Some(failure(field::str(&root, "error")));
    }
    let stream = field::object(&root, "urls").and_then(|u| field::str(u, "stream"));
    let stream = stream.and_then(path).map(str::to_owned);
    let response = &mut answer.response;
    response.model = field::owned(&root, "model");
    response.usage = counts(&root);
    if over {
        let parts = outputs(field::take(&mut root, "output"), room);
        said(&mut answer.response.messages, parts, reason);
        answer
            .response
            .finish_reasons
            .extend(reason.map(str::to_owned));
    }
    answer.response.id = Some(id.clone());
    answer.task = Some(Task { id, over, stream });
    answer
}

/// Why a prediction failed: only a text says it.
pub(super) fn failure(message: Option<&str>) -> CallError {
    CallError {
        kind: "prediction_failed".to_owned(),
        message: message.filter(|m| !m.is_empty()).map(error::bounded),
    }
}

/// Language models count tokens; nobody else does.
fn counts(root: &Object) -> Usage {
    let metrics = field::object(root, "metrics");
    let count = |key: &str| metrics.and_then(|m| field::int(m, key)).filter(|n| *n >= 0);
    Usage {
        input: count("input_token_count"),
        output: count("output_token_count"),
        ..Usage::default()
    }
}

/// Puts a message, if something was made.
pub(super) fn said(messages: &mut Vec<Message>, parts: Vec<Part>, reason: Option<&str>) {
    if !parts.is_empty() {
        messages.push(Message {
            role: "assistant".to_owned(),
            parts,
            finish_reason: reason.map(str::to_owned),
            ..Message::default()
        });
    }
}

/// What was made: files, or a text, which language models give in pieces; else as it is.
fn outputs(value: Option<Value>, room: &mut Room) -> Vec<Part> {
    let list = match value {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
    };
    if !list.iter().all(Value::is_string) {
        let mut part = Map::new();
        part.insert("type".to_owned(), Value::from("output"));
        part.insert(
            "output".to_owned(),
            content::within(Value::Array(list), room),
        );
        return vec![Part::Other(Value::Object(part))];
    }
    let texts = list.into_iter().filter_map(|v| match v {
        Value::String(text) => Some(text),
        _ => None,
    });
    let texts: Vec<String> = texts.collect();
    if texts.iter().all(|t| is_address(t)) {
        let files = texts.into_iter().take(MAX_ITEMS);
        return files.map(|url| at(url, room)).collect();
    }
    let mut whole = Growing::default();
    for piece in &texts {
        whole.push(piece, room);
    }
    vec![Part::Text(whole.into_text())]
}

/// The path of an address.
fn path(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let (_, path) = rest.split_at(rest.find('/')?);
    let path = path.split(['?', '#']).next()?;
    Some(path.trim_end_matches('/')).filter(|p| !p.is_empty())
}
