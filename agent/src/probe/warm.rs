//! Keeping the kernel ready to place probes at once while processes fork.
//!
//! The first registration of a uprobe after a while waits for a grace period, because it must
//! keep forks out (`dup_mmap_sem`, a per-CPU semaphore whose readers are slow only around
//! writers, `kernel/rcu/sync.c`); one that follows within a grace period does not wait. While one
//! waits, another at the same place is not taken up. So of workers that are forked together, all
//! but the first would be seen too late. Where one fork was, others are likely: for a short time
//! after it, threads place and remove a probe on a function of this very process that is never
//! called, which keeps the semaphore from falling asleep.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::multi::MultiProbes;
use super::removal::Undisturbed;

/// How long after a fork.
const AFTER_FORK: Duration = Duration::from_secs(2);

/// Threads: removing a probe takes each about a tenth of a second, of which it sleeps most, and
/// the next placing should come within a grace period, 15 ms.
const THREADS: usize = 8;

/// Stack of one.
const STACK: usize = 64 << 10;

/// Keeps the kernel ready, when asked to.
#[derive(Debug)]
pub(super) struct Warm {
    shared: Arc<Shared>,
    multi: Arc<MultiProbes>,
    /// File and offset of [`never_called`].
    place: (&'static Path, u64),
}

#[derive(Debug)]
struct Shared {
    begun: Instant,
    /// Milliseconds after `begun` until which it is kept up.
    until: AtomicU64,
    threads: AtomicUsize,
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_over(&self) -> bool {
        self.now() >= self.until.load(Ordering::Relaxed)
    }
}

impl Warm {
    /// None where our own code cannot be found in a file.
    pub(super) fn new(multi: &Arc<MultiProbes>) -> Option<Self> {
        let address = never_called as *const () as u64;
        let maps = procfs::process::Process::myself().ok()?.maps().ok()?;
        let map = maps
            .into_iter()
            .find(|m| (m.address.0..m.address.1).contains(&address))?;
        Some(Self {
            shared: Arc::new(Shared {
                begun: Instant::now(),
                until: AtomicU64::new(0),
                threads: AtomicUsize::new(0),
            }),
            multi: Arc::clone(multi),
            place: (
                Path::new("/proc/self/exe"),
                address - map.address.0 + map.offset,
            ),
        })
    }

    /// Forks are likely for a while.
    pub(super) fn forks_are_likely(&self) {
        let after = u64::try_from(AFTER_FORK.as_millis()).unwrap_or(0);
        let until = self.shared.now().saturating_add(after);
        self.shared.until.fetch_max(until, Ordering::Relaxed);
        while self.shared.threads.load(Ordering::Relaxed) < THREADS {
            self.shared.threads.fetch_add(1, Ordering::Relaxed);
            let (shared, multi) = (Arc::clone(&self.shared), Arc::clone(&self.multi));
            let (path, offset) = self.place;
            let thread = std::thread::Builder::new()
                .name("probe-warming".to_owned())
                .stack_size(STACK)
                .spawn(move || {
                    while !shared.is_over() {
                        let Some(_busy) = Undisturbed::begin() else {
                            break;
                        };
                        let placed = multi.attach("tls_free", std::process::id(), path, &[offset]);
                        if let Err(error) = placed {
                            tracing::debug!("no probe on ourselves: {error}");
                            break;
                        }
                    }
                    shared.threads.fetch_sub(1, Ordering::Relaxed);
                });
            if thread.is_err() {
                self.shared.threads.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        }
    }
}

/// Where the probe goes. Its code must be its own: a function that is merged with another one
/// would be called.
#[inline(never)]
extern "C" fn never_called() -> u64 {
    std::hint::black_box(0x6765_6e73_7061_6e00)
}
