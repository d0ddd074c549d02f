//! Getting records into the rings.

use core::{arch::asm, ptr};

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE},
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns, generated::bpf_probe_read_user},
    maps::RingBuf,
};
use genspan_common::{
    event::{
        ConnectionContext, ConnectionEvent, ContextCopy, DataHeader, EventHeader, EventKind,
        ProcessEvent, SocketEvent, flag,
    },
    guess::GuessEvent,
    limits::{DATA_TIERS, MAX_CHUNK},
    loss::Loss,
};

use crate::maps::{CONTROL, DATA, SWITCHES, lose};

/// Index into `SWITCHES` of "wake me".
const WAKE: u32 = 0;
/// Index into `SWITCHES` of "copied contexts could not be told".
const COPIES_LOST: u32 = 2;

const HEADER: usize = size_of::<DataHeader>();

/// How a record that could not be written is counted.
pub enum Failed {
    /// No room.
    Full,
    /// The payload was not readable.
    Unreadable,
}

/// Whether a record should wake the agent: only the first after it went to sleep. While there is
/// traffic it polls, so the others need not pay for a wake-up (an interrupt to oneself, 2 us in a
/// virtual machine), nor for a look at how much is unread (a cache line of the agent's processor).
#[inline(always)]
pub fn wake_flags() -> u64 {
    if let Some(wake) = SWITCHES.get_ptr_mut(WAKE) {
        // SAFETY: a slot of a one-page array; two CPUs may both see it set and both wake, which
        // harms nobody.
        unsafe {
            if ptr::read_volatile(wake) != 0 {
                ptr::write_volatile(wake, 0);
                return u64::from(BPF_RB_FORCE_WAKEUP);
            }
        }
    }
    u64::from(BPF_RB_NO_WAKEUP)
}

/// Writes one data record: the smallest tier that takes `header.len` bytes from `from`.
#[inline(always)]
pub fn data(header: &DataHeader, from: u64) -> Result<(), Failed> {
    let len = header.len as usize;
    if len <= DATA_TIERS[0] {
        tier::<{ DATA_TIERS[0] }>(header, from)
    } else if len <= DATA_TIERS[1] {
        tier::<{ DATA_TIERS[1] }>(header, from)
    } else if len <= DATA_TIERS[2] {
        tier::<{ DATA_TIERS[2] }>(header, from)
    } else if len <= DATA_TIERS[3] {
        tier::<{ DATA_TIERS[3] }>(header, from)
    } else if len <= DATA_TIERS[4] {
        tier::<{ DATA_TIERS[4] }>(header, from)
    } else {
        tier::<{ DATA_TIERS[5] }>(header, from)
    }
}

/// Writes one data record of at most `N` payload bytes.
#[inline(always)]
pub fn tier<const N: usize>(header: &DataHeader, from: u64) -> Result<(), Failed> {
    let Some(mut record) = DATA.reserve_bytes(HEADER + N, 0) else {
        return Err(Failed::Full);
    };
    let at = record.as_mut_ptr();
    let mut len = u64::from(header.len);
    // Verifier: it forgets the bound that the caller has checked when LLVM keeps the length in
    // two registers. Hiding its origin makes LLVM emit this check, on the register that is used.
    // It must be an instruction: kernels refuse line information for an empty one.
    // SAFETY: moves a register to itself.
    unsafe { asm!("{0} = {0}", inout(reg) len) };
    if len > N as u64 {
        record.discard(u64::from(BPF_RB_NO_WAKEUP));
        return Err(Failed::Unreadable);
    }
    // SAFETY: the record has HEADER + N bytes, ring records are 8-byte aligned, and `len` is at
    // most N. Reading user memory through the helper cannot fault the program.
    let read = unsafe {
        ptr::write(at.cast::<DataHeader>(), *header);
        bpf_probe_read_user(at.add(HEADER).cast(), len as u32, from as *const _)
    };
    if read != 0 {
        record.discard(u64::from(BPF_RB_NO_WAKEUP));
        return Err(Failed::Unreadable);
    }
    record.submit(wake_flags());
    Ok(())
}

/// Writes one data record of exactly [`MAX_CHUNK`] payload bytes: constant sizes throughout, for
/// the loop over a large call.
#[inline(always)]
pub fn full(header: &DataHeader, from: u64) -> Result<(), Failed> {
    let Some(mut record) = DATA.reserve_bytes(HEADER + MAX_CHUNK, 0) else {
        return Err(Failed::Full);
    };
    let at = record.as_mut_ptr();
    // SAFETY: the record has HEADER + MAX_CHUNK bytes and is 8-byte aligned; the helper checks
    // the address in the traced process.
    let read = unsafe {
        ptr::write(at.cast::<DataHeader>(), *header);
        bpf_probe_read_user(at.add(HEADER).cast(), MAX_CHUNK as u32, from as *const _)
    };
    if read != 0 {
        record.discard(u64::from(BPF_RB_NO_WAKEUP));
        return Err(Failed::Unreadable);
    }
    record.submit(wake_flags());
    Ok(())
}

/// Header of a record about the current thread, stamped now.
#[inline(always)]
pub fn header(kind: EventKind) -> EventHeader {
    let id = bpf_get_current_pid_tgid();
    EventHeader {
        kind: kind as u32,
        tgid: (id >> 32) as u32,
        tid: id as u32,
        flags: 0,
        // SAFETY: no preconditions.
        time: unsafe { bpf_ktime_get_boot_ns() },
    }
}

#[inline(always)]
fn put<T: Copy + 'static>(ring: &RingBuf, value: T, flags: u64, full: Loss) {
    match ring.reserve::<T>(0) {
        Some(mut record) => {
            record.write(value);
            record.submit(flags);
        }
        None => lose(full, 1),
    }
}

/// Writes a record about a connection, in order with its data.
#[inline(always)]
pub fn connection(kind: EventKind, ssl: u64, generation: u64) {
    let event = ConnectionEvent {
        header: header(kind),
        ssl,
        generation,
    };
    put(&DATA, event, wake_flags(), Loss::RingFull);
}

/// Writes a record about a connection's socket, in order with its data.
#[inline(always)]
pub fn socket(event: SocketEvent) -> bool {
    let Some(mut record) = DATA.reserve::<SocketEvent>(0) else {
        lose(Loss::RingFull, 1);
        return false;
    };
    record.write(event);
    record.submit(wake_flags());
    true
}

/// Flags of a record that need not be looked at before the next one of another kind: it wakes the
/// agent only when the ring fills.
#[inline(always)]
fn quiet_flags(size: u64) -> u64 {
    let unread = DATA.query(u64::from(BPF_RB_AVAIL_DATA));
    // A power of two, as the ring's size is.
    let step = DATA.query(u64::from(BPF_RB_RING_SIZE)) / 8;
    if unread >= step && (unread ^ (unread - size)) & !(step - 1) != 0 {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}

/// Whether copied contexts could not be told since a record said so last: then an address that is
/// known may stand for another context.
#[inline(always)]
pub fn copies_lost() -> bool {
    matches!(SWITCHES.get(COPIES_LOST), Some(&lost) if lost != 0)
}

/// Sets, or takes back, that copied contexts could not be told.
#[inline(always)]
fn set_copies_lost(lost: bool) {
    if let Some(switch) = SWITCHES.get_ptr_mut(COPIES_LOST) {
        // SAFETY: a slot of a one-page array. Of two CPUs at a time one may take back what the other
        // has set; that one's next loss sets it again.
        unsafe { ptr::write_volatile(switch, u32::from(lost)) };
    }
}

/// Writes a record about the Python context of a connection's next data. Whether there was room.
#[inline(always)]
pub fn context(mut event: ConnectionContext) -> bool {
    let lost = copies_lost();
    let Some(mut record) = DATA.reserve::<ConnectionContext>(0) else {
        lose(Loss::RingFull, 1);
        return false;
    };
    if lost {
        event.header.flags = flag::LOST_BEFORE;
        set_copies_lost(false);
    }
    record.write(event);
    record.submit(u64::from(BPF_RB_NO_WAKEUP));
    true
}

/// Writes a record about a copied Python context, in order with the data.
#[inline(always)]
pub fn context_copy(mut event: ContextCopy) {
    let flags = quiet_flags(size_of::<ContextCopy>() as u64);
    let lost = copies_lost();
    let Some(mut record) = DATA.reserve::<ContextCopy>(0) else {
        lose(Loss::ContextsLost, 1);
        set_copies_lost(true);
        return;
    };
    if lost {
        event.header.flags = flag::LOST_BEFORE;
        set_copies_lost(false);
    }
    record.write(event);
    record.submit(flags);
}

/// Writes a record about the current process; these always wake the agent.
#[inline(always)]
pub fn process(kind: EventKind, child: u32) {
    let event = ProcessEvent {
        header: header(kind),
        child,
        zero: 0,
    };
    put(
        &CONTROL,
        event,
        u64::from(BPF_RB_FORCE_WAKEUP),
        Loss::ControlRingFull,
    );
}

/// Writes a record about a guessed function of the current process; wakes the agent as well.
#[inline(always)]
pub fn guess(place: u64, verdict: u32) {
    let event = GuessEvent {
        header: header(EventKind::Guess),
        place,
        verdict,
        zero: 0,
    };
    put(
        &CONTROL,
        event,
        u64::from(BPF_RB_FORCE_WAKEUP),
        Loss::ControlRingFull,
    );
}
