//! A pod as the API tells it (`v1.Pod`, <https://kubernetes.io/docs/reference/kubernetes-api/>): the fields
//! that are of use, bounded. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

#[cfg(any(feature = "kubernetes", test))]
use super::config::Chosen;
#[cfg(any(feature = "kubernetes", test))]
use super::facts::ANNOTATED;

/// Most labels, and likewise annotations, that are kept of a pod.
const MAX_LABELS: usize = 128;
/// Most containers of a pod.
const MAX_CONTAINERS: usize = 256;
/// Most bytes of any text; longer ones are left out.
const MAX_TEXT: usize = 4096;

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its UID.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The node that it is on.
    pub node: Option<String>,
    /// Its address.
    pub address: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations; once it is remembered, those alone of which something is told.
    pub annotations: BTreeMap<String, String>,
    /// What controls it.
    pub owner: Option<Owner>,
    /// What controls that.
    pub top: Option<Owner>,
    /// Its containers, as far as the kubelet has told of them.
    pub containers: Vec<Container>,
}

/// What controls a pod, or what controls that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// `ReplicaSet`, `StatefulSet`, `DaemonSet`, `Job`, `Deployment`, `CronJob`, or anything else.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID; empty where it was told by a rule and not by the API.
    pub uid: String,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name in the pod.
    pub name: String,
    /// The id that the runtime gave it.
    pub id: String,
    /// The one that it had before it was started again: a process of that may be on its way out.
    pub last_id: Option<String>,
    /// Its image, as the pod asks for it.
    pub image: String,
    /// The image that runs, with its digest.
    pub image_id: String,
    /// How often it was started again.
    pub restarts: i64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WrittenPod {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

/// `metadata` of any object.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    uid: String,
    name: String,
    namespace: String,
    /// The version of the object, for a watch to go on from.
    #[cfg(feature = "kubernetes")]
    pub(super) resource_version: String,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<Reference>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reference {
    kind: String,
    name: String,
    uid: String,
    controller: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    image: String,
    #[serde(rename = "imageID")]
    image_id: Option<String>,
    restart_count: i64,
    last_state: Option<LastState>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LastState {
    terminated: Option<Terminated>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Terminated {
    #[serde(rename = "containerID")]
    container_id: Option<String>,
}

impl<'de> Deserialize<'de> for Pod {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self::of(WrittenPod::deserialize(from)?))
    }
}

impl Pod {
    fn of(written: WrittenPod) -> Self {
        let WrittenPod {
            metadata,
            spec,
            status,
        } = written;
        let owner = metadata.owner();
        let containers = [
            status.container_statuses,
            status.init_container_statuses,
            status.ephemeral_container_statuses,
        ];
        let containers = containers.into_iter().flatten().flatten();
        Self {
            uid: text(metadata.uid),
            name: text(metadata.name),
            namespace: text(metadata.namespace),
            node: spec.node_name.map(text),
            address: status.pod_ip.map(text),
            labels: bounded(metadata.labels),
            annotations: bounded(metadata.annotations),
            owner,
            top: None,
            containers: containers
                .take(MAX_CONTAINERS)
                .filter_map(Container::of)
                .collect(),
        }
    }

    /// Leaves out the annotations of which nothing is told.
    #[cfg(any(feature = "kubernetes", test))]
    pub(super) fn keep(&mut self, chosen: &Chosen) {
        let of_use = |key: &str| key.starts_with(ANNOTATED) || chosen.annotations.has(key);
        self.annotations.retain(|key, _| of_use(key));
    }

    /// What controls its controller, by how Kubernetes names what a controller makes: a ReplicaSet of a
    /// Deployment has the hash behind its name that its pods have as a label, a Job of a CronJob the minute
    /// for which it was made (`getJobName`, `pkg/controller/cronjob/utils.go`). For where the API may not be
    /// asked.
    #[must_use]
    pub fn top_by_name(&self) -> Option<Owner> {
        let owner = self.owner.as_ref()?;
        let (kind, name) = match owner.kind.as_str() {
            "ReplicaSet" => {
                let hash = self.labels.get("pod-template-hash")?;
                let name = owner.name.strip_suffix(hash.as_str())?;
                ("Deployment", name.strip_suffix('-')?)
            }
            "Job" => {
                let (name, minute) = owner.name.rsplit_once('-')?;
                // Minutes since 1970: eight digits until 2160.
                let is_minute = minute.len() == 8 && minute.bytes().all(|b| b.is_ascii_digit());
                is_minute.then_some(("CronJob", name))?
            }
            _ => return None,
        };
        (!name.is_empty()).then(|| Owner {
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: String::new(),
        })
    }
}

impl Metadata {
    /// What controls the object.
    pub(super) fn owner(&self) -> Option<Owner> {
        let all = self.owner_references.as_ref()?;
        let owner = all.iter().find(|r| r.controller == Some(true))?;
        let texts = [&owner.name, &owner.kind, &owner.uid];
        texts
            .iter()
            .all(|text| text.len() <= MAX_TEXT)
            .then(|| Owner {
                kind: owner.kind.clone(),
                name: owner.name.clone(),
                uid: owner.uid.clone(),
            })
    }
}

impl Container {
    fn of(status: ContainerStatus) -> Option<Self> {
        let id = |written: Option<String>| {
            // `containerd://ID`, `cri-o://ID`, `docker://ID`
            let written = written?;
            let id = written.rsplit_once("://").map_or(&*written, |(_, id)| id);
            (!id.is_empty() && id.len() <= MAX_TEXT).then(|| id.to_owned())
        };
        let last = status.last_state.and_then(|last| last.terminated);
        let last_id = id(last.and_then(|last| last.container_id));
        let now = id(status.container_id);
        Some(Self {
            name: text(status.name),
            id: now.or_else(|| last_id.clone())?,
            last_id,
            image: text(status.image),
            image_id: status.image_id.map(text).unwrap_or_default(),
            restarts: status.restart_count,
        })
    }

    /// Its image's name and tag: `registry:5000/a/b`, `1.2`. A digest is no tag, and what has no tag was
    /// asked for with `latest`.
    #[must_use]
    pub fn image_name_and_tag(&self) -> Option<(&str, Option<&str>)> {
        let (name, digest) = match self.image.split_once('@') {
            Some((name, _)) => (name, true),
            None => (self.image.as_str(), false),
        };
        if name.is_empty() || name.starts_with("sha256:") {
            return None;
        }
        // The last colon may be that of a port.
        match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => Some((name, Some(tag))),
            _ => Some((name, (!digest).then_some("latest"))),
        }
    }
}

/// A text, unless it is too long.
fn text(text: String) -> String {
    if text.len() <= MAX_TEXT {
        text
    } else {
        String::new()
    }
}

fn bounded(all: Option<BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let all = all.unwrap_or_default().into_iter();
    let fits = |(key, value): &(String, String)| key.len() <= MAX_TEXT && value.len() <= MAX_TEXT;
    all.filter(fits).take(MAX_LABELS).collect()
}

/// A page of a list of pods.
#[cfg(feature = "kubernetes")]
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PodList {
    /// About the list.
    pub(super) metadata: ListMetadata,
    /// Its pods.
    pub(super) items: Vec<Pod>,
}

/// About a list.
#[cfg(feature = "kubernetes")]
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ListMetadata {
    /// From where on a watch goes on.
    pub(super) resource_version: String,
    /// By what the next page is asked for; empty on the last one.
    #[serde(rename = "continue")]
    pub(super) next: String,
}

/// An object of which nothing but `metadata` is of use.
#[cfg(feature = "kubernetes")]
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Object {
    /// It.
    pub(super) metadata: Metadata,
}

#[cfg(test)]
mod tests {
    use super::{Chosen, Container, MAX_TEXT, Owner, Pod};
    use serde_json::json;

    fn pod(value: &serde_json::Value) -> Pod {
        serde_json::from_str(&value.to_string()).unwrap()
    }

    #[test]
    fn what_is_of_use_is_read_and_the_rest_is_skipped() {
        let read = pod(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"uid": "u", "name": "shop-1", "namespace": "a", "resourceVersion": "7",
                "labels": {"app": "shop"}, "annotations": null, "managedFields": [{"x": 1}],
                "ownerReferences": [
                    {"kind": "Thing", "name": "no", "uid": "x"},
                    {"kind": "ReplicaSet", "name": "shop-5d", "uid": "r", "controller": true}]},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "env": []}]},
            "status": {"containerStatuses": [
                {"name": "c", "containerID": "containerd://abc", "image": "shop:1", "restartCount": 2,
                 "lastState": {"terminated": {"containerID": "containerd://old", "exitCode": 1}}},
                {"name": "waits", "image": "x", "restartCount": 0}]}}));
        assert_eq!(read.owner.as_ref().unwrap().name, "shop-5d");
        assert_eq!(read.node.as_deref(), Some("n1"));
        assert_eq!(read.containers.len(), 1, "what has no id yet is none");
        let container = &read.containers[0];
        assert_eq!((container.id.as_str(), container.restarts), ("abc", 2));
        assert_eq!(container.last_id.as_deref(), Some("old"));
        assert_eq!(pod(&json!({})), Pod::default());
        assert!(serde_json::from_str::<Pod>(r#"{"metadata": 7}"#).is_err());
    }

    #[test]
    fn texts_have_a_bound() {
        for (length, kept) in [(MAX_TEXT, true), (MAX_TEXT + 1, false)] {
            let long = "x".repeat(length);
            let read = pod(&json!({
                "metadata": {"uid": long, "name": long, "namespace": long,
                    "labels": {"app": long}, "annotations": {"note": long}},
                "spec": {"nodeName": long},
                "status": {"podIP": long, "containerStatuses": [{"name": long, "image": long,
                    "imageID": long, "containerID": "containerd://abc",
                    "lastState": {"terminated": {"containerID": long}}}]}}));
            let container = &read.containers[0];
            let want = if kept { long.as_str() } else { "" };
            for text in [
                Some(&read.uid),
                Some(&read.name),
                Some(&read.namespace),
                read.node.as_ref(),
                read.address.as_ref(),
                Some(&container.name),
                Some(&container.image),
                Some(&container.image_id),
            ] {
                assert_eq!(text.map(String::as_str), Some(want));
            }
            assert_eq!(container.last_id.is_some(), kept);
            assert_eq!(
                (read.labels.len(), read.annotations.len()),
                (usize::from(kept), usize::from(kept))
            );
            for at in ["uid", "name", "kind"] {
                let mut owner = json!({"kind": "Job", "name": "a", "uid": "b", "controller": true});
                owner[at] = json!(long);
                let read = pod(&json!({"metadata": {"ownerReferences": [owner]}}));
                assert_eq!(read.owner.is_some(), kept, "{at}");
            }
        }
    }

    #[test]
    fn annotations_are_kept_of_which_something_is_told() {
        let mut read = pod(&json!({"metadata": {"annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "a",
            "resource.opentelemetry.io/tier": "gold"}}}));
        let chosen = Chosen {
            annotations: "te*".parse().unwrap(),
            ..Chosen::default()
        };
        let keys = |pod: &Pod| pod.annotations.keys().cloned().collect::<Vec<_>>();
        read.keep(&chosen);
        assert_eq!(keys(&read), ["resource.opentelemetry.io/tier", "team"]);
        read.keep(&Chosen::default());
        assert_eq!(keys(&read), ["resource.opentelemetry.io/tier"]);
    }

    #[test]
    fn owners_by_their_names() {
        for (kind, name, hash, top) in [
            (
                "ReplicaSet",
                "shop-5d",
                Some("5d"),
                Some(("Deployment", "shop")),
            ),
            ("ReplicaSet", "shop-5d", Some("6e"), None),
            ("ReplicaSet", "shop-5d", None, None),
            ("ReplicaSet", "-5d", Some("5d"), None),
            (
                "Job",
                "nightly-29391840",
                None,
                Some(("CronJob", "nightly")),
            ),
            ("Job", "nightly-1", None, None),
            ("StatefulSet", "db-29391840", None, None),
        ] {
            let label = hash.map(|hash| ("pod-template-hash".to_owned(), hash.to_owned()));
            let pod = Pod {
                owner: Some(Owner {
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                    uid: "u".to_owned(),
                }),
                labels: label.into_iter().collect(),
                ..Pod::default()
            };
            let found = pod.top_by_name();
            let found = found.as_ref().map(|o| (o.kind.as_str(), o.name.as_str()));
            assert_eq!(found, top, "{kind} {name}");
        }
    }

    #[test]
    fn images_have_names_and_tags() {
        for (image, want) in [
            ("shop:1.2", Some(("shop", Some("1.2")))),
            ("r:5000/a/shop:1", Some(("r:5000/a/shop", Some("1")))),
            ("r:5000/a/shop", Some(("r:5000/a/shop", Some("latest")))),
            ("shop@sha256:0a", Some(("shop", None))),
            ("shop:1@sha256:0a", Some(("shop", Some("1")))),
            ("sha256:0a", None),
            ("", None),
        ] {
            let container = Container {
                image: image.to_owned(),
                ..Container::default()
            };
            assert_eq!(container.image_name_and_tag(), want, "{image}");
        }
    }
}
