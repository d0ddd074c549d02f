//! Answers that came as one document, and the last lines of streams, which are alike.

use super::request;
use crate::model::call::{CallResponse, Message, Part, Usage};
use crate::provider::error;
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::shape::Answer;
use crate::provider::text::Room;

/// Reads the document of a successful exchange.
pub(super) fn read(mut root: Object, whole: bool, room: &mut Room) -> Answer {
    if let Some(failed) = error::in_event(&root) {
        return Answer {
            error: Some(failed),
            ..Answer::default()
        };
    }
    let mut response = head(&root);
    let reason = field::owned(&root, "done_reason");
    let role = field::object(&root, "message").and_then(|m| field::owned(m, "role"));
    if let Some(parts) = parts(&mut root, room) {
        let cut = !whole && reason.is_none();
        close(&mut response, role, parts, reason, cut);
    }
    Answer {
        response,
        ..Answer::default()
    }
}

/// What is said of the answer as a whole.
pub(super) fn head(root: &Object) -> CallResponse {
    let count = |key: &str| field::int(root, key).filter(|n| *n >= 0);
    CallResponse {
        model: field::owned(root, "model"),
        usage: Usage {
            // Missing when all of the prompt was in the cache.
            input: count("prompt_eval_count"),
            output: count("eval_count"),
            ..Usage::default()
        },
        ..CallResponse::default()
    }
}

/// What the answer says: of a chat in a message, of a generation at the top. `None` when it says
/// nothing, not even that it says nothing.
fn parts(root: &mut Object, room: &mut Room) -> Option<Vec<Part>> {
    if let Some(serde_json::Value::Object(mut message)) = field::take(root, "message") {
        return Some(request::parts(&mut message, room));
    }
    let thought = field::take_string(root, "thinking").filter(|t| !t.is_empty());
    let said = field::take_string(root, "response")?;
    let mut parts = Vec::new();
    parts.extend(thought.map(|t| Part::Reasoning(room.keep(t))));
    if !said.is_empty() {
        parts.push(Part::Text(room.keep(said)));
    }
    Some(parts)
}

/// Puts the message and its end into the response. A server of old gives no reason: then only
/// that it was cut is known.
pub(super) fn close(
    response: &mut CallResponse,
    role: Option<String>,
    parts: Vec<Part>,
    reason: Option<String>,
    cut: bool,
) {
    let told = reason.clone().or_else(|| cut.then(|| "error".to_owned()));
    response.messages.push(Message {
        role: role.unwrap_or_else(|| "assistant".to_owned()),
        name: None,
        parts,
        finish_reason: told,
    });
    response.finish_reasons.extend(reason);
}
