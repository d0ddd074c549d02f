//! Where a process belongs: its service, and the pod that it is in.
//!
//! Nothing waits for Kubernetes. A pod is told before its containers are started, so that their first process
//! finds its name, its namespace and its owner known; the container's own name comes when the kubelet has told
//! its id, a second or two later. What is told of a process has what is known by then, and what comes after
//! that is filled in from there on.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use super::{Known, Search, Word, survey};
use crate::kubernetes::Cluster;
use crate::model::process::Detected;
use crate::target::classify::service;
use crate::target::settings::Settings;

/// What a process does not say itself of where it belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The name of its service, where that is another process's or its pod's.
    pub service: Option<String>,
    /// It says itself what its service is called.
    pub names_itself: bool,
    /// What an operator sets for it.
    pub settings: Settings,
    /// Resource attributes of its pod and its container; none where Kubernetes does not tell.
    pub attributes: Vec<(String, Detected)>,
    /// The address of its pod, by Kubernetes.
    pub address: Option<IpAddr>,
}

impl Place {
    /// The same with what an operator sets. What a process says itself of its service counts more, and what is
    /// said of its pod less.
    pub(super) fn with(mut self, settings: Settings) -> Self {
        if !self.names_itself
            && let Some(name) = &settings.service
        {
            self.service = Some(name.clone());
        }
        Self { settings, ..self }
    }
}

/// Has the scout told when pods change, for as long as it hears.
pub(super) fn listen(cluster: &Cluster, words: &Arc<SyncSender<Word>>) {
    let words = Arc::downgrade(words);
    cluster.on_change(move || {
        let Some(words) = words.upgrade() else {
            return false;
        };
        // Where no word fits in, what changed is seen with the next change, or the next look.
        !matches!(
            words.try_send(Word::Pods),
            Err(TrySendError::Disconnected(_))
        )
    });
}

impl Search {
    /// Looks up the pod of a process; says whether more is known of it than before. One that Kubernetes has
    /// forgotten is the one that it was.
    pub(super) fn find_pod(&mut self, pid: u32) -> bool {
        let (Some(cluster), Some(known)) = (&self.cluster, self.known.get_mut(&pid)) else {
            return false;
        };
        let Some((process, _)) = &known.seen else {
            return false;
        };
        if process.container.is_none() && process.pod.is_none() {
            return false;
        }
        let found = cluster.find(process.container.as_deref(), process.pod.as_deref());
        if found.is_none() || found == known.pod {
            return false;
        }
        known.pod = found;
        true
    }

    /// Something changed about the pods of this node.
    pub(super) fn pods_changed(&mut self) -> Result<(), ()> {
        let all: Vec<u32> = self.known.keys().copied().collect();
        // First of all of them: a process's service may be that of another one.
        let changed: Vec<u32> = all.into_iter().filter(|pid| self.find_pod(*pid)).collect();
        changed
            .into_iter()
            .try_for_each(|pid| self.conclude(pid, None))
    }

    /// The name of a process's service, and where the process belongs.
    pub(super) fn service(&self, pid: u32) -> (String, Place) {
        let seen = |pid: u32| self.known.get(&pid).and_then(|k| k.seen.as_ref());
        let root = service::root(pid, &seen, &self.parents);
        let pod = |pid: u32| {
            self.known
                .get(&pid)
                .and_then(|known: &Known| known.pod.as_ref())
        };
        let own = seen(root).and_then(|(process, _)| survey::told_service(process));
        let of_pod = || pod(root).and_then(|pod| pod.service.clone());
        let is_own = own.is_some();
        let by_pod = own.or_else(of_pod);
        let of_another = root != pid || (!is_own && by_pod.is_some());
        let name = by_pod.or_else(|| Some(survey::service_name(&seen(root)?.0)));
        let name = name.unwrap_or_default();
        let place = Place {
            service: of_another.then(|| name.clone()),
            names_itself: is_own,
            settings: Settings::default(),
            attributes: pod(pid)
                .map(|pod| pod.attributes.clone())
                .unwrap_or_default(),
            address: pod(pid).and_then(|pod| pod.address),
        };
        (name, place)
    }
}
