//! Our metrics in OTLP's terms. The SDK takes no series that others have added up, so these are
//! the protocol's own messages.

use crate::metrics::instrument::{self, Instrument, Kind};
use crate::metrics::{
    Data, Exemplar, Histogram, Label, ResourceMetrics as Process, Series, Snapshot,
};
use crate::model::span::{Resource as OurResource, Value as OurValue};
use crate::model::time::WallTime;
use crate::vocabulary::{metric, resource};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar as OtlpExemplar, Gauge, Histogram as OtlpHistogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar,
    metric::Data as OtlpData, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use std::sync::Arc;

/// Points in one request, about: a message that a gRPC receiver takes by default is 4 MiB, and
/// a histogram with all its exemplars and labels about 2 KiB. A process is not split.
const MAX_POINTS: usize = 1000;

/// What the points of one export have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    /// When we began; our own sums count from there.
    pub(super) started: WallTime,
    /// Now.
    pub(super) now: WallTime,
    /// Exemplars up to this measurement were exported before.
    pub(super) exported: u64,
}

/// The requests that export a snapshot.
pub(super) fn requests(snapshot: &Snapshot, when: When) -> Vec<ExportMetricsServiceRequest> {
    let mut all: Vec<ExportMetricsServiceRequest> = Vec::new();
    let mut points = MAX_POINTS;
    let processes = snapshot.resources.iter().map(|p| {
        let points: usize = p.instruments.iter().map(|(_, series)| series.len()).sum();
        (points, process(p, when))
    });
    for (count, metrics) in processes.chain(own(snapshot, when)) {
        match all.last_mut() {
            Some(request) if points + count <= MAX_POINTS => {
                points += count;
                request.resource_metrics.push(metrics);
            }
            _ => {
                points = count;
                all.push(ExportMetricsServiceRequest {
                    resource_metrics: vec![metrics],
                });
            }
        }
    }
    all
}

fn process(process: &Process, when: When) -> ResourceMetrics {
    let when = Point {
        start: process.start,
        // Sums of a recording end when it did; those of a live run now. A clock that was set
        // back does not make time go backwards.
        now: when.now.max(process.last),
        exported: when.exported,
    };
    let metrics = process
        .instruments
        .iter()
        .map(|(instrument, series)| when.metric(instrument, series))
        .collect();
    of_resource(&process.resource, metrics)
}

fn of_resource(resource: &OurResource, metrics: Vec<Metric>) -> ResourceMetrics {
    ResourceMetrics {
        resource: Some(Resource {
            attributes: resource
                .attributes
                .iter()
                .map(|(name, v)| key_value(name, value(v)))
                .collect(),
            ..Resource::default()
        }),
        scope_metrics: vec![ScopeMetrics {
            scope: Some(InstrumentationScope {
                name: "genspan".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            metrics,
            ..ScopeMetrics::default()
        }],
        ..ResourceMetrics::default()
    }
}

/// What was lost and what was redacted, as metrics of our own.
fn own(snapshot: &Snapshot, when: When) -> Option<(usize, ResourceMetrics)> {
    let lost = snapshot.lost.iter().map(|l| (l.reason.as_str(), l.count));
    let redacted = snapshot.redacted.iter();
    let redacted = redacted.map(|r| (r.rule.as_str(), r.count));
    let metrics = [
        counts(&instrument::LOST, metric::LOST_REASON, lost, when),
        counts(&instrument::REDACTED, metric::REDACTED_RULE, redacted, when),
    ];
    let metrics: Vec<Metric> = metrics.into_iter().flatten().collect();
    if metrics.is_empty() {
        return None;
    }
    let us = OurResource {
        attributes: vec![
            (resource::SERVICE_NAME.into(), "genspan".into()),
            (
                resource::PROCESS_PID.into(),
                i64::from(std::process::id()).into(),
            ),
        ],
    };
    let points = snapshot.lost.len() + snapshot.redacted.len();
    Some((points, of_resource(&us, metrics)))
}

/// Counts by one attribute; none when there are none.
fn counts<'a>(
    instrument: &'static Instrument,
    attribute: &'static str,
    counts: impl Iterator<Item = (&'a str, u64)>,
    when: When,
) -> Option<Metric> {
    let points: Vec<_> = counts
        .map(|(value, count)| NumberDataPoint {
            attributes: vec![key_value(attribute, Any::StringValue(value.to_owned()))],
            start_time_unix_nano: when.started.0,
            time_unix_nano: when.now.0,
            value: Some(number_data_point::Value::AsInt(signed(count))),
            ..NumberDataPoint::default()
        })
        .collect();
    (!points.is_empty()).then(|| described(instrument, sum(points)))
}

struct Point {
    start: WallTime,
    now: WallTime,
    exported: u64,
}

impl Point {
    fn metric(&self, instrument: &Instrument, series: &[Arc<Series>]) -> Metric {
        let mut histograms = Vec::new();
        let mut sums = Vec::new();
        let mut gauges = Vec::new();
        for one in series {
            match &one.data {
                Data::Histogram(h) => histograms.push(self.histogram(one, h)),
                Data::Sum(n, last) => sums.push(self.number(one, *n, last.as_ref())),
                Data::Gauge(value, at) => gauges.push(gauge(one, *value, *at)),
            }
        }
        let data = match instrument.kind {
            Kind::Histogram(_) => OtlpData::Histogram(OtlpHistogram {
                data_points: histograms,
                aggregation_temporality: AggregationTemporality::Cumulative.into(),
            }),
            Kind::Sum => sum(sums),
            Kind::Gauge => OtlpData::Gauge(Gauge {
                data_points: gauges,
            }),
        };
        described(instrument, data)
    }

    fn histogram(&self, series: &Series, histogram: &Histogram) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: labels(series),
            start_time_unix_nano: self.start.0,
            time_unix_nano: self.now.0,
            count: histogram.count(),
            sum: Some(histogram.sum),
            bucket_counts: histogram.counts.clone(),
            explicit_bounds: histogram.bounds.to_vec(),
            exemplars: histogram
                .exemplars
                .iter()
                .flatten()
                .filter_map(|e| self.exemplar(e))
                .collect(),
            flags: 0,
            min: Some(histogram.min),
            max: Some(histogram.max),
        }
    }

    fn number(&self, series: &Series, n: u64, last: Option<&Exemplar>) -> NumberDataPoint {
        NumberDataPoint {
            attributes: labels(series),
            start_time_unix_nano: self.start.0,
            time_unix_nano: self.now.0,
            exemplars: last.and_then(|e| self.exemplar(e)).into_iter().collect(),
            flags: 0,
            value: Some(number_data_point::Value::AsInt(signed(n))),
        }
    }

    fn exemplar(&self, exemplar: &Exemplar) -> Option<OtlpExemplar> {
        (exemplar.sequence > self.exported).then(|| OtlpExemplar {
            filtered_attributes: Vec::new(),
            time_unix_nano: exemplar.time.0,
            span_id: exemplar.span_id.to_be_bytes().to_vec(),
            trace_id: exemplar.trace_id.to_be_bytes().to_vec(),
            value: Some(exemplar::Value::AsDouble(exemplar.value)),
        })
    }
}

/// What it was at that time, which is not now: nobody has said since that it still is.
fn gauge(series: &Series, value: f64, at: WallTime) -> NumberDataPoint {
    NumberDataPoint {
        attributes: labels(series),
        time_unix_nano: at.0,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn sum(data_points: Vec<NumberDataPoint>) -> OtlpData {
    OtlpData::Sum(Sum {
        data_points,
        aggregation_temporality: AggregationTemporality::Cumulative.into(),
        is_monotonic: true,
    })
}

fn described(instrument: &Instrument, data: OtlpData) -> Metric {
    Metric {
        name: instrument.name.to_owned(),
        description: instrument.description.to_owned(),
        unit: instrument.unit.to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn labels(series: &Series) -> Vec<KeyValue> {
    series
        .labels
        .iter()
        .map(|(name, label)| {
            let value = match label {
                Label::Text(text) => Any::StringValue(text.to_string()),
                Label::Int(n) => Any::IntValue(*n),
                Label::Bool(b) => Any::BoolValue(*b),
            };
            key_value(name, value)
        })
        .collect()
}

fn value(value: &OurValue) -> Any {
    match value {
        OurValue::Str(v) => Any::StringValue(v.to_string()),
        OurValue::Int(v) => Any::IntValue(*v),
        OurValue::Double(v) => Any::DoubleValue(*v),
        OurValue::Bool(v) => Any::BoolValue(*v),
        OurValue::StrList(v) => Any::ArrayValue(ArrayValue {
            values: v.iter().map(|s| any(Any::StringValue(s.clone()))).collect(),
        }),
    }
}

fn key_value(key: &str, value: Any) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(any(value)),
        ..KeyValue::default()
    }
}

const fn any(value: Any) -> AnyValue {
    AnyValue { value: Some(value) }
}
