//! Messages of chat completions, sent and received.

use super::finish;
use super::parts;
use crate::model::call::{Message, Part};
use crate::provider::content;
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::limits::{MAX_MESSAGES, MAX_TOOL_CALLS};
use crate::provider::text::Room;
use serde_json::Value;

/// The messages of a request; those that say nothing are left out.
pub(in crate::provider) fn sent(list: Vec<Value>, room: &mut Room) -> Vec<Message> {
    let skip = list.len().saturating_sub(MAX_MESSAGES);
    list.into_iter()
        .skip(skip)
        .filter_map(|value| match value {
            Value::Object(o) => message(o, room),
            _ => None,
        })
        .filter(|m| !m.parts.is_empty())
        .collect()
}

fn message(mut o: Object, room: &mut Room) -> Option<Message> {
    let role = field::take_string(&mut o, "role")?;
    let parts = match role.as_str() {
        "assistant" => answer(&mut o, room),
        "tool" | "function" => vec![Part::ToolCallResponse {
            id: field::owned(&o, "tool_call_id"),
            response: content::response(field::take(&mut o, "content"), room),
        }],
        _ => field::take(&mut o, "content").map_or_else(Vec::new, |c| parts::content(c, room)),
    };
    Some(Message {
        role,
        name: field::owned(&o, "name"),
        parts,
        finish_reason: None,
    })
}

/// What an assistant's message holds, the same in a history and in an answer.
fn answer(o: &mut Object, room: &mut Room) -> Vec<Part> {
    let mut parts = Vec::new();
    for key in ["reasoning_content", "reasoning"] {
        if let Some(text) = field::take_string(o, key).filter(|t| !t.is_empty()) {
            parts.push(Part::Reasoning(room.keep(text)));
            break;
        }
    }
    for call in field::take_list(o, "tool_calls").unwrap_or_default() {
        if let (Value::Object(call), true) = (call, parts.len() < MAX_TOOL_CALLS) {
            parts.push(tool_call(call, room));
        }
    }
    if let Some(Value::Object(call)) = field::take(o, "function_call") {
        parts.push(function(None, call, room));
    }
    if let Some(content) = field::take(o, "content") {
        parts.extend(parts::content(content, room));
    }
    if let Some(text) = field::take_string(o, "refusal") {
        parts.push(Part::Text(room.keep(text)));
    }
    if let Some(Value::Object(audio)) = field::take(o, "audio") {
        parts.extend(spoken(audio, room));
    }
    parts
}

/// Audio of an answer: what was said, and how.
pub(super) fn spoken(mut audio: Object, room: &mut Room) -> Vec<Part> {
    let transcript = field::take_string(&mut audio, "transcript").filter(|t| !t.is_empty());
    let data = field::take_string(&mut audio, "data").filter(|t| !t.is_empty());
    let transcript = transcript.map(|t| Part::Text(room.keep(t)));
    let data = data.map(|d| Part::Blob {
        modality: "audio",
        mime_type: None,
        content: room.keep(d),
    });
    transcript.into_iter().chain(data).collect()
}

fn tool_call(mut call: Object, room: &mut Room) -> Part {
    let id = field::owned(&call, "id");
    if let Some(Value::Object(custom)) = field::take(&mut call, "custom") {
        let mut custom = custom;
        let input = field::take_string(&mut custom, "input");
        return Part::ToolCall {
            id,
            name: field::take_string(&mut custom, "name").unwrap_or_default(),
            arguments: input.map(|i| Value::String(room.keep(i).kept)),
        };
    }
    match field::take(&mut call, "function") {
        Some(Value::Object(f)) => function(id, f, room),
        _ => function(id, Object::new(), room),
    }
}

fn function(id: Option<String>, mut f: Object, room: &mut Room) -> Part {
    Part::ToolCall {
        id,
        name: field::take_string(&mut f, "name").unwrap_or_default(),
        arguments: content::arguments_value(field::take(&mut f, "arguments"), room),
    }
}

/// The message of a choice. `whole` says that a finish reason that is not there was not given.
pub(in crate::provider) fn received(
    choice: &mut Object,
    whole: bool,
    room: &mut Room,
) -> Option<Message> {
    let reason = field::nonempty(choice, "finish_reason").map(|r| finish::mapped(r).to_owned());
    let mut message = match field::take(choice, "message")? {
        Value::Object(message) => message,
        _ => return None,
    };
    let role = field::take_string(&mut message, "role").filter(|r| !r.is_empty());
    Some(Message {
        role: role.unwrap_or_else(|| "assistant".to_owned()),
        name: None,
        parts: answer(&mut message, room),
        finish_reason: reason.or_else(|| whole.then(|| finish::ERROR.to_owned())),
    })
}
