//! The endpoint over loopback, and what it says read by a small parser.

use super::*;
use crate::export::test_support::{resource, span};
use crate::export::{Exporter as _, Loss, metrics::MetricsExporter};
use crate::metrics::{Limits, Metrics};
use crate::model::span::{Span, Value};
use crate::vocabulary::{Generation, attr};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

fn call(id: u64, service: &'static str, pid: i64, model: &'static str) -> Span {
    let attributes = [
        (attr::OPERATION_NAME, Value::from("chat")),
        (attr::REQUEST_MODEL, model.into()),
        (attr::SERVER_PORT, 443.into()),
        (attr::USAGE_INPUT_TOKENS, 40.into()),
    ];
    let attributes = attributes.map(|(n, v)| (Cow::Borrowed(n), v)).into();
    span(id, attributes, resource(service, pid))
}

/// Status line and headers, and the body.
fn request(address: SocketAddr, head: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{head}\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[derive(Debug, Default, PartialEq)]
struct Sample {
    labels: BTreeMap<String, String>,
    value: f64,
    exemplar: Option<(BTreeMap<String, String>, f64, f64)>,
}

/// Labels in braces, and what comes after them.
fn labels(text: &str) -> (BTreeMap<String, String>, &str) {
    let mut rest = text.strip_prefix('{').unwrap();
    let mut all = BTreeMap::new();
    while !rest.starts_with('}') {
        let (name, after) = rest.split_once("=\"").unwrap();
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(name.chars().all(fits), "{name}");
        let mut value = String::new();
        let mut chars = after.char_indices();
        rest = loop {
            match chars.next().unwrap() {
                (at, '"') => break &after[at + 1..],
                (_, '\\') => match chars.next().unwrap().1 {
                    'n' => value.push('\n'),
                    c => value.push(c),
                },
                (_, c) => value.push(c),
            }
        };
        assert_eq!(all.insert(name.to_owned(), value), None, "twice in {text}");
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    (all, &rest[1..])
}

/// Reads a page: family → type, and sample name → samples. Fails where it is not well formed.
fn parse(text: &str) -> (BTreeMap<String, String>, BTreeMap<String, Vec<Sample>>) {
    let mut types = BTreeMap::new();
    let mut samples: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<_> = comment.splitn(3, ' ').collect();
            if let ["TYPE", family, kind] = words[..] {
                let before = types.insert(family.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{family} twice");
            }
            continue;
        }
        let (name, rest) = line.split_at(line.find('{').unwrap());
        let (labels_, rest) = labels(rest);
        let (value, exemplar) = match rest.split_once(" # ") {
            None => (rest, None),
            Some((value, exemplar)) => {
                let (labels, rest) = labels(exemplar);
                let numbers: Vec<f64> = rest
                    .split(' ')
                    .skip(1)
                    .map(|n| n.parse().unwrap())
                    .collect();
                (value, Some((labels, numbers[0], numbers[1])))
            }
        };
        let of = samples.entry(name.to_owned()).or_default();
        assert!(of.iter().all(|s| s.labels != labels_), "twice: {line}");
        of.push(Sample {
            labels: labels_,
            value: value.trim().parse().unwrap(),
            exemplar,
        });
    }
    (types, samples)
}

fn filled() -> (Source, MetricsExporter) {
    let source = Source::new(Metrics::new(Generation::Both, Limits::default()));
    let mut exporter = MetricsExporter::new(source.clone(), Vec::new());
    for span in [
        call(1, "shop", 1, "gpt-4o"),
        call(2, "shop", 1, "a \"b\\\n"),
        call(3, "shop", 2, "gpt-4o"),
        call(4, "desk", 3, "gpt-4o"),
        call(5, "desk", 3, "gpt-4o"),
    ] {
        exporter.span(&span).unwrap();
    }
    exporter.redacted(&[crate::redact::Redacted {
        rule: "email".to_owned(),
        count: 2,
    }]);
    exporter.losses(&[Loss {
        name: "events dropped: ring buffer full".to_owned(),
        count: 3,
    }]);
    (source, exporter)
}

#[test]
fn prometheus_own_format() {
    let (source, _exporter) = filled();
    let mut server = Prometheus::start(([127, 0, 0, 1], 0).into(), source).unwrap();
    let (head, body) = request(
        server.address(),
        "GET /metrics HTTP/1.1\r\nAccept: text/plain",
    );
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(
        lower.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    let (types, samples) = parse(&body);
    let duration = "gen_ai_client_operation_duration_seconds";
    // All are inference: the name is that of the legacy generation.
    assert_eq!(types[duration], "histogram");
    assert_eq!(types["gen_ai_client_token_usage"], "histogram");
    assert_eq!(
        types["gen_ai_client_inference_usage_input_tokens_total"],
        "counter"
    );
    assert_eq!(types["target_info"], "gauge");
    let counts = &samples[&format!("{duration}_count")];
    let told: Vec<_> = counts
        .iter()
        .map(|s| {
            let get = |name: &str| s.labels[name].as_str();
            (
                get("service_name"),
                get("process_pid"),
                get("gen_ai_request_model"),
                s.value as u64,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("shop", "1", "a \"b\\\n", 1),
            ("shop", "1", "gpt-4o", 1),
            ("shop", "2", "gpt-4o", 1),
            ("desk", "3", "gpt-4o", 2),
        ]
    );
    assert_eq!(counts[0].labels["server_port"], "443");
    let buckets: Vec<_> = samples[&format!("{duration}_bucket")]
        .iter()
        .filter(|s| s.labels["service_name"] == "desk")
        .map(|s| (s.labels["le"].as_str(), s.value as u64))
        .collect();
    assert_eq!(buckets.len(), 15);
    assert_eq!(buckets[6..9], [("0.64", 0), ("1.28", 0), ("2.56", 2)]);
    assert_eq!(buckets[14], ("+Inf", 2));
    let sums = &samples[&format!("{duration}_sum")];
    assert!((sums[3].value - 3.0).abs() < 1e-9);
    let lost = &samples["genspan_lost_total"][0];
    assert_eq!(
        lost.labels["genspan_lost_reason"],
        "events dropped: ring buffer full"
    );
    assert!((lost.value - 3.0).abs() < 1e-9);
    let redacted = &samples["genspan_redacted_total"][0];
    assert_eq!(redacted.labels["genspan_redaction_rule"], "email");
    assert!((redacted.value - 2.0).abs() < 1e-9);
    assert!(samples.values().flatten().all(|s| s.exemplar.is_none()));
    server.shutdown().unwrap();
    assert!(TcpStream::connect(server.address()).is_err());
}

#[test]
fn open_metrics_with_exemplars() {
    let (source, _exporter) = filled();
    let server = Prometheus::start(([127, 0, 0, 1], 0).into(), source).unwrap();
    // As Prometheus asks.
    let accept =
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
    let get = format!("GET /metrics HTTP/1.1\r\nAccept: {accept}");
    let (head, body) = request(server.address(), &get);
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(body.ends_with("# EOF\n"));
    let (types, samples) = parse(body.strip_suffix("# EOF\n").unwrap());
    assert_eq!(types["target"], "info");
    assert_eq!(
        types["gen_ai_client_inference_usage_input_tokens"],
        "counter"
    );
    assert!(body.contains("# UNIT gen_ai_client_operation_duration_seconds seconds\n"));
    let buckets = &samples["gen_ai_client_operation_duration_seconds_bucket"];
    let desk: Vec<_> = buckets
        .iter()
        .filter(|s| s.labels["service_name"] == "desk")
        .collect();
    let (labels, value, time) = desk[8].exemplar.as_ref().unwrap();
    assert_eq!(desk[8].labels["le"], "2.56");
    assert_eq!(labels["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(labels["span_id"], "0000000000000005");
    assert!((value - 1.5).abs() < 1e-9 && (time - 1_767_323_046.75).abs() < 1e-3);
    assert_eq!(desk.iter().filter(|s| s.exemplar.is_some()).count(), 1);
    let tokens = &samples["gen_ai_client_token_usage_bucket"];
    assert!(
        tokens.iter().any(|s| s.labels["le"] == "64.0"),
        "always with a fraction"
    );
    assert_eq!(samples["target_info"].len(), 3);
}

#[test]
fn which_format() {
    for (accept, want) in [
        ("", Format::Text),
        ("*/*", Format::Text),
        ("text/plain", Format::Text),
        ("application/openmetrics-text", Format::OpenMetrics),
        ("application/openmetrics-text;q=0", Format::Text),
        (
            "text/plain;q=0.9, application/openmetrics-text; version=1.0.0; q=0.5",
            Format::Text,
        ),
    ] {
        assert_eq!(Format::accepted(accept), want, "{accept}");
    }
}

#[test]
fn nothing_else_is_served() {
    let source = Source::new(Metrics::new(Generation::Legacy, Limits::default()));
    let server = Prometheus::start(([127, 0, 0, 1], 0).into(), source.clone()).unwrap();
    let at = server.address();
    assert!(request(at, "GET / HTTP/1.1").0.starts_with("HTTP/1.1 404"));
    assert!(
        request(at, "POST /metrics HTTP/1.1")
            .0
            .starts_with("HTTP/1.1 405")
    );
    let (head, body) = request(at, "HEAD /metrics HTTP/1.1");
    assert!(head.starts_with("HTTP/1.1 200") && body.is_empty());
    let (_, body) = request(at, "GET /metrics?x=1 HTTP/1.1");
    assert_eq!(body, "", "no metrics yet");
    let error = Prometheus::start(at, source).err().unwrap().to_string();
    assert!(
        error.starts_with(&format!("cannot serve metrics at {at}: ")),
        "{error}"
    );
}
