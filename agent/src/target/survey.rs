//! All processes of a host, with what each of them is: what `genspan ps` shows.

use std::collections::HashMap;
use std::path::PathBuf;

use super::classify::service;
use super::classify::{Classification, Description, classify};
use super::command;
use super::discover::{self, Depth, Discovery};
use super::environment::Environment;
use super::process::{self, ProcessError};
use super::tls::{self, TlsFile, TlsFinder};
use crate::model::process::ContentPolicy;

/// What can be done about a process's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsState {
    /// A library is loaded that can be probed.
    Reachable {
        /// Its file, as the process sees it.
        path: PathBuf,
        /// Its version banner.
        banner: Option<String>,
        /// How its functions were found: `dynsym`, `symtab` or `code`.
        found_by: &'static str,
    },
    /// One is loaded that cannot be.
    Unreachable {
        /// Its file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// None is loaded, so far.
    None,
}

/// A process of the host.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// What was seen.
    pub process: Description,
    /// What it is.
    pub what: Classification,
    /// The process that stands for its service: itself, or one above it.
    pub root: u32,
    /// The name of its service.
    pub service: String,
    /// Its TLS.
    pub tls: TlsState,
}

/// What a survey found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Python processes, model servers of any kind, and others with a TLS library if they were asked
    /// for; by process id.
    pub found: Vec<Surveyed>,
    /// Processes that could not be looked at, and why.
    pub unseen: Vec<ProcessError>,
}

/// Looks at all processes but our own. `others` asks for those, too, that are no Python and no model
/// server but have a TLS library.
#[must_use]
pub fn survey(others: bool) -> Survey {
    let mut discovery = Discovery::default();
    let mut finder = TlsFinder::default();
    let parents = discover::all()
        .into_iter()
        .map(|(pid, stat)| (pid, stat.parent));
    let parents: HashMap<u32, u32> = parents.collect();
    let mut pids: Vec<u32> = parents.keys().copied().collect();
    pids.sort_unstable();
    let mut unseen = Vec::new();
    let mut all = Vec::new();
    let mut tls = HashMap::new();
    for pid in pids.into_iter().filter(|pid| *pid != std::process::id()) {
        let process = match discovery.describe(pid, Depth::Inside) {
            Ok(process) => process,
            // It ended meanwhile.
            Err(ProcessError::Gone(_) | ProcessError::NotFound(_)) => continue,
            Err(error) => {
                unseen.push(error);
                continue;
            }
        };
        let what = classify(&process);
        let known = process.python || what.server.is_some();
        if !known && !others {
            continue;
        }
        let state = tls_of(&mut finder, pid, &process);
        if !known && state == TlsState::None {
            continue;
        }
        tls.insert(pid, state);
        all.push((process, what));
    }
    let by_pid: HashMap<u32, _> = all.iter().map(|one| (one.0.pid, one)).collect();
    let seen = |pid: u32| by_pid.get(&pid).copied();
    let mut services: HashMap<u32, (u32, String)> = all
        .iter()
        .map(|(process, _)| {
            let root = service::root(process.pid, &seen, &parents);
            let name = seen(root).map(|(root, _)| service_name(root));
            (process.pid, (root, name.unwrap_or_default()))
        })
        .collect();
    let found = all.into_iter().map(|(process, what)| {
        let own = (process.pid, String::new());
        let (root, service) = services.remove(&process.pid).unwrap_or(own);
        let tls = tls.remove(&process.pid).unwrap_or(TlsState::None);
        Surveyed {
            process,
            what,
            root,
            service,
            tls,
        }
    });
    Survey {
        found: found.collect(),
        unseen,
    }
}

/// The name of a process's service: what its environment says, else what it runs.
#[must_use]
pub fn service_name(process: &Description) -> String {
    told_service(process)
        .unwrap_or_else(|| command::service_name_in(&process.command, process.variable("PEX")))
}

/// What a process's own environment says that its service is called.
#[must_use]
pub fn told_service(process: &Description) -> Option<String> {
    let get = |name: &str| process.variable(name).map(str::to_owned);
    Environment::read(get, &ContentPolicy::default()).service_name
}

fn tls_of(finder: &mut TlsFinder, pid: u32, process: &Description) -> TlsState {
    let Ok(files) = process::mapped_code(pid) else {
        return TlsState::None;
    };
    let executable = PathBuf::from(&process.executable);
    let mut worst = TlsState::None;
    let mut candidates: Vec<_> = files
        .iter()
        .filter(|f| TlsFinder::candidate(f, &executable))
        .collect();
    // What Python's own `ssl` uses is told first.
    candidates.sort_by_key(|f| tls::is_carrier(f));
    for file in candidates {
        let path = file.path.clone();
        match finder.examine(&file.reach) {
            TlsFile::None => {}
            TlsFile::Reachable(found) => {
                return TlsState::Reachable {
                    path,
                    banner: found.banner,
                    found_by: found.found_by,
                };
            }
            TlsFile::Unreachable { banner, why } => {
                let why = format!("{banner}: {why}");
                worst = TlsState::Unreachable { path, why };
            }
            TlsFile::Unreadable(why) if worst == TlsState::None => {
                worst = TlsState::Unreachable { path, why };
            }
            TlsFile::Unreadable(_) => {}
        }
    }
    worst
}
