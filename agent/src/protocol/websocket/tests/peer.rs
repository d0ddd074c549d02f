//! The other side of the tests: makes frames and compressed messages.

use flate2::{Compress, Compression, FlushCompress};

/// A frame of the server: its first byte as it is.
pub(in super::super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        n @ 0..=125 => frame.push(n as u8),
        n @ 126..=0xffff => {
            frame.push(126);
            frame.extend((n as u16).to_be_bytes());
        }
        n => {
            frame.push(127);
            frame.extend((n as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// A frame of the client.
pub(in super::super) fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut masked = frame(first, payload);
    let head = masked.len() - payload.len();
    masked.truncate(head);
    masked[1] |= 0x80;
    let key = [0x37, 0xfa, 0x21, 0x3d];
    masked.extend(key);
    masked.extend(payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
    masked
}

/// Compresses messages as a sender does.
pub(in super::super) struct Deflater {
    state: Compress,
    takeover: bool,
}

impl Deflater {
    /// With or without what was said before as a part of the window.
    pub(in super::super) fn new(takeover: bool) -> Self {
        Self {
            state: Compress::new(Compression::default(), false),
            takeover,
        }
    }

    /// A message, without the four bytes at its end (RFC 7692, section 7.2.1).
    pub(in super::super) fn message(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = text;
        loop {
            out.reserve(4096);
            let before = self.state.total_in();
            let result = self.state.compress_vec(rest, &mut out, FlushCompress::Sync);
            result.unwrap();
            rest = &rest[(self.state.total_in() - before) as usize..];
            if rest.is_empty() && out.len() < out.capacity() {
                break;
            }
        }
        assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
        out.truncate(out.len() - 4);
        if !self.takeover {
            self.state.reset();
        }
        out
    }
}
