//! Cohere's protocols: chat in its two versions, generation of old, embeddings, rerank. Amazon's
//! Bedrock takes the same bodies; vLLM and others imitate rerank.
//!
//! Source: Cohere's API reference, "Chat" (v1, v2), "Streaming", "Generate", "Embed", "Rerank",
//! "Errors".

mod answer;
mod request;
mod stream;
mod stream_v1;
mod usage;

#[cfg(test)]
mod tests;

use super::json::field;
use super::json::{Document, Object};
use super::shape::{Answer, Found, Payload, Shape, Stream};
use super::target::Target;
use super::text::Room;
use crate::model::call::{Api, CallRequest, Operation};
use stream::ChatStream;
use stream_v1::TextStream;

/// Whoever speaks it and is not known by the host.
const PROVIDER: &str = "cohere";

/// Ends of paths. Those without a version are those of gateways and servers that imitate it.
const PATHS: [(&str, Operation, Api); 8] = [
    ("/v2/chat", Operation::Chat, Api::CohereChat),
    ("/v1/chat", Operation::Chat, Api::CohereChatV1),
    (
        "/v1/generate",
        Operation::TextCompletion,
        Api::CohereGenerate,
    ),
    ("/v2/embed", Operation::Embeddings, Api::CohereEmbed),
    ("/v1/embed", Operation::Embeddings, Api::CohereEmbed),
    ("/v2/rerank", Operation::Rerank, Api::CohereRerank),
    ("/v1/rerank", Operation::Rerank, Api::CohereRerank),
    ("/rerank", Operation::Rerank, Api::CohereRerank),
];

/// The shape.
#[derive(Debug)]
pub(super) struct Cohere;

impl Shape for Cohere {
    fn route(&self, target: &Target<'_>) -> Option<Found> {
        let (_, operation, api) = PATHS.iter().find(|(end, ..)| target.posts(end))?;
        Some(Found::new(*operation, *api, PROVIDER))
    }

    fn confirms(&self, found: &Found, body: &Object) -> bool {
        let text = |key: &str| field::str(body, key).is_some();
        let list = |key: &str| field::list(body, key).is_some();
        match found.api {
            Api::CohereChat => list("messages") && text("model"),
            // Chat programs send a `message`, too: there must be more that is Cohere's.
            Api::CohereChatV1 => {
                const OTHERS: [&str; 6] = [
                    "model",
                    "stream",
                    "chat_history",
                    "preamble",
                    "temperature",
                    "tool_results",
                ];
                text("message") && OTHERS.iter().any(|key| field::is_set(body, key))
            }
            Api::CohereGenerate => text("prompt") && !list("messages"),
            Api::CohereEmbed => {
                (list("texts") || list("images") || list("inputs"))
                    && (text("model") || text("input_type"))
            }
            _ => field::is_set(body, "query") && list("documents"),
        }
    }

    fn request(&self, found: &Found, body: Object, room: &mut Room) -> CallRequest {
        request::read(found.api, body, room)
    }

    fn answer(&self, _: &Found, document: Document, room: &mut Room) -> Answer {
        answer::read(document, room)
    }

    fn is_answer(&self, found: &Found, root: &Object) -> bool {
        let has = |key: &str| field::is_set(root, key);
        match found.api {
            Api::CohereChat => field::object(root, "message").is_some() && has("finish_reason"),
            Api::CohereChatV1 => has("text") && has("generation_id"),
            Api::CohereGenerate => field::list(root, "generations").is_some(),
            Api::CohereEmbed => has("embeddings") && has("id"),
            _ => field::list(root, "results").is_some_and(|r| {
                let mut entries = r.iter();
                entries.all(|e| e.get("relevance_score").is_some())
            }),
        }
    }

    fn is_error(&self, root: &Object) -> bool {
        field::str(root, "message").is_some()
    }

    fn failed_id(&self, root: &Object) -> Option<String> {
        field::owned(root, "id")
    }

    fn stream(&self, found: &Found) -> Box<dyn Stream> {
        match found.api {
            Api::CohereChat => Box::<ChatStream>::default(),
            _ => Box::<TextStream>::default(),
        }
    }

    fn by_answer(&self, payload: &Payload<'_>) -> Option<Found> {
        let (Payload::Document(root) | Payload::Event(root)) = payload;
        let has = |key: &str| field::is_set(root, key);
        let (operation, api) = match payload {
            Payload::Document(_) => {
                let v2 = field::object(root, "message").is_some()
                    && field::object(root, "usage").is_some_and(|u| u.contains_key("billed_units"));
                let v1 = has("generation_id") && has("chat_history") && has("text");
                match (v2, v1) {
                    (true, _) => (Operation::Chat, Api::CohereChat),
                    (_, true) => (Operation::Chat, Api::CohereChatV1),
                    _ => return None,
                }
            }
            Payload::Event(_) if has("event_type") && root.contains_key("is_finished") => {
                (Operation::Chat, Api::CohereChatV1)
            }
            Payload::Event(_) => match field::str(root, "type")? {
                "content-start" | "content-delta" | "tool-plan-delta" | "tool-call-start"
                | "tool-call-delta" => (Operation::Chat, Api::CohereChat),
                "message-start" | "message-end" if has("delta") => {
                    (Operation::Chat, Api::CohereChat)
                }
                _ => return None,
            },
        };
        Some(Found::new(operation, api, PROVIDER))
    }
}
