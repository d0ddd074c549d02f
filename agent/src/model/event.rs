//! Events as the pure core takes them: decoded, validated, borrowed from where they lie.

use super::process::ProcessFacts;
use super::time::{BootTime, ClockOffset};
pub use genspan_common::event::Direction;

/// Names one connection for good: the address of its TLS object is used again by the next one,
/// the generation is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Process (thread group) id in the initial PID namespace.
    pub pid: u32,
    /// Address of the TLS object in that process.
    pub ssl: u64,
    /// When the kernel first saw it, in boot nanoseconds.
    pub generation: u64,
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
