//! One connection: its stages, which end the process is, and how much of it should be copied.

use super::early::Early;
use crate::model::event::{ConnectionId, Direction, Socket, SocketRole};
use crate::model::time::BootTime;
use crate::protocol::connection::Connection as Protocol;
use crate::protocol::detect::Verdict;
use crate::protocol::{Role, http2};
use crate::stream::Assembler;

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

/// What should be copied of a connection; told to the kernel by whoever runs the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyMode {
    /// Everything.
    Whole,
    /// The heads of requests.
    Heads,
    /// The heads of requests and responses, and when they end.
    Outline,
    /// Nothing.
    Nothing,
}

/// One connection's stages.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) write: Assembler,
    pub(super) read: Assembler,
    /// What was read and may answer what is not told yet.
    pub(super) early: Early,
    pub(super) http: Protocol,
    /// Which end the process is was concluded: from its socket, or from the first bytes.
    pub(super) decided: bool,
    pub(super) socket: Option<Socket>,
    pub(super) mode: CopyMode,
    pub(super) last: BootTime,
}

impl Connection {
    pub(super) fn new(id: ConnectionId) -> Self {
        Self {
            id,
            write: Assembler::new(),
            read: Assembler::new(),
            early: Early::default(),
            http: Protocol::new(id, Role::Client),
            decided: false,
            socket: None,
            mode: CopyMode::Whole,
            last: BootTime(0),
        }
    }

    /// What its socket tells.
    pub(super) fn told_of(&mut self, socket: &Socket) {
        self.socket = Some(*socket);
        match socket.role {
            SocketRole::Connected => self.decide(Role::Client),
            SocketRole::Accepted => self.decide(Role::Server),
            SocketRole::Unknown => {}
        }
    }

    /// From here on it is known which end the process is; unless it was before.
    pub(super) fn decide(&mut self, role: Role) {
        if !self.decided {
            self.decided = true;
            if role != self.http.role() {
                self.http = Protocol::new(self.id, role);
            }
        }
    }

    /// Which way requests go.
    pub(super) fn requests(&self) -> Direction {
        match self.http.role() {
            Role::Client => Direction::Write,
            Role::Server => Direction::Read,
        }
    }

    /// When the oldest record came that waits for another.
    pub(super) fn waiting_since(&self) -> Option<BootTime> {
        [self.write.waiting_since(), self.read.waiting_since()]
            .into_iter()
            .flatten()
            .min()
    }
}

/// The mode that a connection should be in, if that is another than it is in. `outlined` says that
/// requests are told that are no model calls: then their answers are needed too, up to their ends.
/// A connection to a provider stays in its mode, whatever else goes over it: the first call would
/// be cut before the kernel was told of it.
pub(super) fn wanted_mode(c: &Connection, outlined: bool) -> Option<CopyMode> {
    let seen = c.http.http1();
    let mode = match c.http.verdict() {
        Verdict::Switched | Verdict::NotHttp => CopyMode::Nothing,
        Verdict::Http2 => http2_mode(&c.http.http2(), c.mode, outlined),
        Verdict::Http1 if seen.wanted > 0 => match c.mode {
            CopyMode::Heads | CopyMode::Outline => CopyMode::Whole,
            mode => mode,
        },
        Verdict::Http1
            if c.mode == CopyMode::Whole
                && seen.exchanges >= UNWANTED_BEFORE_HEADS
                && seen.promising == 0 =>
        {
            if outlined {
                CopyMode::Outline
            } else {
                CopyMode::Heads
            }
        }
        Verdict::Http1 | Verdict::Undecided | Verdict::WebSocket => c.mode,
    };
    (mode != c.mode).then_some(mode)
}

/// The mode for a connection that carries HTTP/2. Requests that could not be read count for
/// neither side: they may have been calls.
const fn http2_mode(seen: &http2::Counters, mode: CopyMode, outlined: bool) -> CopyMode {
    let only_grpc = seen.grpc == seen.exchanges && seen.grpc >= GRPC_BEFORE_NOTHING;
    let unwanted = seen.wanted == 0 && seen.unknown_heads == 0 && seen.promising == 0;
    let none = seen.exchanges >= UNWANTED_BEFORE_NOTHING && !outlined;
    if unwanted && (only_grpc || none) {
        CopyMode::Nothing
    } else {
        mode
    }
}
