//! All series, by process and instrument, within limits.

use super::instrument::Instrument;
use super::label::{Label, Labels};
use super::measure::{self, Measured, Parts, Sink};
use super::series::{Data, Exemplar, Series};
use crate::model::gaps;
use crate::model::span::{Resource, Span};
use crate::model::time::WallTime;
use crate::vocabulary::{Generation, metric};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bounds of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Processes whose metrics are kept; of more, the one that was silent longest is forgotten.
    pub resources: usize,
    /// Different values of one attribute in one process.
    pub values: usize,
    /// Series of one instrument in one process, the one for what is beyond not counted.
    pub series: usize,
    /// Series of all processes together, likewise.
    pub all_series: usize,
    /// A process is forgotten when it was silent for so long, in nanoseconds of the spans' time.
    pub silence: u64,
    /// What something is now is told for so long after it was said, in nanoseconds.
    pub gauge_age: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            resources: 256,
            values: 128,
            // OpenTelemetry's own default, with the one that takes the rest.
            series: 1999,
            all_series: 20_000,
            silence: 60 * 60 * 1_000_000_000,
            // Three times as long as it usually takes until it is said anew.
            gauge_age: 45 * 1_000_000_000,
        }
    }
}

/// What became of the measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Measurements taken.
    pub measurements: u64,
    /// Of those, told without their attributes: too many values or series.
    pub overflowed: u64,
    /// Processes forgotten because there were too many.
    pub resources_evicted: u64,
}

/// What a process says of itself, by another way than its calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// What it is about.
    pub instrument: &'static Instrument,
    /// By what it is told apart.
    pub labels: Vec<(&'static str, Label)>,
    /// What it says.
    pub value: Observed,
}

/// The value of an observation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observed {
    /// It is so much now. Told until it is too old ([`Limits::gauge_age`]).
    Gauge(f64),
    /// It was so much since that process began to count. What it is more than the time before counts here,
    /// so that sums begin with the first observation; one that is less began anew.
    Total(u64),
}

/// A count of something that was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// What, in words.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// A count of what was redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// The rule that found it.
    pub rule: String,
    /// How often.
    pub count: u64,
}

/// The store.
#[derive(Debug)]
pub struct Metrics {
    names: Generation,
    limits: Limits,
    /// The last one is the one that was heard of last.
    resources: Vec<Process>,
    /// Series of all processes.
    series: usize,
    /// Number of the last measurement.
    sequence: u64,
    lost: Vec<Lost>,
    redacted: Vec<Redaction>,
    counters: Counters,
}

/// What is kept of one process.
#[derive(Debug)]
struct Process {
    resource: Arc<Resource>,
    start: WallTime,
    last: WallTime,
    values: BTreeMap<&'static str, BTreeSet<Label>>,
    /// By name.
    instruments: BTreeMap<&'static str, Kept>,
    /// What was observed last of sums that it counts itself, by name and labels.
    totals: BTreeMap<(&'static str, Labels), u64>,
}

#[derive(Debug)]
struct Kept {
    instrument: &'static Instrument,
    /// By their labels.
    series: BTreeMap<Labels, Arc<Series>>,
    /// Takes what is beyond the limits.
    overflow: Option<Arc<Series>>,
}

/// All metrics as they were at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Per process.
    pub resources: Vec<ResourceMetrics>,
    /// What was lost so far, those of the metrics themselves included.
    pub lost: Vec<Lost>,
    /// What was redacted so far.
    pub redacted: Vec<Redaction>,
    /// Number of the last measurement.
    pub sequence: u64,
}

/// The metrics of one process.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceMetrics {
    /// The process.
    pub resource: Arc<Resource>,
    /// Since when its sums count.
    pub start: WallTime,
    /// When the last measurement was made.
    pub last: WallTime,
    /// Its instruments by name, with their series by labels.
    pub instruments: Vec<(&'static Instrument, Vec<Arc<Series>>)>,
}

impl Snapshot {
    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.lost.is_empty() && self.redacted.is_empty()
    }
}

impl Metrics {
    /// An empty store that writes these names.
    #[must_use]
    pub fn new(names: Generation, limits: Limits) -> Self {
        Self {
            names,
            limits,
            resources: Vec::new(),
            series: 0,
            sequence: 0,
            lost: Vec::new(),
            redacted: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Takes a span's measurements.
    pub fn span(&mut self, span: &Span) {
        let mut recording = Recording {
            store: self,
            span,
            process: None,
        };
        measure::of_span(recording.store.names, span, &mut recording);
    }

    /// Takes what a process with this resource says at this time.
    pub fn observe(&mut self, resource: &Arc<Resource>, now: WallTime, all: &[Observation]) {
        if all.is_empty() {
            return;
        }
        let at = self.process(resource, now, now);
        for Observation {
            instrument,
            labels,
            value,
        } in all
        {
            let more = match *value {
                Observed::Gauge(_) => 0,
                Observed::Total(total) => {
                    let most = self.limits.series;
                    let process = self.resources.get_mut(at);
                    process.map_or(0, |p| p.more(instrument.name, labels, total, most))
                }
            };
            let Some(series) = self.slot(at, instrument, labels) else {
                continue;
            };
            match (&mut Arc::make_mut(series).data, *value) {
                (Data::Gauge(gauge, at), Observed::Gauge(value)) => (*gauge, *at) = (value, now),
                (Data::Sum(sum, _), Observed::Total(_)) => *sum = sum.saturating_add(more),
                _ => debug_assert!(false, "an observation of another kind than its instrument"),
            }
        }
    }

    /// What was lost so far, by reason; replaces what was told before.
    pub fn lost(&mut self, so_far: impl IntoIterator<Item = Lost>) {
        self.lost = so_far.into_iter().collect();
    }

    /// What was redacted so far, by rule; replaces what was told before.
    pub fn redacted(&mut self, so_far: impl IntoIterator<Item = Redaction>) {
        self.redacted = so_far.into_iter().collect();
    }

    /// What became of the measurements so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Everything as it is now. Cheap: the series are shared until they change.
    #[must_use]
    pub fn snapshot(&self, now: WallTime) -> Snapshot {
        let oldest = WallTime(now.0.saturating_sub(self.limits.gauge_age));
        let of_processes = self.resources.iter().map(|p| p.snapshot(oldest));
        let own = [
            (
                "measurements told without attributes: too many values or series",
                self.counters.overflowed,
            ),
            (
                "processes whose metrics were forgotten: too many",
                self.counters.resources_evicted,
            ),
        ];
        let own = own
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| Lost {
                reason: reason.to_owned(),
                count,
            });
        Snapshot {
            // One of which nothing holds any more is none.
            resources: of_processes.filter(|p| !p.instruments.is_empty()).collect(),
            lost: self.lost.iter().cloned().chain(own).collect(),
            redacted: self.redacted.clone(),
            sequence: self.sequence,
        }
    }

    /// The place of the process with this resource, of which something is measured from `start` to `end`; it is
    /// the last one then.
    fn process(&mut self, resource: &Arc<Resource>, start: WallTime, end: WallTime) -> usize {
        let known = self
            .resources
            .iter()
            .rposition(|p| Arc::ptr_eq(&p.resource, resource))
            .or_else(|| {
                let mut all = self.resources.iter();
                all.rposition(|p| p.resource == *resource)
            });
        let process = match known {
            Some(at) if at + 1 == self.resources.len() => {
                let process = &mut self.resources[at];
                process.last = process.last.max(end);
                return at;
            }
            Some(at) => self.resources.remove(at),
            None => {
                self.make_room(end);
                Process {
                    resource: Arc::clone(resource),
                    start,
                    last: end,
                    values: BTreeMap::new(),
                    instruments: BTreeMap::new(),
                    totals: BTreeMap::new(),
                }
            }
        };
        self.resources.push(process);
        let at = self.resources.len() - 1;
        self.resources[at].last = self.resources[at].last.max(end);
        at
    }

    /// The series with these labels of the process at `at`, or the one that takes what is beyond the limits.
    fn slot(
        &mut self,
        at: usize,
        instrument: &'static Instrument,
        labels: Parts<'_>,
    ) -> Option<&mut Arc<Series>> {
        let Self {
            limits,
            series: all,
            counters,
            resources,
            ..
        } = self;
        let process = resources.get_mut(at)?;
        let known = process
            .instruments
            .get(instrument.name)
            .is_some_and(|kept| kept.series.contains_key(labels));
        let admitted = known || process.admits(labels, limits.values);
        let kept = process
            .instruments
            .entry(instrument.name)
            .or_insert_with(|| Kept {
                instrument,
                series: BTreeMap::new(),
                overflow: None,
            });
        let room = kept.series.len() < limits.series && *all < limits.all_series;
        if known {
            return kept.series.get_mut(labels);
        }
        Some(if admitted && room {
            let labels = Labels::from(labels);
            kept.series.entry(Arc::clone(&labels)).or_insert_with(|| {
                *all += 1;
                series(instrument, labels)
            })
        } else {
            counters.overflowed += 1;
            let overflow = || {
                series(
                    instrument,
                    Arc::new([(metric::OVERFLOW, Label::Bool(true))]),
                )
            };
            kept.overflow.get_or_insert_with(overflow)
        })
    }

    fn make_room(&mut self, now: WallTime) {
        let silence = self.limits.silence;
        self.resources
            .retain(|p| now.0.saturating_sub(p.last.0) <= silence);
        if self.resources.len() >= self.limits.resources.max(1) {
            self.resources.remove(0);
            self.counters.resources_evicted += 1;
        }
        self.series = self.resources.iter().map(Process::len).sum();
    }
}

impl Process {
    fn len(&self) -> usize {
        self.instruments.values().map(|k| k.series.len()).sum()
    }

    /// Whether all values are among those that are let in; lets in new ones while there is room.
    fn admits(&mut self, labels: Parts<'_>, limit: usize) -> bool {
        labels.iter().all(|(name, label)| {
            let values = self.values.entry(name).or_default();
            if values.contains(label) {
                return true;
            }
            let room = values.len() < limit;
            if room {
                values.insert(label.clone());
            }
            room
        })
    }

    /// By how much a sum that it counts itself has grown since it was observed last; one that is less began
    /// anew. At most so many sums are remembered.
    fn more(&mut self, name: &'static str, labels: Parts<'_>, total: u64, most: usize) -> u64 {
        let key = (name, Labels::from(labels));
        let room = self.totals.len() < most;
        match self.totals.get_mut(&key) {
            Some(before) => {
                let before = std::mem::replace(before, total);
                total.checked_sub(before).unwrap_or(total)
            }
            None => {
                if room {
                    self.totals.insert(key, total);
                }
                0
            }
        }
    }

    /// All of it but gauges from before `oldest`.
    fn snapshot(&self, oldest: WallTime) -> ResourceMetrics {
        let holds = |series: &&Arc<Series>| match series.data {
            Data::Gauge(_, at) => at >= oldest,
            Data::Histogram(_) | Data::Sum(..) => true,
        };
        ResourceMetrics {
            resource: Arc::clone(&self.resource),
            start: self.start,
            last: self.last,
            instruments: self
                .instruments
                .values()
                .map(|kept| {
                    let all = kept.series.values().chain(&kept.overflow);
                    let all: Vec<_> = all.filter(holds).map(Arc::clone).collect();
                    (kept.instrument, all)
                })
                .filter(|(_, all)| !all.is_empty())
                .collect(),
        }
    }
}

/// Takes the measurements of one span.
struct Recording<'a> {
    store: &'a mut Metrics,
    span: &'a Span,
    process: Option<usize>,
}

impl Sink for Recording<'_> {
    fn measured(&mut self, instrument: &'static Instrument, labels: Parts<'_>, what: Measured<'_>) {
        let at = match self.process {
            Some(at) => at,
            None => {
                let span = self.span;
                let at = self.store.process(&span.resource, span.start, span.end);
                *self.process.insert(at)
            }
        };
        let store = &mut *self.store;
        store.sequence += 1;
        store.counters.measurements += 1;
        let sequence = store.sequence;
        // One that leads to a span which nobody is told leads nowhere.
        let exemplar = |value: f64| {
            self.span.sampled.then_some(Exemplar {
                value,
                time: self.span.end,
                trace_id: self.span.trace_id,
                span_id: self.span.span_id,
                sequence,
            })
        };
        if let Some(series) = store.slot(at, instrument, labels) {
            record(&mut Arc::make_mut(series).data, what, &exemplar);
        }
    }
}

fn series(instrument: &'static Instrument, labels: Labels) -> Arc<Series> {
    Arc::new(Series {
        labels,
        data: Data::new(instrument.kind),
    })
}

fn record(data: &mut Data, what: Measured<'_>, exemplar: &dyn Fn(f64) -> Option<Exemplar>) {
    match (data, what) {
        (Data::Histogram(histogram), Measured::Value(value)) => {
            histogram.record(value, exemplar(value));
        }
        (Data::Histogram(histogram), Measured::Gaps(gaps)) => {
            debug_assert_eq!(histogram.counts.len(), gaps::BUCKETS);
            for (bucket, n) in gaps.counts.into_iter().enumerate() {
                histogram.count_in(bucket, n);
            }
            let seconds = |nanos: u64| nanos as f64 / 1e9;
            histogram.sum += seconds(gaps.sum);
            histogram.min = histogram.min.min(seconds(gaps.min));
            histogram.max = histogram.max.max(seconds(gaps.max));
            let last = seconds(gaps.last);
            histogram.exemplar(last, exemplar(last));
        }
        (Data::Sum(sum, last), Measured::Add(n)) => {
            *sum = sum.saturating_add(n);
            *last = exemplar(n as f64).or(*last);
        }
        // The table of instruments and the measurements go together.
        (Data::Sum(..) | Data::Gauge(..), _) | (Data::Histogram(_), Measured::Add(_)) => {
            debug_assert!(false, "a measurement of another kind than its instrument");
        }
    }
}
