//! What the stages hand to each other: plain data, no behaviour beyond its own invariants.

pub mod call;
pub mod defect;
pub mod dispatch;
pub mod engine;
pub mod event;
pub mod exchange;
pub mod framework;
pub mod function;
pub mod gaps;
pub mod mcp;
pub mod process;
pub mod propagated;
pub mod request;
pub mod snapshot;
pub mod span;
pub mod stack;
pub mod time;
pub mod websocket;
pub mod weight;
