//! Keys and values of the maps that both sides touch.

/// Key of the connection table: one TLS object of one process.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    /// Address of the `SSL` object in the traced process.
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
    /// Set for a direction when a record of it was lost: the next one says so.
    pub lost: [u32; 2],
}

/// Settings that the agent gives the kernel before attaching; element 0 of the array `SETTINGS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of one message that are copied before only tails are.
    pub message_bytes: u32,
    /// Unread bytes in the data ring at which a record wakes the agent at once.
    pub wake_bytes: u32,
    /// Offset of `tgid` in `task_struct`, from the kernel's BTF.
    pub task_tgid_offset: u32,
    /// Always zero.
    pub zero: u32,
}
