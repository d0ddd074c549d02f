//! The thread that lists the pods of a node and watches them, for as long as it runs.
//!
//! What was known stays known while the API server cannot be asked. A watch goes on from the version that
//! was seen last; where the server has forgotten that (410), all is listed anew.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use super::client::{Client, Failure};
use super::config::{Asked, BadConfig, Place};
use super::owners::{self, Owners, Top};
use super::pod::{Object, Pod, PodList};
use super::store::MAX_PODS;
use super::watch::{Event, Lines};

/// Pods on a page of a list: what is held of it at a time.
const PAGE: usize = 50;
/// The server ends a watch after this time, in seconds.
const WATCH: u64 = 240;
/// A watch that is longer is one whose server is gone.
const LONGEST: Duration = Duration::from_secs(WATCH + 30);
/// Wait after a failure; twice as long after the next one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A watch that lasts so long is in order, whether it tells anything or not.
const LASTING: Duration = Duration::from_secs(10);
/// So many watches may fail one after the other without having told anything; then all is listed anew.
const MAX_IN_VAIN: u32 = 3;
/// Most pages of a list: several times those that the most pods fill.
const MAX_PAGES: usize = 4 * MAX_PODS.div_ceil(PAGE);
/// How long owners are asked for before a watch, and after a change.
const LISTED: Duration = Duration::from_secs(15);
const CHANGED: Duration = Duration::from_secs(5);

/// Starts it. It ends when what it gives is dropped.
pub(super) fn start(place: Place, shared: Arc<Shared>) -> Result<oneshot::Sender<()>, BadConfig> {
    let client = Client::new(place)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // Only name resolution uses these.
        .max_blocking_threads(1)
        .thread_keep_alive(Duration::from_secs(1))
        .build()?;
    let (running, mut over) = oneshot::channel();
    let mut follower = Follower {
        client,
        shared,
        owners: Owners::default(),
        pause: Pause(FIRST_PAUSE),
        failing: None,
    };
    let body = move || {
        runtime.block_on(async {
            tokio::select! {
                () = follower.follow() => {}
                _ = &mut over => {}
            }
        });
        runtime.shutdown_background();
    };
    let log = tracing::dispatcher::get_default(Clone::clone);
    std::thread::Builder::new()
        .name("kubernetes".to_owned())
        .spawn(move || tracing::dispatcher::with_default(&log, body))?;
    Ok(running)
}

struct Follower {
    client: Client,
    shared: Arc<Shared>,
    owners: Owners,
    pause: Pause,
    /// What does not work, and was told of.
    failing: Option<Failing>,
}

/// What does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    /// Requests are not answered, or refused.
    Asking,
    /// Watches begin, and nothing comes of them.
    Watching,
}

/// How a watch ended.
enum Ended {
    /// By the server, in order.
    Over,
    /// What is to be watched from has been forgotten.
    Expired,
}

/// How long is waited before the next request.
struct Pause(Duration);

impl Pause {
    /// The wait; the next one is twice as long.
    fn take(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(LONGEST_PAUSE);
        now
    }

    /// Something came: the next wait is the shortest one.
    const fn reset(&mut self) {
        self.0 = FIRST_PAUSE;
    }
}

impl Follower {
    async fn follow(&mut self) {
        if let Asked::Kubelet(interval) = self.client.asked() {
            return self.poll(interval).await;
        }
        loop {
            let version = match self.list().await {
                Ok(version) => version,
                Err(failure) => {
                    self.failed(&failure, Failing::Asking).await;
                    continue;
                }
            };
            self.answered();
            self.watch_on(version).await;
        }
    }

    /// Asks the kubelet for its pods, again and again.
    async fn poll(&mut self, interval: Duration) {
        loop {
            match self.client.get::<PodList>("/pods").await {
                Ok(list) => {
                    self.works();
                    let mut pods = list.items;
                    let beyond = pods.len().saturating_sub(MAX_PODS);
                    pods.truncate(MAX_PODS);
                    for pod in &mut pods {
                        pod.keep(&self.shared.chosen);
                        pod.top = pod.top_by_name();
                    }
                    self.take(pods, beyond);
                    sleep(interval).await;
                }
                Err(failure) => self.failed(&failure, Failing::Asking).await,
            }
        }
    }

    /// Watches from this version on, until all is to be listed anew.
    async fn watch_on(&mut self, mut version: String) {
        let mut in_vain = 0;
        while in_vain < MAX_IN_VAIN {
            // Also those for which the time was too short before.
            self.find_owners(LISTED).await;
            let begun = Instant::now();
            let mut heard = false;
            let ended = self.watch(&mut version, &mut heard).await;
            // One on which nothing happens is in order as well.
            let lasted = begun.elapsed() >= LASTING;
            if lasted {
                self.pause.reset();
            }
            match ended {
                Ok(Ended::Over) => {
                    in_vain = 0;
                    if lasted {
                        self.works();
                    }
                    // One that ends watches at once is not asked without end.
                    let pause = self.pause.take();
                    sleep(pause.saturating_sub(begun.elapsed())).await;
                }
                Ok(Ended::Expired) => {
                    tracing::debug!("Kubernetes: all pods are listed anew");
                    let pause = self.pause.take();
                    sleep(pause.saturating_sub(begun.elapsed())).await;
                    return;
                }
                Err((failure, failing)) => {
                    // It may be what is asked for that the server cannot do any more.
                    in_vain = if heard || lasted { 0 } else { in_vain + 1 };
                    self.failed(&failure, failing).await;
                }
            }
        }
        tracing::debug!("Kubernetes: watches fail, all pods are listed anew");
    }

    /// Something failed: tells it once, and waits.
    async fn failed(&mut self, failure: &Failure, failing: Failing) {
        let counts = &self.shared.counts;
        let counter = match failure {
            Failure::Senseless(_) => &counts.senseless,
            _ => &counts.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if self.failing.is_none() {
            let name = self.client.name();
            tracing::warn!("Kubernetes cannot be asked at {name}: {failure}; it is tried again");
            self.failing = Some(failing);
        } else if failing == Failing::Watching {
            self.failing = Some(failing);
        }
        sleep(self.pause.take()).await;
    }

    /// A request was answered. Of a watch that says nothing yet.
    fn answered(&mut self) {
        if self.failing == Some(Failing::Asking) {
            self.failing = None;
            tracing::info!("Kubernetes answers again");
        }
    }

    /// A watch told something.
    fn works(&mut self) {
        self.pause.reset();
        if self.failing.take().is_some() {
            tracing::info!("Kubernetes answers again");
        }
    }

    /// Takes all pods of the node; gives the version from which on they are to be watched.
    async fn list(&mut self) -> Result<String, Failure> {
        let base = format!("/api/v1/pods?{}&limit={PAGE}", selector(self.client.node()));
        let mut pods = Vec::new();
        let mut beyond = 0;
        let mut next = String::new();
        let mut pages = 0;
        let version = loop {
            let path = match next.as_str() {
                "" => base.clone(),
                next => format!("{base}&continue={}", encoded(next)),
            };
            let page: PodList = self.client.get(&path).await?;
            pages += 1;
            for mut pod in page.items {
                if pods.len() >= MAX_PODS {
                    beyond += 1;
                    continue;
                }
                self.prepare(&mut pod);
                pods.push(pod);
            }
            if page.metadata.next.is_empty() || beyond > 0 {
                break page.metadata.resource_version;
            }
            if pages >= MAX_PAGES {
                let what = format!("a list of more than {MAX_PAGES} pages");
                return Err(Failure::Senseless(what));
            }
            next = page.metadata.next;
        };
        self.take(pods, beyond);
        Ok(version)
    }

    /// These are all pods of the node, and so many more.
    fn take(&self, pods: Vec<Pod>, mut beyond: usize) {
        let (first, known) = {
            let mut store = self.shared.store();
            // What was told before.
            if store.holds(&pods) {
                return;
            }
            let first = !store.is_listed();
            beyond += store.replace(pods);
            (first, store.len())
        };
        self.shared.listed.notify_all();
        let refused = &self.shared.counts.refused;
        refused.fetch_add(beyond as u64, Ordering::Relaxed);
        if first {
            let (node, name) = (self.client.node(), self.client.name());
            tracing::info!("Kubernetes: {known} pods of node {node}, by {name}");
        }
        self.shared.tell();
    }

    /// Watches; `heard` is set once something was told.
    async fn watch(
        &mut self,
        version: &mut String,
        heard: &mut bool,
    ) -> Result<Ended, (Failure, Failing)> {
        let path = format!(
            "/api/v1/pods?{}&watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH}&resourceVersion={}",
            selector(self.client.node()),
            encoded(version)
        );
        let mut answer = match self.client.open(&path).await {
            Ok(answer) => answer,
            Err(Failure::Status(StatusCode::GONE)) => return Ok(Ended::Expired),
            Err(failure) => return Err((failure, Failing::Asking)),
        };
        self.answered();
        let broken = |failure| (failure, Failing::Watching);
        let until = Instant::now() + LONGEST;
        let mut lines = Lines::default();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let frame = match timeout(left, answer.body.frame()).await {
                Err(_) => return Err(broken(Failure::Late)),
                Ok(None) => return Ok(Ended::Over),
                Ok(Some(frame)) => frame.map_err(|error| broken(error.into()))?,
            };
            let Some(piece) = frame.data_ref() else {
                continue;
            };
            let mut events = Vec::new();
            let skipped = lines.push(piece, |line| events.push(Event::of(line)));
            let shared = Arc::clone(&self.shared);
            let senseless = &shared.counts.senseless;
            senseless.fetch_add(skipped.lines, Ordering::Relaxed);
            let mut changed = false;
            let mut ended = None;
            for event in events {
                let at = match event {
                    Some(Event::Put(mut pod, at)) => {
                        self.prepare(&mut pod);
                        changed |= self.put(*pod);
                        at
                    }
                    Some(Event::Gone(pod, at)) => {
                        self.shared.store().remove(&pod.uid);
                        at
                    }
                    Some(Event::Bookmark(at)) => at,
                    Some(Event::Expired) => {
                        ended = Some(Ok(Ended::Expired));
                        break;
                    }
                    Some(Event::Failed(why)) => {
                        ended = Some(Err(broken(Failure::Senseless(why))));
                        break;
                    }
                    None => {
                        senseless.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                };
                // What says that nothing has come since is no news.
                if *version != at {
                    *version = at;
                    *heard = true;
                    self.works();
                }
            }
            if changed {
                self.shared.tell();
                self.find_owners(CHANGED).await;
            }
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    /// A pod as it is now; says whether anything of use has changed.
    fn put(&self, pod: Pod) -> bool {
        let mut store = self.shared.store();
        if store.get(&pod.uid) == Some(&pod) {
            return false;
        }
        let taken = store.put(pod);
        if !taken {
            self.shared.counts.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// What is kept of a pod that was told, with what controls its controller as far as that is known: else by
    /// its name, until it has been asked for.
    fn prepare(&mut self, pod: &mut Pod) {
        pod.keep(&self.shared.chosen);
        let now = Instant::now();
        pod.top = match self.owners.top(pod, now) {
            Top::Is(top) => top,
            Top::None => None,
            Top::Ask => {
                self.owners.want(&pod.uid);
                pod.top_by_name()
            }
            Top::Later => pod.top_by_name(),
        };
    }

    /// Finds out what controls pods' controllers, as far as that goes within this time: asked once of each, and
    /// told by its name where that may not be asked.
    async fn find_owners(&mut self, longest: Duration) {
        let until = Instant::now() + longest;
        let mut changed = false;
        while let Some(uid) = self.owners.next() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // They are asked for with the next change, or before the next watch.
                self.owners.put_back(uid);
                break;
            }
            let pod = self.shared.store().get(&uid).cloned();
            let Some(mut pod) = pod else { continue };
            if matches!(self.owners.top(&pod, Instant::now()), Top::Ask) {
                self.ask_owner(&pod, left).await;
            }
            if let Top::Is(top) = self.owners.top(&pod, Instant::now()) {
                pod.top = top;
                changed |= self.put(pod);
            }
        }
        if changed {
            self.shared.tell();
        }
    }

    async fn ask_owner(&mut self, pod: &Pod, longest: Duration) {
        let Some((owner, path)) = owners::path(pod) else {
            return;
        };
        let asked = timeout(longest, self.client.get::<Object>(&path)).await;
        let top = match asked.unwrap_or(Err(Failure::Late)) {
            Ok(object) => object.metadata.owner(),
            // Gone, or none of ours to ask for.
            Err(Failure::Status(StatusCode::NOT_FOUND | StatusCode::FORBIDDEN)) => {
                pod.top_by_name()
            }
            Err(failure) => {
                self.shared.counts.failed.fetch_add(1, Ordering::Relaxed);
                tracing::debug!("Kubernetes: {path}: {failure}");
                self.owners.failed(owner, Instant::now());
                return;
            }
        };
        self.owners.found(owner, top);
    }
}

/// The pods of one node.
fn selector(node: &str) -> String {
    format!(
        "fieldSelector={}",
        encoded(&format!("spec.nodeName={node}"))
    )
}

/// Percent-encoded, but for what may stand anywhere in a URI (RFC 3986, section 2.3).
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{FIRST_PAUSE, LONGEST_PAUSE, Pause, encoded, selector};

    #[test]
    fn waits_grow_until_something_comes() {
        let mut pause = Pause(FIRST_PAUSE);
        let waits: Vec<_> = (0..8).map(|_| pause.take()).collect();
        assert!(
            waits
                .windows(2)
                .all(|two| two[1] == (two[0] * 2).min(LONGEST_PAUSE))
        );
        assert_eq!((waits[0], waits[7]), (FIRST_PAUSE, LONGEST_PAUSE));
        pause.reset();
        assert_eq!(pause.take(), FIRST_PAUSE);
    }

    #[test]
    fn paths_are_encoded() {
        assert_eq!(selector("n-1.a"), "fieldSelector=spec.nodeName%3Dn-1.a");
        assert_eq!(encoded("a/b=?&é"), "a%2Fb%3D%3F%26%C3%A9");
    }
}
