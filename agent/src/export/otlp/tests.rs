//! The exporter against stand-ins for a collector on loopback.

mod collector;
mod held;
mod logs;
mod metrics;
mod several;
mod spooled;
mod tls;

use super::*;
use crate::export::test_support::{START, Sink, resource, span};
use crate::model::span::{Resource, SpanEvent, SpanKind, Value};
use crate::model::time::WallTime;
use collector::{Answer, Collector, GrpcCollector, Received, free_port};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use std::borrow::Cow;
use std::time::Instant as StdInstant;

/// Settings that let tests be quick.
fn quick(protocol: Protocol, port: u16) -> Config {
    let path = match protocol {
        Protocol::Grpc => "",
        Protocol::HttpProtobuf => "/v1/traces",
    };
    Config {
        schedule_delay: Duration::from_millis(20),
        retry_initial: Duration::from_millis(20),
        retry_max: Duration::from_millis(100),
        timeout: Duration::from_secs(5),
        ..Config::new(protocol, format!("http://127.0.0.1:{port}{path}"))
    }
}

/// Runs `f` with the log going to the returned text.
fn logged(f: impl FnOnce(&Sink)) -> String {
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || f(&sink));
    let own = |l: &&str| l.contains(" genspan::");
    sink.text()
        .lines()
        .filter(own)
        .map(|l| format!("{l}\n"))
        .collect()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = StdInstant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn text(s: &str) -> Any {
    Any::StringValue(s.to_owned())
}

fn get<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a Any> {
    let attribute = attributes.iter().find(|a| a.key == name)?;
    attribute.value.as_ref()?.value.as_ref()
}

fn rich_span(resource: Arc<Resource>) -> Span {
    let mut s = span(
        0x0102_0304_0506_0708,
        vec![
            (Cow::Borrowed("text"), Value::from("höflich")),
            (Cow::Borrowed("int"), Value::from(i64::MIN)),
            (Cow::Borrowed("double"), Value::from(0.25)),
            (Cow::Borrowed("bool"), Value::from(false)),
            (
                Cow::Borrowed("list"),
                Value::from(vec!["stop".to_owned(), "length".to_owned()]),
            ),
        ],
        resource,
    );
    s.parent_span_id = Some(0xabc);
    s.kind = SpanKind::Server;
    s.error = Some("no".to_owned());
    s.events.push(SpanEvent {
        name: Cow::Borrowed("happened"),
        time: WallTime(START + 7),
        attributes: vec![(Cow::Borrowed("k"), Value::from("v"))],
    });
    s
}

/// Two processes' spans go out and must arrive as they are.
fn arrives_exactly(config: Config, received: &dyn Fn() -> Vec<Received>) -> Vec<Received> {
    let mut otlp = Otlp::start(config).unwrap();
    let (shop, desk) = (resource("shop", 1), resource("desk", 2));
    otlp.span(&rich_span(Arc::clone(&shop))).unwrap();
    otlp.span(&span(2, vec![], desk)).unwrap();
    otlp.span(&span(3, vec![], shop)).unwrap();
    otlp.shutdown(&[]).unwrap();
    assert_eq!(otlp.stats().exported, 3);

    let received = received();
    let mut by_service = Vec::new();
    for group in received.iter().flat_map(|r| &r.request.resource_spans) {
        let resource = &group.resource.as_ref().unwrap().attributes;
        assert_eq!(resource.len(), 2, "nothing of ours in the resource");
        let scope = group.scope_spans[0].scope.as_ref().unwrap();
        assert_eq!(
            (scope.name.as_str(), scope.version.as_str()),
            ("genspan", env!("CARGO_PKG_VERSION"))
        );
        by_service.push((
            get(resource, "service.name").unwrap().clone(),
            get(resource, "process.pid").unwrap().clone(),
            group.scope_spans[0].spans.clone(),
        ));
    }
    by_service.sort_by_key(|(_, _, spans)| spans.len());
    assert_eq!(by_service.len(), 2);
    let (service, pid, spans) = &by_service[0];
    assert_eq!((service, pid), (&text("desk"), &Any::IntValue(2)));
    assert_eq!(spans[0].span_id, 2u64.to_be_bytes());
    assert!(spans[0].parent_span_id.is_empty());
    assert_eq!(spans[0].status.as_ref().unwrap().code(), StatusCode::Unset);

    let (service, pid, spans) = &by_service[1];
    assert_eq!((service, pid), (&text("shop"), &Any::IntValue(1)));
    let s = &spans[0];
    assert_eq!(
        s.trace_id,
        0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes()
    );
    assert_eq!(s.span_id, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(s.parent_span_id, 0xabc_u64.to_be_bytes());
    assert_eq!(s.name, "chat gpt-4o");
    assert_eq!(s.kind().as_str_name(), "SPAN_KIND_SERVER");
    assert_eq!(s.start_time_unix_nano, START);
    assert_eq!(s.end_time_unix_nano, START + 1_500_000_000);
    let status = s.status.as_ref().unwrap();
    assert_eq!(
        (status.code(), status.message.as_str()),
        (StatusCode::Error, "no")
    );
    assert_eq!(s.attributes.len(), 5);
    assert_eq!(get(&s.attributes, "text"), Some(&text("höflich")));
    assert_eq!(get(&s.attributes, "int"), Some(&Any::IntValue(i64::MIN)));
    assert_eq!(get(&s.attributes, "double"), Some(&Any::DoubleValue(0.25)));
    assert_eq!(get(&s.attributes, "bool"), Some(&Any::BoolValue(false)));
    let Some(Any::ArrayValue(list)) = get(&s.attributes, "list") else {
        panic!("not a list");
    };
    let texts = ["stop", "length"].map(|t| AnyValue {
        value: Some(text(t)),
    });
    assert_eq!(list.values, texts);
    assert_eq!(s.events.len(), 1);
    assert_eq!(s.events[0].name, "happened");
    assert_eq!(s.events[0].time_unix_nano, START + 7);
    assert_eq!(get(&s.events[0].attributes, "k"), Some(&text("v")));
    received
}

#[test]
fn http_delivers_exactly() {
    let collector = Collector::start(vec![]);
    let config = quick(Protocol::HttpProtobuf, collector.port);
    let received = arrives_exactly(config, &|| collector.received());
    let head = received[0].head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(
        head.contains("content-type: application/x-protobuf"),
        "{head}"
    );
}

#[test]
fn http_delivers_exactly_with_gzip() {
    let collector = Collector::start(vec![]);
    let config = Config {
        gzip: true,
        ..quick(Protocol::HttpProtobuf, collector.port)
    };
    let received = arrives_exactly(config, &|| collector.received());
    let head = received[0].head.to_ascii_lowercase();
    assert!(head.contains("content-encoding: gzip"), "{head}");
}

#[test]
fn grpc_delivers_exactly() {
    let collector = GrpcCollector::start(free_port());
    let config = quick(Protocol::Grpc, collector.port);
    let received = arrives_exactly(config, &|| collector.received());
    assert!(!received[0].head.contains("gzip"));
}

#[test]
fn grpc_delivers_exactly_with_gzip() {
    let collector = GrpcCollector::start(free_port());
    let config = Config {
        gzip: true,
        ..quick(Protocol::Grpc, collector.port)
    };
    let received = arrives_exactly(config, &|| collector.received());
    assert!(received[0].head.contains("gzip"), "{}", received[0].head);
}

/// The endpoint is down at first: one message, a bounded queue, every lost span counted; then
/// it comes up: what was kept arrives, and one message says so.
fn down_and_up(protocol: Protocol, start: impl FnOnce(u16) -> Box<dyn Fn() -> usize>) {
    let port = free_port();
    let log = logged(|log| {
        let mut otlp = Otlp::start(Config {
            max_queue: 10,
            max_batch: 5,
            ..quick(protocol, port)
        })
        .unwrap();
        let shop = resource("shop", 1);
        otlp.span(&span(1, vec![], Arc::clone(&shop))).unwrap();
        wait_for("told", || log.text().contains("not reachable"));
        wait_for("retried", || otlp.stats().export_errors > 2);
        for id in 2..=100 {
            otlp.span(&span(id, vec![], Arc::clone(&shop))).unwrap();
        }
        // One is being retried, ten wait.
        assert_eq!(otlp.stats().dropped_queue_full, 89);
        assert!(otlp.force_flush(Duration::from_millis(50)).is_err());
        let arrived = start(port);
        wait_for("delivered", || arrived() == 11);
        wait_for("told", || log.text().contains("takes spans again"));
        otlp.force_flush(Duration::from_secs(10)).unwrap();
        otlp.shutdown(&[]).unwrap();
        let stats = otlp.stats();
        assert_eq!((stats.exported, stats.dropped_queue_full), (11, 89));
        assert_eq!((stats.dropped_after_retries, stats.dropped_refused), (0, 0));
    });
    assert_eq!(
        log.matches("not reachable: connection refused").count(),
        1,
        "{log}"
    );
    assert!(log.contains(&format!("http://127.0.0.1:{port}")), "{log}");
    assert_eq!(log.matches("OTLP queue full").count(), 1, "{log}");
    assert_eq!(log.matches("takes spans again").count(), 1, "{log}");
    assert_eq!(log.lines().count(), 3, "{log}");
}

#[test]
fn http_endpoint_down_and_up() {
    down_and_up(Protocol::HttpProtobuf, |port| {
        let collector = Collector::start_at(port, vec![]);
        Box::new(move || collector.span_count())
    });
}

#[test]
fn grpc_endpoint_down_and_up() {
    down_and_up(Protocol::Grpc, |port| {
        let collector = GrpcCollector::start(port);
        Box::new(move || collector.span_count())
    });
}

#[test]
fn shutdown_does_not_wait_for_the_schedule() {
    let collector = Collector::start(vec![]);
    let mut otlp = Otlp::start(Config {
        schedule_delay: Duration::from_secs(3600),
        ..quick(Protocol::HttpProtobuf, collector.port)
    })
    .unwrap();
    for id in 1..=1000 {
        otlp.span(&span(id, vec![], resource("shop", 1))).unwrap();
    }
    otlp.shutdown(&[]).unwrap();
    assert_eq!(collector.span_count(), 1000);
    assert_eq!(otlp.stats().exported, 1000);
    // And a second one has nothing to do.
    otlp.shutdown(&[]).unwrap();
}

#[test]
fn shutdown_with_the_endpoint_down_is_short_and_says_what_is_lost() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        logged(|log| {
            let mut otlp = Otlp::start(Config {
                retry_initial: Duration::from_secs(60),
                retry_max: Duration::from_secs(60),
                ..quick(protocol, free_port())
            })
            .unwrap();
            for id in 1..=3 {
                otlp.span(&span(id, vec![], resource("shop", 1))).unwrap();
            }
            wait_for("told", || log.text().contains("not reachable"));
            let start = StdInstant::now();
            let error = otlp.shutdown(&[]).unwrap_err();
            assert!(start.elapsed() < Duration::from_secs(3));
            assert!(
                error.to_string().contains("3 spans not delivered"),
                "{error}"
            );
            assert_eq!(otlp.stats().dropped_after_retries, 3);
        });
    }
}

#[test]
fn recovery_just_before_the_exit_is_used() {
    let port = free_port();
    logged(|log| {
        let mut otlp = Otlp::start(Config {
            retry_initial: Duration::from_secs(60),
            retry_max: Duration::from_secs(60),
            ..quick(Protocol::HttpProtobuf, port)
        })
        .unwrap();
        otlp.span(&span(1, vec![], resource("shop", 1))).unwrap();
        wait_for("told", || log.text().contains("not reachable"));
        let collector = Collector::start_at(port, vec![]);
        otlp.shutdown(&[]).unwrap();
        assert_eq!(collector.span_count(), 1);
    });
}

#[test]
fn busy_answer_is_retried_when_it_says() {
    let collector = Collector::start(vec![Answer {
        status: "503 Service Unavailable",
        headers: "Retry-After: 1\r\n",
        body: vec![],
    }]);
    let log = logged(|_| {
        let mut otlp = Otlp::start(quick(Protocol::HttpProtobuf, collector.port)).unwrap();
        otlp.span(&span(1, vec![], resource("shop", 1))).unwrap();
        wait_for("delivered", || otlp.stats().exported == 1);
        otlp.shutdown(&[]).unwrap();
    });
    let received = collector.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].request, received[1].request);
    let waited = received[1].at - received[0].at;
    assert!(waited >= Duration::from_millis(950), "{waited:?}");
    assert!(
        log.contains("does not take spans: it answers 503 Service Unavailable"),
        "{log}"
    );
    assert!(log.contains("takes spans again"), "{log}");
}

#[test]
fn endless_busy_answers_are_given_up() {
    let busy = || Answer {
        status: "503 Service Unavailable",
        headers: "",
        body: vec![],
    };
    let collector = Collector::start((0..1000).map(|_| busy()).collect());
    logged(|_| {
        let mut otlp = Otlp::start(Config {
            export_timeout: Duration::from_millis(300),
            ..quick(Protocol::HttpProtobuf, collector.port)
        })
        .unwrap();
        otlp.span(&span(1, vec![], resource("shop", 1))).unwrap();
        wait_for("given up", || otlp.stats().dropped_after_retries == 1);
        assert!(collector.received().len() > 1);
        otlp.shutdown(&[]).unwrap();
    });
}

#[test]
fn refusal_is_not_retried() {
    let collector = Collector::start(vec![Answer {
        status: "400 Bad Request",
        headers: "",
        body: vec![],
    }]);
    let log = logged(|_| {
        let mut otlp = Otlp::start(quick(Protocol::HttpProtobuf, collector.port)).unwrap();
        otlp.span(&span(1, vec![], resource("shop", 1))).unwrap();
        wait_for("refused", || otlp.stats().dropped_refused == 1);
        assert_eq!(collector.received().len(), 1);
        otlp.span(&span(2, vec![], resource("shop", 1))).unwrap();
        otlp.shutdown(&[]).unwrap();
        assert_eq!((otlp.stats().exported, otlp.stats().export_errors), (1, 1));
    });
    assert_eq!(collector.received().len(), 2);
    assert_eq!(
        log.matches("it answers 400 Bad Request").count(),
        1,
        "{log}"
    );
}

#[test]
fn rejected_spans_are_counted() {
    // ExportTraceServiceResponse { partial_success: { rejected_spans: 3 } }
    let collector = Collector::start(vec![Answer {
        status: "200 OK",
        headers: "",
        body: vec![0x0a, 0x02, 0x08, 0x03],
    }]);
    logged(|_| {
        let mut otlp = Otlp::start(quick(Protocol::HttpProtobuf, collector.port)).unwrap();
        otlp.span(&span(1, vec![], resource("shop", 1))).unwrap();
        otlp.shutdown(&[]).unwrap();
        assert_eq!(otlp.stats().rejected, 3);
    });
}

#[test]
fn many_and_large_spans_never_block() {
    // Accepts connections and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    logged(|_| {
        let mut otlp = Otlp::start(Config {
            max_queue_bytes: 1 << 20,
            shutdown_timeout: Duration::from_millis(100),
            ..quick(
                Protocol::HttpProtobuf,
                listener.local_addr().unwrap().port(),
            )
        })
        .unwrap();
        let big = vec![(Cow::Borrowed("text"), Value::from("x".repeat(100_000)))];
        let big = span(1, big, resource("shop", 1));
        let start = StdInstant::now();
        for _ in 0..20_000 {
            otlp.span(&big).unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!(otlp.stats().dropped_queue_full > 18_000);
        assert!(otlp.shutdown(&[]).is_err());
        let stats = otlp.stats();
        assert_eq!(
            stats.dropped_queue_full + stats.dropped_after_retries,
            20_000
        );
    });
}

#[test]
fn unusable_settings_show_at_the_start() {
    let error = |config| Otlp::start(config).err().unwrap().to_string();
    let mut config = Config::new(Protocol::Grpc, "https://127.0.0.1:1");
    config.ca_file = Some("/nonexistent.pem".into());
    let message = error(config);
    assert!(
        message.starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE: cannot read /nonexistent.pem"),
        "{message}"
    );
    assert!(error(Config::new(Protocol::Grpc, "http://a b")).contains("`http://a b`"));
}
