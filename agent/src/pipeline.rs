//! Wires the pure stages: events in, spans out. No IO, no clock; a replay gives what the live run
//! gave.

use std::collections::{BTreeMap, VecDeque};

use core::net::SocketAddr;

use crate::model::call::{CallEvent, CallProgress};
use crate::model::defect::Defects;
use crate::model::event::{ConnectionId, Data, Direction, Event, Socket, SocketRole};
use crate::model::exchange::{
    ExchangeId, ExchangeSink, Interest, RequestHead, ResponseHead, SseEvent,
};
use crate::model::span::Span;
use crate::model::time::BootTime;
use crate::protocol::connection::Connection as Protocol;
use crate::protocol::detect::{self, Looks, Verdict};
use crate::protocol::{ExchangeIds, Role, http1, http2};
use crate::provider::{self, Calls};
use crate::stream::{self, Assembler, Piece};
use crate::trace::{self, Spans};

/// Bounds of what is held of calls under way.
pub use crate::provider::Limits;

/// Most connections followed at one time; beyond it the one that was silent longest is given up.
pub const MAX_CONNECTIONS: usize = 32_768;

/// Exchanges without a model call after which only the heads of a connection's requests are
/// asked for.
pub const UNWANTED_BEFORE_HEADS: u64 = 8;

/// Exchanges without a model call after which nothing more is asked for of an HTTP/2 connection:
/// of its header blocks none may be left out, because each may change what the next ones mean,
/// so that it is all or nothing, for good. A client keeps to one such connection for long and
/// lists models or checks health on it before it calls one; hence many.
pub const UNWANTED_BEFORE_NOTHING: u64 = 256;

/// The same for a connection that carried nothing but gRPC, on which no provider of ours speaks.
pub const GRPC_BEFORE_NOTHING: u64 = 16;

/// How long a record waits for one that should come before it, in nanoseconds.
pub const GAP_PATIENCE: u64 = 100_000_000;

/// What should be copied of a connection; told to the kernel by whoever runs the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyMode {
    /// Everything.
    Whole,
    /// The heads of requests.
    Heads,
    /// Nothing.
    Nothing,
}

/// What the pipeline met, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Data records taken.
    pub records: u64,
    /// Payload bytes taken.
    pub bytes: u64,
    /// Connections first seen.
    pub connections: u64,
    /// Connections given up because there were too many.
    pub connections_evicted: u64,
    /// Records of a connection that was over already.
    pub stale_records: u64,
    /// Connections of which only heads, or of HTTP/2 nothing, are copied since they carried no
    /// model calls.
    pub connections_without_calls: u64,
    /// Connections that carry HTTP/2.
    pub connections_http2: u64,
    /// Connections that carry something else.
    pub connections_not_http: u64,
    /// Connections on which the traced process is the server.
    pub connections_served: u64,
    /// Exchanges on those: they give no spans yet.
    pub exchanges_served: u64,
    /// Sums of the protocol stage over connections that are over.
    pub http1: http1::Counters,
    /// The same for HTTP/2.
    pub http2: http2::Counters,
    /// Sums of the stream stage over connections that are over.
    pub stream: stream::Counters,
}

/// One connection's stages.
struct Connection {
    id: ConnectionId,
    write: Assembler,
    read: Assembler,
    http: Protocol,
    /// Which end the process is was concluded: from its socket, or from the first bytes.
    decided: bool,
    peer: Option<SocketAddr>,
    mode: CopyMode,
    last: BootTime,
}

impl Connection {
    fn new(id: ConnectionId) -> Self {
        Self {
            id,
            write: Assembler::new(),
            read: Assembler::new(),
            http: Protocol::new(id, Role::Client),
            decided: false,
            peer: None,
            mode: CopyMode::Whole,
            last: BootTime(0),
        }
    }

    /// What its socket tells.
    fn socket(&mut self, socket: &Socket) {
        self.peer = socket.peer;
        match socket.role {
            SocketRole::Connected => self.decide(Role::Client),
            SocketRole::Accepted => self.decide(Role::Server),
            SocketRole::Unknown => {}
        }
    }

    /// From here on it is known which end the process is; unless it was before.
    fn decide(&mut self, role: Role) {
        if !self.decided {
            self.decided = true;
            if role != self.http.role() {
                self.http = Protocol::new(self.id, role);
            }
        }
    }

    /// Which way requests go.
    fn requests(&self) -> Direction {
        match self.http.role() {
            Role::Client => Direction::Write,
            Role::Server => Direction::Read,
        }
    }

    /// When the oldest record came that waits for another.
    fn waiting_since(&self) -> Option<BootTime> {
        [self.write.waiting_since(), self.read.waiting_since()]
            .into_iter()
            .flatten()
            .min()
    }
}

/// The pure core as a whole.
pub struct Pipeline {
    /// By process and address of the TLS object, so that a process's connections lie together.
    connections: BTreeMap<(u32, u64), Connection>,
    ids: ExchangeIds,
    calls: Calls,
    spans: Spans,
    modes: VecDeque<(ConnectionId, CopyMode)>,
    counters: Counters,
    now: BootTime,
}

impl Pipeline {
    /// A pipeline whose ids are drawn under `seed`.
    #[must_use]
    pub fn new(seed: u128, limits: Limits) -> Self {
        Self {
            connections: BTreeMap::new(),
            ids: ExchangeIds::default(),
            calls: Calls::new(limits),
            spans: Spans::new(seed),
            modes: VecDeque::new(),
            counters: Counters::default(),
            now: BootTime(0),
        }
    }

    /// Takes an event.
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Data(data) => self.data(data),
            Event::EndOfStream { connection, time } => {
                self.now = self.now.max(*time);
                if let Some(c) = self.connections.get_mut(&(connection.pid, connection.ssl))
                    && c.id == *connection
                {
                    flush(c, &mut self.ids, &mut self.calls);
                    match c.http.role() {
                        Role::Client => c.http.end_of_stream(*time, &mut self.calls),
                        Role::Server => c.http.end_of_stream(*time, &mut Unserved),
                    }
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
                    c.socket(socket);
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
                self.spans.process(facts);
            }
            Event::ProcessExit { pid, time } => {
                self.now = self.now.max(*time);
                self.close_all((*pid, 0)..=(*pid, u64::MAX), *time);
                self.calls.process_exit(*pid);
                self.hand_on();
                self.spans.process_exit(*pid);
            }
            Event::Clock { offset, .. } => self.spans.clock(*offset),
            Event::Tick { time } => {
                self.now = self.now.max(*time);
                self.flush_waiting(*time);
                self.give_up_stale(*time);
                self.calls.tick(*time);
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
        self.spans.flush();
    }

    /// The spans finished since the last time.
    pub fn spans(&mut self) -> impl Iterator<Item = Span> + '_ {
        self.spans.drain()
    }

    /// What should be copied of which connection, from now on.
    pub fn modes(&mut self) -> impl Iterator<Item = (ConnectionId, CopyMode)> + '_ {
        self.modes.drain(..)
    }

    /// The calls under way.
    #[must_use]
    pub fn progress(&self, now: BootTime) -> Vec<CallProgress> {
        self.calls.progress(now)
    }

    /// What the stages met so far: wiring, provider stage, trace stage.
    #[must_use]
    pub fn counters(&self) -> (Counters, provider::Counters, trace::Counters) {
        let mut sums = self.counters;
        for c in self.connections.values() {
            add_counters(&mut sums, c);
        }
        (sums, self.calls.counters(), self.spans.counters())
    }

    fn data(&mut self, data: &Data<'_>) {
        self.counters.records += 1;
        self.counters.bytes += data.bytes.len() as u64;
        self.now = self.now.max(data.time);
        let key = self.current(data.connection, data.time);
        let Some(c) = key.and_then(|key| self.connections.get_mut(&key)) else {
            return;
        };
        c.last = data.time;
        if !c.decided {
            // A client does not read requests.
            let requests = detect::request_line(data.bytes) == Looks::Yes
                || detect::http2_preface(data.bytes) == Looks::Yes;
            let served = data.direction == Direction::Read && requests;
            c.decide(if served { Role::Server } else { Role::Client });
        }
        if c.mode == CopyMode::Heads
            && data.direction == c.requests()
            && detect::request_line(data.bytes) == Looks::Yes
        {
            // The answers before it were not copied: nothing of them is to be waited for.
            add_counters(&mut self.counters, c);
            c.http = Protocol::new(c.id, c.http.role());
            c.write = Assembler::new();
            c.read = Assembler::new();
        }
        let before = c.http.verdict();
        feed(c, data, &mut self.ids, &mut self.calls);
        if c.http.verdict() == Verdict::Http2 && before != Verdict::Http2 {
            self.counters.connections_http2 += 1;
        }
        if let Some(mode) = wanted_mode(c) {
            c.mode = mode;
            self.modes.push_back((c.id, mode));
            match (mode, c.http.verdict()) {
                (CopyMode::Heads, _) | (CopyMode::Nothing, Verdict::Http2) => {
                    self.counters.connections_without_calls += 1;
                }
                (CopyMode::Nothing, _) => self.counters.connections_not_http += 1,
                (CopyMode::Whole, _) => {}
            }
        }
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
        let Some(c) = self.connections.get_mut(&key) else {
            return;
        };
        flush(c, &mut self.ids, &mut self.calls);
        match c.http.role() {
            Role::Client => c.http.closed(time, &mut self.calls),
            Role::Server => c.http.closed(time, &mut Unserved),
        }
        // While its peer is known.
        self.hand_on();
        if let Some(c) = self.connections.remove(&key) {
            add_counters(&mut self.counters, &c);
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
        for c in self.connections.values_mut() {
            if c.waiting_since()
                .is_some_and(|since| now.since(since) > GAP_PATIENCE)
            {
                flush(c, &mut self.ids, &mut self.calls);
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
                if let CallEvent::Finished(call) = &mut event {
                    let id = call.connection;
                    let connection = self.connections.get(&(id.pid, id.ssl));
                    call.peer = connection.filter(|c| c.id == id).and_then(|c| c.peer);
                }
                self.spans.call(event);
            }
        }
    }
}

/// Hands a record through assembler and protocol.
fn feed(c: &mut Connection, data: &Data<'_>, ids: &mut ExchangeIds, calls: &mut Calls) {
    let direction = data.direction;
    let assembler = match direction {
        Direction::Write => &mut c.write,
        Direction::Read => &mut c.read,
    };
    let http = &mut c.http;
    assembler.push(data, &mut |piece| hand(http, direction, piece, ids, calls));
}

/// Gives up waiting for records that did not come.
fn flush(c: &mut Connection, ids: &mut ExchangeIds, calls: &mut Calls) {
    let http = &mut c.http;
    c.write
        .flush(&mut |piece| hand(http, Direction::Write, piece, ids, calls));
    c.read
        .flush(&mut |piece| hand(http, Direction::Read, piece, ids, calls));
}

fn hand(
    http: &mut Protocol,
    direction: Direction,
    piece: Piece<'_>,
    ids: &mut ExchangeIds,
    calls: &mut Calls,
) {
    match http.role() {
        Role::Client => hand_to(http, direction, piece, ids, calls),
        Role::Server => hand_to(http, direction, piece, ids, &mut Unserved),
    }
}

fn hand_to(
    http: &mut Protocol,
    direction: Direction,
    piece: Piece<'_>,
    ids: &mut ExchangeIds,
    sink: &mut impl ExchangeSink,
) {
    match piece {
        Piece::Bytes { time, tid, bytes } => http.data(direction, time, tid, bytes, ids, sink),
        Piece::Gap {
            time,
            missing,
            reason,
        } => http.gap(direction, time, missing, reason, ids, sink),
    }
}

/// Takes the exchanges that the traced process serves: nobody wants them yet. They are counted by
/// the protocol stage.
struct Unserved;

impl ExchangeSink for Unserved {
    fn half_seen(&mut self, _: ExchangeId, _: ConnectionId, _: u32, _: BootTime) -> Interest {
        Interest::Unwanted
    }

    fn request_head(
        &mut self,
        _: ExchangeId,
        _: ConnectionId,
        _: u32,
        _: BootTime,
        _: &RequestHead,
    ) -> Interest {
        Interest::Unwanted
    }

    fn request_body(&mut self, _: ExchangeId, _: u64, _: &[u8]) {}

    fn request_end(&mut self, _: ExchangeId, _: BootTime, _: Defects) {}

    fn response_head(&mut self, _: ExchangeId, _: BootTime, _: &ResponseHead) -> Interest {
        Interest::Unwanted
    }

    fn response_body(&mut self, _: ExchangeId, _: BootTime, _: u64, _: &[u8]) {}

    fn response_event(&mut self, _: ExchangeId, _: BootTime, _: SseEvent<'_>) {}

    fn response_doubtful(&mut self, _: ExchangeId) {}

    fn response_end(&mut self, _: ExchangeId, _: BootTime, _: Defects) {}
}

/// The mode that a connection should be in, if that is another than it is in.
fn wanted_mode(c: &Connection) -> Option<CopyMode> {
    let seen = c.http.http1();
    let mode = match c.http.verdict() {
        Verdict::Switched | Verdict::NotHttp => CopyMode::Nothing,
        Verdict::Http2 => http2_mode(&c.http.http2(), c.mode),
        Verdict::Http1 if c.mode == CopyMode::Heads => {
            if seen.wanted > 0 {
                CopyMode::Whole
            } else {
                CopyMode::Heads
            }
        }
        Verdict::Http1 if seen.wanted == 0 && seen.exchanges >= UNWANTED_BEFORE_HEADS => {
            CopyMode::Heads
        }
        Verdict::Http1 | Verdict::Undecided => c.mode,
    };
    (mode != c.mode).then_some(mode)
}

/// The mode for a connection that carries HTTP/2. Requests that could not be read count for
/// neither side: they may have been calls.
const fn http2_mode(seen: &http2::Counters, mode: CopyMode) -> CopyMode {
    let only_grpc = seen.grpc == seen.exchanges && seen.grpc >= GRPC_BEFORE_NOTHING;
    let unwanted = seen.wanted == 0 && seen.unknown_heads == 0;
    if unwanted && (only_grpc || seen.exchanges >= UNWANTED_BEFORE_NOTHING) {
        CopyMode::Nothing
    } else {
        mode
    }
}

/// Adds a connection's counters to the sums.
fn add_counters(sums: &mut Counters, c: &Connection) {
    add_http2(&mut sums.http2, c.http.http2());
    let h = c.http.http1();
    if c.http.role() == Role::Server {
        sums.exchanges_served += h.exchanges + c.http.http2().exchanges;
    }
    let s = &mut sums.http1;
    s.exchanges += h.exchanges;
    s.wanted += h.wanted;
    s.half_seen += h.half_seen;
    s.unrequested += h.unrequested;
    s.malformed_heads += h.malformed_heads;
    s.malformed_bodies += h.malformed_bodies;
    s.resyncs += h.resyncs;
    s.resync_bytes += h.resync_bytes;
    s.lost_framings += h.lost_framings;
    s.unfollowed_bytes += h.unfollowed_bytes;
    s.stale += h.stale;
    s.overflowed += h.overflowed;
    for a in [c.write.counters(), c.read.counters()] {
        let s = &mut sums.stream;
        s.bytes += a.bytes;
        s.gaps += a.gaps;
        s.missing_bytes += a.missing_bytes;
        s.stale_bytes += a.stale_bytes;
        s.held += a.held;
        s.gave_up += a.gave_up;
        s.invalid += a.invalid;
    }
}

fn add_http2(s: &mut http2::Counters, h: http2::Counters) {
    s.exchanges += h.exchanges;
    s.wanted += h.wanted;
    s.grpc += h.grpc;
    s.half_seen += h.half_seen;
    s.unknown_heads += h.unknown_heads;
    s.unknown_fields += h.unknown_fields;
    s.pushed += h.pushed;
    s.resets += h.resets;
    s.malformed_frames += h.malformed_frames;
    s.malformed_heads += h.malformed_heads;
    s.oversized_heads += h.oversized_heads;
    s.resyncs += h.resyncs;
    s.resync_bytes += h.resync_bytes;
    s.overflowed += h.overflowed;
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "pipeline_http2_tests.rs"]
mod http2_tests;

#[cfg(test)]
#[path = "pipeline_socket_tests.rs"]
mod socket_tests;
