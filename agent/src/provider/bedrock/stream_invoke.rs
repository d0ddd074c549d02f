//! Streamed invocations: each event holds a chunk of the maker's own stream, in base64. The first
//! one tells whose it is.

use super::family::{self, Answered};
use super::stream_converse::{ConverseStream, exception};
use super::stream_text::TextStream;
use super::{base64, usage};
use crate::model::call::{CallError, Usage};
use crate::model::exchange::SseEvent;
use crate::provider::json;
use crate::provider::json::borrowed::Str;
use crate::provider::json::field;
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::Room;
use serde::Deserialize;

/// What an event holds; beside it stands padding.
#[derive(Debug, Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    bytes: Str<'a>,
}

/// An answer under way.
#[derive(Debug, Default)]
pub(super) struct InvokeStream {
    inner: Option<Box<dyn Stream>>,
    /// What the whole took, told with the last chunk.
    metrics: Usage,
    error: Option<CallError>,
    over: bool,
}

impl InvokeStream {
    fn chunk(&mut self, data: &[u8], room: &mut Room) -> Seen {
        let measured = holds(data, usage::METRICS.as_bytes());
        if measured || self.inner.is_none() {
            let Some(document) = json::read(data) else {
                return Seen::Broken;
            };
            let root = document.root;
            if let Some(counts) = field::object(&root, usage::METRICS) {
                self.metrics = usage::read(counts);
                self.over = true;
            }
            if self.inner.is_none() {
                let Some(form) = family::answered(&root) else {
                    return Seen::Chunk { output: false };
                };
                self.inner = Some(reader(form));
            }
        }
        let event = SseEvent {
            event: "",
            data,
            comment: "",
        };
        match &mut self.inner {
            Some(inner) => inner.event(event, room),
            None => Seen::Chunk { output: false },
        }
    }
}

/// The reader of such a stream.
fn reader(form: Answered) -> Box<dyn Stream> {
    if let Some((shape, found)) = form.of_others() {
        return shape.stream(&found);
    }
    match form {
        Answered::Nova => Box::new(ConverseStream::nested()),
        _ => Box::<TextStream>::default(),
    }
}

fn holds(data: &[u8], word: &[u8]) -> bool {
    data.windows(word.len()).any(|w| w == word)
}

impl Stream for InvokeStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        if let Some(failed) = exception(&event) {
            self.error = Some(failed);
            self.over = true;
            return Seen::Chunk { output: false };
        }
        let data = event.data.trim_ascii();
        if data.is_empty() {
            return Seen::Nothing;
        }
        let borrowed = std::str::from_utf8(data)
            .ok()
            .and_then(|text| serde_json::from_str::<Chunk<'_>>(text).ok());
        let chunk = match borrowed {
            Some(chunk) => base64::decode(chunk.bytes.as_bytes()),
            None => json::read(data).and_then(|document| {
                let text = field::str(&document.root, "bytes")?;
                base64::decode(text.as_bytes())
            }),
        };
        match chunk {
            Some(chunk) => self.chunk(&chunk, room),
            None => Seen::Broken,
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn finish(self: Box<Self>, room: &mut Room) -> Answer {
        let mut answer = self
            .inner
            .map(|inner| inner.finish(room))
            .unwrap_or_default();
        usage::complete(&mut answer.response.usage, self.metrics);
        answer.error = self.error.or(answer.error);
        answer
    }
}
