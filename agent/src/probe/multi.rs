//! Probes through the kernel's multi-uprobe links (`bpf_uprobe_multi_link_attach`,
//! `kernel/trace/bpf_trace.c`): one link puts one program on many places of one process; as a
//! session, since Linux 6.13, at the entry and the return of each.
//!
//! What they give beyond perf's uprobes is a forked child's first calls. A fork copies its
//! parent's breakpoints, but the first time that the child runs into one, perf's handler takes it
//! out again, because the child is not its process (`uprobe_perf_func`,
//! `kernel/trace/trace_uprobe.c`), and a new registration waits for a grace period before it
//! places any (`dup_mmap_sem`, `kernel/events/uprobes.c`: 15 ms and more). A multi-uprobe leaves
//! the breakpoint alone, and a new registration is in the list of those that are called before it
//! waits. So a child's calls are seen as soon as the agent has asked for them.
//!
//! aya 0.14 knows no such links, and a program must be loaded for them: this loads the object's
//! uprobe programs a second way, against the maps that aya made.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use aya::Ebpf;
use aya::maps::{Map, MapData};
use aya_obj::btf::BtfFeatures;
use aya_obj::generated::bpf_insn;
use aya_obj::{EbpfSectionKind, Object};
use thiserror::Error;

use super::again::again;
use super::kernel::Link;
use super::removal::Undisturbed;
use crate::target::process;

/// First kernel with sessions. A pair of links in place of one would not do: the second at a
/// place is taken up only when the grace period of the first is over.
const FIRST_KERNEL: (u32, u32) = (6, 13);

/// `BPF_MAP_UPDATE_ELEM`.
const MAP_UPDATE: libc::c_long = 2;
/// `BPF_PROG_LOAD` (`include/uapi/linux/bpf.h`).
const PROG_LOAD: libc::c_long = 5;
/// `BPF_BTF_LOAD`.
const BTF_LOAD: libc::c_long = 18;
/// `BPF_LINK_CREATE`.
const LINK_CREATE: libc::c_long = 28;
/// `BPF_PROG_TYPE_KPROBE`, which uprobes are of as well.
const KPROBE: u32 = 2;
/// `BPF_TRACE_UPROBE_MULTI`.
const UPROBE_MULTI: u32 = 48;
/// `BPF_TRACE_UPROBE_SESSION`.
const UPROBE_SESSION: u32 = 57;

/// The programs, and whether each is run on return as well.
const PROGRAMS: [(&str, bool); 34] = [
    ("tls_read", true),
    ("tls_read_ex", true),
    ("tls_read_public_ex", true),
    ("tls_write", true),
    ("tls_write_ex", true),
    ("tls_write_ex5", true),
    ("tls_free", false),
    ("guess_read", true),
    ("guess_read_ex", true),
    ("guess_read_public_ex", true),
    ("guess_write", true),
    ("guess_write_ex", true),
    ("guess_write_ex5", true),
    (GUESS_FREE, false),
    ("libraries_changed", false),
    (CONTEXT_COPIED, false),
    ("lock_made", false),
    (FRAME_RUN, true),
    (RESUME[0], false),
    (RESUME[1], false),
    (ENTRY_RUN, true),
    (MODULE_RUN, true),
    (FUNCTION_RAISED, false),
    (FRAMEWORK_RAISED, false),
    ("socket_read", false),
    ("socket_recv", false),
    ("socket_readv", false),
    ("socket_recvmsg", false),
    ("socket_write", false),
    ("socket_writev", false),
    ("socket_sendmsg", false),
    ("socket_sendfile", false),
    ("socket_close", false),
    (SEGMENT, false),
];

/// Sessions that are loaded at the start, for the places that most libraries have. The kernel takes
/// a tenth of a second and more to verify each, so the others wait until a library needs them.
const AT_START: [&str; 2] = ["tls_read_ex", "tls_write_ex"];

/// The program of what was guessed to be `SSL_free`: loaded when there is one, as its sessions are.
const GUESS_FREE: &str = "guess_free";
/// The program that is run on return only: of `PyContext_CopyCurrent`.
const CONTEXT_COPIED: &str = "context_copied";
/// The program that tells of exceptions: only where functions are watched.
pub(super) const FUNCTION_RAISED: &str = "function_raised";
/// The program of both ends of what runs a frame: likewise.
pub(super) const FRAME_RUN: &str = "frame_run";
/// Those of the code by which functions begin, and of what clears a frame: likewise, and loaded when a
/// process is to be seen so.
pub(super) const RESUME: [&str; 2] = ["resume_reached", "frame_cleared"];
/// That of both ends of what runs a frame in 3.11, for those that C calls; likewise.
pub(super) const ENTRY_RUN: &str = "entry_run";
/// That of both ends of what runs the body of a module: loaded when one is waited for.
pub(super) const MODULE_RUN: &str = "module_run";
/// The program that tells of exceptions in runs of frameworks: loaded when one is found.
pub(super) const FRAMEWORK_RAISED: &str = "framework_raised";
/// Those that are wanted only where functions are watched.
const OF_FUNCTIONS: [&str; 5] = [FUNCTION_RAISED, FRAME_RUN, RESUME[0], RESUME[1], ENTRY_RUN];
/// `BPF_F_UPROBE_MULTI_RETURN`.
const ON_RETURN: u32 = 1;

/// The program that copies a segment of a call on a socket, by tail calls.
const SEGMENT: &str = "socket_segment";
/// The table of its like for perf's probes, and the one that takes its place here.
const SEGMENTS: (&str, &str) = ("SEGMENT_PROBE", "SEGMENT_MULTI");

/// Most links asked for that the kernel has not given yet; beyond it we wait for each.
const MOST_ASKED: usize = 512;
/// Stack of a thread that asks for one.
const STACK: usize = 64 << 10;

/// Whether user probes are perf's: where the kernel has no sessions, or it is asked for. To place those
/// `CAP_PERFMON` does not suffice: the kernel wants `CAP_SYS_ADMIN` (`perf_uprobe_event_init`,
/// `kernel/events/core.c`).
#[must_use]
pub fn are_perfs(asked_for: bool) -> bool {
    asked_for || kernel_version().is_none_or(|version| version < FIRST_KERNEL)
}

/// Why multi-uprobes are not to be had.
#[derive(Debug, Error)]
pub(super) enum MultiError {
    /// The kernel is too old.
    #[error("they need Linux {}.{}", FIRST_KERNEL.0, FIRST_KERNEL.1)]
    OldKernel,
    /// The object does not fit.
    #[error("the eBPF object cannot be read: {0}")]
    Object(#[from] aya_obj::ParseError),
    /// It has no such program.
    #[error("the eBPF object has no `{0}`")]
    Missing(&'static str),
    /// It cannot be joined to its maps.
    #[error("the eBPF object does not fit its maps: {0}")]
    Relocation(#[from] aya_obj::relocation::EbpfRelocationError),
    /// The kernel refused a program.
    #[error("the kernel refused the program {program}: {source}")]
    Refused {
        /// Which.
        program: &'static str,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

impl MultiError {
    /// Says that perf's probes are used, and why. On an old kernel that is as it should be, and the privilege
    /// that they take is kept there ([`are_perfs`]); on others it may be given up by now.
    pub(super) fn tell(&self) {
        if matches!(self, Self::OldKernel) {
            tracing::debug!("no multi-uprobes: {self}");
            return;
        }
        tracing::warn!(
            "no multi-uprobes, though this kernel has them: {self}; perf's user probes are used instead, which \
             take CAP_SYS_ADMIN: grant it, and keep it with --keep-privileges"
        );
    }
}

/// What tells the kernel which functions of a program are verified each by itself.
#[derive(Debug)]
struct Functions {
    types: Option<Arc<OwnedFd>>,
    /// Bytes of what is told of each, and of how many.
    size: u32,
    count: u32,
    told: Vec<u8>,
}

/// A program, loaded or to be loaded when it is first used.
#[derive(Debug)]
struct Program {
    name: &'static str,
    fd: OnceLock<OwnedFd>,
    attach_type: u32,
    license: CString,
    /// For the maps of the object, which stay open as long as this.
    instructions: Vec<bpf_insn>,
    functions: Functions,
}

impl Program {
    /// The loaded program.
    fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        if self.fd.get().is_none() {
            let fd = load(
                self.name,
                self.attach_type,
                &self.license,
                (&self.instructions, &self.functions),
            )?;
            // Another thread may have been faster: then this one's goes.
            let _ = self.fd.set(fd);
        }
        self.fd
            .get()
            .map(AsFd::as_fd)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// The object's uprobe programs, loaded for multi-uprobe links.
#[derive(Debug)]
pub(super) struct MultiProbes {
    programs: HashMap<&'static str, Program>,
    /// Links asked for that were not given yet.
    asked: AtomicUsize,
}

/// A program's name, whether it is a session's, and what the kernel said of it.
pub(super) type Loaded = (&'static str, bool, io::Result<()>);

/// Whether a program is a session's.
pub(super) fn is_session(name: &str) -> bool {
    PROGRAMS.iter().any(|(n, session)| *n == name && *session)
}

impl MultiProbes {
    /// Loads the uprobe programs of `object`, which `ebpf` was made of, for the maps of `ebpf`;
    /// those for sockets and for functions only when they are wanted.
    ///
    /// # Errors
    ///
    /// When this kernel cannot; perf's uprobes are the other way.
    pub(super) fn load(
        object: &[u8],
        ebpf: &Ebpf,
        sockets: bool,
        functions: bool,
    ) -> Result<Self, MultiError> {
        let this = Self::prepare(object, ebpf, sockets, functions)?;
        let at_start = |name: &str| {
            (!is_session(name) || AT_START.contains(&name))
                && name != FRAMEWORK_RAISED
                && name != GUESS_FREE
                && !RESUME.contains(&name)
        };
        for (name, program) in this.programs.iter().filter(|(name, _)| at_start(name)) {
            program.fd().map_err(|source| MultiError::Refused {
                program: name,
                source,
            })?;
        }
        let table = ebpf.map(SEGMENTS.1).and_then(map_data);
        if let (Some(table), Some(segment)) = (table, this.programs.get(SEGMENT)) {
            let table = table.fd().as_fd().as_raw_fd();
            chain(table, segment).map_err(|source| MultiError::Refused {
                program: SEGMENT,
                source,
            })?;
        }
        Ok(this)
    }

    /// Loads every program with `part` in its name, also those that wait until they are needed.
    ///
    /// # Errors
    ///
    /// When this kernel has no such links at all.
    pub(super) fn load_each(
        object: &[u8],
        ebpf: &Ebpf,
        part: &str,
    ) -> Result<Vec<Loaded>, MultiError> {
        let this = Self::prepare(object, ebpf, true, true)?;
        let wanted = PROGRAMS.into_iter().filter(|(name, _)| name.contains(part));
        let loaded = wanted.map(|(name, session)| {
            let program = this.programs.get(name).ok_or(io::ErrorKind::NotFound);
            let said = program.map_err(Into::into).and_then(Program::fd).map(drop);
            (name, session, said)
        });
        Ok(loaded.collect())
    }

    /// The programs, none of them loaded.
    fn prepare(
        object: &[u8],
        ebpf: &Ebpf,
        sockets: bool,
        functions: bool,
    ) -> Result<Self, MultiError> {
        if are_perfs(false) {
            return Err(MultiError::OldKernel);
        }
        let mut object = Object::parse(object)?;
        let maps = std::mem::take(&mut object.maps);
        let mut fds: HashMap<&str, RawFd> = ebpf
            .maps()
            .filter_map(|(name, map)| Some((name, map_data(map)?.fd().as_fd().as_raw_fd())))
            .collect();
        if let Some(table) = fds.get(SEGMENTS.1).copied() {
            fds.insert(SEGMENTS.0, table);
        }
        let joined = maps.iter().filter_map(|(name, map)| {
            // A loader leaves out what the kernel knows nothing of.
            let known = fds.get(name.as_str());
            debug_assert!(known.is_some() || map.section_kind() == EbpfSectionKind::Undefined);
            known.map(|fd| (name.as_str(), *fd, map))
        });
        let text: HashSet<usize> = object
            .functions
            .keys()
            .map(|(section, _)| *section)
            .collect();
        let types = type_information(&mut object);
        object.relocate_maps(joined, &text)?;
        object.relocate_calls(&text)?;
        let mut programs = HashMap::new();
        let wanted = |name: &str| {
            (sockets || !name.starts_with("socket_"))
                && (functions || !OF_FUNCTIONS.contains(&name))
        };
        for (name, session) in PROGRAMS.into_iter().filter(|(name, _)| wanted(name)) {
            let program = object.programs.get(name).ok_or(MultiError::Missing(name))?;
            let function = object
                .functions
                .get(&program.function_key())
                .ok_or(MultiError::Missing(name))?;
            let attach_type = if session {
                UPROBE_SESSION
            } else {
                UPROBE_MULTI
            };
            let program = Program {
                name,
                fd: OnceLock::new(),
                attach_type,
                license: program.license.clone(),
                instructions: function.instructions.clone(),
                functions: Functions {
                    types: types.clone(),
                    size: u32::try_from(function.func_info_rec_size).unwrap_or(0),
                    count: u32::try_from(function.func_info.len()).unwrap_or(0),
                    told: function.func_info.func_info_bytes(),
                },
            };
            programs.insert(name, program);
        }
        Ok(Self {
            programs,
            asked: AtomicUsize::new(0),
        })
    }

    /// Loads a program that waits until it is needed, so that it need not be waited for then. Whether that can
    /// be done shows there.
    pub(super) fn prefetch(&self, program: &str) {
        if let Some(Err(error)) = self.programs.get(program).map(Program::fd) {
            tracing::debug!("{program} is not loaded: {error}");
        }
    }

    /// Asks for a link and does not wait: the kernel calls the program from when it was asked,
    /// but answers only after a grace period. No link when the process is gone or the kernel
    /// refuses, which is logged.
    pub(super) fn ask(
        this: &Arc<Self>,
        program: &'static str,
        pid: u32,
        path: &Path,
        offsets: Vec<u64>,
    ) -> Option<Link> {
        let waiting = this.asked.fetch_add(1, Ordering::Relaxed);
        let ask = {
            let (this, path) = (Arc::clone(this), path.to_owned());
            move || {
                let link = this.attach(program, pid, &path, &offsets);
                this.asked.fetch_sub(1, Ordering::Relaxed);
                match &link {
                    Err(e) if is_gone(pid, &path, e) => {
                        tracing::debug!(pid, "no {program} on {}: gone: {e}", path.display());
                    }
                    Err(e) => tracing::warn!(pid, "no {program} on {}: {e}", path.display()),
                    Ok(_) => {}
                }
                link.ok()
            }
        };
        if waiting >= MOST_ASKED {
            return ask().map(Link::Multi);
        }
        let thread = std::thread::Builder::new()
            .name("probe-placing".to_owned())
            .stack_size(STACK);
        match thread.spawn(ask) {
            Ok(asked) => Some(Link::Asked(asked)),
            Err(e) => {
                this.asked.fetch_sub(1, Ordering::Relaxed);
                tracing::warn!(pid, "no {program}: no thread to ask for it: {e}");
                None
            }
        }
    }

    /// Puts a program on places of a file in one process; they go with the descriptor.
    ///
    /// # Errors
    ///
    /// What the kernel says; `ESRCH` when the process is gone.
    pub(super) fn attach(
        &self,
        program: &str,
        pid: u32,
        path: &Path,
        offsets: &[u64],
    ) -> io::Result<OwnedFd> {
        let multi_flags = if program == CONTEXT_COPIED {
            ON_RETURN
        } else {
            0
        };
        let program = self.programs.get(program).ok_or(io::ErrorKind::NotFound)?;
        let path = CString::new(path.as_os_str().as_bytes())?;
        let count = u32::try_from(offsets.len()).map_err(io::Error::other)?;
        let attributes = LinkCreate {
            program: program.fd()?.as_raw_fd(),
            target: 0,
            attach_type: program.attach_type,
            flags: 0,
            path: path.as_ptr() as u64,
            offsets: offsets.as_ptr() as u64,
            reference_counters: 0,
            cookies: 0,
            count,
            multi_flags,
            pid,
            zero: 0,
        };
        let Some(_busy) = Undisturbed::begin() else {
            return Err(io::ErrorKind::Interrupted.into());
        };
        // SAFETY: the structure is the kernel's for this command, and what it points to lives
        // until the call is over.
        unsafe { bpf(LINK_CREATE, &attributes) }
    }
}

/// `bpf_attr` for `BPF_PROG_LOAD`, as far as it is used.
#[repr(C)]
struct ProgLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
    types: u32,
    function_size: u32,
    functions: u64,
    function_count: u32,
    line_size: u32,
}

/// `bpf_attr` for `BPF_BTF_LOAD`.
#[repr(C)]
struct BtfLoad {
    types: u64,
    log: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
    flags: u32,
}

/// `bpf_attr` for `BPF_LINK_CREATE` with `uprobe_multi`.
#[repr(C)]
struct LinkCreate {
    program: RawFd,
    target: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    reference_counters: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    pid: u32,
    zero: u32,
}

/// Whether what was to be probed is not there any more: short-lived children come and go, and what
/// the kernel says of one depends on how far it had got (`ENOENT` for the way through its root, once
/// that is given back). The same goes for a mapping that an `exec` did away with.
fn is_gone(pid: u32, path: &Path, error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
        || !process::runs(pid)
        || std::fs::symlink_metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

/// `bpf_attr` for `BPF_MAP_UPDATE_ELEM`.
#[repr(C)]
struct MapUpdate {
    map: RawFd,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Makes a program the first of a table of programs.
fn chain(table: RawFd, program: &Program) -> io::Result<()> {
    let (key, value) = (0u32, program.fd()?.as_raw_fd());
    let attributes = MapUpdate {
        map: table,
        zero: 0,
        key: (&raw const key) as u64,
        value: (&raw const value) as u64,
        flags: 0,
    };
    // SAFETY: the structure is the kernel's for this command, and what it points to lives until
    // the call is over.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            MAP_UPDATE,
            &raw const attributes,
            size_of::<MapUpdate>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The `bpf` system call, for commands that give a descriptor.
///
/// # Safety
///
/// `T` must be laid out as the kernel's `bpf_attr` is for this command, and what it points to
/// must be valid.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    again(|| {
        // SAFETY: the caller's promise; the kernel only reads, and as much as the size says.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                std::ptr::from_ref(attributes),
                size_of::<T>(),
            )
        };
        match RawFd::try_from(fd) {
            // SAFETY: the kernel gave it to us just now, and to nobody else.
            Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            _ => Err(io::Error::last_os_error()),
        }
    })
}

/// The object's own types, as the kernel has them. None when it refuses: then the functions of a program
/// are verified where they are called, which some of them are too long for.
fn type_information(object: &mut Object) -> Option<Arc<OwnedFd>> {
    // All kinds that there are: the kernels that have these links know them.
    let features = BtfFeatures::new(true, true, true, true, true, true, true, true);
    let types = match object.fixup_and_sanitize_btf(&features) {
        Ok(types) => types?.to_bytes(),
        Err(error) => {
            tracing::debug!("the eBPF object's types cannot be used: {error}");
            return None;
        }
    };
    let attributes = BtfLoad {
        types: types.as_ptr() as u64,
        log: 0,
        size: u32::try_from(types.len()).ok()?,
        log_size: 0,
        log_level: 0,
        flags: 0,
    };
    // SAFETY: the structure is the kernel's for this command, and what it points to lives until
    // the call is over.
    match unsafe { bpf(BTF_LOAD, &attributes) } {
        Ok(fd) => Some(Arc::new(fd)),
        Err(error) => {
            tracing::debug!("the kernel refused the eBPF object's types: {error}");
            None
        }
    }
}

fn load(
    name: &str,
    attach_type: u32,
    license: &CStr,
    (instructions, functions): (&[bpf_insn], &Functions),
) -> io::Result<OwnedFd> {
    let mut kernels_name = [0; 16];
    // One byte stays zero, as its end.
    for (to, from) in kernels_name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    let types = functions.types.as_ref().filter(|_| functions.count > 0);
    let attributes = ProgLoad {
        kind: KPROBE,
        instruction_count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: kernels_name,
        interface: 0,
        expected_attach_type: attach_type,
        types: types.map_or(0, |fd| fd.as_raw_fd().cast_unsigned()),
        function_size: types.map_or(0, |_| functions.size),
        functions: types.map_or(0, |_| functions.told.as_ptr() as u64),
        function_count: types.map_or(0, |_| functions.count),
        line_size: 0,
    };
    // SAFETY: the structure is the kernel's for this command, and what it points to lives until
    // the call is over.
    unsafe { bpf(PROG_LOAD, &attributes) }
}

/// The map's inside, for the kinds that our programs have.
fn map_data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::PerfEventArray(data)
        | Map::ProgramArray(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

fn kernel_version() -> Option<(u32, u32)> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is gone is no warning; what is there and refuses is one.
    #[test]
    fn what_is_gone() -> io::Result<()> {
        let here = Path::new("/proc/self/exe");
        let refused = io::Error::from_raw_os_error(libc::EINVAL);
        let own = std::process::id();
        assert!(!is_gone(own, here, &refused));
        assert!(is_gone(
            own,
            here,
            &io::Error::from_raw_os_error(libc::ESRCH)
        ));
        assert!(is_gone(
            own,
            Path::new("/proc/self/map_files/0-1"),
            &refused
        ));
        // One that ended, and that nobody has waited for yet, and then one that is no more.
        let mut child = std::process::Command::new("true").spawn()?;
        let pid = child.id();
        for _ in 0..2000 {
            if !process::runs(pid) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(is_gone(pid, here, &refused));
        child.wait()?;
        assert!(is_gone(pid, here, &refused));
        Ok(())
    }
}
