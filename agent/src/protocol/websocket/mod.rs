//! WebSocket (RFC 6455) as it goes over one connection, in both directions, with compressed
//! messages (RFC 7692). It follows upon an exchange of HTTP/1.1; over HTTP/2 (RFC 8441) it is not
//! read.
//!
//! Each side is a row of frames, which are joined to messages. Pings and pongs stand between them
//! and are passed over. Nothing here can fail: what cannot be followed is counted and searched past
//! ([`find`]).
//!
//! A gap within a frame's payload, whose length its head told, takes nothing but a part of that
//! message (and, of compressed ones, whatever refers to it).

mod extension;
mod find;
mod frame;
mod inflate;
mod side;

#[cfg(test)]
mod tests;

pub use extension::{Deflate, Extensions};
pub use find::{Finder, MAX_SEARCH_BYTES};
pub use inflate::MAX_INFLATED_BYTES;
pub use side::MAX_MESSAGE_BYTES;

use super::{ExchangeIds, Role};
use crate::model::event::Direction;
use crate::model::exchange::{ExchangeId, Interest};
use crate::model::time::BootTime;
use crate::model::websocket::{Ending, Message, Sender, WebSocketSink};
use find::Found;
use side::{Said, Side};
use std::fmt;

/// What one connection carried, and what of it could not be followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// WebSockets: one, when the connection carries one.
    pub sockets: u64,
    /// Those of them whose opening was not seen.
    pub half_seen: u64,
    /// Frames.
    pub frames: u64,
    /// Messages told.
    pub messages: u64,
    /// Things that are no frames, and frames that have no place where they are.
    pub malformed_frames: u64,
    /// Times that it was lost where a frame begins.
    pub losses: u64,
    /// Bytes dropped in the search for the next one.
    pub resync_bytes: u64,
    /// Compressed messages that are broken, incomplete or too large.
    pub undecodable: u64,
    /// Compressed messages that refer to something that was not seen: they are not told.
    pub uncertain: u64,
    /// Texts of which only the beginning was kept.
    pub over_limit: u64,
    /// Bytes after a close frame.
    pub unfollowed_bytes: u64,
}

/// One connection, from its switch to WebSocket on.
pub struct WebSocket {
    id: ExchangeId,
    role: Role,
    client: Side,
    server: Side,
    /// Somebody wants to hear of it, and it is not over.
    told: bool,
    /// Somebody wants to hear of it.
    wanted: bool,
    ending: Ending,
    closes: u8,
    counters: Counters,
}

impl fmt::Debug for WebSocket {
    /// No bytes of the connection.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("id", &self.id)
            .field("role", &self.role)
            .field("wanted", &self.wanted)
            .field("ending", &self.ending)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl WebSocket {
    /// From its opening on, by the exchange `id`. `clean` says that no byte of the client is
    /// missing.
    #[must_use]
    pub fn new(id: ExchangeId, role: Role, extensions: Extensions, clean: bool) -> Self {
        let client = Sender::Client;
        Self {
            id,
            role,
            client: if clean {
                Side::new(client, extensions)
            } else {
                Side::searching(Finder::new(client, extensions), client, extensions)
            },
            server: Side::new(Sender::Server, extensions),
            told: true,
            wanted: true,
            ending: Ending::default(),
            closes: 0,
            counters: Counters {
                sockets: 1,
                ..Counters::default()
            },
        }
    }

    /// Of which the opening was not seen: a frame of one side was found, and its bytes are to
    /// follow; the other's is still searched for.
    fn midway(id: ExchangeId, role: Role, found: Sender, other: Finder) -> Self {
        let mut socket = Self::new(id, role, Extensions::Unseen, true);
        let lost = match found {
            Sender::Client => Sender::Server,
            Sender::Server => Sender::Client,
        };
        *socket.side(lost) = Side::searching(other, lost, Extensions::Unseen);
        socket.counters.half_seen = 1;
        socket
    }

    /// Takes the next bytes of a direction. A call is a piece: frames are found again only at
    /// the start of one, so the pieces should be those that the process read or wrote.
    pub fn data(
        &mut self,
        direction: Direction,
        time: BootTime,
        tid: u32,
        bytes: &[u8],
        ids: &mut ExchangeIds,
        sink: &mut impl WebSocketSink,
    ) {
        let sender = sender(self.role, direction);
        self.on_side(sender, time, ids, sink, |side, counters, say| {
            side.piece(bytes, (time, tid), counters, say);
        });
        if self.closes == 2 {
            self.end(time, ids, sink);
        }
    }

    /// Bytes of a direction are missing here.
    pub fn gap(
        &mut self,
        direction: Direction,
        time: BootTime,
        missing: u64,
        ids: &mut ExchangeIds,
        sink: &mut impl WebSocketSink,
    ) {
        if missing > 0 {
            let sender = sender(self.role, direction);
            self.on_side(sender, time, ids, sink, |side, counters, say| {
                side.gap(missing, counters, say);
            });
        }
    }

    /// The peer ended its direction: it says nothing more, and wants to hear nothing.
    pub fn end_of_stream(
        &mut self,
        time: BootTime,
        ids: &mut ExchangeIds,
        sink: &mut impl WebSocketSink,
    ) {
        self.ending.server_ended = self.role == Role::Client && self.ending.close.is_none();
        self.end(time, ids, sink);
    }

    /// The connection is gone.
    pub fn closed(&mut self, time: BootTime, ids: &mut ExchangeIds, sink: &mut impl WebSocketSink) {
        self.end(time, ids, sink);
    }

    /// Whether somebody wants to hear of it.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// What was seen so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Bytes of messages under way kept now, without the windows of compression.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.client.buffered() + self.server.buffered()
    }

    fn side(&mut self, sender: Sender) -> &mut Side {
        match sender {
            Sender::Client => &mut self.client,
            Sender::Server => &mut self.server,
        }
    }

    /// Does something with a side, and tells what it says.
    fn on_side(
        &mut self,
        sender: Sender,
        time: BootTime,
        ids: &mut ExchangeIds,
        sink: &mut impl WebSocketSink,
        act: impl FnOnce(&mut Side, &mut Counters, &mut dyn FnMut(Said<'_>)),
    ) {
        if !self.told {
            return;
        }
        let (id, mut counters) = (self.id, self.counters);
        let (mut messages, mut wanted, mut close) = (0, true, None);
        let mut say = |said: Said<'_>| match said {
            _ if !wanted => {}
            Said::Gap => sink.socket_gap(id, sender),
            Said::Close(status) => close = Some(status),
            Said::Message {
                payload,
                length,
                whole,
                begun: (begun, tid),
            } => {
                messages += 1;
                let message = Message {
                    id: ids.next(),
                    sender,
                    tid,
                    begun,
                    time,
                    payload,
                    length,
                    whole,
                };
                wanted = sink.socket_message(id, &message) == Interest::Wanted;
            }
        };
        act(self.side(sender), &mut counters, &mut say);
        counters.messages += messages;
        self.counters = counters;
        if let Some(status) = close {
            self.ending.close.get_or_insert((sender, status));
            self.closes += 1;
        }
        if !wanted {
            (self.told, self.wanted) = (false, false);
        }
    }

    fn end(&mut self, time: BootTime, ids: &mut ExchangeIds, sink: &mut impl WebSocketSink) {
        for sender in [Sender::Client, Sender::Server] {
            self.on_side(sender, time, ids, sink, |side, counters, say| {
                side.end(counters, say);
            });
        }
        if std::mem::take(&mut self.told) {
            sink.socket_closed(self.id, time, self.ending);
        }
    }
}

/// Searches for a WebSocket on a connection of which it is not known what it carries.
#[derive(Debug)]
pub struct Search {
    role: Role,
    client: Finder,
    server: Finder,
}

/// A WebSocket that was found.
#[derive(Debug)]
pub struct Midway {
    search: Search,
    sender: Sender,
    found: Found,
}

impl Search {
    /// Of which nothing was seen yet.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self {
            role,
            client: Finder::new(Sender::Client, Extensions::Unseen),
            server: Finder::new(Sender::Server, Extensions::Unseen),
        }
    }

    /// Looks at a piece; gives the WebSocket, if that is what the connection carries for sure.
    ///
    /// # Errors
    ///
    /// Itself, when that is not certain yet.
    pub fn piece(
        mut self: Box<Self>,
        direction: Direction,
        time: BootTime,
        tid: u32,
        bytes: &[u8],
    ) -> Result<Midway, Box<Self>> {
        let sender = sender(self.role, direction);
        let finder = match sender {
            Sender::Client => &mut self.client,
            Sender::Server => &mut self.server,
        };
        match finder.piece(bytes, (time, tid)) {
            None => Err(self),
            Some(found) => Ok(Midway {
                search: *self,
                sender,
                found,
            }),
        }
    }

    /// Bytes of a direction are missing here.
    pub fn gap(&mut self, direction: Direction) {
        match sender(self.role, direction) {
            Sender::Client => self.client.gap(),
            Sender::Server => self.server.gap(),
        }
    }
}

impl Midway {
    /// Time and thread of the first byte that was understood.
    #[must_use]
    pub const fn begun(&self) -> (BootTime, u32) {
        self.found.begun
    }

    /// The reader of it, under this id; it tells at once what was found.
    #[must_use]
    pub fn open(
        self,
        id: ExchangeId,
        time: BootTime,
        ids: &mut ExchangeIds,
        sink: &mut impl WebSocketSink,
    ) -> WebSocket {
        let Search {
            role,
            client,
            server,
        } = self.search;
        let other = match self.sender {
            Sender::Client => server,
            Sender::Server => client,
        };
        let mut socket = WebSocket::midway(id, role, self.sender, other);
        let Found { bytes, begun } = self.found;
        socket.on_side(self.sender, time, ids, sink, |side, counters, say| {
            side.piece(&bytes, begun, counters, say);
        });
        socket
    }
}

/// Who sends what goes in a direction.
const fn sender(role: Role, direction: Direction) -> Sender {
    match (role, direction) {
        (Role::Client, Direction::Write) | (Role::Server, Direction::Read) => Sender::Client,
        (Role::Client, Direction::Read) | (Role::Server, Direction::Write) => Sender::Server,
    }
}
