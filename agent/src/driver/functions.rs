//! The functions that are to be watched, in each traced process: found as soon as their module is
//! loaded, watched in all threads, told once.

use std::collections::HashMap;
use std::time::Instant;

use genspan_common::function::MAX_ARGUMENTS;

use super::frameworks::{self, Looked};
use super::watching::imports::{Files, is_imported, package};
use super::watching::{Entries, FunctionProbe, Watching};
use crate::framework::Hook;
use crate::model::function::FunctionFacts;
use crate::probe::kernel::Kernel;
use crate::python::find::NotFound;
use crate::python::wanted::Wanted;
use crate::state::mechanisms::Way;
use crate::state::status::Mechanism;
use crate::target::functions::{self, CannotWatch, Watchable};
use crate::target::process;
use crate::target::python::{NoPython, Python};
use crate::target::secrets::names_secret;

mod late;

/// After so many looks it is told that a name is not there, not only its module.
const SURE: u32 = 3;
/// In so many processes at a time functions are looked for, those first for which it is longest
/// ago: what they say is read in between.
const MOST_AT_A_TIME: usize = 32;
/// Of those, so many whose interpreter is not known yet, which takes longer.
const MOST_OPENED: usize = 4;
/// So many functions are remembered, to give one the same number in all processes.
const MOST_REMEMBERED: usize = 4096;

/// A function that is looked for.
#[derive(Debug)]
pub(super) struct Sought {
    pub(super) wanted: Wanted,
    /// What it was in older versions, as [`Hook::before`] has it.
    pub(super) before: Vec<Wanted>,
    /// That of a framework, if it is one.
    pub(super) hook: Option<&'static Hook>,
}

/// All functions that are watched.
#[derive(Debug)]
pub struct Functions {
    /// Those that were asked for come first.
    wanted: Vec<Sought>,
    /// How they are seen.
    way: FunctionProbe,
    processes: HashMap<u32, Watching>,
    entries: Entries,
    /// Those that were told.
    told: Vec<FunctionFacts>,
    next: u32,
    /// Processes in which a framework was found just now, or a coroutine that is watched.
    followed: Vec<u32>,
    /// The files of the modules of all that is wanted, and the packages of frameworks.
    files: Files,
    packages: Vec<&'static str>,
    /// Processes in which a module was begun whose end is not told.
    hurried: Vec<u32>,
}

impl Functions {
    /// These are wanted, and what is known of frameworks if that is. What looks like a secret by its name is not told, and without
    /// `arguments` none is read at all.
    #[must_use]
    pub fn new(
        (wanted, way): (Vec<Wanted>, FunctionProbe),
        arguments: bool,
        frameworks: bool,
    ) -> Self {
        let mut wanted = joined(wanted);
        for one in &mut wanted {
            if !arguments {
                one.arguments.clear();
            }
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
        let asked = wanted.into_iter().map(|wanted| Sought {
            wanted,
            before: Vec::new(),
            hook: None,
        });
        let mut wanted: Vec<_> = asked.collect();
        if frameworks {
            wanted.extend(frameworks::sought());
        }
        let names = wanted
            .iter()
            .flat_map(|sought| std::iter::once(&sought.wanted).chain(&sought.before));
        let files = Files::of(names.map(|wanted| wanted.name.module.as_str()));
        let hooks = wanted.iter().filter_map(|sought| sought.hook);
        let functions = hooks.flat_map(|hook| {
            let before = hook.before.iter().map(|before| before.function);
            std::iter::once(hook.function).chain(before)
        });
        let modules = functions.filter_map(|name| Some(name.split_once(':')?.0));
        let mut packages: Vec<_> = modules.map(package).collect();
        packages.sort_unstable();
        packages.dedup();
        Self {
            files,
            packages,
            hurried: Vec::new(),
            wanted,
            processes: HashMap::new(),
            way,
            entries: Entries::default(),
            told: Vec::new(),
            next: 1,
            followed: Vec::new(),
        }
    }

    /// Whether none is wanted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// A process is traced from now on, or runs another program: looks for the functions. What is
    /// inside of objects is copied if its `contents` are wanted.
    pub fn add(&mut self, kernel: &mut Kernel, pid: u32, contents: bool) -> Vec<FunctionFacts> {
        if self.is_empty() {
            return Vec::new();
        }
        self.forget(kernel, pid);
        self.processes
            .insert(pid, Watching::new(pid, self.wanted.len(), contents));
        self.look(kernel, pid)
    }

    /// Whether what is inside of objects is to be copied is decided anew for each process.
    pub fn set_contents(&mut self, kernel: &mut Kernel, wanted: impl Fn(u32) -> Option<bool>) {
        for (pid, watching) in &mut self.processes {
            if let Some(contents) = wanted(*pid) {
                watching.set_contents(kernel, *pid, contents);
            }
        }
    }

    /// A process was forked: it has its parent's watchpoints.
    pub fn forked(&mut self, kernel: &mut Kernel, pid: u32, parent: u32) {
        if let Some(parents) = self.processes.get(&parent)
            && !self.processes.contains_key(&pid)
        {
            let child = parents.inherit(kernel, pid, parent);
            self.processes.insert(pid, child);
        }
    }

    /// A process is gone, or runs another program.
    pub fn forget(&mut self, kernel: &mut Kernel, pid: u32) {
        if let Some(watching) = self.processes.remove(&pid) {
            kernel.unwatch_process(pid);
            self.entries.release(kernel, &watching.keys());
            drop(watching);
            for other in self.processes.values_mut() {
                other.outlives(pid);
            }
        }
    }

    /// Watches nothing any more: what comes from now on is not wanted.
    pub fn release(&mut self) {
        self.processes.clear();
    }

    /// The ways in which functions and frameworks are seen in a process.
    #[must_use]
    pub fn mechanisms(&self, pid: u32) -> Vec<Mechanism> {
        let Some(watching) = self.processes.get(&pid) else {
            return Vec::new();
        };
        let taken = watching.taken();
        let mut by_name: Vec<(String, u32)> = Vec::new();
        for (index, count) in taken {
            let Some(sought) = self.wanted.get(index) else {
                continue;
            };
            // As `Watching::arm` and `Watching::arm_hook` take them.
            let (name, each) = match sought.hook {
                Some(hook) => (frameworks::framework(hook).to_owned(), 1),
                None => (sought.wanted.name.to_string(), 2),
            };
            let count = count.unwrap_or(each);
            match by_name.iter_mut().find(|(known, _)| *known == name) {
                Some((_, all)) => *all += count,
                None => by_name.push((name, count)),
            }
        }
        let mut all = Vec::new();
        let (frames, by_name): (Vec<_>, Vec<_>) =
            by_name.into_iter().partition(|(_, count)| *count == 0);
        if !frames.is_empty() {
            let names = frames.into_iter().map(|(name, _)| name).collect();
            let way = if watching.is_resumed() {
                Way::Resume
            } else {
                Way::Interpreter
            };
            all.push(way.used_by(names, 0));
        }
        if !by_name.is_empty() {
            let sum = by_name.iter().map(|(_, count)| count).sum();
            let names = by_name.into_iter();
            let names = names.map(|(name, count)| format!("{name} ({count})"));
            all.push(Mechanism {
                ahead: watching.ahead,
                ..Way::Watchpoints.used_by(names.collect(), sum)
            });
        }
        let raised = watching.sees_exceptions();
        if !raised.is_empty() {
            let names = raised.into_iter().map(str::to_owned).collect();
            all.push(Way::Exceptions.used_by(names, 0));
        }
        all.extend(self.imports(watching));
        all
    }

    /// A function began whose frame its thread had in a register only.
    pub fn note_ahead(&mut self, pid: u32) {
        if let Some(watching) = self.processes.get_mut(&pid) {
            watching.ahead += 1;
        }
    }

    /// Time passes: looks for functions that are not found yet.
    pub fn tick(&mut self, kernel: &mut Kernel) -> Vec<FunctionFacts> {
        if self.is_empty() {
            return Vec::new();
        }
        for (pid, watching) in &mut self.processes {
            watching.check_resume(kernel, &mut self.entries, *pid);
            watching.check_imports(kernel, *pid);
        }
        let due = self.processes.iter().filter(|(_, w)| w.is_due());
        let mut due: Vec<_> = due
            .map(|(pid, w)| (w.looked, *pid, w.python.is_some()))
            .collect();
        due.sort_unstable();
        let mut opened = 0;
        due.retain(|(_, _, open)| {
            opened += usize::from(!open);
            *open || opened <= MOST_OPENED
        });
        due.truncate(MOST_AT_A_TIME);
        let mut all = Vec::new();
        for (_, pid, _) in due {
            all.extend(self.look(kernel, pid));
        }
        all
    }

    /// The interpreter of a process in which functions are watched.
    #[must_use]
    pub fn python(&self, pid: u32) -> Option<&Python> {
        self.processes.get(&pid)?.python.as_ref()
    }

    /// Processes in which a framework, or a coroutine that is watched, was found since the last time:
    /// their contexts are to be followed.
    pub fn to_follow(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.followed)
    }

    fn look(&mut self, kernel: &mut Kernel, pid: u32) -> Vec<FunctionFacts> {
        let Some(mut watching) = self.processes.remove(&pid) else {
            return Vec::new();
        };
        let mut found = self.look_in(kernel, pid, &mut watching);
        found.extend(self.move_on(kernel, pid, &mut watching));
        self.processes.insert(pid, watching);
        found
    }

    /// Looks at once for those that made room for others, to see them in another way.
    fn move_on(
        &mut self,
        kernel: &mut Kernel,
        pid: u32,
        watching: &mut Watching,
    ) -> Vec<FunctionFacts> {
        if std::mem::take(&mut watching.moved) {
            self.look_in(kernel, pid, watching)
        } else {
            Vec::new()
        }
    }

    fn look_in(
        &mut self,
        kernel: &mut Kernel,
        pid: u32,
        watching: &mut Watching,
    ) -> Vec<FunctionFacts> {
        watching.looked = Some(Instant::now());
        if watching.pending.is_empty() {
            return Vec::new();
        }
        let wanted = &self.wanted;
        let is_hook =
            |(index, _): &(usize, u32)| wanted.get(*index).is_some_and(|w| w.hook.is_some());
        let only_hooks = watching.pending.iter().all(is_hook);
        if watching.python.is_none() && only_hooks && !frameworks::may_be_loaded(pid) {
            return Vec::new();
        }
        if watching.python.is_none() {
            match open(pid) {
                Ok(python) => watching.python = Some(python),
                Err(error) => {
                    tracing::debug!(pid, "no functions are watched yet: {error}");
                    // One that starts is not one yet; one that stays so is told of.
                    let again = error.may_change && watching.looks_again();
                    if !again && process::runs(pid) {
                        if only_hooks {
                            tracing::debug!(pid, "no frameworks are looked for: {error}");
                            watching.pending.clear();
                        } else {
                            watching.give_up(pid, &error.why);
                        }
                    }
                    return Vec::new();
                }
            }
        }
        let mut found = Vec::new();
        let mut watched = Vec::new();
        // A large program has thousands of modules: each is looked for once.
        let mut missing: Vec<String> = Vec::new();
        // Whether a module of any of them may still be imported.
        let mut awaited = false;
        // What those of frameworks will be watched for; and whether one is to come in a module that is there.
        let mut expected = Vec::new();
        let mut is_due = false;
        // What others go by, and what comes before others, first: some come back to it later.
        let mut pending = std::mem::take(&mut watching.pending);
        pending.sort_unstable();
        for (index, looks) in pending {
            let (Some(python), Some(sought)) = (&watching.python, self.wanted.get(index)) else {
                continue;
            };
            if let Some(hook) = sought.hook {
                let module = sought.wanted.name.module.clone();
                if missing.contains(&module) {
                    watching.pending.push((index, 0));
                    continue;
                }
                let to = (&mut *kernel, &mut self.entries);
                let which = (index, sought, hook);
                let mut instead_of = Vec::new();
                let looked = frameworks::look(to, pid, watching, which, looks, &mut instead_of);
                match looked {
                    Looked::Again => {
                        awaited = true;
                        is_due |= hook.may_need_exceptions();
                        watching.pending.push((index, looks.saturating_add(1)));
                    }
                    Looked::Waits => watching.pending.push((index, looks)),
                    // What cannot be read of an interpreter that ends, after many looks at one
                    // without the framework, is nothing to complain of.
                    Looked::NotLoaded => {
                        if watching.may_import(pid, &module, &self.packages) {
                            awaited = true;
                            expected.push(hook.what);
                        }
                        missing.push(module);
                        watching.pending.push((index, 0));
                    }
                    Looked::Found if frameworks::is_first(hook) => {
                        if frameworks::needs_contexts(hook) {
                            self.followed.push(pid);
                        }
                        watched.push(frameworks::framework(hook));
                    }
                    Looked::Found | Looked::Never => {}
                }
                for index in instead_of {
                    if looked != Looked::Found {
                        // They made room for nothing.
                        watching.pending.push((index, 0));
                    } else if let Some(hook) = self.wanted.get(index).and_then(|other| other.hook) {
                        let why = "the processor has four watchpoints for each thread, and \
                                   others come before it";
                        watching.tell(pid, frameworks::misses(hook, why));
                    }
                }
                continue;
            }
            match functions::find(python, &sought.wanted) {
                Ok(watchable) => {
                    let code = watchable.code.address;
                    if watching.is_early((kernel, &mut self.entries), index, code) {
                        continue;
                    }
                    match self.take((kernel, pid, watching), index, &watchable) {
                        Ok(facts) => found.extend(facts),
                        Err(why) => watching.tell(pid, why),
                    }
                }
                Err(error) if error.may_come() => {
                    let name = &sought.wanted.name;
                    let said = format!("waiting for {name}: {error}");
                    let is_late = !matches!(error, CannotWatch::NotFound(NotFound::NotLoaded(_)));
                    // What a module that is there does not have soon will not come by an import.
                    awaited |= is_imported(&name.module) && (!is_late || looks < SURE);
                    watching.check_early((kernel, &mut self.entries), index, is_late);
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
        watching.await_modules(kernel, pid, awaited, &mut self.files);
        frameworks::prepare(kernel, expected);
        if !is_due {
            watching.leave_failures();
        }
        // With all that is to be had of it.
        for framework in watched {
            tracing::info!("watching {framework} (pid {pid})");
        }
        found
    }

    /// Watches a function that was found. Gives what is told of it, unless it was told before; or why it is
    /// not watched.
    fn take(
        &mut self,
        (kernel, pid, watching): (&mut Kernel, u32, &mut Watching),
        index: usize,
        watchable: &Watchable,
    ) -> Result<Option<FunctionFacts>, String> {
        let Some(Sought { wanted, .. }) = self.wanted.get(index) else {
            return Ok(None);
        };
        let facts = facts(wanted, watchable, self.next);
        let told = self.told.iter().find(|told| {
            let same = FunctionFacts {
                id: told.id,
                ..facts.clone()
            };
            **told == same
        });
        let id = told.map_or(facts.id, |told| told.id);
        let is_new = told.is_none();
        let mut instead_of = Vec::new();
        let to = (&mut *kernel, &mut self.entries);
        let way = (self.way, &mut instead_of);
        if let Err(why) = watching.arm(to, pid, (index, id), watchable, way) {
            // They made room for nothing.
            let back = instead_of.into_iter().map(|index| (index, 0));
            watching.pending.extend(back);
            return Err(format!("`{}` is not watched: {why}", wanted.name));
        }
        tracing::info!("watching {} (pid {pid})", wanted.name);
        // What it does by other tasks and threads shows by their contexts.
        if watchable.generator {
            self.followed.push(pid);
        }
        let in_vain = !watching.has_points(index);
        let moves = self.way == FunctionProbe::Auto && watching.sees_frames(kernel);
        for index in instead_of {
            let Some(other) = self.wanted.get(index) else {
                continue;
            };
            if in_vain || moves && other.hook.is_none() {
                // They made room for nothing, or are seen in another way.
                watching.pending.push((index, 0));
                watching.moved = true;
            } else {
                let said = format!(
                    "`{}` is watched no more: `{}` comes before it",
                    other.wanted.name, wanted.name
                );
                watching.tell(pid, said);
            }
        }
        for name in &watchable.unknown {
            let said = format!("`{}` has no argument `{name}`", wanted.name);
            watching.tell(pid, said);
        }
        if !is_new {
            return Ok(None);
        }
        self.next = self.next.wrapping_add(1);
        if self.told.len() < MOST_REMEMBERED {
            self.told.push(facts.clone());
        }
        Ok(Some(facts))
    }
}

/// Why the functions of a process are not watched.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
struct NotOpened {
    why: String,
    /// It may be otherwise later.
    may_change: bool,
}

/// The interpreter of a process, if functions can be watched in it.
fn open(pid: u32) -> Result<Python, NotOpened> {
    let python = Python::open(pid).map_err(|error| match error {
        NoPython::Unsupported(error) => NotOpened {
            why: format!("{error}; run the program with CPython 3.8 to 3.14, with the GIL"),
            may_change: false,
        },
        error => NotOpened {
            why: error.to_string(),
            may_change: true,
        },
    })?;
    if python.fit.thread_state.is_none() {
        return Err(NotOpened {
            why: CannotWatch::NoThreadState.to_string(),
            may_change: false,
        });
    }
    Ok(python)
}

/// What is told of a function.
fn facts(wanted: &Wanted, watchable: &Watchable, id: u32) -> FunctionFacts {
    let names = watchable.arguments.iter().map(|(name, _)| name.clone());
    FunctionFacts {
        id,
        module: wanted.name.module.clone(),
        name: wanted.name.parts.join("."),
        file: watchable.code.filename.clone(),
        line: watchable.code.first_line,
        arguments: names.collect(),
    }
}

/// Each function once, where it was named first, with all arguments that were named for it.
fn joined(wanted: Vec<Wanted>) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    for one in wanted {
        let Some(same) = all.iter_mut().find(|w| w.name == one.name) else {
            all.push(one);
            continue;
        };
        for name in one.arguments {
            if same.arguments.contains(&name) {
                continue;
            }
            if same.arguments.len() < MAX_ARGUMENTS {
                same.arguments.push(name);
            } else {
                tracing::warn!(
                    "the argument `{name}` of `{}` is not told: at most {MAX_ARGUMENTS} are",
                    same.name
                );
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn a_function_that_is_named_twice_is_one() {
        let given = [
            "a:f(x)",
            "a:g",
            "a:f(y, x)",
            "a:f",
            "a:g(p,q,r,s,t,u,v)",
            "a:g(w,z)",
        ];
        let wanted = given.iter().map(|text| text.parse().unwrap()).collect();
        let all: Vec<_> = joined(wanted)
            .into_iter()
            .map(|w| (w.name.to_string(), w.arguments.join(",")))
            .collect();
        let expected = [("a:f", "x,y"), ("a:g", "p,q,r,s,t,u,v,w")];
        assert_eq!(all, expected.map(|(n, a)| (n.to_owned(), a.to_owned())));
    }
}
