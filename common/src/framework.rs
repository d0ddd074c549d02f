//! Runs of agent frameworks (LangChain), seen at watchpoints on a few functions of the framework.

use crate::event::EventHeader;
use crate::function::TYPE_NAME_BYTES;

/// Most bytes of a run's name that are copied; a power of two.
pub const RUN_NAME_BYTES: usize = 128;
/// Most bytes of a function's name that are copied; a power of two.
pub const FUNCTION_NAME_BYTES: usize = 64;
/// Digits of a 128-bit integer, of 30 bits each.
pub const IDENTITY_DIGITS: usize = 5;
/// Most frames of runs that are known, of all processes.
pub const MAX_RUN_OWNERS: u32 = 8192;
/// Most objects that speak for runs that are known, of all processes.
pub const MAX_RUN_MANAGERS: u32 = 16_384;

/// Places of a watchpoint from this one on are copied ([`crate::snapshot`]) where a run begins: those
/// before are its ids. Where it ends, all but the first are.
pub const COPIED_FROM: u32 = 3;

/// Numbers of [`RunHit::hook`]; all but [`hook::RAISED`] are numbers of [`crate::function::Watch::what`].
pub mod hook {
    /// `BaseRunManager.__init__`: a run begins, or what speaks for it is copied.
    pub const BEGINS: u32 = 3;
    /// `on_chain_end` and the like: a run is over.
    pub const ENDS: u32 = 4;
    /// `shielded.<locals>.wrapped`: what an asynchronous run tells, its end among that.
    pub const SHIELDED: u32 = 5;
    /// An exception passes the frame of the function that began a run.
    pub const RAISED: u32 = 6;
    /// What speaks for a run is freed: nobody can tell its end any more. What the function returns that
    /// began the run is told before, as a snapshot of this number.
    pub const GONE: u32 = 7;
    /// A function is entered whose arguments are to be copied, and no more: the hook of any framework.
    pub const SNAPSHOT: u32 = 8;
}

/// The 128-bit integer of a `uuid.UUID`, as CPython keeps it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its digits of 30 bits, the lowest first.
    pub digits: [u32; IDENTITY_DIGITS],
    /// How many there are; zero when there is no such id.
    pub count: u32,
}

/// Key of the tables of the frames in which runs began, and of the objects that speak for runs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerKey {
    /// The frame, or the object.
    pub address: u64,
    /// Process (thread group) id.
    pub tgid: u32,
    /// Always zero: keeps the key free of padding.
    pub zero: u32,
}

/// A frame in which runs began.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOwner {
    /// Its code object.
    pub code: u64,
    /// How many objects speak for runs that began in it and are known.
    pub managers: u64,
}

/// An object that speaks for a run: value of a table by its address and its process.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunManager {
    /// The frame of the function that had it made; zero when there is none.
    pub owner: u64,
    /// The code object of that.
    pub owner_code: u64,
    /// `co_flags` of that.
    pub owner_flags: u32,
    /// One when it was told the end of its run, two when it was told something that may be that: what
    /// the run gives was copied then.
    pub ended: u32,
}

/// What a framework does with a run. Texts end with a zero byte or at their length.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunHit {
    /// Common part.
    pub header: EventHeader,
    /// [`hook`] number.
    pub hook: u32,
    /// As [`crate::function::WatchedProcess::root`].
    pub root: u32,
    /// The object that speaks for the run (a run manager); zero for [`hook::RAISED`].
    pub manager: u64,
    /// The `contextvars` context of the thread; zero when it runs in none that was entered.
    pub context: u64,
    /// The frame of the function that began the run; of [`hook::BEGINS`] and [`hook::RAISED`]. Zero
    /// where an event loop runs what tells of it.
    pub owner: u64,
    /// Its code object.
    pub owner_code: u64,
    /// `co_flags` of that.
    pub owner_flags: u32,
    /// Bytes of a character of the name: 1 (Latin-1), 2 or 4; zero when none was read.
    pub name_width: u32,
    /// Characters that the name has in all.
    pub name_characters: u64,
    /// The innermost frame around the owner in which another run began, when it names no run that it
    /// belongs to; zero when there is none among those that were looked at.
    pub around: u64,
    /// The run's id.
    pub run: Identity,
    /// The id of the run that it belongs to.
    pub parent: Identity,
    /// `tp_name` of the class of an exception, where there is one.
    pub class: [u8; TYPE_NAME_BYTES],
    /// Qualified name: of the function that made the manager (`CallbackManager.on_chain_start`),
    /// of the one that is shielded (`AsyncCallbackManagerForChainRun.on_chain_end`).
    pub function: [u8; FUNCTION_NAME_BYTES],
    /// `tp_name` of the class of the owner's first argument.
    pub owner_class: [u8; TYPE_NAME_BYTES],
    /// The run's name, as it was given.
    pub name: [u8; RUN_NAME_BYTES],
    /// Of [`hook::BEGINS`]: `co_flags` of the function that made the manager.
    pub flags: u32,
    /// Of [`hook::BEGINS`]: one when [`hook::GONE`] will follow. Of that: one when the function that
    /// had the manager made just returned.
    pub certain: u32,
}

/// What aya needs to pass these through the `bpf` system call.
#[cfg(feature = "user")]
mod user {
    use super::{OwnerKey, RunManager, RunOwner};

    // SAFETY: integers only, `repr(C)`, no padding: sizes are checked below.
    unsafe impl aya::Pod for OwnerKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for RunOwner {}
    // SAFETY: as above.
    unsafe impl aya::Pod for RunManager {}
}

const _: () = {
    assert!(size_of::<Identity>() == 24 && size_of::<OwnerKey>() == 16);
    assert!(size_of::<RunOwner>() == 16 && size_of::<RunManager>() == 24);
    assert!(size_of::<RunHit>() == 464);
    assert!(RUN_NAME_BYTES.is_power_of_two() && FUNCTION_NAME_BYTES.is_power_of_two());
};
