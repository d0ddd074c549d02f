//! Calls of chosen Python functions up to 3.10, where there are no watchpoints for them: from a probe on
//! `_PyEval_EvalFrameDefault`, which runs each frame of Python code (`Python/ceval.c`).
//!
//! All functions of the process pay a trap then. Those that are not watched, as their code object says, pay
//! no more: their return is not asked for. Of those that are, the frame is remembered until the one that
//! called it is the thread's frame again, which is when the function that ran it returns.
//!
//! That the return of others is not asked for takes a session. Of perf's probes each frame has a return probe,
//! of which a thread has no more than 64 at a time (`MAX_URETPROBE_DEPTH`, `include/linux/uprobes.h`): those of
//! what is called further in, by whoever, are left out. So the agent uses them where they are asked for, not
//! where watchpoints do not suffice.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_func_ip},
    macros::{map, uprobe, uretprobe},
    maps::{Array, HashMap},
    programs::{ProbeContext, RetProbeContext},
};
use genspan_common::{
    function::{MAX_RUNNING, WatchedProcess, what},
    loss::Loss,
};

use crate::{
    function::{
        genspan_function_begin, genspan_is_no_caller, innermost_frame, is_entered, look, push,
        watch, watched,
    },
    generator::{BY_FRAME, genspan_generator_begin, genspan_generator_over},
    maps::lose,
    python::{current_frame, thread_state, word},
};

/// What a session's program gives where its return is not wanted.
const NO_RETURN: u32 = 1;

/// Watched frames that a thread runs, the outermost first.
#[repr(C)]
#[derive(Clone, Copy)]
struct Running {
    depth: u64,
    frames: [u64; MAX_RUNNING],
    /// Who called each of them.
    previous: [u64; MAX_RUNNING],
}

/// By thread.
#[map]
static RUNNING: HashMap<u32, Running> = HashMap::with_max_entries(1, 0);

/// What an entry of that begins as.
#[map]
static NONE_RUNNING: Array<Running> = Array::with_max_entries(1, 0);

/// `_PyEval_EvalFrameDefault`, entry and return in one: see `openssl.rs`.
// SAFETY: the names of the object's programs are its own.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub extern "C" fn frame_run(ctx: *mut c_void) -> u32 {
    let ctx = ProbeContext::new(ctx);
    // SAFETY: the context is the kernel's. The helper gives the probe's address at both ends.
    let entry = unsafe { bpf_get_func_ip(ctx.as_ptr()) == (*ctx.regs).rip };
    if entry {
        return enters(&ctx);
    }
    genspan_frame_left(0);
    0
}

/// Its entry.
#[uprobe]
pub fn frame_enter(ctx: ProbeContext) -> u32 {
    enters(&ctx);
    0
}

/// Its return.
#[uretprobe]
pub fn frame_return(_: RetProbeContext) -> u32 {
    genspan_frame_left(0);
    0
}

#[inline(always)]
fn enters(ctx: &ProbeContext) -> u32 {
    let id = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((id >> 32) as u32, id as u32);
    let Some(process) = watched(tgid) else {
        return NO_RETURN;
    };
    // Verifier: one after the other, or LLVM chooses between their addresses in the context.
    // SAFETY: the context is the kernel's.
    let (first, second, third) = unsafe {
        (
            ptr::read_volatile(&raw const (*ctx.regs).rdi),
            ptr::read_volatile(&raw const (*ctx.regs).rsi),
            ptr::read_volatile(&raw const (*ctx.regs).rdx),
        )
    };
    // `(frame, throwflag)` in 3.8, behind the thread's state from 3.9 on.
    let (frame, thrown) = match process.frame_argument {
        1 => (first, second),
        2 => (second, third),
        _ => return NO_RETURN,
    };
    let code = word(frame.wrapping_add(u64::from(process.python.frame_code)));
    let Some(watch) = watch(process, code) else {
        return NO_RETURN;
    };
    if watch.what != what::FRAME {
        return NO_RETURN;
    }
    let begins = thrown as u32 == 0 && is_entered(&process.python, watch, frame, 0);
    // A plain function runs once.
    if watch.generator == 0 && !begins {
        return NO_RETURN;
    }
    // Where the return of the innermost was not seen, the frame that called it calls another one now.
    genspan_frame_left(1);
    if !remember(process, tid, frame) {
        lose(Loss::FunctionsUnfollowed, 1);
        return NO_RETURN;
    }
    if !begins {
        return 0;
    }
    if watch.generator == 0 {
        // That it runs from its beginning is certain: a frame that is known is another one by now.
        push(tid);
        genspan_function_begin(code, frame);
    } else {
        genspan_generator_begin(code, frame);
    }
    0
}

/// Remembers a frame until it was run.
#[inline(always)]
fn remember(process: &WatchedProcess, tid: u32, frame: u64) -> bool {
    if RUNNING.get_ptr(tid).is_none() {
        let Some(none) = NONE_RUNNING.get_ptr(0) else {
            return false;
        };
        // SAFETY: from a lookup just now; nobody writes to it.
        if RUNNING.insert(tid, unsafe { &*none }, 0).is_err() {
            return false;
        }
    }
    let Some(running) = RUNNING.get_ptr_mut(tid) else {
        return false;
    };
    // SAFETY: from a lookup just now; only this thread uses this key, and it is here now.
    let running = unsafe { &mut *running };
    let link = u64::from(process.python.frame_previous);
    let previous = word(frame.wrapping_add(link));
    let mut depth = running.depth as usize;
    if depth >= MAX_RUNNING {
        // One that called nobody of those that run is over, and that was not seen: then nobody is waited for
        // any more, else no call would ever be followed again.
        if genspan_is_no_caller(previous, running.frames[MAX_RUNNING - 1], link) == 0 {
            return false;
        }
        lose(Loss::FunctionsUnfollowed, depth as u64);
        depth = 0;
    }
    let at = depth & (MAX_RUNNING - 1);
    running.frames[at] = frame;
    running.previous[at] = previous;
    running.depth = depth as u64 + 1;
    true
}

/// A frame was run, which may be a watched one, and if so the innermost of its thread; or one begins (`begins`).
///
/// Verifier: a global function, so it is verified once and by itself, for all that call it. It looks at the
/// innermost only: in a loop over all of them it is too much for Linux 5.10.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_frame_left(begins: u64) -> u64 {
    let id = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((id >> 32) as u32, id as u32);
    let Some(running) = RUNNING.get_ptr_mut(tid) else {
        return 0;
    };
    // SAFETY: as in `remember`.
    let running = unsafe { &mut *running };
    let depth = running.depth as usize;
    if depth == 0 {
        return 0;
    }
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let Some(state) = thread_state(&process.python) else {
        return 0;
    };
    let current = current_frame(&process.python, state).unwrap_or(u64::MAX);
    // What begins on a stack of its own, as of a greenlet, says nothing of the others.
    if begins != 0 && current == 0 {
        return 0;
    }
    let at = (depth - 1) & (MAX_RUNNING - 1);
    // While it runs, the thread's frame is itself or one further in.
    if current != running.previous[at] {
        return 0;
    }
    let frame = running.frames[at];
    running.depth = depth as u64 - 1;
    if innermost_frame(tid) == frame {
        look(process, tid, state, current, true);
    } else if process.generators != 0 {
        genspan_generator_over(frame, BY_FRAME);
    }
    0
}

/// A thread ends.
#[inline(always)]
pub fn thread_ends(tid: u32) {
    let _ = RUNNING.remove(tid);
}
