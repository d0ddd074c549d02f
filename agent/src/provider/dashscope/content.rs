//! Messages: as chat completions have them, but for parts of content, which are named by what they
//! are and have no type.

use crate::model::call::{Message, Part};
use crate::provider::json::Object;
use crate::provider::json::field;
use serde_json::{Value, json};

/// Name of a part, its type in chat completions, and its member there.
const KINDS: [(&str, &str, &str); 4] = [
    ("image", "image_url", "image_url"),
    ("audio", "audio_url", "audio_url"),
    ("video", "video_url", "video_url"),
    ("file", "file", "file_url"),
];

/// Makes a message one of chat completions.
pub(super) fn unify(message: &mut Object) {
    // Beside calls of tools an empty text stands for none.
    let calls = field::list(message, "tool_calls").is_some_and(|c| !c.is_empty());
    if calls && field::str(message, "content") == Some("") {
        message.remove("content");
    }
    if let Some(Value::Array(items)) = message.get_mut("content") {
        let parts = std::mem::take(items);
        *items = parts.into_iter().flat_map(part).collect();
    }
}

/// Puts calls of tools behind what is said, as it is streamed.
pub(super) fn order(messages: &mut [Message]) {
    for message in messages {
        let calls = |p: &Part| matches!(p, Part::ToolCall { .. });
        message.parts.sort_by_key(calls);
    }
}

/// What one part stands for; a video may be a list of pictures.
fn part(item: Value) -> Vec<Value> {
    let Value::Object(mut o) = item else {
        return vec![item];
    };
    if field::is_set(&o, "type") {
        return vec![Value::Object(o)];
    }
    for (name, kind, member) in KINDS {
        match field::take(&mut o, name) {
            Some(url @ Value::String(_)) => return vec![json!({"type": kind, member: url})],
            Some(Value::Array(frames)) => {
                let pictures = frames.into_iter().filter(Value::is_string);
                return pictures
                    .map(|url| json!({"type": "image_url", "image_url": url}))
                    .collect();
            }
            // Speech of an answer: an object with its address or its data.
            Some(Value::Object(mut inner)) => {
                return field::take_string(&mut inner, "url")
                    .map(|url| json!({"type": kind, member: url}))
                    .into_iter()
                    .collect();
            }
            _ => {}
        }
    }
    if field::str(&o, "text").is_some() {
        return vec![Value::Object(o)];
    }
    // What it does not know itself (a bounding box, a search result) it keeps.
    o.retain(|_, v| !v.is_null());
    let Some((name, _)) = o.iter().next() else {
        return Vec::new();
    };
    let name = name.clone();
    o.insert("type".to_owned(), Value::from(name));
    vec![Value::Object(o)]
}
