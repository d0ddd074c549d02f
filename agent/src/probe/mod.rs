//! What to attach where in the kernel, and whether it worked.

#[cfg(feature = "kernel")]
mod again;
#[cfg(feature = "kernel")]
pub mod attach;
#[cfg(feature = "kernel")]
pub mod btf;
pub mod elf;
#[cfg(feature = "kernel")]
pub mod functions;
pub mod headers;
#[cfg(feature = "kernel")]
pub mod host_sockets;
#[cfg(feature = "kernel")]
pub mod imports;
#[cfg(feature = "kernel")]
pub mod kernel;
#[cfg(feature = "kernel")]
pub mod library;
#[cfg(feature = "kernel")]
pub mod multi;
#[cfg(feature = "kernel")]
pub mod object;
pub mod place;
#[cfg(feature = "kernel")]
pub mod programs;
#[cfg(feature = "kernel")]
pub mod python;
#[cfg(feature = "kernel")]
pub mod removal;
pub mod resume;
#[cfg(feature = "kernel")]
pub mod slots;
#[cfg(feature = "kernel")]
pub mod sockets;
pub mod stripped;
#[cfg(feature = "kernel")]
pub mod tls;
#[cfg(feature = "kernel")]
mod trampolines;
#[cfg(feature = "kernel")]
pub mod trial;
#[cfg(feature = "kernel")]
mod warm;
