//! What a message's body is, whatever framing it came in: decoded bytes, or the events of a
//! stream.

use super::body::Decoder;
use super::sse::SseParser;
use crate::model::defect::Defects;
use crate::model::exchange::{ExchangeId, ExchangeSink, Headers, RequestHead, ResponseHead};
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
    events: Option<Box<SseParser>>,
}

impl ResponseBody {
    /// Of a response with this head.
    #[must_use]
    pub fn new(head: &ResponseHead) -> Self {
        Self {
            decoder: Decoder::new(&head.headers),
            events: is_event_stream(&head.headers).then(Box::default),
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
            events: Some(Box::new(events)),
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
            events.finish(whole, &mut |e| sink.response_event(id, time, e));
            defects.add(events.defects());
        }
        defects
    }
}

/// Whether `Content-Type` says `text/event-stream`.
#[must_use]
pub fn is_event_stream(headers: &Headers) -> bool {
    let kind = headers.get("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("text/event-stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_streams_are_told_by_their_type() {
        for (value, want) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; charset=utf-8", true),
            ("text/event-stream;charset=UTF-8", true),
            ("application/json", false),
            ("text/event-streams", false),
        ] {
            let mut headers = Headers::default();
            headers.push("content-type", value.to_owned());
            assert_eq!(is_event_stream(&headers), want, "{value}");
        }
    }
}
