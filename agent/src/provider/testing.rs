//! Exchanges for the tests of shapes: a request, its answer, and the call that comes of them.

use super::{Calls, Limits};
use crate::model::call::{CallEvent, ModelCall};
use crate::model::defect::Defects;
use crate::model::event::ConnectionId;
use crate::model::exchange::{
    ExchangeId, ExchangeSink as _, Headers, Interest, RequestHead, ResponseHead, SseEvent,
};
use crate::model::time::BootTime;
use crate::model::websocket::{Ending, Message, Payload, Sender, WebSocketSink as _};
use std::collections::BTreeSet;

/// A request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    /// With its query.
    pub(super) target: &'a str,
    pub(super) host: &'a str,
    pub(super) headers: &'a [(&'static str, &'a str)],
    pub(super) body: &'a str,
}

/// An event of an answer: its name, its data, its comment.
pub(super) type Event<'a> = (&'a str, &'a str, &'a str);

/// A POST.
pub(super) const fn post<'a>(target: &'a str, host: &'a str, body: &'a str) -> Asked<'a> {
    Asked {
        method: "POST",
        target,
        host,
        headers: &[],
        body,
    }
}

/// Exchanges of one process, one after the other.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) calls: Calls,
    next: u64,
    /// Exchanges that were told to begin, and not yet that they are over.
    begun: BTreeSet<ExchangeId>,
    /// Bodies are handed over in pieces of so many bytes.
    pub(super) step: usize,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            calls: Calls::new(Limits::default()),
            next: 0,
            begun: BTreeSet::new(),
            step: usize::MAX,
        }
    }
}

impl Scene {
    /// Time of the current exchange: its start is at a multiple of 1000.
    fn at(&self, n: u64) -> BootTime {
        BootTime(self.next * 1000 + n)
    }

    fn id(&self) -> ExchangeId {
        ExchangeId(self.next)
    }

    /// Sends a request; whether it is of interest after its end.
    pub(super) fn ask(&mut self, asked: &Asked<'_>) -> bool {
        self.next += 1;
        let (path, query) = asked.target.split_once('?').unwrap_or((asked.target, ""));
        let mut headers = Headers::default();
        for (name, value) in asked.headers {
            headers.push(name, (*value).to_owned());
        }
        let head = RequestHead {
            method: asked.method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            host: Some(asked.host.to_owned()),
            headers,
            stream: None,
        };
        let connection = ConnectionId {
            pid: 42,
            ssl: 1,
            generation: 2,
        };
        let (id, start) = (self.id(), self.at(0));
        if self.calls.request_head(id, connection, 43, start, &head) == Interest::Unwanted {
            return false;
        }
        for piece in asked.body.as_bytes().chunks(self.step) {
            self.calls.request_body(id, 0, piece);
        }
        self.calls.request_end(id, self.at(1), Defects::NONE);
        true
    }

    /// The head of the answer.
    pub(super) fn head(&mut self, status: u16, list: &[(&'static str, &str)]) -> Interest {
        let mut headers = Headers::default();
        for (name, value) in list {
            headers.push(name, (*value).to_owned());
        }
        let head = ResponseHead { status, headers };
        let (id, time) = (self.id(), self.at(10));
        self.calls.response_head(id, time, &head)
    }

    /// A part of an answer that is a document.
    pub(super) fn body(&mut self, body: &str) {
        let (id, time) = (self.id(), self.at(20));
        for piece in body.as_bytes().chunks(self.step) {
            self.calls.response_body(id, time, 0, piece);
        }
    }

    /// Events of an answer, one nanosecond after the other.
    pub(super) fn events(&mut self, events: &[Event<'_>]) {
        for (n, (event, data, comment)) in (100..).zip(events) {
            let event = SseEvent {
                event,
                data: data.as_bytes(),
                comment,
            };
            let (id, time) = (self.id(), self.at(n));
            self.calls.response_event(id, time, event);
        }
    }

    /// The end of the exchange, and the calls that are over with it.
    pub(super) fn end(&mut self, defects: Defects) -> Vec<ModelCall> {
        let (id, time) = (self.id(), self.at(900));
        self.calls.response_end(id, time, defects);
        self.drain()
    }

    /// The calls that are over. Whatever began is over once, and only once.
    pub(super) fn drain(&mut self) -> Vec<ModelCall> {
        let mut over = Vec::new();
        for event in self.calls.drain() {
            match event {
                CallEvent::Began(begun) => assert!(self.begun.insert(begun.exchange)),
                CallEvent::Over { exchange, .. } => {
                    self.begun.remove(&exchange);
                }
                CallEvent::Finished(call) => over.push(*call),
                _ => {}
            }
        }
        over
    }

    /// A whole exchange with a document as its answer.
    pub(super) fn document(
        &mut self,
        asked: &Asked<'_>,
        status: u16,
        body: &str,
    ) -> Vec<ModelCall> {
        if !self.ask(asked) {
            return Vec::new();
        }
        self.head(status, &[]);
        self.body(body);
        self.end(Defects::NONE)
    }
}

/// The one call of an exchange that is answered by a document, however it is split.
pub(super) fn document(asked: &Asked<'_>, status: u16, body: &str) -> Option<ModelCall> {
    let run = |step: usize| {
        let mut scene = Scene {
            step,
            ..Scene::default()
        };
        scene.document(asked, status, body).pop()
    };
    let call = run(usize::MAX);
    for step in [1, 7] {
        assert_eq!(run(step), call);
    }
    call
}

/// The one call of an exchange that is answered by events.
pub(super) fn events(asked: &Asked<'_>, events: &[Event<'_>], defects: Defects) -> ModelCall {
    let mut scene = Scene::default();
    assert!(scene.ask(asked));
    scene.head(200, &[]);
    scene.events(events);
    scene.end(defects).pop().unwrap()
}

/// A WebSocket of one process.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) scene: Scene,
    id: ExchangeId,
    now: u64,
}

impl Socket {
    /// After its handshake; none when that is of no interest. Each message is ten nanoseconds after
    /// the one before, the first at 1000.
    pub(super) fn open(target: &str, host: &str) -> Option<Self> {
        let asked = Asked {
            method: "GET",
            headers: &[("upgrade", "WebSocket")],
            ..post(target, host, "")
        };
        let mut scene = Scene::default();
        if !scene.ask(&asked) {
            return None;
        }
        assert_eq!(scene.head(101, &[]), Interest::Wanted);
        assert!(scene.end(Defects::NONE).is_empty());
        let id = scene.id();
        let opened = scene.calls.socket_opened(id, scene.at(20));
        assert_eq!(opened, Interest::Wanted);
        Some(Self {
            scene,
            id,
            now: 990,
        })
    }

    /// Of which the handshake was not seen.
    pub(super) fn unseen() -> Self {
        let mut scene = Scene::default();
        let connection = ConnectionId {
            pid: 42,
            ssl: 1,
            generation: 2,
        };
        let id = ExchangeId(1);
        let time = BootTime(990);
        let interest = scene.calls.socket_half_seen(id, connection, 43, time);
        assert_eq!(interest, Interest::Wanted);
        Self {
            scene,
            id,
            now: 990,
        }
    }

    fn message(
        &mut self,
        sender: Sender,
        payload: Payload<'_>,
        length: usize,
        whole: bool,
    ) -> Interest {
        self.now += 10;
        let message = Message {
            id: ExchangeId(self.now),
            sender,
            tid: 43,
            begun: BootTime(self.now),
            time: BootTime(self.now + 1),
            payload,
            length: length as u64,
            whole,
        };
        self.scene.calls.socket_message(self.id, &message)
    }

    /// What a side says; whether it is still listened to.
    pub(super) fn say(&mut self, sender: Sender, text: &str) -> Interest {
        self.message(sender, Payload::Text(text.as_bytes()), text.len(), true)
    }

    /// A text of which only the beginning is there.
    pub(super) fn say_part(&mut self, sender: Sender, text: &str, length: usize) -> Interest {
        self.message(sender, Payload::Text(text.as_bytes()), length, false)
    }

    pub(super) fn client(&mut self, text: &str) {
        assert_eq!(self.say(Sender::Client, text), Interest::Wanted);
    }

    pub(super) fn server(&mut self, text: &str) {
        assert_eq!(self.say(Sender::Server, text), Interest::Wanted);
    }

    /// So many bytes of sound.
    pub(super) fn binary(&mut self, sender: Sender, length: usize) {
        self.message(sender, Payload::Binary, length, true);
    }

    pub(super) fn gap(&mut self, sender: Sender) {
        self.scene.calls.socket_gap(self.id, sender);
    }

    /// The calls that are over.
    pub(super) fn calls(&mut self) -> Vec<ModelCall> {
        self.scene.drain()
    }

    /// The end; the calls that are over with it. Nothing may be held then.
    pub(super) fn close(&mut self, ending: Ending) -> Vec<ModelCall> {
        self.now += 10;
        let time = BootTime(self.now);
        self.scene.calls.socket_closed(self.id, time, ending);
        assert_eq!(self.scene.calls.held(), 0);
        assert_eq!(self.scene.calls.open_calls(), 0);
        let calls = self.scene.drain();
        assert!(self.scene.begun.is_empty(), "{:?}", self.scene.begun);
        calls
    }
}
