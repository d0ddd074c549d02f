//! Sets of bytes, and what may stand before a find.

/// A set of ASCII characters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Class(u128);

impl Class {
    const fn of(extra: &[u8]) -> Self {
        let mut set = 0;
        let mut at = 0;
        while at < extra.len() {
            set |= 1 << extra[at];
            at += 1;
        }
        Self(set)
    }

    const fn with(self, extra: &[u8]) -> Self {
        Self(self.0 | Self::of(extra).0)
    }

    /// `0-9`
    pub(super) const DIGIT: Self = Self::of(b"0123456789");
    /// `0-9a-f`
    pub(super) const HEX: Self = Self::DIGIT.with(b"abcdef");
    /// `0-9A-Z`
    pub(super) const UPPER: Self = Self::DIGIT.with(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    /// `0-9A-Za-z`
    pub(super) const ALNUM: Self = Self::UPPER.with(b"abcdefghijklmnopqrstuvwxyz");
    /// `ALNUM` and `_`
    pub(super) const WORD: Self = Self::ALNUM.with(b"_");
    /// Base 64 for URLs.
    pub(super) const URL: Self = Self::WORD.with(b"-");
    /// The same in parts with points between.
    pub(super) const DOTTED: Self = Self::URL.with(b".");
    /// The same as a path.
    pub(super) const PATH: Self = Self::URL.with(b"/");
    /// Base 64, perhaps percent-encoded.
    pub(super) const BASE64: Self = Self::ALNUM.with(b"+/=%");
    /// Tokens of RFC 6750, section 2.1.
    pub(super) const TOKEN68: Self = Self::DOTTED.with(b"~+/=");
    /// Local parts of addresses, as people have them.
    pub(super) const LOCAL: Self = Self::ALNUM.with(b"._%+-'");

    /// Whether it has this byte.
    pub(super) const fn has(self, byte: u8) -> bool {
        byte < 128 && self.0 & (1 << byte) != 0
    }

    /// Where the run of its characters ends that begins at `at`.
    pub(super) fn run(self, bytes: &[u8], at: usize) -> usize {
        let rest = bytes.get(at..).unwrap_or_default();
        at + rest
            .iter()
            .position(|b| !self.has(*b))
            .unwrap_or(rest.len())
    }
}

/// Where the character begins that an escape before `at` ends: the length of an escape sequence
/// of JSON (RFC 8259, section 7) or of a URL (RFC 3986, section 2.1) that ends at `at`. Texts hold
/// JSON and URLs, and `n` of `\n` is no letter of the word after it.
pub(super) fn escape_before(bytes: &[u8], at: usize) -> usize {
    let back = |n: usize| at.checked_sub(n).and_then(|i| bytes.get(i)).copied();
    let hex = |n: usize| (1..=n).all(|i| back(i).is_some_and(|b| b.is_ascii_hexdigit()));
    if back(2) == Some(b'\\') && back(1).is_some_and(|b| b"nrtbf".contains(&b)) {
        2
    } else if back(3) == Some(b'%') && hex(2) {
        3
    } else if back(6) == Some(b'\\') && back(5) == Some(b'u') && hex(4) {
        6
    } else {
        0
    }
}

/// Whether a word can begin at `at`. `floor` is where the last find ended: what stands before it
/// is gone.
pub(super) fn word_begins(bytes: &[u8], at: usize, floor: usize) -> bool {
    if at <= floor {
        return true;
    }
    let before = bytes.get(at - 1).copied().unwrap_or_default();
    !Class::ALNUM.has(before) || escape_before(bytes, at) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_begin_behind_escapes() {
        for (text, yes) in [
            ("", true),
            (" ", true),
            ("_", true),
            ("é", true),
            ("a", false),
            ("7", false),
            ("n", false),
            ("\\n", true),
            ("\\u00e9", true),
            ("u00e9", false),
            ("%20", true),
            ("%2", false),
        ] {
            assert_eq!(word_begins(text.as_bytes(), text.len(), 0), yes, "{text}");
        }
        assert!(word_begins(b"ab", 1, 1));
    }
}
