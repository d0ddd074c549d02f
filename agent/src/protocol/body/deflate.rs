//! The `deflate` coding: zlib data (RFC 1950) by the standard, bare deflate data (RFC 1951) as
//! some servers send it.

use super::{Broken, Codec, Step};
use flate2::{Decompress, FlushDecompress, Status};

/// Inflates one stream of deflate data, with or without zlib's wrapping.
pub(super) struct Inflate {
    state: Decompress,
    ended: bool,
    broken: bool,
}

impl Inflate {
    pub(super) fn new(zlib: bool) -> Self {
        Self {
            state: Decompress::new(zlib),
            ended: false,
            broken: false,
        }
    }

    /// Whether the end of the data was seen.
    pub(super) const fn ended(&self) -> bool {
        self.ended
    }

    pub(super) fn reset(&mut self, zlib: bool) {
        self.state.reset(zlib);
        self.ended = false;
        self.broken = false;
    }

    /// As [`Codec::step`]. After the end it takes nothing.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Broken> {
        if self.broken {
            return Err(Broken);
        }
        if self.ended {
            return Ok(Step { taken: 0, made: 0 });
        }
        let (total_in, total_out) = (self.state.total_in(), self.state.total_out());
        let status = self.state.decompress(input, output, FlushDecompress::None);
        let step = Step {
            taken: (self.state.total_in() - total_in) as usize,
            made: (self.state.total_out() - total_out) as usize,
        };
        match status {
            Ok(status) => self.ended = status == Status::StreamEnd,
            Err(_) if step.made == 0 => return Err(Broken),
            // What was decoded before it counts; the next step tells.
            Err(_) => self.broken = true,
        }
        Ok(step)
    }
}

pub(super) struct Deflate {
    /// `None` before the first two bytes, which tell the wrapping.
    inflate: Option<Inflate>,
    first: Option<u8>,
    /// The first byte was inflated; it waits when the second did not come with it.
    replayed: bool,
}

impl Deflate {
    pub(super) fn new() -> Self {
        Self {
            inflate: None,
            first: None,
            replayed: true,
        }
    }
}

/// RFC 1950, section 2.2: method 8, a window of at most 32 KiB, and a check by 31.
fn is_zlib(first: u8, second: u8) -> bool {
    first & 0x0f == 8 && first >> 4 <= 7 && (u16::from(first) << 8 | u16::from(second)) % 31 == 0
}

impl Codec for Deflate {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Broken> {
        let inflate = match (&mut self.inflate, self.first, input) {
            (Some(inflate), ..) => inflate,
            (None, None, [first, second, ..]) => {
                self.inflate.insert(Inflate::new(is_zlib(*first, *second)))
            }
            (None, Some(first), [second, ..]) => {
                self.replayed = false;
                self.inflate.insert(Inflate::new(is_zlib(first, *second)))
            }
            (None, None, [first]) => {
                self.first = Some(*first);
                return Ok(Step { taken: 1, made: 0 });
            }
            (None, _, []) => return Ok(Step { taken: 0, made: 0 }),
        };
        if !self.replayed {
            self.replayed = true;
            if let Some(first) = self.first {
                // One byte is never enough for output or an end.
                inflate.step(&[first], output)?;
            }
        }
        if inflate.ended() && !input.is_empty() {
            return Err(Broken);
        }
        inflate.step(input, output)
    }

    fn may_end(&self) -> bool {
        self.inflate.as_ref().is_some_and(Inflate::ended)
    }
}
