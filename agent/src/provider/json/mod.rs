//! JSON as it is seen on a wire that may show only parts of it.

pub mod borrowed;
pub mod field;
pub mod partial;
pub mod tail;

use serde_json::{Map, Value};

/// An object: what request and response bodies are.
pub type Object = Map<String, Value>;

/// What could be read of a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its members, as far as they were seen; never with a value of which only a part was seen,
    /// except for texts and lists of content.
    pub root: Object,
    /// Nothing is missing.
    pub whole: bool,
}

/// Reads a body of which all bytes are there, if it was not cut. `None` when it is no object.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<Document> {
    let text = std::str::from_utf8(bytes).ok();
    if let Some(Ok(Value::Object(root))) = text.map(serde_json::from_str) {
        return Some(Document { root, whole: true });
    }
    let parsed = partial::parse(bytes);
    let Some(Value::Object(root)) = parsed.value else {
        return None;
    };
    Some(Document {
        root,
        whole: parsed.whole,
    })
}

/// Reads a body whose middle is missing. `tail` is of use only when it ends where the body ends.
#[must_use]
pub fn read_with_hole(head: &[u8], tail: &[u8]) -> Option<Document> {
    let mut root = match partial::parse(head).value {
        Some(Value::Object(root)) => root,
        _ => Object::new(),
    };
    if let Some(members) = tail::members(tail) {
        root.extend(members);
    }
    if root.is_empty() {
        return None;
    }
    Some(Document { root, whole: false })
}
