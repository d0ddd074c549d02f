//! genspan's programs in the kernel: loading them, attaching them to a process, and the maps
//! through which they are steered. Everything goes when this value goes, or the process dies.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::uprobe::{UProbeAttachLocation, UProbeLink, UProbeScope};
use aya::programs::{ProgramError, RawTracePoint, UProbe};
use aya::sys::SyscallError;
use aya::{Ebpf, EbpfError};
use aya_log::EbpfLogger;
use genspan_common::guess::{GuessKey, GuessState};
use genspan_common::loss::Loss;
use genspan_common::map::{ConnectionKey, ConnectionMode, traced};
use genspan_common::python::PythonLayout;
use thiserror::Error;

use super::again::again;
use super::btf::BtfError;
use super::functions;
use super::multi::{FRAME_RUN, FRAMEWORK_RAISED, FUNCTION_RAISED, MultiError, MultiProbes, RESUME};
use super::object::{self, KERNEL_BTF};
use super::programs::refusal;
use super::sockets::{self, SocketState, SocketWay};
use super::warm::Warm;
use crate::model::event::ConnectionId;

/// Element of `SWITCHES`: wake the agent with the next record.
const SWITCH_WAKE: u32 = 0;
/// Element of `SWITCHES`: look into `PYTHON` for contexts.
const SWITCH_PYTHON: u32 = 3;
/// Element of `SWITCHES`: tell of every program that is executed.
const SWITCH_ALL_EXECS: u32 = 4;
/// Element of `SWITCHES`: look into `MODES`.
const SWITCH_MODES: u32 = 1;

/// Why the programs are not in the kernel. Each message says what to do.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The kernel has no BTF.
    #[error(
        "this kernel has no type information ({KERNEL_BTF}: {0}); genspan needs a kernel built \
         with CONFIG_DEBUG_INFO_BTF=y (every distribution kernel since 2021 is)"
    )]
    NoBtf(io::Error),
    /// The BTF does not say what we need.
    #[error("this kernel's type information ({KERNEL_BTF}) is of no use: {0}")]
    Btf(#[from] BtfError),
    /// Not allowed.
    #[error(
        "not allowed to load eBPF programs: run genspan as root (sudo), or give it the \
         capabilities CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
    )]
    NotPermitted,
    /// Not allowed although privileged.
    #[error(
        "this kernel is locked down (/sys/kernel/security/lockdown says `confidentiality`), \
         which forbids eBPF programs to read memory; boot with lockdown=integrity or without"
    )]
    LockedDown,
    /// Refused for another reason.
    #[error("the kernel refused the program {program}: {}", refusal(said))]
    Refused {
        /// Which.
        program: &'static str,
        /// What the kernel said. It is told in short here and is no cause that follows: that would be the whole log
        /// of the verifier.
        said: ProgramError,
    },
    /// It takes no trampolines on its functions for sockets.
    #[error(
        "this kernel takes no BPF trampolines on its functions for sockets ({0}): they need Linux 5.15, \
         and some newer kernels refuse them too; `--sockets auto` or `--sockets tracepoints` reads plain \
         sockets in another way"
    )]
    NoTrampolines(String),
    /// The object as a whole could not be loaded.
    #[error("the eBPF object could not be loaded: {0}")]
    Object(#[source] EbpfError),
    /// A part is missing: a build of agent and programs that do not fit.
    #[error(
        "the eBPF object has no `{0}`: agent and programs are of different versions; build both again"
    )]
    Missing(&'static str),
    /// A map could not be used.
    #[error("a map of the eBPF object cannot be used: {0}")]
    Map(#[from] MapError),
}

/// Why a probe is not on a process.
#[derive(Debug, Error)]
pub enum AttachError {
    /// The process ended meanwhile.
    #[error("process {0} ended")]
    Gone(u32),
    /// The kernel refused.
    #[error(
        "cannot put a probe at {path}+{offset:#x} of process {pid}: {}",
        refusal(said)
    )]
    Refused {
        /// Process.
        pid: u32,
        /// File.
        path: PathBuf,
        /// Offset in it.
        offset: u64,
        /// What the kernel said. It is told in short here and is no cause that follows: that would be the whole log
        /// of the verifier.
        said: ProgramError,
    },
    /// A map could not be written.
    #[error("cannot tell the kernel about process {pid}: {source}")]
    Map {
        /// Process.
        pid: u32,
        /// What the kernel said.
        #[source]
        source: MapError,
    },
}

/// How the programs are to be set.
#[derive(Clone, Copy, Debug)]
pub struct KernelOptions {
    /// Size of the data ring in bytes; a power of two.
    pub ring_bytes: u32,
    /// Bytes of one message that are copied before only tails are.
    pub message_bytes: u32,
    /// Let the programs log.
    pub debug: bool,
    /// Place probes by perf events even where the kernel has multi-uprobes.
    pub perf_probes: bool,
    /// How plain sockets are read.
    pub sockets: SocketWay,
    /// Read the state of Python threads: for the parents of calls, functions and call paths.
    pub python: bool,
    /// Python functions are to be watched.
    pub functions: bool,
    /// Frameworks are to be looked for.
    pub frameworks: bool,
    /// The Python frames are to be told from which requests are made.
    pub stacks: bool,
}

/// What holds probes in place: they go with it.
#[derive(Debug)]
#[expect(dead_code, reason = "held to be dropped")]
pub(super) enum Link {
    /// One probe, by a perf event.
    Perf(UProbeLink),
    /// All of one program in one file, see [`super::multi`].
    Multi(OwnedFd),
    /// The same, asked for but perhaps not yet given.
    Asked(JoinHandle<Option<OwnedFd>>),
}

/// Probes of one library in one process; they are removed soon after this is dropped, see
/// [`super::removal`].
#[derive(Debug, Default)]
pub struct Probes(Vec<Link>);

impl Drop for Probes {
    fn drop(&mut self) {
        super::removal::later(self.0.drain(..));
    }
}

impl Probes {
    /// Adds others.
    pub(super) fn join(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Waits for those that were only asked for; false when one is not to be had.
    pub fn settle(&mut self) -> bool {
        let mut all = true;
        for link in std::mem::take(&mut self.0) {
            let link = match link {
                // A panic in there was told by its hook.
                Link::Asked(asked) => asked.join().ok().flatten().map(Link::Multi),
                link => Some(link),
            };
            all &= link.is_some();
            self.0.extend(link);
        }
        all
    }

    /// How many links hold them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes them before it returns: for measurements, which must not run into what is left.
    pub fn remove(mut self) {
        self.0.clear();
    }
}

/// The loaded programs.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    pub(super) sockets: SocketState,
    data: RingBuf<MapData>,
    control: RingBuf<MapData>,
    traced: HashMap<MapData, u32, u32>,
    python: HashMap<MapData, u32, PythonLayout>,
    modes: HashMap<MapData, ConnectionKey, ConnectionMode>,
    pub(super) guesses: HashMap<MapData, GuessKey, GuessState>,
    switches: Array<MapData, u32>,
    loss: PerCpuArray<MapData, u64>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// Without it, probes are perf's.
    pub(super) multi: Option<Arc<MultiProbes>>,
    warm: Option<Warm>,
    /// The programs for frameworks are loaded.
    pub(super) frameworks_loaded: bool,
    /// Those are attached that follow processes in which functions are watched.
    pub(super) follows_processes: bool,
}

/// The programs of the ends of what runs a frame, where one cannot be both.
const FRAME_ENDS: [&str; 2] = ["frame_enter", "frame_return"];
/// That of the return of what runs a frame in 3.11, where a program cannot be of both ends.
pub(super) const ENTRY_LEFT: &str = "entry_left";
const UPROBES: [&str; 19] = [
    "tls_read_enter",
    "tls_read_ex_enter",
    "tls_read_public_ex_enter",
    "tls_read_return",
    "tls_write_enter",
    "tls_write_ex_enter",
    "tls_write_ex5_enter",
    "tls_write_return",
    "tls_free",
    "libraries_changed",
    "context_copied",
    "lock_made",
    FRAME_ENDS[0],
    FRAME_ENDS[1],
    RESUME[0],
    RESUME[1],
    ENTRY_LEFT,
    FUNCTION_RAISED,
    FRAMEWORK_RAISED,
];
const TRACEPOINTS: [(&str, &str); 3] = [
    ("process_fork", "sched_process_fork"),
    ("process_exec", "sched_process_exec"),
    ("process_exit", "sched_process_exit"),
];

impl Kernel {
    /// Loads the programs and attaches those that watch processes come and go.
    ///
    /// # Errors
    ///
    /// When the kernel or our privileges do not allow it; the message names the remedy.
    pub fn load(options: &KernelOptions) -> Result<Self, LoadError> {
        let mut ebpf = object::open(options)?;
        let multi = if options.perf_probes {
            None
        } else {
            let sockets = matches!(options.sockets, SocketWay::Auto | SocketWay::Libc);
            MultiProbes::load(object::bytes(), &ebpf, sockets, options.functions)
                .inspect_err(MultiError::tell)
                .ok()
                .map(Arc::new)
        };
        if multi.is_none() {
            let wanted = |name: &&str| {
                let of_functions = **name == *FUNCTION_RAISED
                    || FRAME_ENDS.contains(name)
                    || **name == *ENTRY_LEFT
                    || RESUME.contains(name);
                **name != *FRAMEWORK_RAISED && (options.functions || !of_functions)
            };
            for name in UPROBES.into_iter().filter(wanted) {
                let program = uprobe(&mut ebpf, name)?;
                again(|| program.load()).map_err(|e| refused(name, e))?;
            }
        }
        for (name, tracepoint) in TRACEPOINTS {
            let program: &mut RawTracePoint = ebpf
                .program_mut(name)
                .and_then(|p| p.try_into().ok())
                .ok_or(LoadError::Missing(name))?;
            again(|| program.load()).map_err(|e| refused(name, e))?;
            program.attach(tracepoint).map_err(|e| refused(name, e))?;
        }
        if options.functions {
            functions::load(&mut ebpf)?;
        }
        let sockets = sockets::load(&mut ebpf, options.sockets, multi.is_some())?;
        let logger = if options.debug {
            log_of(&mut ebpf)
        } else {
            None
        };
        let mut map = |name| ebpf.take_map(name).ok_or(LoadError::Missing(name));
        let warm = multi.as_ref().and_then(Warm::new);
        Ok(Self {
            frameworks_loaded: false,
            follows_processes: options.functions,
            warm,
            data: RingBuf::try_from(map("DATA")?)?,
            control: RingBuf::try_from(map("CONTROL")?)?,
            traced: HashMap::try_from(map("TRACED")?)?,
            python: HashMap::try_from(map("PYTHON")?)?,
            modes: HashMap::try_from(map("MODES")?)?,
            guesses: HashMap::try_from(map("GUESSES")?)?,
            switches: Array::try_from(map("SWITCHES")?)?,
            loss: PerCpuArray::try_from(map("LOSS")?)?,
            logger,
            multi,
            sockets,
            ebpf,
        })
    }

    /// The ring with plaintext.
    pub const fn data(&mut self) -> &mut RingBuf<MapData> {
        &mut self.data
    }

    /// The ring with births, deaths and library loads.
    pub const fn control(&mut self) -> &mut RingBuf<MapData> {
        &mut self.control
    }

    /// The data ring's descriptor, to wait on.
    #[must_use]
    pub fn data_fd(&self) -> BorrowedFd<'_> {
        self.data.as_fd()
    }

    /// The control ring's descriptor, to wait on.
    #[must_use]
    pub fn control_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Hands on what the programs logged, if they were told to log.
    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// Tells the kernel that children and the end of this process matter.
    ///
    /// # Errors
    ///
    /// When the table is full.
    pub fn trace(&mut self, pid: u32) -> Result<(), AttachError> {
        self.mark_traced(pid, self.sockets.by_host())
            .map_err(|source| AttachError::Map { pid, source })
    }

    /// Writes a process into the kernel's table.
    pub(super) fn mark_traced(&mut self, pid: u32, by_host: bool) -> Result<(), MapError> {
        let how = if by_host {
            traced::YES | traced::BY_HOST
        } else {
            traced::YES
        };
        self.traced.insert(pid, how, 0)
    }

    /// What the socket programs are loaded with.
    pub(super) const fn socket_parts(&mut self) -> (&mut Ebpf, &mut SocketState) {
        (&mut self.ebpf, &mut self.sockets)
    }

    /// Asks to be told of every program that is executed on this host, not only by traced processes.
    ///
    /// # Errors
    ///
    /// When the kernel does not take it.
    pub fn tell_all_execs(&mut self) -> Result<(), MapError> {
        self.switches.set(SWITCH_ALL_EXECS, 1, 0)
    }

    /// Tells the kernel how the Python of a process is laid out, and what is wanted of it.
    ///
    /// # Errors
    ///
    /// When the table is full.
    pub fn set_python(&mut self, pid: u32, layout: &PythonLayout) -> Result<(), AttachError> {
        self.python
            .insert(pid, layout, 0)
            .and_then(|()| self.switches.set(SWITCH_PYTHON, 1, 0))
            .map_err(|source| AttachError::Map { pid, source })
    }

    /// Tells of the copies of `contextvars` contexts in one process: puts a probe on the return of
    /// `PyContext_CopyCurrent`. Waits until it is there, or not (`soon`), as for a process that is
    /// at work already.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, where it is waited for.
    pub fn attach_contexts(
        &mut self,
        pid: u32,
        path: &Path,
        offset: u64,
        soon: bool,
    ) -> Result<Probes, AttachError> {
        let program = [("context_copied", offset)];
        if soon {
            self.attach_soon(pid, path, &program)
        } else {
            self.attach(pid, path, &program)
        }
    }

    /// Tells of work that one process gives to thread pools: puts a probe on `PyThread_allocate_lock`.
    /// As [`Self::attach_contexts`].
    ///
    /// # Errors
    ///
    /// When the kernel refuses, where it is waited for.
    pub fn attach_pools(
        &mut self,
        pid: u32,
        path: &Path,
        offset: u64,
        soon: bool,
    ) -> Result<Probes, AttachError> {
        let program = [("lock_made", offset)];
        if soon {
            self.attach_soon(pid, path, &program)
        } else {
            self.attach(pid, path, &program)
        }
    }

    /// Tells of each frame of Python code that one process runs of the watched ones: puts probes on both
    /// ends of `_PyEval_EvalFrameDefault`.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn attach_frames(
        &mut self,
        pid: u32,
        path: &Path,
        offset: u64,
        soon: bool,
    ) -> Result<Probes, AttachError> {
        let programs: Vec<_> = if self.multi.is_some() {
            vec![(FRAME_RUN, offset)]
        } else {
            FRAME_ENDS.map(|name| (name, offset)).to_vec()
        };
        if soon {
            self.attach_soon(pid, path, &programs)
        } else {
            self.attach(pid, path, &programs)
        }
    }

    /// Whether user probes are perf's: the return probes of these are bounded for each thread.
    #[must_use]
    pub const fn has_perf_probes(&self) -> bool {
        self.multi.is_none()
    }

    /// Takes that back.
    pub fn forget(&mut self, pid: u32) {
        let _ = self.python.remove(&pid);
        // Not there: the kernel never knew it, or it is forgotten already.
        let _ = self.traced.remove(&pid);
    }

    /// A traced process forked, or is about to: probes for its children should be placed without
    /// delay.
    pub fn forks_are_likely(&self) {
        if let Some(warm) = &self.warm {
            warm.forks_are_likely();
        }
    }

    /// Watches the dynamic linker of one process. Does not wait either.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn attach_linker(
        &mut self,
        pid: u32,
        path: &Path,
        offset: u64,
    ) -> Result<Probes, AttachError> {
        self.attach_soon(pid, path, &[("libraries_changed", offset)])
    }

    pub(super) fn attach_soon(
        &mut self,
        pid: u32,
        path: &Path,
        programs: &[(&'static str, u64)],
    ) -> Result<Probes, AttachError> {
        super::removal::not_now();
        let Some(multi) = &self.multi else {
            return self.attach_perf(pid, path, programs);
        };
        let asked = by_program(programs)
            .into_iter()
            .map(|(program, offsets)| MultiProbes::ask(multi, program, pid, path, offsets));
        Ok(Probes(asked.flatten().collect()))
    }

    /// Puts programs on places of a file.
    pub(super) fn attach(
        &mut self,
        pid: u32,
        path: &Path,
        programs: &[(&'static str, u64)],
    ) -> Result<Probes, AttachError> {
        super::removal::not_now();
        let Some(multi) = &self.multi else {
            return self.attach_perf(pid, path, programs);
        };
        let mut probes = Probes::default();
        for (program, offsets) in by_program(programs) {
            let link = multi.attach(program, pid, path, &offsets).map_err(|e| {
                let source = ProgramError::SyscallError(SyscallError {
                    call: "bpf_link_create",
                    io_error: e,
                });
                not_attached(pid, path, offsets.first().copied().unwrap_or(0), source)
            })?;
            probes.0.push(Link::Multi(link));
        }
        Ok(probes)
    }

    /// The same by perf events.
    pub(super) fn attach_perf(
        &mut self,
        pid: u32,
        path: &Path,
        programs: &[(&'static str, u64)],
    ) -> Result<Probes, AttachError> {
        let process = NonZeroU32::new(pid).ok_or(AttachError::Gone(pid))?;
        let mut probes = Probes::default();
        for &(name, offset) in programs {
            let failed = |source| not_attached(pid, path, offset, source);
            let Ok(program) = uprobe(&mut self.ebpf, name) else {
                return Err(failed(ProgramError::UnexpectedProgramType));
            };
            // Those of guessed functions are loaded when there are any.
            if program.fd().is_err() {
                again(|| program.load()).map_err(failed)?;
            }
            let id = again(|| {
                let point = UProbeAttachLocation::AbsoluteOffset(offset);
                program.attach(point, path, UProbeScope::OneProcess(process))
            });
            let id = id.map_err(failed)?;
            let link = program.take_link(id).map_err(failed)?;
            probes.0.push(Link::Perf(link));
        }
        Ok(probes)
    }

    /// Says what is to be copied of a connection from now on.
    pub fn set_mode(&mut self, connection: ConnectionId, mode: u32) {
        let key = ConnectionKey {
            ssl: connection.ssl,
            tgid: connection.pid,
            zero: 0,
        };
        let value = ConnectionMode {
            generation: connection.generation,
            mode,
            zero: 0,
        };
        let done = self
            .modes
            .insert(key, value, 0)
            .and_then(|()| self.switches.set(SWITCH_MODES, 1, 0));
        if let Err(error) = done {
            tracing::debug!(%error, "the kernel could not be told a connection's mode");
        }
    }

    /// Asks to be woken by the next record of the data ring. Drain the ring once more before
    /// sleeping: a record may have come before this.
    pub fn wake_on_next(&mut self) {
        if let Err(error) = self.switches.set(SWITCH_WAKE, 1, 0) {
            tracing::debug!(%error, "the wake switch could not be set");
        }
    }

    /// The kernel's loss counters, summed over processors.
    #[must_use]
    pub fn losses(&self) -> [u64; Loss::COUNT] {
        let mut sums = [0; Loss::COUNT];
        for loss in Loss::ALL {
            if let Ok(values) = self.loss.get(&(loss as u32), 0) {
                sums[loss as usize] = values.iter().sum();
            }
        }
        sums
    }
}

/// The places of each program, in the order in which the programs first occur.
fn by_program(programs: &[(&'static str, u64)]) -> Vec<(&'static str, Vec<u64>)> {
    let mut all: Vec<(&'static str, Vec<u64>)> = Vec::new();
    for &(program, offset) in programs {
        match all.iter_mut().find(|(p, _)| *p == program) {
            Some((_, offsets)) => offsets.push(offset),
            None => all.push((program, vec![offset])),
        }
    }
    all
}

fn not_attached(pid: u32, path: &Path, offset: u64, source: ProgramError) -> AttachError {
    match &source {
        ProgramError::SyscallError(e) if e.io_error.raw_os_error() == Some(libc::ESRCH) => {
            AttachError::Gone(pid)
        }
        _ => AttachError::Refused {
            pid,
            path: path.to_owned(),
            offset,
            said: source,
        },
    }
}

pub(super) fn uprobe<'e>(
    ebpf: &'e mut Ebpf,
    name: &'static str,
) -> Result<&'e mut UProbe, LoadError> {
    ebpf.program_mut(name)
        .and_then(|p| p.try_into().ok())
        .ok_or(LoadError::Missing(name))
}

/// The programs' log, which goes where ours does.
fn log_of(ebpf: &mut Ebpf) -> Option<EbpfLogger<&'static dyn log::Log>> {
    EbpfLogger::init(ebpf)
        .inspect_err(|error| tracing::warn!("no log of the eBPF programs: {error}"))
        .ok()
}

pub(super) fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut at = Some(error);
    while let Some(e) = at {
        if let Some(io) = e.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        at = e.source();
    }
    None
}

pub(super) fn locked_down() -> bool {
    std::fs::read_to_string("/sys/kernel/security/lockdown")
        .is_ok_and(|s| s.contains("[confidentiality]"))
}

/// Whether the kernel looked at the program and said why it does not take it.
fn is_verdict(error: &ProgramError) -> bool {
    matches!(error, ProgramError::LoadError { verifier_log, io_error }
        if io_error.raw_os_error() == Some(libc::EACCES) && !verifier_log.to_string().is_empty())
}

pub(super) fn refused(program: &'static str, source: ProgramError) -> LoadError {
    if locked_down() {
        return LoadError::LockedDown;
    }
    match io_kind(&source) {
        // The verifier says EACCES when it does not like a program.
        Some(io::ErrorKind::PermissionDenied) if !is_verdict(&source) => LoadError::NotPermitted,
        _ => LoadError::Refused {
            program,
            said: source,
        },
    }
}
