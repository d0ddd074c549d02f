//! Heads of frames (RFC 6455, section 5.2).

use crate::model::websocket::Sender;

/// Longest head: two bytes, a length of eight, a mask of four.
pub(super) const MAX_HEAD: usize = 14;

/// Longest payload of a control frame (section 5.5).
pub(super) const MAX_CONTROL: usize = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Continuation,
    Text,
    Binary,
    Close,
    /// Ping or pong.
    Heartbeat,
}

/// A frame under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// The last one of its message.
    pub(super) fin: bool,
    /// The message is compressed (RFC 7692, section 6).
    pub(super) compressed: bool,
    /// Bytes of the payload that are still to come.
    pub(super) left: u64,
    mask: Mask,
}

/// The key that a payload is masked with, turned to the next byte.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mask([u8; 4]);

impl Mask {
    /// Passes over so many bytes.
    fn skip(&mut self, bytes: u64) {
        self.0.rotate_left((bytes % 4) as usize);
    }

    /// Unmasks the next bytes to the end of `out`.
    pub(super) fn append(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(bytes);
        if self.0 != [0; 4] {
            // Eight at a time, which the compiler makes wider still.
            let wide = u64::from_ne_bytes([self.0, self.0].concat().try_into().unwrap_or_default());
            let mut words = out[start..].chunks_exact_mut(8);
            for word in &mut words {
                let value = u64::from_ne_bytes((&*word).try_into().unwrap_or_default()) ^ wide;
                word.copy_from_slice(&value.to_ne_bytes());
            }
            for (byte, key) in words.into_remainder().iter_mut().zip(self.0.iter().cycle()) {
                *byte ^= key;
            }
        }
        self.skip(bytes.len() as u64);
    }
}

impl Frame {
    /// Whether it stands between the frames of a message, not in one.
    pub(super) const fn is_control(&self) -> bool {
        matches!(self.kind, Kind::Close | Kind::Heartbeat)
    }

    /// Whether its payload is as it was sent.
    pub(super) fn is_plain(&self) -> bool {
        self.mask.0 == [0; 4]
    }

    /// The next bytes of its payload: as many of `input` as are its, and the mask for them.
    pub(super) fn take<'a>(&mut self, input: &mut &'a [u8]) -> (&'a [u8], Mask) {
        let len = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        let (mine, rest) = input.split_at(len);
        let mask = self.mask;
        *input = rest;
        self.skip(len as u64);
        (mine, mask)
    }

    /// Passes over bytes of its payload, of which there are as many.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.left -= bytes;
        self.mask.skip(bytes);
    }
}

/// How long a head is that begins with these bytes, two at least.
fn head_len(bytes: &[u8]) -> usize {
    let long = match bytes[1] & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = usize::from(bytes[1] >> 7) * 4;
    2 + long + mask
}

/// A frame's head.
#[derive(Clone, Copy, Debug)]
pub(super) enum Head {
    /// It needs more bytes than there are.
    Short,
    /// It is whole, and so many bytes long.
    Whole(Frame, usize),
    /// It breaks the rules: what follows is no frame.
    Malformed,
}

/// Reads the head that `bytes` begin with. `compresses` says whether a message may be compressed.
pub(super) fn head(bytes: &[u8], sender: Sender, compresses: bool) -> Head {
    let [first, second, ..] = *bytes else {
        return Head::Short;
    };
    let len = head_len(bytes);
    let fin = first & 0x80 != 0;
    let compressed = first & 0x40 != 0;
    let kind = match first & 0x0f {
        0 => Kind::Continuation,
        1 => Kind::Text,
        2 => Kind::Binary,
        8 => Kind::Close,
        9 | 10 => Kind::Heartbeat,
        _ => return Head::Malformed,
    };
    let masked = second & 0x80 != 0;
    let control = matches!(kind, Kind::Close | Kind::Heartbeat);
    let small = u64::from(second & 0x7f);
    let breaks = first & 0x30 != 0
        || masked != (sender == Sender::Client)
        || compressed && !(compresses && matches!(kind, Kind::Text | Kind::Binary))
        || control && (!fin || small > MAX_CONTROL as u64);
    if breaks {
        return Head::Malformed;
    }
    let Some(rest) = bytes.get(2..len) else {
        return Head::Short;
    };
    let (length, key) = rest.split_at(len - 2 - usize::from(masked) * 4);
    let long = length.iter().fold(0, |n, b| n << 8 | u64::from(*b));
    let left = if length.is_empty() { small } else { long };
    if left >> 63 != 0 {
        return Head::Malformed;
    }
    let frame = Frame {
        kind,
        fin,
        compressed,
        left,
        mask: Mask(key.try_into().unwrap_or_default()),
    };
    Head::Whole(frame, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], sender: Sender) -> Option<(Kind, bool, bool, u64, usize)> {
        match head(bytes, sender, true) {
            Head::Whole(f, len) => Some((f.kind, f.fin, f.compressed, f.left, len)),
            _ => None,
        }
    }

    #[test]
    fn heads_of_every_length() {
        use Sender::{Client, Server};
        for (bytes, sender, want) in [
            (&[0x81, 5][..], Server, (Kind::Text, true, false, 5, 2)),
            (&[0x02, 125], Server, (Kind::Binary, false, false, 125, 2)),
            (
                &[0x80, 126, 1, 2],
                Server,
                (Kind::Continuation, true, false, 258, 4),
            ),
            (
                &[0xc1, 127, 0, 0, 0, 1, 0, 0, 0, 2],
                Server,
                (Kind::Text, true, true, (1 << 32) + 2, 10),
            ),
            (
                &[0x89, 0x80, 1, 2, 3, 4],
                Client,
                (Kind::Heartbeat, true, false, 0, 6),
            ),
            (
                &[0x88, 0xfd, 1, 2, 3, 4],
                Client,
                (Kind::Close, true, false, 125, 6),
            ),
            (
                &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 1, 0, 9, 9, 9, 9],
                Client,
                (Kind::Binary, true, false, 256, 14),
            ),
        ] {
            assert_eq!(read(bytes, sender), Some(want), "{bytes:?}");
            for n in 0..bytes.len() {
                assert!(
                    matches!(head(&bytes[..n], sender, true), Head::Short),
                    "{bytes:?} {n}"
                );
            }
        }
    }

    #[test]
    fn what_breaks_the_rules() {
        use Sender::{Client, Server};
        for (bytes, sender) in [
            // Reserved bits and kinds.
            (&[0xa1, 0][..], Server),
            (&[0x91, 0], Server),
            (&[0x83, 0], Server),
            (&[0x8b, 0], Server),
            // Masks of the wrong side.
            (&[0x81, 0x80, 0, 0, 0, 0], Server),
            (&[0x81, 1], Client),
            // Control frames that are cut up, too long, or compressed.
            (&[0x09, 0], Server),
            (&[0x89, 126, 0, 126], Server),
            (&[0xc9, 0], Server),
            // A compressed continuation.
            (&[0xc0, 0], Server),
            // Longer than there is.
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], Server),
        ] {
            assert!(
                matches!(head(bytes, sender, true), Head::Malformed),
                "{bytes:?}"
            );
        }
        assert!(matches!(head(&[0xc1, 0], Server, false), Head::Malformed));
    }

    #[test]
    fn masks_go_on_over_any_split() {
        let text: Vec<u8> = (0..100).collect();
        let key = [0x12, 0x34, 0x56, 0x78];
        let masked: Vec<u8> = text
            .iter()
            .zip(key.iter().cycle())
            .map(|(b, k)| b ^ k)
            .collect();
        for at in 0..text.len() {
            for skipped in [0, 1, 2, 3, 9] {
                let mut mask = Mask(key);
                let mut out = Vec::new();
                mask.append(&masked[..at], &mut out);
                let next = (at + skipped).min(text.len());
                mask.skip((next - at) as u64);
                mask.append(&masked[next..], &mut out);
                assert_eq!(out, [&text[..at], &text[next..]].concat(), "{at} {skipped}");
            }
        }
    }
}
