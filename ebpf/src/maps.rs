//! The maps, and the settings that the agent patches in before loading.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use genspan_common::{
    limits::{DEFAULT_MESSAGE_BYTES, MAX_CONNECTIONS, MAX_PENDING_CALLS, MAX_PROCESSES},
    loss::Loss,
    map::{ConnectionKey, ConnectionMode, ConnectionState, Settings},
};

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
}

/// Plaintext for the agent. The size is set at load.
#[map]
pub static DATA: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// Fork, exec, exit, library loads: apart from the data, so that a full data ring loses none.
#[map]
pub static CONTROL: RingBuf = RingBuf::with_byte_size(256 << 10, 0);

/// Calls between entry and return, by thread and direction.
#[map]
pub static PENDING: HashMap<u64, PendingCall> = HashMap::with_max_entries(MAX_PENDING_CALLS, 0);

/// Connections. Least recently used ones give way: a process that never frees its `SSL` objects
/// must not stop the rest. One that comes back gets a new generation.
#[map]
pub static CONNECTIONS: LruHashMap<ConnectionKey, ConnectionState> =
    LruHashMap::with_max_entries(MAX_CONNECTIONS, 0);

/// What to copy of a connection, where that is not everything. Written by the agent.
#[map]
pub static MODES: LruHashMap<ConnectionKey, ConnectionMode> =
    LruHashMap::with_max_entries(MAX_CONNECTIONS, 0);

/// Traced processes by thread group id.
#[map]
pub static TRACED: HashMap<u32, u32> = HashMap::with_max_entries(MAX_PROCESSES, 0);

/// Element 0: the agent sleeps and wants to be woken by the next record. Element 1: `MODES` has
/// had an entry, so it is worth a look.
#[map]
pub static SWITCHES: Array<u32> = Array::with_max_entries(2, 0);

/// Losses by [`Loss`].
#[map]
pub static LOSS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Loss::COUNT as u32, 0);

/// Patched by the agent before loading.
#[unsafe(no_mangle)]
pub static SETTINGS: Global<Settings> = Global::new(Settings {
    message_bytes: DEFAULT_MESSAGE_BYTES,
    wake_bytes: 1 << 20,
    task_tgid_offset: 0,
    zero: 0,
});

/// Adds to a loss counter.
#[inline(always)]
pub fn lose(reason: Loss, n: u64) {
    if let Some(counter) = LOSS.get_ptr_mut(reason as u32) {
        // SAFETY: a per-CPU slot from a lookup just now; programs do not migrate while running.
        unsafe { *counter = (*counter).wrapping_add(n) };
    }
}
