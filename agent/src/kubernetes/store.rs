//! The pods of a node, by what a process is known to be in. Pure.

use std::collections::HashMap;

use super::pod::{Container, Pod};

/// Most pods that are remembered: a node has a hundred or some.
#[cfg(any(feature = "kubernetes", test))]
pub(super) const MAX_PODS: usize = 2048;

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// By their UIDs.
    pods: HashMap<String, Pod>,
    /// The pod of a container, by the container's id.
    containers: HashMap<String, String>,
    listed: bool,
}

impl Store {
    /// Whether all were listed once.
    pub(super) const fn is_listed(&self) -> bool {
        self.listed
    }

    /// The container with this id and its pod; else the pod with this UID.
    pub(super) fn find(
        &self,
        container: Option<&str>,
        pod: Option<&str>,
    ) -> Option<(&Pod, Option<&Container>)> {
        let by_container = container.and_then(|id| {
            let pod = self.pods.get(self.containers.get(id)?)?;
            let mut all = pod.containers.iter();
            let found = all.find(|c| c.id == id || c.last_id.as_deref() == Some(id));
            Some((pod, found))
        });
        by_container.or_else(|| Some((self.pods.get(pod?)?, None)))
    }
}

#[cfg(any(feature = "kubernetes", test))]
impl Store {
    /// These are all there are; says how many are beyond the bound.
    pub(super) fn replace(&mut self, all: Vec<Pod>) -> usize {
        self.pods.clear();
        self.containers.clear();
        self.listed = true;
        let refused = all.into_iter().map(|pod| usize::from(!self.put(pod)));
        refused.sum()
    }

    /// Whether these are the ones that are known, as they are.
    pub(super) fn holds(&self, all: &[Pod]) -> bool {
        let same = |pod: &Pod| self.pods.get(&pod.uid) == Some(pod);
        self.listed && all.len() == self.pods.len() && all.iter().all(same)
    }

    /// A pod is new or changed; false when there is no room for it.
    pub(super) fn put(&mut self, pod: Pod) -> bool {
        if pod.uid.is_empty() || self.pods.len() >= MAX_PODS && !self.pods.contains_key(&pod.uid) {
            return false;
        }
        self.remove(&pod.uid);
        for container in &pod.containers {
            for id in [Some(&container.id), container.last_id.as_ref()]
                .into_iter()
                .flatten()
            {
                self.containers.insert(id.clone(), pod.uid.clone());
            }
        }
        self.pods.insert(pod.uid.clone(), pod);
        true
    }

    /// A pod is gone.
    pub(super) fn remove(&mut self, uid: &str) {
        if self.pods.remove(uid).is_some() {
            self.containers.retain(|_, pod| pod != uid);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    /// What is remembered of a pod.
    pub(super) fn get(&self, uid: &str) -> Option<&Pod> {
        self.pods.get(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::{Container, MAX_PODS, Pod, Store};

    fn pod(uid: &str, containers: &[(&str, Option<&str>)]) -> Pod {
        let container = |(id, last): &(&str, Option<&str>)| Container {
            name: format!("c-{id}"),
            id: (*id).to_owned(),
            last_id: last.map(str::to_owned),
            ..Container::default()
        };
        Pod {
            uid: uid.to_owned(),
            containers: containers.iter().map(container).collect(),
            ..Pod::default()
        }
    }

    #[test]
    fn containers_lead_to_their_pods() {
        let mut store = Store::default();
        assert!(!store.is_listed() && store.find(Some("a"), Some("1")).is_none());
        let beyond = store.replace(vec![
            pod("1", &[("a", None), ("b", Some("b0"))]),
            pod("2", &[]),
        ]);
        assert_eq!((beyond, store.len()), (0, 2));
        let found = |store: &Store, id: Option<&str>, uid: Option<&str>| {
            let (pod, container) = store.find(id, uid)?;
            Some((pod.uid.clone(), container.map(|c| c.name.clone())))
        };
        let named = |uid: &str, name: &str| Some((uid.to_owned(), Some(name.to_owned())));
        assert_eq!(found(&store, Some("a"), None), named("1", "c-a"));
        assert_eq!(
            found(&store, Some("b0"), None),
            named("1", "c-b"),
            "the one before"
        );
        assert_eq!(
            found(&store, Some("x"), Some("2")),
            Some(("2".to_owned(), None))
        );
        assert_eq!(found(&store, Some("x"), None), None);
        let all = [pod("1", &[("a", None), ("b", Some("b0"))]), pod("2", &[])];
        assert!(store.holds(&all) && !store.holds(&all[..1]));
        assert!(!store.holds(&[pod("1", &[]), pod("2", &[])]));
        assert!(!store.holds(&[pod("3", &[]), pod("2", &[])]));
        // It runs another container now.
        assert!(store.put(pod("1", &[("c", None)])));
        assert_eq!(found(&store, Some("a"), None), None);
        assert_eq!(found(&store, Some("c"), None), named("1", "c-c"));
        store.remove("1");
        assert!(store.get("1").is_none() && found(&store, Some("c"), None).is_none());
        assert_eq!(store.replace(Vec::new()), 0);
        assert_eq!(store.len(), 0);
    }

    #[test]
    fn there_is_a_bound() {
        let mut store = Store::default();
        let all = (0..MAX_PODS + 2)
            .map(|n| pod(&n.to_string(), &[]))
            .collect();
        assert_eq!(store.replace(all), 2);
        assert!(!store.put(pod("more", &[])) && store.put(pod("0", &[("a", None)])));
        assert!(!store.put(pod("", &[])), "what has no id is no pod");
    }
}
