//! How much memory a call holds, for bounds of what waits.

use super::call::{Message, ModelCall, Part, Text};
use serde_json::Value as Json;

/// What a value takes beside its text, roughly.
const NODE: usize = 64;

impl ModelCall {
    /// The bytes that it holds, roughly: texts, with something for whatever they are in.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let (request, response) = (&self.request, &self.response);
        let messages = request.messages.iter().chain(&response.messages);
        let instructions = request.system_instructions.iter();
        let parts = instructions.chain(&response.system_instructions);
        let tools = request.tools.iter().chain(&response.tools);
        size_of::<Self>()
            + messages.map(Message::held_bytes).sum::<usize>()
            + parts.map(part).sum::<usize>()
            + tools
                .map(|tool| NODE + json(&tool.definition))
                .sum::<usize>()
    }
}

impl Message {
    /// The bytes that it holds, likewise.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        NODE + self.role.len() + self.parts.iter().map(part).sum::<usize>()
    }
}

fn part(part: &Part) -> usize {
    let text = |text: &Text| text.kept.len();
    NODE + match part {
        Part::Text(said) | Part::Reasoning(said) => text(said),
        Part::ToolCall {
            name, arguments, ..
        } => name.len() + arguments.as_ref().map_or(0, json),
        Part::ToolCallResponse { response, .. } => json(response),
        Part::Blob { content, .. } => text(content),
        Part::File { file_id, .. } => file_id.len(),
        Part::Uri { uri, .. } => uri.len(),
        Part::Other(value) => json(value),
    }
}

/// About how many bytes a value takes that was copied from a process.
#[must_use]
pub fn value(of: &Json) -> usize {
    size_of::<Json>()
        + match of {
            Json::String(text) => text.len(),
            Json::Array(items) => items.iter().map(value).sum(),
            Json::Object(all) => all.iter().map(|(name, v)| name.len() + value(v)).sum(),
            Json::Number(_) | Json::Bool(_) | Json::Null => 0,
        }
}

/// No deeper than what was parsed, which is bounded.
fn json(value: &Json) -> usize {
    NODE + match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
        Json::String(text) => text.len(),
        Json::Array(list) => list.iter().map(json).sum(),
        Json::Object(map) => map.iter().map(|(key, value)| key.len() + json(value)).sum(),
    }
}
