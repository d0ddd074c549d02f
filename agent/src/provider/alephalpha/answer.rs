//! Answers: a document, or events: pieces of each completion, its end, and the counts of all.

use crate::model::call::{CallError, CallResponse, Usage};
use crate::model::exchange::SseEvent;
use crate::provider::error;
use crate::provider::json::{self, Document, Object, field};
use crate::provider::limits::MAX_CHOICES;
use crate::provider::prompted::{self, one_of};
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::{Growing, Room};
use serde_json::Value;
use std::collections::BTreeMap;

/// Reads the document of a successful exchange. It tells the model's version but not its name.
pub(super) fn read(document: Document, room: &mut Room) -> Answer {
    let Document { mut root, whole } = document;
    let list = field::take_list(&mut root, "completions").unwrap_or_default();
    let mut answer = Answer {
        too_many: list.len() > MAX_CHOICES,
        ..Answer::default()
    };
    answer.response.usage = counts(&root);
    let last = list.len().saturating_sub(1);
    for (at, completion) in list.into_iter().take(MAX_CHOICES).enumerate() {
        let Value::Object(mut completion) = completion else {
            continue;
        };
        let mut text = Growing::default();
        if let Some(said) = field::take_string(&mut completion, "completion") {
            text.push(&said, room);
        }
        let reason = field::nonempty(&completion, "finish_reason").map(str::to_owned);
        let cut = !whole && at == last;
        prompted::close(&mut answer.response, text, reason, cut, mapped);
    }
    answer
}

fn counts(root: &Object) -> Usage {
    let count = |key: &str| field::int(root, key).filter(|n| *n >= 0);
    Usage {
        input: count("num_tokens_prompt_total"),
        output: count("num_tokens_generated"),
        ..Usage::default()
    }
}

/// A finish reason as messages have it.
fn mapped(reason: &str) -> &str {
    match reason {
        "end_of_text" | "stop_sequence_reached" | "stop_sequence" => "stop",
        "maximum_tokens" => "length",
        other => other,
    }
}

/// An answer under way.
#[derive(Debug, Default)]
pub(super) struct CompletionStream {
    usage: Usage,
    completions: BTreeMap<u32, (Growing, Option<String>)>,
    error: Option<CallError>,
    too_many: bool,
    over: bool,
}

impl Stream for CompletionStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let data = event.data.trim_ascii();
        if data.is_empty() {
            return Seen::Nothing;
        }
        if data == b"[DONE]" {
            self.over = true;
            return Seen::Nothing;
        }
        let Some(Document { root, .. }) = json::read(data) else {
            return Seen::Broken;
        };
        if let Some(mut failed) = error::in_document(&root) {
            if failed.kind.is_empty() {
                failed.kind = error::OTHER.to_owned();
            }
            self.error = Some(failed);
            return Seen::Chunk { output: false };
        }
        let kind = field::str(&root, "type");
        if kind == Some("completion_summary") {
            self.usage = counts(&root);
            self.over = true;
            return Seen::Chunk { output: false };
        }
        let index = field::int(&root, "index").and_then(|n| u32::try_from(n).ok());
        let Some((text, reason)) = one_of(&mut self.completions, index.unwrap_or(0)) else {
            self.too_many = true;
            return Seen::Chunk { output: false };
        };
        let mut output = false;
        if kind == Some("stream_chunk")
            && let Some(piece) = field::str(&root, "completion")
        {
            text.push(piece, room);
            output = !piece.is_empty();
        }
        if let Some(told) = field::nonempty(&root, "finish_reason") {
            *reason = Some(told.to_owned());
        }
        Seen::Chunk { output }
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        let this = *self;
        let mut response = CallResponse {
            usage: this.usage,
            ..CallResponse::default()
        };
        for (text, reason) in this.completions.into_values() {
            let cut = reason.is_none();
            prompted::close(&mut response, text, reason, cut, mapped);
        }
        Answer {
            response,
            error: this.error,
            too_many: this.too_many,
            ..Answer::default()
        }
    }
}
