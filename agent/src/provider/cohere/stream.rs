//! Streamed chat of the second version: events are merged into one answer.

use super::{answer, usage};
use crate::model::call::{CallError, CallResponse, Part};
use crate::model::exchange::SseEvent;
use crate::provider::content;
use crate::provider::error;
use crate::provider::json::field;
use crate::provider::json::{self, Object};
use crate::provider::limits::{MAX_ITEMS, MAX_TOOL_CALLS};
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::{Growing, Room};
use serde_json::Value;

/// An answer under way.
#[derive(Debug, Default)]
pub(super) struct ChatStream {
    response: CallResponse,
    role: Option<String>,
    plan: Growing,
    contents: Vec<Content>,
    calls: Vec<Call>,
    reason: Option<String>,
    error: Option<CallError>,
    too_many: bool,
    over: bool,
}

/// A block of content under way.
#[derive(Debug)]
struct Content {
    index: i64,
    thinking: bool,
    text: Growing,
}

/// A call of a tool under way.
#[derive(Debug)]
struct Call {
    index: i64,
    id: Option<String>,
    name: String,
    arguments: Growing,
}

impl ChatStream {
    fn read(&mut self, kind: &str, root: &Object, room: &mut Room) -> Seen {
        let index = field::int(root, "index").unwrap_or(0);
        let delta = field::object(root, "delta");
        let message = delta.and_then(|d| field::object(d, "message"));
        match kind {
            "message-start" => {
                self.response.id = field::owned(root, "id");
                self.role = message.and_then(|m| field::owned(m, "role"));
                return Seen::Chunk { output: false };
            }
            "content-start" | "content-delta" => {
                if let Some(piece) = message.and_then(|m| field::object(m, "content")) {
                    self.content(index, piece, room);
                }
            }
            "tool-plan-delta" => {
                if let Some(piece) = message.and_then(|m| field::str(m, "tool_plan")) {
                    self.plan.push(piece, room);
                }
            }
            "tool-call-start" | "tool-call-delta" => {
                // One call, which early servers put into a list.
                let calls = message.and_then(|m| m.get("tool_calls"));
                let first = |v: &'_ Value| v.get(0).and_then(Value::as_object).cloned();
                let call = calls.and_then(|c| c.as_object().cloned().or_else(|| first(c)));
                if let Some(call) = call {
                    self.call(index, &call, room);
                }
            }
            "message-end" => {
                self.end(root, delta);
                return Seen::Chunk { output: false };
            }
            _ => return Seen::Chunk { output: false },
        }
        Seen::Chunk { output: true }
    }

    fn content(&mut self, index: i64, piece: &Object, room: &mut Room) {
        let at = self.contents.iter().position(|c| c.index == index);
        let at = match at {
            Some(at) => at,
            None if self.contents.len() >= MAX_ITEMS => {
                self.too_many = true;
                return;
            }
            None => {
                self.contents.push(Content {
                    index,
                    thinking: false,
                    text: Growing::default(),
                });
                self.contents.len() - 1
            }
        };
        let Some(content) = self.contents.get_mut(at) else {
            return;
        };
        if let Some(thought) = field::str(piece, "thinking") {
            content.thinking = true;
            content.text.push(thought, room);
        } else if let Some(text) = field::str(piece, "text") {
            content.text.push(text, room);
        }
    }

    fn call(&mut self, index: i64, piece: &Object, room: &mut Room) {
        let function = field::object(piece, "function");
        let name = function.and_then(|f| field::nonempty(f, "name"));
        let at = self.calls.iter().position(|c| c.index == index);
        let at = match at {
            Some(at) => at,
            None if self.calls.len() >= MAX_TOOL_CALLS => {
                self.too_many = true;
                return;
            }
            None => {
                self.calls.push(Call {
                    index,
                    id: None,
                    name: String::new(),
                    arguments: Growing::default(),
                });
                self.calls.len() - 1
            }
        };
        let Some(call) = self.calls.get_mut(at) else {
            return;
        };
        call.id = call.id.take().or_else(|| field::owned(piece, "id"));
        if call.name.is_empty() {
            name.unwrap_or_default().clone_into(&mut call.name);
        }
        if let Some(more) = function.and_then(|f| field::str(f, "arguments")) {
            call.arguments.push(more, room);
        }
    }

    fn end(&mut self, root: &Object, delta: Option<&Object>) {
        self.over = true;
        let Some(delta) = delta else { return };
        self.response.id = self.response.id.take().or_else(|| field::owned(root, "id"));
        self.reason = field::owned(delta, "finish_reason");
        if let Some(counts) = field::object(delta, "usage") {
            self.response.usage = usage::read(counts);
        }
        if let Some(failed) = delta.get("error").filter(|e| !e.is_null()) {
            self.error = Some(error::of_event(failed));
        }
    }
}

impl Stream for ChatStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let data = event.data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return Seen::Nothing;
        }
        let Some(document) = json::read(data) else {
            return Seen::Broken;
        };
        let root = document.root;
        let kind = field::str(&root, "type").unwrap_or(event.event).to_owned();
        if kind == "error" || (kind.is_empty() && field::str(&root, "message").is_some()) {
            self.error = Some(error::of_event(&Value::Object(root)));
            return Seen::Chunk { output: false };
        }
        self.read(&kind, &root, room)
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn id(&self) -> Option<&str> {
        self.response.id.as_deref()
    }

    fn finish(self: Box<Self>, room: &mut Room) -> Answer {
        let mut this = *self;
        this.contents.sort_by_key(|c| c.index);
        this.calls.sort_by_key(|c| c.index);
        let mut parts = Vec::new();
        if !this.plan.is_empty() {
            parts.push(Part::Reasoning(this.plan.into_text()));
        }
        for call in this.calls {
            let text = call.arguments.into_text().kept;
            // Its bytes were counted when they came.
            room.0 = room.0.saturating_add(text.len());
            parts.push(Part::ToolCall {
                id: call.id,
                name: call.name,
                arguments: content::arguments(text, room),
            });
        }
        for content in this.contents {
            match (content.thinking, content.text.seen) {
                (true, _) => parts.push(Part::Reasoning(content.text.into_text())),
                (false, true) => parts.push(Part::Text(content.text.into_text())),
                (false, false) => {}
            }
        }
        let mut response = this.response;
        if !parts.is_empty() || this.reason.is_some() {
            close_cut(&mut response, this.role, parts, this.reason);
        }
        Answer {
            response,
            error: this.error,
            too_many: this.too_many,
            ..Answer::default()
        }
    }
}

/// Puts in what came of a message that may not have come to its end.
pub(super) fn close_cut(
    response: &mut CallResponse,
    role: Option<String>,
    parts: Vec<Part>,
    reason: Option<String>,
) {
    let cut = reason.is_none();
    answer::close(response, role, parts, reason, false);
    if let (true, Some(message)) = (cut, response.messages.last_mut()) {
        message.finish_reason = Some("error".to_owned());
    }
}
