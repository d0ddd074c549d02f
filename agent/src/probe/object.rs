//! The eBPF object that is part of the executable: its settings for this kernel, and its maps.

use aya::{Ebpf, EbpfError, EbpfLoader, VerifierLogLevel};
use genspan_common::framework::{MAX_RUN_MANAGERS, MAX_RUN_OWNERS};
use genspan_common::function::{MAX_CALLING_THREADS, MAX_GENERATORS, MAX_WATCHES};
use genspan_common::imports::MAX_PIECES;
use genspan_common::limits::MAX_PROCESSES;
use genspan_common::map::Settings;
use genspan_common::socket::SocketLayout;
use std::io;

use super::btf::{BtfError, Offsets};
use super::kernel::{KernelOptions, LoadError, io_kind, locked_down};
use super::sockets::{self, SocketWay};

/// The object that `cargo xtask build-ebpf` made.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("GENSPAN_BPF_OBJECT"));

/// The object, as it is part of the executable. It is read when it is loaded and not after that.
#[must_use]
pub fn bytes() -> &'static [u8] {
    OBJECT
}

/// Where the kernel keeps its type information.
pub(super) const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Processes in which frameworks are watched, and watchpoints on those, where nothing else is.
const MAX_FRAMEWORK_PROCESSES: u32 = 1024;
const MAX_FRAMEWORK_WATCHES: u32 = 2048;

/// Makes the maps and fits the programs to this kernel; none of them is loaded.
pub(super) fn open(options: &KernelOptions) -> Result<Ebpf, LoadError> {
    let btf = std::fs::read(KERNEL_BTF).map_err(LoadError::NoBtf)?;
    let offsets = Offsets::read(&btf)?;
    let settings = Settings {
        message_bytes: options.message_bytes,
        task_tgid_offset: offsets.of("task_struct", "tgid")?,
        task_fsbase_offset: match (options.functions || options.stacks, options.python) {
            (true, _) => thread_base(&offsets)?,
            (false, true) => thread_base(&offsets).unwrap_or(0),
            (false, false) => 0,
        },
        stacks: u32::from(options.stacks),
        functions: u32::from(options.functions),
    };
    let layout = match options.sockets {
        SocketWay::Off => SocketLayout::default(),
        _ => sockets::layout(&offsets)?,
    };
    drop(offsets);
    drop(btf);
    raise_memlock();
    let log_level: u8 = if options.debug { 4 } else { 0 };
    let mut loader = EbpfLoader::new();
    if options.functions {
        loader
            .map_max_entries("WATCHED", MAX_PROCESSES)
            .map_max_entries("WATCHES", MAX_WATCHES)
            .map_max_entries("OPEN_CALLS", MAX_CALLING_THREADS)
            .map_max_entries("RUNNING", MAX_CALLING_THREADS)
            .map_max_entries("RESUMED", MAX_PROCESSES)
            .map_max_entries("RAISING", MAX_CALLING_THREADS)
            .map_max_entries("GENERATORS", 2 * MAX_GENERATORS);
    }
    if options.functions || options.frameworks {
        loader
            .map_max_entries("AWAITED", MAX_PROCESSES)
            .map_max_entries("MODULE_FILES", MAX_PIECES);
    }
    if options.frameworks {
        loader
            .map_max_entries("RUN_OWNERS", MAX_RUN_OWNERS)
            .map_max_entries("RUN_MANAGERS", MAX_RUN_MANAGERS);
        if !options.functions {
            loader
                .map_max_entries("WATCHED", MAX_FRAMEWORK_PROCESSES)
                .map_max_entries("WATCHES", MAX_FRAMEWORK_WATCHES);
        }
    }
    loader
        .override_global("SETTINGS", &settings, true)
        .override_global("LAYOUT", &layout, true)
        .override_global(aya_log::LEVEL, &log_level, false)
        .map_max_entries("DATA", options.ring_bytes)
        // Of each instruction only when asked: with that a refusal takes a hundred times as long.
        .verifier_log_level(if options.debug {
            VerifierLogLevel::DEBUG | VerifierLogLevel::STATS
        } else {
            VerifierLogLevel::STATS
        })
        .load(OBJECT)
        .map_err(object_error)
}

/// Offset in `task_struct` of the thread's base, `fsbase` of x86-64.
fn thread_base(offsets: &Offsets<'_>) -> Result<u32, BtfError> {
    let thread = offsets.of("task_struct", "thread")?;
    Ok(thread + offsets.of("thread_struct", "fsbase")?)
}

/// Kernels before 5.11 count map memory against this limit. Loading asks for it; who gives up the
/// privilege to raise it before that asks earlier.
pub fn raise_memlock() {
    let limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a plain system call on a valid structure; refusal only matters on old kernels,
    // where loading then says so.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

fn object_error(error: EbpfError) -> LoadError {
    match io_kind(&error) {
        Some(io::ErrorKind::PermissionDenied) if locked_down() => LoadError::LockedDown,
        Some(io::ErrorKind::PermissionDenied) => LoadError::NotPermitted,
        _ => LoadError::Object(error),
    }
}
