//! One series of an instrument.

use super::instrument::Kind;
use super::label::Labels;
use crate::model::time::WallTime;

/// A measurement with the span that it was made on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// The measurement.
    pub value: f64,
    /// When it was made.
    pub time: WallTime,
    /// The span's trace.
    pub trace_id: u128,
    /// The span.
    pub span_id: u64,
    /// Number of the measurement in the store, so that an exporter can tell what is new.
    pub sequence: u64,
}

/// A histogram: per bucket a count and the last measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Upper bounds of all buckets but the last, inclusive.
    pub bounds: &'static [f64],
    /// Counts; one more than bounds.
    pub counts: Vec<u64>,
    /// Sum of the measurements.
    pub sum: f64,
    /// Smallest measurement.
    pub min: f64,
    /// Largest measurement.
    pub max: f64,
    /// The last measurement of each bucket.
    pub exemplars: Vec<Option<Exemplar>>,
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            exemplars: vec![None; bounds.len() + 1],
        }
    }

    /// Number of measurements.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn record(&mut self, value: f64, exemplar: Option<Exemplar>) {
        let bucket = self.bucket(value);
        self.count_in(bucket, 1);
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.exemplar(value, exemplar);
    }

    /// Counts measurements that were sorted into buckets before.
    pub(super) fn count_in(&mut self, bucket: usize, n: u64) {
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(n);
        }
    }

    /// The last measurement of a bucket; none of a span that is not told.
    pub(super) fn exemplar(&mut self, value: f64, exemplar: Option<Exemplar>) {
        let bucket = self.bucket(value);
        if let (Some(slot), Some(exemplar)) = (self.exemplars.get_mut(bucket), exemplar) {
            *slot = Some(exemplar);
        }
    }

    fn bucket(&self, value: f64) -> usize {
        self.bounds.partition_point(|bound| *bound < value)
    }
}

/// What a series holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// A histogram.
    Histogram(Histogram),
    /// A sum, with its last measurement.
    Sum(u64, Option<Exemplar>),
    /// What it was last, and when that was said.
    Gauge(f64, WallTime),
}

impl Data {
    pub(super) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Histogram(bounds) => Self::Histogram(Histogram::new(bounds)),
            Kind::Sum => Self::Sum(0, None),
            Kind::Gauge => Self::Gauge(0.0, WallTime(0)),
        }
    }
}

/// A series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What it is told by.
    pub labels: Labels,
    /// What it holds.
    pub data: Data,
}
