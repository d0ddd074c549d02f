//! Answers: a document, or events that are alike, of which the last says how it ended.

use crate::model::call::{CallError, CallResponse};
use crate::model::exchange::SseEvent;
use crate::provider::error;
use crate::provider::json::{self, Object, field};
use crate::provider::prompted;
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::{Growing, Room};
use serde_json::Value;

/// Whether it is an answer, or a part of one.
pub(super) fn is_own(root: &Object) -> bool {
    field::str(root, "content").is_some() && root.get("stop").is_some_and(Value::is_boolean)
}

/// Reads the document of a successful exchange.
pub(super) fn read(mut root: Object, room: &mut Room) -> Answer {
    let mut response = CallResponse::default();
    let mut text = Growing::default();
    if let Some(said) = field::take_string(&mut root, "content") {
        text.push(&said, room);
    }
    let reason = end(&mut response, &root);
    prompted::close(&mut response, text, reason, mapped);
    Answer {
        response,
        ..Answer::default()
    }
}

/// What is said when it is over; gives the reason of the end.
fn end(response: &mut CallResponse, root: &Object) -> Option<String> {
    let count = |key: &str| field::int(root, key).filter(|n| *n >= 0);
    let model = field::owned(root, "model");
    response.model = response.model.take().or(model);
    response.usage.input = count("tokens_evaluated");
    response.usage.output = count("tokens_predicted");
    // Servers of old say it by a flag for each.
    field::owned(root, "stop_type")
        .filter(|kind| kind != "none")
        .or_else(|| {
            let flags = [
                ("stopped_eos", "eos"),
                ("stopped_word", "word"),
                ("stopped_limit", "limit"),
            ];
            let set = flags.iter().find(|(flag, _)| field::is_true(root, flag));
            set.map(|(_, kind)| (*kind).to_owned())
        })
}

/// A finish reason as messages have it.
fn mapped(reason: &str) -> &str {
    match reason {
        "eos" | "word" => "stop",
        "limit" => "length",
        other => other,
    }
}

/// An answer under way.
#[derive(Debug, Default)]
pub(super) struct ContentStream {
    response: CallResponse,
    text: Growing,
    reason: Option<String>,
    error: Option<CallError>,
    over: bool,
}

impl Stream for ContentStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let data = event.data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return Seen::Nothing;
        }
        let Some(document) = json::read(data) else {
            return Seen::Broken;
        };
        let root = document.root;
        // An event of its own name, whose data is the error itself.
        let failed = root.get("error").filter(|e| !e.is_null());
        if let Some(failed) = failed {
            self.error = Some(error::of_event(failed));
            return Seen::Chunk { output: false };
        }
        if event.event == "error" {
            self.error = Some(error::of_event(&Value::Object(root)));
            return Seen::Chunk { output: false };
        }
        let said = field::str(&root, "content").unwrap_or_default();
        self.text.push(said, room);
        let output = !said.is_empty();
        if field::is_true(&root, "stop") {
            self.reason = end(&mut self.response, &root);
            self.over = true;
        }
        Seen::Chunk { output }
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        let mut this = *self;
        if this.text.seen {
            prompted::close(&mut this.response, this.text, this.reason, mapped);
        }
        Answer {
            response: this.response,
            error: this.error,
            ..Answer::default()
        }
    }
}
