//! Streamed converse: events are merged into one answer. Nova's invocations stream the same
//! events, each in an object with the event's name, and begin a new block for each piece of text.

use super::{answer, blocks, converse, usage};
use crate::model::call::{CallError, CallResponse, Part};
use crate::model::exchange::SseEvent;
use crate::provider::error;
use crate::provider::json::borrowed::Str;
use crate::provider::json::field;
use crate::provider::json::{self, Object};
use crate::provider::limits::MAX_ITEMS;
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::{Growing, Room};
use serde::Deserialize;
use serde_json::{Value, json};

/// Nearly every event is one of these: borrowed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delta<'a> {
    content_block_index: i64,
    #[serde(borrow)]
    delta: TextPiece<'a>,
}

#[derive(Debug, Deserialize)]
struct TextPiece<'a> {
    #[serde(borrow)]
    text: Str<'a>,
}

/// An answer under way.
#[derive(Debug, Default)]
pub(super) struct ConverseStream {
    response: CallResponse,
    role: Option<String>,
    blocks: Vec<Block>,
    /// Pieces of text that follow each other are one, whatever block they are said to be of.
    joins: bool,
    reason: Option<String>,
    error: Option<CallError>,
    too_many: bool,
    over: bool,
}

/// A content block under way.
#[derive(Debug, Default)]
struct Block {
    index: i64,
    kind: Kind,
    text: Growing,
}

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Text,
    Reasoning,
    /// Only the provider can read it.
    Redacted,
    Tool {
        id: Option<String>,
        name: String,
    },
    /// Anything else, as it was started.
    Other(Object),
}

impl ConverseStream {
    /// Of a model that is invoked and speaks alike.
    pub(super) fn nested() -> Self {
        Self {
            joins: true,
            ..Self::default()
        }
    }

    fn read(&mut self, name: &str, root: &mut Object, room: &mut Room) -> Seen {
        let index = field::int(root, "contentBlockIndex").unwrap_or(0);
        match name {
            "messageStart" => self.role = field::owned(root, "role"),
            "contentBlockStart" => {
                if let Some(Value::Object(start)) = field::take(root, "start") {
                    self.begin(index, start);
                }
                return Seen::Chunk { output: true };
            }
            "contentBlockDelta" => {
                if let Some(Value::Object(mut delta)) = field::take(root, "delta") {
                    self.delta(index, &mut delta, room);
                }
                return Seen::Chunk { output: true };
            }
            "messageStop" => {
                self.reason = field::owned(root, "stopReason").or_else(|| self.reason.take());
            }
            "metadata" => {
                if let Some(counts) = field::object(root, "usage") {
                    self.response.usage = usage::read(counts);
                }
                self.response.model = converse::invoked(root);
                self.over = true;
            }
            _ => {}
        }
        Seen::Chunk { output: false }
    }

    fn begin(&mut self, index: i64, mut start: Object) {
        let kind = match field::take(&mut start, "toolUse") {
            Some(Value::Object(mut tool)) => Kind::Tool {
                id: field::owned(&tool, "toolUseId"),
                name: field::take_string(&mut tool, "name").unwrap_or_default(),
            },
            _ => match start.iter().next() {
                Some(_) => Kind::Other(start),
                None => return,
            },
        };
        if let Some(block) = self.block(index, false) {
            block.kind = kind;
        }
    }

    fn delta(&mut self, index: i64, delta: &mut Object, room: &mut Room) {
        if let Some(text) = field::take_string(delta, "text") {
            if let Some(block) = self.block(index, true) {
                block.text.push(&text, room);
            }
        } else if let Some(tool) = field::object(delta, "toolUse") {
            let Some(block) = self.block(index, false) else {
                return;
            };
            // Its start may have been lost: that it is a call is still known.
            if matches!(block.kind, Kind::Text) {
                block.kind = Kind::Tool {
                    id: None,
                    name: String::new(),
                };
            }
            match tool.get("input") {
                Some(Value::String(piece)) => block.text.push(piece, room),
                Some(value @ Value::Object(_)) => block.text.push(&value.to_string(), room),
                _ => {}
            }
        } else if let Some(thought) = field::object(delta, "reasoningContent") {
            let Some(block) = self.block(index, false) else {
                return;
            };
            if let Some(text) = field::str(thought, "text") {
                block.kind = Kind::Reasoning;
                block.text.push(text, room);
            } else if field::is_set(thought, "redactedContent") {
                block.kind = Kind::Redacted;
            }
        }
    }

    fn block(&mut self, index: i64, text: bool) -> Option<&mut Block> {
        if let Some(at) = self.blocks.iter().rposition(|b| b.index == index) {
            return self.blocks.get_mut(at);
        }
        let last = self.blocks.last();
        if self.joins && text && last.is_some_and(|b| matches!(b.kind, Kind::Text)) {
            return self.blocks.last_mut();
        }
        if self.blocks.len() >= MAX_ITEMS {
            self.too_many = true;
            return None;
        }
        self.blocks.push(Block {
            index,
            ..Block::default()
        });
        self.blocks.last_mut()
    }
}

/// The failure that an event tells of, if it does.
pub(super) fn exception(event: &SseEvent<'_>) -> Option<CallError> {
    let failed = matches!(event.comment, "exception" | "error");
    if !failed && !event.event.ends_with("Exception") {
        return None;
    }
    let root = json::read(event.data.trim_ascii()).map(|d| d.root);
    let message = root.as_ref().and_then(|root| {
        let text = field::str(root, "message").or_else(|| field::str(root, "Message"))?;
        Some(error::bounded(text))
    });
    Some(CallError {
        kind: answer::exception(event.event).unwrap_or_else(|| error::OTHER.to_owned()),
        message,
    })
}

impl Stream for ConverseStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        if let Some(failed) = exception(&event) {
            self.error = Some(failed);
            self.over = true;
            return Seen::Chunk { output: false };
        }
        let data = event.data.trim_ascii();
        if data.is_empty() {
            return Seen::Nothing;
        }
        if event.event == "contentBlockDelta"
            && let Ok(text) = std::str::from_utf8(data)
            && let Ok(delta) = serde_json::from_str::<Delta<'_>>(text)
        {
            if let Some(block) = self.block(delta.content_block_index, true) {
                block.text.push(&delta.delta.text, room);
            }
            return Seen::Chunk { output: true };
        }
        let Some(document) = json::read(data) else {
            return Seen::Broken;
        };
        let mut root = document.root;
        if !event.event.is_empty() {
            return self.read(event.event, &mut root, room);
        }
        // Nova's.
        let named = root.iter_mut().find_map(|(name, value)| match value {
            Value::Object(inner) if name != usage::METRICS => {
                Some((name.clone(), std::mem::take(inner)))
            }
            _ => None,
        });
        match named {
            Some((name, mut inner)) => self.read(&name, &mut inner, room),
            None => Seen::Chunk { output: false },
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn finish(self: Box<Self>, room: &mut Room) -> Answer {
        let mut this = *self;
        this.blocks.sort_by_key(|b| b.index);
        let parts: Vec<Part> = this
            .blocks
            .into_iter()
            .filter_map(|b| b.into_part(room))
            .collect();
        let mut response = this.response;
        if !parts.is_empty() || this.reason.is_some() {
            converse::close_cut(&mut response, this.role, parts, this.reason);
        }
        Answer {
            response,
            error: this.error,
            too_many: this.too_many,
            ..Answer::default()
        }
    }
}

impl Block {
    /// The part that it is, as far as it came. What it holds was counted when it came.
    fn into_part(self, room: &mut Room) -> Option<Part> {
        match self.kind {
            Kind::Text => self.text.seen.then(|| Part::Text(self.text.into_text())),
            Kind::Reasoning => {
                let said = !self.text.is_empty();
                said.then(|| Part::Reasoning(self.text.into_text()))
            }
            Kind::Redacted => Some(Part::Other(json!({"type": "redacted_thinking"}))),
            Kind::Tool { id, name } => {
                let text = self.text.into_text();
                let arguments = match serde_json::from_str(&text.kept) {
                    Ok(value) if text.dropped == 0 => Some(value),
                    _ => Some(Value::String(text.kept)).filter(|v| v != ""),
                };
                Some(Part::ToolCall {
                    id,
                    name,
                    arguments,
                })
            }
            Kind::Other(start) => {
                let list = vec![Value::Object(start)];
                blocks::of(Some(Value::Array(list)), room).pop()
            }
        }
    }
}
