//! What there is to know of a wire shape: the form in which a provider, and whoever imitates it,
//! takes requests and gives answers. Each shape is a module of its own and stands in the table of
//! [`super::providers`].

use super::body::Body;
use super::error;
use super::json::{Document, Object, field};
use super::open::Verdict;
use super::target::Target;
use super::tasks::{Task, TaskStep};
use super::text::Room;
use crate::model::call::{Api, CallError, CallRequest, CallResponse, Operation};
use crate::model::exchange::{Headers, SseEvent};
use std::fmt;

/// A wire shape.
pub(super) trait Shape: fmt::Debug + Sync {
    /// Request headers that it reads, in lower case.
    fn request_headers(&self) -> &'static [&'static str] {
        &[]
    }

    /// Response headers that it reads, in lower case.
    fn response_headers(&self) -> &'static [&'static str] {
        &[]
    }

    /// What a request is by its method, the end of its path, and with the help of its headers;
    /// never by its host: a gateway at any address is seen.
    fn route(&self, target: &Target<'_>) -> Option<Found>;

    /// Whether a request's body is one of such a call: it has a member that it must have.
    fn confirms(&self, found: &Found, body: &Object) -> bool;

    /// What the body says of the route beyond that it is one.
    fn refine(&self, _: &mut Found, _: &Object) {}

    /// Reads the body of a request.
    fn request(&self, found: &Found, body: Object, room: &mut Room) -> CallRequest;

    /// Reads the document of a successful exchange, from its bytes. Shapes whose answers hold
    /// what is not worth a tree of values (vectors) do so themselves.
    fn document(&self, found: &Found, body: &Body, ended: bool, room: &mut Room) -> Read {
        read_document(self, found, body, ended, room)
    }

    /// Reads the document of a successful exchange.
    fn answer(&self, found: &Found, document: Document, room: &mut Room) -> Answer;

    /// Whether the document of a successful exchange is an answer of this shape. Asked only when
    /// the request could not tell.
    fn is_answer(&self, found: &Found, root: &Object) -> bool;

    /// Whether the document of a failed exchange is an error of this shape. Asked as above.
    fn is_error(&self, root: &Object) -> bool {
        root.contains_key("error")
    }

    /// What a failed exchange says of its failure.
    fn error(&self, status: u16, document: Option<&Object>, body: &[u8]) -> CallError {
        error::of_status(status, document, body)
    }

    /// The id that a failed exchange has in place of a response's, where there is one for both.
    fn failed_id(&self, _: &Object) -> Option<String> {
        None
    }

    /// A reader of an answer that comes as events: of an event stream, of lines of JSON, of
    /// Amazon's frames.
    fn stream(&self, found: &Found) -> Box<dyn Stream>;

    /// Whether the answer is a JSON array whose elements come one by one.
    fn streams_array(&self, _: &Found) -> bool {
        false
    }

    /// What the headers of an answer say better than its body, or alone.
    fn headers(&self, _: &mut CallResponse, _: &Headers) {}

    /// What the headers of a failed exchange say better of its failure than its body.
    fn error_headers(&self, _: &mut CallError, _: &Headers) {}

    /// What a call is by its answer alone, when its request was not seen. Only for answers that
    /// are unmistakable.
    fn by_answer(&self, _: &Payload<'_>) -> Option<Found> {
        None
    }
}

/// What a request may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) operation: Operation,
    pub(super) api: Api,
    /// The provider's name when the host is not a known one.
    pub(super) provider: &'static str,
    /// The path says who it is, whatever the host.
    pub(super) fixed: bool,
    /// Model that the path names; counts when the body has none.
    pub(super) model: Option<String>,
    /// Path, query or headers ask for a stream.
    pub(super) stream: bool,
    /// Agent or application that the path names.
    pub(super) agent: Option<String>,
    /// Id of the response to fetch.
    pub(super) fetch_id: Option<String>,
    /// Where a fetched stream starts.
    pub(super) cursor: Option<String>,
    /// Of a request that has no body: whether it is a call.
    pub(super) bodyless: Option<Verdict>,
    /// It is about a task that another request made.
    pub(super) task: Option<TaskStep>,
    /// What the path says of the output's type; counts when the body says nothing.
    pub(super) makes: Option<&'static str>,
    /// Whether each event of a stream has all of the text so far, where that can differ.
    pub(super) cumulative: Option<bool>,
    /// How many prompts the body has, where an answer does not say that it was the last. Not known
    /// of a request that was not seen whole.
    pub(super) prompts: Option<usize>,
    /// How many answers each prompt is to have, where their usage is told answer by answer. Not
    /// known of a request that was not seen whole.
    pub(super) samples: Option<u32>,
    /// The guardrail that the headers name; counts when the body names none.
    pub(super) guardrail: Option<String>,
    /// Session that a header names.
    pub(super) session: Option<String>,
    /// Version of the protocol that a header names.
    pub(super) version: Option<String>,
}

impl Found {
    /// A call whose body tells the rest.
    pub(super) const fn new(operation: Operation, api: Api, provider: &'static str) -> Self {
        Self {
            operation,
            api,
            provider,
            fixed: false,
            model: None,
            stream: false,
            agent: None,
            fetch_id: None,
            cursor: None,
            bodyless: None,
            task: None,
            makes: None,
            cumulative: None,
            prompts: None,
            samples: None,
            guardrail: None,
            session: None,
            version: None,
        }
    }
}

/// What an answer told.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) response: CallResponse,
    pub(super) error: Option<CallError>,
    /// There was more than is followed.
    pub(super) too_many: bool,
    /// It is, or tells of, a task.
    pub(super) task: Option<Task>,
}

/// A document that was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) answer: Answer,
    /// Nothing of it is missing.
    pub(super) whole: bool,
    /// It is no answer of this shape.
    pub(super) foreign: bool,
}

/// Reads a body as one document.
pub(super) fn read_document<S: Shape + ?Sized>(
    shape: &S,
    found: &Found,
    body: &Body,
    ended: bool,
    room: &mut Room,
) -> Read {
    let Some(document) = body.document(ended) else {
        return Read {
            answer: Answer::default(),
            whole: false,
            foreign: true,
        };
    };
    Read {
        whole: document.whole,
        foreign: !shape.is_answer(found, &document.root),
        answer: shape.answer(found, document, room),
    }
}

/// What an event of a stream was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A part of the answer; `output` says that it carries output.
    Chunk {
        /// See above.
        output: bool,
    },
    /// No part of it: the end mark, an empty event.
    Nothing,
    /// Not what the protocol says.
    Broken,
}

/// An answer under way that comes as events.
pub(super) trait Stream: fmt::Debug + Send {
    /// The next event; its texts are kept as far as there is room.
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen;

    /// Whether the event came after which clients stop reading.
    fn is_over(&self) -> bool;

    /// The provider's id of the answer, as far as it is known.
    fn id(&self) -> Option<&str> {
        None
    }

    /// The id of the answer that an event names. After a large loss only what names the answer
    /// counts as a part of it.
    fn id_in<'a>(&self, root: &'a Object) -> Option<&'a str> {
        field::nonempty(root, "id")
    }

    /// The answer as far as it came.
    fn finish(self: Box<Self>, room: &mut Room) -> Answer;
}

/// The first thing seen of an answer whose request was not.
#[derive(Clone, Copy, Debug)]
pub(super) enum Payload<'a> {
    /// A document.
    Document(&'a Object),
    /// The data of an event.
    Event(&'a Object),
}
