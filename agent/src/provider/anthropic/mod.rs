//! Anthropic's protocols: messages, and completions of old. Gateways, DashScope (under
//! `/apps/anthropic`), vLLM and Google's Vertex speak the first one too.
//!
//! Source: Anthropic's API reference, "Messages", "Streaming messages", "Errors",
//! "Text completions (legacy)"; Vertex: "Claude requests" (`rawPredict`, `streamRawPredict`).

mod answer;
mod blocks;
mod complete;
mod request;
mod stream;
mod usage;

#[cfg(test)]
mod tests;

use super::json::field;
use super::json::{Document, Object};
use super::shape::{Answer, Found, Payload, Shape, Stream};
use super::target::Target;
use super::text::Room;
use crate::model::call::{Api, CallRequest, Operation};
use complete::CompletionStream;
use stream::MessageStream;

/// Whoever speaks it and is not known by the host.
const PROVIDER: &str = "anthropic";

/// The shape.
#[derive(Debug)]
pub(super) struct Anthropic;

impl Shape for Anthropic {
    fn request_headers(&self) -> &'static [&'static str] {
        &["anthropic-version"]
    }

    /// Counting tokens and batches lie below `/v1/messages`: they are no calls.
    fn route(&self, target: &Target<'_>) -> Option<Found> {
        if let Some(found) = vertex(target) {
            return Some(found);
        }
        let versioned = target.headers.get("anthropic-version").is_some();
        if target.posts("/v1/messages") || (versioned && target.posts("/messages")) {
            return Some(Found::new(Operation::Chat, Api::Messages, PROVIDER));
        }
        if target.posts("/v1/complete") {
            let operation = Operation::TextCompletion;
            return Some(Found::new(operation, Api::Complete, PROVIDER));
        }
        None
    }

    fn confirms(&self, found: &Found, body: &Object) -> bool {
        match found.api {
            Api::Complete => field::is_set(body, "prompt") && field::is_set(body, "model"),
            _ => field::list(body, "messages").is_some(),
        }
    }

    fn request(&self, found: &Found, body: Object, room: &mut Room) -> CallRequest {
        match found.api {
            Api::Complete => complete::request(body, room),
            _ => request::read(body, room),
        }
    }

    fn answer(&self, found: &Found, document: Document, room: &mut Room) -> Answer {
        let Document { root, whole } = document;
        match found.api {
            Api::Complete => complete::answer(root, whole, room),
            _ => answer::read(root, whole, room),
        }
    }

    fn is_answer(&self, _: &Found, root: &Object) -> bool {
        matches!(
            field::str(root, "type"),
            Some("message" | "completion" | "error")
        )
    }

    fn stream(&self, found: &Found) -> Box<dyn Stream> {
        match found.api {
            Api::Complete => Box::<CompletionStream>::default(),
            _ => Box::<MessageStream>::default(),
        }
    }

    fn by_answer(&self, answer: &Payload<'_>) -> Option<Found> {
        let (Payload::Document(root) | Payload::Event(root)) = answer;
        let has = |key: &str| field::is_set(root, key);
        let fits = match (answer, field::str(root, "type")?) {
            (Payload::Document(_), "message") => {
                field::str(root, "role") == Some("assistant")
                    && field::list(root, "content").is_some()
            }
            (Payload::Event(_), "message_start") => field::object(root, "message").is_some(),
            (Payload::Event(_), "content_block_start") => has("index") && has("content_block"),
            (Payload::Event(_), "content_block_delta") => has("index") && has("delta"),
            (Payload::Event(_), "message_delta") => has("delta") && has("usage"),
            _ => false,
        };
        fits.then(|| Found::new(Operation::Chat, Api::Messages, PROVIDER))
    }
}

/// Vertex names model and manner in the path.
fn vertex(target: &Target<'_>) -> Option<Found> {
    let name = target.segment_after("/publishers/anthropic/models/")?;
    let (model, verb) = name.rsplit_once(':')?;
    if target.method != "POST" || !matches!(verb, "rawPredict" | "streamRawPredict") {
        return None;
    }
    let mut found = Found::new(Operation::Chat, Api::Messages, "gcp.vertex_ai");
    found.model = Some(model.to_owned());
    found.stream = verb == "streamRawPredict";
    Some(found)
}
