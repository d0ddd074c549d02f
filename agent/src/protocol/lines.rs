//! JSON that comes line by line (ND-JSON, JSON Lines), cut into its documents as the bytes come.

use super::sse::{KEPT_CAPACITY, MAX_EVENT_BYTES};
use crate::model::defect::Defects;
use crate::model::exchange::SseEvent;
use memchr::memchr;

/// Cuts one body of lines.
#[derive(Debug, Default)]
pub struct JsonLines {
    /// The line under way, when it did not lie whole in one piece of input.
    line: Vec<u8>,
    /// The rest of the line under way is dropped.
    skips: bool,
    defects: Defects,
}

impl JsonLines {
    /// At the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and gives out the lines that they complete.
    pub fn feed(&mut self, mut input: &[u8], out: &mut impl FnMut(SseEvent<'_>)) {
        while let Some(end) = memchr(b'\n', input) {
            let (line, rest) = (&input[..end], &input[end + 1..]);
            input = rest;
            if self.skips {
                self.skips = false;
            } else if self.line.is_empty() && line.len() <= MAX_EVENT_BYTES {
                give(line, out);
            } else {
                self.gather(line);
                self.skips = false;
                give(&self.line, out);
            }
            self.forget();
        }
        if !self.skips {
            self.gather(input);
        }
    }

    /// Bytes are missing here: the line they belong to is dropped.
    pub fn gap(&mut self) {
        self.forget();
        self.skips = true;
    }

    /// The body is over. A last line without its end is given out when the body is `whole`.
    pub fn finish(&mut self, whole: bool, out: &mut impl FnMut(SseEvent<'_>)) {
        if whole && !self.skips {
            give(&self.line, out);
        }
        self.forget();
    }

    /// What was wrong so far.
    #[must_use]
    pub const fn defects(&self) -> Defects {
        self.defects
    }

    /// Bytes kept for the line under way.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.line.len()
    }

    fn gather(&mut self, part: &[u8]) {
        if self.line.len() + part.len() > MAX_EVENT_BYTES {
            self.defects.add(Defects::EVENT_OVER_LIMIT);
            self.forget();
            self.skips = true;
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn forget(&mut self) {
        self.line.clear();
        self.line.shrink_to(KEPT_CAPACITY);
    }
}

/// Gives out a line that is not blank.
fn give(line: &[u8], out: &mut impl FnMut(SseEvent<'_>)) {
    let line = line.trim_ascii();
    if !line.is_empty() {
        out(SseEvent {
            event: "",
            data: line,
            comment: "",
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[Option<&[u8]>], whole: bool) -> (Vec<String>, Defects) {
        let mut got = Vec::new();
        let mut out = |e: SseEvent<'_>| got.push(String::from_utf8_lossy(e.data).into_owned());
        let mut lines = JsonLines::new();
        for piece in pieces {
            match piece {
                Some(bytes) => lines.feed(bytes, &mut out),
                None => lines.gap(),
            }
        }
        lines.finish(whole, &mut out);
        assert_eq!(lines.buffered(), 0);
        (got, lines.defects())
    }

    #[test]
    fn any_split_gives_the_same() {
        const BODY: &[u8] = b"{\"a\":1}\r\n\n  \n{\"b\":\"\xc3\xa9\"}\n{\"c\":3}";
        for step in 1..BODY.len() {
            let pieces: Vec<_> = BODY.chunks(step).map(Some).collect();
            let (got, defects) = cut(&pieces, true);
            assert_eq!(got, ["{\"a\":1}", "{\"b\":\"é\"}", "{\"c\":3}"], "{step}");
            assert!(defects.is_none());
            assert_eq!(cut(&pieces, false).0.len(), 2);
        }
    }

    #[test]
    fn a_gap_costs_the_line_it_is_in() {
        let (got, _) = cut(
            &[Some(b"1\n2"), None, Some(b"3\n4\n"), None, Some(b"5")],
            true,
        );
        assert_eq!(got, ["1", "4"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_dropped() {
        let long = vec![b'x'; MAX_EVENT_BYTES / 2 + 1];
        let pieces = [Some(&long[..]), Some(&long), Some(b"\n1\n")];
        let (got, defects) = cut(&pieces, true);
        assert_eq!(got, ["1"]);
        assert_eq!(defects, Defects::EVENT_OVER_LIMIT);
        let whole = [&long[..], &long, b"\n1\n"].concat();
        assert_eq!(cut(&[Some(&whole)], true), (got, defects));
    }
}
