//! Probes on processes: put there, kept in step with what the process loads, forks and runs,
//! taken away.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::model::process::{ContentPolicy, Detected};
use crate::probe::kernel::{AttachError, Kernel, Probes};
use crate::probe::library::{AttachedLibrary, attach, begin_anew};
use crate::probe::python::{Interpreter, Purpose};
use crate::probe::sockets::Sockets;
use crate::probe::trial::{Outcome, Trial};
use crate::target::listening;
use crate::target::process::{self, MappedFile, ProcessError, Target};
use crate::target::settings::Settings;
use crate::target::sockets::LibcFinder;
use crate::target::tls::{self, FileKey, TlsFile, TlsFinder};
use genspan_common::guess::verdict;

/// Most processes traced at one time.
pub const MAX_TRACED: usize = genspan_common::limits::MAX_PROCESSES as usize;

/// In so many interpreters at a time it is looked whether what is loaded late is there.
const MOST_AT_A_TIME: usize = 32;
/// Of those, so many that are not known yet, which takes longer.
const MOST_OPENED: usize = 4;

/// How long a process that was executed just now is waited for until it has a C library, and how often.
const WAIT: Duration = Duration::from_millis(1);
const MOST_WAITS: u32 = 20;

/// A process that is traced.
#[derive(Debug)]
pub struct Traced {
    /// What it is.
    pub target: Target,
    /// Its TLS libraries.
    pub libraries: Vec<AttachedLibrary>,
    /// The process that it was forked from, if that is traced too.
    pub parent: Option<u32>,
    /// Its plain sockets.
    pub sockets: Sockets,
    /// Since when it is traced.
    pub since: SystemTime,
    /// Its Python interpreter.
    pub interpreter: Interpreter,
    /// The address of its pod, by Kubernetes. Nobody else has a say in it: it is where the process is asked for
    /// what it serves.
    pub pod: Option<IpAddr>,
    /// What was found out of where it runs without Kubernetes, once that has told of it.
    own: Option<Vec<(String, Detected)>>,
    /// What an operator sets for it.
    settings: Settings,
    linker: Option<Probes>,
}

impl Traced {
    /// Whether what it says is read: of a program that is no Python, if that was asked for.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        self.target.python || self.settings.other
    }

    /// Whether anything of its TLS can be read.
    #[must_use]
    pub fn reachable(&self) -> bool {
        self.libraries.iter().any(AttachedLibrary::is_read)
    }
}

/// Why a process is not traced.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It could not be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It could not be probed.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// There are too many.
    #[error("more than {MAX_TRACED} processes; process {0} is not traced")]
    TooMany(u32),
}

impl TraceError {
    /// Whether the process ended, or never was.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Process(ProcessError::Gone(_) | ProcessError::NotFound(_))
                | Self::Attach(AttachError::Gone(_))
        )
    }
}

/// All traced processes.
#[derive(Debug, Default)]
pub struct Attachments {
    finder: TlsFinder,
    libcs: LibcFinder,
    traced: HashMap<u32, Traced>,
    defaults: ContentPolicy,
    /// What processes say in their environment of how they are to be traced counts.
    trusts_environment: bool,
    /// What interpreters are looked at for.
    purpose: Purpose,
    /// Libraries of processes that turned out to be something else than they were taken for.
    given_up: u64,
}

impl Attachments {
    /// None yet. `defaults` are the content settings where a process's environment says nothing, or where what
    /// it says of how the process is to be traced counts for nothing (`trusts_environment`); `purpose` is what
    /// interpreters are looked at for.
    #[must_use]
    pub fn new(defaults: ContentPolicy, trusts_environment: bool, purpose: Purpose) -> Self {
        Self {
            defaults,
            trusts_environment,
            purpose,
            ..Self::default()
        }
    }

    /// The traced process with this id.
    #[must_use]
    pub fn get(&self, pid: u32) -> Option<&Traced> {
        self.traced.get(&pid)
    }

    /// Says under which name a process's service is known, where another process or its pod stands for it,
    /// and what is known of its container and pod, and that one's address; says whether that is new.
    pub fn place(
        &mut self,
        pid: u32,
        service: Option<String>,
        mut settings: Settings,
        (detected, address): (Vec<(String, Detected)>, Option<IpAddr>),
    ) -> bool {
        let Some(traced) = self.traced.get_mut(&pid) else {
            return false;
        };
        settings.other |= self.purpose.others;
        let before = traced.target.facts.clone();
        traced.pod = address.or(traced.pod);
        if traced.settings != settings {
            // What it says itself counts more: it is asked again.
            let defaults = settings.defaults(&self.defaults);
            if let Ok(target) = process::look(pid, &defaults, self.trusts_environment) {
                traced.target.facts.content = target.facts.content;
            }
            settings.enforce(&mut traced.target.facts);
            traced.settings = settings;
        }
        let facts = &mut traced.target.facts;
        if let Some(name) = service {
            facts.service_name = name;
        }
        // What was told of its pod before stays as long as nothing is.
        if !detected.is_empty() {
            let own = traced.own.get_or_insert_with(|| facts.detected.clone());
            facts.detected = over(own, detected);
        }
        before != *facts
    }

    /// Has the kernel tell the call paths of a process's requests, or no more, as it is set for it. Says whether it
    /// tells them.
    pub fn set_stacks(&mut self, kernel: &mut Kernel, pid: u32) -> bool {
        let Some(traced) = self.traced.get_mut(&pid) else {
            return false;
        };
        if !traced.target.python {
            return false;
        }
        if traced.settings.stacks.unwrap_or(self.purpose.stacks) {
            traced.interpreter.tell_stacks(kernel, pid);
        } else {
            traced.interpreter.leave_stacks(kernel, pid);
        }
        traced.interpreter.tells_stacks()
    }

    /// All traced processes.
    pub fn iter(&self) -> impl Iterator<Item = &Traced> {
        self.traced.values()
    }

    /// How many are traced.
    #[must_use]
    pub fn len(&self) -> usize {
        self.traced.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.traced.is_empty()
    }

    /// Starts to trace a process. Already traced ones stay as they are.
    ///
    /// A program that is not Python is followed for its children but not probed, unless that was asked for
    /// ([`Traced::is_read`]).
    ///
    /// # Errors
    ///
    /// When it cannot be looked at or not be probed.
    pub fn add(
        &mut self,
        kernel: &mut Kernel,
        pid: u32,
        parent: Option<u32>,
    ) -> Result<&Traced, TraceError> {
        if !self.traced.contains_key(&pid) {
            if self.traced.len() >= MAX_TRACED {
                return Err(TraceError::TooMany(pid));
            }
            // First, so that no child slips through while we look.
            kernel.trace(pid)?;
            if parent.is_some() {
                kernel.forks_are_likely();
            }
            let inherited = parent.map_or_else(Vec::new, |p| self.inherit(kernel, pid, p));
            let parents = parent.and_then(|p| self.traced.get(&p));
            let sockets = parents.map(|p| p.sockets.inherit(kernel, pid, p.target.pid));
            let interpreter = parents.map(|p| p.interpreter.inherit(kernel, pid, p.target.pid));
            let forked = parent
                .filter(|_| !inherited.is_empty())
                .and_then(|p| Some(self.traced.get(&p)?.target.forked(pid)));
            // A child has what its parent has until it was looked at.
            let mut settings = parents.map(|p| p.settings.clone()).unwrap_or_default();
            settings.other |= self.purpose.others;
            let defaults = settings.defaults(&self.defaults);
            let target = match (
                process::look(pid, &defaults, self.trusts_environment),
                &forked,
            ) {
                (Ok(mut target), _) => {
                    settings.enforce(&mut target.facts);
                    target
                }
                // Ended while it was being probed: what it said meanwhile is still to come.
                (Err(ProcessError::Gone(_) | ProcessError::NotFound(_)), Some(forked)) => {
                    forked.clone()
                }
                (Err(e), _) => {
                    kernel.forget(pid);
                    return Err(e.into());
                }
            };
            let python = target.python;
            let is_read = python || settings.other;
            let libraries = if is_read { inherited } else { Vec::new() };
            let traced = Traced {
                target,
                libraries,
                parent,
                sockets: sockets.filter(|_| is_read).unwrap_or_default(),
                interpreter: interpreter.filter(|_| python).unwrap_or_default(),
                since: SystemTime::now(),
                pod: None,
                own: None,
                settings,
                linker: None,
            };
            self.traced.insert(pid, traced);
            match self.rescan(kernel, pid) {
                Ok(_) => {}
                Err(e) if e.is_gone() && forked.is_some() => {}
                Err(e) => {
                    self.forget(kernel, pid);
                    return Err(e);
                }
            }
            // Where one asked for this process, nothing is to be missed once it is traced. A forked
            // one is followed when it serves: looking at its interpreter takes long, and the first
            // call of the next one that is forked comes soon.
            if parent.is_none() {
                self.follow_listening(kernel, pid);
            }
        }
        self.traced.get(&pid).ok_or(TraceError::TooMany(pid))
    }

    /// Probes in a child what its parent has, before it is looked at: a fork has the same files,
    /// and its first call comes soon. What fails here is tried again by the scan.
    fn inherit(&self, kernel: &mut Kernel, pid: u32, parent: u32) -> Vec<AttachedLibrary> {
        let Some(parent) = self.traced.get(&parent) else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for library in parent.libraries.iter().filter(|l| l.failed.is_none()) {
            let TlsFile::Reachable(reachable) = &library.found else {
                continue;
            };
            // The same path below the child's own entry in `/proc`.
            let own = Path::new("/proc").join(pid.to_string());
            let parents = Path::new("/proc").join(parent.target.pid.to_string());
            let reach = match library.reach.strip_prefix(parents) {
                Ok(rest) => own.join(rest),
                Err(_) => continue,
            };
            let guessed = reachable.is_guessed();
            let probes = kernel.attach_tls_soon(pid, &reach, &reachable.places, guessed);
            let Ok(probes) = probes else {
                continue;
            };
            let key = library.trial.as_ref().and_then(|(_, key)| *key);
            all.push(AttachedLibrary {
                path: library.path.clone(),
                reach,
                found: library.found.clone(),
                id: library.id,
                failed: None,
                mapped: library.mapped,
                trial: guessed.then(|| (Trial::new(&reachable.places), key)),
                probes,
            });
        }
        all
    }

    /// Looks at the libraries of a traced process again and probes those that are new. Returns
    /// how many TLS libraries were added.
    ///
    /// # Errors
    ///
    /// When the process ended.
    pub fn rescan(&mut self, kernel: &mut Kernel, pid: u32) -> Result<usize, TraceError> {
        let Some(traced) = self.traced.get_mut(&pid) else {
            return Ok(0);
        };
        if !traced.is_read() {
            return Ok(0);
        }
        if traced.libraries.is_empty() {
            foresee(kernel, &mut self.finder, traced)?;
        }
        let mut added = 0;
        // Once more when something was found: a library may have come in between.
        for _ in 0..2 {
            let files = begun(pid)?;
            if traced.linker.is_none() {
                traced.linker = watch_linker(kernel, &mut self.finder, pid, &files)?;
            }
            traced
                .sockets
                .rescan(kernel, &mut self.libcs, &traced.target, &files)?;
            let before = added;
            for file in &files {
                let known = traced.libraries.iter_mut().find(|l| l.is(file));
                if let Some(library) = known {
                    if !std::mem::replace(&mut library.mapped, true) {
                        library.path.clone_from(&file.path);
                        library.id = file.id;
                        added += 1;
                    }
                    continue;
                }
                if !TlsFinder::candidate(file, &traced.target.executable) {
                    continue;
                }
                if let Some(library) = attach(kernel, &mut self.finder, pid, file, true)? {
                    added += 1;
                    traced.libraries.push(library);
                }
            }
            if added == before {
                break;
            }
        }
        if traced.settings.stacks.unwrap_or(self.purpose.stacks) {
            traced.interpreter.tell_stacks(kernel, pid);
        }
        // What was loaded may be what it calls with.
        self.follow(kernel, pid, true);
        Ok(added)
    }

    /// Probes what a process will load when it executes a Python: for one that is held before it
    /// executes its program.
    ///
    /// # Errors
    ///
    /// When the process ended.
    pub fn prepare(&mut self, kernel: &mut Kernel, pid: u32) -> Result<(), TraceError> {
        let Some(traced) = self.traced.get_mut(&pid) else {
            return Ok(());
        };
        kernel.forks_are_likely();
        let files = process::mapped_code(pid)?;
        traced.linker = watch_linker(kernel, &mut self.finder, pid, &files)?;
        traced
            .sockets
            .rescan(kernel, &mut self.libcs, &traced.target, &files)?;
        foresee(kernel, &mut self.finder, traced)
    }

    /// Follows for whom a process works if it listens already: for one that was there before us.
    pub fn follow_listening(&mut self, kernel: &mut Kernel, pid: u32) {
        if self.purpose.contexts && listening::listens(pid) {
            self.note_serving(pid);
            self.follow(kernel, pid, false);
        }
    }

    /// A traced process serves somebody: for whom it works when it calls a model is followed from
    /// here on, if it may call any.
    pub fn serves(&mut self, kernel: &mut Kernel, pid: u32) {
        self.note_serving(pid);
        self.follow(kernel, pid, true);
    }

    /// A traced process made a request, or works with models: if it serves somebody, it is followed
    /// for whom.
    pub fn calls(&mut self, kernel: &mut Kernel, pid: u32) {
        if let Some(traced) = self.traced.get_mut(&pid) {
            traced.interpreter.note_calling();
        }
        self.follow(kernel, pid, true);
    }

    /// Time passes: looks for what interpreters load late, in so many processes that what they say is read in
    /// between.
    pub fn tick(&mut self, kernel: &mut Kernel) {
        let due = self.traced.iter().filter_map(|(pid, traced)| {
            let (looked, is_open) = traced.interpreter.pools_due()?;
            Some((looked, *pid, is_open))
        });
        for pid in turns(due.collect()) {
            if let Some(traced) = self.traced.get_mut(&pid) {
                traced.interpreter.look_for_pools(kernel, pid, true);
            }
        }
    }

    fn note_serving(&mut self, pid: u32) {
        if let Some(traced) = self.traced.get_mut(&pid) {
            traced.interpreter.note_serving();
        }
    }

    fn follow(&mut self, kernel: &mut Kernel, pid: u32, soon: bool) {
        if !self.purpose.contexts {
            return;
        }
        if let Some(traced) = self.traced.get_mut(&pid)
            && traced.target.python
        {
            traced.interpreter.follow(kernel, pid, soon);
        }
    }

    /// A traced process runs another program now: looks at it anew. Probes that were on the old
    /// program stay where the new one uses the same files, so nothing is missed in between.
    ///
    /// # Errors
    ///
    /// When it ended.
    pub fn executed(&mut self, kernel: &mut Kernel, pid: u32) -> Result<(), TraceError> {
        let Some(traced) = self.traced.get_mut(&pid) else {
            return Ok(());
        };
        // Another program was not chosen with this one.
        traced.settings.other = self.purpose.others;
        let defaults = traced.settings.defaults(&self.defaults);
        traced.target = process::look(pid, &defaults, self.trusts_environment)?;
        traced.settings.enforce(&mut traced.target.facts);
        traced.interpreter = Interpreter::default();
        traced.own = None;
        kernel.forget_guesses(pid, &begin_anew(&mut traced.libraries));
        if traced.is_read() {
            self.rescan(kernel, pid)?;
            if self.purpose.contexts && listening::listens(pid) {
                self.serves(kernel, pid);
            }
        } else {
            // A shell on its way to a Python, most likely: the probes stay, so that nothing of
            // that is missed. What this program itself says is not told.
            for library in &mut traced.libraries {
                library.mapped = false;
            }
        }
        Ok(())
    }

    /// Stops tracing a process: its probes go.
    pub fn forget(&mut self, kernel: &mut Kernel, pid: u32) -> Option<Traced> {
        kernel.forget(pid);
        let gone = self.traced.remove(&pid)?;
        for (trial, _) in gone.libraries.iter().filter_map(|l| l.trial.as_ref()) {
            kernel.forget_guesses(pid, trial.addresses());
            kernel.forget_guesses(pid, &[0]);
        }
        Some(gone)
    }

    /// How many libraries of processes were given up, since a call showed that they are not what they were taken for.
    #[must_use]
    pub const fn given_up(&self) -> u64 {
        self.given_up
    }

    /// A call says of a function that was found by its code whether it is that one: `said` is a number of
    /// [`verdict`], and `place` the address of its probe. What is wrong is let go of at once, in all processes that
    /// have the file.
    pub fn hear(&mut self, kernel: &mut Kernel, pid: u32, place: u64, said: u32) {
        let Some(traced) = self.traced.get_mut(&pid) else {
            // Let go of meanwhile. Who has its number later is not to be held back, nor is it when it is taken up
            // again: then the kernel says once more what it thinks of the place.
            kernel.forget_guesses(pid, &[0, place]);
            return;
        };
        let mut libraries: Vec<&mut AttachedLibrary> = traced
            .libraries
            .iter_mut()
            .filter(|l| l.failed.is_none())
            .filter(|l| l.trial.as_ref().is_some_and(|(t, _)| t.may_have(place)))
            .collect();
        let is_sure = |l: &&mut AttachedLibrary| {
            l.trial
                .as_ref()
                .is_some_and(|(t, _)| t.has_at_most_one(place))
        };
        let mut offset = None;
        if (libraries.len() > 1 || !libraries.iter().all(is_sure))
            && let Some((file, at)) = process::file_at(pid, place)
        {
            libraries.retain(|l| l.id == file);
            offset = Some(at);
        }
        // Of a process that is gone it may not be known whose it was: then all of them may be wrong.
        if libraries.len() > 1 && said == verdict::PLAUSIBLE {
            return;
        }
        let mut accused = Vec::new();
        for library in libraries {
            let Some((trial, key)) = &mut library.trial else {
                continue;
            };
            let key = *key;
            match trial.hear(place, offset, said) {
                Outcome::Nothing => {}
                Outcome::Verified => {
                    let path = library.path.display();
                    tracing::debug!(pid, "{path}: found by its code, verified by a call");
                    if let Some(key) = key {
                        self.finder.vouch(key);
                    }
                }
                Outcome::Wrong(why) => {
                    library.give_up(kernel, pid, &why);
                    self.given_up += 1;
                    tracing::warn!(pid, "{}", library.failed.as_deref().unwrap_or_default());
                    accused.extend(key.map(|key| (key, why)));
                }
            }
        }
        // Until now the kernel let none of the process's pass, since it does not know which are this library's.
        if !matches!(said, verdict::PLAUSIBLE | verdict::SILENT) {
            kernel.forget_guesses(pid, &[0]);
        }
        for (key, why) in accused {
            if self.finder.accuse(key, &why) {
                self.give_up_everywhere(kernel, key, &why);
            }
        }
    }

    /// A file was found to be something else than it was taken for.
    fn give_up_everywhere(&mut self, kernel: &mut Kernel, key: FileKey, why: &str) {
        for (pid, traced) in &mut self.traced {
            for library in &mut traced.libraries {
                let its = library.trial.as_ref().and_then(|(_, key)| *key);
                if its == Some(key) && library.failed.is_none() {
                    library.give_up(kernel, *pid, why);
                    self.given_up += 1;
                }
            }
        }
    }
}

/// Attributes with others that win over them.
fn over(own: &[(String, Detected)], others: Vec<(String, Detected)>) -> Vec<(String, Detected)> {
    let mut all = own.to_vec();
    for (key, value) in others {
        match all.iter_mut().find(|(k, _)| *k == key) {
            Some((_, slot)) => *slot = value,
            None => all.push((key, value)),
        }
    }
    all
}

/// Whose turn it is of the processes that are due: those first for which it is longest ago. Of each is given
/// when it was looked at last, its id, and whether its interpreter is known.
fn turns(mut due: Vec<(Instant, u32, bool)>) -> Vec<u32> {
    due.sort_unstable();
    let mut opened = 0;
    due.retain(|(_, _, is_open)| {
        opened += usize::from(!is_open);
        *is_open || opened <= MOST_OPENED
    });
    due.truncate(MOST_AT_A_TIME);
    due.into_iter().map(|(_, pid, _)| pid).collect()
}

/// The files of a process. One that was executed just now has nothing but its program and the dynamic
/// linker, which maps the C library next: that is waited for, since it is known by it how the process's
/// plain sockets are read.
fn begun(pid: u32) -> Result<Vec<MappedFile>, ProcessError> {
    for _ in 0..MOST_WAITS {
        let files = process::mapped_code(pid)?;
        if LibcFinder::is_loaded(&files) || !files.iter().any(tls::is_linker) {
            return Ok(files);
        }
        std::thread::sleep(WAIT);
    }
    process::mapped_code(pid)
}

/// Probes the TLS libraries that a process will most likely load.
fn foresee(
    kernel: &mut Kernel,
    finder: &mut TlsFinder,
    traced: &mut Traced,
) -> Result<(), TraceError> {
    for file in process::foreseen_tls(&traced.target) {
        let library = attach(kernel, finder, traced.target.pid, &file, false)?;
        traced
            .libraries
            .extend(library.filter(|l| l.failed.is_none()));
    }
    Ok(())
}

/// Watches the process's dynamic linker, to notice libraries that are loaded later. A static
/// program has none, and loads none.
fn watch_linker(
    kernel: &mut Kernel,
    finder: &mut TlsFinder,
    pid: u32,
    files: &[MappedFile],
) -> Result<Option<Probes>, TraceError> {
    for file in files.iter().filter(|f| tls::is_linker(f)) {
        let Some(offset) = finder.linker_hook(&file.reach) else {
            continue;
        };
        match kernel.attach_linker(pid, &file.reach, offset) {
            Ok(probes) => return Ok(Some(probes)),
            Err(gone @ AttachError::Gone(_)) => return Err(gone.into()),
            Err(_) if !process::runs(pid) => return Err(AttachError::Gone(pid).into()),
            Err(e) => tracing::warn!(pid, "libraries loaded later will not be noticed: {e}"),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
