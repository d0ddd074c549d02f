//! What one connection carries: HTTP/1 until it turns out to be something else.
//!
//! | From | To | At |
//! | --- | --- | --- |
//! | HTTP/1 | HTTP/2 | the client's preface, or frames where nothing else was seen ([`Early`]) |
//! | HTTP/1 | WebSocket | a response `101` to a request that the sink wanted; or a message where nothing else was seen ([`Search`]) |
//!
//! What takes over is handed all that came before and was not read yet.

use super::detect::{Looks, Verdict};
use super::http1::{self, Http1};
use super::http2::{self, Http2};
use super::websocket::{self, Extensions, Search, WebSocket};
use super::{ExchangeIds, Role};
use crate::model::event::{ConnectionId, Direction};
use crate::model::exchange::{ExchangeSink, Interest};
use crate::model::time::BootTime;
use crate::model::websocket::WebSocketSink;
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
    /// Since the switch, or since a message was recognised; with what was seen of HTTP/1 before.
    WebSocket(Box<WebSocket>, http1::Counters),
}

/// One connection.
pub struct Connection {
    id: ConnectionId,
    role: Role,
    reader: Reader,
    /// `Some` as long as it may turn out to be HTTP/2.
    early: Option<Early>,
    /// `Some` as long as it may turn out to be a WebSocket that was there before we were.
    search: Option<Box<Search>>,
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
            search: Some(Box::new(Search::new(role))),
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
        sink: &mut (impl ExchangeSink + WebSocketSink),
    ) {
        match &mut self.reader {
            Reader::Http1(http) => {
                http.data(direction, time, tid, bytes, ids, sink);
                self.take_over(direction, time, tid, bytes, ids, sink);
                self.take_over_websocket(direction, time, tid, bytes, ids, sink);
            }
            Reader::Http2(http) => http.data(direction, time, tid, bytes, ids, sink),
            Reader::WebSocket(socket, _) => socket.data(direction, time, tid, bytes, ids, sink),
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
        sink: &mut (impl ExchangeSink + WebSocketSink),
    ) {
        match &mut self.reader {
            Reader::Http1(http) => {
                http.gap(direction, time, missing, reason, sink);
                if let Some(early) = &mut self.early {
                    early.gap(self.role, direction);
                }
                if let Some(search) = &mut self.search {
                    search.gap(direction);
                }
            }
            Reader::Http2(http) => http.gap(direction, time, missing, reason, ids, sink),
            Reader::WebSocket(socket, _) => socket.gap(direction, time, missing, ids, sink),
        }
    }

    /// The peer ended its direction.
    pub fn end_of_stream(
        &mut self,
        time: BootTime,
        ids: &mut ExchangeIds,
        sink: &mut (impl ExchangeSink + WebSocketSink),
    ) {
        match &mut self.reader {
            Reader::Http1(http) => http.end_of_stream(time, sink),
            Reader::Http2(http) => http.end_of_stream(time, sink),
            Reader::WebSocket(socket, _) => socket.end_of_stream(time, ids, sink),
        }
    }

    /// The connection is gone: everything under way ends.
    pub fn closed(
        &mut self,
        time: BootTime,
        ids: &mut ExchangeIds,
        sink: &mut (impl ExchangeSink + WebSocketSink),
    ) {
        match &mut self.reader {
            Reader::Http1(http) => http.closed(time, sink),
            Reader::Http2(http) => http.closed(time, sink),
            Reader::WebSocket(socket, _) => socket.closed(time, ids, sink),
        }
    }

    /// Time goes by.
    pub fn tick(&mut self, now: BootTime, sink: &mut (impl ExchangeSink + WebSocketSink)) {
        match &mut self.reader {
            Reader::Http1(http) => http.tick(now, sink),
            Reader::Http2(http) => http.tick(now, sink),
            Reader::WebSocket(..) => {}
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
            Reader::WebSocket(socket, _) if socket.is_wanted() => Verdict::WebSocket,
            Reader::WebSocket(..) => Verdict::Switched,
        }
    }

    /// What was seen of HTTP/1; what that made of the first bytes of HTTP/2 does not count.
    #[must_use]
    pub fn http1(&self) -> http1::Counters {
        match &self.reader {
            Reader::Http1(http) => http.counters(),
            Reader::Http2(_) => http1::Counters::default(),
            Reader::WebSocket(_, before) => *before,
        }
    }

    /// What was seen of HTTP/2.
    #[must_use]
    pub fn http2(&self) -> http2::Counters {
        match &self.reader {
            Reader::Http1(_) | Reader::WebSocket(..) => http2::Counters::default(),
            Reader::Http2(http) => http.counters(),
        }
    }

    /// What was seen of WebSocket.
    #[must_use]
    pub fn websocket(&self) -> websocket::Counters {
        match &self.reader {
            Reader::Http1(_) | Reader::Http2(_) => websocket::Counters::default(),
            Reader::WebSocket(socket, _) => socket.counters(),
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
        sink: &mut (impl ExchangeSink + WebSocketSink),
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
            Verdict::Http1 | Verdict::Switched | Verdict::WebSocket => {
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
        (self.early, self.search) = (None, None);
        self.reader = Reader::Http2(Box::new(reader));
    }

    /// The same for WebSocket: after a switch, or in mid-connection.
    fn take_over_websocket(
        &mut self,
        direction: Direction,
        time: BootTime,
        tid: u32,
        bytes: &[u8],
        ids: &mut ExchangeIds,
        sink: &mut (impl ExchangeSink + WebSocketSink),
    ) {
        let Reader::Http1(http) = &mut self.reader else {
            return;
        };
        let socket = match http.verdict() {
            Verdict::Switched => {
                self.search = None;
                let Some(switched) = http.take_switched().filter(|s| s.wanted) else {
                    return;
                };
                let Some(extensions) = Extensions::of(&switched) else {
                    return;
                };
                let id = switched.id;
                if sink.socket_opened(id, switched.time) == Interest::Unwanted {
                    return;
                }
                let mut socket = WebSocket::new(id, self.role, extensions, switched.clean);
                if !switched.rest.is_empty() {
                    let server = server_direction(self.role);
                    socket.data(server, time, tid, &switched.rest, ids, sink);
                }
                socket
            }
            Verdict::Undecided | Verdict::NotHttp => {
                let Some(search) = self.search.take() else {
                    return;
                };
                let found = match search.piece(direction, time, tid, bytes) {
                    Ok(found) => found,
                    Err(search) => {
                        self.search = Some(search);
                        return;
                    }
                };
                http.closed(time, sink);
                let (begun, tid) = found.begun();
                let id = ids.next();
                if sink.socket_half_seen(id, self.id, tid, begun) == Interest::Unwanted {
                    return;
                }
                found.open(id, time, ids, sink)
            }
            Verdict::Http1 | Verdict::Http2 | Verdict::WebSocket => {
                self.search = None;
                return;
            }
        };
        self.early = None;
        self.reader = Reader::WebSocket(Box::new(socket), http.counters());
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
