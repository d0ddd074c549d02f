//! Reading plain sockets by what every process of the host runs into: trampolines on the kernel's
//! functions, or tracepoints where it takes none. Which there is, is found out by trying.

use aya::Ebpf;
use aya::programs::RawTracePoint;

use super::again::again;
use super::kernel::{Kernel, LoadError, refused};
use super::sockets::{SocketState, SocketWay, chain};
use super::trampolines;

/// A way that every process runs into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostWay {
    /// Trampolines.
    Trampolines,
    /// Tracepoints on sockets.
    Sockets,
    /// The tracepoint on all system calls.
    Syscalls,
}

impl HostWay {
    /// How people are told of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trampolines => "trampolines (fentry)",
            Self::Sockets => "tracepoints on sockets",
            Self::Syscalls => "the tracepoint on all system calls",
        }
    }
}

/// What reads the sockets of any process, and why it is that.
#[derive(Debug)]
pub struct HostSockets {
    /// What is loaded and attached.
    pub way: HostWay,
    /// The ways that would have been taken before it, each with why it was not.
    pub passed_over: Vec<(HostWay, String)>,
}

const SEGMENT: &str = "socket_segment_raw";
const RECEIVED: &str = "socket_received";

/// Loads and attaches what the setting allows, the first that the kernel takes; once.
pub(super) fn load<'s>(
    ebpf: &mut Ebpf,
    state: &'s mut SocketState,
) -> Result<&'s HostSockets, LoadError> {
    let found = match state.host.take() {
        Some(there) => there,
        None => first(ebpf, state.way)?,
    };
    Ok(state.host.insert(found))
}

fn first(ebpf: &mut Ebpf, way: SocketWay) -> Result<HostSockets, LoadError> {
    let mut passed_over = Vec::new();
    let trampolines = match way {
        SocketWay::Tracepoints | SocketWay::Syscalls => false,
        SocketWay::Fentry => trampolines::attach(ebpf).map(|()| true)?,
        SocketWay::Auto | SocketWay::Libc | SocketWay::Off => trampolines::attach(ebpf)
            .map_err(|why| passed_over.push((HostWay::Trampolines, said(why))))
            .is_ok(),
    };
    let way = if trampolines {
        HostWay::Trampolines
    } else {
        tracepoints(ebpf, way, &mut passed_over)?
    };
    attach(ebpf, "socket_state", "inet_sock_set_state")?;
    tracing::debug!("plain sockets by {}; not by {passed_over:?}", way.name());
    Ok(HostSockets { way, passed_over })
}

/// Why a way was passed over, without what one could do instead: that is done.
fn said(why: LoadError) -> String {
    match why {
        LoadError::NoTrampolines(said) => said,
        why => why.to_string(),
    }
}

/// Loads and attaches the tracepoints.
fn tracepoints(
    ebpf: &mut Ebpf,
    way: SocketWay,
    passed_over: &mut Vec<(HostWay, String)>,
) -> Result<HostWay, LoadError> {
    raw(ebpf, SEGMENT)?;
    chain(ebpf, "SEGMENT_TRACEPOINT", SEGMENT)?;
    if way != SocketWay::Syscalls {
        let attached = attach(ebpf, RECEIVED, "sock_recv_length")
            .and_then(|()| attach(ebpf, "socket_sent", "sock_send_length"));
        match attached {
            Ok(()) => return Ok(HostWay::Sockets),
            Err(why) => passed_over.push((HostWay::Sockets, said(why))),
        }
        // One without the other would tell of what it sees a second time. Before Linux 5.15 it was not
        // even loaded, which is as good.
        let _ = program(ebpf, RECEIVED)?.unload();
    }
    attach(ebpf, "socket_syscall", "sys_exit")?;
    Ok(HostWay::Syscalls)
}

/// A program, loaded.
fn raw<'e>(ebpf: &'e mut Ebpf, name: &'static str) -> Result<&'e mut RawTracePoint, LoadError> {
    let program = program(ebpf, name)?;
    if program.fd().is_err() {
        again(|| program.load()).map_err(|e| refused(name, e))?;
    }
    Ok(program)
}

/// A program, loaded or not.
fn program<'e>(ebpf: &'e mut Ebpf, name: &'static str) -> Result<&'e mut RawTracePoint, LoadError> {
    ebpf.program_mut(name)
        .and_then(|p| p.try_into().ok())
        .ok_or(LoadError::Missing(name))
}

fn attach(ebpf: &mut Ebpf, name: &'static str, tracepoint: &str) -> Result<(), LoadError> {
    let program = raw(ebpf, name)?;
    program.attach(tracepoint).map_err(|e| refused(name, e))?;
    Ok(())
}

impl Kernel {
    /// Reads the sockets of one process by what every process runs into.
    ///
    /// # Errors
    ///
    /// When the kernel does not take them.
    pub fn trace_sockets(&mut self, pid: u32) -> Result<HostWay, LoadError> {
        let way = self.load_host_sockets()?.way;
        self.mark_traced(pid, true)?;
        Ok(way)
    }

    /// Loads what reads the sockets of any process, if it is not there already.
    ///
    /// # Errors
    ///
    /// When the kernel takes none.
    pub fn load_host_sockets(&mut self) -> Result<&HostSockets, LoadError> {
        let (ebpf, state) = self.socket_parts();
        load(ebpf, state)
    }
}
