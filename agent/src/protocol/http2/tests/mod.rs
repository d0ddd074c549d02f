//! Conversations, and what a sink is told of them.

pub(in super::super) mod encoder;
mod framing;
mod gaps;
mod go;
mod lifecycle;
mod streams;

pub(super) use encoder::*;

use super::*;
use crate::protocol::recorder::Recorder;

/// A step of a conversation.
#[derive(Clone, Debug)]
pub(super) enum Say {
    /// Bytes of the client.
    Q(Vec<u8>),
    /// Bytes of the server.
    R(Vec<u8>),
    /// Lost bytes of the client.
    LostQ(u64),
    /// Lost bytes of the server.
    LostR(u64),
    /// Bytes of the server over the limit.
    SkipR(u64),
    /// The server ended its stream.
    Eof,
    /// The connection is gone.
    Closed,
}
pub(super) use Say::*;

pub(super) struct Talk {
    pub(super) http: Http2,
    pub(super) sink: Recorder,
    ids: ExchangeIds,
    now: u64,
}

pub(super) const CONNECTION: ConnectionId = ConnectionId {
    pid: 1,
    ssl: 2,
    generation: 3,
};

impl Talk {
    pub(super) fn new(http: Http2) -> Self {
        Self {
            http,
            sink: Recorder::default(),
            ids: ExchangeIds::default(),
            now: 0,
        }
    }

    pub(super) fn say(&mut self, say: &Say) {
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
            LostQ(n) => http.gap(q, now, *n, GapReason::Lost, ids, sink),
            LostR(n) => http.gap(r, now, *n, GapReason::Lost, ids, sink),
            SkipR(n) => http.gap(r, now, *n, GapReason::Skipped, ids, sink),
            Eof => http.end_of_stream(now, sink),
            Closed => http.closed(now, sink),
        }
    }
}

/// Tells a sink the conversation after the prefaces, and compares with lines that may be
/// indented.
#[track_caller]
pub(super) fn check(conversation: &[Say], want: &str) -> Talk {
    let mut talk = Talk::new(Http2::new(CONNECTION, Role::Client));
    talk.say(&Q(client_preface()));
    talk.say(&R(frame(4, 0, 0, &[])));
    check_talk(talk, conversation, want)
}

#[track_caller]
pub(super) fn check_talk(mut talk: Talk, conversation: &[Say], want: &str) -> Talk {
    for say in conversation {
        talk.say(say);
    }
    let want: Vec<&str> = want.trim().lines().map(str::trim_start).collect();
    assert_eq!(talk.sink.text(), want.join("\n"));
    talk
}
