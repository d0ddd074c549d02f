//! Which end a process is, and what its sockets add to spans.

use super::*;
use crate::model::event::{Socket, SocketRole};
use crate::vocabulary::attr;

const REQUEST: &str = "POST /v1/chat/completions HTTP/1.1\r\ncontent-type: application/json\r\n\
     content-length: 66\r\n\r\n\
     {\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hello world\"}]}";

const RESPONSE: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
     content-length: 99\r\n\r\n\
     {\"id\":\"1\",\"model\":\"m\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"message\":{\"content\":\"hello\"}}]}";

/// A plain socket or a TLS object.
fn id(socket: bool, generation: u64) -> ConnectionId {
    ConnectionId {
        pid: 7,
        ssl: if socket { 1 << 63 | 42 } else { 0xdead },
        generation,
    }
}

struct Run {
    pipeline: Pipeline,
    time: u64,
}

impl Run {
    fn new() -> Self {
        Self {
            pipeline: Pipeline::new(1, Limits::default()),
            time: 1000,
        }
    }

    fn now(&mut self) -> BootTime {
        self.time += 1000;
        BootTime(self.time)
    }

    fn socket(&mut self, connection: ConnectionId, role: SocketRole) {
        let time = self.now();
        self.pipeline.event(&Event::Socket {
            connection,
            socket: Socket {
                role,
                local: Some("127.0.0.1:8000".parse().unwrap()),
                peer: Some("[2001:db8::1]:4242".parse().unwrap()),
            },
            time,
        });
    }

    /// Bytes at a position, `step` of them at a time.
    fn data(&mut self, c: ConnectionId, direction: Direction, offset: u64, all: &str, step: usize) {
        let mut at = offset;
        for bytes in all.as_bytes().chunks(step) {
            let time = self.now();
            self.pipeline.event(&Event::Data(Data {
                connection: c,
                direction,
                tid: 7,
                time,
                offset: at,
                lost_before: false,
                skipped_before: false,
                bytes,
            }));
            at += bytes.len() as u64;
        }
    }

    fn close(&mut self, connection: ConnectionId) {
        let time = self.now();
        self.pipeline.event(&Event::Closed { connection, time });
    }

    fn spans(&mut self) -> Vec<Span> {
        self.pipeline.finish();
        self.pipeline.spans().collect()
    }
}

/// An attribute of a span, as text.
fn text(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|(n, _)| n == name);
    found.map(|(_, value)| match value {
        crate::model::span::Value::Str(s) => s.to_string(),
        crate::model::span::Value::Int(i) => i.to_string(),
        other => format!("{other:?}"),
    })
}

#[test]
fn lengths_are_right() {
    for message in [REQUEST, RESPONSE] {
        let (head, body) = message.split_once("\r\n\r\n").unwrap();
        assert!(
            head.ends_with(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
    }
}

#[test]
fn an_accepted_socket_is_a_servers() {
    // By its socket, or by the request that is read first.
    for role in [SocketRole::Accepted, SocketRole::Unknown] {
        for step in [1000, 40] {
            let mut run = Run::new();
            let c = id(true, 5);
            run.socket(c, role);
            run.data(c, Direction::Read, 0, REQUEST, step);
            run.data(c, Direction::Write, 0, RESPONSE, step);
            assert_eq!(
                run.pipeline.counters().0.exchanges_served,
                1,
                "{role:?} {step}"
            );
            run.close(c);
            assert_eq!(run.spans(), []);
            let counters = run.pipeline.counters().0;
            assert_eq!(
                (counters.connections_served, counters.exchanges_served),
                (1, 1)
            );
            assert_eq!(counters.http1.wanted, 0);
        }
    }
    // However little of it comes at a time, its socket tells.
    let mut run = Run::new();
    run.socket(id(true, 5), SocketRole::Accepted);
    run.data(id(true, 5), Direction::Read, 0, REQUEST, 1);
    run.data(id(true, 5), Direction::Write, 0, RESPONSE, 1);
    assert_eq!(run.pipeline.counters().0.exchanges_served, 1);
}

#[test]
fn a_connected_socket_is_a_clients_and_its_peer_is_told() {
    for step in [1000, 1] {
        let mut run = Run::new();
        let c = id(true, 5);
        run.socket(c, SocketRole::Connected);
        run.data(c, Direction::Write, 0, REQUEST, step);
        run.data(c, Direction::Read, 0, RESPONSE, step);
        let spans = run.spans();
        assert_eq!(spans.len(), 1);
        let get = |name| text(&spans[0], name);
        assert_eq!(
            get(attr::NETWORK_PEER_ADDRESS).as_deref(),
            Some("2001:db8::1")
        );
        assert_eq!(get(attr::NETWORK_PEER_PORT).as_deref(), Some("4242"));
        // The request names no host.
        assert_eq!(get(attr::SERVER_ADDRESS).as_deref(), Some("2001:db8::1"));
        assert_eq!(get(attr::SERVER_PORT).as_deref(), Some("4242"));
    }
}

#[test]
fn a_named_host_comes_before_the_peer() {
    let mut run = Run::new();
    let c = id(true, 5);
    run.socket(c, SocketRole::Connected);
    let request = REQUEST.replacen("\r\n", "\r\nhost: models.example:81\r\n", 1);
    run.data(c, Direction::Write, 0, &request, 1000);
    run.data(c, Direction::Read, 0, RESPONSE, 1000);
    let spans = run.spans();
    assert_eq!(
        text(&spans[0], attr::SERVER_ADDRESS).as_deref(),
        Some("models.example")
    );
    assert_eq!(text(&spans[0], attr::SERVER_PORT).as_deref(), Some("81"));
    assert_eq!(
        text(&spans[0], attr::NETWORK_PEER_PORT).as_deref(),
        Some("4242")
    );
}

#[test]
fn the_socket_of_a_tls_connection_may_come_late() {
    let mut run = Run::new();
    let c = id(false, 5);
    run.data(c, Direction::Write, 0, REQUEST, 1000);
    run.socket(c, SocketRole::Connected);
    run.data(c, Direction::Read, 0, RESPONSE, 1000);
    run.close(c);
    let spans = run.spans();
    assert_eq!(spans.len(), 1);
    assert_eq!(
        text(&spans[0], attr::NETWORK_PEER_PORT).as_deref(),
        Some("4242")
    );
}

#[test]
fn the_peer_is_known_of_a_call_that_ends_with_its_connection() {
    let mut run = Run::new();
    let c = id(true, 5);
    run.socket(c, SocketRole::Connected);
    run.data(c, Direction::Write, 0, REQUEST, 1000);
    run.data(c, Direction::Read, 0, &RESPONSE[..100], 1000);
    run.close(c);
    let spans = run.spans();
    assert_eq!(spans.len(), 1);
    assert_eq!(
        text(&spans[0], attr::NETWORK_PEER_PORT).as_deref(),
        Some("4242")
    );
}

#[test]
fn a_number_that_is_used_again_is_another_connection() {
    let mut run = Run::new();
    run.socket(id(true, 5), SocketRole::Accepted);
    run.data(id(true, 5), Direction::Read, 0, REQUEST, 1000);
    // Its end was lost.
    run.socket(id(true, 9), SocketRole::Connected);
    run.data(id(true, 9), Direction::Write, 0, REQUEST, 1000);
    run.data(id(true, 9), Direction::Read, 0, RESPONSE, 1000);
    // What comes late of the first one is not taken for the second's.
    run.socket(id(true, 5), SocketRole::Accepted);
    assert_eq!(run.pipeline.counters().0.stale_records, 1);
    assert_eq!(run.spans().len(), 1);
}
