//! Completions of old: one text, one answer.

use super::{answer, request};
use crate::model::call::{CallError, CallRequest, CallResponse, Part};
use crate::model::exchange::SseEvent;
use crate::provider::error;
use crate::provider::json::field;
use crate::provider::json::{self, Object};
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::{Growing, Room};
use serde_json::Value;

/// Reads a request's body.
pub(super) fn request(mut body: Object, room: &mut Room) -> CallRequest {
    let prompt = field::take_string(&mut body, "prompt");
    CallRequest {
        model: field::owned(&body, "model"),
        stream: field::is_true(&body, "stream"),
        temperature: field::float(&body, "temperature"),
        top_p: field::float(&body, "top_p"),
        top_k: field::int(&body, "top_k"),
        max_tokens: field::int(&body, "max_tokens_to_sample"),
        stop_sequences: request::stop(&body),
        messages: prompt.map(|p| request::said(p, room)).into_iter().collect(),
        ..CallRequest::default()
    }
}

/// Reads an answer that came as one document.
pub(super) fn answer(mut root: Object, whole: bool, room: &mut Room) -> Answer {
    let Some(text) = field::take_string(&mut root, "completion") else {
        return answer::read(root, whole, room);
    };
    let mut response = answer::head(&root);
    let parts = vec![Part::Text(room.keep(text))];
    let reason = field::owned(&root, "stop_reason");
    answer::close(&mut response, None, parts, reason, whole);
    Answer {
        response,
        ..Answer::default()
    }
}

/// An answer under way: each event has a piece of the text.
#[derive(Debug, Default)]
pub(super) struct CompletionStream {
    response: CallResponse,
    text: Growing,
    reason: Option<String>,
    error: Option<CallError>,
}

impl Stream for CompletionStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let data = event.data.trim_ascii();
        if data.is_empty() {
            return Seen::Nothing;
        }
        let Some(document) = json::read(data) else {
            return Seen::Broken;
        };
        let mut root = document.root;
        match field::str(&root, "type").unwrap_or(event.event) {
            "ping" => return Seen::Nothing,
            "error" => {
                let failed = root.get("error").cloned().unwrap_or(Value::Object(root));
                self.error = Some(error::of_event(&failed));
                return Seen::Chunk { output: false };
            }
            _ => {}
        }
        let head = answer::head(&root);
        self.response.id = self.response.id.take().or(head.id);
        self.response.model = self.response.model.take().or(head.model);
        if let Some(piece) = field::take_string(&mut root, "completion") {
            self.text.push(&piece, room);
        }
        self.reason = field::owned(&root, "stop_reason").or_else(|| self.reason.take());
        Seen::Chunk { output: true }
    }

    fn is_over(&self) -> bool {
        self.reason.is_some()
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        let this = *self;
        let mut response = this.response;
        if this.text.seen {
            let parts = vec![Part::Text(this.text.into_text())];
            let cut = this.reason.is_none();
            answer::close(&mut response, None, parts, this.reason, false);
            if let (true, Some(message)) = (cut, response.messages.last_mut()) {
                message.finish_reason = Some("error".to_owned());
            }
        }
        Answer {
            response,
            error: this.error,
            ..Answer::default()
        }
    }
}
