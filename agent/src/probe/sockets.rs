//! Reading plain sockets: by probes in the C library of the traced process alone, or by what every
//! process runs into (`host_sockets.rs`).

use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::ProgramArray;
use aya::programs::ProgramError;
use genspan_common::socket::{NO_CALL, SocketLayout, call};

use super::again::again;
use super::btf::{BtfError, Offsets};
use super::host_sockets::{self, HostSockets};
use super::kernel::{AttachError, Kernel, LoadError, Probes, refused, uprobe};
use super::removal::Counted;
use crate::target::process::{self, MappedFile, Target};
use crate::target::sockets::LibcFinder;

/// How plain sockets are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketWay {
    /// By probes in the C library; for a process where that cannot be, by trampolines, or by
    /// tracepoints where the kernel refuses those.
    #[default]
    Auto,
    /// By probes in the C library or not at all.
    Libc,
    /// By trampolines on the kernel's functions for sockets.
    Fentry,
    /// By tracepoints on sockets; where the kernel has none, on system calls.
    Tracepoints,
    /// By the tracepoint on all system calls.
    Syscalls,
    /// Not at all.
    Off,
}

impl SocketWay {
    /// Whether every process runs into it, so that none needs probes of its own.
    const fn is_host(self) -> bool {
        matches!(self, Self::Fentry | Self::Tracepoints | Self::Syscalls)
    }
}

/// A place for a probe, or a pair of them, on one function of the C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketPlace {
    /// Name of the program for calls of this kind: `socket_read`, …
    pub program: SocketProgram,
    /// Offset in the file.
    pub offset: u64,
    /// Behind the system call, where one probe serves; else at the entry, with one at the return.
    pub behind: bool,
}

/// Programs for the functions of the C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named like the functions")]
pub enum SocketProgram {
    Read,
    Recv,
    Readv,
    Recvmsg,
    Write,
    Writev,
    Sendmsg,
    Sendfile,
}

impl SocketProgram {
    /// Names of the programs for behind the system call and for the entry.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Read => ("socket_read", "socket_read_enter"),
            Self::Recv => ("socket_recv", "socket_recv_enter"),
            Self::Readv => ("socket_readv", "socket_readv_enter"),
            Self::Recvmsg => ("socket_recvmsg", "socket_recvmsg_enter"),
            Self::Write => ("socket_write", "socket_write_enter"),
            Self::Writev => ("socket_writev", "socket_writev_enter"),
            Self::Sendmsg => ("socket_sendmsg", "socket_sendmsg_enter"),
            Self::Sendfile => ("socket_sendfile", "socket_sendfile_enter"),
        }
    }

    const ALL: [Self; 8] = [
        Self::Read,
        Self::Recv,
        Self::Readv,
        Self::Recvmsg,
        Self::Write,
        Self::Writev,
        Self::Sendmsg,
        Self::Sendfile,
    ];
}

/// Where the probes of one C library go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketPlacements {
    /// Calls that move bytes.
    pub calls: Vec<SocketPlace>,
    /// `close`, before its system call.
    pub close: Option<u64>,
}

/// Programs, each with its place.
type Programs = Vec<(&'static str, u64)>;

impl SocketPlacements {
    /// The programs that stand alone, and those for entry and return, which are perf's: libraries
    /// that need them are rare.
    fn programs(&self) -> (Programs, Programs) {
        let (mut single, mut paired) = (Programs::new(), Programs::new());
        for place in &self.calls {
            let (behind, enter) = place.program.names();
            if place.behind {
                single.push((behind, place.offset));
            } else {
                // The return before the entry, as for TLS.
                paired.push((RETURN, place.offset));
                paired.push((enter, place.offset));
            }
        }
        single.extend(self.close.map(|close| (CLOSE, close)));
        (single, paired)
    }
}

const RETURN: &str = "socket_return";
const CLOSE: &str = "socket_close";
const SEGMENT: &str = "socket_segment";

/// What of the socket programs is in use.
#[derive(Debug, Default)]
pub(super) struct SocketState {
    pub(super) way: SocketWay,
    /// Those that every process runs into, when they are there.
    pub(super) host: Option<HostSockets>,
    /// perf's programs are there.
    probes: bool,
    /// Whether processes can be spared probes on their C library, once that was tried.
    spares: Option<bool>,
}

impl SocketState {
    /// Whether processes are read by what every process runs into, from the start.
    pub(super) const fn by_host(&self) -> bool {
        self.way.is_host()
    }
}

/// Loads what the way needs; with `multi`, what goes into those links is loaded already.
pub(super) fn load(ebpf: &mut Ebpf, way: SocketWay, multi: bool) -> Result<SocketState, LoadError> {
    let mut state = SocketState {
        way,
        ..SocketState::default()
    };
    match way {
        SocketWay::Off => {}
        SocketWay::Auto | SocketWay::Libc if multi => {}
        SocketWay::Libc => load_probes(ebpf, &mut state)?,
        SocketWay::Auto => {
            // TLS can be read without: Linux before 5.10 has no tail calls in such programs.
            if let Err(error) = load_probes(ebpf, &mut state) {
                tracing::warn!("plain sockets are not read: {error}");
                state.way = SocketWay::Off;
            }
        }
        SocketWay::Fentry | SocketWay::Tracepoints | SocketWay::Syscalls => {
            host_sockets::load(ebpf, &mut state)?;
        }
    }
    Ok(state)
}

/// Loads the programs for perf's probes; once.
fn load_probes(ebpf: &mut Ebpf, state: &mut SocketState) -> Result<(), LoadError> {
    if state.probes {
        return Ok(());
    }
    let programs = SocketProgram::ALL.iter().map(|p| p.names());
    let names = programs.flat_map(|(behind, enter)| [behind, enter]);
    for name in names.chain([RETURN, CLOSE, SEGMENT]) {
        let program = uprobe(ebpf, name)?;
        again(|| program.load()).map_err(|e| refused(name, e))?;
    }
    chain(ebpf, "SEGMENT_PROBE", SEGMENT)?;
    state.probes = true;
    Ok(())
}

/// Makes a program the one that copies the next segment.
pub(super) fn chain(
    ebpf: &mut Ebpf,
    table: &'static str,
    name: &'static str,
) -> Result<(), LoadError> {
    let program = ebpf.program(name).ok_or(LoadError::Missing(name))?;
    let fd = program
        .fd()
        .and_then(|fd| fd.try_clone().map_err(ProgramError::IOError))
        .map_err(|e| refused(name, e))?;
    let map = ebpf.map_mut(table).ok_or(LoadError::Missing(table))?;
    ProgramArray::try_from(map)?.set(0, &fd, 0)?;
    Ok(())
}

impl Kernel {
    /// How plain sockets are read.
    #[must_use]
    pub const fn socket_way(&self) -> SocketWay {
        self.sockets.way
    }

    /// Puts the probes of one C library on one process.
    ///
    /// # Errors
    ///
    /// When the kernel refuses one; those placed before are removed again.
    pub fn attach_sockets(
        &mut self,
        pid: u32,
        path: &Path,
        places: &SocketPlacements,
    ) -> Result<Probes, AttachError> {
        let (single, paired) = places.programs();
        // All at once: each waits for the kernel's grace period.
        let mut probes = self.attach_soon(pid, path, &single)?;
        if !probes.settle() {
            // Once more, for the reason.
            probes = self.attach(pid, path, &single)?;
        }
        probes.join(self.attach_pairs(pid, path, &paired)?);
        Ok(probes)
    }

    /// Puts programs for entry and return.
    fn attach_pairs(
        &mut self,
        pid: u32,
        path: &Path,
        programs: &Programs,
    ) -> Result<Probes, AttachError> {
        if programs.is_empty() {
            return Ok(Probes::default());
        }
        let (ebpf, state) = self.socket_parts();
        if let Err(error) = load_probes(ebpf, state) {
            tracing::warn!(pid, "plain sockets: {error}");
        }
        // Says so where it could not be loaded.
        self.attach_perf(pid, path, programs)
    }

    /// The same for a process that was just forked: see [`Self::attach_tls_soon`].
    fn attach_sockets_soon(
        &mut self,
        pid: u32,
        path: &Path,
        places: &SocketPlacements,
    ) -> Result<Probes, AttachError> {
        let (single, paired) = places.programs();
        let mut probes = self.attach_soon(pid, path, &single)?;
        probes.join(self.attach_pairs(pid, path, &paired)?);
        Ok(probes)
    }
}

/// Reads the layout off the kernel's type information.
pub(super) fn layout(kernel: &Offsets<'_>) -> Result<SocketLayout, BtfError> {
    let or_zero = |r: Result<u32, BtfError>| r.unwrap_or_default();
    let regs: [&'static str; 5] = if cfg!(target_arch = "aarch64") {
        // A system call's first argument is kept apart: its register holds the result.
        ["syscallno", "orig_x0", "regs", "regs", "regs"]
    } else {
        ["orig_ax", "di", "si", "dx", "r10"]
    };
    // The second to the fourth are `regs[1]` to `regs[3]` of one array there.
    let step = if cfg!(target_arch = "aarch64") { 8 } else { 0 };
    Ok(SocketLayout {
        task_files: kernel.of("task_struct", "files")?,
        files_fdt: kernel.of("files_struct", "fdt")?,
        fdt_fd: kernel.of("fdtable", "fd")?,
        file_inode: kernel.of("file", "f_inode")?,
        file_private: kernel.of("file", "private_data")?,
        inode_mode: kernel.of("inode", "i_mode")?,
        inode_ino: kernel.of("inode", "i_ino")?,
        socket_type: kernel.of("socket", "type")?,
        socket_sk: kernel.of("socket", "sk")?,
        socket_file: kernel.of("socket", "file")?,
        sk_socket: kernel.of("sock", "sk_socket")?,
        sk_max_ack_backlog: kernel.of("sock", "sk_max_ack_backlog")?,
        sk_shutdown: kernel.of("sock", "sk_shutdown")?,
        skc_family: kernel.of("sock_common", "skc_family")?,
        skc_num: kernel.of("sock_common", "skc_num")?,
        skc_dport: kernel.of("sock_common", "skc_dport")?,
        skc_rcv_saddr: kernel.of("sock_common", "skc_rcv_saddr")?,
        skc_daddr: kernel.of("sock_common", "skc_daddr")?,
        skc_v6_rcv_saddr: or_zero(kernel.of("sock_common", "skc_v6_rcv_saddr")),
        skc_v6_daddr: or_zero(kernel.of("sock_common", "skc_v6_daddr")),
        unix_addr: kernel.of("unix_sock", "addr")?,
        unix_peer: kernel.of("unix_sock", "peer")?,
        regs_number: kernel.of("pt_regs", regs[0])?,
        regs_arguments: [
            kernel.of("pt_regs", regs[1])?,
            kernel.of("pt_regs", regs[2])? + step,
            kernel.of("pt_regs", regs[3])? + 2 * step,
            kernel.of("pt_regs", regs[4])? + 3 * step,
        ],
        calls: calls(),
    })
}

fn calls() -> [u32; call::COUNT] {
    let mut numbers = [NO_CALL; call::COUNT];
    for (index, number) in [
        (call::READ, libc::SYS_read),
        (call::WRITE, libc::SYS_write),
        (call::READV, libc::SYS_readv),
        (call::WRITEV, libc::SYS_writev),
        (call::RECVFROM, libc::SYS_recvfrom),
        (call::SENDTO, libc::SYS_sendto),
        (call::RECVMSG, libc::SYS_recvmsg),
        (call::SENDMSG, libc::SYS_sendmsg),
        (call::SENDFILE, libc::SYS_sendfile),
    ] {
        if let (Some(slot), Ok(number)) = (numbers.get_mut(index), u32::try_from(number)) {
            *slot = number;
        }
    }
    numbers
}

/// What is attached of a process's sockets.
#[derive(Debug, Default)]
pub struct Sockets {
    libraries: Vec<Library>,
    by_host: bool,
    /// Nothing can be done, and it was told.
    given_up: bool,
}

/// A C library with its probes.
#[derive(Debug)]
struct Library {
    id: (i32, i32, u64),
    reach: PathBuf,
    places: SocketPlacements,
    _probes: Probes,
    _counted: Counted,
}

impl Sockets {
    /// Whether plain sockets are read.
    #[must_use]
    pub fn are_read(&self) -> bool {
        self.by_host || !self.libraries.is_empty()
    }

    /// Probes in a child what its parent has: a fork has the same files. What fails here is
    /// tried again by the scan.
    pub(super) fn inherit(&self, kernel: &mut Kernel, pid: u32, parent: u32) -> Self {
        let mut own = Self {
            by_host: self.by_host,
            ..Self::default()
        };
        if own.by_host && kernel.trace_sockets(pid).is_err() {
            own.by_host = false;
        }
        for library in &self.libraries {
            let parents = Path::new("/proc").join(parent.to_string());
            let Ok(rest) = library.reach.strip_prefix(parents) else {
                continue;
            };
            let reach = Path::new("/proc").join(pid.to_string()).join(rest);
            if let Ok(probes) = kernel.attach_sockets_soon(pid, &reach, &library.places) {
                own.libraries.push(Library {
                    id: library.id,
                    reach,
                    places: library.places.clone(),
                    _probes: probes,
                    _counted: Counted::new(),
                });
            }
        }
        own
    }

    /// Attaches what a process has in these files and was not attached yet.
    ///
    /// # Errors
    ///
    /// When the process ended.
    pub(super) fn rescan(
        &mut self,
        kernel: &mut Kernel,
        finder: &mut LibcFinder,
        target: &Target,
        files: &[MappedFile],
    ) -> Result<(), AttachError> {
        if kernel.socket_way() == SocketWay::Off || self.given_up {
            return Ok(());
        }
        if kernel.socket_way().is_host() {
            self.by_host = true;
            return Ok(());
        }
        // Seen by that already: a probe would tell all of it a second time.
        if self.by_host || self.libraries.is_empty() && self.spare(kernel, target.pid) {
            return Ok(());
        }
        for file in LibcFinder::candidates(files, &target.executable) {
            if self.libraries.iter().any(|l| l.id == file.id) {
                continue;
            }
            let Some(places) = finder.examine(&file.reach) else {
                continue;
            };
            match kernel.attach_sockets(target.pid, &file.reach, &places) {
                Ok(probes) => {
                    tracing::debug!(
                        pid = target.pid,
                        probes = probes.len(),
                        "{} probed",
                        file.name()
                    );
                    self.libraries.push(Library {
                        id: file.id,
                        reach: file.reach.clone(),
                        places,
                        _probes: probes,
                        _counted: Counted::new(),
                    });
                }
                Err(gone @ AttachError::Gone(_)) => return Err(gone),
                Err(_) if !process::runs(target.pid) => return Err(AttachError::Gone(target.pid)),
                Err(e) => tracing::warn!(pid = target.pid, "plain sockets: {e}"),
            }
        }
        if !self.are_read() {
            // Of one that is gone no file can be read, which says nothing of its C library.
            if !process::runs(target.pid) {
                return Err(AttachError::Gone(target.pid));
            }
            self.fall_back(kernel, target.pid);
        }
        Ok(())
    }

    /// Where probes are not removed as fast as they come, those on the C library, which most of them are,
    /// are left out: what every process runs into reads this one as well.
    fn spare(&mut self, kernel: &mut Kernel, pid: u32) -> bool {
        let may = kernel.socket_way() == SocketWay::Auto && kernel.sockets.spares != Some(false);
        if !may || !super::removal::is_behind() {
            return false;
        }
        match kernel.trace_sockets(pid) {
            Ok(way) => {
                self.by_host = true;
                if kernel.sockets.spares.replace(true).is_none() {
                    tracing::warn!(
                        "processes come and go faster than the kernel removes probes: plain sockets of \
                         some are read by {} from here on, at a small cost to every process",
                        way.name()
                    );
                }
            }
            Err(e) => {
                kernel.sockets.spares = Some(false);
                tracing::warn!(
                    "processes come and go faster than the kernel removes probes, and some may be \
                     traced late: {e}"
                );
            }
        }
        self.by_host
    }

    /// No C library could be probed.
    fn fall_back(&mut self, kernel: &mut Kernel, pid: u32) {
        if kernel.socket_way() == SocketWay::Libc {
            self.given_up = true;
            tracing::warn!(
                pid,
                "plain sockets are not read: the C library's functions were not found \
                 (--sockets fentry or tracepoints reads them, at a small cost to every process)"
            );
            return;
        }
        match kernel.trace_sockets(pid) {
            Ok(way) => {
                self.by_host = true;
                tracing::warn!(
                    pid,
                    "plain sockets are read by {}, at a small cost to every process: the C library's \
                     functions were not found (--sockets libc forbids it)",
                    way.name()
                );
            }
            Err(e) => {
                self.given_up = true;
                tracing::warn!(pid, "plain sockets are not read: {e}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::layout;
    use crate::probe::btf::Offsets;

    #[test]
    fn this_kernel_has_its_sockets() {
        let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            println!("skipped: this kernel has no BTF");
            return;
        };
        let layout = layout(&Offsets::read(&btf).unwrap()).unwrap();
        println!("{layout:?}");
        // `sock_common` begins with the addresses (include/net/sock.h).
        assert!(layout.skc_daddr < 8 && layout.skc_rcv_saddr < 8);
        assert_ne!(layout.skc_daddr, layout.skc_rcv_saddr);
        assert!(layout.sk_socket > layout.skc_family);
        assert_eq!(layout.calls[0], libc::SYS_read as u32);
    }
}
