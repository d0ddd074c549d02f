//! Metrics to the stand-ins.

use super::collector::{Answer, Collector, GrpcCollector, Received, free_port};
use super::{get, logged, quick, text, wait_for};
use crate::export::metrics::{MetricsExporter, Reader as _, Source};
use crate::export::otlp::metrics_convert::{When, requests};
use crate::export::otlp::{Config, OtlpMetrics, Protocol, Signal};
use crate::export::test_support::{START, resource, span};
use crate::export::{Exporter as _, Loss};
use crate::metrics::{Label, Limits, Metrics, Observation, Observed, instrument};
use crate::model::span::{Span, Value};
use crate::model::time::WallTime;
use crate::redact::Redacted;
use crate::vocabulary::{Generation, attr};
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, HistogramDataPoint, Metric, exemplar, number_data_point,
};
use std::borrow::Cow;
use std::time::{Duration, Instant};

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

fn settings(protocol: Protocol, port: u16, every: Duration) -> Config {
    let quick = quick(protocol, port);
    Config {
        signal: Signal::Metrics,
        endpoint: quick.endpoint.replace("/v1/traces", "/v1/metrics"),
        schedule_delay: every,
        headers: HeaderMap::from_iter([(
            HeaderName::from_static("x-key"),
            HeaderValue::from_static("s t"),
        )]),
        ..quick
    }
}

fn call(id: u64, service: &'static str, pid: i64) -> Span {
    let attributes = [
        (attr::OPERATION_NAME, Value::from("chat")),
        (attr::SERVER_PORT, 443.into()),
        (attr::USAGE_INPUT_TOKENS, 40.into()),
    ];
    let attributes = attributes.map(|(n, v)| (Cow::Borrowed(n), v)).into();
    span(id, attributes, resource(service, pid))
}

fn start(config: Config, names: Generation) -> (MetricsExporter, Source) {
    let source = Source::new(Metrics::new(names, Limits::default()));
    let otlp = OtlpMetrics::start(config, source.clone()).unwrap();
    (
        MetricsExporter::new(source.clone(), vec![Box::new(otlp)]),
        source,
    )
}

/// Service → its metrics, of one request.
fn by_service(received: &Received) -> Vec<(Any, Vec<Metric>)> {
    let metrics = received.metrics.as_ref().expect("metrics");
    metrics
        .resource_metrics
        .iter()
        .map(|r| {
            let scope = r.scope_metrics[0].scope.as_ref().unwrap();
            assert_eq!(scope.name, "genspan");
            let resource = &r.resource.as_ref().unwrap().attributes;
            let service = get(resource, "service.name").unwrap().clone();
            (service, r.scope_metrics[0].metrics.clone())
        })
        .collect()
}

fn histogram<'a>(metrics: &'a [Metric], name: &str) -> &'a HistogramDataPoint {
    let metric = metrics.iter().find(|m| m.name == name).unwrap();
    let Some(Data::Histogram(h)) = &metric.data else {
        panic!("no histogram: {metric:?}");
    };
    assert_eq!(h.aggregation_temporality, CUMULATIVE);
    assert_eq!(h.data_points.len(), 1);
    &h.data_points[0]
}

fn arrives_exactly(config: Config, received: &dyn Fn() -> Vec<Received>) {
    let (mut exporter, _) = start(config, Generation::Both);
    for one in [call(1, "shop", 1), call(2, "desk", 2), call(3, "shop", 1)] {
        exporter.span(&one).unwrap();
    }
    let lost = [Loss {
        name: "bytes missing on connections".to_owned(),
        count: 7,
    }];
    exporter.redacted(&[Redacted {
        rule: "email".to_owned(),
        count: 2,
    }]);
    exporter.shutdown(&lost).unwrap();
    let received = received();
    assert_eq!(received.len(), 1, "all at once, at the exit");
    assert!(received[0].head.contains("s t"), "{}", received[0].head);
    let all = by_service(&received[0]);
    let services: Vec<_> = all.iter().map(|(s, _)| s.clone()).collect();
    assert_eq!(services, [text("desk"), text("shop"), text("genspan")]);
    let shop = &all[1].1;
    let duration = histogram(shop, "gen_ai.client.inference.duration");
    assert_eq!((duration.count, duration.sum), (2, Some(3.0)));
    assert_eq!((duration.min, duration.max), (Some(1.5), Some(1.5)));
    assert_eq!(
        duration.explicit_bounds.len() + 1,
        duration.bucket_counts.len()
    );
    assert_eq!(duration.bucket_counts[8], 2);
    assert!((duration.explicit_bounds[13] - 81.92).abs() < 1e-9);
    assert_eq!(duration.start_time_unix_nano, START);
    assert!(duration.time_unix_nano > START + 1_500_000_000);
    assert_eq!(
        get(&duration.attributes, attr::OPERATION_NAME),
        Some(&text("chat"))
    );
    assert_eq!(
        get(&duration.attributes, attr::SERVER_PORT),
        Some(&Any::IntValue(443))
    );
    let [exemplar] = &duration.exemplars[..] else {
        panic!("{:?}", duration.exemplars);
    };
    assert_eq!(exemplar.span_id, 3u64.to_be_bytes());
    assert_eq!(
        exemplar.trace_id,
        0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes()
    );
    assert_eq!(exemplar.value, Some(exemplar::Value::AsDouble(1.5)));
    assert_eq!(exemplar.time_unix_nano, START + 1_500_000_000);
    let unit = |name: &str| &shop.iter().find(|m| m.name == name).unwrap().unit;
    assert_eq!(unit("gen_ai.client.inference.duration"), "s");
    assert_eq!(unit("gen_ai.client.token.usage"), "{token}");
    let sum = shop
        .iter()
        .find(|m| m.name == "gen_ai.client.inference.usage.input_tokens");
    let Some(Data::Sum(sum)) = &sum.unwrap().data else {
        panic!("no sum");
    };
    assert!(sum.is_monotonic && sum.aggregation_temporality == CUMULATIVE);
    assert_eq!(
        sum.data_points[0].value,
        Some(number_data_point::Value::AsInt(80))
    );
    let Some(Data::Sum(lost)) = &all[2].1[0].data else {
        panic!("no sum");
    };
    assert_eq!(all[2].1[0].name, "genspan.lost");
    assert_eq!(
        lost.data_points[0].value,
        Some(number_data_point::Value::AsInt(7))
    );
    let Some(Data::Sum(redacted)) = &all[2].1[1].data else {
        panic!("no sum");
    };
    assert_eq!(all[2].1[1].name, "genspan.redacted");
    let point = &redacted.data_points[0];
    assert_eq!(point.value, Some(number_data_point::Value::AsInt(2)));
    assert_eq!(
        get(&point.attributes, "genspan.redaction.rule"),
        Some(&text("email"))
    );
}

#[test]
fn over_http() {
    let collector = Collector::start(vec![]);
    let long = Duration::from_secs(60);
    let mut config = settings(Protocol::HttpProtobuf, collector.port, long);
    arrives_exactly(config.clone(), &|| collector.received());
    assert!(
        collector.received()[0]
            .head
            .starts_with("POST /v1/metrics HTTP/1.1\r\n")
    );
    let packed = Collector::start(vec![]);
    config.endpoint = config
        .endpoint
        .replace(&collector.port.to_string(), &packed.port.to_string());
    config.gzip = true;
    arrives_exactly(config, &|| packed.received());
}

#[test]
fn over_grpc() {
    let collector = GrpcCollector::start(free_port());
    let mut config = settings(Protocol::Grpc, collector.port, Duration::from_secs(60));
    arrives_exactly(config.clone(), &|| collector.received());
    config.gzip = true;
    arrives_exactly(config, &|| collector.received()[1..].to_vec());
}

#[test]
fn periodically_and_cumulatively() {
    let collector = Collector::start(vec![]);
    let every = Duration::from_millis(30);
    let (mut exporter, _) = start(
        settings(Protocol::HttpProtobuf, collector.port, every),
        Generation::Legacy,
    );
    std::thread::sleep(every * 3);
    assert_eq!(
        collector.received().len(),
        0,
        "nothing to tell, nothing told"
    );
    exporter.span(&call(1, "shop", 1)).unwrap();
    wait_for("an export", || collector.received().len() >= 2);
    exporter.span(&call(2, "shop", 1)).unwrap();
    exporter.shutdown(&[]).unwrap();
    let all: Vec<_> = collector
        .received()
        .iter()
        .map(|r| histogram(&by_service(r)[0].1, "gen_ai.client.operation.duration").clone())
        .collect();
    let ids = |p: &HistogramDataPoint| p.exemplars.iter().map(|e| e.span_id[7]).collect::<Vec<_>>();
    assert_eq!((all[0].count, ids(&all[0])), (1, vec![1]));
    assert_eq!(
        (all[1].count, ids(&all[1])),
        (1, vec![]),
        "an exemplar is told once"
    );
    let last = all.last().unwrap();
    assert_eq!((last.count, last.sum), (2, Some(3.0)));
    assert!(all.iter().all(|p| p.start_time_unix_nano == START));
    assert!(all.is_sorted_by_key(|p| p.time_unix_nano));
}

#[test]
fn an_export_that_fails_loses_nothing() {
    let busy = || Answer {
        status: "503 Service Unavailable",
        headers: "",
        body: vec![],
    };
    let collector = Collector::start(vec![busy(), busy()]);
    let every = Duration::from_millis(20);
    let log = logged(|_| {
        let (mut exporter, _) = start(
            settings(Protocol::HttpProtobuf, collector.port, every),
            Generation::Legacy,
        );
        exporter.span(&call(1, "shop", 1)).unwrap();
        wait_for("the third export", || collector.received().len() >= 3);
        exporter.shutdown(&[]).unwrap();
    });
    let third = &collector.received()[2];
    let duration = histogram(&by_service(third)[0].1, "gen_ai.client.operation.duration").clone();
    assert_eq!((duration.count, duration.exemplars.len()), (1, 1));
    assert_eq!(
        log.matches("does not take metrics: it answers 503").count(),
        1,
        "{log}"
    );
    assert_eq!(log.matches("takes metrics again").count(), 1, "{log}");
}

#[test]
fn nobody_there_holds_nothing_up() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let log = logged(|_| {
            let every = Duration::from_millis(10);
            let (mut exporter, source) =
                start(settings(protocol, free_port(), every), Generation::Legacy);
            let begun = Instant::now();
            for id in 0..1000 {
                exporter.span(&call(id, "shop", 1)).unwrap();
            }
            assert!(begun.elapsed() < Duration::from_secs(2));
            assert_eq!(source.snapshot().resources.len(), 1);
            let error = exporter.shutdown(&[]).unwrap_err().to_string();
            assert!(
                error.contains("the last values of the metrics were not delivered"),
                "{error}"
            );
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "{:?}",
                begun.elapsed()
            );
        });
        assert_eq!(
            log.matches("not reachable: connection refused").count(),
            1,
            "{log}"
        );
    }
}

#[test]
fn what_something_is_has_its_own_time() {
    let mut metrics = Metrics::new(Generation::Legacy, Limits::default());
    let labels = || vec![("gen_ai.request.model", Label::text("m"))];
    let all = [
        (&instrument::ENGINE_RUNNING, Observed::Gauge(2.0)),
        (&instrument::ENGINE_OUTPUT, Observed::Total(7)),
    ];
    let all = all.map(|(instrument, value)| Observation {
        instrument,
        labels: labels(),
        value,
    });
    metrics.observe(&resource("vllm", 7), WallTime(5), &all);
    let when = When {
        started: WallTime(1),
        now: WallTime(9),
        exported: 0,
    };
    let requests = requests(&metrics.snapshot(WallTime(9)), when);
    let told = &requests[0].resource_metrics[0].scope_metrics[0].metrics;
    let mut times = told.iter().map(|metric| match &metric.data {
        Some(Data::Gauge(gauge)) => ("gauge", gauge.data_points[0].time_unix_nano),
        Some(Data::Sum(sum)) => ("sum", sum.data_points[0].time_unix_nano),
        other => panic!("{other:?}"),
    });
    let (first, second) = (times.next().unwrap(), times.next().unwrap());
    assert_eq!([first, second], [("gauge", 5), ("sum", 9)]);
    assert!(times.next().is_none());
}

#[test]
fn stopped_without_a_word_it_ends() {
    let collector = Collector::start(vec![]);
    let source = Source::new(Metrics::new(Generation::Legacy, Limits::default()));
    let config = settings(
        Protocol::HttpProtobuf,
        collector.port,
        Duration::from_secs(60),
    );
    let mut otlp = OtlpMetrics::start(config, source).unwrap();
    otlp.shutdown().unwrap();
    otlp.shutdown().unwrap();
    assert_eq!(otlp.stats().exported, 0);
}
