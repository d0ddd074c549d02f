//! Streamed contents: each event is an answer that has what is new, and the counts so far.

use super::answer::{self, Choice};
use super::arguments::Call;
use super::names::{self, Enums};
use super::{parts, usage};
use crate::model::call::{CallError, CallResponse, Part};
use crate::model::exchange::SseEvent;
use crate::provider::json::{self, Object, field};
use crate::provider::limits::{MAX_CHOICES, MAX_ITEMS};
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::{Growing, Room};
use serde_json::Value;

/// An answer under way.
#[derive(Debug)]
pub(super) struct ContentStream {
    enums: Enums,
    response: CallResponse,
    candidates: Vec<Candidate>,
    /// Counts told so far; those told later count.
    usage: Object,
    error: Option<CallError>,
    too_many: bool,
}

/// One of the answers under way.
#[derive(Debug)]
struct Candidate {
    index: u32,
    role: Option<String>,
    items: Vec<Item>,
    reason: Option<String>,
}

/// A part under way. Texts of one kind that follow each other are one.
#[derive(Debug)]
enum Item {
    Text { text: Growing, thought: bool },
    Call(Call),
    Whole(Part),
}

impl ContentStream {
    pub(super) fn new(enums: Enums) -> Self {
        Self {
            enums,
            response: CallResponse::default(),
            candidates: Vec::new(),
            usage: Object::new(),
            error: None,
            too_many: false,
        }
    }

    /// Whether the candidate says something.
    fn candidate(&mut self, mut told: Object, room: &mut Room) -> bool {
        let enums = self.enums;
        let Some(candidate) = self.of_index(answer::index(&told)) else {
            return true;
        };
        let ended = names::finish_reason(&told, enums);
        let mut says = ended.is_some();
        candidate.reason = ended.or_else(|| candidate.reason.take());
        let mut too_many = false;
        if let Some(Value::Object(mut content)) = field::take(&mut told, "content") {
            candidate.role = candidate
                .role
                .take()
                .or_else(|| field::owned(&content, "role"));
            for part in parts::list(field::take(&mut content, "parts")) {
                says = true;
                too_many |= !candidate.part(part, room);
            }
        }
        self.too_many |= too_many;
        says
    }

    fn of_index(&mut self, index: u32) -> Option<&mut Candidate> {
        let at = match self.candidates.binary_search_by_key(&index, |c| c.index) {
            Ok(at) => at,
            Err(_) if self.candidates.len() >= MAX_CHOICES => {
                self.too_many = true;
                return None;
            }
            Err(at) => {
                let new = Candidate {
                    index,
                    role: None,
                    items: Vec::new(),
                    reason: None,
                };
                self.candidates.insert(at, new);
                at
            }
        };
        self.candidates.get_mut(at)
    }
}

impl Candidate {
    /// Takes a part; `false` when there are too many.
    fn part(&mut self, mut part: Object, room: &mut Room) -> bool {
        if let Some(piece) = field::str(&part, "text") {
            return self.text(piece, parts::is_thought(&part), room);
        }
        let full = self.items.len() >= MAX_ITEMS;
        let item = match field::take(&mut part, "functionCall") {
            Some(Value::Object(call)) => {
                if field::nonempty(&call, "name").is_none() {
                    if let Some(Item::Call(last)) = self.items.last_mut().filter(|i| i.is_open()) {
                        last.more(call, room);
                        return true;
                    }
                    // Only says that the one before is over.
                    if call.is_empty() {
                        return true;
                    }
                }
                (!full).then(|| Item::Call(Call::new(call, room)))
            }
            _ if full => None,
            _ => match parts::part(part, room) {
                Some(whole) => Some(Item::Whole(whole)),
                None => return true,
            },
        };
        let fits = item.is_some();
        self.items.extend(item);
        fits
    }

    fn text(&mut self, piece: &str, is_thought: bool, room: &mut Room) -> bool {
        if let Some(Item::Text { text, thought }) = self.items.last_mut()
            && *thought == is_thought
        {
            text.push(piece, room);
            return true;
        }
        if piece.is_empty() {
            return true;
        }
        if self.items.len() >= MAX_ITEMS {
            return false;
        }
        let mut text = Growing::default();
        text.push(piece, room);
        self.items.push(Item::Text {
            text,
            thought: is_thought,
        });
        true
    }

    fn into_choice(self) -> Choice {
        Choice {
            index: self.index,
            role: self.role,
            parts: self.items.into_iter().map(Item::into_part).collect(),
            reason: self.reason,
        }
    }
}

impl Item {
    fn is_open(&self) -> bool {
        matches!(self, Self::Call(call) if call.open)
    }

    fn into_part(self) -> Part {
        match self {
            Self::Text {
                text,
                thought: true,
            } => Part::Reasoning(text.into_text()),
            Self::Text { text, .. } => Part::Text(text.into_text()),
            Self::Call(call) => call.into_part(),
            Self::Whole(part) => part,
        }
    }
}

impl Stream for ContentStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let data = event.data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return Seen::Nothing;
        }
        let Some(document) = json::read(data) else {
            return Seen::Broken;
        };
        let mut root = document.root;
        if let Some(failed) = answer::failed(&root) {
            self.error = Some(failed);
            return Seen::Chunk { output: false };
        }
        let head = answer::head(&root);
        self.response.id = self.response.id.take().or(head.id);
        self.response.model = self.response.model.take().or(head.model);
        if let Some(Value::Object(counts)) = field::take(&mut root, "usageMetadata") {
            let told = counts.into_iter().filter(|(_, v)| !v.is_null());
            self.usage.extend(told);
        }
        let mut output = false;
        for told in field::take_list(&mut root, "candidates").unwrap_or_default() {
            if let Value::Object(told) = told {
                output |= self.candidate(told, room);
            }
        }
        if self.candidates.is_empty()
            && let Some(blocked) = answer::blocked(&root)
        {
            self.error = Some(blocked);
        }
        Seen::Chunk { output }
    }

    /// There is no end mark: the last event is one that has all reasons and the counts.
    fn is_over(&self) -> bool {
        !self.candidates.is_empty()
            && !self.usage.is_empty()
            && self.candidates.iter().all(|c| c.reason.is_some())
    }

    fn id(&self) -> Option<&str> {
        self.response.id.as_deref()
    }

    fn id_in<'a>(&self, root: &'a Object) -> Option<&'a str> {
        field::nonempty(root, "responseId")
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        let mut response = self.response;
        response.usage = usage::read(&self.usage);
        let choices: Vec<_> = self
            .candidates
            .into_iter()
            .map(Candidate::into_choice)
            .collect();
        answer::close(&mut response, choices, false);
        for message in &mut response.messages {
            message
                .finish_reason
                .get_or_insert_with(|| "error".to_owned());
        }
        Answer {
            response,
            error: self.error,
            too_many: self.too_many,
            ..Answer::default()
        }
    }
}
