//! Watched generators, coroutines and asynchronous generators.
//!
//! Such a call is no thread's: it stops and goes on, on one thread or another. So each is known by
//! its frame and by its generator object, and whether it is over says the object itself. What has
//! to be found out at a hit is only which one it may be. When it returns, its frame lets go of what
//! the count is of, and the frame, or its generator, is in a register or on the stack of the
//! thread. When an exception leaves it, the frame was the thread's own when the exception passed
//! it, right before.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::map, maps::HashMap};
use genspan_common::{
    event::{EventHeader, EventKind},
    function::{
        FunctionBegan, FunctionEnded, GeneratorKey, OpenGenerator, TYPE_NAME_BYTES, WatchedProcess,
        WriteWithin, how,
    },
    loss::Loss,
    python::NONE,
};

use crate::{
    argument::genspan_arguments,
    emit,
    function::{innermost_frame, name_of, raised, watch, watched},
    maps::{DATA, lose},
    pool::genspan_own_context,
    python::{current_frame, thread_state, user, word},
};

/// Bit of what [`genspan_generator_over`] takes: its frame was run just now, and says whether to its end.
pub const BY_FRAME: u64 = 2;
/// Frames that are looked at to find a generator among them.
const MAX_WALKED: u32 = 128;
/// Words of the stack that are looked at to find the one that is over.
const MAX_SCANNED: u64 = 96;
/// Bytes above the stack's end that are taken for the stack itself.
const STACK_BYTES: u64 = 1 << 20;
/// Generators of a thread that an exception passed, of which it is not known yet whether it left.
const MAX_RAISING: usize = 4;

/// Frames that an exception passed on a thread, with the exception's class.
#[repr(C)]
#[derive(Clone, Copy)]
struct Raising {
    frames: [u64; MAX_RAISING],
    classes: [u64; MAX_RAISING],
    next: u64,
}

/// Those under way, each twice.
#[map]
static GENERATORS: HashMap<GeneratorKey, OpenGenerator> = HashMap::with_max_entries(1, 0);

/// By thread.
#[map]
static RAISING: HashMap<u32, Raising> = HashMap::with_max_entries(1, 0);

#[inline(always)]
fn key(tgid: u32, address: u64) -> GeneratorKey {
    GeneratorKey {
        address,
        tgid,
        zero: 0,
    }
}

/// The generator of a frame that it runs in, if it runs.
#[inline(always)]
fn generator_of(process: &WatchedProcess, frame: u64) -> Option<u64> {
    if process.generator_state == NONE {
        let at = frame.wrapping_add(u64::from(process.frame_generator));
        return user::<u64>(at).filter(|generator| *generator != 0);
    }
    // `FRAME_OWNED_BY_GENERATOR`, `FRAME_EXECUTING` (`Include/internal/pycore_frame.h`).
    let owner = frame.wrapping_add(u64::from(process.python.frame_owner));
    let generator = frame.wrapping_sub(u64::from(process.generator_frame));
    let state = generator.wrapping_add(u64::from(process.generator_state));
    match (user::<u8>(owner), user::<u8>(state)) {
        (Some(1), Some(0)) => Some(generator),
        _ => None,
    }
}

/// Whether it ended.
#[inline(always)]
fn is_finished(process: &WatchedProcess, generator: u64) -> bool {
    if process.generator_state == NONE {
        let at = generator.wrapping_add(u64::from(process.generator_frame));
        return user::<u64>(at) == Some(0);
    }
    // From `FRAME_COMPLETED` on; below zero are those that are suspended.
    let at = generator.wrapping_add(u64::from(process.generator_state));
    matches!(user::<u8>(at), Some(1..=127))
}

/// To 3.10, of a frame that was run just now: whether to its end, and not to where it is suspended
/// (`gen_send_ex`, `Objects/genobject.c`).
#[inline(always)]
fn is_run_through(process: &WatchedProcess, frame: u64) -> bool {
    if process.frame_state == NONE {
        let at = frame.wrapping_add(u64::from(process.frame_top));
        return user::<u64>(at) == Some(0);
    }
    // From `FRAME_RETURNED` on.
    let at = frame.wrapping_add(u64::from(process.frame_state));
    matches!(user::<u8>(at), Some(1..=127))
}

/// A generator's first bytecode is read, at this address and in this frame.
///
/// Verifier: global functions, here and below, are verified once and by themselves. They take
/// numbers, so what the caller looked up is looked up again.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_generator_begin(entry: u64, frame: u64) -> u64 {
    let id = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((id >> 32) as u32, id as u32);
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let Some(watch) = watch(process, entry) else {
        return 0;
    };
    let Some(generator) = generator_of(process, frame) else {
        return 0;
    };
    if let Some(known) = open(tgid, frame) {
        // To 3.9 a loop may begin with the first bytecode.
        if process.generator_state == NONE && known.generator == generator {
            return 0;
        }
        // Its end was not seen.
        forget(tgid, known);
        over(known, how::LATE);
    }
    if let Some(known) = open(tgid, generator) {
        forget(tgid, known);
        over(known, how::LATE);
    }
    let header = emit::header(EventKind::FunctionBegan);
    let call = OpenGenerator {
        frame,
        generator,
        began: header.time,
        tid,
        function: watch.function,
    };
    if GENERATORS.insert(key(tgid, frame), call, 0).is_err()
        || GENERATORS.insert(key(tgid, generator), call, 0).is_err()
    {
        forget(tgid, &call);
        lose(Loss::FunctionsUnfollowed, 1);
        return 0;
    }
    let previous = word(frame.wrapping_add(u64::from(process.python.frame_previous)));
    let (within, within_tid) = around(tgid, tid, previous);
    let Some(mut record) = DATA.reserve::<FunctionBegan>(0) else {
        forget(tgid, &call);
        lose(Loss::FunctionRingFull, 1);
        return 0;
    };
    record.write(FunctionBegan {
        header,
        function: watch.function,
        depth: 0,
        root: process.root,
        generator: 1,
        within,
        within_tid,
        ahead: 0,
        context: genspan_own_context(frame),
    });
    record.submit(emit::wake_flags());
    genspan_arguments(entry, frame, header.time);
    0
}

#[inline(always)]
fn open(tgid: u32, address: u64) -> Option<&'static OpenGenerator> {
    // SAFETY: from a lookup just now; an entry is written once. One that another thread removes
    // meanwhile reads as another call at worst, and that is only done where this one is over.
    GENERATORS
        .get_ptr(key(tgid, address))
        .map(|open| unsafe { &*open })
}

/// Whether a watched generator runs in this frame.
#[inline(always)]
pub fn is_open(tgid: u32, frame: u64) -> bool {
    open(tgid, frame).is_some()
}

#[inline(always)]
fn forget(tgid: u32, call: &OpenGenerator) {
    let (frame, generator) = (call.frame, call.generator);
    let _ = GENERATORS.remove(key(tgid, frame));
    let _ = GENERATORS.remove(key(tgid, generator));
}

/// When and on which thread the watched generator began that is the innermost from this frame on,
/// nearer than any watched plain function.
#[inline(always)]
fn around(tgid: u32, tid: u32, from: u64) -> (u64, u32) {
    let at = genspan_generator_around(from, innermost_frame(tid));
    match open(tgid, at) {
        Some(open) if at != 0 => (open.began, open.tid),
        _ => (0, 0),
    }
}

/// The same for what begins in a frame, if generators are watched in the process.
#[inline(always)]
pub fn within(process: &WatchedProcess, from: u64) -> (u64, u32) {
    if process.generators == 0 {
        return (0, 0);
    }
    let id = bpf_get_current_pid_tgid();
    around((id >> 32) as u32, id as u32, from)
}

/// The frame of the first watched generator from this frame on, before the frame `stop`; zero when
/// there is none, or when it is too far away.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_generator_around(from: u64, stop: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let link = u64::from(process.python.frame_previous);
    let mut at = from;
    for _ in 0..MAX_WALKED {
        if at == 0 || at == stop {
            return 0;
        }
        if GENERATORS.get_ptr(key(tgid, at)).is_some() {
            return at;
        }
        at = word(at.wrapping_add(link));
    }
    0
}

/// Tells in which watched generator this thread writes what comes next over a connection.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_write_within(ssl: u64, generation: u64, time: u64) -> u64 {
    let id = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((id >> 32) as u32, id as u32);
    let Some(process) = watched(tgid).filter(|process| process.generators != 0) else {
        return 0;
    };
    let frame =
        thread_state(&process.python).and_then(|state| current_frame(&process.python, state));
    let Some(frame) = frame else {
        return 0;
    };
    let (began, began_tid) = around(tgid, tid, frame);
    if began == 0 {
        return 0;
    }
    let Some(mut record) = DATA.reserve::<WriteWithin>(0) else {
        lose(Loss::FunctionRingFull, 1);
        return 0;
    };
    record.write(WriteWithin {
        header: EventHeader {
            time,
            ..emit::header(EventKind::WriteWithin)
        },
        ssl,
        generation,
        began,
        began_tid,
        zero: 0,
    });
    record.submit(emit::wake_flags());
    0
}

/// What generators hold was counted: looks for one that is over from the thread's stack on, and
/// among those that an exception passed. The registers were looked at before.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_generator_scan(stack: u64) -> u64 {
    for index in 0..MAX_SCANNED {
        let found = word(stack.wrapping_add(8 * index));
        let may_be = found & 7 == 0
            && found >> 16 != 0
            && found >> 47 == 0
            && found.wrapping_sub(stack) > STACK_BYTES;
        if may_be && genspan_generator_over(found, 0) != 0 {
            return 1;
        }
    }
    genspan_generator_left(1)
}

/// Tells the end of those that an exception passed on this thread, and that are over. `late` says
/// that nothing tells when.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_generator_left(late: u64) -> u64 {
    let tid = bpf_get_current_pid_tgid() as u32;
    let Some(raising) = RAISING.get_ptr_mut(tid) else {
        return 0;
    };
    // SAFETY: from a lookup just now; only this thread uses this key, and it is here now.
    let raising = unsafe { &mut *raising };
    for index in 0..MAX_RAISING {
        let frame = raising.frames[index];
        if frame != 0 && genspan_generator_over(frame, late) != 0 {
            raising.frames[index] = 0;
        }
    }
    0
}

/// The thread's exception passes this frame, or is looked at while it runs.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_generator_raised(frame: u64) -> u64 {
    let id = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((id >> 32) as u32, id as u32);
    genspan_generator_left(0);
    if open(tgid, frame).is_none() {
        return 0;
    }
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let class = match thread_state(&process.python) {
        Some(state) => raised(process, state),
        None => 0,
    };
    if RAISING.get_ptr_mut(tid).is_none() {
        let none = Raising {
            frames: [0; MAX_RAISING],
            classes: [0; MAX_RAISING],
            next: 0,
        };
        let _ = RAISING.insert(tid, none, 0);
    }
    let Some(raising) = RAISING.get_ptr_mut(tid) else {
        lose(Loss::FunctionsUnfollowed, 1);
        return 0;
    };
    // SAFETY: as in `genspan_generator_left`.
    let raising = unsafe { &mut *raising };
    for index in 0..MAX_RAISING {
        if raising.frames[index] == frame {
            raising.classes[index] = class;
            return 0;
        }
    }
    let index = raising.next as usize & (MAX_RAISING - 1);
    raising.next = raising.next.wrapping_add(1);
    raising.frames[index] = frame;
    raising.classes[index] = class;
    0
}

/// The class of the exception that passed a frame last, as far as this thread saw it.
#[inline(always)]
fn passed(tid: u32, frame: u64) -> u64 {
    let Some(raising) = RAISING.get_ptr_mut(tid) else {
        return 0;
    };
    // SAFETY: as in `genspan_generator_left`.
    let raising = unsafe { &mut *raising };
    let mut class = 0;
    for index in 0..MAX_RAISING {
        if raising.frames[index] == frame {
            class = raising.classes[index];
            raising.frames[index] = 0;
        }
    }
    class
}

/// Tells the end of a generator, if this is its address or that of its frame, and it is over;
/// gives whether it was.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_generator_over(address: u64, late: u64) -> u64 {
    let id = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((id >> 32) as u32, id as u32);
    let Some(known) = open(tgid, address) else {
        return 0;
    };
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let finished = if late & BY_FRAME == 0 {
        is_finished(process, known.generator)
    } else {
        is_run_through(process, known.frame)
    };
    if !finished {
        return 0;
    }
    let Some(state) = thread_state(&process.python) else {
        return 0;
    };
    let call = *known;
    forget(tgid, &call);
    let class = raised(process, state);
    let before = passed(tid, call.frame);
    let objects = &process.objects;
    // To 3.9 this stands for what it returned.
    let returned = class == objects.stop_iteration || class == objects.stop_async_iteration;
    let closed = class == objects.generator_exit
        || (class == 0 && before == objects.generator_exit)
        || (class == 0 && is_suspended(process, call.frame));
    if closed {
        over(&call, how::CLOSED);
    } else if class != 0 && !returned {
        failed(&call, class);
    } else if late & 1 != 0 || user::<u32>(call.generator) == Some(0) {
        // Nobody holds it any more: it ended at some time before.
        over(&call, how::LATE);
    } else {
        over(&call, how::RETURNED);
    }
    1
}

/// From 3.13 on a generator that is suspended where no exception would be handled is closed
/// without running again (`gen_close`, `Objects/genobject.c`).
#[inline(always)]
fn is_suspended(process: &WatchedProcess, frame: u64) -> bool {
    if process.resume == 0 {
        return false;
    }
    let at = frame.wrapping_add(u64::from(process.python.frame_instruction));
    let opcode = match user::<u64>(at).and_then(user::<u8>) {
        Some(opcode) if opcode != 0 => u32::from(opcode),
        _ => return false,
    };
    let all = process.resume;
    opcode == all & 0xff || opcode == (all >> 8) & 0xff || opcode == (all >> 16) & 0xff
}

/// A record of an end without an exception.
#[inline(always)]
fn over(call: &OpenGenerator, how: u32) {
    genspan_generator_told(
        call.began,
        (u64::from(call.function) << 32) | u64::from(call.tid),
        u64::from(how),
        0,
    );
}

/// A record of an end by an exception of this class.
#[inline(always)]
fn failed(call: &OpenGenerator, class: u64) {
    genspan_generator_told(
        call.began,
        (u64::from(call.function) << 32) | u64::from(call.tid),
        u64::from(how::RAISED),
        class,
    );
}

/// Writes the record of an end: of a call that began on the thread in the lower half of `call`,
/// of the function in the upper.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_generator_told(began: u64, call: u64, how: u64, class: u64) -> u64 {
    let Some(mut record) = DATA.reserve::<FunctionEnded>(0) else {
        lose(Loss::FunctionRingFull, 1);
        return 0;
    };
    record.write(FunctionEnded {
        header: EventHeader {
            tid: call as u32,
            ..emit::header(EventKind::FunctionEnded)
        },
        began,
        function: (call >> 32) as u32,
        how: how as u32,
        exception: [0; TYPE_NAME_BYTES],
    });
    if class != 0 {
        // SAFETY: the record was written just now.
        name_of(class, unsafe { &mut (*record.as_mut_ptr()).exception });
    }
    record.submit(emit::wake_flags());
    0
}

/// A thread ends: what it raised is nothing any more. Its generators may go on elsewhere.
#[inline(always)]
pub fn thread_ends(tid: u32) {
    let _ = RAISING.remove(tid);
}
