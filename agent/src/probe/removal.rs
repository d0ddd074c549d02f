//! Taking probes away when it disturbs nobody.
//!
//! The kernel waits for a grace period with each (about 0.1 s), and holds the lock that placing a
//! probe needs as well (`event_mutex`, `kernel/trace/trace_event_perf.c`). Where processes come
//! and go, the probes of a dead one would so delay those of the next beyond its first call. So a
//! thread removes them once no probe has been placed for a while. Those of a dead process cost
//! nothing until then, but a descriptor each.
//!
//! On a host where processes always come and go there is no such while, and one by one they would
//! pile up: ten a second go, and every process leaves a dozen. A multi-uprobe's grace period is waited
//! for without a lock (`uprobe_unregister_sync`, `kernel/events/uprobes.c`, Linux 6.13), and those that
//! wait at the same time wait for the same one. So many of them are removed at once, each by a thread
//! of its own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::kernel::Link;

/// How long no probe must have been placed.
const QUIET: Duration = Duration::from_secs(1);

/// Probes that may wait; beyond that they go at once, quiet or not.
const MOST_WAITING: usize = 256;

/// Most that are removed at the same time.
const AT_ONCE: usize = 128;

/// Stack of a thread that removes one.
const STACK: usize = 64 << 10;

/// When a probe was placed last, in milliseconds since [`begun`].
static PLACED: AtomicU64 = AtomicU64::new(0);

/// Probes that wait.
static WAITING: AtomicUsize = AtomicUsize::new(0);

fn begun() -> Instant {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    *BEGUN.get_or_init(Instant::now)
}

fn now() -> u64 {
    u64::try_from(begun().elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// A probe is about to be placed.
pub(super) fn not_now() {
    PLACED.store(now(), Ordering::Relaxed);
}

/// Removes these when it is quiet.
pub(super) fn later(links: impl Iterator<Item = Link>) {
    static QUEUE: OnceLock<Option<Sender<Link>>> = OnceLock::new();
    for link in links {
        let Some(queue) = QUEUE.get_or_init(start) else {
            continue;
        };
        WAITING.fetch_add(1, Ordering::Relaxed);
        // When the thread is gone the link comes back, and is dropped here.
        if queue.send(link).is_err() {
            WAITING.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The thread; none when the system gives no more, and then probes go at once.
fn start() -> Option<Sender<Link>> {
    let (send, queue) = channel();
    let thread = std::thread::Builder::new().name("probe-removal".to_owned());
    thread.spawn(move || remove(&queue)).ok().map(|_| send)
}

fn remove(queue: &Receiver<Link>) {
    let quiet = u64::try_from(QUIET.as_millis()).unwrap_or(u64::MAX);
    while let Ok(first) = queue.recv() {
        while now().saturating_sub(PLACED.load(Ordering::Relaxed)) < quiet
            && WAITING.load(Ordering::Relaxed) <= MOST_WAITING
        {
            std::thread::sleep(QUIET / 10);
        }
        let at_once: Vec<Link> = std::iter::once(first)
            .chain(queue.try_iter().take(AT_ONCE - 1))
            .collect();
        let count = at_once.len();
        all_at_once(at_once);
        WAITING.fetch_sub(count, Ordering::Relaxed);
    }
}

/// Removes links: those of perf one by one, since each holds the lock, all others at the same time.
fn all_at_once(links: Vec<Link>) {
    std::thread::scope(|scope| {
        for link in links {
            let link = match link {
                // A panic in there was told by its hook.
                Link::Asked(asked) => asked.join().ok().flatten().map(Link::Multi),
                link => Some(link),
            };
            let Some(link @ Link::Multi(_)) = link else {
                drop(link);
                continue;
            };
            let thread = std::thread::Builder::new().stack_size(STACK);
            // No thread: the link went with what it was to do, here.
            thread.spawn_scoped(scope, move || drop(link)).ok();
        }
    });
}
