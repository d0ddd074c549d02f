//! Heads and trailers of responses.

use super::head::Fields;
use super::{Block, Http2};
use crate::model::defect::Defects;
use crate::model::exchange::{ExchangeSink, Interest};
use crate::model::time::BootTime;
use crate::protocol::content::ResponseBody;

impl Http2 {
    /// A header block of the server.
    pub(super) fn response_block(
        &mut self,
        block: Block,
        fields: Fields,
        time: BootTime,
        sink: &mut impl ExchangeSink,
    ) {
        let newest = self.newest();
        let Some(stream) = self.streams.get_mut(&block.stream) else {
            self.unrequested(block);
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
                        if sink.response_head(id, block.time, &head) == Interest::Unwanted {
                            stream.unwanted();
                        } else {
                            stream.response.body = Some(ResponseBody::new(&head));
                            if unknown {
                                stream.response.defects.add(Defects::HEADERS_UNKNOWN);
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

    /// An answer on a stream that is not followed. Of a stream between the oldest and the newest
    /// the request was seen, and was reset or left out.
    fn unrequested(&mut self, block: Block) {
        let seen = self
            .seen
            .is_some_and(|(oldest, newest)| (oldest..=newest).contains(&block.stream));
        if !seen && block.stream % 2 == 1 {
            // Its answer might be told, as of any exchange whose request was not seen: this is
            // the place.
            self.counters.half_seen += 1;
        }
    }
}
