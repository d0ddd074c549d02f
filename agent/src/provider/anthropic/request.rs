//! Request bodies of messages.

use super::blocks;
use crate::model::call::{CallRequest, Message, Part, ToolDefinition};
use crate::provider::content::definition;
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::limits::{MAX_MESSAGES, MAX_TOOLS};
use crate::provider::text::Room;
use serde_json::Value;

/// Reads a request's body. `mcp_servers` holds tokens: it is not looked at.
pub(super) fn read(mut body: Object, room: &mut Room) -> CallRequest {
    let output = field::object(&body, "output_config");
    let mut request = CallRequest {
        model: field::owned(&body, "model"),
        stream: field::is_true(&body, "stream"),
        temperature: field::float(&body, "temperature"),
        top_p: field::float(&body, "top_p"),
        top_k: field::int(&body, "top_k"),
        max_tokens: field::int(&body, "max_tokens"),
        stop_sequences: stop(&body),
        reasoning_level: output.and_then(|o| field::owned(o, "effort")),
        output_type: output
            .and_then(|o| field::object(o, "format"))
            // As the beta had it.
            .or_else(|| field::object(&body, "output_format"))
            .filter(|f| field::str(f, "type") == Some("json_schema"))
            .map(|_| "json"),
        ..CallRequest::default()
    };
    request.system_instructions = blocks::of(field::take(&mut body, "system"), room);
    let list = field::take_list(&mut body, "messages").unwrap_or_default();
    request.messages = messages(list, room);
    request.compacted = request
        .messages
        .iter()
        .flat_map(|m| &m.parts)
        .any(blocks::is_compaction);
    request.tools = tools(field::take_list(&mut body, "tools").unwrap_or_default());
    request
}

/// `stop_sequences`.
pub(super) fn stop(body: &Object) -> Option<Vec<String>> {
    let list = field::list(body, "stop_sequences")?;
    list.iter().map(|s| Some(s.as_str()?.to_owned())).collect()
}

fn messages(list: Vec<Value>, room: &mut Room) -> Vec<Message> {
    let skip = list.len().saturating_sub(MAX_MESSAGES);
    list.into_iter()
        .skip(skip)
        .filter_map(|value| match value {
            Value::Object(mut o) => Some(Message {
                role: field::take_string(&mut o, "role")?,
                parts: blocks::of(field::take(&mut o, "content"), room),
                ..Message::default()
            }),
            _ => None,
        })
        .filter(|m: &Message| !m.parts.is_empty())
        .collect()
}

/// The client's tools are functions; of the provider's own only type and name are kept.
fn tools(list: Vec<Value>) -> Vec<ToolDefinition> {
    list.into_iter()
        .take(MAX_TOOLS)
        .filter_map(|tool| match tool {
            Value::Object(mut o) => {
                let kind = field::owned(&o, "type").filter(|k| k != "custom");
                let name = field::take_string(&mut o, "name");
                if let Some(kind) = kind {
                    let name = name.unwrap_or_else(|| kind.clone());
                    return Some(definition(&kind, name, Object::new()));
                }
                let mut more = Object::new();
                for (key, ours) in [
                    ("description", "description"),
                    ("input_schema", "parameters"),
                ] {
                    if let Some(value) = field::take(&mut o, key) {
                        more.insert(ours.to_owned(), value);
                    }
                }
                Some(definition("function", name?, more))
            }
            _ => None,
        })
        .collect()
}

/// A message of the user's that is only text.
pub(super) fn said(text: String, room: &mut Room) -> Message {
    Message {
        role: "user".to_owned(),
        parts: vec![Part::Text(room.keep(text))],
        ..Message::default()
    }
}
