//! OpenSSL's reads, writes and frees where they were found by their code: the same as in
//! [`crate::openssl`], but nothing is told of a call before one at the same place was seen to be what it
//! should be.
//!
//! A call is looked at on return, when the function has just used what it was given: whether its first
//! argument is an object with a table of OpenSSL's methods, which lies by the code that was called; whether
//! buffer and length are such; whether what it returned is what such a function returns, and no more
//! than was asked for. If all of it holds, this call is told as any other, so that none is missed, and
//! those after it are looked at no more. The first call of which something does not hold ends it: the place is
//! told, and nothing more of it, from this moment on. Calls of which it cannot be said are not told.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user},
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use genspan_common::{
    event::Direction,
    guess::{GuessKey, GuessState, MOST_WEIGHT, WEIGHT_NOTHING_MOVED, WEIGHT_UNREADABLE, verdict},
    loss::Loss,
    map::ConnectionKey,
};

use crate::{
    emit,
    maps::{CONNECTIONS, GUESS_CALLS, GUESSES, lose},
    openssl::{self, Length},
    pending::{self, PendingCall},
};

/// Bit of [`PendingCall::active`]: it is to be looked at what the call was.
const OPEN: u64 = 1 << 8;

/// No object lies below (`vm.mmap_min_addr`), and none above (`TASK_SIZE_MAX` with five levels of page tables).
const LOWEST: u64 = 1 << 16;
const HIGHEST: u64 = 1 << 56;
/// A library's read-only data is no further from its code than this: larger files are not searched.
const NEAR: u64 = 1 << 30;
/// The highest version that a table of methods has: `OSSL_QUIC_ANY_VERSION` of OpenSSL 3.2
/// (`ssl/quic/quic_local.h`); the others are `TLS_ANY_VERSION`, `DTLS_ANY_VERSION` and those of protocols.
const HIGHEST_VERSION: u64 = 0xf_ffff;
/// The highest flags that one has: `SSL_METHOD_NO_FIPS`, `SSL_METHOD_NO_SUITEB` (`ssl/ssl_local.h`).
const HIGHEST_FLAGS: u64 = 0xff;
/// More than anybody reads or writes at once, and less than an address is in a program that is moved.
const MOST_BYTES: u64 = 1 << 40;

/// A call that is to be looked at.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GuessCall {
    /// Where.
    key: GuessKey,
    /// How many bytes it is to move.
    number: u64,
    /// Not zero when it tells through a pointer how many it moved.
    pointed: u64,
}

macro_rules! entry {
    ($(#[$docs:meta])* $name:ident, $direction:ident, $length:ident) => {
        $(#[$docs])*
        #[uprobe]
        pub fn $name(ctx: ProbeContext) -> u32 {
            let id = bpf_get_current_pid_tgid();
            enter(&ctx, id, Direction::$direction, Length::$length, 0);
            0
        }
    };
}

entry!(
    /// What is most likely `SSL_read`.
    guess_read_enter,
    Read,
    Returned
);
entry!(
    /// What is most likely `ssl_read_internal`.
    guess_read_ex_enter,
    Read,
    Fourth
);
entry!(
    /// What is most likely `SSL_read_ex`.
    guess_read_public_ex_enter,
    Read,
    PublicFourth
);
entry!(
    /// What is most likely `SSL_write`.
    guess_write_enter,
    Write,
    Returned
);
entry!(
    /// What is most likely `ssl_write_internal`, or `SSL_write_ex`.
    guess_write_ex_enter,
    Write,
    Fourth
);
entry!(
    /// What is most likely `ssl_write_internal` since OpenSSL 3.3.
    guess_write_ex5_enter,
    Write,
    Fifth
);

/// Return of what is most likely a read.
#[uretprobe]
pub fn guess_read_return(ctx: RetProbeContext) -> u32 {
    leave(&ctx, bpf_get_current_pid_tgid(), Direction::Read)
}

/// Return of what is most likely a write.
#[uretprobe]
pub fn guess_write_return(ctx: RetProbeContext) -> u32 {
    leave(&ctx, bpf_get_current_pid_tgid(), Direction::Write)
}

/// As `session` in [`crate::openssl`].
macro_rules! session {
    ($(#[$docs:meta])* $name:ident, $direction:ident, $length:ident) => {
        $(#[$docs])*
        // SAFETY: the names of the object's programs are its own.
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "uprobe")]
        pub extern "C" fn $name(ctx: *mut c_void) -> u32 {
            either(&ProbeContext::new(ctx), Direction::$direction, Length::$length)
        }
    };
}

session!(
    /// What is most likely `SSL_read`, entry and return in one.
    guess_read,
    Read,
    Returned
);
session!(
    /// What is most likely `ssl_read_internal`, likewise.
    guess_read_ex,
    Read,
    Fourth
);
session!(
    /// What is most likely `SSL_read_ex`, likewise.
    guess_read_public_ex,
    Read,
    PublicFourth
);
session!(
    /// What is most likely `SSL_write`, likewise.
    guess_write,
    Write,
    Returned
);
session!(
    /// What is most likely `ssl_write_internal`, or `SSL_write_ex`, likewise.
    guess_write_ex,
    Write,
    Fourth
);
session!(
    /// What is most likely `ssl_write_internal` since OpenSSL 3.3, likewise.
    guess_write_ex5,
    Write,
    Fifth
);

/// What is most likely `SSL_free`. It ends connections of which something was told, and only those: whoever is
/// not given an object like theirs is something else.
#[uprobe]
pub fn guess_free(ctx: ProbeContext) -> u32 {
    let Some(ssl) = ctx.arg::<u64>(0) else {
        return 0;
    };
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let place = place(&ctx);
    let key = GuessKey {
        place,
        tgid,
        zero: 0,
    };
    let Some(state) = state_of(key) else {
        return 0;
    };
    let connection = ConnectionKey { ssl, tgid, zero: 0 };
    let known = CONNECTIONS.get_ptr(connection);
    match state.verdict {
        verdict::PLAUSIBLE => {}
        verdict::OPEN if known.is_some() => settle(state, place, verdict::PLAUSIBLE),
        verdict::OPEN => {
            // The object was not used yet, so it may be away for a moment.
            if genspan_is_connection(ssl, place) == NO {
                refuse(state, key, verdict::NO_CONNECTION);
            }
            return 0;
        }
        _ => return 0,
    }
    if let Some(known) = known {
        openssl::freed(connection, known);
    }
    0
}

/// Both ends of a call, for a session link.
#[inline(always)]
fn either(ctx: &ProbeContext, direction: Direction, length: Length) -> u32 {
    const NO_RETURN: u32 = 1;
    let id = bpf_get_current_pid_tgid();
    let ip = place(ctx);
    if !openssl::enters(ctx, pending::key(id as u32, direction), ip) {
        return leave(&RetProbeContext { regs: ctx.regs }, id, direction);
    }
    match ctx.arg::<u64>(0) {
        Some(ssl) if openssl::unwanted(ssl, id) => NO_RETURN,
        _ if enter(ctx, id, direction, length, ip) => 0,
        _ => NO_RETURN,
    }
}

/// Where the thread stands.
#[inline(always)]
fn place(ctx: &ProbeContext) -> u64 {
    // SAFETY: the context is the kernel's.
    unsafe { (*ctx.regs).rip }
}

/// A call begins; false when nothing of it is wanted. `ip` is as [`pending::enter`] has it.
#[inline(always)]
fn enter(ctx: &ProbeContext, id: u64, direction: Direction, length: Length, ip: u64) -> bool {
    let key = GuessKey {
        place: place(ctx),
        tgid: (id >> 32) as u32,
        zero: 0,
    };
    let Some(state) = state_of(key) else {
        lose(Loss::CallsUnverified, 1);
        return false;
    };
    let more = match state.verdict {
        verdict::PLAUSIBLE => 0,
        verdict::OPEN => {
            let number = ctx.arg::<u64>(2).unwrap_or(0);
            let pointed = length != Length::Returned;
            let call = GuessCall {
                key,
                // An `int` in the plain form: what is above it may be anything.
                number: if pointed {
                    number
                } else {
                    number as i32 as u64
                },
                pointed: u64::from(pointed),
            };
            if GUESS_CALLS
                .insert(pending::key(id as u32, direction), call, 0)
                .is_err()
            {
                lose(Loss::CallsUnverified, 1);
                return false;
            }
            OPEN
        }
        _ => return false,
    };
    openssl::enter(ctx, id, ip, direction, length, more);
    true
}

#[inline(always)]
fn leave(ctx: &RetProbeContext, id: u64, direction: Direction) -> u32 {
    let pending = pending::key(id as u32, direction);
    let Some(mut call) = pending::leave(pending) else {
        lose(Loss::CallsUnverified, 1);
        return 0;
    };
    if call.active & OPEN != 0 {
        call.active &= !OPEN;
        let returned: i32 = ctx.ret();
        if !may_be_told(pending, &call, returned) {
            if returned > 0 {
                lose(Loss::CallsUnverified, 1);
            }
            return 0;
        }
    }
    openssl::finish(ctx, id, direction, &call)
}

/// What is known of a place, made when it is new.
#[inline(always)]
fn state_of(key: GuessKey) -> Option<&'static mut GuessState> {
    if let Some(state) = GUESSES.get_ptr_mut(key) {
        // SAFETY: from a lookup just now. Threads may be here at a time: a verdict is written whole, and a weight
        // that is lost is one of many.
        return Some(unsafe { &mut *state });
    }
    let _ = GUESSES.insert(key, GuessState::default(), u64::from(BPF_NOEXIST));
    // SAFETY: as above.
    GUESSES.get_ptr_mut(key).map(|state| unsafe { &mut *state })
}

/// It is known now.
#[inline(always)]
fn settle(state: &mut GuessState, place: u64, verdict: u32) {
    state.verdict = verdict;
    emit::guess(place, verdict);
}

/// The key that stands for all places of a process of which nothing is known yet.
#[inline(always)]
fn all(tgid: u32) -> GuessKey {
    GuessKey {
        place: 0,
        tgid,
        zero: 0,
    }
}

/// It is something else. Which other places are of the same library only the agent knows: until it has said so, none
/// of the process passes that has not passed before.
#[inline(always)]
fn refuse(state: &mut GuessState, key: GuessKey, verdict: u32) {
    let refused = GuessState { verdict, weight: 0 };
    let _ = GUESSES.insert(all(key.tgid), refused, 0);
    settle(state, key.place, verdict);
}

/// Whether a call may be told that was to be looked at. Takes note of what it says of the place.
#[inline(always)]
fn may_be_told(pending: u64, call: &PendingCall, returned: i32) -> bool {
    let Some(looked) = GUESS_CALLS.get_ptr(pending) else {
        return false;
    };
    // SAFETY: from a lookup just now. Only this thread uses this key, or one that has the place of another that
    // gave way to more than the table holds: then it is looked at the wrong place, which says so of its own.
    let looked = unsafe { *looked };
    let Some(state) = state_of(looked.key) else {
        return false;
    };
    match state.verdict {
        verdict::OPEN => {}
        // Another thread was faster.
        known => return known == verdict::PLAUSIBLE,
    }
    if GUESSES.get_ptr(all(looked.key.tgid)).is_some() {
        return false;
    }
    let place = looked.key.place;
    let packed = u64::from(returned as u32) | looked.pointed << 32;
    let object = genspan_is_connection(call.ssl, place);
    let moved = genspan_moved(packed, call.buf, call.len_ptr, looked.number);
    let weight = match (object, moved) {
        (NO, _) => {
            refuse(state, looked.key, verdict::NO_CONNECTION);
            return false;
        }
        (_, MOVED_NOTHING | UNREADABLE) => {
            if object == YES && moved == MOVED_NOTHING {
                WEIGHT_NOTHING_MOVED
            } else {
                WEIGHT_UNREADABLE
            }
        }
        (YES, MOVED) => {
            settle(state, place, verdict::PLAUSIBLE);
            return true;
        }
        (_, MOVED) => WEIGHT_UNREADABLE,
        (_, wrong) => {
            refuse(state, looked.key, wrong as u32);
            return false;
        }
    };
    state.weight = state.weight.saturating_add(weight);
    if state.weight >= MOST_WEIGHT {
        state.weight = 0;
        emit::guess(place, verdict::SILENT);
    }
    // That a connection is at its end may be told.
    object == YES && moved == MOVED_NOTHING
}

/// What [`genspan_is_connection`] says, and the first of these what [`genspan_moved`] says as well.
const UNREADABLE: u64 = 0;
const YES: u64 = 1;
const NO: u64 = 2;

/// What [`genspan_moved`] says beside that and the numbers of [`verdict`].
const MOVED_NOTHING: u64 = 100;
const MOVED: u64 = 101;

/// Whether an address is near the code at `place`.
#[inline(always)]
fn is_near(address: u64, place: u64) -> bool {
    address.wrapping_sub(place).wrapping_add(NEAR) < 2 * NEAR
}

/// Four words of the process.
#[inline(always)]
fn words(at: u64) -> Option<[u64; 4]> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(at as *const [u64; 4]) }.ok()
}

/// Whether an object is a connection of the library that has the code at `place`: its second word (before
/// OpenSSL 3.2: `version`, `method`), or its third and fourth (`type`, `ctx`, `defltmeth`, `method`; `struct ssl_st`,
/// `ssl/ssl_local.h`), is the address of a table of methods: version and flags, the options that it excludes,
/// and functions (`struct ssl_method_st`, the same from 1.1.1 to 4.0).
///
/// Verifier: a global function, verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_is_connection(ssl: u64, place: u64) -> u64 {
    if ssl == 0 {
        return UNREADABLE;
    }
    if ssl & 7 != 0 || !(LOWEST..HIGHEST).contains(&ssl) {
        return NO;
    }
    let Some([_, second, third, fourth]) = words(ssl) else {
        return UNREADABLE;
    };
    let mut said = NO;
    for word in [second, third, fourth] {
        if !is_near(word, place) {
            continue;
        }
        let Some([version, _, first, next]) = words(word) else {
            said = UNREADABLE;
            continue;
        };
        let (version, flags) = (version & u64::from(u32::MAX), version >> 32);
        if version != 0
            && version <= HIGHEST_VERSION
            && flags <= HIGHEST_FLAGS
            && is_near(first, place)
            && is_near(next, place)
        {
            return YES;
        }
    }
    said
}

/// What a call moved: [`MOVED`] if that can be, [`MOVED_NOTHING`], [`UNREADABLE`], or else the [`verdict`]. `packed`
/// is what it returned, and above that whether it tells through `len_ptr` how much it moved.
///
/// Verifier: as above.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_moved(packed: u64, buf: u64, len_ptr: u64, number: u64) -> u64 {
    let (returned, pointed) = (packed as u32 as i32, packed >> 32 != 0);
    if pointed && (number > MOST_BYTES || !(LOWEST..HIGHEST).contains(&len_ptr)) {
        return u64::from(verdict::NO_LENGTH);
    }
    if returned <= 0 {
        return MOVED_NOTHING;
    }
    let moved = if pointed {
        if returned != 1 {
            return u64::from(verdict::NO_RESULT);
        }
        // SAFETY: the helper checks the address.
        match unsafe { bpf_probe_read_user(len_ptr as *const u64) } {
            Ok(0) => return MOVED_NOTHING,
            Ok(moved) => moved,
            Err(_) => return UNREADABLE,
        }
    } else {
        returned as u64
    };
    if number as i64 <= 0 || moved > number {
        return u64::from(verdict::TOO_MUCH);
    }
    if !(LOWEST..HIGHEST).contains(&buf) {
        return u64::from(verdict::NO_LENGTH);
    }
    // SAFETY: as above.
    let ends = unsafe {
        (
            bpf_probe_read_user(buf as *const u8),
            bpf_probe_read_user(buf.wrapping_add(moved - 1) as *const u8),
        )
    };
    match ends {
        (Ok(_), Ok(_)) => MOVED,
        _ => UNREADABLE,
    }
}
