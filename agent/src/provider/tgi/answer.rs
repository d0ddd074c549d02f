//! Answers: a document, or an event for each token, of which the last has all of it again.

use crate::model::call::{CallError, CallResponse, Usage};
use crate::model::exchange::SseEvent;
use crate::provider::error;
use crate::provider::json::{self, Object, field};
use crate::provider::prompted::{self, Answers};
use crate::provider::shape::{Answer, Found, Seen, Stream};
use crate::provider::text::{Growing, Room};

/// Reads an answer, or a list of them.
pub(super) fn of(_: &Found, answers: Answers, room: &mut Room) -> Answer {
    let mut answer = Answer {
        too_many: answers.too_many(),
        ..Answer::default()
    };
    let mut usage = Vec::new();
    for (index, mut root, cut) in answers.each() {
        let mut text = Growing::default();
        if let Some(said) = field::take_string(&mut root, "generated_text") {
            text.push(&said, room);
        }
        let (used, reason) = details(&root);
        usage.push((index, used));
        prompted::close(&mut answer.response, text, reason, cut, mapped);
    }
    // They are all of one text.
    answer.response.usage = prompted::total(&usage, Some(u32::MAX));
    answer
}

/// What `details` say: the usage, and the reason of the end. Without them nothing does.
fn details(root: &Object) -> (Usage, Option<String>) {
    let Some(details) = field::object(root, "details") else {
        return (Usage::default(), None);
    };
    let count = |key: &str| field::int(details, key).filter(|n| *n >= 0);
    // The prompt's tokens are listed when asked for; a stream has their number.
    let listed = field::list(details, "prefill").filter(|list| !list.is_empty());
    let listed = listed.and_then(|l| i64::try_from(l.len()).ok());
    let usage = Usage {
        input: count("input_length").or(listed),
        output: count("generated_tokens"),
        ..Usage::default()
    };
    (usage, field::owned(details, "finish_reason"))
}

/// The kind of an error has a member of its own beside it.
pub(super) fn failure(mut error: CallError, root: &Object) -> CallError {
    if let Some(kind) = root.get("error_type").and_then(error::scalar) {
        error.kind = kind;
    }
    error
}

/// A finish reason as messages have it.
fn mapped(reason: &str) -> &str {
    match reason {
        "eos_token" | "stop_sequence" => "stop",
        other => other,
    }
}

/// An answer under way.
#[derive(Debug, Default)]
pub(super) struct TokenStream {
    response: CallResponse,
    text: Growing,
    reason: Option<String>,
    error: Option<CallError>,
    over: bool,
}

impl Stream for TokenStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let data = event.data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return Seen::Nothing;
        }
        let Some(document) = json::read(data) else {
            return Seen::Broken;
        };
        let root = document.root;
        if let Some(error) = error::in_event(&root) {
            self.error = Some(failure(error, &root));
            return Seen::Chunk { output: false };
        }
        let mut output = false;
        if let Some(token) = field::object(&root, "token")
            && !field::is_true(token, "special")
            && let Some(said) = field::str(token, "text")
        {
            self.text.push(said, room);
            output = !said.is_empty();
        }
        if let Some(whole) = field::str(&root, "generated_text") {
            self.text.replace(whole, room);
            (self.response.usage, self.reason) = details(&root);
            self.over = true;
        }
        Seen::Chunk { output }
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        let mut this = *self;
        if this.text.seen || this.over {
            prompted::close(
                &mut this.response,
                this.text,
                this.reason,
                !this.over,
                mapped,
            );
        }
        Answer {
            response: this.response,
            error: this.error,
            ..Answer::default()
        }
    }
}
