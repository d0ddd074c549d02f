//! The agent's own state: what it traces and how that goes, for those who ask it.
//!
//! The live run has it, the endpoint's thread tells it, and neither waits for the other. Who asks
//! leaves a wish and rings; the run looks at the wish once a round, hands over a snapshot and goes on.
//! If it does not come round, the last snapshot is told with its age, and `/healthz` fails.

pub mod client;
#[cfg_attr(
    not(feature = "prometheus"),
    allow(dead_code, reason = "nobody asks where there are no pages")
)]
pub mod handle;
pub mod mechanisms;
#[cfg_attr(
    not(feature = "prometheus"),
    allow(dead_code, reason = "nobody asks where there are no pages")
)]
mod own;
#[cfg(feature = "prometheus")]
mod pages;
#[cfg(feature = "prometheus")]
pub mod server;
#[cfg(feature = "prometheus")]
mod socket;
pub mod status;

/// The socket at which an agent answers unless it is told otherwise.
pub const SOCKET: &str = "/run/genspan/agent.sock";
