//! Cgroups of the kernel's, named as the kubelet and container runtimes name them: what a process in one is in
//! is then told as of any other container.

use anyhow::{Context as _, Result};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The cgroup of a container of a pod; removed with this value, once no process is in it.
#[derive(Debug)]
pub struct Cgroup {
    dir: PathBuf,
    root: PathBuf,
    /// The container's id.
    pub container: String,
    /// The pod's UID.
    pub pod: String,
}

impl Cgroup {
    /// That of a new container of a new pod; `number` tells those of one test apart.
    ///
    /// # Errors
    ///
    /// When this machine lets nobody make cgroups.
    pub fn new(number: u8) -> Result<Self> {
        let root = mount()?;
        let own = std::process::id();
        let pod = format!("{own:08x}-0000-4000-8000-0000000000{number:02x}");
        let container = format!("{own:08x}{number:02x}").repeat(7)[..64].to_owned();
        let dir = root
            .join("kubepods/burstable")
            .join(format!("pod{pod}"))
            .join(&container);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self {
            dir,
            root,
            container,
            pod,
        })
    }

    /// A command that runs a program in it, from its first instruction on.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"echo $$ > "$0" && exec "$@""#])
            .arg(self.dir.join("cgroup.procs"))
            .arg(program);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let mut dir: &Path = &self.dir;
        // What others made stays: it is not empty, and nothing but empty directories can be removed.
        while dir != self.root {
            let removed = (0..100).any(|_| {
                let done = fs::remove_dir(dir);
                // A process that has just ended may still be in it.
                let busy = done
                    .as_ref()
                    .is_err_and(|e| e.raw_os_error() == Some(libc::EBUSY));
                if busy {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                !busy
            });
            let Some(parent) = dir.parent().filter(|_| removed) else {
                break;
            };
            dir = parent;
        }
    }
}

/// Where cgroups are made: those of version 2, else of any controller.
fn mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let of = |kind: &str| {
        mounts.lines().find_map(|line| {
            let mut words = line.split(' ');
            let (place, found) = (words.nth(1)?, words.next()?);
            (found == kind && line.contains("rw,")).then(|| PathBuf::from(place))
        })
    };
    of("cgroup2")
        .or_else(|| of("cgroup"))
        .context("no cgroups are mounted")
}
