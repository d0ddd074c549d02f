//! Between protocol and provider stage: hands everything on, and notes which requests begin.

use super::parents::Head;
use crate::model::defect::Defects;
use crate::model::event::ConnectionId;
use crate::model::exchange::{
    ExchangeId, ExchangeSink, Interest, RequestHead, ResponseHead, Role, SseEvent,
};
use crate::model::time::BootTime;
use crate::model::websocket::{Ending, Message, Sender, WebSocketSink};
use crate::provider::Calls;

/// The provider stage with a notebook.
pub(super) struct Noting<'a> {
    calls: &'a mut Calls,
    role: Role,
    heads: &'a mut Vec<Head>,
}

impl<'a> Noting<'a> {
    /// For a connection on which the process has this role.
    pub(super) fn new(calls: &'a mut Calls, role: Role, heads: &'a mut Vec<Head>) -> Self {
        let calls = calls.of_role(role);
        Self { calls, role, heads }
    }
}

impl ExchangeSink for Noting<'_> {
    fn half_seen(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        tid: u32,
        time: BootTime,
    ) -> Interest {
        self.calls.half_seen(id, connection, tid, time)
    }

    fn request_head(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        tid: u32,
        time: BootTime,
        head: &RequestHead,
    ) -> Interest {
        let interest = self.calls.request_head(id, connection, tid, time, head);
        // Of what a client asks only calls matter; of what is served, everything.
        if self.role == Role::Server || interest == Interest::Wanted {
            self.heads.push(Head {
                role: self.role,
                id,
                connection,
                tid,
                time,
                traceparent: head.headers.get("traceparent").map(str::to_owned),
            });
        }
        interest
    }

    fn request_body(&mut self, id: ExchangeId, missing: u64, bytes: &[u8]) {
        self.calls.request_body(id, missing, bytes);
    }

    fn request_end(&mut self, id: ExchangeId, time: BootTime, defects: Defects) {
        self.calls.request_end(id, time, defects);
    }

    fn response_head(&mut self, id: ExchangeId, time: BootTime, head: &ResponseHead) -> Interest {
        self.calls.response_head(id, time, head)
    }

    fn response_body(&mut self, id: ExchangeId, time: BootTime, missing: u64, bytes: &[u8]) {
        self.calls.response_body(id, time, missing, bytes);
    }

    fn response_event(&mut self, id: ExchangeId, time: BootTime, event: SseEvent<'_>) {
        self.calls.response_event(id, time, event);
    }

    fn response_doubtful(&mut self, id: ExchangeId) {
        self.calls.response_doubtful(id);
    }

    fn response_end(&mut self, id: ExchangeId, time: BootTime, defects: Defects) {
        self.calls.response_end(id, time, defects);
    }
}

impl WebSocketSink for Noting<'_> {
    fn socket_opened(&mut self, id: ExchangeId, time: BootTime) -> Interest {
        self.calls.socket_opened(id, time)
    }

    fn socket_half_seen(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        tid: u32,
        time: BootTime,
    ) -> Interest {
        self.calls.socket_half_seen(id, connection, tid, time)
    }

    fn socket_message(&mut self, id: ExchangeId, message: &Message<'_>) -> Interest {
        self.calls.socket_message(id, message)
    }

    fn socket_gap(&mut self, id: ExchangeId, sender: Sender) {
        self.calls.socket_gap(id, sender);
    }

    fn socket_closed(&mut self, id: ExchangeId, time: BootTime, ending: Ending) {
        self.calls.socket_closed(id, time, ending);
    }
}
