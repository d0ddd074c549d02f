//! Frames, header blocks, gaps and ends in both directions: nothing panics, every wanted exchange
//! ends exactly once, memory stays bounded, and no secret gets through.
#![no_main]

use arbitrary::Arbitrary;
use genspan::model::defect::Defects;
use genspan::model::event::{ConnectionId, Direction};
use genspan::model::exchange::{
    ExchangeId, ExchangeSink, Interest, RequestHead, ResponseHead, SseEvent,
};
use genspan::model::time::BootTime;
use genspan::model::websocket::WebSocketSink;
use genspan::protocol::connection::Connection;
use genspan::protocol::http2::{Http2, MAX_BLOCK_BYTES, MAX_STREAMS, MAX_TABLE_BYTES};
use genspan::protocol::{ExchangeIds, Role};
use genspan::stream::GapReason;
use libfuzzer_sys::fuzz_target;
use std::collections::HashMap;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Bytes(bool, &'a [u8]),
    /// A frame, in pieces of this many bytes; its stream is small, its kind any.
    Frame(bool, u8, u8, u8, &'a [u8], u8),
    /// A whole header block.
    Block(bool, u8, bool, &'a [u8]),
    /// A block of these fields: place in the tables, or a literal with a value.
    Fields(bool, u8, bool, Vec<(u8, bool, &'a [u8])>),
    Gap(bool, u16, bool),
    HugeGap(bool, u64),
    EndOfStream,
    Closed,
    Late,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Start {
    Preface,
    Midway,
    /// Nothing is known: through the connection.
    Unknown,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind % 12, flags, 0, 0, 0, stream % 32]);
    frame.extend(payload);
    frame
}

fn fields(fields: &[(u8, bool, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (index, literal, value) in fields {
        let index = index % 80;
        if !literal {
            block.push(0x80 | index.max(1));
            continue;
        }
        // Names of the static table only, so that the value is the fuzzer's and the name is not.
        block.push(0x40 | (index % 62).max(1));
        let value = &value[..value.len().min(126)];
        block.push(value.len() as u8);
        block.extend(value);
    }
    block
}

/// What an exchange was heard of.
#[derive(Default)]
struct Heard {
    wanted: bool,
    /// Of its request nothing was seen.
    half: bool,
    request_ended: bool,
    response_begun: bool,
    ended: bool,
}

#[derive(Default)]
struct Sink(HashMap<ExchangeId, Heard>);

impl Sink {
    fn open(&mut self, id: ExchangeId) -> &mut Heard {
        let heard = self.0.get_mut(&id).expect("a head came first");
        assert!(heard.wanted && !heard.ended);
        heard
    }
}

impl ExchangeSink for Sink {
    fn half_seen(&mut self, id: ExchangeId, _: ConnectionId, _: u32, _: BootTime) -> Interest {
        let heard = Heard {
            wanted: true,
            request_ended: true,
            half: true,
            ..Heard::default()
        };
        assert!(self.0.insert(id, heard).is_none());
        Interest::Wanted
    }

    fn request_head(
        &mut self,
        id: ExchangeId,
        _: ConnectionId,
        _: u32,
        _: BootTime,
        head: &RequestHead,
    ) -> Interest {
        for name in [
            "authorization",
            "cookie",
            "proxy-authorization",
            "x-api-key",
        ] {
            assert!(head.headers.get(name).is_none());
        }
        let wanted = head.method != "GET";
        let heard = Heard {
            wanted,
            ..Heard::default()
        };
        assert!(self.0.insert(id, heard).is_none());
        if wanted {
            Interest::Wanted
        } else {
            Interest::Unwanted
        }
    }

    fn request_body(&mut self, id: ExchangeId, _: u64, _: &[u8]) {
        assert!(!self.open(id).request_ended);
    }

    fn request_end(&mut self, id: ExchangeId, _: BootTime, _: Defects) {
        let heard = self.open(id);
        assert!(!heard.request_ended);
        heard.request_ended = true;
    }

    fn response_head(&mut self, id: ExchangeId, _: BootTime, head: &ResponseHead) -> Interest {
        let heard = self.open(id);
        assert!(!heard.response_begun);
        assert!(head.headers.get("set-cookie").is_none());
        heard.response_begun = true;
        if head.status == 404 {
            heard.wanted = false;
            return Interest::Unwanted;
        }
        Interest::Wanted
    }

    fn response_body(&mut self, id: ExchangeId, _: BootTime, _: u64, _: &[u8]) {
        let heard = self.open(id);
        assert!(heard.response_begun || heard.half);
    }

    fn response_event(&mut self, id: ExchangeId, _: BootTime, _: SseEvent<'_>) {
        let heard = self.open(id);
        assert!(heard.response_begun || heard.half);
    }

    fn response_doubtful(&mut self, id: ExchangeId) {
        let heard = self.open(id);
        assert!(heard.response_begun || heard.half);
    }

    fn response_end(&mut self, id: ExchangeId, _: BootTime, _: Defects) {
        let heard = self.open(id);
        assert!(heard.request_ended);
        heard.ended = true;
    }
}

impl WebSocketSink for Sink {}

/// Either the reader alone, or what finds out whether it is to read.
enum Under {
    Http2(Http2),
    Connection(Connection),
}

impl Under {
    fn data(&mut self, d: Direction, t: BootTime, b: &[u8], i: &mut ExchangeIds, s: &mut Sink) {
        match self {
            Self::Http2(h) => h.data(d, t, 1, b, i, s),
            Self::Connection(c) => c.data(d, t, 1, b, i, s),
        }
    }

    fn gap(
        &mut self,
        d: Direction,
        t: BootTime,
        n: u64,
        lost: bool,
        i: &mut ExchangeIds,
        s: &mut Sink,
    ) {
        let reason = if lost {
            GapReason::Lost
        } else {
            GapReason::Skipped
        };
        match self {
            Self::Http2(h) => h.gap(d, t, n, reason, i, s),
            Self::Connection(c) => c.gap(d, t, n, reason, i, s),
        }
    }

    fn closed(&mut self, t: BootTime, i: &mut ExchangeIds, s: &mut Sink) {
        match self {
            Self::Http2(h) => h.closed(t, s),
            Self::Connection(c) => c.closed(t, i, s),
        }
    }
}

fn direction(write: bool) -> Direction {
    if write {
        Direction::Write
    } else {
        Direction::Read
    }
}

fuzz_target!(|input: (bool, Start, Vec<Step<'_>>)| {
    let (server, start, steps) = input;
    let role = if server { Role::Server } else { Role::Client };
    let connection = ConnectionId {
        pid: 1,
        ssl: 1,
        generation: 1,
    };
    let (mut ids, mut sink) = (ExchangeIds::default(), Sink::default());
    let mut under = match start {
        Start::Preface => Under::Http2(Http2::new(connection, role)),
        Start::Midway => Under::Http2(Http2::midway(connection, role)),
        Start::Unknown => Under::Connection(Connection::new(connection, role)),
    };
    let mut now = 0;
    if matches!(start, Start::Preface) {
        under.data(
            direction(!server),
            BootTime(0),
            PREFACE,
            &mut ids,
            &mut sink,
        );
    }
    for step in steps {
        now += 1;
        let time = BootTime(now);
        match step {
            Step::Bytes(write, bytes) => {
                under.data(direction(write), time, bytes, &mut ids, &mut sink);
            }
            Step::Frame(write, kind, flags, stream, payload, size) => {
                let frame = frame(kind, flags, stream, payload);
                for piece in frame.chunks(usize::from(size).max(1)) {
                    under.data(direction(write), time, piece, &mut ids, &mut sink);
                }
            }
            Step::Block(write, stream, end, block) => {
                let frame = frame(1, 4 | u8::from(end), stream, block);
                under.data(direction(write), time, &frame, &mut ids, &mut sink);
            }
            Step::Fields(write, stream, end, list) => {
                let frame = frame(1, 4 | u8::from(end), stream, &fields(&list));
                under.data(direction(write), time, &frame, &mut ids, &mut sink);
            }
            Step::Gap(write, n, lost) => {
                under.gap(direction(write), time, n.into(), lost, &mut ids, &mut sink);
            }
            Step::HugeGap(write, n) => {
                under.gap(direction(write), time, n, true, &mut ids, &mut sink);
            }
            Step::EndOfStream => match &mut under {
                Under::Http2(h) => h.end_of_stream(time, &mut sink),
                Under::Connection(c) => c.end_of_stream(time, &mut ids, &mut sink),
            },
            Step::Closed => under.closed(time, &mut ids, &mut sink),
            Step::Late => {
                now += 100_000_000_000;
                match &mut under {
                    Under::Http2(h) => h.tick(BootTime(now), &mut sink),
                    Under::Connection(c) => c.tick(BootTime(now), &mut sink),
                }
            }
        }
        if let Under::Http2(http) = &under {
            assert!(http.buffered() <= 2 * (MAX_BLOCK_BYTES + MAX_TABLE_BYTES + 64));
            assert!(http.open_streams() <= MAX_STREAMS);
        }
    }
    under.closed(BootTime(now + 1), &mut ids, &mut sink);
    if let Under::Http2(http) = &under {
        assert_eq!(http.open_streams(), 0);
        let half = sink.0.values().filter(|heard| heard.half).count() as u64;
        assert_eq!(http.counters().half_seen, half);
        assert_eq!(http.counters().exchanges + half, sink.0.len() as u64);
    }
    for heard in sink.0.values() {
        assert!(heard.ended == heard.wanted);
    }
});
