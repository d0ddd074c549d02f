//! Snapshots of Python objects: the memory of a small graph of them, copied at the moment of a
//! watchpoint's hit, before anything of it can change or be gone.
//!
//! The programs in the kernel do not understand values: they follow what an object consists of, and
//! what it refers to, the nearest first, until nothing is left or a bound is reached. What was copied
//! are segments: pieces of the process's memory with their addresses. Whoever decodes them reads types,
//! and nothing else, from the process as it goes on, since types live long.
//!
//! A record is a [`SnapshotHead`], then segments: a [`SegmentHead`] each, its bytes, and up to seven
//! more so that the next one is aligned.

use crate::event::EventHeader;
use crate::function::MAX_ARGUMENTS;

/// Most objects of one snapshot.
pub const MAX_OBJECTS: usize = 256;
/// Most bytes of segments of one snapshot, their heads included; a power of two.
pub const MAX_BYTES: usize = 16 << 10;
/// Most bytes of the characters of one text, or of one `bytes`.
pub const MAX_TEXT: usize = 2048;
/// Most items of a list, tuple or dict that are looked at; a power of two.
pub const MAX_ITEMS: usize = 32;
/// Most slots of an instance that are looked at: those within 512 bytes. The engines' own records have
/// four dozen.
pub const MAX_SLOTS: usize = 62;
/// How many references lead to an object at most. An object and its `__dict__` are two.
pub const MAX_DEPTH: u32 = 12;

/// Numbers of [`SnapshotHead::purpose`]: what the objects are.
pub mod purpose {
    /// Arguments of a watched function that just began; the subject is when.
    pub const FUNCTION: u32 = 1;
    /// What a run of LangChain is given, or gives; the subject is its manager.
    pub const RUN: u32 = 2;
    /// What the hook of a framework asks for; the subject is the first of the objects.
    pub const HOOK: u32 = 3;
    /// What a span of LlamaIndex is given, or gives; the subject is a part of its id, as eight bytes.
    pub const SPAN: u32 = 4;
    /// What a model says of its answer besides the answer ([`super::counts`]), where content is not wanted; the
    /// number is that of the hook, the subject as for [`RUN`] or [`SPAN`], whichever the hook is of.
    pub const COUNTS: u32 = 5;
}

/// Numbers of the objects of [`purpose::COUNTS`].
pub mod counts {
    /// A dict of counts, as `usage_metadata` of LangChain's messages.
    pub const USAGE: u32 = 0;
    /// The same, as `llm_output` has it: it counts for all prompts of a call.
    pub const TOKEN_USAGE: u32 = 1;
    /// What the model is called: a text.
    pub const MODEL: u32 = 2;
    /// Why it stopped: a text.
    pub const REASON: u32 = 3;
}

/// Bits of [`SnapshotHead::cut`]: what is missing.
pub mod cut {
    /// There was no room for more bytes.
    pub const BYTES: u32 = 1;
    /// There were more objects.
    pub const OBJECTS: u32 = 2;
    /// Something could not be read: it is paged out, or no object.
    pub const UNREADABLE: u32 = 4;
}

/// Numbers of `WatchedProcess::dicts`: how dicts and the attributes of instances are kept.
pub mod dicts {
    /// To 3.10.
    pub const SIZED: u32 = 0;
    /// 3.11.
    pub const VALUES: u32 = 1;
    /// 3.12.
    pub const TAGGED_VALUES: u32 = 2;
    /// From 3.13 on.
    pub const INLINE_VALUES: u32 = 3;
}

/// Begins the record of a snapshot.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// Common part: who was about to run what, and when.
    pub header: EventHeader,
    /// [`purpose`] number.
    pub purpose: u32,
    /// The agent's number of the function or of the hook; a number of [`crate::framework::hook`] for
    /// [`purpose::RUN`].
    pub number: u32,
    /// Depends on the purpose: tells whose objects these are.
    pub subject: u64,
    /// The `contextvars` context of the thread; zero when it runs in none that was entered, or when
    /// the purpose does not want it.
    pub context: u64,
    /// As `WatchedProcess::root`.
    pub root: u32,
    /// [`cut`] bits.
    pub cut: u32,
    /// Bytes of segments that follow.
    pub bytes: u32,
    /// How many objects were copied.
    pub objects: u32,
    /// Addresses of the objects that were asked for, in the order of the arguments; zero where one was
    /// not asked for, or was told in another way.
    pub roots: [u64; MAX_ARGUMENTS],
}

/// Begins a segment.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// Where in the process it is from.
    pub address: u64,
    /// How many bytes follow and count.
    pub bytes: u64,
}

const _: () = {
    assert!(size_of::<SnapshotHead>() == 64 + 8 * MAX_ARGUMENTS);
    assert!(size_of::<SegmentHead>() == 16);
    assert!(MAX_BYTES.is_power_of_two() && MAX_ITEMS.is_power_of_two());
};
