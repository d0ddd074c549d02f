//! Whose child a span is.
//!
//! The rules, the first that says something counts. A parent that may be the wrong one is none.
//!
//! | Span of a request | Parent | Called |
//! | --- | --- | --- |
//! | served | the span of the same request at its client's, when that is traced too ([`ends`]) | `connection` |
//! | served | the span that the request's headers name | `traceparent`, `b3` |
//! | made | the served request whose headers it passes on unchanged | `passed_on` |
//! | made | the span that the request's headers name | `traceparent`, `b3` |
//! | made, of a model run | it is that run, being its first request and a model call ([`runs`]) | as the run's |
//! | made | the innermost run of a framework, or function, that its thread is in, or the coroutine that it is made in, or its context, unless the request that the next rules tell began within that ([`calls`]) | `run`, `function` |
//! | made, or a function's call | the served request for which the Python context was made that it was made in ([`lineage`]) | `context` |
//! | made, or a function's call, in a thread of a pool | the same of the context in which the pool was given the work, or the request that the thread was handling which gave it | `submitted` |
//! | made, or a function's call | the served request that its thread is handling, and no other ([`threads`]) | `thread` |
//! | a run | the run whose id it names; else as a request that is made | `run` |
//! | a function's call | as a request that is made; else, if its context says nothing, the request to which something belongs that was made in it ([`functions`]) | `context` |
//!
//! Where the context says that a request was made for nobody who can be named, the thread is not
//! asked.
//!
//! Who is whose parent may become known after a span began: the other end's first bytes may come
//! later, or its address may. So links are kept, and what they come to is settled when the first
//! span that depends on it is told.

mod calls;
mod copies;
mod ends;
mod functions;
mod inside;
pub mod lineage;
mod runs;
mod threads;

#[cfg(test)]
mod tests;

use super::ids;
use crate::model::event::{ConnectionId, Socket};
use crate::model::exchange::{ExchangeId, Role};
use crate::model::propagated::{Format, Propagated};
use crate::model::request::Begun;
use crate::model::time::BootTime;
use calls::Calls;
use ends::Ends;
use inside::{Asked, Enclosing};
use lineage::{Found, Lineage};
pub use runs::Run;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use threads::Threads;

/// Requests under way, or not told yet, that are followed; spans of more have the parent that
/// their headers name, and no other.
pub const MAX_FOLLOWED: usize = 65_536;

/// Served requests whose span was told that are remembered, for what is made for them later.
pub const MAX_PAST: usize = 32_768;

/// Runs of frameworks whose span was told that are remembered, for what they left running.
pub const MAX_ENDED: usize = 8192;

/// How long a chain of links is followed to see whether one of them is not known yet.
const MAX_CHAIN: usize = 16;

/// How a parent was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The request's `traceparent`.
    Traceparent,
    /// The request's `b3` headers.
    B3,
    /// The request carries the trace context of a request that the process is serving.
    PassedOn,
    /// The other end of the same connection.
    Connection,
    /// The Python context that it was made in was made for that request.
    Context,
    /// It was made in a thread of a pool, for work that was given to that for this request.
    Submitted,
    /// The thread was handling that request, and no other.
    Thread,
    /// The thread was in that function.
    Function,
    /// It is part of that run of a framework.
    Run,
}

impl Source {
    /// Its name, as spans tell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traceparent => "traceparent",
            Self::B3 => "b3",
            Self::PassedOn => "passed_on",
            Self::Connection => "connection",
            Self::Context => "context",
            Self::Submitted => "submitted",
            Self::Thread => "thread",
            Self::Function => "function",
            Self::Run => "run",
        }
    }
}

impl From<Format> for Source {
    fn from(format: Format) -> Self {
        match format {
            Format::Traceparent => Self::Traceparent,
            Format::B3 => Self::B3,
        }
    }
}

/// Where a span stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Trace.
    pub trace: u128,
    /// The span itself.
    pub span: u64,
    /// The span that it belongs to, and how that was found.
    pub parent: Option<(u64, Source)>,
    /// `tracestate` of the trace.
    pub state: Option<String>,
    /// The application that it is done in, where that is a service of its own.
    pub application: Option<Arc<str>>,
}

/// A request that is followed.
#[derive(Debug)]
struct Node {
    begun: Begun,
    /// Of a served request: the same one at its client's; and the other way round.
    other_end: Option<ExchangeId>,
    /// Of one that was made: the served request that it belongs to.
    within: Option<(ExchangeId, Source)>,
    /// It is another attempt of this one.
    attempt_of: Option<ExchangeId>,
    /// It is no request but a run of a framework.
    run: Option<Run>,
    /// It is the run of an application that is a service of its own: the application.
    application: Option<Arc<str>>,
    /// It is what this run did: they are one span.
    merged: Option<ExchangeId>,
    /// Those whose place depends on this one's.
    dependents: Vec<ExchangeId>,
    /// Settled: nothing that becomes known later changes it.
    place: Option<Place>,
    /// No span comes of it: nothing can be its child.
    untold: bool,
    /// Being settled: one that comes back here goes in a circle.
    settling: bool,
}

impl Node {
    /// On what its place depends, and by which rule; by none when they are one span.
    fn link(&self) -> Option<(ExchangeId, Option<Source>)> {
        if let Some(first) = self.attempt_of {
            return Some((first, None));
        }
        let carries = self.begun.propagated.is_some();
        if let Some(run) = self.merged.filter(|_| !carries) {
            return Some((run, None));
        }
        match self.begun.role {
            Role::Server => self.other_end.map(|id| (id, Some(Source::Connection))),
            Role::Client => {
                // What a message carries is known only after its thread or context was asked.
                let link = self.within;
                let link = link.filter(|(_, source)| !carries || *source == Source::PassedOn);
                link.map(|(id, source)| (id, Some(source)))
            }
        }
    }
}

/// The requests that spans may have as parents.
#[derive(Debug)]
pub struct Parents {
    seed: u128,
    nodes: HashMap<ExchangeId, Node>,
    lineage: Lineage,
    /// Those of which the lineage may yet say to what they belong, by process.
    waiting: BTreeSet<(u32, ExchangeId)>,
    /// Served requests that were told, of processes whose contexts are known.
    past: BTreeMap<ExchangeId, (u32, Place)>,
    /// Runs that were told.
    ended: BTreeMap<ExchangeId, (u32, Place)>,
    threads: Threads,
    calls: Calls,
    ends: Ends,
    /// Requests that were not followed because there were too many.
    pub refused: u64,
}

impl Parents {
    /// Ids are drawn under `seed`.
    #[must_use]
    pub fn new(seed: u128) -> Self {
        Self {
            seed,
            nodes: HashMap::new(),
            lineage: Lineage::default(),
            waiting: BTreeSet::new(),
            past: BTreeMap::new(),
            ended: BTreeMap::new(),
            threads: Threads::default(),
            calls: Calls::default(),
            ends: Ends::default(),
            refused: 0,
        }
    }

    /// What a process runs is known: a Python, of which its threads say something, or another program.
    pub fn process(&mut self, pid: u32, is_python: bool) {
        self.threads.process(pid, is_python);
    }

    /// A request began. Gives the served request of which this showed the other end, as does
    /// [`Parents::socket`].
    pub fn began(&mut self, begun: Begun) -> Option<ExchangeId> {
        if self.nodes.len() >= MAX_FOLLOWED {
            self.refused += 1;
            if begun.role == Role::Server {
                // What is made for it must not be taken for another's.
                self.passed(&begun);
            }
            return None;
        }
        let id = begun.exchange;
        let mut within = None;
        match begun.role {
            Role::Client => {
                self.lineage.calls(id, begun.connection, begun.tid);
                match self.enclosing(&begun, Asked::Request) {
                    Enclosing::Request(served, source) => within = Some((served, source)),
                    Enclosing::Later => {
                        let pid = begun.connection.pid;
                        self.waiting.insert((pid, id));
                        within = self.inside(&begun, Asked::Request);
                    }
                    Enclosing::Nobody => {}
                }
            }
            Role::Server => {
                self.lineage.asked(id, begun.connection, begun.tid);
                if self.threads.serves(&begun) {
                    self.unthread(&begun);
                }
            }
        }
        let (connection, stream) = (begun.connection, begun.stream);
        self.insert(begun, within);
        if let Some((parent, source)) = within {
            self.depend(id, parent);
            if source == Source::Run {
                self.requested(id, parent);
            }
        }
        if let Some((function, Source::Function)) = within
            && let Found::Request(served) = self.lineage.of_call(id)
        {
            self.adopt(function, served);
        }
        self.ends.began(connection, (id, stream));
        self.pair(connection, id)
    }

    /// A request began that is served, and of which nothing will be told: what is made for it
    /// must not be taken for another's.
    pub fn passed(&mut self, begun: &Begun) {
        self.lineage
            .asked(begun.exchange, begun.connection, begun.tid);
    }

    /// What is told of the contexts of Python processes goes here, in order with the bytes.
    pub fn lineage(&mut self) -> &mut Lineage {
        &mut self.lineage
    }

    /// What of contexts was forgotten because there was too much.
    #[must_use]
    pub const fn contexts_evicted(&self) -> u64 {
        self.lineage.counters().evicted
    }

    /// Something is written to the client of a served connection, on which requests are answered
    /// one after the other. Gives whether spans need not wait any longer because of it, as do
    /// [`Parents::over`] and [`Parents::closed`].
    pub fn answers(&mut self, connection: ConnectionId) -> bool {
        self.lineage.answers(connection) && self.look(connection.pid)
    }

    /// Looks again at the requests of a process of which it was not known to what they belong.
    fn look(&mut self, pid: u32) -> bool {
        let all = self.waiting.range(every(pid)).copied();
        let mut any = false;
        for (_, id) in all.collect::<Vec<_>>() {
            match self.lineage.of_call(id) {
                Found::Later => continue,
                Found::Request(served) => self.belongs(id, served),
                Found::Nobody | Found::Unknown => {}
            }
            self.waiting.remove(&(pid, id));
            any = true;
        }
        any
    }

    /// It became known to which served request one belongs.
    fn belongs(&mut self, id: ExchangeId, served: ExchangeId) {
        let Some(node) = self.nodes.get(&id).filter(|node| node.place.is_none()) else {
            return;
        };
        if let Some((function, Source::Function)) = node.within
            && !self.is_later(served, function)
        {
            self.adopt(function, served);
            return;
        }
        if matches!(node.within, Some((_, Source::Run))) {
            return;
        }
        self.put(id, served, self.by_context(id));
    }

    fn insert(&mut self, begun: Begun, within: Option<(ExchangeId, Source)>) {
        self.nodes.insert(
            begun.exchange,
            Node {
                begun,
                other_end: None,
                within,
                attempt_of: None,
                run: None,
                application: None,
                merged: None,
                dependents: Vec::new(),
                place: None,
                untold: false,
                settling: false,
            },
        );
    }

    fn start(&self, id: ExchangeId) -> Option<BootTime> {
        self.nodes.get(&id).map(|node| node.begun.start)
    }

    /// Whether a request began within a function that is under way.
    fn is_later(&self, served: ExchangeId, function: ExchangeId) -> bool {
        self.start(served) > self.start(function)
    }

    fn put(&mut self, id: ExchangeId, within: ExchangeId, source: Source) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.within = Some((within, source));
            self.depend(id, within);
        }
    }

    /// A thread turned out to serve several requests at a time: what it made in between may
    /// belong to any of them.
    fn unthread(&mut self, begun: &Begun) {
        let thread = (begun.connection.pid, begun.tid);
        for node in self.nodes.values_mut() {
            let own = (node.begun.connection.pid, node.begun.tid) == thread;
            if own && matches!(node.within, Some((_, Source::Thread))) {
                node.within = None;
            }
        }
    }

    /// A request is over on the wire. `told` says that a span will come of it.
    pub fn over(&mut self, exchange: ExchangeId, told: bool) -> bool {
        if let Some(node) = self.nodes.get_mut(&exchange) {
            node.untold = !told;
            self.threads.over(&node.begun);
            // A quick server may be done before its client's end is seen.
            if node.begun.role == Role::Client {
                self.ends.over(node.begun.connection, exchange);
            }
        }
        // Its span may be told, and the node gone, by now.
        let any = match self.lineage.over(exchange) {
            Some(pid) => self.look(pid),
            None => false,
        };
        if !told {
            self.forget(exchange);
        }
        any
    }

    /// A request is another attempt of one before it: they are one span.
    pub fn attempt(&mut self, exchange: ExchangeId, first: ExchangeId) {
        if exchange == first || !self.nodes.contains_key(&first) {
            return;
        }
        if let Some(node) = self.nodes.get_mut(&exchange) {
            node.attempt_of = Some(first);
            self.depend(exchange, first);
        }
    }

    /// Whether it is another attempt of one before it.
    #[must_use]
    pub fn is_attempt(&self, exchange: ExchangeId) -> bool {
        let node = self.nodes.get(&exchange);
        node.is_some_and(|n| n.attempt_of.is_some())
    }

    /// What is known of the socket of a connection. Gives the served requests of which this showed the
    /// other end.
    pub fn socket(
        &mut self,
        connection: ConnectionId,
        network: u64,
        socket: &Socket,
    ) -> Vec<ExchangeId> {
        let (Some(local), Some(peer)) = (socket.local, socket.peer) else {
            return Vec::new();
        };
        self.ends.between(connection, network, local, peer);
        let open = self.ends.open(connection);
        let paired = open.into_iter().filter_map(|id| self.pair(connection, id));
        paired.collect()
    }

    /// A connection is gone; its requests were over before.
    pub fn closed(&mut self, connection: ConnectionId) -> bool {
        self.ends.closed(connection);
        match self.lineage.closed(connection) {
            Some(pid) => self.look(pid),
            None => false,
        }
    }

    /// A process is gone.
    pub fn process_exit(&mut self, pid: u32) {
        self.threads.process_exit(pid);
        self.lineage.exited(pid);
        for waiting in self.waiting.range(every(pid)).copied().collect::<Vec<_>>() {
            self.waiting.remove(&waiting);
        }
        if !self.past.is_empty() {
            self.past.retain(|_, (of, _)| *of != pid);
        }
        if !self.ended.is_empty() {
            self.ended.retain(|_, (of, _)| *of != pid);
        }
    }

    /// Whether something may yet become known of where a request's span stands.
    #[must_use]
    pub fn awaits(&self, exchange: ExchangeId) -> bool {
        let node = self.nodes.get(&exchange);
        let end = node.is_some_and(|node| {
            node.begun.role == Role::Server
                && node.other_end.is_none()
                && node.place.is_none()
                && self.ends.is_near(node.begun.connection)
        });
        end || self.awaits_answer(exchange)
    }

    /// Whether an answer may yet tell: to what it belongs, or that which it belongs to.
    #[must_use]
    pub fn awaits_answer(&self, exchange: ExchangeId) -> bool {
        if self.awaits_request(exchange) || self.awaits_others(exchange) {
            return true;
        }
        if self.waiting.is_empty() {
            return false;
        }
        let mut next = Some(exchange);
        for _ in 0..MAX_CHAIN {
            let Some((id, node)) = next.and_then(|id| Some((id, self.nodes.get(&id)?))) else {
                return false;
            };
            if node.place.is_some() {
                return false;
            }
            if self.waiting.contains(&(node.begun.connection.pid, id)) {
                return true;
            }
            next = node.link().map(|(id, _)| id);
        }
        false
    }

    /// Where the span of a request stands: it is told now.
    pub fn take(&mut self, begun: &Begun) -> Place {
        let exchange = begun.exchange;
        self.carried(begun);
        let place = self.settle(exchange);
        self.forget(exchange);
        place.unwrap_or_else(|| rooted(self.seed, begun))
    }

    /// What carries its trace context in the message is known to carry it only now; so does its
    /// other end.
    fn carried(&mut self, begun: &Begun) {
        let Some(carried) = &begun.propagated else {
            return;
        };
        let node = self.nodes.get(&begun.exchange);
        let end = node.and_then(|n| n.other_end);
        for id in [Some(begun.exchange), end].into_iter().flatten() {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.begun.propagated.get_or_insert_with(|| carried.clone());
            }
        }
    }

    /// Nothing more is asked of a request. Those that depend on it are settled first.
    pub fn forget(&mut self, exchange: ExchangeId) {
        let Some(node) = self.nodes.get_mut(&exchange) else {
            return;
        };
        for dependent in std::mem::take(&mut node.dependents) {
            self.settle(dependent);
        }
        if let Some(node) = self.nodes.remove(&exchange) {
            let Begun {
                role, connection, ..
            } = node.begun;
            self.threads.over(&node.begun);
            self.calls.over(&node.begun);
            self.ends.over(connection, exchange);
            match role {
                Role::Client => {
                    self.lineage.left(exchange);
                    self.lineage.told(exchange);
                    self.waiting.remove(&(connection.pid, exchange));
                    if let Some(place) = node.place.filter(|_| node.run.is_some()) {
                        if self.ended.len() >= MAX_ENDED {
                            self.ended.pop_first();
                        }
                        self.ended.insert(exchange, (connection.pid, place));
                    }
                }
                Role::Server => {
                    if let Some(place) = node.place.filter(|_| !node.untold)
                        && self.lineage.follows(connection.pid)
                    {
                        if self.past.len() >= MAX_PAST {
                            self.past.pop_first();
                        }
                        self.past.insert(exchange, (connection.pid, place));
                    }
                }
            }
        }
    }

    fn depend(&mut self, child: ExchangeId, parent: ExchangeId) {
        let Some(node) = self.nodes.get_mut(&parent) else {
            return;
        };
        let mut all = std::mem::take(&mut node.dependents);
        if all.len() == all.capacity() && all.len() >= MANY_DEPENDENTS {
            // Of one that lives as long as its process most were told long ago.
            all.retain(|id| self.nodes.contains_key(id));
            all.reserve(all.len().max(MANY_DEPENDENTS));
        }
        all.push(child);
        if let Some(node) = self.nodes.get_mut(&parent) {
            node.dependents = all;
        }
    }

    /// Pairs the two ends of a request that is under way on a connection; gives the server's.
    fn pair(&mut self, connection: ConnectionId, exchange: ExchangeId) -> Option<ExchangeId> {
        let other = self.ends.pair(connection, exchange)?;
        let (a, b) = (self.nodes.get(&exchange)?, self.nodes.get(&other)?);
        let (client, server) = match (a.begun.role, b.begun.role) {
            (Role::Client, Role::Server) => (a, b),
            (Role::Server, Role::Client) => (b, a),
            _ => return None,
        };
        let free = client.other_end.is_none() && server.other_end.is_none();
        let settled = server.place.is_some();
        if !free || settled || !ends::may_be_same(client.begun.start, server.begun.start) {
            return None;
        }
        let (client, server) = (client.begun.exchange, server.begun.exchange);
        for (id, end) in [(client, server), (server, client)] {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.other_end = Some(end);
            }
        }
        self.depend(server, client);
        Some(server)
    }

    /// Where a request's span stands, from now on for good.
    fn settle(&mut self, exchange: ExchangeId) -> Option<Place> {
        let Some(node) = self.nodes.get_mut(&exchange) else {
            let past = self
                .past
                .get(&exchange)
                .or_else(|| self.ended.get(&exchange));
            return past.map(|(_, place)| place.clone());
        };
        if let Some(place) = &node.place {
            return Some(place.clone());
        }
        if std::mem::replace(&mut node.settling, true) {
            return None;
        }
        let link = node.link();
        let application = node.application.clone();
        let mut place = rooted(self.seed, &node.begun);
        if let Some((id, source)) = link
            && let Some(above) = self.settle(id)
        {
            match source {
                None => place = above,
                Some(_) if self.nodes.get(&id).is_some_and(|n| n.untold) => {}
                Some(source) => {
                    place.trace = above.trace;
                    place.parent = Some((above.span, source));
                    place.state = above.state;
                    // Who is at the other end of a connection is another service.
                    if source != Source::Connection {
                        place.application = above.application;
                    }
                }
            }
        }
        place.application = application.or(place.application);
        if let Some(node) = self.nodes.get_mut(&exchange) {
            node.settling = false;
            node.place = Some(place.clone());
        }
        Some(place)
    }
}

/// So many that depend on one are kept whether or not they are told yet.
const MANY_DEPENDENTS: usize = 64;

/// Everything of a process.
const fn every(pid: u32) -> std::ops::RangeInclusive<(u32, ExchangeId)> {
    (pid, ExchangeId(0))..=(pid, ExchangeId(u64::MAX))
}

/// Where a span stands of which only its own request tells.
fn rooted(seed: u128, begun: &Begun) -> Place {
    let own = ids::of(seed, begun);
    match &begun.propagated {
        Some(Propagated {
            trace,
            span,
            state,
            format,
        }) => Place {
            trace: *trace,
            span: own.span,
            parent: Some((*span, Source::from(*format))),
            state: state.clone(),
            application: None,
        },
        None => Place {
            trace: own.trace,
            span: own.span,
            parent: None,
            state: None,
            application: None,
        },
    }
}
