//! The state of a Python thread, read from outside: its `PyThreadState`, and from there the
//! `contextvars` context in which it runs.
//!
//! A thread's state is found through the slot of `autoTSSkey` among the thread's own data, which
//! is right also while the GIL is released, as it is inside every TLS call.

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_user,
    },
    macros::uretprobe,
    programs::RetProbeContext,
};
use genspan_common::{
    event::{ConnectionContext, ContextCopy, Direction, EventKind, SocketRole},
    map::{ConnectionKey, ConnectionState},
    python::{PythonLayout, wanted},
};

use crate::{
    emit,
    maps::{PYTHON, SETTINGS, SWITCHES},
};

/// Index into `SWITCHES` of "there are layouts".
const PYTHON_IN_USE: u32 = 3;

/// A value in the traced process.
#[inline(always)]
pub fn user<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

/// What the agent said of a process, if it is a Python of which it said anything.
#[inline(always)]
pub fn layout(tgid: u32) -> Option<&'static PythonLayout> {
    // SAFETY: from a lookup just now; an entry that the agent replaces meanwhile reads as a mix of
    // two layouts of one process, with which reads may fail and nothing else.
    PYTHON.get_ptr(tgid).map(|layout| unsafe { &*layout })
}

/// The `PyThreadState` of the current thread; none in a thread that runs no Python.
#[inline(always)]
pub fn thread_state(layout: &PythonLayout) -> Option<u64> {
    // SAFETY: no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let base = task.wrapping_add(u64::from(SETTINGS.load().task_fsbase_offset));
    // SAFETY: the helper checks the address.
    let base: u64 = unsafe { bpf_probe_read_kernel(base as *const u64) }.ok()?;
    let slot = base.wrapping_add(i64::from(layout.thread_state) as u64);
    user::<u64>(slot).filter(|state| *state != 0)
}

/// The context in which a thread runs. None when it runs in none that was entered: such a one
/// lies at the bottom of each thread, and its address says nothing of who works for whom.
#[inline(always)]
pub fn context(layout: &PythonLayout, state: u64) -> Option<u64> {
    let context: u64 = user(state.wrapping_add(u64::from(layout.tstate_context)))?;
    if context == 0 {
        return None;
    }
    match user::<u32>(context.wrapping_add(u64::from(layout.context_entered))) {
        Some(0) | None => None,
        Some(_) => Some(context),
    }
}

/// `PyContext_CopyCurrent` returns (`Python/context.c`): a task, a callback or a thread that will
/// run in the copy works for whoever runs in the original.
#[uretprobe]
pub fn context_copied(ctx: RetProbeContext) -> u32 {
    let child: u64 = ctx.ret();
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(layout) = layout(tgid) else {
        return 0;
    };
    if child == 0 {
        return 0;
    }
    let parent = thread_state(layout).and_then(|state| context(layout, state));
    emit::context_copy(ContextCopy {
        header: emit::header(EventKind::ContextCopied),
        parent: parent.unwrap_or(0),
        child,
    });
    0
}

/// Tells in which context bytes go over a connection, when that is wanted and another than the
/// last time: of what is written, and of the requests that a server reads. False when it could not
/// be told: then the bytes must not be either, because the agent would take them for bytes of the
/// context before.
///
/// Verifier: inline, each way through it would be followed through all that comes after it, which
/// made loading a program five times as long.
#[inline(never)]
pub fn tell_context(
    key: &ConnectionKey,
    state: &mut ConnectionState,
    direction: usize,
    time: u64,
) -> bool {
    if SETTINGS.load().task_fsbase_offset == 0
        || !matches!(SWITCHES.get(PYTHON_IN_USE), Some(&n) if n != 0)
    {
        return true;
    }
    if direction != Direction::Write as usize && state.role != SocketRole::Accepted as u32 {
        return true;
    }
    let Some(layout) = layout(key.tgid) else {
        return true;
    };
    if layout.wanted & wanted::CONTEXT == 0 {
        return true;
    }
    let thread = thread_state(layout);
    let context = thread.and_then(|state| context(layout, state)).unwrap_or(0);
    let told = &mut state.contexts[direction & 1];
    if *told == context && !emit::copies_lost() {
        return true;
    }
    let mut header = emit::header(EventKind::Context);
    header.time = time;
    let event = ConnectionContext {
        header,
        ssl: key.ssl,
        generation: state.generation,
        context,
        direction: direction as u32,
        zero: 0,
    };
    if !emit::context(event) {
        return false;
    }
    *told = context;
    true
}
