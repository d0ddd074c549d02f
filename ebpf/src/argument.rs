//! Arguments of a Python function that begins: read from its frame, as shallowly as will do.

use core::{arch::asm, ptr};

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_probe_read_user as read_user};
use genspan_common::{
    event::EventKind,
    function::{
        FunctionArgument, IN_CELL, KnownObjects, MAX_ARGUMENTS, TEXT_BYTES, TYPE_NAME_BYTES, Watch,
        WatchedProcess, tag,
    },
    loss::Loss,
    python::{NONE, PythonLayout},
    snapshot::{MAX_DEPTH, purpose},
};

use crate::{
    emit,
    function::{TYPE, name_of, watch, watched},
    maps::{DATA, lose},
    python::user,
    snapshot::{genspan_snapshot_begin, genspan_snapshot_take, genspan_snapshot_want},
};

/// In a cell and a float: the value. In an `int` and a `str`: the size.
const VALUE: u64 = 16;
/// In an `int`: its digits, of 30 bits.
const DIGITS: u64 = 24;
/// In a `str`: its state.
const TEXT_STATE: u64 = 32;

/// Tells the arguments of a call that was told to begin, at the watchpoint on this address.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_arguments(address: u64, frame: u64, began: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let Some(watch) = watch(process, address) else {
        return 0;
    };
    if watch.arguments == 0 {
        return 0;
    }
    // What is inside of them is copied once all are known.
    let contents = if process.contents == 0 {
        0
    } else {
        genspan_snapshot_begin()
    };
    for index in 0..MAX_ARGUMENTS {
        if index as u32 >= watch.arguments {
            break;
        }
        genspan_argument(address, frame, began, index as u64 | contents << 32);
    }
    if contents == 0 {
        return 0;
    }
    let which = u64::from(purpose::FUNCTION) | u64::from(watch.function) << 32;
    genspan_snapshot_take(which, began, 0)
}

/// Tells an argument of it. Above the `index` is one where what is inside of it is to be in the snapshot that
/// was begun, else zero.
///
/// Verifier: a global function, so it is verified once and by itself: within the programs, for each
/// argument in each way to begin, it was most of the two seconds that loading them took. Such a one
/// takes numbers, so what the caller looked up is looked up again.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_argument(address: u64, frame: u64, began: u64, index: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if let Some(process) = watched(tgid)
        && let Some(watch) = watch(process, address)
    {
        let contents = index >> 32 != 0;
        tell(
            (process, watch),
            frame,
            began,
            (index as u32 as usize, contents),
        );
    }
    0
}

#[inline(always)]
fn tell(
    (process, watch): (&WatchedProcess, &Watch),
    frame: u64,
    began: u64,
    (index, contents): (usize, bool),
) {
    let Some(value) = value_of(&process.python, watch, frame, index) else {
        lose(Loss::ArgumentUnreadable, 1);
        return;
    };
    if value == 0 {
        return;
    }
    let mut told = FunctionArgument {
        header: emit::header(EventKind::FunctionArgument),
        began,
        function: watch.function,
        index: index as u32,
        tag: tag::OTHER,
        bytes: 0,
        word: 0,
        characters: 0,
    };
    let objects = &process.objects;
    if value == objects.none {
        told.tag = tag::NONE;
        return short(&told, 0);
    }
    let Some(class) = user::<u64>(value.wrapping_add(TYPE)) else {
        lose(Loss::ArgumentUnreadable, 1);
        return;
    };
    if class == objects.text && text(process, value, &mut told) {
        return;
    }
    plain(process, objects, class, value, &mut told);
    if told.tag == tag::OTHER && contents {
        genspan_snapshot_want(index as u64, value, u64::from(MAX_DEPTH));
    }
    short(&told, if told.tag == tag::OTHER { class } else { 0 });
}

/// The object that is an argument; zero when it has none.
#[inline(always)]
fn value_of(python: &PythonLayout, watch: &Watch, frame: u64, index: usize) -> Option<u64> {
    let slot = watch.slots[index & (MAX_ARGUMENTS - 1)];
    let locals = frame.wrapping_add(u64::from(python.frame_locals));
    let value: u64 = user(locals.wrapping_add(u64::from(slot.slot) * 8))?;
    let value = value & !u64::from(python.tag);
    if slot.cell == IN_CELL {
        return user(value.wrapping_add(VALUE));
    }
    if value != 0 || slot.cell == NONE {
        return Some(value);
    }
    let cell: u64 = user(locals.wrapping_add(u64::from(slot.cell) * 8))?;
    user(cell.wrapping_add(VALUE))
}

/// Numbers and truth values.
#[inline(always)]
fn plain(
    process: &WatchedProcess,
    objects: &KnownObjects,
    class: u64,
    value: u64,
    told: &mut FunctionArgument,
) {
    let Some(first) = user::<u64>(value.wrapping_add(VALUE)) else {
        return;
    };
    if class == objects.boolean {
        told.tag = tag::BOOL;
        told.word = u64::from(value == objects.truth);
    } else if class == objects.float {
        told.tag = tag::FLOAT;
        told.word = first;
    } else if class == objects.int {
        // `lv_tag`: the two lowest bits are 0 for a positive number, 1 for zero, 2 for a negative
        // one (`Include/cpython/longintrepr.h`).
        let (negative, count) = if process.int_tagged != 0 {
            (first & 3 == 2, first >> 3)
        } else {
            ((first as i64) < 0, (first as i64).unsigned_abs())
        };
        let digits = value.wrapping_add(DIGITS);
        let low = user::<u32>(digits).unwrap_or(0);
        let high = user::<u32>(digits.wrapping_add(4)).unwrap_or(0);
        let word = match count {
            0 => 0,
            1 => u64::from(low),
            2 => u64::from(low) | u64::from(high) << 30,
            _ => return,
        };
        told.tag = if negative { tag::NEGATIVE } else { tag::INT };
        told.word = word;
    }
}

/// A record without text; of another type its name.
#[inline(always)]
fn short(told: &FunctionArgument, class: u64) {
    const SIZE: usize = size_of::<FunctionArgument>() + TYPE_NAME_BYTES;
    let Some(mut record) = DATA.reserve_bytes(SIZE, 0) else {
        lose(Loss::FunctionRingFull, 1);
        return;
    };
    let mut name = [0; TYPE_NAME_BYTES];
    let mut told = *told;
    if class != 0 {
        told.bytes = name_of(class, &mut name);
    }
    // SAFETY: the record has room for both and is aligned to 8 bytes.
    unsafe {
        let at = record.as_mut_ptr();
        ptr::write(at.cast::<FunctionArgument>(), told);
        ptr::write(at.add(size_of::<FunctionArgument>()).cast(), name);
    }
    record.submit(emit::wake_flags());
}

/// A record of a text. False when it is kept in a way that is not read.
#[inline(always)]
fn text(process: &WatchedProcess, value: u64, told: &mut FunctionArgument) -> bool {
    let (Some(length), Some(state)) = (
        user::<u64>(value.wrapping_add(VALUE)),
        user::<u32>(value.wrapping_add(TEXT_STATE)),
    ) else {
        return false;
    };
    // interned:2, kind:3, compact:1, ascii:1 (`Include/cpython/unicodeobject.h`).
    let (kind, compact, ascii) = (state >> 2 & 7, state & 0x20 != 0, state & 0x40 != 0);
    if !compact || kind == 0 || kind > 4 {
        return false;
    }
    let data = if ascii {
        process.python.string_data
    } else {
        process.text_compact
    };
    told.tag = tag::TEXT;
    told.word = u64::from(kind);
    told.characters = length;
    let from = value.wrapping_add(u64::from(data));
    if length <= TYPE_NAME_BYTES as u64 / 4 {
        copy::<TYPE_NAME_BYTES>(told, from, length * u64::from(kind));
    } else {
        let most = TEXT_BYTES as u64;
        let length = if length > most { most } else { length };
        copy::<TEXT_BYTES>(told, from, length * u64::from(kind));
    }
    true
}

/// Writes a record with so many bytes of a text, at most `N`.
#[inline(always)]
fn copy<const N: usize>(told: &mut FunctionArgument, from: u64, bytes: u64) {
    let Some(mut record) = DATA.reserve_bytes(size_of::<FunctionArgument>() + N, 0) else {
        lose(Loss::FunctionRingFull, 1);
        return;
    };
    // A multiple of the width of a character, as N is one.
    let bytes = if bytes > N as u64 { N as u64 } else { bytes };
    told.bytes = bytes as u32;
    let at = record.as_mut_ptr();
    let mut len = bytes;
    // Verifier: as in `emit::tier`: the check must stand on the register that is used.
    // SAFETY: moves a register to itself.
    unsafe { asm!("{0} = {0}", inout(reg) len) };
    if len > N as u64 {
        record.discard(0);
        lose(Loss::ArgumentUnreadable, 1);
        return;
    }
    // SAFETY: the record has room for both and is aligned to 8 bytes; the helper checks the
    // address in the traced process.
    let read = unsafe {
        ptr::write(at.cast::<FunctionArgument>(), *told);
        read_user(
            at.add(size_of::<FunctionArgument>()).cast(),
            len as u32,
            from as *const _,
        )
    };
    if read != 0 {
        record.discard(0);
        lose(Loss::ArgumentUnreadable, 1);
        return;
    }
    record.submit(emit::wake_flags());
}
