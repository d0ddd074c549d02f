//! A body as far as it is kept: its head and, when the middle is missing, its tail.

use super::json::{self, Document};
use super::limits::TAIL_BYTES;

/// A body under way.
#[derive(Debug, Default)]
pub(super) struct Body {
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Length so far, with what was not seen.
    total: u64,
    /// Something lies between head and tail.
    hole: bool,
    /// Bytes were seen but not kept.
    over: u64,
}

impl Body {
    /// Adds bytes; at most `limit` go to the head. Gives by how much more is held.
    pub(super) fn push(&mut self, missing: u64, bytes: &[u8], limit: usize) -> usize {
        let before = self.held();
        self.total += missing + bytes.len() as u64;
        if missing > 0 {
            self.hole = true;
            self.over += self.tail.len() as u64;
            self.tail.clear();
        }
        let mut rest = bytes;
        if !self.hole && self.tail.is_empty() {
            let (head, tail) =
                bytes.split_at(bytes.len().min(limit.saturating_sub(self.head.len())));
            self.head.extend_from_slice(head);
            rest = tail;
        }
        self.push_tail(rest);
        self.held().saturating_sub(before)
    }

    fn push_tail(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > 2 * TAIL_BYTES {
            self.trim();
        }
    }

    /// Keeps the last [`TAIL_BYTES`] of the tail.
    fn trim(&mut self) {
        if let Some(excess) = self.tail.len().checked_sub(TAIL_BYTES).filter(|n| *n > 0) {
            self.tail.drain(..excess);
            self.hole = true;
            self.over += excess as u64;
        }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Bytes that were seen but not kept.
    pub(super) fn dropped(&self) -> u64 {
        self.over
    }

    /// No more will come: what of it is to be kept, the same however it arrived.
    pub(super) fn close(&mut self) {
        self.trim();
        if !self.hole {
            self.head.append(&mut self.tail);
        }
    }

    /// A part in the middle is missing.
    pub(super) fn has_hole(&self) -> bool {
        self.hole
    }

    /// The beginning, or all.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Reads it as a JSON object. `ended` says that its last byte was seen.
    pub(super) fn document(&self, ended: bool) -> Option<Document> {
        match (self.hole, ended) {
            (false, _) => json::read(&self.head),
            (true, true) => json::read_with_hole(&self.head, &self.tail),
            (true, false) => json::read_with_hole(&self.head, &[]),
        }
    }

    /// Length, head and tail, for a hash.
    pub(super) fn parts(&self) -> (u64, &[u8], &[u8]) {
        (self.total, &self.head, &self.tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(doc: &[u8], step: usize, limit: usize) -> Body {
        let mut body = Body::default();
        let mut held = 0;
        for piece in doc.chunks(step) {
            held += body.push(0, piece, limit);
            assert!(held >= body.held());
        }
        body.close();
        body
    }

    #[test]
    fn any_split_gives_the_same() {
        let doc = format!(
            r#"{{"messages":[{{"role":"user","content":"{}"}}],"model":"m","stream":true}}"#,
            "x".repeat(300_000)
        );
        for limit in [1000, 250_000, 1 << 20] {
            let whole = filled(doc.as_bytes(), doc.len(), limit);
            for step in [1, 977, 65_536] {
                let split = filled(doc.as_bytes(), step, limit);
                assert_eq!(split.parts(), whole.parts());
                assert_eq!(split.dropped(), whole.dropped());
            }
            let read = whole.document(true).unwrap();
            assert_eq!(read.root["model"], "m");
            assert_eq!(read.root["stream"], true);
            assert_eq!(read.whole, limit != 1000);
        }
    }

    #[test]
    fn a_gap_leaves_head_and_tail() {
        let mut body = Body::default();
        body.push(0, br#"{"a":1,"b":12"#, 100);
        body.push(10, br#"345,"c":3"#, 100);
        body.push(0, br#","d":4}"#, 100);
        body.close();
        assert!(body.has_hole());
        let read = body.document(true).unwrap();
        assert_eq!(
            serde_json::to_string(&read.root).unwrap(),
            r#"{"a":1,"c":3,"d":4}"#
        );
        let read = body.document(false).unwrap();
        assert_eq!(serde_json::to_string(&read.root).unwrap(), r#"{"a":1}"#);
    }
}
