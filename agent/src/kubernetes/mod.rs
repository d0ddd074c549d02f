//! What Kubernetes says of the pods of this node: names, owners, labels, for the resources of the
//! processes in them and for the operator's rules.
//!
//! A thread of its own lists the pods of one node from the API server and watches them from there on
//! ([`follow`]), or asks the kubelet for them ([`kubelet`]); those who look up ([`Cluster::find`]) never wait for it. The client is a few hundred lines
//! over the HTTP and TLS that the export has already, and its types ([`pod`]) name the dozen fields that
//! are of use, so that whatever else a pod holds (its whole specification, its managed fields) is skipped
//! while it is read and takes no memory. `kube` would bring 54 more packages to the 255 that there are.

#[cfg(feature = "kubernetes")]
mod client;
pub mod config;
pub mod facts;
#[cfg(feature = "kubernetes")]
mod follow;
pub mod kubelet;
#[cfg(feature = "kubernetes")]
mod owners;
pub mod pod;
mod store;
#[cfg(feature = "kubernetes")]
mod unchecked;
#[cfg(feature = "kubernetes")]
mod watch;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config::Chosen;
use facts::PodFacts;
use store::Store;

/// Is told that something changed; says whether anybody is left who wants to know.
type Listener = Box<dyn Fn() -> bool + Send>;

/// What is known of the pods of this node; a handle.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
    /// The thread ends when the last handle is gone.
    #[cfg(feature = "kubernetes")]
    _running: Arc<tokio::sync::oneshot::Sender<()>>,
}

/// What the thread and the handles share.
struct Shared {
    store: Mutex<Store>,
    /// All pods were listed once.
    listed: Condvar,
    chosen: Chosen,
    listeners: Mutex<Vec<Listener>>,
    counts: Counts,
}

/// What did not work.
#[derive(Debug, Default)]
struct Counts {
    /// Requests that failed or were refused.
    failed: AtomicU64,
    /// Answers and events that make no sense, or are longer than any pod is.
    senseless: AtomicU64,
    /// Pods that were not kept because there were too many.
    refused: AtomicU64,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("counts", &self.shared.counts)
            .finish_non_exhaustive()
    }
}

impl Shared {
    #[cfg_attr(
        not(feature = "kubernetes"),
        expect(dead_code, reason = "there is nobody to ask in such a build")
    )]
    fn new(chosen: Chosen) -> Self {
        Self {
            store: Mutex::default(),
            listed: Condvar::new(),
            chosen,
            listeners: Mutex::default(),
            counts: Counts::default(),
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who want to know that pods changed.
    #[cfg(feature = "kubernetes")]
    fn tell(&self) {
        let listeners = self.listeners.lock();
        let mut listeners = listeners.unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener());
    }
}

impl Cluster {
    /// Starts to ask the API server. Nothing is sent before the thread runs; what does not work is told in
    /// the log, counted, and tried again for as long as a handle is left.
    ///
    /// # Errors
    ///
    /// When the system has no thread for it, or no certificates can be used.
    #[cfg(feature = "kubernetes")]
    pub fn start(place: config::Place, chosen: Chosen) -> Result<Self, config::BadConfig> {
        let shared = Arc::new(Shared::new(chosen));
        let running = follow::start(place, Arc::clone(&shared))?;
        Ok(Self {
            shared,
            _running: Arc::new(running),
        })
    }

    /// What is known of a container, by its id or, before the kubelet has told that, of its pod, by the
    /// pod's.
    #[must_use]
    pub fn find(&self, container: Option<&str>, pod: Option<&str>) -> Option<PodFacts> {
        let store = self.shared.store();
        let (pod, found) = store.find(container, pod)?;
        let chosen = &self.shared.chosen;
        Some(PodFacts::of(pod, found, container, chosen))
    }

    /// Waits until all pods were listed once, but not longer than this; says whether they were.
    #[must_use]
    pub fn wait_listed(&self, longest: Duration) -> bool {
        let store = self.shared.store();
        let listed = &self.shared.listed;
        let waited = listed.wait_timeout_while(store, longest, |store| !store.is_listed());
        let (store, _) = waited.unwrap_or_else(PoisonError::into_inner);
        store.is_listed()
    }

    /// Calls `listener` whenever pods have changed, on the thread that asks, until it says that nobody
    /// wants to know any more. It must not block.
    pub fn on_change(&self, listener: impl Fn() -> bool + Send + 'static) {
        let listeners = self.shared.listeners.lock();
        let mut listeners = listeners.unwrap_or_else(PoisonError::into_inner);
        listeners.push(Box::new(listener));
    }

    /// What did not work so far: each reason, and how often.
    #[must_use]
    pub fn losses(&self) -> [(&'static str, u64); 3] {
        let counts = &self.shared.counts;
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        [
            (
                "requests to Kubernetes that failed: tried again",
                count(&counts.failed),
            ),
            (
                "answers of Kubernetes that make no sense",
                count(&counts.senseless),
            ),
            (
                "pods not remembered: there are too many",
                count(&counts.refused),
            ),
        ]
    }
}
