//! The state of a Python thread, read from outside: its `PyThreadState`, and from there the
//! `contextvars` context in which it runs.
//!
//! A thread's state is found through the slot of `autoTSSkey` among the thread's own data, which
//! is right also while the GIL is released, as it is inside every TLS call.

use core::ptr;

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_user,
        generated::bpf_probe_read_user as read_user,
    },
    macros::uretprobe,
    programs::RetProbeContext,
};
use genspan_common::{
    event::{ConnectionContext, ContextCopy, Direction, EventKind, SocketRole},
    loss::Loss,
    map::{ConnectionKey, ConnectionState},
    python::{NONE, PythonLayout, frames, wanted},
    stack::{Frame, MAX_FRAMES, StackEvent},
};

use crate::{
    emit,
    function::watched,
    maps::{DATA, PYTHON, SETTINGS, SWITCHES, lose},
    pending, pool,
};

/// Index into `SWITCHES` of "there are layouts".
const PYTHON_IN_USE: u32 = 3;
/// Frames that are no function's between two that are.
const MAX_BETWEEN: usize = 4;

/// A value in the traced process.
#[inline(always)]
pub fn user<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

/// A word in the traced process; zero when it cannot be read.
///
/// Verifier: within a loop this, and no `Option`: LLVM saves what that does not hold, and registers
/// that were never written must not be saved.
#[inline(always)]
pub fn word(address: u64) -> u64 {
    let mut word = 0;
    // SAFETY: the helper checks the address, writes as many bytes as a word has, and clears it when
    // it cannot read.
    unsafe { read_user((&raw mut word).cast(), 8, address as *const _) };
    word
}

/// What the agent said of a process, if it is a Python of which it said anything.
#[inline(always)]
pub fn layout(tgid: u32) -> Option<&'static PythonLayout> {
    // SAFETY: from a lookup just now; an entry that the agent replaces meanwhile reads as a mix of
    // two layouts of one process, with which reads may fail and nothing else.
    PYTHON.get_ptr(tgid).map(|layout| unsafe { &*layout })
}

/// Start of the current thread's own data, on which `fs` stands.
#[inline(always)]
fn thread_base() -> Option<u64> {
    // SAFETY: no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let base = task.wrapping_add(u64::from(SETTINGS.load().task_fsbase_offset));
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(base as *const u64) }.ok()
}

/// The `PyThreadState` of a thread with this base; none of one that runs no Python.
#[inline(always)]
fn state_at(layout: &PythonLayout, base: u64) -> Option<u64> {
    let slot = base.wrapping_add(i64::from(layout.thread_state) as u64);
    user::<u64>(slot).filter(|state| *state != 0)
}

/// The `PyThreadState` of the current thread; none in a thread that runs no Python.
#[inline(always)]
pub fn thread_state(layout: &PythonLayout) -> Option<u64> {
    state_at(layout, thread_base()?)
}

/// The same in a thread that makes a TLS call, which keeps its base from one to the next.
#[inline(always)]
fn caller_state(layout: &PythonLayout, tid: u32) -> Option<u64> {
    let kept = pending::own(pending::key(tid, Direction::Write));
    let base = match kept.as_ref().map_or(0, |own| own.base) {
        0 => {
            let base = thread_base()?;
            if let Some(own) = kept {
                own.base = base;
            }
            base
        }
        base => base,
    };
    state_at(layout, base)
}

/// The frame that a thread runs; zero when it runs none.
#[inline(always)]
pub fn current_frame(python: &PythonLayout, state: u64) -> Option<u64> {
    let frame: u64 = user(state.wrapping_add(u64::from(python.tstate_frame)))?;
    if python.frames == frames::CFRAME {
        return user(frame.wrapping_add(u64::from(python.cframe_frame)));
    }
    Some(frame)
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

/// The code object of the function of a frame.
#[inline(always)]
pub fn code_of(python: &PythonLayout, frame: u64) -> u64 {
    word(frame.wrapping_add(u64::from(python.frame_code))) & !u64::from(python.tag)
}

/// A local variable of the function of a frame, an argument among them.
#[inline(always)]
pub fn local(python: &PythonLayout, frame: u64, slot: u64) -> u64 {
    let locals = frame.wrapping_add(u64::from(python.frame_locals));
    word(locals.wrapping_add(slot.wrapping_mul(8))) & !u64::from(python.tag)
}

/// Whether a frame is no function's.
#[inline(always)]
fn is_shim(python: &PythonLayout, frame: u64) -> bool {
    if python.shim_owner == NONE {
        return false;
    }
    // A byte of the word that it is in, which is whole within the frame.
    let owner = word(frame.wrapping_add(u64::from(python.frame_owner & !7)));
    owner >> (8 * (python.frame_owner & 7)) & 0xff >= u64::from(python.shim_owner)
}

/// The frame of the function that called that of this frame, in a process in which functions are watched.
/// Zero when there is none.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_caller(frame: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let mut at = frame;
    for _ in 0..MAX_BETWEEN {
        at = word(at.wrapping_add(u64::from(process.python.frame_previous)));
        if at == 0 || !is_shim(&process.python, at) {
            return at;
        }
    }
    0
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
    let state = thread_state(layout);
    let frame = state.and_then(|state| current_frame(layout, state));
    let frame = frame.unwrap_or(0);
    let parent = match state.and_then(|state| context(layout, state)) {
        Some(context) => context,
        // An event loop may be run for a pool.
        None => pool::genspan_pool_future(frame),
    };
    let (within, within_tid) = pool::maker(tgid, frame);
    emit::context_copy(ContextCopy {
        header: emit::header(EventKind::ContextCopied),
        parent,
        child,
        within,
        within_tid,
        zero: 0,
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
    tid: u32,
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
    let thread = caller_state(layout, tid);
    let mut context = thread.and_then(|state| context(layout, state)).unwrap_or(0);
    if context == 0
        && layout.wanted & wanted::POOL != 0
        && direction == Direction::Write as usize
        && state.role != SocketRole::Accepted as u32
    {
        let frame = thread.and_then(|state| current_frame(layout, state));
        context = pool::genspan_pool_future(frame.unwrap_or(0));
    }
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

/// Tells the Python frames of the thread, right before what it writes over this connection.
///
/// Verifier: a global function, so it is verified once and by itself. Such a one takes numbers.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_stack(ssl: u64, generation: u64, time: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(python) = layout(tgid).filter(|python| python.wanted & wanted::STACK != 0) else {
        return 0;
    };
    let frame = thread_state(python).and_then(|state| current_frame(python, state));
    let Some(mut frame) = frame.filter(|frame| *frame != 0) else {
        return 0;
    };
    let Some(mut record) = DATA.reserve::<StackEvent>(0) else {
        lose(Loss::StacksLost, 1);
        return 0;
    };
    let at = record.as_mut_ptr();
    let mut count = 0;
    for index in 0..MAX_FRAMES {
        if frame == 0 {
            break;
        }
        let part = |offset: u32| word(frame.wrapping_add(u64::from(offset)));
        let mut code = code_of(python, frame);
        if is_shim(python, frame) {
            code = 0;
        }
        let read = Frame {
            code,
            instruction: part(python.frame_instruction),
        };
        // SAFETY: within the record, which is reserved and aligned.
        unsafe { ptr::addr_of_mut!((*at).frames[index]).write(read) };
        count = index as u32 + 1;
        frame = part(python.frame_previous);
    }
    let mut header = emit::header(EventKind::Stack);
    header.time = time;
    // SAFETY: as above; of the frames nobody looks at more than are counted.
    unsafe {
        ptr::addr_of_mut!((*at).header).write(header);
        ptr::addr_of_mut!((*at).ssl).write(ssl);
        ptr::addr_of_mut!((*at).generation).write(generation);
        ptr::addr_of_mut!((*at).count).write(count);
        ptr::addr_of_mut!((*at).more).write(u32::from(frame != 0));
    }
    record.submit(u64::from(BPF_RB_NO_WAKEUP));
    0
}
