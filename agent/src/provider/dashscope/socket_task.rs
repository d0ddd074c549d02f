//! A task over WebSocket, from its start to its end.

use super::request;
use super::stream::GenerationStream;
use crate::model::call::{Api, CallError, CallRequest, Message as Said, Operation, Part, Text};
use crate::model::defect::Defects;
use crate::model::exchange::{ExchangeId, SseEvent};
use crate::model::gaps::ChunkGaps;
use crate::model::time::BootTime;
use crate::model::websocket::{Message, Sender};
use crate::provider::content::AUDIO;
use crate::provider::error as common;
use crate::provider::json::{Object, field};
use crate::provider::shape::{Answer, Found, Stream as _};
use crate::provider::sockets::{Turn, UnderWay};
use crate::provider::text::{Growing, Room};
use serde_json::Value;

/// Characters of base64 that stand for this many bytes.
const fn base64(bytes: u64) -> u64 {
    bytes.div_ceil(3) * 4
}

/// What a task gives.
#[derive(Debug)]
enum Gives {
    /// Messages of a model, in the form of the HTTP API.
    Messages(Box<GenerationStream>),
    /// What was said, sentence by sentence; or nothing but sound.
    Sentences(Sentences),
}

/// Sentences that were recognised, or their translation.
#[derive(Debug, Default)]
struct Sentences {
    /// Those that are over.
    over: Growing,
    /// The one under way, as it was told last.
    partial: Option<String>,
}

/// A task.
#[derive(Debug)]
pub(super) struct SocketTask {
    id: String,
    /// Of the message that it began with.
    exchange: ExchangeId,
    tid: u32,
    start: BootTime,
    half: bool,
    /// The client waits for one answer, not for the end.
    answers_once: bool,
    operation: Operation,
    request: CallRequest,
    /// Text that followed upon the start.
    text: Growing,
    gives: Gives,
    /// Bytes of sound that were sent, and that came.
    sent: u64,
    came: u64,
    first_output: Option<BootTime>,
    chunks: u64,
    gaps: Option<Box<ChunkGaps>>,
    error: Option<CallError>,
    pub(super) defects: Defects,
    request_room: Room,
    room: Room,
    started_with: usize,
}

impl SocketTask {
    /// That the client starts.
    pub(super) fn run(
        id: &str,
        streaming: Option<&str>,
        payload: Object,
        message: &Message<'_>,
        room: usize,
    ) -> Self {
        let talks = field::str(&payload, "task_group") == Some("aigc")
            && matches!(
                field::str(&payload, "task"),
                Some("text-generation" | "multimodal-generation")
            );
        let operation = if talks {
            Operation::Chat
        } else {
            Operation::GenerateContent
        };
        let mut found = Found::new(operation, Api::DashScope, super::PROVIDER);
        found.makes = match field::str(&payload, "task") {
            Some("tts") => Some("speech"),
            Some("asr") => Some("text"),
            _ => None,
        };
        let parameters = field::object(&payload, "parameters");
        let incremental = parameters.and_then(|p| p.get("incremental_output")?.as_bool());
        let mut request_room = Room(room);
        let mut task = Self::new(id, message, operation, room);
        task.request = request::read(&found, payload, &mut request_room);
        task.request.stream = streaming != Some("none");
        task.request_room = request_room;
        task.answers_once = matches!(streaming, Some("none" | "in"));
        if talks {
            let stream = GenerationStream::new(incremental.map(|i| !i));
            task.gives = Gives::Messages(Box::new(stream));
        }
        task
    }

    /// Of which the start was not seen.
    pub(super) fn half(id: &str, message: &Message<'_>, defects: Defects, room: usize) -> Self {
        let mut task = Self::new(id, message, Operation::GenerateContent, room);
        task.half = true;
        task.defects = defects;
        task
    }

    fn new(id: &str, message: &Message<'_>, operation: Operation, room: usize) -> Self {
        Self {
            id: id.to_owned(),
            exchange: message.id,
            tid: message.tid,
            start: message.begun,
            half: false,
            answers_once: false,
            operation,
            request: CallRequest::default(),
            text: Growing::default(),
            gives: Gives::Sentences(Sentences::default()),
            sent: 0,
            came: 0,
            first_output: None,
            chunks: 0,
            gaps: None,
            error: None,
            defects: Defects::NONE,
            request_room: Room(room),
            room: Room(room),
            started_with: room,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The client sends more of what it is about.
    pub(super) fn proceed(&mut self, payload: &Object, left: usize) {
        let input = field::object(payload, "input");
        if let Some(text) = input.and_then(|i| field::str(i, "text")) {
            let mut room = Room(self.request_room.0.min(left));
            let before = room.0;
            self.text.push(text, &mut room);
            self.request_room.0 -= before - room.0;
        }
    }

    /// Sound of either side.
    pub(super) fn sound(&mut self, message: &Message<'_>) {
        match message.sender {
            Sender::Client => self.sent = self.sent.saturating_add(message.length),
            Sender::Server => {
                self.came = self.came.saturating_add(message.length);
                self.output(message.time);
            }
        }
    }

    /// A part of the answer.
    pub(super) fn result(&mut self, mut payload: Object, message: &Message<'_>, left: usize) {
        if !message.whole {
            self.defects.add(Defects::EVENT_OVER_LIMIT);
        }
        let mut room = Room(self.room.0.min(left));
        let before = room.0;
        let output = match &mut self.gives {
            Gives::Messages(stream) => {
                let says = field::object(&payload, "output").is_some_and(|o| !o.is_empty());
                if says || field::is_set(&payload, "usage") {
                    let data = Value::Object(payload).to_string();
                    let event = SseEvent {
                        event: "result",
                        data: data.as_bytes(),
                        comment: "",
                    };
                    stream.event(event, &mut room);
                }
                says
            }
            Gives::Sentences(sentences) => {
                let output = field::take(&mut payload, "output");
                output.is_some_and(|o| sentences.add(&o, &mut room))
            }
        };
        self.room.0 -= before.saturating_sub(room.0).min(self.room.0);
        if output {
            self.output(message.time);
        }
    }

    /// It failed.
    pub(super) fn failed(&mut self, header: &Object) {
        let kind = field::owned(header, "error_code");
        let message = field::nonempty(header, "error_message").map(common::bounded);
        self.error = Some(CallError {
            kind: kind.unwrap_or_else(|| common::OTHER.to_owned()),
            message,
        });
    }

    /// Messages are missing.
    pub(super) fn interrupted(&mut self, defect: Defects) {
        self.defects.add(defect);
        if let Some(gaps) = &mut self.gaps {
            gaps.interrupted();
        }
    }

    fn output(&mut self, time: BootTime) {
        self.chunks += 1;
        self.first_output.get_or_insert(time);
        self.gaps.get_or_insert_default().chunk(time);
    }

    /// The client has what it waited for, without the task's end.
    pub(super) fn is_answered(&self) -> bool {
        self.answers_once && self.first_output.is_some()
    }

    /// Bytes of text kept.
    pub(super) fn held(&self) -> usize {
        2 * self.started_with - self.request_room.0 - self.room.0
    }

    pub(super) fn under_way(&self) -> Option<UnderWay<'_>> {
        (!self.half).then_some(UnderWay {
            id: self.exchange,
            operation: self.operation,
            model: self.request.model.as_deref(),
            start: self.start,
            first_chunk: self.first_output,
            chunks: self.chunks,
        })
    }

    /// It is over.
    pub(super) fn over(mut self, end: BootTime, failure: Option<CallError>) -> Turn {
        let mut room = self.room;
        let Answer {
            mut response,
            error,
            ..
        } = match self.gives {
            Gives::Messages(stream) => stream.finish(&mut room),
            Gives::Sentences(sentences) => {
                let mut answer = Answer::default();
                let mut parts: Vec<Part> = sentences.text(&mut room).into_iter().collect();
                parts.extend((self.came > 0).then(|| sized(self.came)));
                answer.response.messages.extend(message("assistant", parts));
                answer
            }
        };
        let mut more = Vec::new();
        if !self.text.is_empty() {
            more.push(Part::Text(self.text.into_text()));
        }
        if self.sent > 0 {
            more.push(sized(self.sent));
        }
        match self.request.messages.last_mut() {
            Some(last) => last.parts.extend(more),
            None => self.request.messages.extend(message("user", more)),
        }
        response.id = Some(self.id);
        response.chunks = self.chunks;
        response.chunk_gaps = self.gaps;
        Turn {
            id: self.exchange,
            tid: self.tid,
            operation: self.operation,
            api: Api::DashScopeInference,
            start: self.start,
            first_chunk: self.first_output.filter(|_| !self.half),
            end,
            request: self.request,
            response,
            error: self.error.or(error).or(failure),
            defects: self.defects,
        }
    }
}

impl Sentences {
    /// Takes an output; whether it says something.
    fn add(&mut self, output: &Value, room: &mut Room) -> bool {
        let Some(output) = output.as_object() else {
            return false;
        };
        let translated = field::list(output, "translations").and_then(|t| t.first());
        let heard = ["sentence", "transcription"]
            .iter()
            .find_map(|key| field::object(output, key));
        let Some(sentence) = translated.and_then(Value::as_object).or(heard) else {
            return false;
        };
        let Some(text) = field::nonempty(sentence, "text") else {
            return false;
        };
        if field::is_true(sentence, "heartbeat") {
            return false;
        }
        // Those of old say where a sentence ends, and only when it does.
        let ends = sentence.get("sentence_end").map_or_else(
            || field::is_set(sentence, "end_time"),
            |end| end.as_bool() == Some(true),
        );
        if ends {
            self.partial = None;
            if !self.over.is_empty() {
                self.over.push("\n", room);
            }
            self.over.push(text, room);
        } else {
            let mut text = text.to_owned();
            if text.len() > room.0 {
                text.clear();
            }
            self.partial = Some(text);
        }
        true
    }

    /// All of them.
    fn text(mut self, room: &mut Room) -> Option<Part> {
        if let Some(partial) = self.partial {
            if !self.over.is_empty() {
                self.over.push("\n", room);
            }
            self.over.push(&partial, room);
        }
        (!self.over.is_empty()).then(|| Part::Text(self.over.into_text()))
    }
}

/// Sound, of which only the size is kept.
fn sized(bytes: u64) -> Part {
    Part::Blob {
        modality: AUDIO,
        mime_type: None,
        content: Text {
            kept: String::new(),
            dropped: base64(bytes),
        },
    }
}

fn message(role: &str, parts: Vec<Part>) -> Option<Said> {
    (!parts.is_empty()).then(|| Said {
        role: role.to_owned(),
        parts,
        ..Said::default()
    })
}
