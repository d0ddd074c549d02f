//! Streamed generation: each event has the whole of the answer's form, with the text so far or the
//! text that is new.

use super::answer::{made, reason};
use super::content::unify;
use super::{error, usage};
use crate::model::call::{CallError, CallResponse, Message, Part};
use crate::model::exchange::SseEvent;
use crate::provider::content;
use crate::provider::error as common;
use crate::provider::json::field;
use crate::provider::json::{self, Object};
use crate::provider::limits::{MAX_CHOICES, MAX_ITEMS, MAX_NAME_BYTES, MAX_TOOL_CALLS};
use crate::provider::openai::parts;
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::{Growing, Room};
use serde_json::Value;

/// Whether texts come whole or in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Each event has the text so far; the request said so, or did not say otherwise.
    Whole,
    /// Each event has what is new.
    Pieces,
    /// It is not known: a text that begins with the one before it is the text so far.
    Unknown,
}

/// An answer under way.
#[derive(Debug)]
pub(super) struct GenerationStream {
    manner: Manner,
    id: Option<String>,
    session: Option<String>,
    /// The last that was told: it is a running total.
    usage: Option<Object>,
    choices: Vec<Choice>,
    error: Option<CallError>,
    too_many: bool,
}

/// One choice under way; an output that is only a text is one.
#[derive(Debug, Default)]
struct Choice {
    index: u32,
    role: Option<String>,
    content: Text,
    reasoning: Text,
    tools: Vec<Tool>,
    /// What is no text, each once.
    media: Vec<Part>,
    finish: Option<String>,
}

/// A text under way.
#[derive(Debug, Default)]
struct Text {
    said: Growing,
    /// How often all of it came again while nobody knew whether that says it again.
    again: u32,
}

#[derive(Debug, Default)]
struct Tool {
    index: u32,
    id: Option<String>,
    name: String,
    arguments: Text,
}

impl GenerationStream {
    /// `cumulative` is what the request says of the texts.
    pub(super) const fn new(cumulative: Option<bool>) -> Self {
        Self {
            manner: match cumulative {
                Some(true) => Manner::Whole,
                Some(false) => Manner::Pieces,
                None => Manner::Unknown,
            },
            id: None,
            session: None,
            usage: None,
            choices: Vec::new(),
            error: None,
            too_many: false,
        }
    }

    fn output(&mut self, mut output: Object, room: &mut Room) {
        self.session = field::owned(&output, "session_id").or_else(|| self.session.take());
        let list = match field::take_list(&mut output, "choices") {
            Some(list) => list,
            None => {
                let mut choice = Object::new();
                for key in ["finish_reason", "text"] {
                    if let Some(value) = field::take(&mut output, key) {
                        choice.insert(key.to_owned(), value);
                    }
                }
                vec![Value::Object(choice)]
            }
        };
        for (at, choice) in (0..).zip(list) {
            if let Value::Object(choice) = choice {
                self.choice(at, choice, room);
            }
        }
        let made = made(&mut output, room);
        if let (false, Some(state)) = (made.is_empty(), self.state(0)) {
            made.into_iter().for_each(|part| state.media(part));
        }
    }

    fn choice(&mut self, at: u32, mut choice: Object, room: &mut Room) {
        let manner = &mut self.manner.clone();
        let index = field::int(&choice, "index").and_then(|n| u32::try_from(n).ok());
        let Some(state) = self.state(index.unwrap_or(at)) else {
            self.too_many = true;
            return;
        };
        if let Some(reason) = reason(&choice).filter(|r| r.len() <= MAX_NAME_BYTES) {
            state.finish = Some(reason.to_owned());
        }
        if let Some(text) = field::str(&choice, "text") {
            state.content.take(text, manner, room);
        }
        let mut all = true;
        if let Some(Value::Object(message)) = field::take(&mut choice, "message") {
            all = state.message(message, manner, room);
        }
        self.too_many |= !all;
        self.manner = *manner;
    }

    fn state(&mut self, index: u32) -> Option<&mut Choice> {
        let at = match self.choices.binary_search_by_key(&index, |c| c.index) {
            Ok(at) => at,
            Err(_) if self.choices.len() >= MAX_CHOICES => return None,
            Err(at) => {
                let choice = Choice {
                    index,
                    ..Choice::default()
                };
                self.choices.insert(at, choice);
                at
            }
        };
        self.choices.get_mut(at)
    }
}

impl Stream for GenerationStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let data = event.data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" || event.event == "done" {
            return Seen::Nothing;
        }
        let Some(document) = json::read(data) else {
            return Seen::Broken;
        };
        let mut root = document.root;
        self.id = field::owned(&root, "request_id").or_else(|| self.id.take());
        let failed = event.event == "error" || status(event.comment).is_some_and(|s| s >= 400);
        let told = if failed {
            let other = || error::of_status(status(event.comment).unwrap_or(0), Some(&root), b"");
            Some(error::in_document(&root).unwrap_or_else(other))
        } else {
            error::instead_of_output(&root)
        };
        if let Some(mut told) = told {
            if told.kind == "0" {
                told.kind = common::OTHER.to_owned();
            }
            self.error = Some(told);
            return Seen::Chunk { output: false };
        }
        if let Some(Value::Object(counts)) = field::take(&mut root, "usage") {
            self.usage = Some(counts);
        }
        if let Some(Value::Object(output)) = field::take(&mut root, "output") {
            self.output(output, room);
        }
        Seen::Chunk { output: true }
    }

    /// All choices have their reason: the counts come with it.
    fn is_over(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|c| c.finish.is_some())
    }

    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn id_in<'a>(&self, root: &'a Object) -> Option<&'a str> {
        field::nonempty(root, "request_id")
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        let mut response = CallResponse {
            id: self.id,
            conversation_id: self.session,
            ..CallResponse::default()
        };
        if let Some(counts) = &self.usage {
            response.usage = usage::read(counts);
            if field::is_set(counts, "models") {
                (response.usage, response.model) = usage::of_models(counts);
            }
        }
        for choice in self.choices {
            response.finish_reasons.extend(choice.finish.clone());
            response.messages.extend(choice.into_message());
        }
        Answer {
            response,
            error: self.error,
            too_many: self.too_many,
            ..Answer::default()
        }
    }
}

impl Choice {
    /// Adds what an event says; false when there is more than is followed.
    fn message(&mut self, mut message: Object, manner: &mut Manner, room: &mut Room) -> bool {
        if self.role.is_none() {
            self.role = field::owned(&message, "role");
        }
        if let Some(text) = field::str(&message, "reasoning_content") {
            self.reasoning.take(text, manner, room);
        }
        unify(&mut message);
        match field::take(&mut message, "content") {
            Some(Value::String(text)) => self.content.take(&text, manner, room),
            Some(Value::Array(items)) => self.items(items, manner, room),
            _ => {}
        }
        let mut all = true;
        let tools = field::take_list(&mut message, "tool_calls").unwrap_or_default();
        for (at, tool) in (0..).zip(tools) {
            if let Value::Object(tool) = tool {
                all &= self.tool(at, &tool, manner, room);
            }
        }
        all
    }

    /// Content in parts: their texts are one text.
    fn items(&mut self, items: Vec<Value>, manner: &mut Manner, room: &mut Room) {
        let mut text = String::new();
        for item in items {
            match item.get("text").and_then(Value::as_str) {
                Some(piece) => text.push_str(piece),
                None => {
                    let made = parts::content(Value::Array(vec![item]), room);
                    made.into_iter().for_each(|part| self.media(part));
                }
            }
        }
        self.content.take(&text, manner, room);
    }

    fn media(&mut self, part: Part) {
        if self.media.len() < MAX_ITEMS && !self.media.contains(&part) {
            self.media.push(part);
        }
    }

    fn tool(&mut self, at: u32, tool: &Object, manner: &mut Manner, room: &mut Room) -> bool {
        let index = field::int(tool, "index").and_then(|n| u32::try_from(n).ok());
        let index = index.unwrap_or(at);
        let place = match self.tools.binary_search_by_key(&index, |t| t.index) {
            Ok(place) => place,
            Err(_) if self.tools.len() >= MAX_TOOL_CALLS => return false,
            Err(place) => {
                let tool = Tool {
                    index,
                    ..Tool::default()
                };
                self.tools.insert(place, tool);
                place
            }
        };
        let Some(state) = self.tools.get_mut(place) else {
            return false;
        };
        let short = |text: &&str| text.len() <= MAX_NAME_BYTES;
        if state.id.is_none() {
            let id = field::nonempty(tool, "id").filter(short);
            state.id = id.map(str::to_owned);
        }
        if let Some(function) = field::object(tool, "function") {
            if state.name.is_empty() {
                let name = field::nonempty(function, "name").filter(short);
                state.name.push_str(name.unwrap_or_default());
            }
            if let Some(piece) = field::str(function, "arguments") {
                state.arguments.take(piece, manner, room);
            }
        }
        true
    }

    /// The message, if anything was said.
    fn into_message(self) -> Option<Message> {
        let mut parts = Vec::new();
        if !self.reasoning.said.is_empty() {
            parts.push(Part::Reasoning(self.reasoning.said.into_text()));
        }
        if !self.content.said.is_empty() || (self.content.said.seen && self.tools.is_empty()) {
            parts.push(Part::Text(self.content.said.into_text()));
        }
        parts.extend(self.media);
        parts.extend(self.tools.into_iter().map(Tool::into_part));
        if parts.is_empty() && self.finish.is_none() {
            return None;
        }
        let mapped = match self.finish.as_deref() {
            Some("tool_calls") => "tool_call",
            Some(other) => other,
            None => "error",
        };
        Some(Message {
            role: self.role.unwrap_or_else(|| "assistant".to_owned()),
            name: None,
            parts,
            finish_reason: Some(mapped.to_owned()),
        })
    }
}

impl Text {
    /// Takes what an event has of the text. The last event often has none.
    fn take(&mut self, text: &str, manner: &mut Manner, room: &mut Room) {
        if text.is_empty() {
            self.said.seen = true;
            return;
        }
        let before = self.said.as_str();
        if *manner == Manner::Unknown && !before.is_empty() {
            if text == before {
                self.again = self.again.saturating_add(1);
                return;
            }
            *manner = if text.starts_with(before) {
                Manner::Whole
            } else {
                Manner::Pieces
            };
        }
        let again = std::mem::take(&mut self.again);
        match manner {
            Manner::Whole => self.said.replace(text, room),
            Manner::Pieces | Manner::Unknown => {
                if again > 0 {
                    let piece = self.said.as_str().to_owned();
                    (0..again).for_each(|_| self.said.push(&piece, room));
                }
                self.said.push(text, room);
            }
        }
    }
}

impl Tool {
    fn into_part(self) -> Part {
        let text = self.arguments.said.into_text();
        let arguments = match (text.kept.is_empty(), text.dropped) {
            (true, _) => None,
            // It was counted when it came.
            (_, 0) => content::arguments(text.kept, &mut Room(usize::MAX)),
            _ => Some(Value::String(text.kept)),
        };
        Part::ToolCall {
            id: self.id,
            name: self.name,
            arguments,
        }
    }
}

/// The status that an event's comment tells: `HTTP_STATUS/429`.
fn status(comment: &str) -> Option<u16> {
    let lines = comment.lines();
    let mut told = lines.filter_map(|l| l.trim().strip_prefix("HTTP_STATUS/"));
    told.next()?.trim().parse().ok()
}
