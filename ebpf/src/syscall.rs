//! Calls on sockets, seen by tracepoints of the kernel: for processes whose C library cannot be
//! probed, or when an operator wants it so. Every process on the host runs into them; the first
//! thing they do is to leave when it is not traced.
//!
//! `sock_send_length` and `sock_recv_length` (kernel 6.3, `net/socket.c`) run for calls on
//! sockets only. Where they are not, `sys_exit` serves, which runs for every system call. In both
//! the registers of the system call tell where its bytes are.

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_probe_read_kernel,
        generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
    },
    macros::raw_tracepoint,
    maps::ProgramArray,
    programs::RawTracePointContext,
};
use genspan_common::{event::Direction, map::traced, socket::call};

use crate::{
    connection,
    maps::{LAYOUT, SEGMENT_TRACEPOINT, SocketCall},
    process,
    segment::{self, Shape},
    socket::{self, Socket},
};

/// States of TCP (`include/net/tcp_states.h`).
const FIN_WAIT1: i32 = 4;
const CLOSE: i32 = 7;
const LAST_ACK: i32 = 9;

/// Whether the current process is one whose sockets are read here.
#[inline(always)]
pub fn wanted() -> bool {
    process::traced().is_some_and(|(_, how)| how & traced::BY_HOST != 0)
}

/// An argument of a system call.
#[inline(always)]
fn argument(regs: u64, n: usize) -> u64 {
    let offset = LAYOUT.load().regs_arguments[n];
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(regs.wrapping_add(u64::from(offset)) as *const u64) }
        .unwrap_or(0)
}

/// The system call that the registers tell, and whether it is one that is followed.
#[inline(always)]
fn of_registers(regs: u64) -> Option<SocketCall> {
    let layout = LAYOUT.load();
    // SAFETY: the helper checks the address.
    let number = unsafe {
        bpf_probe_read_kernel(regs.wrapping_add(u64::from(layout.regs_number)) as *const u64)
    };
    let number = number.unwrap_or(u64::MAX) as u32;
    let is = |n: usize| number == layout.calls[n];
    let (shape, direction) = if is(call::READ) || is(call::RECVFROM) {
        (Shape::Buffer, Direction::Read)
    } else if is(call::WRITE) || is(call::SENDTO) {
        (Shape::Buffer, Direction::Write)
    } else if is(call::READV) {
        (Shape::Vector, Direction::Read)
    } else if is(call::WRITEV) {
        (Shape::Vector, Direction::Write)
    } else if is(call::RECVMSG) {
        (Shape::Message, Direction::Read)
    } else if is(call::SENDMSG) {
        (Shape::Message, Direction::Write)
    } else if is(call::SENDFILE) {
        (Shape::Unseen, Direction::Write)
    } else {
        return None;
    };
    // Verifier: each kind of call would be followed through all that comes after this.
    let kind = connection::forget((shape as u64) << 1 | direction as u64);
    let third = argument(regs, 2);
    let flags = if is(call::RECVFROM) {
        argument(regs, 3)
    } else if is(call::RECVMSG) {
        third
    } else {
        0
    };
    let (fd, address) = (argument(regs, 0), argument(regs, 1));
    let mut call = segment::call(fd, address, third, flags, shape, direction);
    (call.shape, call.direction) = ((kind >> 1) as u32, kind as u32 & 1);
    Some(call)
}

#[inline(always)]
fn length(ctx: &RawTracePointContext, direction: Direction) -> i32 {
    if !wanted() {
        return 0;
    }
    let (sk, bytes): (u64, i32) = (ctx.arg(0), ctx.arg(1));
    let flags: u32 = ctx.arg(2);
    if bytes < 0 || flags & segment::PEEK != 0 {
        return 0;
    }
    let Some(socket) = socket::of_sock(sk) else {
        return 0;
    };
    moved(ctx, &SEGMENT_TRACEPOINT, direction, socket, bytes as u64);
    0
}

/// The system call that this thread is in moved bytes over a socket.
#[inline(always)]
pub fn moved<C: EbpfContext>(
    ctx: &C,
    next: &ProgramArray,
    direction: Direction,
    socket: Socket,
    bytes: u64,
) {
    // SAFETY: no preconditions; a task that makes a system call has its registers.
    let regs = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64;
    let call = of_registers(regs)
        .filter(|c| c.direction == direction as u32)
        .unwrap_or_else(|| segment::call(0, 0, 0, 0, Shape::Unseen, direction));
    segment::moved(ctx, next, call, socket, bytes);
}

/// `sock_send_length(sk, ret, flags)`
#[raw_tracepoint(tracepoint = "sock_send_length")]
pub fn socket_sent(ctx: RawTracePointContext) -> i32 {
    length(&ctx, Direction::Write)
}

/// `sock_recv_length(sk, ret, flags)`
#[raw_tracepoint(tracepoint = "sock_recv_length")]
pub fn socket_received(ctx: RawTracePointContext) -> i32 {
    length(&ctx, Direction::Read)
}

/// `sys_exit(regs, ret)`
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn socket_syscall(ctx: RawTracePointContext) -> i32 {
    if !wanted() {
        return 0;
    }
    let (regs, returned): (u64, i64) = (ctx.arg(0), ctx.arg(1));
    if let Some(call) = of_registers(regs) {
        segment::finished(&ctx, &SEGMENT_TRACEPOINT, call, returned);
    }
    0
}

/// `inet_sock_set_state(sk, oldstate, newstate)`: of TCP sockets that the process closes. The
/// end of Unix sockets is not seen here.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn socket_state(ctx: RawTracePointContext) -> i32 {
    let (sk, state): (u64, i32) = (ctx.arg(0), ctx.arg(2));
    if !matches!(state, FIN_WAIT1 | LAST_ACK | CLOSE) || !wanted() || !socket::is_shut(sk) {
        return 0;
    }
    if let Some(socket) = socket::of_sock(sk) {
        segment::closed(socket);
    }
    0
}

/// The next segment of a call.
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn socket_segment_raw(ctx: RawTracePointContext) -> i32 {
    segment::copy(&ctx, &SEGMENT_TRACEPOINT);
    0
}
