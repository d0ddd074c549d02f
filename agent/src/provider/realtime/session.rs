//! A connection: its settings, what was said and not answered yet, and the responses under way.

use super::answering::Answering;
use super::config::{self, Config};
use super::error;
use super::event::{self, Event, Read};
use super::input::Item;
use crate::model::call::{CallError, Operation, Part};
use crate::model::defect::Defects;
use crate::model::time::BootTime;
use crate::model::websocket::{Ending, Message, Payload, Sender};
use crate::provider::json::{self, Object, field};
use crate::provider::limits::MAX_MESSAGES;
use crate::provider::sockets::{
    Begin, Found, MAX_TURNS, Output, Session, UnderWay, Unheard, failure,
};
use crate::provider::text::{Growing, Room};
use std::collections::VecDeque;

/// Pictures counted for one thing that is said.
const MAX_PICTURES: usize = 64;

/// A response that the client asked for and that did not begin yet.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) begin: Begin,
    /// The client's id of its event.
    event_id: Option<String>,
    /// Settings for it alone.
    pub(super) response: Object,
    /// What it answers.
    pub(super) input: Vec<Item>,
    held: usize,
    pub(super) defects: Defects,
}

/// A connection.
#[derive(Debug)]
pub(super) struct RealtimeSession {
    /// Model that the handshake names.
    model: Option<String>,
    text_bytes: usize,
    config: Config,
    conversation: Option<String>,
    /// What was said since a response was begun or asked for, and is not answered yet.
    input: VecDeque<Item>,
    /// Characters of sound, and of pictures, that were sent and not taken up yet.
    sound: u64,
    pictures: Vec<u64>,
    /// Text to be spoken that was not taken up yet.
    written: Growing,
    /// The server took up what was said: with that a response begins that nobody asked for.
    heard: Option<Begin>,
    asked: VecDeque<Asked>,
    /// Responses that are over and that nobody was seen to ask for. Where one thread writes and
    /// another reads, that an answer was read may be told before that its request was written.
    unasked: usize,
    open: Vec<Answering>,
    /// The last thing that the server said was an error that was about nothing in particular.
    error: Option<CallError>,
    /// What is missing of what the next response answers.
    missed: Defects,
    /// Sides of which nothing was heard since an attach in mid-connection.
    unheard: Unheard,
}

impl RealtimeSession {
    pub(super) fn new(found: &Found, text_bytes: usize) -> Self {
        Self {
            model: found.model.clone(),
            text_bytes,
            config: Config::default(),
            conversation: None,
            input: VecDeque::new(),
            sound: 0,
            pictures: Vec::new(),
            written: Growing::default(),
            heard: None,
            asked: VecDeque::new(),
            unasked: 0,
            open: Vec::new(),
            error: None,
            missed: if found.midway {
                Defects::ATTACHED_MIDWAY
            } else {
                Defects::NONE
            },
            unheard: Unheard::new(found.midway),
        }
    }

    /// How much text of the input may still be kept.
    fn room(&self, left: usize) -> Room {
        let held: usize = self.input.iter().map(|i| i.held).sum();
        let held = held + self.written.as_str().len();
        Room(self.text_bytes.saturating_sub(held).min(left))
    }

    fn of_client(&mut self, event: &Event<'_>, message: &Message<'_>, out: &mut Output<'_>) {
        let left = out.left;
        let Some(kind) = event.kind.as_deref() else {
            return;
        };
        match kind {
            "input_audio_buffer.append" => {
                self.sound += event.audio.as_deref().map_or(0, |a| a.len() as u64);
                if !message.whole {
                    self.missed.add(Defects::REQUEST_OVER_LIMIT);
                }
            }
            "input_audio_buffer.clear" => self.sound = 0,
            "input_image_buffer.append" if self.pictures.len() < MAX_PICTURES => {
                self.pictures.push(message.length);
            }
            "input_text_buffer.append" => {
                let mut room = self.room(left);
                let text = event.text.as_deref().unwrap_or_default();
                self.written.push(text, &mut room);
            }
            "input_text_buffer.clear" => self.written = Growing::default(),
            "input_text_buffer.commit" | "session.finish" => {
                self.take_up_text(Begin::with(message));
            }
            "conversation.item.create" => {
                let item = whole(message).and_then(|mut r| field::take_object(&mut r, "item"));
                let mut room = self.room(left);
                if let Some(item) = item.and_then(|item| Item::read(item, &mut room)) {
                    self.said(item);
                }
            }
            "response.create" => self.ask(event, message, out),
            _ => {}
        }
    }

    fn ask(&mut self, event: &Event<'_>, message: &Message<'_>, out: &mut Output<'_>) {
        let mut response = whole(message)
            .and_then(|mut root| field::take_object(&mut root, "response"))
            .unwrap_or_default();
        let mut room = self.room(out.left);
        let input = match config::input_of(&mut response) {
            Some(list) => list
                .into_iter()
                .take(MAX_MESSAGES)
                .filter_map(|v| match v {
                    serde_json::Value::Object(o) => Item::read(o, &mut room),
                    _ => None,
                })
                .collect(),
            None => self.input.drain(..).collect(),
        };
        let asked = Asked {
            begin: Begin::with(message),
            event_id: event.event_id.as_deref().map(str::to_owned),
            response,
            input,
            held: usize::try_from(message.length).unwrap_or_default(),
            defects: std::mem::take(&mut self.missed),
        };
        if self.unasked > 0 {
            self.unasked -= 1;
        } else if let Some(at) = self.open.iter().position(|a| a.unasked) {
            let (text_bytes, model) = (self.text_bytes, self.model.clone());
            let config = self.config.clone();
            if let Some(answering) = self.open.get_mut(at) {
                answering.asked(asked, config, model, text_bytes);
            }
        } else {
            if self.asked.len() >= MAX_TURNS
                && let Some(oldest) = self.asked.pop_front()
            {
                out.abandoned(oldest.begin.id);
            }
            out.began(asked.begin);
            self.asked.push_back(asked);
        }
    }

    fn of_server(&mut self, event: &Event<'_>, message: &Message<'_>, out: &mut Output<'_>) {
        let Some(kind) = event.kind.as_deref() else {
            return;
        };
        self.error = None;
        if kind.ends_with(".delta") {
            self.delta(kind, event, message, out.left);
            return;
        }
        match kind {
            "session.created" | "session.updated" => {
                let session =
                    whole(message).and_then(|mut root| field::take_object(&mut root, "session"));
                if let Some(mut session) = session {
                    self.config.take(&mut session, self.text_bytes);
                }
            }
            "conversation.created" => {
                let root = whole(message).unwrap_or_default();
                let conversation = field::object(&root, "conversation");
                self.conversation = conversation.and_then(|c| field::owned(c, "id"));
            }
            "input_audio_buffer.committed" => {
                let id = event.item_id.as_deref().map(str::to_owned);
                let pictures = std::mem::take(&mut self.pictures);
                let item = Item::spoken(id, std::mem::take(&mut self.sound), &pictures);
                self.said(item);
                self.heard = Some(Begin::with(message));
            }
            "input_text_buffer.committed" => self.take_up_text(Begin::with(message)),
            "conversation.item.input_audio_transcription.completed" => {
                if let (Some(id), Some(text)) = (&event.item_id, &event.transcript) {
                    let mut room = self.room(out.left);
                    self.transcribed(id, text, &mut room);
                }
            }
            "response.created" => self.created(message, out),
            "response.output_item.added" => {
                let item = whole(message).and_then(|mut r| field::take_object(&mut r, "item"));
                let answering = self.answering(event, message, out.left);
                if let (Some(answering), Some(item)) = (answering, item) {
                    answering.added(event.output_index.unwrap_or(0), item);
                }
            }
            "response.done" | "response.cancelled" => self.done(message, out),
            "error" => self.failed(message, out),
            _ => {}
        }
    }

    /// Something comes into the conversation.
    fn said(&mut self, item: Item) {
        if self.input.len() >= MAX_MESSAGES {
            self.input.pop_front();
        }
        self.input.push_back(item);
    }

    /// Text that was sent bit by bit is to be spoken.
    fn take_up_text(&mut self, begin: Begin) {
        let written = std::mem::take(&mut self.written);
        if written.is_empty() {
            return;
        }
        let held = written.as_str().len();
        self.said(Item::written(None, Part::Text(written.into_text()), held));
        self.heard = Some(begin);
    }

    fn transcribed(&mut self, id: &str, text: &str, room: &mut Room) {
        let waiting = self.input.iter_mut();
        let asked = self.asked.iter_mut().flat_map(|a| a.input.iter_mut());
        let answered = self.open.iter_mut().flat_map(|a| a.input.iter_mut());
        let mut all = waiting.chain(asked).chain(answered);
        if let Some(item) = all.find(|item| item.id.as_deref() == Some(id)) {
            item.transcribed(text, room);
        }
    }

    /// A response begins.
    fn created(&mut self, message: &Message<'_>, out: &mut Output<'_>) {
        let response =
            whole(message).and_then(|mut root| field::take_object(&mut root, "response"));
        let response = response.unwrap_or_default();
        let mut config = self.config.clone();
        let model = config.model.take();
        let unasked = self.asked.is_empty() && self.heard.is_none() && self.missed.is_none();
        let (begin, input, mut told, defects) = match self.asked.pop_front() {
            Some(asked) => (asked.begin, asked.input, asked.response, asked.defects),
            None => {
                let heard = self.heard.take().unwrap_or_else(|| Begin::with(message));
                out.began(heard);
                let input = self.input.drain(..).collect();
                let defects = std::mem::take(&mut self.missed);
                (heard, input, Object::new(), defects)
            }
        };
        self.heard = None;
        config.take(&mut told, self.text_bytes);
        let asked_model = self.model.clone().or_else(|| model.clone());
        let request = config.request(asked_model);
        let mut answering = Answering::new(begin, request, self.text_bytes);
        answering.input = input;
        answering.defects = defects;
        answering.unasked = unasked;
        answering.created(&response, model);
        self.open(answering, message.time, out);
    }

    fn open(&mut self, answering: Answering, time: BootTime, out: &mut Output<'_>) {
        if self.open.len() >= MAX_TURNS {
            let mut oldest = self.open.remove(0);
            oldest.defects.add(Defects::RESPONSE_CUT);
            out.over(oldest.over(time, None, None));
        }
        self.open.push(answering);
    }

    /// The response that an event is of. One whose beginning was not seen begins with it.
    fn answering(
        &mut self,
        event: &Event<'_>,
        message: &Message<'_>,
        left: usize,
    ) -> Option<&mut Answering> {
        let id = event.response_id.as_deref();
        let Some(id) = id else {
            // Only one can be meant.
            return match self.open.as_mut_slice() {
                [only] => Some(only),
                _ => None,
            };
        };
        if let Some(at) = self.open.iter().position(|a| a.id.as_deref() == Some(id)) {
            return self.open.get_mut(at);
        }
        if self.missed.is_none() || self.open.len() >= MAX_TURNS {
            return None;
        }
        self.open.push(self.half(id, message, left));
        self.open.last_mut()
    }

    /// A response of which the beginning was not seen.
    fn half(&self, id: &str, message: &Message<'_>, left: usize) -> Answering {
        let request = self.config.clone().request(self.model.clone());
        let room = self.text_bytes.min(left);
        let mut half = Answering::new(Begin::with(message), request, room);
        half.id = Some(id.to_owned());
        half.half = true;
        half.defects = self.missed;
        half
    }

    fn delta(&mut self, kind: &str, event: &Event<'_>, message: &Message<'_>, left: usize) {
        let Some(piece) = event
            .delta
            .as_deref()
            .filter(|_| kind.starts_with("response."))
        else {
            return;
        };
        let index = event.output_index.unwrap_or(0);
        let time = message.time;
        if let Some(answering) = self.answering(event, message, left) {
            answering.delta(kind, index, piece, time, left);
        }
    }

    fn done(&mut self, message: &Message<'_>, out: &mut Output<'_>) {
        let mut root = whole(message).unwrap_or_default();
        let response = field::take_object(&mut root, "response");
        let id = response.as_ref().and_then(|r| field::owned(r, "id"));
        let id = id.or_else(|| field::owned(&root, "response_id"));
        let at = match &id {
            Some(id) => self.open.iter().position(|a| a.id.as_ref() == Some(id)),
            None if self.open.len() == 1 => Some(0),
            None => None,
        };
        let mut answering = match (at, id) {
            (Some(at), _) => self.open.remove(at),
            (None, Some(id)) if !self.missed.is_none() => self.half(&id, message, out.left),
            _ => return,
        };
        if !message.whole {
            answering.defects.add(Defects::RESPONSE_OVER_LIMIT);
        }
        self.unasked = (self.unasked + usize::from(answering.unasked)).min(MAX_TURNS);
        let mut turn = answering.over(message.time, response, None);
        if turn.response.conversation_id.is_none() && turn.response.stored_status.is_none() {
            turn.response.conversation_id.clone_from(&self.conversation);
        }
        out.over(turn);
    }

    /// An error: of a response that was asked for, or of something else.
    fn failed(&mut self, message: &Message<'_>, out: &mut Output<'_>) {
        let root = whole(message).unwrap_or_default();
        let Some(error) = error::of_event(&root) else {
            return;
        };
        let at = match error::about(&root) {
            Some(id) => self
                .asked
                .iter()
                .position(|a| a.event_id.as_deref() == Some(id)),
            None if error::is_of_response(&root) => (!self.asked.is_empty()).then_some(0),
            None => None,
        };
        match at.and_then(|at| self.asked.remove(at)) {
            Some(asked) => {
                let answering = self.unanswered(asked);
                out.over(answering.over(message.time, None, Some(error)));
            }
            None => self.error = Some(error),
        }
    }

    /// A response that was asked for and never began.
    fn unanswered(&self, mut asked: Asked) -> Answering {
        let mut config = self.config.clone();
        config.take(&mut asked.response, self.text_bytes);
        let request = config.request(self.model.clone());
        let mut answering = Answering::new(asked.begin, request, 0);
        answering.input = asked.input;
        answering.defects = asked.defects;
        answering
    }
}

/// All members of an event.
fn whole(message: &Message<'_>) -> Option<Object> {
    let Payload::Text(text) = message.payload else {
        return None;
    };
    Some(json::read(text)?.root)
}

impl Session for RealtimeSession {
    fn message(&mut self, message: &Message<'_>, out: &mut Output<'_>) {
        self.unheard.heard(message.sender);
        let Payload::Text(text) = message.payload else {
            return;
        };
        let part;
        let event = match event::read(text) {
            Read::Whole(event) => event,
            Read::Part(root) => {
                part = root;
                Event::of(&part)
            }
            Read::Nothing => {
                if message.sender == Sender::Server {
                    for answering in &mut self.open {
                        answering.defects.add(Defects::EVENT_BROKEN);
                    }
                }
                return;
            }
        };
        match message.sender {
            Sender::Client => self.of_client(&event, message, out),
            Sender::Server => self.of_server(&event, message, out),
        }
    }

    fn gap(&mut self, sender: Sender, out: &mut Output<'_>) {
        let defect = self.unheard.gap(sender);
        self.missed.add(defect);
        // What was to come may be among it.
        self.unasked = 0;
        for answering in &mut self.open {
            answering.unasked = false;
            if sender == Sender::Server {
                answering.interrupted(defect);
            }
        }
        // Which of those asked for the next response answers is not known any more.
        if sender == Sender::Server && !self.asked.is_empty() {
            for asked in self.asked.drain(..) {
                out.abandoned(asked.begin.id);
            }
            if defect == Defects::RESPONSE_GAP {
                self.missed.add(Defects::REQUEST_GAP);
            }
        }
    }

    fn ended(&mut self, time: BootTime, ending: Ending, stopping: bool, out: &mut Output<'_>) {
        let failure = match self.error.take() {
            Some(error) => Some(error),
            None => failure(ending),
        };
        let failure = failure.filter(|_| !stopping);
        let asked = std::mem::take(&mut self.asked);
        let unanswered: Vec<_> = asked.into_iter().map(|a| self.unanswered(a)).collect();
        for mut answering in self.open.drain(..).chain(unanswered) {
            answering.defects.add(Defects::RESPONSE_CUT);
            out.over(answering.over(time, None, failure.clone()));
        }
    }

    fn held(&self) -> usize {
        let waiting: usize = self.input.iter().map(|i| i.held).sum();
        let asked: usize = self.asked.iter().map(|a| a.held).sum();
        let open: usize = self.open.iter().map(Answering::held).sum();
        waiting + asked + open + self.written.as_str().len()
    }

    fn under_way(&self) -> Vec<UnderWay<'_>> {
        let asked = self.asked.iter().map(|asked| UnderWay {
            id: asked.begin.id,
            operation: Operation::Chat,
            model: self.model.as_deref(),
            start: asked.begin.time,
            first_chunk: None,
            chunks: 0,
        });
        let open = self.open.iter().filter(|a| !a.half);
        let open = open.map(|a| UnderWay {
            id: a.begin.id,
            operation: Operation::Chat,
            model: a.request.model.as_deref(),
            start: a.begin.time,
            first_chunk: a.first_output,
            chunks: a.chunks,
        });
        open.chain(asked).collect()
    }
}
