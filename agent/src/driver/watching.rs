//! The functions that are watched in one process: which of them are not found yet, and what is in
//! the kernel for those that were found.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aya::maps::MapError;
use genspan_common::function::{Watch, WatchKey, what};

use crate::probe::functions::{NoWatchpoint, Watchpoint};
use crate::probe::kernel::{Kernel, Probes};
use crate::python::version::Version;
use crate::target::functions::{self, Hook, Wants, Watchable};
use crate::target::process;
use crate::target::python::Python;

mod failures;
pub(super) mod imports;
mod resume;

use self::failures::Failures;
use self::imports::Imports;
use self::resume::Resuming;

/// How long a process is looked at often for modules that it loads; later now and then.
const OFTEN: Duration = Duration::from_secs(60);
/// How often it is looked at then.
const NOW_AND_THEN: Duration = Duration::from_secs(5);
/// So many times an interpreter is looked for at once: one that starts is not one yet.
const QUICK_LOOKS: u32 = 8;
/// So many times it is looked for in all.
const MOST_LOOKS: u32 = 20;
/// How often the list of threads is read until no new one is on it.
const ROUNDS: u32 = 16;

/// Why what runs frames is not watched by itself where the probes on it are perf's: a thread has 64 return
/// probes at a time, each frame takes one, and those of TLS further in would be left out
/// (`MAX_URETPROBE_DEPTH`, `include/linux/uprobes.h`).
const PERF_FRAMES: &str = "to see it where the interpreter runs frames may cost calls of models before \
                           Linux 6.13, so it is to be asked for (--function-probe)";

/// How functions are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FunctionProbe {
    /// By watchpoints; where none is left or to be had, where the interpreter runs them.
    #[default]
    Auto,
    /// By watchpoints or not at all.
    Watchpoints,
    /// Where the interpreter runs their frames: up to 3.10.
    Interpreter,
    /// Where the interpreter runs the instruction by which they begin: from 3.11 on.
    Resume,
}

/// A function that is watched in a process.
#[derive(Debug)]
pub(super) struct Armed {
    /// Which of the wanted ones; the lower, the more important.
    pub(super) index: usize,
    keys: Vec<WatchKey>,
    /// None of one that is seen where the interpreter runs its frames.
    points: Vec<Watchpoint>,
}

/// The kernel's table of what watchpoints are for, and how many hold each of its entries:
/// processes that were forked from the same one have the same addresses.
#[derive(Debug, Default)]
pub(super) struct Entries(HashMap<WatchKey, u32>);

impl Entries {
    fn hold(&mut self, kernel: &mut Kernel, key: WatchKey, watch: Watch) -> Result<(), MapError> {
        kernel.watch_address(key, watch)?;
        *self.0.entry(key).or_default() += 1;
        Ok(())
    }

    /// Entries that nobody holds any more are gone.
    pub(super) fn release(&mut self, kernel: &mut Kernel, keys: &[WatchKey]) {
        for key in keys {
            if let Some(held) = self.0.get_mut(key) {
                *held -= 1;
                if *held == 0 {
                    self.0.remove(key);
                    kernel.unwatch_address(key);
                }
            }
        }
    }
}

/// The probe that tells of exceptions, and where it is.
#[derive(Debug)]
struct Raised {
    hook: Hook,
    probes: Probes,
}

/// The functions of one process.
#[derive(Debug)]
pub(super) struct Watching {
    /// Where its watchpoints are known: its own, or those of the process it was forked from.
    pub(super) root: u32,
    pub(super) python: Option<Python>,
    /// Which of the wanted ones are not found yet, and how often they were looked for.
    pub(super) pending: Vec<(usize, u32)>,
    armed: Vec<Armed>,
    /// The processes whose watchpoints it has from its fork, and for which of the wanted ones:
    /// they go with those.
    inherited: Vec<(u32, usize)>,
    raised: Option<Raised>,
    failures: Failures,
    /// The probe on what runs a frame.
    frames: Option<Raised>,
    /// The probes on what functions begin and end by, from 3.11 on; or why there are none any more.
    resumed: Option<Resuming>,
    no_resume: Option<String>,
    imports: Imports,
    /// Since when the modules of some are loaded that do not have them.
    lacking: HashMap<usize, Instant>,
    /// Some made room for others, and are to be looked for in another way.
    pub(super) moved: bool,
    /// How many calls began of which only a register told.
    pub(super) ahead: u64,
    /// Its layout is in the kernel.
    known: bool,
    /// What is wanted of it, as the kernel was told.
    wants: Wants,
    /// Whether contents are wanted was told anew at some time.
    changed: bool,
    since: Instant,
    pub(super) looked: Option<Instant>,
    /// How often its interpreter was looked for in vain.
    looks: u32,
    told: BTreeSet<String>,
}

impl Watching {
    pub(super) fn new(root: u32, wanted: usize, contents: bool) -> Self {
        Self {
            root,
            python: None,
            pending: (0..wanted).map(|index| (index, 0)).collect(),
            armed: Vec::new(),
            inherited: Vec::new(),
            raised: None,
            failures: Failures::default(),
            frames: None,
            resumed: None,
            no_resume: None,
            imports: Imports::default(),
            lacking: HashMap::new(),
            moved: false,
            ahead: 0,
            known: false,
            wants: Wants {
                generators: false,
                contents,
            },
            changed: false,
            since: Instant::now(),
            looked: None,
            looks: 0,
            told: BTreeSet::new(),
        }
    }

    /// What a forked child has of this process: the watchpoints by themselves; the probe that
    /// tells of exceptions is placed here, and not waited for.
    pub(super) fn inherit(&self, kernel: &mut Kernel, child: u32, own: u32) -> Self {
        let mut all = Self::new(self.root, 0, self.wants.contents);
        all.pending.clone_from(&self.pending);
        all.inherited.clone_from(&self.inherited);
        let armed = self.armed.iter().map(|armed| (own, armed.index));
        all.inherited.extend(armed);
        all.known = self.known;
        all.wants = self.wants;
        if !all.pending.is_empty() {
            // To look for the interpreter takes long: the child's is laid out as this one.
            let python = self.python.as_ref();
            all.python = python.and_then(|python| python.of_fork(child).ok());
        }
        if self.changed {
            // The kernel made its entry of its parent's, maybe before that was changed.
            all.changed = true;
            all.tell_contents(kernel, child);
        }
        let childs = |raised: &Option<Raised>| {
            let hook = &raised.as_ref()?.hook;
            Some(Hook {
                reach: reached_from(&hook.reach, own, child)?,
                offsets: hook.offsets.clone(),
            })
        };
        if let Some(hook) = childs(&self.raised) {
            all.hook(kernel, child, hook, true);
        }
        if let Some(hook) = childs(self.failures.placed()) {
            all.hook_failures(kernel, child, hook);
        }
        if let Some(hook) = childs(&self.frames)
            && let Err(why) = all.hook_frames(kernel, child, hook, true)
        {
            all.tell(child, format!("functions are not seen: {why}"));
        }
        self.hook_childs_resume(kernel, own, (child, &mut all));
        self.await_childs_modules(kernel, own, (child, &mut all));
        all
    }

    /// Says whether what is inside of its objects is to be copied from here on.
    pub(super) fn set_contents(&mut self, kernel: &mut Kernel, pid: u32, contents: bool) {
        if self.wants.contents != contents {
            self.wants.contents = contents;
            self.changed = true;
            self.tell_contents(kernel, pid);
        }
    }

    fn tell_contents(&self, kernel: &mut Kernel, pid: u32) {
        let contents = self.wants.contents;
        tracing::debug!(pid, contents, "whether objects are copied is told anew");
        if let Err(error) = kernel.set_contents(pid, contents) {
            tracing::warn!("whether objects are copied cannot be changed (pid {pid}): {error}");
        }
    }

    /// Another process is gone, or runs another program: the watchpoints that this one had from it
    /// went with it, so it is to have its own.
    pub(super) fn outlives(&mut self, owner: u32) {
        let before = self.pending.len();
        let lost = self.inherited.extract_if(.., |(from, _)| *from == owner);
        self.pending.extend(lost.map(|(_, index)| (index, 0)));
        if self.pending.len() > before {
            self.since = Instant::now();
        }
    }

    /// The entries of the kernel's table that it holds.
    pub(super) fn keys(&self) -> Vec<WatchKey> {
        let all = self.armed.iter().flat_map(|armed| &armed.keys);
        all.copied().collect()
    }

    /// Which of the wanted ones are watched, with the watchpoints of each thread that they take; not how
    /// many of those that it has from its fork.
    pub(super) fn taken(&self) -> Vec<(usize, Option<u32>)> {
        let own = self.armed.iter().map(|armed| armed.index);
        let all = own.chain(self.inherited.iter().map(|(_, index)| *index));
        let keys = |index: usize| {
            let armed = self.armed.iter().find(|armed| armed.index == index);
            armed.and_then(|armed| match armed.points.len() {
                0 => Some(0),
                _ => u32::try_from(armed.keys.len()).ok(),
            })
        };
        let mut all: Vec<_> = all.map(|index| (index, keys(index))).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Of what exceptions are told.
    pub(super) fn sees_exceptions(&self) -> Vec<&'static str> {
        let functions = self.raised.as_ref().map(|_| "functions");
        let runs = self.failures.placed().as_ref().map(|_| "frameworks");
        functions.into_iter().chain(runs).collect()
    }

    pub(super) fn is_due(&self) -> bool {
        let often = if self.python.is_some() || self.looks == 0 {
            self.since.elapsed() < OFTEN
        } else {
            self.looks < QUICK_LOOKS
        };
        let every = if often { Duration::ZERO } else { NOW_AND_THEN };
        !self.pending.is_empty() && self.looked.is_none_or(|at| at.elapsed() >= every)
    }

    /// Its interpreter was looked for in vain; gives whether it is to be looked for again.
    pub(super) const fn looks_again(&mut self) -> bool {
        self.looks += 1;
        self.looks < MOST_LOOKS
    }

    pub(super) fn tell(&mut self, pid: u32, said: String) {
        if !self.told.contains(&said) {
            tracing::warn!("{said} (pid {pid})");
            self.told.insert(said);
        }
    }

    /// Whether this one of those wanted is watched in it.
    pub(super) fn has(&self, index: usize) -> bool {
        let inherited = self.inherited.iter().any(|(_, i)| *i == index);
        inherited || self.armed.iter().any(|armed| armed.index == index)
    }

    /// How long it is known that the module of one of those wanted is loaded and does not have it.
    pub(super) fn lacks_for(&mut self, index: usize) -> Duration {
        let since = self.lacking.entry(index).or_insert_with(Instant::now);
        since.elapsed()
    }

    /// Whether that is known for so long.
    pub(super) fn has_lacked(&self, index: usize, time: Duration) -> bool {
        let since = self.lacking.get(&index);
        since.is_some_and(|since| since.elapsed() >= time)
    }

    /// Nothing of it is ever watched.
    pub(super) fn give_up(&mut self, pid: u32, why: &str) {
        self.pending.clear();
        self.tell(pid, format!("no functions are watched: {why}"));
    }

    /// Watches a function in all threads of a process. `instead_of` gets those that are not
    /// watched any more for it, also when it fails.
    pub(super) fn arm(
        &mut self,
        (kernel, entries): (&mut Kernel, &mut Entries),
        pid: u32,
        (index, id): (usize, u32),
        function: &Watchable,
        (way, instead_of): (FunctionProbe, &mut Vec<usize>),
    ) -> Result<(), String> {
        match way {
            FunctionProbe::Auto | FunctionProbe::Watchpoints => {}
            FunctionProbe::Interpreter => {
                return self.arm_frames((kernel, entries), pid, (index, id), function);
            }
            FunctionProbe::Resume => {
                return self.arm_resume((kernel, entries), pid, (index, id), function);
            }
        }
        let is_more = self.takes_up(function);
        self.tell_layout(kernel, pid)?;
        let Some(python) = &self.python else {
            return Err("its interpreter is gone".to_owned());
        };
        if self.raised.is_none() || is_more {
            match functions::traceback_hook(python, pid, self.wants.generators) {
                Ok(Some(hook)) => self.hook(kernel, pid, hook, self.is_importing()),
                Ok(None) => {}
                Err(error) => self.sees_late(pid, &error.to_string()),
            }
        }
        let mut keys = Vec::new();
        // The count first: a call that is seen to begin is to be seen to end.
        let places = [
            (function.counted, function.watch(id, what::COUNT)),
            (function.entry, function.watch(id, what::ENTRY)),
        ];
        let points = self.place(
            (kernel, entries),
            pid,
            (index, &places),
            (&mut keys, instead_of),
        );
        match points {
            Ok(points) => {
                self.armed.push(Armed {
                    index,
                    keys,
                    points,
                });
                Ok(())
            }
            Err(why) => {
                entries.release(kernel, &keys);
                if self.armed.is_empty() && self.inherited.is_empty() {
                    self.raised = None;
                }
                if way == FunctionProbe::Watchpoints {
                    return Err(why);
                }
                if kernel.has_perf_probes() && self.takes_returns() {
                    return Err(format!("{why}; {PERF_FRAMES}"));
                }
                let done = if self.has_resume() {
                    self.arm_resume((kernel, entries), pid, (index, id), function)
                } else {
                    self.arm_frames((kernel, entries), pid, (index, id), function)
                };
                done.map_err(|other| format!("{why}; {other}"))
            }
        }
    }

    /// A function is to be watched. Says whether it is the first that is a generator or coroutine: then the kernel
    /// is told anew what is wanted.
    fn takes_up(&mut self, function: &Watchable) -> bool {
        let is_more = function.generator && !self.wants.generators;
        if is_more {
            self.wants.generators = true;
            self.known = false;
        }
        is_more
    }

    /// Whether its functions can be seen where the interpreter runs their frames.
    fn has_frame_probe(&self) -> bool {
        let python = self.python.as_ref();
        python.is_some_and(|python| python.fit.layout.version < Version::V3_11)
    }

    /// Whether probes on its interpreter are return probes as well: up to 3.11.
    fn takes_returns(&self) -> bool {
        let python = self.python.as_ref();
        python.is_some_and(|python| python.fit.layout.version <= Version::V3_11)
    }

    /// Whether one for which there is no watchpoint is seen where the interpreter runs its frames, or the
    /// instruction by which they begin, unless something else is asked for.
    pub(super) fn sees_frames(&self, kernel: &Kernel) -> bool {
        let bounded = kernel.has_perf_probes() && self.takes_returns();
        !bounded && (self.has_frame_probe() || self.may_resume())
    }

    /// Whether this one of those wanted has watchpoints of this process.
    pub(super) fn has_points(&self, index: usize) -> bool {
        let mut armed = self.armed.iter().filter(|armed| armed.index == index);
        armed.any(|armed| !armed.points.is_empty())
    }

    /// Watches a function where the interpreter runs its frames.
    fn arm_frames(
        &mut self,
        (kernel, entries): (&mut Kernel, &mut Entries),
        pid: u32,
        (index, id): (usize, u32),
        function: &Watchable,
    ) -> Result<(), String> {
        self.takes_up(function);
        self.tell_layout(kernel, pid)?;
        if self.frames.is_none() {
            let Some(python) = &self.python else {
                return Err("its interpreter is gone".to_owned());
            };
            let hook = functions::frame_hook(python, pid).map_err(|e| e.to_string())?;
            self.hook_frames(kernel, pid, hook, false)?;
        }
        let key = WatchKey {
            address: function.code.address,
            root: self.root,
            zero: 0,
        };
        let watch = function.watch(id, what::FRAME);
        let held = entries.hold(kernel, key, watch);
        held.map_err(|e| e.to_string())?;
        self.armed.push(Armed {
            index,
            keys: vec![key],
            points: Vec::new(),
        });
        Ok(())
    }

    /// Places the probe on what runs a frame.
    fn hook_frames(
        &mut self,
        kernel: &mut Kernel,
        pid: u32,
        hook: Hook,
        soon: bool,
    ) -> Result<(), String> {
        let offset = hook.offsets.first().copied().unwrap_or(0);
        let probes = kernel.attach_frames(pid, &hook.reach, offset, soon);
        self.frames = Some(Raised {
            hook,
            probes: probes.map_err(|e| e.to_string())?,
        });
        Ok(())
    }

    /// Watches what tells of a framework in all threads of a process: the address, and what it is for.
    /// Exceptions are seen beside it where that is wanted; `instead_of` is as in [`Self::arm`].
    pub(super) fn arm_hook(
        &mut self,
        (kernel, entries): (&mut Kernel, &mut Entries),
        pid: u32,
        index: usize,
        place: (u64, Watch),
        (raises, instead_of): (bool, &mut Vec<usize>),
    ) -> Result<(), String> {
        let loaded = kernel.load_frameworks(place.1.what);
        loaded.map_err(|e| e.to_string())?;
        self.tell_layout(kernel, pid)?;
        // Of a function whose arguments are all that is wanted no exception is.
        if raises {
            self.see_failures(kernel, pid);
        }
        let mut keys = Vec::new();
        let points = self.place(
            (kernel, entries),
            pid,
            (index, &[place]),
            (&mut keys, instead_of),
        );
        match points {
            Ok(points) => {
                self.armed.push(Armed {
                    index,
                    keys,
                    points,
                });
                Ok(())
            }
            Err(why) => {
                entries.release(kernel, &keys);
                Err(why)
            }
        }
    }

    /// Tells the kernel how the process is laid out.
    fn tell_layout(&mut self, kernel: &mut Kernel, pid: u32) -> Result<(), String> {
        let Some(python) = &self.python else {
            return Err("its interpreter is gone".to_owned());
        };
        if !self.known {
            let process = functions::process(python, self.root, self.wants);
            let process = process.map_err(|e| e.to_string())?;
            let told = kernel.watch_process(pid, process);
            told.map_err(|e| e.to_string())?;
            self.known = true;
        }
        Ok(())
    }

    /// Places the probe that tells of exceptions.
    fn hook(&mut self, kernel: &mut Kernel, pid: u32, hook: Hook, soon: bool) {
        match kernel.attach_traceback(pid, &hook.reach, &hook.offsets, soon) {
            Ok(probes) => {
                self.raised = Some(Raised { hook, probes });
            }
            Err(_) if !process::runs(pid) => {}
            Err(error) => self.sees_late(pid, &error.to_string()),
        }
    }

    fn sees_late(&mut self, pid: u32, why: &str) {
        let said = format!(
            "functions that an exception leaves are told as if they returned, and late: {why}"
        );
        self.tell(pid, said);
    }

    /// Watches one of the wanted ones no more, which is not looked for again either.
    pub(super) fn let_go(&mut self, (kernel, entries): (&mut Kernel, &mut Entries), index: usize) {
        for armed in self.armed.extract_if(.., |armed| armed.index == index) {
            entries.release(kernel, &armed.keys);
        }
    }

    fn place(
        &mut self,
        (kernel, entries): (&mut Kernel, &mut Entries),
        pid: u32,
        (index, places): (usize, &[(u64, Watch)]),
        (keys, instead_of): (&mut Vec<WatchKey>, &mut Vec<usize>),
    ) -> Result<Vec<Watchpoint>, String> {
        for &(address, watch) in places {
            let key = WatchKey {
                address,
                root: self.root,
                zero: 0,
            };
            let held = entries.hold(kernel, key, watch);
            held.map_err(|e| e.to_string())?;
            keys.push(key);
        }
        loop {
            match points(kernel, pid, places) {
                Ok(points) => return Ok(points),
                Err(NoWatchpoint::NoneLeft) => {
                    // Those that have any.
                    let others = self.armed.iter().enumerate();
                    let others = others.filter(|(_, armed)| !armed.points.is_empty());
                    let least = others.max_by_key(|(_, armed)| armed.index);
                    let Some((at, _)) = least.filter(|(_, armed)| armed.index > index) else {
                        return Err(NoWatchpoint::NoneLeft.to_string());
                    };
                    let other = self.armed.remove(at);
                    entries.release(kernel, &other.keys);
                    instead_of.push(other.index);
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// A path by which a file is reached in a process, for one that was forked from it.
fn reached_from(reach: &Path, own: u32, child: u32) -> Option<PathBuf> {
    let of = |pid: u32| Path::new("/proc").join(pid.to_string());
    let rest = reach.strip_prefix(of(own)).ok()?;
    Some(of(child).join(rest))
}

/// Sets watchpoints on all threads of a process: what a thread starts later inherits them, but one
/// that was started by a thread that had none yet is found only by looking again.
fn points(
    kernel: &mut Kernel,
    pid: u32,
    places: &[(u64, Watch)],
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
            for (address, watch) in places {
                match kernel.watch_thread(tid, *address, watch.what) {
                    Ok(point) => all.push(point),
                    Err(NoWatchpoint::Gone) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(all)
}
