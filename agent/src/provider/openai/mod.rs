//! OpenAI's protocols: chat completions, responses, legacy completions, embeddings. Many others
//! speak them too, more or less exactly.

mod answer;
mod choice;
mod chunk;
mod embeddings;
mod finish;
mod item;
pub(super) mod messages;
pub(super) mod parts;
mod repeated;
mod request;
mod responses_input;
mod responses_output;
mod server_tools;
mod stream_chat;
mod stream_responses;
pub(super) mod tools;
pub(super) mod usage;

#[cfg(test)]
mod hosted_tests;
#[cfg(test)]
mod tests;

use super::body::Body;
use super::hosts;
use super::json::field;
use super::json::{Document, Object};
use super::open::Verdict;
use super::shape::{Answer, Found, Payload, Read, Shape, Stream, read_document};
use super::target::{Target, decode};
use super::text::Room;
use crate::model::call::{Api, CallRequest, CallResponse, Operation};
use crate::model::exchange::Headers;
use stream_chat::ChatStream;
use stream_responses::ResponsesStream;

/// Who takes chats at a path that others have for their own programs' chats.
const WRITER: &str = "writer";

/// Longest id that is fetched.
const MAX_FETCH_ID: usize = 512;

/// The shape.
#[derive(Debug)]
pub(super) struct OpenAi;

impl Shape for OpenAi {
    fn response_headers(&self) -> &'static [&'static str] {
        &["x-ms-served-model"]
    }

    fn route(&self, target: &Target<'_>) -> Option<Found> {
        match target.method {
            "POST" => posted(target),
            "GET" => fetched(target),
            _ => None,
        }
    }

    fn confirms(&self, found: &Found, body: &Object) -> bool {
        const CHAT: &[&str] = &["model", "messages"];
        const RESPONSES: &[&str] = &["model", "input", "previous_response_id", "conversation"];
        const COMPLETIONS: &[&str] = &["model", "prompt"];
        // Ollama's own API has the same path, and `prompt`.
        const EMBEDDINGS: &[&str] = &["input"];
        let any = match found.api {
            Api::Responses => RESPONSES,
            Api::Completions => COMPLETIONS,
            Api::Embeddings => EMBEDDINGS,
            _ => CHAT,
        };
        if found.provider == WRITER {
            return field::str(body, "model").is_some() && field::list(body, "messages").is_some();
        }
        // The path of a deployment is the model.
        let deployed = found.fixed && found.model.is_some();
        deployed || any.iter().any(|key| field::is_set(body, key))
    }

    fn request(&self, found: &Found, body: Object, room: &mut Room) -> CallRequest {
        let agent = match found.operation {
            Operation::InvokeAgent => field::owned(&body, "agent_id"),
            _ => None,
        };
        let mut request = request::read(found.api, body, room);
        request.agent_id = agent;
        request
    }

    fn document(&self, found: &Found, body: &Body, ended: bool, room: &mut Room) -> Read {
        if found.api == Api::Embeddings {
            let (answer, whole) = embeddings::read(body, ended).unwrap_or_default();
            return Read {
                answer,
                whole,
                foreign: false,
            };
        }
        read_document(self, found, body, ended, room)
    }

    fn answer(&self, found: &Found, document: Document, room: &mut Room) -> Answer {
        answer::read(found.operation, found.api, document, room)
    }

    fn is_answer(&self, _: &Found, root: &Object) -> bool {
        root.contains_key("object")
    }

    fn stream(&self, found: &Found) -> Box<dyn Stream> {
        match found.api {
            Api::Responses => Box::new(ResponsesStream::new(found.operation)),
            _ => Box::<ChatStream>::default(),
        }
    }

    fn headers(&self, response: &mut CallResponse, headers: &Headers) {
        if let Some(model) = headers.get("x-ms-served-model").filter(|m| !m.is_empty()) {
            response.model = Some(model.to_owned());
        }
    }

    fn by_answer(&self, answer: &Payload<'_>) -> Option<Found> {
        let (operation, api) = match answer {
            Payload::Event(root) => of_event(root)?,
            Payload::Document(root) => of_document(root)?,
        };
        Some(Found::new(operation, api, hosts::OPENAI))
    }
}

/// What call the event of a stream is of, when it says so itself.
fn of_event(root: &Object) -> Option<(Operation, Api)> {
    match field::str(root, "object") {
        Some("chat.completion.chunk") => Some((Operation::Chat, Api::ChatCompletions)),
        Some("text_completion") => Some((Operation::TextCompletion, Api::Completions)),
        _ => field::str(root, "type")
            .filter(|kind| kind.starts_with("response."))
            .map(|_| (Operation::Chat, Api::Responses)),
    }
}

/// What call a document answers, when it says so itself. That a response was fetched, not made,
/// it does not say.
fn of_document(root: &Object) -> Option<(Operation, Api)> {
    let first_is_embedding = || {
        let first = field::list(root, "data")?.first()?.as_object()?;
        Some(field::str(first, "object") == Some("embedding"))
    };
    match field::str(root, "object")? {
        "chat.completion" => Some((Operation::Chat, Api::ChatCompletions)),
        "text_completion" => Some((Operation::TextCompletion, Api::Completions)),
        "response" => Some((Operation::Chat, Api::Responses)),
        "list" if first_is_embedding() == Some(true) => {
            Some((Operation::Embeddings, Api::Embeddings))
        }
        _ => None,
    }
}

fn posted(target: &Target<'_>) -> Option<Found> {
    let path = target.path;
    let (operation, api) = if path.ends_with("/chat/completions") {
        (Operation::Chat, Api::ChatCompletions)
    } else if path.ends_with("/agents/completions") {
        // Mistral; its `/fim/completions` is one of the next.
        (Operation::InvokeAgent, Api::ChatCompletions)
    } else if path.ends_with("/v1/chat") {
        return Some(Found::new(Operation::Chat, Api::ChatCompletions, WRITER));
    } else if path.ends_with("/completions") {
        (Operation::TextCompletion, Api::Completions)
    } else if path.ends_with("/responses") {
        (Operation::Chat, Api::Responses)
    } else if path.ends_with("/embeddings") {
        (Operation::Embeddings, Api::Embeddings)
    } else {
        return None;
    };
    let mut found = Found::new(operation, api, provider(target));
    found.model = target.segment_after("/openai/deployments/");
    if found.model.is_some() {
        found.fixed = true;
        found.provider = hosts::AZURE_OPENAI;
    } else {
        found.model = target.segment_after("/engines/");
    }
    Some(found)
}

fn fetched(target: &Target<'_>) -> Option<Found> {
    let (base, id) = target.path.rsplit_once('/')?;
    if !base.ends_with("/responses") || id.is_empty() || id.len() > MAX_FETCH_ID {
        return None;
    }
    let id = decode(id);
    // OpenAI gives such ids to responses.
    let known = id.starts_with("resp_") || id.starts_with("resp-");
    let mut found = Found::new(Operation::FetchResponse, Api::Responses, provider(target));
    found.bodyless = Some(if known {
        Verdict::Call
    } else {
        Verdict::Unknown
    });
    found.fetch_id = Some(id);
    found.stream = target.parameter("stream").as_deref() == Some("true");
    found.cursor = target.parameter("starting_after");
    Some(found)
}

/// A gateway in front of Azure keeps the parameter that only Azure knows.
fn provider(target: &Target<'_>) -> &'static str {
    match target.parameter("api-version") {
        Some(_) => hosts::AZURE_OPENAI,
        None => hosts::OPENAI,
    }
}
