//! What the head of a request says for telling whose call it is.

use crate::model::exchange::{Headers, RequestHead};

/// The parts of a request's head that routes are told by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) method: &'a str,
    /// Without slashes at its end.
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: &'a Headers,
}

impl<'a> Target<'a> {
    /// Of a request.
    pub(super) fn new(head: &'a RequestHead) -> Self {
        Self {
            method: &head.method,
            path: head.path.trim_end_matches('/'),
            query: &head.query,
            headers: &head.headers,
        }
    }

    /// Whether it is a POST to a path with this end.
    pub(super) fn posts(&self, end: &str) -> bool {
        self.method == "POST" && self.path.ends_with(end)
    }

    /// The path segment that follows `prefix`, decoded.
    pub(super) fn segment_after(&self, prefix: &str) -> Option<String> {
        let (_, rest) = self.path.split_once(prefix)?;
        let name = rest.split('/').next().filter(|n| !n.is_empty())?;
        Some(decode(name))
    }

    /// The value of a query parameter, decoded.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.query
            .split('&')
            .filter_map(|p| p.split_once('='))
            .find(|(n, _)| *n == name)
            .map(|(_, v)| decode(v))
            .filter(|v| !v.is_empty())
    }
}

/// Percent-decodes; what is not an escape stays.
pub(super) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        out.push(escape.unwrap_or(bytes[at]));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}
