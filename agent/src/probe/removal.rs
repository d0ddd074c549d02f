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
//! wait at the same time wait for the same one. So several threads remove them, each one at a time, as
//! long as there are too many.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::kernel::Link;

/// How long no probe must have been placed.
const QUIET: Duration = Duration::from_secs(1);

/// Probes that may wait; beyond that they go at once, quiet or not.
const MOST_WAITING: usize = 256;

/// Threads that remove them, at most. Each sleeps for most of the tenth of a second that a link takes. More
/// of them would stand before the kernel's lock (`dup_mmap_sem`) in a row in which those that place probes
/// come last.
const AT_ONCE: usize = 16;

/// The same at the end, when nobody places any more.
const AT_ONCE_AT_LAST: usize = 64;

/// How long all may take at the end; what is left then is removed one by one by the kernel as it closes our files.
/// Below the half minute that Kubernetes gives.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long those that are being removed then may take.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// If more than so many wait, they are not removed as fast as they come.
const TOO_MANY: usize = 2048;

/// The same where this many processes have probes at the same places: each then takes much longer.
const TOO_MANY_OF_A_CROWD: usize = 512;
const CROWD: usize = 128;

/// Stack of a thread that removes one.
const STACK: usize = 64 << 10;

/// When a probe was placed last, in milliseconds since [`begun`].
static PLACED: AtomicU64 = AtomicU64::new(0);

/// Probes that wait.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Threads that help to remove them.
static HELPING: AtomicUsize = AtomicUsize::new(0);

/// C libraries of processes that have probes.
static PROBED: AtomicUsize = AtomicUsize::new(0);

/// Threads that place or remove one right now, and must not be killed.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// This process ends soon: what waits goes at once.
static ENDING: AtomicBool = AtomicBool::new(false);

/// It ends now: nothing is placed or removed any more.
static OVER: AtomicBool = AtomicBool::new(false);

/// The kernel is about to place or remove a probe for this thread: [`finish`] waits for it.
#[derive(Debug)]
pub(super) struct Undisturbed(());

impl Undisturbed {
    /// `None` when it is too late.
    pub(super) fn begin() -> Option<Self> {
        // The order of these two, and of those in `finish`, is what makes one see the other.
        BUSY.fetch_add(1, Ordering::SeqCst);
        let this = Self(());
        (!OVER.load(Ordering::SeqCst)).then_some(this)
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts a C library that has probes, as long as it has them.
#[derive(Debug)]
pub(super) struct Counted(());

impl Counted {
    pub(super) fn new() -> Self {
        PROBED.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        PROBED.fetch_sub(1, Ordering::Relaxed);
    }
}

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

/// What waits to be removed.
#[derive(Default)]
struct Queue {
    links: Mutex<VecDeque<Link>>,
    more: Condvar,
}

impl Queue {
    fn links(&self) -> MutexGuard<'_, VecDeque<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next one; waits for it.
    fn wait(&self) -> Link {
        let mut links = self.links();
        loop {
            match links.pop_front() {
                Some(link) => return link,
                None => {
                    let waited = self.more.wait(links);
                    links = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// What waits, once there was something.
static QUEUE: OnceLock<Option<Arc<Queue>>> = OnceLock::new();

/// Removes all probes that wait, for the last time: this process is about to end. What is dropped later stays until then.
/// Says how many were left.
pub fn finish() -> usize {
    ENDING.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    if let Some(Some(queue)) = QUEUE.get() {
        let waiting = WAITING.load(Ordering::Relaxed);
        more_hands(queue, waiting.min(AT_ONCE_AT_LAST));
        wait_until(begun + PATIENCE, || WAITING.load(Ordering::Relaxed) == 0);
    }
    OVER.store(true, Ordering::SeqCst);
    wait_until(begun + PATIENCE + LAST_PATIENCE, || {
        BUSY.load(Ordering::SeqCst) == 0
    });
    let left = WAITING.load(Ordering::Relaxed);
    tracing::debug!("probes removed in {:?}, {left} left", begun.elapsed());
    left
}

fn wait_until(last: Instant, is_so: impl Fn() -> bool) {
    while !is_so() && Instant::now() < last {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Removes these when it is quiet.
pub(super) fn later(links: impl Iterator<Item = Link>) {
    for link in links {
        let Some(queue) = QUEUE.get_or_init(start) else {
            continue;
        };
        WAITING.fetch_add(1, Ordering::Relaxed);
        queue.links().push_back(link);
        queue.more.notify_one();
    }
}

/// Whether probes come faster than they are removed. The kernel looks through the processes that have a
/// file mapped, and for each through those that have a probe at the same place (`register_for_each_vma`,
/// `filter_chain`, `kernel/events/uprobes.c`): with 250 of them a process's probes on the C library take
/// 9 ms to remove, with twice as many four times as long. So it is soon too late where there are many.
pub(super) fn is_behind() -> bool {
    let most = if PROBED.load(Ordering::Relaxed) > CROWD {
        TOO_MANY_OF_A_CROWD
    } else {
        TOO_MANY
    };
    WAITING.load(Ordering::Relaxed) > most
}

/// The thread; none when the system gives no more, and then probes go at once.
fn start() -> Option<Arc<Queue>> {
    let queue = Arc::<Queue>::default();
    let ours = Arc::clone(&queue);
    let thread = std::thread::Builder::new().name("probe-removal".to_owned());
    thread.spawn(move || remove(&ours)).ok().map(|_| queue)
}

fn remove(queue: &Arc<Queue>) {
    loop {
        let link = queue.wait();
        while !may_go() {
            std::thread::sleep(QUIET / 10);
        }
        // Seen with each link anew: what waits grows while these few are removed.
        let others = WAITING.load(Ordering::Relaxed).saturating_sub(1);
        more_hands(queue, others.min(AT_ONCE - 1));
        take_away(link);
    }
}

/// Has so many threads help.
fn more_hands(queue: &Arc<Queue>, wanted: usize) {
    while HELPING.load(Ordering::Relaxed) < wanted {
        let helper = Helper::new(Arc::clone(queue));
        let thread = std::thread::Builder::new()
            .name("probe-removal".to_owned())
            .stack_size(STACK);
        // Without it there are fewer that remove them.
        if thread.spawn(move || help(&helper.0)).is_err() {
            break;
        }
    }
}

/// What waits, as one of the threads that help has it; counts these.
struct Helper(Arc<Queue>);

impl Helper {
    fn new(queue: Arc<Queue>) -> Self {
        HELPING.fetch_add(1, Ordering::Relaxed);
        Self(queue)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        HELPING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether probes are removed now.
fn may_go() -> bool {
    let quiet = u64::try_from(QUIET.as_millis()).unwrap_or(u64::MAX);
    now().saturating_sub(PLACED.load(Ordering::Relaxed)) >= quiet
        || WAITING.load(Ordering::Relaxed) > MOST_WAITING
        || ENDING.load(Ordering::Relaxed)
}

/// Removes what waits, as long as it may go.
fn help(queue: &Queue) {
    while may_go() {
        let Some(link) = queue.links().pop_front() else {
            return;
        };
        take_away(link);
    }
}

/// Removes one. Those of perf go one by one, since each holds the lock.
fn take_away(link: Link) {
    static PERF: Mutex<()> = Mutex::new(());
    let Some(_busy) = Undisturbed::begin() else {
        // It goes with this process.
        let _ = ManuallyDrop::new(link);
        return;
    };
    let one = matches!(link, Link::Perf(_)).then(|| PERF.lock());
    match link {
        // A panic in there was told by its hook.
        Link::Asked(asked) => drop(asked.join()),
        link => drop(link),
    }
    drop(one);
    WAITING.fetch_sub(1, Ordering::Relaxed);
}
