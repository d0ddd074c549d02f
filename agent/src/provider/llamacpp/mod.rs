//! The own API of llama.cpp's server: `/completion`. What it speaks under `/v1` is
//! [`super::openai`]'s.
//!
//! Source: llama.cpp, `tools/server/README.md`, "POST /completion".

mod answer;

#[cfg(test)]
mod tests;

use super::json::field;
use super::json::{Document, Object};
use super::prompted;
use super::shape::{Answer, Found, Payload, Shape, Stream};
use super::target::Target;
use super::text::Room;
use crate::model::call::{Api, CallRequest, Operation};
use answer::ContentStream;

/// Who speaks it.
const PROVIDER: &str = "llama_cpp";

/// The shape.
#[derive(Debug)]
pub(super) struct LlamaCpp;

const FOUND: Found = Found::new(Operation::TextCompletion, Api::LlamaCppCompletion, PROVIDER);

impl Shape for LlamaCpp {
    fn route(&self, target: &Target<'_>) -> Option<Found> {
        target.posts("/completion").then_some(FOUND)
    }

    fn confirms(&self, _: &Found, body: &Object) -> bool {
        field::is_set(body, "prompt")
    }

    fn request(&self, _: &Found, mut body: Object, room: &mut Room) -> CallRequest {
        let schema = field::is_set(&body, "json_schema");
        CallRequest {
            model: field::owned(&body, "model"),
            stream: field::is_true(&body, "stream"),
            temperature: field::float(&body, "temperature"),
            top_p: field::float(&body, "top_p"),
            top_k: field::int(&body, "top_k"),
            // Less than none is no bound.
            max_tokens: field::int(&body, "n_predict").filter(|n| *n >= 0),
            repetition_penalty: field::float(&body, "repeat_penalty"),
            frequency_penalty: field::float(&body, "frequency_penalty"),
            presence_penalty: field::float(&body, "presence_penalty"),
            seed: field::int(&body, "seed").filter(|n| *n >= 0),
            stop_sequences: prompted::stops(body.get("stop")),
            output_type: schema.then_some("json"),
            messages: prompted::prompts(field::take(&mut body, "prompt"), room),
            ..CallRequest::default()
        }
    }

    fn answer(&self, _: &Found, document: Document, room: &mut Room) -> Answer {
        answer::read(document.root, room)
    }

    fn is_answer(&self, _: &Found, root: &Object) -> bool {
        answer::is_own(root)
    }

    fn stream(&self, _: &Found) -> Box<dyn Stream> {
        Box::<ContentStream>::default()
    }

    fn by_answer(&self, answer: &Payload<'_>) -> Option<Found> {
        let (Payload::Document(root) | Payload::Event(root)) = answer;
        let slot = field::is_set(root, "id_slot") || field::is_set(root, "slot_id");
        (answer::is_own(root) && slot).then_some(FOUND)
    }
}
