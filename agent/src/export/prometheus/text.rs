//! The text formats: Prometheus' 0.0.4 and OpenMetrics 1.0.
//!
//! Names follow OpenTelemetry's rules for Prometheus: dots become underscores, the unit is
//! appended, sums end in `_total`. A series has its process's `service_name` and `process_pid`
//! besides its own labels; all else that is known of a process is in `target_info`.

use crate::metrics::instrument::{self, Instrument, Kind};
use crate::metrics::{Data, Exemplar, Histogram, Label, ResourceMetrics, Series, Snapshot};
use crate::model::span::Value;
use crate::vocabulary::{metric, resource};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, version 0.0.4.
    Text,
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
}

impl Format {
    /// What a client prefers by its `Accept` header.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let weight = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let q = parts.find_map(|p| p.strip_prefix("q=")?.parse::<f32>().ok());
            (kind, q.unwrap_or(1.0))
        };
        let best = |wanted: &[&str]| {
            accept
                .split(',')
                .map(weight)
                .filter(|(kind, _)| wanted.contains(&kind.as_str()))
                .map(|(_, q)| q)
                .fold(0.0, f32::max)
        };
        let open = best(&["application/openmetrics-text"]);
        if open > 0.0 && open >= best(&["text/plain"]) {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The `Content-Type` of an answer.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// An instrument, and its series with the labels of their process.
type Family<'a> = (&'a Instrument, Vec<(&'a str, &'a [Arc<Series>])>);

/// What a number of our own is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnKind {
    /// It goes up and down.
    Gauge,
    /// It only grows; its name ends in `_total`.
    Counter,
}

/// Numbers of our own: of the program that writes the page, and not of what it measured.
#[derive(Clone, Debug)]
pub(crate) struct Own<'a> {
    /// Name, as it stands on the page.
    pub(crate) name: &'static str,
    /// What it is, for people.
    pub(crate) help: &'static str,
    /// How it goes.
    pub(crate) kind: OwnKind,
    /// Values, each with its labels.
    pub(crate) values: Vec<(Vec<(&'static str, &'a str)>, f64)>,
}

/// Writes all metrics.
#[must_use]
pub fn render(snapshot: &Snapshot, format: Format) -> String {
    render_with(snapshot, &[], format)
}

/// Writes all metrics, and numbers of our own.
#[must_use]
pub(crate) fn render_with(snapshot: &Snapshot, own: &[Own<'_>], format: Format) -> String {
    let mut page = Page {
        out: String::new(),
        format,
    };
    let processes = processes(snapshot);
    page.target_info(&processes);
    let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    for (labels, process) in &processes {
        for (instrument, series) in &process.instruments {
            let family = families.entry(instrument.name);
            let (_, all) = family.or_insert_with(|| (instrument, Vec::new()));
            all.push((labels, series));
        }
    }
    for (instrument, all) in families.values() {
        let name = name(instrument);
        page.head(&name, instrument);
        for (process, series) in all {
            for one in *series {
                let mut labels = (*process).to_owned();
                for (key, value) in one.labels.iter() {
                    match value {
                        Label::Text(text) => label(&mut labels, key, text),
                        Label::Int(n) => label(&mut labels, key, &n.to_string()),
                        Label::Bool(b) => label(&mut labels, key, &b.to_string()),
                    }
                }
                match &one.data {
                    Data::Histogram(h) => page.histogram(&name, &labels, h),
                    Data::Sum(n, last) => page.sum(&name, &labels, *n, last.as_ref()),
                    Data::Gauge(value, _) => page.gauge(&name, &labels, *value),
                }
            }
        }
    }
    let lost = snapshot.lost.iter().map(|l| (l.reason.as_str(), l.count));
    page.counts(&instrument::LOST, metric::LOST_REASON, lost);
    let redacted = snapshot.redacted.iter();
    let redacted = redacted.map(|r| (r.rule.as_str(), r.count));
    page.counts(&instrument::REDACTED, metric::REDACTED_RULE, redacted);
    for family in own {
        page.own(family);
    }
    if format == Format::OpenMetrics {
        page.out.push_str("# EOF\n");
    }
    page.out
}

/// The processes with their labels. Of two with the same ones (a process that became another
/// program keeps its id) the one that was heard of last.
fn processes(snapshot: &Snapshot) -> Vec<(String, &ResourceMetrics)> {
    let mut seen = HashSet::new();
    let mut all: Vec<_> = snapshot
        .resources
        .iter()
        .rev()
        .map(|process| {
            let mut labels = String::new();
            for (key, value) in &process.resource.attributes {
                match (key.as_ref(), value) {
                    (resource::SERVICE_NAME, Value::Str(text)) => label(&mut labels, key, text),
                    (resource::PROCESS_PID, Value::Int(n)) => {
                        label(&mut labels, key, &n.to_string());
                    }
                    _ => {}
                }
            }
            (labels, process)
        })
        .filter(|(labels, _)| seen.insert(labels.clone()))
        .collect();
    all.reverse();
    all
}

struct Page {
    out: String,
    format: Format,
}

impl Page {
    fn head(&mut self, name: &str, instrument: &Instrument) {
        let (kind, total) = match instrument.kind {
            Kind::Histogram(_) => ("histogram", ""),
            Kind::Sum => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
        };
        // OpenMetrics names the family, Prometheus' own format the samples.
        let family = match self.format {
            Format::OpenMetrics => name.to_owned(),
            Format::Text => format!("{name}{total}"),
        };
        let help = instrument.description;
        let _ = writeln!(self.out, "# HELP {family} {help}");
        let _ = writeln!(self.out, "# TYPE {family} {kind}");
        if self.format == Format::OpenMetrics
            && let Some(unit) = unit(instrument.unit)
        {
            let _ = writeln!(self.out, "# UNIT {family} {unit}");
        }
    }

    fn own(&mut self, own: &Own<'_>) {
        let (kind, family) = match (own.kind, self.format) {
            (OwnKind::Gauge, _) => ("gauge", own.name),
            (OwnKind::Counter, Format::Text) => ("counter", own.name),
            (OwnKind::Counter, Format::OpenMetrics) => {
                ("counter", own.name.trim_end_matches("_total"))
            }
        };
        let _ = writeln!(self.out, "# HELP {family} {}", own.help);
        let _ = writeln!(self.out, "# TYPE {family} {kind}");
        for (keys, value) in &own.values {
            self.out.push_str(own.name);
            let mut labels = String::new();
            for (key, text) in keys {
                label(&mut labels, key, text);
            }
            if !labels.is_empty() {
                let _ = write!(self.out, "{{{labels}}}");
            }
            let _ = writeln!(self.out, " {value}");
        }
    }

    fn target_info(&mut self, processes: &[(String, &ResourceMetrics)]) {
        if processes.is_empty() {
            return;
        }
        self.out.push_str(match self.format {
            Format::Text => {
                "# HELP target_info What is known of a process\n# TYPE target_info gauge\n"
            }
            Format::OpenMetrics => "# HELP target What is known of a process\n# TYPE target info\n",
        });
        for (own, process) in processes {
            let mut labels = own.clone();
            let mut keys: HashSet<_> = [resource::SERVICE_NAME, resource::PROCESS_PID]
                .map(safe)
                .into();
            for (key, value) in &process.resource.attributes {
                // Two names may become one; and a command line is no label.
                if !keys.insert(safe(key)) {
                    continue;
                }
                match value {
                    Value::Str(text) => label(&mut labels, key, text),
                    Value::Int(n) => label(&mut labels, key, &n.to_string()),
                    Value::Bool(b) => label(&mut labels, key, &b.to_string()),
                    Value::Double(_) | Value::StrList(_) => {}
                }
            }
            let _ = writeln!(self.out, "target_info{{{labels}}} 1");
        }
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let comma = if labels.is_empty() { "" } else { "," };
        let bounds = histogram.bounds.iter().map(|bound| match self.format {
            Format::Text => bound.to_string(),
            // Always with a fraction.
            Format::OpenMetrics => format!("{bound:?}"),
        });
        let bounds: Vec<_> = bounds.chain(["+Inf".to_owned()]).collect();
        let mut below = 0;
        let buckets = bounds.iter().zip(&histogram.counts);
        for ((bound, count), exemplar) in buckets.zip(&histogram.exemplars) {
            below += count;
            let _ = write!(
                self.out,
                "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}"
            );
            self.end(exemplar.as_ref());
        }
        let _ = writeln!(self.out, "{name}_sum{{{labels}}} {}", histogram.sum);
        let _ = writeln!(self.out, "{name}_count{{{labels}}} {below}");
    }

    fn sum(&mut self, name: &str, labels: &str, sum: u64, last: Option<&Exemplar>) {
        let _ = write!(self.out, "{name}_total{{{labels}}} {sum}");
        self.end(last);
    }

    fn gauge(&mut self, name: &str, labels: &str, value: f64) {
        let _ = write!(self.out, "{name}{{{labels}}} {value:?}");
        self.end(None);
    }

    /// Counts by one label.
    fn counts<'a>(
        &mut self,
        instrument: &Instrument,
        attribute: &str,
        counts: impl Iterator<Item = (&'a str, u64)>,
    ) {
        let name = name(instrument);
        for (n, (value, count)) in counts.enumerate() {
            if n == 0 {
                self.head(&name, instrument);
            }
            let mut labels = String::new();
            label(&mut labels, attribute, value);
            self.sum(&name, &labels, count, None);
        }
    }

    /// The end of a sample's line.
    fn end(&mut self, exemplar: Option<&Exemplar>) {
        if let Some(e) = exemplar.filter(|_| self.format == Format::OpenMetrics) {
            let _ = write!(
                self.out,
                " # {{trace_id=\"{:032x}\",span_id=\"{:016x}\"}} {} {}.{:03}",
                e.trace_id,
                e.span_id,
                e.value,
                e.time.0 / 1_000_000_000,
                e.time.0 / 1_000_000 % 1000,
            );
        }
        self.out.push('\n');
    }
}

/// A metric's name without the ending of its samples.
fn name(instrument: &Instrument) -> String {
    let name = safe(instrument.name);
    match unit(instrument.unit) {
        Some(unit) if !name.ends_with(unit) => format!("{name}_{unit}"),
        _ => name,
    }
}

/// A unit in words; annotations in braces are none.
fn unit(ucum: &str) -> Option<&'static str> {
    (ucum == "s").then_some("seconds")
}

/// A name of letters, digits and underscores that does not begin with a digit.
fn safe(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if out.is_empty() && c.is_ascii_digit() {
            out.push('_');
        }
        out.push(if c.is_ascii_alphanumeric() { c } else { '_' });
    }
    out
}

/// Appends a label.
fn label(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    let _ = write!(out, "{}=\"", safe(name));
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}
