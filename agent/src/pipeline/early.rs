//! Answers that come before what they answer.
//!
//! A write is told when it returns, because only then its length is known. Where one thread writes
//! to a connection and another reads from it (a client with a reader of its own), the answer may
//! have come and be told before the writer runs again. So what is read by another thread than the
//! one that wrote last waits for a moment; the next write that began before it goes ahead of it.
//! Where one thread does both, which is nearly everywhere, nothing waits.

use crate::model::event::{Data, Direction};
use crate::model::time::BootTime;
use std::collections::VecDeque;

/// How long what was read waits for a write, in nanoseconds: as long as a thread that is ready to
/// run may have to wait for a processor. It is looked after when more is read, and at every tick.
pub const EARLY_PATIENCE: u64 = 20_000_000;

/// Most records that wait on one connection.
pub const MAX_EARLY_RECORDS: usize = 32;

/// Most bytes that wait on one connection.
pub const MAX_EARLY_BYTES: usize = 128 << 10;

/// A record that waits.
pub(super) struct Waiting {
    tid: u32,
    time: BootTime,
    offset: u64,
    lost_before: bool,
    skipped_before: bool,
    bytes: Vec<u8>,
}

impl Waiting {
    /// The record, of a connection.
    pub(super) fn data(&self, connection: crate::model::event::ConnectionId) -> Data<'_> {
        Data {
            connection,
            direction: Direction::Read,
            tid: self.tid,
            time: self.time,
            offset: self.offset,
            lost_before: self.lost_before,
            skipped_before: self.skipped_before,
            bytes: &self.bytes,
        }
    }
}

/// What was read from a connection and waits.
#[derive(Default)]
pub(super) struct Early {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// The thread that wrote last.
    writer: Option<u32>,
    /// Something waited for a first write, and none came.
    in_vain: bool,
}

impl Early {
    /// A write was told: what waits, before it and after it.
    pub(super) fn written(&mut self, data: &Data<'_>) -> (Vec<Waiting>, Vec<Waiting>) {
        self.writer = Some(data.tid);
        self.in_vain = false;
        if self.waiting.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let before = self.waiting.iter().take_while(|w| w.time < data.time);
        let before = before.count();
        let mut all = self.release();
        let after = all.split_off(before);
        (all, after)
    }

    /// Whether what was read must wait.
    pub(super) fn waits(&self, data: &Data<'_>) -> bool {
        !self.waiting.is_empty() || (self.writer != Some(data.tid) && !self.in_vain)
    }

    /// Lets what was read wait. What comes back has waited for long enough, or there is no room.
    pub(super) fn hold(&mut self, data: &Data<'_>) -> Vec<Waiting> {
        let mut over = self.due(data.time);
        if over.is_empty()
            && (self.waiting.len() >= MAX_EARLY_RECORDS
                || self.bytes + data.bytes.len() > MAX_EARLY_BYTES)
        {
            over = self.release();
        }
        self.bytes += data.bytes.len();
        self.waiting.push_back(Waiting {
            tid: data.tid,
            time: data.time,
            offset: data.offset,
            lost_before: data.lost_before,
            skipped_before: data.skipped_before,
            bytes: data.bytes.to_vec(),
        });
        over
    }

    /// All that waits, if the oldest has waited for long enough.
    pub(super) fn due(&mut self, now: BootTime) -> Vec<Waiting> {
        match self.waiting.front() {
            Some(oldest) if now.since(oldest.time) > EARLY_PATIENCE => {
                self.in_vain = self.writer.is_none();
                self.release()
            }
            _ => Vec::new(),
        }
    }

    /// Bytes that wait now; never above [`MAX_EARLY_BYTES`], unless one record is longer.
    #[cfg(test)]
    pub(super) const fn held_bytes(&self) -> usize {
        self.bytes
    }

    /// Records that wait now.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// All that waits.
    pub(super) fn release(&mut self) -> Vec<Waiting> {
        self.bytes = 0;
        self.waiting.drain(..).collect()
    }
}
