//! Which processes are traced, and what they are.

pub mod banner;
pub mod classify;
pub mod clients;
pub mod command;
pub mod container;
pub mod discover;
pub mod distributions;
pub mod environment;
pub mod functions;
pub mod host;
pub mod imports;
mod interpreter;
pub mod listening;
mod maps;
pub mod process;
pub mod python;
pub mod resume;
pub mod rooted;
pub mod rules;
pub mod secrets;
pub mod settings;
pub mod sockets;
pub mod survey;
pub mod system;
pub mod tls;
