//! Where frames begin, after a loss or an attach in mid-connection. A frame has no mark to know it
//! by; so it counts only where there is no doubt: at the start of a piece, as the process read or
//! wrote it, a message in one frame whose payload is a JSON object from its first byte to its last.
//! All that is of interest here speaks such objects.

use super::extension::Extensions;
use super::frame::{self, Frame, Head, Kind};
use super::inflate::Inflate;
use crate::model::time::BootTime;
use crate::model::websocket::Sender;
use serde::de::IgnoredAny;

/// Most bytes of a frame that may be the one.
pub const MAX_SEARCH_BYTES: usize = 64 << 10;

/// Shortest object that is believed: a shorter one may be chance.
const MIN_OBJECT: usize = 12;

/// Searches one side.
#[derive(Clone, Debug)]
pub struct Finder {
    sender: Sender,
    extensions: Extensions,
    /// From where a frame may begin.
    bytes: Vec<u8>,
    /// Time and thread of their first one.
    begun: (BootTime, u32),
    /// Bytes that are no frame of interest.
    dropped: u64,
}

/// A frame was found.
#[derive(Debug)]
pub(super) struct Found {
    /// From its first byte to the last one that came.
    pub(super) bytes: Vec<u8>,
    /// Time and thread of its first byte.
    pub(super) begun: (BootTime, u32),
}

/// What bytes may be.
enum Guess {
    /// What is searched for.
    Yes,
    /// It, as far as it goes.
    Maybe,
    No,
}

impl Finder {
    /// For a side of which it is not known where a frame begins.
    #[must_use]
    pub const fn new(sender: Sender, extensions: Extensions) -> Self {
        Self {
            sender,
            extensions,
            bytes: Vec::new(),
            begun: (BootTime(0), 0),
            dropped: 0,
        }
    }

    /// Looks at the next piece.
    pub(super) fn piece(&mut self, piece: &[u8], at: (BootTime, u32)) -> Option<Found> {
        if !self.bytes.is_empty() {
            self.bytes.extend_from_slice(piece);
            match self.guess(&self.bytes) {
                Guess::Yes => return Some(self.found()),
                Guess::Maybe => return None,
                Guess::No => self.gap(),
            }
            // Counted with the rest; unless it is one itself.
            self.dropped -= piece.len() as u64;
        }
        match self.guess(piece) {
            Guess::No => {
                self.dropped += piece.len() as u64;
                return None;
            }
            Guess::Yes => {
                self.begun = at;
                self.bytes = piece.to_vec();
                return Some(self.found());
            }
            Guess::Maybe => {}
        }
        self.begun = at;
        self.bytes.extend_from_slice(piece);
        None
    }

    /// Bytes are missing: what was kept is of no use.
    pub(super) fn gap(&mut self) {
        self.dropped += self.bytes.len() as u64;
        self.bytes = Vec::new();
    }

    /// Bytes dropped since the last time.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Bytes kept.
    pub(super) fn buffered(&self) -> usize {
        self.bytes.len()
    }

    fn found(&mut self) -> Found {
        Found {
            bytes: std::mem::take(&mut self.bytes),
            begun: self.begun,
        }
    }

    fn guess(&self, bytes: &[u8]) -> Guess {
        let compresses = self.extensions != Extensions::None;
        if !(matches!(bytes, [0x81, ..]) || compresses && matches!(bytes, [0xc1, ..])) {
            return Guess::No;
        }
        let (mut frame, len) = match frame::head(bytes, self.sender, compresses) {
            Head::Short => return Guess::Maybe,
            Head::Malformed => return Guess::No,
            Head::Whole(frame, len) => (frame, len),
        };
        let fits = frame.left <= (MAX_SEARCH_BYTES - frame::MAX_HEAD) as u64;
        if frame.kind != Kind::Text || !fits || frame.left == 0 {
            return Guess::No;
        }
        let mut rest = &bytes[len..];
        if !frame.compressed && !begins(frame, rest) {
            return Guess::No;
        }
        if (rest.len() as u64) < frame.left {
            return Guess::Maybe;
        }
        let compressed = frame.compressed;
        let (payload, mut mask) = frame.take(&mut rest);
        let mut text = Vec::new();
        mask.append(payload, &mut text);
        let text = if compressed {
            inflated(&text)
        } else {
            Some(text)
        };
        if text.is_some_and(|text| is_object(&text)) {
            Guess::Yes
        } else {
            Guess::No
        }
    }
}

/// Whether a payload begins like an object, as far as it goes.
fn begins(mut frame: Frame, mut rest: &[u8]) -> bool {
    let (payload, mut mask) = frame.take(&mut rest);
    let mut first = Vec::new();
    mask.append(&payload[..payload.len().min(1)], &mut first);
    matches!(first[..], [] | [b'{'])
}

/// A compressed payload that refers to nothing before it.
fn inflated(payload: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut over = false;
    let mut out = |bytes: &[u8]| {
        over |= text.len() + bytes.len() > 16 * MAX_SEARCH_BYTES;
        if !over {
            text.extend_from_slice(bytes);
        }
    };
    let mut inflate = Inflate::unseen();
    inflate.push(payload, &mut out).ok()?;
    let certain = inflate.end(&mut out).ok()?;
    (certain && !over).then_some(text)
}

fn is_object(text: &[u8]) -> bool {
    text.len() >= MIN_OBJECT
        && text.starts_with(b"{")
        && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}
