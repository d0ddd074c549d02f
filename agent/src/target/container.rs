//! In which container and pod a process runs, by its cgroups (`/proc/PID/cgroup`).

use crate::model::process::Detected;
use crate::vocabulary::resource as name;

/// Container and pod, as far as the names of cgroups tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its id: 64 hexadecimal digits, of Docker, containerd, CRI-O or Podman.
    pub id: Option<String>,
    /// Id (UID) of the Kubernetes pod.
    pub pod: Option<String>,
}

/// Digits of a container's id.
const ID_DIGITS: usize = 64;

impl Container {
    /// What of it goes into resources.
    #[must_use]
    pub fn attributes(&self) -> Vec<(String, Detected)> {
        let known = [
            (name::CONTAINER_ID, &self.id),
            (name::K8S_POD_UID, &self.pod),
        ];
        let told = known.into_iter().filter_map(|(key, value)| {
            let value = Detected::Text(value.clone()?);
            Some((key.to_owned(), value))
        });
        told.collect()
    }
}

/// That of a process; nothing where it cannot be looked at.
#[must_use]
pub fn of_process(pid: u32) -> Container {
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
    of(&cgroup.unwrap_or_default())
}

/// Reads the contents of `/proc/PID/cgroup`, of version 1 or 2 (`cgroups(7)`).
#[must_use]
pub fn of(cgroup: &str) -> Container {
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut found = Container::default();
    for path in paths {
        // A container in a pod's container is the one that it is in.
        for part in path.split('/') {
            if let Some(id) = id_in(part) {
                found.id = Some(id);
            }
            if let Some(pod) = pod_in(part) {
                found.pod = Some(pod);
            }
        }
        if found.id.is_some() {
            break;
        }
    }
    found
}

/// `ID`, `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID`, `libpod-ID.scope`
fn id_in(part: &str) -> Option<String> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let id = part.rsplit(['-', ':']).next()?;
    (id.len() == ID_DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// `podUID`, `kubepods-burstable-podUID.slice`; systemd has `_` for `-`.
fn pod_in(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let id = match part.rsplit_once("-pod") {
        Some((_, id)) => id,
        None => part.strip_prefix("pod")?,
    };
    let id = id.replace('_', "-");
    // A UUID, or the hash of a static pod's manifest.
    let plain = id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    (plain && matches!(id.len(), 32 | 36)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn containers_and_pods() {
        let id = "0123456789abcdef".repeat(4);
        let pod = "01234567-89ab-cdef-0123-456789abcdef";
        let slice = pod.replace('-', "_");
        for (text, container, in_pod) in [
            ("0::/\n".to_owned(), false, false),
            (
                "0::/user.slice/user-0.slice/session-1.scope".to_owned(),
                false,
                false,
            ),
            (format!("0::/system.slice/docker-{id}.scope"), true, false),
            (
                format!("12:cpu:/docker/{id}\n1:name=systemd:/docker/{id}"),
                true,
                false,
            ),
            (
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice/cri-containerd-{id}.scope"
                ),
                true,
                true,
            ),
            (
                format!("3:memory:/kubepods/besteffort/pod{pod}/{id}"),
                true,
                true,
            ),
            (
                format!("0::/machine.slice/libpod-{id}.scope/container"),
                true,
                false,
            ),
            ("0::/podcast/abc".to_owned(), false, false),
            ("nonsense".to_owned(), false, false),
            (String::new(), false, false),
        ] {
            let got = of(&text);
            assert_eq!(got.id.is_some(), container, "{text}");
            assert_eq!(got.pod.as_deref(), in_pod.then_some(pod), "{text}");
        }
    }
}
