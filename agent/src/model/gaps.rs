//! Times between the chunks of a streamed answer, counted as they come: a stream may have
//! thousands, and each is one observation of a metric.

use super::time::BootTime;

/// Number of buckets.
pub const BUCKETS: usize = 15;

/// Upper bounds of all buckets but the last, in nanoseconds, inclusive: those of the
/// conventions' metric, from 10 ms on, each twice the one before.
pub const BOUNDS: [u64; BUCKETS - 1] = {
    let mut bounds = [10_000_000; BUCKETS - 1];
    let mut n = 1;
    while n < bounds.len() {
        bounds[n] = bounds[n - 1] * 2;
        n += 1;
    }
    bounds
};

/// The times between chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkGaps {
    /// How many fell into each bucket.
    pub counts: [u64; BUCKETS],
    /// Their sum, nanoseconds.
    pub sum: u64,
    /// The shortest, nanoseconds.
    pub min: u64,
    /// The longest, nanoseconds.
    pub max: u64,
    /// The last, nanoseconds.
    pub last: u64,
    /// When the last chunk came; `None` when it is not known.
    at: Option<BootTime>,
}

impl ChunkGaps {
    /// A chunk came.
    pub fn chunk(&mut self, time: BootTime) {
        if let Some(before) = self.at.replace(time) {
            let gap = time.since(before);
            self.min = if self.is_empty() {
                gap
            } else {
                self.min.min(gap)
            };
            self.max = self.max.max(gap);
            self.counts[BOUNDS.partition_point(|bound| *bound < gap)] += 1;
            self.sum = self.sum.saturating_add(gap);
            self.last = gap;
        }
    }

    /// Chunks are missing: the time to the next one says nothing.
    pub fn interrupted(&mut self) {
        self.at = None;
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts == [0; BUCKETS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn one_observation_for_each_chunk_after_the_first() {
        let mut gaps = ChunkGaps::default();
        assert!(gaps.is_empty());
        for at in [1000, 1010, 1021, 1021, 101_021] {
            gaps.chunk(BootTime(at * MS));
        }
        gaps.interrupted();
        gaps.chunk(BootTime(200_000 * MS));
        gaps.chunk(BootTime(200_005 * MS));
        let mut want = [0; BUCKETS];
        // 10 ms and 0 ms and 5 ms; 11 ms; 100 s.
        (want[0], want[1], want[14]) = (3, 1, 1);
        assert_eq!(gaps.counts, want);
        assert_eq!((gaps.count(), gaps.sum), (5, 100_026 * MS));
        assert_eq!((gaps.min, gaps.max, gaps.last), (0, 100_000 * MS, 5 * MS));
        assert_eq!(BOUNDS[13], 81_920 * MS);
    }
}
