//! Request bodies.

use crate::model::call::{Api, CallRequest, Message, Part};
use crate::provider::content::{self, AUDIO, DOCUMENT, IMAGE, VIDEO};
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::limits::MAX_ITEMS;
use crate::provider::text::Room;
use serde_json::{Map, Value};

/// Reads a request's body.
pub(super) fn read(api: Api, mut body: Object, room: &mut Room) -> CallRequest {
    let mut parts = Vec::new();
    if api == Api::DifyChat {
        let query = field::take_string(&mut body, "query");
        parts.extend(query.map(|q| Part::Text(room.keep(q))));
    }
    if let Some(Value::Object(mut inputs)) = field::take(&mut body, "inputs") {
        // What a completion is asked is one of them.
        let query = match api {
            Api::DifyCompletion => field::take_string(&mut inputs, "query"),
            _ => None,
        };
        if let Some(query) = query {
            inputs.remove("query");
            parts.push(Part::Text(room.keep(query)));
        }
        if !inputs.is_empty() {
            parts.push(values("inputs", inputs, room));
        }
    }
    let files = field::take_list(&mut body, "files").unwrap_or_default();
    let files = files.into_iter().take(MAX_ITEMS);
    parts.extend(files.filter_map(|f| file(f, room)));
    let message = Message {
        role: "user".to_owned(),
        parts,
        ..Message::default()
    };
    CallRequest {
        stream: field::str(&body, "response_mode") == Some("streaming"),
        conversation_id: field::owned(&body, "conversation_id"),
        messages: Some(message)
            .filter(|m| !m.parts.is_empty())
            .into_iter()
            .collect(),
        ..CallRequest::default()
    }
}

/// Named values, within bounds: what does not fit is kept in part, as the text that it is.
pub(super) fn values(kind: &str, values: Object, room: &mut Room) -> Part {
    let kept = content::within(Value::Object(values), room);
    let mut part = Map::new();
    part.insert("type".to_owned(), Value::from(kind));
    part.insert(kind.to_owned(), kept);
    Part::Other(Value::Object(part))
}

fn file(value: Value, room: &mut Room) -> Option<Part> {
    let Value::Object(mut o) = value else {
        return None;
    };
    let modality = modality(field::str(&o, "type").unwrap_or(""));
    if let Some(url) = field::take_string(&mut o, "url").filter(|u| !u.is_empty()) {
        return Some(content::at_url(url, modality, room));
    }
    Some(Part::File {
        modality,
        mime_type: None,
        file_id: field::owned(&o, "upload_file_id")?,
    })
}

/// What kind of file it is, in the words of the conventions.
pub(super) fn modality(kind: &str) -> &'static str {
    match kind {
        "image" => IMAGE,
        "audio" => AUDIO,
        "video" => VIDEO,
        _ => DOCUMENT,
    }
}
