//! Watchpoints on Python functions: the programs behind them, and the tables that say what they
//! are for.
//!
//! A watchpoint is a perf event of one thread (`PERF_TYPE_BREAKPOINT`, `perf_event_open(2)`), which
//! the threads and processes that it starts inherit. The processor has four for each thread.

use aya::maps::{HashMap, MapError};
use aya::programs::perf_event::{
    BreakpointConfig, PerfBreakpointLength, PerfBreakpointType, PerfEvent, PerfEventConfig,
    PerfEventLink, PerfEventScope, SamplePolicy,
};
use aya::programs::{ProgramError, RawTracePoint};
use aya::{Ebpf, Pod};
use genspan_common::dispatch;
use genspan_common::framework::{OwnerKey, RunManager, RunOwner};
use genspan_common::function::{
    GeneratorKey, OpenGenerator, Watch, WatchKey, WatchedProcess, what,
};
use genspan_common::resume::Resumed;

use super::again::again;
use super::kernel::{AttachError, ENTRY_LEFT, Kernel, LoadError, Probes, refused, uprobe};
use super::multi::{ENTRY_RUN, FRAMEWORK_RAISED, FUNCTION_RAISED, RESUME};
use super::resume::Found;
use std::io;
use std::path::Path;

/// The program behind every watchpoint.
const WATCHED: &str = "function_watched";
/// The tracepoints that follow processes and threads.
const TRACEPOINTS: [(&str, &str); 3] = [
    ("function_fork", "sched_process_fork"),
    ("function_exec", "sched_process_exec"),
    ("function_exit", "sched_process_exit"),
];

/// The program behind those on frameworks.
const FRAMEWORK_WATCHED: &str = "framework_watched";
/// The program behind those on LlamaIndex's dispatcher.
const DISPATCH_WATCHED: &str = "dispatch_watched";

/// `BPF_EXIST`: an entry that the programs took out, as its process ended, stays out.
const EXISTING: u64 = 2;

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Loads the programs.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    let program: &mut PerfEvent = ebpf
        .program_mut(WATCHED)
        .and_then(|p| p.try_into().ok())
        .ok_or(LoadError::Missing(WATCHED))?;
    again(|| program.load()).map_err(|e| refused(WATCHED, e))?;
    follow_processes(ebpf)
}

fn follow_processes(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    for (name, tracepoint) in TRACEPOINTS {
        let program: &mut RawTracePoint = ebpf
            .program_mut(name)
            .and_then(|p| p.try_into().ok())
            .ok_or(LoadError::Missing(name))?;
        again(|| program.load()).map_err(|e| refused(name, e))?;
        program.attach(tracepoint).map_err(|e| refused(name, e))?;
    }
    Ok(())
}

/// The program behind a watchpoint, by what is watched for.
const fn behind(what: u32) -> &'static str {
    match what {
        what::COUNT | what::ENTRY => WATCHED,
        number if dispatch::hook::is_one(number) => DISPATCH_WATCHED,
        _ => FRAMEWORK_WATCHED,
    }
}

/// A watchpoint of one thread and of those that it starts; removed when this is dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "held to be dropped")]
pub struct Watchpoint(PerfEventLink);

/// Why a thread has no watchpoint.
#[derive(Debug, thiserror::Error)]
pub enum NoWatchpoint {
    /// The thread has ended.
    #[error("the thread ended")]
    Gone,
    /// All are taken: by us, or by a debugger.
    #[error("no watchpoint is left: the processor has four for each thread, a function takes two")]
    NoneLeft,
    /// The kernel refused.
    #[error("the kernel refused a watchpoint: {}", said(.0))]
    Refused(#[source] ProgramError),
}

/// What the kernel said, and where that is known what it wants.
fn said(error: &ProgramError) -> String {
    match error {
        ProgramError::SyscallError(e) if e.io_error.kind() == io::ErrorKind::PermissionDenied => {
            format!(
                "{} (Debian's and other kernels want CAP_SYS_ADMIN where kernel.perf_event_paranoid is above 2)",
                e.io_error
            )
        }
        ProgramError::SyscallError(e) => e.io_error.to_string(),
        other => other.to_string(),
    }
}

impl From<ProgramError> for NoWatchpoint {
    fn from(error: ProgramError) -> Self {
        let code = match &error {
            ProgramError::SyscallError(e) => e.io_error.raw_os_error(),
            _ => None,
        };
        match code {
            Some(libc::ESRCH) => Self::Gone,
            Some(libc::ENOSPC) => Self::NoneLeft,
            _ => Self::Refused(error),
        }
    }
}

impl Kernel {
    /// Tells the programs how a process is laid out in which functions are to be watched.
    ///
    /// # Errors
    ///
    /// When the table is full.
    pub fn watch_process(&mut self, pid: u32, process: WatchedProcess) -> Result<(), MapError> {
        let map = self.function_map("WATCHED")?;
        HashMap::<_, u32, WatchedProcess>::try_from(map)?.insert(pid, process, 0)
    }

    /// Tells them what an address of a process, and of those forked from it, is watched for.
    ///
    /// # Errors
    ///
    /// When the table is full.
    pub fn watch_address(&mut self, key: WatchKey, watch: Watch) -> Result<(), MapError> {
        let map = self.function_map("WATCHES")?;
        HashMap::<_, WatchKey, Watch>::try_from(map)?.insert(key, watch, 0)
    }

    /// Tells them whether what is inside of a process's objects is to be copied from here on.
    ///
    /// # Errors
    ///
    /// When the kernel refuses. A process that they do not know, or that ended, is none.
    pub fn set_contents(&mut self, pid: u32, contents: bool) -> Result<(), MapError> {
        let map = self.function_map("WATCHED")?;
        let mut map = HashMap::<_, u32, WatchedProcess>::try_from(map)?;
        let mut process = match map.get(&pid, 0) {
            Ok(process) => process,
            Err(MapError::KeyNotFound) => return Ok(()),
            Err(error) => return Err(error),
        };
        process.contents = u32::from(contents);
        match map.insert(pid, process, EXISTING) {
            Err(MapError::SyscallError(error)) if is_missing(&error.io_error) => Ok(()),
            done => done,
        }
    }

    /// Takes back what they know of a process.
    pub fn unwatch_process(&mut self, pid: u32) {
        // Not there: the programs forgot it before.
        if let Ok(map) = self.function_map("WATCHED")
            && let Ok(mut map) = HashMap::<_, u32, WatchedProcess>::try_from(map)
        {
            let _ = map.remove(&pid);
        }
        self.forget_resumed(pid);
        self.forget_awaited(pid);
        // Its generators go with it: no thread of it tells their end any more.
        if let Ok(map) = self.function_map("GENERATORS")
            && let Ok(mut map) = HashMap::<_, GeneratorKey, OpenGenerator>::try_from(map)
        {
            let own = map.keys().flatten().filter(|key| key.tgid == pid);
            for key in own.collect::<Vec<_>>() {
                let _ = map.remove(&key);
            }
        }
        if self.frameworks_loaded {
            self.forget_runs::<RunManager>("RUN_MANAGERS", pid);
            self.forget_runs::<RunOwner>("RUN_OWNERS", pid);
            self.forget_runs::<u64>("STEP_OWNERS", pid);
        }
    }

    /// Takes the entries of a process out of a table of runs: those that were under way in it.
    fn forget_runs<V: Pod>(&mut self, name: &'static str, pid: u32) {
        if let Ok(map) = self.function_map(name)
            && let Ok(mut map) = HashMap::<_, OwnerKey, V>::try_from(map)
        {
            let own = map.keys().flatten().filter(|key| key.tgid == pid);
            for key in own.collect::<Vec<_>>() {
                let _ = map.remove(&key);
            }
        }
    }

    /// Takes back what they know of an address.
    pub fn unwatch_address(&mut self, key: &WatchKey) {
        if let Ok(map) = self.function_map("WATCHES")
            && let Ok(mut map) = HashMap::<_, WatchKey, Watch>::try_from(map)
        {
            let _ = map.remove(key);
        }
    }

    pub(super) fn function_map(
        &mut self,
        name: &'static str,
    ) -> Result<&mut aya::maps::Map, MapError> {
        self.ebpf
            .map_mut(name)
            .ok_or_else(|| MapError::IoError(io::Error::other(name)))
    }

    /// Loads the programs for a framework, unless they are: where none is found, nor may be imported, nobody pays
    /// for them. The kernel takes 0.2 to 0.3 s to verify them. `what` is what one of its functions is watched for.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn load_frameworks(&mut self, what: u32) -> Result<(), LoadError> {
        let name = behind(what);
        let program: &mut PerfEvent = self
            .ebpf
            .program_mut(name)
            .and_then(|p| p.try_into().ok())
            .ok_or(LoadError::Missing(name))?;
        if program.fd().is_err() {
            again(|| program.load()).map_err(|e| refused(name, e))?;
        }
        if self.frameworks_loaded {
            return Ok(());
        }
        if !self.follows_processes {
            follow_processes(&mut self.ebpf)?;
            self.follows_processes = true;
        }
        match &self.multi {
            // A failure is told by what places it.
            Some(multi) => multi.prefetch(FRAMEWORK_RAISED),
            None => {
                let program = uprobe(&mut self.ebpf, FRAMEWORK_RAISED)?;
                again(|| program.load()).map_err(|e| refused(FRAMEWORK_RAISED, e))?;
            }
        }
        self.frameworks_loaded = true;
        Ok(())
    }

    /// Puts the probe on a process that tells when an exception passes a frame in which a run began;
    /// as [`Self::attach_traceback`].
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn attach_raised_runs(
        &mut self,
        pid: u32,
        path: &Path,
        offsets: &[u64],
        soon: bool,
    ) -> Result<Probes, AttachError> {
        let programs: Vec<_> = offsets.iter().map(|at| (FRAMEWORK_RAISED, *at)).collect();
        if soon {
            self.attach_soon(pid, path, &programs)
        } else {
            self.attach(pid, path, &programs)
        }
    }

    /// Sets a watchpoint on a thread: on the byte that is read when a function begins, or on the
    /// word that is written when a frame of it comes or goes.
    ///
    /// # Errors
    ///
    /// When the thread ended, or has none left.
    pub fn watch_thread(
        &mut self,
        tid: u32,
        address: u64,
        what: u32,
    ) -> Result<Watchpoint, NoWatchpoint> {
        let (kind, length) = if what == what::COUNT {
            (PerfBreakpointType::Write, PerfBreakpointLength::Len8)
        } else {
            // The processor has none for reads alone.
            (PerfBreakpointType::ReadWrite, PerfBreakpointLength::Len1)
        };
        let name = behind(what);
        let program: &mut PerfEvent = self
            .ebpf
            .program_mut(name)
            .and_then(|p| p.try_into().ok())
            .ok_or(ProgramError::UnexpectedProgramType)?;
        let id = again(|| {
            let config = PerfEventConfig::Breakpoint(BreakpointConfig::Data {
                r#type: kind,
                address,
                length,
            });
            let scope = PerfEventScope::OneProcess {
                pid: tid,
                cpu: None,
            };
            program.attach(config, scope, SamplePolicy::Period(1), true)
        })?;
        Ok(Watchpoint(program.take_link(id)?))
    }

    /// Puts the probes on a process that tell when an exception passes a frame; does not wait for
    /// them when they are to be there `soon`, as [`Self::attach_tls_soon`] does not.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn attach_traceback(
        &mut self,
        pid: u32,
        path: &Path,
        offsets: &[u64],
        soon: bool,
    ) -> Result<Probes, AttachError> {
        let programs: Vec<_> = offsets.iter().map(|at| (FUNCTION_RAISED, *at)).collect();
        if soon {
            self.attach_soon(pid, path, &programs)
        } else {
            self.attach(pid, path, &programs)
        }
    }

    /// Tells the programs what to hold hits in a process against that is probed where its interpreter runs
    /// `RESUME`.
    ///
    /// # Errors
    ///
    /// When the table is full.
    pub fn set_resumed(&mut self, pid: u32, told: Resumed) -> Result<(), MapError> {
        let map = self.function_map("RESUMED")?;
        HashMap::<_, u32, Resumed>::try_from(map)?.insert(pid, told, 0)
    }

    /// What they found out of it.
    pub fn resumed(&mut self, pid: u32) -> Option<Resumed> {
        let map = self.function_map("RESUMED").ok()?;
        let map = HashMap::<_, u32, Resumed>::try_from(map).ok()?;
        map.get(&pid, 0).ok()
    }

    /// Takes that back.
    pub fn forget_resumed(&mut self, pid: u32) {
        if let Ok(map) = self.function_map("RESUMED")
            && let Ok(mut map) = HashMap::<_, u32, Resumed>::try_from(map)
        {
            // Not there: it was not probed so.
            let _ = map.remove(&pid);
        }
    }

    /// Puts probes on a process where its interpreter runs `RESUME`, and on what clears a frame; as
    /// [`Self::attach_traceback`].
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn attach_resume(
        &mut self,
        pid: u32,
        path: &Path,
        found: &Found,
        soon: bool,
    ) -> Result<Probes, AttachError> {
        let [reached, cleared] = RESUME;
        // What is seen to begin is to be seen to end.
        let mut programs = vec![(cleared, found.clears)];
        let ends = if self.multi.is_some() {
            ENTRY_RUN
        } else {
            ENTRY_LEFT
        };
        programs.extend(found.runs.map(|at| (ends, at)));
        programs.extend(found.places.iter().map(|at| (reached, *at)));
        if soon {
            self.attach_soon(pid, path, &programs)
        } else {
            self.attach(pid, path, &programs)
        }
    }
}
