//! Heads and trailers of responses.

use super::head::Fields;
use super::start::{Start, begins_event};
use super::stream::Stream;
use super::{Block, Http2, MAX_STREAMS};
use crate::model::defect::Defects;
use crate::model::exchange::{ExchangeSink, Interest};
use crate::model::time::BootTime;
use crate::protocol::ExchangeIds;
use crate::protocol::content::ResponseBody;

impl Http2 {
    /// A header block of the server.
    pub(super) fn response_block(
        &mut self,
        block: Block,
        fields: Fields,
        time: BootTime,
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        // Not trailers, as far as is known.
        let head = fields.has_status() || fields.unknown > 0 && !block.end_stream;
        if head && self.is_unseen(block.stream) {
            self.begin_half_seen(block.stream, (block.time, block.tid), ids, sink);
        }
        let newest = self.newest();
        let Some(stream) = self.streams.get_mut(&block.stream) else {
            return;
        };
        (stream.last, stream.newest) = (time, newest);
        // Otherwise these are trailers, of which nothing is wanted.
        if !stream.answered && stream.response.done.is_none() {
            let unknown = fields.unknown > 0;
            match fields.response() {
                // Interim: the final one is still to come (RFC 9113, section 8.1).
                Some(head) if head.status < 200 && !block.end_stream => return,
                Some(head) => {
                    stream.answered = true;
                    if let Some(id) = stream.told() {
                        match sink.response_head(id, block.time, &head) {
                            Interest::Unwanted => stream.unwanted(),
                            Interest::Outline => stream.request.body = None,
                            Interest::Wanted if unknown => {
                                stream.response.defects.add(Defects::HEADERS_UNKNOWN);
                                stream.start = Some(Start::new(head.headers));
                            }
                            Interest::Wanted => {
                                stream.response.body = Some(ResponseBody::new(&head));
                            }
                        }
                    }
                }
                None if unknown => stream.response.defects.add(Defects::HEADERS_UNKNOWN),
                None => {
                    self.counters.malformed_heads += 1;
                    stream.response.defects.add(Defects::RESPONSE_MALFORMED);
                }
            }
        }
        if block.end_stream {
            self.end_message(super::Way::Response, block.stream, time, sink);
        }
    }

    /// A head that cannot be read.
    pub(super) fn broken_response(&mut self, block: Block, sink: &mut impl ExchangeSink) {
        if let Some(stream) = self.streams.get_mut(&block.stream) {
            if !stream.answered {
                stream.response.defects.add(Defects::RESPONSE_MALFORMED);
            }
            if block.end_stream {
                self.end_message(super::Way::Response, block.stream, block.time, sink);
            }
        }
    }

    /// Content of a stream that is not followed: of an event stream that was under way when the
    /// connection was first seen it can be told from where an event begins.
    pub(super) fn unrequested_data(
        &mut self,
        number: u32,
        at: (BootTime, u32),
        bytes: &[u8],
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        if !begins_event(bytes) || !self.is_unseen(number) {
            return;
        }
        self.begin_half_seen(number, at, ids, sink);
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.answered = true;
            if stream.told().is_some() {
                stream.response.body = Some(ResponseBody::middle_of_events());
                stream.response_data(at.0, bytes, sink);
            }
        }
    }

    /// Whether the request of a stream was not seen. Of one between the oldest and the newest it
    /// was, and was reset or left out.
    fn is_unseen(&self, number: u32) -> bool {
        let seen = self
            .seen
            .is_some_and(|(oldest, newest)| (oldest..=newest).contains(&number));
        number % 2 == 1 && !seen && !self.streams.contains_key(&number)
    }

    /// An exchange whose request was not seen, or could not be read: its response must tell.
    pub(super) fn begin_half_seen(
        &mut self,
        number: u32,
        (time, tid): (BootTime, u32),
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        if self.streams.len() >= MAX_STREAMS {
            self.counters.overflowed += 1;
            return;
        }
        self.counters.half_seen += 1;
        let id = ids.next();
        let wanted = sink.half_seen(id, self.connection, tid, time) == Interest::Wanted;
        let stream = Stream::half_seen(id, wanted, time, self.newest());
        self.streams.insert(number, stream);
    }
}
