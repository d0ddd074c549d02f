//! Input of the responses API: a text, or a flat list of items.

use super::parts;
use crate::model::call::{Message, Part};
use crate::provider::content;
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::limits::MAX_MESSAGES;
use crate::provider::text::Room;
use serde_json::Value;

/// The messages that the input stands for.
pub(super) fn read(input: Option<Value>, room: &mut Room) -> Vec<Message> {
    let items = match input {
        Some(Value::String(text)) => {
            return vec![message("user", vec![Part::Text(room.keep(text))])];
        }
        Some(Value::Array(items)) => items,
        _ => return Vec::new(),
    };
    let skip = items.len().saturating_sub(MAX_MESSAGES);
    let mut messages: Vec<Message> = Vec::new();
    for item in items.into_iter().skip(skip) {
        let Some(read) = (match item {
            Value::Object(o) => self::item(o, room),
            _ => None,
        }) else {
            continue;
        };
        // Parallel tool calls are one turn that the flat list splits up.
        match messages.last_mut() {
            Some(last) if only_tool_calls(last) && only_tool_calls(&read) => {
                last.parts.extend(read.parts);
            }
            _ => messages.push(read),
        }
    }
    messages
}

fn only_tool_calls(message: &Message) -> bool {
    message.role == "assistant"
        && message
            .parts
            .iter()
            .all(|p| matches!(p, Part::ToolCall { .. }))
}

fn message(role: &str, parts: Vec<Part>) -> Message {
    Message {
        role: role.to_owned(),
        parts,
        ..Message::default()
    }
}

fn item(mut o: Object, room: &mut Room) -> Option<Message> {
    let kind = field::str(&o, "type").unwrap_or("message").to_owned();
    if let Some(call) = tool_call(&kind, &mut o, room) {
        return Some(message("assistant", vec![call]));
    }
    match kind.as_str() {
        "function_call_output" | "custom_tool_call_output" | "computer_call_output" => {
            let part = Part::ToolCallResponse {
                id: call_id(&o),
                response: content::response(field::take(&mut o, "output"), room),
            };
            Some(message("tool", vec![part]))
        }
        "reasoning" => {
            let parts = reasoning(&mut o, room);
            (!parts.is_empty()).then(|| message("assistant", parts))
        }
        _ => {
            let role = field::take_string(&mut o, "role")?;
            let parts = parts::content(field::take(&mut o, "content")?, room);
            let name = field::owned(&o, "name");
            (!parts.is_empty()).then_some(Message {
                role,
                name,
                parts,
                finish_reason: None,
            })
        }
    }
}

/// A call of a tool that the client runs.
pub(super) fn tool_call(kind: &str, o: &mut Object, room: &mut Room) -> Option<Part> {
    let (name, arguments) = match kind {
        "function_call" => {
            let arguments = content::arguments_value(field::take(o, "arguments"), room);
            (field::take_string(o, "name"), arguments)
        }
        "custom_tool_call" => {
            let input = field::take(o, "input").map(|i| content::response(Some(i), room));
            (field::take_string(o, "name"), input)
        }
        "computer_call" => {
            let mut arguments = Object::new();
            for key in ["action", "actions"] {
                if let Some(value) = field::take(o, key) {
                    arguments.insert(key.to_owned(), value);
                }
            }
            (Some("computer".to_owned()), Some(Value::Object(arguments)))
        }
        _ => return None,
    };
    Some(Part::ToolCall {
        id: call_id(o),
        name: name.unwrap_or_default(),
        arguments,
    })
}

/// The id that pairs a call with its answer.
fn call_id(o: &Object) -> Option<String> {
    field::owned(o, "call_id").or_else(|| field::owned(o, "id"))
}

/// The texts of a reasoning item.
pub(super) fn reasoning(o: &mut Object, room: &mut Room) -> Vec<Part> {
    let mut parts = Vec::new();
    for key in ["summary", "content"] {
        for mut block in field::take_list(o, key).unwrap_or_default() {
            let text = block
                .as_object_mut()
                .and_then(|b| field::take_string(b, "text"));
            parts.extend(text.map(|t| Part::Reasoning(room.keep(t))));
        }
    }
    parts
}

/// Whether the provider compacted what came before.
pub(super) fn has_compaction(items: &[Value]) -> bool {
    items
        .iter()
        .any(|i| i.get("type").and_then(Value::as_str) == Some("compaction"))
}
