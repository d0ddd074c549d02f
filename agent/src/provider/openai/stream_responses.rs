//! Streamed responses: the terminal event has everything; what came before it counts only when
//! the stream was cut.

use super::item::ItemState;
use super::responses_output;
use crate::model::call::{CallError, Operation};
use crate::model::exchange::SseEvent;
use crate::provider::error;
use crate::provider::json::borrowed::Str;
use crate::provider::json::field;
use crate::provider::json::{self, Object};
use crate::provider::limits::MAX_ITEMS;
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::Room;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// An event, borrowed.
#[derive(Debug, Default, Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
    #[serde(default)]
    output_index: Option<u32>,
    #[serde(borrow, default)]
    delta: Option<Str<'a>>,
    #[serde(borrow, default)]
    item: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
}

/// An answer under way.
#[derive(Debug)]
pub(super) struct ResponsesStream {
    operation: Operation,
    /// The response object of the first event: id, model and what the request asked.
    first: Option<Object>,
    items: Vec<ItemState>,
    terminal: Option<Box<Answer>>,
    error: Option<CallError>,
    compacted: bool,
    too_many: bool,
}

impl ResponsesStream {
    /// Of a response that is made, or fetched.
    pub(super) const fn new(operation: Operation) -> Self {
        Self {
            operation,
            first: None,
            items: Vec::new(),
            terminal: None,
            error: None,
            compacted: false,
            too_many: false,
        }
    }

    /// An event that is not as it should be: what can be had of it.
    fn slow(&mut self, name: &str, data: &[u8], room: &mut Room) -> Seen {
        let Some(document) = json::read(data) else {
            return Seen::Broken;
        };
        let mut root = document.root;
        let kind = field::str(&root, "type").unwrap_or(name).to_owned();
        let index = field::int(&root, "output_index").and_then(|n| u32::try_from(n).ok());
        let object =
            match field::take(&mut root, "item").or_else(|| field::take(&mut root, "response")) {
                Some(Value::Object(o)) => Some(o),
                _ => None,
            };
        self.whole(&kind, index, object, data, room)
    }

    fn delta(&mut self, kind: &str, index: Option<u32>, piece: &str, room: &mut Room) {
        if let Some(item) = self.item(index.unwrap_or(0)) {
            item.delta(kind, piece, room);
        }
    }

    /// An event other than a delta. `object` is its item or response.
    fn whole(
        &mut self,
        kind: &str,
        index: Option<u32>,
        object: Option<Object>,
        data: &[u8],
        room: &mut Room,
    ) -> Seen {
        match (kind, object) {
            (
                "response.completed"
                | "response.failed"
                | "response.incomplete"
                | "response.cancelled",
                Some(o),
            ) => {
                // What the deltas took is given back: they are needed no more.
                room.0 = room
                    .0
                    .saturating_add(self.items.drain(..).map(|i| i.kept()).sum());
                self.terminal = Some(Box::new(responses_output::read(
                    self.operation,
                    o,
                    true,
                    room,
                )));
                return Seen::Chunk { output: true };
            }
            ("response.created" | "response.queued" | "response.in_progress", Some(o)) => {
                self.first.get_or_insert(o);
            }
            ("response.output_item.added" | "response.output_item.done", Some(o)) => {
                self.compacted |= field::str(&o, "type") == Some("compaction");
                let done = kind.ends_with(".done");
                if let Some(item) = self.item(index.unwrap_or(0)) {
                    item.set(o, done, data.len(), room);
                }
            }
            ("error", _) => self.failed(data),
            (_, None) if kind.is_empty() || kind == "message" => self.failed(data),
            _ => {}
        }
        Seen::Chunk { output: false }
    }

    /// `{"type":"error","code":…}`, `{"error":{…}}`.
    fn failed(&mut self, data: &[u8]) {
        let Some(document) = json::read(data) else {
            return;
        };
        let root = document.root;
        if let Some(e) = root.get("error").filter(|e| !e.is_null()) {
            self.error = Some(error::of_event(e));
        } else if field::is_set(&root, "code") || field::str(&root, "type") == Some("error") {
            self.error = Some(error::of_event(&Value::Object(root)));
        }
    }

    fn item(&mut self, index: u32) -> Option<&mut ItemState> {
        let at = match self.items.binary_search_by_key(&index, |i| i.index) {
            Ok(at) => at,
            Err(_) if self.items.len() >= MAX_ITEMS => {
                self.too_many = true;
                return None;
            }
            Err(at) => {
                self.items.insert(at, ItemState::new(index));
                at
            }
        };
        self.items.get_mut(at)
    }
}

impl Stream for ResponsesStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let (name, data) = (event.event, event.data.trim_ascii());
        if data.is_empty() || data == b"[DONE]" {
            return Seen::Nothing;
        }
        let text = std::str::from_utf8(data).ok();
        if let Some(Ok(event)) = text.map(serde_json::from_str::<Event<'_>>) {
            let kind = event.kind.as_deref().unwrap_or(name);
            if let (Some(delta), true) = (&event.delta, kind.ends_with(".delta")) {
                self.delta(kind, event.output_index, delta, room);
                return Seen::Chunk { output: true };
            }
            let raw = event.item.or(event.response).map(RawValue::get);
            let object = raw.and_then(|r| serde_json::from_str::<Object>(r).ok());
            if raw.is_none() || object.is_some() {
                return self.whole(kind, event.output_index, object, data, room);
            }
        }
        self.slow(name, data, room)
    }

    fn is_over(&self) -> bool {
        self.terminal.is_some()
    }

    fn id(&self) -> Option<&str> {
        field::nonempty(self.first.as_ref()?, "id")
    }

    fn id_in<'a>(&self, root: &'a Object) -> Option<&'a str> {
        field::nonempty(field::object(root, "response").unwrap_or(root), "id")
    }

    fn finish(self: Box<Self>, room: &mut Room) -> Answer {
        let this = *self;
        let mut answer = match this.terminal {
            Some(answer) => *answer,
            None => cut(this.operation, this.first, this.items, room),
        };
        answer.response.compacted |= this.compacted;
        answer.too_many |= this.too_many;
        if let Some(error) = this.error {
            answer.error.get_or_insert(error);
        }
        answer
    }
}

/// The answer of a stream without its terminal event: no finish reason, no usage.
fn cut(
    operation: Operation,
    first: Option<Object>,
    items: Vec<ItemState>,
    room: &mut Room,
) -> Answer {
    let mut answer = responses_output::read(operation, first.unwrap_or_default(), false, room);
    let output = items.into_iter().map(ItemState::into_item).collect();
    answer.response.messages =
        responses_output::messages(output, Some(super::finish::ERROR), &mut Room(usize::MAX));
    // What the first event says of these is not how it ended.
    answer.response.finish_reasons.clear();
    answer.response.service_tier = None;
    answer.response.stored_status = None;
    answer
}
