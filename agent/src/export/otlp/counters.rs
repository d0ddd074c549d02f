//! What became of the spans.

use crate::export::spool::{Counts, Standing};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counted by the exporting thread, read by anyone.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) exported: AtomicU64,
    pub(super) dropped_queue_full: AtomicU64,
    pub(super) dropped_after_retries: AtomicU64,
    pub(super) dropped_refused: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) export_errors: AtomicU64,
}

/// What became of the spans up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Spans that the endpoint acknowledged.
    pub exported: u64,
    /// Spans dropped because too many, or too large ones, were waiting.
    pub dropped_queue_full: u64,
    /// Spans dropped because no attempt succeeded in the time allowed, or at exit.
    pub dropped_after_retries: u64,
    /// Spans dropped because the endpoint refused the request for good.
    pub dropped_refused: u64,
    /// Spans that the endpoint acknowledged but reported as rejected.
    pub rejected: u64,
    /// Requests and connection attempts that failed, retried ones included.
    pub export_errors: u64,
    /// What waits on the disk, and what was lost there; none without such a queue.
    pub disk: Option<Standing>,
}

impl Counters {
    pub(super) fn stats(&self, disk: Option<&Counts>) -> Stats {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        Stats {
            exported: get(&self.exported),
            dropped_queue_full: get(&self.dropped_queue_full),
            dropped_after_retries: get(&self.dropped_after_retries),
            dropped_refused: get(&self.dropped_refused),
            rejected: get(&self.rejected),
            export_errors: get(&self.export_errors),
            disk: disk.map(Counts::standing),
        }
    }
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Stats {
    /// Spans that went to the exporter's thread and never arrived.
    pub(super) fn undelivered(&self) -> u64 {
        let on_disk = self.disk.map_or(0, |disk| disk.dropped());
        self.dropped_after_retries + self.dropped_refused + on_disk
    }
}
