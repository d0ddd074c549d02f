//! What agent frameworks do inside of a process: from what the kernel tells at a few functions of
//! theirs to runs, with their beginning, their end and what they belong to. One file for each
//! framework. Pure.

pub mod langchain;

pub use langchain::Runs;

/// A function of a framework that is watched, or a class whose objects' ends are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Which, as `module:Qualified.name`.
    pub function: &'static str,
    /// Its arguments that the programs in the kernel look at, in the order in which they want them;
    /// to 3.10 also variables of the function around it.
    pub arguments: &'static [&'static str],
    /// Number of `genspan_common::framework::hook`.
    pub what: u32,
    /// What is not known without it.
    pub without: &'static str,
}
