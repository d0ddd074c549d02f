//! The two ends of a connection, when both are traced on one host: what one end calls its own
//! address the other calls its peer's.
//!
//! Over HTTP/2 several requests may be under way, which both ends know by the identifiers of their
//! streams. Where there are none, nothing says which of several is which, and none is paired.

use crate::model::event::ConnectionId;
use crate::model::exchange::ExchangeId;
use crate::model::time::BootTime;
use core::net::{IpAddr, SocketAddr};
use std::collections::HashMap;

/// How much later the client's end of a request may seem to begin than the server's, in
/// nanoseconds: a write is seen when it is over, by when the server may have read it.
const SEEN_LATER: u64 = 20_000_000;

/// From where to where, as one end sees it.
type Way = (u64, SocketAddr, SocketAddr);

/// A request under way, and its HTTP/2 stream.
type Request = (ExchangeId, Option<u32>);

/// A connection's end.
#[derive(Debug, Default)]
struct End {
    way: Option<Way>,
    /// Requests under way, or waiting for their other end, in the order in which they began.
    open: Vec<Request>,
    /// The connection is gone.
    closed: bool,
}

/// The connections that carry requests, or whose addresses are known.
#[derive(Debug, Default)]
pub(super) struct Ends {
    all: HashMap<ConnectionId, End>,
    by_way: HashMap<Way, ConnectionId>,
}

/// Whether requests that began then can be the two ends of one.
pub(super) fn may_be_same(client: BootTime, server: BootTime) -> bool {
    client.since(server) <= SEEN_LATER
}

impl Ends {
    /// A request began on a connection.
    pub(super) fn began(&mut self, connection: ConnectionId, request: Request) {
        self.all.entry(connection).or_default().open.push(request);
    }

    /// The requests that are under way on a connection.
    pub(super) fn open(&self, connection: ConnectionId) -> Vec<ExchangeId> {
        let open = self.all.get(&connection).map(|end| end.open.iter());
        open.into_iter().flatten().map(|(id, _)| *id).collect()
    }

    /// It is over.
    pub(super) fn over(&mut self, connection: ConnectionId, exchange: ExchangeId) {
        if let Some(end) = self.all.get_mut(&connection) {
            end.open.retain(|(id, _)| *id != exchange);
            if end.open.is_empty() && (end.closed || end.way.is_none()) {
                self.remove(connection);
            }
        }
    }

    /// Between which addresses a connection is. `network` names the network that they are of:
    /// every network namespace has a loopback of its own.
    pub(super) fn between(
        &mut self,
        connection: ConnectionId,
        network: u64,
        local: SocketAddr,
        peer: SocketAddr,
    ) {
        let (local, peer) = (canonical(local), canonical(peer));
        let network = if local.ip().is_loopback() { network } else { 0 };
        let way = (network, local, peer);
        let end = self.all.entry(connection).or_default();
        if let Some(old) = end.way.replace(way)
            && self.by_way.get(&old) == Some(&connection)
        {
            self.by_way.remove(&old);
        }
        self.by_way.insert(way, connection);
    }

    /// A connection is gone. What waits for its other end still does.
    pub(super) fn closed(&mut self, connection: ConnectionId) {
        if let Some(end) = self.all.get_mut(&connection) {
            end.closed = true;
            if end.open.is_empty() {
                self.remove(connection);
            }
        }
    }

    fn remove(&mut self, connection: ConnectionId) {
        if let Some(way) = self.all.remove(&connection).and_then(|end| end.way)
            && self.by_way.get(&way) == Some(&connection)
        {
            self.by_way.remove(&way);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.by_way.is_empty()
    }

    /// Whether the other end of a connection is traced, or may be, being on this host.
    pub(super) fn is_near(&self, connection: ConnectionId) -> bool {
        let way = self.all.get(&connection).and_then(|end| end.way);
        way.is_some_and(|(network, local, peer)| {
            local.ip().is_loopback() || self.by_way.contains_key(&(network, peer, local))
        })
    }

    /// What a request that is under way on a connection is at the other end of that: the one of the
    /// same stream, or, without streams, the only one there if this is the only one here.
    pub(super) fn pair(
        &self,
        connection: ConnectionId,
        exchange: ExchangeId,
    ) -> Option<ExchangeId> {
        let end = self.all.get(&connection)?;
        let (network, local, peer) = end.way?;
        let other = self.by_way.get(&(network, peer, local))?;
        if *other == connection {
            return None;
        }
        let there = self.all.get(other)?.open.as_slice();
        let (_, stream) = end.open.iter().find(|(id, _)| *id == exchange)?;
        match (stream, end.open.as_slice(), there) {
            (Some(_), _, _) => {
                let same = there.iter().find(|(_, other)| other == stream);
                same.map(|(id, _)| *id)
            }
            (None, [_], [(other, None)]) => Some(*other),
            _ => None,
        }
    }
}

/// An IPv4 address that came as an IPv6 one is the same.
fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}
