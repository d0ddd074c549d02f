//! Functions of TLS libraries that have no names and were found by what their code does: what their calls
//! say of that.
//!
//! Nothing is told of a call before a call at the same place was what a call of such a function is: see
//! `ebpf/src/guess.rs`.

use crate::event::EventHeader;

/// Key of the table of such places: one function as one process has it mapped.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuessKey {
    /// Address of the probe in the process; zero stands for all places of which nothing is known yet.
    pub place: u64,
    /// Thread group id, as the initial PID namespace numbers it.
    pub tgid: u32,
    /// Always zero: keeps the key free of padding.
    pub zero: u32,
}

/// What is known of such a place.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuessState {
    /// [`verdict`] number. Once it is not [`verdict::OPEN`] it stays.
    pub verdict: u32,
    /// What the calls that said nothing weigh, since the last time that this was told.
    pub weight: u32,
}

/// Numbers of [`GuessState::verdict`] and [`GuessEvent::verdict`].
pub mod verdict {
    /// No call said anything yet.
    pub const OPEN: u32 = 0;
    /// A call was what it should be: it moved data of an object that looks like OpenSSL's.
    pub const PLAUSIBLE: u32 = 1;
    /// The first argument of a call was no connection of this library.
    pub const NO_CONNECTION: u32 = 2;
    /// The length or the buffer of a call was none, or its place for the length that was moved.
    pub const NO_LENGTH: u32 = 3;
    /// A call said that it moved more than it was to.
    pub const TOO_MUCH: u32 = 4;
    /// A call gave what such a function never gives.
    pub const NO_RESULT: u32 = 5;
    /// Many calls, and none that said anything. Only told, never kept by the kernel: the agent may know more.
    pub const SILENT: u32 = 6;
    /// A call at another place of the same library says that this one is wrong, too. Only set by the agent.
    pub const REVOKED: u32 = 7;
}

/// A [`crate::event::EventKind::Guess`] record, of the control ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuessEvent {
    /// Common part.
    pub header: EventHeader,
    /// As in [`GuessKey::place`].
    pub place: u64,
    /// [`verdict`] number.
    pub verdict: u32,
    /// Always zero.
    pub zero: u32,
}

/// What a call weighs that was one of a connection and moved nothing: reads that find nothing are common.
pub const WEIGHT_NOTHING_MOVED: u32 = 1;
/// What a call weighs of which something could not be read: memory may be away for a moment, but not
/// often.
pub const WEIGHT_UNREADABLE: u32 = 64;
/// At this weight a place is told to be [`verdict::SILENT`].
pub const MOST_WEIGHT: u32 = 1024;

/// Places that are kept.
pub const MAX_GUESSES: u32 = 8192;

/// What aya needs to pass these through the `bpf` system call.
#[cfg(feature = "user")]
mod user {
    use super::{GuessKey, GuessState};

    // SAFETY: integers only, `repr(C)`, no padding: sizes are checked below.
    unsafe impl aya::Pod for GuessKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for GuessState {}
}

const _: () = {
    assert!(size_of::<GuessKey>() == 8 + 4 + 4);
    assert!(size_of::<GuessState>() == 4 + 4);
    assert!(size_of::<GuessEvent>() == 24 + 8 + 4 + 4);
};
