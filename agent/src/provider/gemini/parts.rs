//! Parts of contents, the same in requests and answers.

use super::names;
use crate::model::call::Part;
use crate::provider::content::{AUDIO, DOCUMENT, IMAGE, VIDEO};
use crate::provider::json::{Object, field};
use crate::provider::text::Room;
use serde_json::{Value, json};

/// The tool that runs the model's own programs.
const CODE: &str = "code_execution";

/// The parts of a content: a list of them, or a single one.
pub(super) fn of(content: &mut Object, room: &mut Room) -> Vec<Part> {
    list(field::take(content, "parts"))
        .into_iter()
        .filter_map(|p| part(p, room))
        .collect()
}

/// The objects of a list, or the single one in its place.
pub(super) fn list(value: Option<Value>) -> Vec<Object> {
    let objects = |v| match v {
        Value::Object(o) => Some(names::camel(o)),
        _ => None,
    };
    match value {
        Some(Value::Array(list)) => list.into_iter().filter_map(objects).collect(),
        Some(single) => objects(single).into_iter().collect(),
        None => Vec::new(),
    }
}

/// Whether a part shows what the model thought.
pub(super) fn is_thought(part: &Object) -> bool {
    field::is_true(part, "thought")
}

/// What a part is. Its `thoughtSignature` is the provider's affair.
pub(super) fn part(mut o: Object, room: &mut Room) -> Option<Part> {
    if let Some(text) = field::take_string(&mut o, "text") {
        let text = (!text.is_empty()).then(|| room.keep(text))?;
        return Some(if is_thought(&o) {
            Part::Reasoning(text)
        } else {
            Part::Text(text)
        });
    }
    const KINDS: [&str; 8] = [
        "inlineData",
        "fileData",
        "functionCall",
        "functionResponse",
        "executableCode",
        "codeExecutionResult",
        "toolCall",
        "toolResponse",
    ];
    for kind in KINDS {
        if let Some(Value::Object(value)) = field::take(&mut o, kind) {
            return known(kind, value, room);
        }
    }
    for about in [
        "text",
        "thought",
        "thoughtSignature",
        "videoMetadata",
        "partMetadata",
    ] {
        o.remove(about);
    }
    o.retain(|_, v| !v.is_null());
    let kind = o.keys().next()?.clone();
    let mut other = json!({"type": kind});
    for (key, value) in o {
        if key != "type" {
            other[&key] = kept(value, room);
        }
    }
    Some(Part::Other(other))
}

fn known(kind: &str, value: Object, room: &mut Room) -> Option<Part> {
    match kind {
        // A tool's arguments and answers have members of the client's own.
        "functionCall" => Some(function_call(value, room)),
        "functionResponse" => Some(function_response(value, room)),
        "inlineData" => blob(names::camel(value), room),
        "fileData" => file(names::camel(value), room),
        "executableCode" => Some(server_call(CODE, &["language", "code"], value, room)),
        "codeExecutionResult" => Some(server_result(CODE, &["outcome", "output"], value, room)),
        _ => {
            let value = names::camel(value);
            let tool = field::owned(&value, "toolType").unwrap_or_default();
            Some(if kind == "toolCall" {
                server_call(&tool, &["args"], value, room)
            } else {
                server_result(&tool, &["response"], value, room)
            })
        }
    }
}

/// The Gemini API gives calls no ids; newer models and Vertex AI may.
fn function_call(mut call: Object, room: &mut Room) -> Part {
    Part::ToolCall {
        id: field::owned(&call, "id"),
        name: field::take_string(&mut call, "name").unwrap_or_default(),
        arguments: field::take(&mut call, "args").map(|a| kept(a, room)),
    }
}

fn function_response(mut answer: Object, room: &mut Room) -> Part {
    let response = field::take(&mut answer, "response");
    Part::ToolCallResponse {
        id: field::owned(&answer, "id"),
        response: response.map_or(Value::Null, |r| kept(r, room)),
    }
}

fn blob(mut data: Object, room: &mut Room) -> Option<Part> {
    let mime_type = field::owned(&data, "mimeType");
    Some(Part::Blob {
        modality: modality(mime_type.as_deref()),
        mime_type,
        content: room.keep(field::take_string(&mut data, "data")?),
    })
}

fn file(mut data: Object, room: &mut Room) -> Option<Part> {
    let mime_type = field::owned(&data, "mimeType");
    Some(Part::Uri {
        modality: modality(mime_type.as_deref()),
        mime_type,
        uri: room.keep(field::take_string(&mut data, "fileUri")?).kept,
    })
}

fn modality(mime_type: Option<&str>) -> &'static str {
    match mime_type.and_then(|m| m.split('/').next()) {
        Some("image") => IMAGE,
        Some("audio") => AUDIO,
        Some("video") => VIDEO,
        _ => DOCUMENT,
    }
}

/// A tool that the provider runs itself.
fn server_call(name: &str, keys: &[&str], value: Object, room: &mut Room) -> Part {
    let (id, call) = server(name, keys, value, room);
    let mut part = json!({"type": "server_tool_call", "name": name, "server_tool_call": call});
    part["id"] = Value::from(id);
    Part::Other(part)
}

/// What such a tool answered.
fn server_result(name: &str, keys: &[&str], value: Object, room: &mut Room) -> Part {
    let (id, answer) = server(name, keys, value, room);
    let mut part =
        json!({"type": "server_tool_call_response", "server_tool_call_response": answer});
    part["id"] = Value::from(id);
    Part::Other(part)
}

fn server(
    name: &str,
    keys: &[&str],
    mut value: Object,
    room: &mut Room,
) -> (Option<String>, Value) {
    let mut told = json!({"type": name});
    for key in keys {
        if let Some(value) = field::take(&mut value, key) {
            told[*key] = kept(value, room);
        }
    }
    (field::owned(&value, "id"), told)
}

/// A value if there is room for it; else the beginning of its text.
pub(super) fn kept(value: Value, room: &mut Room) -> Value {
    let other = match value {
        Value::String(text) => return Value::String(room.keep(text).kept),
        other => other,
    };
    let text = room.keep(other.to_string());
    if text.dropped == 0 {
        other
    } else {
        Value::String(text.kept)
    }
}
