//! Snapshots of Python objects ([`genspan_common::snapshot`]): what they consist of and refer to is
//! copied when a watchpoint is hit, the nearest objects first.
//!
//! Nothing that is read is trusted: an address may lead anywhere, a size may be any, objects may refer
//! to each other in circles. Each object is copied once, and all that is done is counted against the
//! bounds of that module. What an object is, its type says (`tp_flags`).
//!
//! Verifier: each step is a global function, verified once and by itself, so that the loop over all
//! objects costs nothing and needs no `bpf_loop` (Linux 5.17). What one step leaves for the next is in
//! [`WORK`].

use core::{arch::asm, ptr, slice};

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_probe_read_user as read_user},
    macros::map,
    maps::PerCpuArray,
};
use genspan_common::{
    event::EventKind,
    framework::{COPIED_FROM, hook},
    function::{ABSENT, CONTENT, DEPTH, DEPTH_SHIFT, IN_CALLER, MAX_ARGUMENTS, WatchedProcess},
    loss::Loss,
    python::{NONE, PythonLayout},
    snapshot::{
        MAX_BYTES, MAX_DEPTH, MAX_ITEMS, MAX_OBJECTS, MAX_SLOTS, MAX_TEXT, SegmentHead,
        SnapshotHead, cut, dicts, purpose,
    },
};

use crate::{
    emit,
    function::{TYPE, watch, watched},
    given::is_vector,
    maps::{DATA, lose},
    python::{context, word},
};

/// Most bytes that are copied at once: the longest text with its head.
const MAX_PIECE: usize = MAX_TEXT + 128;
/// Places in which is remembered what was met.
const SEEN: usize = 256;
/// Words of an object that are looked at.
const OBJECT_WORDS: usize = 16;
/// Words of a type that are copied, from [`TYPE_FROM`] on.
const TYPE_WORDS: usize = 33;

/// In a type: `tp_name`.
const TYPE_NAME: u64 = 24;
/// In a type: `tp_basicsize`, `tp_itemsize`; behind those `tp_flags`, `tp_dictoffset`
/// (`Include/cpython/object.h`, the same in all versions).
const TYPE_FROM: u64 = 32;
const TYPE_BASIC_SIZE: usize = 0;
const TYPE_FLAGS: usize = (168 - 32) / 8;
const TYPE_DICT_OFFSET: usize = (288 - 32) / 8;

/// The class of what LlamaIndex hands to each step of a workflow beside its event, to work with. So many references
/// lead to it at most: it is among the arguments, by their names or as `args`.
const HANDLE: u64 = u64::from_le_bytes(*b"Context\0");
const HANDLE_DEPTH: u32 = 3;

/// Bits of `tp_flags` (`Include/object.h`).
mod flag {
    pub(super) const INLINE_VALUES: u64 = 1 << 2;
    pub(super) const MANAGED_DICT: u64 = 1 << 4;
    pub(super) const HEAP: u64 = 1 << 9;
    pub(super) const READY: u64 = 1 << 12;
    pub(super) const INT: u64 = 1 << 24;
    pub(super) const LIST: u64 = 1 << 25;
    pub(super) const TUPLE: u64 = 1 << 26;
    pub(super) const BYTES: u64 = 1 << 27;
    pub(super) const TEXT: u64 = 1 << 28;
    pub(super) const DICT: u64 = 1 << 29;
    pub(super) const EXCEPTION: u64 = 1 << 30;
    pub(super) const TYPE: u64 = 1 << 31;
}

/// How much of a dict's entries is followed ([`genspan_snapshot_push_all`]).
const PAIRS: u64 = 2;
const NUMBERS: u64 = 3;

/// Bytes of a `bytes` object that are copied behind its head: it is told by its length.
const BYTES_SHOWN: u64 = 8;
/// Most digits of an `int`, as many as the agent reads.
const MAX_DIGITS: u64 = 64;
/// With how many references a `genspan_snapshot_want` has: see `genspan_common::function::LENGTHS`.
pub const LENGTHS_ONLY: u64 = 1 << 16;
/// So deep are lists of which that holds, counted as [`Work::depth`] is: one more than the references to them.
const LENGTHS_FROM: u32 = 3;
/// What is copied before an instance whose dict lies there (from 3.11 on).
const BEFORE: u64 = 32;

/// An object that is to be copied.
#[repr(C)]
#[derive(Clone, Copy)]
struct Queued {
    address: u64,
    /// How many references lead to it.
    depth: u32,
    /// How many may, of what was wanted.
    limit: u32,
}

/// A snapshot under way.
#[repr(C)]
struct Work {
    /// What is told, in one piece with what follows it.
    head: SnapshotHead,
    record: [u64; (MAX_BYTES + MAX_PIECE) / 8],
    /// The object at hand, its first words.
    object: [u64; OBJECT_WORDS],
    /// Its type.
    class: [u64; TYPE_WORDS],
    queue: [Queued; MAX_OBJECTS],
    /// Addresses that were queued, each with the number of the snapshot: one of another snapshot is
    /// nothing. Of two in the same place one is forgotten, and may be copied twice.
    seen: [u64; SEEN],
    serial: u64,
    queued: u32,
    depth: u32,
    used: u32,
    /// How many references may lead to an object, of what is at hand.
    limit: u32,
    /// An object that is not copied; where there is any number, neither are lists of floats and what a framework
    /// gives its functions to work with.
    skipped: u64,
    /// Not zero where of dicts only names and whole numbers are copied, and dicts of those.
    numbers: u64,
    /// Of lists and tuples, those deep down, the lengths are enough: any number.
    lengths: u64,
    /// How many want it or have it: whoever finds itself alone has it.
    users: u64,
}

/// That of this processor. A program stays on its processor, but one behind a user probe may be interrupted
/// by a watchpoint, and by whoever runs there in its place: one of them has it at a time, from
/// [`genspan_snapshot_begin`] to [`genspan_snapshot_take`], and the others go without.
#[map]
static WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(1, 0);

impl Work {
    #[inline(always)]
    fn get() -> Option<&'static mut Self> {
        // SAFETY: from a lookup just now, and nothing else that uses it runs in between.
        WORK.get_ptr_mut(0).map(|work| unsafe { &mut *work })
    }

    /// Takes it for a snapshot; false when another program has it, which waits for this one. Of two that try
    /// at the same time both may go without, never both have it.
    #[inline(always)]
    fn acquire(&mut self) -> bool {
        self.count(1);
        // SAFETY: a word of it.
        if unsafe { ptr::read_volatile(&raw const self.users) } == 1 {
            return true;
        }
        self.release();
        false
    }

    #[inline(always)]
    fn release(&mut self) {
        self.count(u64::MAX);
    }

    /// In one step, whoever comes in between. What it was before no kernel tells before Linux 5.12.
    #[inline(always)]
    fn count(&mut self, more: u64) {
        // SAFETY: adds to a word of it.
        unsafe {
            asm!(
                "lock *(u64 *)({0} + 0) += {1}",
                in(reg) &raw mut self.users,
                in(reg) more,
            );
        }
    }

    /// A word of what was copied; zero when there is none.
    #[inline(always)]
    fn copied(&self, index: u64) -> u64 {
        let mut index = index;
        // Verifier: the check must stand on the register that is used, as in `emit::tier`.
        // SAFETY: moves a register to itself.
        unsafe { asm!("{0} = {0}", inout(reg) index) };
        if index >= (MAX_BYTES / 8) as u64 {
            return 0;
        }
        // SAFETY: within the array, as was checked.
        unsafe { *self.record.as_ptr().add(index as usize) }
    }

    #[inline(always)]
    fn miss(&mut self, bits: u32) {
        self.head.cut |= bits;
    }

    /// Queues the `__dict__` of the object at hand. Where few references are wanted it is none.
    #[inline(always)]
    fn push_own(&mut self, dict: u64) {
        let depth = self.depth;
        if self.limit < MAX_DEPTH {
            self.depth = depth.wrapping_sub(1);
        }
        genspan_snapshot_push(dict);
        self.depth = depth;
    }

    /// Whether the items of the list or tuple at hand are not wanted.
    #[inline(always)]
    fn is_length_enough(&self) -> bool {
        self.lengths != 0 && self.depth >= LENGTHS_FROM
    }

    /// A word of the object at hand, of those that are looked at.
    #[inline(always)]
    fn of_object(&self, offset: u32) -> u64 {
        let index = (offset >> 3) as usize & (OBJECT_WORDS - 1);
        // SAFETY: masked to the length of the array.
        unsafe { *self.object.as_ptr().add(index) }
    }
}

/// What is known of the process, if functions are watched in it.
#[inline(always)]
pub fn own_process() -> Option<&'static WatchedProcess> {
    watched((bpf_get_current_pid_tgid() >> 32) as u32)
}

#[inline(always)]
fn at_most(value: u64, most: u64) -> u64 {
    if value > most { most } else { value }
}

/// Begins a snapshot: of nothing so far. Zero when there can be none, which is counted; else
/// [`genspan_snapshot_take`] must follow in the same program, whatever comes in between.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_snapshot_begin() -> u64 {
    let Some(work) = Work::get() else {
        return 0;
    };
    if !work.acquire() {
        lose(Loss::SnapshotsLost, 1);
        return 0;
    }
    work.queued = 0;
    work.used = 0;
    work.depth = 0;
    work.skipped = 0;
    work.numbers = 0;
    work.lengths = 0;
    work.serial = work.serial.wrapping_add(1);
    work.head.cut = 0;
    work.head.objects = 0;
    for index in 0..MAX_ARGUMENTS {
        // SAFETY: within the array. Volatile, else LLVM calls a function that there is not.
        unsafe { work.head.roots.as_mut_ptr().add(index).write_volatile(0) };
    }
    1
}

/// Wants an object in the snapshot, as the one of this number, and what so many references lead to.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_snapshot_want(index: u64, address: u64, limit: u64) -> u64 {
    let Some(work) = Work::get() else {
        return 0;
    };
    work.depth = 0;
    work.limit = limit as u32 & (LENGTHS_ONLY as u32 - 1);
    work.lengths |= limit & LENGTHS_ONLY;
    // SAFETY: masked to the length of the array.
    unsafe {
        let roots = work.head.roots.as_mut_ptr();
        *roots.add(index as usize & (MAX_ARGUMENTS - 1)) = address;
    }
    genspan_snapshot_push(address)
}

/// Copies what is wanted and what that refers to, and tells it: the end of what was begun. `which` is the
/// purpose, and above it the number.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_snapshot_take(which: u64, subject: u64, context: u64) -> u64 {
    let told = genspan_snapshot_tell(which, subject, context);
    if let Some(work) = Work::get() {
        work.release();
    }
    told
}

/// All of that but the end.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_snapshot_tell(which: u64, subject: u64, context: u64) -> u64 {
    let Some(process) = own_process() else {
        return 0;
    };
    let Some(work) = Work::get() else {
        return 0;
    };
    if work.queued == 0 {
        return 0;
    }
    for index in 0..MAX_OBJECTS {
        if genspan_snapshot_object(index as u64) == 0 {
            break;
        }
    }
    work.head.header = emit::header(EventKind::Snapshot);
    work.head.purpose = which as u32;
    work.head.number = (which >> 32) as u32;
    work.head.subject = subject;
    work.head.context = context;
    work.head.root = process.root;
    work.head.bytes = work.used;
    let mut bytes = u64::from(work.used);
    // Verifier: as above.
    // SAFETY: moves a register to itself.
    unsafe { asm!("{0} = {0}", inout(reg) bytes) };
    if bytes > MAX_BYTES as u64 {
        return 0;
    }
    let from = ptr::from_mut(work).cast::<u8>();
    // SAFETY: the record lies behind the head, and is as long.
    let all = unsafe { slice::from_raw_parts(from, size_of::<SnapshotHead>() + bytes as usize) };
    if DATA.output::<[u8]>(all, emit::wake_flags()).is_err() {
        lose(Loss::SnapshotsLost, 1);
    }
    1
}

/// Queues an object, unless it was met.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_snapshot_push(address: u64) -> u64 {
    let Some(work) = Work::get() else {
        return 0;
    };
    if address == 0 || address & 7 != 0 || address >> 47 != 0 {
        return 0;
    }
    let (depth, limit) = (work.depth, work.limit);
    if depth > limit || address == work.skipped {
        // Else it is not wanted.
        if depth > limit && limit >= MAX_DEPTH {
            work.miss(cut::OBJECTS);
        }
        return 0;
    }
    let place = (address >> 4 ^ address >> 12) as usize & (SEEN - 1);
    let key = address | work.serial << 48;
    let count = work.queued;
    // SAFETY: masked to the length of the arrays.
    unsafe {
        let seen = work.seen.as_mut_ptr().add(place);
        if *seen == key {
            return 0;
        }
        if count >= MAX_OBJECTS as u32 {
            work.miss(cut::OBJECTS);
            return 0;
        }
        *seen = key;
        let queued = Queued {
            address,
            depth,
            limit,
        };
        *work
            .queue
            .as_mut_ptr()
            .add(count as usize & (MAX_OBJECTS - 1)) = queued;
    }
    work.queued = count + 1;
    0
}

/// Queues objects whose addresses were copied: from this word on so many groups, that many words
/// apart, of each the first `width`; of [`NUMBERS`] two, but of texts none as the second one.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_snapshot_push_all(at: u64, count: u64, apart: u64, width: u64) -> u64 {
    let Some(work) = Work::get() else {
        return 0;
    };
    let mut index = at;
    for round in 0..MAX_ITEMS {
        if round as u64 >= count {
            break;
        }
        genspan_snapshot_push(work.copied(index));
        if width > 1 {
            let value = work.copied(index + 1);
            if width == PAIRS || !is_text(value) {
                genspan_snapshot_push(value);
            }
        }
        index += apart;
    }
    0
}

/// Copies a piece of the process's memory, if there is room for at least so much of it. Gives the word
/// at which it is, and zero when it is not copied.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_snapshot_copy(address: u64, bytes: u64, least: u64) -> u64 {
    const HEAD: u64 = size_of::<SegmentHead>() as u64;
    let Some(work) = Work::get() else {
        return 0;
    };
    let mut at = u64::from(work.used);
    // Verifier: as in `Work::copied`.
    // SAFETY: moves a register to itself.
    unsafe { asm!("{0} = {0}", inout(reg) at) };
    if at > MAX_BYTES as u64 - HEAD {
        work.miss(cut::BYTES);
        return 0;
    }
    let room = MAX_BYTES as u64 - HEAD - at;
    let mut len = bytes;
    if len > room {
        work.miss(cut::BYTES);
        if least > room {
            return 0;
        }
        len = room;
    }
    // SAFETY: as above.
    unsafe { asm!("{0} = {0}", inout(reg) len) };
    if len == 0 || len > MAX_PIECE as u64 {
        return 0;
    }
    // SAFETY: the array has room for the head and for a piece behind every place that was checked; the
    // helper checks the address in the traced process.
    let read = unsafe {
        let to = work.record.as_mut_ptr().cast::<u8>().add(at as usize);
        to.cast::<u64>().write(address);
        to.add(8).cast::<u64>().write(len);
        read_user(
            to.add(HEAD as usize).cast(),
            len as u32,
            address as *const _,
        )
    };
    if read != 0 {
        work.miss(cut::UNREADABLE);
        return 0;
    }
    let data = at + HEAD;
    work.used = (data + (len + 7 & !7)) as u32;
    data / 8
}

/// Copies the object that was queued as this one. Zero when there is none.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_snapshot_object(index: u64) -> u64 {
    let (Some(process), Some(work)) = (own_process(), Work::get()) else {
        return 0;
    };
    if index >= u64::from(work.queued) {
        return 0;
    }
    // SAFETY: masked to the length of the array.
    let queued = unsafe { *work.queue.as_ptr().add(index as usize & (MAX_OBJECTS - 1)) };
    let address = queued.address;
    work.depth = queued.depth + 1;
    work.limit = queued.limit;
    let object = work.object.as_mut_ptr();
    // SAFETY: the helper checks the addresses, and writes no more than there is room for. A small
    // object may lie at the end of what there is: then what is not read is cleared.
    let is_read = unsafe {
        let from = address as *const _;
        (read_user(object.cast(), 8 * OBJECT_WORDS as u32, from) == 0
            || read_user(object.cast(), 48, from) == 0
            || read_user(object.cast(), 24, from) == 0)
            && read_user(
                work.class.as_mut_ptr().cast(),
                8 * TYPE_WORDS as u32,
                work.object[TYPE as usize / 8].wrapping_add(TYPE_FROM) as *const _,
            ) == 0
    };
    let flags = work.class[TYPE_FLAGS];
    if !is_read || flags & flag::READY == 0 {
        work.miss(cut::UNREADABLE);
        return 1;
    }
    work.head.objects += 1;
    let size = work.object[2];
    let class = work.object[TYPE as usize / 8];
    if flags & flag::TEXT != 0 {
        genspan_snapshot_text(address);
    } else if flags & flag::INT != 0 {
        let digits = if process.int_tagged != 0 {
            size >> 3
        } else {
            (size as i64).unsigned_abs()
        };
        let bytes = 24 + 4 * at_most(digits, MAX_DIGITS);
        genspan_snapshot_copy(address, bytes, bytes);
    } else if (work.limit < MAX_DEPTH
        && work.depth > work.limit
        && flags & (flag::EXCEPTION | flag::TYPE) == 0)
        || (work.numbers != 0 && flags & flag::DICT == 0)
    {
        // Nothing that it refers to is wanted: what it is is enough.
        genspan_snapshot_copy(address, 16, 16);
    } else if flags & flag::DICT != 0 {
        genspan_snapshot_dict(address);
    } else if flags & flag::TUPLE != 0 {
        let count = at_most(size, MAX_ITEMS as u64);
        let items = u64::from(process.tuple_items);
        let at = genspan_snapshot_copy(address, items + 8 * count, items);
        if at != 0 && !work.is_length_enough() {
            genspan_snapshot_push_all(at + items / 8, count, 1, 1);
        }
    } else if flags & flag::LIST != 0 {
        let mut count = at_most(size, MAX_ITEMS as u64);
        if work.skipped != 0 && is_vector(work.object[3]) {
            count = 0;
        }
        genspan_snapshot_copy(address, 40, 40);
        let at = genspan_snapshot_copy(work.object[3], 8 * count, 8);
        if at != 0 && !work.is_length_enough() {
            genspan_snapshot_push_all(at, count, 1, 1);
        }
    } else if flags & flag::BYTES != 0 {
        let bytes = 32 + at_most(size, BYTES_SHOWN);
        genspan_snapshot_copy(address, bytes, 32);
    } else if flags & flag::TYPE != 0 {
        genspan_snapshot_copy(address, 16, 16);
    } else if flags & flag::EXCEPTION != 0 {
        let at = genspan_snapshot_copy(address, 40, 40);
        if at != 0 {
            genspan_snapshot_push_all(at + 2, 2, 1, 1);
        }
    } else if class == process.objects.set || class == process.objects.frozenset {
        // `mask`, `table` (`Include/cpython/setobject.h`); an entry is a key and its hash.
        let slots = at_most(work.object[4].wrapping_add(1), MAX_ITEMS as u64);
        genspan_snapshot_copy(address, 48, 48);
        let at = genspan_snapshot_copy(work.object[5], 16 * slots, 16);
        if at != 0 {
            genspan_snapshot_push_all(at, slots, 2, 1);
        }
    } else {
        genspan_snapshot_instance(address);
    }
    1
}

/// Copies the text at hand.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_snapshot_text(address: u64) -> u64 {
    let (Some(process), Some(work)) = (own_process(), Work::get()) else {
        return 0;
    };
    // interned:2, kind:3, compact:1, ascii:1 (`Include/cpython/unicodeobject.h`).
    let state = work.object[4];
    let (kind, is_compact, is_ascii) = (state >> 2 & 7, state & 0x20 != 0, state & 0x40 != 0);
    let length = at_most(work.object[2], MAX_TEXT as u64);
    let bytes = at_most(length * kind, MAX_TEXT as u64);
    let other = u64::from(process.text_compact);
    if !is_compact {
        // Of a subclass: its characters are elsewhere.
        genspan_snapshot_copy(address, other + 8, other + 8);
        genspan_snapshot_copy(work.of_object(process.text_compact), bytes, 4);
        return 0;
    }
    let data = if is_ascii {
        u64::from(process.python.string_data)
    } else {
        other
    };
    // Whole characters of any width.
    genspan_snapshot_copy(address, data + bytes, data + 8)
}

/// Copies the dict at hand.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_snapshot_dict(address: u64) -> u64 {
    let (Some(process), Some(work)) = (own_process(), Work::get()) else {
        return 0;
    };
    // `ma_used`, `ma_keys`, `ma_values` (`Include/cpython/dictobject.h`).
    let (keys, values) = (work.object[4], work.object[5]);
    if genspan_snapshot_copy(address, 48, 48) == 0 {
        return 0;
    }
    let head = genspan_snapshot_copy(keys, 40, 40);
    if head == 0 {
        return 0;
    }
    // See `Reader::keys` of the agent.
    let (indices, apart, first, entries);
    if process.dicts == dicts::SIZED {
        let size = work.copied(head + 1);
        entries = work.copied(head + 4);
        let width = if size <= 0xff {
            1
        } else if size <= 0xffff {
            2
        } else {
            4
        };
        indices = 40 + size * width;
        (apart, first) = (3, 1);
    } else {
        let word = work.copied(head + 1);
        let (shift, kind) = (word >> 8 & 0x3f, word >> 16 & 0xff);
        entries = work.copied(head + 3);
        indices = 32 + (1 << shift);
        (apart, first) = if kind == 0 { (3, 1) } else { (2, 0) };
    }
    let count = at_most(entries, MAX_ITEMS as u64);
    let from = keys.wrapping_add(indices);
    let at = genspan_snapshot_copy(from, 8 * apart * count, 8 * apart);
    if at == 0 {
        return 0;
    }
    if values == 0 {
        let width = if work.numbers == 0 { PAIRS } else { NUMBERS };
        genspan_snapshot_push_all(at + first, count, apart, width);
        return 0;
    }
    genspan_snapshot_push_all(at + first, count, apart, 1);
    if work.numbers != 0 {
        // Instances have such dicts, and of these none is wanted.
        return 0;
    }
    // From 3.13 on they have a head of one word.
    let skip = if process.dicts == dicts::INLINE_VALUES {
        1
    } else {
        0
    };
    let at = genspan_snapshot_copy(values, 8 * (skip + count), 8);
    if at != 0 {
        genspan_snapshot_push_all(at + skip, count, 1, 1);
    }
    0
}

/// Copies the object at hand, of which no more is known: one of a class, whose attributes and slots
/// are followed, or one of C, of which nothing is.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_snapshot_instance(address: u64) -> u64 {
    let (Some(process), Some(work)) = (own_process(), Work::get()) else {
        return 0;
    };
    let flags = work.class[TYPE_FLAGS];
    let size = at_most(work.class[TYPE_BASIC_SIZE] & !7, 16 + 8 * MAX_SLOTS as u64);
    if size < 16 {
        return 0;
    }
    let class = work.object[TYPE as usize / 8];
    if work.skipped != 0 && work.depth <= HANDLE_DEPTH && flags & flag::HEAP != 0 {
        // It leads to the workflow, with all that it is made of.
        if word(word(class.wrapping_add(TYPE_NAME))) == HANDLE {
            return 0;
        }
    }
    if flags & flag::HEAP == 0 {
        genspan_snapshot_copy(address, size, 16);
        // Of Python functions and of methods that are one's, the name.
        let name = word(word(class.wrapping_add(TYPE_NAME)));
        if name == u64::from_le_bytes(*b"function") {
            genspan_snapshot_push(work.of_object(process.function_name));
        } else if name << 8 == u64::from_le_bytes(*b"\0method\0") {
            genspan_snapshot_push(work.object[2]);
        }
        return 0;
    }
    if flags & flag::MANAGED_DICT == 0 || process.dicts == dicts::SIZED {
        // The dict is among the words, where there is one.
        let dict = work.class[TYPE_DICT_OFFSET];
        let at = genspan_snapshot_copy(address, size, 16);
        if at != 0 {
            if dict >= 16 && dict < size {
                work.push_own(work.copied(at + dict / 8));
            }
            genspan_snapshot_slots(at + 2, size / 8 - 2);
        }
        return 0;
    }
    let at = genspan_snapshot_copy(address.wrapping_sub(BEFORE), BEFORE + size, BEFORE + 16);
    if at == 0 {
        return 0;
    }
    let managed = work.copied(at + 1);
    if process.dicts == dicts::INLINE_VALUES {
        if managed == 0 && flags & flag::INLINE_VALUES != 0 {
            // `struct _dictvalues`: capacity, size, embedded, valid.
            let values = address.wrapping_add(work.class[TYPE_BASIC_SIZE]);
            let head = word(values);
            if head >> 24 & 0xff != 0 {
                genspan_snapshot_values(values, (head & 0xff) + 1, 1);
            }
        } else {
            work.push_own(managed);
        }
    } else if process.dicts == dicts::TAGGED_VALUES {
        if managed & 1 != 0 {
            genspan_snapshot_values(managed.wrapping_add(1), genspan_snapshot_shared(class), 0);
        } else {
            work.push_own(managed);
        }
    } else if managed != 0 {
        work.push_own(managed);
    } else {
        let values = work.copied(at);
        if values != 0 {
            genspan_snapshot_values(values, genspan_snapshot_shared(class), 0);
        }
    }
    genspan_snapshot_slots(at + BEFORE / 8 + 2, size / 8 - 2);
    0
}

/// Queues what is in the slots of an instance, more than a container's items.
#[inline(always)]
fn genspan_snapshot_slots(at: u64, slots: u64) {
    genspan_snapshot_push_all(at, slots, 1, 1);
    let more = slots.saturating_sub(MAX_ITEMS as u64);
    genspan_snapshot_push_all(at + MAX_ITEMS as u64, more, 1, 1);
}

/// Copies values of an instance, so many words with their head of so many.
#[inline(always)]
fn genspan_snapshot_values(values: u64, words: u64, skip: u64) {
    let words = at_most(words, MAX_ITEMS as u64);
    let at = genspan_snapshot_copy(values, 8 * words, 8);
    if at != 0 {
        genspan_snapshot_push_all(at + skip, words - skip, 1, 1);
    }
}

/// How many names the instances of a class share.
#[inline(always)]
fn genspan_snapshot_shared(class: u64) -> u64 {
    let offset = own_process().map_or(0, |process| process.type_cached_keys);
    // `dk_nentries`.
    match word(class.wrapping_add(u64::from(offset))) {
        0 => 0,
        keys => word(keys.wrapping_add(24)),
    }
}

/// Does not copy this object, nor lists of floats, in a snapshot that was begun.
#[inline(always)]
pub fn skip(object: u64) {
    if let Some(work) = Work::get() {
        work.skipped = object;
    }
}

/// Copies of dicts names and whole numbers alone, in a snapshot that was begun.
#[inline(always)]
pub fn numbers_only() {
    if let Some(work) = Work::get() {
        work.numbers = 1;
    }
}

/// Whether an object is a text.
#[inline(always)]
fn is_text(object: u64) -> bool {
    let class = word(object.wrapping_add(TYPE));
    word(class.wrapping_add(TYPE_FROM + 8 * TYPE_FLAGS as u64)) & flag::TEXT != 0
}
