//! For whom the threads of a pool work: `concurrent.futures.ThreadPoolExecutor`, and with it asyncio's
//! `run_in_executor`, copies no context for what it is given.
//!
//! Whoever gives a pool work makes a `Future` first, in `submit`, and the lock of that is made by
//! `PyThread_allocate_lock`, an exported function: a probe there looks whether a `Future` is being made,
//! and tells it as a copy of the context of who makes it. The thread that does the work runs
//! `_WorkItem.run` of an item that holds this `Future`: what it writes to somebody is told to be written
//! in that. The item is alive as long as it runs, so no other `Future` is where its own is.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::uprobe, programs::ProbeContext};
use genspan_common::{
    event::{ContextCopy, EventKind},
    python::{POOLED, values, wanted},
};

use crate::{
    emit, function,
    maps::SETTINGS,
    python::{code_of, context, current_frame, layout, local, thread_state, word},
};

/// Frames that are looked at to find the item that a thread works for.
const MAX_WALKED: u32 = 128;
/// The same to find the `Future` whose lock is made: `RLock` (to 3.13 a function), `Condition.__init__`
/// and its own `__init__`.
const MAX_MAKERS: u32 = 4;

/// `PyThread_allocate_lock()`: somebody makes a lock (`Python/thread.c`).
#[uprobe]
pub fn lock_made(_: ProbeContext) -> u32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(python) = layout(tgid).filter(|python| python.wanted & wanted::POOL != 0) else {
        return 0;
    };
    let Some(state) = thread_state(python) else {
        return 0;
    };
    let from = current_frame(python, state).unwrap_or(0);
    let mut frame = from;
    let mut future = 0;
    for _ in 0..MAX_MAKERS {
        if frame == 0 {
            break;
        }
        if code_of(python, frame) == python.future_made {
            future = local(python, frame, 0);
            break;
        }
        frame = word(frame.wrapping_add(u64::from(python.frame_previous)));
    }
    if future == 0 || future & 7 != 0 {
        return 0;
    }
    let parent = match context(python, state) {
        Some(context) => context,
        None => genspan_pool_future(from),
    };
    let (within, within_tid) = maker(tgid, frame);
    emit::context_copy(ContextCopy {
        header: emit::header(EventKind::ContextCopied),
        parent,
        child: future | POOLED,
        within,
        within_tid,
        zero: 0,
    });
    0
}

/// The watched generator or coroutine that is the innermost from this frame on, as [`ContextCopy::within`]
/// tells it.
#[inline(always)]
pub fn maker(tgid: u32, frame: u64) -> (u64, u32) {
    if SETTINGS.load().functions == 0 {
        return (0, 0);
    }
    match function::watched(tgid) {
        Some(process) => crate::generator::within(process, frame),
        None => (0, 0),
    }
}

/// What stands for the context of the work that this thread does for a pool, as its frames from this one
/// on say; zero when it does none that is known.
///
/// Verifier: a global function, so it is verified once and by itself. Such a one takes numbers.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_pool_future(from: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(python) = layout(tgid).filter(|python| python.wanted & wanted::POOL != 0) else {
        return 0;
    };
    let mut frame = from;
    for _ in 0..MAX_WALKED {
        if frame == 0 {
            return 0;
        }
        if code_of(python, frame) == python.item_run {
            let future = first_value(python.item_values, local(python, frame, 0));
            return if future == 0 || future & 7 != 0 {
                0
            } else {
                future | POOLED
            };
        }
        frame = word(frame.wrapping_add(u64::from(python.frame_previous)));
    }
    0
}

/// The first attribute of an object: that of an item is its `Future`.
#[inline(always)]
fn first_value(how: u32, object: u64) -> u64 {
    if object == 0 {
        return 0;
    }
    match how {
        values::DICT => {
            let dict = word(object.wrapping_add(16));
            let values = match dict {
                0 => 0,
                dict => word(dict.wrapping_add(40)),
            };
            match values {
                0 => 0,
                values => word(values),
            }
        }
        values::BEFORE => match word(object.wrapping_sub(32)) {
            0 => 0,
            values => word(values),
        },
        values::TAGGED => match word(object.wrapping_sub(24)) {
            before if before & 1 == 1 => word(before.wrapping_add(1)),
            _ => 0,
        },
        values::INLINE => word(object.wrapping_add(24)),
        _ => 0,
    }
}

/// What stands for the context that the thread is in, where contexts are told, and its frame is this one;
/// zero when it is in none.
///
/// Verifier: as [`genspan_pool_future`].
#[unsafe(no_mangle)]
pub extern "C" fn genspan_own_context(frame: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(python) = layout(tgid).filter(|python| python.wanted & wanted::CONTEXT != 0) else {
        return 0;
    };
    match thread_state(python).and_then(|state| context(python, state)) {
        Some(context) => context,
        None => genspan_pool_future(frame),
    }
}
