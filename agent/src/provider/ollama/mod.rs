//! Ollama's own API: chat, generation, embeddings. It streams lines of JSON unless it is told not
//! to. SGLang imitates parts of it. What Ollama speaks under `/v1` is [`super::openai`]'s.
//!
//! Source: Ollama's API reference, "Generate a completion", "Generate a chat completion",
//! "Generate embeddings", "Generate embedding", "Errors", "Streaming".

mod answer;
mod embed;
mod request;
mod stream;

#[cfg(test)]
mod tests;

use super::body::Body;
use super::json::field;
use super::json::{Document, Object};
use super::shape::{Answer, Found, Payload, Read, Shape, Stream, read_document};
use super::target::Target;
use super::text::Room;
use crate::model::call::{Api, CallRequest, Operation};
use stream::LineStream;

/// Whoever speaks it and is not known by the host.
const PROVIDER: &str = "ollama";

/// The shape.
#[derive(Debug)]
pub(super) struct Ollama;

impl Shape for Ollama {
    fn route(&self, target: &Target<'_>) -> Option<Found> {
        let (operation, api) = if target.posts("/api/chat") {
            (Operation::Chat, Api::OllamaChat)
        } else if target.posts("/api/generate") {
            (Operation::TextCompletion, Api::OllamaGenerate)
        } else if target.posts("/api/embed") || target.posts("/api/embeddings") {
            (Operation::Embeddings, Api::OllamaEmbed)
        } else {
            return None;
        };
        Some(Found::new(operation, api, PROVIDER))
    }

    /// The paths are common ones: many an application has an `/api/chat`. A request that says
    /// nothing but a model's name loads or unloads it.
    fn confirms(&self, found: &Found, body: &Object) -> bool {
        if field::nonempty(body, "model").is_none() {
            return false;
        }
        match found.api {
            Api::OllamaChat => field::list(body, "messages").is_some_and(|m| !m.is_empty()),
            Api::OllamaGenerate => field::nonempty(body, "prompt").is_some(),
            _ => field::is_set(body, "input") || field::str(body, "prompt").is_some(),
        }
    }

    fn request(&self, found: &Found, body: Object, room: &mut Room) -> CallRequest {
        request::read(found.api, body, room)
    }

    fn document(&self, found: &Found, body: &Body, ended: bool, room: &mut Room) -> Read {
        if found.api == Api::OllamaEmbed
            && let Some(read) = embed::read(body, ended)
        {
            return read;
        }
        read_document(self, found, body, ended, room)
    }

    fn answer(&self, _: &Found, document: Document, room: &mut Room) -> Answer {
        answer::read(document.root, document.whole, room)
    }

    fn is_answer(&self, _: &Found, root: &Object) -> bool {
        is_line(root) || field::is_set(root, "embeddings") || field::is_set(root, "embedding")
    }

    fn stream(&self, _: &Found) -> Box<dyn Stream> {
        Box::<LineStream>::default()
    }

    fn by_answer(&self, answer: &Payload<'_>) -> Option<Found> {
        let (Payload::Document(root) | Payload::Event(root)) = answer;
        if !is_line(root) {
            return None;
        }
        let (operation, api) = if field::object(root, "message").is_some() {
            (Operation::Chat, Api::OllamaChat)
        } else {
            (Operation::TextCompletion, Api::OllamaGenerate)
        };
        Some(Found::new(operation, api, PROVIDER))
    }
}

/// Whether it is a line of an answer, or all of one: nobody else has these members together.
fn is_line(root: &Object) -> bool {
    let has = |key: &str| field::str(root, key).is_some();
    has("model")
        && has("created_at")
        && root.get("done").is_some_and(serde_json::Value::is_boolean)
        && (has("response") || field::object(root, "message").is_some())
}
