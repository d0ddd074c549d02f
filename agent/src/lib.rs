//! genspan: zero-code tracing of LLM applications, from the kernel.
//!
//! Data flows one way: [`model::event`]s come in from the capture side, pass the pure stages
//! ([`stream`], [`protocol`], [`provider`], [`trace`]) and leave as [`model::span`]s. See
//! `ARCHITECTURE.md`.

pub mod model;
pub mod protocol;
pub mod provider;
pub mod stream;
pub mod trace;
pub mod vocabulary;
