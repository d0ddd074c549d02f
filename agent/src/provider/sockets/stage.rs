//! The stage's part for WebSockets: handshakes, and the connections that they open.

use super::{Found, Output, Route, Session, Told, Turn, UnderWay, by_message, route};
use crate::model::call::{CallEvent, CallProgress, CallRequest, CallResponse, ModelCall};
use crate::model::defect::Defects;
use crate::model::event::ConnectionId;
use crate::model::exchange::{ExchangeId, RequestHead, ResponseHead, Role};
use crate::model::propagated::Propagated;
use crate::model::request::Begun;
use crate::model::time::BootTime;
use crate::model::websocket::{Ending, Message, Payload, Sender};
use crate::provider::body::Body;
use crate::provider::hosts;
use crate::provider::json;
use crate::provider::response;
use std::collections::HashMap;

/// Messages after which a WebSocket is left alone when none of them was of a shape.
const MAX_FOREIGN: u32 = 16;

/// Bytes kept of the answer to a handshake that is refused.
const MAX_REFUSAL: usize = 16 << 10;

/// A handshake under way.
#[derive(Debug)]
struct Handshake {
    begun: Begun,
    route: Route,
    status: Option<u16>,
    request_id: Option<String>,
    body: Body,
}

/// A WebSocket.
#[derive(Debug)]
struct Socket {
    connection: ConnectionId,
    /// Whether the process calls or is called.
    role: Role,
    /// `None` until a message says what it is, when the handshake was not seen.
    route: Option<Route>,
    session: Option<Box<dyn Session>>,
    /// Trace context that the handshake carried.
    propagated: Option<Propagated>,
    /// Messages so far, as long as none is known to be of the shape.
    foreign: Option<u32>,
    held: usize,
}

/// Handshakes and WebSockets.
#[derive(Debug, Default)]
pub(in crate::provider) struct Sockets {
    handshakes: HashMap<ExchangeId, Handshake>,
    /// The handshake that was accepted last: its WebSocket opens next, or never.
    accepted: Option<(ExchangeId, Handshake)>,
    open: HashMap<ExchangeId, Socket>,
    told: Vec<Told>,
}

/// What came of something: calls that begin or are over, and by how much more or less is held.
#[derive(Debug, Default)]
pub(in crate::provider) struct Outcome {
    pub(in crate::provider) events: Vec<CallEvent>,
    pub(in crate::provider) held: isize,
    /// The WebSocket is of no interest.
    pub(in crate::provider) unwanted: bool,
}

impl Sockets {
    /// How many there are.
    pub(in crate::provider) fn len(&self) -> usize {
        self.handshakes.len() + self.open.len()
    }

    /// Whether a request is a handshake of interest.
    pub(in crate::provider) fn recognises(head: &RequestHead) -> bool {
        route(head, hosts::TLS_PORT).is_some()
    }

    /// A handshake begins.
    pub(in crate::provider) fn request(&mut self, begun: Begun, head: &RequestHead, port: u16) {
        let Some(route) = route(head, port) else {
            return;
        };
        let id = begun.exchange;
        let handshake = Handshake {
            begun,
            route,
            status: None,
            request_id: None,
            body: Body::default(),
        };
        self.handshakes.insert(id, handshake);
    }

    /// The head of an answer; whether it is a handshake's.
    pub(in crate::provider) fn head(&mut self, id: ExchangeId, head: &ResponseHead) -> bool {
        let handshake = self.handshakes.get_mut(&id);
        handshake.is_some_and(|h| {
            h.status = Some(head.status);
            h.request_id = response::request_id(&head.headers);
            true
        })
    }

    /// A part of an answer that refuses.
    pub(in crate::provider) fn body(&mut self, id: ExchangeId, missing: u64, bytes: &[u8]) -> bool {
        let handshake = self.handshakes.get_mut(&id);
        handshake.is_some_and(|h| {
            h.body.push(missing, bytes, MAX_REFUSAL);
            true
        })
    }

    /// An answer is over: when it refuses that is the end of a call. `None` when it is none of a
    /// handshake.
    pub(in crate::provider) fn end(
        &mut self,
        id: ExchangeId,
        time: BootTime,
        defects: Defects,
    ) -> Option<Option<ModelCall>> {
        let handshake = self.handshakes.remove(&id)?;
        match handshake.status {
            Some(101) => {
                self.accepted = Some((id, handshake));
                Some(None)
            }
            Some(status @ 400..) => Some(Some(handshake.refused(status, time, defects))),
            _ => Some(None),
        }
    }

    /// A WebSocket was opened; whether by a handshake of ours.
    pub(in crate::provider) fn opened(&mut self, id: ExchangeId, text_bytes: usize) -> bool {
        let accepted = self.accepted.take().filter(|(accepted, _)| *accepted == id);
        accepted.is_some_and(|(_, handshake)| {
            let Handshake { begun, route, .. } = handshake;
            let session = route.shape.session(&route.found, text_bytes);
            let socket = Socket {
                connection: begun.connection,
                role: begun.role,
                route: Some(route),
                session: Some(session),
                propagated: begun.propagated,
                foreign: Some(0),
                held: 0,
            };
            self.open.insert(id, socket);
            true
        })
    }

    /// A WebSocket whose handshake was not seen.
    pub(in crate::provider) fn half_seen(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        role: Role,
    ) {
        let socket = Socket {
            connection,
            role,
            route: None,
            session: None,
            propagated: None,
            foreign: Some(0),
            held: 0,
        };
        self.open.insert(id, socket);
    }

    /// A message.
    pub(in crate::provider) fn message(
        &mut self,
        id: ExchangeId,
        message: &Message<'_>,
        text_bytes: usize,
        left: usize,
    ) -> Outcome {
        let Some(socket) = self.open.get_mut(&id) else {
            return Outcome {
                unwanted: true,
                ..Outcome::default()
            };
        };
        if !socket.belongs(message, text_bytes) {
            if let Some(socket) = self.open.remove(&id) {
                return Outcome {
                    held: -signed(socket.held),
                    unwanted: true,
                    ..Outcome::default()
                };
            }
        }
        self.act(id, left, |session, out| session.message(message, out))
    }

    /// Messages are missing.
    pub(in crate::provider) fn gap(
        &mut self,
        id: ExchangeId,
        sender: Sender,
        left: usize,
    ) -> Outcome {
        self.act(id, left, |session, out| session.gap(sender, out))
    }

    /// A WebSocket is over.
    pub(in crate::provider) fn closed(
        &mut self,
        id: ExchangeId,
        time: BootTime,
        ending: Ending,
        stopping: bool,
        left: usize,
    ) -> Outcome {
        let mut outcome = self.act(id, left, |session, out| {
            session.ended(time, ending, stopping, out);
        });
        if let Some(socket) = self.open.remove(&id) {
            outcome.held -= signed(socket.held);
        }
        outcome
    }

    /// The calls under way.
    pub(in crate::provider) fn progress(&self, now: BootTime) -> Vec<CallProgress> {
        let of_socket = |socket: &Socket| {
            let (pid, role) = (socket.connection.pid, socket.role);
            let turns = socket.session.iter().flat_map(|s| s.under_way());
            let all = turns.map(|turn| progress(pid, role, now, &turn));
            all.collect::<Vec<_>>()
        };
        self.open.values().flat_map(of_socket).collect()
    }

    fn act(
        &mut self,
        id: ExchangeId,
        left: usize,
        act: impl FnOnce(&mut dyn Session, &mut Output<'_>),
    ) -> Outcome {
        let Some(socket) = self.open.get_mut(&id) else {
            return Outcome::default();
        };
        let Some(session) = &mut socket.session else {
            return Outcome::default();
        };
        let mut out = Output {
            told: &mut self.told,
            left,
        };
        act(session.as_mut(), &mut out);
        let before = std::mem::replace(&mut socket.held, session.held());
        let held = signed(socket.held) - signed(before);
        let mut events = Vec::new();
        for told in self.told.drain(..) {
            socket.tell(told, &mut events);
        }
        Outcome {
            events,
            held,
            unwanted: false,
        }
    }
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

fn progress(pid: u32, role: Role, now: BootTime, turn: &UnderWay<'_>) -> CallProgress {
    CallProgress {
        exchange: turn.id,
        pid,
        role,
        operation: turn.operation,
        model: turn.model.map(str::to_owned),
        start: turn.start,
        now,
        first_chunk: turn.first_chunk,
        chunks: turn.chunks,
    }
}

impl Socket {
    /// Whether a message, or one of the next ones, may be of interest.
    fn belongs(&mut self, message: &Message<'_>, text_bytes: usize) -> bool {
        let Some(foreign) = &mut self.foreign else {
            return true;
        };
        let own = match &self.route {
            None => by_message(message).map(|route| {
                let session = route.shape.session(&route.found, text_bytes);
                (self.route, self.session) = (Some(route), Some(session));
            }),
            Some(route) => match message.payload {
                Payload::Text(text) => json::read(text)
                    .filter(|d| route.shape.is_own(message.sender, &d.root))
                    .map(drop),
                Payload::Binary => None,
            },
        };
        if own.is_some() {
            self.foreign = None;
            return true;
        }
        *foreign += 1;
        *foreign < MAX_FOREIGN
    }

    /// What a session tells, as the events of a call that is made by a request.
    fn tell(&self, told: Told, events: &mut Vec<CallEvent>) {
        match told {
            Told::Began(begin) => events.push(CallEvent::Began(Box::new(Begun {
                exchange: begin.id,
                connection: self.connection,
                role: self.role,
                tid: begin.tid,
                start: begin.time,
                propagated: self.propagated.clone(),
                stream: None,
            }))),
            Told::Over(turn) => {
                let exchange = turn.id;
                let call = self.call(*turn);
                let told = call.is_some();
                events.extend(call.map(|call| CallEvent::Finished(Box::new(call))));
                events.push(CallEvent::Over { exchange, told });
            }
            Told::Abandoned(exchange) => events.push(CallEvent::Over {
                exchange,
                told: false,
            }),
        }
    }

    fn call(&self, turn: Turn) -> Option<ModelCall> {
        let route = self.route.as_ref()?;
        Some(ModelCall {
            exchange: turn.id,
            connection: self.connection,
            role: self.role,
            tid: turn.tid,
            operation: turn.operation,
            api: turn.api,
            provider: route.provider,
            server_address: route.address.clone(),
            server_port: route.port,
            peer: None,
            local: None,
            start: turn.start,
            first_chunk: turn.first_chunk,
            end: turn.end,
            request: turn.request,
            response: turn.response,
            error: turn.error,
            retry: None,
            polls: 0,
            propagated: self.propagated.clone(),
            defects: turn.defects,
        })
    }
}

impl Handshake {
    /// The call that could not be made.
    fn refused(mut self, status: u16, end: BootTime, defects: Defects) -> ModelCall {
        self.body.close();
        let document = self.body.document(true);
        let root = document.as_ref().map(|d| &d.root);
        let error = self.route.shape.refusal(status, root, self.body.head());
        let Route {
            found,
            provider,
            address,
            port,
            ..
        } = self.route;
        let Found {
            operation,
            api,
            model,
            ..
        } = found;
        ModelCall {
            exchange: self.begun.exchange,
            connection: self.begun.connection,
            role: self.begun.role,
            tid: self.begun.tid,
            operation,
            api,
            provider,
            server_address: address,
            server_port: port,
            peer: None,
            local: None,
            start: self.begun.start,
            first_chunk: None,
            end,
            request: CallRequest {
                model,
                ..CallRequest::default()
            },
            response: CallResponse {
                status: Some(status),
                request_id: self.request_id,
                ..CallResponse::default()
            },
            error: Some(error),
            retry: None,
            polls: 0,
            propagated: self.begun.propagated,
            defects: defects.without(Defects::SERVER_ENDED),
        }
    }
}
