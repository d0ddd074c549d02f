//! Text Generation Inference's own API: `/generate` and `/generate_stream`, and `/`, which is like
//! that of Hugging Face's hosted models and is what their client asks. What it speaks under `/v1`
//! is [`super::openai`]'s.
//!
//! `/generate` is a common word, so that a request there that has nothing but `inputs` is not told:
//! it must have `parameters` or `stream`.
//!
//! Source: Hugging Face's API reference of Text Generation Inference, "Generate tokens",
//! "Generate a stream of token using Server-Sent Events", "Generate tokens if `stream == false` or
//! a stream of token if `stream == true`".

mod answer;

#[cfg(test)]
mod tests;

use super::body::Body;
use super::error;
use super::json::field;
use super::json::{Document, Object};
use super::prompted::{self, Answers};
use super::shape::{Answer, Found, Payload, Read, Shape, Stream};
use super::target::Target;
use super::text::Room;
use crate::model::call::{Api, CallError, CallRequest, Operation};
use answer::TokenStream;

/// Who speaks it and is not known by the host.
const PROVIDER: &str = "huggingface";

/// The shape.
#[derive(Debug)]
pub(super) struct Tgi;

const FOUND: Found = Found::new(Operation::TextCompletion, Api::TgiGenerate, PROVIDER);

/// Parameters of generation. Servers of embeddings and classes take `inputs` at `/` too.
const OWN: [&str; 8] = [
    "max_new_tokens",
    "temperature",
    "do_sample",
    "details",
    "return_full_text",
    "decoder_input_details",
    "repetition_penalty",
    "typical_p",
];

impl Shape for Tgi {
    fn route(&self, target: &Target<'_>) -> Option<Found> {
        let root = target.method == "POST" && target.path.is_empty();
        let streams = target.posts("/generate_stream");
        let api = if root { Api::TgiRoot } else { Api::TgiGenerate };
        (root || streams || target.posts("/generate")).then_some(Found {
            api,
            stream: streams,
            ..FOUND
        })
    }

    fn confirms(&self, found: &Found, body: &Object) -> bool {
        let asked = field::object(body, "parameters");
        let generates = asked.is_some_and(|asked| {
            found.api != Api::TgiRoot || OWN.iter().any(|key| asked.contains_key(*key))
        });
        // The path says it, or the body.
        let told = found.stream || generates || body.contains_key("stream");
        told && field::str(body, "inputs").is_some()
    }

    fn request(&self, found: &Found, mut body: Object, room: &mut Room) -> CallRequest {
        let mut request = CallRequest {
            // Elsewhere the path says it.
            stream: found.api == Api::TgiRoot && field::is_true(&body, "stream"),
            ..CallRequest::default()
        };
        if let Some(asked) = field::object(&body, "parameters") {
            request.temperature = field::float(asked, "temperature");
            request.top_p = field::float(asked, "top_p");
            request.top_k = field::int(asked, "top_k");
            request.max_tokens = field::int(asked, "max_new_tokens");
            request.repetition_penalty = field::float(asked, "repetition_penalty");
            request.frequency_penalty = field::float(asked, "frequency_penalty");
            request.seed = field::int(asked, "seed");
            request.stop_sequences = prompted::stops(asked.get("stop"));
            let grammar = field::object(asked, "grammar").and_then(|g| field::str(g, "type"));
            request.output_type = grammar.filter(|kind| *kind != "regex").map(|_| "json");
        }
        request.messages = prompted::prompts(field::take(&mut body, "inputs"), room);
        request
    }

    fn document(&self, found: &Found, body: &Body, ended: bool, room: &mut Room) -> Read {
        prompted::document(self, found, body, ended, room, answer::of)
    }

    fn answer(&self, found: &Found, document: Document, room: &mut Room) -> Answer {
        answer::of(found, Answers::one(document), room)
    }

    fn is_answer(&self, _: &Found, root: &Object) -> bool {
        field::str(root, "generated_text").is_some()
    }

    fn error(&self, status: u16, document: Option<&Object>, body: &[u8]) -> CallError {
        let error = error::of_status(status, document, body);
        match document {
            Some(root) => answer::failure(error, root),
            None => error,
        }
    }

    fn stream(&self, _: &Found) -> Box<dyn Stream> {
        Box::<TokenStream>::default()
    }

    fn by_answer(&self, answer: &Payload<'_>) -> Option<Found> {
        let Payload::Event(root) = answer else {
            return None;
        };
        let token = field::object(root, "token")?;
        let own = token.contains_key("logprob") && field::str(token, "text").is_some();
        own.then_some(Found {
            stream: true,
            ..FOUND
        })
    }
}
