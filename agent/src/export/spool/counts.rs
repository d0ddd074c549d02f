//! What waits in a queue, and what became of what does not any more.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counted under the spool's lock, read without it.
#[derive(Debug, Default)]
pub struct Counts {
    pub(super) batches: AtomicU64,
    pub(super) items: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) dropped_full: AtomicU64,
    pub(super) dropped_corrupt: AtomicU64,
    pub(super) dropped_failed: AtomicU64,
    /// It was told that it drops for want of room; until it is empty again.
    pub(super) told_full: AtomicBool,
    /// It was told that the disk takes nothing; until it does again.
    pub(super) told_failed: AtomicBool,
}

/// A queue's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Batches that wait.
    pub batches: u64,
    /// Items in them.
    pub items: u64,
    /// Bytes of the disk that they take.
    pub bytes: u64,
    /// Items written since the start.
    pub written: u64,
    /// Items dropped since the start because there was no room.
    pub dropped_full: u64,
    /// Items dropped since the start because their batch could not be read any more.
    pub dropped_corrupt: u64,
    /// Items dropped since the start because the disk took nothing.
    pub dropped_failed: u64,
}

impl Standing {
    /// Items that were lost on the disk, or on the way to it.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped_full + self.dropped_corrupt + self.dropped_failed
    }
}

impl Counts {
    /// The state at this moment.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            batches: self.batches.load(Relaxed),
            items: self.items.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            written: self.written.load(Relaxed),
            dropped_full: self.dropped_full.load(Relaxed),
            dropped_corrupt: self.dropped_corrupt.load(Relaxed),
            dropped_failed: self.dropped_failed.load(Relaxed),
        }
    }
}
