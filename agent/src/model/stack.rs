//! From where in a Python program a request is written.

use serde::{Deserialize, Serialize};

/// The frames of a thread as the kernel read them, which say nothing outside of their process: for
/// each, innermost first, the address of its code object (zero of a frame that is no function's)
/// and how far it is in that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrames<'a> {
    bytes: &'a [u8],
    /// There are frames around these.
    pub more: bool,
}

impl<'a> RawFrames<'a> {
    /// Frames of two words each; what is left over is none.
    #[must_use]
    pub const fn new(bytes: &'a [u8], more: bool) -> Self {
        Self { bytes, more }
    }

    /// Code object and instruction of each.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + 'a {
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
        self.bytes.chunks_exact(16).map(move |frame| {
            let (code, instruction) = frame.split_at(8);
            (word(code), word(instruction))
        })
    }
}

/// A place in a Python program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// `co_qualname`; `co_name` before 3.11.
    pub function: String,
    /// `co_filename`.
    pub file: String,
    /// The line that is under way.
    pub line: u32,
}

/// The Python call path of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallPath {
    /// The innermost first. A frame that could not be read is not there.
    pub places: Vec<Place>,
    /// Frames are missing: around these, or such that could not be read.
    pub cut: bool,
}
