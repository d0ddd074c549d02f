//! Answers that came as one document: `{output, usage, request_id}`.

use super::content::{order, unify};
use super::{error, usage};
use crate::model::call::{Api, CallError, CallResponse, Message, Operation, Part};
use crate::provider::content::{AUDIO, IMAGE, VIDEO, at_url};
use crate::provider::json::field;
use crate::provider::json::{Document, Object};
use crate::provider::limits::{MAX_CHOICES, MAX_ITEMS};
use crate::provider::openai::messages;
use crate::provider::shape::{Answer, Found};
use crate::provider::tasks::Task;
use crate::provider::text::Room;
use serde_json::Value;

/// Reads the document of a successful exchange.
pub(super) fn read(found: &Found, document: Document, room: &mut Room) -> Answer {
    let Document { mut root, whole } = document;
    if let Some(failed) = error::instead_of_output(&root) {
        return Answer {
            response: CallResponse {
                id: field::owned(&root, "request_id"),
                ..CallResponse::default()
            },
            error: Some(failed),
            ..Answer::default()
        };
    }
    let mut answer = Answer {
        response: head(found, &root),
        ..Answer::default()
    };
    let mut output = match field::take(&mut root, "output") {
        Some(Value::Object(o)) => o,
        _ => return answer,
    };
    answer.response.conversation_id = field::owned(&output, "session_id");
    if found.operation == Operation::Embeddings {
        answer.response.embedding_dimensions = dimension(&output);
    }
    if let Some(id) = field::owned(&output, "task_id") {
        task(id, &mut output, room, &mut answer);
    } else if field::list(&output, "choices").is_some() {
        choices(&mut output, whole, room, &mut answer);
    } else if found.operation != Operation::Embeddings && found.operation != Operation::Rerank {
        whole_output(&mut output, whole, room, &mut answer.response);
    }
    answer
}

/// Id and counts.
pub(super) fn head(found: &Found, root: &Object) -> CallResponse {
    let mut response = CallResponse {
        id: field::owned(root, "request_id"),
        ..CallResponse::default()
    };
    if let Some(counts) = field::object(root, "usage") {
        response.usage = match (found.operation, found.api) {
            (Operation::Embeddings | Operation::Rerank, _) => usage::of_input(counts),
            (_, Api::DashScopeApp) => {
                let (usage, model) = usage::of_models(counts);
                response.model = model;
                usage
            }
            _ => usage::read(counts),
        };
    }
    response
}

/// The reason that is given, if one is: under way it is the text `null`.
pub(super) fn reason(object: &Object) -> Option<&str> {
    field::nonempty(object, "finish_reason").filter(|r| *r != "null")
}

fn choices(output: &mut Object, whole: bool, room: &mut Room, answer: &mut Answer) {
    let list = field::take_list(output, "choices").unwrap_or_default();
    answer.too_many = list.len() > MAX_CHOICES;
    let mut list: Vec<Object> = list
        .into_iter()
        .filter_map(|c| match c {
            Value::Object(o) => Some(o),
            _ => None,
        })
        .collect();
    list.sort_by_key(|c| field::int(c, "index").unwrap_or(0));
    for mut choice in list.into_iter().take(MAX_CHOICES) {
        let told = reason(&choice).map(str::to_owned);
        if told.is_none() {
            choice.remove("finish_reason");
        }
        let told = told.or_else(|| whole.then(|| "error".to_owned()));
        answer.response.finish_reasons.extend(told);
        if let Some(Value::Object(message)) = choice.get_mut("message") {
            unify(message);
        }
        let message = messages::received(&mut choice, whole, room);
        answer.response.messages.extend(message);
    }
    order(&mut answer.response.messages);
}

/// An output that is one text, or one sound, or one picture.
fn whole_output(output: &mut Object, whole: bool, room: &mut Room, response: &mut CallResponse) {
    let told = reason(output).map(str::to_owned);
    let mut parts = Vec::new();
    if let Some(text) = field::take_string(output, "text") {
        parts.push(Part::Text(room.keep(text)));
    }
    parts.extend(made(output, room));
    if parts.is_empty() && told.is_none() {
        return;
    }
    let has_text = parts.iter().any(|p| matches!(p, Part::Text(_)));
    let told = told.or_else(|| (whole && has_text).then(|| "error".to_owned()));
    response.finish_reasons.extend(told.clone());
    response.messages.push(Message {
        role: "assistant".to_owned(),
        name: None,
        parts,
        finish_reason: told,
    });
}

/// What a task made, or a model that makes no text: where it lies.
pub(super) fn made(output: &mut Object, room: &mut Room) -> Vec<Part> {
    let mut parts = Vec::new();
    for (key, modality) in [
        ("image_url", IMAGE),
        ("result_image_url", IMAGE),
        ("video_url", VIDEO),
        ("audio_url", AUDIO),
    ] {
        if let Some(url) = field::take_string(output, key).filter(|u| !u.is_empty()) {
            parts.push(at_url(url, modality, room));
        }
    }
    if let Some(Value::Object(mut audio)) = field::take(output, "audio") {
        let url = field::take_string(&mut audio, "url").filter(|u| !u.is_empty());
        parts.extend(url.map(|url| at_url(url, AUDIO, room)));
    }
    let results = match field::take(output, "results") {
        Some(Value::Array(list)) => list,
        Some(one @ Value::Object(_)) => vec![one],
        _ => Vec::new(),
    };
    for result in results.into_iter().take(MAX_ITEMS) {
        let Value::Object(mut result) = result else {
            continue;
        };
        for (key, modality) in [("url", IMAGE), ("video_url", VIDEO)] {
            if let Some(url) = field::take_string(&mut result, key).filter(|u| !u.is_empty()) {
                parts.push(at_url(url, modality, room));
            }
        }
        // Transcriptions lie in a file of their own.
        if let Some(url) = field::take_string(&mut result, "transcription_url") {
            parts.push(Part::Uri {
                modality: "document",
                mime_type: Some("application/json".to_owned()),
                uri: room.keep(url).kept,
            });
        }
    }
    parts
}

/// A task: its id is that of the answer, as that of the request is another one with each poll.
fn task(id: String, output: &mut Object, room: &mut Room, answer: &mut Answer) {
    let status = field::str(output, "task_status").unwrap_or_default();
    let (over, reason) = match status {
        "SUCCEEDED" => (true, Some("stop")),
        "FAILED" => (true, Some("error")),
        "CANCELED" | "CANCELLED" => (true, Some("cancelled")),
        // Forgotten by the server: nobody will learn more.
        "UNKNOWN" => (true, None),
        _ => (false, None),
    };
    if status == "FAILED" {
        let failed = error::in_document(output);
        answer.error = Some(failed.unwrap_or_else(|| CallError {
            kind: "task_failed".to_owned(),
            message: None,
        }));
    }
    if over {
        let parts = if field::list(output, "choices").is_some() {
            choices(output, true, room, answer);
            Vec::new()
        } else {
            made(output, room)
        };
        if !parts.is_empty() {
            answer.response.messages.push(Message {
                role: "assistant".to_owned(),
                name: None,
                parts,
                finish_reason: reason.map(str::to_owned),
            });
        }
        if answer.response.finish_reasons.is_empty() {
            let reasons = reason.map(str::to_owned);
            answer.response.finish_reasons.extend(reasons);
        }
    }
    answer.response.id = Some(id.clone());
    answer.task = Some(Task {
        id,
        over,
        stream: None,
    });
}

/// Length of the first vector.
fn dimension(output: &Object) -> Option<i64> {
    let first = field::list(output, "embeddings")?.first()?.as_object()?;
    let vector = field::list(first, "embedding")?;
    i64::try_from(vector.len()).ok().filter(|n| *n > 0)
}
