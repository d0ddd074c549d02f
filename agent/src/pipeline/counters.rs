//! What the pipeline met, since the start.

use super::connection::Connection;
use crate::protocol::{Role, http1, http2, websocket};
use crate::stream;

/// What the pipeline met, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Data records taken.
    pub records: u64,
    /// Payload bytes taken.
    pub bytes: u64,
    /// Records of answers that waited for what they answer.
    pub records_early: u64,
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
    /// Connections that were found to carry WebSocket, perhaps with calls.
    pub connections_websocket: u64,
    /// Connections that carry something else.
    pub connections_not_http: u64,
    /// Connections on which the traced process is the server.
    pub connections_served: u64,
    /// Exchanges on those.
    pub exchanges_served: u64,
    /// Runs of frameworks given up because there were too many.
    pub runs_refused: u64,
    /// Contents of runs of frameworks that were not kept to the end because there were too many.
    pub run_contents_refused: u64,
    /// Sums of the protocol stage over connections that are over.
    pub http1: http1::Counters,
    /// The same for HTTP/2.
    pub http2: http2::Counters,
    /// The same for WebSocket.
    pub websocket: websocket::Counters,
    /// Sums of the stream stage over connections that are over.
    pub stream: stream::Counters,
}

/// Adds a connection's counters to the sums.
pub(super) fn add(sums: &mut Counters, c: &Connection) {
    add_http2(&mut sums.http2, c.http.http2());
    add_websocket(&mut sums.websocket, c.http.websocket());
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
        s.skipped_bytes += a.skipped_bytes;
        s.midway_bytes = s.midway_bytes.saturating_add(a.midway_bytes);
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

const fn add_websocket(s: &mut websocket::Counters, w: websocket::Counters) {
    s.sockets += w.sockets;
    s.half_seen += w.half_seen;
    s.frames += w.frames;
    s.messages += w.messages;
    s.malformed_frames += w.malformed_frames;
    s.losses += w.losses;
    s.resync_bytes += w.resync_bytes;
    s.undecodable += w.undecodable;
    s.uncertain += w.uncertain;
    s.over_limit += w.over_limit;
    s.unfollowed_bytes += w.unfollowed_bytes;
}
