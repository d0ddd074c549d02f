//! What to attach where in the kernel, and whether it worked.

pub mod attach;
pub mod btf;
pub mod elf;
pub mod functions;
pub mod host_sockets;
pub mod kernel;
mod multi;
pub mod object;
pub mod place;
pub mod programs;
pub mod python;
mod removal;
pub mod sockets;
mod trampolines;
mod warm;
