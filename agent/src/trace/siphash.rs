//! SipHash-2-4 (Aumasson and Bernstein), written out because its result goes into recordings'
//! replays and must never change with a library.

/// Hashes numbers under a key.
#[derive(Clone, Debug)]
pub struct SipHash {
    v: [u64; 4],
    words: u64,
}

impl SipHash {
    /// Starts with a key.
    #[must_use]
    pub const fn new(key: u128) -> Self {
        let k0 = key as u64;
        let k1 = (key >> 64) as u64;
        Self {
            v: [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ],
            words: 0,
        }
    }

    /// Feeds eight bytes, little end first.
    pub const fn word(&mut self, word: u64) {
        self.v[3] ^= word;
        self.round();
        self.round();
        self.v[0] ^= word;
        self.words += 1;
    }

    /// The hash.
    #[must_use]
    pub const fn finish(mut self) -> u64 {
        // No bytes are left over; the length in bytes, modulo 256, closes.
        let last = self.words.wrapping_mul(8) << 56;
        self.v[3] ^= last;
        self.round();
        self.round();
        self.v[0] ^= last;
        self.v[2] ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.round();
        self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3]
    }

    const fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.v;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32);
        c = c.wrapping_add(b);
        a = a.wrapping_add(d);
        b = b.rotate_left(17) ^ c;
        d = d.rotate_left(21) ^ a;
        c = c.rotate_left(32);
        self.v = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_the_paper() {
        let key = u128::from_le_bytes(std::array::from_fn(|i| i as u8));
        assert_eq!(SipHash::new(key).finish(), 0x726f_db47_dd0e_0e31);
        let mut eight = SipHash::new(key);
        eight.word(u64::from_le_bytes(std::array::from_fn(|i| i as u8)));
        assert_eq!(eight.finish(), 0x93f5_f579_9a93_2462);
    }
}
