//! Content of messages as parts: the forms of chat completions and of responses are alike.

use crate::model::call::Part;
use crate::provider::content::{AUDIO, DOCUMENT, IMAGE, VIDEO, at_url, document_type};
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::text::Room;
use serde_json::Value;

/// A message's content: a text, or a list of parts.
pub(in crate::provider) fn content(value: Value, room: &mut Room) -> Vec<Part> {
    match value {
        Value::String(text) => vec![Part::Text(room.keep(text))],
        Value::Array(items) => items.into_iter().filter_map(|i| item(i, room)).collect(),
        _ => Vec::new(),
    }
}

fn item(value: Value, room: &mut Room) -> Option<Part> {
    let mut o = match value {
        Value::String(text) => return Some(Part::Text(room.keep(text))),
        Value::Object(o) => o,
        _ => return None,
    };
    let kind = field::str(&o, "type").unwrap_or("text").to_owned();
    match kind.as_str() {
        "text" | "input_text" | "output_text" | "summary_text" => {
            field::take_string(&mut o, "text").map(|t| Part::Text(room.keep(t)))
        }
        "refusal" => field::take_string(&mut o, "refusal").map(|t| Part::Text(room.keep(t))),
        "reasoning_text" => {
            field::take_string(&mut o, "text").map(|t| Part::Reasoning(room.keep(t)))
        }
        "thinking" => thinking(&mut o, room),
        "image_url" | "input_image" => located(&mut o, "image_url", IMAGE, room),
        "video_url" => located(&mut o, "video_url", VIDEO, room),
        "audio_url" => located(&mut o, "audio_url", AUDIO, room),
        "input_audio" => audio(&mut o, room),
        "file" | "input_file" => file(o, room),
        _ => Some(Part::Other(Value::Object(o))),
    }
}

/// `{type: thinking, thinking: "…" | [{text}]}`, as some compatible servers have it.
fn thinking(o: &mut Object, room: &mut Room) -> Option<Part> {
    let text = match field::take(o, "thinking")? {
        Value::String(text) => text,
        Value::Array(items) => items
            .iter()
            .filter_map(|i| i.get("text")?.as_str())
            .collect(),
        _ => return None,
    };
    Some(Part::Reasoning(room.keep(text)))
}

/// Data that an address (or a data URL) gives, or a file of the provider's.
fn located(o: &mut Object, key: &str, modality: &'static str, room: &mut Room) -> Option<Part> {
    let url = match field::take(o, key) {
        Some(Value::String(url)) => Some(url),
        Some(Value::Object(mut inner)) => field::take_string(&mut inner, "url"),
        _ => None,
    };
    if let Some(url) = url.filter(|u| !u.is_empty()) {
        return Some(at_url(url, modality, room));
    }
    Some(Part::File {
        modality,
        mime_type: None,
        file_id: field::owned(o, "file_id")?,
    })
}

fn audio(o: &mut Object, room: &mut Room) -> Option<Part> {
    let Value::Object(mut inner) = field::take(o, "input_audio")? else {
        return None;
    };
    let format = field::str(&inner, "format").and_then(audio_type);
    Some(Part::Blob {
        modality: AUDIO,
        mime_type: format.map(str::to_owned),
        content: room.keep(field::take_string(&mut inner, "data")?),
    })
}

fn audio_type(format: &str) -> Option<&'static str> {
    Some(match format {
        "wav" => "audio/wav",
        "mp3" => "audio/mpeg",
        _ => return None,
    })
}

/// The descriptor stands under `file`, or is the part itself.
fn file(mut o: Object, room: &mut Room) -> Option<Part> {
    if let Some(Value::Object(inner)) = field::take(&mut o, "file") {
        o = inner;
    }
    let mime_type = field::str(&o, "filename").and_then(document_type);
    let mime_type = mime_type.map(str::to_owned);
    if let Some(file_id) = field::owned(&o, "file_id") {
        return Some(Part::File {
            modality: DOCUMENT,
            mime_type,
            file_id,
        });
    }
    let data =
        field::take_string(&mut o, "file_data").or_else(|| field::take_string(&mut o, "file_url"));
    let data = data.filter(|d| !d.is_empty())?;
    if data.starts_with("data:") || data.starts_with("http") {
        return Some(at_url(data, DOCUMENT, room));
    }
    Some(Part::Blob {
        modality: DOCUMENT,
        mime_type,
        content: room.keep(data),
    })
}
