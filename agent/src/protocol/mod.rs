//! HTTP exchanges and messages of WebSockets from byte streams.
//!
//! [`connection`] finds out what a connection carries; [`http1`], [`http2`] and [`websocket`] follow
//! its framing.
//! [`body`] undoes content codings, [`sse`], [`lines`] and [`aws_frames`] cut bodies that come as
//! events, [`content`] ties codings and events together for a response. [`headers`] and [`target`]
//! are where secrets stop, [`propagation`] reads trace context. [`json_array`] is for the stage that comes next.

pub mod aws_frames;
pub mod body;
pub mod connection;
pub mod content;
pub mod detect;
pub mod headers;
pub mod http1;
pub mod http2;
pub mod json_array;
pub mod lines;
pub mod propagation;
pub mod sse;
pub mod target;
pub mod websocket;

#[cfg(test)]
mod recorder;

pub use json_array::JsonArray;

pub use crate::model::exchange::Role;

use crate::model::exchange::ExchangeId;

/// Hands out ids of exchanges, each once.
#[derive(Debug, Default)]
pub struct ExchangeIds(u64);

impl ExchangeIds {
    /// The id that [`Self::next`] will give.
    #[must_use]
    pub const fn upcoming(&self) -> ExchangeId {
        ExchangeId(self.0 + 1)
    }

    /// The next id; the first is 1.
    pub const fn next(&mut self) -> ExchangeId {
        self.0 += 1;
        ExchangeId(self.0)
    }
}
