//! What is attached to the Python interpreter of a process: the probe that tells of copied
//! contexts, once the process is seen to serve anybody, and may call somebody for that. One that only
//! calls, or only serves, pays nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::probe::kernel::{AttachError, Kernel, Probes};
use crate::python::find::FunctionName;
use crate::python::version::Version;
use crate::target::clients;
use crate::target::python::{NoPython, Python};
use genspan_common::python::{PythonLayout, values, wanted};

/// The function that makes a copy of the current context (`Python/context.c`): what
/// `contextvars.copy_context`, asyncio, uvloop and `asyncio.to_thread` call.
const COPY: &str = "PyContext_CopyCurrent";

/// The function that makes a lock (`Python/thread.c`): of each `Future` one, by which work for a thread
/// pool is known.
const LOCK: &str = "PyThread_allocate_lock";
/// Who makes a `Future`, and who does the work that is to be its result.
const FUTURE: &str = "concurrent.futures._base:Future.__init__";
const ITEM: &str = "concurrent.futures.thread:_WorkItem.run";
/// How long thread pools are looked for four times a second, as many load them with their first use;
/// later now and then.
const POOLS_OFTEN: Duration = Duration::from_secs(60);
const POOLS_SOMETIMES: Duration = Duration::from_secs(5);

/// How often the interpreter of a process is looked for: it may not be ready yet.
const MOST_LOOKS: u32 = 8;

/// After a look that found nothing to call with, the next one waits so long at the least; twice as long
/// after each. What is loaded late has libraries, as a rule, and the request that it makes shows in any
/// case.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What interpreters are looked at for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Purpose {
    /// The contexts in which requests are handled and made: for the parents of calls.
    pub contexts: bool,
    /// The frames from which requests are made: for call paths. Unless something else is set for a process.
    pub stacks: bool,
    /// Programs that are not Python are read as well, whichever they are: there is no interpreter to look at.
    pub others: bool,
}

/// What is attached to one process's interpreter.
#[derive(Debug, Default)]
pub struct Interpreter {
    layout: Option<PythonLayout>,
    copies: Option<Copies>,
    pools: Pools,
    looks: u32,
    /// It serves somebody, or listens.
    serves: bool,
    /// It made a request, or is known to work with models.
    calls: bool,
    /// Nothing to call with was found: when it is worth another look, and the pause after that.
    idle: Option<(Instant, Duration)>,
    /// How often it was looked for to tell frames.
    looks_for_frames: u32,
    /// It is of a kind that is not read, which was told.
    refused: bool,
}

/// The probe on copied contexts, and where it is; or that on locks.
#[derive(Debug)]
struct Copies {
    reach: PathBuf,
    offset: u64,
    _probes: Probes,
}

/// Thread pools of the interpreter.
#[derive(Debug, Default)]
enum Pools {
    /// Contexts are not followed, so nothing is asked of them.
    #[default]
    Unwanted,
    /// They are not loaded yet.
    Sought {
        python: Option<Box<Python>>,
        since: Instant,
        looked: Instant,
    },
    /// Work for them is told.
    Told(Copies),
    /// They cannot be followed.
    Never,
}

impl Pools {
    fn sought(python: Option<Python>) -> Self {
        let now = Instant::now();
        Self::Sought {
            python: python.map(Box::new),
            since: now,
            looked: now,
        }
    }
}

impl Interpreter {
    /// Whether the kernel tells the frames from which requests are made.
    #[must_use]
    pub fn tells_stacks(&self) -> bool {
        self.layout.is_some_and(|l| l.wanted & wanted::STACK != 0)
    }

    /// Whether copied contexts are told.
    #[must_use]
    pub const fn is_followed(&self) -> bool {
        self.copies.is_some()
    }

    /// Whether work for thread pools is told.
    #[must_use]
    pub const fn tells_pools(&self) -> bool {
        matches!(self.pools, Pools::Told(_))
    }

    /// Whether it is worth another look: contexts are not told yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.copies.is_none()
            && !self.refused
            && self.looks < MOST_LOOKS
            && (self.calls || self.idle.is_none_or(|(next, _)| Instant::now() >= next))
    }

    /// The process serves somebody, or listens.
    pub(super) const fn note_serving(&mut self) {
        self.serves = true;
    }

    /// The process made a request, or works with models.
    pub(super) const fn note_calling(&mut self) {
        self.calls = true;
    }

    /// What a forked child has of its parent's: the probe is placed before the child is looked
    /// at. The kernel has told itself the layout, unless it learnt the parent's after the fork.
    pub(super) fn inherit(&self, kernel: &mut Kernel, pid: u32, parent: u32) -> Self {
        let mut own = Self {
            layout: self.layout,
            calls: self.calls,
            ..Self::default()
        };
        let parents = Path::new("/proc").join(parent.to_string());
        if let Some(layout) = &self.layout
            && kernel.set_python(pid, layout).is_err()
        {
            own.layout = None;
        }
        if let Some(copies) = &self.copies
            && let Ok(rest) = copies.reach.strip_prefix(parents)
            && own.layout.is_some()
        {
            let reach = Path::new("/proc").join(pid.to_string()).join(rest);
            let probes = kernel.attach_contexts(pid, &reach, copies.offset, true);
            own.copies = probes.ok().map(|probes| Copies {
                reach,
                offset: copies.offset,
                _probes: probes,
            });
        }
        if own.copies.is_some() {
            own.pools = match &self.pools {
                Pools::Told(lock) => own.inherit_pools(kernel, (pid, parent), lock),
                // To look for the interpreter takes long: the child's is laid out as this one.
                Pools::Sought { python, .. } => {
                    let python = python.as_ref();
                    Pools::sought(python.and_then(|python| python.of_fork(pid).ok()))
                }
                Pools::Unwanted | Pools::Never => Pools::Never,
            };
        }
        own
    }

    /// The same of the probe that tells of thread pools.
    fn inherit_pools(
        &self,
        kernel: &mut Kernel,
        (pid, parent): (u32, u32),
        lock: &Copies,
    ) -> Pools {
        let of = |pid: u32| Path::new("/proc").join(pid.to_string());
        let Ok(rest) = lock.reach.strip_prefix(of(parent)) else {
            return Pools::Never;
        };
        let reach = of(pid).join(rest);
        match kernel.attach_pools(pid, &reach, lock.offset, true) {
            Ok(probes) => Pools::Told(Copies {
                reach,
                offset: lock.offset,
                _probes: probes,
            }),
            Err(_) => Pools::Never,
        }
    }

    /// When thread pools were looked for last, where it is time to look for them again, and whether the
    /// interpreter is known yet.
    pub(super) fn pools_due(&self) -> Option<(Instant, bool)> {
        let Pools::Sought {
            python,
            since,
            looked,
        } = &self.pools
        else {
            return None;
        };
        let pause = if since.elapsed() < POOLS_OFTEN {
            Duration::ZERO
        } else {
            POOLS_SOMETIMES
        };
        (looked.elapsed() >= pause).then_some((*looked, python.is_some()))
    }

    /// Looks for thread pools in a process whose contexts are followed, where it is time for that. Does
    /// not wait for the probe when it is to be there `soon`.
    pub(super) fn look_for_pools(&mut self, kernel: &mut Kernel, pid: u32, soon: bool) {
        if self.pools_due().is_none() {
            return;
        }
        let Pools::Sought { python, looked, .. } = &mut self.pools else {
            return;
        };
        *looked = Instant::now();
        let opened = match python.take() {
            Some(python) => python,
            None => match Python::open(pid) {
                Ok(python) => Box::new(python),
                Err(why) => {
                    tracing::debug!(pid, "thread pools are not followed: {why}");
                    self.pools = Pools::Never;
                    return;
                }
            },
        };
        match self.try_pools((kernel, soon), pid, &opened) {
            Ok(Some(lock)) => {
                tracing::debug!(pid, "thread pools are followed");
                self.pools = Pools::Told(lock);
            }
            Ok(None) => {
                if let Pools::Sought { python, .. } = &mut self.pools {
                    *python = Some(opened);
                }
            }
            Err(why) => {
                tracing::debug!(pid, "thread pools are not followed: {why}");
                self.pools = Pools::Never;
            }
        }
    }

    /// None while they are not loaded.
    fn try_pools(
        &mut self,
        (kernel, soon): (&mut Kernel, bool),
        pid: u32,
        python: &Python,
    ) -> Result<Option<Copies>, String> {
        let item_values = match python.fit.layout.version {
            Version::V3_8 | Version::V3_9 | Version::V3_10 => values::DICT,
            Version::V3_11 => values::BEFORE,
            Version::V3_12 => values::TAGGED,
            Version::V3_13 => values::INLINE,
            // Its locks are made in another way.
            Version::V3_14 => return Err("those of Python 3.14 do not tell".to_owned()),
        };
        // A module that is loaded just now may not be readable yet.
        let code = |name: &str| -> Result<Option<u64>, String> {
            let name = FunctionName::parse(name).map_err(|e| e.to_string())?;
            Ok(python.find(&name).ok().map(|code| code.address))
        };
        let (Some(item_run), Some(future_made)) = (code(ITEM)?, code(FUTURE)?) else {
            return Ok(None);
        };
        let (file, offset) = python.place(pid, LOCK).map_err(|e| e.to_string())?;
        let known = self.layout.ok_or("its layout is not known")?;
        let layout = PythonLayout {
            item_values,
            item_run,
            future_made,
            wanted: known.wanted | wanted::POOL,
            ..known
        };
        let probes = match kernel.attach_pools(pid, &file.reach, offset, soon) {
            Ok(probes) => probes,
            Err(AttachError::Gone(_)) => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        kernel.set_python(pid, &layout).map_err(|e| e.to_string())?;
        self.layout = Some(layout);
        Ok(Some(Copies {
            reach: file.reach,
            offset,
            _probes: probes,
        }))
    }

    /// Follows the contexts of a process that serves, if it may call somebody: finds its interpreter,
    /// proves its layout, tells the kernel and places the probe. Nothing of it is needed for the calls
    /// themselves, so what fails is told in the log and tried again when there is reason to. Does not
    /// wait for the probe when it is to be there `soon`.
    pub(super) fn follow(&mut self, kernel: &mut Kernel, pid: u32, soon: bool) {
        if !self.serves || !self.is_open() {
            return;
        }
        self.looks += 1;
        if let Err(why) = self.try_follow(kernel, pid, soon) {
            tracing::debug!(pid, "contexts are not followed: {why}");
        }
    }

    /// Has the kernel tell the frames from which requests are made. The interpreter may not be there
    /// yet: then this is to be tried again when libraries were loaded.
    pub(super) fn tell_stacks(&mut self, kernel: &mut Kernel, pid: u32) {
        if self.tells_stacks() || self.refused || self.looks_for_frames >= MOST_LOOKS {
            return;
        }
        self.looks_for_frames += 1;
        if let Err(why) = self.try_stacks(kernel, pid) {
            tracing::debug!(pid, "call paths are not told: {why}");
        }
    }

    /// Has it tell them no more.
    pub(super) fn leave_stacks(&mut self, kernel: &mut Kernel, pid: u32) {
        let Some(mut layout) = self.layout.filter(|_| self.tells_stacks()) else {
            return;
        };
        layout.wanted &= !wanted::STACK;
        match kernel.set_python(pid, &layout) {
            Ok(()) => {
                self.layout = Some(layout);
                self.looks_for_frames = 0;
            }
            Err(why) => tracing::debug!(pid, "call paths are told on: {why}"),
        }
    }

    /// The interpreter of a process. That one is of a kind that is not read is told, once.
    fn open(&mut self, pid: u32) -> Result<Python, String> {
        Python::open(pid).map_err(|error| {
            if matches!(error, NoPython::Unsupported(_)) && !self.refused {
                self.refused = true;
                tracing::warn!("{error}; call paths and contexts are not told (pid {pid})");
            }
            error.to_string()
        })
    }

    fn try_stacks(&mut self, kernel: &mut Kernel, pid: u32) -> Result<(), String> {
        let python = self.open(pid)?;
        self.tell_layout(kernel, pid, &python, wanted::STACK)
    }

    /// Tells the kernel where things are in this interpreter, and what more is wanted of it.
    fn tell_layout(
        &mut self,
        kernel: &mut Kernel,
        pid: u32,
        python: &Python,
        more: u32,
    ) -> Result<(), String> {
        let thread_state = python
            .fit
            .thread_state
            .ok_or("its threads do not tell their state")?;
        let layout = python.fit.layout.kernel(thread_state);
        let mut layout = layout.checked().map_err(|e| e.to_string())?;
        if let Some(known) = self.layout {
            layout.wanted |= known.wanted;
            layout.item_values = known.item_values;
            layout.item_run = known.item_run;
            layout.future_made = known.future_made;
        }
        layout.wanted |= more;
        kernel.set_python(pid, &layout).map_err(|e| e.to_string())?;
        self.layout = Some(layout);
        Ok(())
    }

    fn try_follow(&mut self, kernel: &mut Kernel, pid: u32, soon: bool) -> Result<(), String> {
        let python = self.open(pid)?;
        if !self.calls && !clients::any_loaded(&python) {
            let pause = self.idle.map_or(FIRST_PAUSE, |(_, pause)| pause);
            self.idle = Some((Instant::now() + pause, (2 * pause).min(LONGEST_PAUSE)));
            // It was readable, and may be asked again.
            self.looks = 0;
            return Err("it has nothing loaded to call anybody with".to_owned());
        }
        let (file, offset) = python.place(pid, COPY).map_err(|e| e.to_string())?;
        self.tell_layout(kernel, pid, &python, wanted::CONTEXT)?;
        let probes = match kernel.attach_contexts(pid, &file.reach, offset, soon) {
            Ok(probes) => probes,
            Err(AttachError::Gone(_)) => return Ok(()),
            Err(e) => return Err(e.to_string()),
        };
        tracing::debug!(pid, version = python.version(), "contexts are followed");
        self.copies = Some(Copies {
            reach: file.reach,
            offset,
            _probes: probes,
        });
        self.pools = Pools::sought(Some(python));
        self.look_for_pools(kernel, pid, soon);
        Ok(())
    }
}
