//! One output item of a streamed response, merged from its deltas.

use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::text::{Growing, Room};
use serde_json::{Value, json};

/// An item under way.
#[derive(Debug)]
pub(super) struct ItemState {
    pub(super) index: u32,
    /// As it was added, or done.
    item: Option<Object>,
    done: bool,
    text: Growing,
    refusal: Growing,
    reasoning: Growing,
    arguments: Growing,
}

impl ItemState {
    pub(super) fn new(index: u32) -> Self {
        Self {
            index,
            item: None,
            done: false,
            text: Growing::default(),
            refusal: Growing::default(),
            reasoning: Growing::default(),
            arguments: Growing::default(),
        }
    }

    /// Adds a piece of what the event's name says.
    pub(super) fn delta(&mut self, kind: &str, piece: &str, room: &mut Room) {
        let slot = match kind {
            "response.output_text.delta" => &mut self.text,
            "response.refusal.delta" => &mut self.refusal,
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                &mut self.reasoning
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                &mut self.arguments
            }
            _ => return,
        };
        slot.push(piece, room);
    }

    /// The item itself was told, in an event of `size` bytes. When it is done its pieces are not needed any more.
    pub(super) fn set(&mut self, item: Object, done: bool, size: usize, room: &mut Room) {
        if done {
            let freed = self.kept();
            if size > room.0 + freed {
                return;
            }
            room.0 = room.0 + freed - size;
            *self = Self::new(self.index);
            self.done = true;
        }
        self.item = Some(item);
    }

    /// Bytes of text held.
    pub(super) fn kept(&self) -> usize {
        [&self.text, &self.refusal, &self.reasoning, &self.arguments]
            .iter()
            .map(|g| g.as_str().len())
            .sum()
    }

    /// The item as far as it came; without its state when it was not done.
    pub(super) fn into_item(self) -> Value {
        let mut item = self.item.unwrap_or_default();
        if self.done {
            return Value::Object(item);
        }
        item.remove("status");
        let kind = field::str(&item, "type").unwrap_or("message").to_owned();
        let (key, value) = match kind.as_str() {
            "message" => {
                let mut content = Vec::new();
                if self.text.seen {
                    content.push(json!({"type": "output_text", "text": self.text.as_str()}));
                }
                if self.refusal.seen {
                    content.push(json!({"type": "refusal", "refusal": self.refusal.as_str()}));
                }
                ("content", Value::Array(content))
            }
            "reasoning" => (
                "summary",
                json!([{"type": "summary_text", "text": self.reasoning.as_str()}]),
            ),
            "custom_tool_call" => ("input", Value::from(self.arguments.as_str())),
            "function_call" => ("arguments", Value::from(self.arguments.as_str())),
            _ => return Value::Object(item),
        };
        item.insert("type".to_owned(), Value::from(kind));
        item.insert(key.to_owned(), value);
        Value::Object(item)
    }
}
