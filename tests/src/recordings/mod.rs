//! Recorded traffic of many providers, and what the spans of it must be: those that an in-process
//! instrumentation (OpenTelemetry's for `openai`) reported for the same requests; for calls that it
//! does not see, what the recording itself says.

pub mod allowed;
pub mod cassette;
pub mod compare;
pub mod document;
pub mod kept;
pub mod lab;
pub mod must;
pub mod packages;
pub mod pairing;
pub mod peer;
pub mod replayed;
pub mod seen;
pub mod server;
pub mod stages;

pub use cassette::Exchange;
pub use compare::Report;
pub use lab::Lab;
pub use must::Must;
pub use peer::Peer;
pub use replayed::Recording;
pub use seen::Seen;
pub use server::{Encoding, Server};
pub use stages::Stages;
