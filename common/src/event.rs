//! Records that the kernel puts into the rings.
//!
//! A record is an [`EventHeader`], the fixed part of its kind, and for data the payload. Records
//! of the data ring are longer than their content (see [`crate::limits::DATA_TIERS`]): lengths
//! inside say what counts.

/// What a record tells.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Bytes written to or read from a connection, freed of TLS: [`DataHeader`] and payload.
    Data = 1,
    /// The other side ended the stream: a read returned zero ([`ConnectionEvent`]).
    EndOfStream = 2,
    /// `SSL_free`, or the close of a socket: the connection is gone ([`ConnectionEvent`]).
    Closed = 3,
    /// A traced process forked ([`ProcessEvent`]).
    Fork = 4,
    /// A process executed a new program ([`ProcessEvent`]): a traced one, or any where the agent asked
    /// for all.
    Exec = 5,
    /// The main thread of a traced process ended ([`ProcessEvent`]).
    Exit = 6,
    /// The dynamic linker of a traced process changed its list of libraries ([`ProcessEvent`]).
    LibrariesChanged = 7,
    /// The socket beneath a connection ([`SocketEvent`]).
    Socket = 8,
    /// In which Python context bytes go over a connection from here on ([`ConnectionContext`]).
    Context = 9,
    /// A Python context was copied ([`ContextCopy`]).
    ContextCopied = 10,
    /// The Python frames from which the next bytes are written ([`crate::stack::StackEvent`]).
    Stack = 11,
    /// What calls of a function say of which it was guessed what it is ([`crate::guess::GuessEvent`]).
    Guess = 12,
    /// The body of a module that is waited for begins ([`crate::imports::ModuleBegins`]).
    ModuleBegins = 13,
    /// Such a one is over ([`ProcessEvent`]).
    ModuleEnded = 14,
    /// A watched Python function begins ([`crate::function::FunctionBegan`]).
    FunctionBegan = 16,
    /// An argument of it ([`crate::function::FunctionArgument`]).
    FunctionArgument = 17,
    /// It is over ([`crate::function::FunctionEnded`]).
    FunctionEnded = 18,
    /// A framework does something with a run ([`crate::framework::RunHit`]).
    Run = 19,
    /// The watched generator or coroutine in which the next bytes are written
    /// ([`crate::function::WriteWithin`]).
    WriteWithin = 20,
    /// Objects of a Python process ([`crate::snapshot::SnapshotHead`]).
    Snapshot = 21,
    /// A span of LlamaIndex begins ([`crate::dispatch::SpanEntered`]).
    SpanEntered = 24,
    /// Something is told of one ([`crate::dispatch::SpanTold`]).
    SpanTold = 25,
}

impl EventKind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub const fn from_u32(n: u32) -> Option<Self> {
        Some(match n {
            1 => Self::Data,
            2 => Self::EndOfStream,
            3 => Self::Closed,
            4 => Self::Fork,
            5 => Self::Exec,
            6 => Self::Exit,
            7 => Self::LibrariesChanged,
            8 => Self::Socket,
            9 => Self::Context,
            10 => Self::ContextCopied,
            11 => Self::Stack,
            12 => Self::Guess,
            13 => Self::ModuleBegins,
            14 => Self::ModuleEnded,
            16 => Self::FunctionBegan,
            17 => Self::FunctionArgument,
            18 => Self::FunctionEnded,
            19 => Self::Run,
            20 => Self::WriteWithin,
            21 => Self::Snapshot,
            24 => Self::SpanEntered,
            25 => Self::SpanTold,
            _ => return None,
        })
    }
}

/// Which way bytes went, seen from the traced process.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Written by the traced process.
    Write = 0,
    /// Read by the traced process.
    Read = 1,
}

impl Direction {
    /// The direction with this number, if there is one.
    #[must_use]
    pub const fn from_u32(n: u32) -> Option<Self> {
        match n {
            0 => Some(Self::Write),
            1 => Some(Self::Read),
            _ => None,
        }
    }
}

/// Starts every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHeader {
    /// [`EventKind`] as a number.
    pub kind: u32,
    /// Thread group id in the initial PID namespace.
    pub tgid: u32,
    /// Thread id in the initial PID namespace.
    pub tid: u32,
    /// [`flag`] bits.
    pub flags: u32,
    /// `CLOCK_BOOTTIME` nanoseconds (`bpf_ktime_get_boot_ns`, kernel 5.8): at the entry of a
    /// write, at the return of a read.
    pub time: u64,
}

/// Bits of [`EventHeader::flags`].
pub mod flag {
    /// Records of this connection and direction were lost right before this one.
    pub const LOST_BEFORE: u32 = 1;
    /// Bytes right before this record were left out because the message is over its limit.
    pub const SKIPPED_BEFORE: u32 = 2;
}

/// Fixed part of a [`EventKind::Data`] record; the payload follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHeader {
    /// Common part.
    pub header: EventHeader,
    /// As in [`crate::map::ConnectionKey::ssl`].
    pub ssl: u64,
    /// See [`crate::map::ConnectionState::generation`].
    pub generation: u64,
    /// Position of the payload's first byte in its direction's stream, counted since the
    /// connection was first seen.
    pub offset: u64,
    /// [`Direction`] as a number.
    pub direction: u32,
    /// Bytes of payload that follow.
    pub len: u32,
}

/// A [`EventKind::EndOfStream`] or [`EventKind::Closed`] record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionEvent {
    /// Common part.
    pub header: EventHeader,
    /// As in [`crate::map::ConnectionKey::ssl`].
    pub ssl: u64,
    /// See [`crate::map::ConnectionState::generation`]; zero when the kernel did not know it.
    pub generation: u64,
}

/// Which end of a connection the traced process is, as its socket tells.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketRole {
    /// The socket does not tell.
    Unknown = 0,
    /// It was connected.
    Connected = 1,
    /// It was accepted.
    Accepted = 2,
}

impl SocketRole {
    /// The role with this number; a number that is none says nothing.
    #[must_use]
    pub const fn from_u32(n: u32) -> Self {
        match n {
            1 => Self::Connected,
            2 => Self::Accepted,
            _ => Self::Unknown,
        }
    }
}

/// Numbers of [`SocketEvent::family`] (`include/linux/socket.h`).
pub mod family {
    /// `AF_UNIX`
    pub const UNIX: u32 = 1;
    /// `AF_INET`
    pub const INET: u32 = 2;
    /// `AF_INET6`
    pub const INET6: u32 = 10;
}

/// A [`EventKind::Socket`] record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketEvent {
    /// Common part.
    pub header: EventHeader,
    /// As in [`crate::map::ConnectionKey::ssl`].
    pub ssl: u64,
    /// See [`crate::map::ConnectionState::generation`].
    pub generation: u64,
    /// [`family`] number.
    pub family: u32,
    /// [`SocketRole`] as a number.
    pub role: u32,
    /// Our port, in the processor's byte order; zero where there is none.
    pub local_port: u32,
    /// The peer's port, in the processor's byte order; zero where there is none.
    pub peer_port: u32,
    /// Our address in network order: 4 bytes of [`family::INET`], 16 of [`family::INET6`].
    pub local: [u8; 16],
    /// The peer's address, likewise.
    pub peer: [u8; 16],
}

/// A [`EventKind::Context`] record: right before the data that it is about.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionContext {
    /// Common part.
    pub header: EventHeader,
    /// As in [`crate::map::ConnectionKey::ssl`].
    pub ssl: u64,
    /// See [`crate::map::ConnectionState::generation`].
    pub generation: u64,
    /// Address of the `PyContext`; zero when the thread runs in none that was entered. Where it works
    /// for a pool then, what [`crate::python::POOLED`] says.
    pub context: u64,
    /// [`Direction`] as a number.
    pub direction: u32,
    /// Always zero.
    pub zero: u32,
}

/// A [`EventKind::ContextCopied`] record: before the copy is used. Work that is given to a thread pool
/// is told as a copy too ([`crate::python::POOLED`]).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextCopy {
    /// Common part.
    pub header: EventHeader,
    /// Address of the `PyContext` that was copied; zero when the thread ran in none that was
    /// entered.
    pub parent: u64,
    /// Address of the copy.
    pub child: u64,
    /// When the watched generator or coroutine began in which it was made, nearer than any watched
    /// plain function; zero when there is none.
    pub within: u64,
    /// The thread on which that began.
    pub within_tid: u32,
    /// Always zero.
    pub zero: u32,
}

/// A [`EventKind::Fork`], [`EventKind::Exec`], [`EventKind::Exit`] or
/// [`EventKind::LibrariesChanged`] record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessEvent {
    /// Common part.
    pub header: EventHeader,
    /// The child's thread group id for a fork, else zero.
    pub child: u32,
    /// Always zero.
    pub zero: u32,
}

const _: () = {
    assert!(size_of::<EventHeader>() == 24);
    assert!(size_of::<DataHeader>() == 56);
    assert!(size_of::<ConnectionEvent>() == 40);
    assert!(size_of::<ProcessEvent>() == 32);
    assert!(size_of::<SocketEvent>() == 88);
    assert!(size_of::<ConnectionContext>() == 56);
    assert!(size_of::<ContextCopy>() == 56);
};
