//! What spans of LlamaIndex are given and give ([`crate::dispatch`]), as snapshots.

use genspan_common::{
    dispatch::{CONTENT_DEPTH, TOOL_DEPTH, hook},
    snapshot::purpose,
};

use crate::{
    counts::genspan_counts_answer,
    function::TYPE,
    python::word,
    snapshot::{
        genspan_snapshot_begin, genspan_snapshot_take, genspan_snapshot_want, numbers_only,
        own_process, skip,
    },
};

/// In an `inspect.BoundArguments`, its slots: `_signature`, `arguments`.
const SLOTS: [u64; 2] = [16, 24];
/// No object: only lists of floats, and LlamaIndex's own handle, are left out.
const NOTHING: u64 = 1;
/// In a type: `tp_name`.
const TYPE_NAME: u64 = 24;
/// In a type: `tp_flags`, and of these that it is a dict's (`Include/object.h`).
const TYPE_FLAGS: u64 = 168;
const IS_DICT: u64 = 1 << 29;

/// Tells what a span of LlamaIndex is given (`arguments`, an `inspect.BoundArguments`, and of a `tool` what
/// it is), or what it gives (`arguments`, as it is). The `subject` tells which.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_snapshot_given(
    subject: u64,
    arguments: u64,
    object: u64,
    tool: u64,
) -> u64 {
    let mut dict = word(arguments.wrapping_add(SLOTS[1]));
    if !is_dict(dict) {
        dict = word(arguments.wrapping_add(SLOTS[0]));
    }
    if genspan_snapshot_begin() == 0 {
        return 0;
    }
    if is_dict(dict) {
        genspan_snapshot_want(0, dict, u64::from(CONTENT_DEPTH));
    }
    if tool != 0 {
        genspan_snapshot_want(1, object, u64::from(TOOL_DEPTH));
    }
    // Among the arguments of a function is also what it is a method of: an index, with all in it.
    skip(if object == 0 { NOTHING } else { object });
    let which = u64::from(purpose::SPAN) | u64::from(hook::ENTERS) << 32;
    genspan_snapshot_take(which, subject, 0)
}

/// Tells what a span of LlamaIndex gives, or where content is not wanted what a model says of that. The
/// `subject` tells which.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_snapshot_got(subject: u64, result: u64) -> u64 {
    let Some(process) = own_process() else {
        return 0;
    };
    if genspan_snapshot_begin() == 0 {
        return 0;
    }
    if process.contents == 0 {
        numbers_only();
        genspan_counts_answer(result);
        let which = u64::from(purpose::COUNTS) | u64::from(hook::EXITS) << 32;
        return genspan_snapshot_take(which, subject, 0);
    }
    skip(NOTHING);
    genspan_snapshot_want(0, result, u64::from(CONTENT_DEPTH));
    let which = u64::from(purpose::SPAN) | u64::from(hook::EXITS) << 32;
    genspan_snapshot_take(which, subject, 0)
}

/// Whether an object is a dict.
#[inline(always)]
pub fn is_dict(object: u64) -> bool {
    let class = word(object.wrapping_add(TYPE));
    let flags = word(class.wrapping_add(TYPE_FLAGS));
    object != 0 && flags & IS_DICT != 0
}

/// Whether what a list has is numbers, by its first item.
#[inline(always)]
pub fn is_vector(items: u64) -> bool {
    let class = word(word(items).wrapping_add(TYPE));
    let name = word(word(class.wrapping_add(TYPE_NAME)));
    name << 16 == u64::from_le_bytes(*b"\0\0float\0")
}
