//! The thread that lists the pods of a node and watches them, for as long as it runs.
//!
//! What was known stays known while the API server cannot be asked. A watch goes on from the version that
//! was seen last; where the server has forgotten that (410), all is listed anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use super::client::{Client, Failure};
use super::config::{BadConfig, Place};
use super::pod::{Object, Owner, Pod, PodList};
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
/// Most owners whose owners are remembered; then the memory starts anew.
const MAX_OWNERS: usize = 4096;

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
        owners: HashMap::new(),
        pause: FIRST_PAUSE,
        failing: false,
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
    /// What controls what controls pods, by the latter's UID.
    owners: HashMap<String, Option<Owner>>,
    pause: Duration,
    /// The last request failed, and that was told.
    failing: bool,
}

/// How a watch ended.
enum Ended {
    /// By the server, in order.
    Over,
    /// What is to be watched from has been forgotten.
    Expired,
}

impl Follower {
    async fn follow(&mut self) {
        loop {
            let mut version = match self.list().await {
                Ok(version) => version,
                Err(failure) => {
                    self.failed(&failure).await;
                    continue;
                }
            };
            self.works();
            loop {
                let begun = Instant::now();
                match self.watch(&mut version).await {
                    Ok(Ended::Over) => {
                        self.works();
                        // One that ends watches at once is not asked without end.
                        sleep(FIRST_PAUSE.saturating_sub(begun.elapsed())).await;
                    }
                    Ok(Ended::Expired) => {
                        tracing::debug!("Kubernetes: all pods are listed anew");
                        sleep(FIRST_PAUSE.saturating_sub(begun.elapsed())).await;
                        break;
                    }
                    Err(failure) => self.failed(&failure).await,
                }
            }
        }
    }

    /// A request failed: tells it once, and waits.
    async fn failed(&mut self, failure: &Failure) {
        let counts = &self.shared.counts;
        let counter = match failure {
            Failure::Senseless(_) => &counts.senseless,
            _ => &counts.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.failing, true) {
            let name = self.client.name();
            tracing::warn!("Kubernetes cannot be asked at {name}: {failure}; it is tried again");
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn works(&mut self) {
        self.pause = FIRST_PAUSE;
        if std::mem::take(&mut self.failing) {
            tracing::info!("Kubernetes answers again");
        }
    }

    /// Takes all pods of the node; gives the version from which on they are to be watched.
    async fn list(&mut self) -> Result<String, Failure> {
        let base = format!("/api/v1/pods?{}&limit={PAGE}", selector(self.client.node()));
        let mut pods = Vec::new();
        let mut beyond = 0;
        let mut next = String::new();
        let version = loop {
            let path = match next.as_str() {
                "" => base.clone(),
                next => format!("{base}&continue={}", encoded(next)),
            };
            let page: PodList = self.client.get(&path).await?;
            for mut pod in page.items {
                if pods.len() >= MAX_PODS {
                    beyond += 1;
                    continue;
                }
                self.find_top(&mut pod).await;
                pods.push(pod);
            }
            if page.metadata.next.is_empty() || beyond > 0 {
                break page.metadata.resource_version;
            }
            next = page.metadata.next;
        };
        let (first, known) = {
            let mut store = self.shared.store();
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
        Ok(version)
    }

    async fn watch(&mut self, version: &mut String) -> Result<Ended, Failure> {
        let path = format!(
            "/api/v1/pods?{}&watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH}&resourceVersion={}",
            selector(self.client.node()),
            encoded(version)
        );
        let mut answer = match self.client.open(&path).await {
            Ok(answer) => answer,
            Err(Failure::Status(StatusCode::GONE)) => return Ok(Ended::Expired),
            Err(failure) => return Err(failure),
        };
        self.works();
        let until = Instant::now() + LONGEST;
        let mut lines = Lines::default();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let frame = match timeout(left, answer.body.frame()).await {
                Err(_) => return Err(Failure::Late),
                Ok(None) => return Ok(Ended::Over),
                Ok(Some(frame)) => frame?,
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
            for event in events {
                match event {
                    Some(Event::Put(mut pod, at)) => {
                        self.find_top(&mut pod).await;
                        changed |= self.put(*pod);
                        *version = at;
                    }
                    Some(Event::Gone(pod, at)) => {
                        self.shared.store().remove(&pod.uid);
                        *version = at;
                    }
                    Some(Event::Bookmark(at)) => *version = at,
                    Some(Event::Expired) => return Ok(Ended::Expired),
                    Some(Event::Failed(why)) => return Err(Failure::Senseless(why)),
                    None => {
                        senseless.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            if changed {
                self.shared.tell();
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

    /// Finds out what controls the pod's controller: asked once of each, and told by its name where that
    /// may not be asked.
    async fn find_top(&mut self, pod: &mut Pod) {
        let Some(owner) = &pod.owner else { return };
        let path = match owner.kind.as_str() {
            "ReplicaSet" => "apis/apps/v1/namespaces/{}/replicasets",
            "Job" => "apis/batch/v1/namespaces/{}/jobs",
            _ => return,
        };
        if let Some(top) = self.owners.get(&owner.uid) {
            pod.top.clone_from(top);
            return;
        }
        let path = path.replace("{}", &encoded(&pod.namespace));
        let path = format!("/{path}/{}", encoded(&owner.name));
        let uid = owner.uid.clone();
        let top = match self.client.get::<Object>(&path).await {
            Ok(object) => object.metadata.owner(),
            // Gone, or none of ours to ask for.
            Err(Failure::Status(StatusCode::NOT_FOUND | StatusCode::FORBIDDEN)) => {
                pod.top_by_name()
            }
            Err(failure) => {
                self.shared.counts.failed.fetch_add(1, Ordering::Relaxed);
                tracing::debug!("Kubernetes: {path}: {failure}");
                // Asked again with the pod's next change.
                pod.top = pod.top_by_name();
                return;
            }
        };
        pod.top.clone_from(&top);
        if self.owners.len() >= MAX_OWNERS {
            self.owners.clear();
        }
        self.owners.insert(uid, top);
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
fn encoded(text: &str) -> String {
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
    use super::{encoded, selector};

    #[test]
    fn paths_are_encoded() {
        assert_eq!(selector("n-1.a"), "fieldSelector=spec.nodeName%3Dn-1.a");
        assert_eq!(encoded("a/b=?&é"), "a%2Fb%3D%3F%26%C3%A9");
    }
}
