//! Two clocks that must not be mixed up.

/// Nanoseconds of `CLOCK_BOOTTIME`, as the kernel stamps events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(pub u64);

impl BootTime {
    /// Nanoseconds from `earlier` to `self`; zero when `earlier` is the later one (two cores'
    /// stamps may cross).
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The time this many nanoseconds later.
    #[must_use]
    pub const fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}

/// Nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);

/// What to add to a [`BootTime`] for a [`WallTime`]; measured by the capture side, again from
/// time to time because wall clocks are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockOffset(pub i64);

impl ClockOffset {
    /// The wall time of a kernel stamp.
    #[must_use]
    pub const fn wall(self, at: BootTime) -> WallTime {
        WallTime(at.0.saturating_add_signed(self.0))
    }
}
