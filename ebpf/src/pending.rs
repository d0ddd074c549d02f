//! TLS calls between their entry and their return, by thread and direction.
//!
//! Each thread has a place of its own in an array, found by the low bits of its number: that costs a
//! few instructions, where a hash table costs a handful of calls. Of two threads that would have the
//! same place, the second one's calls are in the hash table. A place is let go when its thread ends.

use core::ptr;

use genspan_common::{event::Direction, loss::Loss};

use crate::maps::{OWN_CALLS, PENDING, lose};

/// Places in [`OWN_CALLS`], a power of two. Each thread has two, one for each direction.
pub const OWN_PLACES: u32 = 16_384;

/// A TLS call between its entry and its return.
///
/// Entries are made once per thread and direction and then used again in place: an insertion
/// and a removal per call would cost more than all else that the programs do.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PendingCall {
    /// Address of the `SSL` object.
    pub ssl: u64,
    /// Address of the caller's buffer.
    pub buf: u64,
    /// Address of the `size_t` that receives the length; zero where the return value is it.
    pub len_ptr: u64,
    /// Boot nanoseconds at entry.
    pub time: u64,
    /// Not zero between entry and return: `openssl::ACTIVE` or `openssl::ACTIVE_PUBLIC`.
    pub active: u64,
    /// The `struct sock` over which this thread moved TLS records since the entry.
    pub sk: u64,
    /// Bytes that were written and may stand in memory still: the thread most likely sends them
    /// next. Zero once the connection's socket is known.
    pub unsent: u64,
}

/// A place in the array.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OwnCall {
    /// [`key`] of the thread whose place it is; zero when nobody's.
    owner: u64,
    /// Not zero once a call was here: then none is in the hash table.
    used: u64,
    /// Where the thread entered last, and where it came back to; zero when not known.
    probe: u64,
    back: u64,
    /// Start of the thread's own data (`fs`), which never changes; zero when not known.
    pub base: u64,
    /// The call.
    pub call: PendingCall,
}

/// Which end of a call a thread is at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It enters.
    Entry,
    /// It comes back.
    Return,
    /// Its last call does not tell.
    Unknown,
}

/// Key of a thread's call.
#[inline(always)]
pub fn key(tid: u32, direction: Direction) -> u64 {
    u64::from(tid) | (direction as u64) << 32
}

/// The place that a thread would have.
#[inline(always)]
fn place(key: u64) -> Option<*mut OwnCall> {
    let index = (key as u32) << 1 | (key >> 32) as u32 & 1;
    OWN_CALLS.get_ptr_mut(index & (OWN_PLACES - 1))
}

/// Whose a place is, read anew each time: another thread may take one that is nobody's.
#[inline(always)]
fn owner(place: *mut OwnCall) -> u64 {
    // SAFETY: from a lookup just now; elements of arrays stay.
    unsafe { ptr::read_volatile(&raw const (*place).owner) }
}

/// The thread's own place, if it has one.
#[inline(always)]
pub fn own(key: u64) -> Option<&'static mut OwnCall> {
    let place = place(key)?;
    if owner(place) != key {
        return None;
    }
    // SAFETY: as in `owner`. Only its owner writes to it, and the thread is here now. (Of two that
    // take a place at one time the second gets it. What the first wrote is then the second's, who
    // sets all of it before its next call; the first sees in `leave` that the place is not its own.)
    Some(unsafe { &mut *place })
}

/// Which end of a call a thread is at, where one program runs at both: `ip` is where it stands. No
/// place of a probe is one to which a function returns. (It could become one where a library was
/// unloaded and another came to just that place; then one call is lost, and counted.)
#[inline(always)]
pub fn end(key: u64, ip: u64) -> End {
    match own(key) {
        Some(own) if own.probe == ip => End::Entry,
        Some(own) if own.back == ip => End::Return,
        _ => End::Unknown,
    }
}

/// Where a thread came back to that is known to have come back.
#[inline(always)]
pub fn came_back(key: u64, ip: u64) {
    if let Some(own) = own(key) {
        own.back = ip;
    }
}

/// A call begins, at a probe where `ip` is; zero where nobody asks for the [`end`].
#[inline(always)]
pub fn enter(key: u64, ip: u64, call: &PendingCall) {
    if let Some(own) = own(key) {
        if own.used == 0 {
            own.used = 1;
            own.base = 0;
            own.call.unsent = 0;
            let _ = PENDING.remove(key);
        }
        own.probe = ip;
        own.call.ssl = call.ssl;
        own.call.buf = call.buf;
        own.call.len_ptr = call.len_ptr;
        own.call.time = call.time;
        own.call.sk = 0;
        own.call.active = call.active;
        return;
    }
    if let Some(slot) = PENDING.get_ptr_mut(key) {
        // SAFETY: only this thread uses this key, and it is here now.
        let slot = unsafe { &mut *slot };
        slot.ssl = call.ssl;
        slot.buf = call.buf;
        slot.len_ptr = call.len_ptr;
        slot.time = call.time;
        slot.sk = 0;
        slot.active = call.active;
    } else if PENDING.insert(key, call, 0).is_err() {
        lose(Loss::PendingTableFull, 1);
    }
    take(key);
}

/// Takes a place that is nobody's, for the thread's next call: this one's is in the hash table, so
/// that a thread that takes the same place meanwhile disturbs nothing.
#[inline(always)]
fn take(key: u64) {
    let Some(place) = place(key) else {
        return;
    };
    if owner(place) != 0 {
        return;
    }
    // SAFETY: as in `owner`; see there for who else may write.
    unsafe {
        (*place).used = 0;
        (*place).probe = 0;
        (*place).back = 0;
        (*place).call.active = 0;
        ptr::write_volatile(&raw mut (*place).owner, key);
    }
}

/// The call of a thread that comes back, which is over with this. None when no entry was seen.
#[inline(always)]
pub fn leave(key: u64) -> Option<PendingCall> {
    if let Some(own) = own(key)
        && own.call.active != 0
    {
        let call = own.call;
        own.call.active = 0;
        // Read once more: what was read is the thread's when the place is.
        return place(key).filter(|at| owner(*at) == key).map(|_| call);
    }
    let slot = PENDING.get_ptr_mut(key)?;
    // SAFETY: only this thread uses this key, and it is here now.
    let call = unsafe {
        let call = *slot;
        (*slot).active = 0;
        call
    };
    (call.active != 0).then_some(call)
}

/// What is kept of a thread's call, under way or over.
#[inline(always)]
pub fn current(key: u64) -> Option<&'static mut PendingCall> {
    if let Some(own) = own(key)
        && own.used != 0
    {
        return Some(&mut own.call);
    }
    // SAFETY: from a lookup just now; only this thread uses this key, and it is here now.
    PENDING.get_ptr_mut(key).map(|call| unsafe { &mut *call })
}

/// A thread ended, or became another program.
#[inline(always)]
pub fn forget(tid: u32) {
    for direction in [Direction::Write, Direction::Read] {
        let key = key(tid, direction);
        if let Some(place) = place(key)
            && owner(place) == key
        {
            // SAFETY: as in `owner`.
            unsafe { ptr::write_volatile(&raw mut (*place).owner, 0) };
        }
    }
}
