//! What controls what controls pods, as far as it was asked for. Pure: the time comes in.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::follow::encoded;
use super::pod::{Owner, Pod};
use super::store::MAX_PODS;

/// Most owners whose owners are remembered; then the memory starts anew.
const MAX_OWNERS: usize = 4096;
/// One that could not be asked for is asked for again after this time.
const FAILED: Duration = Duration::from_secs(60);

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// By the UID of what controls pods.
    known: HashMap<String, Known>,
    /// The UIDs of pods whose controllers' are to be asked for, in the order in which they were told.
    wanted: VecDeque<String>,
    /// The same, to have each of them once.
    queued: HashSet<String>,
}

#[derive(Debug)]
enum Known {
    /// It is this one, or there is none.
    Is(Option<Owner>),
    /// It could not be asked for at this time.
    Failed(Instant),
}

/// What controls a pod's controller.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Top {
    /// Nothing that could be asked for.
    None,
    /// This, or nothing, as it was told.
    Is(Option<Owner>),
    /// It is to be asked for.
    Ask,
    /// It could not be asked for a short time ago.
    Later,
}

impl Owners {
    /// What is known of a pod's.
    pub(super) fn top(&self, pod: &Pod, now: Instant) -> Top {
        let Some((owner, _)) = path(pod) else {
            return Top::None;
        };
        match self.known.get(&owner.uid) {
            Some(Known::Is(top)) => Top::Is(top.clone()),
            Some(Known::Failed(at)) if now.saturating_duration_since(*at) < FAILED => Top::Later,
            _ => Top::Ask,
        }
    }

    /// It is to be asked for of the pod with this UID. Beyond the most pods that are remembered none is.
    pub(super) fn want(&mut self, pod: &str) {
        if self.wanted.len() < MAX_PODS && self.queued.insert(pod.to_owned()) {
            self.wanted.push_back(pod.to_owned());
        }
    }

    /// The next pod of which it is to be asked for.
    pub(super) fn next(&mut self) -> Option<String> {
        let pod = self.wanted.pop_front()?;
        self.queued.remove(&pod);
        Some(pod)
    }

    /// It was not asked for yet of the pod that was the next one.
    pub(super) fn put_back(&mut self, pod: String) {
        if self.queued.insert(pod.clone()) {
            self.wanted.push_front(pod);
        }
    }

    /// It was told.
    pub(super) fn found(&mut self, owner: &Owner, top: Option<Owner>) {
        self.remember(owner, Known::Is(top));
    }

    /// It could not be asked for.
    pub(super) fn failed(&mut self, owner: &Owner, now: Instant) {
        self.remember(owner, Known::Failed(now));
    }

    fn remember(&mut self, owner: &Owner, known: Known) {
        if self.known.len() >= MAX_OWNERS {
            self.known.clear();
        }
        self.known.insert(owner.uid.clone(), known);
    }
}

/// What controls a pod, and the path at which it is asked for; none of what nothing but itself controls.
pub(super) fn path(pod: &Pod) -> Option<(&Owner, String)> {
    let owner = pod.owner.as_ref()?;
    let (api, kind) = match owner.kind.as_str() {
        "ReplicaSet" => ("apps", "replicasets"),
        "Job" => ("batch", "jobs"),
        _ => return None,
    };
    let (namespace, name) = (encoded(&pod.namespace), encoded(&owner.name));
    let path = format!("/apis/{api}/v1/namespaces/{namespace}/{kind}/{name}");
    Some((owner, path))
}

#[cfg(test)]
mod tests {
    use super::{FAILED, MAX_OWNERS, MAX_PODS, Owner, Owners, Pod, Top, path};
    use std::time::Duration;
    use tokio::time::Instant;

    fn owner(kind: &str, name: &str) -> Owner {
        Owner {
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: format!("uid-{name}"),
        }
    }

    fn pod(owner: Option<Owner>) -> Pod {
        Pod {
            namespace: "a/b".to_owned(),
            owner,
            ..Pod::default()
        }
    }

    #[test]
    fn what_is_asked_for_has_a_path() {
        let of = |kind: &str| path(&pod(Some(owner(kind, "x")))).map(|(_, path)| path);
        let want = "/apis/apps/v1/namespaces/a%2Fb/replicasets/x";
        assert_eq!(of("ReplicaSet").as_deref(), Some(want));
        let want = "/apis/batch/v1/namespaces/a%2Fb/jobs/x";
        assert_eq!(of("Job").as_deref(), Some(want));
        assert_eq!(of("DaemonSet"), None);
        assert_eq!(path(&pod(None)), None);
    }

    #[test]
    fn failures_are_remembered_for_a_while() {
        let now = Instant::now();
        let set = owner("ReplicaSet", "x");
        let pod = pod(Some(set.clone()));
        let mut owners = Owners::default();
        assert_eq!(owners.top(&pod, now), Top::Ask);
        owners.failed(&set, now);
        let last = now + FAILED - Duration::from_millis(1);
        assert_eq!(owners.top(&pod, last), Top::Later);
        assert_eq!(owners.top(&pod, now + FAILED), Top::Ask);
        let top = Some(owner("Deployment", "d"));
        owners.found(&set, top.clone());
        assert_eq!(owners.top(&pod, now), Top::Is(top));
        owners.found(&set, None);
        assert_eq!(owners.top(&pod, now), Top::Is(None));
        let other = Pod {
            owner: Some(owner("StatefulSet", "s")),
            ..pod
        };
        assert_eq!(owners.top(&other, now), Top::None);
    }

    #[test]
    fn all_has_a_bound_and_each_is_asked_for_once() {
        let mut owners = Owners::default();
        for number in 0..=MAX_PODS {
            owners.want(&number.to_string());
            owners.want("0");
        }
        assert_eq!(owners.wanted.len(), MAX_PODS);
        let first = owners.next().unwrap();
        assert_eq!(first, "0");
        owners.put_back(first);
        assert_eq!(owners.next().as_deref(), Some("0"));
        assert_eq!(owners.next().as_deref(), Some("1"));
        while owners.next().is_some() {}
        assert!(owners.queued.is_empty());
        for number in 0..=MAX_OWNERS {
            owners.found(&owner("Job", &number.to_string()), None);
        }
        assert_eq!(owners.known.len(), 1);
    }
}
