//! The response object of the responses API.

use super::responses_input::{has_compaction, reasoning, tool_call};
use super::{answer, finish, parts, request, server_tools, tools};
use crate::model::call::{CallError, Message, Operation, Part};
use crate::provider::error;
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::shape::Answer;
use crate::provider::text::Room;
use serde_json::Value;

/// Reads a response object.
pub(super) fn read(operation: Operation, mut root: Object, whole: bool, room: &mut Room) -> Answer {
    let fetched = operation == Operation::FetchResponse;
    let failed = failure(&root);
    let mut response = answer::head(&root);
    response.finish_reasons = finish_reasons(&root);
    response.compacted = field::list(&root, "output").is_some_and(has_compaction);
    if fetched {
        // The counts belong to the call that made the response.
        response.usage = Default::default();
        response.stored_status = field::owned(&root, "status");
        response.system_instructions =
            request::instructions(field::take(&mut root, "instructions"), room);
        response.tools = tools::offered(field::take_list(&mut root, "tools").unwrap_or_default());
    }
    let status = field::str(&root, "status").map(str::to_owned);
    let default = match (status.as_deref(), whole) {
        (Some("in_progress" | "queued"), _) => None,
        (_, false) => None,
        _ => Some("stop"),
    };
    let output = field::take_list(&mut root, "output").unwrap_or_default();
    response.messages = messages(output, default, room);
    let is_response = field::str(&root, "object") == Some("response") || status.is_some();
    Answer {
        response,
        // A generation that failed is no failure of fetching it.
        error: failed.filter(|_| !(fetched && is_response)),
        ..Answer::default()
    }
}

fn failure(root: &Object) -> Option<CallError> {
    let failed = field::str(root, "status") == Some("failed");
    let mut error = match error::in_document(root) {
        Some(error) => error,
        None if failed => CallError {
            kind: String::new(),
            message: None,
        },
        None => return None,
    };
    if error.kind.is_empty() {
        error.kind = if failed {
            "response.failed"
        } else {
            error::OTHER
        }
        .to_owned();
    }
    Some(error)
}

fn is_tool_call(kind: &str) -> bool {
    matches!(kind, "function_call" | "custom_tool_call" | "computer_call")
}

/// The client has the whole of a tool call; some have no status.
fn ended(item: &Object) -> bool {
    matches!(
        field::str(item, "status"),
        None | Some("completed" | "incomplete")
    )
}

/// What the state of a response says of its end; each reason once.
fn finish_reasons(root: &Object) -> Vec<String> {
    let status = field::str(root, "status");
    let of_response = finish::of_status(status, finish::incomplete_reason(root));
    if matches!(
        status,
        Some("failed" | "cancelled" | "incomplete" | "queued" | "in_progress")
    ) {
        return of_response.map(str::to_owned).into_iter().collect();
    }
    let mut reasons: Vec<String> = Vec::new();
    for item in field::list(root, "output").unwrap_or_default() {
        let Some(item) = item.as_object() else {
            continue;
        };
        let reason = match field::str(item, "type") {
            Some(kind) if is_tool_call(kind) && ended(item) => Some("tool_calls"),
            Some("message") => finish::of_status(field::str(item, "status"), None),
            _ => None,
        };
        if let Some(reason) = reason.filter(|r| !reasons.iter().any(|o| o == r)) {
            reasons.push(reason.to_owned());
        }
    }
    if reasons.is_empty() {
        reasons.extend(of_response.map(str::to_owned));
    }
    reasons
}

/// The messages that output items stand for. `default` is the finish reason of an item whose
/// state is not told.
pub(super) fn messages(output: Vec<Value>, default: Option<&str>, room: &mut Room) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    for item in output {
        let Value::Object(mut item) = item else {
            continue;
        };
        let kind = field::str(&item, "type").unwrap_or_default().to_owned();
        if is_tool_call(&kind) {
            if ended(&item) {
                let cut = !field::is_set(&item, "status") && default == Some(finish::ERROR);
                let reason = if cut { finish::ERROR } else { "tool_call" };
                add_tool_call(&mut messages, tool_call(&kind, &mut item, room), reason);
            }
            continue;
        }
        messages.extend(message(&kind, item, default, room));
    }
    messages
}

/// A tool call belongs to the message before it, when that one ended well.
fn add_tool_call(messages: &mut Vec<Message>, call: Option<Part>, reason: &str) {
    if let Some(last) = messages.last_mut().filter(|m| takes_tool_call(m)) {
        last.parts.extend(call);
        last.finish_reason = Some(reason.to_owned());
        return;
    }
    messages.push(Message {
        role: "assistant".to_owned(),
        name: None,
        parts: call.into_iter().collect(),
        finish_reason: Some(reason.to_owned()),
    });
}

fn takes_tool_call(message: &Message) -> bool {
    message.role == "assistant"
        && matches!(message.finish_reason.as_deref(), Some("stop" | "tool_call"))
        && message
            .parts
            .iter()
            .all(|p| matches!(p, Part::Text(_) | Part::ToolCall { .. }))
}

fn message(
    kind: &str,
    mut item: Object,
    default: Option<&str>,
    room: &mut Room,
) -> Option<Message> {
    let status = field::str(&item, "status");
    let reason = match status {
        Some(status) => finish::of_status(Some(status), None),
        None => default,
    };
    let reason = reason.map(str::to_owned);
    let role = field::owned(&item, "role");
    let parts = match kind {
        "message" => {
            field::take(&mut item, "content").map_or_else(Vec::new, |c| parts::content(c, room))
        }
        "reasoning" => {
            let parts = reasoning(&mut item, room);
            (!parts.is_empty()).then_some(parts)?
        }
        _ => {
            let (part, failed) = server_tools::part(kind, item)?;
            if !failed {
                reason.as_ref()?;
            }
            return Some(Message {
                role: "assistant".to_owned(),
                name: None,
                parts: vec![part],
                finish_reason: if failed {
                    Some(finish::ERROR.to_owned())
                } else {
                    reason
                },
            });
        }
    };
    // An item under way says nothing yet.
    reason.as_ref()?;
    Some(Message {
        role: role.unwrap_or_else(|| "assistant".to_owned()),
        name: None,
        parts,
        finish_reason: reason,
    })
}
