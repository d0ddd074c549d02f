//! The own API of llama.cpp's server: `/completion`, and `/infill` for the middle of a text. What
//! it speaks under `/v1` is [`super::openai`]'s.
//!
//! Source: llama.cpp, `tools/server/README.md`, "POST /completion", "POST /infill".

mod answer;

#[cfg(test)]
mod tests;

use super::body::Body;
use super::json::field;
use super::json::{Document, Object};
use super::prompted::{self, Answers};
use super::shape::{Answer, Found, Payload, Read, Shape, Stream};
use super::target::Target;
use super::text::Room;
use crate::model::call::{Api, CallRequest, Message, Operation};
use answer::ContentStream;
use serde_json::Value;

/// Who speaks it.
const PROVIDER: &str = "llama_cpp";

/// The shape.
#[derive(Debug)]
pub(super) struct LlamaCpp;

const FOUND: Found = Found::new(Operation::TextCompletion, Api::LlamaCppCompletion, PROVIDER);

/// Members of a request that are nobody else's.
const OWN: [&str; 18] = [
    "n_predict",
    "cache_prompt",
    "id_slot",
    "slot_id",
    "n_keep",
    "n_probs",
    "repeat_penalty",
    "repeat_last_n",
    "tfs_z",
    "typical_p",
    "mirostat",
    "dry_multiplier",
    "grammar",
    "samplers",
    "penalize_nl",
    "return_tokens",
    "timings_per_token",
    "input_prefix",
];

impl Shape for LlamaCpp {
    /// Below `/apps/` it is DashScope's word.
    fn route(&self, target: &Target<'_>) -> Option<Found> {
        let own = target.posts("/completion") && !target.path.contains("/apps/");
        (own || target.posts("/infill")).then_some(FOUND)
    }

    /// The path and `prompt` are common words: there must be more that is llama.cpp's.
    fn confirms(&self, _: &Found, body: &Object) -> bool {
        let prompt = field::is_set(body, "prompt") || field::str(body, "input_prefix").is_some();
        prompt && OWN.iter().any(|key| body.contains_key(*key))
    }

    fn refine(&self, found: &mut Found, body: &Object) {
        found.prompts = match body.get("prompt") {
            // A list of tokens, or of texts and tokens, is one prompt.
            Some(Value::Array(list)) if !list.iter().any(Value::is_number) => Some(list.len()),
            _ => Some(1),
        };
        found.samples = u32::try_from(samples(body).unwrap_or(1)).ok();
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
            // Less than none is a random one.
            seed: field::int(&body, "seed").filter(|n| *n >= 0),
            choice_count: samples(&body),
            stop_sequences: prompted::stops(body.get("stop")),
            output_type: schema.then_some("json"),
            messages: prompts(&mut body, room),
            ..CallRequest::default()
        }
    }

    fn document(&self, found: &Found, body: &Body, ended: bool, room: &mut Room) -> Read {
        prompted::document(self, found, body, ended, room, answer::of)
    }

    fn answer(&self, found: &Found, document: Document, room: &mut Room) -> Answer {
        answer::of(found, Answers::one(document), room)
    }

    fn is_answer(&self, _: &Found, root: &Object) -> bool {
        answer::is_own(root)
    }

    fn stream(&self, found: &Found) -> Box<dyn Stream> {
        Box::new(ContentStream::new(found))
    }

    fn by_answer(&self, answer: &Payload<'_>) -> Option<Found> {
        let (Payload::Document(root) | Payload::Event(root)) = answer;
        let slot = field::is_set(root, "id_slot") || field::is_set(root, "slot_id");
        (answer::is_own(root) && slot).then_some(FOUND)
    }
}

/// How many answers each prompt is to have.
fn samples(body: &Object) -> Option<i64> {
    field::int(body, "n_cmpl").or_else(|| field::int(body, "n"))
}

/// The prompts, or what stands before and behind the text that is asked for.
fn prompts(body: &mut Object, room: &mut Room) -> Vec<Message> {
    let ends = ["input_prefix", "input_suffix"].map(|key| field::take_string(body, key));
    let prompt = field::take(body, "prompt").filter(|prompt| *prompt != "");
    let mut all = prompted::prompts(prompt, room);
    let ends = ends.into_iter().flatten().map(Value::String).collect();
    all.extend(prompted::prompts(Some(Value::Array(ends)), room));
    all
}
