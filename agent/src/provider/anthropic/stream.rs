//! Streamed messages: events are merged into one answer.

use super::{answer, blocks, usage};
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
use serde_json::Value;

/// Nearly every event is one of these: borrowed.
#[derive(Debug, Deserialize)]
struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    index: u32,
    #[serde(borrow)]
    delta: Piece<'a>,
}

#[derive(Debug, Deserialize)]
struct Piece<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    partial_json: Option<Str<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Str<'a>>,
}

/// An answer under way.
#[derive(Debug, Default)]
pub(super) struct MessageStream {
    response: CallResponse,
    role: Option<String>,
    blocks: Vec<Block>,
    /// Counts told so far; those told later count.
    usage: Object,
    /// The counts of the end were told: what the start says of the output is none.
    counted: bool,
    reason: Option<String>,
    error: Option<CallError>,
    too_many: bool,
    over: bool,
}

/// A content block under way.
#[derive(Debug)]
struct Block {
    index: u32,
    /// As it was started.
    start: Object,
    text: Growing,
    json: Growing,
}

impl MessageStream {
    fn piece(&mut self, index: u32, piece: &Piece<'_>, room: &mut Room) {
        let Some(block) = self.block(index) else {
            return;
        };
        match &*piece.kind {
            "text_delta" => block.grow(piece.text.as_deref(), room),
            "thinking_delta" => block.grow(piece.thinking.as_deref(), room),
            "input_json_delta" => {
                if let Some(part) = &piece.partial_json {
                    block.json.push(part, room);
                }
            }
            // Signatures and citations are of no use.
            _ => {}
        }
    }

    /// An event other than a delta of a block, or one that is not as it should be.
    fn other(&mut self, name: &str, data: &[u8], room: &mut Room) -> Seen {
        let Some(document) = json::read(data) else {
            return Seen::Broken;
        };
        let mut root = document.root;
        let kind = field::str(&root, "type").unwrap_or(name).to_owned();
        let index = field::int(&root, "index").and_then(|n| u32::try_from(n).ok());
        match kind.as_str() {
            "ping" => return Seen::Nothing,
            "message_start" => self.start(&mut root, room),
            "content_block_start" => {
                if let Some(Value::Object(start)) = field::take(&mut root, "content_block") {
                    self.begin(index.unwrap_or(0), start, room);
                }
                return Seen::Chunk { output: true };
            }
            "content_block_delta" => {
                self.delta(index.unwrap_or(0), &root, room);
                return Seen::Chunk { output: true };
            }
            "message_delta" => self.end(&root),
            "message_stop" => self.over = true,
            "error" => {
                let failed = root.get("error").cloned().unwrap_or(Value::Object(root));
                self.error = Some(error::of_event(&failed));
            }
            _ => {}
        }
        Seen::Chunk { output: false }
    }

    fn start(&mut self, root: &mut Object, room: &mut Room) {
        let Some(Value::Object(mut message)) = field::take(root, "message") else {
            return;
        };
        self.response = answer::head(&message);
        self.role = field::owned(&message, "role");
        if let Some(Value::Object(counts)) = field::take(&mut message, "usage") {
            self.count(counts);
        }
        // Servers that are none of Anthropic's may say something here already.
        let content = field::take_list(&mut message, "content").unwrap_or_default();
        for (index, block) in (0..).zip(content) {
            if let Value::Object(block) = block {
                self.begin(index, block, room);
            }
        }
    }

    fn begin(&mut self, index: u32, mut start: Object, room: &mut Room) {
        let said = ["text", "thinking"]
            .iter()
            .find_map(|key| field::take_string(&mut start, key));
        if let Some(block) = self.block(index) {
            block.start = start;
            block.grow(said.as_deref(), room);
        }
    }

    /// A delta that is not as it should be.
    fn delta(&mut self, index: u32, root: &Object, room: &mut Room) {
        let Some(delta) = field::object(root, "delta") else {
            return;
        };
        let text = |key: &str| field::str(delta, key).map(|s| Str(s.into()));
        let piece = Piece {
            kind: text("type").unwrap_or(Str("".into())),
            text: text("text"),
            partial_json: text("partial_json"),
            thinking: text("thinking"),
        };
        self.piece(index, &piece, room);
    }

    fn end(&mut self, root: &Object) {
        if let Some(delta) = field::object(root, "delta") {
            self.reason = field::owned(delta, "stop_reason").or_else(|| self.reason.take());
        }
        if let Some(counts) = field::object(root, "usage") {
            self.counted |= field::int(counts, "output_tokens").is_some();
            self.count(counts.clone());
        }
    }

    /// Counts are running totals: what is told later replaces what was told before.
    fn count(&mut self, counts: Object) {
        let told = counts.into_iter().filter(|(_, v)| !v.is_null());
        self.usage.extend(told);
    }

    fn block(&mut self, index: u32) -> Option<&mut Block> {
        let at = match self.blocks.binary_search_by_key(&index, |b| b.index) {
            Ok(at) => at,
            Err(_) if self.blocks.len() >= MAX_ITEMS => {
                self.too_many = true;
                return None;
            }
            Err(at) => {
                self.blocks.insert(at, Block::new(index));
                at
            }
        };
        self.blocks.get_mut(at)
    }
}

impl Stream for MessageStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let data = event.data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return Seen::Nothing;
        }
        if matches!(event.event, "content_block_delta" | "")
            && let Ok(text) = std::str::from_utf8(data)
            && let Ok(delta) = serde_json::from_str::<Delta<'_>>(text)
            && &*delta.kind == "content_block_delta"
        {
            self.piece(delta.index, &delta.delta, room);
            return Seen::Chunk { output: true };
        }
        self.other(event.event, data, room)
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn finish(self: Box<Self>, room: &mut Room) -> Answer {
        let mut this = *self;
        if !this.counted {
            this.usage.remove("output_tokens");
        }
        let mut response = this.response;
        response.usage = usage::read(&this.usage);
        let parts: Vec<Part> = this
            .blocks
            .into_iter()
            .filter_map(|b| b.into_part(room))
            .collect();
        if !parts.is_empty() || this.reason.is_some() {
            let cut = this.reason.is_none();
            answer::close(&mut response, this.role, parts, this.reason, false);
            if let (true, Some(message)) = (cut, response.messages.last_mut()) {
                message.finish_reason = Some("error".to_owned());
            }
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
    fn new(index: u32) -> Self {
        Self {
            index,
            start: Object::new(),
            text: Growing::default(),
            json: Growing::default(),
        }
    }

    fn grow(&mut self, piece: Option<&str>, room: &mut Room) {
        if let Some(piece) = piece {
            self.text.push(piece, room);
        }
    }

    /// The part that it is, as far as it came. What it holds was counted when it came.
    fn into_part(self, room: &mut Room) -> Option<Part> {
        let mut start = self.start;
        match field::str(&start, "type").unwrap_or("text") {
            "text" => self.text.seen.then(|| Part::Text(self.text.into_text())),
            "thinking" => {
                let said = !self.text.is_empty();
                said.then(|| Part::Reasoning(self.text.into_text()))
            }
            _ => {
                if !self.json.is_empty() {
                    let text = self.json.into_text();
                    let input = match serde_json::from_str(&text.kept) {
                        Ok(value) if text.dropped == 0 => value,
                        _ => Value::String(text.kept),
                    };
                    // In whole blocks a text would be read again.
                    room.0 = room.0.saturating_add(input.as_str().map_or(0, str::len));
                    start.insert("input".to_owned(), input);
                }
                blocks::part(start, room)
            }
        }
    }
}
