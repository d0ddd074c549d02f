//! Dicts: combined, split, and the values of instances (`Include/internal/pycore_dict.h`,
//! `Objects/dict-common.h` up to 3.10).

use super::layout::DictLayout;
use super::object::Kind;
use super::reader::{Reader, Result, malformed, words_of};

/// In a dict, in all versions.
const USED: u64 = 16;
const KEYS: u64 = 32;
const VALUES: u64 = 40;

/// Most entries that a dict is believed to have.
const MAX_ENTRIES: usize = 1 << 22;

/// Most entries of a dict that are looked through.
pub const MAX_SCANNED: usize = 1 << 17;

/// Most values of an instance beside its keys (`SHARED_KEYS_MAX_SIZE` and what older versions
/// allow).
const MAX_SHARED: usize = 1 << 12;

/// Keys of a dict.
pub(super) struct Keys {
    /// Where the entries are.
    entries: u64,
    /// How many of them were ever used.
    pub(super) count: usize,
    /// Words of an entry, and which of them is the key; the value follows it.
    words: usize,
    key: usize,
}

/// An entry: addresses of key and value.
pub type Entry = (u64, u64);

impl Reader<'_> {
    /// How many entries the dict has.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn dict_len(&self, dict: u64) -> Result<usize> {
        self.count(dict.wrapping_add(USED), MAX_ENTRIES, "dict")
    }

    /// How many entries a dict has, where its keys are, and how many entries were ever put into those.
    pub(super) fn dict_stamp(&self, dict: u64) -> Result<(usize, u64, usize)> {
        let keys = self.word(dict.wrapping_add(KEYS))?;
        Ok((self.dict_len(dict)?, keys, self.keys(keys)?.count))
    }

    /// Entries of a dict, at most so many, in the order of their keys.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is none.
    pub fn dict_entries(&self, dict: u64, most: usize) -> Result<Vec<Entry>> {
        if self.type_of(dict)?.kind != Kind::Dict {
            return malformed("dict", dict);
        }
        let keys = self.keys(self.word(dict.wrapping_add(KEYS))?)?;
        let values = self.word(dict.wrapping_add(VALUES))?;
        let values = if values == 0 {
            None
        } else {
            Some(self.values_of_dict(values, keys.count)?)
        };
        self.entries(&keys, values.as_deref(), most)
    }

    /// The value of this name in a dict.
    ///
    /// # Errors
    ///
    /// When the dict cannot be read.
    pub fn dict_get(&self, dict: u64, name: &str) -> Result<Option<u64>> {
        let found = self.dict_entries(dict, MAX_SCANNED)?.into_iter();
        Ok(self.named(found, name))
    }

    /// The value of this name among entries.
    pub(super) fn named(&self, entries: impl Iterator<Item = Entry>, name: &str) -> Option<u64> {
        for (key, value) in entries {
            let reader = self.of_name(key);
            // What is no string, or is gone by now, is another key.
            let is_text = reader.type_of(key).is_ok_and(|t| t.kind == Kind::Text);
            if is_text && reader.text_is(key, name).unwrap_or(false) {
                return Some(value);
            }
        }
        None
    }

    /// Head of a keys object.
    pub(super) fn keys(&self, address: u64) -> Result<Keys> {
        let head = self.array::<40>(address)?;
        let word = |at: usize| -> u64 {
            let bytes = head[at..at + 8].try_into();
            bytes.map_or(0, u64::from_le_bytes)
        };
        let (indices, index_bytes, size, count, general) = match self.layout.dict {
            DictLayout::Sized => {
                let size = word(8);
                let width = match size {
                    0..=0xff => 1,
                    0x100..=0xffff => 2,
                    0x1_0000..=0xffff_ffff => 4,
                    _ => 8,
                };
                (40, size.saturating_mul(width), size, word(32), true)
            }
            DictLayout::Values | DictLayout::TaggedValues | DictLayout::InlineValues => {
                let (log_size, log_bytes, kind) = (head[8], head[9], head[10]);
                if log_size > 40 || log_bytes > 43 || kind > 2 {
                    return malformed("dict keys", address);
                }
                (32, 1 << log_bytes, 1 << log_size, word(24), kind == 0)
            }
        };
        let Some(count) = usize::try_from(count)
            .ok()
            .filter(|n| *n as u64 <= size && *n <= MAX_ENTRIES)
        else {
            return malformed("dict keys", address);
        };
        Ok(Keys {
            entries: address.wrapping_add(indices).wrapping_add(index_bytes),
            count,
            words: if general { 3 } else { 2 },
            key: usize::from(general),
        })
    }

    /// Values of a split dict, for so many keys.
    fn values_of_dict(&self, values: u64, keys: usize) -> Result<Vec<u64>> {
        match self.layout.dict {
            DictLayout::InlineValues => self.inline_values(values, keys),
            _ => self.plain_values(values, keys),
        }
    }

    /// An array of values as it was up to 3.12.
    pub(super) fn plain_values(&self, values: u64, keys: usize) -> Result<Vec<u64>> {
        if keys > MAX_SHARED {
            return malformed("values of an instance", values);
        }
        self.words(values, self.available(values, keys, 8))
    }

    /// Values with a head (`struct _dictvalues` from 3.13 on: capacity, size, embedded, valid), for
    /// so many keys.
    pub(super) fn inline_values(&self, values: u64, keys: usize) -> Result<Vec<u64>> {
        let [capacity, ..] = self.array::<8>(values)?;
        let first = values.wrapping_add(8);
        let count = self.available(first, keys.min(usize::from(capacity)), 8);
        self.words(first, count)
    }

    /// Whether the values in an instance count (`valid` of `struct _dictvalues`).
    pub(super) fn inline_values_count(&self, values: u64) -> Result<bool> {
        Ok(self.array::<8>(values)?[3] != 0)
    }

    /// Entries of keys, with the values beside them or their own.
    pub(super) fn entries(
        &self,
        keys: &Keys,
        values: Option<&[u64]>,
        most: usize,
    ) -> Result<Vec<Entry>> {
        // In pieces: few of a large dict are wanted, mostly.
        const PIECE: usize = 4096;
        let mut found = Vec::new();
        let mut first = 0;
        while first < keys.count && found.len() < most {
            let size = keys.words * 8;
            let at = keys.entries.wrapping_add((first * size) as u64);
            let count = self.available(at, PIECE.min(keys.count - first), size);
            if count == 0 {
                break;
            }
            let bytes = self.bytes(at, count * size)?;
            for (i, entry) in words_of(&bytes).chunks_exact(keys.words).enumerate() {
                let value = match values {
                    Some(values) => values.get(first + i).copied().unwrap_or(0),
                    None => entry[keys.key + 1],
                };
                if value != 0 && entry[keys.key] != 0 && found.len() < most {
                    found.push((entry[keys.key], value));
                }
            }
            first += count;
        }
        Ok(found)
    }
}
