//! What is due again and again while a run goes on.

use std::time::{Duration, Instant};

/// How often the view of calls under way is renewed.
const REDRAW: Duration = Duration::from_millis(100);
/// How often the core is told that time passes.
const TICK: Duration = Duration::from_millis(250);
/// How often processes are looked after whose end we may have missed.
const SWEEP: Duration = Duration::from_secs(5);

/// One that is due again and again.
pub(super) struct Timer {
    every: Duration,
    next: Instant,
}

impl Timer {
    fn new(every: Duration, now: Instant) -> Self {
        Self {
            every,
            next: now + every,
        }
    }

    pub(super) fn due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.every;
        }
        due
    }
}

/// Those of a run.
pub(super) struct Timers {
    pub(super) tick: Timer,
    pub(super) redraw: Timer,
    pub(super) sweep: Timer,
}

impl Timers {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            tick: Timer::new(TICK, now),
            redraw: Timer::new(REDRAW, now),
            sweep: Timer::new(SWEEP, now),
        }
    }
}
