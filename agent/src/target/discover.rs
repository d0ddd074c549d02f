//! Reading what a process is off `/proc`: the [`Description`] that is classified. All that is read has
//! bounds, nothing of it is written or stopped, and what may be secret is dropped here.
//!
//! A process that is stuck in the kernel may let a read of its memory wait for it: what looks at all
//! processes of a host does so in a thread of its own.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::unistd::{Uid, User};
use procfs::process::Process;

use super::classify::Description;
use super::classify::description::VARIABLES;
use super::classify::packages;
use super::classify::server::Server;
use super::distributions::{Distributions, Variables, likely_path};
use super::process::{self, ProcessError};
use super::python::Python;
use super::rooted::Rooted;
use super::{command, container, listening};
use crate::python::value::{Limits, Value};

/// How long looking at one process may take, before what is left is left out.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most modules whose names are read.
const MAX_MODULES: usize = 1 << 15;
/// Most entries of a `sys.path`.
const MAX_PATH: usize = 256;
/// Most words of a command line that are kept, and bytes of each.
const MAX_WORDS: usize = 256;
const MAX_WORD_BYTES: usize = 4096;

/// All processes of the host, with the parent of each.
#[must_use]
pub fn parents() -> HashMap<u32, u32> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = names.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|pid| Some((pid, stat(pid)?.parent)))
        .collect()
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its parent.
    pub parent: u32,
    /// Its start in clock ticks after boot.
    pub start_ticks: u64,
    /// The kernel's name for it.
    pub name: String,
}

/// What the kernel says of a process; `None` when there is none, or it is one of the kernel's own.
#[must_use]
pub fn stat(pid: u32) -> Option<Stat> {
    /// `PF_KTHREAD` (`include/linux/sched.h`).
    const KERNEL_THREAD: u64 = 0x0020_0000;
    let bytes = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // The name may hold anything, parentheses too.
    let (head, rest) = text.rsplit_once(") ")?;
    let name = head.split_once('(')?.1;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let flags: u64 = fields.nth(4)?.parse().ok()?;
    let start_ticks = fields.nth(12)?.parse().ok()?;
    if matches!(state, "Z" | "X") || flags & KERNEL_THREAD != 0 {
        return None;
    }
    Some(Stat {
        parent,
        start_ticks,
        name: name.to_owned(),
    })
}

/// Path of the executable as the process sees it; `None` when it is gone or not ours to look at.
#[must_use]
pub fn executable(pid: u32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.to_string_lossy().into_owned())
}

/// The name of a user.
#[must_use]
pub fn user_name(id: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(id))
        .ok()
        .flatten()
        .map(|u| u.name)
}

/// How closely a process is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// At what the kernel tells and at files.
    Outside,
    /// Also at the interpreter's memory.
    Inside,
}

/// Keeps of packages what is of use: a host has many processes, and a process thousands of modules.
fn keep_known(process: &mut Description) {
    let known = |name: &str| packages::ALL.iter().any(|k| k.module == name);
    if let Some(modules) = &mut process.modules {
        modules.retain(|name| known(name));
    }
    let servers = Server::ALL.iter().filter_map(|s| s.distribution());
    let servers: Vec<_> = servers.collect();
    process.installed.retain(|found| {
        let name = found.name.as_str();
        let of_table = |k: &packages::Known| k.distributions.contains(&name);
        servers.contains(&name) || packages::ALL.iter().any(of_table)
    });
    process
        .mapped
        .retain(|path| path.contains("/site-packages/") || path.contains("/dist-packages/"));
}

/// Looks at processes, and remembers what many of them share.
#[derive(Debug, Default)]
pub struct Discovery {
    distributions: Distributions,
}

impl Discovery {
    /// Describes a process.
    ///
    /// # Errors
    ///
    /// When it is gone, one of the kernel's own, or not ours to look at.
    pub fn describe(&mut self, pid: u32, depth: Depth) -> Result<Description, ProcessError> {
        let until = Instant::now() + PATIENCE;
        let seen = stat(pid).ok_or(ProcessError::Gone(pid))?;
        let process = open(pid)?;
        let executable = process.exe().map_err(process::wrap(pid))?;
        let arguments = process.cmdline().map_err(process::wrap(pid))?;
        let files = process::mapped_code(pid)?;
        let version = process::python_version(&executable, &files);
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let container = container::of(&cgroup);
        let mut described = Description {
            pid,
            parent: seen.parent,
            start_ticks: seen.start_ticks,
            user: process.uid().unwrap_or_default(),
            name: seen.name,
            executable: executable.to_string_lossy().into_owned(),
            python: version.is_some(),
            version: version.flatten(),
            command: command::without_secrets(&bounded(arguments)),
            mapped: files
                .iter()
                .map(|f| f.path.to_string_lossy().into_owned())
                .collect(),
            ports: listening::ports(pid),
            container: container.id,
            pod: container.pod,
            ..Description::default()
        };
        let places = variables(&process, &mut described);
        if described.python {
            self.look_inside(&mut described, &places, depth, until);
        }
        keep_known(&mut described);
        Ok(described)
    }

    /// What the interpreter itself says that it has loaded and imports from, else what is likely.
    fn look_inside(
        &mut self,
        process: &mut Description,
        places: &Variables,
        depth: Depth,
        until: Instant,
    ) {
        let mut path = Vec::new();
        let opened = (depth == Depth::Inside).then(|| Python::open(process.pid));
        match opened {
            None => {}
            Some(Ok(python)) => {
                process.version = Some(python.version());
                process.modules = modules(&python);
                path = search_path(&python);
            }
            Some(Err(error)) => tracing::debug!(pid = process.pid, "{error}"),
        }
        let files = match Rooted::open(process.pid) {
            Ok(files) => files,
            Err(error) => {
                process.installed_unseen = Some(error.to_string());
                return;
            }
        };
        if path.is_empty() {
            path = likely_path(process, places, &files);
        }
        let found = self.distributions.of(&files, &path, until);
        process.installed = found.all;
        process.installed_unseen = found.unseen;
    }
}

fn open(pid: u32) -> Result<Process, ProcessError> {
    let number = i32::try_from(pid).map_err(|_| ProcessError::NotFound(pid))?;
    Process::new(number).map_err(process::wrap(pid))
}

fn bounded(mut words: Vec<String>) -> Vec<String> {
    words.truncate(MAX_WORDS);
    for word in &mut words {
        let mut end = MAX_WORD_BYTES.min(word.len());
        while !word.is_char_boundary(end) {
            end -= 1;
        }
        word.truncate(end);
    }
    // A title leaves empty words behind it.
    while words.last().is_some_and(String::is_empty) {
        words.pop();
    }
    words
}

/// Keeps those variables that are of use, and gives those that say where is imported from.
fn variables(process: &Process, described: &mut Description) -> Variables {
    let Ok(all) = process.environ() else {
        return Variables::default();
    };
    let get = |name: &str| {
        let value = all.get(OsStr::new(name))?.to_str()?;
        Some(value.to_owned()).filter(|v| !v.is_empty() && v.len() <= MAX_WORD_BYTES * 4)
    };
    for name in VARIABLES {
        let value = get(name).filter(|_| !command::names_secret(name));
        let shown = value.map(|v| command::without_secrets(&[v]).concat());
        described
            .environment
            .extend(shown.map(|value| (name.to_owned(), value)));
    }
    Variables {
        python_path: get("PYTHONPATH"),
        environment: get("VIRTUAL_ENV")
            .or_else(|| get("CONDA_PREFIX"))
            .map(PathBuf::from),
        home: get("HOME").map(PathBuf::from),
        path: get("PATH"),
    }
}

/// Names of the modules in `sys.modules`.
fn modules(python: &Python) -> Option<Vec<String>> {
    let reader = python.reader();
    let all = reader.modules(python.fit.main.address).ok()?;
    let names = all.into_iter().take(MAX_MODULES);
    Some(
        names
            .filter_map(|(name, _)| reader.short_text(name).ok())
            .collect(),
    )
}

/// `sys.path`; nothing when it is not there yet.
fn search_path(python: &Python) -> Vec<PathBuf> {
    let reader = python.reader();
    let list = || {
        let sys = reader.module(python.fit.main.address, "sys").ok()??;
        let dict = reader.module_dict(sys).ok()?;
        // The paths of an interpreter that starts are not those that it will have.
        reader.module(python.fit.main.address, "site").ok()??;
        reader.dict_get(dict, "path").ok()?
    };
    let limits = Limits {
        depth: 2,
        items: MAX_PATH,
        text: MAX_WORD_BYTES,
        values: 2 * MAX_PATH,
    };
    let Some(Value::Items { items, .. }) = list().map(|list| reader.value(list, limits)) else {
        return Vec::new();
    };
    let paths = items.into_iter().filter_map(|item| match item {
        Value::Text { text, missing: 0 } if text.starts_with('/') => Some(PathBuf::from(text)),
        _ => None,
    });
    paths.collect()
}

#[cfg(test)]
mod tests {
    use super::{Depth, Discovery, bounded, parents, stat};

    #[test]
    fn we_are_a_process() {
        let own = std::process::id();
        let seen = stat(own).unwrap();
        assert_eq!(parents().get(&own), Some(&seen.parent));
        let described = Discovery::default().describe(own, Depth::Inside).unwrap();
        assert_eq!(described.start_ticks, seen.start_ticks);
        assert!(!described.python && !described.command.is_empty());
        assert_eq!(stat(u32::MAX), None);
    }

    #[test]
    fn command_lines_have_bounds() {
        let long = "ä".repeat(5000);
        let words = bounded(vec!["a".to_owned(), long, String::new(), String::new()]);
        assert_eq!(words.len(), 2);
        assert_eq!(words[1].len(), 4096);
        assert_eq!(bounded(vec!["x".to_owned(); 1000]).len(), 256);
    }
}
