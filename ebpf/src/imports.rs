//! Modules that a Python process imports later: from a probe on `PyEval_EvalCode(code, globals, locals)`,
//! which runs the body of a module, and what `exec` and `eval` are given (`Python/ceval.c`).
//!
//! A module's functions are made by its body, but their code objects are there before it runs, as constants
//! of its own. So its beginning is told, by which the agent has as long as the body takes; and its end, for
//! what is only there then. Of all others the name of the file is looked at, most of them up to the first
//! component of it.

use core::{arch::asm, ffi::c_void, ptr};

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_RB_FORCE_WAKEUP,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_func_ip, bpf_probe_read_user as read_user},
    },
    macros::{map, uprobe},
    maps::HashMap,
    programs::ProbeContext,
};
use genspan_common::{
    event::EventKind,
    imports::{Awaited, MAX_CONSTANTS, MAX_NAME, ModuleBegins, SEED, piece, with},
    loss::Loss,
};

use crate::{
    emit,
    maps::{CONTROL, lose},
    python::{user, word},
};

/// What a session's program gives where its return is not wanted.
const NO_RETURN: u32 = 1;
/// In a string, and a tuple: its length; in a string: its state.
const LENGTH: u64 = 16;
const STATE: u64 = 32;

/// Processes in which modules are waited for, by thread group id. The agent sets the sizes of these tables
/// when it loads them, if it looks for any function.
#[map]
static AWAITED: HashMap<u32, Awaited> = HashMap::with_max_entries(1, 0);

/// The files that are wanted, piece by piece, by their hashes.
#[map]
static MODULE_FILES: HashMap<u64, u32> = HashMap::with_max_entries(1, 0);

/// `PyEval_EvalCode`, entry and return in one: see `openssl.rs`.
// SAFETY: the names of the object's programs are its own.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub extern "C" fn module_run(ctx: *mut c_void) -> u32 {
    let ctx = ProbeContext::new(ctx);
    // SAFETY: the context is the kernel's. The helper gives the probe's address at both ends.
    let entry = unsafe { bpf_get_func_ip(ctx.as_ptr()) == (*ctx.regs).rip };
    if !entry {
        emit::process(EventKind::ModuleEnded, 0);
        return 0;
    }
    if begins(&ctx) { 0 } else { NO_RETURN }
}

/// Its entry alone, where a program cannot be both: each module that another one imports would take one of
/// the 64 return probes that a thread may have at a time.
#[uprobe]
pub fn module_begins(ctx: ProbeContext) -> u32 {
    begins(&ctx);
    0
}

#[inline(always)]
fn begins(ctx: &ProbeContext) -> bool {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(awaited) = AWAITED.get_ptr_mut(tgid) else {
        return false;
    };
    // SAFETY: from a lookup just now. Threads may count at the same time: a count is lost at worst.
    let awaited = unsafe { &mut *awaited };
    awaited.seen += 1;
    // SAFETY: the context is the kernel's.
    let code = unsafe { ptr::read_volatile(&raw const (*ctx.regs).rdi) };
    let file = word(code.wrapping_add(u64::from(awaited.code_file)));
    if genspan_module_wanted(file) == 0 {
        return false;
    }
    awaited.told += 1;
    tell(awaited, code);
    true
}

/// Tells that this code begins, and the agent to look at once.
#[inline(always)]
fn tell(awaited: &Awaited, code: u64) {
    let Some(mut record) = CONTROL.reserve::<ModuleBegins>(0) else {
        lose(Loss::ControlRingFull, 1);
        return;
    };
    let constants = word(code.wrapping_add(u64::from(awaited.code_constants)));
    // `ob_size`.
    let count = word(constants.wrapping_add(LENGTH));
    let from = constants.wrapping_add(u64::from(awaited.tuple_items));
    record.write(ModuleBegins {
        header: emit::header(EventKind::ModuleBegins),
        code,
        count,
        constants: [0; MAX_CONSTANTS],
    });
    let most = MAX_CONSTANTS as u64;
    let mut len = if count > most { most } else { count } * 8;
    // Verifier: as in `emit::tier`: the check must stand on the register that is used.
    // SAFETY: moves a register to itself.
    unsafe { asm!("{0} = {0}", inout(reg) len) };
    if len <= most * 8 {
        // SAFETY: the record has room for as many; the helper checks the address, and clears what it does
        // not read.
        unsafe {
            let to = &raw mut (*record.as_mut_ptr()).constants;
            read_user(to.cast(), len as u32, from as *const _);
        }
    }
    record.submit(u64::from(BPF_RB_FORCE_WAKEUP));
}

/// Whether this string ends as the name of a wanted file, at a slash or at its beginning.
///
/// Verifier: a global function, so it is verified once and by itself. No buffer: the string is read backwards,
/// a word at a time, into a register. What a word has that is before the characters is the head of the string.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_module_wanted(text: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(awaited) = AWAITED.get_ptr(tgid) else {
        return 0;
    };
    // SAFETY: as above.
    let (ascii, compact) = unsafe { ((*awaited).text_ascii, (*awaited).text_compact) };
    let Some(state) = user::<u32>(text.wrapping_add(STATE)) else {
        return 0;
    };
    // interned:2, kind:3, compact:1, ascii:1 (`Include/cpython/unicodeobject.h`).
    let kind = u64::from(state >> 2 & 7);
    if state & 0x20 == 0 || kind == 0 || kind > 4 {
        return 0;
    }
    let data = if state & 0x40 != 0 { ascii } else { compact };
    let mut left = word(text.wrapping_add(LENGTH));
    let mut at = text
        .wrapping_add(u64::from(data))
        .wrapping_add(left.wrapping_mul(kind));
    let bits = kind * 8;
    let (mut read, mut unread) = (0_u64, 0_u64);
    let mut hash = SEED;
    for _ in 0..=MAX_NAME {
        let mut character = SLASH;
        if left != 0 {
            if unread == 0 {
                at = at.wrapping_sub(8);
                read = word(at);
                unread = 64;
            }
            character = read >> (64 - bits & 63);
            read <<= bits & 63;
            unread = unread.wrapping_sub(bits);
        }
        if character == SLASH {
            // SAFETY: from a lookup just now; entries are written once.
            match unsafe { MODULE_FILES.get(hash) } {
                Some(&piece::WHOLE) => return 1,
                Some(_) => {}
                None => return 0,
            }
        }
        if left == 0 {
            return 0;
        }
        hash = with(hash, character as u32);
        left = left.wrapping_sub(1);
    }
    0
}

/// What parts the components of a name.
const SLASH: u64 = b'/' as u64;
