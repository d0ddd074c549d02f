//! genspan: zero-code tracing of LLM applications, from the kernel.
//!
//! Data flows one way: [`model::event`]s come in from the capture side, pass the pure stages
//! ([`stream`], [`protocol`], [`provider`], [`trace`]) and leave as [`model::span`]s, of which
//! [`metrics`] are made. See
//! `ARCHITECTURE.md`.

#[cfg(feature = "kernel")]
pub mod answer;
pub mod capture;
pub mod cli;
pub mod driver;
pub mod export;
pub mod framework;
#[cfg(feature = "kernel")]
pub mod kubernetes;
pub mod metrics;
pub mod model;
pub mod pipeline;
#[cfg(feature = "placing")]
pub mod probe;
pub mod protocol;
pub mod provider;
pub mod python;
pub mod redact;
pub mod scrape;
#[cfg(feature = "kernel")]
pub mod state;
pub mod stream;
#[cfg(feature = "kernel")]
pub mod target;
pub mod trace;
pub mod vocabulary;
