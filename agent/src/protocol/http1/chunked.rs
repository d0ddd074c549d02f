//! The chunked transfer coding (RFC 9112, section 7.1).

use super::framing::Step;
use memchr::memchr;

/// Most bytes of one chunk's extensions.
pub const MAX_EXTENSION_BYTES: u32 = 16 << 10;

/// Most bytes of all trailer fields.
pub const MAX_TRAILER_BYTES: u32 = 64 << 10;

/// How many places of a piece are tried when the framing was lost.
const MAX_TRIES: usize = 64;

/// Most hexadecimal digits of a chunk's size; leading zeros count.
const MAX_DIGITS: u8 = 16;

/// Where in the coding the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// In the digits of a size.
    Size { size: u64, digits: u8 },
    /// Between the digits and the end of the line.
    Extension { size: u64, left: u32 },
    /// In data; never zero bytes left.
    Data(u64),
    /// After data, before its CR.
    DataEnd,
    /// After data and its CR.
    DataLf,
    /// In the trailer section.
    Trailer { line_empty: bool, left: u32 },
    /// Bytes were missed; where chunks begin is not known.
    Lost,
}

/// Follows the chunks of one body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunked(Part);

impl Chunked {
    pub(super) const fn new() -> Self {
        Self(Part::Size { size: 0, digits: 0 })
    }

    /// Somewhere in the body.
    pub(super) const fn lost() -> Self {
        Self(Part::Lost)
    }

    /// The next thing in `input`, which is moved on.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Step<'a> {
        while let Some((b, rest)) = input.split_first() {
            self.0 = match self.0 {
                Part::Data(left) => {
                    let n = usize::try_from(left).map_or(input.len(), |l| l.min(input.len()));
                    let (data, rest) = input.split_at(n);
                    *input = rest;
                    self.skip_data(left, n as u64);
                    return Step::Body(data);
                }
                Part::Lost => return Step::Body(std::mem::take(input)),
                Part::Trailer { line_empty, left } => match trailer(line_empty, left, input) {
                    Ok(Some(part)) => {
                        self.0 = part;
                        continue;
                    }
                    Ok(None) => return Step::End,
                    Err(()) => return Step::Malformed,
                },
                Part::Extension { size, left } => {
                    let end = memchr(b'\n', input);
                    let len = end.unwrap_or(input.len());
                    let Some(left) = u32::try_from(len).ok().and_then(|n| left.checked_sub(n))
                    else {
                        return Step::Malformed;
                    };
                    *input = input.get(len + 1..).unwrap_or_default();
                    self.0 = match end {
                        Some(_) => after_size(size),
                        None => Part::Extension { size, left },
                    };
                    continue;
                }
                Part::Size { size, digits } => match size_byte(size, digits, *b) {
                    Some(part) => part,
                    None => return Step::Malformed,
                },
                Part::DataEnd if *b == b'\r' => Part::DataLf,
                Part::DataEnd | Part::DataLf if *b == b'\n' => Self::new().0,
                Part::DataEnd | Part::DataLf => return Step::Malformed,
            };
            *input = rest;
        }
        Step::More
    }

    /// Bytes are missing here. Tells whether they all were of the chunk under way, so that the
    /// framing is still known.
    pub(super) fn gap(&mut self, missing: u64) -> bool {
        match self.0 {
            Part::Data(left) if missing <= left => {
                self.skip_data(left, missing);
                true
            }
            _ => {
                self.0 = Part::Lost;
                false
            }
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.0 == Part::Lost
    }

    /// After the framing was lost: where in `piece` chunks go on for sure, as the length of the
    /// rest of a chunk whose size was missed, and where the next one starts.
    pub(super) fn regain(&mut self, piece: &[u8]) -> Option<(usize, usize)> {
        let mut at = 0;
        for _ in 0..MAX_TRIES {
            let line = piece.get(at..)?;
            if is_chunks(line) {
                *self = Self::new();
                let before = &piece[..at];
                return Some(match line_end_length(line) {
                    0 => (before.strip_suffix(b"\r\n").map_or(at, <[u8]>::len), at),
                    n => (at, at + n),
                });
            }
            at += memchr(b'\n', line)? + 1;
        }
        None
    }

    fn skip_data(&mut self, left: u64, n: u64) {
        self.0 = match left - n {
            0 => Part::DataEnd,
            left => Part::Data(left),
        };
    }
}

/// Takes one byte of a line with a size.
fn size_byte(size: u64, digits: u8, b: u8) -> Option<Part> {
    match char::from(b).to_digit(16) {
        Some(_) if digits == MAX_DIGITS => None,
        Some(digit) => Some(Part::Size {
            size: size << 4 | u64::from(digit),
            digits: digits + 1,
        }),
        None if digits == 0 => None,
        None => match b {
            b'\n' => Some(after_size(size)),
            b'\r' | b';' | b' ' | b'\t' => Some(Part::Extension {
                size,
                left: MAX_EXTENSION_BYTES,
            }),
            _ => None,
        },
    }
}

const fn after_size(size: u64) -> Part {
    match size {
        0 => Part::Trailer {
            line_empty: true,
            left: MAX_TRAILER_BYTES,
        },
        n => Part::Data(n),
    }
}

/// Takes a line of the trailer section, or a part of one. `None` is the end of it all.
fn trailer(line_empty: bool, left: u32, input: &mut &[u8]) -> Result<Option<Part>, ()> {
    let end = memchr(b'\n', input);
    let line = &input[..end.unwrap_or(input.len())];
    let line_empty = line_empty && matches!(line, [] | [b'\r']);
    let len = u32::try_from(line.len()).map_err(|_| ())?;
    let left = left.checked_sub(len).ok_or(())?;
    *input = end.map_or(&[], |end| &input[end + 1..]);
    Ok(match end {
        Some(_) if line_empty => None,
        Some(_) => Some(Part::Trailer {
            line_empty: true,
            left,
        }),
        None => Some(Part::Trailer { line_empty, left }),
    })
}

/// Whether `bytes` are chunks from their start to their end: at least one whole chunk, or the
/// last chunk's size line, and then anything that goes on rightly. A CRLF may come first.
fn is_chunks(bytes: &[u8]) -> bool {
    let mut rest = &bytes[line_end_length(bytes)..];
    let mut chunked = Chunked::new();
    // All data of the latest chunk was there; its CRLF was there too, of that or one before.
    let (mut data, mut whole) = (false, false);
    loop {
        match chunked.next(&mut rest) {
            Step::Body(_) => {
                whole |= data;
                data = chunked.0 == Part::DataEnd;
            }
            Step::End => return true,
            Step::Malformed => return false,
            Step::More => {
                return match chunked.0 {
                    Part::Trailer { .. } => true,
                    Part::Data(_) | Part::DataEnd | Part::DataLf => whole,
                    _ => whole || data,
                };
            }
        }
    }
}

fn line_end_length(bytes: &[u8]) -> usize {
    match bytes {
        [b'\r', b'\n', ..] => 2,
        [b'\n', ..] => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> String {
        let mut chunked = Chunked::new();
        let mut got = String::new();
        for piece in pieces {
            let mut input = *piece;
            loop {
                match chunked.next(&mut input) {
                    Step::Body(b) => got.push_str(&String::from_utf8_lossy(b)),
                    Step::More => break,
                    Step::End => return format!("{got}|{}", input.len()),
                    Step::Malformed => return format!("{got}!"),
                }
            }
        }
        format!("{got}…")
    }

    fn check(input: &[u8], want: &str) {
        assert_eq!(decode(&[input]), want);
        for at in 0..=input.len() {
            let (a, b) = input.split_at(at);
            let want = match want.split_once('|') {
                // What follows the end may lie in a later piece.
                Some((body, _)) if b.is_empty() || at < input.len() => format!("{body}|"),
                _ => want.to_owned(),
            };
            assert!(decode(&[a, b]).starts_with(&want), "split at {at}");
        }
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        let body = want.split(['|', '!', '…']).next().unwrap_or_default();
        assert!(decode(&bytes).starts_with(body));
    }

    #[test]
    fn chunks() {
        check(b"3\r\nabc\r\n0\r\n\r\n", "abc|0");
        check(
            b"3\r\nabc\r\n2;a=b\r\nde\r\n0;x\r\nT: v\r\nU: w\r\n\r\nHTTP",
            "abcde|4",
        );
        check(b"03\nabc\n0\n\n", "abc|0");
        check(b"3 \r\nabc\r\n00\r\n\r\n", "abc|0");
        check(b"A\r\n0123456789\r\n0\r\n\r\n", "0123456789|0");
        check(b"5\r\nab", "ab…");
    }

    #[test]
    fn malformed() {
        check(b"x\r\n", "!");
        check(b"\r\n", "!");
        check(b"-1\r\n", "!");
        check(b"3\r\nabcd\r\n", "abc!");
        check(b"3\r\nabc\rx", "abc!");
        check(b"10000000000000000\r\n", "!");
        check(b"00000000000000001\r\n", "!");
        check(b"1x\r\n", "!");
        assert_eq!(decode(&[b"ffffffffffffffff\r\nab"]), "ab…");
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let x = vec![b'x'; 10_000];
        let mut chunked = Chunked::new();
        let mut input = b"1;".as_slice();
        assert!(matches!(chunked.next(&mut input), Step::More));
        let mut steps = 0;
        while matches!(chunked.next(&mut x.as_slice()), Step::More) {
            steps += 1;
        }
        assert_eq!(steps, 1);

        let mut chunked = Chunked::new();
        assert!(matches!(chunked.next(&mut b"0\r\n".as_slice()), Step::More));
        let mut steps = 0;
        while matches!(chunked.next(&mut b"Name: value\r\n".as_slice()), Step::More) {
            steps += 1;
        }
        assert_eq!(steps, MAX_TRAILER_BYTES / 12);
    }

    #[test]
    fn gaps_inside_a_chunk_do_no_harm() {
        let mut chunked = Chunked::new();
        assert!(matches!(
            chunked.next(&mut b"a\r\n01".as_slice()),
            Step::Body(b"01")
        ));
        assert!(chunked.gap(7));
        assert!(matches!(
            chunked.next(&mut b"9\r\n".as_slice()),
            Step::Body(b"9")
        ));
        let mut input = b"\r\n0\r\n\r\n".as_slice();
        assert!(matches!(chunked.next(&mut input), Step::End));

        let mut chunked = Chunked::new();
        assert!(matches!(
            chunked.next(&mut b"a\r\n01".as_slice()),
            Step::Body(_)
        ));
        assert!(!chunked.gap(9));
        assert!(chunked.is_lost());
        assert!(matches!(
            chunked.next(&mut b"ab".as_slice()),
            Step::Body(b"ab")
        ));
    }

    #[test]
    fn framing_is_found_again() {
        for (piece, want) in [
            ("3\r\nabc\r\n", Some((0, 0))),
            ("\r\n3\r\nabc\r\n", Some((0, 2))),
            ("0\r\n\r\n", Some((0, 0))),
            ("rest\r\n0\r\n\r\n", Some((4, 6))),
            ("rest\n\r\n0\r\n\r\n", Some((5, 7))),
            ("rest\nof\r\n4\r\nmore\r\n5\r\ncut", Some((7, 9))),
            ("12", None),
            ("text\r\n", None),
            ("12\r\nnot a chunk's end", None),
            ("3\r\nabc", None),
        ] {
            let mut chunked = Chunked(Part::Lost);
            assert_eq!(chunked.regain(piece.as_bytes()), want, "{piece:?}");
            assert_eq!(chunked.is_lost(), want.is_none());
        }
    }
}
