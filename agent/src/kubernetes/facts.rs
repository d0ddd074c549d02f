//! What a pod and a container make of a process's resource, by OpenTelemetry's conventions for Kubernetes
//! (<https://opentelemetry.io/docs/specs/semconv/resource/k8s/>) and its rules for services in it
//! (<https://opentelemetry.io/docs/specs/semconv/non-normative/k8s-attributes/>). Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::config::Chosen;
use super::pod::{Container, Pod};
use crate::model::process::Detected;
use crate::vocabulary::resource as name;

/// Annotations with it are resource attributes.
pub(super) const ANNOTATED: &str = "resource.opentelemetry.io/";

/// What is known of the pod and the container of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Resource attributes.
    pub attributes: Vec<(String, Detected)>,
    /// The name of its service, where it names none itself.
    pub service: Option<String>,
    /// Its address as Kubernetes says it (`status.podIP`): what is annotated does not change it.
    pub address: Option<IpAddr>,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// The Deployment that it belongs to.
    pub deployment: Option<String>,
    /// What it belongs to, whatever that is: a Deployment, StatefulSet, DaemonSet, CronJob, Job, ReplicaSet
    /// or something else; the pod itself, if to nothing.
    pub workload: String,
}

/// The attribute with the name of what controls a pod, of the kinds that the conventions know, in the order
/// in which they name a service.
const CONTROLLERS: [(&str, &str); 6] = [
    ("Deployment", name::K8S_DEPLOYMENT_NAME),
    ("ReplicaSet", name::K8S_REPLICASET_NAME),
    ("StatefulSet", name::K8S_STATEFULSET_NAME),
    ("DaemonSet", name::K8S_DAEMONSET_NAME),
    ("CronJob", name::K8S_CRONJOB_NAME),
    ("Job", name::K8S_JOB_NAME),
];

impl PodFacts {
    /// Of a pod, and a container of it where that is known, which was found by this id. Kubernetes also knows a container
    /// by the id of the one that was there before it was started again: the id and the count of restarts that it tells
    /// are not that one's.
    #[must_use]
    pub fn of(pod: &Pod, container: Option<&Container>, id: Option<&str>, chosen: &Chosen) -> Self {
        let controllers = [pod.top.as_ref(), pod.owner.as_ref()];
        let named = |kind: &str| {
            let mut all = controllers.iter().flatten();
            let found = all.find(|owner| owner.kind == kind);
            found.map(|owner| owner.name.as_str())
        };
        let mut attributes = Attributes::default();
        attributes.text(name::K8S_POD_UID, &pod.uid);
        attributes.text(name::K8S_POD_NAME, &pod.name);
        attributes.text(name::K8S_NAMESPACE_NAME, &pod.namespace);
        attributes.text(name::K8S_NODE_NAME, pod.node.as_deref().unwrap_or_default());
        attributes.text(name::K8S_POD_IP, pod.address.as_deref().unwrap_or_default());
        for (kind, attribute) in CONTROLLERS {
            attributes.text(attribute, named(kind).unwrap_or_default());
        }
        let mut version = None;
        if let Some(container) = container {
            attributes.text(name::K8S_CONTAINER_NAME, &container.name);
            if id == Some(container.id.as_str()) {
                attributes.text(name::CONTAINER_ID, &container.id);
                let restarts = Detected::Number(container.restarts);
                attributes.add(name::K8S_CONTAINER_RESTART_COUNT, restarts);
            }
            if let Some((image, tag)) = container.image_name_and_tag() {
                attributes.text(name::CONTAINER_IMAGE_NAME, image);
                if let Some(tag) = tag {
                    let tags = Detected::List(vec![tag.to_owned()]);
                    attributes.add(name::CONTAINER_IMAGE_TAGS, tags);
                    version = Some(tag);
                }
            }
            attributes.text(name::CONTAINER_IMAGE_ID, &container.image_id);
        }
        let of_pod =
            |prefix: &str, all: &BTreeMap<String, String>, chosen: &dyn Fn(&str) -> bool| {
                let chosen = all.iter().filter(|(key, _)| chosen(key));
                let told = chosen.map(|(key, value)| (format!("{prefix}{key}"), value.clone()));
                told.collect::<Vec<_>>()
            };
        let labels = of_pod(name::K8S_POD_LABEL, &pod.labels, &|key| {
            chosen.labels.has(key)
        });
        let annotations = of_pod(name::K8S_POD_ANNOTATION, &pod.annotations, &|key| {
            chosen.annotations.has(key)
        });
        for (key, value) in labels.into_iter().chain(annotations) {
            attributes.0.push((key, Detected::Text(value)));
        }
        let label = |key: &str| {
            let value = chosen.well_known_labels.then(|| pod.labels.get(key));
            value
                .flatten()
                .map(String::as_str)
                .filter(|v| !v.is_empty())
        };
        let annotated = |key: &str| {
            let value = pod.annotations.get(&format!("{ANNOTATED}{key}"));
            value.map(String::as_str).filter(|v| !v.is_empty())
        };
        let controller = || CONTROLLERS.iter().find_map(|(kind, _)| named(kind));
        let service = annotated(name::SERVICE_NAME)
            .or_else(|| label("app.kubernetes.io/instance"))
            .or_else(|| label("app.kubernetes.io/name"))
            .or_else(controller)
            .or_else(|| Some(pod.name.as_str()).filter(|name| !name.is_empty()));
        let version = label("app.kubernetes.io/version").or(version);
        attributes.text(name::SERVICE_NAMESPACE, &pod.namespace);
        attributes.text(name::SERVICE_VERSION, version.unwrap_or_default());
        // What is annotated wins over what follows from the rest.
        for (key, value) in &pod.annotations {
            if let Some(key) = key.strip_prefix(ANNOTATED)
                && !key.is_empty()
                && key != name::SERVICE_NAME
            {
                attributes.set(key, Detected::Text(value.clone()));
            }
        }
        let owner = controllers.iter().flatten().next();
        Self {
            attributes: attributes.0,
            service: service.map(str::to_owned),
            address: pod.address.as_deref().and_then(|ip| ip.parse().ok()),
            namespace: pod.namespace.clone(),
            labels: pod.labels.clone(),
            deployment: named("Deployment").map(str::to_owned),
            workload: owner.map_or(&pod.name, |owner| &owner.name).clone(),
        }
    }
}

#[derive(Default)]
struct Attributes(Vec<(String, Detected)>);

impl Attributes {
    fn add(&mut self, key: &str, value: Detected) {
        self.0.push((key.to_owned(), value));
    }

    /// What is empty is not known.
    fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.add(key, Detected::Text(value.to_owned()));
        }
    }

    fn set(&mut self, key: &str, value: Detected) {
        match self.0.iter_mut().find(|(k, _)| k == key) {
            Some((_, slot)) => *slot = value,
            None => self.add(key, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Chosen, Container, Detected, Pod, PodFacts};
    use crate::kubernetes::pod::Owner;
    use crate::vocabulary::resource as name;

    fn owner(kind: &str, name: &str) -> Option<Owner> {
        Some(Owner {
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: "o".to_owned(),
        })
    }

    fn map(all: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
        all.iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn pod() -> Pod {
        Pod {
            uid: "u".to_owned(),
            name: "shop-5d-x".to_owned(),
            namespace: "eu".to_owned(),
            node: Some("n1".to_owned()),
            address: Some("10.0.0.7".to_owned()),
            labels: map(&[
                ("app.kubernetes.io/name", "shop"),
                ("app.kubernetes.io/version", "9"),
                ("team", "a"),
            ]),
            annotations: map(&[("note", "x"), ("resource.opentelemetry.io/tier", "1")]),
            owner: owner("ReplicaSet", "shop-5d"),
            top: owner("Deployment", "shop-d"),
            containers: Vec::new(),
        }
    }

    fn get(facts: &PodFacts, key: &str) -> Option<Detected> {
        let found = facts.attributes.iter().find(|(k, _)| k == key);
        found.map(|(_, value)| value.clone())
    }

    fn text(value: &str) -> Option<Detected> {
        Some(Detected::Text(value.to_owned()))
    }

    #[test]
    fn a_pod_makes_attributes() {
        let container = Container {
            name: "web".to_owned(),
            id: "abc".to_owned(),
            image: "r/shop:1.2".to_owned(),
            restarts: 3,
            ..Container::default()
        };
        let chosen = Chosen {
            labels: "te*".parse().unwrap(),
            annotations: "note".parse().unwrap(),
            well_known_labels: false,
        };
        let facts = PodFacts::of(&pod(), Some(&container), Some("abc"), &chosen);
        for (key, value) in [
            (name::K8S_POD_NAME, text("shop-5d-x")),
            (name::K8S_POD_UID, text("u")),
            (name::K8S_NAMESPACE_NAME, text("eu")),
            (name::K8S_NODE_NAME, text("n1")),
            (name::K8S_POD_IP, text("10.0.0.7")),
            (name::K8S_DEPLOYMENT_NAME, text("shop-d")),
            (name::K8S_REPLICASET_NAME, text("shop-5d")),
            (name::K8S_JOB_NAME, None),
            (name::K8S_CONTAINER_NAME, text("web")),
            (name::K8S_CONTAINER_RESTART_COUNT, Some(Detected::Number(3))),
            (name::CONTAINER_IMAGE_NAME, text("r/shop")),
            (
                name::CONTAINER_IMAGE_TAGS,
                Some(Detected::List(vec!["1.2".to_owned()])),
            ),
            (name::SERVICE_NAMESPACE, text("eu")),
            (name::SERVICE_VERSION, text("1.2")),
            ("k8s.pod.label.team", text("a")),
            ("k8s.pod.label.app.kubernetes.io/name", None),
            ("k8s.pod.annotation.note", text("x")),
            ("tier", text("1")),
        ] {
            assert_eq!(get(&facts, key), value, "{key}");
        }
        assert_eq!(facts.service.as_deref(), Some("shop-d"));
        assert_eq!(facts.workload, "shop-d");
        // Before the kubelet has told of the container.
        let facts = PodFacts::of(&pod(), None, None, &Chosen::default());
        assert_eq!(get(&facts, name::K8S_CONTAINER_NAME), None);
        assert_eq!(get(&facts, name::SERVICE_VERSION), None);
    }

    #[test]
    fn an_earlier_container_is_not_told_as_the_present_one() {
        let container = Container {
            name: "web".to_owned(),
            id: "new".to_owned(),
            last_id: Some("old".to_owned()),
            image: "r/shop:1.2".to_owned(),
            restarts: 3,
            ..Container::default()
        };
        for (id, told, restarts) in [
            (Some("new"), text("new"), Some(Detected::Number(3))),
            (Some("old"), None, None),
        ] {
            let facts = PodFacts::of(&pod(), Some(&container), id, &Chosen::default());
            assert_eq!(get(&facts, name::CONTAINER_ID), told, "{id:?}");
            assert_eq!(get(&facts, name::K8S_CONTAINER_RESTART_COUNT), restarts);
            assert_eq!(get(&facts, name::K8S_CONTAINER_NAME), text("web"));
            assert_eq!(get(&facts, name::CONTAINER_IMAGE_NAME), text("r/shop"));
        }
        // What is known of the pod alone.
        let facts = PodFacts::of(&pod(), None, Some("x"), &Chosen::default());
        assert_eq!(facts, PodFacts::of(&pod(), None, None, &Chosen::default()));
    }

    #[test]
    fn the_address_of_a_pod_is_nobody_elses_to_say() {
        let annotated = "resource.opentelemetry.io/k8s.pod.ip";
        for (address, annotation, told, want) in [
            (Some("10.0.0.7"), None, text("10.0.0.7"), Some("10.0.0.7")),
            (
                Some("10.0.0.7"),
                Some("127.0.0.1"),
                text("127.0.0.1"),
                Some("10.0.0.7"),
            ),
            (Some("fd00::7"), Some("::1"), text("::1"), Some("fd00::7")),
            (None, Some("192.0.2.1"), text("192.0.2.1"), None),
            (Some("not one"), None, text("not one"), None),
            (None, None, None, None),
        ] {
            let mut one = pod();
            one.address = address.map(str::to_owned);
            let annotation = annotation.map(|ip| (annotated.to_owned(), ip.to_owned()));
            one.annotations.extend(annotation);
            let facts = PodFacts::of(&one, None, None, &Chosen::default());
            assert_eq!(get(&facts, name::K8S_POD_IP), told, "{address:?}");
            let found = facts.address.map(|ip| ip.to_string());
            assert_eq!(found.as_deref(), want, "{address:?}");
        }
    }

    #[test]
    fn services_are_named_in_an_order() {
        let service = |pod: &Pod, labels: bool| {
            let chosen = Chosen {
                well_known_labels: labels,
                ..Chosen::default()
            };
            PodFacts::of(pod, None, None, &chosen).service.unwrap()
        };
        let mut one = pod();
        assert_eq!(service(&one, true), "shop");
        one.labels.insert(
            "app.kubernetes.io/instance".to_owned(),
            "shop-eu".to_owned(),
        );
        assert_eq!(service(&one, true), "shop-eu");
        assert_eq!(service(&one, false), "shop-d");
        let key = "resource.opentelemetry.io/service.name".to_owned();
        one.annotations.insert(key, "told".to_owned());
        assert_eq!(service(&one, true), "told");
        assert_eq!(
            get(
                &PodFacts::of(&one, None, None, &Chosen::default()),
                name::SERVICE_NAME
            ),
            None
        );
        for (controller, top, want) in [
            (owner("ReplicaSet", "rs"), None, "rs"),
            (owner("StatefulSet", "db"), None, "db"),
            (owner("DaemonSet", "ds"), None, "ds"),
            (owner("Job", "j"), owner("CronJob", "cj"), "cj"),
            (owner("Job", "j"), None, "j"),
            (owner("Thing", "t"), None, "shop-5d-x"),
            (None, None, "shop-5d-x"),
        ] {
            let pod = Pod {
                owner: controller,
                top,
                ..pod()
            };
            assert_eq!(service(&pod, false), want);
        }
    }
}
