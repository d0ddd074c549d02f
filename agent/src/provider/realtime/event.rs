//! Events: the members that nearly all have, read without copies. Most events are deltas, and most
//! of those are sound.

use crate::provider::json::borrowed::Str;
use crate::provider::json::{self, Object, field};
use serde::Deserialize;

/// An event, borrowed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) event_id: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) response_id: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) item_id: Option<Str<'a>>,
    #[serde(default)]
    pub(super) output_index: Option<u32>,
    #[serde(borrow, default)]
    pub(super) delta: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) transcript: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) audio: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) text: Option<Str<'a>>,
}

/// What could be read of an event.
pub(super) enum Read<'a> {
    /// All of it.
    Whole(Event<'a>),
    /// Something about it is not as it should be: what can be had of it.
    Part(Object),
    /// It is no object.
    Nothing,
}

/// Reads an event.
pub(super) fn read(text: &[u8]) -> Read<'_> {
    let whole = std::str::from_utf8(text)
        .ok()
        .and_then(|text| serde_json::from_str(text).ok());
    match whole {
        Some(event) => Read::Whole(event),
        None => json::read(text).map_or(Read::Nothing, |d| Read::Part(d.root)),
    }
}

impl<'a> Event<'a> {
    /// Of an event of which only parts could be read.
    pub(super) fn of(root: &'a Object) -> Self {
        let text = |key| field::str(root, key).map(|text| Str(text.into()));
        Self {
            kind: text("type"),
            event_id: text("event_id"),
            response_id: text("response_id"),
            item_id: text("item_id"),
            output_index: field::int(root, "output_index").and_then(|n| u32::try_from(n).ok()),
            delta: text("delta"),
            transcript: text("transcript"),
            audio: text("audio"),
            text: text("text"),
        }
    }
}
