//! Calls of chosen Python functions from 3.11 on, where there are no watchpoints for them: from probes on
//! the interpreter's own code for `RESUME`, by which each function begins (`Python/bytecodes.c`), and on the
//! function that clears a frame (`Python/frame.c`), which each call and each generator ends with.
//!
//! All functions of the process pay two traps then. Those that are not watched, as the instruction says that
//! their frame is at, pay no more than that and two look-ups.
//!
//! Where these places are the agent found out from code without names. So the first hits of each are held
//! against what they should be, and after one that is not nothing is told any more.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_func_ip},
    macros::{map, uprobe, uretprobe},
    maps::HashMap,
    programs::{ProbeContext, RetProbeContext},
};
use genspan_common::resume::{CHECKED, Resumed, refused, register};

use crate::{
    function::{
        TYPE, genspan_function_begin, genspan_function_gone, genspan_is_open, innermost_frame,
        look, watched, watched_there,
    },
    generator::{self, genspan_generator_begin, genspan_generator_over},
    python::{current_frame, thread_state, user, word},
};

/// What a session's program gives where its return is not wanted.
const NO_RETURN: u32 = 1;

/// Processes whose interpreter is probed so, by thread group id. The agent sets its size.
#[map]
static RESUMED: HashMap<u32, Resumed> = HashMap::with_max_entries(1, 0);

/// What is known of a process, as long as all is as it should be.
#[inline(always)]
fn resumed(tgid: u32) -> Option<&'static mut Resumed> {
    let resumed = RESUMED.get_ptr_mut(tgid)?;
    // SAFETY: from a lookup just now. Threads may count at the same time: a count is lost at worst, and
    // what was refused by one of them stays so.
    let resumed = unsafe { &mut *resumed };
    (resumed.refused == 0).then_some(resumed)
}

/// The code for `RESUME` runs, behind where it stored in the frame which instruction that is.
#[uprobe]
pub fn resume_reached(ctx: ProbeContext) -> u32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(resumed) = resumed(tgid) else {
        return 0;
    };
    let frame = frame_in(&ctx, resumed.register);
    let instruction = word(frame.wrapping_add(u64::from(resumed.frame_instruction)));
    if resumed.entered < CHECKED && genspan_resume_checked(frame, instruction) == 0 {
        return 0;
    }
    if watched_there(resumed.root, instruction).is_some() {
        genspan_resume_begin(instruction, frame);
    }
    0
}

/// The frame, which is in this register.
#[inline(always)]
fn frame_in(ctx: &ProbeContext, number: u32) -> u64 {
    // Verifier: one after the other, or LLVM chooses between their addresses in the context.
    // SAFETY: the context is the kernel's.
    let (rbx, rbp, r12, r13, r14, r15) = unsafe {
        (
            ptr::read_volatile(&raw const (*ctx.regs).rbx),
            ptr::read_volatile(&raw const (*ctx.regs).rbp),
            ptr::read_volatile(&raw const (*ctx.regs).r12),
            ptr::read_volatile(&raw const (*ctx.regs).r13),
            ptr::read_volatile(&raw const (*ctx.regs).r14),
            ptr::read_volatile(&raw const (*ctx.regs).r15),
        )
    };
    match number {
        register::RBX => rbx,
        register::RBP => rbp,
        register::R12 => r12,
        register::R13 => r13,
        register::R14 => r14,
        _ => r15,
    }
}

/// Holds a hit against what it should be: in the frame of a code object, at one of the instructions whose
/// code is probed. Gives whether it is; what cannot be read says nothing.
///
/// Verifier: global functions, here and below, are verified once and by themselves.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_resume_checked(frame: u64, instruction: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(resumed) = resumed(tgid) else {
        return 0;
    };
    let (Some(class), Some(opcode)) = (class_of_code(resumed, frame), user::<u8>(instruction))
    else {
        return 0;
    };
    let (opcode, all) = (u32::from(opcode), resumed.opcodes);
    let is_one = opcode == all & 0xff
        || opcode == (all >> 8) & 0xff
        || opcode == (all >> 16) & 0xff
        || opcode >= resumed.instrumented;
    if class == resumed.code_type && is_one && opcode != 0 {
        resumed.entered += 1;
        return 1;
    }
    resumed.refused = refused::NO_RESUME;
    0
}

/// The type of what a frame has for its code object.
#[inline(always)]
fn class_of_code(resumed: &Resumed, frame: u64) -> Option<u64> {
    let code: u64 = user(frame.wrapping_add(u64::from(resumed.frame_code)))?;
    user((code & !u64::from(resumed.tag)).wrapping_add(TYPE))
}

/// A watched function begins in this frame, at this instruction, unless it was seen to before: it is run once
/// more when it is specialised, or was interrupted.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_resume_begin(instruction: u64, frame: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(resumed) = resumed(tgid) else {
        return 0;
    };
    let Some(watch) = watched_there(resumed.root, instruction) else {
        return 0;
    };
    // Another frame would be at another instruction, if this is that of its code.
    let code = word(frame.wrapping_add(u64::from(resumed.frame_code)));
    if code & !u64::from(resumed.tag) != watch.code {
        return 0;
    }
    if watch.generator != 0 {
        if !generator::is_open(tgid, frame) {
            genspan_generator_begin(instruction, frame);
        }
    } else if genspan_is_open(frame) == 0 {
        genspan_function_begin(instruction, frame);
    }
    0
}

/// `_PyFrame_Clear(frame)` (3.11), `_PyFrame_ClearExceptCode(frame)`, or
/// `_PyEval_FrameClearAndPop(tstate, frame)` where that has it built in: what a frame has is let go of. What
/// left it, if that is an exception, the thread still has.
#[uprobe]
pub fn frame_cleared(ctx: ProbeContext) -> u32 {
    let id = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((id >> 32) as u32, id as u32);
    let Some(resumed) = resumed(tgid) else {
        return 0;
    };
    // SAFETY: the context is the kernel's.
    let (first, second) = unsafe {
        (
            ptr::read_volatile(&raw const (*ctx.regs).rdi),
            ptr::read_volatile(&raw const (*ctx.regs).rsi),
        )
    };
    let frame = if resumed.argument == 0 { first } else { second };
    if resumed.cleared < CHECKED {
        match class_of_code(resumed, frame) {
            Some(class) if class == resumed.code_type => resumed.cleared += 1,
            Some(_) => {
                resumed.refused = refused::NO_FRAME;
                return 0;
            }
            None => {}
        }
    }
    let inner = innermost_frame(tid);
    if inner != 0 && (inner == frame || genspan_is_open(frame) != 0) {
        genspan_function_gone(frame);
        return 0;
    }
    if resumed.generators != 0 {
        genspan_generator_over(frame, 0);
    }
    0
}

/// `_PyEval_EvalFrameDefault(tstate, frame, throwflag)` of 3.11, entry and return in one (see `openssl.rs`):
/// what C calls runs in a frame that the caller clears, in builds with link-time optimisation by code of its
/// own. So it is over when this returns.
// SAFETY: the names of the object's programs are its own.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub extern "C" fn entry_run(ctx: *mut c_void) -> u32 {
    let ctx = ProbeContext::new(ctx);
    // SAFETY: the context is the kernel's. The helper gives the probe's address at both ends.
    let entry = unsafe { bpf_get_func_ip(ctx.as_ptr()) == (*ctx.regs).rip };
    if !entry {
        leaves();
        return 0;
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(resumed) = resumed(tgid) else {
        return NO_RETURN;
    };
    // SAFETY: the context is the kernel's.
    let frame = unsafe { ptr::read_volatile(&raw const (*ctx.regs).rsi) };
    let code = word(frame.wrapping_add(u64::from(resumed.frame_code)));
    match watched_there(resumed.root, code) {
        Some(_) => 0,
        None => NO_RETURN,
    }
}

/// Its return, where a program cannot be both.
#[uretprobe]
pub fn entry_left(_: RetProbeContext) -> u32 {
    leaves();
    0
}

/// What C called is over, which may be a watched call.
#[inline(always)]
fn leaves() {
    let id = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((id >> 32) as u32, id as u32);
    if innermost_frame(tid) == 0 {
        return;
    }
    if let Some(process) = watched(tgid)
        && let Some(state) = thread_state(&process.python)
        && let Some(current) = current_frame(&process.python, state)
    {
        look(process, tid, state, current, false);
    }
}
