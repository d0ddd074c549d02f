//! `str`, `bytes` and C strings (`Include/cpython/unicodeobject.h`, PEP 393).

use super::object::Kind;
use super::reader::{Reader, Result, malformed};

/// Offsets that are the same in all versions.
pub(super) const LENGTH: u64 = 16;
/// What is read of a string's head: to its state.
const HEAD: usize = 40;
/// In the head: the state's bits.
const STATE: usize = 32;
/// In a `bytes` object: its data.
pub(super) const BYTES_DATA: u64 = 32;

/// Most characters that a string is believed to have.
const MAX_LENGTH: usize = 1 << 40;

/// Longest name, of a function, file or attribute.
const MAX_NAME: usize = 4096;

/// What was read of a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its characters, as many as were wanted; a lone surrogate, which UTF-8 cannot hold, is
    /// U+FFFD.
    pub text: String,
    /// How many characters it has in all.
    pub length: usize,
    /// Whether characters are missing at the end.
    pub cut: bool,
    /// How many lone surrogates there were.
    pub surrogates: usize,
}

/// Where and how the characters are kept.
struct Characters {
    address: u64,
    length: usize,
    width: usize,
}

impl Reader<'_> {
    /// A string, at most so many bytes of it in the process's memory (from one to four for a
    /// character).
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no string.
    pub fn text(&self, address: u64, most: usize) -> Result<Text> {
        if self.type_of(address)?.kind != Kind::Text {
            return malformed("str", address);
        }
        self.text_unchecked(address, most)
    }

    /// A string that is a name.
    ///
    /// # Errors
    ///
    /// As [`Self::text`], and when it is too long for a name.
    pub fn short_text(&self, address: u64) -> Result<String> {
        let found = self.text(address, MAX_NAME)?;
        if found.cut {
            return malformed("name", address);
        }
        Ok(found.text)
    }

    /// As [`Self::text`], of what is known to be a string.
    pub(super) fn text_unchecked(&self, address: u64, most: usize) -> Result<Text> {
        let found = self.characters(address)?;
        let take = found.length.min(most / found.width.max(1));
        let take = self.available(found.address, take, found.width);
        if take == 0 {
            return Ok(Text {
                text: String::new(),
                length: found.length,
                cut: found.length > 0,
                surrogates: 0,
            });
        }
        let bytes = self.bytes(found.address, take * found.width)?;
        let mut text = String::with_capacity(take);
        let mut surrogates = 0;
        for chunk in bytes.chunks_exact(found.width) {
            let mut word = [0; 4];
            word[..found.width].copy_from_slice(chunk);
            let code = u32::from_le_bytes(word);
            if (0xd800..0xe000).contains(&code) {
                surrogates += 1;
            }
            text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        Ok(Text {
            text,
            length: found.length,
            cut: take < found.length,
            surrogates,
        })
    }

    /// Whether a string that is known to be one has just these characters, with few reads.
    pub(super) fn text_is(&self, address: u64, wanted: &str) -> Result<bool> {
        let found = self.characters(address)?;
        if found.length != wanted.chars().count() {
            return Ok(false);
        }
        Ok(self.text_unchecked(address, usize::MAX)?.text == wanted)
    }

    fn characters(&self, address: u64) -> Result<Characters> {
        let layout = self.layout.text;
        let head = self.array::<HEAD>(address)?;
        let field = |at: usize| -> [u8; 8] {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&head[at..at + 8]);
            bytes
        };
        let length = i64::from_le_bytes(field(LENGTH as usize));
        let Some(length) = usize::try_from(length).ok().filter(|n| *n <= MAX_LENGTH) else {
            return malformed("str", address);
        };
        // interned:2 (3.14: 16, padded), kind:3, compact:1, ascii:1, ready or static:1.
        let state = head[STATE];
        let (kind, compact, ascii) = (state >> 2 & 7, state & 0x20 != 0, state & 0x40 != 0);
        let width = match kind {
            1 | 2 | 4 => usize::from(kind),
            // A legacy string that nobody made ready: `wchar_t`s.
            0 if !compact => {
                let Some((pointer, length)) = layout.wide else {
                    return malformed("str", address);
                };
                return Ok(Characters {
                    address: self.word(address + pointer)?,
                    length: self.count(address + length, MAX_LENGTH, "str")?,
                    width: 4,
                });
            }
            _ => return malformed("str", address),
        };
        let address = match (compact, ascii) {
            (true, true) if width == 1 => address + layout.ascii,
            (true, true) => return malformed("str", address),
            (true, false) => address + layout.compact,
            (false, _) => self.word(address + layout.compact)?,
        };
        Ok(Characters {
            address,
            length,
            width,
        })
    }

    /// The data of a `bytes` object, at most so much, and its whole length.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no `bytes`.
    pub fn bytes_object(&self, address: u64, most: usize) -> Result<(Vec<u8>, usize)> {
        if self.type_of(address)?.kind != Kind::Bytes {
            return malformed("bytes", address);
        }
        let length = self.object_size(address, MAX_LENGTH, "bytes")?;
        let from = address.wrapping_add(BYTES_DATA);
        let data = self.bytes(from, self.available(from, length.min(most), 1))?;
        Ok((data, length))
    }
}

/// Where the data of a `bytes` object is.
pub(super) fn bytes_data(address: u64) -> u64 {
    address.wrapping_add(BYTES_DATA)
}

/// A zero-terminated string of at most so many bytes; what is no UTF-8 in it is replaced.
pub(super) fn c_string(reader: &Reader<'_>, address: u64, most: usize) -> Result<String> {
    // Piece by piece: the string may lie at the end of what is mapped.
    const PIECE: usize = 32;
    let mut bytes = Vec::new();
    let mut at = address;
    while bytes.len() < most {
        // Up to the next multiple: such a piece lies in one page.
        let take = PIECE - usize::try_from(at % PIECE as u64).unwrap_or(0);
        let piece = reader.bytes(at, take)?;
        if let Some(end) = piece.iter().position(|b| *b == 0) {
            bytes.extend_from_slice(&piece[..end]);
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        bytes.extend_from_slice(&piece);
        at += take as u64;
    }
    malformed("C string", address)
}
