//! What a message's body is, whatever framing it came in: decoded bytes, or the events of a
//! stream.

use super::aws_frames::AwsFrames;
use super::body::Decoder;
use super::lines::JsonLines;
use super::sse::SseParser;
use crate::model::defect::Defects;
use crate::model::exchange::{
    ExchangeId, ExchangeSink, Headers, RequestHead, ResponseHead, SseEvent,
};
use crate::model::time::BootTime;

/// The body of one request.
pub struct RequestBody {
    decoder: Decoder,
}

impl RequestBody {
    /// Of a request with this head.
    #[must_use]
    pub fn new(head: &RequestHead) -> Self {
        Self {
            decoder: Decoder::new(&head.headers),
        }
    }

    /// Takes bytes free of framing.
    pub fn data(&mut self, id: ExchangeId, bytes: &[u8], sink: &mut impl ExchangeSink) {
        self.decoder
            .feed(bytes, &mut |b| sink.request_body(id, 0, b));
    }

    /// Bytes are missing here.
    pub fn gap(&mut self, id: ExchangeId, missing: u64, sink: &mut impl ExchangeSink) {
        self.decoder.gap();
        sink.request_body(id, missing, &[]);
    }

    /// The body is over, `whole` or cut; what was wrong with it.
    pub fn finish(mut self, whole: bool) -> Defects {
        self.decoder.finish(whole)
    }
}

/// The body of one response.
pub struct ResponseBody {
    decoder: Decoder,
    events: Option<Events>,
}

/// A body that comes as events, by its type.
enum Events {
    /// `text/event-stream`
    Sse(Box<SseParser>),
    /// `application/x-ndjson` and its other names.
    Lines(JsonLines),
    /// `application/vnd.amazon.eventstream`
    Frames(AwsFrames),
}

impl Events {
    fn of(headers: &Headers) -> Option<Self> {
        let kind = headers.get("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| kind.eq_ignore_ascii_case(name);
        if is("text/event-stream") {
            Some(Self::Sse(Box::default()))
        } else if LINES.into_iter().any(is) {
            Some(Self::Lines(JsonLines::new()))
        } else if is("application/vnd.amazon.eventstream") {
            Some(Self::Frames(AwsFrames::new()))
        } else {
            None
        }
    }

    fn feed(&mut self, bytes: &[u8], out: &mut impl FnMut(SseEvent<'_>)) {
        match self {
            Self::Sse(events) => events.feed(bytes, out),
            Self::Lines(lines) => lines.feed(bytes, out),
            Self::Frames(frames) => frames.feed(bytes, out),
        }
    }

    fn gap(&mut self) {
        match self {
            Self::Sse(events) => events.gap(),
            Self::Lines(lines) => lines.gap(),
            Self::Frames(frames) => frames.gap(),
        }
    }

    fn finish(&mut self, whole: bool, out: &mut impl FnMut(SseEvent<'_>)) -> Defects {
        match self {
            Self::Sse(events) => {
                events.finish(whole, out);
                events.defects()
            }
            Self::Lines(lines) => {
                lines.finish(whole, out);
                lines.defects()
            }
            Self::Frames(frames) => {
                frames.finish(whole);
                frames.defects()
            }
        }
    }
}

/// Names under which JSON comes line by line. Cohere's `stream+json` is such, too.
const LINES: [&str; 5] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/jsonlines",
    "application/stream+json",
];

impl ResponseBody {
    /// Of a response with this head.
    #[must_use]
    pub fn new(head: &ResponseHead) -> Self {
        Self {
            decoder: Decoder::new(&head.headers),
            events: Events::of(&head.headers),
        }
    }

    /// Of a response of which only a later part is seen, from a place on where a line of an event
    /// stream starts. That it can be read there shows that it has no content coding.
    #[must_use]
    pub fn middle_of_events() -> Self {
        let mut events = SseParser::new();
        events.gap();
        Self {
            decoder: Decoder::for_codings(std::iter::empty()),
            events: Some(Events::Sse(Box::new(events))),
        }
    }

    /// Whether it is an event stream.
    #[must_use]
    pub const fn is_events(&self) -> bool {
        self.events.is_some()
    }

    /// Takes bytes free of framing.
    pub fn data(
        &mut self,
        id: ExchangeId,
        time: BootTime,
        bytes: &[u8],
        sink: &mut impl ExchangeSink,
    ) {
        match &mut self.events {
            Some(events) => self.decoder.feed(bytes, &mut |b| {
                events.feed(b, &mut |e| sink.response_event(id, time, e));
            }),
            None => self
                .decoder
                .feed(bytes, &mut |b| sink.response_body(id, time, 0, b)),
        }
    }

    /// Bytes are missing here.
    pub fn gap(
        &mut self,
        id: ExchangeId,
        time: BootTime,
        missing: u64,
        sink: &mut impl ExchangeSink,
    ) {
        self.decoder.gap();
        match &mut self.events {
            Some(events) => events.gap(),
            None => sink.response_body(id, time, missing, &[]),
        }
    }

    /// The body is over, `whole` or cut; what was wrong with it.
    pub fn finish(
        mut self,
        id: ExchangeId,
        time: BootTime,
        whole: bool,
        sink: &mut impl ExchangeSink,
    ) -> Defects {
        let mut defects = self.decoder.finish(whole);
        if let Some(events) = &mut self.events {
            defects.add(events.finish(whole, &mut |e| sink.response_event(id, time, e)));
        }
        defects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_by_their_type() {
        for (value, want) in [
            ("text/event-stream", "sse"),
            ("Text/Event-Stream; charset=utf-8", "sse"),
            ("text/event-stream;charset=UTF-8", "sse"),
            ("application/x-ndjson", "lines"),
            ("application/vnd.amazon.eventstream", "frames"),
            ("application/json", ""),
            ("text/event-streams", ""),
        ] {
            let mut headers = Headers::default();
            headers.push("content-type", value.to_owned());
            let got = match Events::of(&headers) {
                Some(Events::Sse(_)) => "sse",
                Some(Events::Lines(_)) => "lines",
                Some(Events::Frames(_)) => "frames",
                None => "",
            };
            assert_eq!(got, want, "{value}");
        }
    }
}
