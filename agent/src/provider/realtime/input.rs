//! What a response answers: the items that came into the conversation since the last one.

use crate::model::call::{Message, Part};
use crate::provider::content::{self, AUDIO, IMAGE};
use crate::provider::json::{Object, field};
use crate::provider::openai::parts;
use crate::provider::text::Room;
use serde_json::Value;

/// An item of the conversation.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The server's id, when it is known.
    pub(super) id: Option<String>,
    pub(super) message: Message,
    /// Bytes of text that it keeps.
    pub(super) held: usize,
}

impl Item {
    /// That the client sends.
    pub(super) fn read(item: Object, room: &mut Room) -> Option<Self> {
        let before = room.0;
        let id = field::owned(&item, "id");
        let message = message(item, room)?;
        Some(Self {
            id,
            message,
            held: before - room.0,
        })
    }

    /// What the user said: so many characters of sound, and so many pictures.
    pub(super) fn spoken(id: Option<String>, sound: u64, pictures: &[u64]) -> Self {
        let mut parts = vec![sized(AUDIO, sound)];
        parts.extend(pictures.iter().map(|size| sized(IMAGE, *size)));
        Self {
            id,
            message: of("user", parts),
            held: 0,
        }
    }

    /// What is to be spoken.
    pub(super) fn written(id: Option<String>, text: Part, held: usize) -> Self {
        Self {
            id,
            message: of("user", vec![text]),
            held,
        }
    }

    /// What was said, in words: goes before the sound.
    pub(super) fn transcribed(&mut self, text: &str, room: &mut Room) {
        let before = room.0;
        let text = Part::Text(room.keep(text.to_owned()));
        match self.message.parts.first_mut() {
            Some(first @ Part::Text(_)) => *first = text,
            _ => self.message.parts.insert(0, text),
        }
        self.held += before - room.0;
    }
}

/// Data of which only the size is kept, in characters of base64.
pub(super) fn sized(modality: &'static str, size: u64) -> Part {
    Part::Blob {
        modality,
        mime_type: None,
        content: crate::model::call::Text {
            kept: String::new(),
            dropped: size,
        },
    }
}

fn of(role: &str, parts: Vec<Part>) -> Message {
    Message {
        role: role.to_owned(),
        parts,
        ..Message::default()
    }
}

fn message(mut item: Object, room: &mut Room) -> Option<Message> {
    match field::str(&item, "type").unwrap_or("message") {
        "message" => {
            let role = field::owned(&item, "role")?;
            let parts = parts(&mut item, room);
            (!parts.is_empty()).then(|| of(&role, parts))
        }
        "function_call" => Some(of("assistant", vec![tool_call(&mut item, room)])),
        "function_call_output" => {
            let part = Part::ToolCallResponse {
                id: field::owned(&item, "call_id"),
                response: content::response(field::take(&mut item, "output"), room),
            };
            Some(of("tool", vec![part]))
        }
        // What was said elsewhere, by its id; servers' tools.
        _ => None,
    }
}

/// The parts of a message.
pub(super) fn parts(item: &mut Object, room: &mut Room) -> Vec<Part> {
    let content = field::take_list(item, "content").unwrap_or_default();
    content.into_iter().flat_map(|p| part(p, room)).collect()
}

/// Sound is its transcript, and its size where it is there.
fn part(value: Value, room: &mut Room) -> Vec<Part> {
    let Value::Object(mut o) = value else {
        return Vec::new();
    };
    match field::str(&o, "type") {
        Some("audio" | "input_audio" | "output_audio") => {
            let transcript = field::take_string(&mut o, "transcript").filter(|t| !t.is_empty());
            let text = transcript.map(|t| Part::Text(room.keep(t)));
            let sound = field::str(&o, "audio").map(|a| sized(AUDIO, a.len() as u64));
            text.into_iter().chain(sound).collect()
        }
        Some("input_image") => match field::str(&o, "image_url") {
            Some(url) if url.starts_with("data:") => {
                let data = url.split_once(',').map_or("", |(_, data)| data);
                vec![sized(IMAGE, data.len() as u64)]
            }
            _ => parts::content(Value::Array(vec![Value::Object(o)]), room),
        },
        Some("text" | "input_text" | "output_text") => {
            parts::content(Value::Array(vec![Value::Object(o)]), room)
        }
        _ => Vec::new(),
    }
}

/// A call of a tool that the client runs.
pub(super) fn tool_call(item: &mut Object, room: &mut Room) -> Part {
    Part::ToolCall {
        id: field::owned(item, "call_id").or_else(|| field::owned(item, "id")),
        name: field::take_string(item, "name").unwrap_or_default(),
        arguments: content::arguments_value(field::take(item, "arguments"), room),
    }
}
