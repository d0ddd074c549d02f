//! One choice of a streamed answer, merged from its deltas.

use super::chunk::{Choice, CustomDelta, Delta, FunctionDelta, ToolDelta};
use super::finish;
use crate::model::call::{Message, Part};
use crate::provider::content;
use crate::provider::json::borrowed::Str;
use crate::provider::limits::{MAX_NAME_BYTES, MAX_TOOL_CALLS};
use crate::provider::text::{Growing, Room};
use serde_json::Value;

/// A choice under way.
#[derive(Debug)]
pub(super) struct ChoiceState {
    pub(super) index: u32,
    role: Option<String>,
    content: Growing,
    refusal: Growing,
    reasoning: Growing,
    transcript: Growing,
    tools: Vec<ToolState>,
    /// The function call of old.
    function: Option<ToolState>,
    finish: Option<String>,
}

#[derive(Debug, Default)]
struct ToolState {
    index: u32,
    id: Option<String>,
    name: String,
    arguments: Growing,
    /// Arguments are free text.
    custom: bool,
}

fn said<'s>(text: Option<&'s Str<'_>>) -> Option<&'s str> {
    text.map(|t| &**t)
        .filter(|t| !t.is_empty() && t.len() <= MAX_NAME_BYTES)
}

impl ChoiceState {
    pub(super) fn new(index: u32) -> Self {
        Self {
            index,
            role: None,
            content: Growing::default(),
            refusal: Growing::default(),
            reasoning: Growing::default(),
            transcript: Growing::default(),
            tools: Vec::new(),
            function: None,
            finish: None,
        }
    }

    /// Adds a piece of its content.
    pub(super) fn text(&mut self, text: &str, room: &mut Room) {
        self.content.push(text, room);
    }

    /// Adds what a chunk says; false when there is more than is followed.
    pub(super) fn merge(&mut self, choice: &Choice<'_>, room: &mut Room) -> bool {
        if let Some(reason) = said(choice.finish_reason.as_ref()) {
            self.finish = Some(reason.to_owned());
        }
        // Together says it twice: here and in the delta.
        let content = choice.delta.as_ref().and_then(|d| d.content.as_ref());
        if let Some(text) = &choice.text
            && content.is_none_or(|c| c.is_empty())
        {
            self.content.push(text, room);
        }
        choice
            .delta
            .as_ref()
            .is_none_or(|delta| self.delta(delta, room))
    }

    fn delta(&mut self, delta: &Delta<'_>, room: &mut Room) -> bool {
        let mut all = true;
        if self.role.is_none() {
            self.role = said(delta.role.as_ref()).map(str::to_owned);
        }
        // Who knows both names may fill only one of them, or both with the same.
        let reasoning = delta
            .reasoning_content
            .as_ref()
            .filter(|t| !t.is_empty())
            .or(delta.reasoning.as_ref());
        for (slot, piece) in [
            (&mut self.content, delta.content.as_ref()),
            (&mut self.refusal, delta.refusal.as_ref()),
            (&mut self.reasoning, reasoning),
            (
                &mut self.transcript,
                delta.audio.as_ref().and_then(|a| a.transcript.as_ref()),
            ),
        ] {
            if let Some(piece) = piece {
                slot.push(piece, room);
            }
        }
        for tool in delta.tool_calls.iter().flatten() {
            match self.tool(tool) {
                Some(state) => state.merge(tool, room),
                None => all = false,
            }
        }
        if let Some(f) = &delta.function_call {
            self.function
                .get_or_insert_with(ToolState::default)
                .function(f, room);
        }
        all
    }

    /// The tool call that a delta belongs to. Without an index, an id that is new begins one.
    fn tool(&mut self, delta: &ToolDelta<'_>) -> Option<&mut ToolState> {
        let at = match delta.index {
            Some(index) => self.tools.iter().position(|t| t.index == index),
            None => {
                let same = |t: &ToolState| match said(delta.id.as_ref()) {
                    Some(id) => t.id.as_deref() == Some(id),
                    None => true,
                };
                self.tools.iter().rposition(same)
            }
        };
        if let Some(at) = at {
            return self.tools.get_mut(at);
        }
        if self.tools.len() >= MAX_TOOL_CALLS {
            return None;
        }
        let next = self.tools.iter().map(|t| t.index + 1).max().unwrap_or(0);
        let index = delta.index.unwrap_or(next).min(u32::MAX - 1);
        self.tools.push(ToolState {
            index,
            ..ToolState::default()
        });
        self.tools.last_mut()
    }

    /// Why it ended, as the provider says it.
    pub(super) fn finish_reason(&self) -> Option<&str> {
        self.finish.as_deref()
    }

    /// The message as far as it came.
    pub(super) fn into_message(mut self) -> Message {
        let mut parts = Vec::new();
        if !self.reasoning.is_empty() {
            parts.push(Part::Reasoning(self.reasoning.into_text()));
        }
        if self.content.seen {
            parts.push(Part::Text(self.content.into_text()));
        }
        for text in [self.refusal, self.transcript] {
            if !text.is_empty() {
                parts.push(Part::Text(text.into_text()));
            }
        }
        self.tools.sort_by_key(|t| t.index);
        parts.extend(
            self.tools
                .into_iter()
                .chain(self.function)
                .map(ToolState::into_part),
        );
        Message {
            role: self.role.unwrap_or_else(|| "assistant".to_owned()),
            name: None,
            parts,
            finish_reason: Some(finish::mapped(self.finish.as_deref().unwrap_or("")).to_owned()),
        }
    }
}

impl ToolState {
    fn merge(&mut self, delta: &ToolDelta<'_>, room: &mut Room) {
        if self.id.is_none() {
            self.id = said(delta.id.as_ref()).map(str::to_owned);
        }
        if let Some(f) = &delta.function {
            self.function(f, room);
        }
        if let Some(CustomDelta { name, input }) = &delta.custom {
            self.custom = true;
            self.function(
                &FunctionDelta {
                    name: name.clone(),
                    arguments: input.clone(),
                },
                room,
            );
        }
    }

    fn function(&mut self, f: &FunctionDelta<'_>, room: &mut Room) {
        if self.name.is_empty() {
            self.name.push_str(said(f.name.as_ref()).unwrap_or(""));
        }
        if let Some(piece) = &f.arguments {
            self.arguments.push(piece, room);
        }
    }

    fn into_part(self) -> Part {
        let text = self.arguments.into_text();
        let whole = text.dropped == 0 && !self.custom;
        let arguments = match (text.kept.is_empty(), whole) {
            (true, _) => None,
            (_, false) => Some(Value::String(text.kept)),
            // It was counted when it came.
            (_, true) => content::arguments(text.kept, &mut Room(usize::MAX)),
        };
        Part::ToolCall {
            id: self.id,
            name: self.name,
            arguments,
        }
    }
}
