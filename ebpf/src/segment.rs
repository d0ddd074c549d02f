//! Calls on sockets: what is looked at once per call, and the copying, segment by segment.
//!
//! A call may move many segments (`writev`, `sendmsg`). A program copies one and calls itself for
//! the next (a tail call), so that the verifier sees the copying once.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user, bpf_probe_read_user_buf},
    maps::ProgramArray,
};
use genspan_common::{
    event::{Direction, EventKind, SocketRole, family},
    limits::MAX_SEGMENTS,
    loss::Loss,
    map::{ConnectionKey, ConnectionState, nature},
};

use crate::{
    connection, emit,
    maps::{CONNECTIONS, SOCKET_CALLS, SocketCall, lose},
    pending,
    socket::{self, Socket},
};

/// How a call says where its bytes are.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `(fd, buffer, length)`
    Buffer = 0,
    /// `(fd, iovec[], count)`
    Vector = 1,
    /// `(fd, msghdr, flags)`
    Message = 2,
    /// In a way that is not followed: only the length is known.
    Unseen = 3,
}

/// `MSG_PEEK`: what is read now will be read again (`include/linux/socket.h`).
pub const PEEK: u32 = 2;

/// Most bytes that one call moves: the kernel's `MAX_RW_COUNT` is below.
const MOST: u64 = 0x7fff_ffff;

/// Offsets in `struct msghdr` of the C library (`bits/types/struct_msghdr` of glibc and musl on
/// 64-bit machines), and the size of an `iovec`.
const MSG_IOV: u64 = 16;
const MSG_IOVLEN: u64 = 24;
const IOVEC: u64 = 16;

/// A word of the traced process's memory.
#[inline(always)]
fn user<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

/// A call on a socket, before anything is known of the descriptor.
#[inline(always)]
pub fn call(
    fd: u64,
    address: u64,
    segments: u64,
    flags: u64,
    shape: Shape,
    direction: Direction,
) -> SocketCall {
    SocketCall {
        object: fd,
        address,
        time: 0,
        left: 0,
        direction: direction as u32,
        shape: shape as u32,
        segments: segments as u32,
        done: 0,
        flags: flags as u32,
        active: 1,
    }
}

/// A call on a descriptor returned.
#[inline(always)]
pub fn finished<C: EbpfContext>(ctx: &C, next: &ProgramArray, call: SocketCall, returned: i64) {
    if returned < 0 || returned as u64 > MOST || call.flags & PEEK != 0 {
        return;
    }
    let Some(socket) = socket::of_descriptor(call.object as u32) else {
        return;
    };
    moved(ctx, next, call, socket, returned as u64);
}

/// Bytes went over a socket.
#[inline(always)]
pub fn moved<C: EbpfContext>(
    ctx: &C,
    next: &ProgramArray,
    mut call: SocketCall,
    socket: Socket,
    bytes: u64,
) {
    let id = bpf_get_current_pid_tgid();
    let key = ConnectionKey {
        ssl: socket.object,
        tgid: (id >> 32) as u32,
        zero: 0,
    };
    if bytes == 0 {
        if call.direction == Direction::Read as u32 {
            connection::end_of_stream(key);
        }
        return;
    }
    let known = CONNECTIONS.get_ptr_mut(key);
    if known.is_none() && socket::stream(socket).is_none() {
        return;
    }
    if call.time == 0 {
        call.time = connection::now();
    }
    let Some(state) = known.or_else(|| connection::state_of(key, call.time)) else {
        return;
    };
    // SAFETY: from a lookup just now; see `connection::moved` for who else may write.
    let state = unsafe { &mut *state };
    if state.nature == nature::FOREIGN || state.nature == nature::LINKED {
        return;
    }
    if state.nature == nature::TOLD && connection::unwanted(key, state, call.direction) {
        connection::skip(state, call.direction, bytes);
        return;
    }
    if call.shape == Shape::Message as u32 {
        let (Some(vector), Some(count)) = (
            user::<u64>(call.address.wrapping_add(MSG_IOV)),
            user::<u64>(call.address.wrapping_add(MSG_IOVLEN)),
        ) else {
            lose(Loss::PayloadUnreadable, 1);
            return;
        };
        call.address = vector;
        call.segments = count as u32;
        call.shape = Shape::Vector as u32;
    }
    let turn = state.message == 0 || state.message_direction != call.direction;
    if (turn || state.nature == nature::TLS) && carries_tls(state, &call) {
        state.nature = nature::TLS;
        if let Some(sk) = socket::stream(socket) {
            link(state, &call, sk, id);
        }
        return;
    }
    if state.nature == nature::TLS {
        return;
    }
    if state.nature == nature::UNTOLD && !tell(state, socket) {
        return;
    }
    call.object = socket.object;
    call.left = bytes;
    let tid = id as u32;
    if let Some(slot) = SOCKET_CALLS.get_ptr_mut(tid) {
        // SAFETY: only this thread uses this key, and it is here now.
        unsafe { *slot = call };
    } else if SOCKET_CALLS.insert(tid, call, 0).is_err() {
        lose(Loss::PendingTableFull, 1);
        return;
    }
    // SAFETY: nothing here waits to be dropped.
    unsafe { next.tail_call(ctx, 0) };
}

/// Tells the agent of a socket that was not seen before. False when nobody wants it.
#[inline(always)]
fn tell(state: &mut ConnectionState, socket: Socket) -> bool {
    let Some(sk) = socket::stream(socket) else {
        return false;
    };
    let family = socket::family_of(sk);
    let role = socket::role_of(sk, family);
    let known = family == family::INET || family == family::INET6;
    if !known && (family != family::UNIX || role as u32 == SocketRole::Unknown as u32) {
        state.nature = nature::FOREIGN;
        return false;
    }
    state.role = role as u32;
    state.nature = nature::TOLD;
    // A record that was lost leaves the first bytes to tell the role.
    socket::tell(socket.object, state.generation, sk, role);
    true
}

/// The first five bytes of a call; zeros when they cannot be had.
///
/// Verifier: not an `Option`, whose content LLVM would carry along unset.
#[inline(always)]
fn first_bytes(call: &SocketCall) -> [u8; 5] {
    let mut bytes = [0; 5];
    let mut at = call.address;
    if call.shape == Shape::Vector as u32 {
        let mut base = [0; 8];
        // SAFETY: the helper checks the address; what it cannot read stays zero.
        let _ = unsafe { bpf_probe_read_user_buf(at as *const u8, &mut base) };
        at = u64::from_ne_bytes(base);
    } else if call.shape != Shape::Buffer as u32 {
        return bytes;
    }
    // SAFETY: as above.
    let _ = unsafe { bpf_probe_read_user_buf(at as *const u8, &mut bytes) };
    bytes
}

/// Whether a call's bytes begin with the head of a TLS record (RFC 8446, section 5.1), or the
/// socket is known to carry TLS. After a `CONNECT` a socket carries TLS in the middle of its
/// life.
#[inline(always)]
fn carries_tls(state: &ConnectionState, call: &SocketCall) -> bool {
    if state.nature == nature::TLS {
        return true;
    }
    let [kind, major, minor, high, _] = first_bytes(call);
    (20..=23).contains(&kind) && major == 3 && minor <= 4 && high <= 0x48
}

/// TLS records went over a socket: the TLS object that this thread is in, or whose bytes it sends
/// now, is the one above this socket.
#[inline(always)]
fn link(state: &mut ConnectionState, call: &SocketCall, sk: u64, id: u64) {
    let tid = id as u32;
    for direction in [Direction::Write, Direction::Read] {
        if let Some(slot) = pending::current(pending::key(tid, direction)) {
            if slot.active != 0 {
                // Within the call: its return tells, when the connection is known for sure.
                slot.sk = sk;
                state.nature = nature::LINKED;
                return;
            }
            // TLS over memory: what was written is sent after the call. Only when the lengths
            // fit, for another connection's bytes may be sent first.
            if direction as u32 == call.direction
                && matches!(direction, Direction::Write)
                && slot.unsent != 0
                && sends(call, slot.unsent)
            {
                let key = ConnectionKey {
                    ssl: slot.ssl,
                    tgid: (id >> 32) as u32,
                    zero: 0,
                };
                slot.unsent = 0;
                state.nature = nature::LINKED;
                socket::tell_of_tls(key, sk);
                return;
            }
        }
    }
}

/// Most plaintext in a record (RFC 8446, section 5.1).
const RECORD: u64 = 1 << 14;

/// What a record is longer than its content, least and most: 16 bytes of tag with TLS 1.2's
/// ChaCha20-Poly1305, tag, padding, and nonce or IV with the others.
const OVERHEAD: (u64, u64) = (16, 80);

/// Content type of a record with application data (RFC 8446, section 5.1).
const APPLICATION_DATA: u8 = 23;

/// Whether a call sends application data with a first record of as many bytes.
#[inline(always)]
fn sends(call: &SocketCall, plain: u64) -> bool {
    let plain = if plain > RECORD { RECORD } else { plain };
    let [kind, _, _, high, low] = first_bytes(call);
    let record = u64::from(high) << 8 | u64::from(low);
    kind == APPLICATION_DATA && record >= plain + OVERHEAD.0 && record <= plain + OVERHEAD.1
}

/// Copies the next segment of this thread's call, and goes on to the one after it.
#[inline(always)]
pub fn copy<C: EbpfContext>(ctx: &C, next: &ProgramArray) {
    let id = bpf_get_current_pid_tgid();
    let tid = id as u32;
    let Some(slot) = SOCKET_CALLS.get_ptr_mut(tid) else {
        return;
    };
    // SAFETY: only this thread uses this key, and it is here now.
    let slot = unsafe { &mut *slot };
    let call = *slot;
    let key = ConnectionKey {
        ssl: call.object,
        tgid: (id >> 32) as u32,
        zero: 0,
    };
    let direction = if call.direction == Direction::Write as u32 {
        Direction::Write
    } else {
        Direction::Read
    };
    slot.active = 0;
    let (mut from, mut len, mut more) = (call.address, call.left, false);
    if call.shape == Shape::Vector as u32 {
        if call.segments == 0 || call.done >= MAX_SEGMENTS {
            connection::passed(key, tid, direction, call.time, call.address, call.left);
            return;
        }
        let (Some(base), Some(size)) = (
            user::<u64>(call.address),
            user::<u64>(call.address.wrapping_add(8)),
        ) else {
            lose(Loss::PayloadUnreadable, 1);
            connection::passed(key, tid, direction, call.time, call.address, call.left);
            return;
        };
        from = base;
        if size < len {
            len = size;
            more = true;
        }
    } else if call.shape != Shape::Buffer as u32 {
        connection::passed(key, tid, direction, call.time, call.address, call.left);
        return;
    }
    if len > MOST {
        return;
    }
    if len != 0 {
        connection::moved(key, tid, direction, call.time, from, len);
    }
    if more {
        slot.left = call.left.wrapping_sub(len);
        slot.address = call.address.wrapping_add(IOVEC);
        slot.segments = call.segments.wrapping_sub(1);
        slot.done = call.done.wrapping_add(1);
        // SAFETY: nothing here waits to be dropped.
        unsafe { next.tail_call(ctx, 0) };
    }
}

/// The process closed a socket.
#[inline(always)]
pub fn closed(socket: Socket) {
    let key = ConnectionKey {
        ssl: socket.object,
        tgid: (bpf_get_current_pid_tgid() >> 32) as u32,
        zero: 0,
    };
    let Some(state) = CONNECTIONS.get_ptr(key) else {
        return;
    };
    // SAFETY: from a lookup just now.
    let (generation, seen) = unsafe { ((*state).generation, (*state).nature == nature::TOLD) };
    if seen {
        emit::connection(EventKind::Closed, key.ssl, generation);
    }
    let _ = CONNECTIONS.remove(key);
}
