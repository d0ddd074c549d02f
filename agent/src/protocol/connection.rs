//! What one connection carries: HTTP/1 until it turns out to be something else.
//!
//! | From | To | At |
//! | --- | --- | --- |
//! | HTTP/1 | HTTP/2 | the client's preface, or frames where nothing else was seen ([`Early`]) |
//!
//! What takes over is handed all that came before and was not read yet.

use super::detect::{Looks, Verdict};
use super::http1::{self, Http1};
use super::http2::{self, Http2};
use super::{ExchangeIds, Role};
use crate::model::event::{ConnectionId, Direction};
use crate::model::exchange::ExchangeSink;
use crate::model::time::BootTime;
use crate::stream::GapReason;

/// Most bytes kept of a connection of which it is not known yet what it carries.
pub const MAX_EARLY_BYTES: usize = 64 << 10;

/// Who reads the connection now.
enum Reader {
    /// At first, and for good when that is what it carries. After an upgrade its verdict is
    /// [`Verdict::Switched`]: a reader of what was switched to is put in its place by
    /// [`Connection::take_over`].
    Http1(Box<Http1>),
    /// Since the preface, or since its frames were recognised.
    Http2(Box<Http2>),
}

/// One connection.
pub struct Connection {
    id: ConnectionId,
    role: Role,
    reader: Reader,
    /// `Some` as long as it may turn out to be HTTP/2.
    early: Option<Early>,
}

impl Connection {
    /// For a connection of which nothing was seen yet.
    #[must_use]
    pub fn new(id: ConnectionId, role: Role) -> Self {
        Self {
            id,
            role,
            reader: Reader::Http1(Box::new(Http1::new(id, role))),
            early: Some(Early::default()),
        }
    }

    /// Takes the next bytes of a direction: a piece as the process read or wrote it.
    pub fn data(
        &mut self,
        direction: Direction,
        time: BootTime,
        tid: u32,
        bytes: &[u8],
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        match &mut self.reader {
            Reader::Http1(http) => {
                http.data(direction, time, tid, bytes, ids, sink);
                self.take_over(direction, time, tid, bytes, ids, sink);
            }
            Reader::Http2(http) => http.data(direction, time, tid, bytes, ids, sink),
        }
    }

    /// Bytes of a direction are missing here.
    pub fn gap(
        &mut self,
        direction: Direction,
        time: BootTime,
        missing: u64,
        reason: GapReason,
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        match &mut self.reader {
            Reader::Http1(http) => {
                http.gap(direction, time, missing, reason, sink);
                if let Some(early) = &mut self.early {
                    early.gap(self.role, direction);
                }
            }
            Reader::Http2(http) => http.gap(direction, time, missing, reason, ids, sink),
        }
    }

    /// The peer ended its direction.
    pub fn end_of_stream(&mut self, time: BootTime, sink: &mut impl ExchangeSink) {
        match &mut self.reader {
            Reader::Http1(http) => http.end_of_stream(time, sink),
            Reader::Http2(http) => http.end_of_stream(time, sink),
        }
    }

    /// The connection is gone: everything under way ends.
    pub fn closed(&mut self, time: BootTime, sink: &mut impl ExchangeSink) {
        match &mut self.reader {
            Reader::Http1(http) => http.closed(time, sink),
            Reader::Http2(http) => http.closed(time, sink),
        }
    }

    /// Time goes by.
    pub fn tick(&mut self, now: BootTime, sink: &mut impl ExchangeSink) {
        match &mut self.reader {
            Reader::Http1(http) => http.tick(now, sink),
            Reader::Http2(http) => http.tick(now, sink),
        }
    }

    /// Which end of the connection the traced process is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// What the connection carries.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match &self.reader {
            Reader::Http1(http) => match (http.verdict(), &self.early) {
                // The other direction has the last word.
                (Verdict::NotHttp, Some(early)) if early.client.like => Verdict::Undecided,
                (verdict, _) => verdict,
            },
            Reader::Http2(_) => Verdict::Http2,
        }
    }

    /// What was seen of HTTP/1; what that made of the first bytes of HTTP/2 does not count.
    #[must_use]
    pub fn http1(&self) -> http1::Counters {
        match &self.reader {
            Reader::Http1(http) => http.counters(),
            Reader::Http2(_) => http1::Counters::default(),
        }
    }

    /// What was seen of HTTP/2.
    #[must_use]
    pub fn http2(&self) -> http2::Counters {
        match &self.reader {
            Reader::Http1(_) => http2::Counters::default(),
            Reader::Http2(http) => http.counters(),
        }
    }

    /// Puts another reader in the place of HTTP/1's, when this piece made it known that the
    /// connection carries something else.
    fn take_over(
        &mut self,
        direction: Direction,
        time: BootTime,
        tid: u32,
        bytes: &[u8],
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        let (Reader::Http1(http), Some(early)) = (&mut self.reader, &mut self.early) else {
            return;
        };
        let client = client_direction(self.role);
        let mut reader = match http.verdict() {
            Verdict::Http2 => {
                let mut reader = Http2::new(self.id, self.role);
                early.pieces.retain(|piece| piece.direction != client);
                if early.server.dropped {
                    let server = server_direction(self.role);
                    reader.gap(server, time, 1, GapReason::Missing, ids, sink);
                }
                early.pieces.push(Piece {
                    direction: client,
                    time,
                    tid,
                    bytes: http.first_bytes().to_vec(),
                });
                reader
            }
            Verdict::Undecided | Verdict::NotHttp => {
                if !early.piece(self.role, direction, time, tid, bytes) {
                    return;
                }
                Http2::midway(self.id, self.role)
            }
            Verdict::Http1 | Verdict::Switched => {
                self.early = None;
                return;
            }
        };
        for piece in early.pieces.drain(..) {
            let Piece {
                direction,
                time,
                tid,
                bytes,
            } = piece;
            reader.data(direction, time, tid, &bytes, ids, sink);
        }
        // What HTTP/1 took for the middle of something of its own.
        http.closed(time, sink);
        self.early = None;
        self.reader = Reader::Http2(Box::new(reader));
    }
}

/// The first pieces of a connection that nobody could read, kept where they look like frames of
/// HTTP/2: either it was there before we were, or its server spoke before the client's preface.
#[derive(Default)]
struct Early {
    /// In their order; of a direction none, or all since the first that may begin with a frame.
    pieces: Vec<Piece>,
    bytes: usize,
    client: Side,
    server: Side,
}

/// One direction.
#[derive(Default)]
struct Side {
    /// Pieces are kept.
    kept: bool,
    /// One of them was nothing but whole frames.
    like: bool,
    /// Bytes were not kept.
    dropped: bool,
}

/// A piece that is kept.
struct Piece {
    direction: Direction,
    time: BootTime,
    tid: u32,
    bytes: Vec<u8>,
}

impl Early {
    /// Looks at a piece, and tells whether the connection carries HTTP/2.
    fn piece(
        &mut self,
        role: Role,
        direction: Direction,
        time: BootTime,
        tid: u32,
        bytes: &[u8],
    ) -> bool {
        let looks = Http2::looks(role, direction, bytes);
        if self.bytes + bytes.len() > MAX_EARLY_BYTES {
            *self = Self::default();
            (self.client.dropped, self.server.dropped) = (true, true);
        }
        let of_server = direction != client_direction(role);
        let side = if of_server {
            &mut self.server
        } else {
            &mut self.client
        };
        side.like |= looks != Looks::No;
        let first = of_server && !side.dropped && http2::may_be_settings(bytes);
        if side.kept || side.like || first {
            side.kept = true;
            self.bytes += bytes.len();
            self.pieces.push(Piece {
                direction,
                time,
                tid,
                bytes: bytes.to_vec(),
            });
        } else {
            side.dropped = true;
        }
        looks == Looks::Yes || self.client.like && self.server.like
    }

    /// Bytes are missing: what was kept of a direction is of no use.
    fn gap(&mut self, role: Role, direction: Direction) {
        self.pieces.retain(|piece| piece.direction != direction);
        self.bytes = self.pieces.iter().map(|piece| piece.bytes.len()).sum();
        let side = if direction == client_direction(role) {
            &mut self.client
        } else {
            &mut self.server
        };
        *side = Side {
            dropped: true,
            ..Side::default()
        };
    }
}

/// The direction of requests.
const fn client_direction(role: Role) -> Direction {
    match role {
        Role::Client => Direction::Write,
        Role::Server => Direction::Read,
    }
}

const fn server_direction(role: Role) -> Direction {
    match role {
        Role::Client => Direction::Read,
        Role::Server => Direction::Write,
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
