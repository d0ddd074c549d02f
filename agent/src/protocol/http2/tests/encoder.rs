//! The sender's side, for tests.

use crate::protocol::detect::HTTP2_PREFACE;
use std::collections::VecDeque;

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(crate) fn client_preface() -> Vec<u8> {
    [HTTP2_PREFACE, &frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])].concat()
}

/// `DATA`.
pub(crate) fn data(stream: u32, end: bool, bytes: &[u8]) -> Vec<u8> {
    frame(0, u8::from(end), stream, bytes)
}

/// `HEADERS` with a whole block.
pub(crate) fn headers(stream: u32, end: bool, block: &[u8]) -> Vec<u8> {
    frame(1, 4 | u8::from(end), stream, block)
}

/// Encodes header blocks as Python's and Go's libraries do: everything goes into the table.
#[derive(Default)]
pub(crate) struct Encoder {
    table: VecDeque<(String, String)>,
}

impl Encoder {
    pub(crate) fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            let statics = super::super::static_table::STATIC_TABLE;
            let all = || {
                let table = self.table.iter().map(|(n, v)| (n.as_str(), v.as_str()));
                statics.iter().copied().chain(table)
            };
            if let Some(at) = all().position(|f| f == (*name, *value)) {
                integer(&mut block, 0x80, 7, at + 1);
                continue;
            }
            let name_at = all().position(|(n, _)| n == *name).map_or(0, |at| at + 1);
            let kept = *name != "authorization";
            let (bits, prefix) = if kept { (0x40, 6) } else { (0x10, 4) };
            integer(&mut block, bits, prefix, name_at);
            if name_at == 0 {
                string(&mut block, name);
            }
            string(&mut block, value);
            if kept {
                self.table
                    .push_front(((*name).to_owned(), (*value).to_owned()));
                let size = |t: &VecDeque<(String, String)>| -> usize {
                    t.iter().map(|(n, v)| n.len() + v.len() + 32).sum()
                };
                while size(&self.table) > 4096 {
                    self.table.pop_back();
                }
            }
        }
        block
    }

    /// A POST with a body still to come.
    pub(crate) fn post(&mut self, path: &str) -> Vec<u8> {
        self.block(&[
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "h"),
            (":path", path),
            ("authorization", "Bearer sk-secret"),
            ("content-type", "application/json"),
        ])
    }

    /// The head of a response.
    pub(crate) fn status(&mut self, status: &str, content_type: &str) -> Vec<u8> {
        self.block(&[(":status", status), ("content-type", content_type)])
    }
}

fn integer(out: &mut Vec<u8>, bits: u8, prefix: u32, mut value: usize) {
    let most = (1 << prefix) - 1;
    if value < most {
        out.push(bits | value as u8);
        return;
    }
    out.push(bits | most as u8);
    value -= most;
    while value >= 128 {
        out.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn string(out: &mut Vec<u8>, text: &str) {
    integer(out, 0, 7, text.len());
    out.extend(text.bytes());
}
