//! Programs in namespaces of their own (`python/live/host_tree.py`): a network, process ids, mounts, and a
//! cgroup that is named as a container's.

use crate::{Process, Scene, programs, wait_for};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The namespaces: their first process, and the cgroup that makes them a container. All of it ends with
/// this value.
#[derive(Debug)]
pub struct Namespaces {
    first: Option<Process>,
    cgroup: PathBuf,
    /// Which PID namespace it is; empty until it is known.
    own: PathBuf,
}

impl Namespaces {
    /// Starts the first process in a container with this id, 64 hexadecimal digits; `programs_of_it` are
    /// those that it can start.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(scene: &Scene, python: &Path, id: &str, programs_of_it: &Value) -> Result<Self> {
        // Version 1 has a hierarchy for names alone.
        let v1 = Path::new("/sys/fs/cgroup/systemd");
        let cgroup = if v1.is_dir() {
            v1
        } else {
            Path::new("/sys/fs/cgroup")
        }
        .join(id);
        let mut command = scene.command("unshare");
        command
            .args([
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--mount-proc",
                "--kill-child",
            ])
            .arg(python)
            .arg(programs().join("live/host_tree.py"));
        let first = Process::start(&mut command, &scene.next_log())?;
        // From here on the cgroup goes too, however far it gets.
        let mut all = Self {
            first: Some(first),
            cgroup,
            own: PathBuf::new(),
        };
        let first = all.first.as_mut().context("it is over")?;
        first.tell(&json!({"cgroup": all.cgroup, "programs": programs_of_it}).to_string())?;
        anyhow::ensure!(first.line()? == "ready", "{}", first.complaints());
        let child = fs::read_to_string(format!("/proc/{0}/task/{0}/children", first.pid()))?;
        all.own = fs::read_link(format!("/proc/{}/ns/pid", child.trim()))?;
        Ok(all)
    }

    /// Has it do a step; what it answers.
    ///
    /// # Errors
    ///
    /// When it ended.
    pub fn step(&mut self, step: &Value) -> Result<Value> {
        let first = self.first.as_mut().context("it is over")?;
        first.tell(&step.to_string())?;
        let line = first.line()?;
        serde_json::from_str(&line).with_context(|| format!("{step}: {line}"))
    }

    /// Starts a program: its process id out here, and what it printed.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn program(&mut self, name: &str) -> Result<(u32, String)> {
        let told = self.step(&json!({"start": name}))?;
        let line = told["line"].as_str().context("no line")?.to_owned();
        anyhow::ensure!(!line.is_empty(), "{name} ended: {}", self.complaints());
        Ok((self.outside(told["pid"].as_u64().context("no pid")?)?, line))
    }

    /// What they all complained of.
    #[must_use]
    pub fn complaints(&self) -> String {
        self.first
            .as_ref()
            .map(Process::complaints)
            .unwrap_or_default()
    }

    /// The id out here of a process of the namespace.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn outside(&self, inside: u64) -> Result<u32> {
        for entry in fs::read_dir("/proc")?.flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
                continue;
            };
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            let last = ids.and_then(|ids| ids.split_whitespace().last());
            let here = || fs::read_link(entry.path().join("ns/pid")).is_ok_and(|ns| ns == self.own);
            if last == Some(&inside.to_string()) && here() {
                return Ok(pid);
            }
        }
        anyhow::bail!("there is no process {inside} in the namespace")
    }

    /// Ends all of it and makes sure that nothing is left of processes, cgroup, and mounts below a folder.
    ///
    /// # Errors
    ///
    /// When something is.
    pub fn end(mut self, below: &Path) -> Result<()> {
        self.first = None;
        wait_for("the end of the namespace", || {
            fs::remove_dir(&self.cgroup).ok()
        })?;
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        anyhow::ensure!(!mounts.contains(&below.display().to_string()), "{mounts}");
        Ok(())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.first = None;
        wait_for("the end", || {
            (!self.cgroup.is_dir() || fs::remove_dir(&self.cgroup).is_ok()).then_some(())
        })
        .ok();
    }
}
