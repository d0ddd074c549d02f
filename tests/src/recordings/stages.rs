//! Recorded exchanges, fed to the provider and trace stages without a wire.

use super::cassette::{Exchange, events};
use genspan::model::defect::Defects;
use genspan::model::event::ConnectionId;
use genspan::model::exchange::{
    ExchangeId, ExchangeSink as _, Headers, Interest, RequestHead, ResponseHead, SseEvent,
};
use genspan::model::process::{ContentPolicy, ProcessFacts};
use genspan::model::span::Span;
use genspan::model::time::BootTime;
use genspan::protocol::aws_frames::AwsFrames;
use genspan::provider::{Calls, Limits, request_headers, response_headers};
use genspan::redact::Redactor;
use genspan::trace::Spans;
use genspan::vocabulary::Names;

/// Process of all fed exchanges.
const PID: u32 = 4711;

/// Both stages.
pub struct Stages {
    calls: Calls,
    spans: Spans,
    next: u64,
}

impl Default for Stages {
    fn default() -> Self {
        Self::new()
    }
}

impl Stages {
    /// Stages that tell all content.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Names::default())
    }

    /// Stages that tell what is told when nothing is set.
    #[must_use]
    pub fn by_default() -> Self {
        let mut stages = Self::new();
        stages.spans.process(&ProcessFacts {
            pid: PID,
            ..ProcessFacts::default()
        });
        stages
    }

    /// Stages that tell all content, with these names beside those of the conventions.
    #[must_use]
    pub fn with(names: Names) -> Self {
        let mut spans = Spans::new(1);
        // Of parents the recordings say nothing.
        spans.tell_source(false);
        spans.names(names);
        // As the peers do: answers hold links with the key ids and signatures of their owners.
        spans.redact(Redactor::none());
        spans.process(&ProcessFacts {
            pid: PID,
            content: ContentPolicy {
                max_message_chars: usize::MAX,
                ..ContentPolicy::default()
            },
            ..ProcessFacts::default()
        });
        Self {
            calls: Calls::new(Limits::default()),
            spans,
            next: 0,
        }
    }

    /// Feeds one exchange, its response cut after `most` bytes, or events.
    pub fn feed(&mut self, x: &Exchange, most: usize) -> Vec<Span> {
        let id = ExchangeId(self.next);
        self.next += 1;
        let at = |n: u64| BootTime(1_000_000_000 + n * 1_000_000);
        let connection = ConnectionId {
            pid: PID,
            ssl: 1,
            generation: self.next,
        };
        let head = RequestHead {
            method: x.method.clone(),
            path: x.path.clone(),
            query: x.query.clone(),
            host: Some(x.host.clone()),
            headers: kept(request_headers(), &x.request_headers),
            stream: None,
        };
        let sink = &mut self.calls;
        if sink.request_head(id, connection, PID, at(0), &head) == Interest::Unwanted {
            return Vec::new();
        }
        sink.request_body(id, 0, &x.request);
        sink.request_end(id, at(1), Defects::NONE);
        let head = ResponseHead {
            status: x.status,
            headers: kept(response_headers(), &x.response_headers),
        };
        let mut cut = false;
        if sink.response_head(id, at(2), &head) == Interest::Wanted {
            cut = if x.streams() || x.is_framed() || x.is_lines() {
                feed_events(sink, id, x, most)
            } else {
                let n = x.response.len().min(most);
                sink.response_body(id, at(3), 0, x.response.get(..n).unwrap_or_default());
                n < x.response.len()
            };
        }
        let defects = if cut {
            Defects::RESPONSE_CUT
        } else {
            Defects::NONE
        };
        sink.response_end(id, at(1000), defects);
        self.drain()
    }

    /// The spans of calls that go on beyond their exchanges.
    pub fn finish(&mut self) -> Vec<Span> {
        self.calls.flush();
        self.drain()
    }

    fn drain(&mut self) -> Vec<Span> {
        for event in self.calls.drain() {
            self.spans.call(event);
        }
        self.spans.flush();
        self.spans.drain().collect()
    }
}

fn kept(names: impl Iterator<Item = &'static str>, headers: &[(String, String)]) -> Headers {
    let names: Vec<_> = names.collect();
    let mut out = Headers::default();
    for (name, value) in headers {
        if let Some(name) = names.iter().find(|n| *n == name) {
            out.push(name, value.clone());
        }
    }
    out
}

fn feed_events(sink: &mut Calls, id: ExchangeId, x: &Exchange, most: usize) -> bool {
    let mut all = Vec::new();
    if x.is_framed() {
        AwsFrames::new().feed(&x.response, &mut |e: SseEvent<'_>| {
            let data = String::from_utf8_lossy(e.data).into_owned();
            all.push((e.event.to_owned(), data, e.comment.to_owned()));
        });
    } else if x.is_lines() {
        let text = String::from_utf8_lossy(&x.response);
        let lines = text.lines().filter(|l| !l.trim().is_empty());
        all.extend(lines.map(|l| (String::new(), l.to_owned(), String::new())));
    } else {
        let events = events(&x.response).into_iter();
        all.extend(events.map(|(name, data)| (name, data, String::new())));
    }
    for (n, (name, data, comment)) in all.iter().take(most).enumerate() {
        let event = SseEvent {
            event: name,
            data: data.as_bytes(),
            comment,
        };
        sink.response_event(id, BootTime(1_003_000_000 + n as u64 * 1_000_000), event);
    }
    all.len() > most
}
