//! Modules that a process may import later: the probe that tells of them while any is waited for, and what was
//! found in the code of one whose body has not run yet.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use genspan_common::imports::Awaited;

use super::{Entries, Watching, reached_from};
use crate::probe::kernel::{AttachError, Kernel, Probes};
use crate::probe::slots;
use crate::target::functions::{self, Hook};
use crate::target::imports::{self, MAIN};
use crate::target::process;

/// So many calls of what runs the bodies of modules, and what `exec` and `eval` are given, a process is
/// probed at: then it is one that lives by that, and modules are looked for now and then only.
const MOST_SEEN: u64 = 200_000;
/// The same of those with the name of a wanted file.
const MOST_TOLD: u64 = 2_000;
/// How often these are looked at.
const CHECKED_EVERY: Duration = Duration::from_secs(1);
/// How long what is in the code of a module's body is taken for what the module will have.
const EARLY_FOR: Duration = Duration::from_secs(60);
/// Where the end of a body is not told: how long the module is looked at often, and how often.
const HURRY_FOR: Duration = Duration::from_secs(10);
const HURRY_EVERY: Duration = Duration::from_millis(5);
/// How long it is remembered which packages there are to be imported.
const LISTED_FOR: Duration = Duration::from_secs(30);

/// The files of all modules whose functions are wanted in any process.
#[derive(Debug, Default)]
pub(in super::super) struct Files {
    pieces: Vec<(u64, u32)>,
    told: bool,
    /// What makes watchpoints be placed quickly, while any process holds it.
    ready: Weak<OwnedFd>,
}

impl Files {
    /// Those of these modules.
    pub(in super::super) fn of<'m>(modules: impl Iterator<Item = &'m str>) -> Self {
        Self {
            pieces: imports::pieces(modules),
            told: false,
            ready: Weak::new(),
        }
    }

    /// Makes watchpoints be placed quickly as long as this is held; without it they are placed all the same.
    fn ready(&mut self) -> Option<Arc<OwnedFd>> {
        let known = self.ready.upgrade();
        let ready = known.or_else(|| slots::ready().ok().map(Arc::new))?;
        self.ready = Arc::downgrade(&ready);
        Some(ready)
    }

    fn tell(&mut self, kernel: &mut Kernel) -> Result<(), String> {
        if !self.told {
            let told = kernel.set_module_files(&self.pieces);
            told.map_err(|e| e.to_string())?;
            self.told = true;
            self.pieces = Vec::new();
        }
        Ok(())
    }
}

/// How modules that are waited for are noticed.
#[derive(Debug, Default)]
enum State {
    /// None is waited for.
    #[default]
    Unwanted,
    /// When they are imported.
    Probed {
        hook: Hook,
        awaited: Awaited,
        ready: Option<Arc<OwnedFd>>,
        _probes: Probes,
    },
    /// When they are looked for; why that is so.
    Polled(String),
}

/// A function that was found in the code of its module's body.
#[derive(Clone, Copy, Debug)]
struct Early {
    code: u64,
    since: Instant,
}

/// What is known of the modules that a process imports.
#[derive(Debug, Default)]
pub(super) struct Imports {
    state: State,
    /// By which of the wanted ones they are.
    early: BTreeMap<usize, Early>,
    /// A wanted module was seen to begin.
    any: bool,
    /// Until when it is looked at often.
    hurry: Option<Instant>,
    checked: Option<Instant>,
    /// Packages that there are to be imported, and since when that is known.
    listed: Option<(Instant, Vec<String>)>,
}

impl Imports {
    /// A function is not watched any more by what was found in the code of its module's body.
    pub(super) fn forget_early(&mut self, index: usize) {
        self.early.remove(&index);
    }
}

impl Watching {
    /// Has modules told when they are imported, while any is waited for.
    pub(in super::super) fn await_modules(
        &mut self,
        kernel: &mut Kernel,
        pid: u32,
        awaited: bool,
        files: &mut Files,
    ) {
        match (&self.imports.state, awaited) {
            (State::Unwanted, true) => {
                if let Err(why) = self.try_await(kernel, pid, files) {
                    self.polls(pid, why);
                }
            }
            (State::Probed { .. }, false) => {
                tracing::debug!(pid, "no module is waited for any more");
                self.imports.state = State::Unwanted;
                kernel.forget_awaited(pid);
            }
            _ => {}
        }
    }

    fn polls(&mut self, pid: u32, why: String) {
        if !process::runs(pid) {
            return;
        }
        self.tell(
            pid,
            format!(
                "modules that are imported later are looked for now and then, and calls before that are not \
                 seen: {why}"
            ),
        );
        self.imports.state = State::Polled(why);
    }

    fn try_await(
        &mut self,
        kernel: &mut Kernel,
        pid: u32,
        files: &mut Files,
    ) -> Result<(), String> {
        let python = self.python.as_ref().ok_or("its interpreter is gone")?;
        let hook = imports::hook(python, pid).map_err(|e| e.to_string())?;
        let awaited = imports::awaited(python).ok_or("its layout is not one for the kernel")?;
        files.tell(kernel)?;
        // What can be done before there is a function to watch is done before: to look up symbols, too, of which
        // the file is remembered.
        functions::traceback_hook(python, pid, true).ok();
        self.tell_layout(kernel, pid)?;
        self.probe_imports(kernel, pid, (hook, awaited, files.ready()))
    }

    fn probe_imports(
        &mut self,
        kernel: &mut Kernel,
        pid: u32,
        (hook, awaited, ready): (Hook, Awaited, Option<Arc<OwnedFd>>),
    ) -> Result<(), String> {
        let told = kernel.await_modules(pid, awaited);
        told.map_err(|e| e.to_string())?;
        let offset = hook.offsets.first().copied().unwrap_or(0);
        match kernel.attach_imports(pid, &hook.reach, offset) {
            Ok(probes) => {
                tracing::debug!(pid, "modules are told when they are imported");
                self.imports.state = State::Probed {
                    hook,
                    awaited,
                    ready,
                    _probes: probes,
                };
                Ok(())
            }
            Err(AttachError::Gone(_)) => Ok(()),
            Err(why) => {
                kernel.forget_awaited(pid);
                Err(why.to_string())
            }
        }
    }

    /// The same in a forked child of this process, as far as this has it.
    pub(super) fn await_childs_modules(
        &self,
        kernel: &mut Kernel,
        own: u32,
        (child, all): (u32, &mut Self),
    ) {
        all.imports.early.clone_from(&self.imports.early);
        all.imports.listed.clone_from(&self.imports.listed);
        match &self.imports.state {
            State::Unwanted => {}
            State::Polled(why) => all.imports.state = State::Polled(why.clone()),
            State::Probed {
                hook,
                awaited,
                ready,
                ..
            } => {
                let Some(reach) = reached_from(&hook.reach, own, child) else {
                    return;
                };
                let offsets = hook.offsets.clone();
                let hook = Hook { reach, offsets };
                if let Err(why) = all.probe_imports(kernel, child, (hook, *awaited, ready.clone()))
                {
                    all.polls(child, why);
                }
            }
        }
    }

    /// Leaves a process alone that lives by running code, where that is what is probed.
    pub(in super::super) fn check_imports(&mut self, kernel: &mut Kernel, pid: u32) {
        let imports = &mut self.imports;
        let is_due = imports
            .checked
            .is_none_or(|at| at.elapsed() >= CHECKED_EVERY);
        if !matches!(imports.state, State::Probed { .. }) || !is_due {
            return;
        }
        imports.checked = Some(Instant::now());
        let Some(counted) = kernel.awaited(pid) else {
            return;
        };
        if counted.seen < MOST_SEEN && counted.told < MOST_TOLD {
            return;
        }
        let why = format!(
            "it ran the code of modules, and of `exec` and `eval`, {} times without the module, so it is not \
             probed there any more",
            counted.seen
        );
        kernel.forget_awaited(pid);
        self.polls(pid, why);
    }

    /// Whether modules are told when they are imported; why not, where one is waited for.
    pub(in super::super) fn tells_imports(&self) -> Option<Result<(), &str>> {
        match &self.imports.state {
            State::Unwanted => None,
            State::Probed { .. } => Some(Ok(())),
            State::Polled(why) => Some(Err(why)),
        }
    }

    /// Whether the process could import a module, as far as the folders tell that it imports from. Remembered
    /// for all of these.
    pub(in super::super) fn may_import(&mut self, pid: u32, module: &str, of: &[&str]) -> bool {
        let package = package(module);
        let listed = self.imports.listed.as_ref();
        let is_fresh = listed.is_some_and(|(at, _)| at.elapsed() < LISTED_FOR);
        if !is_fresh {
            let Some(python) = &self.python else {
                return false;
            };
            let found = imports::importable(python, pid, of);
            self.imports.listed = Some((Instant::now(), found));
        }
        let listed = self.imports.listed.as_ref();
        listed.is_some_and(|(_, all)| all.iter().any(|one| one == package))
    }

    /// The body of a wanted module begins.
    pub(in super::super) fn module_begins(&mut self, tells_end: bool) {
        self.imports.any = true;
        if !tells_end {
            self.imports.hurry = Some(Instant::now() + HURRY_FOR);
        }
    }

    /// Whether its functions may be called soon, so that nothing is to be waited for.
    pub(super) const fn is_importing(&self) -> bool {
        self.imports.any
    }

    /// Whether it is looked at often just now; and whether that is due.
    pub(in super::super) fn hurries(&self) -> (bool, bool) {
        let hurries = self.imports.hurry.is_some_and(|end| Instant::now() < end);
        let hurries = hurries && !self.pending.is_empty();
        let is_due = self.looked.is_none_or(|at| at.elapsed() >= HURRY_EVERY);
        (hurries, hurries && is_due)
    }

    /// A function is watched whose code was found in that of its module's body.
    pub(in super::super) fn note_early(&mut self, index: usize, code: u64) {
        let since = Instant::now();
        self.imports.early.insert(index, Early { code, since });
    }

    /// Takes back that a function is watched whose module is not there after all.
    pub(in super::super) fn check_early(
        &mut self,
        (kernel, entries): (&mut Kernel, &mut Entries),
        index: usize,
        is_loaded: bool,
    ) {
        let early = self.imports.early.get(&index);
        if early.is_some_and(|early| !is_loaded || early.since.elapsed() >= EARLY_FOR) {
            self.leave_early((kernel, entries), index);
        }
    }

    /// Takes back that a function is watched by what was found in the code of its module's body.
    pub(in super::super) fn leave_early(
        &mut self,
        (kernel, entries): (&mut Kernel, &mut Entries),
        index: usize,
    ) {
        if self.imports.early.remove(&index).is_none() {
            return;
        }
        let own = self.armed.extract_if(.., |armed| armed.index == index);
        let keys: Vec<_> = own.flat_map(|armed| armed.keys).collect();
        entries.release(kernel, &keys);
    }

    /// A function was found by its name. Says whether it is the one that is watched already.
    pub(in super::super) fn is_early(
        &mut self,
        (kernel, entries): (&mut Kernel, &mut Entries),
        index: usize,
        code: u64,
    ) -> bool {
        if self.is_watched(index, code) {
            self.imports.forget_early(index);
            return true;
        }
        // A decorator put another one in its place.
        self.leave_early((kernel, entries), index);
        false
    }

    /// Whether a function with this code needs no more to be watched. One that was watched early is waited for at the
    /// same time; if it makes room for another one meanwhile, or the parent that watched it ends, it is waited for
    /// twice, and is to be watched once.
    fn is_watched(&self, index: usize, code: u64) -> bool {
        let early = self.imports.early.get(&index);
        self.has(index) && early.is_none_or(|early| early.code == code)
    }
}

/// Whether the import of a module can be waited for at all.
pub(in super::super) fn is_imported(module: &str) -> bool {
    module != MAIN
}

/// What a module is found by in a folder: its package.
pub(in super::super) fn package(module: &str) -> &str {
    module.split('.').next().unwrap_or(module)
}

#[cfg(test)]
mod tests {
    use super::{Early, Instant, Watching};

    const PARENT: u32 = 7;

    #[test]
    fn what_is_waited_for_twice_is_watched_once() {
        let early = |code| Early {
            code,
            since: Instant::now(),
        };
        let mut child = Watching::new(PARENT, 2, true);
        // Forked while the body of a module ran in which the second one is.
        child.inherited.push((PARENT, 1));
        child.imports.early.insert(1, early(0x10));
        assert!(
            child.is_watched(1, 0x10) && !child.is_watched(1, 0x20) && !child.is_watched(0, 0x10)
        );
        // Its parent ends, and takes its watchpoints with it.
        child.outlives(PARENT);
        let waits = child.pending.iter().filter(|(index, _)| *index == 1);
        assert_eq!(waits.count(), 2);
        assert!(!child.is_watched(1, 0x10));
        // It was found by its name, and is watched by this process itself.
        child.imports.forget_early(1);
        child.armed.push(super::super::Armed {
            index: 1,
            keys: Vec::new(),
            points: Vec::new(),
        });
        assert!(child.is_watched(1, 0x10));
    }
}
