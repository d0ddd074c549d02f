//! Calls on sockets, seen in the C library of a traced process.
//!
//! Where the library makes the system call itself, one probe sees it all: behind the `syscall`
//! instruction stands a conditional jump on its result, which the kernel emulates, and there the
//! result is in its register while the arguments still are in theirs (the kernel changes `rax`,
//! `rcx` and `r11` only). Those are the programs `socket_…`. Elsewhere the function is probed at
//! its entry, with `socket_…_enter`, and its return.
//!
//! The agent chooses where the probes go; see `agent/src/target/sockets.rs`.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use genspan_common::{event::Direction, loss::Loss};

use crate::{
    connection,
    maps::{SEGMENT_PROBE, SOCKET_CALLS, SocketCall, lose},
    segment::{self, Shape},
    socket,
};

/// Offset of `r10`, a system call's fourth argument, in x86-64's `pt_regs`
/// (`arch/x86/include/asm/ptrace.h`). Programs that use it are only attached there.
const R10: usize = 56;

/// The fourth argument of the system call.
#[inline(always)]
fn fourth(ctx: &ProbeContext) -> u64 {
    // SAFETY: within `pt_regs`, which the context is; the verifier checks it.
    unsafe { ctx.regs.cast::<u8>().add(R10).cast::<u64>().read() }
}

/// What the system call returned, at a probe behind it.
#[inline(always)]
fn result(ctx: &ProbeContext) -> i64 {
    RetProbeContext { regs: ctx.regs }.ret()
}

/// Which argument has the `MSG_…` flags.
#[derive(Clone, Copy)]
enum Flags {
    None,
    Third,
    Fourth,
}

/// The call that the registers tell; `fourth` reads the fourth argument.
#[inline(always)]
fn of_registers(
    ctx: &ProbeContext,
    shape: Shape,
    direction: Direction,
    flags: Flags,
    fourth: impl Fn(&ProbeContext) -> u64,
) -> Option<SocketCall> {
    let third = ctx.arg::<u64>(2)?;
    let flags = match flags {
        Flags::None => 0,
        Flags::Third => third,
        Flags::Fourth => fourth(ctx),
    };
    let (fd, address) = (ctx.arg::<u64>(0)?, ctx.arg::<u64>(1)?);
    Some(segment::call(fd, address, third, flags, shape, direction))
}

#[inline(always)]
fn behind(ctx: &ProbeContext, shape: Shape, direction: Direction, flags: Flags) -> u32 {
    if let Some(call) = of_registers(ctx, shape, direction, flags, fourth) {
        segment::finished(ctx, &SEGMENT_PROBE, call, result(ctx));
    }
    0
}

#[inline(always)]
fn enter(ctx: &ProbeContext, shape: Shape, direction: Direction, flags: Flags) -> u32 {
    let fourth = |ctx: &ProbeContext| ctx.arg::<u64>(3).unwrap_or(0);
    let Some(mut call) = of_registers(ctx, shape, direction, flags, fourth) else {
        return 0;
    };
    if matches!(direction, Direction::Write) {
        call.time = connection::now();
    }
    let tid = bpf_get_current_pid_tgid() as u32;
    if let Some(slot) = SOCKET_CALLS.get_ptr_mut(tid) {
        // SAFETY: only this thread uses this key, and it is here now.
        unsafe { *slot = call };
    } else if SOCKET_CALLS.insert(tid, call, 0).is_err() {
        lose(Loss::PendingTableFull, 1);
    }
    0
}

/// `read` behind its system call
#[uprobe]
pub fn socket_read(ctx: ProbeContext) -> u32 {
    behind(&ctx, Shape::Buffer, Direction::Read, Flags::None)
}

/// `recv`, `recvfrom`
#[uprobe]
pub fn socket_recv(ctx: ProbeContext) -> u32 {
    behind(&ctx, Shape::Buffer, Direction::Read, Flags::Fourth)
}

/// `readv`
#[uprobe]
pub fn socket_readv(ctx: ProbeContext) -> u32 {
    behind(&ctx, Shape::Vector, Direction::Read, Flags::None)
}

/// `recvmsg`
#[uprobe]
pub fn socket_recvmsg(ctx: ProbeContext) -> u32 {
    behind(&ctx, Shape::Message, Direction::Read, Flags::Third)
}

/// `write`, `send`, `sendto`
#[uprobe]
pub fn socket_write(ctx: ProbeContext) -> u32 {
    behind(&ctx, Shape::Buffer, Direction::Write, Flags::None)
}

/// `writev`
#[uprobe]
pub fn socket_writev(ctx: ProbeContext) -> u32 {
    behind(&ctx, Shape::Vector, Direction::Write, Flags::None)
}

/// `sendmsg`
#[uprobe]
pub fn socket_sendmsg(ctx: ProbeContext) -> u32 {
    behind(&ctx, Shape::Message, Direction::Write, Flags::None)
}

/// `sendfile`
#[uprobe]
pub fn socket_sendfile(ctx: ProbeContext) -> u32 {
    behind(&ctx, Shape::Unseen, Direction::Write, Flags::None)
}

/// `read` at its entry
#[uprobe]
pub fn socket_read_enter(ctx: ProbeContext) -> u32 {
    enter(&ctx, Shape::Buffer, Direction::Read, Flags::None)
}

/// `recv`, `recvfrom`
#[uprobe]
pub fn socket_recv_enter(ctx: ProbeContext) -> u32 {
    enter(&ctx, Shape::Buffer, Direction::Read, Flags::Fourth)
}

/// `readv`
#[uprobe]
pub fn socket_readv_enter(ctx: ProbeContext) -> u32 {
    enter(&ctx, Shape::Vector, Direction::Read, Flags::None)
}

/// `recvmsg`
#[uprobe]
pub fn socket_recvmsg_enter(ctx: ProbeContext) -> u32 {
    enter(&ctx, Shape::Message, Direction::Read, Flags::Third)
}

/// `write`, `send`, `sendto`
#[uprobe]
pub fn socket_write_enter(ctx: ProbeContext) -> u32 {
    enter(&ctx, Shape::Buffer, Direction::Write, Flags::None)
}

/// `writev`
#[uprobe]
pub fn socket_writev_enter(ctx: ProbeContext) -> u32 {
    enter(&ctx, Shape::Vector, Direction::Write, Flags::None)
}

/// `sendmsg`
#[uprobe]
pub fn socket_sendmsg_enter(ctx: ProbeContext) -> u32 {
    enter(&ctx, Shape::Message, Direction::Write, Flags::None)
}

/// `sendfile`
#[uprobe]
pub fn socket_sendfile_enter(ctx: ProbeContext) -> u32 {
    enter(&ctx, Shape::Unseen, Direction::Write, Flags::None)
}

/// Return of any of them.
#[uretprobe]
pub fn socket_return(ctx: RetProbeContext) -> u32 {
    let tid = bpf_get_current_pid_tgid() as u32;
    let Some(slot) = SOCKET_CALLS.get_ptr_mut(tid) else {
        lose(Loss::ReturnWithoutEntry, 1);
        return 0;
    };
    // SAFETY: only this thread uses this key, and it is here now.
    let call = unsafe {
        let call = *slot;
        (*slot).active = 0;
        call
    };
    if call.active == 0 {
        lose(Loss::ReturnWithoutEntry, 1);
        return 0;
    }
    let returned: i64 = ctx.ret();
    segment::finished(&ctx, &SEGMENT_PROBE, call, returned);
    0
}

/// `close`, before its system call
#[uprobe]
pub fn socket_close(ctx: ProbeContext) -> u32 {
    if let Some(fd) = ctx.arg::<u64>(0)
        && let Some(socket) = socket::of_descriptor(fd as u32)
    {
        segment::closed(socket);
    }
    0
}

/// The next segment of a call.
#[uprobe]
pub fn socket_segment(ctx: ProbeContext) -> u32 {
    segment::copy(&ctx, &SEGMENT_PROBE);
    0
}
