//! OpenSSL's reads, writes and frees.
//!
//! Two forms of each: the old one, whose return value is the length (`SSL_read`, `SSL_write`),
//! and the one that stores the length through its fourth argument and returns 1
//! (`SSL_read_ex`, `SSL_write_ex`, and the internal functions that both forms call in OpenSSL
//! 1.1.1 and 3: `ssl_read_internal`, `ssl_write_internal`, `ssl/ssl_lib.c`). The agent chooses
//! where to put the probes; the programs only know the form.
//!
//! Data is taken on return, with the length that was really transferred, so that a retried
//! partial write is not seen twice.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_func_ip, bpf_ktime_get_boot_ns, bpf_probe_read_user,
    },
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use aya_log_ebpf::debug;
use genspan_common::{
    event::{DataHeader, Direction, EventHeader, EventKind, flag},
    limits::{DATA_TIERS, HEAD_BYTES, MAX_CHUNK, MAX_CHUNKS_PER_CALL, TAIL_BYTES},
    loss::Loss,
    map::{ConnectionKey, ConnectionState, mode},
};

use crate::{
    emit::{self, Failed},
    maps::{CONNECTIONS, MODES, PENDING, PendingCall, SETTINGS, SWITCHES, lose},
};

/// Index into `SWITCHES` of "there are modes".
const MODES_IN_USE: u32 = 1;

/// Values of [`PendingCall::active`]: a call under way, and one of a function that returns 0
/// whatever went wrong.
const ACTIVE: u64 = 1;
const ACTIVE_PUBLIC: u64 = 2;

/// Where a call tells the length that it transferred.
#[derive(Clone, Copy)]
enum Length {
    /// In its return value.
    Returned,
    /// Where its fourth argument points to.
    Fourth,
    /// The same, of a function that returns 0 whatever went wrong.
    PublicFourth,
    /// Where its fifth argument points to.
    Fifth,
}

/// `SSL_read(ssl, buf, num)`
#[uprobe]
pub fn tls_read_enter(ctx: ProbeContext) -> u32 {
    enter(&ctx, Direction::Read, Length::Returned)
}

/// `SSL_read_ex(ssl, buf, num, &readbytes)`
#[uprobe]
pub fn tls_read_ex_enter(ctx: ProbeContext) -> u32 {
    enter(&ctx, Direction::Read, Length::Fourth)
}

/// `SSL_read_ex` itself, not the internal function below it.
#[uprobe]
pub fn tls_read_public_ex_enter(ctx: ProbeContext) -> u32 {
    enter(&ctx, Direction::Read, Length::PublicFourth)
}

/// `SSL_write(ssl, buf, num)`
#[uprobe]
pub fn tls_write_enter(ctx: ProbeContext) -> u32 {
    enter(&ctx, Direction::Write, Length::Returned)
}

/// `SSL_write_ex(ssl, buf, num, &written)`
#[uprobe]
pub fn tls_write_ex_enter(ctx: ProbeContext) -> u32 {
    enter(&ctx, Direction::Write, Length::Fourth)
}

/// `ssl_write_internal(ssl, buf, num, flags, &written)` since OpenSSL 3.3 (`ssl/ssl_lib.c`)
#[uprobe]
pub fn tls_write_ex5_enter(ctx: ProbeContext) -> u32 {
    enter(&ctx, Direction::Write, Length::Fifth)
}

/// Return of a read, either form.
#[uretprobe]
pub fn tls_read_return(ctx: RetProbeContext) -> u32 {
    leave(&ctx, Direction::Read)
}

/// Return of a write, either form.
#[uretprobe]
pub fn tls_write_return(ctx: RetProbeContext) -> u32 {
    leave(&ctx, Direction::Write)
}

/// `SSL_read`, entry and return in one: see [`either`].
#[uprobe]
pub fn tls_read(ctx: ProbeContext) -> u32 {
    either(&ctx, Direction::Read, Length::Returned)
}

/// `SSL_read_ex`, entry and return in one.
#[uprobe]
pub fn tls_read_ex(ctx: ProbeContext) -> u32 {
    either(&ctx, Direction::Read, Length::Fourth)
}

/// `SSL_read_ex` itself, entry and return in one.
#[uprobe]
pub fn tls_read_public_ex(ctx: ProbeContext) -> u32 {
    either(&ctx, Direction::Read, Length::PublicFourth)
}

/// `SSL_write`, entry and return in one.
#[uprobe]
pub fn tls_write(ctx: ProbeContext) -> u32 {
    either(&ctx, Direction::Write, Length::Returned)
}

/// `SSL_write_ex`, entry and return in one.
#[uprobe]
pub fn tls_write_ex(ctx: ProbeContext) -> u32 {
    either(&ctx, Direction::Write, Length::Fourth)
}

/// `ssl_write_internal` since OpenSSL 3.3, entry and return in one.
#[uprobe]
pub fn tls_write_ex5(ctx: ProbeContext) -> u32 {
    either(&ctx, Direction::Write, Length::Fifth)
}

/// Both ends of a call, for a session link: the kernel runs the same program at the entry and, if
/// that gave 0, on return.
#[inline(always)]
fn either(ctx: &ProbeContext, direction: Direction, length: Length) -> u32 {
    const NO_RETURN: u32 = 1;
    // SAFETY: the context is the kernel's. The helper gives the probe's address, at both ends.
    let probe = unsafe { bpf_get_func_ip(ctx.as_ptr()) };
    // SAFETY: as above; at the entry the thread is at the probe, on return at the caller.
    if unsafe { (*ctx.regs).rip } != probe {
        return leave(&RetProbeContext { regs: ctx.regs }, direction);
    }
    match ctx.arg::<u64>(0) {
        Some(ssl) if unwanted(ssl) => NO_RETURN,
        _ => enter(ctx, direction, length),
    }
}

/// Whether nothing of this connection is wanted any more: then its calls need no return.
#[inline(always)]
fn unwanted(ssl: u64) -> bool {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let key = ConnectionKey { ssl, tgid, zero: 0 };
    match (SWITCHES.get(MODES_IN_USE), CONNECTIONS.get_ptr(key)) {
        // SAFETY: from a lookup just now.
        (Some(&n), Some(state)) if n != 0 => {
            mode_of(key, unsafe { (*state).generation }) == mode::NOTHING
        }
        _ => false,
    }
}

/// `SSL_free(ssl)`. May only drop a reference, but CPython holds one per object.
#[uprobe]
pub fn tls_free(ctx: ProbeContext) -> u32 {
    let Some(ssl) = ctx.arg::<u64>(0) else {
        return 0;
    };
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let key = ConnectionKey { ssl, tgid, zero: 0 };
    let Some(state) = CONNECTIONS.get_ptr(key) else {
        return 0;
    };
    // SAFETY: from a lookup just now; a racing reuse of the slot could only give another
    // connection's generation, which the agent does not match with this address.
    let generation = unsafe { (*state).generation };
    debug!(&ctx, "SSL_free({:x})", ssl);
    emit::connection(EventKind::Closed, ssl, generation);
    let _ = CONNECTIONS.remove(key);
    0
}

/// Key of a thread's pending call.
#[inline(always)]
pub fn pending_key(tid: u32, direction: Direction) -> u64 {
    u64::from(tid) | (direction as u64) << 32
}

#[inline(always)]
fn enter(ctx: &ProbeContext, direction: Direction, length: Length) -> u32 {
    let (Some(ssl), Some(buf)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else {
        return 0;
    };
    let len_ptr = match length {
        Length::Returned => 0,
        Length::Fourth | Length::PublicFourth => ctx.arg::<u64>(3).unwrap_or(0),
        Length::Fifth => ctx.arg::<u64>(4).unwrap_or(0),
    };
    // Only a write's time is that of its entry.
    let time = match direction {
        // SAFETY: no preconditions.
        Direction::Write => unsafe { bpf_ktime_get_boot_ns() },
        Direction::Read => 0,
    };
    let call = PendingCall {
        ssl,
        buf,
        len_ptr,
        time,
        active: match length {
            Length::PublicFourth => ACTIVE_PUBLIC,
            _ => ACTIVE,
        },
    };
    let key = pending_key(bpf_get_current_pid_tgid() as u32, direction);
    if let Some(slot) = PENDING.get_ptr_mut(key) {
        // SAFETY: only this thread uses this key, and it is here now.
        unsafe { *slot = call };
    } else if PENDING.insert(key, call, 0).is_err() {
        lose(Loss::PendingTableFull, 1);
    }
    0
}

#[inline(always)]
fn leave(ctx: &RetProbeContext, direction: Direction) -> u32 {
    let id = bpf_get_current_pid_tgid();
    let key = pending_key(id as u32, direction);
    let Some(slot) = PENDING.get_ptr_mut(key) else {
        lose(Loss::ReturnWithoutEntry, 1);
        return 0;
    };
    // SAFETY: only this thread uses this key, and it is here now.
    let call = unsafe {
        let call = *slot;
        (*slot).active = 0;
        call
    };
    if call.active == 0 {
        lose(Loss::ReturnWithoutEntry, 1);
        return 0;
    }
    let key = ConnectionKey {
        ssl: call.ssl,
        tgid: (id >> 32) as u32,
        zero: 0,
    };
    let returned: i32 = ctx.ret();
    if returned <= 0 {
        // A read that wants more data returns -1; zero is the end of the stream.
        if returned == 0 && matches!(direction, Direction::Read) && call.active == ACTIVE {
            end_of_stream(key);
        }
        return 0;
    }
    let transferred = if call.len_ptr == 0 {
        u64::from(returned as u32)
    } else {
        // SAFETY: the helper checks the address.
        match unsafe { bpf_probe_read_user(call.len_ptr as *const u64) } {
            Ok(n) => n,
            Err(_) => {
                lose(Loss::LengthUnreadable, 1);
                return 0;
            }
        }
    };
    if transferred == 0 {
        return 0;
    }
    let time = match direction {
        Direction::Write => call.time,
        // SAFETY: no preconditions.
        Direction::Read => unsafe { bpf_ktime_get_boot_ns() },
    };
    moved(key, id as u32, direction, time, call.buf, transferred);
    0
}

#[inline(always)]
fn end_of_stream(key: ConnectionKey) {
    if let Some(state) = CONNECTIONS.get_ptr(key) {
        // SAFETY: from a lookup just now.
        let generation = unsafe { (*state).generation };
        emit::connection(EventKind::EndOfStream, key.ssl, generation);
    }
}

/// The state of a connection, made when it is new.
#[inline(always)]
fn state_of(key: ConnectionKey, time: u64) -> Option<*mut ConnectionState> {
    if let Some(state) = CONNECTIONS.get_ptr_mut(key) {
        return Some(state);
    }
    let fresh = ConnectionState {
        generation: time,
        ..ConnectionState::default()
    };
    if CONNECTIONS.insert(key, fresh, 0).is_err() {
        lose(Loss::ConnectionTableFull, 1);
        return None;
    }
    CONNECTIONS.get_ptr_mut(key)
}

/// What the agent wants of this connection.
#[inline(always)]
fn mode_of(key: ConnectionKey, generation: u64) -> u32 {
    match SWITCHES.get(MODES_IN_USE) {
        Some(&n) if n != 0 => {}
        _ => return mode::WHOLE,
    }
    match MODES.get_ptr(key) {
        // SAFETY: from a lookup just now.
        Some(m) if unsafe { (*m).generation } == generation => unsafe { (*m).mode },
        _ => mode::WHOLE,
    }
}

/// Bytes went over a connection: account for them, and copy what is wanted.
#[inline(always)]
fn moved(key: ConnectionKey, tid: u32, direction: Direction, time: u64, from: u64, total: u64) {
    let Some(state) = state_of(key, time) else {
        return;
    };
    let d = direction as usize & 1;
    // SAFETY: from a lookup just now. OpenSSL allows one thread at a time in an SSL object, so
    // nobody else writes this entry.
    let state = unsafe { &mut *state };
    let offset = state.transferred[d];
    state.transferred[d] = offset.wrapping_add(total);
    if state.message_direction != direction as u32 {
        state.message_direction = direction as u32;
        state.message = 0;
    }
    let before = state.message;
    state.message = before.saturating_add(if total > 0x7fff_ffff {
        0x7fff_ffff
    } else {
        total as u32
    });

    let limit = match mode_of(key, state.generation) {
        mode::WHOLE => SETTINGS.load().message_bytes,
        mode::HEADS if matches!(direction, Direction::Write) => HEAD_BYTES,
        _ => {
            state.before[d] |= flag::SKIPPED_BEFORE;
            return;
        }
    };
    let mut header = DataHeader {
        header: EventHeader {
            kind: EventKind::Data as u32,
            tgid: key.tgid,
            tid,
            flags: 0,
            time,
        },
        ssl: key.ssl,
        generation: state.generation,
        offset,
        direction: direction as u32,
        len: 0,
    };
    let room = u64::from(limit.saturating_sub(before));
    if total <= room && total <= DATA_TIERS[DATA_TIERS.len() - 1] as u64 {
        // Nearly every call: one record.
        header.len = total as u32;
        sent(state, d, &mut header, |h| emit::data(h, from));
    } else {
        large(state, d, header, from, total, room, limit > HEAD_BYTES);
    }
}

/// Sends a record and keeps the books of what was lost.
#[inline(always)]
fn sent(
    state: &mut ConnectionState,
    d: usize,
    header: &mut DataHeader,
    send: impl FnOnce(&DataHeader) -> Result<(), Failed>,
) {
    header.header.flags = state.before[d];
    match send(header) {
        Ok(()) => state.before[d] = 0,
        Err(failed) => {
            state.before[d] |= flag::LOST_BEFORE;
            lose(
                match failed {
                    Failed::Full => Loss::RingFull,
                    Failed::Unreadable => Loss::PayloadUnreadable,
                },
                1,
            );
        }
    }
}

/// A call that is longer than one record or than the message's limit: as much as there is room
/// for in records of the largest tier, then the tail.
///
/// Verifier: lengths that are computed from one another in a loop multiply its states past the
/// limit of a million instructions. So the loop writes full records only, whose size and
/// position are constants in each round, and the rest is written after it.
#[inline(always)]
fn large(
    state: &mut ConnectionState,
    d: usize,
    mut header: DataHeader,
    from: u64,
    total: u64,
    room: u64,
    tail: bool,
) {
    const CHUNK: u64 = MAX_CHUNK as u64;
    let start = header.offset;
    let most = CHUNK * MAX_CHUNKS_PER_CALL as u64;
    let mut done = if total < room { total } else { room };
    if done > most {
        lose(Loss::CallLimitBytes, done - most);
        done = most;
    }
    header.len = MAX_CHUNK as u32;
    for i in 0..u64::from(MAX_CHUNKS_PER_CALL) {
        if (i + 1) * CHUNK > done {
            break;
        }
        header.offset = start.wrapping_add(i * CHUNK);
        let at = from.wrapping_add(i * CHUNK);
        sent(state, d, &mut header, |h| emit::full(h, at, i == 0));
    }
    let rest = done & (CHUNK - 1);
    if rest != 0 {
        header.offset = start.wrapping_add(done - rest);
        header.len = rest as u32;
        let at = from.wrapping_add(done - rest);
        sent(state, d, &mut header, |h| emit::data(h, at));
    }
    let left = total - done;
    if left == 0 {
        return;
    }
    let keep = if !tail {
        0
    } else if left > u64::from(TAIL_BYTES) {
        u64::from(TAIL_BYTES)
    } else {
        left
    };
    if left > keep {
        state.before[d] |= flag::SKIPPED_BEFORE;
        lose(Loss::MessageLimitBytes, left - keep);
    }
    if keep == 0 {
        return;
    }
    header.offset = start.wrapping_add(total - keep);
    header.len = keep as u32;
    let at = from.wrapping_add(total - keep);
    sent(state, d, &mut header, |h| {
        emit::tier::<{ TAIL_BYTES as usize }>(h, at)
    });
}
