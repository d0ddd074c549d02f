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
//! | made | the served request that its thread is handling, and no other ([`threads`]) | `thread` |
//!
//! Where a caller is known exactly (by the context of the program itself), that rule belongs into
//! [`Parents::enclosing`], before the one of threads.
//!
//! Who is whose parent may become known after a span began: the other end's first bytes may come
//! later, or its address may. So links are kept, and what they come to is settled when the first
//! span that depends on it is told.

mod ends;
mod threads;

#[cfg(test)]
mod tests;

use super::ids;
use crate::model::event::{ConnectionId, Socket};
use crate::model::exchange::{ExchangeId, Role};
use crate::model::propagated::{Format, Propagated};
use crate::model::request::Begun;
use ends::Ends;
use std::collections::HashMap;
use threads::Threads;

/// Requests under way, or not told yet, that are followed; spans of more have the parent that
/// their headers name, and no other.
pub const MAX_FOLLOWED: usize = 65_536;

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
    /// The thread was handling that request, and no other.
    Thread,
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
            Self::Thread => "thread",
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
    /// Those whose place depends on this one's.
    dependents: Vec<ExchangeId>,
    /// Settled: nothing that becomes known later changes it.
    place: Option<Place>,
    /// Being settled: one that comes back here goes in a circle.
    settling: bool,
}

/// The requests that spans may have as parents.
#[derive(Debug)]
pub struct Parents {
    seed: u128,
    nodes: HashMap<ExchangeId, Node>,
    threads: Threads,
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
            threads: Threads::default(),
            ends: Ends::default(),
            refused: 0,
        }
    }

    /// A request began. Gives the served request of which this showed the other end, as does
    /// [`Parents::socket`].
    pub fn began(&mut self, begun: Begun) -> Option<ExchangeId> {
        if self.nodes.len() >= MAX_FOLLOWED {
            self.refused += 1;
            return None;
        }
        let id = begun.exchange;
        let within = match begun.role {
            Role::Client => self.enclosing(&begun),
            Role::Server => {
                if self.threads.serves(&begun) {
                    self.unthread(&begun);
                }
                None
            }
        };
        let connection = begun.connection;
        self.nodes.insert(
            id,
            Node {
                begun,
                other_end: None,
                within,
                attempt_of: None,
                dependents: Vec::new(),
                place: None,
                settling: false,
            },
        );
        if let Some((parent, _)) = within {
            self.depend(id, parent);
        }
        self.ends.began(connection, id);
        self.pair(connection)
    }

    /// The served request that a request belongs to which the process makes.
    ///
    /// By its thread, unless that serves several requests at a time. Who knows better (the
    /// program's own context) says so here, before the thread is asked.
    fn enclosing(&self, begun: &Begun) -> Option<(ExchangeId, Source)> {
        let pid = begun.connection.pid;
        if let Some(carried) = &begun.propagated {
            let same = |id: &ExchangeId| {
                let told = self.nodes.get(id).and_then(|n| n.begun.propagated.as_ref());
                told.is_some_and(|t| (t.trace, t.span) == (carried.trace, carried.span))
            };
            let mut passing = self.threads.served_by(pid).filter(same);
            return match (passing.next(), passing.next()) {
                (Some(served), None) => Some((served, Source::PassedOn)),
                _ => None,
            };
        }
        let served = self.threads.handles(pid, begun.tid)?;
        Some((served, Source::Thread))
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
    pub fn over(&mut self, exchange: ExchangeId, told: bool) {
        if let Some(node) = self.nodes.get(&exchange) {
            self.threads.over(&node.begun);
            // A quick server may be done before its client's end is seen.
            if node.begun.role == Role::Client {
                self.ends.over(node.begun.connection, exchange);
            }
        }
        if !told {
            self.forget(exchange);
        }
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

    /// What is known of the socket of a connection.
    pub fn socket(
        &mut self,
        connection: ConnectionId,
        network: u64,
        socket: &Socket,
    ) -> Option<ExchangeId> {
        let (local, peer) = (socket.local?, socket.peer?);
        self.ends.between(connection, network, local, peer);
        self.pair(connection)
    }

    /// A connection is gone; its requests were over before.
    pub fn closed(&mut self, connection: ConnectionId) {
        self.ends.closed(connection);
    }

    /// A process is gone.
    pub fn process_exit(&mut self, pid: u32) {
        self.threads.process_exit(pid);
    }

    /// Whether a served request's other end may be seen yet: it is traced, or may be.
    #[must_use]
    pub fn awaits(&self, exchange: ExchangeId) -> bool {
        let node = self.nodes.get(&exchange);
        node.is_some_and(|node| {
            node.begun.role == Role::Server
                && node.other_end.is_none()
                && node.place.is_none()
                && self.ends.is_near(node.begun.connection)
        })
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
            self.threads.over(&node.begun);
            self.ends.over(node.begun.connection, exchange);
        }
    }

    fn depend(&mut self, child: ExchangeId, parent: ExchangeId) {
        if let Some(node) = self.nodes.get_mut(&parent) {
            node.dependents.push(child);
        }
    }

    /// Pairs the two ends of the request that is under way on a connection; gives the server's.
    fn pair(&mut self, connection: ConnectionId) -> Option<ExchangeId> {
        let (one, other) = self.ends.pair(connection)?;
        let (a, b) = (self.nodes.get(&one)?, self.nodes.get(&other)?);
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
        let node = self.nodes.get_mut(&exchange)?;
        if let Some(place) = &node.place {
            return Some(place.clone());
        }
        if std::mem::replace(&mut node.settling, true) {
            return None;
        }
        let link = match (node.attempt_of, node.begun.role) {
            (Some(_), _) => None,
            (None, Role::Server) => node.other_end.map(|id| (id, Source::Connection)),
            (None, Role::Client) => node.within,
        };
        let first = node.attempt_of;
        let mut place = rooted(self.seed, &node.begun);
        if let Some(first) = first.and_then(|id| self.settle(id)) {
            place = first;
        } else if let Some((id, source)) = link
            && let Some(parent) = self.settle(id)
        {
            place.trace = parent.trace;
            place.parent = Some((parent.span, source));
            place.state = parent.state;
        }
        if let Some(node) = self.nodes.get_mut(&exchange) {
            node.settling = false;
            node.place = Some(place.clone());
        }
        Some(place)
    }
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
        },
        None => Place {
            trace: own.trace,
            span: own.span,
            parent: None,
            state: None,
        },
    }
}
