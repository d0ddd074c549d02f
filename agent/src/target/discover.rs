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

use super::classify::description::VARIABLES;
use super::classify::packages;
use super::classify::server::Server;
use super::classify::{Description, Distribution};
use super::distributions::{Distributions, Installed, Variables, likely_path};
use super::maps::Maps;
use super::process::{self, ProcessError};
use super::python::{NoPython, ProcessMemory, Python};
use super::rooted::Rooted;
use super::secrets::names_secret;
use super::{command, container, listening};
use crate::python::check::Fit;
use crate::python::paged::Paged;
use crate::python::reader::{QUESTION_BUDGET, Reader};
use crate::python::runtime::ModulesStamp;
use crate::python::value::{Limits, Value};
use crate::python::version::hex_to_text;

/// How long looking at one process may take, before what is left is left out.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most modules whose names are read.
const MAX_MODULES: usize = 1 << 15;
/// Most entries of a `sys.path`.
const MAX_PATH: usize = 256;
/// Most words of a command line that are kept, and bytes of each.
const MAX_WORDS: usize = 256;
const MAX_WORD_BYTES: usize = 4096;

/// All processes of the host, with what the kernel says of each.
#[must_use]
pub fn all() -> HashMap<u32, Stat> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = names.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|pid| Some((pid, stat(pid)?))).collect()
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

fn is_known_module(name: &str) -> bool {
    packages::ALL.iter().any(|known| known.module == name)
}

/// Keeps of packages what is of use: a host has many processes, and a process thousands of modules.
fn keep_known(process: &mut Description) {
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

/// What is remembered of a process from one look at it to the next: what stays as long as it runs the
/// same program, and what is read anew only when it has changed.
#[derive(Debug, Default)]
pub struct Before {
    /// The executable that it is of, as the process sees it.
    executable: String,
    /// Of its environment, which is what it was given with its program, whatever it makes of that later.
    variables: Option<(Vec<(String, String)>, Variables)>,
    inside: Option<Inside>,
}

/// What was found in an interpreter, and by what it is seen that there is more.
#[derive(Debug)]
struct Inside {
    /// Proved for this process. Where things are does not change while a program runs.
    fit: Fit,
    /// None where all is to be looked at anew.
    stamp: Option<ModulesStamp>,
    version: String,
    /// The known ones of its modules.
    modules: Vec<String>,
    /// What they say of their versions, where nothing else does.
    told: Vec<Distribution>,
    found: Installed,
}

impl Discovery {
    /// Describes a process.
    ///
    /// # Errors
    ///
    /// When it is gone, one of the kernel's own, or not ours to look at.
    pub fn describe(&mut self, pid: u32, depth: Depth) -> Result<Description, ProcessError> {
        self.describe_again(pid, depth, &mut Before::default())
    }

    /// Describes a process that was looked at before, when `before` was filled: what cannot have changed is
    /// not looked at again. What is installed counts as unchanged as long as no module was loaded.
    ///
    /// # Errors
    ///
    /// As [`Self::describe`].
    pub fn describe_again(
        &mut self,
        pid: u32,
        depth: Depth,
        before: &mut Before,
    ) -> Result<Description, ProcessError> {
        let until = Instant::now() + PATIENCE;
        let seen = stat(pid).ok_or(ProcessError::Gone(pid))?;
        let process = open(pid)?;
        let executable = process.exe().map_err(process::wrap(pid))?;
        let arguments = process.cmdline().map_err(process::wrap(pid))?;
        let maps = Maps::read(pid)?;
        let executable = maps.seen(&executable);
        let code = maps.paths();
        let version = process::python_version(&executable, &code);
        let version = version.or_else(|| process::holds_python(pid));
        let container = container::of_process(pid);
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
            mapped: code
                .iter()
                .map(|path| path.to_string_lossy().into_owned())
                .collect(),
            ports: listening::ports(pid),
            container: container.id,
            pod: container.pod,
            ..Description::default()
        };
        if before.executable != described.executable {
            *before = Before {
                executable: described.executable.clone(),
                ..Before::default()
            };
        }
        if before.variables.is_none() {
            before.variables = variables(&process);
        }
        let (kept, places) = before.variables.clone().unwrap_or_default();
        described.environment = kept;
        if described.python {
            let inside = (&maps, &mut before.inside);
            self.look_inside(&mut described, &places, depth, inside, until);
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
        (maps, inside): (&Maps, &mut Option<Inside>),
        until: Instant,
    ) {
        let pid = process.pid;
        let fit = match (depth, inside.take()) {
            (Depth::Outside, before) => {
                *inside = before;
                None
            }
            (Depth::Inside, Some(before)) => match ProcessMemory::open(pid) {
                Ok(opened) => {
                    let now = stamp(&opened, &before.fit);
                    if now.is_some() && now == before.stamp {
                        process.version = Some(before.version.clone());
                        process.modules = Some(before.modules.clone());
                        process.told.clone_from(&before.told);
                        process.installed.clone_from(&before.found.all);
                        process.installed_unseen.clone_from(&before.found.unseen);
                        *inside = Some(before);
                        return;
                    }
                    Some((opened, before.fit))
                }
                Err(_) => None,
            },
            (Depth::Inside, None) => match Python::mapped(pid, maps) {
                Ok(python) => Some((python.memory, python.fit)),
                Err(error) => {
                    tracing::debug!(pid, "{error}");
                    if let NoPython::Unsupported(why) = &error {
                        process.unread = Some(why.to_string());
                    }
                    None
                }
            },
        };
        let mut path = Vec::new();
        let mut loaded = None;
        let mut stamp = None;
        if let Some((opened, fit)) = &fit {
            let paged = Paged::new(opened);
            let reader = || Reader::new(&paged, &fit.layout, QUESTION_BUDGET);
            let main = fit.main.address;
            // Before the modules: what is loaded meanwhile is seen the next time.
            stamp = reader().modules_stamp(main).ok();
            process.version = Some(hex_to_text(fit.hex));
            loaded = modules(&reader(), main);
            process.modules = loaded.as_ref().map(|all| names(all));
            path = search_path(&reader(), main);
        }
        let files = match Rooted::open(pid) {
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
        process.installed.clone_from(&found.all);
        process.installed_unseen.clone_from(&found.unseen);
        if let (Some((opened, fit)), Some(loaded)) = (&fit, &loaded) {
            let paged = Paged::new(opened);
            let reader = Reader::new(&paged, &fit.layout, QUESTION_BUDGET);
            process.told = told(&reader, loaded, &found);
            // One that is being imported says its version late.
            let silent = |name: &str| !known_version(process, name);
            if loaded.iter().any(|(name, _)| silent(name)) {
                stamp = None;
            }
        }
        if let (Some((_, fit)), Some(modules)) = (fit, &process.modules) {
            *inside = Some(Inside {
                version: hex_to_text(fit.hex),
                fit,
                // What was not looked through to its end is so the next time.
                stamp: stamp.filter(|_| found.unseen.is_none()),
                modules: modules.clone(),
                told: process.told.clone(),
                found,
            });
        }
    }
}

/// What `sys.modules` is like now.
fn stamp(memory: &ProcessMemory, fit: &Fit) -> Option<ModulesStamp> {
    let reader = Reader::new(memory, &fit.layout, QUESTION_BUDGET);
    reader.modules_stamp(fit.main.address).ok()
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

/// Those variables that are of use, and those that say where is imported from.
fn variables(process: &Process) -> Option<(Vec<(String, String)>, Variables)> {
    let all = process.environ().ok()?;
    let get = |name: &str| {
        let value = all.get(OsStr::new(name))?.to_str()?;
        Some(value.to_owned()).filter(|v| !v.is_empty() && v.len() <= MAX_WORD_BYTES * 4)
    };
    let mut kept = Vec::new();
    for name in VARIABLES {
        let value = get(name).filter(|_| !names_secret(name));
        let shown = value.map(|v| command::without_secrets(&[v]).concat());
        kept.extend(shown.map(|value| (name.to_owned(), value)));
    }
    let places = Variables {
        python_path: get("PYTHONPATH"),
        environment: get("VIRTUAL_ENV")
            .or_else(|| get("CONDA_PREFIX"))
            .map(PathBuf::from),
        home: get("HOME").map(PathBuf::from),
        path: get("PATH"),
    };
    Some((kept, places))
}

/// The known modules in `sys.modules`: names and objects.
fn modules(reader: &Reader<'_>, interpreter: u64) -> Option<Vec<(String, u64)>> {
    let all = reader.modules(interpreter).ok()?;
    let all = all.into_iter().take(MAX_MODULES);
    let named = all.filter_map(|(name, module)| Some((reader.short_text(name).ok()?, module)));
    Some(named.filter(|(name, _)| is_known_module(name)).collect())
}

/// Whether the version of a module is known, by what is installed or by what it says.
fn known_version(process: &Description, module: &str) -> bool {
    let known = packages::ALL.iter().find(|k| k.module == module);
    known.is_none_or(|k| {
        let names = k.distributions.iter();
        let mut all = process.installed.iter().chain(&process.told);
        all.any(|one| names.clone().any(|name| *name == one.name))
    })
}

fn names(modules: &[(String, u64)]) -> Vec<String> {
    modules.iter().map(|(name, _)| name.clone()).collect()
}

/// What loaded modules say of their versions (`__version__`), of those of which no distribution was found.
fn told(reader: &Reader<'_>, modules: &[(String, u64)], found: &Installed) -> Vec<Distribution> {
    /// The longest that is taken for a version.
    const MAX_VERSION: usize = 64;
    let alone = modules.iter().filter_map(|(name, module)| {
        let known = packages::ALL.iter().find(|k| k.module == name)?;
        let of_it = |f: &Distribution| known.distributions.contains(&f.name.as_str());
        let alone = !found.all.iter().any(of_it);
        alone.then_some((known.distributions.first()?, *module))
    });
    let versions = alone.filter_map(|(distribution, module)| {
        let dict = reader.module_dict(module).ok()?;
        let version = reader.dict_get(dict, "__version__").ok()??;
        let version = reader.short_text(version).ok()?;
        let part = |c: char| c.is_ascii_alphanumeric() || ".+-_!".contains(c);
        let is_one = version.starts_with(|c: char| c.is_ascii_digit())
            && version.len() <= MAX_VERSION
            && version.chars().all(part);
        is_one.then(|| Distribution {
            name: (*distribution).to_owned(),
            version,
        })
    });
    versions.collect()
}

/// `sys.path`; nothing when it is not there yet.
pub(super) fn search_path(reader: &Reader<'_>, interpreter: u64) -> Vec<PathBuf> {
    let list = || {
        let sys = reader.module(interpreter, "sys").ok()??;
        let dict = reader.module_dict(sys).ok()?;
        // The paths of an interpreter that starts are not those that it will have.
        reader.module(interpreter, "site").ok()??;
        reader.dict_get(dict, "path").ok()?
    };
    let limits = Limits {
        depth: 2,
        items: MAX_PATH,
        attributes: MAX_PATH,
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
    use super::{Before, Depth, Description, Discovery, all, bounded, stat};
    use std::fs;
    use std::io::{Read as _, Write as _};
    use std::process::{Child, Command, Stdio};

    #[test]
    fn we_are_a_process() {
        let own = std::process::id();
        let seen = stat(own).unwrap();
        assert_eq!(all().get(&own), Some(&seen));
        let described = Discovery::default().describe(own, Depth::Inside).unwrap();
        assert_eq!(described.start_ticks, seen.start_ticks);
        assert!(!described.python && !described.command.is_empty());
        assert_eq!(stat(u32::MAX), None);
    }

    /// A program that waits for a line before each thing that it does.
    const LATE: &str = "
import sys
for what in sys.stdin:
    exec(what)
    print('done', flush=True)
";

    fn tell(python: &mut Child, what: &str) {
        writeln!(python.stdin.as_mut().unwrap(), "{what}").unwrap();
        let mut answer = [0; 5];
        python
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut answer)
            .unwrap();
        assert_eq!(&answer, b"done\n");
    }

    #[test]
    fn what_comes_late_is_seen_and_what_stays_is_not_read_again() {
        let dir = std::env::temp_dir().join(format!("genspan-late-{}", std::process::id()));
        fs::create_dir_all(dir.join("openai")).unwrap();
        fs::write(dir.join("openai/__init__.py"), "").unwrap();
        let Ok(mut python) = Command::new("python3")
            .args(["-c", LATE])
            .env("PYTHONPATH", &dir)
            .env("OTEL_SERVICE_NAME", "late")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            println!("skipped: no python3 on PATH");
            return;
        };
        tell(&mut python, "pass");
        let pid = python.id();
        let mut discovery = Discovery::default();
        let mut before = Before::default();
        let mut plain = Description::default();
        for _ in 0..2 {
            plain = discovery
                .describe_again(pid, Depth::Inside, &mut before)
                .unwrap();
            // As seen for the first time.
            let first = Discovery::default().describe(pid, Depth::Inside).unwrap();
            assert_eq!(plain, first);
        }
        assert_eq!(plain.modules, Some(Vec::new()));
        assert_eq!(plain.variable("OTEL_SERVICE_NAME"), Some("late"));
        let mark = |before: &mut Before| {
            if let Some(inside) = &mut before.inside {
                inside.version = "kept".to_owned();
            }
        };
        let version = |d: &Description| d.version.clone().unwrap_or_default();
        mark(&mut before);
        let kept = discovery
            .describe_again(pid, Depth::Inside, &mut before)
            .unwrap();
        assert_eq!(version(&kept), "kept");
        tell(
            &mut python,
            "import openai, socket; s = socket.create_server(('127.0.0.1', 0))",
        );
        let late = discovery
            .describe_again(pid, Depth::Inside, &mut before)
            .unwrap();
        assert_ne!(version(&late), "kept");
        assert_eq!(late.modules, Some(vec!["openai".to_owned()]));
        assert_eq!(late.ports.len(), 1);
        // Taken out and put in again: as many as before.
        mark(&mut before);
        tell(
            &mut python,
            "del sys.modules['openai']; sys.modules['openai '] = sys",
        );
        let gone = discovery
            .describe_again(pid, Depth::Inside, &mut before)
            .unwrap();
        assert_eq!(gone.modules, Some(Vec::new()));
        assert_ne!(version(&gone), "kept");
        python.kill().unwrap();
        python.wait().unwrap();
        assert!(
            discovery
                .describe_again(pid, Depth::Inside, &mut before)
                .is_err()
        );
        fs::remove_dir_all(&dir).unwrap();
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
