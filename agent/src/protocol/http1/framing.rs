//! How long a message's body is (RFC 9112, section 6), and following it.

use super::chunked::Chunked;

/// What a head says of the length of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Nothing.
    Absent,
    /// `Content-Length`.
    Known(u64),
    /// `Transfer-Encoding` that ends with `chunked`; goes before `Content-Length`.
    Chunked,
    /// `Transfer-Encoding` that ends with something else.
    OtherCoding,
    /// `Content-Length` values that are no numbers, or not the same.
    Conflict,
}

impl Length {
    /// Takes a `Content-Length` header into account.
    pub(super) fn content_length(&mut self, value: &[u8]) {
        for item in value.split(|b| *b == b',') {
            let n = number(item.trim_ascii());
            *self = match (*self, n) {
                (Self::Absent, Some(n)) => Self::Known(n),
                (Self::Known(a), Some(b)) if a == b => Self::Known(a),
                (Self::Chunked | Self::OtherCoding, _) => return,
                _ => Self::Conflict,
            };
        }
    }

    /// Takes a `Transfer-Encoding` header into account.
    pub(super) fn transfer_encoding(&mut self, value: &[u8]) {
        let last = value.rsplit(|b| *b == b',').map(<[u8]>::trim_ascii);
        if let Some(last) = last.into_iter().find(|l| !l.is_empty()) {
            *self = if last.eq_ignore_ascii_case(b"chunked") {
                Self::Chunked
            } else {
                Self::OtherCoding
            };
        }
    }
}

/// Digits only: no sign, no space.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// What comes next of a body.
pub(super) enum Step<'a> {
    /// Bytes of it, free of framing.
    Body(&'a [u8]),
    /// The body is over.
    End,
    /// No more without more input.
    More,
    /// The framing breaks the rules.
    Malformed,
}

/// What a gap did to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GapStep {
    /// Missing bytes of the body; of one whose framing is lost, framing among them.
    pub(super) body: u64,
    /// Bytes missing after the end of the body.
    pub(super) beyond: u64,
}

/// Follows one body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Framing {
    /// So many bytes more.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// All up to the end of the connection.
    UntilClose,
}

impl Framing {
    /// At the start of a chunked body.
    pub(super) const fn chunked() -> Self {
        Self::Chunked(Chunked::new())
    }

    /// Somewhere in a body that is chunked, or else has no end that could be known.
    pub(super) const fn lost() -> Self {
        Self::Chunked(Chunked::lost())
    }

    /// The next thing in `input`, which is moved on.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Step<'a> {
        match self {
            Self::Length(0) => Step::End,
            _ if input.is_empty() => Step::More,
            Self::Length(left) => {
                let n = usize::try_from(*left).map_or(input.len(), |l| l.min(input.len()));
                let (body, rest) = input.split_at(n);
                *input = rest;
                *left -= n as u64;
                Step::Body(body)
            }
            Self::Chunked(chunked) => chunked.next(input),
            Self::UntilClose => Step::Body(std::mem::take(input)),
        }
    }

    /// Bytes are missing here.
    pub(super) fn gap(&mut self, missing: u64) -> GapStep {
        let mut body = missing;
        match self {
            Self::Length(left) => {
                body = missing.min(*left);
                *left -= body;
            }
            Self::Chunked(chunked) => {
                chunked.gap(missing);
            }
            Self::UntilClose => {}
        }
        GapStep {
            body,
            beyond: missing - body,
        }
    }

    /// Whether it is not known any more where the body ends.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Chunked(c) if c.is_lost())
    }

    /// A new piece starts after the framing was lost: how much of it is of the body still, and
    /// where the framing is known again.
    pub(super) fn regain(&mut self, piece: &[u8]) -> Option<(usize, usize)> {
        match self {
            Self::Chunked(c) if c.is_lost() => c.regain(piece),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        for (headers, want) in [
            (&[][..], Length::Absent),
            (&["5"], Length::Known(5)),
            (&["5", "5"], Length::Known(5)),
            (&["5, 5"], Length::Known(5)),
            (&["5", "6"], Length::Conflict),
            (&["5,6"], Length::Conflict),
            (&["-1"], Length::Conflict),
            (&["+1"], Length::Conflict),
            (&["1 2"], Length::Conflict),
            (&[""], Length::Conflict),
            (&["18446744073709551615"], Length::Known(u64::MAX)),
            (&["18446744073709551616"], Length::Conflict),
            (&["tchunked"], Length::Chunked),
            (&["5", "tchunked"], Length::Chunked),
            (&["tchunked", "x"], Length::Chunked),
            (&["tgzip, Chunked"], Length::Chunked),
            (&["tgzip", "tchunked"], Length::Chunked),
            (&["tgzip"], Length::OtherCoding),
        ] {
            let mut length = Length::Absent;
            for h in headers {
                match h.strip_prefix('t') {
                    Some(coding) => length.transfer_encoding(coding.as_bytes()),
                    None => length.content_length(h.as_bytes()),
                }
            }
            assert_eq!(length, want, "{headers:?}");
        }
    }

    #[test]
    fn gaps() {
        let gap = |framing: &mut Framing, n| {
            let g = framing.gap(n);
            (g.body, g.beyond, framing.is_lost())
        };
        assert_eq!(gap(&mut Framing::Length(5), 3), (3, 0, false));
        assert_eq!(gap(&mut Framing::Length(5), 8), (5, 3, false));
        assert_eq!(
            gap(&mut Framing::Length(5), u64::MAX),
            (5, u64::MAX - 5, false)
        );
        assert_eq!(gap(&mut Framing::UntilClose, 8), (8, 0, false));
        assert_eq!(gap(&mut Framing::Chunked(Chunked::new()), 8), (8, 0, true));
    }
}
