//! The exchange that was under way when its connection was first seen.
//!
//! Its request is behind, or at least its beginning. Of its response the head may be seen, or the
//! middle of an event stream: that can be read where a piece starts with a line of it, or with
//! the size of a chunk that does. The middle of anything else cannot be read.

use super::exchange::Exchange;
use super::framing::Framing;
use super::{Http1, State, skip_line_ends};
use crate::model::exchange::{ExchangeSink, Interest};
use crate::model::time::BootTime;
use crate::protocol::ExchangeIds;
use crate::protocol::content::ResponseBody;
use crate::protocol::detect::{self, Looks};
use std::borrow::Cow;

/// Bytes of the start of a piece by which it is told what it is the middle of, at most.
pub const MAX_START_BYTES: usize = 32;

/// Hexadecimal digits of a chunk's size that are believed to be one here.
const MAX_SIZE_DIGITS: usize = 8;

/// What is looked at until it is known what the connection is in the middle of.
pub(super) struct Midway {
    /// The start of a piece that was too short to tell.
    start: Vec<u8>,
    /// Time and thread of its first byte.
    begun: (BootTime, u32),
}

impl Midway {
    pub(super) const fn new() -> Self {
        Self {
            start: Vec::new(),
            begun: (BootTime(0), 0),
        }
    }

    pub(super) const fn buffered(&self) -> usize {
        self.start.len()
    }
}

/// What a piece of a response starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    /// The response's head.
    Head,
    /// A chunk of an event stream.
    Chunk,
    /// A line of an event stream.
    Line,
    /// Too few bytes to tell.
    Maybe,
    /// Nothing that could be read.
    Other,
}

impl Http1 {
    /// Takes a piece of a response while no request was seen. Gives what is to be followed, with
    /// an exchange for it if it is something that can be.
    pub(super) fn midway_data<'a>(
        &mut self,
        mut midway: Midway,
        at: (BootTime, u32),
        piece: &'a [u8],
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) -> Option<Cow<'a, [u8]>> {
        let piece = if midway.start.is_empty() {
            midway.begun = at;
            Cow::Borrowed(piece)
        } else {
            midway.start.extend_from_slice(piece);
            Cow::Owned(std::mem::take(&mut midway.start))
        };
        let framing = match begins(&piece) {
            Begins::Maybe if piece.len() < MAX_START_BYTES => {
                self.counters.half_seen = 1;
                midway.start = piece.into_owned();
                self.midway = Some(midway);
                return None;
            }
            Begins::Maybe | Begins::Other => {
                // A later piece may start with something.
                self.midway = Some(midway);
                return Some(piece);
            }
            Begins::Head => None,
            Begins::Chunk => Some(Framing::chunked()),
            Begins::Line => Some(Framing::lost()),
        };
        self.counters.half_seen = 1;
        let (begun, tid) = midway.begun;
        let id = ids.next();
        let wanted = sink.half_seen(id, self.connection, tid, begun) == Interest::Wanted;
        self.open.push_back(Exchange::half_seen(id, begun, wanted));
        let Some(framing) = framing else {
            self.response.state = State::Start;
            return Some(piece);
        };
        self.response.state = State::Body(framing);
        self.response.body = wanted.then(ResponseBody::middle_of_events);
        Some(match piece {
            Cow::Borrowed(bytes) => Cow::Borrowed(skip_line_ends(bytes)),
            Cow::Owned(bytes) => Cow::Owned(skip_line_ends(&bytes).to_vec()),
        })
    }
}

fn begins(piece: &[u8]) -> Begins {
    // The end of the chunk before, or of an event.
    let piece = skip_line_ends(piece);
    match detect::status_line(piece) {
        Looks::Yes => return Begins::Head,
        Looks::Maybe => return Begins::Maybe,
        Looks::No => {}
    }
    match begins_line(piece) {
        Looks::Yes => return Begins::Line,
        Looks::Maybe => return Begins::Maybe,
        Looks::No => {}
    }
    let digits = piece.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if digits > MAX_SIZE_DIGITS || digits == 0 {
        return Begins::Other;
    }
    let line = match &piece[digits..] {
        [] | [b'\r'] => return Begins::Maybe,
        [b'\r', b'\n', line @ ..] | [b'\n', line @ ..] => line,
        _ => return Begins::Other,
    };
    match begins_line(line) {
        Looks::Yes => Begins::Chunk,
        Looks::Maybe => Begins::Maybe,
        Looks::No => Begins::Other,
    }
}

/// Whether a line of an event stream starts here that says something of the event: comments and
/// the like are too easily something else.
fn begins_line(bytes: &[u8]) -> Looks {
    let fields: [&[u8]; 2] = [b"data:", b"event:"];
    let looks = fields.map(|field| {
        let n = bytes.len().min(field.len());
        match (bytes[..n] == field[..n], n == field.len()) {
            (true, true) => Looks::Yes,
            (true, false) => Looks::Maybe,
            (false, _) => Looks::No,
        }
    });
    match looks {
        [Looks::Yes, _] | [_, Looks::Yes] => Looks::Yes,
        [Looks::No, Looks::No] => Looks::No,
        _ => Looks::Maybe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_of_pieces() {
        for (piece, want) in [
            ("HTTP/1.1 200 OK\r\n", Begins::Head),
            ("\r\nHTTP/1.1 200", Begins::Head),
            ("data: {\"id\":", Begins::Line),
            ("\n\nevent:x", Begins::Line),
            ("\r\n1f4\r\ndata:", Begins::Chunk),
            ("da\nevent: a", Begins::Chunk),
            ("data\r\ndata: a", Begins::Other),
            ("0\r\n\r\n", Begins::Other),
            ("\"}}]}\n\n", Begins::Other),
            ("{\"id\":1}", Begins::Other),
            (": ping\n\n", Begins::Other),
            ("123456789\r\ndata:", Begins::Other),
            ("\u{1f}\u{8b}", Begins::Other),
        ] {
            assert_eq!(begins(piece.as_bytes()), want, "{piece:?}");
            if matches!(want, Begins::Other) {
                continue;
            }
            // As long as it is not told it may be.
            let at = (0..=piece.len()).find(|n| begins(&piece.as_bytes()[..*n]) != Begins::Maybe);
            let at = at.unwrap_or_default();
            assert_eq!(begins(&piece.as_bytes()[..at]), want, "{piece:?} {at}");
            assert!(at <= MAX_START_BYTES);
        }
    }
}
