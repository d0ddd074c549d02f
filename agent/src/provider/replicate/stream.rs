//! The output of a prediction as events: `output` has a piece of it as it is, `done` says that it
//! is over, and why if it did not go well.

use super::answer::{failure, said};
use super::request::{at, is_address};
use crate::model::call::{CallError, CallResponse, Part};
use crate::model::exchange::SseEvent;
use crate::provider::json::{self, field};
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::tasks::Task;
use crate::provider::text::{Growing, Room};

/// An output under way.
#[derive(Debug, Default)]
pub(super) struct OutputStream {
    text: Growing,
    error: Option<CallError>,
    reason: Option<&'static str>,
    over: bool,
}

impl Stream for OutputStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let Ok(data) = std::str::from_utf8(event.data) else {
            return Seen::Broken;
        };
        let member = |key: &str| {
            let root = json::read(event.data.trim_ascii())?.root;
            field::owned(&root, key)
        };
        match event.event {
            "output" => {
                self.text.push(data, room);
                Seen::Chunk {
                    output: !data.is_empty(),
                }
            }
            "error" => {
                let told = member("detail").unwrap_or_else(|| data.to_owned());
                self.error = Some(failure(Some(&told)));
                Seen::Chunk { output: false }
            }
            "done" => {
                self.over = true;
                self.reason = Some(match member("reason").as_deref() {
                    Some("error") => {
                        self.error.get_or_insert_with(|| failure(None));
                        "error"
                    }
                    Some("canceled") => "cancelled",
                    _ => "stop",
                });
                Seen::Chunk { output: false }
            }
            _ => Seen::Nothing,
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn finish(self: Box<Self>, room: &mut Room) -> Answer {
        let mut this = *self;
        let mut response = CallResponse::default();
        if this.error.is_some() {
            this.reason = Some("error");
        }
        let parts = if this.text.is_empty() {
            Vec::new()
        } else if !this.text.is_cut() && is_address(this.text.as_str()) {
            vec![at(this.text.into_text().kept, room)]
        } else {
            vec![Part::Text(this.text.into_text())]
        };
        // One that broke off says no reason; what is known of it then is just that.
        said(&mut response.messages, parts, this.reason.or(Some("error")));
        response
            .finish_reasons
            .extend(this.reason.map(str::to_owned));
        Answer {
            response,
            error: this.error,
            // Whose stream it is its address says, not what comes.
            task: Some(Task {
                id: String::new(),
                over: this.over,
                stream: None,
            }),
            ..Answer::default()
        }
    }
}
