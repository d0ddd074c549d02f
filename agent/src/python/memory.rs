//! Where bytes of another process come from. Pure: the live source is in `target`.

use std::collections::BTreeMap;

use thiserror::Error;

/// Bytes that cannot be read: not mapped, or the process is gone.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{bytes} bytes at {address:#x} cannot be read")]
pub struct Unreadable {
    /// Where.
    pub address: u64,
    /// How many were asked for.
    pub bytes: usize,
}

/// The memory of a process. It is read while the process runs: two reads need not fit each other.
pub trait Memory {
    /// Fills `into` with what is at `address`: all of it, or nothing that counts.
    ///
    /// # Errors
    ///
    /// When any of it cannot be read.
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Unreadable>;

    /// Whether the object at `address` is in it at all: of a whole process each is, as far as one
    /// knows before reading it; of what was copied from one ([`super::copied::Copied`]) some are.
    fn holds(&self, _address: u64) -> bool {
        true
    }

    /// How many of so many bytes at `address` are in it, where what is longer was copied in part.
    fn available(&self, _address: u64, wanted: usize) -> usize {
        wanted
    }
}

/// A memory made by hand: pieces at addresses. What tests and the fuzzer read from.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Image {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts bytes at an address; those that were there before are gone where a piece begins at
    /// the same address, else the pieces lie over each other and the one that begins later counts.
    pub fn put(&mut self, address: u64, bytes: impl Into<Vec<u8>>) {
        self.pieces.insert(address, bytes.into());
    }

    /// Puts words at an address.
    pub fn put_words(&mut self, address: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.put(address, bytes);
    }

    /// Addresses and lengths of the pieces.
    pub fn pieces(&self) -> impl Iterator<Item = (u64, usize)> {
        self.pieces
            .iter()
            .map(|(start, piece)| (*start, piece.len()))
    }

    /// Changes bytes of the piece that has them.
    ///
    /// Returns whether there was one.
    pub fn change(&mut self, address: u64, bytes: &[u8]) -> bool {
        let Some((start, piece)) = self.pieces.range_mut(..=address).next_back() else {
            return false;
        };
        let from = usize::try_from(address - start).unwrap_or(usize::MAX);
        let to = from.saturating_add(bytes.len());
        let Some(there) = piece.get_mut(from..to) else {
            return false;
        };
        there.copy_from_slice(bytes);
        true
    }
}

impl Memory for Image {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        let bytes = into.len();
        let found = self.pieces.range(..=address).next_back();
        let there = found.and_then(|(start, piece)| {
            let from = usize::try_from(address - start).ok()?;
            piece.get(from..from.checked_add(bytes)?)
        });
        let there = there.ok_or(Unreadable { address, bytes })?;
        into.copy_from_slice(there);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Image, Memory, Unreadable};

    #[test]
    fn a_read_is_whole_or_an_error() {
        let mut image = Image::new();
        image.put(0x1000, vec![1, 2, 3, 4]);
        image.put_words(0x2000, &[5]);
        let mut into = [0; 2];
        assert_eq!(image.read(0x1002, &mut into), Ok(()));
        assert_eq!(into, [3, 4]);
        for address in [0xfff, 0x1003, 0x1004, 0x2007, u64::MAX] {
            let error = Unreadable { address, bytes: 2 };
            assert_eq!(image.read(address, &mut into), Err(error), "{address:#x}");
        }
        assert!(image.change(0x2001, &[9]));
        assert!(!image.change(0x2008, &[9]) && !image.change(0, &[9]));
        assert_eq!(image.read(0x2000, &mut into), Ok(()));
        assert_eq!(into, [5, 9]);
    }
}
