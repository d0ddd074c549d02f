//! What the kernel remembers of connections, and how bytes that went over one become records.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns, bpf_probe_read_kernel},
};
use genspan_common::{
    event::{DataHeader, Direction, EventHeader, EventKind, SocketRole, flag},
    limits::{
        DATA_TIERS, HEAD_BYTES, MAX_CHUNK, MAX_CHUNKS_PER_CALL, OUTLINE_TAIL_BYTES, TAIL_BYTES,
    },
    loss::Loss,
    map::{ConnectionKey, ConnectionState, mode},
};

use crate::{
    emit::{self, Failed},
    generator::genspan_write_within,
    maps::{CONNECTIONS, MODES, SETTINGS, SWITCHES, lose},
    python,
};

/// Index into `SWITCHES` of "there are modes".
const MODES_IN_USE: u32 = 1;

/// The time of a call, when it was not taken at its entry.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// The peer ended its side.
#[inline(always)]
pub fn end_of_stream(key: ConnectionKey) {
    if let Some(state) = CONNECTIONS.get_ptr(key) {
        // SAFETY: from a lookup just now.
        let generation = unsafe { (*state).generation };
        emit::connection(EventKind::EndOfStream, key.ssl, generation);
    }
}

/// The state of a connection, made when it is new.
#[inline(always)]
pub fn state_of(key: ConnectionKey, time: u64) -> Option<*mut ConnectionState> {
    if let Some(state) = CONNECTIONS.get_ptr_mut(key) {
        return Some(state);
    }
    let fresh = ConnectionState {
        generation: time,
        ..ConnectionState::default()
    };
    // Two threads may come at a time, one that writes and one that reads: the first one's stays.
    let inserted = CONNECTIONS.insert(key, fresh, u64::from(BPF_NOEXIST));
    let state = CONNECTIONS.get_ptr_mut(key);
    if inserted.is_err() && state.is_none() {
        lose(Loss::ConnectionTableFull, 1);
    }
    state
}

/// Whether the agent has said of any connection what it wants.
#[inline(always)]
pub fn modes_in_use() -> bool {
    matches!(SWITCHES.get(MODES_IN_USE), Some(&n) if n != 0)
}

/// What the agent wants of this connection.
#[inline(always)]
pub fn mode_of(key: ConnectionKey, generation: u64) -> u32 {
    if !modes_in_use() {
        return mode::WHOLE;
    }
    match MODES.get_ptr(key) {
        // SAFETY: from a lookup just now.
        Some(m) if unsafe { (*m).generation } == generation => unsafe { (*m).mode },
        _ => mode::WHOLE,
    }
}

/// Which way requests go.
#[inline(always)]
fn requests(state: &ConnectionState) -> u32 {
    if state.role == SocketRole::Accepted as u32 {
        Direction::Read as u32
    } else {
        Direction::Write as u32
    }
}

/// Whether the agent wants nothing more of a connection.
#[inline(always)]
pub fn is_unwanted(key: ConnectionKey, generation: u64) -> bool {
    mode_of(key, generation) == mode::NOTHING
}

/// Whether the agent wants nothing of what goes this way.
#[inline(always)]
pub fn unwanted(key: ConnectionKey, state: &ConnectionState, direction: u32) -> bool {
    match mode_of(key, state.generation) {
        mode::WHOLE | mode::OUTLINE => false,
        mode::HEADS => direction != requests(state),
        _ => true,
    }
}

/// Bytes went over a connection of which nobody wants them: only account for them.
#[inline(always)]
pub fn skip(state: &mut ConnectionState, direction: u32, bytes: u64) {
    let d = direction as usize & 1;
    state.transferred[d] = state.transferred[d].wrapping_add(bytes);
    state.before[d] |= flag::SKIPPED_BEFORE;
    if state.message_direction != direction {
        state.message_direction = direction;
        state.message = 0;
    }
    // At most 2 GiB: saturating is enough.
    state.message = state.message.saturating_add(bytes as u32);
}

/// Bytes went over a connection: account for them, and copy what is wanted.
#[inline(always)]
pub fn moved(key: ConnectionKey, tid: u32, direction: Direction, time: u64, from: u64, total: u64) {
    let Some(state) = state_of(key, time) else {
        return;
    };
    let d = direction as usize & 1;
    // SAFETY: from a lookup just now. A socket, and with CPython before 3.13 an SSL object, may be
    // read and written by two threads at a time: each direction has fields of its own, and of the
    // shared ones only the size of the message can suffer, which is a limit and no position.
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

    let (limit, tail) = match mode_of(key, state.generation) {
        mode::WHOLE => (SETTINGS.load().message_bytes, TAIL_BYTES),
        mode::HEADS if direction as u32 == requests(state) => (HEAD_BYTES, 0),
        mode::OUTLINE => (HEAD_BYTES, OUTLINE_TAIL_BYTES),
        _ => {
            state.before[d] |= flag::SKIPPED_BEFORE;
            return;
        }
    };
    if !python::tell_context(&key, state, d, tid, time) {
        state.before[d] |= flag::LOST_BEFORE;
        return;
    }
    // Where a message begins: of what follows, most is written from the same place.
    if SETTINGS.load().stacks != 0
        && before == 0
        && matches!(direction, Direction::Write)
        && state.role != SocketRole::Accepted as u32
    {
        python::genspan_stack(key.ssl, state.generation, time);
    }
    if SETTINGS.load().functions != 0
        && before == 0
        && matches!(direction, Direction::Write)
        && state.role != SocketRole::Accepted as u32
    {
        genspan_write_within(key.ssl, state.generation, time);
    }
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
    // Past the limit the tail of each call is kept, of a short one all.
    let kept = if room == 0 { u64::from(tail) } else { room };
    if total <= kept && total <= DATA_TIERS[DATA_TIERS.len() - 1] as u64 {
        // Nearly every call: one record.
        header.len = total as u32;
        sent(state, d, &mut header, |h| emit::data(h, from));
    } else {
        large(state, d, header, from, total, room, tail);
    }
}

/// Bytes went over a connection of which nothing can be copied: an empty record after them tells
/// how many they were. `at` is an address that is not read.
#[inline(always)]
pub fn passed(key: ConnectionKey, tid: u32, direction: Direction, time: u64, at: u64, bytes: u64) {
    if let Some(state) = CONNECTIONS.get_ptr_mut(key) {
        let d = direction as usize & 1;
        // SAFETY: as in `moved`.
        let state = unsafe { &mut *state };
        state.transferred[d] = state.transferred[d].wrapping_add(bytes);
        state.before[d] |= flag::SKIPPED_BEFORE;
        lose(Loss::UnfollowedBytes, bytes);
        let header = &mut DataHeader {
            header: EventHeader {
                kind: EventKind::Data as u32,
                tgid: key.tgid,
                tid,
                flags: 0,
                time,
            },
            ssl: key.ssl,
            generation: state.generation,
            offset: state.transferred[d],
            direction: direction as u32,
            len: 0,
        };
        sent(state, d, header, |h| emit::tier::<{ DATA_TIERS[0] }>(h, at));
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
            lose(reason(failed), 1);
        }
    }
}

/// How a record that could not be written is counted.
#[inline(always)]
fn reason(failed: Failed) -> Loss {
    match failed {
        Failed::Full => Loss::RingFull,
        Failed::Unreadable => Loss::PayloadUnreadable,
    }
}

/// Bits of [`genspan_full`]'s `packed` below the offset: the direction and the flags.
const PACKED: u32 = 8;
const _: () = assert!((flag::LOST_BEFORE | flag::SKIPPED_BEFORE) << 1 < 1 << PACKED);

/// Sends a record of the largest tier. Not zero when it was lost, which is counted.
///
/// Verifier: a global function, so it is verified once and by itself and not in each round of the loop
/// that calls it. Such a one takes numbers, and five of them: the lowest byte of `packed` is the
/// direction and the flags.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_full(
    ssl: u64,
    generation: u64,
    time: u64,
    packed: u64,
    from: u64,
) -> u64 {
    let id = bpf_get_current_pid_tgid();
    let header = DataHeader {
        header: EventHeader {
            kind: EventKind::Data as u32,
            tgid: (id >> 32) as u32,
            tid: id as u32,
            flags: (packed >> 1) as u32 & 0x7f,
            time,
        },
        ssl,
        generation,
        offset: packed >> PACKED,
        direction: packed as u32 & 1,
        len: MAX_CHUNK as u32,
    };
    match emit::full(&header, from) {
        Ok(()) => 0,
        Err(failed) => {
            lose(reason(failed), 1);
            1
        }
    }
}

/// A number of which the verifier is to know nothing more, so that ways which differ in it are one: it
/// stops at a million instructions, and older kernels (6.1) follow many times as many ways as newer
/// ones. A helper's call, so not for what every call passes.
#[inline(always)]
pub fn forget(number: u64) -> u64 {
    // SAFETY: reads what stands on this program's own stack.
    unsafe { bpf_probe_read_kernel(&raw const number) }.unwrap_or(0)
}

/// A call that is longer than one record or than the message's limit: as much as there is room
/// for in records of the largest tier, then the tail,
/// of which at most `tail` bytes are wanted: none, or a size for which there is a tier.
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
    tail: u32,
) {
    const CHUNK: u64 = MAX_CHUNK as u64;
    // Verifier: the ways that lead here differ in what is known of these, and each would be followed.
    let (total, room, tail) = (forget(total), forget(room), forget(u64::from(tail)) as u32);
    let start = header.offset;
    let most = CHUNK * MAX_CHUNKS_PER_CALL as u64;
    let mut done = if total < room { total } else { room };
    if done > most {
        lose(Loss::CallLimitBytes, done - most);
        done = most;
    }
    for i in 0..u64::from(MAX_CHUNKS_PER_CALL) {
        if (i + 1) * CHUNK > done {
            break;
        }
        let at = start.wrapping_add(i * CHUNK);
        let packed = at << PACKED | u64::from(state.before[d]) << 1 | d as u64;
        let (ssl, generation, time) = (header.ssl, header.generation, header.header.time);
        let failed = genspan_full(ssl, generation, time, packed, from.wrapping_add(i * CHUNK));
        if failed == 0 {
            state.before[d] = 0;
        } else {
            state.before[d] |= flag::LOST_BEFORE;
        }
    }
    // Verifier: each round of the loop that may be the last leaves another range of these.
    let (done, total) = (forget(done), forget(total));
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
    let keep = if left > u64::from(tail) {
        u64::from(tail)
    } else {
        left
    };
    if left > keep {
        state.before[d] |= flag::SKIPPED_BEFORE;
        // Of an outline nobody misses it.
        if tail != OUTLINE_TAIL_BYTES {
            lose(Loss::MessageLimitBytes, left - keep);
        }
    }
    if keep == 0 {
        return;
    }
    header.offset = start.wrapping_add(total - keep);
    header.len = keep as u32;
    let at = from.wrapping_add(total - keep);
    if tail == OUTLINE_TAIL_BYTES {
        sent(state, d, &mut header, |h| {
            emit::tier::<{ OUTLINE_TAIL_BYTES as usize }>(h, at)
        });
    } else {
        sent(state, d, &mut header, |h| {
            emit::tier::<{ TAIL_BYTES as usize }>(h, at)
        });
    }
}
