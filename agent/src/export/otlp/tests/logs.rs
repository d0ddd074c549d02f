//! Events to the stand-ins, as log records.

use super::collector::{Answer, Collector, GrpcCollector, Received, free_port};
use super::{get, quick, text, wait_for};
use crate::export::Exporter as _;
use crate::export::otlp::{Config, Otlp, Protocol, Signal};
use crate::export::test_support::{START, resource, span};
use crate::model::span::{Resource, Span, SpanEvent, Value};
use crate::model::time::WallTime;
use crate::vocabulary::{attr, event};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

fn settings(protocol: Protocol, port: u16) -> Config {
    let quick = quick(protocol, port);
    Config {
        signal: Signal::Logs,
        endpoint: quick.endpoint.replace("/v1/traces", "/v1/logs"),
        ..quick
    }
}

/// A failed call that has content on the span and in an event.
fn call(id: u64, resource: Arc<Resource>) -> Span {
    let messages =
        r#"[{"role":"user","parts":[{"n":1,"f":0.5,"z":null,"big":18446744073709551615,"a":[]}]}]"#;
    let content = [
        (attr::INPUT_MESSAGES, Value::from(messages)),
        (attr::TOOL_CALL_RESULT, Value::from("no JSON")),
    ];
    let mut attributes = vec![
        (Cow::Borrowed(attr::OPERATION_NAME), Value::from("chat")),
        (
            Cow::Borrowed(attr::RESPONSE_FINISH_REASONS),
            Value::from(vec!["stop".to_owned()]),
        ),
    ];
    let content = content.map(|(n, v)| (Cow::Borrowed(n), v));
    attributes.extend(content.clone());
    let mut call = span(id, attributes, resource);
    let mut tell = |name, attributes| {
        call.events.push(SpanEvent {
            name: Cow::Borrowed(name),
            time: WallTime(START + 7),
            attributes,
        });
    };
    tell(event::OPERATION_DETAILS, content.into());
    tell(
        event::OPERATION_EXCEPTION,
        vec![(Cow::Borrowed(attr::EXCEPTION_TYPE), Value::from("x"))],
    );
    call
}

/// The records of all requests, with the service that each is of.
fn records(received: &[Received]) -> Vec<(Any, LogRecord)> {
    let groups = received.iter().filter_map(|r| r.logs.as_ref());
    let groups = groups.flat_map(|l| &l.resource_logs);
    groups
        .flat_map(|group| {
            let of = &group.resource.as_ref().unwrap().attributes;
            assert_eq!(of.len(), 2, "nothing of ours in the resource");
            let service = get(of, "service.name").unwrap().clone();
            let scope = group.scope_logs[0].scope.as_ref().unwrap();
            assert_eq!(scope.name, "genspan");
            let records = group.scope_logs.iter().flat_map(|s| &s.log_records);
            records.map(move |r| (service.clone(), r.clone()))
        })
        .collect()
}

fn member<'a>(list: &'a KeyValueList, name: &str) -> Option<&'a Any> {
    get(&list.values, name)
}

fn first(value: Option<&Any>) -> &KeyValueList {
    let Some(Any::ArrayValue(ArrayValue { values })) = value else {
        panic!("no list: {value:?}");
    };
    match values[0].value.as_ref() {
        Some(Any::KvlistValue(list)) => list,
        other => panic!("no object: {other:?}"),
    }
}

fn arrives_exactly(config: Config, received: &dyn Fn() -> Vec<Received>) {
    let mut otlp = Otlp::start(config).unwrap();
    otlp.span(&call(1, resource("shop", 1))).unwrap();
    otlp.span(&span(2, vec![], resource("shop", 1))).unwrap();
    otlp.span(&call(3, resource("desk", 2))).unwrap();
    otlp.shutdown(&[]).unwrap();
    assert_eq!(
        otlp.stats().exported,
        4,
        "two events each, none of the other"
    );
    let mut all = records(&received());
    all.sort_by_key(|(_, r)| (r.span_id.clone(), r.severity_number));
    assert_eq!(all.len(), 4);
    let (service, details) = &all[0];
    assert_eq!(service, &text("shop"));
    assert_eq!(details.event_name, event::OPERATION_DETAILS);
    assert_eq!(
        (details.severity_number, details.severity_text.as_str()),
        (5, "DEBUG")
    );
    assert_eq!(details.time_unix_nano, START + 7);
    assert_eq!(details.span_id, 1u64.to_be_bytes());
    assert_eq!(
        details.trace_id,
        0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes()
    );
    assert_eq!(details.flags, 1);
    let value = |name| get(&details.attributes, name);
    assert_eq!(value(attr::OPERATION_NAME), Some(&text("chat")));
    assert!(matches!(
        value(attr::RESPONSE_FINISH_REASONS),
        Some(Any::ArrayValue(_))
    ));
    assert_eq!(value(attr::TOOL_CALL_RESULT), Some(&text("no JSON")));
    // Once, although the span has it as well, and structured.
    let named = details
        .attributes
        .iter()
        .filter(|a| a.key == attr::INPUT_MESSAGES);
    assert_eq!(named.count(), 1);
    let message = first(value(attr::INPUT_MESSAGES));
    assert_eq!(member(message, "role"), Some(&text("user")));
    let part = first(member(message, "parts"));
    assert_eq!(member(part, "n"), Some(&Any::IntValue(1)));
    assert_eq!(member(part, "f"), Some(&Any::DoubleValue(0.5)));
    assert_eq!(member(part, "z"), None);
    assert_eq!(member(part, "big"), Some(&text("18446744073709551615")));
    assert_eq!(
        member(part, "a"),
        Some(&Any::ArrayValue(ArrayValue::default()))
    );
    let (_, failure) = &all[1];
    assert_eq!(failure.event_name, event::OPERATION_EXCEPTION);
    assert_eq!(
        (failure.severity_number, failure.severity_text.as_str()),
        (13, "WARN")
    );
    assert_eq!(failure.attributes.len(), 1);
    assert_eq!(all[2].0, text("desk"));
}

#[test]
fn over_http() {
    for gzip in [false, true] {
        let collector = Collector::start(vec![]);
        let mut config = settings(Protocol::HttpProtobuf, collector.port);
        config.gzip = gzip;
        arrives_exactly(config, &|| collector.received());
        let head = &collector.received()[0].head;
        assert!(head.starts_with("POST /v1/logs HTTP/1.1\r\n"), "{head}");
    }
}

#[test]
fn over_grpc() {
    let collector = GrpcCollector::start(free_port());
    let mut config = settings(Protocol::Grpc, collector.port);
    arrives_exactly(config.clone(), &|| collector.received());
    config.gzip = true;
    let before = collector.received().len();
    arrives_exactly(config, &|| collector.received()[before..].to_vec());
}

#[test]
fn a_busy_endpoint_is_asked_again() {
    let busy = || Answer {
        status: "503 Service Unavailable",
        headers: "",
        body: vec![],
    };
    let collector = Collector::start(vec![busy(), busy()]);
    let mut otlp = Otlp::start(settings(Protocol::HttpProtobuf, collector.port)).unwrap();
    otlp.span(&call(1, resource("shop", 1))).unwrap();
    wait_for("the third attempt", || collector.received().len() >= 3);
    otlp.force_flush(Duration::from_secs(5)).unwrap();
    assert_eq!(otlp.stats().exported, 2);
    otlp.shutdown(&[]).unwrap();
}

#[test]
fn what_waits_is_bounded_and_what_is_not_delivered_is_told() {
    let mut config = settings(Protocol::HttpProtobuf, free_port());
    config.max_queue = 8;
    config.max_batch = 2;
    config.shutdown_timeout = Duration::from_millis(300);
    let mut otlp = Otlp::start(config).unwrap();
    for id in 1..200 {
        otlp.span(&call(id, resource("shop", 1))).unwrap();
    }
    let error = otlp.shutdown(&[]).unwrap_err().to_string();
    assert!(error.contains("events not delivered"), "{error}");
    assert!(otlp.stats().dropped_queue_full > 100);
}

#[test]
fn on_spans_only_where_nobody_takes_them() {
    for with in [false, true] {
        let collector = Collector::start(vec![]);
        let mut config = quick(Protocol::HttpProtobuf, collector.port);
        config.span_events = with;
        let mut otlp = Otlp::start(config).unwrap();
        otlp.span(&call(1, resource("shop", 1))).unwrap();
        otlp.shutdown(&[]).unwrap();
        let spans = &collector.received()[0].request.resource_spans[0].scope_spans[0].spans;
        assert_eq!(spans[0].events.len(), if with { 2 } else { 0 });
    }
}

#[test]
fn settings_of_their_own() {
    let env = |vars: &'static [(&'static str, &'static str)]| {
        move |name: &str| {
            vars.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        }
    };
    let flag = Some("http://localhost:4318");
    let config = Config::resolve_logs(flag, None, &env(&[]))
        .unwrap()
        .unwrap();
    assert_eq!(config.endpoint, "http://localhost:4318/v1/logs");
    assert_eq!(
        (config.signal, config.schedule_delay),
        (Signal::Logs, Duration::from_secs(1))
    );
    let vars = &[
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:4318/x"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "7"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "5"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "9"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "11"),
        ("OTEL_BLRP_EXPORT_TIMEOUT", "13"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "99"),
    ];
    let config = Config::resolve_logs(None, None, &env(vars))
        .unwrap()
        .unwrap();
    assert_eq!(config.endpoint, "http://logs:4318/x");
    assert_eq!(
        (config.max_queue, config.max_batch, config.gzip),
        (5, 5, true)
    );
    let millis = [config.timeout, config.schedule_delay, config.export_timeout];
    assert_eq!(millis.map(|d| d.as_millis()), [7, 11, 13]);
    assert!(
        Config::resolve_logs(None, None, &env(&[]))
            .unwrap()
            .is_none()
    );
    let none = &[("OTEL_LOGS_EXPORTER", "none")];
    assert!(
        Config::resolve_logs(flag, None, &env(none))
            .unwrap()
            .is_none()
    );
}
