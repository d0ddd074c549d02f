//! What a `struct sock` tells: whether it is ours to follow, which end it is, and between which
//! addresses.
//!
//! Only reads, by offsets from the kernel's type information, through a helper that cannot fault.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel};
use genspan_common::{
    event::{EventKind, SocketEvent, SocketRole, family},
    map::{ConnectionKey, SOCKET, nature},
};

use crate::{
    emit,
    maps::{CONNECTIONS, LAYOUT},
};

/// `S_IFMT` and `S_IFSOCK` (`include/uapi/linux/stat.h`).
const FILE_TYPE: u16 = 0o170_000;
const TYPE_SOCKET: u16 = 0o140_000;

/// `SOCK_STREAM` (`include/linux/net.h`).
const STREAM: u16 = 1;

/// `SHUTDOWN_MASK`: both directions are shut down (`include/net/sock.h`).
const SHUT_BOTH: u8 = 3;

/// A socket, of whatever type.
#[derive(Clone, Copy)]
pub struct Socket {
    /// Its `struct file`.
    file: u64,
    /// [`ConnectionKey::ssl`] of it.
    pub object: u64,
}

/// A field of a kernel structure.
#[inline(always)]
fn field<T>(base: u64, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(base.wrapping_add(u64::from(offset)) as *const T) }.ok()
}

/// A field of a kernel structure that is a pointer, when it is not null.
#[inline(always)]
fn pointer(base: u64, offset: u32) -> Option<u64> {
    field::<u64>(base, offset).filter(|p| *p != 0)
}

/// The socket behind a descriptor of the current process; none when it is anything else. The
/// descriptor is one that the kernel took just now.
#[inline(always)]
pub fn of_descriptor(fd: u32) -> Option<Socket> {
    let layout = LAYOUT.load();
    // SAFETY: no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let files = pointer(task, layout.task_files)?;
    let table = pointer(files, layout.files_fdt)?;
    let all = pointer(table, layout.fdt_fd)?;
    let file = pointer(all.wrapping_add(u64::from(fd) * 8), 0)?;
    let inode = pointer(file, layout.file_inode)?;
    if field::<u16>(inode, layout.inode_mode)? & FILE_TYPE != TYPE_SOCKET {
        return None;
    }
    numbered(file, inode)
}

/// The socket above a `struct sock`.
#[inline(always)]
pub fn of_sock(sk: u64) -> Option<Socket> {
    of_socket(pointer(sk, LAYOUT.load().sk_socket)?)
}

/// A `struct socket` that has a descriptor.
#[inline(always)]
pub fn of_socket(socket: u64) -> Option<Socket> {
    let layout = LAYOUT.load();
    let file = pointer(socket, layout.socket_file)?;
    numbered(file, pointer(file, layout.file_inode)?)
}

#[inline(always)]
fn numbered(file: u64, inode: u64) -> Option<Socket> {
    let number = field::<u64>(inode, LAYOUT.load().inode_ino)?;
    Some(Socket {
        file,
        object: number | SOCKET,
    })
}

/// The `struct sock` of a socket, if it is one for streams.
#[inline(always)]
pub fn stream(socket: Socket) -> Option<u64> {
    let layout = LAYOUT.load();
    let socket = pointer(socket.file, layout.file_private)?;
    if field::<u16>(socket, layout.socket_type)? != STREAM {
        return None;
    }
    pointer(socket, layout.socket_sk)
}

/// Whether the process is done with a socket: `close` shuts down both directions first
/// (`__tcp_close`, `net/ipv4/tcp.c`), while `shutdown` of one leaves the other.
#[inline(always)]
pub fn is_shut(sk: u64) -> bool {
    field::<u8>(sk, LAYOUT.load().sk_shutdown).is_some_and(|s| s & SHUT_BOTH == SHUT_BOTH)
}

/// The family of a socket.
#[inline(always)]
pub fn family_of(sk: u64) -> u32 {
    field::<u16>(sk, LAYOUT.load().skc_family).map_or(0, u32::from)
}

/// Which end of its connection a socket is.
///
/// A TCP socket that was accepted is a copy of the one that listens (`sk_clone_lock`,
/// `net/core/sock.c`) and keeps that one's backlog, which only `listen` sets. A Unix socket that
/// was accepted has the address of the one that listens (`unix_stream_connect`,
/// `net/unix/af_unix.c`); one that was connected has a peer with an address. A socket of an
/// unnamed pair has neither.
#[inline(always)]
pub fn role_of(sk: u64, family: u32) -> SocketRole {
    let layout = LAYOUT.load();
    if family == family::UNIX {
        if pointer(sk, layout.unix_addr).is_some() {
            return SocketRole::Accepted;
        }
        let peer = pointer(sk, layout.unix_peer);
        return match peer.and_then(|peer| pointer(peer, layout.unix_addr)) {
            Some(_) => SocketRole::Connected,
            None => SocketRole::Unknown,
        };
    }
    match field::<u32>(sk, layout.sk_max_ack_backlog) {
        Some(0) => SocketRole::Connected,
        Some(_) => SocketRole::Accepted,
        None => SocketRole::Unknown,
    }
}

/// Tells the agent which socket a connection has. Whether it could be told.
#[inline(always)]
pub fn tell(object: u64, generation: u64, sk: u64, role: SocketRole) -> bool {
    let layout = LAYOUT.load();
    let mut event = SocketEvent {
        header: emit::header(EventKind::Socket),
        ssl: object,
        generation,
        family: family_of(sk),
        role: role as u32,
        local_port: 0,
        peer_port: 0,
        local: [0; 16],
        peer: [0; 16],
    };
    let wide = event.family == family::INET6;
    if wide || event.family == family::INET {
        event.local_port = field::<u16>(sk, layout.skc_num).map_or(0, u32::from);
        event.peer_port =
            field::<u16>(sk, layout.skc_dport).map_or(0, |p| u32::from(u16::from_be(p)));
    }
    if wide && layout.skc_v6_daddr != 0 {
        event.local = field(sk, layout.skc_v6_rcv_saddr).unwrap_or([0; 16]);
        event.peer = field(sk, layout.skc_v6_daddr).unwrap_or([0; 16]);
    } else if event.family == family::INET {
        let local: [u8; 4] = field(sk, layout.skc_rcv_saddr).unwrap_or([0; 4]);
        let peer: [u8; 4] = field(sk, layout.skc_daddr).unwrap_or([0; 4]);
        event.local[..4].copy_from_slice(&local);
        event.peer[..4].copy_from_slice(&peer);
    }
    emit::socket(event)
}

/// Tells the agent, once, which socket is beneath a TLS connection.
#[inline(always)]
pub fn tell_of_tls(key: ConnectionKey, sk: u64) {
    let Some(state) = CONNECTIONS.get_ptr_mut(key) else {
        return;
    };
    // SAFETY: from a lookup just now; see `connection::moved` for who else may write.
    let state = unsafe { &mut *state };
    if state.nature != nature::UNTOLD {
        return;
    }
    let role = role_of(sk, family_of(sk));
    if tell(key.ssl, state.generation, sk, role) {
        state.nature = nature::TOLD;
        state.role = role as u32;
    }
}
