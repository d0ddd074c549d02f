//! Content in the forms that several shapes share.

use super::json::Object;
use super::text::Room;
use crate::model::call::{Part, ToolDefinition};
use serde_json::Value;

/// Modalities of the conventions.
pub(super) const IMAGE: &str = "image";
/// See above.
pub(super) const AUDIO: &str = "audio";
/// See above.
pub(super) const VIDEO: &str = "video";
/// See above.
pub(super) const DOCUMENT: &str = "document";

/// Data at an address; a data URL holds it itself.
pub(super) fn at_url(mut url: String, modality: &'static str, room: &mut Room) -> Part {
    let (mime_type, start) = match url.strip_prefix("data:").and_then(|r| r.split_once(',')) {
        Some((header, _)) if header.to_ascii_lowercase().contains(";base64") => {
            let mime = header.split(';').next().filter(|m| !m.is_empty());
            (mime.map(str::to_owned), "data:".len() + header.len() + 1)
        }
        _ => {
            return Part::Uri {
                modality,
                mime_type: None,
                uri: room.keep(url).kept,
            };
        }
    };
    url.drain(..start);
    Part::Blob {
        modality,
        mime_type,
        content: room.keep(url),
    }
}

/// MIME type of a document, by its name.
pub(super) fn document_type(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "pdf" => "application/pdf",
        "json" => "application/json",
        "txt" => "text/plain",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "xml" => "text/xml",
        "doc" => "application/msword",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        _ => return None,
    })
}

/// A tool's arguments: parsed when they are JSON, the text as it is otherwise.
pub(super) fn arguments(text: String, room: &mut Room) -> Option<Value> {
    if text.is_empty() {
        return None;
    }
    let text = room.keep(text);
    if text.dropped == 0 {
        if let Ok(value) = serde_json::from_str(&text.kept) {
            return Some(value);
        }
    }
    Some(Value::String(text.kept))
}

/// Arguments that may have been sent as a text or as a value.
pub(super) fn arguments_value(value: Option<Value>, room: &mut Room) -> Option<Value> {
    match value {
        Some(Value::String(text)) => arguments(text, room),
        Some(Value::Null) => None,
        other => other,
    }
}

/// A value within bounds: what does not fit is kept in part, as the text that it is.
pub(super) fn within(value: Value, room: &mut Room) -> Value {
    if let Value::String(text) = value {
        return Value::String(room.keep(text).kept);
    }
    let text = value.to_string();
    if text.len() > room.0 {
        return Value::String(room.keep(text).kept);
    }
    room.0 -= text.len();
    value
}

/// A tool's answer, its text within bounds.
pub(super) fn response(value: Option<Value>, room: &mut Room) -> Value {
    match value {
        Some(Value::String(text)) => Value::String(room.keep(text).kept),
        Some(other) => other,
        None => Value::Null,
    }
}

/// A tool, in the form of the conventions; `more` is what describes it.
pub(super) fn definition(kind: &str, name: String, more: Object) -> ToolDefinition {
    let mut whole = Object::new();
    whole.insert("type".to_owned(), Value::from(kind));
    whole.insert("name".to_owned(), Value::from(name.as_str()));
    whole.extend(more);
    ToolDefinition {
        kind: kind.to_owned(),
        name: Some(name),
        definition: Value::Object(whole),
    }
}
