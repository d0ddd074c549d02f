//! What both sides of the ring buffer read: event layouts, map keys, limits and drop reasons.
//!
//! Everything here is `#[repr(C)]`, made of integers only, without padding, so that any byte
//! pattern is a valid value and the agent may decode what the kernel wrote (or what a recording
//! holds) field by field. A change of layout raises [`ABI_VERSION`].
#![no_std]

pub mod dispatch;
pub mod event;
pub mod framework;
pub mod function;
pub mod guess;
pub mod imports;
pub mod limits;
pub mod loss;
pub mod map;
pub mod python;
pub mod resume;
pub mod snapshot;
pub mod socket;
pub mod stack;

/// Version of every layout in this crate; written into recordings.
pub const ABI_VERSION: u32 = 1;
