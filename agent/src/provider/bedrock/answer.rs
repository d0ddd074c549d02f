//! Answers of invoke that came as one document, and failures of all of Bedrock.

use super::converse;
use super::family::{self, Answered};
use crate::model::call::{CallError, CallResponse, Part, Usage};
use crate::provider::content::IMAGE;
use crate::provider::error;
use crate::provider::json::field;
use crate::provider::json::{Document, Object};
use crate::provider::limits::MAX_CHOICES;
use crate::provider::shape::{Answer, Found};
use crate::provider::text::Room;
use serde_json::Value;

/// Reads the document of a successful exchange.
pub(super) fn read(_: &Found, document: Document, room: &mut Room) -> Answer {
    let Some(form) = family::answered(&document.root) else {
        return Answer::default();
    };
    if let Some((shape, inner)) = form.of_others() {
        return shape.answer(&inner, document, room);
    }
    match form {
        Answered::Nova => converse::answer(document, room),
        Answered::Vector => vector(&document.root),
        Answered::Images => images(document, room),
        _ => text(document, room),
    }
}

/// A text of a model of Amazon's, Meta's, Mistral's or AI21's.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) text: Option<String>,
    pub(super) reason: Option<String>,
}

/// What an answer, or a chunk of one, says.
pub(super) fn said(root: &mut Object) -> Vec<Said> {
    for key in ["results", "outputs", "completions"] {
        if let Some(list) = field::take_list(root, key) {
            return list
                .into_iter()
                .filter_map(|v| match v {
                    Value::Object(o) => Some(one(o)),
                    _ => None,
                })
                .collect();
        }
    }
    vec![one(std::mem::take(root))]
}

fn one(mut o: Object) -> Said {
    let mut text = ["generation", "outputText", "text"]
        .iter()
        .find_map(|key| field::take_string(&mut o, key));
    // Jurassic's.
    if let Some(Value::Object(mut data)) = field::take(&mut o, "data") {
        text = text.or_else(|| field::take_string(&mut data, "text"));
    }
    let reason = ["stop_reason", "completionReason"]
        .iter()
        .find_map(|key| field::owned(&o, key))
        .or_else(|| field::owned(field::object(&o, "finishReason")?, "reason"));
    Said { text, reason }
}

/// Counts that stand at the top of an answer or of a chunk.
pub(super) fn counts(root: &Object) -> Usage {
    let count = |names: &[&str]| {
        let told = names.iter().find_map(|name| field::int(root, name));
        told.filter(|n| *n >= 0)
    };
    let of_results = || {
        let results = field::list(root, "results")?.iter();
        results
            .filter_map(|r| field::int(r.as_object()?, "tokenCount").filter(|n| *n >= 0))
            .reduce(i64::saturating_add)
    };
    Usage {
        input: count(&["inputTextTokenCount", "prompt_token_count"]),
        output: count(&["totalOutputTextTokenCount", "generation_token_count"]).or_else(of_results),
        ..Usage::default()
    }
}

fn text(document: Document, room: &mut Room) -> Answer {
    let Document { mut root, whole } = document;
    let mut answer = Answer {
        response: CallResponse {
            id: ["id"].iter().find_map(|key| match root.get(*key)? {
                Value::Number(n) => Some(n.to_string()),
                _ => field::owned(&root, key),
            }),
            usage: counts(&root),
            ..CallResponse::default()
        },
        ..Answer::default()
    };
    let list = said(&mut root);
    answer.too_many = list.len() > MAX_CHOICES;
    for Said { text, reason } in list.into_iter().take(MAX_CHOICES) {
        let parts = text.map(|t| Part::Text(room.keep(t)));
        let parts = parts.into_iter().collect();
        converse::close(&mut answer.response, None, parts, reason, whole);
    }
    answer
}

/// Length of a vector, or of the first one of a list or of a kind.
fn vector(root: &Object) -> Answer {
    let length = |value: &Value| {
        let list = value
            .as_array()
            .filter(|l| l.iter().all(Value::is_number))?;
        i64::try_from(list.len()).ok().filter(|n| *n > 0)
    };
    let direct = root.get("embedding").and_then(length);
    let by_type = || {
        let kinds = field::object(root, "embeddingsByType")?;
        kinds.values().find_map(length)
    };
    let listed = || {
        let first = field::list(root, "embeddings")?.first()?;
        length(first).or_else(|| length(first.get("embedding")?))
    };
    Answer {
        response: CallResponse {
            embedding_dimensions: direct.or_else(by_type).or_else(listed),
            usage: Usage {
                output: None,
                ..counts(root)
            },
            ..CallResponse::default()
        },
        ..Answer::default()
    }
}

fn images(document: Document, room: &mut Room) -> Answer {
    let Document { mut root, whole } = document;
    let mut answer = Answer::default();
    let reason = field::list(&root, "finish_reasons")
        .and_then(|list| list.iter().find_map(|r| r.as_str().map(str::to_owned)));
    let failed = field::owned(&root, "error").map(|message| CallError {
        kind: error::OTHER.to_owned(),
        message: Some(error::bounded(&message)),
    });
    let of = |data: String, room: &mut Room| Part::Blob {
        modality: IMAGE,
        mime_type: None,
        content: room.keep(data),
    };
    let mut parts = Vec::new();
    for key in ["images", "artifacts"] {
        let list = field::take_list(&mut root, key).unwrap_or_default();
        for value in list.into_iter().take(MAX_CHOICES) {
            match value {
                Value::String(data) => parts.push(of(data, room)),
                Value::Object(mut o) => {
                    parts.extend(field::take_string(&mut o, "base64").map(|d| of(d, room)));
                }
                _ => {}
            }
        }
    }
    answer.error = failed;
    if !parts.is_empty() {
        let reason = reason.or_else(|| whole.then(|| "stop".to_owned()));
        converse::close(&mut answer.response, None, parts, reason, whole);
    }
    answer
}

/// What a failed exchange says: the exception's name is in a header or in the body.
pub(super) fn failed(status: u16, document: Option<&Object>, body: &[u8]) -> CallError {
    let mut told = error::of_status(status, document, body);
    if let Some(root) = document {
        if let Some(kind) = field::str(root, "__type").and_then(exception) {
            told.kind = kind;
        }
        if told.message.is_none() {
            told.message = field::str(root, "Message").map(error::bounded);
        }
    }
    told
}

/// The name of an exception, which may stand between a namespace and an address.
pub(super) fn exception(text: &str) -> Option<String> {
    let name = text.rsplit_once('#').map_or(text, |(_, name)| name);
    let name = name.split(':').next().unwrap_or_default().trim();
    error::scalar(&Value::from(name))
}
