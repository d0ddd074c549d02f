//! What a response says when it is done.

use super::error;
use super::input::{self, sized};
use crate::model::call::{CallError, CallResponse, Message, Part, Usage};
use crate::provider::content::AUDIO;
use crate::provider::json::{Object, field};
use crate::provider::openai::usage;
use crate::provider::text::Room;
use serde_json::Value;

/// Reads the response of `response.done`. `sound` is how many characters of sound each item had.
pub(super) fn read(
    mut response: Object,
    sound: &[(u32, u64)],
    room: &mut Room,
) -> (CallResponse, Option<CallError>) {
    let error = error::of_response(&response);
    let output = field::take_list(&mut response, "output").unwrap_or_default();
    let mut parts = Vec::new();
    let mut called = false;
    for (index, item) in (0..).zip(output) {
        let Value::Object(mut item) = item else {
            continue;
        };
        match field::str(&item, "type") {
            Some("function_call") => {
                called = true;
                parts.push(input::tool_call(&mut item, room));
            }
            Some("message") => {
                parts.extend(input::parts(&mut item, room));
                let size = sound.iter().find(|(at, _)| *at == index);
                parts.extend(size.map(|(_, size)| sized(AUDIO, *size)));
            }
            // Servers' tools are told by their kind alone.
            Some(kind) if kind.starts_with("mcp_") => {
                let mut other = Object::new();
                other.insert("type".to_owned(), Value::from(kind));
                for key in ["name", "server_label"] {
                    if let Some(value) = item.get(key).filter(|v| v.is_string()) {
                        other.insert(key.to_owned(), value.clone());
                    }
                }
                parts.push(Part::Other(Value::Object(other)));
            }
            _ => {}
        }
    }
    let reason = finish(&response, called);
    let answer = CallResponse {
        finish_reasons: reason.iter().map(|r| (*r).to_owned()).collect(),
        messages: message(parts, reason.map(in_message)),
        usage: field::object(&response, "usage").map_or_else(Usage::default, tokens),
        ..head(&response)
    };
    (answer, error)
}

/// What a response says of itself from its beginning on.
pub(super) fn head(response: &Object) -> CallResponse {
    CallResponse {
        id: field::owned(response, "id"),
        conversation_id: field::owned(response, "conversation_id"),
        ..CallResponse::default()
    }
}

/// The message that parts make, if there are any.
pub(super) fn message(parts: Vec<Part>, finish_reason: Option<&str>) -> Vec<Message> {
    let message = Message {
        role: "assistant".to_owned(),
        name: None,
        parts,
        finish_reason: finish_reason.map(str::to_owned),
    };
    (!message.parts.is_empty())
        .then_some(message)
        .into_iter()
        .collect()
}

/// Why it ended, by its state and what that says of its reason.
fn finish(response: &Object, called: bool) -> Option<&str> {
    let details = field::object(response, "status_details");
    let reason = details.and_then(|d| field::nonempty(d, "reason"));
    Some(match field::str(response, "status")? {
        "completed" if called => "tool_calls",
        "completed" => "stop",
        "incomplete" => match reason {
            Some("max_output_tokens") => "length",
            other => other.unwrap_or("incomplete"),
        },
        "failed" => "error",
        // By the client, or because somebody spoke.
        "cancelled" => reason.unwrap_or("cancelled"),
        _ => return None,
    })
}

/// The same in the words of the conventions' messages.
fn in_message(reason: &str) -> &str {
    match reason {
        "tool_calls" => "tool_call",
        "turn_detected" | "client_cancelled" | "cancelled" => "error",
        other => other,
    }
}

/// Token counts: as those of responses, but for the names of the details.
fn tokens(told: &Object) -> Usage {
    let mut named = told.clone();
    for (here, there) in [
        ("input_token_details", "input_tokens_details"),
        ("output_token_details", "output_tokens_details"),
    ] {
        if let Some(details) = field::take(&mut named, here) {
            named.insert(there.to_owned(), details);
        }
    }
    usage::read(&named)
}
