//! What comes out of the pipeline, handed to the exporters.

use std::collections::{HashMap, HashSet};

use crate::export::{ExportError, Exporter, FanOut};
use crate::model::exchange::ExchangeId;
use crate::model::span::{Span, SpanKind, Value};
use crate::model::time::BootTime;
use crate::pipeline::Pipeline;
use crate::vocabulary::attr;

/// The exporters, and which calls they were shown under way.
pub struct Output {
    exporters: FanOut,
    shown: HashSet<ExchangeId>,
    told: bool,
    sums: Told,
    /// What we call ourselves when we ask a traced server for something.
    own: Option<String>,
    by_process: HashMap<u32, Told>,
}

/// What was handed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Spans.
    pub spans: u64,
    /// Of those, model calls, made and served.
    pub calls: u64,
    /// Of those, the ones of which something was not seen.
    pub incomplete: u64,
    /// Spans that were not: of traces beyond the share of which a process's are told.
    pub unsampled: u64,
}

impl Told {
    fn count(&mut self, span: &Span) {
        if !span.sampled {
            self.unsampled += 1;
            return;
        }
        self.spans += 1;
        // What frameworks do is told with an operation, too.
        if span.kind != SpanKind::Internal && span.attribute(attr::OPERATION_NAME).is_some() {
            self.calls += 1;
            self.incomplete += u64::from(span.attribute(attr::DEFECTS).is_some());
        }
    }
}

/// Most processes whose spans are counted one by one: more than are traced, since the spans of a
/// process may be told when it is gone.
const MAX_COUNTED: usize = 8192;

impl Output {
    /// Over these exporters.
    #[must_use]
    pub fn new(exporters: FanOut) -> Self {
        Self {
            exporters,
            shown: HashSet::new(),
            told: false,
            sums: Told::default(),
            own: None,
            by_process: HashMap::new(),
        }
    }

    /// Leaves out requests of ours, which call themselves so, to what is traced.
    #[must_use]
    pub fn without(mut self, own: Option<&str>) -> Self {
        self.own = own.map(str::to_owned);
        self
    }

    fn is_ours(&self, span: &Span) -> bool {
        self.own.as_ref().is_some_and(|own| {
            let agent = span.attribute(attr::USER_AGENT_ORIGINAL);
            span.kind == SpanKind::Server && matches!(agent, Some(Value::Str(a)) if a == own)
        })
    }

    /// The exporters themselves.
    pub const fn exporters(&mut self) -> &mut FanOut {
        &mut self.exporters
    }

    /// Tells what was redacted so far.
    pub fn redacted(&mut self, pipeline: &Pipeline) {
        self.exporters.redacted(&pipeline.redacted());
    }

    /// Hands on the finished spans.
    ///
    /// # Errors
    ///
    /// [`ExportError::Closed`] when nobody is left to read them. Other failures are told once
    /// and the run goes on: the next exporter may still work.
    pub fn spans(&mut self, pipeline: &mut Pipeline) -> Result<(), ExportError> {
        let mut any = false;
        for span in pipeline.spans() {
            if self.is_ours(&span) {
                continue;
            }
            any = true;
            self.count(&span);
            let result = self.exporters.span(&span);
            note(&mut self.told, &self.exporters, result)?;
        }
        if any {
            self.flush()?;
        }
        Ok(())
    }

    fn count(&mut self, span: &Span) {
        self.sums.count(span);
        if self.by_process.len() < MAX_COUNTED || self.by_process.contains_key(&span.pid) {
            self.by_process.entry(span.pid).or_default().count(span);
        }
    }

    /// All that was handed on so far.
    #[must_use]
    pub const fn sums(&self) -> Told {
        self.sums
    }

    /// What was handed on of a process, since it is traced.
    #[must_use]
    pub fn of(&self, pid: u32) -> Told {
        self.by_process.get(&pid).copied().unwrap_or_default()
    }

    /// A process is over.
    pub fn forget(&mut self, pid: u32) {
        self.by_process.remove(&pid);
    }

    /// Forgets all processes but these: a span may be told after its process was over.
    pub fn keep(&mut self, mut lives: impl FnMut(u32) -> bool) {
        self.by_process.retain(|pid, _| lives(*pid));
    }

    /// Shows the calls under way.
    pub fn progress(&mut self, pipeline: &Pipeline, now: BootTime) {
        let calls = pipeline.progress(now);
        let under_way: HashSet<_> = calls.iter().map(|c| c.exchange).collect();
        for over in self.shown.difference(&under_way) {
            self.exporters.progress_over(*over);
        }
        for call in &calls {
            self.exporters.progress(call);
        }
        self.shown = under_way;
    }

    /// Makes visible what was handed on.
    ///
    /// # Errors
    ///
    /// As [`Output::spans`].
    pub fn flush(&mut self) -> Result<(), ExportError> {
        let result = self.exporters.flush();
        note(&mut self.told, &self.exporters, result)
    }
}

/// Tells the first failure, and ends the run when nobody reads any more.
fn note(
    told: &mut bool,
    exporters: &FanOut,
    result: Result<(), ExportError>,
) -> Result<(), ExportError> {
    match result {
        Ok(()) => Ok(()),
        Err(e) if exporters.is_empty() => Err(e),
        Err(e) => {
            if !std::mem::replace(told, true) {
                tracing::error!("{e}");
            }
            Ok(())
        }
    }
}
