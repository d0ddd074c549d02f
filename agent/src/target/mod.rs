//! Which processes are traced, and what they are.

pub mod command;
pub mod environment;
pub mod host;
pub mod process;
pub mod sockets;
pub mod tls;
