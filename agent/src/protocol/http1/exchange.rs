//! Exchanges under way on a connection.

use crate::model::defect::Defects;
use crate::model::exchange::ExchangeId;
use crate::model::time::BootTime;

/// One exchange, from its request's head to the end of both its messages.
pub(super) struct Exchange {
    pub(super) id: ExchangeId,
    /// First byte of its request, or of what was seen of it.
    pub(super) begun: BootTime,
    /// The sink still wants to hear of it.
    pub(super) wanted: bool,
    /// It was under way when the connection was first seen: its request was not seen.
    pub(super) half: bool,
    /// Bytes of the client are missing right before its request.
    pub(super) after_gap: bool,
    /// The method is HEAD: the response has no body, whatever its head says.
    pub(super) head: bool,
    /// The method is CONNECT: a 2xx response ends HTTP.
    pub(super) connect: bool,
    /// The request's body may never come: `Expect: 100-continue` waits for an answer.
    pub(super) awaits_continue: bool,
    /// The request is over, one way or the other.
    pub(super) request_done: bool,
    /// When the response was over, if it is; it waits for the request's end then.
    pub(super) response_done: Option<BootTime>,
    /// Something of its response came, or was missed.
    pub(super) answered: bool,
    /// Of the request.
    pub(super) request_defects: Defects,
    /// Of the response.
    pub(super) response_defects: Defects,
}

impl Exchange {
    /// That begins with its request.
    pub(super) const fn new(id: ExchangeId, begun: BootTime, wanted: bool) -> Self {
        Self {
            id,
            begun,
            wanted,
            half: false,
            after_gap: false,
            head: false,
            connect: false,
            awaits_continue: false,
            request_done: false,
            response_done: None,
            answered: false,
            request_defects: Defects::NONE,
            response_defects: Defects::NONE,
        }
    }

    /// That was under way when the connection was first seen.
    pub(super) const fn half_seen(id: ExchangeId, begun: BootTime, wanted: bool) -> Self {
        Self {
            half: true,
            request_done: true,
            response_defects: Defects::ATTACHED_MIDWAY,
            ..Self::new(id, begun, wanted)
        }
    }
}

/// What one connection carried, and what of it could not be followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Exchanges seen from their request on.
    pub exchanges: u64,
    /// Those the sink wanted.
    pub wanted: u64,
    /// Others with whom calls may be expected.
    pub promising: u64,
    /// Exchanges under way when the connection was first seen; one at most. It is told as far as
    /// its response can be read.
    pub half_seen: u64,
    /// Responses whose request was not seen.
    pub unrequested: u64,
    /// Heads that were malformed, too long or had too many fields.
    pub malformed_heads: u64,
    /// Bodies whose framing was malformed.
    pub malformed_bodies: u64,
    /// Times that the start of the next message had to be searched for.
    pub resyncs: u64,
    /// Bytes dropped in that search.
    pub resync_bytes: u64,
    /// Bodies whose framing a gap took away.
    pub lost_framings: u64,
    /// Bytes after a change of protocol.
    pub unfollowed_bytes: u64,
    /// Responses given up because nothing came after bytes of them were missed.
    pub stale: u64,
    /// Exchanges ended because more were under way than a connection may have.
    pub overflowed: u64,
}
