//! A call under way: its response, and what it told when it is over.

use super::body::Body;
use super::json::{self, Document};
use super::recognise::Route;
use super::retry;
use super::shape::{Answer, Seen, Stream};
use super::text::Room;
use crate::model::call::{CallError, CallResponse};
use crate::model::defect::Defects;
use crate::model::exchange::{Headers, ResponseHead, SseEvent};
use crate::model::gaps::ChunkGaps;
use crate::model::time::BootTime;
use crate::protocol::JsonArray;

/// How the answer comes.
#[derive(Debug)]
enum Form {
    /// Nothing of it yet.
    None,
    /// One document.
    Document(Body),
    /// Events.
    Events(Box<dyn Stream>),
    /// One document, whose elements are events.
    Array(Box<JsonArray>, Box<dyn Stream>),
}

/// Headers that name an HTTP request, the first that is there counts.
pub(super) const REQUEST_IDS: [&str; 5] = [
    "x-request-id",
    "apim-request-id",
    "request-id",
    "x-dashscope-request-id",
    "x-amzn-requestid",
];

/// A part of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    /// Bytes before it that were not seen.
    pub(super) missing: u64,
    pub(super) bytes: &'a [u8],
}

/// A response under way.
#[derive(Debug)]
pub(super) struct Response {
    head: Option<ResponseHead>,
    form: Form,
    room: Room,
    chunks: u64,
    first_output: Option<BootTime>,
    gaps: Option<Box<ChunkGaps>>,
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
            gaps: None,
            broken_event: false,
            doubtful: false,
            over: None,
        }
    }

    /// So much is missing that what follows may be of another response.
    pub(super) fn doubt(&mut self) {
        self.doubtful = true;
        if let Some(gaps) = &mut self.gaps {
            gaps.interrupted();
        }
    }

    /// Whether an event names the response that those before it were of.
    fn is_own(&self, event: &SseEvent<'_>) -> bool {
        let Form::Events(stream) = &self.form else {
            return false;
        };
        let Some(root) = json::read(event.data.trim_ascii()).map(|d| d.root) else {
            return false;
        };
        let own = stream.id();
        own.is_some() && stream.id_in(&root) == own
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
    pub(super) fn body(
        &mut self,
        route: &Route,
        time: BootTime,
        piece: Piece<'_>,
        limit: usize,
    ) -> usize {
        if matches!(self.form, Form::None) {
            let failed = self.status().is_some_and(|s| s >= 400);
            self.form = if !failed && route.shape.streams_array(&route.found) {
                Form::Array(Box::default(), route.shape.stream(&route.found))
            } else {
                Form::Document(Body::default())
            };
        }
        match std::mem::replace(&mut self.form, Form::None) {
            Form::Document(mut body) => {
                let more = body.push(piece.missing, piece.bytes, limit);
                self.form = Form::Document(body);
                more
            }
            Form::Array(mut array, stream) => {
                self.form = Form::Events(stream);
                let before = array.buffered();
                let mut more = 0;
                if piece.missing > 0 {
                    array.gap();
                }
                array.feed(piece.bytes, &mut |event| {
                    more += self.event(route, time, event, limit);
                });
                more += array.buffered().saturating_sub(before);
                if let Form::Events(stream) = std::mem::replace(&mut self.form, Form::None) {
                    self.form = Form::Array(array, stream);
                }
                more
            }
            other => {
                self.form = other;
                0
            }
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
            self.form = Form::Events(route.shape.stream(&route.found));
        }
        let before = self.room.0;
        let mut room = Room(before.min(left));
        let withheld = before - room.0;
        let (seen, over) = match &mut self.form {
            Form::Events(stream) => (stream.event(event, &mut room), stream.is_over()),
            _ => (Seen::Broken, false),
        };
        self.room.0 = room.0.saturating_add(withheld);
        if over {
            self.over.get_or_insert(time);
        }
        match seen {
            Seen::Chunk { output } => {
                self.chunks += 1;
                if output {
                    self.first_output.get_or_insert(time);
                }
                if self.first_output.is_some() {
                    self.gaps.get_or_insert_default().chunk(time);
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
            (Form::Events(stream), _) => outcome.answer = stream.finish(&mut room),
            (Form::Array(array, stream), _) => {
                outcome.answer = stream.finish(&mut room);
                outcome.defects.add(array.defects());
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
        outcome.answer.response.chunk_gaps = self.gaps;
        let refused = self.head.as_ref().is_some_and(|h| h.status >= 400);
        if ended_by_server && outcome.defects.has(Defects::RESPONSE_CUT) && !refused {
            broken_off(&mut outcome);
        }
        let Some(head) = self.head else {
            return outcome;
        };
        if head.status >= 400 {
            let error = outcome.answer.error.take();
            let mut error = error.unwrap_or_else(|| route.shape.error(head.status, None, b""));
            route.shape.error_headers(&mut error, &head.headers);
            outcome.answer.error = Some(error);
            outcome.may_retry |= retry::after_status(head.status, &head.headers);
        }
        let response = &mut outcome.answer.response;
        response.request_id = request_id(&head.headers);
        route.shape.headers(response, &head.headers);
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
        outcome.answer.error = Some(route.shape.error(status, root, body.head()));
        outcome.answer.response.id = root.and_then(|r| route.shape.failed_id(r));
        outcome.foreign = root.is_none_or(|r| !route.shape.is_error(r));
        return;
    }
    // What a client did not get whole it asks for again.
    outcome.may_retry = outcome.defects.has(Defects::RESPONSE_CUT);
    let read = route.shape.document(&route.found, &body, ended, room);
    outcome.answer = read.answer;
    outcome.foreign = read.foreign;
    broken(outcome, read.whole);
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

/// The provider's id of an HTTP request, under the names that are in use.
pub(super) fn request_id(headers: &Headers) -> Option<String> {
    REQUEST_IDS
        .iter()
        .find_map(|name| headers.get(name))
        .map(str::to_owned)
}
