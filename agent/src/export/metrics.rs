//! Keeps the metrics of finished spans for those who read them.
//!
//! Readers are threads of their own and take snapshots: the store is locked for as long as it
//! takes to count up references, so they do not hold up the pipeline.

use super::{ExportError, Exporter, Loss};
use crate::metrics::{Lost, Metrics, Observation, Redaction, Snapshot};
use crate::model::span::{Resource, Span};
use crate::model::time::WallTime;
use crate::redact::Redacted;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where snapshots come from; a handle.
#[derive(Clone, Debug)]
pub struct Source(Arc<Mutex<Metrics>>);

impl Source {
    /// Over a store.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self(Arc::new(Mutex::new(metrics)))
    }

    /// All metrics as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        self.lock().snapshot(WallTime(nanos))
    }

    /// Takes what a process with this resource says of itself at this time.
    pub fn observe(&self, resource: &Arc<Resource>, now: WallTime, all: &[Observation]) {
        self.lock().observe(resource, now, all);
    }

    fn lock(&self) -> MutexGuard<'_, Metrics> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes snapshots and hands them on.
pub trait Reader {
    /// Nothing more will be measured: what is not handed on yet is now.
    ///
    /// # Errors
    /// When not everything could be handed on.
    fn shutdown(&mut self) -> Result<(), ExportError>;
}

/// Makes metrics of spans.
pub struct MetricsExporter {
    source: Source,
    readers: Vec<Box<dyn Reader>>,
}

/// Readers of what somebody else measures.
pub struct Readers(pub Vec<Box<dyn Reader + Send>>);

impl MetricsExporter {
    /// Measures into `source`, which `readers` read.
    #[must_use]
    pub fn new(source: Source, readers: Vec<Box<dyn Reader>>) -> Self {
        Self { source, readers }
    }
}

impl Exporter for MetricsExporter {
    fn measures(&self) -> bool {
        true
    }

    fn span(&mut self, span: &Span) -> Result<(), ExportError> {
        self.source.lock().span(span);
        Ok(())
    }

    fn losses(&mut self, so_far: &[Loss]) {
        let lost = so_far.iter().map(|loss| Lost {
            reason: loss.name.clone(),
            count: loss.count,
        });
        self.source.lock().lost(lost);
    }

    fn redacted(&mut self, so_far: &[Redacted]) {
        let redacted = so_far.iter().map(|r| Redaction {
            rule: r.rule.clone(),
            count: r.count,
        });
        self.source.lock().redacted(redacted);
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        Ok(())
    }

    fn shutdown(&mut self, losses: &[Loss]) -> Result<(), ExportError> {
        self.losses(losses);
        let mut first = Ok(());
        for reader in &mut self.readers {
            let result = reader.shutdown();
            if first.is_ok() {
                first = result;
            }
        }
        first
    }
}

impl Exporter for Readers {
    fn span(&mut self, _: &Span) -> Result<(), ExportError> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        Ok(())
    }

    fn shutdown(&mut self, _: &[Loss]) -> Result<(), ExportError> {
        let mut first = Ok(());
        for reader in &mut self.0 {
            let result = reader.shutdown();
            if first.is_ok() {
                first = result;
            }
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::{Exporter as _, MetricsExporter, Source};
    use crate::export::FanOut;
    use crate::export::json::JsonLines;
    use crate::export::test_support::{Sink, resource, span};
    use crate::metrics::{Limits, Metrics};
    use crate::vocabulary::{Generation, attr};
    use std::borrow::Cow;

    #[test]
    fn what_is_not_told_is_measured() {
        let source = Source::new(Metrics::new(Generation::Legacy, Limits::default()));
        let sink = Sink::default();
        let mut all = FanOut::new();
        all.push(Box::new(MetricsExporter::new(source.clone(), Vec::new())));
        all.push(Box::new(JsonLines::new("a sink", Box::new(sink.clone()))));
        let operation = (Cow::Borrowed(attr::OPERATION_NAME), "chat".into());
        let mut call = span(1, vec![operation], resource("shop", 1));
        call.sampled = false;
        all.span(&call).unwrap();
        all.flush().unwrap();
        assert_eq!(sink.text(), "");
        assert_eq!(source.snapshot().resources.len(), 1);
        call.sampled = true;
        all.span(&call).unwrap();
        all.flush().unwrap();
        assert_eq!(sink.text().lines().count(), 1);
    }
}
