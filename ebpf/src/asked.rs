//! Models of LlamaIndex that tell events alone (to 0.10.37, [`crate::dispatch`]): what they are asked and answer,
//! as snapshots, and whose stream a generator gives.
//!
//! The function that asks a model makes the generator of its stream, which uses variables of that function: the
//! cells of these are the same in both frames, and as long as the generator lives they are nobody else's.

use core::ptr;

use aya_ebpf::helpers::generated::bpf_probe_read_user as read_user;
use genspan_common::{
    dispatch::{CELLS, CONTENT_DEPTH, hook},
    function::{TYPE_NAME_BYTES, WatchedProcess},
    snapshot::purpose,
};

use crate::{
    counts::genspan_counts_answer,
    framework::genspan_dict_value,
    function::TYPE,
    python::{local, word},
    snapshot::{
        genspan_snapshot_begin, genspan_snapshot_take, genspan_snapshot_want, numbers_only,
        own_process, skip,
    },
};

/// Fields of events.
const MESSAGES: (u64, u64) = (u64::from_le_bytes(*b"messages"), 8);
const PROMPT: (u64, u64) = (u64::from_le_bytes(*b"prompt\0\0"), 6);
const RESPONSE: (u64, u64) = (u64::from_le_bytes(*b"response"), 8);
/// What a completion says.
const TEXT: (u64, u64) = (u64::from_le_bytes(*b"text\0\0\0\0"), 4);
/// No object, as in `given.rs`.
const NOTHING: u64 = 1;
/// In a type: `tp_name`; and that of a cell, with its end.
const TYPE_NAME: u64 = 24;
const CELL: u64 = u64::from_le_bytes(*b"cell\0\0\0\0");
const CELL_BYTES: u64 = 0xff_ffff_ffff;
/// Bits of an address in which a reference to it may say something else.
const TAGS: u64 = 7;

const _: () = assert!(CELLS * 8 == TYPE_NAME_BYTES);

/// Tells what a model is asked by the function of this frame: messages, or a text. Of an event, of which this is the
/// dict, nothing else is copied: it also has how the model was set up.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_model_asked(frame: u64, dict: u64) -> u64 {
    let Some(process) = own_process() else {
        return 0;
    };
    if process.contents == 0 || genspan_snapshot_begin() == 0 {
        return 0;
    }
    skip(NOTHING);
    let mut asked = genspan_dict_value(dict, MESSAGES.0, MESSAGES.1);
    if asked == 0 {
        asked = genspan_dict_value(dict, PROMPT.0, PROMPT.1);
    }
    // One reference less than from the arguments of a function.
    genspan_snapshot_want(0, asked, u64::from(CONTENT_DEPTH - 1));
    let which = u64::from(purpose::SPAN) | u64::from(hook::EVENT) << 32;
    genspan_snapshot_take(which, frame, 0)
}

/// Tells what a model answered the function of this frame, by the dict of the event: all of it, or where content is
/// not wanted what the model says besides; of a `piece` of a completion, which comes for each, what it says until
/// then and nothing else.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_model_answered(frame: u64, dict: u64, piece: u64) -> u64 {
    let Some(process) = own_process() else {
        return 0;
    };
    if (process.contents == 0 && piece != 0) || genspan_snapshot_begin() == 0 {
        return 0;
    }
    let response = genspan_dict_value(dict, RESPONSE.0, RESPONSE.1);
    let mut which = u64::from(purpose::SPAN) | u64::from(hook::EVENT) << 32;
    if process.contents == 0 {
        numbers_only();
        genspan_counts_answer(response);
        which = u64::from(purpose::COUNTS) | u64::from(hook::EVENT) << 32;
    } else {
        skip(NOTHING);
        if piece == 0 {
            genspan_snapshot_want(1, response, u64::from(CONTENT_DEPTH));
        } else {
            let class = word(response.wrapping_add(TYPE));
            let fields = crate::dispatch::dict_of(response, class);
            genspan_snapshot_want(1, genspan_dict_value(fields, TEXT.0, TEXT.1), 0);
        }
    }
    genspan_snapshot_take(which, frame, 0)
}

/// The first cell among the variables of the function of this frame; zero when none of the first has one.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_first_cell(frame: u64) -> u64 {
    let Some(process) = own_process() else {
        return 0;
    };
    for slot in 0..CELLS as u64 {
        let object = local(&process.python, frame, slot);
        if object == 0 {
            continue;
        }
        let class = word(object.wrapping_add(TYPE));
        if word(word(class.wrapping_add(TYPE_NAME))) & CELL_BYTES == CELL {
            return object & !TAGS;
        }
    }
    0
}

/// The first variables of the function of this frame, whatever they are.
#[inline(always)]
// SAFETY: for callers whose pointer is into a record that they reserved.
pub unsafe fn variables(process: &WatchedProcess, frame: u64, at: *mut [u8; TYPE_NAME_BYTES]) {
    let from = frame.wrapping_add(u64::from(process.python.frame_locals));
    // SAFETY: the helper checks the address, and writes no more than there is room for; what it cannot read it
    // leaves zero.
    unsafe {
        let _ = read_user(
            ptr::from_mut(&mut *at).cast(),
            TYPE_NAME_BYTES as u32,
            from as *const _,
        );
    }
}
