//! A response under way.

use super::answer;
use super::config::Config;
use super::input::{Item, sized, tool_call};
use super::session::Asked;
use crate::model::call::{Api, CallError, CallRequest, Operation, Part};
use crate::model::defect::Defects;
use crate::model::gaps::ChunkGaps;
use crate::model::time::BootTime;
use crate::provider::content::AUDIO;
use crate::provider::json::{Object, field};
use crate::provider::limits::MAX_ITEMS;
use crate::provider::sockets::{Begin, Turn};
use crate::provider::text::{Growing, Room};
use serde_json::Value;

/// An item of the answer, merged from its deltas.
#[derive(Debug, Default)]
struct Made {
    index: u32,
    /// Of a tool call.
    call: Option<Object>,
    text: Growing,
    transcript: Growing,
    arguments: Growing,
    /// Characters of sound.
    sound: u64,
}

/// A response from its beginning to its end.
#[derive(Debug)]
pub(super) struct Answering {
    pub(super) begin: Begin,
    /// The server's id.
    pub(super) id: Option<String>,
    pub(super) request: CallRequest,
    /// What it answers.
    pub(super) input: Vec<Item>,
    /// Its beginning was not seen.
    pub(super) half: bool,
    /// Nothing said that it would begin: that it was asked for may still be told.
    pub(super) unasked: bool,
    pub(super) first_output: Option<BootTime>,
    pub(super) chunks: u64,
    pub(super) defects: Defects,
    model: Option<String>,
    head: Object,
    gaps: Option<Box<ChunkGaps>>,
    made: Vec<Made>,
    too_many: bool,
    room: Room,
    /// Bytes of text that the deltas took.
    held: usize,
}

impl Answering {
    pub(super) fn new(begin: Begin, request: CallRequest, room: usize) -> Self {
        Self {
            begin,
            id: None,
            request,
            input: Vec::new(),
            half: false,
            unasked: false,
            first_output: None,
            chunks: 0,
            defects: Defects::NONE,
            model: None,
            head: Object::new(),
            gaps: None,
            made: Vec::new(),
            too_many: false,
            room: Room(room),
            held: 0,
        }
    }

    /// What the server says of it at its beginning.
    pub(super) fn created(&mut self, response: &Object, model: Option<String>) {
        self.id = field::owned(response, "id");
        self.model = model;
        // Of the rest the end has all.
        for key in ["id", "conversation_id"] {
            if let Some(value) = response.get(key).filter(|v| v.is_string()) {
                self.head.insert(key.to_owned(), value.clone());
            }
        }
    }

    /// It is told only now that it was asked for.
    pub(super) fn asked(
        &mut self,
        mut asked: Asked,
        mut config: Config,
        model: Option<String>,
        text_bytes: usize,
    ) {
        self.unasked = false;
        if asked.begin.time < self.begin.time {
            self.begin.time = asked.begin.time;
        }
        self.begin.tid = asked.begin.tid;
        self.input.append(&mut asked.input);
        self.defects.add(asked.defects);
        config.take(&mut asked.response, text_bytes);
        self.request = config.request(model);
    }

    /// Bytes of text kept.
    pub(super) fn held(&self) -> usize {
        self.held + self.input.iter().map(|i| i.held).sum::<usize>()
    }

    /// A delta, of which `left` bytes may be kept; whether it is output.
    pub(super) fn delta(
        &mut self,
        kind: &str,
        index: u32,
        piece: &str,
        time: BootTime,
        left: usize,
    ) -> bool {
        let before = self.room.0;
        let mut room = Room(before.min(left));
        let withheld = before - room.0;
        let Some(made) = self.item(index) else {
            return false;
        };
        match kind {
            "response.text.delta" | "response.output_text.delta" => {
                made.text.push(piece, &mut room);
            }
            "response.audio_transcript.delta" | "response.output_audio_transcript.delta" => {
                made.transcript.push(piece, &mut room);
            }
            "response.audio.delta" | "response.output_audio.delta" => {
                made.sound += piece.len() as u64;
            }
            "response.function_call_arguments.delta" => made.arguments.push(piece, &mut room),
            _ => return false,
        }
        self.room.0 = room.0 + withheld;
        self.held += before - self.room.0;
        self.chunks += 1;
        self.first_output.get_or_insert(time);
        self.gaps.get_or_insert_default().chunk(time);
        true
    }

    /// An item begins: of tool calls only that says which.
    pub(super) fn added(&mut self, index: u32, item: Object) {
        if field::str(&item, "type") == Some("function_call")
            && let Some(made) = self.item(index)
        {
            made.call = Some(item);
        }
    }

    /// Messages of it are missing.
    pub(super) fn interrupted(&mut self, defect: Defects) {
        self.defects.add(defect);
        if let Some(gaps) = &mut self.gaps {
            gaps.interrupted();
        }
    }

    fn item(&mut self, index: u32) -> Option<&mut Made> {
        let at = match self.made.binary_search_by_key(&index, |m| m.index) {
            Ok(at) => at,
            Err(_) if self.made.len() >= MAX_ITEMS => {
                self.too_many = true;
                return None;
            }
            Err(at) => {
                let made = Made {
                    index,
                    ..Made::default()
                };
                self.made.insert(at, made);
                at
            }
        };
        self.made.get_mut(at)
    }

    /// It is over; `response` is what the server says of it then, if it does.
    pub(super) fn over(
        mut self,
        time: BootTime,
        response: Option<Object>,
        failure: Option<CallError>,
    ) -> Turn {
        let (mut response, error) = match response {
            Some(done) => {
                let sound: Vec<_> = self
                    .made
                    .iter()
                    .filter(|m| m.sound > 0)
                    .map(|m| (m.index, m.sound))
                    .collect();
                // What the deltas took is given back: they are needed no more.
                let mut room = Room(self.room.0.saturating_add(self.held));
                answer::read(done, &sound, &mut room)
            }
            None => {
                let mut cut = answer::head(&self.head);
                let mut room = self.room;
                let made = std::mem::take(&mut self.made);
                let parts = made.into_iter().flat_map(|m| m.parts(&mut room));
                cut.messages = answer::message(parts.collect(), Some("error"));
                (cut, failure)
            }
        };
        if self.too_many {
            self.defects.add(Defects::TOO_MANY_PARTS);
        }
        if response.id.is_none() {
            response.id = self.id;
        }
        response.model = self.model;
        response.chunks = self.chunks;
        response.chunk_gaps = self.gaps;
        self.request.messages = self.input.into_iter().map(|i| i.message).collect();
        Turn {
            id: self.begin.id,
            tid: self.begin.tid,
            operation: Operation::Chat,
            api: Api::Realtime,
            start: self.begin.time,
            first_chunk: self.first_output.filter(|_| !self.half),
            end: time,
            request: self.request,
            response,
            error,
            defects: self.defects,
        }
    }
}

impl Made {
    /// What came of it, when its end did not.
    fn parts(self, room: &mut Room) -> Vec<Part> {
        let mut parts = Vec::new();
        if let Some(mut call) = self.call {
            call.insert("arguments".to_owned(), Value::from(self.arguments.as_str()));
            parts.push(tool_call(&mut call, room));
        }
        for said in [self.text, self.transcript] {
            if said.seen {
                parts.push(Part::Text(said.into_text()));
            }
        }
        if self.sound > 0 {
            parts.push(sized(AUDIO, self.sound));
        }
        parts
    }
}
