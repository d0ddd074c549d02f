//! Content blocks of converse, the same in requests and answers: objects with one member, whose
//! name is the block's type.

use crate::model::call::Part;
use crate::provider::content::{self, AUDIO, DOCUMENT, IMAGE, VIDEO};
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::text::Room;
use serde_json::{Value, json};

/// The parts of a content.
pub(super) fn of(value: Option<Value>, room: &mut Room) -> Vec<Part> {
    match value {
        // Nova's invocations may have a text in place of the list.
        Some(Value::String(text)) => vec![Part::Text(room.keep(text))],
        Some(Value::Array(blocks)) => blocks
            .into_iter()
            .filter_map(|block| match block {
                Value::Object(block) => part(block, room),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The part that a block is.
fn part(mut block: Object, room: &mut Room) -> Option<Part> {
    if let Some(text) = field::take_string(&mut block, "text") {
        return Some(Part::Text(room.keep(text)));
    }
    let (kind, value) = block.into_iter().find(|(_, value)| !value.is_null())?;
    let Value::Object(mut inner) = value else {
        return None;
    };
    match kind.as_str() {
        "toolUse" => Some(Part::ToolCall {
            id: field::owned(&inner, "toolUseId"),
            name: field::take_string(&mut inner, "name").unwrap_or_default(),
            arguments: content::arguments_value(field::take(&mut inner, "input"), room),
        }),
        "toolResult" => Some(Part::ToolCallResponse {
            id: field::owned(&inner, "toolUseId"),
            response: result(field::take(&mut inner, "content"), room),
        }),
        "image" => source(inner, IMAGE, room),
        "video" => source(inner, VIDEO, room),
        "audio" => source(inner, AUDIO, room),
        "document" => source(inner, DOCUMENT, room),
        "reasoningContent" => reasoning(inner, room),
        // What is to be watched over: a text or an image.
        "guardContent" => match field::take(&mut inner, "text") {
            Some(Value::Object(mut text)) => {
                let text = field::take_string(&mut text, "text")?;
                Some(Part::Text(room.keep(text)))
            }
            _ => part(inner, room),
        },
        "citationsContent" => {
            let pieces = field::list(&inner, "content").unwrap_or_default();
            let text = pieces.iter().filter_map(|p| p.get("text")?.as_str());
            Some(Part::Text(room.keep(text.collect())))
        }
        // A mark in the prompt, no content.
        "cachePoint" => None,
        _ => {
            inner.insert("type".to_owned(), Value::from(kind));
            Some(Part::Other(Value::Object(inner)))
        }
    }
}

/// Reasoning; what is redacted only the provider can read.
fn reasoning(mut inner: Object, room: &mut Room) -> Option<Part> {
    if field::is_set(&inner, "redactedContent") {
        return Some(Part::Other(json!({"type": "redacted_thinking"})));
    }
    let text = match field::take(&mut inner, "reasoningText")? {
        Value::Object(mut text) => field::take_string(&mut text, "text")?,
        Value::String(text) => text,
        _ => return None,
    };
    (!text.is_empty()).then(|| Part::Reasoning(room.keep(text)))
}

/// Data, or where it lies.
fn source(mut inner: Object, modality: &'static str, room: &mut Room) -> Option<Part> {
    let mime_type = field::str(&inner, "format").and_then(|format| mime(format, modality));
    let Value::Object(mut source) = field::take(&mut inner, "source")? else {
        return None;
    };
    if let Some(data) = field::take_string(&mut source, "bytes") {
        return Some(Part::Blob {
            modality,
            mime_type,
            content: room.keep(data),
        });
    }
    if let Some(place) = field::object(&source, "s3Location") {
        return Some(Part::Uri {
            modality,
            mime_type,
            uri: room.keep(field::owned(place, "uri")?).kept,
        });
    }
    if let Some(text) = field::take_string(&mut source, "text") {
        return Some(Part::Text(room.keep(text)));
    }
    let content = field::take(&mut source, "content")?;
    Some(Part::Other(json!({"type": modality, "content": content})))
}

fn mime(format: &str, modality: &str) -> Option<String> {
    if modality == DOCUMENT {
        return content::document_type(&format!(".{format}")).map(str::to_owned);
    }
    let format = match format {
        "jpg" => "jpeg",
        "mkv" => "x-matroska",
        "mov" => "quicktime",
        "three_gp" => "3gpp",
        other => other,
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    format
        .bytes()
        .all(plain)
        .then(|| format!("{modality}/{format}"))
}

/// A tool's answer: the text or the value that it is when it is but one, else as it was sent.
fn result(value: Option<Value>, room: &mut Room) -> Value {
    match value {
        Some(Value::Array(mut list)) if list.len() == 1 => {
            let only = list.pop().unwrap_or_default();
            match only {
                Value::Object(mut only) => {
                    if let Some(value) = field::take(&mut only, "json") {
                        return value;
                    }
                    match field::take_string(&mut only, "text") {
                        Some(text) => Value::String(room.keep(text).kept),
                        None => Value::Array(vec![Value::Object(only)]),
                    }
                }
                other => Value::Array(vec![other]),
            }
        }
        other => content::response(other, room),
    }
}
