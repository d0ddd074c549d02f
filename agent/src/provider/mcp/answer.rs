//! Messages that a server answers with: one document, or the one of an event stream that is an
//! answer, after notifications and requests of its own.

use crate::model::call::{CallError, CallResponse, Operation};
use crate::model::exchange::SseEvent;
use crate::model::mcp::McpResponse;
use crate::provider::content;
use crate::provider::error;
use crate::provider::json::field;
use crate::provider::json::{self, Object};
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::Room;
use serde_json::Value;

/// A tool that says itself that it failed (semconv 7).
const TOOL_ERROR: &str = "tool_error";

/// Whether a message answers a request.
pub(super) fn is_response(root: &Object) -> bool {
    field::str(root, "jsonrpc").is_some()
        && !root.contains_key("method")
        && (root.contains_key("result") || field::is_set(root, "error"))
}

/// Reads an answer.
pub(super) fn read(operation: Operation, mut root: Object, room: &mut Room) -> Answer {
    let mut mcp = McpResponse::default();
    let mut failed = None;
    if let Some(told) = root.get("error").filter(|e| !e.is_null()) {
        mcp.code = told.get("code").and_then(field::as_int);
        failed = Some(error::of_event(told));
    }
    if let Some(Value::Object(mut result)) = field::take(&mut root, "result") {
        mcp.protocol_version = field::owned(&result, "protocolVersion");
        if operation == Operation::ExecuteTool {
            if field::is_true(&result, "isError") {
                failed = Some(CallError {
                    kind: TOOL_ERROR.to_owned(),
                    message: said(&result),
                });
            }
            result.remove("_meta");
            mcp.result = Some(content::within(Value::Object(result), room));
        }
    }
    Answer {
        response: CallResponse {
            mcp: Some(Box::new(mcp)),
            ..CallResponse::default()
        },
        error: failed,
        ..Answer::default()
    }
}

/// The first text of a tool's result.
fn said(result: &Object) -> Option<String> {
    let parts = field::list(result, "content")?;
    let text = parts.iter().find_map(|p| p.get("text")?.as_str())?;
    Some(error::bounded(text))
}

/// An answer under way.
#[derive(Debug)]
pub(super) struct MessageStream {
    operation: Operation,
    answer: Option<Box<Answer>>,
}

impl MessageStream {
    pub(super) const fn new(operation: Operation) -> Self {
        Self {
            operation,
            answer: None,
        }
    }
}

impl Stream for MessageStream {
    /// Nothing of it is a chunk of an output: the answer comes as a whole.
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let data = event.data.trim_ascii();
        if data.is_empty() {
            return Seen::Nothing;
        }
        let Some(document) = json::read(data) else {
            return Seen::Broken;
        };
        if self.answer.is_none() && is_response(&document.root) {
            let answer = read(self.operation, document.root, room);
            self.answer = Some(Box::new(answer));
        }
        Seen::Nothing
    }

    fn is_over(&self) -> bool {
        self.answer.is_some()
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        self.answer.map(|a| *a).unwrap_or_default()
    }
}
