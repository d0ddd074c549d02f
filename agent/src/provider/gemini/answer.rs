//! Contents that came as one document.

use super::names::{self, Enums};
use super::{parts, request, usage};
use crate::model::call::{CallError, CallResponse, Message, Part};
use crate::provider::error;
use crate::provider::json::{Object, field};
use crate::provider::limits::MAX_CHOICES;
use crate::provider::shape::Answer;
use crate::provider::text::Room;
use serde_json::Value;

/// One of the answers to a request.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) index: u32,
    pub(super) role: Option<String>,
    pub(super) parts: Vec<Part>,
    /// Why it ended, as the provider says it.
    pub(super) reason: Option<String>,
}

/// Reads the document of a successful exchange.
pub(super) fn read(mut root: Object, enums: Enums, whole: bool, room: &mut Room) -> Answer {
    let list = field::take_list(&mut root, "candidates").unwrap_or_default();
    if list.is_empty()
        && let Some(failed) = failed(&root)
    {
        return Answer {
            error: Some(failed),
            ..Answer::default()
        };
    }
    let mut response = head(&root);
    if let Some(counts) = field::object(&root, "usageMetadata") {
        response.usage = usage::read(counts);
    }
    let error = list.is_empty().then(|| blocked(&root)).flatten();
    let too_many = list.len() > MAX_CHOICES;
    let mut choices: Vec<_> = list
        .into_iter()
        .take(MAX_CHOICES)
        .filter_map(|value| match value {
            Value::Object(candidate) => Some(choice(candidate, enums, room)),
            _ => None,
        })
        .collect();
    choices.sort_by_key(|c| c.index);
    close(&mut response, choices, whole);
    Answer {
        response,
        error,
        too_many,
        ..Answer::default()
    }
}

/// What stands at the top of an answer.
pub(super) fn head(root: &Object) -> CallResponse {
    CallResponse {
        id: field::owned(root, "responseId"),
        model: field::owned(root, "modelVersion"),
        ..CallResponse::default()
    }
}

/// An error in place of an answer, under whatever status.
pub(super) fn failed(root: &Object) -> Option<CallError> {
    let failed = root.get("error").filter(|e| !e.is_null())?;
    Some(error::of_event(failed))
}

/// A prompt that was refused: there is no candidate then. Google's own instrumentations call it
/// so, too.
pub(super) fn blocked(root: &Object) -> Option<CallError> {
    let feedback = field::object(root, "promptFeedback")?;
    Some(CallError {
        kind: format!("BLOCKED_{}", names::block_reason(feedback)?),
        message: field::nonempty(feedback, "blockReasonMessage").map(error::bounded),
    })
}

/// The index of a candidate; the first one's is left out.
pub(super) fn index(candidate: &Object) -> u32 {
    let told = field::int(candidate, "index");
    told.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

fn choice(mut candidate: Object, enums: Enums, room: &mut Room) -> Choice {
    let mut choice = Choice {
        index: index(&candidate),
        reason: names::finish_reason(&candidate, enums),
        ..Choice::default()
    };
    if let Some(Value::Object(mut content)) = field::take(&mut candidate, "content") {
        choice.role = field::owned(&content, "role");
        choice.parts = parts::of(&mut content, room);
    }
    choice
}

/// Puts the choices and their ends into the response. `whole` says that a reason that is not
/// there was not given.
pub(super) fn close(response: &mut CallResponse, choices: Vec<Choice>, whole: bool) {
    const NONE: &str = "error";
    let told = whole || choices.iter().any(|c| c.reason.is_some());
    for choice in choices {
        let reason = choice.reason.or_else(|| told.then(|| NONE.to_owned()));
        let mapped = reason
            .as_deref()
            .map(|r| mapped(r, &choice.parts).to_owned());
        response.messages.push(Message {
            role: request::role(choice.role.as_deref(), "assistant"),
            name: None,
            parts: choice.parts,
            finish_reason: mapped,
        });
        response.finish_reasons.extend(reason);
    }
}

/// A finish reason in the words of the conventions. That a tool is asked for the provider does
/// not say.
fn mapped<'a>(reason: &'a str, parts: &[Part]) -> &'a str {
    match reason {
        "STOP" if parts.iter().any(|p| matches!(p, Part::ToolCall { .. })) => "tool_call",
        "STOP" => "stop",
        "MAX_TOKENS" => "length",
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => "content_filter",
        "OTHER"
        | "LANGUAGE"
        | "MALFORMED_FUNCTION_CALL"
        | "MALFORMED_RESPONSE"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MISSING_THOUGHT_SIGNATURE"
        | "IMAGE_OTHER"
        | "NO_IMAGE" => "error",
        other => other,
    }
}
