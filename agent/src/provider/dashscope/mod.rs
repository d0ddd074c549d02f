//! DashScope's own protocol (Alibaba Cloud Model Studio, Bailian): generation, embeddings,
//! reranking, tasks (images, video, speech), applications. Its compatible modes are the shapes of
//! `openai` and `anthropic` at its hosts.
//!
//! Source: Model Studio's API reference ("Qwen API reference: DashScope", "Embedding", "Text
//! rerank", "Image generation", "Application calling") and the `dashscope` library, 1.14 and 2.0.

mod answer;
mod content;
mod error;
mod request;
mod socket;
mod socket_task;
mod stream;
mod usage;

#[cfg(test)]
mod socket_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod task_tests;
#[cfg(test)]
mod tests;

use super::json::field;
use super::json::{Document, Object};
use super::open::Verdict;
use super::shape::{Answer, Found, Payload, Shape, Stream};
use super::target::{Target, decode};
use super::tasks::TaskStep;
use super::text::Room;
use crate::model::call::{Api, CallError, CallRequest, Operation};
pub(super) use socket::Inference;
use stream::GenerationStream;

/// Whoever speaks it and is not known by the host.
const PROVIDER: &str = "dashscope";

/// Lengths of ids of tasks: they are UUIDs, with or without dashes.
const TASK_ID: std::ops::RangeInclusive<usize> = 32..=36;

/// The shape.
#[derive(Debug)]
pub(super) struct DashScope;

impl Shape for DashScope {
    fn request_headers(&self) -> &'static [&'static str] {
        &["accept", "x-dashscope-sse"]
    }

    fn route(&self, target: &Target<'_>) -> Option<Found> {
        let path = target.path;
        if let Some(step) = task_step(target) {
            let mut found = Found::new(Operation::GenerateContent, Api::DashScope, PROVIDER);
            found.bodyless = Some(Verdict::Unknown);
            found.task = Some(step);
            return Some(found);
        }
        if target.method != "POST" {
            return None;
        }
        let (operation, api) = if path.ends_with("/services/aigc/text-generation/generation")
            || path.ends_with("/services/aigc/multimodal-generation/generation")
        {
            (Operation::Chat, Api::DashScope)
        } else if path.contains("/services/embeddings/") {
            (Operation::Embeddings, Api::DashScopeEmbeddings)
        } else if path.contains("/services/rerank/") {
            (Operation::Rerank, Api::DashScopeRerank)
        } else if path.contains("/services/aigc/") || path.contains("/services/audio/") {
            (Operation::GenerateContent, Api::DashScope)
        } else if path.ends_with("/completion") && path.contains("/apps/") {
            (Operation::InvokeAgent, Api::DashScopeApp)
        } else {
            return None;
        };
        let mut found = Found::new(operation, api, PROVIDER);
        if api == Api::DashScopeApp {
            let agent = target.segment_after("/apps/")?;
            if !path.ends_with(&format!("/apps/{agent}/completion")) {
                return None;
            }
            found.agent = Some(agent);
        }
        found.makes = makes(path);
        found.stream = target.headers.get("x-dashscope-sse") == Some("enable")
            || target.headers.get("accept") == Some("text/event-stream");
        Some(found)
    }

    fn confirms(&self, found: &Found, body: &Object) -> bool {
        match found.api {
            Api::DashScopeApp => field::object(body, "input").is_some(),
            api => {
                let sends = field::is_set(body, "input")
                    || (api == Api::DashScope && field::is_set(body, "messages"));
                sends && field::str(body, "model").is_some()
            }
        }
    }

    fn refine(&self, found: &mut Found, body: &Object) {
        // Speech is made on the path of conversations.
        let input = field::object(body, "input");
        let speaks = input.is_some_and(|i| {
            field::is_set(i, "text") && !field::is_set(i, "messages") && !field::is_set(i, "prompt")
        });
        if speaks && found.operation == Operation::Chat {
            found.operation = Operation::GenerateContent;
        }
        let parameters = field::object(body, "parameters");
        let told = parameters.and_then(|p| p.get("incremental_output")?.as_bool());
        // Most models send the text so far unless told otherwise, but some do not.
        found.cumulative = told.map(|incremental| !incremental);
    }

    fn request(&self, found: &Found, body: Object, room: &mut Room) -> CallRequest {
        request::read(found, body, room)
    }

    fn answer(&self, found: &Found, document: Document, room: &mut Room) -> Answer {
        answer::read(found, document, room)
    }

    fn is_answer(&self, found: &Found, root: &Object) -> bool {
        let output = field::object(root, "output");
        match found.task {
            Some(_) => output
                .is_some_and(|o| field::is_set(o, "task_id") && field::is_set(o, "task_status")),
            None => output.is_some() && field::is_set(root, "request_id"),
        }
    }

    fn is_error(&self, root: &Object) -> bool {
        field::is_set(root, "code") && field::is_set(root, "request_id")
    }

    fn error(&self, status: u16, document: Option<&Object>, body: &[u8]) -> CallError {
        error::of_status(status, document, body)
    }

    fn failed_id(&self, root: &Object) -> Option<String> {
        field::owned(root, "request_id")
    }

    fn stream(&self, found: &Found) -> Box<dyn Stream> {
        Box::new(GenerationStream::new(found.cumulative))
    }

    fn by_answer(&self, answer: &Payload<'_>) -> Option<Found> {
        let (Payload::Document(root) | Payload::Event(root)) = answer;
        let output = field::object(root, "output")?;
        let fits = field::str(root, "request_id").is_some()
            && field::object(root, "usage").is_some()
            && (field::list(output, "choices").is_some() || field::str(output, "text").is_some())
            && !field::is_set(output, "session_id");
        fits.then(|| Found::new(Operation::Chat, Api::DashScope, PROVIDER))
    }
}

/// What is made behind a path, where that is one of the conventions' types.
fn makes(path: &str) -> Option<&'static str> {
    if path.contains("image-synthesis") || path.contains("/image-generation/") {
        Some("image")
    } else if path.contains("/services/audio/tts/") {
        Some("speech")
    } else {
        None
    }
}

/// `GET …/api/v1/tasks/{id}`, `POST …/api/v1/tasks/{id}/cancel`.
fn task_step(target: &Target<'_>) -> Option<TaskStep> {
    let (base, id, step): (_, _, fn(String) -> TaskStep) = match target.method {
        "GET" => {
            let (base, id) = target.path.rsplit_once('/')?;
            (base, id, TaskStep::Poll)
        }
        "POST" => {
            let path = target.path.strip_suffix("/cancel")?;
            let (base, id) = path.rsplit_once('/')?;
            (base, id, TaskStep::Cancel)
        }
        _ => return None,
    };
    let id = decode(id);
    let fits = base.ends_with("/api/v1/tasks")
        && TASK_ID.contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    fits.then(|| step(id))
}
