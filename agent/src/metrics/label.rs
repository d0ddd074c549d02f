//! A series' attributes.

use crate::model::span::Value;
use std::sync::Arc;

/// Characters (Unicode scalar values) to which a text is cut.
pub(super) const MAX_CHARS: usize = 255;

/// An attribute's value: what can tell series apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// Text.
    Text(Arc<str>),
    /// Integer.
    Int(i64),
    /// Truth value.
    Bool(bool),
}

impl Label {
    /// Of a text, at most [`MAX_CHARS`] long.
    #[must_use]
    pub fn text(text: &str) -> Self {
        let end = text
            .char_indices()
            .nth(MAX_CHARS)
            .map_or(text.len(), |(at, _)| at);
        Self::Text(text[..end].into())
    }

    /// Of an attribute's value; `None` of those that tell no series apart.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Str(text) => Some(Self::text(text)),
            Value::Int(n) => Some(Self::Int(*n)),
            Value::Bool(b) => Some(Self::Bool(*b)),
            Value::Double(_) | Value::StrList(_) => None,
        }
    }
}

/// A series' attributes, in a fixed order.
pub type Labels = Arc<[(&'static str, Label)]>;
