//! The `zstd` coding (RFC 8878), with any number of frames.

use super::{Broken, Codec, Step};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// Largest window, as a power of two: 8 MiB, the most that the coding allows (RFC 9659).
const WINDOW_LOG: u32 = 23;

pub(super) struct Zstd {
    decoder: Decoder<'static>,
    between_frames: bool,
}

impl Zstd {
    /// `None` when the library has no memory for it.
    pub(super) fn new() -> Option<Self> {
        let mut decoder = Decoder::new().ok()?;
        decoder
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG))
            .ok()?;
        Some(Self {
            decoder,
            between_frames: false,
        })
    }
}

impl Codec for Zstd {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Broken> {
        if input.is_empty() && self.between_frames {
            return Ok(Step { taken: 0, made: 0 });
        }
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around(output);
        let hint = self
            .decoder
            .run(&mut input, &mut output)
            .map_err(|_| Broken)?;
        self.between_frames = hint == 0;
        Ok(Step {
            taken: input.pos(),
            made: output.pos(),
        })
    }

    fn may_end(&self) -> bool {
        self.between_frames
    }
}
