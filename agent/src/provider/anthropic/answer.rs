//! Messages that came as one document.

use super::{blocks, usage};
use crate::model::call::{CallResponse, Message, Part};
use crate::provider::error;
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::shape::Answer;
use crate::provider::text::Room;

/// Reads the document of a successful exchange.
pub(super) fn read(mut root: Object, whole: bool, room: &mut Room) -> Answer {
    if !field::is_set(&root, "content")
        && let Some(mut failed) = error::in_document(&root)
    {
        // A gateway that says 200 and means an error.
        failed.kind = Some(failed.kind)
            .filter(|k| !k.is_empty())
            .unwrap_or_else(|| error::OTHER.to_owned());
        return Answer {
            error: Some(failed),
            ..Answer::default()
        };
    }
    let mut response = head(&root);
    if let Some(counts) = field::object(&root, "usage") {
        response.usage = usage::read(counts);
    }
    let reason = field::owned(&root, "stop_reason");
    if let Some(content) = field::take(&mut root, "content") {
        let role = field::take_string(&mut root, "role");
        let parts = blocks::of(Some(content), room);
        close(&mut response, role, parts, reason, whole);
    }
    Answer {
        response,
        ..Answer::default()
    }
}

/// What stands at the top of a message.
pub(super) fn head(root: &Object) -> CallResponse {
    CallResponse {
        id: field::owned(root, "id"),
        model: field::owned(root, "model"),
        ..CallResponse::default()
    }
}

/// Puts the message and its end into the response. `whole` says that a reason that is not there
/// was not given.
pub(super) fn close(
    response: &mut CallResponse,
    role: Option<String>,
    parts: Vec<Part>,
    reason: Option<String>,
    whole: bool,
) {
    let mapped = reason.as_deref().map(mapped).or(whole.then_some("error"));
    response.compacted = parts.iter().any(blocks::is_compaction);
    response.messages.push(Message {
        role: role.unwrap_or_else(|| "assistant".to_owned()),
        name: None,
        parts,
        finish_reason: mapped.map(str::to_owned),
    });
    let reason = reason.or_else(|| whole.then(|| "error".to_owned()));
    response.finish_reasons.extend(reason);
}

/// A stop reason in the words of the conventions.
pub(super) fn mapped(reason: &str) -> &str {
    match reason {
        "end_turn" | "stop_sequence" => "stop",
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_call",
        "refusal" => "content_filter",
        other => other,
    }
}
