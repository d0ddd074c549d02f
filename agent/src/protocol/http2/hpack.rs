//! Header blocks (HPACK, RFC 7541), read by somebody who may have missed some of them.
//!
//! The libraries for this hold every field's value in the clear and give up at an index they do
//! not know. Here a value that is not to be kept is not even copied, and a table whose start was
//! missed goes on: an entry's index counts from the newest, so those that were added since are
//! exact, and those from before are unknown, never guessed.

use super::huffman;
use super::static_table::STATIC_TABLE;
use crate::protocol::{headers, target};
use std::collections::VecDeque;
use std::sync::LazyLock;

/// Largest dynamic table that is followed, in octets as RFC 7541, section 4.1 counts them. What
/// a sender keeps beyond it is unknown here.
pub const MAX_TABLE_BYTES: usize = 64 << 10;

/// Size of the dynamic table until its sender says otherwise (RFC 9113, section 6.5.2).
const DEFAULT_TABLE_BYTES: usize = 4096;

/// What an entry counts for beside its strings (RFC 7541, section 4.1).
const ENTRY_BYTES: usize = 32;

/// Most octets of an integer after its first.
const MAX_INTEGER_BYTES: u32 = 5;

/// A block that breaks the rules: the table is unknown from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl From<huffman::Malformed> for Malformed {
    fn from(_: huffman::Malformed) -> Self {
        Self
    }
}

/// Name of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// `:method`.
    Method,
    /// `:path`; its value is free of secrets.
    Path,
    /// `:authority` or `host`; its value is free of user information.
    Host,
    /// `:status`.
    Status,
    /// `:protocol` (RFC 8441).
    Protocol,
    /// One that is kept.
    Kept(&'static str),
    /// One whose value is nobody's business.
    Other,
    /// It is in a part of the table that was not seen.
    Unknown,
}

impl Name {
    fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":authority" | b"host" => Self::Host,
            b":status" => Self::Status,
            b":protocol" => Self::Protocol,
            _ => headers::kept_name(name).map_or(Self::Other, Self::Kept),
        }
    }

    /// The value as far as it may be kept.
    fn value(self, raw: &[u8]) -> Option<Box<str>> {
        let text = String::from_utf8_lossy(raw);
        match self {
            Self::Path => {
                let target = target::parse(&text, false);
                let mut clean = target.path;
                if !target.query.is_empty() {
                    clean.push('?');
                    clean.push_str(&target.query);
                }
                Some(clean.into())
            }
            Self::Host => target::host(&text).map(Into::into),
            Self::Other | Self::Unknown => None,
            _ if raw.len() > headers::MAX_VALUE_BYTES => None,
            _ => Some(text.into()),
        }
    }
}

/// One field of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) name: Name,
    /// Absent when it is not kept or not known.
    pub(super) value: Option<&'a str>,
    /// What it counts for in a header list (RFC 9113, section 6.5.2); the least it may, when it
    /// is not known.
    pub(super) size: usize,
}

/// A field of the tables.
struct Entry {
    name: Name,
    name_len: usize,
    value: Option<Box<str>>,
    size: usize,
}

impl Entry {
    fn field(&self) -> Field<'_> {
        Field {
            name: self.name,
            value: self.value.as_deref(),
            size: self.size,
        }
    }
}

static STATIC: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let entry = |(name, value): &(&str, &str)| {
        let kind = Name::of(name.as_bytes());
        Entry {
            name: kind,
            name_len: name.len(),
            value: kind.value(value.as_bytes()),
            size: name.len() + value.len() + ENTRY_BYTES,
        }
    };
    STATIC_TABLE.iter().map(entry).collect()
});

/// The state of one direction's compression.
pub(super) struct Decoder {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    max: usize,
    /// Older entries than these may be there that were not seen.
    older: bool,
    /// For strings under way.
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// At the start of a connection.
    pub(super) const fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            max: DEFAULT_TABLE_BYTES,
            older: false,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Blocks were missed here: all that was in the table has another index now, and its size is
    /// not known. Too large a size is harmless: what the sender has thrown out it never names.
    pub(super) fn lose(&mut self) {
        self.entries.clear();
        self.size = 0;
        self.max = MAX_TABLE_BYTES;
        self.older = true;
    }

    /// Octets of the table now; never above [`MAX_TABLE_BYTES`].
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// Reads a whole block. After an error the table is unknown.
    pub(super) fn decode(
        &mut self,
        block: &[u8],
        out: &mut impl FnMut(Field<'_>),
    ) -> Result<(), Malformed> {
        let result = self.fields(block, out);
        if result.is_err() {
            self.lose();
        }
        result
    }

    fn fields(
        &mut self,
        mut input: &[u8],
        out: &mut impl FnMut(Field<'_>),
    ) -> Result<(), Malformed> {
        while let Some(first) = input.first() {
            match first.leading_zeros() {
                // Section 6.1: indexed.
                0 => match self.entry(integer(&mut input, 7)?)? {
                    Some(entry) => out(entry.field()),
                    None => out(Field {
                        name: Name::Unknown,
                        value: None,
                        size: ENTRY_BYTES,
                    }),
                },
                // Section 6.2.1: literal, to be added to the table.
                1 => {
                    let entry = self.literal(&mut input, 6)?;
                    out(entry.field());
                    self.insert(entry);
                }
                // Section 6.3: the table's size changes.
                2 => {
                    let size = integer(&mut input, 5)?;
                    self.resize(size);
                }
                // Sections 6.2.2 and 6.2.3: literal, not to be added.
                _ => {
                    let entry = self.literal(&mut input, 4)?;
                    out(entry.field());
                }
            }
        }
        Ok(())
    }

    /// An entry of the two tables, which share one space of indices (section 2.3.3); `None` when
    /// it was not seen.
    fn entry(&self, index: usize) -> Result<Option<&Entry>, Malformed> {
        let place = index.checked_sub(1).ok_or(Malformed)?;
        if let Some(entry) = STATIC.get(place) {
            return Ok(Some(entry));
        }
        match self.entries.get(place - STATIC_TABLE.len()) {
            Some(entry) => Ok(Some(entry)),
            None if self.older => Ok(None),
            None => Err(Malformed),
        }
    }

    fn literal(&mut self, input: &mut &[u8], prefix: u32) -> Result<Entry, Malformed> {
        let index = integer(input, prefix)?;
        let (name, name_len) = if index == 0 {
            let literal = Literal::take(input)?;
            self.name.clear();
            literal.decode(|b| self.name.push(b))?;
            (Name::of(&self.name), self.name.len())
        } else {
            match self.entry(index)? {
                Some(entry) => (entry.name, entry.name_len),
                None => (Name::Unknown, 0),
            }
        };
        let literal = Literal::take(input)?;
        let (value, value_len) = if matches!(name, Name::Other | Name::Unknown) {
            let mut len = 0;
            literal.decode(|_| len += 1)?;
            (None, len)
        } else {
            self.value.clear();
            literal.decode(|b| self.value.push(b))?;
            (name.value(&self.value), self.value.len())
        };
        Ok(Entry {
            name,
            name_len,
            value,
            size: name_len + value_len + ENTRY_BYTES,
        })
    }

    fn insert(&mut self, entry: Entry) {
        self.size += entry.size;
        self.entries.push_front(entry);
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.max
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size;
        }
    }

    /// The sender changed the size of its table.
    fn resize(&mut self, size: usize) {
        if size > MAX_TABLE_BYTES {
            // It may keep entries that are thrown out here.
            self.older = true;
        } else if size == 0 {
            self.older = false;
        }
        self.max = size.min(MAX_TABLE_BYTES);
        self.evict();
    }
}

/// A string (section 5.2), not decoded yet.
struct Literal<'a> {
    huffman: bool,
    bytes: &'a [u8],
}

impl<'a> Literal<'a> {
    fn take(input: &mut &'a [u8]) -> Result<Self, Malformed> {
        let huffman = input.first().is_some_and(|b| b & 0x80 != 0);
        let len = integer(input, 7)?;
        let (bytes, rest) = input.split_at_checked(len).ok_or(Malformed)?;
        *input = rest;
        Ok(Self { huffman, bytes })
    }

    fn decode(&self, mut out: impl FnMut(u8)) -> Result<(), Malformed> {
        if self.huffman {
            huffman::decode(self.bytes, out)?;
        } else {
            self.bytes.iter().for_each(|b| out(*b));
        }
        Ok(())
    }
}

/// An integer behind a prefix of so many bits (section 5.1).
fn integer(input: &mut &[u8], prefix: u32) -> Result<usize, Malformed> {
    let (first, rest) = input.split_first().ok_or(Malformed)?;
    let mask = (1_u8 << prefix) - 1;
    let mut value = u64::from(first & mask);
    let mut used = 0;
    if first & mask == mask {
        loop {
            let byte = rest.get(used as usize).ok_or(Malformed)?;
            value += u64::from(byte & 0x7f) << (7 * used);
            used += 1;
            if byte & 0x80 == 0 {
                break;
            }
            if used >= MAX_INTEGER_BYTES {
                return Err(Malformed);
            }
        }
    }
    *input = rest.get(used as usize..).unwrap_or_default();
    usize::try_from(value).map_err(|_| Malformed)
}

#[cfg(test)]
#[path = "hpack_tests.rs"]
mod tests;
