//! Runs of agent frameworks, from hardware watchpoints on a few of their functions.
//!
//! Objects of a run may be gone a moment later, so everything that must be right is copied here:
//! ids, names, which function began the run. What it means the agent finds out.

use core::ptr;

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid, bpf_probe_read_user_str_bytes,
        generated::bpf_probe_read_user as read_user,
    },
    macros::{map, perf_event, uprobe},
    maps::PerCpuArray,
    programs::{PerfEventContext, ProbeContext},
};
use genspan_common::{
    event::EventKind,
    framework::{FUNCTION_NAME_BYTES, IDENTITY_DIGITS, Identity, RUN_NAME_BYTES, RunHit, hook},
    function::{Watch, WatchedProcess},
    loss::Loss,
    python::{NONE, PythonLayout, frames},
};

use crate::{
    counts::genspan_counts_run,
    emit,
    function::{TYPE, in_registers, is_entered, name_of, raised, watch, watched},
    maps::{DATA, lose},
    owner::{self, genspan_run_around, genspan_run_gone, genspan_run_owned},
    place::{genspan_snapshot_hook, genspan_snapshot_run},
    python::{code_of, context, current_frame, local, thread_state, user, word},
};

/// In a `uuid.UUID`: its `int` (`__slots__`, the first by name). In an `int`, a `str`: the size.
const VALUE: u64 = 16;
/// In an `int`: its digits.
const DIGITS: u64 = 24;
/// In a `str`: its state.
const TEXT_STATE: u64 = 32;
/// In a `dict`: `ma_keys`.
const DICT_KEYS: u64 = 32;
/// In its keys, from 3.11 on: a word with `dk_log2_index_bytes` and `dk_kind`; `dk_nentries`; the
/// indices, behind which the entries are (`Include/internal/pycore_dict.h`).
const KEYS_HEAD: u64 = 8;
const KEYS_ENTRIES: u64 = 24;
const KEYS_INDICES: u64 = 32;
/// The same up to 3.10: `dk_size`, how many indices there are; `dk_nentries`; the indices.
const OLD_KEYS_SIZE: u64 = 8;
const OLD_KEYS_ENTRIES: u64 = 32;
const OLD_KEYS_INDICES: u64 = 40;
/// Up to 3.10, in a code object: `co_nlocals`; `co_cell2arg`, for each variable that is kept in a
/// cell which argument it is, or null.
const OLD_CODE_LOCALS: u32 = 28;
const OLD_CODE_CELLS: u32 = 96;
/// Such variables that are looked at.
const MAX_CELLS: u64 = 4;
/// Entries of a dict that are looked through for a name.
const MAX_ENTRIES: u64 = 16;
/// Bytes of those: each is a hash (not where all keys are texts), a key and a value.
const ENTRIES_BYTES: u64 = MAX_ENTRIES * 24;
/// Index of the word from which on there is room for a key and a value.
const LAST_ENTRY: usize = ENTRIES_BYTES as usize / 8 - 2;
/// In a frame object: `f_frame`, the frame itself (`Include/internal/pycore_frame.h`, from 3.11 on).
const OBJECT_FRAME: u64 = 24;
/// Words of a frame that are copied at once: what is told of any, and the first variables.
const FRAME_WORDS: usize = 16;
/// The least that one has.
const FRAME_BYTES: u32 = 80;
/// Words of a code object that are: up to `co_qualname`.
const CODE_WORDS: usize = 24;
/// Frames that belong to no function, or to a comprehension, above each other.
const MAX_SKIPPED: usize = 4;
/// `co_flags`: `*args`, `**kwargs`.
const VARARGS: u32 = 0x4;
const VARKEYWORDS: u32 = 0x8;
/// A coroutine; an asynchronous generator.
const COROUTINE: u32 = 0x80;
const ASYNC_GENERATOR: u32 = 0x200;
/// Argument of `on_chain_start` and its like that describes what runs.
const SERIALIZED: u64 = 1;
/// What a run is called by, as [`genspan_dict_value`] takes it.
const NAME: (u64, u64) = (u64::from_le_bytes(*b"name\0\0\0\0"), 4);

/// What begins nodes of LangGraph is called: its characters with their end, and how many; and the class.
const STARTER: (u64, u64) = (u64::from_le_bytes(*b"_start\0\0"), 6);
const NODES: [u64; 2] = [
    u64::from_le_bytes(*b"Runnable"),
    u64::from_le_bytes(*b"Seq\0\0\0\0\0"),
];
/// In a type: `tp_name`.
const TYPE_NAME: u64 = 24;

/// What was copied of a process at once, and is looked at in pieces: a copy takes as long for a word
/// as for many.
///
/// Verifier: in a map, where it allows an index that it does not know.
#[repr(C)]
struct Scratch {
    frame: [u64; FRAME_WORDS],
    code: [u64; CODE_WORDS],
    /// Of a dict's keys, a text, a number: the beginning.
    head: [u64; 8],
    entries: [u64; ENTRIES_BYTES as usize / 8],
}

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

impl Scratch {
    /// That of this processor. What another function has copied is still there: nothing else that
    /// uses it runs in between.
    #[inline(always)]
    fn get() -> Option<&'static mut Self> {
        // SAFETY: from a lookup just now; programs behind watchpoints run with interrupts off.
        SCRATCH
            .get_ptr_mut(0)
            .map(|scratch| unsafe { &mut *scratch })
    }

    /// Copies a frame.
    #[inline(always)]
    fn frame(&mut self, frame: u64) {
        let to = self.frame.as_mut_ptr();
        // SAFETY: the helper checks the address, and writes what there is room for; a small frame may
        // lie at the end of what there is.
        unsafe {
            if read_user(to.cast(), 8 * FRAME_WORDS as u32, frame as *const _) != 0 {
                read_user(to.cast(), FRAME_BYTES, frame as *const _);
            }
        }
    }

    /// Copies a code object, of which the bytecode is the end.
    #[inline(always)]
    fn code(&mut self, code: u64) {
        let to = self.code.as_mut_ptr();
        // SAFETY: as above.
        unsafe { read_user(to.cast(), 8 * CODE_WORDS as u32, code as *const _) };
    }

    /// Copies so many words to `head`.
    #[inline(always)]
    fn head(&mut self, words: u32, from: u64) -> bool {
        let to = self.head.as_mut_ptr();
        // SAFETY: as above; callers want eight at most.
        unsafe { read_user(to.cast(), 8 * (words & 7), from as *const _) == 0 }
    }

    /// A word of the frame at this offset.
    #[inline(always)]
    fn in_frame(&self, offset: u32) -> u64 {
        // SAFETY: masked to the length of the array.
        unsafe {
            *self
                .frame
                .as_ptr()
                .add((offset >> 3) as usize & (FRAME_WORDS - 1))
        }
    }

    /// A local variable of the frame at this address, which was copied.
    #[inline(always)]
    fn local(&self, python: &PythonLayout, frame: u64, slot: u64) -> u64 {
        let offset = u64::from(python.frame_locals).wrapping_add(8 * slot);
        if offset < 8 * FRAME_WORDS as u64 {
            return self.in_frame(offset as u32) & !u64::from(python.tag);
        }
        local(python, frame, slot)
    }

    /// A word of the code object at this offset.
    #[inline(always)]
    fn in_code(&self, offset: u32) -> u64 {
        let index = (offset >> 3) as usize & 31;
        // SAFETY: within the array.
        unsafe {
            *self
                .code
                .as_ptr()
                .add(if index < CODE_WORDS { index } else { 0 })
        }
    }

    /// Half a word of the code object at this offset.
    #[inline(always)]
    fn half_in_code(&self, offset: u32) -> u32 {
        (self.in_code(offset) >> (8 * (offset & 4))) as u32
    }
}

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
    if watch.what == hook::GONE {
        in_registers!(ctx, object {
            if genspan_run_gone(object, current) != 0 {
                return 0;
            }
        });
        return 0;
    }
    if is_entered(&process.python, watch, current, address) {
        genspan_run(address, current, state);
        return 0;
    }
    if process.python.frames == frames::OBJECT {
        return 0;
    }
    in_registers!(ctx, frame {
        if is_entered(&process.python, watch, frame, address) {
            genspan_run(address, frame, state);
            return 0;
        }
    });
    0
}

/// `PyTraceBack_Here(frame)`: an exception passes a frame (`Python/traceback.c`). Most that do so have
/// nothing to do with runs, so that is found out first, from the frame alone.
#[uprobe]
pub fn framework_raised(ctx: ProbeContext) -> u32 {
    let Some(object) = ctx.arg::<u64>(0) else {
        return 0;
    };
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let frame = if process.python.frames == frames::OBJECT {
        object
    } else {
        word(object.wrapping_add(OBJECT_FRAME))
    };
    if owner::is_known(&process.python, tgid, frame) {
        genspan_run_raised(frame);
    }
    0
}

/// Tells that an exception passes the frame of a function in which a run began.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_run_raised(frame: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let Some(state) = thread_state(&process.python) else {
        return 0;
    };
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
        ptr::addr_of_mut!((*at).owner_code).write(code_of(&process.python, frame));
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
pub fn clear(at: *mut RunHit) {
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
    if watch.what == hook::SNAPSHOT {
        return genspan_snapshot_hook(entry, frame, state);
    }
    let first = argument(&process.python, watch, frame, 0);
    let is_begin = watch.what == hook::BEGINS;
    if !is_begin {
        // What it gives is told before that it is over.
        let manager = if watch.what == hook::SHIELDED {
            word(first.wrapping_add(u64::from(process.tuple_items)))
        } else {
            first
        };
        values(process, entry, frame, manager);
    }
    let Some(mut record) = DATA.reserve::<RunHit>(0) else {
        lose(Loss::RunsLost, 1);
        return 0;
    };
    let at = record.as_mut_ptr();
    clear(at);
    // SAFETY: the record is of this type's size and alignment, and was cleared.
    unsafe {
        ptr::addr_of_mut!((*at).header).write(emit::header(EventKind::Run));
        ptr::addr_of_mut!((*at).hook).write(watch.what);
        ptr::addr_of_mut!((*at).root).write(process.root);
        if watch.what == hook::SHIELDED {
            shielded(process, watch, frame, first, at);
            owner::ended(tgid, (*at).manager, 2);
        } else {
            ptr::addr_of_mut!((*at).manager).write(first);
            if watch.what == hook::ENDS {
                owner::ended(tgid, first, 1);
            }
            if watch.what == hook::BEGINS {
                let context = context(&process.python, state).unwrap_or(0);
                ptr::addr_of_mut!((*at).context).write(context);
                begins(process, watch, frame, at);
            }
        }
    }
    record.submit(emit::wake_flags());
    if is_begin {
        values(process, entry, frame, first);
    }
    0
}

/// Tells what a run is given, or gives; where content is not wanted what a model says besides.
#[inline(always)]
fn values(process: &WatchedProcess, entry: u64, frame: u64, manager: u64) {
    if process.contents == 0 {
        genspan_counts_run(entry, frame, manager);
    } else {
        genspan_snapshot_run(entry, frame, manager);
    }
}

/// An argument of a function that is entered.
#[inline(always)]
fn argument(python: &PythonLayout, watch: &Watch, frame: u64, index: usize) -> u64 {
    local(
        python,
        frame,
        u64::from(watch.slots[index & 7].slot & 0xffff),
    )
}

/// What a coroutine is given that another function is hidden behind: the arguments as a tuple.
#[inline(always)]
// SAFETY: for callers whose pointer is into a record that they reserved.
unsafe fn shielded(
    process: &WatchedProcess,
    watch: &Watch,
    frame: u64,
    arguments: u64,
    at: *mut RunHit,
) {
    let python = &process.python;
    let function = if python.frames == frames::OBJECT {
        // Frames do not know their function. What it hides is a variable of its, in a cell.
        word(argument(python, watch, frame, 1).wrapping_add(VALUE))
    } else {
        word(frame.wrapping_add(u64::from(python.frame_function))) & !u64::from(python.tag)
    };
    let name = word(function.wrapping_add(u64::from(process.function_name)));
    let count = word(arguments.wrapping_add(VALUE));
    let items = arguments.wrapping_add(u64::from(process.tuple_items));
    // SAFETY: the caller's record.
    unsafe {
        ptr::addr_of_mut!((*at).manager).write(word(items));
        ascii(python, name, &mut (*at).function);
        if count > 1 {
            // What failed, if that is what it tells.
            let second = word(items.wrapping_add(8));
            name_of(word(second.wrapping_add(TYPE)), &mut (*at).class);
        }
    }
}

/// A run manager is made.
#[inline(always)]
// SAFETY: for callers whose pointer is into a record that they reserved.
unsafe fn begins(process: &WatchedProcess, watch: &Watch, frame: u64, at: *mut RunHit) {
    let python = &process.python;
    let Some(scratch) = Scratch::get() else {
        return;
    };
    scratch.frame(frame);
    let ids = [1, 2].map(|index| {
        let slot = u64::from(watch.slots[index].slot);
        scratch.local(python, frame, slot)
    });
    let [run, parent] = ids;
    // SAFETY: the caller's record.
    unsafe {
        identity(process, scratch, run, &mut (*at).run);
        identity(process, scratch, parent, &mut (*at).parent);
    }
    // The method of a callback manager that makes it.
    let caller = genspan_run_caller(frame);
    let flags = scratch.half_in_code(python.code_flags);
    let qualname = scratch.in_code(python.code_qualname);
    // `**kwargs` come behind the other arguments.
    let count = scratch
        .half_in_code(process.code_arguments)
        .wrapping_add(scratch.half_in_code(process.code_keywords))
        .wrapping_add(u32::from(flags & VARARGS != 0));
    let given = scratch.local(python, caller, u64::from(count & 0xff));
    let serialized = scratch.local(python, caller, SERIALIZED);
    let mut owner = genspan_run_caller(caller);
    let mut owner_code = scratch.in_frame(python.frame_code) & !u64::from(python.tag);
    let mut owner_flags = scratch.half_in_code(python.code_flags);
    let mut owner_self = scratch.local(python, owner, 0);
    if owner_self == 0 && python.frames == frames::OBJECT {
        owner_self = in_cell(python, scratch, owner);
    }
    // What runs a coroutine and is none is the event loop, which began nothing.
    let is_loop = flags & COROUTINE != 0 && owner_flags & (COROUTINE | ASYNC_GENERATOR) == 0;
    if owner == 0 || is_loop {
        owner = 0;
        owner_code = 0;
        owner_flags = 0;
    }
    let mut class = 0;
    if owner != 0 {
        class = word(owner_self.wrapping_add(TYPE));
        if is_starter(process, scratch, class) {
            let runs = genspan_run_caller(owner);
            if runs != 0 {
                owner = runs;
                owner_code = scratch.in_frame(python.frame_code) & !u64::from(python.tag);
                owner_flags = scratch.half_in_code(python.code_flags);
            }
        }
    }
    let mut name = genspan_dict_value(given, NAME.0, NAME.1);
    if name == 0 || name == process.objects.none {
        name = genspan_dict_value(serialized, NAME.0, NAME.1);
    }
    // SAFETY: the caller's record.
    unsafe {
        if caller != 0 {
            let from = qualname.wrapping_add(u64::from(python.string_data));
            // Names of the framework's own functions are ASCII.
            let _ = bpf_probe_read_user_str_bytes(from as *const u8, &mut (*at).function);
        }
        ptr::addr_of_mut!((*at).owner).write(owner);
        ptr::addr_of_mut!((*at).owner_code).write(owner_code);
        ptr::addr_of_mut!((*at).owner_flags).write(owner_flags);
        ptr::addr_of_mut!((*at).flags).write(flags);
        name_of(class, &mut (*at).owner_class);
        // A variable that an inner function uses is in a cell: what is in that has a name.
        if (*at).owner_class[0] == b'c' && (*at).owner_class[4] == 0 {
            class = word(word(owner_self.wrapping_add(VALUE)).wrapping_add(TYPE));
            name_of(class, &mut (*at).owner_class);
        }
        if name != 0 && name != process.objects.none {
            run_name(process, scratch, name, at);
        }
        if owner != 0 && (*at).parent.count == 0 {
            ptr::addr_of_mut!((*at).around).write(genspan_run_around(owner));
        }
    }
    // SAFETY: the caller's record.
    unsafe {
        let certain = genspan_run_owned((*at).manager, owner, owner_code, u64::from(owner_flags));
        ptr::addr_of_mut!((*at).certain).write(certain as u32);
    }
}

/// Whether the function whose code was copied last begins a run for the one that calls it, which runs it and has
/// what speaks for it: `RunnableSeq._start`, by which nodes of LangGraph are begun (older ones begin them where
/// they run them). `class` is that of what it is a method of.
#[inline(always)]
fn is_starter(process: &WatchedProcess, scratch: &Scratch, class: u64) -> bool {
    let name = scratch.in_code(process.code_name);
    let start = word(name.wrapping_add(u64::from(process.python.string_data)));
    // A text ends with a zero, and of what is behind that nothing is known.
    if word(name.wrapping_add(VALUE)) != STARTER.1 || (start ^ STARTER.0) << 8 != 0 {
        return false;
    }
    let class = word(class.wrapping_add(TYPE_NAME));
    word(class) == NODES[0] && word(class.wrapping_add(8)) as u32 == NODES[1] as u32
}

/// Up to 3.10: the first argument of the function whose frame and code were copied last, if it is kept in a
/// cell: what holds it.
#[inline(always)]
fn in_cell(python: &PythonLayout, scratch: &Scratch, frame: u64) -> u64 {
    let cells = scratch.in_code(OLD_CODE_CELLS);
    if cells == 0 {
        return 0;
    }
    let locals = u64::from(scratch.half_in_code(OLD_CODE_LOCALS));
    for index in 0..MAX_CELLS {
        if word(cells.wrapping_add(8 * index)) == 0 {
            return local(python, frame, locals.wrapping_add(index));
        }
    }
    0
}

/// The frame of the function that called that of this frame: no frame that is no function's, and
/// none of a comprehension. It and its code are in `SCRATCH` then.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_run_caller(frame: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let Some(scratch) = Scratch::get() else {
        return 0;
    };
    let python = &process.python;
    // It was the last one that was copied.
    let mut at = scratch.in_frame(python.frame_previous);
    if frame == 0 {
        return 0;
    }
    for _ in 0..MAX_SKIPPED {
        if at == 0 {
            return 0;
        }
        scratch.frame(at);
        let mut is_shim = false;
        if python.shim_owner != NONE {
            let owner = scratch.in_frame(python.frame_owner) >> (8 * (python.frame_owner & 7));
            is_shim = owner & 0xff >= u64::from(python.shim_owner);
        }
        if !is_shim {
            scratch.code(scratch.in_frame(python.frame_code) & !u64::from(python.tag));
            let flags = scratch.half_in_code(python.code_flags);
            // A comprehension takes what it goes through, and no more.
            if scratch.half_in_code(process.code_arguments) != 1
                || flags & (VARARGS | VARKEYWORDS) != 0
            {
                return at;
            }
            let name = scratch.in_code(process.code_name);
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
        at = scratch.in_frame(python.frame_previous);
    }
    0
}

/// What a dict has under a name: the first eight bytes of it, and its length. Zero when there is nothing.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_dict_value(dict: u64, name: u64, length: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    if dict == 0 || dict == process.objects.none {
        return 0;
    }
    let Some(scratch) = Scratch::get() else {
        return 0;
    };
    let data = u64::from(process.python.string_data);
    let keys = word(dict.wrapping_add(DICT_KEYS));
    if keys == 0 || !scratch.head(5, keys) {
        return 0;
    }
    let head = scratch.head[KEYS_HEAD as usize / 8];
    let (mut size, mut skip) = (3, 1);
    let (mut count, from);
    if process.python.frames == frames::OBJECT {
        const { assert!(OLD_KEYS_SIZE == KEYS_HEAD) };
        // An index of one byte, up to as many as that can tell apart.
        let width = if head <= 0xff { 1 } else { 2 };
        if head > 0xffff {
            return 0;
        }
        count = scratch.head[OLD_KEYS_ENTRIES as usize / 8];
        from = keys
            .wrapping_add(OLD_KEYS_INDICES)
            .wrapping_add(head * width);
    } else {
        let (shift, kind) = (head >> 8 & 0xff, head >> 16 & 0xff);
        if shift > 12 {
            return 0;
        }
        // Of keys that are all texts no hashes are kept.
        if kind != 0 {
            (size, skip) = (2, 0);
        }
        count = scratch.head[KEYS_ENTRIES as usize / 8];
        from = keys.wrapping_add(KEYS_INDICES).wrapping_add(1 << shift);
    }
    if count > MAX_ENTRIES {
        count = MAX_ENTRIES;
    }
    let bytes = (count * size * 8) as u32 & 0x1ff;
    let bytes = if bytes > ENTRIES_BYTES as u32 {
        0
    } else {
        bytes
    };
    let to = scratch.entries.as_mut_ptr();
    // SAFETY: the helper checks the address, and writes no more than there is room for.
    if unsafe { read_user(to.cast(), bytes, from as *const _) } != 0 {
        return 0;
    }
    // Bits of a word that a shorter name does not have.
    let unused = if length < 8 { 64 - 8 * length & 63 } else { 0 };
    let mut index = skip;
    for round in 0..MAX_ENTRIES {
        let at = index as usize & 63;
        if round >= count || at > LAST_ENTRY {
            break;
        }
        // SAFETY: below the length of the array.
        let (key, value) = unsafe {
            let at = scratch.entries.as_ptr().add(at);
            (*at, *at.add(1))
        };
        if key != 0
            && word(key.wrapping_add(VALUE)) == length
            && (word(key.wrapping_add(data)) ^ name) << unused == 0
        {
            return value;
        }
        index += size;
    }
    0
}

/// The integer of a `uuid.UUID`.
#[inline(always)]
// SAFETY: for callers whose pointer is into a record that they reserved.
unsafe fn identity(
    process: &WatchedProcess,
    scratch: &mut Scratch,
    uuid: u64,
    into: *mut Identity,
) {
    if uuid == 0 || uuid == process.objects.none {
        return;
    }
    let number = word(uuid.wrapping_add(VALUE));
    if !scratch.head(6, number) || scratch.head[TYPE as usize / 8] != process.objects.int {
        return;
    }
    let size = scratch.head[VALUE as usize / 8];
    let count = if process.int_tagged != 0 {
        size >> 3
    } else {
        size
    };
    if count > IDENTITY_DIGITS as u64 {
        return;
    }
    for index in 0..IDENTITY_DIGITS {
        let digit = scratch.head[DIGITS as usize / 8 + index / 2] >> (32 * (index & 1));
        if (index as u64) < count {
            // SAFETY: the caller's record.
            unsafe { ptr::addr_of_mut!((*into).digits[index]).write(digit as u32) };
        }
    }
    // SAFETY: as above.
    unsafe { ptr::addr_of_mut!((*into).count).write(count as u32) };
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
unsafe fn run_name(process: &WatchedProcess, scratch: &mut Scratch, text: u64, at: *mut RunHit) {
    if !scratch.head(5, text) || scratch.head[TYPE as usize / 8] != process.objects.text {
        return;
    }
    let length = scratch.head[VALUE as usize / 8];
    let state = scratch.head[TEXT_STATE as usize / 8] as u32;
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
