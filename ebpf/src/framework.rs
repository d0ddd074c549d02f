//! Runs of agent frameworks, from hardware watchpoints on a few of their functions.
//!
//! Objects of a run may be gone a moment later, so everything that must be right is copied here:
//! ids, names, which function began the run. What it means the agent finds out.

use core::ptr;

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_probe_read_user as read_user},
    macros::{map, perf_event, uprobe},
    maps::LruHashMap,
    programs::{PerfEventContext, ProbeContext},
};
use genspan_common::{
    event::EventKind,
    framework::{
        FUNCTION_NAME_BYTES, IDENTITY_DIGITS, Identity, OwnerKey, RUN_NAME_BYTES, RunHit, hook,
    },
    function::{Watch, WatchedProcess},
    loss::Loss,
    python::{NONE, PythonLayout},
};

use crate::{
    emit,
    function::{TYPE, is_entered, name_of, raised, watch, watched},
    maps::{DATA, lose},
    python::{context, current_frame, thread_state, user, word},
};

/// In a `uuid.UUID`: its `int` (`__slots__`, the first by name). In an `int`, a `str`: the size.
const VALUE: u64 = 16;
/// In an `int`: its digits.
const DIGITS: u64 = 24;
/// In a `str`: its state.
const TEXT_STATE: u64 = 32;
/// In a `tuple`: its items.
const ITEMS: u64 = 24;
/// In a `dict`: `ma_keys`.
const DICT_KEYS: u64 = 32;
/// In its keys, from 3.11 on: a word with `dk_log2_index_bytes` and `dk_kind`; `dk_nentries`; the
/// indices, behind which the entries are (`Include/internal/pycore_dict.h`).
const KEYS_HEAD: u64 = 8;
const KEYS_ENTRIES: u64 = 24;
const KEYS_INDICES: u64 = 32;
/// Entries of a dict that are looked through for a name.
const MAX_ENTRIES: u64 = 16;
/// Frames that belong to no function, or to a comprehension, above each other.
const MAX_SKIPPED: usize = 4;
/// `co_flags`: `*args`.
const VARARGS: u32 = 0x4;
/// A coroutine; an asynchronous generator.
const COROUTINE: u32 = 0x80;
const ASYNC_GENERATOR: u32 = 0x200;
/// Argument of `on_chain_start` and its like that describes what runs.
const SERIALIZED: u64 = 1;

/// Frames around one that are looked at to find the one in which another run began.
const MAX_AROUND: u32 = 64;

/// Frames in which runs began, with their code objects. The agent sets its size when it loads it.
#[map]
static RUN_OWNERS: LruHashMap<OwnerKey, u64> = LruHashMap::with_max_entries(1, 0);

/// A watchpoint of a framework was hit.
#[perf_event]
pub fn framework_watched(ctx: PerfEventContext) -> u32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
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
    if is_entered(&process.python, watch, current, address) {
        genspan_run(address, current, state);
        return 0;
    }
    // As in `function_watched`.
    // SAFETY: the context is the kernel's.
    let regs = unsafe { &(*ctx.ctx).regs };
    let registers = [
        regs.r12, regs.rbx, regs.rbp, regs.r13, regs.r14, regs.r15, regs.rax, regs.rcx, regs.rdx,
        regs.rsi, regs.rdi, regs.r8, regs.r9, regs.r10, regs.r11,
    ];
    for frame in registers {
        if is_entered(&process.python, watch, frame, address) {
            genspan_run(address, frame, state);
            return 0;
        }
    }
    0
}

/// `PyTraceBack_Here(frame)`: an exception passes a frame (`Python/traceback.c`).
#[uprobe]
pub fn framework_raised(_: ProbeContext) -> u32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let python = &process.python;
    let Some(state) = thread_state(python) else {
        return 0;
    };
    let Some(frame) = current_frame(python, state) else {
        return 0;
    };
    let key = OwnerKey {
        frame,
        tgid,
        zero: 0,
    };
    if RUN_OWNERS.get_ptr(key).is_none() {
        return 0;
    }
    let Some(mut record) = DATA.reserve::<RunHit>(0) else {
        lose(Loss::RunsLost, 1);
        return 0;
    };
    let at = record.as_mut_ptr();
    clear(at);
    let class = raised(process, state);
    // SAFETY: the record is of this type's size and alignment, and was cleared.
    unsafe {
        ptr::addr_of_mut!((*at).header).write(emit::header(EventKind::Run));
        ptr::addr_of_mut!((*at).hook).write(hook::RAISED);
        ptr::addr_of_mut!((*at).root).write(process.root);
        ptr::addr_of_mut!((*at).owner).write(frame);
        ptr::addr_of_mut!((*at).owner_code).write(code_of(python, frame));
        if class != 0 {
            name_of(class, &mut (*at).class);
        }
    }
    record.submit(emit::wake_flags());
    0
}

/// All bytes of a record, which was used before.
///
/// Verifier: volatile, else LLVM makes it a call of a function that there is not.
#[inline(always)]
fn clear(at: *mut RunHit) {
    let words = at.cast::<u64>();
    for index in 0..size_of::<RunHit>() / 8 {
        // SAFETY: within the record, which is of this size and aligned.
        unsafe { words.add(index).write_volatile(0) };
    }
}

/// Tells what a framework does, whose function is entered in this frame.
///
/// Verifier: a global function, so it is verified once and by itself, not for each register in which
/// the frame may be. Such a one takes numbers, so what the caller looked up is looked up again.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_run(entry: u64, frame: u64, state: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let Some(watch) = watch(process, entry) else {
        return 0;
    };
    let Some(mut record) = DATA.reserve::<RunHit>(0) else {
        lose(Loss::RunsLost, 1);
        return 0;
    };
    let at = record.as_mut_ptr();
    clear(at);
    let first = argument(&process.python, watch, frame, 0);
    let context = context(&process.python, state).unwrap_or(0);
    // SAFETY: the record is of this type's size and alignment, and was cleared.
    unsafe {
        ptr::addr_of_mut!((*at).header).write(emit::header(EventKind::Run));
        ptr::addr_of_mut!((*at).hook).write(watch.what);
        ptr::addr_of_mut!((*at).root).write(process.root);
        ptr::addr_of_mut!((*at).context).write(context);
        if watch.what == hook::SHIELDED {
            shielded(process, frame, first, at);
        } else {
            ptr::addr_of_mut!((*at).manager).write(first);
            if watch.what == hook::BEGINS {
                begins(process, watch, frame, tgid, at);
            }
        }
    }
    record.submit(emit::wake_flags());
    0
}

/// An argument of a function that is entered.
#[inline(always)]
fn argument(python: &PythonLayout, watch: &Watch, frame: u64, index: usize) -> u64 {
    local(python, frame, u64::from(watch.slots[index & 7].slot))
}

#[inline(always)]
fn local(python: &PythonLayout, frame: u64, slot: u64) -> u64 {
    let locals = frame.wrapping_add(u64::from(python.frame_locals));
    word(locals.wrapping_add(slot.wrapping_mul(8))) & !u64::from(python.tag)
}

#[inline(always)]
fn code_of(python: &PythonLayout, frame: u64) -> u64 {
    word(frame.wrapping_add(u64::from(python.frame_code))) & !u64::from(python.tag)
}

/// What a coroutine is given that another function is hidden behind: the arguments as a tuple.
#[inline(always)]
// SAFETY: for callers whose pointer is into a record that they reserved.
unsafe fn shielded(process: &WatchedProcess, frame: u64, arguments: u64, at: *mut RunHit) {
    let python = &process.python;
    let function = word(frame.wrapping_add(u64::from(python.frame_function)));
    let function = function & !u64::from(python.tag);
    let name = word(function.wrapping_add(u64::from(process.function_name)));
    let count = word(arguments.wrapping_add(VALUE));
    // SAFETY: the caller's record.
    unsafe {
        ptr::addr_of_mut!((*at).manager).write(word(arguments.wrapping_add(ITEMS)));
        ascii(python, name, &mut (*at).function);
        if count > 1 {
            // What failed, if that is what it tells.
            let second = word(arguments.wrapping_add(ITEMS + 8));
            name_of(word(second.wrapping_add(TYPE)), &mut (*at).class);
        }
    }
}

/// A run manager is made.
#[inline(always)]
// SAFETY: for callers whose pointer is into a record that they reserved.
unsafe fn begins(process: &WatchedProcess, watch: &Watch, frame: u64, tgid: u32, at: *mut RunHit) {
    let python = &process.python;
    let manager = argument(python, watch, frame, 0);
    let caller = genspan_run_caller(frame);
    let code = code_of(python, caller);
    let mut owner = genspan_run_caller(caller);
    let mut owner_code = code_of(python, owner);
    let flags = u64::from(python.code_flags);
    let mut owner_flags = word(owner_code.wrapping_add(flags)) as u32;
    // What runs a coroutine and is none is the event loop, which began nothing.
    let is_coroutine = word(code.wrapping_add(flags)) as u32 & COROUTINE != 0;
    if is_coroutine && owner_flags & (COROUTINE | ASYNC_GENERATOR) == 0 {
        owner = 0;
        owner_code = 0;
        owner_flags = 0;
    }
    let owner_self = local(python, owner, 0);
    let mut class = word(owner_self.wrapping_add(TYPE));
    let qualname = u64::from(python.code_qualname);
    let key = OwnerKey {
        frame: owner,
        tgid,
        zero: 0,
    };
    let given = argument_count(process, code);
    let mut name = genspan_run_name(local(python, caller, given));
    if name == 0 || name == process.objects.none {
        name = genspan_run_name(local(python, caller, SERIALIZED));
    }
    // SAFETY: the caller's record.
    unsafe {
        identity(process, argument(python, watch, frame, 1), &mut (*at).run);
        identity(
            process,
            argument(python, watch, frame, 2),
            &mut (*at).parent,
        );
        name_of(word(manager.wrapping_add(TYPE)), &mut (*at).class);
        ascii(
            python,
            word(code.wrapping_add(qualname)),
            &mut (*at).function,
        );
        ptr::addr_of_mut!((*at).owner).write(owner);
        ptr::addr_of_mut!((*at).owner_code).write(owner_code);
        ptr::addr_of_mut!((*at).owner_flags).write(owner_flags);
        ascii(
            python,
            word(owner_code.wrapping_add(qualname)),
            &mut (*at).owner_name,
        );
        name_of(class, &mut (*at).owner_class);
        // A variable that an inner function uses is in a cell: what is in that has a name.
        if (*at).owner_class[0] == b'c' && (*at).owner_class[4] == 0 {
            class = word(word(owner_self.wrapping_add(VALUE)).wrapping_add(TYPE));
            name_of(class, &mut (*at).owner_class);
        }
        if name != 0 && name != process.objects.none {
            run_name(process, name, at);
        }
        if owner != 0 && (*at).parent.count == 0 {
            ptr::addr_of_mut!((*at).around).write(genspan_run_around(owner));
        }
    }
    if owner != 0 {
        let _ = RUN_OWNERS.insert(key, &owner_code, 0);
    }
}

/// Where in the frame of a function with `**kwargs` these are.
#[inline(always)]
fn argument_count(process: &WatchedProcess, code: u64) -> u64 {
    let part = |offset: u32| word(code.wrapping_add(u64::from(offset))) as u32;
    let count = part(process.code_arguments).wrapping_add(part(process.code_keywords));
    let stars = u32::from(part(process.python.code_flags) & VARARGS != 0);
    u64::from(count.wrapping_add(stars) & 0xff)
}

/// The frame of the function that called that of this frame: no frame that is no function's, and
/// none of a comprehension.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_run_caller(frame: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let python = &process.python;
    let link = u64::from(python.frame_previous);
    let mut at = word(frame.wrapping_add(link));
    for _ in 0..MAX_SKIPPED {
        if at == 0 {
            return 0;
        }
        let mut is_shim = false;
        if python.shim_owner != NONE {
            let owner = word(at.wrapping_add(u64::from(python.frame_owner & !7)));
            let owner = owner >> (8 * (python.frame_owner & 7));
            is_shim = owner & 0xff >= u64::from(python.shim_owner);
        }
        if !is_shim {
            let name = word(code_of(python, at).wrapping_add(u64::from(process.code_name)));
            let start = word(name.wrapping_add(u64::from(python.string_data))) as u32;
            let hidden = [*b"<lis", *b"<gen", *b"<dic", *b"<set"];
            let mut is_hidden = false;
            for begin in hidden {
                is_hidden |= start == u32::from_le_bytes(begin);
            }
            if !is_hidden {
                return at;
            }
        }
        at = word(at.wrapping_add(link));
    }
    0
}

/// The innermost frame around this one in which a run began.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_run_around(frame: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let python = &process.python;
    let link = u64::from(python.frame_previous);
    let mut at = frame;
    for _ in 0..MAX_AROUND {
        at = word(at.wrapping_add(link));
        if at == 0 {
            return 0;
        }
        let key = OwnerKey {
            frame: at,
            tgid,
            zero: 0,
        };
        if let Some(code) = RUN_OWNERS.get_ptr(key) {
            // The frame may be another function's by now.
            // SAFETY: from a lookup just now; a word.
            if unsafe { *code } == code_of(python, at) {
                return at;
            }
        }
    }
    0
}

/// What a dict has under `name`; zero when there is nothing.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_run_name(dict: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    if dict == 0 || dict == process.objects.none {
        return 0;
    }
    let data = u64::from(process.python.string_data);
    let keys = word(dict.wrapping_add(DICT_KEYS));
    let head = word(keys.wrapping_add(KEYS_HEAD));
    let (shift, kind) = (head >> 8 & 0xff, head >> 16 & 0xff);
    if keys == 0 || shift > 12 {
        return 0;
    }
    // Of keys that are all texts no hashes are kept.
    let (size, skip) = if kind == 0 { (24, 8) } else { (16, 0) };
    let count = word(keys.wrapping_add(KEYS_ENTRIES));
    let mut at = keys
        .wrapping_add(KEYS_INDICES + skip)
        .wrapping_add(1 << shift);
    for index in 0..MAX_ENTRIES {
        if index >= count {
            break;
        }
        let key = word(at);
        let text = word(key.wrapping_add(data)) as u32;
        let length = word(key.wrapping_add(VALUE));
        if key != 0 && length == 4 && text == u32::from_le_bytes(*b"name") {
            return word(at.wrapping_add(8));
        }
        at = at.wrapping_add(size);
    }
    0
}

/// The integer of a `uuid.UUID`.
#[inline(always)]
// SAFETY: for callers whose pointer is into a record that they reserved.
unsafe fn identity(process: &WatchedProcess, uuid: u64, into: *mut Identity) {
    if uuid == 0 || uuid == process.objects.none {
        return;
    }
    let number = word(uuid.wrapping_add(VALUE));
    if word(number.wrapping_add(TYPE)) != process.objects.int {
        return;
    }
    let size = word(number.wrapping_add(VALUE));
    let count = if process.int_tagged != 0 {
        size >> 3
    } else {
        size
    };
    if count > IDENTITY_DIGITS as u64 {
        return;
    }
    let bytes = (count as u32 & 7) * 4;
    let bytes = if bytes > 4 * IDENTITY_DIGITS as u32 {
        0
    } else {
        bytes
    };
    // SAFETY: the helper checks the address, and writes no more than there is room for.
    unsafe {
        let read = read_user(
            ptr::addr_of_mut!((*into).digits).cast(),
            bytes,
            number.wrapping_add(DIGITS) as *const _,
        );
        if read == 0 {
            ptr::addr_of_mut!((*into).count).write(count as u32);
        }
    }
}

/// The characters of an ASCII text, as many as fit; none of another one.
#[inline(always)]
// SAFETY: for callers whose pointer is into a record that they reserved.
unsafe fn ascii(python: &PythonLayout, text: u64, into: *mut [u8; FUNCTION_NAME_BYTES]) {
    let Some(state) = user::<u32>(text.wrapping_add(TEXT_STATE)) else {
        return;
    };
    // compact:1, ascii:1, behind interned:2 and kind:3 (`Include/cpython/unicodeobject.h`).
    if state & 0x60 != 0x60 {
        return;
    }
    let length = word(text.wrapping_add(VALUE));
    let most = FUNCTION_NAME_BYTES as u64 - 1;
    let length = if length > most { most } else { length };
    // SAFETY: the helper checks the address, and writes less than there is room for.
    unsafe {
        read_user(
            into.cast(),
            length as u32 & (FUNCTION_NAME_BYTES as u32 - 1),
            text.wrapping_add(u64::from(python.string_data)) as *const _,
        );
    }
}

/// The name of a run, of characters of any width.
#[inline(always)]
// SAFETY: for callers whose pointer is into a record that they reserved.
unsafe fn run_name(process: &WatchedProcess, text: u64, at: *mut RunHit) {
    if word(text.wrapping_add(TYPE)) != process.objects.text {
        return;
    }
    let length = word(text.wrapping_add(VALUE));
    let Some(state) = user::<u32>(text.wrapping_add(TEXT_STATE)) else {
        return;
    };
    let (kind, is_compact, is_ascii) = (state >> 2 & 7, state & 0x20 != 0, state & 0x40 != 0);
    if !is_compact || kind == 0 || kind == 3 || kind > 4 {
        return;
    }
    let data = if is_ascii {
        process.python.string_data
    } else {
        process.text_compact
    };
    let most = RUN_NAME_BYTES as u64 - 4;
    let bytes = if length > most { most } else { length } * u64::from(kind);
    let bytes = if bytes > most { most } else { bytes };
    // SAFETY: the helper checks the address, and writes less than there is room for.
    unsafe {
        let read = read_user(
            ptr::addr_of_mut!((*at).name).cast(),
            bytes as u32 & (RUN_NAME_BYTES as u32 - 1),
            text.wrapping_add(u64::from(data)) as *const _,
        );
        if read == 0 {
            ptr::addr_of_mut!((*at).name_width).write(kind);
            ptr::addr_of_mut!((*at).name_characters).write(length);
        }
    }
}
