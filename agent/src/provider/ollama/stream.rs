//! Answers that come line by line.

use super::{answer, request};
use crate::model::call::{CallError, CallResponse, Part};
use crate::model::exchange::SseEvent;
use crate::provider::error;
use crate::provider::json;
use crate::provider::json::borrowed::Str;
use crate::provider::json::field;
use crate::provider::limits::MAX_TOOL_CALLS;
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::{Growing, Room};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// Nearly every line is one of these: borrowed.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(borrow, default)]
    message: Option<Piece<'a>>,
    #[serde(borrow, default)]
    response: Option<Str<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Str<'a>>,
    done: bool,
    #[serde(default)]
    error: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Piece<'a> {
    #[serde(borrow, default)]
    role: Option<Str<'a>>,
    #[serde(borrow, default)]
    content: Option<Str<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Str<'a>>,
    #[serde(default)]
    tool_calls: Option<IgnoredAny>,
}

/// An answer under way.
#[derive(Debug, Default)]
pub(super) struct LineStream {
    response: CallResponse,
    role: Option<String>,
    content: Growing,
    thinking: Growing,
    tools: Vec<Part>,
    reason: Option<String>,
    error: Option<CallError>,
    too_many: bool,
    over: bool,
}

impl LineStream {
    /// A line with a piece of text and nothing else; `None` when it is none.
    fn piece(&mut self, data: &[u8], room: &mut Room) -> Option<Seen> {
        let text = std::str::from_utf8(data).ok()?;
        let line: Line<'_> = serde_json::from_str(text).ok()?;
        let message = line.message.as_ref();
        if line.done || line.error.is_some() || message.is_some_and(|m| m.tool_calls.is_some()) {
            return None;
        }
        if self.response.model.is_none() {
            let model = line.model.as_deref().filter(|m| !m.is_empty());
            self.response.model = model.map(str::to_owned);
        }
        if let (None, Some(role)) = (&self.role, message.and_then(|m| m.role.as_deref())) {
            self.role = Some(role.to_owned()).filter(|r| !r.is_empty());
        }
        let (said, thought) = match message {
            Some(m) => (m.content.as_deref(), m.thinking.as_deref()),
            None => (line.response.as_deref(), line.thinking.as_deref()),
        };
        Some(self.grow(said, thought, room))
    }

    fn grow(&mut self, said: Option<&str>, thought: Option<&str>, room: &mut Room) -> Seen {
        for (slot, piece) in [(&mut self.thinking, thought), (&mut self.content, said)] {
            if let Some(piece) = piece {
                slot.push(piece, room);
            }
        }
        Seen::Chunk {
            output: said.is_some() || thought.is_some(),
        }
    }

    /// A line with more in it, or one that is not as it should be.
    fn other(&mut self, data: &[u8], room: &mut Room) -> Seen {
        let Some(document) = json::read(data) else {
            return Seen::Broken;
        };
        let mut root = document.root;
        if let Some(failed) = error::in_event(&root) {
            self.error = Some(failed);
            return Seen::Chunk { output: false };
        }
        let head = answer::head(&root);
        let usage = &mut self.response.usage;
        usage.input = head.usage.input.or(usage.input);
        usage.output = head.usage.output.or(usage.output);
        self.response.model = self.response.model.take().or(head.model);
        let mut message = match field::take(&mut root, "message") {
            Some(Value::Object(message)) => Some(message),
            _ => None,
        };
        if let Some(message) = &mut message {
            self.role = self.role.take().or_else(|| field::owned(message, "role"));
            self.call(
                field::take_list(message, "tool_calls").unwrap_or_default(),
                room,
            );
        }
        let seen = match &message {
            Some(m) => self.grow(field::str(m, "content"), field::str(m, "thinking"), room),
            None => {
                let (said, thought) =
                    (field::str(&root, "response"), field::str(&root, "thinking"));
                self.grow(said, thought, room)
            }
        };
        if field::is_true(&root, "done") {
            self.over = true;
            self.reason = field::owned(&root, "done_reason");
        }
        seen
    }

    fn call(&mut self, list: Vec<Value>, room: &mut Room) {
        let left = MAX_TOOL_CALLS - self.tools.len().min(MAX_TOOL_CALLS);
        self.too_many |= list.len() > left;
        let list = list.into_iter().take(left).collect();
        self.tools.extend(request::tool_calls(list, room));
    }
}

impl Stream for LineStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let data = event.data.trim_ascii();
        if data.is_empty() {
            return Seen::Nothing;
        }
        match self.piece(data, room) {
            Some(seen) => seen,
            None => self.other(data, room),
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        let this = *self;
        let mut response = this.response;
        let begun = this.content.seen || this.thinking.seen || !this.tools.is_empty();
        if begun || this.over {
            let mut parts = Vec::new();
            if !this.thinking.is_empty() {
                parts.push(Part::Reasoning(this.thinking.into_text()));
            }
            if !this.content.is_empty() {
                parts.push(Part::Text(this.content.into_text()));
            }
            parts.extend(this.tools);
            answer::close(&mut response, this.role, parts, this.reason, !this.over);
        }
        Answer {
            response,
            error: this.error,
            too_many: this.too_many,
            ..Answer::default()
        }
    }
}
