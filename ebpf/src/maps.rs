//! The maps, and the settings that the agent patches in before loading.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use genspan_common::{
    guess::{GuessKey, GuessState, MAX_GUESSES},
    limits::{DEFAULT_MESSAGE_BYTES, MAX_CONNECTIONS, MAX_PENDING_CALLS, MAX_PROCESSES},
    loss::Loss,
    map::{ConnectionKey, ConnectionMode, ConnectionState, Settings},
    python::PythonLayout,
    socket::{NO_CALL, SocketLayout, call},
};

use crate::{
    guess::GuessCall,
    pending::{OWN_PLACES, OwnCall, PendingCall},
};

/// A call on a socket: of a thread, from the entry of the function (where it is probed at its
/// entry and its return) to the last segment copied. Entries are used again in place as above.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SocketCall {
    /// The descriptor; later [`ConnectionKey::ssl`].
    pub object: u64,
    /// Address of the buffer, of the next `iovec`, or of the `msghdr`.
    pub address: u64,
    /// Boot nanoseconds: of the entry of a write, or of its end where only that is probed.
    pub time: u64,
    /// Bytes that are still to be copied.
    pub left: u64,
    /// [`Direction`](genspan_common::event::Direction) as a number.
    pub direction: u32,
    /// [`Shape`](crate::segment::Shape) as a number.
    pub shape: u32,
    /// Segments that are left.
    pub segments: u32,
    /// Segments that were copied.
    pub done: u32,
    /// `MSG_…` flags of the call.
    pub flags: u32,
    /// One between entry and return.
    pub active: u32,
}

/// Plaintext for the agent. The size is set at load.
#[map]
pub static DATA: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// Fork, exec, exit, library loads: apart from the data, so that a full data ring loses none.
#[map]
pub static CONTROL: RingBuf = RingBuf::with_byte_size(256 << 10, 0);

/// Calls between entry and return of threads that have a place of their own: see [`pending`].
///
/// [`pending`]: crate::pending
#[map]
pub static OWN_CALLS: Array<OwnCall> = Array::with_max_entries(OWN_PLACES, 0);

/// Those of the others, by thread and direction.
#[map]
pub static PENDING: HashMap<u64, PendingCall> = HashMap::with_max_entries(MAX_PENDING_CALLS, 0);

/// Functions of TLS libraries that were found by their code, and what their calls said of that. The agent
/// takes out those of processes that are gone; a place that had to give way is looked at anew.
#[map]
pub static GUESSES: LruHashMap<GuessKey, GuessState> = LruHashMap::with_max_entries(MAX_GUESSES, 0);

/// Calls of those of which nothing is known yet, between entry and return, by thread and direction.
#[map]
pub static GUESS_CALLS: LruHashMap<u64, GuessCall> =
    LruHashMap::with_max_entries(MAX_PENDING_CALLS, 0);

/// Connections. Least recently used ones give way: a process that never frees its `SSL` objects
/// must not stop the rest. One that comes back gets a new generation.
#[map]
pub static CONNECTIONS: LruHashMap<ConnectionKey, ConnectionState> =
    LruHashMap::with_max_entries(MAX_CONNECTIONS, 0);

/// What to copy of a connection, where that is not everything. Written by the agent.
#[map]
pub static MODES: LruHashMap<ConnectionKey, ConnectionMode> =
    LruHashMap::with_max_entries(MAX_CONNECTIONS, 0);

/// Calls on sockets, by thread.
#[map]
pub static SOCKET_CALLS: HashMap<u32, SocketCall> = HashMap::with_max_entries(MAX_PENDING_CALLS, 0);

/// The program that copies a segment and calls itself for the next, for probes.
#[map]
pub static SEGMENT_PROBE: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The same for probes of multi-uprobe links: since Linux 6.18 a tail call stays within what
/// programs are attached to as well. The agent puts it in the place of [`SEGMENT_PROBE`] for them.
#[map]
pub static SEGMENT_MULTI: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The same for tracepoints: a tail call stays within a type of programs.
#[map]
pub static SEGMENT_TRACEPOINT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The same for trampolines: a tail call stays within functions of one type.
#[map]
pub static SEGMENT_RECEIVED: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The same for those of calls that write.
#[map]
pub static SEGMENT_SENT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The same for those of Unix sockets.
#[map]
pub static SEGMENT_SENT_UNIX: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The same for what is sent by the page.
#[map]
pub static SEGMENT_PAGED: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The same for Unix sockets.
#[map]
pub static SEGMENT_PAGED_UNIX: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Traced processes by thread group id; with [`genspan_common::map::traced`] bits.
#[map]
pub static TRACED: HashMap<u32, u32> = HashMap::with_max_entries(MAX_PROCESSES, 0);

/// What is known of traced processes that are Pythons, by thread group id. Written by the agent, and
/// for a forked child from its parent's.
#[map]
pub static PYTHON: HashMap<u32, PythonLayout> = HashMap::with_max_entries(MAX_PROCESSES, 0);

/// Element 0: the agent sleeps and wants to be woken by the next record. Element 1: `MODES` has
/// had an entry, so it is worth a look. Element 2: copied contexts could not be told. Element 3:
/// `PYTHON` has had an entry. Element 4: the agent wants to hear of every program that is executed.
#[map]
pub static SWITCHES: Array<u32> = Array::with_max_entries(5, 0);

/// Losses by [`Loss`].
#[map]
pub static LOSS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Loss::COUNT as u32, 0);

/// Patched by the agent before loading.
#[unsafe(no_mangle)]
pub static SETTINGS: Global<Settings> = Global::new(Settings {
    message_bytes: DEFAULT_MESSAGE_BYTES,
    task_tgid_offset: 0,
    task_fsbase_offset: 0,
    stacks: 0,
    functions: 0,
});

/// Patched by the agent before loading.
#[unsafe(no_mangle)]
pub static LAYOUT: Global<SocketLayout> = Global::new(SocketLayout {
    task_files: 0,
    files_fdt: 0,
    fdt_fd: 0,
    file_inode: 0,
    file_private: 0,
    inode_mode: 0,
    inode_ino: 0,
    socket_type: 0,
    socket_sk: 0,
    socket_file: 0,
    sk_socket: 0,
    sk_max_ack_backlog: 0,
    sk_shutdown: 0,
    skc_family: 0,
    skc_num: 0,
    skc_dport: 0,
    skc_rcv_saddr: 0,
    skc_daddr: 0,
    skc_v6_rcv_saddr: 0,
    skc_v6_daddr: 0,
    unix_addr: 0,
    unix_peer: 0,
    regs_number: 0,
    regs_arguments: [0; 4],
    calls: [NO_CALL; call::COUNT],
});

/// Adds to a loss counter.
#[inline(always)]
pub fn lose(reason: Loss, n: u64) {
    if let Some(counter) = LOSS.get_ptr_mut(reason as u32) {
        // SAFETY: a per-CPU slot from a lookup just now; programs do not migrate while running.
        unsafe { *counter = (*counter).wrapping_add(n) };
    }
}
