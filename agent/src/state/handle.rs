//! The handle that the live run and the endpoint share.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::own;
use super::status::{Phase, Status};
use crate::export::status::Exports;

/// Whoever asks within this time after a snapshot was made gets that: the run makes no more than a few
/// each second, however many ask.
const FRESH: Duration = Duration::from_millis(200);
/// The run comes round at least once a second. After this time without, something holds it up.
const STUCK: Duration = Duration::from_secs(30);
/// Loading the programs takes a second or two; on a slow machine, with verifiers of old, much longer.
const LOADING: Duration = Duration::from_secs(300);

/// The state of a run.
#[derive(Clone, Debug)]
pub struct State(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    bell: EventFd,
    wanted: AtomicBool,
    phase: AtomicU8,
    /// Milliseconds from the start to when the run last came round; zero before it ever did.
    beat: AtomicU64,
    latest: Mutex<Option<Snapshot>>,
    exports: Exports,
}

#[derive(Clone, Debug)]
struct Snapshot {
    made: Instant,
    status: Arc<Status>,
}

impl State {
    /// That of a run that has not begun.
    ///
    /// # Errors
    ///
    /// When no descriptor can be had.
    pub fn new() -> io::Result<Self> {
        let bell = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self(Arc::new(Inner {
            started: Instant::now(),
            bell,
            wanted: AtomicBool::new(false),
            phase: AtomicU8::new(Phase::Loading as u8),
            beat: AtomicU64::new(0),
            latest: Mutex::new(None),
            exports: Exports::default(),
        })))
    }

    /// The exports over the network, which say themselves how they get on.
    #[must_use]
    pub fn exports(&self) -> &Exports {
        &self.0.exports
    }

    /// The run comes round. Says whether somebody waits for a snapshot.
    #[must_use]
    pub fn beat(&self) -> bool {
        let now = self.0.started.elapsed().as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX).max(1);
        self.0.beat.store(now, Ordering::Relaxed);
        let wanted = self.0.wanted.swap(false, Ordering::Acquire);
        if wanted {
            // Nothing to read is as good.
            self.0.bell.read().ok();
        }
        wanted
    }

    /// Becomes readable when somebody asks.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.bell.as_fd()
    }

    /// The run is so far now.
    pub fn enter(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// How far the run is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let number = self.0.phase.load(Ordering::Relaxed);
        let all = [Phase::Loading, Phase::Looking, Phase::Ready];
        let found = all.into_iter().find(|phase| *phase as u8 == number);
        found.unwrap_or(Phase::Stopping)
    }

    /// The run hands over what it is asked for.
    pub fn publish(&self, status: Status) {
        let mut latest = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = Some(Snapshot {
            made: Instant::now(),
            status: Arc::new(status),
        });
    }

    /// Asks for a snapshot, unless there is a fresh one. Says when one counts as fresh that is made
    /// from now on.
    pub(super) fn ask(&self) -> Instant {
        let now = Instant::now();
        if let Some(latest) = self.latest()
            && now.duration_since(latest.made) < FRESH
        {
            return latest.made;
        }
        self.0.wanted.store(true, Ordering::Release);
        // Full of unheard rings is as good as one more.
        self.0.bell.write(1).ok();
        now
    }

    /// Whether a snapshot was handed over at that time or later.
    pub(super) fn has_since(&self, asked: Instant) -> bool {
        self.latest().is_some_and(|latest| latest.made >= asked)
    }

    fn latest(&self) -> Option<Snapshot> {
        let latest = self.0.latest.lock();
        latest.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last snapshot, with what can be said without the run: what we cost, and how far it is.
    pub(super) fn status(&self) -> Status {
        let latest = self.latest();
        let mut status = latest
            .as_ref()
            .map(|latest| (*latest.status).clone())
            .unwrap_or_default();
        env!("CARGO_PKG_VERSION").clone_into(&mut status.version);
        status.pid = std::process::id();
        status.phase = self.phase();
        status.uptime_seconds = self.0.started.elapsed().as_secs_f64();
        status.age_seconds = latest.map_or(0.0, |latest| latest.made.elapsed().as_secs_f64());
        status.own = own::usage();
        status.exports = self.0.exports.all();
        status
    }

    /// What keeps the run from going on, if it does not.
    pub(super) fn trouble(&self) -> Option<String> {
        let since = self.0.started.elapsed();
        match self.0.beat.load(Ordering::Relaxed) {
            0 if since > LOADING => Some(format!(
                "the programs are not in the kernel after {} s",
                since.as_secs()
            )),
            0 => None,
            beat => {
                let still = since.saturating_sub(Duration::from_millis(beat));
                let seconds = still.as_secs();
                let stopping = self.phase() == Phase::Stopping;
                (still > STUCK && !stopping)
                    .then(|| format!("nothing was taken from the kernel for {seconds} s"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::{Phase, Status};
    use super::State;

    #[test]
    fn who_asks_gets_what_is_handed_over_after_that() {
        let state = State::new().unwrap();
        assert!(!state.beat(), "nobody asked");
        let asked = state.ask();
        assert!(!state.has_since(asked));
        assert!(state.beat(), "somebody asked");
        assert!(!state.beat(), "once");
        let status = Status {
            pid: 1,
            ..Status::default()
        };
        state.publish(status);
        assert!(state.has_since(asked));
        // Made a moment ago: the run is left alone.
        let again = state.ask();
        assert!(state.has_since(again) && !state.beat());
    }

    #[test]
    fn what_can_be_said_without_the_run_is_said() {
        let state = State::new().unwrap();
        let status = state.status();
        assert_eq!(status.pid, std::process::id());
        assert_eq!(status.phase, Phase::Loading);
        assert!(status.own.resident_bytes > 1 << 20, "{status:?}");
        assert!(status.own.open_files > 2 && status.own.threads > 0);
        for phase in [Phase::Looking, Phase::Ready, Phase::Stopping] {
            state.enter(phase);
            assert_eq!(state.status().phase, phase);
        }
        assert_eq!(state.trouble(), None);
    }
}
