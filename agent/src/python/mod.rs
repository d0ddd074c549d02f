//! Reading CPython from outside: interpreters, modules, types, functions, frames and values of
//! a process, from its memory alone.
//!
//! Pure: the bytes come from a [`memory::Memory`]. What is read belongs to a program that runs
//! meanwhile, so nothing of it is trusted: every read can fail, sizes and depths are bounded, what
//! a question may cost in all is a budget, and a [`layout::Layout`] is used only after
//! [`check::fit`] has proved it against the process.

pub mod check;
pub mod code;
pub mod copied;
pub mod dict;
pub mod find;
#[cfg(any(test, fuzzing))]
pub mod heap;
#[cfg(any(test, fuzzing))]
pub mod heap_process;
#[cfg(test)]
mod image_tests;
pub mod instance;
pub mod layout;
pub mod lines;
pub mod memory;
pub mod number;
pub mod object;
pub mod paged;
pub mod reader;
pub mod render;
pub mod runtime;
pub mod text;
pub mod value;
pub mod version;
pub mod wanted;
