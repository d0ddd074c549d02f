//! HTTP exchanges as the provider stage tells them: that one began, and, of one that is no model
//! call, what it was.

use core::net::SocketAddr;

use super::defect::Defects;
use super::event::ConnectionId;
use super::exchange::{ExchangeId, Role};
use super::propagated::Propagated;
use super::time::BootTime;

/// An exchange that began, of which something may be told later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The exchange.
    pub exchange: ExchangeId,
    /// The connection it goes over.
    pub connection: ConnectionId,
    /// Whether the process made the request or serves it.
    pub role: Role,
    /// Thread that sent the request, or read it.
    pub tid: u32,
    /// First byte of the request.
    pub start: BootTime,
    /// Trace context that the request carries.
    pub propagated: Option<Propagated>,
    /// Identifier of its HTTP/2 stream (RFC 9113, section 5.1.1), which is the same at both ends of the
    /// connection; none over anything else.
    pub stream: Option<u32>,
}

/// An HTTP request that is no model call, when it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// What is known since its beginning.
    pub begun: Begun,
    /// Method, as sent.
    pub method: String,
    /// Path without query, as sent.
    pub path: String,
    /// Query, values of secret parameters dropped; may say what a user asked, so it counts as
    /// content.
    pub query: String,
    /// Host the client addressed.
    pub server_address: Option<String>,
    /// Port the client addressed.
    pub server_port: Option<u16>,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// Status of the response, when one was seen.
    pub status: Option<u16>,
    /// Why there is no response, when there is none.
    pub error: Option<&'static str>,
    /// End of the response, or what ended the exchange.
    pub end: BootTime,
    /// The peer's address, when its socket was seen.
    pub peer: Option<SocketAddr>,
    /// The process's own address on that connection, when its socket was seen.
    pub local: Option<SocketAddr>,
    /// It went over HTTP/2.
    pub http2: bool,
    /// What could not be seen right.
    pub defects: Defects,
}
