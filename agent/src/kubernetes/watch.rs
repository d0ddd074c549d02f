//! The events of a watch, off the pieces in which they come
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>). Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::pod::{Object, Pod};

/// Most bytes of an event: an object of the API has at most 1.5 MiB (etcd's own limit).
const MAX_EVENT: usize = 4 << 20;

/// Lines of a body that never ends.
#[derive(Debug, Default)]
pub(super) struct Lines {
    held: Vec<u8>,
    /// The line is too long: all up to its end is left out.
    skips: bool,
}

/// What a piece of the body was good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Skipped {
    /// Lines that were too long.
    pub(super) lines: u64,
}

impl Lines {
    /// Takes a piece of the body, and hands on the lines that it completes.
    pub(super) fn push(&mut self, mut piece: &[u8], mut line: impl FnMut(&[u8])) -> Skipped {
        let mut skipped = Skipped::default();
        while let Some(at) = memchr::memchr(b'\n', piece) {
            let (head, rest) = piece.split_at(at);
            piece = rest.get(1..).unwrap_or_default();
            self.take(head, &mut skipped);
            if !std::mem::take(&mut self.skips) && !self.held.is_empty() {
                line(&self.held);
            }
            self.held.clear();
        }
        self.take(piece, &mut skipped);
        // What one long event took is not kept for ever.
        if self.held.is_empty() {
            self.held.shrink_to(64 << 10);
        }
        skipped
    }

    fn take(&mut self, part: &[u8], skipped: &mut Skipped) {
        if self.skips {
            return;
        }
        if self.held.len() + part.len() > MAX_EVENT {
            self.skips = true;
            self.held.clear();
            skipped.lines += 1;
            return;
        }
        self.held.extend_from_slice(part);
    }
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A pod is new or changed. With the version of it.
    Put(Box<Pod>, String),
    /// A pod is gone. With the version of that.
    Gone(Box<Pod>, String),
    /// Nothing, up to this version.
    Bookmark(String),
    /// The version that was asked for is too old: all is to be listed anew.
    Expired,
    /// The server cannot go on.
    Failed(String),
}

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
    message: String,
}

/// Most characters of a message of the server's that are told.
const MAX_MESSAGE: usize = 200;

/// The beginning of a message, for the log.
pub(super) fn cut(mut message: String) -> String {
    if let Some((at, _)) = message.char_indices().nth(MAX_MESSAGE) {
        message.truncate(at);
        message.push('…');
    }
    message
}

/// `Gone`: the version is too old.
const GONE: u16 = 410;

impl Event {
    /// Reads a line; none when it makes no sense.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let written: Written<'_> = serde_json::from_slice(line).ok()?;
        let object = written.object.get();
        let version = || {
            let object: Object = serde_json::from_str(object).ok()?;
            Some(object.metadata.resource_version)
        };
        let pod = || serde_json::from_str(object).ok().map(Box::new);
        match &*written.kind {
            "ADDED" | "MODIFIED" => Some(Self::Put(pod()?, version()?)),
            "DELETED" => Some(Self::Gone(pod()?, version()?)),
            "BOOKMARK" => Some(Self::Bookmark(version()?)),
            "ERROR" => {
                let status: Status = serde_json::from_str(object).ok()?;
                Some(match status.code {
                    GONE => Self::Expired,
                    _ => Self::Failed(cut(status.message)),
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Lines, MAX_EVENT, MAX_MESSAGE, Skipped, cut};

    #[test]
    fn lines_come_in_any_pieces() {
        let body = b"one\n\ntwo\nthree";
        for size in 1..=body.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in body.chunks(size) {
                let skipped = lines.push(piece, |line| found.push(line.to_vec()));
                assert_eq!(skipped, Skipped::default());
            }
            assert_eq!(found, [b"one".to_vec(), b"two".to_vec()], "{size}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        let long = vec![b'x'; MAX_EVENT / 2 + 1];
        let mut skipped = 0;
        for piece in [b"a\n".as_slice(), &long, &long, &long, b"\nb\n"] {
            skipped += lines.push(piece, |line| found.push(line.to_vec())).lines;
        }
        assert_eq!((skipped, found), (1, vec![b"a".to_vec(), b"b".to_vec()]));
        assert!(lines.held.capacity() <= 64 << 10);
    }

    #[test]
    fn messages_are_cut() {
        let most = "é".repeat(MAX_MESSAGE);
        assert_eq!(cut(most.clone()), most);
        let error = format!(
            r#"{{"type": "ERROR", "object": {{"code": 500, "message": "{most}é and so on"}}}}"#
        );
        let want = format!("{most}…");
        assert_eq!(Event::of(error.as_bytes()), Some(Event::Failed(want)));
    }

    #[test]
    fn events_are_read() {
        let of = |text: &str| Event::of(text.as_bytes());
        let object = r#"{"metadata": {"uid": "u", "resourceVersion": "9"}}"#;
        for kind in ["ADDED", "MODIFIED"] {
            let read = of(&format!(r#"{{"type": "{kind}", "object": {object}}}"#));
            assert!(matches!(read, Some(Event::Put(pod, at)) if pod.uid == "u" && at == "9"));
        }
        let gone = of(&format!(r#"{{"type": "DELETED", "object": {object}}}"#));
        assert!(matches!(gone, Some(Event::Gone(pod, _)) if pod.uid == "u"));
        let mark = of(&format!(r#"{{"type": "BOOKMARK", "object": {object}}}"#));
        assert_eq!(mark, Some(Event::Bookmark("9".to_owned())));
        let error = r#"{"type": "ERROR", "object": {"code": 410, "message": "too old"}}"#;
        assert_eq!(of(error), Some(Event::Expired));
        let error = error.replace("410", "500");
        assert_eq!(of(&error), Some(Event::Failed("too old".to_owned())));
        for bad in [
            "",
            "{",
            "[]",
            r#"{"type": "NEW", "object": {}}"#,
            r#"{"type": "ADDED"}"#,
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(of(r#"{"type": "ADDED", "object": {"metadata": 1}}"#), None);
    }
}
