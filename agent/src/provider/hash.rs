//! A fast hash that is the same on every machine and in every version: for telling whether two
//! requests are the same, not for defence.

/// Hashes what it is fed; pieces are told apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hasher(u64);

const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher {
    /// Starts from nothing.
    pub(super) const fn new() -> Self {
        Self(0x5851_f42d_4c95_7f2d)
    }

    /// Feeds one piece: eight bytes at a time, each step a multiplication to 128 bits whose
    /// halves are folded together.
    pub(super) fn piece(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let mut words = bytes.chunks_exact(8);
        for w in &mut words {
            let mut eight = [0; 8];
            eight.copy_from_slice(w);
            self.word(u64::from_le_bytes(eight));
        }
        let mut last = [0; 8];
        last[..words.remainder().len()].copy_from_slice(words.remainder());
        self.word(u64::from_le_bytes(last));
    }

    /// Feeds a number.
    pub(super) fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ PRIME) * u128::from(PRIME | 1);
        self.0 = (product as u64) ^ ((product >> 64) as u64).rotate_left(29) ^ word.rotate_left(17);
    }

    /// The hash.
    pub(super) fn finish(mut self) -> u64 {
        self.word(PRIME);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: &[&[u8]]) -> u64 {
        let mut hasher = Hasher::new();
        for p in pieces {
            hasher.piece(p);
        }
        hasher.finish()
    }

    #[test]
    fn tells_small_differences_and_borders_apart() {
        let mut all = std::collections::HashSet::new();
        let base = b"the quick brown fox jumps over the lazy dog".to_vec();
        for at in 0..base.len() {
            for bit in 0..8 {
                let mut other = base.clone();
                other[at] ^= 1 << bit;
                assert!(all.insert(of(&[&other])));
            }
        }
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"a"]), of(&[b"a\0"]));
        assert_eq!(of(&[&base]), of(&[&base]));
    }
}
