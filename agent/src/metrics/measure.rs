//! Which measurements a span gives, under which names.

use super::instrument::{self as i, Instrument};
use super::label::Label;
use super::observed::{MODALITIES, Observed, Tokens};
use crate::model::gaps::ChunkGaps;
use crate::model::span::{Span, SpanKind, Value};
use crate::vocabulary::{Generation, attr, metric, operation as name};

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(super) enum Measured<'a> {
    /// One value for a histogram.
    Value(f64),
    /// Many that were sorted into the buckets before.
    Gaps(&'a ChunkGaps),
    /// Something to add to a sum.
    Add(u64),
}

/// A measurement's labels, from the parts that many have in common.
pub(super) type Parts<'a> = &'a [(&'static str, Label)];

/// Where measurements go.
pub(super) trait Sink {
    fn measured(&mut self, instrument: &'static Instrument, labels: Parts<'_>, what: Measured<'_>);
}

/// The measurements of a span.
pub(super) fn of_span(names: Generation, span: &Span, sink: &mut dyn Sink) {
    let seen = Observed::of(span);
    let Some(operation) = seen.operation else {
        return;
    };
    let seconds = (!seen.midway).then(|| span.end.0.saturating_sub(span.start.0) as f64 / 1e9);
    match span.kind {
        SpanKind::Client => {
            let mut call = Call::new(seen, span, sink);
            if names.legacy() {
                call.legacy(seconds);
            }
            if names.current() {
                let inference = metric::INFERENCE.contains(&operation);
                call.current(seconds, inference, names.legacy());
            }
        }
        SpanKind::Server => Call::new(seen, span, sink).served(seconds),
        SpanKind::Internal => run(operation, &seen, seconds, sink),
    }
}

struct Call<'a, 's> {
    seen: Observed<'a>,
    span: &'a Span,
    /// Those that all metrics have, and room for one or two more.
    labels: Vec<(&'static str, Label)>,
    sink: &'s mut dyn Sink,
}

impl<'a, 's> Call<'a, 's> {
    fn new(seen: Observed<'a>, span: &'a Span, sink: &'s mut dyn Sink) -> Self {
        let mut labels = Vec::with_capacity(10);
        labels.extend(
            seen.labels()
                .filter_map(|(name, value)| Some((name, Label::of(value)?))),
        );
        Self {
            seen,
            span,
            labels,
            sink,
        }
    }

    /// With one label more.
    fn with(
        &mut self,
        extra: Option<(&'static str, Label)>,
        instrument: &'static Instrument,
        what: Measured<'_>,
    ) {
        let common = self.labels.len();
        self.labels.extend(extra);
        self.sink.measured(instrument, &self.labels, what);
        self.labels.truncate(common);
    }

    fn plain(&mut self, instrument: &'static Instrument, what: Measured<'_>) {
        self.with(None, instrument, what);
    }

    /// With the reason when the call failed.
    fn or_error(&mut self, instrument: &'static Instrument, what: Measured<'_>) {
        let error = self.seen.error.and_then(Label::of);
        self.with(error.map(|e| (attr::ERROR_TYPE, e)), instrument, what);
    }

    fn legacy(&mut self, seconds: Option<f64>) {
        if let Some(seconds) = seconds {
            self.or_error(&i::OPERATION_DURATION, Measured::Value(seconds));
        }
        for (count, kind) in [
            (self.seen.input.all, "input"),
            (self.seen.output.all, "output"),
        ] {
            if let Some(count) = count {
                let kind = (metric::TOKEN_TYPE, Label::text(kind));
                self.with(Some(kind), &i::TOKEN_USAGE, Measured::Value(count as f64));
            }
        }
        self.stream(&i::OPERATION_FIRST_CHUNK, &i::OPERATION_PER_CHUNK);
    }

    /// `besides` the legacy ones: an instrument that has the same name in both is not written
    /// twice.
    fn current(&mut self, seconds: Option<f64>, inference: bool, besides: bool) {
        if let Some(seconds) = seconds {
            if inference {
                self.or_error(&i::INFERENCE_DURATION, Measured::Value(seconds));
            } else if !besides {
                self.or_error(&i::OPERATION_DURATION, Measured::Value(seconds));
            }
        }
        for (tokens, each) in [
            (self.seen.input, &i::INPUT_TOKENS),
            (self.seen.output, &i::OUTPUT_TOKENS),
        ] {
            if let Some(count) = tokens.all {
                self.or_error(each, Measured::Value(count as f64));
            }
        }
        for (tokens, sum) in [
            (self.seen.input, &i::INPUT_SUM),
            (self.seen.output, &i::OUTPUT_SUM),
            (self.seen.cache_read, &i::CACHE_READ_SUM),
            (self.seen.cache_write, &i::CACHE_WRITE_SUM),
            (self.seen.reasoning, &i::REASONING_SUM),
        ] {
            self.sum(sum, tokens);
        }
        // A call that failed before its usage was known counts as nothing, but it counts.
        if inference && self.seen.error.is_some() {
            for (tokens, sum) in [
                (self.seen.input, &i::INPUT_SUM),
                (self.seen.output, &i::OUTPUT_SUM),
            ] {
                if tokens.all.is_none() {
                    self.add(sum, "unknown", 0);
                }
            }
        }
        self.stream(&i::INFERENCE_FIRST_CHUNK, &i::INFERENCE_PER_CHUNK);
    }

    /// By modality; what is of none is of an unknown one.
    fn sum(&mut self, instrument: &'static Instrument, tokens: Tokens) {
        let Some(all) = tokens.all else { return };
        let mut rest = all;
        for (modality, count) in MODALITIES.into_iter().zip(tokens.by_modality) {
            // Parts that are more than the whole are not believed beyond it.
            let count = count.unwrap_or(0).min(rest);
            if count > 0 {
                rest -= count;
                self.add(instrument, modality, count);
            }
        }
        if rest > 0 || all == 0 {
            self.add(instrument, "unknown", rest);
        }
    }

    fn add(&mut self, instrument: &'static Instrument, modality: &str, count: u64) {
        let modality = (metric::TOKEN_MODALITY, Label::text(modality));
        self.with(Some(modality), instrument, Measured::Add(count));
    }

    fn stream(&mut self, first: &'static Instrument, each: &'static Instrument) {
        if let Some(seconds) = self.seen.first_chunk.filter(|_| !self.seen.midway) {
            self.plain(first, Measured::Value(seconds));
        }
        if let Some(gaps) = self.span.chunk_gaps.as_deref()
            && !self.seen.gap
            && !gaps.is_empty()
        {
            self.plain(each, Measured::Gaps(gaps));
        }
    }

    fn served(&mut self, seconds: Option<f64>) {
        let Some(seconds) = seconds else { return };
        self.or_error(&i::REQUEST_DURATION, Measured::Value(seconds));
        if self.seen.error.is_some() {
            return;
        }
        // What an engine measured itself counts, else what is seen of a stream: one of them.
        let streamed = self.seen.first_chunk;
        if let Some(first) = self.seen.engine_first.or(streamed) {
            self.plain(&i::FIRST_TOKEN_TIME, Measured::Value(first));
        }
        let after = self.seen.output.all.and_then(|n| n.checked_sub(1));
        let after = after.filter(|n| *n > 0);
        let each = streamed.zip(after);
        let each = each.map(|(first, after)| (seconds - first).max(0.0) / after as f64);
        if let Some(each) = self.seen.engine_each.or(each) {
            self.plain(&i::PER_TOKEN_TIME, Measured::Value(each));
        }
    }
}

/// Work inside a process: how long it took.
fn run(operation: &str, seen: &Observed<'_>, seconds: Option<f64>, sink: &mut dyn Sink) {
    let instrument = match operation {
        name::INVOKE_WORKFLOW => &i::WORKFLOW_DURATION,
        name::INVOKE_AGENT => &i::AGENT_DURATION,
        name::EXECUTE_TOOL => &i::TOOL_DURATION,
        _ => return,
    };
    let Some(seconds) = seconds else { return };
    let error = seen.error.map(|e: &Value| (attr::ERROR_TYPE, e));
    let labels: Vec<_> = [(attr::OPERATION_NAME, Label::text(operation))]
        .into_iter()
        .chain(
            seen.run
                .into_iter()
                .chain(error)
                .filter_map(|(name, value)| Some((name, Label::of(value)?))),
        )
        .collect();
    sink.measured(instrument, &labels, Measured::Value(seconds));
}
