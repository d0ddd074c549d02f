//! Our spans in the SDK's terms: same ids, same times, nothing made up.

use crate::model::span::{Attributes, Resource, Span, SpanKind, Value};
use crate::model::time::WallTime;
use opentelemetry::trace::{
    Event, SpanContext, SpanId, SpanKind as OtelKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value as OtelValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::mem::size_of;
use std::str::FromStr as _;
use std::time::{Duration, SystemTime};

/// The instrumentation scope of all spans.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("genspan")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
}

/// A process's resource, with nothing detected about ourselves mixed in.
pub(super) fn resource(resource: &Resource) -> opentelemetry_sdk::Resource {
    opentelemetry_sdk::Resource::builder_empty()
        .with_attributes(attributes(&resource.attributes))
        .build()
}

/// A span.
pub(super) fn span(span: &Span, scope: &InstrumentationScope) -> SpanData {
    let mut events = SpanEvents::default();
    events.events = span
        .events
        .iter()
        .map(|e| Event::new(e.name.clone(), time(e.time), attributes(&e.attributes), 0))
        .collect();
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(span.trace_id),
            SpanId::from(span.span_id),
            TraceFlags::SAMPLED,
            false,
            trace_state(span),
        ),
        parent_span_id: span.parent_span_id.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: false,
        span_kind: match span.kind {
            SpanKind::Client => OtelKind::Client,
            SpanKind::Server => OtelKind::Server,
            SpanKind::Internal => OtelKind::Internal,
        },
        name: span.name.clone().into(),
        start_time: time(span.start),
        end_time: time(span.end),
        attributes: attributes(&span.attributes),
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status: match &span.error {
            Some(message) => Status::error(message.clone()),
            None => Status::Unset,
        },
        instrumentation_scope: scope.clone(),
    }
}

fn time(at: WallTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(at.0)
}

fn attributes(attributes: &Attributes) -> Vec<KeyValue> {
    attributes
        .iter()
        .map(|(name, v)| KeyValue::new(name.clone(), value(v)))
        .collect()
}

fn value(value: &Value) -> OtelValue {
    match value {
        Value::Str(v) => OtelValue::String(v.clone().into()),
        Value::Int(v) => OtelValue::I64(*v),
        Value::Double(v) => OtelValue::F64(*v),
        Value::Bool(v) => OtelValue::Bool(*v),
        Value::StrList(v) => OtelValue::Array(Array::String(
            v.iter().map(|s| StringValue::from(s.clone())).collect(),
        )),
    }
}

/// About how much memory a waiting span holds, its shared resource left out.
pub(super) fn weight(span: &Span) -> usize {
    let events: usize = span
        .events
        .iter()
        .map(|e| 64 + attributes_weight(&e.attributes))
        .sum();
    size_of::<Span>() + span.name.len() + attributes_weight(&span.attributes) + events
}

fn attributes_weight(attributes: &Attributes) -> usize {
    attributes
        .iter()
        .map(|(_, v)| {
            let text = match v {
                Value::Str(v) => v.len(),
                Value::StrList(v) => v.iter().map(|s| s.len() + 24).sum(),
                Value::Int(_) | Value::Double(_) | Value::Bool(_) => 0,
            };
            text + 64
        })
        .sum()
}

/// The state of the trace; none when it is not as the specification wants it.
fn trace_state(span: &Span) -> TraceState {
    let state = span.trace_state.as_deref();
    state
        .and_then(|s| TraceState::from_str(s).ok())
        .unwrap_or(TraceState::NONE)
}
