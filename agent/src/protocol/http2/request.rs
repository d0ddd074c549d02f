//! Heads and trailers of requests.

use super::head::Fields;
use super::stream::Stream;
use super::{Block, Http2, MAX_STREAMS, PATIENCE};
use crate::model::defect::Defects;
use crate::model::exchange::{ExchangeSink, Interest};
use crate::model::time::BootTime;
use crate::protocol::ExchangeIds;
use crate::protocol::content::RequestBody;

impl Http2 {
    /// A header block of the client.
    pub(super) fn request_block(
        &mut self,
        block: Block,
        fields: Fields,
        time: BootTime,
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        if self.is_new(block.stream) {
            self.begin_exchange(block, fields, ids, sink);
        }
        // Otherwise these are trailers, of which nothing is wanted.
        if block.end_stream {
            self.end_message(super::Way::Request, block.stream, time, sink);
        }
    }

    /// A head that cannot be read.
    pub(super) fn broken_request(&mut self, block: Block, sink: &mut impl ExchangeSink) {
        if self.is_new(block.stream) {
            self.open(block, None, false, sink);
        }
    }

    /// Streams of a client are opened in the order of their numbers (RFC 9113, section 5.1.1). Of
    /// one that was answered before, these are trailers.
    fn is_new(&self, number: u32) -> bool {
        let newer = self.seen.is_none_or(|(_, newest)| number > newest);
        number % 2 == 1 && newer && !self.streams.contains_key(&number)
    }

    fn begin_exchange(
        &mut self,
        block: Block,
        fields: Fields,
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        let unknown = fields.unknown > 0;
        let grpc = fields.is_grpc();
        let Some(head) = fields.request(block.stream) else {
            if unknown {
                self.counters.unknown_heads += 1;
                if self.make_room(block, sink) {
                    self.note(block.stream);
                    self.begin_half_seen(block.stream, (block.time, block.tid), ids, sink);
                }
            } else {
                self.counters.malformed_heads += 1;
                self.open(block, None, false, sink);
            }
            return;
        };
        if !self.make_room(block, sink) {
            return;
        }
        let id = ids.next();
        let interest = sink.request_head(id, self.connection, block.tid, block.time, &head);
        let (wanted, bodies) = (interest != Interest::Unwanted, interest == Interest::Wanted);
        self.counters.exchanges += 1;
        self.counters.wanted += u64::from(bodies);
        self.counters.promising += u64::from(!bodies && sink.expects_calls(&head));
        self.counters.grpc += u64::from(grpc);
        self.open(block, Some(id), wanted, sink);
        if let Some(stream) = self.streams.get_mut(&block.stream)
            && wanted
        {
            stream.request.body = bodies.then(|| RequestBody::new(&head));
            if unknown {
                stream.request.defects.add(Defects::HEADERS_UNKNOWN);
            }
        }
    }

    /// Whether one more stream may be followed. One that is not is forgotten at once.
    fn make_room(&mut self, block: Block, sink: &mut impl ExchangeSink) -> bool {
        self.end_silent(block, sink);
        let room = self.streams.len() < MAX_STREAMS;
        if !room {
            self.counters.overflowed += 1;
            self.note(block.stream);
        }
        room
    }

    fn open(
        &mut self,
        block: Block,
        id: Option<crate::model::exchange::ExchangeId>,
        wanted: bool,
        sink: &mut impl ExchangeSink,
    ) {
        if id.is_none() && !self.make_room(block, sink) {
            return;
        }
        self.note(block.stream);
        let mut stream = Stream::new(id, wanted, block.time, block.stream);
        // Frames of a stream of which nothing is told need not be waited for.
        stream.request.lost = id.is_none();
        self.streams.insert(block.stream, stream);
    }

    fn note(&mut self, number: u32) {
        let oldest = self.seen.map_or(number, |(oldest, _)| oldest);
        self.seen = Some((oldest, number));
    }

    /// Streams whose end was missed, most likely: many newer ones came, and nothing of them.
    fn end_silent(&mut self, block: Block, sink: &mut impl ExchangeSink) {
        let silent = |stream: &Stream| {
            stream.response.lost && block.stream.saturating_sub(stream.newest) > 2 * PATIENCE
        };
        self.streams.retain(|_, stream| {
            let over = silent(stream);
            if over {
                stream.end(block.time, Defects::NONE, sink);
            }
            !over
        });
    }
}
