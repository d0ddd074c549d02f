//! A span's events as log records (OpenTelemetry GenAI conventions, events): the details of a call
//! have the attributes of its span, and structured values where a span has JSON texts.

use super::convert::time;
use crate::model::span::{Span, SpanEvent, Value};
use crate::vocabulary::{attr, event};
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::{Key, SpanId, TraceFlags, TraceId};
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider};
use serde_json::Value as Json;
use std::sync::LazyLock;

/// What of a span its log records need: all but the content that its events have as well.
pub(super) fn without_content(span: &Span) -> Span {
    let content = |name: &str| attr::STRUCTURED.contains(&name);
    let attributes = span.attributes.iter().filter(|(name, _)| !content(name));
    Span {
        trace_id: span.trace_id,
        span_id: span.span_id,
        parent_span_id: None,
        trace_state: None,
        name: String::new(),
        kind: span.kind,
        start: span.start,
        end: span.end,
        error: None,
        attributes: attributes.cloned().collect(),
        events: span.events.clone(),
        chunk_gaps: None,
        pid: span.pid,
        resource: span.resource.clone(),
        sampled: span.sampled,
    }
}

/// Records cannot be made but by a logger; this one logs nothing.
static BLANK: LazyLock<SdkLogger> = LazyLock::new(|| {
    let nothing = opentelemetry_sdk::Resource::builder_empty().build();
    let provider = SdkLoggerProvider::builder().with_resource(nothing);
    provider.build().logger("genspan")
});

/// The log records of all events of these spans.
pub(super) fn records(spans: &[Span]) -> Vec<SdkLogRecord> {
    let pairs = spans
        .iter()
        .flat_map(|s| s.events.iter().map(move |e| (s, e)));
    pairs
        .map(|(span, event)| {
            let mut record = BLANK.create_log_record();
            fill(&mut record, span, event);
            record
        })
        .collect()
}

fn fill(record: &mut SdkLogRecord, span: &Span, told: &SpanEvent) {
    if let Some(name) = event::ALL.into_iter().find(|n| *n == told.name) {
        record.set_event_name(name);
    }
    record.set_timestamp(time(told.time));
    record.set_observed_timestamp(time(told.time));
    let failure = told.name == event::OPERATION_EXCEPTION;
    let (severity, text) = match failure {
        true => (Severity::Warn, "WARN"),
        false => (Severity::Debug, "DEBUG"),
    };
    record.set_severity_number(severity);
    record.set_severity_text(text);
    record.set_trace_context(
        TraceId::from(span.trace_id),
        SpanId::from(span.span_id),
        Some(TraceFlags::SAMPLED),
    );
    let common = span.attributes.iter().filter(|_| !failure);
    for (name, value) in common.chain(&told.attributes) {
        record.add_attribute(name.clone(), any(name, value));
    }
}

fn any(name: &str, value: &Value) -> AnyValue {
    match value {
        Value::Str(text) if attr::STRUCTURED.contains(&name) => match serde_json::from_str(text) {
            Ok(json) => structured(json),
            Err(_) => AnyValue::String(text.clone().into()),
        },
        Value::Str(text) => AnyValue::String(text.clone().into()),
        Value::Int(n) => AnyValue::Int(*n),
        Value::Double(n) => AnyValue::Double(*n),
        Value::Bool(b) => AnyValue::Boolean(*b),
        Value::StrList(list) => {
            let list = list.iter().map(|s| AnyValue::String(s.clone().into()));
            AnyValue::ListAny(Box::new(list.collect()))
        }
    }
}

/// JSON in the crate's terms, which has no null: a member that is null is left out.
fn structured(json: Json) -> AnyValue {
    match json {
        Json::Null => AnyValue::String("null".into()),
        Json::Bool(b) => AnyValue::Boolean(b),
        Json::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(n), _) => AnyValue::Int(n),
            // What no number of the crate's holds exactly stays as it is written.
            (None, Some(f)) if n.is_f64() => AnyValue::Double(f),
            _ => AnyValue::String(n.to_string().into()),
        },
        Json::String(text) => AnyValue::String(text.into()),
        Json::Array(list) => {
            AnyValue::ListAny(Box::new(list.into_iter().map(structured).collect()))
        }
        Json::Object(map) => {
            let members = map.into_iter().filter(|(_, v)| !v.is_null());
            let members = members.map(|(k, v)| (Key::from(k), structured(v)));
            AnyValue::Map(Box::new(members.collect()))
        }
    }
}
