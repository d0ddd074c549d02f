//! Waiting for the kernel's rings, for signals, and for time to pass; and what time it is.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::time::{ClockId, clock_gettime};

use crate::model::time::{BootTime, ClockOffset};

/// The signals that end a run.
pub const TAKEN: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// The signals that end a run, as something to wait for.
pub struct Signals(SignalFd);

impl Signals {
    /// Takes SIGINT, SIGTERM and SIGHUP off their usual way. Call it before any thread is
    /// started, so that all inherit it.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn take() -> nix::Result<Self> {
        let set = SigSet::from_iter(TAKEN);
        set.thread_block()?;
        SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map(Self)
    }

    /// The next signal that came.
    pub fn take_next(&mut self) -> Option<Signal> {
        let info = self.0.read_signal().ok().flatten()?;
        Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()
    }
}

/// Waits until one of these is readable, a signal comes, or the time is over.
pub fn wait(rings: &[BorrowedFd<'_>], signals: &Signals, at_most: Duration) {
    let mut fds: Vec<PollFd<'_>> = rings
        .iter()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    fds.push(PollFd::new(signals.0.as_fd(), PollFlags::POLLIN));
    let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => {
            // Not to spin on it.
            tracing::warn!("waiting failed: {error}");
            std::thread::sleep(at_most.min(Duration::from_millis(10)));
        }
    }
}

fn read(clock: ClockId) -> i128 {
    clock_gettime(clock)
        .map(|t| i128::from(t.tv_sec()) * 1_000_000_000 + i128::from(t.tv_nsec()))
        .unwrap_or_default()
}

/// Now, by the clock that the kernel stamps events with.
#[must_use]
pub fn boot_time() -> BootTime {
    BootTime(u64::try_from(read(ClockId::CLOCK_BOOTTIME)).unwrap_or_default())
}

/// How far wall time is from boot time now: the narrowest of a few measurements.
#[must_use]
pub fn clock_offset() -> ClockOffset {
    let measure = || {
        let before = read(ClockId::CLOCK_BOOTTIME);
        let wall = read(ClockId::CLOCK_REALTIME);
        let after = read(ClockId::CLOCK_BOOTTIME);
        (after - before, wall - (before + after) / 2)
    };
    let best = (0..5)
        .map(|_| measure())
        .min()
        .map_or(0, |(_, offset)| offset);
    ClockOffset(i64::try_from(best).unwrap_or_default())
}
