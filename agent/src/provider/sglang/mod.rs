//! SGLang's own API: `/generate`. What it speaks under `/v1` is [`super::openai`]'s, and what it
//! imitates of Ollama is [`super::ollama`]'s.
//!
//! A text, or tokens, or a list of them goes in with `sampling_params`; what comes out has the
//! text and `meta_info`, of which `id` is the one that the engine knows the request by. A stream
//! has the text so far in each event, unless the server was started otherwise.
//!
//! Source: SGLang's documentation, "SGLang Native APIs" and "Sampling Parameters".

mod answer;
mod said;
mod stream;

#[cfg(test)]
mod tests;

use super::body::Body;
use super::json::field;
use super::json::{Document, Object};
use super::prompted;
use super::shape::{Answer, Found, Payload, Read, Shape, Stream};
use super::target::Target;
use super::text::Room;
use crate::model::call::{Api, CallRequest, Operation};
use serde_json::Value;
use stream::GenerateStream;

/// Who speaks it.
const PROVIDER: &str = "sglang";

/// The shape.
#[derive(Debug)]
pub(super) struct Sglang;

const FOUND: Found = Found::new(Operation::TextCompletion, Api::SglangGenerate, PROVIDER);

impl Shape for Sglang {
    fn route(&self, target: &Target<'_>) -> Option<Found> {
        target.posts("/generate").then_some(FOUND)
    }

    /// The path is a common word: there must be more that is SGLang's.
    fn confirms(&self, _: &Found, body: &Object) -> bool {
        const PROMPTS: [&str; 3] = ["text", "input_ids", "input_embeds"];
        const OWN: [&str; 4] = ["sampling_params", "input_ids", "rid", "return_logprob"];
        let any = |keys: &[&str]| keys.iter().any(|key| field::is_set(body, key));
        any(&PROMPTS) && any(&OWN)
    }

    /// Several answers to a prompt each count its tokens.
    fn refine(&self, found: &mut Found, body: &Object) {
        let count = sampling(body).and_then(|sampling| field::int(sampling, "n"));
        found.samples = u32::try_from(count.unwrap_or(1)).ok();
    }

    fn request(&self, _: &Found, mut body: Object, room: &mut Room) -> CallRequest {
        let mut request = CallRequest {
            stream: field::is_true(&body, "stream"),
            ..CallRequest::default()
        };
        if let Some(sampling) = sampling(&body) {
            request.temperature = field::float(sampling, "temperature");
            request.top_p = field::float(sampling, "top_p");
            request.top_k = field::int(sampling, "top_k").filter(|n| *n >= 0);
            request.max_tokens = field::int(sampling, "max_new_tokens");
            request.choice_count = field::int(sampling, "n");
            request.repetition_penalty = field::float(sampling, "repetition_penalty");
            request.frequency_penalty = field::float(sampling, "frequency_penalty");
            request.presence_penalty = field::float(sampling, "presence_penalty");
            request.seed = field::int(sampling, "sampling_seed");
            request.stop_sequences = prompted::stops(sampling.get("stop"));
            let schema = field::is_set(sampling, "json_schema");
            request.output_type = schema.then_some("json");
        }
        request.messages = prompted::prompts(field::take(&mut body, "text"), room);
        request
    }

    fn document(&self, found: &Found, body: &Body, ended: bool, room: &mut Room) -> Read {
        prompted::document(self, found, body, ended, room, answer::of)
    }

    fn answer(&self, found: &Found, document: Document, room: &mut Room) -> Answer {
        answer::read(found, document, room)
    }

    fn is_answer(&self, _: &Found, root: &Object) -> bool {
        field::object(root, "meta_info").is_some()
    }

    fn stream(&self, found: &Found) -> Box<dyn Stream> {
        Box::new(GenerateStream::new(found))
    }

    fn by_answer(&self, answer: &Payload<'_>) -> Option<Found> {
        let (Payload::Document(root) | Payload::Event(root)) = answer;
        let info = field::object(root, "meta_info")?;
        let own = info.contains_key("finish_reason") && field::nonempty(info, "id").is_some();
        own.then_some(FOUND)
    }
}

/// How answers are to be made: for all prompts, or for each; then the first stands for all.
fn sampling(body: &Object) -> Option<&Object> {
    match body.get("sampling_params")? {
        Value::Array(list) => list.first()?.as_object(),
        other => other.as_object(),
    }
}
