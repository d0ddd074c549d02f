//! Text Generation Inference's own API: `/generate` and `/generate_stream`. What it speaks under
//! `/v1` is [`super::openai`]'s.
//!
//! Source: Hugging Face's API reference of Text Generation Inference, "Generate tokens",
//! "Generate a stream of token using Server-Sent Events".

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
use answer::TokenStream;

/// Who speaks it and is not known by the host.
const PROVIDER: &str = "huggingface";

/// The shape.
#[derive(Debug)]
pub(super) struct Tgi;

const FOUND: Found = Found::new(Operation::TextCompletion, Api::TgiGenerate, PROVIDER);

impl Shape for Tgi {
    fn route(&self, target: &Target<'_>) -> Option<Found> {
        let streams = target.posts("/generate_stream");
        (streams || target.posts("/generate")).then_some(Found {
            stream: streams,
            ..FOUND
        })
    }

    fn confirms(&self, _: &Found, body: &Object) -> bool {
        field::str(body, "inputs").is_some()
    }

    fn request(&self, _: &Found, mut body: Object, room: &mut Room) -> CallRequest {
        let mut request = CallRequest::default();
        if let Some(asked) = field::object(&body, "parameters") {
            request.temperature = field::float(asked, "temperature");
            request.top_p = field::float(asked, "top_p");
            request.top_k = field::int(asked, "top_k");
            request.max_tokens = field::int(asked, "max_new_tokens");
            request.choice_count = field::int(asked, "best_of");
            request.repetition_penalty = field::float(asked, "repetition_penalty");
            request.frequency_penalty = field::float(asked, "frequency_penalty");
            request.seed = field::int(asked, "seed");
            request.stop_sequences = prompted::stops(asked.get("stop"));
            let grammar = field::is_set(asked, "grammar");
            request.output_type = grammar.then_some("json");
        }
        request.messages = prompted::prompts(field::take(&mut body, "inputs"), room);
        request
    }

    fn answer(&self, _: &Found, document: Document, room: &mut Room) -> Answer {
        answer::read(document.root, room)
    }

    fn is_answer(&self, _: &Found, root: &Object) -> bool {
        field::str(root, "generated_text").is_some()
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
        own.then(|| Found {
            stream: true,
            ..FOUND
        })
    }
}
