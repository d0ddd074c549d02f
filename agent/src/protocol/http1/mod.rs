//! HTTP/1.x (RFC 9112) as it goes over one connection, in both directions.
//!
//! Each direction is a small machine: between messages, in a head, in a body, or searching for
//! the next message. What a message means for the other direction is in `request` and
//! `response`. Nothing here can fail: what cannot be followed is counted and searched past.

mod chunked;
mod exchange;
mod framing;
mod half;
mod head;
mod request;
mod response;

pub use chunked::{MAX_EXTENSION_BYTES, MAX_TRAILER_BYTES};
pub use exchange::Counters;
pub use half::MAX_START_BYTES;
pub use head::{MAX_HEAD_BYTES, MAX_HEADER_FIELDS};

use super::content::{RequestBody, ResponseBody};
use super::detect::{self, Looks, Verdict};
use super::{ExchangeIds, Role};
use crate::model::defect::Defects;
use crate::model::event::{ConnectionId, Direction};
use crate::model::exchange::{ExchangeId, ExchangeSink, Headers};
use crate::model::time::BootTime;
use crate::stream::GapReason;
use exchange::Exchange;
use framing::Framing;
use half::Midway;
use head::HeadBuffer;
use std::collections::VecDeque;
use std::fmt;

/// Most exchanges under way at one time; a connection with more is followed no further.
pub const MAX_OPEN_EXCHANGES: usize = 64;

/// Turns of the client that did not start like a request, before any that did, after which the
/// connection is taken for something else.
pub const MAX_FAILED_TURNS: u32 = 3;

/// Bytes of the client before its first request, after which the connection is taken for
/// something else.
pub const MAX_UNSYNCED_BYTES: u64 = 16 << 20;

/// How long nothing must have come of a response of which bytes are missing until it is taken for
/// over, in nanoseconds: most likely its end is among them.
pub const STALE_AFTER: u64 = 60_000_000_000;

/// So far into a head it is checked again and again whether it looks like one.
const CHECKED_START: usize = 64;

/// Kinds of messages: requests go one way, responses the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Request,
    Response,
}

/// Where a direction is.
enum State {
    /// Between messages.
    Start,
    /// In a head.
    Head,
    /// In a body.
    Body(Framing),
    /// Searching for the start of a message, at the starts of pieces; with what the message
    /// that was passed over suffered.
    Resync(Defects),
}

/// One direction.
struct Side<B> {
    state: State,
    head: HeadBuffer,
    /// Time and thread of the first byte of the message under way.
    begun: (BootTime, u32),
    /// Time of the latest bytes.
    last: BootTime,
    /// The body under way, when somebody wants it.
    body: Option<B>,
}

impl<B> Side<B> {
    const fn new() -> Self {
        Self {
            state: State::Start,
            head: HeadBuffer::new(),
            begun: (BootTime(0), 0),
            last: BootTime(0),
            body: None,
        }
    }

    fn is_lost(&self) -> bool {
        matches!(&self.state, State::Body(framing) if framing.is_lost())
    }

    /// Searches for the next message from here on.
    fn resync(&mut self, defects: Defects) {
        self.head.clear();
        self.state = State::Resync(defects);
    }
}

/// The exchange that ended HTTP on a connection, for the stage that follows.
#[derive(Clone, Debug)]
pub struct Switched {
    /// The exchange, which is over.
    pub id: ExchangeId,
    /// The sink wanted it to its end.
    pub wanted: bool,
    /// Headers of its response.
    pub headers: Headers,
    /// Nothing that the client sent after its request is missing.
    pub clean: bool,
    /// When the response was whole.
    pub time: BootTime,
    /// What the server sent after it, in the same piece.
    pub rest: Vec<u8>,
}

/// First bytes of the client that may be the start of HTTP/2's preface.
struct First {
    bytes: Vec<u8>,
    time: BootTime,
    tid: u32,
}

/// One connection.
pub struct Http1 {
    connection: ConnectionId,
    role: Role,
    request: Side<RequestBody>,
    response: Side<ResponseBody>,
    /// Oldest first. Only the last one's request may still be under way, and it is if
    /// `request` is in a body.
    open: VecDeque<Exchange>,
    verdict: Verdict,
    /// `Some` until the first bytes of the client are known not to be HTTP/2's preface.
    first: Option<First>,
    /// `Some` as long as what comes may be of an exchange that was under way when the connection
    /// was first seen.
    midway: Option<Midway>,
    /// Bytes of the client were missed, and no request began since.
    gap_before_request: bool,
    /// The client sends requests before the responses to those before are there.
    pipelines: bool,
    /// It does, and bytes of the server were missed: which response is whose is not known any
    /// more.
    unpaired: bool,
    /// Which way the latest bytes went.
    last_way: Option<Way>,
    failed_turns: u32,
    unsynced_bytes: u64,
    switched: Option<Box<Switched>>,
    counters: Counters,
}

impl fmt::Debug for Http1 {
    /// No bytes of the connection.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1")
            .field("connection", &self.connection)
            .field("role", &self.role)
            .field("verdict", &self.verdict)
            .field("open", &self.open.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Http1 {
    /// For a connection of which nothing was seen yet.
    #[must_use]
    pub const fn new(connection: ConnectionId, role: Role) -> Self {
        Self {
            connection,
            role,
            request: Side::new(),
            response: Side::new(),
            open: VecDeque::new(),
            verdict: Verdict::Undecided,
            first: Some(First {
                bytes: Vec::new(),
                time: BootTime(0),
                tid: 0,
            }),
            midway: Some(Midway::new()),
            gap_before_request: false,
            pipelines: false,
            unpaired: false,
            last_way: None,
            failed_turns: 0,
            unsynced_bytes: 0,
            switched: None,
            counters: Counters {
                exchanges: 0,
                wanted: 0,
                promising: 0,
                half_seen: 0,
                unrequested: 0,
                malformed_heads: 0,
                malformed_bodies: 0,
                resyncs: 0,
                resync_bytes: 0,
                lost_framings: 0,
                unfollowed_bytes: 0,
                stale: 0,
                overflowed: 0,
            },
        }
    }

    /// Takes the next bytes of a direction. A call is a piece: heads are found again only at
    /// the start of one, so the pieces should be those that the process read or wrote.
    pub fn data(
        &mut self,
        direction: Direction,
        time: BootTime,
        tid: u32,
        bytes: &[u8],
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        if bytes.is_empty() {
            return;
        }
        if !self.follows() {
            self.counters.unfollowed_bytes += bytes.len() as u64;
            return;
        }
        let way = self.way(direction);
        match way {
            Way::Request => self.first_request_data(time, tid, bytes, ids, sink),
            Way::Response => self.response_data(time, tid, bytes, ids, sink),
        }
        self.last_way = Some(way);
    }

    /// Bytes of a direction are missing here.
    pub fn gap(
        &mut self,
        direction: Direction,
        time: BootTime,
        missing: u64,
        reason: GapReason,
        sink: &mut impl ExchangeSink,
    ) {
        if missing == 0 || !self.follows() {
            return;
        }
        let skipped = reason == GapReason::Skipped;
        match self.way(direction) {
            Way::Request if skipped => {
                self.request_gap(missing, Defects::REQUEST_OVER_LIMIT, sink);
            }
            Way::Request => self.request_gap(missing, Defects::REQUEST_GAP, sink),
            Way::Response if skipped => {
                self.response_gap(time, missing, Defects::RESPONSE_OVER_LIMIT, sink);
            }
            Way::Response => self.response_gap(time, missing, Defects::RESPONSE_GAP, sink),
        }
    }

    /// The peer ended its direction.
    pub fn end_of_stream(&mut self, time: BootTime, sink: &mut impl ExchangeSink) {
        match self.role {
            Role::Client => {
                let cut = Defects::RESPONSE_CUT.with(Defects::SERVER_ENDED);
                self.end_all(time, true, cut, sink);
            }
            Role::Server => {
                self.end_request(time, Defects::REQUEST_CUT, sink);
                self.request.resync(Defects::NONE);
            }
        }
    }

    /// Nothing happened until now: a response of which bytes are missing is not waited for for
    /// ever.
    pub fn tick(&mut self, now: BootTime, sink: &mut impl ExchangeSink) {
        let State::Body(framing) = &self.response.state else {
            return;
        };
        let missed = framing.is_lost()
            || self.open.front().is_some_and(|e| {
                e.response_defects.has(Defects::RESPONSE_GAP)
                    || e.response_defects.has(Defects::RESPONSE_OVER_LIMIT)
            });
        if missed && now.since(self.response.last) > STALE_AFTER {
            self.counters.stale += 1;
            self.response.resync(Defects::NONE);
            self.end_response(self.response.last, Defects::NONE, false, sink);
        }
    }

    /// The connection is gone: everything under way ends.
    pub fn closed(&mut self, time: BootTime, sink: &mut impl ExchangeSink) {
        // A server that ends a body by closing does so itself.
        let clean = self.role == Role::Server;
        self.end_all(time, clean, Defects::RESPONSE_CUT, sink);
    }

    /// What the connection carries.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// After a verdict of [`Verdict::Http2`]: all that the client sent so far, for the stage
    /// that follows that.
    #[must_use]
    pub fn first_bytes(&self) -> &[u8] {
        self.first.as_ref().map_or(&[], |f| &f.bytes)
    }

    /// After a verdict of [`Verdict::Switched`]: what came of it, once.
    pub fn take_switched(&mut self) -> Option<Box<Switched>> {
        self.switched.take()
    }

    /// What was seen so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Which end of the connection the traced process is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Exchanges under way.
    #[must_use]
    pub fn open_exchanges(&self) -> usize {
        self.open.len()
    }

    /// Bytes of unfinished heads kept now; bodies are never kept here.
    #[must_use]
    pub fn buffered(&self) -> usize {
        let midway = self.midway.as_ref().map_or(0, Midway::buffered);
        self.request.head.bytes().len() + self.response.head.bytes().len() + midway
    }

    const fn follows(&self) -> bool {
        matches!(self.verdict, Verdict::Undecided | Verdict::Http1)
    }

    fn way(&self, direction: Direction) -> Way {
        match (self.role, direction) {
            (Role::Client, Direction::Write) | (Role::Server, Direction::Read) => Way::Request,
            (Role::Client, Direction::Read) | (Role::Server, Direction::Write) => Way::Response,
        }
    }

    /// Keeps the first bytes back for as long as they may be HTTP/2's preface.
    fn first_request_data(
        &mut self,
        time: BootTime,
        tid: u32,
        bytes: &[u8],
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        let Some(mut first) = self.first.take() else {
            self.request_data(time, tid, bytes, ids, sink);
            return;
        };
        let before = first.bytes.len();
        if before == 0 {
            if detect::http2_preface(bytes) == Looks::No {
                self.request_data(time, tid, bytes, ids, sink);
                return;
            }
            (first.time, first.tid) = (time, tid);
        }
        first.bytes.extend_from_slice(bytes);
        match detect::http2_preface(&first.bytes) {
            Looks::No => {
                self.request_data(first.time, first.tid, &first.bytes[..before], ids, sink);
                self.request_data(time, tid, bytes, ids, sink);
            }
            looks => {
                if looks == Looks::Yes {
                    self.verdict = Verdict::Http2;
                }
                self.first = Some(first);
            }
        }
    }

    /// Ends everything under way. `clean` tells that the sender of responses ended its stream;
    /// `cut` is what a response that is not whole suffers.
    fn end_all(&mut self, time: BootTime, clean: bool, cut: Defects, sink: &mut impl ExchangeSink) {
        self.end_request(time, Defects::REQUEST_CUT, sink);
        while !self.open.is_empty() {
            match std::mem::replace(&mut self.response.state, State::Start) {
                State::Body(f) if f.is_lost() => {
                    // Most likely it was whole long ago; its defects tell of the gap.
                    self.end_response(self.response.last, Defects::NONE, false, sink);
                }
                State::Body(Framing::UntilClose) if clean => {
                    self.end_response(time, Defects::NONE, true, sink);
                }
                _ => self.end_response(time, cut, false, sink),
            }
        }
        self.midway = None;
        self.request.resync(Defects::NONE);
        self.response.resync(Defects::NONE);
    }
}

/// Empty lines before a message are passed over (RFC 9112, section 2.2).
fn skip_line_ends(input: &[u8]) -> &[u8] {
    let n = input
        .iter()
        .take_while(|b| matches!(b, b'\r' | b'\n'))
        .count();
    &input[n..]
}

#[cfg(test)]
mod tests;
