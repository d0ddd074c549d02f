//! Where finished spans go: JSON lines, a terminal, an OTLP endpoint, metrics.
//!
//! Exporters live on the IO side of the pipeline. Those that write to a file descriptor do so on
//! the caller's thread and are flushed once per drain of the pipeline; [`otlp`] has a thread of
//! its own and never blocks.

#[cfg(feature = "prometheus")]
pub mod endpoint;
pub mod json;
pub mod metrics;
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(feature = "prometheus")]
pub mod prometheus;
pub mod size;
#[cfg(feature = "otlp")]
pub mod spool;
pub mod status;
pub mod terminal;

use crate::model::call::CallProgress;
use crate::model::exchange::ExchangeId;
use crate::model::span::Span;
use crate::redact::Redacted;
use std::io;
use std::thread::{self, JoinHandle};

/// Why something could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The reader of a pipe is gone: a reason to end, not a failure.
    #[error("{what}: the reader has closed the pipe")]
    Closed {
        /// Which output.
        what: String,
    },
    /// Writing failed.
    #[error("cannot write to {what}: {source}")]
    Io {
        /// Which output.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The remote end did not take everything in the time that was allowed.
    #[error("{what}: {unsent} {items} not delivered after {seconds:.1} s")]
    Deadline {
        /// Which output.
        what: String,
        /// What was waiting at that moment: spans, events.
        items: &'static str,
        /// How many of them.
        unsent: u64,
        /// The time allowed.
        seconds: f64,
    },
    /// The remote end did not take the last values of the metrics.
    #[error("{what}: the last values of the metrics were not delivered")]
    LastMetrics {
        /// Which output.
        what: String,
    },
}

impl ExportError {
    /// The error of a write to `what`.
    #[must_use]
    pub fn io(what: &str, source: io::Error) -> Self {
        let what = what.to_owned();
        if source.kind() == io::ErrorKind::BrokenPipe {
            Self::Closed { what }
        } else {
            Self::Io { what, source }
        }
    }

    /// Whether the reader went away, so that the program should end quietly.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }
}

/// Something lost on the way, by reason; told at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// What, in words that fit after a number: `events dropped: ring buffer full`.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// Takes finished spans.
pub trait Exporter {
    /// Takes a span. It may stay in a buffer until [`flush`](Self::flush).
    ///
    /// # Errors
    /// When the buffer had to be written out and could not be.
    fn span(&mut self, span: &Span) -> Result<(), ExportError>;

    /// Whether it measures spans, and so takes those as well that are not to be told ([`Span::sampled`]).
    fn measures(&self) -> bool {
        false
    }

    /// How a running call gets on; only views that show it care.
    fn progress(&mut self, progress: &CallProgress) {
        let _ = progress;
    }

    /// What was lost since the start, told from time to time.
    fn losses(&mut self, so_far: &[Loss]) {
        let _ = so_far;
    }

    /// What was redacted since the start, told from time to time and before the shutdown.
    fn redacted(&mut self, so_far: &[Redacted]) {
        let _ = so_far;
    }

    /// A running call will not be heard of again, whether or not a span came of it.
    fn progress_over(&mut self, exchange: ExchangeId) {
        let _ = exchange;
    }

    /// Makes visible what was taken so far; called after each drain of the pipeline, and from
    /// time to time while nothing comes, so it must cost nothing then. Does not wait for a
    /// remote end.
    ///
    /// # Errors
    /// When it cannot be written.
    fn flush(&mut self) -> Result<(), ExportError>;

    /// Says the last words (views sum up, with the losses the caller knows of), delivers what is
    /// left and gives back what was borrowed. Nothing may be exported after it.
    ///
    /// # Errors
    /// When not everything could be delivered.
    fn shutdown(&mut self, losses: &[Loss]) -> Result<(), ExportError>;
}

/// An exporter that may be shut down by another thread.
pub type Sent = Box<dyn Exporter + Send>;

/// Hands everything to several exporters. One that fails does not keep the others from their
/// share; one whose reader is gone is dropped.
#[derive(Default)]
pub struct FanOut {
    exporters: Vec<Box<dyn Exporter>>,
    /// Those that others may take the place of.
    sent: Vec<Sent>,
    /// Those whose place was taken, on their way out.
    drains: Vec<JoinHandle<()>>,
}

impl FanOut {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, exporter: Box<dyn Exporter>) {
        self.exporters.push(exporter);
    }

    /// These take the place of those that were given so before. A thread has the others deliver what they hold,
    /// each within its own time, and calls `over` then; the shutdown waits for it.
    pub fn replace_sent(&mut self, sent: Vec<Sent>, over: impl FnOnce() + Send + 'static) {
        let old = std::mem::replace(&mut self.sent, sent);
        self.drains.retain(|drain| !drain.is_finished());
        if old.is_empty() {
            return over();
        }
        let log = tracing::dispatcher::get_default(Clone::clone);
        let body = move || {
            for mut exporter in old {
                if let Err(error) = exporter.shutdown(&[]) {
                    tracing::error!("{error}");
                }
            }
            over();
            tracing::info!("what was exported to before has ended");
        };
        let thread = thread::Builder::new().name("drain".to_owned());
        match thread.spawn(move || tracing::dispatcher::with_default(&log, body)) {
            Ok(drain) => self.drains.push(drain),
            Err(error) => tracing::error!("what waited for former exports is lost: {error}"),
        }
    }

    /// Whether nobody is left to export to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exporters.is_empty() && self.sent.is_empty()
    }

    fn each(
        &mut self,
        mut f: impl FnMut(&mut dyn Exporter) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let mut first = Ok(());
        let mut keeps = |result: Result<(), ExportError>| match result {
            Ok(()) => true,
            Err(error) => {
                let keep = !error.is_closed();
                if first.is_ok() {
                    first = Err(error);
                }
                keep
            }
        };
        self.exporters.retain_mut(|one| keeps(f(&mut **one)));
        self.sent.retain_mut(|one| keeps(f(&mut **one)));
        first
    }

    fn all(&mut self, mut f: impl FnMut(&mut dyn Exporter)) {
        self.exporters.iter_mut().for_each(|one| f(&mut **one));
        self.sent.iter_mut().for_each(|one| f(&mut **one));
    }
}

impl Exporter for FanOut {
    fn span(&mut self, span: &Span) -> Result<(), ExportError> {
        self.each(|e| {
            if span.sampled || e.measures() {
                e.span(span)
            } else {
                Ok(())
            }
        })
    }

    fn progress(&mut self, progress: &CallProgress) {
        self.all(|e| e.progress(progress));
    }

    fn losses(&mut self, so_far: &[Loss]) {
        self.all(|e| e.losses(so_far));
    }

    fn redacted(&mut self, so_far: &[Redacted]) {
        self.all(|e| e.redacted(so_far));
    }

    fn progress_over(&mut self, exchange: ExchangeId) {
        self.all(|e| e.progress_over(exchange));
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        self.each(|e| e.flush())
    }

    fn shutdown(&mut self, losses: &[Loss]) -> Result<(), ExportError> {
        let result = self.each(|e| e.shutdown(losses));
        for drain in self.drains.drain(..) {
            // One that panicked has said so.
            drain.join().ok();
        }
        result
    }
}

#[cfg(test)]
pub(crate) mod test_support {
    //! Spans and writers for the exporters' tests.

    use crate::model::span::{Attributes, Resource, Span, SpanKind, Value};
    use crate::model::time::WallTime;
    use std::borrow::Cow;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    /// 2026-01-02T03:04:05.25Z
    pub(crate) const START: u64 = 1_767_323_045_250_000_000;

    /// A resource of one process.
    pub(crate) fn resource(service: &'static str, pid: i64) -> Arc<Resource> {
        Arc::new(Resource {
            attributes: vec![
                (Cow::Borrowed("service.name"), Value::from(service)),
                (Cow::Borrowed("process.pid"), Value::from(pid)),
            ],
        })
    }

    /// A successful span of 1.5 seconds.
    pub(crate) fn span(span_id: u64, attributes: Attributes, resource: Arc<Resource>) -> Span {
        Span {
            trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span_id,
            parent_span_id: None,
            trace_state: None,
            name: "chat gpt-4o".to_owned(),
            kind: SpanKind::Client,
            start: WallTime(START),
            end: WallTime(START + 1_500_000_000),
            error: None,
            attributes,
            events: Vec::new(),
            chunk_gaps: None,
            pid: 4242,
            resource,
            sampled: true,
        }
    }

    /// A writer whose content can be looked at, and which can be made to fail.
    #[derive(Clone, Default)]
    pub(crate) struct Sink(pub(crate) Arc<Mutex<(Vec<u8>, Option<io::ErrorKind>)>>);

    impl Sink {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }

        pub(crate) fn fail(&self, kind: io::ErrorKind) {
            self.0.lock().unwrap().1 = Some(kind);
        }
    }

    impl Write for Sink {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            let mut inner = self.0.lock().unwrap();
            if let Some(kind) = inner.1 {
                return Err(kind.into());
            }
            inner.0.extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::json::JsonLines;
    use super::test_support::{Sink, resource, span};
    use super::*;

    #[test]
    fn one_closed_pipe_does_not_stop_the_others() {
        let (gone, good) = (Sink::default(), Sink::default());
        gone.fail(io::ErrorKind::BrokenPipe);
        let mut all = FanOut::new();
        all.push(Box::new(JsonLines::new("gone", Box::new(gone))));
        all.push(Box::new(JsonLines::new("good", Box::new(good.clone()))));
        all.span(&span(1, vec![], resource("a", 1))).unwrap();
        let error = all.flush().unwrap_err();
        assert!(error.is_closed());
        assert_eq!(error.to_string(), "gone: the reader has closed the pipe");
        assert!(!all.is_empty());
        all.span(&span(2, vec![], resource("a", 1))).unwrap();
        all.shutdown(&[]).unwrap();
        assert_eq!(good.text().lines().count(), 2);
    }

    /// Counts what it takes, and holds it until the shutdown, which takes its time.
    struct Slow(Held);

    /// What it took, and how much of it was delivered.
    type Held = std::sync::Arc<std::sync::Mutex<(u32, u32)>>;

    impl Exporter for Slow {
        fn span(&mut self, _: &Span) -> Result<(), ExportError> {
            self.0.lock().unwrap().0 += 1;
            Ok(())
        }

        fn flush(&mut self) -> Result<(), ExportError> {
            Ok(())
        }

        fn shutdown(&mut self, _: &[Loss]) -> Result<(), ExportError> {
            thread::sleep(std::time::Duration::from_millis(200));
            let mut held = self.0.lock().unwrap();
            held.1 = held.0;
            Ok(())
        }
    }

    #[test]
    fn others_take_the_place_and_nothing_is_lost() {
        let (before, after) = (Held::default(), Held::default());
        let sent = |of: &Held| -> Vec<Sent> { vec![Box::new(Slow(of.clone()))] };
        let over = std::sync::Arc::new(std::sync::Mutex::new(0));
        let told = std::sync::Arc::clone(&over);
        let mut all = FanOut::new();
        all.replace_sent(sent(&before), || ());
        all.span(&span(1, vec![], resource("a", 1))).unwrap();
        all.replace_sent(sent(&after), move || *told.lock().unwrap() += 1);
        // Nobody waited.
        assert_eq!(
            (*before.lock().unwrap(), *over.lock().unwrap()),
            ((1, 0), 0)
        );
        all.span(&span(2, vec![], resource("a", 1))).unwrap();
        all.span(&span(3, vec![], resource("a", 1))).unwrap();
        all.shutdown(&[]).unwrap();
        assert_eq!(
            (*before.lock().unwrap(), *over.lock().unwrap()),
            ((1, 1), 1)
        );
        assert_eq!(*after.lock().unwrap(), (2, 2));
    }

    #[test]
    fn a_full_disk_is_an_error_and_stays_one() {
        let full = Sink::default();
        full.fail(io::ErrorKind::StorageFull);
        let mut all = FanOut::new();
        all.push(Box::new(JsonLines::new("out.jsonl", Box::new(full))));
        all.span(&span(1, vec![], resource("a", 1))).unwrap();
        let error = all.flush().unwrap_err();
        assert!(!error.is_closed());
        assert!(error.to_string().starts_with("cannot write to out.jsonl: "));
        assert!(!all.is_empty());
    }
}
