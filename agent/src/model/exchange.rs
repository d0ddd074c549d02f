//! HTTP exchanges as the protocol stage tells them, whatever the version of HTTP.

use super::defect::Defects;
use super::event::ConnectionId;
use super::time::BootTime;

/// Names an exchange within one run of the pipeline: unique, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub u64);

/// Which end of a connection the traced process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It writes requests and reads responses.
    Client,
    /// It reads requests and writes responses.
    Server,
}

/// Headers that the agent has a use for, names in lower case. The parser keeps only those on its
/// list and never the value of one that carries a secret, so a `Headers` can be printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(&'static str, String)>);

impl Headers {
    /// Adds a header that is on the list.
    pub fn push(&mut self, name: &'static str, value: String) {
        self.0.push((name, value));
    }

    /// The first value of this (lower-case) name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| v.as_str())
    }

    /// All that were kept.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(n, v)| (*n, v.as_str()))
    }
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path without query, as sent (percent-encoding kept).
    pub path: String,
    /// Query without its `?`, the values of secret parameters dropped; empty when there is none.
    pub query: String,
    /// `Host` / `:authority`, or the host of an absolute request target; with its port if sent.
    pub host: Option<String>,
    /// The headers worth keeping.
    pub headers: Headers,
    /// Identifier of the HTTP/2 stream (RFC 9113, section 5.1.1), by which both ends know it; none over
    /// HTTP/1.
    pub stream: Option<u32>,
}

/// The head of a (final, not 1xx) response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Status code.
    pub status: u16,
    /// The headers worth keeping.
    pub headers: Headers,
}

/// Whether the receiver of an exchange wants what comes next of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Decode the bodies and hand them on.
    Wanted,
    /// Say when it goes on and ends, but leave the bodies alone.
    Outline,
    /// Only follow the framing; say nothing more of this exchange.
    Unwanted,
}

/// One event of a `text/event-stream` body (WHATWG HTML, section 9.2.6); or one document of
/// newline-delimited JSON, which has only data; or one message of Amazon's event streams, whose
/// name is its type and whose comment says `event`, `exception` or `error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// `event` field; empty when there was none.
    pub event: &'a str,
    /// `data` field: the lines joined with a newline.
    pub data: &'a [u8],
    /// The comment lines before it, joined with a newline (DashScope puts a status there).
    pub comment: &'a str,
}

/// Takes exchanges from the protocol stage, in the order of the wire. Bodies are freed of
/// transfer and content coding. Every exchange that was begun with a [`Interest::Wanted`] or an
/// [`Interest::Outline`] gets exactly one `response_end`, after which its id is not heard of again,
/// unless its `response_head` was unwanted. `request_end` comes at
/// most once and may come after the response's parts (a server may answer early).
///
/// An exchange begins with its `request_head`, or with `half_seen`: then nothing of its request
/// comes, and nothing of its response's head when that was not seen either.
pub trait ExchangeSink {
    /// An exchange that was under way when its connection was first seen. `time` is that of the
    /// first byte that was seen of it, `tid` the thread that moved it.
    fn half_seen(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        tid: u32,
        time: BootTime,
    ) -> Interest;

    /// Whether calls may be expected on the connection of a request that is none itself, by whom it
    /// is for.
    fn expects_calls(&self, _: &RequestHead) -> bool {
        false
    }

    /// A request begins. `time` is that of its first byte, `tid` the thread that moved it.
    fn request_head(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        tid: u32,
        time: BootTime,
        head: &RequestHead,
    ) -> Interest;

    /// The next bytes of the request's body. `missing` bytes before them were not seen.
    fn request_body(&mut self, id: ExchangeId, missing: u64, bytes: &[u8]);

    /// The request is whole, or will not become so.
    fn request_end(&mut self, id: ExchangeId, time: BootTime, defects: Defects);

    /// The final response begins.
    fn response_head(&mut self, id: ExchangeId, time: BootTime, head: &ResponseHead) -> Interest;

    /// The next bytes of a response body that does not come as events. `missing` bytes before
    /// them were not seen.
    fn response_body(&mut self, id: ExchangeId, time: BootTime, missing: u64, bytes: &[u8]);

    /// The next event of a body that comes as events.
    fn response_event(&mut self, id: ExchangeId, time: BootTime, event: SseEvent<'_>);

    /// Events of the stream are missing here, and so much may be missing that what follows is of
    /// another response: it counts only when it says itself that it is of this one.
    fn response_doubtful(&mut self, id: ExchangeId);

    /// The exchange is over. `time` is that of its last byte, or of what ended it.
    fn response_end(&mut self, id: ExchangeId, time: BootTime, defects: Defects);
}
