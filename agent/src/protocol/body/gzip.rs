//! The `gzip` coding (RFC 1952), with any number of members.

use super::deflate::Inflate;
use super::{Broken, Codec, Step};

const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;

/// Bytes of the fixed part of a header.
const HEADER: u8 = 10;

/// Bytes of checksum and length after the data.
const TRAILER: u8 = 8;

/// Where in a member the next byte is.
enum Part {
    /// Between members: zero padding is allowed here.
    Start,
    /// In the fixed part of the header; so many of its bytes were seen.
    Header(u8),
    /// First byte of the extra field's length.
    ExtraLow,
    /// Second byte of it, after this one.
    ExtraHigh(u8),
    /// In the extra field; so many bytes are left.
    Extra(u16),
    /// In the file name.
    Name,
    /// In the comment.
    Comment,
    /// In the checksum of the header; so many bytes are left.
    HeaderCheck(u8),
    /// In the data.
    Data,
    /// After the data; so many bytes are left.
    Trailer(u8),
}

pub(super) struct Gzip {
    part: Part,
    flags: u8,
    members: u32,
    inflate: Inflate,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self {
            part: Part::Start,
            flags: 0,
            members: 0,
            inflate: Inflate::new(false),
        }
    }

    /// Takes one byte outside the data.
    fn byte(&mut self, b: u8) -> Result<(), Broken> {
        self.part = match self.part {
            Part::Start if b == 0 && self.members > 0 => Part::Start,
            Part::Start if b == 0x1f => Part::Header(1),
            Part::Header(1) if b == 0x8b => Part::Header(2),
            Part::Header(2) if b == 8 => Part::Header(3),
            Part::Start | Part::Header(1 | 2) => return Err(Broken),
            Part::Header(n) => {
                if n == 3 {
                    self.flags = b;
                }
                if n + 1 < HEADER {
                    Part::Header(n + 1)
                } else {
                    self.optional()
                }
            }
            Part::ExtraLow => Part::ExtraHigh(b),
            Part::ExtraHigh(low) => match u16::from_le_bytes([low, b]) {
                0 => self.optional(),
                n => Part::Extra(n),
            },
            Part::Extra(1) => self.optional(),
            Part::Extra(n) => Part::Extra(n - 1),
            Part::Name | Part::Comment if b == 0 => self.optional(),
            Part::Name => Part::Name,
            Part::Comment => Part::Comment,
            Part::HeaderCheck(1) => self.optional(),
            Part::HeaderCheck(n) => Part::HeaderCheck(n - 1),
            Part::Trailer(1) => {
                self.members = self.members.saturating_add(1);
                Part::Start
            }
            Part::Trailer(n) => Part::Trailer(n - 1),
            Part::Data => Part::Data,
        };
        Ok(())
    }

    /// The next optional part of the header; its flag is cleared.
    fn optional(&mut self) -> Part {
        for (flag, part) in [
            (FEXTRA, Part::ExtraLow),
            (FNAME, Part::Name),
            (FCOMMENT, Part::Comment),
            (FHCRC, Part::HeaderCheck(2)),
        ] {
            if self.flags & flag != 0 {
                self.flags &= !flag;
                return part;
            }
        }
        self.inflate.reset(false);
        Part::Data
    }
}

impl Codec for Gzip {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Broken> {
        let mut taken = 0;
        loop {
            if matches!(self.part, Part::Data) {
                let step = self.inflate.step(&input[taken..], output)?;
                taken += step.taken;
                if self.inflate.ended() {
                    self.part = Part::Trailer(TRAILER);
                }
                if step.made > 0 || !self.inflate.ended() {
                    return Ok(Step {
                        taken,
                        made: step.made,
                    });
                }
            }
            let Some(b) = input.get(taken) else {
                return Ok(Step { taken, made: 0 });
            };
            self.byte(*b)?;
            taken += 1;
        }
    }

    fn may_end(&self) -> bool {
        matches!(self.part, Part::Start)
    }
}
