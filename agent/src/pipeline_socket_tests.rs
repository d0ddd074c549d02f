//! Which end a process is, and what its sockets add to spans.

use super::*;
use crate::model::event::{Socket, SocketRole};
use crate::model::span::SpanKind;
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

#[test]
fn who_makes_requests_is_told_once() {
    let mut run = Run::new();
    let (made, served) = (id(false, 1), id(true, 2));
    run.socket(served, SocketRole::Accepted);
    run.data(served, Direction::Read, 0, REQUEST, 7);
    run.data(served, Direction::Write, 0, RESPONSE, 7);
    assert_eq!(run.pipeline.callers().count(), 0);
    run.data(made, Direction::Write, 0, REQUEST, 7);
    run.data(made, Direction::Read, 0, RESPONSE, 7);
    assert_eq!(run.pipeline.callers().collect::<Vec<_>>(), [7]);
    assert_eq!(run.pipeline.callers().count(), 0);
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
            let spans = run.spans();
            assert_eq!(spans.len(), 1, "{role:?} {step}");
            assert_eq!(
                (spans[0].kind, spans[0].name.as_str()),
                (SpanKind::Server, "chat m")
            );
            let get = |name| text(&spans[0], name);
            // The request names no host: it came to this address.
            for (name, want) in [
                (attr::SERVER_ADDRESS, "127.0.0.1"),
                (attr::SERVER_PORT, "8000"),
                (attr::CLIENT_ADDRESS, "2001:db8::1"),
                (attr::CLIENT_PORT, "4242"),
                (attr::NETWORK_PEER_ADDRESS, "2001:db8::1"),
                (attr::RESPONSE_MODEL, "m"),
            ] {
                assert_eq!(get(name).as_deref(), Some(want), "{name}");
            }
            let counters = run.pipeline.counters().0;
            assert_eq!(
                (counters.connections_served, counters.exchanges_served),
                (1, 1)
            );
            assert_eq!(counters.http1.wanted, 1);
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
    let kinds: Vec<_> = run
        .spans()
        .iter()
        .map(|s| (s.kind, s.error.is_some()))
        .collect();
    // The first one's answer did not come, and it was waited for its client's end.
    assert_eq!(kinds, [(SpanKind::Client, false), (SpanKind::Server, true)]);
}

/// What the client sends again was served each time.
#[test]
fn each_attempt_is_served() {
    let mut run = Run::new();
    let c = id(true, 5);
    run.socket(c, SocketRole::Accepted);
    let refusal = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}";
    let (mut read, mut written) = (0, 0);
    for (attempt, answer) in [("0", refusal), ("1", RESPONSE)] {
        let counted = format!("\r\nx-stainless-retry-count: {attempt}\r\n");
        let request = REQUEST.replacen("\r\n", &counted, 1);
        run.data(c, Direction::Read, read, &request, 1000);
        run.data(c, Direction::Write, written, answer, 1000);
        read += request.len() as u64;
        written += answer.len() as u64;
    }
    let spans = run.spans();
    let errors: Vec<_> = spans.iter().map(|s| s.error.is_some()).collect();
    assert_eq!(errors, [true, false]);
    assert!(spans.iter().all(|s| s.kind == SpanKind::Server));
    assert_eq!(text(&spans[1], attr::HTTP_RESEND_COUNT), None);
}

#[test]
fn a_model_server_is_the_provider_of_what_it_serves() {
    for (role, provider, request_id) in [
        (SocketRole::Accepted, "vllm", Some("1")),
        (SocketRole::Connected, "openai", None),
    ] {
        let mut run = Run::new();
        let facts = crate::model::process::ProcessFacts {
            pid: 7,
            model_server: Some("vllm".to_owned()),
            ..Default::default()
        };
        run.pipeline.event(&Event::Process {
            facts: Box::new(facts),
            time: BootTime(1),
        });
        let c = id(true, 5);
        run.socket(c, role);
        let (asks, answers) = match role {
            SocketRole::Accepted => (Direction::Read, Direction::Write),
            _ => (Direction::Write, Direction::Read),
        };
        run.data(c, asks, 0, REQUEST, 1000);
        run.data(c, answers, 0, RESPONSE, 1000);
        let spans = run.spans();
        let get = |name| text(&spans[0], name);
        assert_eq!(get(attr::PROVIDER_NAME).as_deref(), Some(provider));
        assert_eq!(get(attr::REQUEST_ID).as_deref(), request_id);
    }
}
