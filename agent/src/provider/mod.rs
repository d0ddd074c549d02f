//! Exchanges become model calls.
//!
//! [`Calls`] takes exchanges from the protocol stage, knows those that are model calls by their
//! path and payload, and hands on [`CallEvent`](crate::model::call::CallEvent)s.

mod body;
mod calls;
mod hash;
mod hosts;
pub mod json;
mod limits;
mod open;
mod openai;
mod recognise;
mod response;
mod retry;
mod text;

#[cfg(test)]
mod speed_tests;
#[cfg(test)]
mod tests;

pub use calls::Calls;
pub use limits::{
    Counters, Limits, MAX_CHOICES, MAX_ITEMS, MAX_MESSAGES, MAX_NAME_BYTES, MAX_TOOL_CALLS,
    MAX_TOOLS, TAIL_BYTES,
};

/// Request headers that this stage reads, in lower case.
pub const REQUEST_HEADERS: &[&str] = &["traceparent", "x-stainless-retry-count"];

/// Response headers that this stage reads, in lower case.
pub const RESPONSE_HEADERS: &[&str] = &[
    "apim-request-id",
    "retry-after",
    "retry-after-ms",
    "x-ms-served-model",
    "x-request-id",
    "x-should-retry",
];
