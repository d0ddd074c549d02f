//! WebSocket through the whole core: spans of calls, and what is copied of a connection.

use super::*;
use crate::model::event::Data;
use crate::vocabulary::attr;

/// One that a server of the process accepted.
const SERVED: ConnectionId = ConnectionId {
    pid: 7,
    ssl: 0x80,
    generation: 1,
};

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

const CREATED: &str = r#"{"type":"response.created","response":{"id":"resp_1"}}"#;
const DONE: &str = r#"{"type":"response.done","response":{"id":"resp_1","status":"completed"}}"#;

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

    /// The first bytes of a connection that the process accepted, in one direction.
    fn served(&mut self, direction: Direction, text: &str) {
        self.time += 1_000_000;
        self.pipeline.event(&Event::Data(Data {
            connection: SERVED,
            direction,
            tid: 7,
            time: BootTime(self.time),
            offset: 0,
            lost_before: false,
            skipped_before: false,
            bytes: text.as_bytes(),
        }));
    }

    fn opened(path: &str) -> Self {
        let mut wire = Self::new();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: api.openai.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: a2V5\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer sk-secret\r\n\
             Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.sk-secret\r\n\r\n"
        );
        wire.send(Direction::Write, request.as_bytes());
        wire.send(
            Direction::Read,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        );
        wire
    }

    /// A message of the server's.
    fn hears(&mut self, text: &str) {
        let mut frame = vec![0x81, 126];
        frame.extend((text.len() as u16).to_be_bytes());
        frame.extend(text.bytes());
        self.send(Direction::Read, &frame);
    }

    /// A message of the client's.
    fn says(&mut self, text: &str) {
        let mut frame = vec![0x81, 0xfe];
        frame.extend((text.len() as u16).to_be_bytes());
        let key = [1, 2, 3, 4];
        frame.extend(key);
        frame.extend(text.bytes().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
        self.send(Direction::Write, &frame);
    }

    fn mode(&mut self) -> Option<CopyMode> {
        self.pipeline.modes().last().map(|(_, mode)| mode)
    }
}

#[test]
fn a_span_for_each_response() {
    let mut wire = Wire::opened("/v1/realtime?model=gpt-realtime&client_secret=sk-secret");
    assert_eq!(wire.mode(), None);
    wire.hears(
        r#"{"type":"session.created","session":{"model":"gpt-realtime","client_secret":{"value":"sk-secret"}}}"#,
    );
    for n in 0..3 {
        wire.says(r#"{"type":"response.create"}"#);
        wire.hears(&format!(
            r#"{{"type":"response.created","response":{{"id":"resp_{n}"}}}}"#
        ));
        wire.hears(&format!(
            r#"{{"type":"response.output_text.delta","response_id":"resp_{n}","delta":"hi"}}"#
        ));
        wire.hears(&format!(
            r#"{{"type":"response.done","response":{{"id":"resp_{n}","status":"completed","output":[],
            "conversation_id":"conv_1","usage":{{"input_tokens":9,"output_tokens":4,
            "input_token_details":{{"audio_tokens":5}}}}}}}}"#
        ));
    }
    assert_eq!(wire.mode(), None);
    let spans: Vec<_> = wire.pipeline.spans().collect();
    assert_eq!(spans.len(), 3);
    let all = format!("{spans:?}");
    assert!(!all.contains("sk-secret"), "{all}");
    let mut ids: Vec<_> = spans.iter().map(|s| s.span_id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    for (n, span) in spans.iter().enumerate() {
        assert_eq!(span.name, "chat gpt-realtime");
        let get = |name: &str| {
            let found = span.attributes.iter().find(|(key, _)| key == name);
            found
                .map(|(_, value)| format!("{value:?}"))
                .unwrap_or_default()
        };
        for (name, want) in [
            (attr::RESPONSE_ID, format!("resp_{n}")),
            (attr::CONVERSATION_ID, "conv_1".to_owned()),
            (attr::PROVIDER_NAME, "openai".to_owned()),
            (attr::SERVER_ADDRESS, "api.openai.com".to_owned()),
            (attr::USAGE_INPUT_TOKENS, "9".to_owned()),
            (attr::RESPONSE_TIME_TO_FIRST_CHUNK, "0.002".to_owned()),
        ] {
            assert!(get(name).contains(&want), "{name} {}", get(name));
        }
    }
    let (counters, ..) = wire.pipeline.counters();
    assert_eq!(counters.websocket.sockets, 1);
    assert_eq!(counters.connections_websocket, 1);
    assert_eq!(counters.websocket.messages, 13);
}

/// Of what is no call nothing more is asked for; of what may be one, everything.
#[test]
fn what_is_copied() {
    let mut wire = Wire::opened("/chat/socket");
    assert_eq!(wire.mode(), Some(CopyMode::Nothing));
    // On the path of one, but of another kind.
    let mut wire = Wire::opened("/feeds/realtime");
    assert_eq!(wire.mode(), None);
    for _ in 0..20 {
        wire.hears(r#"{"type":"quote","price":1.5}"#);
    }
    assert_eq!(wire.mode(), Some(CopyMode::Nothing));
    // One that was there before.
    let mut wire = Wire::new();
    wire.hears(r#"{"type":"response.output_text.delta","response_id":"resp_1","delta":"hi"}"#);
    wire.says(r#"{"type":"response.cancel"}"#);
    assert_eq!(wire.mode(), None);
    wire.hears(r#"{"type":"response.done","response":{"id":"resp_1","status":"cancelled"}}"#);
    let spans: Vec<_> = wire.pipeline.spans().collect();
    assert_eq!(spans.len(), 1);
    let (counters, ..) = wire.pipeline.counters();
    assert_eq!(counters.websocket.half_seen, 1);
}

/// Seen from its server a response is a call that it serves.
#[test]
fn served() {
    let mut wire = Wire::new();
    wire.send(
        Direction::Read,
        b"GET /v1/realtime?model=m HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
    );
    wire.send(
        Direction::Write,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    );
    let masked = |text: &str| {
        let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
        frame.extend(text.bytes());
        frame
    };
    wire.send(Direction::Read, &masked(r#"{"type":"response.create"}"#));
    for text in [
        r#"{"type":"response.created","response":{"id":"resp_1"}}"#,
        r#"{"type":"response.done","response":{"id":"resp_1","status":"completed"}}"#,
    ] {
        let mut frame = vec![0x81, text.len() as u8];
        frame.extend(text.bytes());
        wire.send(Direction::Write, &frame);
    }
    assert_eq!(wire.mode(), None);
    let spans: Vec<_> = wire.pipeline.spans().collect();
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].kind, crate::model::span::SpanKind::Server);
    assert_eq!(spans[0].name, "chat m");
}

/// What a thread asks over a WebSocket while it serves a request belongs to that request.
#[test]
fn a_call_within_a_request() {
    let mut wire = Wire::opened("/v1/realtime?model=gpt-realtime");
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;
    wire.served(
        Direction::Read,
        &format!(
            "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    wire.says(r#"{"type":"response.create"}"#);
    wire.hears(CREATED);
    wire.hears(DONE);
    wire.served(
        Direction::Write,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    );
    // Out of it, nothing.
    wire.says(r#"{"type":"response.create"}"#);
    wire.hears(CREATED);
    wire.hears(DONE);
    wire.pipeline.finish();
    let spans: Vec<_> = wire.pipeline.spans().collect();
    let [within, outer, alone] = spans.as_slice() else {
        panic!("{spans:?}");
    };
    assert_eq!(outer.name, "chat m");
    assert_eq!(within.name, "chat gpt-realtime");
    assert_eq!(within.parent_span_id, Some(outer.span_id));
    assert_eq!(within.trace_id, outer.trace_id);
    assert_eq!(alone.parent_span_id, None);
    assert_ne!(alone.trace_id, outer.trace_id);
}

/// Both ends of a connection are seen: the response that one serves is the one that the other asks.
#[test]
fn both_ends() {
    let mut wire = Wire::opened("/v1/realtime?model=gpt-realtime");
    let other = ConnectionId {
        pid: 8,
        ssl: 0x90,
        generation: 1,
    };
    let mut offsets = [0; 2];
    let mut at_other = |wire: &mut Wire, direction: Direction, bytes: &[u8]| {
        wire.time += 1000;
        wire.pipeline.event(&Event::Data(Data {
            connection: other,
            direction,
            tid: 8,
            time: BootTime(wire.time),
            offset: offsets[direction as usize],
            lost_before: false,
            skipped_before: false,
            bytes,
        }));
        offsets[direction as usize] += bytes.len() as u64;
    };
    at_other(
        &mut wire,
        Direction::Read,
        b"GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
    );
    at_other(
        &mut wire,
        Direction::Write,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    );
    let ends = ["127.0.0.1:8000", "127.0.0.1:4242"].map(|a| a.parse().ok());
    for (connection, local, peer) in [(ID, ends[1], ends[0]), (other, ends[0], ends[1])] {
        wire.time += 1000;
        let time = BootTime(wire.time);
        let role = crate::model::event::SocketRole::Unknown;
        let socket = crate::model::event::Socket { role, local, peer };
        wire.pipeline.event(&Event::Socket {
            connection,
            socket,
            time,
        });
    }
    let masked = |text: &str| {
        let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
        frame.extend(text.bytes());
        frame
    };
    let plain = |text: &str| {
        let mut frame = vec![0x81, text.len() as u8];
        frame.extend(text.bytes());
        frame
    };
    for _ in 0..2 {
        wire.says(r#"{"type":"response.create"}"#);
        at_other(
            &mut wire,
            Direction::Read,
            &masked(r#"{"type":"response.create"}"#),
        );
        for text in [CREATED, DONE] {
            at_other(&mut wire, Direction::Write, &plain(text));
            wire.hears(text);
        }
    }
    wire.pipeline.finish();
    let spans: Vec<_> = wire.pipeline.spans().collect();
    assert_eq!(spans.len(), 4);
    let of = |pid: u32| spans.iter().filter(move |s| s.pid == pid);
    for (client, server) in of(7).zip(of(8)) {
        assert_eq!(server.parent_span_id, Some(client.span_id));
        assert_eq!(server.trace_id, client.trace_id);
        assert_eq!(client.parent_span_id, None);
    }
}
