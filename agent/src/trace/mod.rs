//! Calls, and requests that are none, become spans.

mod applications;
mod attributes;
mod by_path;
mod content;
mod dialect;
mod engine;
mod function;
pub mod held;
mod http;
pub mod ids;
mod json;
mod mcp;
pub mod parents;
mod path;
mod redaction;
pub mod resource;
pub mod retry;
mod run;
pub mod siphash;
mod span;
mod stage;

#[cfg(test)]
mod redaction_tests;
#[cfg(test)]
mod tests;

pub use stage::{Counters, MAX_PROCESSES, Spans};
