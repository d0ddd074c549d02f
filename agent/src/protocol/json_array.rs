//! One JSON array whose elements come one by one, cut into them as the bytes come: the answer of
//! `streamGenerateContent` without `alt=sse`. No content type tells it from other documents, so
//! the stage that knows the path uses it.

use super::sse::{KEPT_CAPACITY, MAX_EVENT_BYTES};
use crate::model::defect::Defects;
use crate::model::exchange::SseEvent;

/// Cuts one array. A body that is no array gives its one document.
#[derive(Debug, Default)]
pub struct JsonArray {
    element: Vec<u8>,
    /// The array's bracket was seen.
    opened: bool,
    /// Brackets and braces open within the element.
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// After a gap nobody knows what is inside a string.
    lost: bool,
    /// The element under way is too long.
    skips: bool,
    defects: Defects,
}

impl JsonArray {
    /// At the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and gives out the elements (objects and arrays) that they complete.
    pub fn feed(&mut self, input: &[u8], out: &mut impl FnMut(SseEvent<'_>)) {
        if self.lost {
            return;
        }
        // Where the part of the element begins that lies in this input.
        let mut from = (self.depth > 0).then_some(0);
        for (at, b) in input.iter().enumerate() {
            if self.in_string {
                match b {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match b {
                b'"' if self.depth > 0 => self.in_string = true,
                b'[' if !self.opened && self.depth == 0 => self.opened = true,
                b'{' | b'[' => {
                    if self.depth == 0 {
                        from = Some(at);
                    }
                    self.depth = self.depth.saturating_add(1);
                }
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        let part = &input[from.take().unwrap_or(at)..=at];
                        self.give(part, out);
                    }
                }
                _ => {}
            }
        }
        if let Some(from) = from {
            self.gather(&input[from..]);
        }
    }

    /// Bytes are missing here: what comes after them cannot be cut any more.
    pub fn gap(&mut self) {
        self.lost = true;
        self.defects.add(Defects::RESPONSE_GAP);
        self.element = Vec::new();
    }

    /// What was wrong so far.
    #[must_use]
    pub const fn defects(&self) -> Defects {
        self.defects
    }

    /// Bytes kept for the element under way.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.element.len()
    }

    fn give(&mut self, part: &[u8], out: &mut impl FnMut(SseEvent<'_>)) {
        if self.element.is_empty() && part.len() <= MAX_EVENT_BYTES && !self.skips {
            out(event(part));
            return;
        }
        self.gather(part);
        if !self.skips {
            out(event(&self.element));
        }
        self.skips = false;
        self.element.clear();
        self.element.shrink_to(KEPT_CAPACITY);
    }

    fn gather(&mut self, part: &[u8]) {
        if self.skips || self.element.len() + part.len() > MAX_EVENT_BYTES {
            self.defects.add(Defects::EVENT_OVER_LIMIT);
            self.skips = true;
            self.element = Vec::new();
        } else {
            self.element.extend_from_slice(part);
        }
    }
}

fn event(data: &[u8]) -> SseEvent<'_> {
    SseEvent {
        event: "",
        data,
        comment: "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> (Vec<String>, Defects) {
        let mut got = Vec::new();
        let mut array = JsonArray::new();
        for piece in pieces {
            let mut out = |e: SseEvent<'_>| got.push(String::from_utf8_lossy(e.data).into_owned());
            array.feed(piece, &mut out);
        }
        (got, array.defects())
    }

    #[test]
    fn any_split_gives_the_same() {
        const BODY: &[u8] = br#"[{"a":"[{\"}","b":[1,{}]}
,
 {"c":"\\"} , [2]
]"#;
        for step in 1..=BODY.len() {
            let pieces: Vec<_> = BODY.chunks(step).collect();
            let (got, defects) = cut(&pieces);
            assert_eq!(got, [r#"{"a":"[{\"}","b":[1,{}]}"#, r#"{"c":"\\"}"#, "[2]"]);
            assert!(defects.is_none());
        }
    }

    #[test]
    fn a_document_that_is_no_array_is_one_element() {
        assert_eq!(cut(&[b"{\"error\"", b":{}}"]).0, ["{\"error\":{}}"]);
        assert!(cut(&[b"]]}}\"[{"]).0.is_empty());
    }

    #[test]
    fn bounds_and_gaps() {
        let long = [b"[{\"a\":\"", &vec![b'x'; MAX_EVENT_BYTES][..], b"\"},{}]"].concat();
        for pieces in [vec![&long[..]], long.chunks(1 << 20).collect()] {
            let (got, defects) = cut(&pieces);
            assert_eq!(got, ["{}"]);
            assert_eq!(defects, Defects::EVENT_OVER_LIMIT);
        }
        let mut array = JsonArray::new();
        array.gap();
        array.feed(b"[{}]", &mut |_| panic!());
        assert!(array.defects().has(Defects::RESPONSE_GAP));
    }
}
