//! Streamed texts of models of Amazon's (Titan), Meta's and Mistral's: each chunk has a piece.

use super::{answer, converse, usage};
use crate::model::call::{CallResponse, Part};
use crate::model::exchange::SseEvent;
use crate::provider::json;
use crate::provider::json::field;
use crate::provider::limits::MAX_CHOICES;
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::{Growing, Room};

/// An answer under way.
#[derive(Debug, Default)]
pub(super) struct TextStream {
    response: CallResponse,
    texts: Vec<(Growing, Option<String>)>,
    too_many: bool,
}

impl Stream for TextStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let Some(document) = json::read(event.data) else {
            return Seen::Broken;
        };
        let mut root = document.root;
        let told = answer::counts(&root);
        let mut counts = told;
        // Counts are running totals: what is told later replaces what was told before.
        usage::complete(&mut counts, self.response.usage);
        self.response.usage = counts;
        let index = field::int(&root, "index").and_then(|n| usize::try_from(n).ok());
        let index = index.unwrap_or(0);
        let mut output = false;
        for (n, said) in answer::said(&mut root).into_iter().enumerate() {
            let at = index.saturating_add(n);
            if at >= MAX_CHOICES {
                self.too_many = true;
                break;
            }
            if self.texts.len() <= at {
                self.texts.resize_with(at + 1, Default::default);
            }
            let Some((text, reason)) = self.texts.get_mut(at) else {
                break;
            };
            if let Some(piece) = said.text {
                output |= !piece.is_empty();
                text.push(&piece, room);
            }
            *reason = said.reason.or_else(|| reason.take());
        }
        Seen::Chunk { output }
    }

    /// The reason comes before the counts; what has these is the last one.
    fn is_over(&self) -> bool {
        false
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        let this = *self;
        let mut response = this.response;
        for (text, reason) in this.texts {
            if !text.seen && reason.is_none() {
                continue;
            }
            let text = text.seen.then(|| Part::Text(text.into_text()));
            converse::close_cut(&mut response, None, text.into_iter().collect(), reason);
        }
        Answer {
            response,
            too_many: this.too_many,
            ..Answer::default()
        }
    }
}
