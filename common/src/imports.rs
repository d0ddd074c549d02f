//! Modules that a Python process imports later, as the kernel sees them: by the file that the code of their
//! bodies names, when the interpreter runs it.
//!
//! The files that are wanted are in a table of hashes. A name is read from its end, a component at a time, so
//! that `/srv/app/chat.py` is looked up as `chat.py`, then as `app/chat.py`, as long as the table says that
//! there is more to it.

use crate::event::EventHeader;

/// Most characters of the end of a file's name that are looked at.
pub const MAX_NAME: usize = 64;

/// Most entries of the table of wanted files.
pub const MAX_PIECES: u32 = 8192;

/// Most constants of the code of a module's body that are told.
pub const MAX_CONSTANTS: usize = 32;

/// A process in which the bodies of modules are looked for: value of a table by thread group id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Awaited {
    /// In a code object: `co_filename`.
    pub code_file: u32,
    /// In a compact ASCII string: its characters.
    pub text_ascii: u32,
    /// In another compact string: its characters.
    pub text_compact: u32,
    /// In a code object: `co_consts`.
    pub code_constants: u32,
    /// In a tuple: its items.
    pub tuple_items: u32,
    /// Always zero.
    pub zero: u32,
    /// Counted by the program: how often `PyEval_EvalCode` was called. Threads may count at the same time,
    /// so it is the least that it may have been.
    pub seen: u64,
    /// Of these, how many were told.
    pub told: u64,
}

/// Values of the table of wanted files.
pub mod piece {
    /// The end of a wanted name: there is more to it.
    pub const END: u32 = 1;
    /// A wanted name, up to a slash or the beginning.
    pub const WHOLE: u32 = 2;
}

/// What the hash of a name begins as.
pub const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of a name with one more character before it (FNV-1a, over characters instead of bytes).
#[must_use]
#[inline(always)]
pub const fn with(hash: u64, character: u32) -> u64 {
    (hash ^ character as u64).wrapping_mul(0x0000_0100_0000_01b3)
}

/// A [`crate::event::EventKind::ModuleBegins`] record.
///
/// The code of a module's body is freed when it has run, which may be before the agent looks. The code of its
/// functions lives on, and is among its constants.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModuleBegins {
    /// Common part.
    pub header: EventHeader,
    /// Address of the code object of its body.
    pub code: u64,
    /// How many constants that has: [`Self::constants`] are the first of them, zero behind the last.
    pub count: u64,
    /// Their addresses.
    pub constants: [u64; MAX_CONSTANTS],
}

/// What aya needs to pass it through the `bpf` system call.
#[cfg(feature = "user")]
mod user {
    // SAFETY: integers only, `repr(C)`, no padding: its size is checked below.
    unsafe impl aya::Pod for super::Awaited {}
}

const _: () = {
    assert!(size_of::<Awaited>() == 6 * 4 + 2 * 8);
    assert!(size_of::<ModuleBegins>() == 40 + 8 * MAX_CONSTANTS);
};
