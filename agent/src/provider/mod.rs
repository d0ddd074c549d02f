//! Exchanges become model calls.
//!
//! [`Calls`] takes exchanges from the protocol stage, knows those that are model calls by their
//! path and payload, and hands on [`CallEvent`](crate::model::call::CallEvent)s. What is no call is
//! told as a plain HTTP request, where that is asked for.
//!
//! Calls over WebSockets come as messages, not as exchanges: `sockets`.
//!
//! What is particular to a provider is its wire shape, each in a module of its own; the table of
//! `providers` tells which there are, `docs/adding-a-provider.md` how one is added.

mod alephalpha;
mod anthropic;
mod bedrock;
mod body;
mod calls;
mod cohere;
mod content;
mod dashscope;
mod dify;
mod error;
mod gemini;
mod hash;
mod hosts;
pub mod json;
mod limits;
mod llamacpp;
mod mcp;
mod ollama;
mod open;
mod openai;
mod plain;
mod prompted;
mod providers;
mod realtime;
mod recognise;
mod replicate;
mod response;
mod retry;
mod sglang;
mod shape;
mod sockets;
mod target;
mod tasks;
mod text;
mod tgi;
mod watsonx;

#[cfg(test)]
mod speed_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use calls::Calls;
pub use limits::{
    Counters, Limits, MAX_CHOICES, MAX_ITEMS, MAX_MESSAGES, MAX_NAME_BYTES, MAX_TOOL_CALLS,
    MAX_TOOLS, TAIL_BYTES,
};
pub use plain::HttpSpans;
pub use tasks::{MAX_TASKS, TASK_PATIENCE};

use crate::protocol::propagation;
use providers::SHAPES;

/// Request headers that this stage reads whatever the provider, in lower case.
const REQUEST_HEADERS: [&str; 2] = ["amz-sdk-request", "x-stainless-retry-count"];

/// Response headers that this stage reads whatever the provider, in lower case.
const RESPONSE_HEADERS: [&str; 3] = ["retry-after", "retry-after-ms", "x-should-retry"];

/// Request headers that this stage reads, in lower case: its own and those of all shapes.
pub fn request_headers() -> impl Iterator<Item = &'static str> {
    let shapes = SHAPES.iter().flat_map(|s| s.request_headers());
    let context = propagation::HEADERS.into_iter();
    let own = REQUEST_HEADERS.into_iter().chain(plain::REQUEST_HEADERS);
    own.chain(context).chain(shapes.copied())
}

/// Response headers that this stage reads, in lower case: its own and those of all shapes.
pub fn response_headers() -> impl Iterator<Item = &'static str> {
    let shapes = SHAPES.iter().flat_map(|s| s.response_headers());
    let own = RESPONSE_HEADERS.into_iter().chain(response::REQUEST_IDS);
    own.chain(shapes.copied())
}
