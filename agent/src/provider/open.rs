//! A call under way: its request.

use super::body::Body;
use super::json;
use super::limits::Limits;
use super::plain::Plain;
use super::recognise::{self, Route};
use super::response::Response;
use super::retry;
use super::shape::Payload;
use super::text::Room;
use crate::model::call::{CallEvent, CallProgress, CallRequest};
use crate::model::defect::Defects;
use crate::model::exchange::{RequestHead, Role, SseEvent};
use crate::model::request::Begun;
use crate::model::time::BootTime;

/// Whether a request is a model call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is.
    Call,
    /// It is not.
    Other,
    /// The answer must tell.
    Unknown,
}

/// A call from its request's head to its end.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) begun: Begun,
    /// Of a half-seen one what its response said so far.
    pub(super) route: Route,
    /// It was under way when its connection was first seen: nothing is known of its request.
    pub(super) half: bool,
    /// What is told of it when it turns out to be no call.
    pub(super) plain: Option<Plain>,
    pub(super) attempt: Option<u32>,
    /// The client says that it will not try again.
    pub(super) last: bool,
    target: u64,
    pub(super) fingerprint: u64,
    pub(super) verdict: Verdict,
    body: Body,
    ended: bool,
    pub(super) request: CallRequest,
    pub(super) response: Response,
    pub(super) defects: Defects,
    /// Bytes that it counts for in the whole stage's bound.
    pub(super) held: usize,
}

impl Open {
    pub(super) fn new(
        begun: Begun,
        head: &RequestHead,
        route: Route,
        plain: Option<Plain>,
        text_bytes: usize,
    ) -> Self {
        // To whom a call was sent, its attempts are calls of their own: each was served.
        let attempt = match begun.role {
            Role::Client => retry::attempt(&head.headers),
            Role::Server => None,
        };
        Self {
            begun,
            route,
            half: false,
            plain,
            attempt,
            last: retry::is_last(&head.headers),
            target: retry::target(head),
            fingerprint: 0,
            verdict: Verdict::Unknown,
            body: Body::default(),
            ended: false,
            request: CallRequest::default(),
            response: Response::new(text_bytes),
            defects: Defects::NONE,
            held: 0,
        }
    }

    /// A call, if it is one, of which only a later part is seen: its response must tell.
    pub(super) fn half_seen(begun: Begun, text_bytes: usize) -> Self {
        Self {
            begun,
            route: Route::unseen(),
            half: true,
            plain: None,
            attempt: None,
            last: false,
            target: 0,
            fingerprint: 0,
            verdict: Verdict::Unknown,
            body: Body::default(),
            ended: true,
            request: CallRequest::default(),
            response: Response::new(text_bytes),
            defects: Defects::ATTACHED_MIDWAY,
            held: 0,
        }
    }

    /// Whether an event of the response is to be taken: of a half-seen call from the first one on
    /// that shows what call it is.
    pub(super) fn recognises(&mut self, event: &SseEvent<'_>) -> bool {
        if self.half
            && self.verdict == Verdict::Unknown
            && let Some(document) = json::read(event.data.trim_ascii())
        {
            self.answers_as(&Payload::Event(&document.root));
        }
        !self.half || self.verdict == Verdict::Call
    }

    /// The same for an answer that came as one document, when it is over.
    pub(super) fn recognise_document(&mut self) {
        if self.half
            && self.verdict == Verdict::Unknown
            && let Some(document) = self.response.document()
        {
            self.answers_as(&Payload::Document(&document.root));
        }
    }

    fn answers_as(&mut self, payload: &Payload<'_>) {
        if let Some(route) = recognise::by_answer(payload) {
            self.route = route;
            self.verdict = Verdict::Call;
        }
    }

    /// Bytes of the request; gives by how much more is held.
    pub(super) fn request_body(&mut self, missing: u64, bytes: &[u8], limit: usize) -> usize {
        self.body.push(missing, bytes, limit)
    }

    /// The request is over: what it asks.
    pub(super) fn request_end(&mut self, defects: Defects, limits: &Limits) -> (Verdict, u64) {
        if self.ended {
            return (self.verdict, 0);
        }
        self.ended = true;
        self.defects.add(defects);
        let mut body = std::mem::take(&mut self.body);
        body.close();
        if body.dropped() > 0 {
            self.defects.add(Defects::REQUEST_OVER_LIMIT);
        }
        // The protocol stage has said why, when the kernel left it out.
        if body.has_hole() && !self.defects.has(Defects::REQUEST_OVER_LIMIT) {
            self.defects.add(Defects::REQUEST_GAP);
        }
        self.fingerprint = retry::fingerprint(self.target, &body);
        self.verdict = self.read(&body, limits);
        self.complete_from_head();
        (self.verdict, body.dropped())
    }

    fn read(&mut self, body: &Body, limits: &Limits) -> Verdict {
        const CUT: [Defects; 4] = [
            Defects::REQUEST_CUT,
            Defects::REQUEST_GAP,
            Defects::REQUEST_MALFORMED,
            Defects::BODY_UNDECODABLE,
        ];
        if let Some(verdict) = self.route.found.bodyless {
            return verdict;
        }
        let cut = CUT.iter().any(|d| self.defects.has(*d)) || body.has_hole();
        // Its end was seen unless the connection ended before.
        let ended = !self.defects.has(Defects::REQUEST_CUT);
        let Some(document) = body.document(ended) else {
            if cut {
                self.defects.add(Defects::JSON_BROKEN);
            }
            return if cut {
                Verdict::Unknown
            } else {
                Verdict::Other
            };
        };
        let confirmed = self.route.settle(&document.root);
        if !document.whole {
            // More prompts may have been in what is missing, and how many answers they are to have.
            let found = &mut self.route.found;
            (found.prompts, found.samples) = (None, None);
        }
        if !document.whole && !body.has_hole() {
            self.defects.add(Defects::JSON_BROKEN);
        }
        let Route { shape, found, .. } = &self.route;
        self.request = shape.request(found, document.root, &mut Room(limits.text_bytes));
        match (confirmed, document.whole) {
            (true, _) => Verdict::Call,
            (false, true) => Verdict::Other,
            (false, false) => Verdict::Unknown,
        }
    }

    /// What path, query and headers say where the body does not.
    fn complete_from_head(&mut self) {
        let (request, found) = (&mut self.request, &self.route.found);
        if request.model.is_none() {
            request.model.clone_from(&found.model);
        }
        if found.agent.is_some() {
            request.agent_id.clone_from(&found.agent);
        }
        if found.fetch_id.is_some() {
            request.fetch_id.clone_from(&found.fetch_id);
            request.stream_cursor.clone_from(&found.cursor);
        }
        if request.guardrail_id.is_none() {
            request.guardrail_id.clone_from(&found.guardrail);
        }
        request.stream |= found.stream;
    }

    /// Tells that it is a retry, when its client says so.
    pub(super) fn retrying(&self) -> Option<CallEvent> {
        let attempt = self.attempt.filter(|n| *n > 0)?;
        (self.verdict != Verdict::Other).then_some(CallEvent::Retrying {
            pid: self.begun.connection.pid,
            exchange: self.begun.exchange,
            attempt,
            fingerprint: self.fingerprint,
            start: self.begun.start,
        })
    }

    /// How it gets on.
    pub(super) fn progress(&self, now: BootTime) -> CallProgress {
        CallProgress {
            exchange: self.begun.exchange,
            pid: self.begun.connection.pid,
            role: self.begun.role,
            operation: self.route.found.operation,
            model: self.request.model.clone(),
            start: self.begun.start,
            now,
            first_chunk: self.response.first_chunk(),
            chunks: self.response.chunks(),
        }
    }
}
