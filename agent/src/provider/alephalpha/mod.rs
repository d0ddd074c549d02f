//! Aleph Alpha's own API: completion. Its chat is [`super::openai`]'s.
//!
//! `/complete` is a common word, so that a request there must have a member that only this one
//! has.
//!
//! Source: Aleph Alpha's API reference, "Completion", and the `aleph-alpha-client` library, 7.1.

mod answer;

#[cfg(test)]
mod tests;

use super::content::{self, IMAGE};
use super::json::field;
use super::json::{Document, Object};
use super::limits::MAX_ITEMS;
use super::prompted;
use super::shape::{Answer, Found, Payload, Shape, Stream};
use super::target::Target;
use super::text::Room;
use crate::model::call::{Api, CallRequest, Message, Operation, Part};
use answer::CompletionStream;
use serde_json::Value;

/// Whoever speaks it and is not known by the host.
const PROVIDER: &str = "aleph_alpha";

const FOUND: Found = Found::new(Operation::TextCompletion, Api::AlephAlphaComplete, PROVIDER);

/// The shape.
#[derive(Debug)]
pub(super) struct AlephAlpha;

impl Shape for AlephAlpha {
    fn route(&self, target: &Target<'_>) -> Option<Found> {
        target.posts("/complete").then_some(FOUND)
    }

    fn confirms(&self, _: &Found, body: &Object) -> bool {
        let itemised = field::list(body, "prompt").is_some_and(|items| {
            let first = items.first().and_then(Value::as_object);
            first.is_some_and(|item| field::is_set(item, "type") && field::is_set(item, "data"))
        });
        let own = itemised || body.contains_key("maximum_tokens");
        own && field::is_set(body, "prompt") && field::str(body, "model").is_some()
    }

    fn request(&self, _: &Found, mut body: Object, room: &mut Room) -> CallRequest {
        CallRequest {
            model: field::owned(&body, "model"),
            stream: field::is_true(&body, "stream"),
            temperature: field::float(&body, "temperature"),
            top_p: field::float(&body, "top_p"),
            top_k: field::int(&body, "top_k"),
            max_tokens: field::int(&body, "maximum_tokens"),
            presence_penalty: field::float(&body, "presence_penalty"),
            frequency_penalty: field::float(&body, "frequency_penalty"),
            choice_count: field::int(&body, "n"),
            stop_sequences: prompted::stops(body.get("stop_sequences")),
            messages: prompt(field::take(&mut body, "prompt"), room),
            ..CallRequest::default()
        }
    }

    fn answer(&self, _: &Found, document: Document, room: &mut Room) -> Answer {
        answer::read(document, room)
    }

    fn is_answer(&self, _: &Found, root: &Object) -> bool {
        field::list(root, "completions").is_some()
    }

    fn is_error(&self, root: &Object) -> bool {
        field::is_set(root, "error") && field::is_set(root, "code")
    }

    fn stream(&self, _: &Found) -> Box<dyn Stream> {
        Box::<CompletionStream>::default()
    }

    fn by_answer(&self, answer: &Payload<'_>) -> Option<Found> {
        match answer {
            Payload::Document(root) => {
                let own = field::list(root, "completions").is_some()
                    && field::is_set(root, "num_tokens_prompt_total");
                own.then_some(FOUND)
            }
            Payload::Event(root) => {
                let own = field::str(root, "type") == Some("stream_chunk")
                    && field::str(root, "completion").is_some();
                own.then_some(Found {
                    stream: true,
                    ..FOUND
                })
            }
        }
    }
}

/// A text, or texts and pictures in order; tokens say nothing to people and are left out.
fn prompt(value: Option<Value>, room: &mut Room) -> Vec<Message> {
    let Some(Value::Array(items)) = value else {
        return prompted::prompts(value, room);
    };
    let mut parts = Vec::new();
    for item in items.into_iter().take(MAX_ITEMS) {
        let Value::Object(mut item) = item else {
            continue;
        };
        let Some(data) = field::take_string(&mut item, "data") else {
            continue;
        };
        match field::str(&item, "type") {
            Some("image") if data.starts_with("http") => {
                parts.push(content::at_url(data, IMAGE, room));
            }
            Some("image") => parts.push(Part::Blob {
                modality: IMAGE,
                mime_type: None,
                content: room.keep(data),
            }),
            _ => parts.push(Part::Text(room.keep(data))),
        }
    }
    let message = Message {
        role: "user".to_owned(),
        parts,
        ..Message::default()
    };
    Some(message)
        .filter(|m| !m.parts.is_empty())
        .into_iter()
        .collect()
}
