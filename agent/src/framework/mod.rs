//! What agent frameworks do inside of a process: from what the kernel tells at a few functions of
//! theirs to runs, with their beginning, their end and what they belong to. One file for each
//! framework. Pure.

mod contents;
pub mod dify;
pub mod engine;
pub mod langchain;
mod langchain_contents;
pub mod llama_index;
pub mod sglang;
pub mod vllm;

pub use dify::Workflows;
pub use engine::Engines;
pub use langchain::Runs;

use crate::model::framework::RunName;
use genspan_common::dispatch;
use genspan_common::framework::hook::SNAPSHOT;

/// A function of a framework that is watched, or a class whose objects' ends are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Which, as `module:Qualified.name`.
    pub function: &'static str,
    /// What it was called in older versions, where that is another module.
    pub before: Option<&'static str>,
    /// Its arguments that the programs in the kernel look at, in the order in which they want them;
    /// to 3.10 also variables of the function around it.
    pub arguments: &'static [&'static str],
    /// Arguments of the function that calls it, whose objects are copied as well, behind its own.
    pub callers: &'static [CallerArgument],
    /// The arguments from this one on are content, those of the caller included: they are copied where
    /// content is wanted.
    pub contents: usize,
    /// How much of each of its own arguments is copied, as `genspan_common::function::DEPTH` says, in their
    /// order; none is bounded behind the last.
    pub depths: &'static [u32],
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

impl Hook {
    /// Whether exceptions must be seen beside it, when so many of its arguments were found.
    #[must_use]
    pub const fn needs_exceptions(&self, arguments: usize) -> bool {
        match self.what {
            // Only where models have no spans is the span given to it.
            dispatch::hook::EVENT => arguments == self.arguments.len(),
            number => number != SNAPSHOT && !dispatch::hook::is_one(number),
        }
    }
}

/// Characters of CPython's own widths; a lone surrogate is U+FFFD. One that was cut says so.
fn text_of(name: &RunName<'_>) -> String {
    let code = |chunk: &[u8]| {
        let mut word = [0; 4];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        u32::from_le_bytes(word)
    };
    let codes = name.bytes.chunks_exact(name.width.max(1)).map(code);
    let mut text: String = codes
        .map(|code| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    if name.characters > text.chars().count() as u64 {
        text.push('…');
    }
    text
}

/// The name of a class, without its module; `_OTHER` when it was not read.
fn class_of(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    match name.rsplit('.').next() {
        Some(class) if !class.is_empty() => class.to_owned(),
        _ => "_OTHER".to_owned(),
    }
}
