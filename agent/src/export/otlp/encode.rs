//! Spans, or their events, as serialized requests.

use super::config::Signal;
use super::convert;
use super::logs;
use crate::model::span::{Resource, Span};
use opentelemetry::InstrumentationScope;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::logs::LogBatch;
use prost::Message as _;
use prost::bytes::Bytes;
use std::sync::Arc;

/// About as large are requests at most, but for one span that is larger: collectors take 4 MiB over
/// gRPC unless they are told otherwise.
const MAX_REQUEST: usize = 2 << 20;

/// A request, and what is in it.
pub(super) struct Outgoing {
    /// Spans, or events.
    pub(super) items: u64,
    pub(super) body: Bytes,
}

/// Makes requests of spans.
pub(super) struct Encoder {
    signal: Signal,
    span_events: bool,
    scope: InstrumentationScope,
}

impl Encoder {
    /// `span_events` says that spans take their events along.
    pub(super) fn new(signal: Signal, span_events: bool) -> Self {
        Self {
            signal,
            span_events,
            scope: convert::scope(),
        }
    }

    /// The spans of each process under its own resource.
    pub(super) fn encode(&self, spans: Vec<Span>) -> Outgoing {
        let items = match self.signal {
            Signal::Logs => spans.iter().map(|s| s.events.len()).sum(),
            Signal::Traces | Signal::Metrics => spans.len(),
        };
        let groups = by_resource(spans);
        let body = match self.signal {
            Signal::Logs => self.events(&groups).encode_to_vec(),
            Signal::Traces | Signal::Metrics => self.spans(&groups).encode_to_vec(),
        };
        Outgoing {
            items: items as u64,
            body: body.into(),
        }
    }

    fn spans(&self, groups: &[(Arc<Resource>, Vec<Span>)]) -> ExportTraceServiceRequest {
        let groups = groups.iter().flat_map(|(resource, spans)| {
            let spans = spans.iter();
            let spans = spans.map(|s| convert::span(s, &self.scope, self.span_events));
            group_spans_by_resource_and_scope(spans.collect(), &attributes(resource))
        });
        ExportTraceServiceRequest {
            resource_spans: groups.collect(),
        }
    }

    fn events(&self, groups: &[(Arc<Resource>, Vec<Span>)]) -> ExportLogsServiceRequest {
        let groups = groups.iter().flat_map(|(resource, spans)| {
            let records = logs::records(spans);
            let batch: Vec<_> = records.iter().map(|r| (r, &self.scope)).collect();
            group_logs_by_resource_and_scope(&LogBatch::new(&batch), &attributes(resource))
        });
        ExportLogsServiceRequest {
            resource_logs: groups.collect(),
        }
    }
}

fn attributes(resource: &Resource) -> ResourceAttributesWithSchema {
    (&convert::resource(resource)).into()
}

/// Cuts a batch into what is a request each.
pub(super) fn cut(batch: Vec<Span>) -> Vec<Vec<Span>> {
    let mut all = Vec::new();
    let (mut one, mut weight) = (Vec::new(), 0);
    for span in batch {
        let more = convert::weight(&span);
        if weight + more > MAX_REQUEST && !one.is_empty() {
            all.push(std::mem::take(&mut one));
            weight = 0;
        }
        weight += more;
        one.push(span);
    }
    if !one.is_empty() {
        all.push(one);
    }
    all
}

fn by_resource(batch: Vec<Span>) -> Vec<(Arc<Resource>, Vec<Span>)> {
    let mut groups: Vec<(Arc<Resource>, Vec<Span>)> = Vec::new();
    for span in batch {
        let known = groups
            .iter_mut()
            .find(|(r, _)| Arc::ptr_eq(r, &span.resource));
        match known {
            Some((_, spans)) => spans.push(span),
            None => groups.push((Arc::clone(&span.resource), vec![span])),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::cut;
    use crate::export::test_support::{resource, span};
    use crate::model::span::Value;
    use std::borrow::Cow;

    #[test]
    fn requests_are_bounded_and_lose_nothing() {
        let sizes = [10, 900_000, 900_000, 900_000, 5_000_000, 10, 10];
        let spans = sizes.iter().enumerate().map(|(id, size)| {
            let text = vec![(Cow::Borrowed("text"), Value::from("x".repeat(*size)))];
            span(id as u64, text, resource("shop", 1))
        });
        let parts = cut(spans.collect());
        let ids = |part: &Vec<_>| -> Vec<u64> {
            let part: &Vec<crate::model::span::Span> = part;
            part.iter().map(|s| s.span_id).collect()
        };
        let parts: Vec<_> = parts.iter().map(ids).collect();
        assert_eq!(parts, [vec![0, 1, 2], vec![3], vec![4], vec![5, 6]]);
        assert!(cut(vec![]).is_empty());
    }
}
