//! Events as the pure core takes them: decoded, validated, borrowed from where they lie.

use core::net::SocketAddr;

use super::dispatch::SpanHit;
use super::framework::RunHit;
use super::function::{Argument, CallName, FunctionCall, FunctionEnd, FunctionFacts};
use super::process::ProcessFacts;
use super::snapshot::{RawSnapshot, Snapshot};
use super::stack::{CallPath, RawFrames};
use super::time::{BootTime, ClockOffset};
pub use genspan_common::event::{Direction, SocketRole};
use genspan_common::map::SOCKET;

/// Names one connection for good: the address of its TLS object (or the number of its socket) is
/// used again by the next one, the generation is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Process (thread group) id in the initial PID namespace.
    pub pid: u32,
    /// Address of the TLS object in that process, or the inode number of a plain socket with the
    /// highest bit set.
    pub ssl: u64,
    /// When the kernel first saw it, in boot nanoseconds.
    pub generation: u64,
}

impl ConnectionId {
    /// Whether it is a plain socket.
    #[must_use]
    pub const fn is_socket(self) -> bool {
        self.ssl & SOCKET != 0
    }
}

/// What is known of the socket beneath a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Which end the traced process is.
    pub role: SocketRole,
    /// Our address; none for a Unix socket.
    pub local: Option<SocketAddr>,
    /// The peer's address; none for a Unix socket.
    pub peer: Option<SocketAddr>,
}

/// Plaintext that went one way over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// Which connection.
    pub connection: ConnectionId,
    /// Which way.
    pub direction: Direction,
    /// Thread that made the call.
    pub tid: u32,
    /// When: entry of a write, return of a read.
    pub time: BootTime,
    /// Position of the first byte in this direction's stream since the kernel first saw it.
    pub offset: u64,
    /// Records between the last one and this were lost.
    pub lost_before: bool,
    /// Bytes between the last record and this were left out on purpose (message limit).
    pub skipped_before: bool,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// Bytes on a connection.
    Data(Data<'a>),
    /// The socket of a connection: before the first bytes of a plain one, later for TLS.
    Socket {
        /// Which connection.
        connection: ConnectionId,
        /// What is known of it.
        socket: Socket,
        /// When it was seen.
        time: BootTime,
    },
    /// In which Python context bytes go over a connection from here on, one way.
    Context {
        /// Which connection.
        connection: ConnectionId,
        /// Which way.
        direction: Direction,
        /// Thread that moves them.
        tid: u32,
        /// Address of the context; none when the thread runs in none that was entered.
        context: Option<u64>,
        /// Copies were lost before: which context an address stands for is not known any more.
        copies_lost: bool,
        /// Time of the first such bytes.
        time: BootTime,
    },
    /// A Python context was copied: who will run in the copy works for who ran in the original. Work
    /// that is given to a thread pool is a copy as well, whose address is odd
    /// ([`genspan_common::python::POOLED`]).
    ContextCopied {
        /// Process.
        pid: u32,
        /// Thread that made the copy.
        tid: u32,
        /// Address of the original; none when the thread ran in none that was entered.
        parent: Option<u64>,
        /// Address of the copy.
        child: u64,
        /// The watched generator or coroutine in which it was made, nearer than any watched plain
        /// function.
        within: Option<CallName>,
        /// As in [`Event::Context`].
        copies_lost: bool,
        /// When.
        time: BootTime,
    },
    /// From which Python frames the next bytes are written over a connection: for whoever can look
    /// into the process, who tells it as [`Event::CallPath`].
    Stack {
        /// Which connection.
        connection: ConnectionId,
        /// The frames.
        frames: RawFrames<'a>,
        /// Time of these bytes.
        time: BootTime,
    },
    /// The Python call path of the next bytes that are written over a connection.
    CallPath {
        /// Which connection.
        connection: ConnectionId,
        /// The path.
        path: Box<CallPath>,
        /// Time of these bytes.
        time: BootTime,
    },
    /// The peer ended its side of a connection.
    EndOfStream {
        /// Which connection.
        connection: ConnectionId,
        /// When.
        time: BootTime,
    },
    /// A connection is gone.
    Closed {
        /// Which connection; generation zero when the kernel did not know it.
        connection: ConnectionId,
        /// When.
        time: BootTime,
    },
    /// What is known of a process, before its first data or when it changed (exec).
    Process {
        /// The facts.
        facts: Box<ProcessFacts>,
        /// When they were gathered.
        time: BootTime,
    },
    /// A process ended.
    ProcessExit {
        /// Process id.
        pid: u32,
        /// When.
        time: BootTime,
    },
    /// What is known of a watched function, before its first call.
    Function {
        /// The facts.
        facts: Box<FunctionFacts>,
        /// When they were gathered.
        time: BootTime,
    },
    /// A watched function begins.
    FunctionBegan {
        /// Its call.
        call: FunctionCall,
        /// How many watched calls of the same thread are around it.
        depth: u32,
        /// It is a generator or coroutine: it may go on on another thread, and its thread does
        /// other things meanwhile.
        generator: bool,
        /// The watched generator or coroutine around it, nearer than any watched plain function.
        within: Option<CallName>,
        /// The context in which it begins, where that is told.
        context: Option<u64>,
    },
    /// The watched generator or coroutine in which the next bytes are written over a connection,
    /// nearer than any watched plain function.
    WriteWithin {
        /// Which connection.
        connection: ConnectionId,
        /// The call.
        call: CallName,
        /// Time of these bytes.
        time: BootTime,
    },
    /// An argument of a call that began just now.
    FunctionArgument {
        /// The call.
        call: FunctionCall,
        /// Which argument, of those that are told.
        index: u32,
        /// Its value.
        value: Argument<'a>,
        /// When it was read.
        time: BootTime,
    },
    /// A call is over.
    FunctionEnded {
        /// The call.
        call: FunctionCall,
        /// How it ended.
        how: FunctionEnd<'a>,
        /// When it was seen to be over.
        time: BootTime,
    },
    /// A framework does something with a run.
    Run(RunHit<'a>),
    /// Objects of a Python process, as they were copied: for whoever can look into the process, who
    /// tells them as [`Event::Snapshot`].
    RawSnapshot(RawSnapshot<'a>),
    /// The values of such objects.
    Snapshot(Box<Snapshot>),
    /// LlamaIndex's dispatcher is told something.
    Span(SpanHit<'a>),
    /// The offset of wall time to boot time from here on.
    Clock {
        /// The offset.
        offset: ClockOffset,
        /// When it was measured.
        time: BootTime,
    },
    /// Nothing happened until now: lets the core give up waiting (retries, gaps).
    Tick {
        /// Now.
        time: BootTime,
    },
}
