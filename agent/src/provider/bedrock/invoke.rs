//! Request bodies of invoke.

use super::converse;
use super::family::{self, Family};
use crate::model::call::{CallRequest, Message, Operation, Part};
use crate::provider::content::IMAGE;
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::limits::MAX_ITEMS;
use crate::provider::shape::Found;
use crate::provider::text::Room;
use serde_json::Value;

/// Reads a request's body.
pub(super) fn request(found: &Found, mut body: Object, room: &mut Room) -> CallRequest {
    let Some(family) = family::of(&body) else {
        return CallRequest::default();
    };
    let guardrail = field::object(&body, "amazon-bedrock-guardrailConfig");
    let guardrail_id = guardrail.and_then(|g| field::owned(g, "guardrailIdentifier"));
    let mut request = match (family.of_others(), family) {
        (Some((shape, inner)), _) => shape.request(&inner, body, room),
        (None, Family::Nova) => converse::request(body, room),
        (None, Family::Titan) => titan(&mut body, room),
        (None, Family::Task) => task(found.operation, &mut body, room),
        (None, Family::Prompts) => prompts(&mut body, room),
        (None, _) => prompt(found.operation, &mut body, room),
    };
    request.guardrail_id = request.guardrail_id.or(guardrail_id);
    request
}

fn titan(body: &mut Object, room: &mut Room) -> CallRequest {
    let empty = Object::new();
    let settings = field::object(body, "textGenerationConfig").unwrap_or(&empty);
    let vectors = field::object(body, "embeddingConfig").unwrap_or(&empty);
    let mut request = CallRequest {
        temperature: field::float(settings, "temperature"),
        top_p: field::float(settings, "topP"),
        max_tokens: field::int(settings, "maxTokenCount"),
        stop_sequences: converse::texts(settings, "stopSequences"),
        dimensions: field::int(body, "dimensions")
            .or_else(|| field::int(vectors, "outputEmbeddingLength")),
        encoding_formats: converse::texts(body, "embeddingTypes"),
        ..CallRequest::default()
    };
    let text = field::take_string(body, "inputText");
    let image = field::take_string(body, "inputImage");
    let text = text.map(|t| Part::Text(room.keep(t)));
    let image = image.map(|data| Part::Blob {
        modality: IMAGE,
        mime_type: None,
        content: room.keep(data),
    });
    request.messages = said(text.into_iter().chain(image).collect());
    request
}

/// A text to go on with: Llama, Mistral, Cohere, Jurassic, Anthropic of old, imported models. The
/// spellings of one maker mean nothing else at another's.
fn prompt(operation: Operation, body: &mut Object, room: &mut Room) -> CallRequest {
    let int = |names: &[&str]| names.iter().find_map(|name| field::int(body, name));
    let float = |names: &[&str]| names.iter().find_map(|name| field::float(body, name));
    let mut request = CallRequest {
        temperature: float(&["temperature"]),
        top_p: float(&["top_p", "topP", "p"]),
        top_k: int(&["top_k", "topK", "k"]),
        frequency_penalty: float(&["frequency_penalty"]),
        presence_penalty: float(&["presence_penalty"]),
        max_tokens: int(&[
            "max_gen_len",
            "max_tokens",
            "max_tokens_to_sample",
            "maxTokens",
            "max_new_tokens",
        ]),
        seed: int(&["seed"]),
        choice_count: int(&["num_generations", "numResults", "n"]),
        stop_sequences: ["stop", "stop_sequences", "stopSequences"]
            .iter()
            .find_map(|key| converse::texts(body, key)),
        output_type: (operation == Operation::GenerateContent).then_some("image"),
        ..CallRequest::default()
    };
    let text = field::take_string(body, "prompt");
    let text = text.map(|t| Part::Text(room.keep(t)));
    request.messages = said(text.into_iter().collect());
    request
}

/// A task of Amazon's image models, or of Nova's embeddings: what is asked for lies in a member
/// named after it.
fn task(operation: Operation, body: &mut Object, room: &mut Room) -> CallRequest {
    let mut request = CallRequest::default();
    if let Some(config) = field::object(body, "imageGenerationConfig") {
        request.choice_count = field::int(config, "numberOfImages");
        request.seed = field::int(config, "seed");
    }
    if operation == Operation::GenerateContent {
        request.output_type = Some("image");
    }
    let mut parts = Vec::new();
    for (name, value) in body.iter_mut() {
        let Value::Object(inner) = value else {
            continue;
        };
        if !name.ends_with("Params") {
            continue;
        }
        request.dimensions = request
            .dimensions
            .or_else(|| field::int(inner, "embeddingDimension"));
        match field::take(inner, "text") {
            Some(Value::String(text)) => parts.push(Part::Text(room.keep(text))),
            Some(Value::Object(mut text)) => {
                let value = field::take_string(&mut text, "value");
                parts.extend(value.map(|t| Part::Text(room.keep(t))));
            }
            _ => {}
        }
    }
    request.messages = said(parts);
    request
}

fn prompts(body: &mut Object, room: &mut Room) -> CallRequest {
    let list = field::take_list(body, "text_prompts").unwrap_or_default();
    let parts = list
        .into_iter()
        .take(MAX_ITEMS)
        .filter_map(|prompt| match prompt {
            Value::Object(mut prompt) => field::take_string(&mut prompt, "text"),
            _ => None,
        })
        .map(|text| Part::Text(room.keep(text)))
        .collect();
    CallRequest {
        seed: field::int(body, "seed"),
        choice_count: field::int(body, "samples"),
        output_type: Some("image"),
        messages: said(parts),
        ..CallRequest::default()
    }
}

/// A message of the user's.
fn said(parts: Vec<Part>) -> Vec<Message> {
    if parts.is_empty() {
        return Vec::new();
    }
    vec![Message {
        role: "user".to_owned(),
        parts,
        ..Message::default()
    }]
}
