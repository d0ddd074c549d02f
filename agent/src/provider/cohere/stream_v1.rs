//! Streamed chat of the first version, and generation of old: one JSON object a line. The last
//! one holds the whole answer once more.

use super::answer;
use super::stream::close_cut;
use crate::model::call::{CallError, CallResponse, Part};
use crate::model::exchange::SseEvent;
use crate::provider::error;
use crate::provider::json::field;
use crate::provider::json::{self, Object};
use crate::provider::limits::MAX_CHOICES;
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::{Growing, Room};
use serde_json::Value;

/// An answer under way.
#[derive(Debug, Default)]
pub(super) struct TextStream {
    response: CallResponse,
    /// One text for each generation.
    texts: Vec<(Growing, Option<String>)>,
    calls: Vec<Part>,
    error: Option<CallError>,
    too_many: bool,
    over: bool,
}

impl TextStream {
    fn read(&mut self, mut root: Object, room: &mut Room) -> Seen {
        if self.response.id.is_none() {
            self.response.id = field::owned(&root, "generation_id");
        }
        let index = field::int(&root, "index").unwrap_or(0);
        let over = field::is_true(&root, "is_finished");
        match field::str(&root, "event_type").unwrap_or("") {
            "tool-calls-generation" => {
                self.calls = super::request::tool_calls(&mut root);
                return Seen::Chunk { output: true };
            }
            // Its whole comes with the generation.
            "tool-calls-chunk" => return Seen::Chunk { output: true },
            "stream-end" => {
                self.end(root, room);
                return Seen::Chunk { output: false };
            }
            "" | "text-generation" => {}
            _ => return Seen::Chunk { output: false },
        }
        let mut output = false;
        if let Some(piece) = field::take_string(&mut root, "text") {
            output = !piece.is_empty();
            if let Some((text, _)) = self.text(index) {
                text.push(&piece, room);
            }
        }
        if over {
            self.end(root, room);
        }
        Seen::Chunk { output }
    }

    fn end(&mut self, mut root: Object, room: &mut Room) {
        self.over = true;
        let reason = field::owned(&root, "finish_reason");
        if let Some(Value::Object(mut whole)) = field::take(&mut root, "response") {
            let head = answer::head(&whole);
            self.response.usage = head.usage;
            self.response.id = head.id.or_else(|| self.response.id.take());
            let reason = field::owned(&whole, "finish_reason").or(reason);
            let generations = field::take_list(&mut whole, "generations");
            let many = generations.unwrap_or_default();
            for (n, generation) in (0..).zip(many.iter().filter_map(Value::as_object)) {
                let reason = field::owned(generation, "finish_reason");
                let text = field::str(generation, "text").map(str::to_owned);
                self.conclude(n, text, reason, room);
            }
            if many.is_empty() {
                if self.calls.is_empty() {
                    self.calls = super::request::tool_calls(&mut whole);
                }
                let text = field::take_string(&mut whole, "text");
                self.conclude(0, text.filter(|t| !t.is_empty()), reason, room);
            }
            return;
        }
        self.conclude(0, None, reason, room);
    }

    /// The end of a text; the whole of it counts only when no piece came.
    fn conclude(&mut self, n: i64, whole: Option<String>, reason: Option<String>, room: &mut Room) {
        let Some((text, end)) = self.text(n) else {
            return;
        };
        if let (false, Some(whole)) = (text.seen, whole) {
            text.push(&whole, room);
        }
        *end = reason.or_else(|| end.take());
    }

    fn text(&mut self, n: i64) -> Option<&mut (Growing, Option<String>)> {
        let Some(at) = usize::try_from(n).ok().filter(|n| *n < MAX_CHOICES) else {
            self.too_many = true;
            return None;
        };
        if self.texts.len() <= at {
            self.texts.resize_with(at + 1, Default::default);
        }
        self.texts.get_mut(at)
    }
}

impl Stream for TextStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let data = event.data.trim_ascii();
        if data.is_empty() {
            return Seen::Nothing;
        }
        let Some(document) = json::read(data) else {
            return Seen::Broken;
        };
        let root = document.root;
        if !root.contains_key("event_type")
            && !root.contains_key("text")
            && !root.contains_key("is_finished")
            && field::str(&root, "message").is_some()
        {
            self.error = Some(error::of_event(&Value::Object(root)));
            return Seen::Chunk { output: false };
        }
        self.read(root, room)
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn id(&self) -> Option<&str> {
        self.response.id.as_deref()
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        let this = *self;
        let mut response = this.response;
        let mut calls = this.calls;
        if this.texts.is_empty() && !calls.is_empty() {
            close_cut(&mut response, None, std::mem::take(&mut calls), None);
        }
        for (text, reason) in this.texts {
            let mut parts = std::mem::take(&mut calls);
            if text.seen && (parts.is_empty() || !text.is_empty()) {
                parts.push(Part::Text(text.into_text()));
            }
            if !parts.is_empty() || reason.is_some() {
                close_cut(&mut response, None, parts, reason);
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
