//! Request bodies.

use crate::model::call::{Api, CallRequest, Message, Part};
use crate::provider::content::{self, IMAGE};
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::limits::{MAX_MESSAGES, MAX_TOOL_CALLS};
use crate::provider::openai::tools;
use crate::provider::text::Room;
use serde_json::Value;

/// Reads a request's body.
pub(super) fn read(api: Api, mut body: Object, room: &mut Room) -> CallRequest {
    let mut request = CallRequest {
        model: field::owned(&body, "model"),
        ..CallRequest::default()
    };
    if let Some(options) = field::object(&body, "options") {
        sampling(&mut request, options);
    }
    if api == Api::OllamaEmbed {
        request.dimensions = field::int(&body, "dimensions");
        return request;
    }
    // It streams unless it is told not to.
    request.stream = body.get("stream").and_then(Value::as_bool) != Some(false);
    request.reasoning_level = field::owned(&body, "think");
    request.output_type = match body.get("format") {
        Some(Value::String(s)) if s == "json" => Some("json"),
        // A schema.
        Some(Value::Object(_)) => Some("json"),
        _ => None,
    };
    if let Some(system) = field::take_string(&mut body, "system").filter(|s| !s.is_empty()) {
        request.system_instructions = vec![Part::Text(room.keep(system))];
    }
    request.messages = match api {
        Api::OllamaChat => {
            let list = field::take_list(&mut body, "messages").unwrap_or_default();
            messages(list, room)
        }
        _ => prompt(&mut body, room).into_iter().collect(),
    };
    request.tools = tools::offered(field::take_list(&mut body, "tools").unwrap_or_default());
    request
}

/// `options`.
fn sampling(request: &mut CallRequest, options: &Object) {
    request.temperature = field::float(options, "temperature");
    request.top_p = field::float(options, "top_p");
    request.top_k = field::int(options, "top_k");
    // Less than none is no bound.
    request.max_tokens = field::int(options, "num_predict").filter(|n| *n >= 0);
    request.seed = field::int(options, "seed");
    request.repetition_penalty = field::float(options, "repeat_penalty");
    request.frequency_penalty = field::float(options, "frequency_penalty");
    request.presence_penalty = field::float(options, "presence_penalty");
    request.stop_sequences = match options.get("stop") {
        Some(Value::String(s)) => Some(vec![s.clone()]),
        Some(Value::Array(list)) => list.iter().map(|s| Some(s.as_str()?.to_owned())).collect(),
        _ => None,
    };
}

fn messages(list: Vec<Value>, room: &mut Room) -> Vec<Message> {
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

/// Which tool a tool's message answers is told by name; newer versions know an id too.
fn message(mut o: Object, room: &mut Room) -> Option<Message> {
    let role = field::take_string(&mut o, "role")?;
    if role == "tool" {
        return Some(Message {
            name: field::owned(&o, "tool_name").or_else(|| field::owned(&o, "name")),
            parts: vec![Part::ToolCallResponse {
                id: field::owned(&o, "tool_call_id"),
                response: content::response(field::take(&mut o, "content"), room),
            }],
            role,
            ..Message::default()
        });
    }
    Some(Message {
        role,
        parts: parts(&mut o, room),
        ..Message::default()
    })
}

/// What a message holds, the same in a history and in an answer.
pub(super) fn parts(o: &mut Object, room: &mut Room) -> Vec<Part> {
    let mut parts = Vec::new();
    if let Some(text) = field::take_string(o, "thinking").filter(|t| !t.is_empty()) {
        parts.push(Part::Reasoning(room.keep(text)));
    }
    if let Some(text) = field::take_string(o, "content").filter(|t| !t.is_empty()) {
        parts.push(Part::Text(room.keep(text)));
    }
    parts.extend(images(o, room));
    let calls = field::take_list(o, "tool_calls").unwrap_or_default();
    parts.extend(tool_calls(calls, room));
    parts
}

/// The tool calls of a message; they come whole, their arguments are no text.
pub(super) fn tool_calls(list: Vec<Value>, room: &mut Room) -> Vec<Part> {
    list.into_iter()
        .take(MAX_TOOL_CALLS)
        .filter_map(|call| {
            let Value::Object(mut call) = call else {
                return None;
            };
            let Value::Object(mut function) = field::take(&mut call, "function")? else {
                return None;
            };
            Some(Part::ToolCall {
                id: field::owned(&call, "id"),
                name: field::take_string(&mut function, "name").unwrap_or_default(),
                arguments: arguments(field::take(&mut function, "arguments"), room),
            })
        })
        .collect()
}

/// Arguments within bounds; other servers have them as texts.
fn arguments(value: Option<Value>, room: &mut Room) -> Option<Value> {
    match value {
        Some(whole @ (Value::Object(_) | Value::Array(_))) => Some(content::within(whole, room)),
        other => content::arguments_value(other, room),
    }
}

fn images(o: &mut Object, room: &mut Room) -> Vec<Part> {
    field::take_list(o, "images")
        .unwrap_or_default()
        .into_iter()
        .filter_map(|image| match image {
            Value::String(data) => Some(Part::Blob {
                modality: IMAGE,
                mime_type: None,
                content: room.keep(data),
            }),
            _ => None,
        })
        .collect()
}

fn prompt(body: &mut Object, room: &mut Room) -> Option<Message> {
    let text = field::take_string(body, "prompt").filter(|p| !p.is_empty())?;
    let mut parts = vec![Part::Text(room.keep(text))];
    parts.extend(images(body, room));
    Some(Message {
        role: "user".to_owned(),
        parts,
        ..Message::default()
    })
}
