//! Objects that the kernel copied, as a memory of their own ([`genspan_common::snapshot`]): what is not
//! in it cannot be read, however the process goes on.

use genspan_common::snapshot::{
    MAX_BYTES, MAX_DEPTH, MAX_ITEMS, MAX_OBJECTS, MAX_SLOTS, MAX_TEXT, SegmentHead,
};

use super::layout::Layout;
use super::memory::{Memory, Unreadable};
use super::reader::{QUESTION_BUDGET, Reader, Types};
use super::value::{Limits, Value};

/// How much of a copied value is read: as much as is copied of one.
pub const LIMITS: Limits = Limits {
    depth: MAX_DEPTH as usize,
    items: MAX_ITEMS,
    attributes: MAX_SLOTS,
    text: MAX_TEXT,
    // Objects are copied once, and may be met again and again.
    values: 2 * MAX_OBJECTS,
};

/// What reading copies may cost: each of them some times, since it may be referred to often.
const BUDGET: u64 = 1 << 20;

/// Bytes that a value takes at least where it is met: its type, and what counts it.
const LEAST: usize = 16;

/// Segments before an address that may have it in them: they lie over each other where an object is
/// smaller than what was copied of it.
const MOST_OVER: usize = 4;

/// Pieces of a process's memory, as a snapshot has them.
#[derive(Clone, Debug, Default)]
pub struct Copied<'a> {
    /// By address.
    segments: Vec<(u64, &'a [u8])>,
}

impl<'a> Copied<'a> {
    /// The segments of a snapshot; one that makes no sense ends them.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        const HEAD: usize = size_of::<SegmentHead>();
        let word = |at: usize| -> Option<u64> {
            let bytes = bytes.get(at..at.checked_add(8)?)?;
            Some(u64::from_ne_bytes(bytes.try_into().ok()?))
        };
        let mut segments = Vec::new();
        let mut at = 0;
        // Each takes more than a head of what there is, so there are not too many.
        while let (Some(address), Some(len)) = (word(at), word(at.saturating_add(8))) {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let start = at + HEAD;
            let Some(end) = start.checked_add(len).filter(|_| len <= MAX_BYTES) else {
                break;
            };
            let Some(piece) = bytes.get(start..end) else {
                break;
            };
            segments.push((address, piece));
            at = end.next_multiple_of(8);
        }
        segments.sort_by_key(|(address, piece)| (*address, piece.len()));
        Self { segments }
    }

    /// How many segments there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// What there is from this address on.
    fn from(&self, address: u64) -> &'a [u8] {
        let after = self
            .segments
            .partition_point(|(start, _)| *start <= address);
        let before = self.segments.get(..after).unwrap_or_default();
        let near = before.iter().rev().take(MOST_OVER);
        let found = near.filter_map(|(start, piece)| {
            let skip = usize::try_from(address - start).ok()?;
            piece.get(skip..).filter(|rest| !rest.is_empty())
        });
        found.max_by_key(|rest| rest.len()).unwrap_or_default()
    }
}

impl Memory for Copied<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        let bytes = into.len();
        let there = self.from(address).get(..bytes);
        into.copy_from_slice(there.ok_or(Unreadable { address, bytes })?);
        Ok(())
    }

    fn holds(&self, address: u64) -> bool {
        self.from(address).len() >= LEAST
    }

    fn available(&self, address: u64, wanted: usize) -> usize {
        self.from(address).len().min(wanted)
    }
}

/// The values of these objects, of which the segments of a snapshot are: `None` where the address is
/// zero. Types are read from the `process`, and kept in `types`.
#[must_use]
pub fn values(
    segments: &[u8],
    roots: &[u64],
    process: &dyn Memory,
    (layout, types): (&Layout, &Types),
) -> Vec<Option<Value>> {
    let copied = Copied::new(segments);
    let lasting = Reader::new(process, layout, QUESTION_BUDGET).learning(types);
    let reader = Reader::new(&copied, layout, BUDGET).of_copies(&lasting);
    let value = |root: &u64| (*root != 0).then(|| reader.value(*root, LIMITS));
    roots.iter().map(value).collect()
}

/// The address of what an attribute of a copied object refers to, as it was then.
#[must_use]
pub fn attribute(
    segments: &[u8],
    (object, name): (u64, &str),
    process: &dyn Memory,
    (layout, types): (&Layout, &Types),
) -> Option<u64> {
    let copied = Copied::new(segments);
    let lasting = Reader::new(process, layout, QUESTION_BUDGET).learning(types);
    let reader = Reader::new(&copied, layout, BUDGET).of_copies(&lasting);
    reader.attribute(object, name).ok().flatten()
}

#[cfg(test)]
#[path = "copied_tests.rs"]
mod tests;
