//! The functions that are to be watched, in each traced process: found as soon as their module is
//! loaded, watched in all threads, told once.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use genspan_common::function::{ArgumentSlot, MAX_ARGUMENTS, Watch, WatchKey, what};

use crate::model::function::FunctionFacts;
use crate::probe::functions::{NoWatchpoint, Watchpoint};
use crate::probe::kernel::{Kernel, Probes};
use crate::python::wanted::Wanted;
use crate::target::command::names_secret;
use crate::target::functions::{self, CannotWatch, Watchable};
use crate::target::process;
use crate::target::python::Python;

/// How long a process is looked at often for modules that it loads; later now and then.
const OFTEN: Duration = Duration::from_secs(60);
/// How often it is looked at then.
const NOW_AND_THEN: Duration = Duration::from_secs(5);
/// After so many looks it is told that a name is not there, not only its module.
const SURE: u32 = 3;
/// How often the list of threads is read until no new one is on it.
const ROUNDS: u32 = 16;

/// A function that is watched in a process.
#[derive(Debug)]
struct Armed {
    /// Which of the wanted ones; the lower, the more important.
    index: usize,
    keys: Vec<WatchKey>,
    #[expect(dead_code, reason = "held to be dropped")]
    points: Vec<Watchpoint>,
}

/// The functions of one process.
#[derive(Debug)]
struct Watching {
    /// Where its watchpoints are known: its own, or those of the process it was forked from.
    root: u32,
    python: Option<Python>,
    /// Which of the wanted ones are not found yet, and how often they were looked for.
    pending: Vec<(usize, u32)>,
    armed: Vec<Armed>,
    traceback: Option<Probes>,
    /// Its layout is in the kernel.
    known: bool,
    since: Instant,
    looked: Option<Instant>,
    told: BTreeSet<String>,
}

impl Watching {
    fn new(root: u32, wanted: usize) -> Self {
        Self {
            root,
            python: None,
            pending: (0..wanted).map(|index| (index, 0)).collect(),
            armed: Vec::new(),
            traceback: None,
            known: false,
            since: Instant::now(),
            looked: None,
            told: BTreeSet::new(),
        }
    }

    fn is_due(&self) -> bool {
        let every = if self.since.elapsed() < OFTEN {
            Duration::ZERO
        } else {
            NOW_AND_THEN
        };
        !self.pending.is_empty() && self.looked.is_none_or(|at| at.elapsed() >= every)
    }

    fn tell(&mut self, pid: u32, said: String) {
        if !self.told.contains(&said) {
            tracing::warn!("{said} (pid {pid})");
            self.told.insert(said);
        }
    }
}

/// All functions that are watched.
#[derive(Debug)]
pub struct Functions {
    wanted: Vec<Wanted>,
    processes: HashMap<u32, Watching>,
    next: u32,
}

impl Functions {
    /// These are wanted. What looks like a secret by its name is not told.
    #[must_use]
    pub fn new(mut wanted: Vec<Wanted>) -> Self {
        for one in &mut wanted {
            one.arguments.retain(|name| {
                let secret = names_secret(name);
                if secret {
                    tracing::warn!(
                        "the argument `{name}` of `{}` is not told: by its name it is a secret",
                        one.name
                    );
                }
                !secret
            });
        }
        Self {
            wanted,
            processes: HashMap::new(),
            next: 1,
        }
    }

    /// Whether none is wanted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// A process is traced from now on, or runs another program: looks for the functions.
    pub fn add(&mut self, kernel: &mut Kernel, pid: u32) -> Vec<FunctionFacts> {
        if self.is_empty() {
            return Vec::new();
        }
        self.forget(kernel, pid);
        self.processes
            .insert(pid, Watching::new(pid, self.wanted.len()));
        self.look(kernel, pid)
    }

    /// A process was forked: it has its parent's watchpoints.
    pub fn forked(&mut self, pid: u32, parent: u32) {
        let Some(parents) = self.processes.get(&parent) else {
            return;
        };
        let mut child = Watching::new(parents.root, 0);
        child.pending.clone_from(&parents.pending);
        child.known = parents.known;
        self.processes.entry(pid).or_insert(child);
    }

    /// A process is gone, or runs another program.
    pub fn forget(&mut self, kernel: &mut Kernel, pid: u32) {
        if let Some(watching) = self.processes.remove(&pid) {
            let shared = self.processes.values().any(|w| w.root == watching.root);
            let keys = watching.armed.into_iter().flat_map(|armed| armed.keys);
            let keys: Vec<_> = keys.filter(|_| !shared).collect();
            kernel.unwatch(pid, &keys);
        }
    }

    /// Watches nothing any more: what comes from now on is not wanted.
    pub fn release(&mut self) {
        self.processes.clear();
    }

    /// Time passes: looks for functions that are not found yet.
    pub fn tick(&mut self, kernel: &mut Kernel) -> Vec<FunctionFacts> {
        if self.is_empty() {
            return Vec::new();
        }
        let due = self.processes.iter().filter(|(_, w)| w.is_due());
        let due: Vec<u32> = due.map(|(pid, _)| *pid).collect();
        let mut all = Vec::new();
        for pid in due {
            all.extend(self.look(kernel, pid));
        }
        all
    }

    fn look(&mut self, kernel: &mut Kernel, pid: u32) -> Vec<FunctionFacts> {
        let Some(watching) = self.processes.get_mut(&pid) else {
            return Vec::new();
        };
        watching.looked = Some(Instant::now());
        if watching.python.is_none() {
            match Python::open(pid) {
                Ok(python) => watching.python = Some(python),
                Err(error) => {
                    tracing::debug!(pid, "no functions are watched yet: {error}");
                    // One that starts is not one yet; one that stays so is told of.
                    if watching.since.elapsed() > OFTEN && process::runs(pid) {
                        watching.tell(pid, format!("no functions are watched: {error}"));
                    }
                    return Vec::new();
                }
            }
        }
        let mut found = Vec::new();
        for (index, looks) in std::mem::take(&mut watching.pending) {
            let (Some(python), Some(wanted)) = (&watching.python, self.wanted.get(index)) else {
                continue;
            };
            match functions::find(python, wanted) {
                Ok(watchable) => {
                    let id = self.next;
                    self.next = self.next.wrapping_add(1);
                    match watching.arm(kernel, pid, (index, id), &watchable) {
                        Ok(instead_of) => {
                            tracing::info!("watching {} (pid {pid})", wanted.name);
                            for index in instead_of {
                                if let Some(other) = self.wanted.get(index) {
                                    let said = format!(
                                        "`{}` is watched no more: `{}` comes before it",
                                        other.name, wanted.name
                                    );
                                    watching.tell(pid, said);
                                }
                            }
                            for name in watchable.unknown {
                                let said = format!("`{}` has no argument `{name}`", wanted.name);
                                watching.tell(pid, said);
                            }
                            let names = watchable.arguments.into_iter().map(|(name, _)| name);
                            found.push(FunctionFacts {
                                id,
                                module: wanted.name.module.clone(),
                                name: wanted.name.parts.join("."),
                                file: watchable.code.filename,
                                line: watchable.code.first_line,
                                arguments: names.collect(),
                            });
                        }
                        Err(why) => {
                            watching.tell(pid, format!("`{}` is not watched: {why}", wanted.name));
                        }
                    }
                }
                Err(error) if error.may_come() => {
                    let said = format!("waiting for {}: {error}", wanted.name);
                    let is_late = !matches!(
                        error,
                        CannotWatch::NotFound(crate::python::find::NotFound::NotLoaded(_))
                    );
                    if looks == SURE && is_late {
                        watching.tell(pid, said);
                    } else if looks == 0 {
                        tracing::info!("{said} (pid {pid})");
                    }
                    watching.pending.push((index, looks.saturating_add(1)));
                }
                Err(error) => watching.tell(pid, error.to_string()),
            }
        }
        found
    }
}

impl Watching {
    /// Watches a function in all threads of a process. Gives those that are not watched any more
    /// for it.
    fn arm(
        &mut self,
        kernel: &mut Kernel,
        pid: u32,
        (index, id): (usize, u32),
        function: &Watchable,
    ) -> Result<Vec<usize>, String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let Some(python) = &self.python else {
            return Err("its interpreter is gone".to_owned());
        };
        if !self.known {
            let process = functions::process(python, self.root).map_err(|e| text(&e))?;
            kernel.watch_process(pid, process).map_err(|e| text(&e))?;
            self.known = true;
        }
        if self.traceback.is_none()
            && let Some((path, offset)) = functions::traceback_hook(python, pid)
        {
            let probes = kernel.attach_traceback(pid, &path, offset);
            match probes {
                Ok(probes) => self.traceback = Some(probes),
                Err(error) => tracing::warn!(
                    pid,
                    "the end of functions that raise an exception is seen late: {error}"
                ),
            }
        }
        let mut slots = [ArgumentSlot::default(); MAX_ARGUMENTS];
        for (to, (_, from)) in slots.iter_mut().zip(&function.arguments) {
            *to = *from;
        }
        let watch = |what| Watch {
            code: function.code.address,
            function: id,
            what,
            arguments: u32::try_from(function.arguments.len()).unwrap_or(0),
            zero: 0,
            slots,
        };
        // The count first: a call that is seen to begin is to be seen to end.
        let mut keys = Vec::new();
        let places = [
            (function.code.address, what::COUNT),
            (function.code.entry, what::ENTRY),
        ];
        for (address, what) in places {
            let key = WatchKey {
                address,
                root: self.root,
                zero: 0,
            };
            kernel
                .watch_address(key, watch(what))
                .map_err(|e| text(&e))?;
            keys.push(key);
        }
        let mut instead_of = Vec::new();
        let points = loop {
            match points(kernel, pid, &places) {
                Ok(points) => break points,
                Err(NoWatchpoint::NoneLeft) => {
                    let others = self.armed.iter().enumerate();
                    let least = others.max_by_key(|(_, armed)| armed.index);
                    let Some((at, _)) = least.filter(|(_, armed)| armed.index > index) else {
                        return Err(NoWatchpoint::NoneLeft.to_string());
                    };
                    instead_of.push(self.armed.remove(at).index);
                }
                Err(error) => return Err(error.to_string()),
            }
        };
        self.armed.push(Armed {
            index,
            keys,
            points,
        });
        Ok(instead_of)
    }
}

/// Sets watchpoints on all threads of a process: what a thread starts later inherits them, but one
/// that was started by a thread that had none yet is found only by looking again.
fn points(
    kernel: &mut Kernel,
    pid: u32,
    places: &[(u64, u32)],
) -> Result<Vec<Watchpoint>, NoWatchpoint> {
    let mut done = BTreeSet::new();
    let mut all = Vec::new();
    for _ in 0..ROUNDS {
        let new: Vec<u32> = process::threads(pid)
            .into_iter()
            .filter(|tid| !done.contains(tid))
            .collect();
        if new.is_empty() {
            break;
        }
        for tid in new {
            done.insert(tid);
            for (address, what) in places {
                match kernel.watch_thread(tid, *address, *what) {
                    Ok(point) => all.push(point),
                    Err(NoWatchpoint::Gone) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(all)
}
