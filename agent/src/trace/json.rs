//! Messages in the JSON form of the conventions (section 3), texts cut to a length.

use crate::model::call::{Message, Part, Text};
use crate::vocabulary::field::ORIGINAL_LENGTH;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

/// A list, of which each item is cut.
struct List<'a, T>(&'a [T], usize);

impl<T> Serialize for List<'_, T>
where
    for<'a> Cut<'a, T>: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for item in self.0 {
            seq.serialize_element(&Cut(item, self.1))?;
        }
        seq.end()
    }
}

/// A list of messages or parts, uncut.
pub(super) fn value<T>(items: &[T]) -> Value
where
    for<'a> Cut<'a, T>: Serialize,
{
    // Nothing in here can fail, as below.
    serde_json::to_value(List(items, usize::MAX)).unwrap_or_default()
}

/// A list of messages or parts whose texts have at most `max` characters.
pub(super) fn render<T>(items: &[T], max: usize) -> String
where
    for<'a> Cut<'a, T>: Serialize,
{
    // Nothing in here can fail: keys are texts and numbers are finite.
    serde_json::to_string(&List(items, max)).unwrap_or_else(|_| "[]".to_owned())
}

/// Something of which texts are cut.
pub(super) struct Cut<'a, T>(&'a T, usize);

impl Serialize for Cut<'_, Message> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Parts<'a>(&'a [Part], usize);
        impl Serialize for Parts<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.iter().map(|p| Cut(p, self.1)))
            }
        }
        let Self(message, max) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("role", &message.role)?;
        map.serialize_entry("parts", &Parts(&message.parts, *max))?;
        if let Some(name) = &message.name {
            map.serialize_entry("name", name)?;
        }
        if let Some(reason) = &message.finish_reason {
            map.serialize_entry("finish_reason", reason)?;
        }
        map.end()
    }
}

impl Serialize for Cut<'_, Part> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(part, max) = *self;
        if let Part::Other(value) = part {
            let mut cut = 0;
            let mut short = shortened(value, max, &mut cut);
            if cut > 0
                && let Value::Object(map) = &mut short
            {
                map.insert(ORIGINAL_LENGTH.to_owned(), cut.into());
            }
            return short.serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", kind(part))?;
        match part {
            Part::Text(text) | Part::Reasoning(text) => put_text(&mut map, "content", text, max)?,
            Part::ToolCall {
                id,
                name,
                arguments,
            } => {
                put_some(&mut map, "id", id.as_ref())?;
                map.serialize_entry("name", name)?;
                if let Some(arguments) = arguments {
                    put_json(&mut map, "arguments", arguments, max)?;
                }
            }
            Part::ToolCallResponse { id, response } => {
                put_some(&mut map, "id", id.as_ref())?;
                put_json(&mut map, "response", response, max)?;
            }
            Part::Blob {
                modality,
                mime_type,
                content,
            } => {
                map.serialize_entry("modality", modality)?;
                put_some(&mut map, "mime_type", mime_type.as_ref())?;
                put_text(&mut map, "content", content, max)?;
            }
            Part::File {
                modality,
                mime_type,
                file_id: value,
            }
            | Part::Uri {
                modality,
                mime_type,
                uri: value,
            } => {
                map.serialize_entry("modality", modality)?;
                put_some(&mut map, "mime_type", mime_type.as_ref())?;
                let key = if matches!(part, Part::Uri { .. }) {
                    "uri"
                } else {
                    "file_id"
                };
                put_str(&mut map, key, value, 0, max)?;
            }
            Part::Other(_) => {}
        }
        map.end()
    }
}

fn kind(part: &Part) -> &'static str {
    match part {
        Part::Text(_) => "text",
        Part::Reasoning(_) => "reasoning",
        Part::ToolCall { .. } => "tool_call",
        Part::ToolCallResponse { .. } => "tool_call_response",
        Part::Blob { .. } => "blob",
        Part::File { .. } => "file",
        Part::Uri { .. } => "uri",
        Part::Other(_) => "other",
    }
}

fn put_some<M: SerializeMap>(
    map: &mut M,
    key: &str,
    text: Option<&String>,
) -> Result<(), M::Error> {
    match text {
        Some(text) => map.serialize_entry(key, text),
        None => Ok(()),
    }
}

fn put_text<M: SerializeMap>(
    map: &mut M,
    key: &str,
    text: &Text,
    max: usize,
) -> Result<(), M::Error> {
    put_str(map, key, &text.kept, text.dropped, max)
}

/// A text of which `dropped` characters were lost before.
fn put_str<M: SerializeMap>(
    map: &mut M,
    key: &str,
    text: &str,
    dropped: u64,
    max: usize,
) -> Result<(), M::Error> {
    let short = prefix(text, max);
    map.serialize_entry(key, short)?;
    if dropped > 0 || short.len() < text.len() {
        let original = text.chars().count() as u64 + dropped;
        map.serialize_entry(ORIGINAL_LENGTH, &original)?;
    }
    Ok(())
}

/// A value as it is, or when it is too long the beginning of its JSON as a text.
fn put_json<M: SerializeMap>(
    map: &mut M,
    key: &str,
    value: &Value,
    max: usize,
) -> Result<(), M::Error> {
    match value {
        Value::String(text) => put_str(map, key, text, 0, max),
        Value::Array(_) | Value::Object(_) => {
            let text = value.to_string();
            if prefix(&text, max).len() == text.len() {
                return map.serialize_entry(key, value);
            }
            put_str(map, key, &text, 0, max)
        }
        other => map.serialize_entry(key, other),
    }
}

/// A value all of whose texts are cut; `cut` grows by the characters that those had which were.
fn shortened(value: &Value, max: usize, cut: &mut u64) -> Value {
    match value {
        Value::String(text) => {
            let short = prefix(text, max);
            if short.len() < text.len() {
                *cut += text.chars().count() as u64;
            }
            Value::from(short)
        }
        Value::Array(list) => list.iter().map(|v| shortened(v, max, cut)).collect(),
        Value::Object(map) => {
            let short = map.iter().map(|(k, v)| (k.clone(), shortened(v, max, cut)));
            Value::Object(short.collect())
        }
        other => other.clone(),
    }
}

/// The first `max` characters.
pub(super) fn prefix(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    match text.char_indices().nth(max) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}
