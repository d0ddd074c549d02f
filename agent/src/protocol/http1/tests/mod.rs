//! Conversations, and what a sink is told of them.

mod framing;
mod gaps;
mod lifecycle;
mod splits;

use super::*;
use crate::protocol::recorder::Recorder;

/// A step of a conversation.
#[derive(Clone, Copy)]
pub(super) enum Say<'a> {
    /// Bytes of the client.
    Q(&'a [u8]),
    /// Bytes of the server.
    R(&'a [u8]),
    /// Lost bytes of the client.
    LostQ(u64),
    /// Lost bytes of the server.
    LostR(u64),
    /// Bytes of the server over the limit.
    SkipR(u64),
    /// Bytes of the client over the limit.
    SkipQ(u64),
    /// The server ended its stream.
    Eof,
    /// The connection is gone.
    Closed,
}
pub(super) use Say::*;

pub(super) struct Talk {
    pub(super) http: Http1,
    pub(super) sink: Recorder,
    ids: ExchangeIds,
    now: u64,
}

impl Talk {
    pub(super) fn new(role: Role) -> Self {
        let connection = ConnectionId {
            pid: 1,
            ssl: 2,
            generation: 3,
        };
        Self {
            http: Http1::new(connection, role),
            sink: Recorder::default(),
            ids: ExchangeIds::default(),
            now: 0,
        }
    }

    pub(super) fn say(&mut self, say: Say<'_>) {
        self.now += 1;
        let now = BootTime(self.now);
        let (http, sink, ids) = (&mut self.http, &mut self.sink, &mut self.ids);
        let (q, r) = match http.role() {
            Role::Client => (Direction::Write, Direction::Read),
            Role::Server => (Direction::Read, Direction::Write),
        };
        match say {
            Q(bytes) => http.data(q, now, 7, bytes, ids, sink),
            R(bytes) => http.data(r, now, 8, bytes, ids, sink),
            LostQ(n) => http.gap(q, now, n, GapReason::Lost, sink),
            LostR(n) => http.gap(r, now, n, GapReason::Lost, sink),
            SkipQ(n) => http.gap(q, now, n, GapReason::Skipped, sink),
            SkipR(n) => http.gap(r, now, n, GapReason::Skipped, sink),
            Eof => http.end_of_stream(now, sink),
            Closed => http.closed(now, sink),
        }
    }
}

/// Tells a sink the conversation, and compares with lines that may be indented.
#[track_caller]
pub(super) fn check(conversation: &[Say<'_>], want: &str) -> Talk {
    check_with(Recorder::default(), conversation, want)
}

#[track_caller]
pub(super) fn check_with(sink: Recorder, conversation: &[Say<'_>], want: &str) -> Talk {
    let mut talk = Talk::new(Role::Client);
    talk.sink = sink;
    for say in conversation {
        talk.say(*say);
    }
    let want: Vec<&str> = want.trim().lines().map(str::trim_start).collect();
    assert_eq!(talk.sink.text(), want.join("\n"));
    talk
}

pub(super) const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
pub(super) const POST5: &[u8] = b"POST /p HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
pub(super) const OK2: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub(super) const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
pub(super) const EVENTS: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
