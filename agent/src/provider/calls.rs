//! The stage: takes exchanges, gives calls.

use super::hosts;
use super::limits::{Counters, Limits};
use super::open::{Begun, Open, Verdict};
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
use crate::model::time::BootTime;
use crate::model::websocket::{Ending, Message, Sender, WebSocketSink};
use std::collections::HashMap;

/// The provider stage.
#[derive(Debug)]
pub struct Calls {
    /// Of the exchanges that begin from now on.
    role: Role,
    limits: Limits,
    open: HashMap<ExchangeId, Open>,
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
            tasks: Tasks::default(),
            sockets: Sockets::default(),
            held: 0,
            events: Vec::new(),
            counters: Counters::default(),
            stopping: false,
        }
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

    /// Whether this exchange is under way and known to be a call.
    #[must_use]
    pub fn is_call(&self, id: ExchangeId) -> bool {
        let open = self.open.get(&id);
        open.is_some_and(|o| o.verdict == Verdict::Call)
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

    fn begun(&self, id: ExchangeId, connection: ConnectionId, tid: u32, start: BootTime) -> Begun {
        Begun {
            id,
            connection,
            role: self.role,
            tid,
            start,
        }
    }

    /// How many more bytes may be held.
    fn left(&self) -> usize {
        self.limits.held_bytes.saturating_sub(self.held)
    }

    fn is_full(&self) -> bool {
        self.open_calls() >= self.limits.open_calls
    }

    /// What came of something that happened on a WebSocket.
    fn of_socket(&mut self, outcome: sockets::Outcome) {
        self.held = self.held.saturating_add_signed(outcome.held);
        self.tell(outcome.calls);
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

    fn finish(&mut self, mut open: Open, time: BootTime, defects: Defects) {
        self.held = self.held.saturating_sub(open.held);
        open.recognise_document();
        let response = std::mem::replace(&mut open.response, super::response::Response::new(0));
        let status = response.status();
        let first_chunk = response.first_chunk().filter(|_| !open.half);
        let end = response.over().unwrap_or(time);
        let mut outcome = response.finish(&open.route, defects.with(open.defects), self.stopping);
        self.over_limit(outcome.dropped);
        let pid = open.connection.pid;
        let role = open.role;
        let step = open.route.found.task.take();
        // Who serves tasks serves each request for itself.
        let follows = role == Role::Client;
        let followed = follows && step.as_ref().is_some_and(|s| self.tasks.knows(pid, s));
        let known = match open.verdict {
            _ if followed => true,
            _ if !follows && step.is_some() => false,
            Verdict::Call => true,
            Verdict::Other => false,
            Verdict::Unknown if open.half => false,
            Verdict::Unknown => !outcome.foreign && status.is_some(),
        };
        if !known {
            self.counters.not_calls += 1;
            return;
        }
        if status.is_some_and(|s| (300..400).contains(&s)) {
            self.counters.redirects += 1;
            return;
        }
        let task = outcome.answer.task.take();
        let mut call = model_call(open, outcome, first_chunk, end);
        match (step, task) {
            (Some(step), task) if followed => {
                let over = self.tasks.step(&step, task.as_ref(), call);
                self.tell(over);
            }
            // Who made the task was not seen.
            (Some(TaskStep::Cancel(_)), _) | (Some(_), None) => self.counters.not_calls += 1,
            (step, Some(task)) if follows && !task.over => {
                call.polls = u32::from(step.is_some());
                let evicted = self.tasks.hold(task, call);
                self.counters.tasks_evicted += u64::from(evicted.is_some());
                self.tell(evicted);
            }
            (step, _) => {
                call.polls = u32::from(step.is_some());
                self.tell([call]);
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
        may_retry: outcome.may_retry,
        within: outcome.within,
        fingerprint: open.fingerprint,
    });
    let in_message = open.request.mcp.as_ref();
    let in_message = in_message.and_then(|m| m.traceparent.clone());
    ModelCall {
        exchange: open.id,
        connection: open.connection,
        role: open.role,
        tid: open.tid,
        operation: open.route.found.operation,
        api: open.route.found.api,
        provider: open.route.provider,
        server_address: open.route.address,
        server_port: open.route.port,
        peer: None,
        local: None,
        start: open.start,
        first_chunk,
        end,
        request: open.request,
        response: outcome.answer.response,
        error: outcome.answer.error,
        retry,
        polls: 0,
        traceparent: open.traceparent.or(in_message),
        parent: None,
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
        if self.is_full() {
            self.counters.refused += 1;
            return Interest::Unwanted;
        }
        let begun = self.begun(id, connection, tid, time);
        let open = Open::half_seen(begun, self.limits.text_bytes);
        self.open.insert(id, open);
        Interest::Wanted
    }

    fn request_head(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        tid: u32,
        time: BootTime,
        head: &RequestHead,
    ) -> Interest {
        let port = if connection.is_socket() {
            hosts::PLAIN_PORT
        } else {
            hosts::TLS_PORT
        };
        let socket = Sockets::recognises(head);
        let route = recognise::route(head, port);
        if !socket && route.is_none() {
            return Interest::Unwanted;
        }
        if self.is_full() {
            self.counters.refused += 1;
            return Interest::Unwanted;
        }
        if socket {
            let begun = self.begun(id, connection, tid, time);
            self.sockets.request(begun, head, port);
        }
        let Some(route) = route.filter(|_| !socket) else {
            return Interest::Wanted;
        };
        let text = self.limits.text_bytes;
        let begun = self.begun(id, connection, tid, time);
        let open = Open::new(begun, head, route, text);
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
        self.end_request(id, defects);
    }

    fn response_head(&mut self, id: ExchangeId, _time: BootTime, head: &ResponseHead) -> Interest {
        if self.sockets.head(id, head) {
            return Interest::Wanted;
        }
        match self.open.get_mut(&id) {
            Some(open) if open.verdict != Verdict::Other => {
                open.response.head(head);
                Interest::Wanted
            }
            _ => Interest::Unwanted,
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
            self.tell(refused);
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
        if self.is_full() {
            self.counters.refused += 1;
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
        self.sockets.gap(id, sender);
    }

    fn socket_closed(&mut self, id: ExchangeId, time: BootTime, ending: Ending) {
        let (stopping, left) = (self.stopping, self.left());
        let outcome = self.sockets.closed(id, time, ending, stopping, left);
        self.of_socket(outcome);
    }
}
