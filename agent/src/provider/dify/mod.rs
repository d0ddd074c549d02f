//! Dify's service API: applications that chat or complete, and workflows. The web console speaks
//! the same under other prefixes.
//!
//! Source: Dify's API documents, "Send Chat Message", "Create Completion Message", "Execute
//! Workflow" and their lists of streamed events.

mod answer;
mod request;
mod stream;

#[cfg(test)]
mod tests;

use super::json::field;
use super::json::{Document, Object};
use super::shape::{Answer, Found, Payload, Shape, Stream};
use super::target::Target;
use super::text::Room;
use crate::model::call::{Api, CallRequest, Operation};
use stream::EventStream;

/// Whoever speaks it and is not known by the host.
const PROVIDER: &str = "dify";

/// The shape.
#[derive(Debug)]
pub(super) struct Dify;

impl Shape for Dify {
    /// Stopping a run, feedback, history and files have other paths or methods.
    fn route(&self, target: &Target<'_>) -> Option<Found> {
        let mut found = if target.posts("/chat-messages") {
            Found::new(Operation::InvokeAgent, Api::DifyChat, PROVIDER)
        } else if target.posts("/completion-messages") {
            Found::new(Operation::InvokeAgent, Api::DifyCompletion, PROVIDER)
        } else if is_run(target) {
            Found::new(Operation::InvokeWorkflow, Api::DifyWorkflow, PROVIDER)
        } else {
            return None;
        };
        // The console names the application.
        found.agent = target.segment_after("/apps/");
        Some(found)
    }

    fn confirms(&self, found: &Found, body: &Object) -> bool {
        let has = |key: &str| field::is_set(body, key);
        let asks = match found.api {
            Api::DifyChat => has("query"),
            _ => field::object(body, "inputs").is_some(),
        };
        asks && (has("response_mode") || has("user") || has("inputs"))
    }

    fn request(&self, found: &Found, body: Object, room: &mut Room) -> CallRequest {
        request::read(found.api, body, room)
    }

    fn answer(&self, found: &Found, document: Document, room: &mut Room) -> Answer {
        answer::read(found.api, document.root, document.whole, room)
    }

    fn is_answer(&self, found: &Found, root: &Object) -> bool {
        match found.api {
            Api::DifyWorkflow => is_workflow(root),
            _ => field::str(root, "answer").is_some(),
        }
    }

    fn is_error(&self, root: &Object) -> bool {
        field::str(root, "code").is_some() && field::str(root, "message").is_some()
    }

    fn stream(&self, found: &Found) -> Box<dyn Stream> {
        Box::new(EventStream::new(found.api))
    }

    fn by_answer(&self, answer: &Payload<'_>) -> Option<Found> {
        let has = |root: &Object, key: &str| field::str(root, key).is_some();
        let workflow = match answer {
            Payload::Document(root) if is_workflow(root) => true,
            Payload::Document(root) | Payload::Event(root) => {
                let event = field::str(root, "event")?;
                let known = stream::EVENTS.contains(&event) && has(root, "task_id");
                if !known {
                    return None;
                }
                // Whatever belongs to a conversation names it.
                !has(root, "conversation_id") && has(root, "workflow_run_id")
            }
        };
        let (operation, api) = if workflow {
            (Operation::InvokeWorkflow, Api::DifyWorkflow)
        } else {
            (Operation::InvokeAgent, Api::DifyChat)
        };
        Some(Found::new(operation, api, PROVIDER))
    }
}

/// `…/workflows/run`, and of one version `…/workflows/{id}/run`.
fn is_run(target: &Target<'_>) -> bool {
    let Some(base) = target.path.strip_suffix("/run") else {
        return false;
    };
    let version = base.rsplit_once('/').map(|(before, _)| before);
    let ends = |path: &str| path.ends_with("/workflows");
    target.method == "POST" && (ends(base) || version.is_some_and(ends))
}

/// Whether a document is the answer of a workflow.
fn is_workflow(root: &Object) -> bool {
    field::str(root, "workflow_run_id").is_some()
        && field::object(root, "data").is_some_and(|d| field::str(d, "status").is_some())
}
