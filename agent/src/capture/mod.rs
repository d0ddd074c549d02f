//! Bytes from the kernel or from a recording, and the events in them.

pub mod decode;
pub mod dispatch;
pub mod framework;
pub mod function;
pub mod record;
pub mod scrub;
mod snapshot;
