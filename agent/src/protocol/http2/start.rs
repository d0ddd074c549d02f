//! The start of a response's body when some of its headers are unknown: it says itself what it is,
//! or it is not told.

use crate::model::exchange::{Headers, ResponseHead};
use crate::protocol::content::ResponseBody;

/// Bytes by which it is told what a body is, at most.
const LONGEST: usize = b"event:".len();

/// How the lines of an event stream begin (WHATWG HTML, section 9.2.6).
const LINES: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b":"];

/// A body of which it is not known yet what it is.
pub(super) struct Start {
    headers: Headers,
    pub(super) bytes: Vec<u8>,
}

/// What a body is.
pub(super) enum Is {
    /// Too few bytes to tell.
    Maybe,
    /// This.
    Body(ResponseBody),
    /// Something that cannot be read, most likely coded.
    Other,
}

impl Start {
    /// Of a response with these headers, and others.
    pub(super) const fn new(headers: Headers) -> Self {
        Self {
            headers,
            bytes: Vec::new(),
        }
    }

    /// What the body is, `whole` when no more of it comes.
    pub(super) fn is(&self, whole: bool) -> Is {
        let mut head = ResponseHead {
            status: 200,
            headers: self.headers.clone(),
        };
        let coded = self.headers.get("content-encoding").is_some();
        if coded
            || matches!(
                self.bytes.first(),
                Some(b'{' | b'[' | b' ' | b'\n' | b'\r' | b'\t')
            )
        {
            return Is::Body(ResponseBody::new(&head));
        }
        if begins_line(&self.bytes) {
            if self.headers.get("content-type").is_none() {
                head.headers
                    .push("content-type", "text/event-stream".to_owned());
            }
            return Is::Body(ResponseBody::new(&head));
        }
        if whole || self.bytes.len() >= LONGEST {
            Is::Other
        } else {
            Is::Maybe
        }
    }
}

/// Whether a line of an event stream begins here.
fn begins_line(bytes: &[u8]) -> bool {
    LINES.iter().any(|line| bytes.starts_with(line))
}

/// Whether a line begins here that says something of an event: in the middle of a body others
/// are too easily something else.
pub(super) fn begins_event(bytes: &[u8]) -> bool {
    LINES[..2].iter().any(|line| bytes.starts_with(line))
}
