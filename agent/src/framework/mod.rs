//! What agent frameworks do inside of a process: from what the kernel tells at a few functions of
//! theirs to runs, with their beginning, their end and what they belong to. One file for each
//! framework. Pure.

pub mod langchain;
pub mod llama_index;

pub use langchain::Runs;

use crate::model::framework::RunName;
use genspan_common::dispatch;

/// A function of a framework that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Which, as `module:Qualified.name`.
    pub function: &'static str,
    /// What it was called in older versions, where that is another module.
    pub before: Option<&'static str>,
    /// Its arguments that the programs in the kernel look at, in the order in which they want them.
    pub arguments: &'static [&'static str],
    /// Number of `genspan_common::framework::hook`.
    pub what: u32,
    /// What is not known without it.
    pub without: &'static str,
}

impl Hook {
    /// Whether exceptions must be seen beside it, when so many of its arguments were found.
    #[must_use]
    pub const fn needs_exceptions(&self, arguments: usize) -> bool {
        match self.what {
            // Only where models have no spans is the span given to it.
            dispatch::hook::EVENT => arguments == self.arguments.len(),
            number => !dispatch::hook::is_one(number),
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
