//! Keys and values of the maps that both sides touch.

/// Bit of [`ConnectionKey::ssl`] that tells a socket from a TLS object: no address of a program
/// has it.
pub const SOCKET: u64 = 1 << 63;

/// Key of the connection table: one TLS object, or one socket, of one process.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    /// Address of the `SSL` object in the traced process; or the inode number of a socket, which
    /// `/proc/PID/fd` shows too, with the bit [`SOCKET`].
    pub ssl: u64,
    /// Thread group id, as the initial PID namespace numbers it.
    pub tgid: u32,
    /// Always zero: keeps the key free of padding.
    pub zero: u32,
}

/// What the kernel remembers of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionState {
    /// Boot-clock nanoseconds of the first byte seen: tells generations of one address apart.
    pub generation: u64,
    /// Bytes transferred so far, written and read ([`crate::event::Direction`] as index).
    pub transferred: [u64; 2],
    /// Bytes in the message under way: since the other direction last moved.
    pub message: u32,
    /// Direction of the message under way.
    pub message_direction: u32,
    /// For each direction, the [`crate::event::flag`] bits that its next record carries because
    /// bytes before it were not sent.
    pub before: [u32; 2],
    /// [`nature`] number.
    pub nature: u32,
    /// [`crate::event::SocketRole`] as a number.
    pub role: u32,
    /// For each direction, the Python context that the agent was told of last.
    pub contexts: [u64; 2],
}

/// Numbers of [`ConnectionState::nature`]: what is known of a connection's socket.
pub mod nature {
    /// The agent was not told of the socket yet.
    pub const UNTOLD: u32 = 0;
    /// The agent was told of the socket.
    pub const TOLD: u32 = 1;
    /// A socket that carries TLS: nothing of it is copied.
    pub const TLS: u32 = 2;
    /// The same, and its addresses were told with the TLS object above it.
    pub const LINKED: u32 = 3;
    /// A socket that is nobody's business: one of an unnamed pair.
    pub const FOREIGN: u32 = 4;
}

/// Bits of the values of the table of traced processes.
pub mod traced {
    /// The process is traced.
    pub const YES: u32 = 1;
    /// Its sockets are read by what every process runs into (trampolines, tracepoints), not by probes in
    /// its C library.
    pub const BY_HOST: u32 = 2;
}

/// What is copied of a connection: value of the table `MODES`, which the agent writes. A
/// connection without an entry, or with one of another generation, is copied whole.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionMode {
    /// Generation of the connection that this is for.
    pub generation: u64,
    /// [`mode`] number.
    pub mode: u32,
    /// Always zero.
    pub zero: u32,
}

/// Numbers of [`ConnectionMode::mode`].
pub mod mode {
    /// Copy everything.
    pub const WHOLE: u32 = 0;
    /// Copy only the first bytes of each request (of each message that is written, or read from
    /// an accepted socket): enough to see whether it is a model's after all.
    pub const HEADS: u32 = 1;
    /// Copy nothing: this is not a protocol that we read.
    pub const NOTHING: u32 = 2;
    /// Copy the first bytes of each message, both ways, and the last ones of each call: enough to
    /// see what was asked, what the answer's head says, and when it was over.
    pub const OUTLINE: u32 = 3;
}

/// Settings that the agent patches into the programs before they are loaded: the global
/// `SETTINGS`. Constant from then on, so the verifier removes what they switch off.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of one message that are copied before only tails are.
    pub message_bytes: u32,
    /// Offset of `tgid` in `task_struct`, from the kernel's BTF.
    pub task_tgid_offset: u32,
    /// Offset of `thread.fsbase` in `task_struct`, likewise; zero when the state of Python threads
    /// is not read.
    pub task_fsbase_offset: u32,
    /// One when the Python frames are told from which requests are written.
    pub stacks: u32,
    /// One when functions are watched.
    pub functions: u32,
}

/// What aya needs to pass these through the `bpf` system call.
#[cfg(feature = "user")]
mod user {
    use super::{ConnectionKey, ConnectionMode, ConnectionState, Settings};

    // SAFETY: integers only, `repr(C)`, no padding: sizes are checked below.
    unsafe impl aya::Pod for ConnectionKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ConnectionState {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ConnectionMode {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Settings {}
}

const _: () = {
    assert!(size_of::<ConnectionKey>() == 8 + 4 + 4);
    assert!(size_of::<ConnectionState>() == 8 + 2 * 8 + 4 + 4 + 2 * 4 + 4 + 4 + 2 * 8);
    assert!(size_of::<ConnectionMode>() == 8 + 4 + 4);
    assert!(size_of::<Settings>() == 5 * 4);
};
