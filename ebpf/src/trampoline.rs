//! Calls on sockets, seen by BPF trampolines: programs that run when the kernel's functions for a
//! call on a socket return (`fexit`). As with tracepoints, every process that uses sockets runs into them,
//! and the first thing they do is to leave when it is not traced.
//!
//! They stand where all calls of a family come by, whichever system call was made (`read`, `recvmsg`,
//! `writev`, …; `net/ipv4/af_inet.c`, `net/ipv6/af_inet6.c`, `net/unix/af_unix.c`), and of which the
//! arguments are the same in all kernels, as those of `tcp_recvmsg` are not (5.19). What the registers of
//! the system call say is taken from there as in `syscall.rs`: that needs `bpf_task_pt_regs`, Linux 5.15.

use aya_ebpf::{
    macros::{fentry, fexit},
    maps::ProgramArray,
    programs::{FEntryContext, FExitContext},
};
use genspan_common::event::Direction;

use crate::{
    maps::{SEGMENT_PAGED, SEGMENT_PAGED_UNIX, SEGMENT_RECEIVED, SEGMENT_SENT, SEGMENT_SENT_UNIX},
    segment, socket, syscall,
};

/// A call moved so many bytes; `returned` is where among the arguments that stands.
#[inline(always)]
fn moved(ctx: &FExitContext, next: &ProgramArray, direction: Direction, returned: usize) -> i32 {
    if !syscall::wanted() {
        return 0;
    }
    let bytes: i32 = ctx.arg(returned);
    if bytes < 0 {
        return 0;
    }
    if let Some(socket) = socket::of_socket(ctx.arg(0)) {
        syscall::moved(ctx, next, direction, socket, bytes as u64);
    }
    0
}

/// A call that reads: what it only looked at will be read again.
#[inline(always)]
fn received(ctx: &FExitContext) -> i32 {
    let flags: u32 = ctx.arg(3);
    if flags & segment::PEEK != 0 {
        return 0;
    }
    moved(ctx, &SEGMENT_RECEIVED, Direction::Read, 4)
}

/// `inet_recvmsg(sock, msg, size, flags)`
#[fexit(function = "inet_recvmsg")]
pub fn socket_inet_received(ctx: FExitContext) -> i32 {
    received(&ctx)
}

/// `inet6_recvmsg(sock, msg, size, flags)`
#[fexit(function = "inet6_recvmsg")]
pub fn socket_inet6_received(ctx: FExitContext) -> i32 {
    received(&ctx)
}

/// `unix_stream_recvmsg(sock, msg, size, flags)`
#[fexit(function = "unix_stream_recvmsg")]
pub fn socket_unix_received(ctx: FExitContext) -> i32 {
    received(&ctx)
}

/// `inet_sendmsg(sock, msg, size)`
#[fexit(function = "inet_sendmsg")]
pub fn socket_inet_sent(ctx: FExitContext) -> i32 {
    moved(&ctx, &SEGMENT_SENT, Direction::Write, 3)
}

/// `inet6_sendmsg(sock, msg, size)`
#[fexit(function = "inet6_sendmsg")]
pub fn socket_inet6_sent(ctx: FExitContext) -> i32 {
    moved(&ctx, &SEGMENT_SENT, Direction::Write, 3)
}

/// `unix_stream_sendmsg(sock, msg, len)`
#[fexit(function = "unix_stream_sendmsg")]
pub fn socket_unix_sent(ctx: FExitContext) -> i32 {
    moved(&ctx, &SEGMENT_SENT_UNIX, Direction::Write, 3)
}

/// `inet_sendpage(sock, page, offset, size, flags)`: what `sendfile` and `splice` move. From Linux 6.5 on
/// that comes by the functions above.
#[fexit(function = "inet_sendpage")]
pub fn socket_inet_paged(ctx: FExitContext) -> i32 {
    moved(&ctx, &SEGMENT_PAGED, Direction::Write, 5)
}

/// `unix_stream_sendpage(socket, page, offset, size, flags)`
#[fexit(function = "unix_stream_sendpage")]
pub fn socket_unix_paged(ctx: FExitContext) -> i32 {
    moved(&ctx, &SEGMENT_PAGED_UNIX, Direction::Write, 5)
}

/// `unix_release(sock)`: a process closes a Unix socket, and no other has it. Of TCP's,
/// `syscall::socket_state` tells.
#[fentry(function = "unix_release")]
pub fn socket_unix_closed(ctx: FEntryContext) -> i32 {
    if syscall::wanted()
        && let Some(socket) = socket::of_socket(ctx.arg(0))
    {
        segment::closed(socket);
    }
    0
}

/// The next segment of a call that reads.
#[fexit(function = "inet_recvmsg")]
pub fn socket_segment_received(ctx: FExitContext) -> i32 {
    segment::copy(&ctx, &SEGMENT_RECEIVED);
    0
}

/// The same of one that writes. A tail call stays within functions of one type, which includes the
/// names of their arguments (`bpf_prog_map_compatible`, Linux 6.11 and Debian's 6.1): hence one more for Unix sockets.
#[fexit(function = "inet_sendmsg")]
pub fn socket_segment_sent(ctx: FExitContext) -> i32 {
    segment::copy(&ctx, &SEGMENT_SENT);
    0
}

/// The same for Unix sockets.
#[fexit(function = "unix_stream_sendmsg")]
pub fn socket_segment_sent_unix(ctx: FExitContext) -> i32 {
    segment::copy(&ctx, &SEGMENT_SENT_UNIX);
    0
}

/// The same for what is sent by the page.
#[fexit(function = "inet_sendpage")]
pub fn socket_segment_paged(ctx: FExitContext) -> i32 {
    segment::copy(&ctx, &SEGMENT_PAGED);
    0
}

/// The same for Unix sockets.
#[fexit(function = "unix_stream_sendpage")]
pub fn socket_segment_paged_unix(ctx: FExitContext) -> i32 {
    segment::copy(&ctx, &SEGMENT_PAGED_UNIX);
    0
}
