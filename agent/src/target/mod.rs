//! Which processes are traced, and what they are.

pub mod command;
pub mod environment;
pub mod functions;
pub mod host;
pub mod listening;
pub mod model_server;
pub mod process;
pub mod python;
pub mod sockets;
pub mod tls;
