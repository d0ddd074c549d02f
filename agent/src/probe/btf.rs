//! The offset of a field of a kernel structure, from the kernel's own type information
//! (`Documentation/bpf/btf.rst`). Only as much of the format is read as that takes.

use std::collections::HashMap;

use thiserror::Error;

/// Why an offset could not be told.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BtfError {
    /// Not BTF, cut, or of another byte order.
    #[error("not readable as BTF")]
    Malformed,
    /// No such structure or field.
    #[error("no field {1} in structure {0}")]
    NotFound(&'static str, &'static str),
}

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
/// Structures nested without a name that are looked into.
const MAX_NESTING: u32 = 4;

struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type starts, by id less one.
    starts: Vec<u32>,
}

/// Offset in bytes of `field` in `structure`, also inside members without a name (kernels with
/// a randomised layout wrap most of `task_struct` in one).
///
/// # Errors
///
/// When `btf` is malformed or has no such field.
pub fn field_offset(
    btf: &[u8],
    structure: &'static str,
    field: &'static str,
) -> Result<u32, BtfError> {
    Offsets::read(btf)?.of(structure, field)
}

/// The same for many fields: the structures are listed once.
pub struct Offsets<'a> {
    btf: Btf<'a>,
    /// Structures by name: a kernel has some names more than once.
    structures: HashMap<&'a [u8], Vec<usize>>,
}

impl<'a> Offsets<'a> {
    /// Lists the structures.
    ///
    /// # Errors
    ///
    /// When `btf` is malformed.
    pub fn read(btf: &'a [u8]) -> Result<Self, BtfError> {
        let btf = Btf::parse(btf).ok_or(BtfError::Malformed)?;
        let mut structures: HashMap<_, Vec<_>> = HashMap::new();
        for i in 0..btf.starts.len() {
            if btf.kind(i) == Some(KIND_STRUCT)
                && let Some(name) = btf.word(i, 0).and_then(|n| btf.name(n))
            {
                structures.entry(name).or_default().push(i);
            }
        }
        Ok(Self { btf, structures })
    }

    /// As [`field_offset`].
    ///
    /// # Errors
    ///
    /// When there is no such field.
    pub fn of(&self, structure: &'static str, field: &'static str) -> Result<u32, BtfError> {
        let named = self.structures.get(structure.as_bytes());
        named
            .into_iter()
            .flatten()
            .find_map(|&i| self.btf.member_bits(i, field.as_bytes(), MAX_NESTING))
            .map(|bits| bits / 8)
            .ok_or(BtfError::NotFound(structure, field))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at.checked_add(4)?)?
        .try_into()
        .ok()
        .map(u32::from_ne_bytes)
}

impl<'a> Btf<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.get(..2)? != MAGIC.to_ne_bytes() {
            return None;
        }
        let body = bytes.get(u32_at(bytes, 4)? as usize..)?;
        let part = |off: usize, len: usize| {
            let from = u32_at(bytes, off)? as usize;
            body.get(from..from.checked_add(u32_at(bytes, len)? as usize)?)
        };
        let types = part(8, 12)?;
        let strings = part(16, 20)?;
        let mut starts = Vec::new();
        let mut at = 0;
        while at < types.len() {
            starts.push(u32::try_from(at).ok()?);
            let info = u32_at(types, at + 4)?;
            let vlen = (info & 0xffff) as usize;
            // Sizes of what follows the common 12 bytes, by kind.
            let extra = match info >> 24 & 0x1f {
                1 | 14 | 17 => 4,
                3 => 12,
                KIND_STRUCT | KIND_UNION | 15 | 19 => vlen * 12,
                6 | 13 => vlen * 8,
                0..=19 => 0,
                _ => return None,
            };
            at = at.checked_add(12 + extra)?;
        }
        Some(Self {
            types,
            strings,
            starts,
        })
    }

    /// A word of a type's entry.
    fn word(&self, index: usize, n: usize) -> Option<u32> {
        u32_at(self.types, *self.starts.get(index)? as usize + n * 4)
    }

    fn kind(&self, index: usize) -> Option<u32> {
        self.word(index, 1).map(|info| info >> 24 & 0x1f)
    }

    fn name(&self, offset: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(offset as usize..)?;
        rest.split(|b| *b == 0).next()
    }

    fn member_bits(&self, index: usize, field: &[u8], nesting: u32) -> Option<u32> {
        if !matches!(self.kind(index)?, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        let info = self.word(index, 1)?;
        for m in 0..(info & 0xffff) as usize {
            let name = self.name(self.word(index, 3 + m * 3)?)?;
            let ty = self.word(index, 4 + m * 3)?;
            let raw = self.word(index, 5 + m * 3)?;
            let bits = if info >> 31 == 1 {
                raw & 0x00ff_ffff
            } else {
                raw
            };
            if name == field {
                return Some(bits);
            }
            if name.is_empty()
                && nesting > 0
                && let Some(inner) = (ty as usize)
                    .checked_sub(1)
                    .and_then(|i| self.member_bits(i, field, nesting - 1))
            {
                return bits.checked_add(inner);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{BtfError, field_offset};

    /// BTF with `struct s { int a; struct { int b; }; }`.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0s\0a\0b\0";
        let (int, s, a, b) = (1u32, 5, 7, 9);
        let words: Vec<u32> = [
            vec![int, 1 << 24, 4, 32],
            vec![0, 4 << 24 | 1, 4, b, 1, 0],
            vec![s, 4 << 24 | 2, 8, a, 1, 0, 0, 2, 32],
        ]
        .concat();
        let types: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let mut out = 0xeb9f_u16.to_ne_bytes().to_vec();
        out.extend([1, 0]);
        for w in [
            24,
            0,
            types.len() as u32,
            types.len() as u32,
            strings.len() as u32,
        ] {
            out.extend(w.to_ne_bytes());
        }
        out.extend(types);
        out.extend(strings);
        out
    }

    #[test]
    fn fields_are_found_nested_or_not() {
        assert_eq!(field_offset(&sample(), "s", "a"), Ok(0));
        assert_eq!(field_offset(&sample(), "s", "b"), Ok(4));
        assert_eq!(
            field_offset(&sample(), "s", "c"),
            Err(BtfError::NotFound("s", "c"))
        );
    }

    #[test]
    fn cut_or_flipped_bytes_are_an_error_not_a_panic() {
        let whole = sample();
        for n in 0..whole.len() {
            let _ = field_offset(&whole[..n], "s", "b");
            let mut flipped = whole.clone();
            flipped[n] ^= 0xff;
            let _ = field_offset(&flipped, "s", "b");
        }
        assert_eq!(field_offset(b"", "s", "b"), Err(BtfError::Malformed));
    }

    #[test]
    fn this_kernel_has_its_task_struct() {
        let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            println!("skipped: this kernel has no BTF");
            return;
        };
        assert!(field_offset(&btf, "task_struct", "tgid").unwrap() > 0);
    }
}
