//! A call under way: its response, and what it told when it is over.

use super::body::Body;
use super::json::{self, Document, field};
use super::openai::answer::{self, Answer};
use super::openai::stream_chat::{ChatStream, Seen};
use super::openai::stream_responses::ResponsesStream;
use super::openai::{embeddings, error};
use super::recognise::Route;
use super::retry;
use super::text::Room;
use crate::model::call::{Api, CallError, CallResponse};
use crate::model::defect::Defects;
use crate::model::exchange::{Headers, ResponseHead, SseEvent};
use crate::model::time::BootTime;

/// How the answer comes.
#[derive(Debug)]
enum Form {
    /// Nothing of it yet.
    None,
    /// One document.
    Document(Body),
    /// Chunks of a chat completion or legacy completion.
    Chat(Box<ChatStream>),
    /// Events of a response.
    Responses(Box<ResponsesStream>),
}

/// A response under way.
#[derive(Debug)]
pub(super) struct Response {
    head: Option<ResponseHead>,
    form: Form,
    room: Room,
    chunks: u64,
    first_output: Option<BootTime>,
    broken_event: bool,
    /// What comes may be of another response.
    doubtful: bool,
    /// When the stream said that it is over. Clients stop reading there, so that the end of the
    /// HTTP message may never be read.
    over: Option<BootTime>,
}

/// What a finished response told.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) answer: Answer,
    pub(super) defects: Defects,
    /// Whether and how long its client may try again.
    pub(super) may_retry: bool,
    pub(super) within: u64,
    /// Bytes of the body that were not kept.
    pub(super) dropped: u64,
    /// The answer is none of a model.
    pub(super) foreign: bool,
}

impl Response {
    pub(super) fn new(text_bytes: usize) -> Self {
        Self {
            head: None,
            form: Form::None,
            room: Room(text_bytes),
            chunks: 0,
            first_output: None,
            broken_event: false,
            doubtful: false,
            over: None,
        }
    }

    /// So much is missing that what follows may be of another response.
    pub(super) fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// Whether an event names the response that those before it were of.
    fn is_own(&self, event: &SseEvent<'_>) -> bool {
        let own = match &self.form {
            Form::Chat(stream) => stream.id(),
            Form::Responses(stream) => stream.id(),
            Form::None | Form::Document(_) => None,
        };
        let Some(root) = json::read(event.data.trim_ascii()).map(|d| d.root) else {
            return false;
        };
        let named = match &self.form {
            Form::Responses(_) => field::object(&root, "response").unwrap_or(&root),
            _ => &root,
        };
        own.is_some() && field::nonempty(named, "id") == own
    }

    /// The document that the answer is, as far as it came.
    pub(super) fn document(&mut self) -> Option<Document> {
        match &mut self.form {
            Form::Document(body) => {
                body.close();
                body.document(true)
            }
            _ => None,
        }
    }

    pub(super) fn head(&mut self, head: &ResponseHead) {
        self.head = Some(head.clone());
    }

    pub(super) fn status(&self) -> Option<u16> {
        self.head.as_ref().map(|h| h.status)
    }

    pub(super) fn chunks(&self) -> u64 {
        self.chunks
    }

    /// When the call was over although its HTTP message was not.
    pub(super) fn over(&self) -> Option<BootTime> {
        self.over
    }

    /// The first chunk with output: a response that was merely accepted is none.
    pub(super) fn first_chunk(&self) -> Option<BootTime> {
        self.first_output
    }

    /// Bytes of a document; gives by how much more is held.
    pub(super) fn body(&mut self, missing: u64, bytes: &[u8], limit: usize) -> usize {
        if matches!(self.form, Form::None) {
            self.form = Form::Document(Body::default());
        }
        match &mut self.form {
            Form::Document(body) => body.push(missing, bytes, limit),
            _ => 0,
        }
    }

    /// An event of a stream, for which `left` bytes may be held; gives how many are.
    pub(super) fn event(
        &mut self,
        route: &Route,
        time: BootTime,
        event: SseEvent<'_>,
        left: usize,
    ) -> usize {
        if self.doubtful {
            if !self.is_own(&event) {
                return 0;
            }
            self.doubtful = false;
        }
        if matches!(self.form, Form::None) {
            self.form = match route.api {
                Api::Responses => Form::Responses(Box::default()),
                _ => Form::Chat(Box::default()),
            };
        }
        let before = self.room.0;
        let mut room = Room(before.min(left));
        let withheld = before - room.0;
        let seen = match &mut self.form {
            Form::Chat(stream) => stream.event(event.event, event.data, &mut room),
            Form::Responses(stream) => {
                stream.event(route.operation, event.event, event.data, &mut room)
            }
            _ => Seen::Broken,
        };
        self.room.0 = room.0.saturating_add(withheld);
        let over = match &self.form {
            Form::Responses(stream) => stream.is_over(),
            _ => event.data == b"[DONE]",
        };
        if over {
            self.over.get_or_insert(time);
        }
        match seen {
            Seen::Chunk { output } => {
                self.chunks += 1;
                if output {
                    self.first_output.get_or_insert(time);
                }
            }
            Seen::Broken => self.broken_event = true,
            Seen::Nothing => {}
        }
        before.saturating_sub(self.room.0)
    }

    /// The response is over.
    pub(super) fn finish(self, route: &Route, defects: Defects, stopping: bool) -> Outcome {
        let mut outcome = Outcome {
            answer: Answer::default(),
            defects,
            may_retry: false,
            within: retry::within(self.head.as_ref().map(|h| &h.headers)),
            dropped: 0,
            foreign: false,
        };
        let ended_by_server = outcome.defects.has(Defects::SERVER_ENDED);
        outcome.defects = outcome.defects.without(Defects::SERVER_ENDED);
        if self.over.is_some() {
            // The client reads nothing after it, not even the end of the message.
            outcome.defects = outcome.defects.without(Defects::RESPONSE_CUT);
        }
        if self.broken_event {
            outcome.defects.add(Defects::EVENT_BROKEN);
        }
        let mut room = self.room;
        // Of a half-seen stream the head may not have been seen.
        match (self.form, &self.head) {
            (Form::Chat(stream), _) => outcome.answer = stream.finish(),
            (Form::Responses(stream), _) => {
                outcome.answer = stream.finish(route.operation, &mut room);
            }
            (Form::None, Some(head)) => {
                document(&mut outcome, route, head.status, Body::default(), &mut room);
            }
            (Form::Document(body), Some(head)) => {
                document(&mut outcome, route, head.status, body, &mut room);
            }
            (Form::None | Form::Document(_), None) => {
                no_response(&mut outcome, stopping);
                return outcome;
            }
        }
        if outcome.answer.too_many {
            outcome.defects.add(Defects::TOO_MANY_PARTS);
        }
        outcome.answer.response.chunks = self.chunks;
        let refused = self.head.as_ref().is_some_and(|h| h.status >= 400);
        if ended_by_server && outcome.defects.has(Defects::RESPONSE_CUT) && !refused {
            broken_off(&mut outcome);
        }
        let Some(head) = self.head else {
            return outcome;
        };
        if head.status >= 400 {
            let error = outcome.answer.error.take();
            outcome.answer.error =
                Some(error.unwrap_or_else(|| error::of_status(head.status, None, b"")));
            outcome.may_retry |= retry::after_status(head.status, &head.headers);
        }
        served_by(&mut outcome.answer, &head.headers);
        outcome.answer.response.status = Some(head.status);
        outcome
    }
}

/// The server ended the connection in the middle of its answer, for which its client raises an
/// error. What the answer said of itself goes before.
fn broken_off(outcome: &mut Outcome) {
    outcome.answer.error.get_or_insert_with(|| CallError {
        kind: "connection_reset".to_owned(),
        message: None,
    });
}

/// The connection ended without a response: not when it is our sight that ended.
fn no_response(outcome: &mut Outcome, stopping: bool) {
    let unseen = outcome.defects.has(Defects::RESPONSE_GAP)
        || outcome.defects.has(Defects::RESPONSE_MALFORMED)
        || outcome.defects.has(Defects::ATTACHED_MIDWAY);
    if unseen || stopping {
        return;
    }
    outcome.may_retry = true;
    outcome.answer.error = Some(CallError {
        kind: "connection_closed".to_owned(),
        message: None,
    });
}

/// An answer that came as one document.
fn document(outcome: &mut Outcome, route: &Route, status: u16, mut body: Body, room: &mut Room) {
    const UNENDED: [Defects; 3] = [
        Defects::RESPONSE_CUT,
        Defects::BODY_UNDECODABLE,
        Defects::BODY_TOO_EXPANSIVE,
    ];
    body.close();
    outcome.dropped = body.dropped();
    if outcome.dropped > 0 {
        outcome.defects.add(Defects::RESPONSE_OVER_LIMIT);
    } else if body.has_hole() && !outcome.defects.has(Defects::RESPONSE_OVER_LIMIT) {
        outcome.defects.add(Defects::RESPONSE_GAP);
    }
    let ended = !UNENDED.iter().any(|d| outcome.defects.has(*d));
    if status >= 400 {
        let read = body.document(ended);
        let root = read.as_ref().map(|d| &d.root);
        outcome.answer.error = Some(error::of_status(status, root, body.head()));
        outcome.foreign = root.is_none_or(|r| !r.contains_key("error"));
        return;
    }
    if route.api == Api::Embeddings {
        match embeddings::read(&body, ended) {
            Some((answer, whole)) => {
                outcome.answer = answer;
                broken(outcome, whole);
            }
            None => broken(outcome, false),
        }
        return;
    }
    // What a client did not get whole it asks for again.
    outcome.may_retry = outcome.defects.has(Defects::RESPONSE_CUT);
    match body.document(ended) {
        Some(document) => {
            let whole = document.whole;
            outcome.foreign = !document.root.contains_key("object");
            outcome.answer = answer::read(route.operation, route.api, document, room);
            broken(outcome, whole);
        }
        None => {
            outcome.foreign = true;
            broken(outcome, false);
        }
    }
}

/// Says that a document was not whole, when nothing else says why. When all of it was seen and
/// it is no document at all, then its client cannot read it either.
fn broken(outcome: &mut Outcome, whole: bool) {
    const EXPLAINED: [Defects; 2] = [Defects::RESPONSE_OVER_LIMIT, Defects::RESPONSE_GAP];
    if whole || EXPLAINED.iter().any(|d| outcome.defects.has(*d)) {
        return;
    }
    let seen = !outcome
        .defects
        .names()
        .any(|n| n.starts_with("response") || n.starts_with("body"));
    outcome.defects.add(Defects::JSON_BROKEN);
    if seen && outcome.answer.response == CallResponse::default() {
        outcome.answer.error.get_or_insert_with(|| CallError {
            kind: "invalid_response".to_owned(),
            message: None,
        });
    }
}

/// What headers say better than the body.
fn served_by(answer: &mut Answer, headers: &Headers) {
    if let Some(model) = headers.get("x-ms-served-model").filter(|m| !m.is_empty()) {
        answer.response.model = Some(model.to_owned());
    }
    let id = headers
        .get("x-request-id")
        .or_else(|| headers.get("apim-request-id"));
    answer.response.request_id = id.map(str::to_owned);
}
