//! The frames in which runs of frameworks began, and the objects that speak for those runs.
//!
//! Nobody watches a frame. But a function keeps what speaks for its run among its variables, so that
//! is freed when it returns; and only what speaks for a run can tell its end. When it is freed,
//! CPython looks for the first of its classes that frees objects in another way
//! (`subtype_dealloc`, `Objects/typeobject.c`, in all versions), and so reads `tp_dealloc` of the
//! class that all of them have in common: a watchpoint there sees every one of them go. It is read
//! twice; the second time the object is known no more.
//!
//! Entries come and go with those objects, so that the tables hold what is under way. Those of a
//! process that is gone the agent takes out.

use core::ptr;

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::map,
    maps::{HashMap, LruHashMap},
};
use genspan_common::{
    event::EventKind,
    framework::{OwnerKey, RunHit, RunManager, RunOwner, hook},
    function::WatchedProcess,
    loss::Loss,
    python::{PythonLayout, frames},
};

use crate::{
    emit,
    framework::clear,
    function::watched,
    maps::{DATA, lose},
    output::genspan_run_output,
    python::{code_of, user, word},
};

/// Frames around one that are looked at to find the one in which another run began.
const MAX_AROUND: u32 = 64;

/// `co_flags`: a generator, a coroutine, an asynchronous generator.
const GENERATORS: u32 = 0x20 | 0x80 | 0x200;
/// `FRAME_CLEARED` (`Include/internal/pycore_frame.h`, from 3.11 on).
const FRAME_CLEARED: u8 = 4;

/// Frames in which runs began. The agent sets the sizes of these tables when it loads them.
#[map]
static RUN_OWNERS: HashMap<OwnerKey, RunOwner> = HashMap::with_max_entries(1, 0);

/// What speaks for runs.
#[map]
static RUN_MANAGERS: HashMap<OwnerKey, RunManager> = HashMap::with_max_entries(1, 0);

/// Frames in which steps began of which nothing says when they are over (models of LlamaIndex 0.10,
/// which tell events alone), with their code objects. The oldest go, and with them the error of a step
/// that still runs.
#[map]
static STEP_OWNERS: LruHashMap<OwnerKey, u64> = LruHashMap::with_max_entries(1024, 0);

#[inline(always)]
const fn key(tgid: u32, address: u64) -> OwnerKey {
    OwnerKey {
        address,
        tgid,
        zero: 0,
    }
}

/// Whether a run or a step began in this frame of the process. The frame may be another function's by now.
#[inline(always)]
pub fn is_known(python: &PythonLayout, tgid: u32, frame: u64) -> bool {
    let code = begun(tgid, frame);
    code != 0 && code == code_of(python, frame)
}

/// The code object of the function in whose frame a run or a step began, if one did at this address.
#[inline(always)]
fn begun(tgid: u32, frame: u64) -> u64 {
    let here = key(tgid, frame);
    let mut code = 0;
    // Verifier: one after the other, or LLVM chooses between their addresses before it looks whether
    // there are any.
    if let Some(owner) = RUN_OWNERS.get_ptr(here) {
        // SAFETY: from a lookup just now; a word.
        code = unsafe { ptr::read_volatile(&raw const (*owner).code) };
    }
    if code == 0
        && let Some(step) = STEP_OWNERS.get_ptr(here)
    {
        // SAFETY: as above.
        code = unsafe { ptr::read_volatile(step) };
    }
    code
}

/// A step began in this frame of the process.
#[inline(always)]
pub fn stepped(tgid: u32, frame: u64, code: u64) {
    // The oldest make room: it cannot fail for want of that.
    let _ = STEP_OWNERS.insert(key(tgid, frame), code, 0);
}

/// What speaks for a run was told its end, or (two) something that may be that: see
/// [`RunManager::ended`].
#[inline(always)]
pub fn ended(tgid: u32, manager: u64, how: u32) {
    if let Some(manager) = RUN_MANAGERS.get_ptr_mut(key(tgid, manager)) {
        // SAFETY: from a lookup just now; a word.
        unsafe { (*manager).ended = how };
    }
}

/// An object speaks for a run from now on, which began in this frame; gives one when its end will be
/// seen.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_run_owned(
    manager: u64,
    owner: u64,
    owner_code: u64,
    owner_flags: u64,
) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let at = key(tgid, manager);
    if RUN_MANAGERS.get_ptr(at).is_some() {
        // What was at this address is gone, and that was not seen.
        forget(tgid, manager);
    }
    // What goes takes the frame's entry with it: one without it would stay.
    let value = RunManager {
        owner,
        owner_code,
        owner_flags: owner_flags as u32,
        ended: 0,
    };
    if RUN_MANAGERS.insert(at, value, 0).is_err() {
        lose(Loss::RunsUnfollowed, 1);
        return 0;
    }
    if owner != 0 {
        let frame = key(tgid, owner);
        let mut managers = 1;
        if let Some(known) = RUN_OWNERS.get_ptr(frame) {
            // SAFETY: from a lookup just now; two words.
            let known = unsafe { &*known };
            if known.code == owner_code {
                managers = known.managers + 1;
            }
        }
        let value = RunOwner {
            code: owner_code,
            managers,
        };
        if RUN_OWNERS.insert(frame, value, 0).is_err() {
            lose(Loss::RunsUnfollowed, 1);
        }
    }
    1
}

/// An object speaks for no run any more; gives what was known of it.
#[inline(always)]
fn forget(tgid: u32, manager: u64) -> Option<RunManager> {
    let at = key(tgid, manager);
    // SAFETY: from a lookup just now; copied whole.
    let known = unsafe { *RUN_MANAGERS.get_ptr(at)? };
    let _ = RUN_MANAGERS.remove(at);
    let frame = key(tgid, known.owner);
    if let Some(owner) = RUN_OWNERS.get_ptr_mut(frame) {
        // SAFETY: from a lookup just now. Another thread may count at the same time only if it has
        // been given what this one made; then the entry stays, or goes early, and nothing else.
        let owner = unsafe { &mut *owner };
        if owner.code == known.owner_code {
            if owner.managers > 1 {
                owner.managers -= 1;
            } else {
                let _ = RUN_OWNERS.remove(frame);
            }
        }
    }
    Some(known)
}

/// Whether the variables of the function that had a run's manager made are being freed because it
/// returned, while the thread runs this frame.
#[inline(always)]
fn is_returning(process: &WatchedProcess, known: &RunManager, current: u64) -> bool {
    let python = &process.python;
    let previous = word(known.owner.wrapping_add(u64::from(python.frame_previous)));
    // It is the current one until its variables are gone in 3.11; in others that is its caller then.
    if current == known.owner || current == previous {
        return true;
    }
    if previous != 0 || known.owner_flags & GENERATORS == 0 {
        return false;
    }
    // Up to 3.11 the frame of a generator or coroutine has no caller any more by then
    // (`gen_send_ex`, `Objects/genobject.c`).
    if python.frames == frames::OBJECT {
        // It is being freed itself.
        return matches!(user::<u32>(known.owner), Some(0));
    }
    let generator = known.owner.wrapping_sub(u64::from(process.generator_frame));
    let state = user::<u8>(generator.wrapping_add(u64::from(process.generator_state)));
    matches!(state, Some(FRAME_CLEARED))
}

/// Tells that what speaks for a run is being freed, while the thread runs this frame; gives one if that
/// is what is at this address.
///
/// Verifier: a global function, so it is verified once and by itself, not for each register in which
/// the object may be.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_run_gone(object: u64, current: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if RUN_MANAGERS.get_ptr(key(tgid, object)).is_none() {
        return 0;
    }
    // Others may be in registers: this one has no references left.
    if !matches!(user::<u32>(object), Some(0)) {
        return 0;
    }
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let Some(known) = forget(tgid, object) else {
        return 0;
    };
    if known.ended == 1 {
        return 1;
    }
    let returned = known.owner != 0 && is_returning(process, &known, current);
    if returned && known.ended == 0 {
        let (code, flags) = (known.owner_code, u64::from(known.owner_flags));
        genspan_run_output(object, known.owner, code, flags);
    }
    let Some(mut record) = DATA.reserve::<RunHit>(0) else {
        lose(Loss::RunsLost, 1);
        return 1;
    };
    let at = record.as_mut_ptr();
    clear(at);
    // SAFETY: the record is of this type's size and alignment, and was cleared.
    unsafe {
        ptr::addr_of_mut!((*at).header).write(emit::header(EventKind::Run));
        ptr::addr_of_mut!((*at).hook).write(hook::GONE);
        ptr::addr_of_mut!((*at).root).write(process.root);
        ptr::addr_of_mut!((*at).manager).write(object);
        ptr::addr_of_mut!((*at).certain).write(u32::from(returned));
    }
    record.submit(emit::wake_flags());
    1
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
        if is_known(python, tgid, at) {
            return at;
        }
    }
    0
}
