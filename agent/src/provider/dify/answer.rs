//! Answers that came as one document, and what events have in common with them.

use super::request;
use crate::model::call::{Api, CallError, CallResponse, Message, Part};
use crate::provider::error;
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::openai::usage;
use crate::provider::shape::Answer;
use crate::provider::text::Room;
use serde_json::Value;

/// Reads the document of a successful exchange.
pub(super) fn read(api: Api, mut root: Object, whole: bool, room: &mut Room) -> Answer {
    if !field::is_set(&root, "answer")
        && !field::is_set(&root, "data")
        && let Some(mut failed) = error::in_document(&root)
    {
        // A gateway that says 200 and means an error.
        if failed.kind.is_empty() {
            failed.kind = error::OTHER.to_owned();
        }
        return Answer {
            error: Some(failed),
            ..Answer::default()
        };
    }
    let mut answer = Answer::default();
    head(&mut answer.response, api, &root);
    if api == Api::DifyWorkflow {
        let data = match field::take(&mut root, "data") {
            Some(Value::Object(data)) => data,
            _ => Object::new(),
        };
        answer.error = failure(&data);
        let parts: Vec<Part> = outputs(data, room).into_iter().collect();
        if !parts.is_empty() {
            said(&mut answer.response, parts, !whole);
        }
        return answer;
    }
    counts(&mut answer.response, &root);
    if let Some(text) = field::take_string(&mut root, "answer") {
        said(
            &mut answer.response,
            vec![Part::Text(room.keep(text))],
            !whole,
        );
    }
    answer
}

/// Ids, as far as they are not known yet.
pub(super) fn head(response: &mut CallResponse, api: Api, root: &Object) {
    let id = if api == Api::DifyWorkflow {
        "workflow_run_id"
    } else {
        "message_id"
    };
    if response.id.is_none() {
        response.id = field::owned(root, id);
    }
    if response.conversation_id.is_none() {
        response.conversation_id = field::owned(root, "conversation_id");
    }
}

/// `metadata.usage`.
pub(super) fn counts(response: &mut CallResponse, root: &Object) {
    let told = field::object(root, "metadata").and_then(|m| field::object(m, "usage"));
    if let Some(told) = told {
        response.usage = usage::read(told);
    }
}

/// Why a workflow failed, if it did. One that was stopped did what it was told.
pub(super) fn failure(data: &Object) -> Option<CallError> {
    if field::str(data, "status") != Some("failed") {
        return None;
    }
    Some(CallError {
        kind: "workflow_failed".to_owned(),
        message: field::str(data, "error").map(error::bounded),
    })
}

/// What a workflow made: a text when that is all of it.
pub(super) fn outputs(mut data: Object, room: &mut Room) -> Option<Part> {
    let Some(Value::Object(mut made)) = field::take(&mut data, "outputs") else {
        return None;
    };
    if made.len() == 1
        && let Some(Value::String(text)) = made.values_mut().next()
    {
        return Some(Part::Text(room.keep(std::mem::take(text))));
    }
    (!made.is_empty()).then(|| request::values("outputs", made, room))
}

/// Puts the message into the response. Why it ended is not told; only that it was cut is known.
pub(super) fn said(response: &mut CallResponse, parts: Vec<Part>, cut: bool) {
    response.messages.push(Message {
        role: "assistant".to_owned(),
        name: None,
        parts,
        finish_reason: cut.then(|| "error".to_owned()),
    });
}
