//! Requests that are no model calls: which are told, and what of them.

use super::*;
use crate::model::event::{Socket, SocketRole};
use crate::model::process::{AppType, ProcessFacts};
use crate::model::span::{SpanKind, Value};
use crate::vocabulary::attr;

const PID: u32 = 7;

/// An exchange of an accepted or a connected plain socket, told at once or byte by byte.
fn run(settings: Settings, facts: &ProcessFacts, role: SocketRole, texts: [&str; 2]) -> Vec<Span> {
    let whole = pieces(settings, facts, role, texts, usize::MAX);
    let split = pieces(settings, facts, role, texts, 1);
    let names = |spans: &[Span]| -> Vec<_> {
        let of = |s: &Span| (s.name.clone(), s.attributes.clone(), s.error.clone());
        spans.iter().map(of).collect()
    };
    assert_eq!(names(&whole), names(&split));
    whole
}

fn pieces(
    settings: Settings,
    facts: &ProcessFacts,
    role: SocketRole,
    texts: [&str; 2],
    step: usize,
) -> Vec<Span> {
    let mut pipeline = Pipeline::with(1, settings);
    feed(&mut pipeline, 5, facts, role, texts, step);
    pipeline.finish();
    pipeline.spans().collect()
}

fn feed(
    pipeline: &mut Pipeline,
    generation: u64,
    facts: &ProcessFacts,
    role: SocketRole,
    texts: [&str; 2],
    step: usize,
) {
    pipeline.event(&Event::Process {
        facts: Box::new(facts.clone()),
        time: BootTime(1),
    });
    let connection = ConnectionId {
        pid: PID,
        ssl: 1 << 63 | 42,
        generation,
    };
    pipeline.event(&Event::Socket {
        connection,
        socket: Socket {
            role,
            local: Some("10.0.0.1:8000".parse().unwrap()),
            peer: Some("10.0.0.2:4242".parse().unwrap()),
        },
        time: BootTime(2),
    });
    let ways = match role {
        SocketRole::Accepted => [Direction::Read, Direction::Write],
        _ => [Direction::Write, Direction::Read],
    };
    let mut time = 10;
    for (direction, text) in ways.into_iter().zip(texts) {
        let mut offset = 0;
        for bytes in text.as_bytes().chunks(step) {
            time += 1;
            pipeline.event(&Event::Data(Data {
                connection,
                direction,
                tid: PID,
                time: BootTime(time),
                offset,
                lost_before: false,
                skipped_before: false,
                bytes,
            }));
            offset += bytes.len() as u64;
        }
    }
    pipeline.event(&Event::Closed {
        connection,
        time: BootTime(time + 1),
    });
}

fn facts() -> ProcessFacts {
    ProcessFacts {
        pid: PID,
        ..ProcessFacts::default()
    }
}

const GET: &str = "GET /items/7?color=red&api_key=secret HTTP/1.1\r\nhost: shop.example:8000\r\nuser-agent: t/1\r\n\r\n";
const FOUND: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn text(span: &Span, name: &str) -> Option<String> {
    span.attribute(name).map(|value| match value {
        Value::Str(s) => s.to_string(),
        Value::Int(i) => i.to_string(),
        other => format!("{other:?}"),
    })
}

#[test]
fn what_is_told_of_either_end() {
    for (role, kind, own) in [
        (
            SocketRole::Accepted,
            SpanKind::Server,
            &[
                (attr::URL_PATH, "/items/7"),
                (attr::URL_QUERY, "color=red&api_key="),
                (attr::URL_SCHEME, "http"),
                (attr::CLIENT_ADDRESS, "10.0.0.2"),
                (attr::CLIENT_PORT, "4242"),
            ][..],
        ),
        (
            SocketRole::Connected,
            SpanKind::Client,
            &[(
                attr::URL_FULL,
                "http://shop.example:8000/items/7?color=red&api_key=",
            )],
        ),
    ] {
        let spans = run(Settings::default(), &facts(), role, [GET, FOUND]);
        assert_eq!(spans.len(), 1);
        let span = &spans[0];
        assert_eq!((span.kind, span.name.as_str()), (kind, "GET"));
        let all = [
            (attr::HTTP_REQUEST_METHOD, "GET"),
            (attr::HTTP_RESPONSE_STATUS_CODE, "200"),
            (attr::SERVER_ADDRESS, "shop.example"),
            (attr::SERVER_PORT, "8000"),
            (attr::NETWORK_PEER_ADDRESS, "10.0.0.2"),
            (attr::USER_AGENT_ORIGINAL, "t/1"),
        ];
        for (name, want) in all.iter().chain(own) {
            assert_eq!(text(span, name).as_deref(), Some(*want), "{name}");
        }
        assert_eq!(span.attributes.len(), all.len() + own.len() + 1);
        assert_eq!((&span.error, span.end.0 > span.start.0), (&None, true));
    }
}

#[test]
fn what_is_asked_is_content() {
    let mut facts = facts();
    facts.content.on_spans = false;
    for role in [SocketRole::Accepted, SocketRole::Connected] {
        let spans = run(Settings::default(), &facts, role, [GET, FOUND]);
        assert!(!format!("{:?}", spans[0].attributes).contains("red"));
    }
}

#[test]
fn whose_requests_are_told() {
    let typed = |app_type, model_server: Option<&str>| ProcessFacts {
        app_type,
        model_server: model_server.map(str::to_owned),
        ..facts()
    };
    for (facts, want) in [
        (typed(None, None), [true, true, false]),
        (typed(Some(AppType::App), None), [true, true, false]),
        (
            typed(Some(AppType::Microservice), Some("vllm")),
            [true, true, false],
        ),
        (typed(Some(AppType::Model), None), [false, true, false]),
        (typed(None, Some("vllm")), [false, true, false]),
    ] {
        let all = [HttpSpans::Auto, HttpSpans::On, HttpSpans::Off];
        for (http_spans, want) in all.into_iter().zip(want) {
            let settings = Settings {
                http_spans,
                ..Settings::default()
            };
            let spans = run(settings, &facts, SocketRole::Accepted, [GET, FOUND]);
            assert_eq!(spans.len(), usize::from(want), "{facts:?} {http_spans:?}");
        }
    }
}

#[test]
fn requests_are_left_out_and_told_again() {
    let mut pipeline = Pipeline::new(1, Limits::default());
    for (generation, (requests, want)) in
        [(false, 1), (true, 0), (false, 1)].into_iter().enumerate()
    {
        pipeline.shed(true, requests);
        feed(
            &mut pipeline,
            generation as u64,
            &facts(),
            SocketRole::Accepted,
            [GET, FOUND],
            usize::MAX,
        );
        assert_eq!(pipeline.spans().count(), want, "{requests}");
    }
}

#[test]
fn failures() {
    let refused = |status| format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
    for (role, status, error) in [
        (SocketRole::Accepted, 404, None),
        (SocketRole::Accepted, 500, Some("500")),
        (SocketRole::Connected, 404, Some("404")),
        (SocketRole::Connected, 302, None),
    ] {
        let spans = run(Settings::default(), &facts(), role, [GET, &refused(status)]);
        assert_eq!(text(&spans[0], attr::ERROR_TYPE).as_deref(), error);
        assert_eq!(spans[0].error.is_some(), error.is_some());
    }
    let spans = run(
        Settings::default(),
        &facts(),
        SocketRole::Connected,
        [GET, ""],
    );
    assert_eq!(
        text(&spans[0], attr::ERROR_TYPE).as_deref(),
        Some("connection_closed")
    );
    let strange = GET.replacen("GET", "BREW", 1);
    let spans = run(
        Settings::default(),
        &facts(),
        SocketRole::Accepted,
        [&strange, FOUND],
    );
    assert_eq!(spans[0].name, "HTTP");
    let get = |name| text(&spans[0], name);
    assert_eq!(get(attr::HTTP_REQUEST_METHOD).as_deref(), Some("_OTHER"));
    assert_eq!(
        get(attr::HTTP_REQUEST_METHOD_ORIGINAL).as_deref(),
        Some("BREW")
    );
}

/// What is on the path of a call but is none is a request like any other.
#[test]
fn no_call_after_all() {
    let body = "{\"not\":\"a call\"}";
    let post = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for answer in [
        FOUND,
        "HTTP/1.1 307 Go\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
    ] {
        let spans = run(
            Settings::default(),
            &facts(),
            SocketRole::Accepted,
            [&post, answer],
        );
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].name, "POST");
        assert!(text(&spans[0], attr::HTTP_RESPONSE_STATUS_CODE).is_some());
        let off = Settings {
            http_spans: HttpSpans::Off,
            ..Settings::default()
        };
        assert!(run(off, &facts(), SocketRole::Accepted, [&post, answer]).is_empty());
    }
}

/// We stop between the head and the body of what may be a call.
#[test]
fn undecided_when_we_stop() {
    for (path, told) in [("/v1/chat/completions", 0), ("/items", 1)] {
        let mut pipeline = Pipeline::with(1, Settings::default());
        pipeline.event(&Event::Process {
            facts: Box::new(facts()),
            time: BootTime(1),
        });
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\n");
        pipeline.event(&Event::Data(Data {
            connection: ConnectionId {
                pid: PID,
                ssl: 42,
                generation: 5,
            },
            direction: Direction::Write,
            tid: PID,
            time: BootTime(10),
            offset: 0,
            lost_before: false,
            skipped_before: false,
            bytes: head.as_bytes(),
        }));
        pipeline.finish();
        assert_eq!(pipeline.spans().count(), told, "{path}");
        let (_, provider, _) = pipeline.counters();
        let counts = (provider.undecided, provider.not_calls, provider.calls);
        assert_eq!(counts, (1 - told as u64, 0, 0), "{path}");
    }
}

#[test]
fn connections_to_providers_are_read_on() {
    let mode = |host: &str, exchanges: u64| {
        let mut pipeline = Pipeline::new(1, Limits::default());
        let connection = ConnectionId {
            pid: PID,
            ssl: 42,
            generation: 5,
        };
        let get = format!("GET /v1/files/f HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (mut offsets, mut time) = ([0; 2], 10);
        for _ in 0..exchanges {
            for (direction, text) in [(Direction::Write, &*get), (Direction::Read, FOUND)] {
                time += 1;
                let offset = &mut offsets[direction as usize];
                pipeline.event(&Event::Data(Data {
                    connection,
                    direction,
                    tid: PID,
                    time: BootTime(time),
                    offset: *offset,
                    lost_before: false,
                    skipped_before: false,
                    bytes: text.as_bytes(),
                }));
                *offset += text.len() as u64;
            }
        }
        pipeline.modes().last().map(|(_, mode)| mode)
    };
    for (host, wanted) in [
        ("shop.example", Some(CopyMode::Heads)),
        // Whatever is asked for there, a call may be next.
        ("api.openai.com", None),
        ("api.openai.com:443", None),
        ("x.openai.azure.com", None),
    ] {
        assert_eq!(mode(host, UNWANTED_BEFORE_HEADS - 1), None, "{host}");
        assert_eq!(mode(host, UNWANTED_BEFORE_HEADS), wanted, "{host}");
    }
}
