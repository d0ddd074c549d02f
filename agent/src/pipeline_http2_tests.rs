//! HTTP/2 through the whole core: calls at the same time, and what is copied of a connection.

use super::*;
use crate::model::event::Data;

const ID: ConnectionId = ConnectionId {
    pid: 7,
    ssl: 0x70,
    generation: 1,
};

struct Wire {
    pipeline: Pipeline,
    offsets: [u64; 2],
    time: u64,
}

impl Wire {
    fn new() -> Self {
        Self {
            pipeline: Pipeline::new(1, Limits::default()),
            offsets: [0; 2],
            time: 0,
        }
    }

    fn send(&mut self, direction: Direction, bytes: &[u8]) {
        let offset = &mut self.offsets[direction as usize];
        self.time += 1_000_000;
        self.pipeline.event(&Event::Data(Data {
            connection: ID,
            direction,
            tid: 7,
            time: BootTime(self.time),
            offset: *offset,
            lost_before: false,
            skipped_before: false,
            bytes,
        }));
        *offset += bytes.len() as u64;
    }

    fn exchange(&mut self, n: u32, path: &str, content_type: &str) {
        let stream = 2 * n + 1;
        self.send(Direction::Write, &request(stream, path, content_type));
        self.send(Direction::Write, &frame(0, 1, stream, b"{}"));
        self.send(Direction::Read, &frame(1, 5, stream, &[0x88]));
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Literals that are not added to the table.
fn request(stream: u32, path: &str, content_type: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x87, 0x04, path.len() as u8];
    block.extend(path.bytes());
    block.extend([0x0f, 31 - 15, content_type.len() as u8]);
    block.extend(content_type.bytes());
    frame(1, 4, stream, &block)
}

fn preface() -> Vec<u8> {
    [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(4, 0, 0, b""),
    ]
    .concat()
}

#[test]
fn calls_at_the_same_time_keep_their_answers() {
    const COUNT: u32 = 32;
    let mut wire = Wire::new();
    wire.send(Direction::Write, &preface());
    wire.send(Direction::Read, &frame(4, 0, 0, b""));
    let body = |n| format!(r#"{{"model":"m-{n}","messages":[{{"role":"user","content":"q"}}]}}"#);
    for n in 0..COUNT {
        let head = request(2 * n + 1, "/v1/chat/completions", "application/json");
        wire.send(Direction::Write, &head);
    }
    for n in (0..COUNT).rev() {
        wire.send(
            Direction::Write,
            &frame(0, 1, 2 * n + 1, body(n).as_bytes()),
        );
    }
    // The answers come half by half, each half in another order.
    let answer = |n| format!(r#"{{"object":"chat.completion","id":"c-{n}","model":"a-{n}"}}"#);
    for n in 0..COUNT {
        let stream = 2 * ((n * 7) % COUNT) + 1;
        wire.send(Direction::Read, &frame(1, 4, stream, &[0x88]));
        let half = answer(stream / 2);
        wire.send(
            Direction::Read,
            &frame(0, 0, stream, &half.as_bytes()[..12]),
        );
    }
    for n in 0..COUNT {
        let half = answer(n);
        wire.send(
            Direction::Read,
            &frame(0, 1, 2 * n + 1, &half.as_bytes()[12..]),
        );
    }
    let (wiring, provider, _) = wire.pipeline.counters();
    assert_eq!((wiring.connections_http2, wiring.http2.wanted), (1, 32));
    assert_eq!((provider.calls, provider.not_calls), (32, 0));
    let spans: Vec<String> = wire.pipeline.spans().map(|s| format!("{s:?}")).collect();
    assert_eq!(spans.len(), 32);
    for span in spans {
        let n = span.split("\"m-").nth(1).and_then(|s| s.split('"').next());
        let n = n.expect("the model asked for");
        for other in [format!("\"c-{n}\""), format!("\"a-{n}\"")] {
            assert!(span.contains(&other), "{span}");
        }
    }
    assert_eq!(wire.pipeline.modes().count(), 0);
}

/// A server's settings may go out before its client's preface was read.
#[test]
fn a_server_may_speak_first() {
    for acknowledges in [false, true] {
        let mut wire = Wire::new();
        wire.send(Direction::Write, &frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]));
        wire.send(Direction::Read, &preface());
        if acknowledges {
            wire.send(Direction::Write, &frame(4, 1, 0, b""));
        }
        for n in 0..20 {
            let stream = 2 * n + 1;
            let head = request(stream, "/v1/chat/completions", "application/json");
            wire.send(Direction::Read, &head);
            let body = br#"{"model":"m","messages":[{"role":"user","content":"q"}]}"#;
            wire.send(Direction::Read, &frame(0, 1, stream, body));
        }
        for n in 0..20 {
            wire.send(Direction::Write, &frame(1, 4, 2 * n + 1, &[0x88]));
            let answer = br#"{"object":"chat.completion","id":"c","model":"a"}"#;
            wire.send(Direction::Write, &frame(0, 1, 2 * n + 1, answer));
        }
        let (wiring, provider, _) = wire.pipeline.counters();
        assert_eq!((wiring.exchanges_served, provider.calls), (20, 20));
        assert_eq!(
            (wiring.http2.half_seen, wiring.http2.malformed_heads),
            (0, 0)
        );
        wire.pipeline.finish();
        let kinds: Vec<_> = wire.pipeline.spans().map(|span| span.kind).collect();
        assert_eq!(kinds, [crate::model::span::SpanKind::Server; 20]);
    }
    // Those of a client in mid-connection acknowledge.
    let mut wire = Wire::new();
    wire.send(Direction::Write, &frame(4, 1, 0, b""));
    assert_eq!(wire.pipeline.counters().0.connections_served, 0);
}

/// Modes asked for after so many exchanges like this.
fn modes(count: u64, path: &str, content_type: &str) -> Vec<CopyMode> {
    let mut wire = Wire::new();
    wire.send(Direction::Write, &preface());
    for n in 0..u32::try_from(count).expect("few") {
        wire.exchange(n, path, content_type);
    }
    wire.pipeline.modes().map(|(_, mode)| mode).collect()
}

#[test]
fn a_connection_without_calls_is_given_up_for_good() {
    let grpc = "application/grpc";
    let json = "application/json";
    assert_eq!(modes(GRPC_BEFORE_NOTHING - 1, "/p.S/M", grpc), []);
    let nothing = [CopyMode::Nothing];
    assert_eq!(modes(GRPC_BEFORE_NOTHING, "/p.S/M", grpc), nothing);
    assert_eq!(modes(UNWANTED_BEFORE_NOTHING - 1, "/v1/models", json), []);
    assert_eq!(modes(UNWANTED_BEFORE_NOTHING, "/v1/models", json), nothing);
    let path = "/v1/chat/completions";
    assert_eq!(modes(UNWANTED_BEFORE_NOTHING + 1, path, json), []);
}
