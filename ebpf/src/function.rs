//! Calls of chosen Python functions, from hardware watchpoints on their code objects.
//!
//! Two watchpoints see all of a function. The first bytecode is read when it begins, and then its
//! arguments are in its frame. The reference count of the code object is written when a frame of it
//! is made and when it is gone, in whatever way it goes: that tells when to look whether the calls
//! that were told to begin are still under way. Whether one is, is never taken from the hit but
//! from the thread's own frames, so that anything else that touches a code object does no harm.
//!
//! Up to 3.11 a frame that an exception leaves lives on in its traceback. There a probe on
//! `PyTraceBack_Here`, which runs for every frame that an exception passes, is when to look.

use core::ptr;

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid, bpf_probe_read_kernel, bpf_probe_read_user_str_bytes,
        generated::bpf_probe_read_user as read_user,
    },
    macros::{map, perf_event, raw_tracepoint, uprobe},
    maps::{Array, HashMap},
    programs::{PerfEventContext, ProbeContext, RawTracePointContext},
};
use genspan_common::{
    event::{EventHeader, EventKind},
    function::{
        FunctionBegan, FunctionEnded, MAX_NESTED, TYPE_NAME_BYTES, Watch, WatchKey, WatchedProcess,
        exception, how, what,
    },
    loss::Loss,
    python::{NONE, PythonLayout, frames},
};

use crate::{
    argument::genspan_arguments,
    emit,
    generator::{
        genspan_generator_begin, genspan_generator_over, genspan_generator_raised,
        genspan_generator_scan, thread_ends, within,
    },
    interpreter,
    maps::{DATA, SETTINGS, lose},
    pool::genspan_own_context,
    python::{current_frame, thread_state, user, word},
};

/// Frames that are looked at to find a caller among them.
const MAX_WALKED: u32 = 48;

/// In every object: its type. In a type: `tp_name`.
pub const TYPE: u64 = 8;
const TYPE_NAME: u64 = 24;

/// A call that was told to begin.
#[repr(C)]
#[derive(Clone, Copy)]
struct OpenCall {
    frame: u64,
    /// The frame of its caller: what the thread runs again when it is over.
    previous: u64,
    /// Boot nanoseconds.
    began: u64,
    function: u32,
    zero: u32,
}

/// Those of a thread, the outermost first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OpenCalls {
    depth: u32,
    /// Not zero when a count was written, and that was no end, since the last one began: then a
    /// frame at an address that is known already is a new one.
    pushed: u32,
    calls: [OpenCall; MAX_NESTED],
}

/// Processes in which functions are watched, by thread group id. The agent sets the sizes of
/// these tables when it loads them, if it watches any.
#[map]
static WATCHED: HashMap<u32, WatchedProcess> = HashMap::with_max_entries(1, 0);

/// What the watchpoints are for.
#[map]
static WATCHES: HashMap<WatchKey, Watch> = HashMap::with_max_entries(1, 0);

/// Calls under way, by thread.
#[map]
static OPEN_CALLS: HashMap<u32, OpenCalls> = HashMap::with_max_entries(1, 0);

/// What an entry of that begins as: too large for the programs' stack.
#[map]
static NO_CALLS: Array<OpenCalls> = Array::with_max_entries(1, 0);

/// What is known of a process, if functions are watched in it.
#[inline(always)]
pub fn watched(tgid: u32) -> Option<&'static WatchedProcess> {
    // SAFETY: from a lookup just now; an entry is written once, before its watchpoints are set.
    WATCHED.get_ptr(tgid).map(|process| unsafe { &*process })
}

/// What the watchpoint on this address is for.
#[inline(always)]
pub fn watch(process: &WatchedProcess, address: u64) -> Option<&'static Watch> {
    let key = WatchKey {
        address,
        root: process.root,
        zero: 0,
    };
    // SAFETY: as in `watched`.
    WATCHES.get_ptr(key).map(|watch| unsafe { &*watch })
}

/// What an instruction is that is watched where the interpreter runs it, in a process with this root.
#[inline(always)]
pub fn watched_there(root: u32, address: u64) -> Option<&'static Watch> {
    let key = WatchKey {
        address,
        root,
        zero: 0,
    };
    // SAFETY: as in `watched`.
    let watch = WATCHES.get_ptr(key).map(|watch| unsafe { &*watch })?;
    (watch.what == what::FRAME).then_some(watch)
}

/// Whether this is a frame of the function before its first instruction.
#[inline(always)]
pub fn is_entered(python: &PythonLayout, watch: &Watch, frame: u64, entry: u64) -> bool {
    if frame == 0 || frame & 7 != 0 {
        return false;
    }
    let code = user::<u64>(frame.wrapping_add(u64::from(python.frame_code)));
    if !matches!(code, Some(code) if code & !u64::from(python.tag) == watch.code) {
        return false;
    }
    let at = frame.wrapping_add(u64::from(python.frame_instruction));
    if python.frames == frames::OBJECT {
        // It may be stored before the instruction is fetched, or after.
        return matches!(user::<i32>(at), Some(-1 | 0));
    }
    let before = entry.wrapping_sub(u64::from(python.entry_before));
    matches!(user::<u64>(at), Some(instruction) if instruction == before)
}

/// What is to be done with each register in which the frame may be: some builds fetch the first
/// instruction before they tell the thread of the new frame.
///
/// Verifier: one after the other. LLVM keeps a list of them on the stack, of which Linux 6.1 lets a
/// program and what it calls have 512 bytes together, each rounded up to 32.
macro_rules! in_registers {
    ($ctx:ident, $value:ident $then:block) => {
        in_registers!(
            $ctx, $value $then r12 rbx rbp r13 r14 r15 rax rcx rdx rsi rdi r8 r9 r10 r11
        );
    };
    ($ctx:ident, $value:ident $then:block $($register:ident)+) => {$({
        // SAFETY: the context is the kernel's.
        let $value = unsafe { ptr::read_volatile(&raw const (*$ctx.ctx).regs.$register) };
        $then
    })+};
}
pub(crate) use in_registers;

/// A watchpoint was hit.
#[perf_event]
pub fn function_watched(ctx: PerfEventContext) -> u32 {
    let id = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((id >> 32) as u32, id as u32);
    let Some(process) = watched(tgid) else {
        return 0;
    };
    // SAFETY: the context is the kernel's.
    let address = unsafe { (*ctx.ctx).addr };
    let Some(watch) = watch(process, address) else {
        return 0;
    };
    let Some(state) = thread_state(&process.python) else {
        return 0;
    };
    let Some(current) = current_frame(&process.python, state) else {
        return 0;
    };
    if watch.what == what::COUNT {
        if watch.generator == 0 {
            look(process, tid, state, current, true);
            return 0;
        }
        in_registers!(ctx, found {
            if genspan_generator_over(found, 0) != 0 {
                return 0;
            }
        });
        // SAFETY: the context is the kernel's.
        genspan_generator_scan(unsafe { (*ctx.ctx).regs.rsp });
        return 0;
    }
    if is_entered(&process.python, watch, current, address) {
        entered(watch, address, current);
        return 0;
    }
    if process.python.frames == frames::OBJECT {
        return 0;
    }
    in_registers!(ctx, frame {
        if is_entered(&process.python, watch, frame, address) {
            entered(watch, address, frame);
            return 0;
        }
    });
    0
}

/// A call begins in this frame.
#[inline(always)]
fn entered(watch: &Watch, entry: u64, frame: u64) {
    if watch.generator == 0 {
        genspan_function_begin(entry, frame);
    } else {
        genspan_generator_begin(entry, frame);
    }
}

/// `PyTraceBack_Here(frame)`: an exception passes a frame (`Python/traceback.c`). Where generators
/// are watched, also `PyErr_ExceptionMatches`, by which who runs one finds out what left it
/// (`Python/errors.c`).
#[uprobe]
pub fn function_raised(_: ProbeContext) -> u32 {
    let id = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((id >> 32) as u32, id as u32);
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let plain = innermost_frame(tid) != 0;
    if !plain && process.generators == 0 {
        return 0;
    }
    if let Some(state) = thread_state(&process.python)
        && let Some(current) = current_frame(&process.python, state)
    {
        if plain {
            look(process, tid, state, current, false);
        }
        if process.generators != 0 {
            genspan_generator_raised(current);
        }
    }
    0
}

/// The frame of the innermost watched plain function that a thread is in; zero when it is in none.
#[inline(always)]
pub fn innermost_frame(tid: u32) -> u64 {
    let Some(open) = OPEN_CALLS.get_ptr(tid) else {
        return 0;
    };
    // SAFETY: from a lookup just now; only this thread uses this key, and it is here now.
    let open = unsafe { &*open };
    match open.depth {
        0 => 0,
        depth => innermost(open, depth).frame,
    }
}

/// A frame of a thread begins for sure: one at its address that is known is another one.
#[inline(always)]
pub fn push(tid: u32) {
    if let Some(open) = OPEN_CALLS.get_ptr_mut(tid) {
        // SAFETY: as in `look`.
        unsafe { (*open).pushed = 1 };
    }
}

/// Tells the end of those calls that are over, as the thread's frame says.
#[inline(always)]
pub fn look(process: &WatchedProcess, tid: u32, state: u64, current: u64, counted: bool) {
    let Some(open) = OPEN_CALLS.get_ptr_mut(tid) else {
        return;
    };
    // SAFETY: from a lookup just now; only this thread uses this key, and it is here now.
    let open = unsafe { &mut *open };
    let mut ended = false;
    for _ in 0..MAX_NESTED {
        let depth = open.depth;
        if depth == 0 {
            break;
        }
        let call = innermost(open, depth);
        let over = current == call.previous
            || (current == call.frame && is_cleared(process.frame_stacktop, current));
        if !over {
            break;
        }
        end(process, tid, state, call);
        open.depth = depth - 1;
        ended = true;
    }
    if counted {
        open.pushed = u32::from(!ended);
    }
}

/// The frame of a watched plain function is about to be cleared: it is over, and so are those in it whose
/// end was not seen.
///
/// Verifier: a global function, as below.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_function_gone(frame: u64) -> u64 {
    let id = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((id >> 32) as u32, id as u32);
    let Some(process) = watched(tgid) else {
        return 0;
    };
    if genspan_is_open(frame) == 0 {
        return 0;
    }
    let Some(state) = thread_state(&process.python) else {
        return 0;
    };
    let Some(open) = OPEN_CALLS.get_ptr_mut(tid) else {
        return 0;
    };
    // SAFETY: as in `look`.
    let open = unsafe { &mut *open };
    for _ in 0..MAX_NESTED {
        let depth = open.depth;
        if depth == 0 {
            break;
        }
        let call = innermost(open, depth);
        let found = call.frame == frame;
        if found {
            end(process, tid, state, call);
        } else {
            over(call, tid, how::LATE);
        }
        open.depth = depth - 1;
        if found {
            break;
        }
    }
    0
}

/// In 3.11 a frame is the current one until it was cleared. While it runs, it has no `stacktop`.
#[inline(always)]
fn is_cleared(stacktop: u32, frame: u64) -> bool {
    if stacktop == NONE {
        return false;
    }
    // What cannot be read is no sign of it: the highest bit is that of a negative number.
    let at = frame.wrapping_add(u64::from(stacktop));
    let mut top: u32 = 1 << 31;
    // SAFETY: the helper checks the address, and writes as many bytes as `top` has.
    let read = unsafe { read_user((&raw mut top).cast(), 4, at as *const _) };
    read == 0 && top >> 31 == 0
}

/// The innermost of so many calls, which are not none.
///
/// Verifier: a reference, and no `Option` of a call: LLVM copies what is not there.
#[inline(always)]
fn innermost(open: &OpenCalls, depth: u32) -> &OpenCall {
    // The mask bounds the index.
    let index = depth.wrapping_sub(1) as usize & (MAX_NESTED - 1);
    // SAFETY: masked to the length of the array, a power of two.
    unsafe { &*open.calls.as_ptr().add(index) }
}

/// A call of the function begins in this frame whose first instruction is at this address.
///
/// Verifier: a global function, so it is verified once and by itself, not for each register in which
/// the frame may be. Such a one takes numbers, so what the caller looked up is looked up again.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_function_begin(entry: u64, frame: u64) -> u64 {
    let id = bpf_get_current_pid_tgid();
    if let Some(process) = watched((id >> 32) as u32)
        && let Some(watch) = watch(process, entry)
    {
        begin(process, watch, id as u32, frame, entry);
    }
    0
}

/// Whether the current thread's own frame is another one than this.
///
/// Verifier: a global function, as above.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_is_ahead(frame: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let python = &process.python;
    let Some(state) = thread_state(python) else {
        return 0;
    };
    // Verifier: words, and no `Option` of one: LLVM saves what that does not hold.
    let mut current = word(state.wrapping_add(u64::from(python.tstate_frame)));
    if python.frames == frames::CFRAME {
        current = word(current.wrapping_add(u64::from(python.cframe_frame)));
    }
    u64::from(current != 0 && current != frame)
}

#[inline(always)]
fn begin(process: &WatchedProcess, watch: &Watch, tid: u32, frame: u64, entry: u64) {
    let python = &process.python;
    let at = frame.wrapping_add(u64::from(python.frame_previous));
    let Some(previous) = user::<u64>(at) else {
        return;
    };
    let Some(open) = open_calls(tid) else {
        lose(Loss::FunctionsUnfollowed, 1);
        return;
    };
    // SAFETY: as in `look`.
    let open = unsafe { &mut *open };
    if genspan_is_open(frame) != 0 {
        if open.pushed == 0 {
            // The same bytecode once more: it is specialised, or was interrupted.
            return;
        }
        // Its end was not seen.
        for _ in 0..MAX_NESTED {
            let depth = open.depth;
            if depth == 0 {
                break;
            }
            let call = innermost(open, depth);
            let found = call.frame == frame;
            over(call, tid, how::LATE);
            open.depth = depth - 1;
            if found {
                break;
            }
        }
    } else {
        // Those whose end was not seen: a kept frame keeps those that called it, so there may be
        // many.
        let link = u64::from(python.frame_previous);
        for _ in 0..MAX_NESTED {
            let depth = open.depth;
            if depth == 0 {
                break;
            }
            let call = innermost(open, depth);
            if genspan_is_no_caller(previous, call.frame, link) == 0 {
                break;
            }
            over(call, tid, how::LATE);
            open.depth = depth - 1;
        }
    }
    open.pushed = 0;
    let depth = open.depth as usize;
    if depth >= MAX_NESTED {
        lose(Loss::FunctionsUnfollowed, 1);
        return;
    }
    let header = emit::header(EventKind::FunctionBegan);
    let (within, within_tid) = within(process, previous);
    let began = FunctionBegan {
        header,
        function: watch.function,
        depth: depth as u32,
        root: process.root,
        generator: 0,
        within,
        within_tid,
        ahead: genspan_is_ahead(frame) as u32,
        context: genspan_own_context(frame),
    };
    let Some(mut record) = DATA.reserve::<FunctionBegan>(0) else {
        lose(Loss::FunctionRingFull, 1);
        return;
    };
    record.write(began);
    record.submit(emit::wake_flags());
    let call = OpenCall {
        frame,
        previous,
        began: header.time,
        function: watch.function,
        zero: 0,
    };
    // SAFETY: masked to the length of the array, a power of two.
    unsafe { *open.calls.as_mut_ptr().add(depth & (MAX_NESTED - 1)) = call };
    open.depth = depth as u32 + 1;
    genspan_arguments(entry, frame, header.time);
}

/// The calls of this thread that are under way.
#[inline(always)]
fn open_calls(tid: u32) -> Option<*mut OpenCalls> {
    if let Some(open) = OPEN_CALLS.get_ptr_mut(tid) {
        return Some(open);
    }
    // SAFETY: from a lookup just now; nobody writes to it.
    let none = unsafe { &*NO_CALLS.get_ptr(0)? };
    OPEN_CALLS.insert(tid, none, 0).ok()?;
    OPEN_CALLS.get_ptr_mut(tid)
}

/// Whether a call in this frame is under way in this thread.
///
/// Verifier: a global function, so that what its loop learns of the depth is not followed through all
/// that comes after it.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_is_open(frame: u64) -> u64 {
    let tid = bpf_get_current_pid_tgid() as u32;
    let Some(open) = OPEN_CALLS.get_ptr(tid) else {
        return 0;
    };
    // SAFETY: as in `look`.
    let open = unsafe { &*open };
    let mut found = 0;
    for index in 0..MAX_NESTED {
        if index as u32 >= open.depth {
            break;
        }
        if open.calls[index].frame == frame {
            found = 1;
        }
    }
    found
}

/// Whether a frame is not among those from `from` on for sure: all of them were looked at. `link`
/// is where in a frame its caller's is.
///
/// Verifier: a global function, so it is verified once and by itself. Each caller of it is within
/// a loop: followed from there, this loop in that one is more than a million instructions.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_is_no_caller(from: u64, frame: u64, link: u64) -> u64 {
    let mut at = from;
    for _ in 0..MAX_WALKED {
        if at == frame {
            return 0;
        }
        if at == 0 {
            return 1;
        }
        let from = at.wrapping_add(link);
        // SAFETY: the helper checks the address, and writes as many bytes as a word has.
        if unsafe { read_user((&raw mut at).cast(), 8, from as *const _) } != 0 {
            return 0;
        }
    }
    0
}

/// Tells that a call is over, by an exception if the thread has one.
#[inline(always)]
fn end(process: &WatchedProcess, tid: u32, state: u64, call: &OpenCall) {
    let class = raised(process, state);
    let how = if class == 0 {
        how::RETURNED
    } else {
        how::RAISED
    };
    let (function, tid) = (u64::from(call.function), u64::from(tid));
    genspan_function_over(call.began, function, tid, u64::from(how), class);
}

/// Writes the record of an end; `class` is that of the exception, or zero.
///
/// Verifier: a global function, so it is verified once and by itself and not in each round of the
/// loops that call it. Such a one takes numbers.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_function_over(
    began: u64,
    function: u64,
    tid: u64,
    how: u64,
    class: u64,
) -> u64 {
    let Some(mut record) = DATA.reserve::<FunctionEnded>(0) else {
        lose(Loss::FunctionRingFull, 1);
        return 0;
    };
    let at = record.as_mut_ptr();
    let header = EventHeader {
        tid: tid as u32,
        ..emit::header(EventKind::FunctionEnded)
    };
    // SAFETY: the record is of this type's size and alignment; every byte of it is written.
    unsafe {
        ptr::addr_of_mut!((*at).header).write(header);
        ptr::addr_of_mut!((*at).began).write(began);
        ptr::addr_of_mut!((*at).function).write(function as u32);
        ptr::addr_of_mut!((*at).how).write(how as u32);
        ptr::addr_of_mut!((*at).exception).write([0; TYPE_NAME_BYTES]);
        if class != 0 {
            name_of(class, &mut (*at).exception);
        }
    }
    record.submit(emit::wake_flags());
    0
}

/// The class of the exception that the thread is raising; zero when it raises none.
#[inline(always)]
pub fn raised(process: &WatchedProcess, state: u64) -> u64 {
    let object = word(state.wrapping_add(u64::from(process.tstate_exception)));
    if object == 0 || process.exception == exception::CLASS {
        return object;
    }
    word(object.wrapping_add(TYPE))
}

/// `tp_name` of a type; empty when it cannot be read.
#[inline(always)]
pub fn name_of(class: u64, into: &mut [u8; TYPE_NAME_BYTES]) -> u32 {
    let Some(name) = user::<u64>(class.wrapping_add(TYPE_NAME)) else {
        return 0;
    };
    // SAFETY: the helper checks the address and keeps to the buffer.
    unsafe { bpf_probe_read_user_str_bytes(name as *const u8, into) }
        .map_or(0, |name| name.len() as u32)
}

/// `sched_process_fork(parent, child)`: a child has its parent's watchpoints, and its objects.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn function_fork(ctx: RawTracePointContext) -> i32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
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
    match child {
        Ok(child) if child != tgid => {
            if WATCHED.insert(child, process, 0).is_err() {
                lose(Loss::ProcessTableFull, 1);
            }
        }
        _ => {}
    }
    0
}

/// `sched_process_exec(task, old_pid, bprm)`: nothing is where it was.
///
/// The thread that executes it becomes the leader; `old_pid` is its id before, by which its calls
/// are known (`exec_binprm`, `fs/exec.c`).
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn function_exec(ctx: RawTracePointContext) -> i32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if WATCHED.get_ptr(tgid).is_some() {
        let _ = WATCHED.remove(tgid);
        abandon(ctx.arg::<i32>(1) as u32);
        thread_ends(ctx.arg::<i32>(1) as u32);
        interpreter::thread_ends(ctx.arg::<i32>(1) as u32);
    }
    0
}

/// `sched_process_exit(task)`: runs in every thread that ends.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn function_exit(_: RawTracePointContext) -> i32 {
    let id = bpf_get_current_pid_tgid();
    if WATCHED.get_ptr((id >> 32) as u32).is_some() {
        abandon(id as u32);
        thread_ends(id as u32);
        interpreter::thread_ends(id as u32);
    }
    0
}

/// Tells the end of all calls of a thread that ends, the innermost first.
#[inline(always)]
fn abandon(tid: u32) {
    let Some(open) = OPEN_CALLS.get_ptr_mut(tid) else {
        return;
    };
    // SAFETY: as in `look`.
    let open = unsafe { &mut *open };
    for _ in 0..MAX_NESTED {
        let depth = open.depth;
        if depth == 0 {
            break;
        }
        over(innermost(open, depth), tid, how::THREAD_ENDED);
        open.depth = depth - 1;
    }
    let _ = OPEN_CALLS.remove(tid);
}

/// A record of an end of which the thread says nothing.
#[inline(always)]
fn over(call: &OpenCall, tid: u32, how: u32) {
    let (function, tid) = (u64::from(call.function), u64::from(tid));
    genspan_function_over(call.began, function, tid, u64::from(how), 0);
}
