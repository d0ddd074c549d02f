//! IBM watsonx.ai: text generation and chat, of models and of deployments. What a chat asks and is
//! answered is [`super::openai`]'s but for the names of a few members.
//!
//! Source: IBM's "watsonx.ai Runtime API" reference, "Text Generation", "Text Chat", "Infer text of
//! a deployment", and their streams; `/ml/v1-beta/generation/text` is what they were at first.

mod generation;
mod stream;

#[cfg(test)]
mod tests;

use super::error;
use super::json::field;
use super::json::{Document, Object};
use super::openai::OpenAi;
use super::shape::{Answer, Found, Payload, Shape, Stream};
use super::target::Target;
use super::text::Room;
use crate::model::call::{Api, CallError, CallRequest, Operation};
use serde_json::Value;
use stream::{ChatEvents, GenerationStream};

/// Whoever speaks it and is not known by the host.
const PROVIDER: &str = "ibm.watsonx.ai";

/// What a chat is to the shape that reads it.
const CHAT: Found = Found::new(Operation::Chat, Api::ChatCompletions, PROVIDER);

/// The shape.
#[derive(Debug)]
pub(super) struct Watsonx;

const fn found(chat: bool) -> Found {
    if chat {
        Found::new(Operation::Chat, Api::WatsonxChat, PROVIDER)
    } else {
        Found::new(Operation::TextCompletion, Api::WatsonxGeneration, PROVIDER)
    }
}

impl Shape for Watsonx {
    fn route(&self, target: &Target<'_>) -> Option<Found> {
        if target.method != "POST" || !target.path.contains("/ml/v1") {
            return None;
        }
        let (base, last) = target.path.rsplit_once('/')?;
        let (_, before) = base.rsplit_once('/')?;
        let (chat, stream) = match (before, last) {
            ("text", "generation") | ("generation", "text") => (false, false),
            ("text", "generation_stream") | ("generation", "text_stream") => (false, true),
            ("text", "chat") => (true, false),
            ("text", "chat_stream") => (true, true),
            _ => return None,
        };
        // A deployment stands for a model, and its requests name none.
        Some(Found {
            stream,
            model: target.segment_after("/deployments/"),
            ..found(chat)
        })
    }

    fn confirms(&self, found: &Found, body: &Object) -> bool {
        let deployed = found.model.is_some();
        let named = deployed || field::str(body, "model_id").is_some();
        let asks = match found.api {
            Api::WatsonxChat => field::list(body, "messages").is_some(),
            // A deployed prompt has its text at the server's.
            _ => {
                field::str(body, "input").is_some()
                    || (deployed && field::object(body, "parameters").is_some())
            }
        };
        named && asks
    }

    fn request(&self, found: &Found, mut body: Object, room: &mut Room) -> CallRequest {
        if found.api != Api::WatsonxChat {
            return generation::request(body, room);
        }
        rename(&mut body);
        OpenAi.request(&CHAT, body, room)
    }

    fn answer(&self, found: &Found, mut document: Document, room: &mut Room) -> Answer {
        if let Some(failed) = failure(&document.root) {
            return Answer {
                error: Some(failed),
                ..Answer::default()
            };
        }
        if found.api != Api::WatsonxChat {
            return generation::answer(document, room);
        }
        rename(&mut document.root);
        OpenAi.answer(&CHAT, document, room)
    }

    fn is_answer(&self, found: &Found, root: &Object) -> bool {
        self.by_answer(&Payload::Document(root))
            .is_some_and(|own| own.api == found.api)
    }

    fn is_error(&self, root: &Object) -> bool {
        failure(root).is_some()
    }

    fn error(&self, status: u16, document: Option<&Object>, body: &[u8]) -> CallError {
        match document.and_then(failure) {
            Some(mut failed) => {
                if failed.kind == error::OTHER {
                    failed.kind = status.to_string();
                }
                failed
            }
            None => error::of_status(status, document, body),
        }
    }

    fn stream(&self, found: &Found) -> Box<dyn Stream> {
        match found.api {
            Api::WatsonxChat => Box::new(ChatEvents::new(OpenAi.stream(&CHAT))),
            _ => Box::<GenerationStream>::default(),
        }
    }

    fn by_answer(&self, answer: &Payload<'_>) -> Option<Found> {
        let (Payload::Document(root) | Payload::Event(root)) = answer;
        field::str(root, "model_id")?;
        let first = |key: &str| field::list(root, key)?.first()?.as_object();
        if first("results").is_some_and(|r| field::str(r, "generated_text").is_some()) {
            return Some(found(false));
        }
        // The last event of a chat has no choice any more.
        field::list(root, "choices").map(|_| found(true))
    }
}

/// Names the model as OpenAI does.
fn rename(body: &mut Object) {
    if !field::is_set(body, "model")
        && let Some(model) = field::take(body, "model_id")
    {
        body.insert("model".to_owned(), model);
    }
}

/// `{"errors": [{"code", "message"}], "trace", "status_code"}`. The kind is never empty.
fn failure(root: &Object) -> Option<CallError> {
    let first = field::list(root, "errors")?.first()?;
    matches!(first, Value::Object(_)).then(|| error::of_event(first))
}
