//! Answers: a document, or an event for each token, of which the last has all of it again.

use crate::model::call::{CallError, CallResponse};
use crate::model::exchange::SseEvent;
use crate::provider::error;
use crate::provider::json::{self, Object, field};
use crate::provider::prompted;
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::{Growing, Room};

/// Reads the document of a successful exchange.
pub(super) fn read(mut root: Object, room: &mut Room) -> Answer {
    let mut answer = Answer::default();
    let mut text = Growing::default();
    if let Some(said) = field::take_string(&mut root, "generated_text") {
        text.push(&said, room);
    }
    let reason = details(&mut answer.response, &root);
    close(&mut answer.response, text, reason, true);
    answer
}

/// An answer's text. Without details nothing says why it ended, though it did.
fn close(response: &mut CallResponse, text: Growing, reason: Option<String>, over: bool) {
    let untold = over && reason.is_none();
    prompted::close(response, text, reason, mapped);
    if untold && let Some(message) = response.messages.last_mut() {
        message.finish_reason = None;
    }
}

/// What `details` say; gives the reason of the end.
fn details(response: &mut CallResponse, root: &Object) -> Option<String> {
    let details = field::object(root, "details")?;
    let usage = &mut response.usage;
    let count = |key: &str| field::int(details, key).filter(|n| *n >= 0);
    usage.output = count("generated_tokens");
    // The prompt's tokens are listed when asked for; a stream has their number.
    let listed = field::list(details, "prefill").filter(|list| !list.is_empty());
    usage.input = count("input_length").or(listed.and_then(|l| i64::try_from(l.len()).ok()));
    field::owned(details, "finish_reason")
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
        if let Some(failed) = root.get("error").filter(|e| !e.is_null()) {
            let mut error = error::of_event(failed);
            if let Some(kind) = field::owned(&root, "error_type") {
                error.kind = kind;
            }
            self.error = Some(error);
            return Seen::Chunk { output: false };
        }
        let mut output = false;
        if let Some(token) = field::object(&root, "token")
            && !field::is_true(token, "special")
            && let Some(said) = field::str(token, "text")
        {
            self.text.push(said, room);
            output = true;
        }
        if let Some(whole) = field::str(&root, "generated_text") {
            self.text.replace(whole, room);
            self.reason = details(&mut self.response, &root);
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
            close(&mut this.response, this.text, this.reason, this.over);
        }
        Answer {
            response: this.response,
            error: this.error,
            ..Answer::default()
        }
    }
}
