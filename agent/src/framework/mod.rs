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
pub mod sglang_lives;
pub mod sglang_scheduler;
pub mod vllm;
pub mod vllm_old;
pub mod vllm_v0;

pub use dify::Workflows;
pub use engine::Engines;
pub use langchain::Runs;

use crate::model::framework::RunName;
use genspan_common::dispatch;
use genspan_common::framework::hook::SNAPSHOT;

/// With a number of [`Hook::depths`]: see `genspan_common::function::LENGTHS`.
pub const LENGTHS_ONLY: u32 = 8;

/// A function of a framework that is watched, or a class whose objects' ends are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Which, as `module:Qualified.name`.
    pub function: &'static str,
    /// What it was in older versions, the newest first; the first that a process has counts.
    pub before: &'static [Before],
    /// Its arguments that the programs in the kernel look at, in the order in which they want them;
    /// to 3.10 also variables of the function around it.
    pub arguments: &'static [&'static str],
    /// What is copied as well, behind its own arguments, of the functions that call it.
    pub callers: &'static [CallerArgument],
    /// The arguments from this one on are content, those of the caller included: they are copied where
    /// content is wanted.
    pub contents: usize,
    /// How much of each of its own arguments is copied, as `genspan_common::function::DEPTH` says, in their
    /// order; none is bounded behind the last. With [`LENGTHS_ONLY`], of lists deep down only the lengths are.
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

/// A function of an older version that stands for one of the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// Which, as `module:Qualified.name`.
    pub function: &'static str,
    /// Its arguments, where they are not the same: the one in each place is taken for what the newest has
    /// there, none where its name is empty.
    pub arguments: Option<&'static [&'static str]>,
    /// How much of each is copied, if those are others.
    pub depths: &'static [u32],
    /// In which of these places there is an argument of a function that calls it, and which.
    pub callers: &'static [(usize, CallerArgument)],
}

impl Before {
    /// One with the same arguments.
    #[must_use]
    pub const fn named(function: &'static str) -> Self {
        Self {
            function,
            arguments: None,
            depths: &[],
            callers: &[],
        }
    }

    /// One with others.
    #[must_use]
    pub const fn with(
        function: &'static str,
        arguments: &'static [&'static str],
        depths: &'static [u32],
    ) -> Self {
        Self {
            function,
            arguments: Some(arguments),
            depths,
            callers: &[],
        }
    }

    /// It with some in the places of which it has no argument of its own.
    #[must_use]
    pub const fn called(self, callers: &'static [(usize, CallerArgument)]) -> Self {
        Self { callers, ..self }
    }
}

/// An argument of a caller, or another variable of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerArgument {
    /// Which; `*args` and `**kwargs` come behind the others.
    pub index: u32,
    /// How many the caller must have at least, those two included: who calls with fewer has something
    /// else there. Zero: it need be no argument, and whoever reads it must know whether it is what it should
    /// be, for nobody else does; it is not copied of a version of before.
    pub of: u32,
    /// How many functions lie between the caller and the one that is watched, three at most.
    pub above: u32,
}

impl CallerArgument {
    /// That of the function that calls.
    #[must_use]
    pub const fn new(index: u32, of: u32) -> Self {
        Self {
            index,
            of,
            above: 0,
        }
    }
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

    /// The same where it is not known yet how many there are.
    #[must_use]
    pub const fn may_need_exceptions(&self) -> bool {
        self.needs_exceptions(self.arguments.len())
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
