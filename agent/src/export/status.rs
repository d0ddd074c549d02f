//! How the exports over the network get on, for those who ask the agent.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One endpoint and signal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExportStatus {
    /// Where to: a URL, which never has credentials.
    pub endpoint: String,
    /// What: `traces`, `metrics`, `logs`.
    pub signal: String,
    /// How the endpoint is.
    pub state: Reach,
    /// What it said last, or the system, while it is not well.
    pub problem: Option<String>,
    /// Items (spans, points, events) that it acknowledged.
    pub delivered: u64,
    /// Of those, the ones that it said it did not keep.
    pub rejected: u64,
    /// Requests and attempts to connect that failed, repeated ones included.
    pub errors: u64,
    /// Items lost.
    pub dropped: Dropped,
    /// What waits on the disk; none without such a queue.
    pub spool: Option<SpoolStatus>,
}

/// How an endpoint is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// It took the last request, or none was made yet.
    #[default]
    Well,
    /// It answers, and does not take what it is sent.
    Failing,
    /// No connection comes about.
    Unreachable,
}

/// Items lost, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dropped {
    /// Too many, or too large ones, waited in memory.
    pub queue_full: u64,
    /// No attempt succeeded in the time allowed, or at the exit.
    pub not_taken: u64,
    /// The endpoint refused them for good.
    pub refused: u64,
    /// There was no more room on the disk.
    pub spool_full: u64,
    /// They could not be read from the disk any more.
    pub spool_corrupt: u64,
    /// They could not be written to the disk.
    pub spool_failed: u64,
}

impl Dropped {
    /// The reasons as they are written, with their numbers.
    #[must_use]
    pub const fn by_reason(&self) -> [(&'static str, u64); 6] {
        [
            ("queue_full", self.queue_full),
            ("not_taken", self.not_taken),
            ("refused", self.refused),
            ("spool_full", self.spool_full),
            ("spool_corrupt", self.spool_corrupt),
            ("spool_failed", self.spool_failed),
        ]
    }
}

/// What waits on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpoolStatus {
    /// Batches, each a file.
    pub batches: u64,
    /// Items in them.
    pub items: u64,
    /// Bytes of the disk that they take.
    pub bytes: u64,
    /// Items written since the start.
    pub written: u64,
}

/// Says how one export gets on.
type Told = Box<dyn Fn() -> ExportStatus + Send + Sync>;

/// All exports; a handle.
#[derive(Clone, Default)]
pub struct Exports(Arc<Inner>);

#[derive(Default)]
struct Inner {
    told: Mutex<Vec<Told>>,
    /// What those dropped whose place others took.
    dropped_before: AtomicU64,
}

/// Exports whose place others took, and which are about to end.
pub struct Replaced {
    told: Vec<Told>,
    of: Exports,
}

impl Replaced {
    /// They are over: what they dropped is counted.
    pub fn ended(self) {
        let dropped = self.told.iter().map(|told| told().dropped);
        let all: u64 = dropped.flat_map(|d| d.by_reason()).map(|(_, n)| n).sum();
        self.of.0.dropped_before.fetch_add(all, Ordering::Relaxed);
    }
}

impl Exports {
    /// Adds one.
    pub fn add(&self, told: impl Fn() -> ExportStatus + Send + Sync + 'static) {
        self.told().push(Box::new(told));
    }

    /// How they get on now.
    #[must_use]
    pub fn all(&self) -> Vec<ExportStatus> {
        self.told().iter().map(|told| told()).collect()
    }

    /// Those of `new` take the place of these.
    #[must_use]
    pub fn replace(&self, new: &Self) -> Replaced {
        let new = std::mem::take(&mut *new.told());
        Replaced {
            told: std::mem::replace(&mut *self.told(), new),
            of: self.clone(),
        }
    }

    /// What those dropped whose place others took, since the start.
    #[must_use]
    pub fn dropped_before(&self) -> u64 {
        self.0.dropped_before.load(Ordering::Relaxed)
    }

    fn told(&self) -> MutexGuard<'_, Vec<Told>> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Exports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Exports").field(&self.all()).finish()
    }
}
