//! Wires the pure stages: events in, spans out. No IO, no clock; a replay gives what the live run
//! gave.

mod connection;
mod counters;
mod early;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use genspan_common::dispatch;

use crate::framework::{Engines, Runs, Workflows, dify, llama_index};
use crate::model::call::{CallEvent, CallProgress};
use crate::model::event::{ConnectionId, Data, Direction, Event};
use crate::model::framework::RunEvent;
use crate::model::function::CallName;
use crate::model::snapshot::Subject;
use crate::model::span::{Resource, Span};
use crate::model::stack::CallPath;
use crate::model::time::BootTime;
use crate::protocol::connection::Connection as Protocol;
use crate::protocol::detect::{self, Looks, Verdict};
use crate::protocol::{ExchangeIds, Role, http2};
use crate::provider::{self, Calls};
use crate::redact::{Redacted, Redactor};
use crate::stream::{Assembler, Piece};
use crate::trace::{self, Spans};
use crate::vocabulary::Names;
use connection::{Connection, wanted_mode};
use early::Waiting;

/// Bounds of what is held of calls under way.
pub use crate::provider::{HttpSpans, Limits};
pub use connection::{
    CopyMode, GRPC_BEFORE_NOTHING, UNWANTED_BEFORE_HEADS, UNWANTED_BEFORE_NOTHING,
};
pub use counters::Counters;
pub use early::{EARLY_PATIENCE, MAX_EARLY_BYTES, MAX_EARLY_RECORDS};

/// Most connections followed at one time; beyond it the one that was silent longest is given up.
pub const MAX_CONNECTIONS: usize = 32_768;

/// How long a record waits for one that should come before it, in nanoseconds.
pub const GAP_PATIENCE: u64 = 100_000_000;

/// What can be set of the pure core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bounds of what is held of calls under way.
    pub limits: Limits,
    /// Of which processes requests are told that are no model calls.
    pub http_spans: HttpSpans,
    /// Spans say how their parent was found.
    pub parent_source: bool,
    /// What attributes are called beside their names in the conventions.
    pub names: Names,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            http_spans: HttpSpans::default(),
            parent_source: true,
            names: Names::default(),
        }
    }
}

/// The pure core as a whole.
pub struct Pipeline {
    /// By process and address of the TLS object, so that a process's connections lie together.
    connections: BTreeMap<(u32, u64), Connection>,
    ids: ExchangeIds,
    calls: Calls,
    runs: Runs,
    dispatched: llama_index::Spans,
    engines: Engines,
    workflows: Workflows,
    spans: Spans,
    modes: VecDeque<(ConnectionId, CopyMode)>,
    /// Processes that made requests since they were asked for.
    callers: BTreeSet<u32>,
    counters: Counters,
    now: BootTime,
    /// The call path of what is written next over a connection.
    path: Option<(ConnectionId, Box<CallPath>)>,
    /// The generator or coroutine in which that is written.
    within: Option<(ConnectionId, CallName)>,
}

impl Pipeline {
    /// A pipeline whose ids are drawn under `seed`, with these bounds and otherwise as it is
    /// without being told.
    #[must_use]
    pub fn new(seed: u128, limits: Limits) -> Self {
        let settings = Settings {
            limits,
            ..Settings::default()
        };
        Self::with(seed, settings)
    }

    /// A pipeline whose ids are drawn under `seed`.
    #[must_use]
    pub fn with(seed: u128, settings: Settings) -> Self {
        let mut calls = Calls::new(settings.limits);
        calls.tell_requests(settings.http_spans);
        let mut spans = Spans::new(seed);
        spans.tell_source(settings.parent_source);
        spans.names(settings.names);
        Self {
            connections: BTreeMap::new(),
            ids: ExchangeIds::default(),
            calls,
            runs: Runs::default(),
            dispatched: llama_index::Spans::default(),
            engines: Engines::default(),
            workflows: Workflows::default(),
            spans,
            modes: VecDeque::new(),
            callers: BTreeSet::new(),
            counters: Counters::default(),
            now: BootTime(0),
            path: None,
            within: None,
        }
    }

    /// The same, redacting by these rules instead of the default ones.
    #[must_use]
    pub fn with_redactor(mut self, redactor: Redactor) -> Self {
        self.spans.redact(redactor);
        self
    }

    /// The resource of what a process does, as far as it is known.
    #[must_use]
    pub fn resource(&self, pid: u32) -> Option<Arc<Resource>> {
        self.spans.resource(pid)
    }

    /// Leaves out from here on the content of messages, and requests that are no model calls; or tells
    /// them again as they are asked for.
    pub fn shed(&mut self, content: bool, requests: bool) {
        self.spans.shed_content(content);
        self.calls.shed_requests(requests);
    }

    /// The latest time that an event told.
    #[must_use]
    pub const fn now(&self) -> BootTime {
        self.now
    }

    /// Takes an event.
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Data(data) => self.data(data),
            Event::Context {
                connection,
                direction,
                context,
                copies_lost,
                ..
            } => {
                let lineage = self.spans.lineage();
                if *copies_lost {
                    lineage.lost_copies();
                }
                lineage.flows(*connection, *direction, *context);
            }
            Event::ContextCopied {
                pid,
                tid,
                parent,
                child,
                within,
                copies_lost,
                ..
            } => {
                if *copies_lost {
                    self.spans.lineage().lost_copies();
                }
                self.spans.copied((*pid, *tid), *parent, *child, *within);
            }
            // Its frames are addresses in a process, and who can look there tells what they are.
            Event::Stack { .. } => {}
            Event::CallPath {
                connection, path, ..
            } => self.path = Some((*connection, path.clone())),
            Event::EndOfStream { connection, time } => {
                self.now = self.now.max(*time);
                let (connections, mut stages) = self.split();
                if let Some(c) = connections.get_mut(&(connection.pid, connection.ssl))
                    && c.id == *connection
                {
                    stages.flush(c);
                    let sink = stages.calls.of_role(c.http.role());
                    c.http.end_of_stream(*time, stages.ids, sink);
                }
            }
            Event::Socket {
                connection,
                socket,
                time,
            } => {
                self.now = self.now.max(*time);
                if let Some(key) = self.current(*connection, *time)
                    && let Some(c) = self.connections.get_mut(&key)
                {
                    c.told_of(socket);
                    self.spans.socket(*connection, socket);
                }
            }
            Event::Closed { connection, time } => {
                self.now = self.now.max(*time);
                let key = (connection.pid, connection.ssl);
                if self
                    .connections
                    .get(&key)
                    .is_some_and(|c| c.id == *connection)
                {
                    self.close(key, *time);
                }
            }
            Event::Process { facts, time } => {
                self.now = self.now.max(*time);
                self.calls.process(facts);
                self.spans.process(facts);
            }
            Event::ProcessExit { pid, time } => {
                self.now = self.now.max(*time);
                self.close_all((*pid, 0)..=(*pid, u64::MAX), *time);
                self.calls.process_exit(*pid);
                self.callers.remove(pid);
                self.hand_on();
                self.spans.functions_exit(*pid, *time);
                self.stop_runs(Some(*pid), *time);
                self.spans.process_exit(*pid);
            }
            Event::Function { facts, .. } => self.spans.function(facts),
            Event::FunctionBegan {
                call,
                depth,
                generator,
                within,
                context,
            } => {
                self.now = self.now.max(call.began);
                let id = self.ids.next();
                let depth = (!generator).then_some(*depth);
                self.spans
                    .function_began(id, *call, depth, (*within, *context));
            }
            Event::WriteWithin {
                connection, call, ..
            } => self.within = Some((*connection, *call)),
            Event::FunctionArgument {
                call, index, value, ..
            } => self.spans.function_argument(*call, *index, value),
            // Its memory is a process's, and who can look there tells what it is.
            Event::RawSnapshot(_) => {}
            Event::Snapshot(found) => {
                self.now = self.now.max(found.time);
                match found.subject {
                    Subject::Call(call) => self.spans.function_values(call, &found.values),
                    Subject::Hook { hook, .. } => {
                        let ids = &mut self.ids;
                        let mut out = Vec::new();
                        let hit = (hook, &**found);
                        if dify::is_one(hook) {
                            self.workflows.told(hit, || ids.next(), &mut out);
                            self.tell_runs(out);
                            return self.hand_on();
                        }
                        let spans = &self.spans;
                        let serves = |pid| spans.serves_models(pid);
                        let over = self.engines.told(hit, || ids.next(), serves, &mut out);
                        for (pid, request) in over {
                            self.spans.engine(pid, found.time, request);
                        }
                        self.tell_runs(out);
                    }
                    Subject::Run { .. } => {
                        let wanted = self.spans.tells_content(found.pid);
                        self.runs.values(found, wanted);
                    }
                    Subject::Counts { hook, .. } => {
                        if dispatch::hook::is_one(hook) {
                            self.dispatched.counts(found);
                        } else {
                            self.runs.counts(found);
                        }
                    }
                    Subject::Span { .. } => {
                        let wanted = self.spans.tells_content(found.pid);
                        self.dispatched.values(found, wanted);
                    }
                }
            }
            Event::FunctionEnded { call, how, time } => {
                self.now = self.now.max(*time);
                self.spans.function_ended(*call, how, *time);
            }
            Event::Run(hit) => {
                self.now = self.now.max(hit.time);
                let ids = &mut self.ids;
                let mut out = Vec::new();
                self.runs.hit(hit, || ids.next(), &mut out);
                self.dispatched.raised(hit, &mut out);
                self.tell_runs(out);
            }
            Event::Span(hit) => {
                self.now = self.now.max(hit.time);
                let ids = &mut self.ids;
                let mut out = Vec::new();
                self.dispatched.hit(hit, || ids.next(), &mut out);
                self.tell_runs(out);
            }
            Event::Clock { offset, .. } => self.spans.clock(*offset),
            Event::Tick { time } => {
                self.now = self.now.max(*time);
                self.flush_waiting(*time);
                self.give_up_stale(*time);
                self.calls.tick(*time);
                if !self.runs.is_empty() {
                    let mut out = Vec::new();
                    self.runs.tick(*time, &mut out);
                    self.tell_runs(out);
                }
                if !self.dispatched.is_settled() {
                    let mut out = Vec::new();
                    self.dispatched.tick(*time, &mut out);
                    self.tell_runs(out);
                }
                if !self.workflows.is_settled() {
                    let mut out = Vec::new();
                    self.workflows.tick(*time, &mut out);
                    self.tell_runs(out);
                }
                self.spans.tick(*time);
            }
        }
        self.hand_on();
    }

    /// Nothing more will come: what is under way is told as far as it was seen.
    pub fn finish(&mut self) {
        self.calls.stopping();
        self.close_all((0, 0)..=(u32::MAX, u64::MAX), self.now);
        self.calls.flush();
        self.hand_on();
        self.spans.functions_stop(self.now);
        self.stop_runs(None, self.now);
        self.spans.flush();
    }

    fn tell_runs(&mut self, events: Vec<RunEvent>) {
        for event in events {
            self.spans.run(event);
        }
    }

    /// The runs of a process, or of all, do not end any more.
    fn stop_runs(&mut self, pid: Option<u32>, time: BootTime) {
        let mut out = Vec::new();
        self.runs.stop(pid, time, &mut out);
        self.dispatched.stop(pid, time, &mut out);
        self.engines.stop(pid, time, &mut out);
        self.workflows.stop(pid, time, &mut out);
        self.tell_runs(out);
    }

    /// The spans finished since the last time.
    pub fn spans(&mut self) -> impl Iterator<Item = Span> + '_ {
        self.spans.drain()
    }

    /// What should be copied of which connection, from now on.
    pub fn modes(&mut self) -> impl Iterator<Item = (ConnectionId, CopyMode)> + '_ {
        self.modes.drain(..)
    }

    /// The processes that made a request, of whatever kind, since this was asked last.
    pub fn callers(&mut self) -> impl Iterator<Item = u32> + use<> {
        std::mem::take(&mut self.callers).into_iter()
    }

    /// The calls under way.
    #[must_use]
    pub fn progress(&self, now: BootTime) -> Vec<CallProgress> {
        let mut calls = self.calls.progress(now);
        for model in calls.iter_mut().filter_map(|c| c.model.as_mut()) {
            let shown = self.spans.redactor().peek(model);
            if let Some(shown) = shown {
                *model = shown;
            }
        }
        calls
    }

    /// What was redacted so far, by rule.
    #[must_use]
    pub fn redacted(&self) -> Vec<Redacted> {
        self.spans.redacted()
    }

    /// What the stages met so far: wiring, provider stage, trace stage.
    #[must_use]
    pub fn counters(&self) -> (Counters, provider::Counters, trace::Counters) {
        let mut sums = self.counters;
        sums.runs_refused = self.runs.refused
            + self.dispatched.refused
            + self.engines.refused()
            + self.workflows.refused;
        sums.run_contents_refused =
            self.runs.contents_refused() + self.dispatched.contents_refused();
        for c in self.connections.values() {
            counters::add(&mut sums, c);
        }
        (sums, self.calls.counters(), self.spans.counters())
    }

    fn data(&mut self, data: &Data<'_>) {
        self.counters.records += 1;
        self.counters.bytes += data.bytes.len() as u64;
        self.now = self.now.max(data.time);
        let Some(key) = self.current(data.connection, data.time) else {
            return;
        };
        self.spans.lineage().moved(data.connection.pid, data.tid);
        let path = self.path.take();
        let within = self.within.take();
        let first = self.ids.upcoming();
        let (connections, mut stages) = self.split();
        let Some(c) = connections.get_mut(&key) else {
            return;
        };
        c.last = data.time;
        if !c.decided {
            // A client does not read requests; a server of HTTP/2 may speak before it read one.
            let served = match data.direction {
                Direction::Read => {
                    detect::request_line(data.bytes) == Looks::Yes
                        || detect::http2_preface(data.bytes) == Looks::Yes
                }
                Direction::Write => http2::is_server_preface(data.bytes),
            };
            c.decide(if served { Role::Server } else { Role::Client });
        }
        if c.http.role() == Role::Server {
            stages.take(c, data);
        } else if data.direction == Direction::Write {
            let (before, after) = c.early.written(data);
            stages.take_all(c, &before);
            stages.take(c, data);
            stages.take_all(c, &after);
        } else if c.early.waits(data) {
            let over = c.early.hold(data);
            stages.counters.records_early += 1;
            stages.take_all(c, &over);
        } else {
            stages.take(c, data);
        }
        let client = c.http.role() == Role::Client;
        let one_at_a_time = matches!(c.http.verdict(), Verdict::Http1);
        // Only of these it is known which request is answered: of several at a time, as over
        // HTTP/2, nobody says, and a WebSocket answers when it likes.
        if c.http.role() == Role::Server
            && data.direction == Direction::Write
            && matches!(c.http.verdict(), Verdict::Http1 | Verdict::Switched)
        {
            // Before what the answer ends is told.
            self.spans.answers(data.connection);
        }
        if client && self.ids.upcoming() != first {
            self.callers.insert(data.connection.pid);
        }
        // Where several requests share a connection, one task may write the bytes of another.
        if let Some((connection, call)) = within
            && connection == data.connection
            && data.direction == Direction::Write
            && one_at_a_time
            && self.ids.upcoming() != first
        {
            self.spans.within(first, call);
        }
        // Of the request that this record begins, if it begins one.
        if let Some((connection, path)) = path
            && connection == data.connection
            && data.direction == Direction::Write
            && self.ids.upcoming() != first
        {
            self.spans.call_path(first, path);
        }
    }

    /// The connections, and the stages behind them.
    fn split(&mut self) -> (&mut BTreeMap<(u32, u64), Connection>, Stages<'_>) {
        let stages = Stages {
            ids: &mut self.ids,
            calls: &mut self.calls,
            modes: &mut self.modes,
            counters: &mut self.counters,
        };
        (&mut self.connections, stages)
    }

    /// Makes sure that the connection with this id is there, and gives its key; none when it is
    /// over already.
    fn current(&mut self, id: ConnectionId, time: BootTime) -> Option<(u32, u64)> {
        let key = (id.pid, id.ssl);
        match self.connections.get(&key) {
            Some(c) if c.id == id => {}
            Some(c) if c.id.generation > id.generation => {
                self.counters.stale_records += 1;
                return None;
            }
            Some(_) => {
                // The kernel forgot the connection, or its end was lost.
                self.close(key, time);
                self.open(key, id);
            }
            None => self.open(key, id),
        }
        Some(key)
    }

    fn open(&mut self, key: (u32, u64), id: ConnectionId) {
        if self.connections.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self
                .connections
                .values()
                .min_by_key(|c| c.last)
                .map(|c| c.id)
        {
            self.counters.connections_evicted += 1;
            self.close((oldest.pid, oldest.ssl), self.now);
        }
        self.counters.connections += 1;
        self.connections.insert(key, Connection::new(id));
    }

    fn close(&mut self, key: (u32, u64), time: BootTime) {
        let (connections, mut stages) = self.split();
        let Some(c) = connections.get_mut(&key) else {
            return;
        };
        stages.flush(c);
        let sink = stages.calls.of_role(c.http.role());
        c.http.closed(time, stages.ids, sink);
        // While its peer is known.
        self.hand_on();
        if let Some(c) = self.connections.remove(&key) {
            counters::add(&mut self.counters, &c);
            self.spans.closed(c.id);
            if c.http.role() == Role::Server {
                self.counters.connections_served += 1;
            }
        }
    }

    fn close_all(&mut self, range: std::ops::RangeInclusive<(u32, u64)>, time: BootTime) {
        let keys: Vec<_> = self.connections.range(range).map(|(k, _)| *k).collect();
        for key in keys {
            self.close(key, time);
        }
    }

    fn flush_waiting(&mut self, now: BootTime) {
        let (connections, mut stages) = self.split();
        for c in connections.values_mut() {
            let over = c.early.due(now);
            stages.take_all(c, &over);
            if c.waiting_since()
                .is_some_and(|since| now.since(since) > GAP_PATIENCE)
            {
                stages.flush(c);
            }
        }
    }

    fn give_up_stale(&mut self, now: BootTime) {
        for c in self.connections.values_mut() {
            c.http.tick(now, &mut self.calls);
        }
    }

    fn hand_on(&mut self) {
        if self.calls.has_events() {
            for mut event in self.calls.drain() {
                let id = match &event {
                    CallEvent::Finished(call) => Some(call.connection),
                    CallEvent::Requested(request) => Some(request.begun.connection),
                    _ => None,
                };
                let connection = id.and_then(|id| {
                    let connection = self.connections.get(&(id.pid, id.ssl));
                    connection.filter(|c| c.id == id)
                });
                let socket = connection.and_then(|c| c.socket);
                let peer = socket.and_then(|s| s.peer);
                let local = socket.and_then(|s| s.local);
                match &mut event {
                    CallEvent::Finished(call) => (call.peer, call.local) = (peer, local),
                    CallEvent::Requested(request) => {
                        (request.peer, request.local) = (peer, local);
                        request.http2 =
                            connection.is_some_and(|c| c.http.verdict() == Verdict::Http2);
                    }
                    _ => {}
                }
                self.spans.call(event);
            }
        }
    }
}

/// The stages behind a connection.
struct Stages<'a> {
    ids: &'a mut ExchangeIds,
    calls: &'a mut Calls,
    modes: &'a mut VecDeque<(ConnectionId, CopyMode)>,
    counters: &'a mut Counters,
}

impl Stages<'_> {
    /// Hands a record through assembler and protocol; then says what should be copied, if that
    /// has changed.
    fn take(&mut self, c: &mut Connection, data: &Data<'_>) {
        if c.mode == CopyMode::Heads
            && data.direction == c.requests()
            && detect::request_line(data.bytes) == Looks::Yes
        {
            // The answers before it were not copied: nothing of them is to be waited for.
            counters::add(self.counters, c);
            c.http = Protocol::new(c.id, c.http.role());
            c.write = Assembler::new();
            c.read = Assembler::new();
        }
        let before = c.http.verdict();
        self.feed(c, data);
        let now = c.http.verdict();
        self.counters.connections_http2 += u64::from(now != before && now == Verdict::Http2);
        self.counters.connections_websocket +=
            u64::from(now != before && now == Verdict::WebSocket);
        if let Some(mode) = wanted_mode(c, self.calls.tells_requests(c.id.pid)) {
            c.mode = mode;
            self.modes.push_back((c.id, mode));
            match (mode, c.http.verdict()) {
                (CopyMode::Heads | CopyMode::Outline, _) | (CopyMode::Nothing, Verdict::Http2) => {
                    self.counters.connections_without_calls += 1;
                }
                (CopyMode::Nothing, _) => self.counters.connections_not_http += 1,
                (CopyMode::Whole, _) => {}
            }
        }
    }

    /// The same for records that have waited.
    fn take_all(&mut self, c: &mut Connection, waiting: &[Waiting]) {
        for record in waiting {
            self.take(c, &record.data(c.id));
        }
    }

    fn feed(&mut self, c: &mut Connection, data: &Data<'_>) {
        let direction = data.direction;
        let assembler = match direction {
            Direction::Write => &mut c.write,
            Direction::Read => &mut c.read,
        };
        let http = &mut c.http;
        assembler.push(data, &mut |piece| {
            hand(http, direction, piece, self.ids, self.calls);
        });
    }

    /// Gives up waiting for records that did not come.
    fn flush(&mut self, c: &mut Connection) {
        let waiting = c.early.release();
        self.take_all(c, &waiting);
        let http = &mut c.http;
        c.write.flush(&mut |piece| {
            hand(http, Direction::Write, piece, self.ids, self.calls);
        });
        c.read.flush(&mut |piece| {
            hand(http, Direction::Read, piece, self.ids, self.calls);
        });
    }
}

fn hand(
    http: &mut Protocol,
    direction: Direction,
    piece: Piece<'_>,
    ids: &mut ExchangeIds,
    calls: &mut Calls,
) {
    let sink = calls.of_role(http.role());
    match piece {
        Piece::Bytes { time, tid, bytes } => http.data(direction, time, tid, bytes, ids, sink),
        Piece::Gap {
            time,
            missing,
            reason,
        } => http.gap(direction, time, missing, reason, ids, sink),
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "pipeline_early_tests.rs"]
mod early_tests;

#[cfg(test)]
#[path = "pipeline_http2_tests.rs"]
mod http2_tests;

#[cfg(test)]
#[path = "pipeline_websocket_tests.rs"]
mod websocket_tests;

#[cfg(test)]
#[path = "pipeline_socket_tests.rs"]
mod socket_tests;

#[cfg(test)]
#[path = "pipeline_path_tests.rs"]
mod path_tests;
#[cfg(test)]
#[path = "pipeline_plain_tests.rs"]
mod plain_tests;
