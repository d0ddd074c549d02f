//! Several endpoints at a time, each as if it were the only one.

use super::collector::{Collector, GrpcCollector, free_port};
use super::{get, logged, quick, text};
use crate::export::otlp::{Config, Otlp, Protocol, Signal};
use crate::export::test_support::{resource, span};
use crate::export::{Exporter as _, FanOut};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Settings from a file, in which the test's are laid.
fn from_file(yaml: &str) -> Config {
    let file = serde_yaml_ng::from_str(yaml).unwrap();
    let env = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_HEADERS" => Some("x-key=not for them".to_owned()),
        "OTEL_BSP_SCHEDULE_DELAY" => Some("20".to_owned()),
        _ => None,
    };
    let config = Config::from_file(Signal::Traces, 1, &file, &env);
    config.unwrap().unwrap()
}

#[test]
fn each_has_its_own_headers_and_none_holds_up_another() {
    let (http, grpc) = (Collector::start(vec![]), GrpcCollector::start(free_port()));
    let mut handles = Vec::new();
    logged(|_| {
        let mut all = FanOut::new();
        let mut add = |config: Config| {
            let otlp = Otlp::start(config).unwrap();
            handles.push(otlp.stats_handle());
            all.push(Box::new(otlp));
        };
        add(from_file(&format!(
            "{{url: 'http://127.0.0.1:{}', headers: {{x-key: one}}, compression: gzip}}",
            http.port
        )));
        add(from_file(&format!(
            "{{url: 'http://127.0.0.1:{}', protocol: grpc, headers: {{x-key: two}}}}",
            grpc.port
        )));
        // Nobody is there.
        add(quick(Protocol::Grpc, free_port()));
        let shop = resource("shop", 1);
        for id in 1..=3 {
            all.span(&span(id, vec![], Arc::clone(&shop))).unwrap();
        }
        let begun = Instant::now();
        let error = all.shutdown(&[]).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(
            error.to_string().contains("3 spans not delivered"),
            "{error}"
        );
    });
    let delivered: Vec<_> = handles.iter().map(|h| h.stats().exported).collect();
    assert_eq!(delivered, [3, 3, 0]);
    let (http, grpc) = (http.received(), grpc.received());
    let head = http[0].head.to_ascii_lowercase();
    assert!(
        head.contains("x-key: one\r\n") && head.contains("content-encoding: gzip"),
        "{head}"
    );
    assert!(
        grpc[0].head.contains("\"x-key\": \"two\""),
        "{}",
        grpc[0].head
    );
    for received in http.iter().chain(&grpc) {
        assert!(!received.head.contains("not for them"));
        let group = &received.request.resource_spans[0];
        let service = get(&group.resource.as_ref().unwrap().attributes, "service.name");
        assert_eq!(service, Some(&text("shop")));
    }
    let status = handles[2].status();
    assert_eq!(status.dropped.not_taken, 3);
    assert_eq!(status.signal, "traces");
    assert_eq!(status.state, crate::export::status::Reach::Unreachable);
}
