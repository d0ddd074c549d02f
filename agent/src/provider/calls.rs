//! The stage: takes exchanges, gives calls.

use super::hosts;
use super::limits::{Counters, Limits};
use super::open::{Open, Verdict};
use super::plain::{End, HttpSpans, OpenPlain, Plain, Told};
use super::recognise;
use super::response::{Outcome, Piece};
use super::sockets::{self, Sockets};
use super::tasks::{TaskStep, Tasks};
use crate::model::call::{CallEvent, CallProgress, ModelCall, RetryHint};
use crate::model::defect::Defects;
use crate::model::event::ConnectionId;
use crate::model::exchange::{
    ExchangeId, ExchangeSink, Interest, RequestHead, ResponseHead, Role, SseEvent,
};
use crate::model::process::ProcessFacts;
use crate::model::request::Begun;
use crate::model::time::BootTime;
use crate::model::websocket::{Ending, Message, Sender, WebSocketSink};
use crate::protocol::propagation;
use std::collections::HashMap;

/// The provider stage.
#[derive(Debug)]
pub struct Calls {
    /// Of the exchanges that begin from now on.
    role: Role,
    limits: Limits,
    open: HashMap<ExchangeId, Open>,
    plain: HashMap<ExchangeId, OpenPlain>,
    told: Told,
    tasks: Tasks,
    sockets: Sockets,
    held: usize,
    events: Vec<CallEvent>,
    counters: Counters,
    stopping: bool,
}

impl Calls {
    /// A stage with these bounds.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            role: Role::Client,
            limits,
            open: HashMap::new(),
            plain: HashMap::new(),
            told: Told::new(HttpSpans::Off),
            tasks: Tasks::default(),
            sockets: Sockets::default(),
            held: 0,
            events: Vec::new(),
            counters: Counters::default(),
            stopping: false,
        }
    }

    /// Of which processes requests that are no calls are told, from here on; before, of none.
    pub fn tell_requests(&mut self, of: HttpSpans) {
        self.told = Told::new(of);
    }

    /// Requests that are no model calls are not told from here on, or as it is set.
    pub fn shed_requests(&mut self, shed: bool) {
        self.told.shed(shed);
    }

    /// What is known of a process, from here on.
    pub fn process(&mut self, facts: &ProcessFacts) {
        self.told.process(facts);
    }

    /// Whether requests of a process are told that are no calls.
    #[must_use]
    pub fn tells_requests(&self, pid: u32) -> bool {
        self.told.of(pid)
    }

    /// The sink for a connection on which the process has this role.
    pub fn of_role(&mut self, role: Role) -> &mut Self {
        self.role = role;
        self
    }

    /// What was told since the last time, in the order of the wire.
    pub fn drain(&mut self) -> impl Iterator<Item = CallEvent> + '_ {
        self.events.drain(..)
    }

    /// Whether there is something to drain.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The calls under way, in the order of their start.
    #[must_use]
    pub fn progress(&self, now: BootTime) -> Vec<CallProgress> {
        // How long a half-seen one takes already is not known.
        let calls = self
            .open
            .values()
            .filter(|o| o.verdict == Verdict::Call && !o.half);
        let mut all: Vec<_> = calls.map(|o| o.progress(now)).collect();
        all.extend(self.sockets.progress(now));
        all.sort_by_key(|p| p.exchange);
        all
    }

    /// How many calls, and connections that carry calls, are under way.
    #[must_use]
    pub fn open_calls(&self) -> usize {
        self.open.len() + self.sockets.len()
    }

    /// Bytes held of all of them together.
    #[cfg(test)]
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Exchanges that end from now on end because nobody looks any more: that is no failure.
    pub fn stopping(&mut self) {
        self.stopping = true;
    }

    /// Nothing happened until now: tasks that nobody asks after any more are told as they are.
    pub fn tick(&mut self, now: BootTime) {
        let silent = self.tasks.silent(now);
        self.tell(silent);
    }

    /// A process is gone, and its connections were closed: its tasks are told as they are.
    pub fn process_exit(&mut self, pid: u32) {
        let calls = self.tasks.of_process(pid);
        self.tell(calls);
        self.told.process_exit(pid);
    }

    /// Nothing more will come: all tasks are told as they are.
    pub fn flush(&mut self) {
        let calls = self.tasks.all();
        self.tell(calls);
    }

    /// What was left out so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether one more exchange may be followed.
    fn has_room(&mut self) -> bool {
        let room = self.open_calls() + self.plain.len() < self.limits.open_calls;
        self.counters.refused += u64::from(!room);
        room
    }

    /// Follows a request that is no call from the start.
    fn begin_plain(&mut self, begun: Begun, head: &RequestHead) -> Interest {
        self.events.push(CallEvent::Began(Box::new(begun.clone())));
        let plain = Plain::new(&begun, head);
        let open = OpenPlain {
            plain,
            status: None,
            defects: Defects::NONE,
            begun,
        };
        self.plain.insert(open.begun.exchange, open);
        Interest::Outline
    }

    /// What was followed as a call, perhaps, is none.
    fn not_a_call(&mut self, open: Open, status: Option<u16>) -> Option<OpenPlain> {
        self.held = self.held.saturating_sub(open.held);
        Some(OpenPlain {
            plain: open.plain?,
            status,
            defects: open.defects,
            begun: open.begun,
        })
    }

    fn finish_plain(&mut self, open: OpenPlain, time: BootTime, defects: Defects) {
        let exchange = open.begun.exchange;
        let end = End {
            time,
            status: open.status,
            defects: defects.with(open.defects),
            stopping: self.stopping,
        };
        let request = open.plain.finish(open.begun, end);
        self.events.push(CallEvent::Requested(Box::new(request)));
        self.events.push(CallEvent::Over {
            exchange,
            told: true,
        });
    }

    /// How many more bytes may be held.
    fn left(&self) -> usize {
        self.limits.held_bytes.saturating_sub(self.held)
    }

    /// What came of something that happened on a WebSocket.
    fn of_socket(&mut self, outcome: sockets::Outcome) {
        self.held = self.held.saturating_add_signed(outcome.held);
        for event in outcome.events {
            self.counters.calls += u64::from(matches!(event, CallEvent::Finished(_)));
            self.events.push(event);
        }
    }

    fn over_limit(&mut self, dropped: u64) {
        if dropped > 0 {
            self.counters.bodies_over_limit += 1;
            self.counters.body_bytes_dropped += dropped;
        }
    }

    /// The request of a call is over; gives whether the call is still of interest.
    fn end_request(&mut self, id: ExchangeId, defects: Defects) -> bool {
        let Some(open) = self.open.get_mut(&id) else {
            return false;
        };
        let (verdict, dropped) = open.request_end(defects, &self.limits);
        self.events.extend(open.retrying());
        // The bytes went with the body; what was made of them is smaller, or as small.
        self.over_limit(dropped);
        verdict != Verdict::Other
    }

    /// An exchange is over that was followed as a call.
    fn finish(&mut self, open: Open, time: BootTime, defects: Defects) {
        let (exchange, half) = (open.begun.exchange, open.half);
        let told = self.conclude(open, time, defects);
        if !half {
            self.events.push(CallEvent::Over { exchange, told });
        }
    }

    /// Tells what came of it; gives whether it is told, now or later, under its own name.
    fn conclude(&mut self, mut open: Open, time: BootTime, defects: Defects) -> bool {
        open.recognise_document();
        let response = std::mem::replace(&mut open.response, super::response::Response::new(0));
        let status = response.status();
        let first_chunk = response.first_chunk().filter(|_| !open.half);
        let end = response.over().unwrap_or(time);
        let mut outcome = response.finish(&open.route, defects.with(open.defects), self.stopping);
        self.over_limit(outcome.dropped);
        let pid = open.begun.connection.pid;
        let step = open.route.found.task.take();
        // Who serves tasks serves each request for itself.
        let follows = open.begun.role == Role::Client;
        let followed = follows && step.as_ref().is_some_and(|s| self.tasks.knows(pid, s));
        let known = match open.verdict {
            _ if followed => true,
            _ if !follows && step.is_some() => false,
            // Events at a path that no task named.
            _ if matches!(step, Some(TaskStep::Stream(_))) => false,
            Verdict::Call => true,
            Verdict::Other => false,
            Verdict::Unknown if open.half => false,
            Verdict::Unknown => !outcome.foreign && status.is_some(),
        };
        let redirected = known && status.is_some_and(|s| (300..400).contains(&s));
        if !known || redirected {
            self.counters.redirects += u64::from(redirected);
            // Seen so little of that it may be a call yet, had we looked on: neither is told.
            let undecided = self.stopping && open.verdict == Verdict::Unknown && status.is_none();
            // One that was half seen is counted as that already.
            let unknown = undecided && !open.half;
            self.counters.undecided += u64::from(unknown);
            self.counters.not_calls += u64::from(!known && !unknown);
            let plain = self.not_a_call(open, status).filter(|_| !undecided);
            let told = plain.is_some();
            if let Some(plain) = plain {
                self.finish_plain(plain, time, defects);
            }
            return told;
        }
        self.held = self.held.saturating_sub(open.held);
        let task = outcome.answer.task.take();
        let mut call = model_call(open, outcome, first_chunk, end);
        match (step, task) {
            (Some(step), task) if followed => {
                let over = self.tasks.step(&step, task.as_ref(), call);
                self.tell(over);
                false
            }
            // Who made the task was not seen.
            (Some(TaskStep::Cancel(_)), _) | (Some(_), None) => {
                self.counters.not_calls += 1;
                false
            }
            (step, Some(task)) if follows && !task.over => {
                call.polls = u32::from(step.is_some());
                let gone = self.tasks.hold(task, call);
                self.counters.tasks_evicted += u64::from(gone.evicted.is_some());
                self.tell(gone.same.into_iter().chain(gone.evicted));
                true
            }
            (step, _) => {
                call.polls = u32::from(step.is_some());
                self.tell([call]);
                true
            }
        }
    }

    fn tell(&mut self, calls: impl IntoIterator<Item = ModelCall>) {
        for call in calls {
            self.counters.calls += 1;
            self.events.push(CallEvent::Finished(Box::new(call)));
        }
    }
}

fn model_call(
    open: Open,
    outcome: Outcome,
    first_chunk: Option<BootTime>,
    end: BootTime,
) -> ModelCall {
    let retry = open.attempt.map(|attempt| RetryHint {
        attempt,
        may_retry: outcome.may_retry && !open.last,
        within: outcome.within,
        fingerprint: open.fingerprint,
    });
    let in_message = open.request.mcp.as_ref();
    let in_message = in_message.and_then(|m| m.traceparent.as_deref());
    let in_message = in_message.and_then(propagation::of_traceparent);
    let Begun {
        exchange,
        connection,
        role,
        tid,
        start,
        propagated,
        stream: _,
    } = open.begun;
    ModelCall {
        exchange,
        connection,
        role,
        tid,
        operation: open.route.found.operation,
        api: open.route.found.api,
        provider: open.route.provider,
        server_address: open.route.address,
        server_port: open.route.port,
        peer: None,
        local: None,
        start,
        first_chunk,
        end,
        request: open.request,
        response: outcome.answer.response,
        error: outcome.answer.error,
        retry,
        polls: 0,
        propagated: propagated.or(in_message),
        defects: outcome.defects,
    }
}

impl ExchangeSink for Calls {
    fn half_seen(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        tid: u32,
        time: BootTime,
    ) -> Interest {
        if !self.has_room() {
            return Interest::Unwanted;
        }
        let begun = Begun {
            exchange: id,
            connection,
            role: self.role,
            tid,
            start: time,
            propagated: None,
            stream: None,
        };
        let open = Open::half_seen(begun, self.limits.text_bytes);
        self.open.insert(id, open);
        Interest::Wanted
    }

    fn expects_calls(&self, head: &RequestHead) -> bool {
        // The port does not matter to whose the host is.
        let host = head.host.as_deref().map(|h| hosts::split(h, 0).0);
        host.is_some_and(|host| hosts::provider(&host).is_some())
    }

    fn request_head(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        tid: u32,
        time: BootTime,
        head: &RequestHead,
    ) -> Interest {
        let told = self.told.of(connection.pid);
        let port = hosts::default_port(connection);
        let socket = Sockets::recognises(head);
        let route = recognise::route(head, port);
        if self.role == Role::Client && !socket && route.is_none() && !told {
            return Interest::Unwanted;
        }
        let begun = Begun {
            exchange: id,
            connection,
            role: self.role,
            tid,
            start: time,
            propagated: propagation::read(&head.headers),
            stream: head.stream,
        };
        let wanted = socket || route.is_some() || told;
        if !wanted || !self.has_room() {
            if self.role == Role::Server {
                self.events.push(CallEvent::Passed(Box::new(begun)));
            }
            return Interest::Unwanted;
        }
        if socket {
            self.events.push(CallEvent::Began(Box::new(begun.clone())));
            self.sockets.request(begun, head, port);
            return Interest::Wanted;
        }
        let Some(route) = route else {
            return self.begin_plain(begun, head);
        };
        self.events.push(CallEvent::Began(Box::new(begun.clone())));
        let plain = told.then(|| Plain::new(&begun, head));
        let open = Open::new(begun, head, route, plain, self.limits.text_bytes);
        self.open.insert(id, open);
        Interest::Wanted
    }

    fn request_body(&mut self, id: ExchangeId, missing: u64, bytes: &[u8]) {
        let limit = self.limits.body_bytes.min(self.left());
        if let Some(open) = self.open.get_mut(&id) {
            let more = open.request_body(missing, bytes, limit);
            open.held += more;
            self.held += more;
        }
    }

    fn request_end(&mut self, id: ExchangeId, _time: BootTime, defects: Defects) {
        if let Some(plain) = self.plain.get_mut(&id) {
            plain.defects.add(defects);
        } else {
            self.end_request(id, defects);
        }
    }

    fn response_head(&mut self, id: ExchangeId, _time: BootTime, head: &ResponseHead) -> Interest {
        if self.sockets.head(id, head) {
            return Interest::Wanted;
        }
        if let Some(plain) = self.plain.get_mut(&id) {
            plain.status = Some(head.status);
            return Interest::Outline;
        }
        match self.open.get_mut(&id) {
            Some(open) if open.verdict != Verdict::Other => {
                open.response.head(head);
                return Interest::Wanted;
            }
            Some(_) => {}
            None => return Interest::Unwanted,
        }
        self.counters.not_calls += 1;
        let open = self.open.remove(&id);
        match open.and_then(|open| self.not_a_call(open, Some(head.status))) {
            Some(plain) => {
                self.plain.insert(id, plain);
                Interest::Outline
            }
            None => {
                self.events.push(CallEvent::Over {
                    exchange: id,
                    told: false,
                });
                Interest::Unwanted
            }
        }
    }

    fn response_body(&mut self, id: ExchangeId, time: BootTime, missing: u64, bytes: &[u8]) {
        if self.sockets.body(id, missing, bytes) {
            return;
        }
        let left = self.left();
        let limit = self.limits.body_bytes.min(left);
        if let Some(open) = self.open.get_mut(&id) {
            let piece = Piece { missing, bytes };
            let more = open.response.body(&open.route, time, piece, limit);
            open.held += more;
            self.held += more;
        }
    }

    fn response_event(&mut self, id: ExchangeId, time: BootTime, event: SseEvent<'_>) {
        let left = self.left();
        if let Some(open) = self.open.get_mut(&id)
            && open.recognises(&event)
        {
            let more = open.response.event(&open.route, time, event, left);
            open.held += more;
            self.held += more;
        }
    }

    fn response_doubtful(&mut self, id: ExchangeId) {
        if let Some(open) = self.open.get_mut(&id) {
            open.response.doubt();
        }
    }

    fn response_end(&mut self, id: ExchangeId, time: BootTime, defects: Defects) {
        if let Some(refused) = self.sockets.end(id, time, defects) {
            // One that is accepted is no call: those come over what it opens.
            let told = refused.is_some();
            self.tell(refused);
            self.events.push(CallEvent::Over { exchange: id, told });
            return;
        }
        if let Some(plain) = self.plain.remove(&id) {
            self.finish_plain(plain, time, defects);
            return;
        }
        self.end_request(id, Defects::NONE);
        if let Some(open) = self.open.remove(&id) {
            self.finish(open, time, defects);
        }
    }
}

impl WebSocketSink for Calls {
    fn socket_opened(&mut self, id: ExchangeId, _time: BootTime) -> Interest {
        if self.sockets.opened(id, self.limits.text_bytes) {
            Interest::Wanted
        } else {
            Interest::Unwanted
        }
    }

    fn socket_half_seen(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        _tid: u32,
        _time: BootTime,
    ) -> Interest {
        if !self.has_room() {
            return Interest::Unwanted;
        }
        self.sockets.half_seen(id, connection, self.role);
        Interest::Wanted
    }

    fn socket_message(&mut self, id: ExchangeId, message: &Message<'_>) -> Interest {
        let (text, left) = (self.limits.text_bytes, self.left());
        let outcome = self.sockets.message(id, message, text, left);
        let unwanted = outcome.unwanted;
        self.counters.not_calls += u64::from(unwanted);
        self.of_socket(outcome);
        if unwanted {
            Interest::Unwanted
        } else {
            Interest::Wanted
        }
    }

    fn socket_gap(&mut self, id: ExchangeId, sender: Sender) {
        let outcome = self.sockets.gap(id, sender, self.left());
        self.of_socket(outcome);
    }

    fn socket_closed(&mut self, id: ExchangeId, time: BootTime, ending: Ending) {
        let (stopping, left) = (self.stopping, self.left());
        let outcome = self.sockets.closed(id, time, ending, stopping, left);
        self.of_socket(outcome);
    }
}
