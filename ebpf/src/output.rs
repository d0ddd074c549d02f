//! What a run of a framework gives that nobody was seen to be told: what the function gives that began
//! it, copied while the function's frame is cleared because it returns.
//!
//! Only what is alive at that moment is read:
//!
//! - What a function returns was the last on its frame's stack, and CPython takes it from there without
//!   clearing the place (`RETURN_VALUE`, `Python/ceval.c`, `Python/bytecodes.c`): the interpreter holds
//!   it until the caller has it. From 3.11 on the frame still says which instruction it ran last, so
//!   that no other end of the frame is taken for this one (`RETURN_CONST` of 3.12 and 3.13 leaves in
//!   that place what was there before). To 3.10 all that return do so by this instruction.
//! - A generator returns nothing. What it put together is in a variable; up to 3.13 variables are freed in
//!   their order (`frame_dealloc`, `Objects/frameobject.c`; `_PyFrame_ClearLocals`, `Python/frame.c`), so one
//!   behind the last that held what speaks for the run is still there. In 3.14 they are freed from the last
//!   on, and it is gone: nothing is read.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use genspan_common::{
    framework::hook,
    function::WatchedProcess,
    python::{NONE, frames},
    snapshot::{MAX_DEPTH, purpose},
};

use crate::{
    counts::genspan_counts_answer,
    function::{raised, watched},
    python::{code_of, local, thread_state, user, word},
    snapshot::{
        genspan_snapshot_begin, genspan_snapshot_take, genspan_snapshot_want, numbers_only,
    },
};

/// `co_flags`: a generator; a coroutine; an asynchronous generator, which is not read: models tell what
/// that gave themselves.
const GENERATOR: u32 = 0x20;
const COROUTINE: u32 = 0x80;
const ASYNC_GENERATOR: u32 = 0x200;
/// In a frame object, to 3.10: `f_valuestack`, behind the variables.
const OLD_FRAME_STACK: u64 = 64;
/// In a code object, from 3.11 on: how far behind `co_argcount` `co_nlocalsplus` is
/// (`Include/cpython/code.h`).
const ALL_VARIABLES: u64 = 20;
/// In a `str` or a tuple: the size.
const SIZE: u64 = 16;
/// Variables of a function that are looked at.
const MAX_VARIABLES: u64 = 64;
/// The variable in which the generators of models put together what these say (`stream` of
/// `BaseChatModel` and `BaseLLM`, `langchain_core/language_models`, from 0.1 to 1.x): its first and its
/// last eight characters, which are compared as words.
const VARIABLE: [u8; 8] = *b"generati";
const VARIABLE_END: [u8; 8] = *b"neration";
const VARIABLE_LENGTH: u64 = 10;

/// Copies what the function gives that began a run, while what speaks for the run is freed because it
/// returns. Gives one when that was copied.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_run_output(manager: u64, owner: u64, code: u64, flags: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let flags = flags as u32;
    // The frame may be another function's by now.
    if flags & ASYNC_GENERATOR != 0 || code == 0 || code_of(&process.python, owner) != code {
        return 0;
    }
    let Some(state) = thread_state(&process.python) else {
        return 0;
    };
    // What an exception ends gives nothing. To 3.9 a generator or coroutine that returned has made one of
    // that before its frame is freed, which holds what it returns (`gen_send_ex`, `Objects/genobject.c`).
    let raised = raised(process, state);
    let is_stop = raised == process.objects.stop_iteration && flags & (GENERATOR | COROUTINE) != 0;
    if (raised != 0 && !is_stop) || !has_returned(process, owner) {
        return 0;
    }
    let value = if flags & GENERATOR != 0 {
        genspan_run_variable(manager, owner, code)
    } else {
        returned(process, owner, code)
    };
    if value == 0 || !matches!(user::<u32>(value), Some(references) if references != 0) {
        return 0;
    }
    if genspan_snapshot_begin() == 0 {
        return 0;
    }
    if process.contents == 0 {
        numbers_only();
        genspan_counts_answer(value);
        let which = u64::from(purpose::COUNTS) | u64::from(hook::GONE) << 32;
        return genspan_snapshot_take(which, manager, 0);
    }
    genspan_snapshot_want(1, value, u64::from(MAX_DEPTH));
    let which = u64::from(purpose::RUN) | u64::from(hook::GONE) << 32;
    genspan_snapshot_take(which, manager, 0)
}

/// Whether the last that a frame did was to return: what it left on its stack, or in 3.12 and 3.13 a
/// constant, if it is a generator.
#[inline(always)]
fn has_returned(process: &WatchedProcess, frame: u64) -> bool {
    if process.python.frames == frames::OBJECT {
        // It is being freed itself.
        return matches!(user::<u32>(frame), Some(0));
    }
    let at = frame.wrapping_add(u64::from(process.python.frame_instruction));
    match user::<u64>(at).and_then(user::<u8>) {
        Some(opcode) => {
            let opcode = u32::from(opcode);
            opcode == process.returns & 0xff || opcode == process.returns >> 8 & 0xff
        }
        None => false,
    }
}

/// What a function returns whose frame is being cleared.
#[inline(always)]
fn returned(process: &WatchedProcess, frame: u64, code: u64) -> u64 {
    let python = &process.python;
    if python.frames == frames::OBJECT {
        let stack = word(frame.wrapping_add(OLD_FRAME_STACK));
        return word(stack);
    }
    let at = frame.wrapping_add(u64::from(python.frame_instruction));
    // A constant is not on the stack.
    if !matches!(user::<u64>(at).and_then(user::<u8>), Some(op) if u32::from(op) == process.returns & 0xff)
    {
        return 0;
    }
    let count = code
        .wrapping_add(u64::from(process.code_arguments))
        .wrapping_add(ALL_VARIABLES);
    match user::<u32>(count) {
        Some(count) => local(python, frame, u64::from(count)),
        None => 0,
    }
}

/// What a generator has in the variable that is known for that, if all that held what speaks for the
/// run are before it.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_run_variable(manager: u64, frame: u64, code: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let python = &process.python;
    if process.code_variables == NONE || code == 0 {
        return 0;
    }
    let names = word(code.wrapping_add(u64::from(process.code_variables)));
    let count = word(names.wrapping_add(SIZE));
    let names = names.wrapping_add(u64::from(process.tuple_items));
    let data = u64::from(python.string_data);
    let mut found = 0;
    // To 3.10 the place that held it is cleared by then.
    let mut held_before = python.frames == frames::OBJECT;
    for index in 0..MAX_VARIABLES {
        if index >= count {
            break;
        }
        let value = local(python, frame, index);
        if value == manager {
            if found != 0 {
                return 0;
            }
            held_before = true;
        }
        let name = word(names.wrapping_add(8 * index));
        if found == 0
            && word(name.wrapping_add(SIZE)) == VARIABLE_LENGTH
            && word(name.wrapping_add(data)) == u64::from_le_bytes(VARIABLE)
            && word(name.wrapping_add(data).wrapping_add(VARIABLE_LENGTH - 8))
                == u64::from_le_bytes(VARIABLE_END)
        {
            found = value;
        }
    }
    if held_before { found } else { 0 }
}
