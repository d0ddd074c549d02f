//! The Huffman code of HPACK (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: it follows from the lengths of its words alone.

/// A string that is not a whole number of code words with the right padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Length in bits of the code word of each octet, then of the end of the string.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The symbol that ends a string; it may only be there as padding.
const END: u16 = 256;

/// Bits of the longest code word.
const LONGEST: usize = 30;

/// Bits that are looked up at once; most text has no longer words.
const QUICK: usize = 8;

/// What follows from the lengths.
struct Code {
    /// Symbols in the order of their code words.
    symbols: [u16; 257],
    /// For each length: the first code word of that length, and its place in `symbols`.
    first: [(u32, u16); LONGEST + 1],
    /// For each length: how many code words have it.
    count: [u16; LONGEST + 1],
    /// By the next eight bits: symbol and length of a short word; length zero for a long one.
    quick: [(u8, u8); 1 << QUICK],
}

static CODE: Code = code();

const fn code() -> Code {
    let mut code = Code {
        symbols: [0; 257],
        first: [(0, 0); LONGEST + 1],
        count: [0; LONGEST + 1],
        quick: [(0, 0); 1 << QUICK],
    };
    let (mut word, mut place, mut length) = (0_u32, 0_usize, 1);
    while length <= LONGEST {
        word <<= 1;
        code.first[length] = (word, place as u16);
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                code.symbols[place] = symbol as u16;
                code.count[length] += 1;
                if length <= QUICK {
                    let from = (word as usize) << (QUICK - length);
                    let mut i = 0;
                    while i < 1 << (QUICK - length) {
                        code.quick[from + i] = (symbol as u8, length as u8);
                        i += 1;
                    }
                }
                word += 1;
                place += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    code
}

/// Decodes a string, an octet at a time.
pub(super) fn decode(input: &[u8], mut out: impl FnMut(u8)) -> Result<(), Malformed> {
    // The next bits, the first of them the highest.
    let (mut bits, mut have) = (0_u64, 0_usize);
    let mut input = input.iter();
    loop {
        while have <= 56
            && let Some(byte) = input.next()
        {
            bits |= u64::from(*byte) << (56 - have);
            have += 8;
        }
        let (symbol, length) = match CODE.quick[(bits >> (64 - QUICK)) as usize] {
            (_, 0) => long_word(bits),
            (symbol, length) => (u16::from(symbol), usize::from(length)),
        };
        if length > have {
            // Padding: fewer bits than an octet, all of them set.
            let padding = !bits >> (64 - have.clamp(1, 63));
            return if have == 0 || have < 8 && padding == 0 {
                Ok(())
            } else {
                Err(Malformed)
            };
        }
        match u8::try_from(symbol) {
            Ok(octet) => out(octet),
            Err(_) => return Err(Malformed),
        }
        bits <<= length;
        have -= length;
    }
}

/// Symbol and length of the code word at the start of these bits.
fn long_word(bits: u64) -> (u16, usize) {
    for length in QUICK + 1..=LONGEST {
        let word = (bits >> (64 - length)) as u32;
        let (first, place) = CODE.first[length];
        // A word below the first of its length would have been found as a shorter one.
        let nth = word.wrapping_sub(first);
        if nth < u32::from(CODE.count[length]) {
            return (CODE.symbols[usize::from(place) + nth as usize], length);
        }
    }
    (END, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(input: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(input, |b| out.push(b)).ok().map(|()| out)
    }

    /// By the table, bit by bit.
    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for octet in text {
            let length = usize::from(LENGTHS[usize::from(*octet)]);
            let (first, place) = CODE.first[length];
            let nth = (0..)
                .find(|n| CODE.symbols[usize::from(place) + n] == u16::from(*octet))
                .unwrap();
            let word = first as usize + nth;
            bits.extend((0..length).rev().map(|i| word >> i & 1 == 1));
        }
        while bits.len() % 8 != 0 {
            bits.push(true);
        }
        bits.chunks(8)
            .map(|c| c.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit)))
            .collect()
    }

    /// RFC 7541, appendix C.4 and C.6.
    #[test]
    fn examples_of_the_standard() {
        for (hex, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("6402", "302"),
            (
                "9d29ad171863c78f0b97c8e9ae82ae43d3",
                "https://www.example.com",
            ),
        ] {
            let bytes: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
                .collect();
            assert_eq!(decoded(&bytes).as_deref(), Some(text.as_bytes()));
            assert_eq!(encoded(text.as_bytes()), bytes);
        }
    }

    #[test]
    fn every_octet_in_every_place() {
        for octet in 0..=255 {
            for before in 0..9 {
                let text = [vec![b'a'; before], vec![octet, b'~', octet]].concat();
                assert_eq!(decoded(&encoded(&text)), Some(text));
            }
        }
        assert_eq!(decoded(&[]), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_string() {
        // Padding of a whole octet, of zeros, and the end of the string.
        for bad in [
            &[0xff][..],
            &[0x1f, 0xff],
            &[0x18],
            &[0x00],
            &[0xff, 0xff, 0xff, 0xff],
            &[0xff, 0xff, 0xff, 0xfc],
            &[0xff, 0xff, 0xff, 0xfc, 0x1f],
        ] {
            assert_eq!(decoded(bad), None, "{bad:x?}");
        }
        assert_eq!(decoded(&[0x1f]), Some(b"a".to_vec()));
    }
}
