//! Runs the pipeline on what the kernel sends, or on a recording: all the IO there is between
//! command line and stages.

#[cfg(feature = "kernel")]
mod agenda;
#[cfg(feature = "kernel")]
pub mod budget;
#[cfg(feature = "kernel")]
pub mod child;
#[cfg(feature = "kernel")]
pub mod files;
#[cfg(feature = "kernel")]
mod frameworks;
#[cfg(feature = "kernel")]
pub mod functions;
#[cfg(feature = "kernel")]
pub mod host;
#[cfg(feature = "kernel")]
pub mod live;
pub mod losses;
#[cfg(feature = "kernel")]
pub mod memory;
pub mod output;
#[cfg(feature = "kernel")]
pub mod privileges;
pub mod replay;
#[cfg(feature = "kernel")]
pub mod scout;
#[cfg(feature = "kernel")]
pub mod seccomp;
#[cfg(feature = "kernel")]
pub mod snapshots;
#[cfg(feature = "kernel")]
pub mod stacks;
#[cfg(feature = "kernel")]
pub mod wait;
#[cfg(feature = "kernel")]
pub mod watching;
