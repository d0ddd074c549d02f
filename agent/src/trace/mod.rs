//! Calls become spans.

mod attributes;
mod content;
pub mod ids;
mod json;
pub mod lineage;
mod mcp;
mod redaction;
pub mod resource;
pub mod retry;
pub mod siphash;
mod span;
mod stage;

#[cfg(test)]
mod tests;

pub use stage::{Counters, MAX_PROCESSES, Spans};
