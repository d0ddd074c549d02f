//! Pieces, gaps and ends in both directions: every wanted exchange ends exactly once.
#![no_main]

use arbitrary::Arbitrary;
use genspan::model::defect::Defects;
use genspan::model::event::{ConnectionId, Direction};
use genspan::model::exchange::{
    ExchangeId, ExchangeSink, Interest, RequestHead, ResponseHead, SseEvent,
};
use genspan::model::time::BootTime;
use genspan::protocol::http1::{Http1, MAX_HEAD_BYTES, MAX_OPEN_EXCHANGES, MAX_START_BYTES};
use genspan::protocol::{ExchangeIds, Role};
use genspan::stream::GapReason;
use libfuzzer_sys::fuzz_target;
use std::collections::HashMap;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Bytes(bool, &'a [u8]),
    /// One of the messages below, in pieces of this many bytes.
    Message(bool, u8, u8),
    Gap(bool, u16, bool),
    HugeGap(bool, u64),
    EndOfStream,
    Closed,
    /// So many seconds pass.
    Tick(u8),
}

const MESSAGES: &[&[u8]] = &[
    b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    b"HEAD /h HTTP/1.1\r\n\r\n",
    b"CONNECT h:1 HTTP/1.1\r\n\r\n",
    b"POST /p HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /e HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\n\r\n",
    b"HTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
    b"HTTP/1.0 200 OK\r\n\r\nbody",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"9\r\ndata: a\n\n\r\n",
    b"5\r\ndata: b\n\n",
];

/// What an exchange was heard of.
#[derive(Default)]
struct Heard {
    wanted: bool,
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
        assert!(self.0.is_empty(), "only the first one can be half-seen");
        let heard = Heard {
            wanted: true,
            half: true,
            request_ended: true,
            ..Heard::default()
        };
        self.0.insert(id, heard);
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
        let wanted = head.path != "/h";
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
        heard.response_begun = true;
        if head.status == 404 {
            heard.wanted = false;
            return Interest::Unwanted;
        }
        Interest::Wanted
    }

    fn response_body(&mut self, id: ExchangeId, _: BootTime, _: u64, _: &[u8]) {
        assert!(self.open(id).response_begun);
    }

    fn response_event(&mut self, id: ExchangeId, _: BootTime, _: SseEvent<'_>) {
        let heard = self.open(id);
        assert!(heard.response_begun || heard.half);
    }

    fn response_doubtful(&mut self, id: ExchangeId) {
        self.open(id);
    }

    fn response_end(&mut self, id: ExchangeId, _: BootTime, _: Defects) {
        let heard = self.open(id);
        assert!(heard.request_ended);
        heard.ended = true;
    }
}

fn direction(write: bool) -> Direction {
    if write {
        Direction::Write
    } else {
        Direction::Read
    }
}

fuzz_target!(|input: (bool, Vec<Step<'_>>)| {
    let (server, steps) = input;
    let role = if server { Role::Server } else { Role::Client };
    let connection = ConnectionId {
        pid: 1,
        ssl: 1,
        generation: 1,
    };
    let mut http = Http1::new(connection, role);
    let (mut ids, mut sink) = (ExchangeIds::default(), Sink::default());
    let mut now = 0;
    for step in steps {
        now += 1;
        let time = BootTime(now);
        match step {
            Step::Bytes(write, bytes) => {
                http.data(direction(write), time, 1, bytes, &mut ids, &mut sink);
            }
            Step::Message(write, which, size) => {
                let message = MESSAGES[usize::from(which) % MESSAGES.len()];
                for piece in message.chunks(usize::from(size).max(1)) {
                    http.data(direction(write), time, 1, piece, &mut ids, &mut sink);
                }
            }
            Step::Gap(write, n, lost) => {
                let reason = if lost {
                    GapReason::Lost
                } else {
                    GapReason::Skipped
                };
                http.gap(direction(write), time, n.into(), reason, &mut sink);
            }
            Step::HugeGap(write, n) => {
                http.gap(direction(write), time, n, GapReason::Missing, &mut sink);
            }
            Step::EndOfStream => http.end_of_stream(time, &mut sink),
            Step::Closed => http.closed(time, &mut sink),
            Step::Tick(seconds) => {
                now += u64::from(seconds) * 1_000_000_000;
                http.tick(BootTime(now), &mut sink);
            }
        }
        assert!(http.buffered() <= 2 * MAX_HEAD_BYTES + MAX_START_BYTES);
        assert!(http.open_exchanges() <= MAX_OPEN_EXCHANGES);
    }
    http.closed(BootTime(now + 1), &mut sink);
    assert_eq!(http.open_exchanges(), 0);
    let whole = sink.0.values().filter(|heard| !heard.half).count();
    assert_eq!(http.counters().exchanges, whole as u64);
    for heard in sink.0.values() {
        assert!(heard.ended == heard.wanted);
    }
});
