//! Puts the records of one direction of a connection in order.
//!
//! Offsets say where a record belongs. What lies ahead without a word from the kernel that
//! something is missing is held back for a moment, because records of two threads may come in
//! the wrong order; lost bytes never come again, so holding has narrow bounds.

use crate::model::event::Data;
use crate::model::time::BootTime;
use std::collections::VecDeque;

/// Most records held back for one that should come before them.
pub const MAX_HELD_SEGMENTS: usize = 16;

/// Most bytes held back for a record that should come before them.
pub const MAX_HELD_BYTES: usize = 64 << 10;

/// Why bytes are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The kernel says that records were lost.
    Lost,
    /// The kernel left them out on purpose: the message is over its limit.
    Skipped,
    /// No word from the kernel, but the bytes did not come within the bounds.
    Missing,
    /// The direction was first seen at a later position than its start.
    Midway,
}

/// The next thing in the order of the stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes, never empty. A piece never joins two records: where a record begins, a piece does.
    Bytes {
        /// Of the record.
        time: BootTime,
        /// Thread of the record.
        tid: u32,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Bytes that were not seen here.
    Gap {
        /// Of the record after it.
        time: BootTime,
        /// How many, never zero.
        missing: u64,
        /// Why.
        reason: GapReason,
    },
}

/// What did not go its straight way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes given out.
    pub bytes: u64,
    /// Gaps given out.
    pub gaps: u64,
    /// Bytes that ought to have come, missing in those gaps.
    pub missing_bytes: u64,
    /// Bytes in those gaps that the kernel left out because it was told to, or beyond the message
    /// limit, which it counts itself.
    pub skipped_bytes: u64,
    /// Bytes of the direction before the first record that came: from before the attach, or from
    /// before the connection was looked at anew.
    pub midway_bytes: u64,
    /// Bytes that came twice, or after they were given up, and were dropped.
    pub stale_bytes: u64,
    /// Records that were held back.
    pub held: u64,
    /// Gaps given out because a bound was reached.
    pub gave_up: u64,
    /// Records with impossible positions, dropped.
    pub invalid: u64,
}

/// A record that waits for one before it.
struct Held {
    offset: u64,
    time: BootTime,
    tid: u32,
    /// Set when the kernel explained the gap before it: no use in waiting.
    reason: Option<GapReason>,
    bytes: Vec<u8>,
}

/// One direction of one connection.
#[derive(Default)]
pub struct Assembler {
    /// Position of the next byte to give out; `None` before the first record.
    next: Option<u64>,
    /// In the order of their offsets; may overlap.
    held: VecDeque<Held>,
    held_bytes: usize,
    counters: Counters,
}

impl Assembler {
    /// For a direction of which nothing was seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a record and gives out what is in order now.
    pub fn push(&mut self, data: &Data<'_>, out: &mut impl FnMut(Piece<'_>)) {
        let Some(end) = data.offset.checked_add(data.bytes.len() as u64) else {
            self.counters.invalid += 1;
            return;
        };
        if data.bytes.is_empty() {
            // It tells of bytes before it that nobody will send: worth knowing at once, when
            // nothing else is waited for.
            if let Some(next) = self.next
                && data.skipped_before
                && data.offset > next
                && self.held.is_empty()
            {
                self.gap_to(next, data.offset, data.time, GapReason::Skipped, out);
                self.next = Some(data.offset);
            }
            return;
        }
        let next = match self.next {
            Some(next) => next,
            None => {
                self.gap_to(0, data.offset, data.time, GapReason::Midway, out);
                if data.lost_before {
                    self.counters.missing_bytes += self.counters.midway_bytes;
                    self.counters.midway_bytes = 0;
                }
                data.offset
            }
        };
        if end <= next {
            self.counters.stale_bytes += data.bytes.len() as u64;
            return;
        }
        let reason = if data.skipped_before {
            Some(GapReason::Skipped)
        } else if data.lost_before {
            Some(GapReason::Lost)
        } else {
            None
        };
        if data.offset > next && (reason.is_none() || !self.held.is_empty()) {
            self.hold(data, end, reason, out);
        } else {
            let reason = reason.unwrap_or(GapReason::Missing);
            self.emit(data.offset, data.time, data.tid, reason, data.bytes, out);
        }
        self.drain(out);
    }

    /// Gives out what is held back, with gaps for what did not come.
    pub fn flush(&mut self, out: &mut impl FnMut(Piece<'_>)) {
        while self.give_up_first(out) {}
    }

    /// When the record that has waited longest in the order of the stream was made; `None` when
    /// nothing waits. For a driver that flushes after a while.
    #[must_use]
    pub fn waiting_since(&self) -> Option<BootTime> {
        self.held.iter().map(|h| h.time).min()
    }

    /// What was dropped, held and missed so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Bytes held back now; never above [`MAX_HELD_BYTES`].
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Keeps a record that lies ahead, giving up on what is before it when it would not fit.
    fn hold(
        &mut self,
        data: &Data<'_>,
        end: u64,
        reason: Option<GapReason>,
        out: &mut impl FnMut(Piece<'_>),
    ) {
        let covered = self
            .held
            .iter()
            .any(|h| h.offset <= data.offset && end <= h.offset + h.bytes.len() as u64);
        if covered {
            self.counters.stale_bytes += data.bytes.len() as u64;
            return;
        }
        while self.is_full(data.bytes.len()) {
            match self.held.front() {
                Some(first) if first.offset <= data.offset => {
                    self.counters.gave_up += 1;
                    self.give_up_first(out);
                }
                _ => break,
            }
        }
        let next = self.next.unwrap_or(0);
        if end <= next {
            self.counters.stale_bytes += data.bytes.len() as u64;
            return;
        }
        let explained = reason.is_some() && self.held.is_empty();
        if data.offset <= next || explained || self.is_full(data.bytes.len()) {
            if data.offset > next && !explained {
                self.counters.gave_up += 1;
            }
            let reason = reason.unwrap_or(GapReason::Missing);
            self.emit(data.offset, data.time, data.tid, reason, data.bytes, out);
            return;
        }
        self.counters.held += 1;
        self.held_bytes += data.bytes.len();
        let at = self.held.partition_point(|h| h.offset <= data.offset);
        self.held.insert(
            at,
            Held {
                offset: data.offset,
                time: data.time,
                tid: data.tid,
                reason,
                bytes: data.bytes.to_vec(),
            },
        );
    }

    fn is_full(&self, more: usize) -> bool {
        self.held.len() >= MAX_HELD_SEGMENTS
            || self.held_bytes.saturating_add(more) > MAX_HELD_BYTES
    }

    /// Gives out held records for which nothing is waited any more.
    fn drain(&mut self, out: &mut impl FnMut(Piece<'_>)) {
        while let (Some(first), Some(next)) = (self.held.front(), self.next) {
            if first.offset > next && first.reason.is_none() {
                break;
            }
            self.give_up_first(out);
        }
    }

    /// Gives out the first held record, with a gap if something is missing before it.
    fn give_up_first(&mut self, out: &mut impl FnMut(Piece<'_>)) -> bool {
        let Some(h) = self.held.pop_front() else {
            return false;
        };
        self.held_bytes -= h.bytes.len();
        let reason = h.reason.unwrap_or(GapReason::Missing);
        self.emit(h.offset, h.time, h.tid, reason, &h.bytes, out);
        true
    }

    /// Gives out bytes at a position: the gap before them if there is one, without what was
    /// given out already.
    fn emit(
        &mut self,
        offset: u64,
        time: BootTime,
        tid: u32,
        reason: GapReason,
        bytes: &[u8],
        out: &mut impl FnMut(Piece<'_>),
    ) {
        let next = self.next.unwrap_or(offset);
        self.gap_to(next, offset, time, reason, out);
        let known = usize::try_from(next.saturating_sub(offset)).unwrap_or(usize::MAX);
        self.counters.stale_bytes += known.min(bytes.len()) as u64;
        let Some(fresh) = bytes.get(known..).filter(|b| !b.is_empty()) else {
            return;
        };
        self.next = Some(next.max(offset) + fresh.len() as u64);
        self.counters.bytes += fresh.len() as u64;
        out(Piece::Bytes {
            time,
            tid,
            bytes: fresh,
        });
    }

    fn gap_to(
        &mut self,
        next: u64,
        offset: u64,
        time: BootTime,
        reason: GapReason,
        out: &mut impl FnMut(Piece<'_>),
    ) {
        let missing = offset.saturating_sub(next);
        if missing == 0 {
            return;
        }
        self.counters.gaps += 1;
        let counter = match reason {
            GapReason::Skipped => &mut self.counters.skipped_bytes,
            GapReason::Midway => &mut self.counters.midway_bytes,
            GapReason::Lost | GapReason::Missing => &mut self.counters.missing_bytes,
        };
        *counter = counter.saturating_add(missing);
        out(Piece::Gap {
            time,
            missing,
            reason,
        });
    }
}

#[cfg(test)]
#[path = "assembler_tests.rs"]
mod tests;
