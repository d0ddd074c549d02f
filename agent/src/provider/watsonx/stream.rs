//! Streamed answers. The event `error` has the document of a failure, `close` says that it is over.

use super::failure;
use super::generation::{counts, mapped, reason};
use crate::model::call::{CallError, CallResponse};
use crate::model::exchange::SseEvent;
use crate::provider::json::{self, Object, field};
use crate::provider::prompted;
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::{Growing, Room};

/// What an event is that carries nothing of an answer.
enum Apart {
    Failed(CallError),
    Over,
}

/// Whether an event is one of those; `root` is its data, when that is a document.
fn apart(name: &str, root: Option<&Object>) -> Option<Apart> {
    if name == "close" {
        return Some(Apart::Over);
    }
    root.and_then(failure).map(Apart::Failed)
}

/// A generated text under way.
#[derive(Debug, Default)]
pub(super) struct GenerationStream {
    response: CallResponse,
    text: Growing,
    reason: Option<String>,
    error: Option<CallError>,
    over: bool,
}

impl Stream for GenerationStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let data = event.data.trim_ascii();
        let root = json::read(data).map(|d| d.root);
        match apart(event.event, root.as_ref()) {
            Some(Apart::Over) => {
                self.over = true;
                return Seen::Nothing;
            }
            Some(Apart::Failed(failed)) => {
                self.error = Some(failed);
                return Seen::Chunk { output: false };
            }
            None if data.is_empty() => return Seen::Nothing,
            None => {}
        }
        let Some(root) = root else {
            return Seen::Broken;
        };
        if self.response.model.is_none() {
            self.response.model = field::owned(&root, "model_id");
        }
        let mut output = false;
        let result = field::list(&root, "results").and_then(|l| l.first()?.as_object());
        if let Some(result) = result {
            let (told, usage) = (counts(result), &mut self.response.usage);
            usage.input = usage.input.max(told.input);
            usage.output = told.output.or(usage.output);
            if let Some(piece) = field::str(result, "generated_text") {
                self.text.push(piece, room);
                output = !piece.is_empty();
            }
            if let Some(reason) = reason(result) {
                self.reason = Some(reason.to_owned());
            }
        }
        Seen::Chunk { output }
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        let mut this = *self;
        if this.text.seen || this.reason.is_some() {
            let cut = this.reason.is_none();
            prompted::close(&mut this.response, this.text, this.reason, cut, mapped);
        }
        Answer {
            response: this.response,
            error: this.error,
            ..Answer::default()
        }
    }
}

/// A chat under way: OpenAI's chunks, but that they name the model otherwise.
#[derive(Debug)]
pub(super) struct ChatEvents {
    chunks: Box<dyn Stream>,
    model: Option<String>,
    error: Option<CallError>,
    over: bool,
}

impl ChatEvents {
    /// With what reads OpenAI's chunks.
    pub(super) fn new(chunks: Box<dyn Stream>) -> Self {
        Self {
            chunks,
            model: None,
            error: None,
            over: false,
        }
    }
}

impl Stream for ChatEvents {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        // Until the model is known, and for what is no chunk; the others are read once.
        let look = self.model.is_none() || event.event != "message";
        let root = look.then(|| json::read(event.data.trim_ascii())).flatten();
        let root = root.map(|d| d.root);
        match apart(event.event, root.as_ref()) {
            Some(Apart::Over) => {
                self.over = true;
                return Seen::Nothing;
            }
            Some(Apart::Failed(failed)) => {
                self.error = Some(failed);
                return Seen::Chunk { output: false };
            }
            None => {}
        }
        if self.model.is_none() {
            self.model = root.as_ref().and_then(|r| field::owned(r, "model_id"));
        }
        self.chunks.event(event, room)
    }

    fn is_over(&self) -> bool {
        self.over || self.chunks.is_over()
    }

    fn id(&self) -> Option<&str> {
        self.chunks.id()
    }

    fn finish(self: Box<Self>, room: &mut Room) -> Answer {
        let this = *self;
        let mut answer = this.chunks.finish(room);
        answer.response.model = this.model.or(answer.response.model);
        answer.error = this.error.or(answer.error);
        answer
    }
}
