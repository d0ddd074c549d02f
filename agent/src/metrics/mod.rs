//! Finished spans become metrics: histograms with the conventions' boundaries and sums, per
//! process, with bounded numbers of series.
//!
//! Pure like the stages before it: time is what the spans say, and the same spans give the same
//! metrics. Sums count from a process's first span on (cumulative). Whoever exports them takes
//! a [`Snapshot`], which shares the series with the store until they change.

pub mod instrument;
mod label;
mod measure;
mod observed;
mod series;
mod store;

#[cfg(test)]
mod tests;

pub use instrument::Instrument;
pub use label::{Label, Labels};
pub use series::{Data, Exemplar, Histogram, Series};
pub use store::{
    Counters, Limits, Lost, Metrics, Observation, Observed, Redaction, ResourceMetrics, Snapshot,
};
