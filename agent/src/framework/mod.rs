//! What agent frameworks do inside of a process: from what the kernel tells at a few functions of
//! theirs to runs, with their beginning, their end and what they belong to. One file for each
//! framework. Pure.

pub mod engine;
pub mod langchain;
mod langchain_contents;
pub mod sglang;
pub mod vllm;

pub use engine::Engines;
pub use langchain::Runs;

/// A function of a framework that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Which, as `module:Qualified.name`.
    pub function: &'static str,
    /// Its arguments that the programs in the kernel look at, in the order in which they want them.
    pub arguments: &'static [&'static str],
    /// Arguments of the function that calls it, whose objects are copied as well, behind its own.
    pub callers: &'static [CallerArgument],
    /// The arguments from this one on are content, those of the caller included: they are copied where
    /// content is wanted.
    pub contents: usize,
    /// Number of `genspan_common::framework::hook`: [`SNAPSHOT`] of one of which the arguments are told
    /// as [`crate::model::snapshot::Snapshot`], and nothing else.
    ///
    /// [`SNAPSHOT`]: genspan_common::framework::hook::SNAPSHOT
    pub what: u32,
    /// By which such a snapshot says whose it is ([`crate::model::snapshot::Subject::Hook`]).
    pub number: u32,
    /// What is not known without it.
    pub without: &'static str,
}

/// An argument of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerArgument {
    /// Which; `*args` and `**kwargs` come behind the others.
    pub index: u32,
    /// How many the caller must have at least, those two included: who calls with fewer has something
    /// else there.
    pub of: u32,
}
