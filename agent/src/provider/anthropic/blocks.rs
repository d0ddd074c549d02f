//! Content blocks, the same in requests and answers.

use crate::model::call::Part;
use crate::provider::content::{self, DOCUMENT, IMAGE};
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::text::Room;
use serde_json::{Value, json};

/// The parts of a content: a text, or blocks.
pub(super) fn of(value: Option<Value>, room: &mut Room) -> Vec<Part> {
    match value {
        Some(Value::String(text)) => vec![Part::Text(room.keep(text))],
        Some(Value::Array(blocks)) => blocks
            .into_iter()
            .filter_map(|block| match block {
                Value::Object(o) => part(o, room),
                Value::String(text) => Some(Part::Text(room.keep(text))),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The part that a block is.
pub(super) fn part(mut block: Object, room: &mut Room) -> Option<Part> {
    let kind = field::take_string(&mut block, "type").unwrap_or_else(|| "text".to_owned());
    Some(match kind.as_str() {
        "text" => Part::Text(room.keep(field::take_string(&mut block, "text")?)),
        // The signature is the provider's affair.
        "thinking" => {
            let text = field::take_string(&mut block, "thinking").filter(|t| !t.is_empty())?;
            Part::Reasoning(room.keep(text))
        }
        // What is in it only the provider can read.
        "redacted_thinking" => Part::Other(json!({"type": kind})),
        "image" => source(&mut block, IMAGE, room)?,
        "document" => source(&mut block, DOCUMENT, room)?,
        "container_upload" => Part::File {
            modality: DOCUMENT,
            mime_type: None,
            file_id: field::owned(&block, "file_id")?,
        },
        "tool_use" => Part::ToolCall {
            id: field::owned(&block, "id"),
            name: field::take_string(&mut block, "name").unwrap_or_default(),
            arguments: content::arguments_value(field::take(&mut block, "input"), room),
        },
        "tool_result" => Part::ToolCallResponse {
            id: field::owned(&block, "tool_use_id"),
            response: result(field::take(&mut block, "content"), room),
        },
        "server_tool_use" | "mcp_tool_use" => server_call(block),
        _ if kind.ends_with("_tool_result") => server_result(&kind, block),
        _ => {
            block.insert("type".to_owned(), Value::from(kind));
            Part::Other(Value::Object(block))
        }
    })
}

/// Whether a part stands for what the provider made shorter.
pub(super) fn is_compaction(part: &Part) -> bool {
    matches!(part, Part::Other(value) if value["type"] == "compaction")
}

/// `source` of an image or a document.
fn source(block: &mut Object, modality: &'static str, room: &mut Room) -> Option<Part> {
    let Value::Object(mut source) = field::take(block, "source")? else {
        return None;
    };
    let mime_type = field::owned(&source, "media_type");
    Some(match field::str(&source, "type")? {
        "base64" => Part::Blob {
            modality,
            mime_type,
            content: room.keep(field::take_string(&mut source, "data")?),
        },
        "url" => content::at_url(field::take_string(&mut source, "url")?, modality, room),
        "file" => Part::File {
            modality,
            mime_type,
            file_id: field::owned(&source, "file_id")?,
        },
        // A document that is plain text.
        "text" => Part::Text(room.keep(field::take_string(&mut source, "data")?)),
        // A document made of blocks.
        "content" => match field::take(&mut source, "content")? {
            Value::String(text) => Part::Text(room.keep(text)),
            blocks => Part::Other(json!({"type": modality, "content": blocks})),
        },
        _ => return None,
    })
}

/// A tool's answer: the text of it when it is nothing but text, else as it was sent.
fn result(value: Option<Value>, room: &mut Room) -> Value {
    if let Some(Value::Array(blocks)) = &value
        && let [only] = blocks.as_slice()
        && only["type"] == "text"
        && let Some(text) = only["text"].as_str()
    {
        return Value::String(room.keep(text.to_owned()).kept);
    }
    content::response(value, room)
}

/// A tool that the provider runs itself.
fn server_call(mut block: Object) -> Part {
    let name = field::take_string(&mut block, "name").unwrap_or_default();
    let mut call = Object::new();
    call.insert("type".to_owned(), Value::from(name.as_str()));
    for key in ["input", "server_name"] {
        if let Some(value) = field::take(&mut block, key) {
            call.insert(key.to_owned(), value);
        }
    }
    let mut part = json!({"type": "server_tool_call", "name": name, "server_tool_call": call});
    part["id"] = Value::from(field::owned(&block, "id"));
    Part::Other(part)
}

/// What such a tool answered; the block's name says which it was.
fn server_result(kind: &str, mut block: Object) -> Part {
    let tool = kind.trim_end_matches("_tool_result");
    let mut answer = Object::new();
    answer.insert("type".to_owned(), Value::from(tool));
    for key in ["content", "is_error"] {
        if let Some(value) = field::take(&mut block, key) {
            answer.insert(key.to_owned(), value);
        }
    }
    let mut part =
        json!({"type": "server_tool_call_response", "server_tool_call_response": answer});
    part["id"] = Value::from(field::owned(&block, "tool_use_id"));
    Part::Other(part)
}
