//! Google's protocol for models: generating content and embedding it, by the Gemini API and by
//! Vertex AI. Both name model and manner in the path. What speaks OpenAI's shape at the same hosts
//! (`/v1beta/openai/…`, `…/endpoints/openapi/…`) is of that shape, with Google's name.
//!
//! Source: Gemini API reference, "Generating content", "Embeddings"; Vertex AI's REST reference,
//! `projects.locations.publishers.models` (`generateContent`, `streamGenerateContent`, `predict`),
//! "Text embeddings API"; the Protocol Buffers of both (`google/ai/generativelanguage`,
//! `google/cloud/aiplatform`), whose JSON mapping says what else is to be expected.

mod answer;
mod arguments;
mod embeddings;
mod names;
mod parts;
mod request;
mod stream;
mod usage;

#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;

use super::body::Body;
use super::json::field;
use super::json::{Document, Object};
use super::limits::MAX_NAME_BYTES;
use super::shape::{Answer, Found, Payload, Read, Shape, Stream, read_document};
use super::target::{Target, decode};
use super::text::Room;
use crate::model::call::{Api, CallRequest, Operation};
use names::Enums;
use stream::ContentStream;

/// Whoever speaks it at an unknown host, under paths that only the Gemini API has.
const GEMINI: &str = "gcp.gemini";

/// The same under paths that only Vertex AI has.
const VERTEX: &str = "gcp.vertex_ai";

/// The same when it may be the one or the other.
const EITHER: &str = "gcp.gen_ai";

/// The shape.
#[derive(Debug)]
pub(super) struct Gemini;

impl Shape for Gemini {
    /// Counting tokens, batches, caches and models are no calls.
    fn route(&self, target: &Target<'_>) -> Option<Found> {
        if target.method != "POST" {
            return None;
        }
        let (base, last) = target.path.rsplit_once('/')?;
        let (_, collection) = base.rsplit_once('/').unwrap_or(("", base));
        if !matches!(collection, "models" | "tunedModels" | "endpoints") {
            return None;
        }
        let last = decode(last);
        let (name, verb) = last.rsplit_once(':')?;
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return None;
        }
        let model = match collection {
            "models" => name.to_owned(),
            // Without these words a name does not tell that it is one of the client's own.
            _ => format!("{collection}/{name}"),
        };
        let (operation, api) = match verb {
            "generateContent" | "streamGenerateContent" => {
                (Operation::GenerateContent, Api::GenerateContent)
            }
            "embedContent" | "batchEmbedContents" => (Operation::Embeddings, Api::EmbedContent),
            // The verb of all models; images and what else there is are told apart by the name.
            "predict"
                if name.contains("embedding") && base.ends_with("/publishers/google/models") =>
            {
                (Operation::Embeddings, Api::Predict)
            }
            _ => return None,
        };
        let mut found = Found::new(operation, api, provider(base, collection));
        found.model = Some(model);
        found.stream = verb == "streamGenerateContent";
        Some(found)
    }

    fn confirms(&self, found: &Found, body: &Object) -> bool {
        match found.api {
            Api::EmbedContent => {
                field::is_set(body, "content") || field::list(body, "requests").is_some()
            }
            Api::Predict => field::list(body, "instances").is_some(),
            _ => field::is_set(body, "contents"),
        }
    }

    fn request(&self, found: &Found, body: Object, room: &mut Room) -> CallRequest {
        match found.api {
            Api::GenerateContent => request::read(body, room),
            _ => embeddings::request(&body),
        }
    }

    fn document(&self, found: &Found, body: &Body, ended: bool, room: &mut Room) -> Read {
        if found.operation == Operation::Embeddings
            && let Some(answer) = embeddings::fast(body)
        {
            return Read {
                answer,
                whole: true,
                foreign: false,
            };
        }
        read_document(self, found, body, ended, room)
    }

    fn answer(&self, found: &Found, document: Document, room: &mut Room) -> Answer {
        let Document { root, whole } = document;
        match found.operation {
            Operation::Embeddings => embeddings::answer(&root),
            _ => answer::read(root, enums(found), whole, room),
        }
    }

    fn is_answer(&self, _: &Found, root: &Object) -> bool {
        const MEMBERS: [&str; 7] = [
            "candidates",
            "promptFeedback",
            "usageMetadata",
            "embedding",
            "embeddings",
            "predictions",
            "error",
        ];
        MEMBERS.iter().any(|key| field::is_set(root, key))
    }

    fn stream(&self, found: &Found) -> Box<dyn Stream> {
        Box::new(ContentStream::new(enums(found)))
    }

    /// So it comes unless the query says `alt=sse`, which gives an event stream.
    fn streams_array(&self, found: &Found) -> bool {
        found.stream
    }

    fn by_answer(&self, answer: &Payload<'_>) -> Option<Found> {
        let (Payload::Document(root) | Payload::Event(root)) = answer;
        let own =
            field::list(root, "candidates").is_some() || field::is_set(root, "promptFeedback");
        let told =
            field::object(root, "usageMetadata").is_some() && field::is_set(root, "modelVersion");
        let mut found = Found::new(Operation::GenerateContent, Api::GenerateContent, EITHER);
        found.stream = matches!(answer, Payload::Event(_));
        (own && told).then_some(found)
    }
}

fn provider(base: &str, collection: &str) -> &'static str {
    if base.contains("/publishers/") || collection == "endpoints" {
        VERTEX
    } else if base.contains("/projects/") {
        EITHER
    } else {
        GEMINI
    }
}

/// Whose numbers enumerations have, where they come as numbers.
fn enums(found: &Found) -> Enums {
    if found.provider == GEMINI {
        Enums::Gemini
    } else {
        Enums::Vertex
    }
}
