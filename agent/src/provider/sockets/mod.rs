//! Calls over WebSockets: what there is to know of a wire shape that is spoken there, and the
//! table of those that are known.
//!
//! A message is no exchange. One connection carries many calls, which may overlap, and either side
//! may begin one. So a shape gives a [`Session`] for each connection, which takes the messages of
//! both sides in the order of the wire and tells which calls begin, and those that are over as
//! [`Turn`]s.

mod stage;

use super::json::{self, Object};
use super::target::Target;
use super::{dashscope, error, hosts, realtime};
use crate::model::call::{Api, CallError, CallRequest, CallResponse, Operation};
use crate::model::defect::Defects;
use crate::model::exchange::{ExchangeId, RequestHead};
use crate::model::time::BootTime;
use crate::model::websocket::{Ending, Message, Payload, Sender};
use std::fmt;

pub(super) use stage::{Outcome, Sockets};

/// All shapes. A path fits one of them at most.
///
/// | Shape | Calls |
/// | --- | --- |
/// | [`realtime`] | responses of OpenAI's Realtime API, and of DashScope's that imitates it |
/// | [`dashscope`] | tasks of DashScope's inference API: recognition and synthesis of speech, generation |
static SHAPES: [&dyn SocketShape; 2] = [&realtime::Realtime, &dashscope::Inference];

/// Calls under way that are followed on one connection; of more the oldest is told as it is.
pub(super) const MAX_TURNS: usize = 32;

/// A wire shape.
pub(super) trait SocketShape: fmt::Debug + Sync {
    /// What a handshake is by its path and query; never by its host.
    fn route(&self, target: &Target<'_>) -> Option<Found>;

    /// Whether a message can be of this shape alone. Asked when the handshake was not seen, and
    /// until one is, when it was.
    fn is_own(&self, sender: Sender, root: &Object) -> bool;

    /// What a connection is whose handshake was not seen.
    fn unseen(&self) -> Found;

    /// What a handshake that is refused says of its failure.
    fn refusal(&self, status: u16, document: Option<&Object>, body: &[u8]) -> CallError {
        error::of_status(status, document, body)
    }

    /// A reader of a connection's messages.
    fn session(&self, found: &Found, text_bytes: usize) -> Box<dyn Session>;
}

/// What a handshake may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// What a call of it is, when the handshake is refused.
    pub(super) operation: Operation,
    /// See above.
    pub(super) api: Api,
    /// The provider's name when the host is not a known one.
    pub(super) provider: &'static str,
    /// The path says who it is, whatever the host.
    pub(super) fixed: bool,
    /// Model that the target names.
    pub(super) model: Option<String>,
    /// The handshake was not seen.
    pub(super) midway: bool,
}

/// Where a session tells its calls, and what it may keep.
#[derive(Debug)]
pub(super) struct Output<'a> {
    told: &'a mut Vec<Told>,
    /// Bytes of text that may still be kept, of all calls of all connections.
    pub(super) left: usize,
}

impl Output<'_> {
    /// A call begins. It is over some time, or abandoned.
    pub(super) fn began(&mut self, begin: Begin) {
        self.told.push(Told::Began(begin));
    }

    /// A call is over, whether its beginning was told or not.
    pub(super) fn over(&mut self, turn: Turn) {
        self.told.push(Told::Over(Box::new(turn)));
    }

    /// Of a call whose beginning was told nothing more will be known.
    pub(super) fn abandoned(&mut self, id: ExchangeId) {
        self.told.push(Told::Abandoned(id));
    }
}

/// What a session tells.
#[derive(Debug)]
enum Told {
    Began(Begin),
    Over(Box<Turn>),
    Abandoned(ExchangeId),
}

/// What a call begins with: a message, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    pub(super) id: ExchangeId,
    /// Thread that moved it.
    pub(super) tid: u32,
    pub(super) time: BootTime,
}

impl Begin {
    /// With this message.
    pub(super) const fn with(message: &Message<'_>) -> Self {
        Self {
            id: message.id,
            tid: message.tid,
            time: message.begun,
        }
    }
}

/// A call that is over.
#[derive(Debug)]
pub(super) struct Turn {
    /// Of the message that it begins with.
    pub(super) id: ExchangeId,
    /// Thread that moved that message.
    pub(super) tid: u32,
    pub(super) operation: Operation,
    pub(super) api: Api,
    pub(super) start: BootTime,
    pub(super) first_chunk: Option<BootTime>,
    pub(super) end: BootTime,
    pub(super) request: CallRequest,
    pub(super) response: CallResponse,
    pub(super) error: Option<CallError>,
    pub(super) defects: Defects,
}

/// A call under way, for who looks on.
#[derive(Debug)]
pub(super) struct UnderWay<'a> {
    pub(super) id: ExchangeId,
    pub(super) operation: Operation,
    pub(super) model: Option<&'a str>,
    pub(super) start: BootTime,
    pub(super) first_chunk: Option<BootTime>,
    pub(super) chunks: u64,
}

/// A connection's messages.
pub(super) trait Session: fmt::Debug + Send {
    /// The next one.
    fn message(&mut self, message: &Message<'_>, out: &mut Output<'_>);

    /// Messages of a side are missing.
    fn gap(&mut self, sender: Sender, out: &mut Output<'_>);

    /// The connection is over; `stopping` says that it is our sight that ends.
    fn ended(&mut self, time: BootTime, ending: Ending, stopping: bool, out: &mut Output<'_>);

    /// Bytes of text kept now.
    fn held(&self) -> usize;

    /// The calls under way whose start was seen.
    fn under_way(&self) -> Vec<UnderWay<'_>>;
}

/// The sides of which nothing was heard since an attach in mid-connection: where their messages
/// begin is found out one after the other, and what comes before that is no loss.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unheard {
    client: bool,
    server: bool,
}

impl Unheard {
    /// Of both, when the attach was in mid-connection.
    pub(super) const fn new(midway: bool) -> Self {
        Self {
            client: midway,
            server: midway,
        }
    }

    /// A message came.
    pub(super) const fn heard(&mut self, sender: Sender) {
        match sender {
            Sender::Client => self.client = false,
            Sender::Server => self.server = false,
        }
    }

    /// Messages are missing: what that means for calls under way.
    pub(super) const fn gap(&self, sender: Sender) -> Defects {
        match sender {
            Sender::Client if self.client => Defects::ATTACHED_MIDWAY,
            Sender::Server if self.server => Defects::ATTACHED_MIDWAY,
            Sender::Client => Defects::REQUEST_GAP,
            Sender::Server => Defects::RESPONSE_GAP,
        }
    }
}

/// What the head of a handshake tells.
#[derive(Clone, Debug)]
struct Route {
    shape: &'static dyn SocketShape,
    found: Found,
    /// Who the client believes it speaks to.
    provider: &'static str,
    address: Option<String>,
    port: Option<u16>,
}

/// The route of a handshake (RFC 6455, section 4.1), if calls may go over what it opens. `port` is
/// the one that a host without one means.
fn route(head: &RequestHead, port: u16) -> Option<Route> {
    let upgrades = |value: &str| value.eq_ignore_ascii_case("websocket");
    if head.method != "GET" || !head.headers.get("upgrade").is_some_and(upgrades) {
        return None;
    }
    let target = Target::new(head);
    let (shape, found) = SHAPES
        .iter()
        .find_map(|shape| Some((*shape, shape.route(&target)?)))?;
    let host = head.host.as_deref().filter(|h| !h.is_empty());
    let (address, port) = host.map(|h| hosts::split(h, port)).unzip();
    let known = address.as_deref().filter(|_| !found.fixed);
    Some(Route {
        shape,
        provider: known.and_then(hosts::provider).unwrap_or(found.provider),
        found,
        address,
        port,
    })
}

/// The shape that a message is of, when the handshake was not seen.
fn by_message(message: &Message<'_>) -> Option<Route> {
    let Payload::Text(text) = message.payload else {
        return None;
    };
    let root = json::read(text)?.root;
    let shape = SHAPES
        .into_iter()
        .find(|shape| shape.is_own(message.sender, &root))?;
    let found = shape.unseen();
    Some(Route {
        shape,
        provider: found.provider,
        found,
        address: None,
        port: None,
    })
}

/// Why calls under way failed with their connection, if that is what it was.
pub(super) fn failure(ending: Ending) -> Option<CallError> {
    let kind = match ending.close {
        // What a server that is done says, and one that says nothing.
        Some((Sender::Server, 1000 | 1005)) | Some((Sender::Client, _)) => return None,
        Some((Sender::Server, status)) => format!("websocket_close_{status}"),
        None if ending.server_ended => "connection_reset".to_owned(),
        None => return None,
    };
    Some(CallError {
        kind,
        message: None,
    })
}
