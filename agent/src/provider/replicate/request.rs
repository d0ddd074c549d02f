//! Request bodies. What a model's input has, each model says for itself; these are the names that
//! most of them use.

use crate::model::call::{CallRequest, Message, Part};
use crate::provider::content::{self, AUDIO, DOCUMENT, IMAGE, VIDEO};
use crate::provider::json::{Object, field};
use crate::provider::limits::MAX_ITEMS;
use crate::provider::prompted;
use crate::provider::text::Room;
use serde_json::Value;

/// Reads a request's body.
pub(super) fn read(mut body: Object, room: &mut Room) -> CallRequest {
    let mut request = CallRequest {
        // The version is all that names the model then.
        model: field::owned(&body, "version"),
        stream: field::is_true(&body, "stream"),
        ..CallRequest::default()
    };
    let Some(mut input) = field::take_object(&mut body, "input") else {
        return request;
    };
    request.temperature = field::float(&input, "temperature");
    request.top_p = field::float(&input, "top_p");
    request.top_k = field::int(&input, "top_k");
    request.seed = field::int(&input, "seed");
    request.repetition_penalty = field::float(&input, "repetition_penalty");
    request.presence_penalty = field::float(&input, "presence_penalty");
    request.frequency_penalty = field::float(&input, "frequency_penalty");
    request.max_tokens = ["max_tokens", "max_new_tokens", "max_length"]
        .iter()
        .find_map(|name| field::int(&input, name));
    request.stop_sequences = match input.get("stop_sequences") {
        // As one text it is separated by commas.
        Some(Value::String(all)) => {
            let all: Vec<Value> = all.split(',').map(Value::from).collect();
            prompted::stops(Some(&Value::Array(all)))
        }
        other => prompted::stops(other),
    };
    let instructions = field::take_string(&mut input, "system_prompt").filter(|s| !s.is_empty());
    let instructions = instructions.map(|s| Part::Text(room.keep(s)));
    request.system_instructions.extend(instructions);
    let mut parts = Vec::new();
    let prompt = field::take_string(&mut input, "prompt");
    parts.extend(prompt.map(|p| Part::Text(room.keep(p))));
    for (_, value) in input {
        let list = match value {
            Value::Array(list) => list,
            one => vec![one],
        };
        for value in list {
            if parts.len() < MAX_ITEMS
                && let Value::String(text) = value
                && is_address(&text)
            {
                parts.push(at(text, room));
            }
        }
    }
    if !parts.is_empty() {
        request.messages.push(Message {
            role: "user".to_owned(),
            parts,
            ..Message::default()
        });
    }
    request
}

/// Whether a text is where a file lies, or is one itself.
pub(super) fn is_address(text: &str) -> bool {
    let starts = ["https://", "http://", "data:"];
    starts.iter().any(|s| text.starts_with(s)) && !text.contains(char::is_whitespace)
}

/// What lies there.
pub(super) fn at(url: String, room: &mut Room) -> Part {
    let modality = modality(&url);
    content::at_url(url, modality, room)
}

/// What kind of file it is, by the end of its name, or by its type if it is here.
fn modality(url: &str) -> &'static str {
    if let Some(data) = url.strip_prefix("data:") {
        let known = [("image/", IMAGE), ("audio/", AUDIO), ("video/", VIDEO)];
        let known = known.iter().find(|(start, _)| data.starts_with(start));
        return known.map_or(DOCUMENT, |(_, modality)| modality);
    }
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let extension = path.rsplit_once('.').map_or("", |(_, e)| e);
    match extension.to_ascii_lowercase().as_str() {
        "png" | "jpg" | "jpeg" | "webp" | "gif" | "svg" | "bmp" => IMAGE,
        "mp3" | "wav" | "ogg" | "flac" | "m4a" | "opus" => AUDIO,
        "mp4" | "webm" | "mov" | "mkv" => VIDEO,
        _ => DOCUMENT,
    }
}
