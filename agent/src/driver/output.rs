//! What comes out of the pipeline, handed to the exporters.

use std::collections::HashSet;

use crate::export::{ExportError, Exporter, FanOut};
use crate::model::exchange::ExchangeId;
use crate::model::time::BootTime;
use crate::pipeline::Pipeline;

/// The exporters, and which calls they were shown under way.
pub struct Output {
    exporters: FanOut,
    shown: HashSet<ExchangeId>,
    told: bool,
}

impl Output {
    /// Over these exporters.
    #[must_use]
    pub fn new(exporters: FanOut) -> Self {
        Self {
            exporters,
            shown: HashSet::new(),
            told: false,
        }
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
            any = true;
            let result = self.exporters.span(&span);
            note(&mut self.told, &self.exporters, result)?;
        }
        if any {
            self.flush()?;
        }
        Ok(())
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
