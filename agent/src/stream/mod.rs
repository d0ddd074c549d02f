//! Bytes of a connection in order, with the gaps that were seen.

mod assembler;

pub use assembler::{Assembler, Counters, GapReason, MAX_HELD_BYTES, MAX_HELD_SEGMENTS, Piece};
