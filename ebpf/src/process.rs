//! Births and deaths of traced processes.
//!
//! Raw tracepoints, because their arguments need neither tracefs nor a format file: `task_struct`
//! pointers, of which only `tgid` is read, at the offset that the kernel's BTF gives.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use aya_log_ebpf::debug;
use genspan_common::{
    event::{Direction, EventKind},
    loss::Loss,
};

use crate::{
    emit,
    maps::{PENDING, PYTHON, SETTINGS, SOCKET_CALLS, SWITCHES, TRACED, lose},
    pending, python,
};

/// Index into `SWITCHES` of "tell of every program that is executed".
const ALL_EXECS: u32 = 4;

/// The current process and how it is traced, if it is.
#[inline(always)]
pub fn traced() -> Option<(u32, u32)> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: from a lookup just now.
    TRACED.get_ptr(tgid).map(|how| (tgid, unsafe { *how }))
}

/// `sched_process_fork(parent, child)`: runs in the parent, before the child does.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn process_fork(ctx: RawTracePointContext) -> i32 {
    let Some((tgid, how)) = traced() else {
        return 0;
    };
    let task: *const u8 = ctx.arg(1);
    // SAFETY: the helper checks the address; the offset is that of a `u32` in `task_struct`.
    let child = unsafe {
        bpf_probe_read_kernel(
            task.add(SETTINGS.load().task_tgid_offset as usize)
                .cast::<u32>(),
        )
    };
    let Ok(child) = child else {
        lose(Loss::ChildUnreadable, 1);
        return 0;
    };
    if child == tgid {
        return 0; // a thread
    }
    if TRACED.insert(child, how, 0).is_err() {
        lose(Loss::ProcessTableFull, 1);
        return 0;
    }
    // A copy of the memory is laid out as the memory is.
    if let Some(layout) = python::layout(tgid) {
        let _ = PYTHON.insert(child, layout, 0);
    }
    debug!(&ctx, "process {} forked {}", tgid, child);
    emit::process(EventKind::Fork, child);
    0
}

/// `sched_process_exec(task, old_pid, bprm)`: runs in the process, after the image changed.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec(ctx: RawTracePointContext) -> i32 {
    // Also of a process that is not traced any more. A thread that is not the main one has another
    // number from here on.
    pending::forget(bpf_get_current_pid_tgid() as u32);
    pending::forget(ctx.arg::<i32>(1) as u32);
    if let Some((tgid, _)) = traced() {
        let _ = PYTHON.remove(tgid);
        debug!(&ctx, "process {} executes a program", tgid);
        emit::process(EventKind::Exec, 0);
    } else if SWITCHES.get(ALL_EXECS).is_some_and(|on| *on != 0) {
        emit::process(EventKind::Exec, 0);
    }
    0
}

/// `sched_process_exit(task)`: runs in every thread that ends.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn process_exit(ctx: RawTracePointContext) -> i32 {
    let tid = bpf_get_current_pid_tgid() as u32;
    // Also of a process that is not traced any more.
    pending::forget(tid);
    let Some((tgid, _)) = traced() else {
        return 0;
    };
    let _ = PENDING.remove(pending::key(tid, Direction::Write));
    let _ = PENDING.remove(pending::key(tid, Direction::Read));
    let _ = SOCKET_CALLS.remove(tid);
    if tid == tgid {
        debug!(&ctx, "main thread of process {} ended", tgid);
        // The agent forgets it: threads may outlive their leader.
        emit::process(EventKind::Exit, 0);
    }
    0
}
