//! The Model Context Protocol over streamable HTTP: JSON-RPC messages, answered by a document or
//! an event stream. Tools that are run so are spans, and so is whatever else the client asks.
//!
//! The address may be any. What a client must send tells: `Accept` with both forms of the answer,
//! or the headers of the protocol; the message itself confirms it.
//!
//! Source: Model Context Protocol, revision 2025-06-18, "Transports", "Lifecycle", "Tools",
//! "Prompts", "Resources"; JSON-RPC 2.0.

mod answer;
mod request;

#[cfg(test)]
mod tests;

use super::body::Body;
use super::json::field;
use super::json::{Document, Object};
use super::shape::{Answer, Found, Read, Shape, Stream, read_document};
use super::target::Target;
use super::text::Room;
use crate::model::call::{Api, CallRequest, CallResponse, Operation};
use crate::model::exchange::Headers;
use answer::MessageStream;

/// Whoever answers.
const PROVIDER: &str = "mcp";

const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";

/// The shape.
#[derive(Debug)]
pub(super) struct Mcp;

impl Shape for Mcp {
    fn request_headers(&self) -> &'static [&'static str] {
        &["accept", SESSION, VERSION]
    }

    fn response_headers(&self) -> &'static [&'static str] {
        &[SESSION]
    }

    fn route(&self, target: &Target<'_>) -> Option<Found> {
        let named = |name: &str| target.headers.get(name).map(str::to_owned);
        let (session, version) = (named(SESSION), named(VERSION));
        let told = session.is_some() || version.is_some() || accepts(target.headers);
        if target.method != "POST" || !(told || target.path.ends_with("/mcp")) {
            return None;
        }
        let mut found = Found::new(Operation::Mcp, Api::Mcp, PROVIDER);
        found.fixed = true;
        found.session = session.filter(|s| !s.is_empty());
        found.version = version.filter(|v| !v.is_empty());
        Some(found)
    }

    /// Answers that the client gives to the server's requests are none.
    fn confirms(&self, _: &Found, body: &Object) -> bool {
        field::str(body, "jsonrpc") == Some("2.0") && request::method(body).is_some()
    }

    fn refine(&self, found: &mut Found, body: &Object) {
        if request::method(body) == Some(request::CALL) {
            found.operation = Operation::ExecuteTool;
        }
    }

    fn request(&self, found: &Found, body: Object, room: &mut Room) -> CallRequest {
        request::read(found, body, room)
    }

    /// Notifications are answered by nothing.
    fn document(&self, found: &Found, body: &Body, ended: bool, room: &mut Room) -> Read {
        if body.held() == 0 {
            return Read {
                answer: Answer::default(),
                whole: true,
                foreign: false,
            };
        }
        read_document(self, found, body, ended, room)
    }

    fn answer(&self, found: &Found, document: Document, room: &mut Room) -> Answer {
        answer::read(found.operation, document.root, room)
    }

    fn is_answer(&self, _: &Found, root: &Object) -> bool {
        answer::is_response(root)
    }

    fn is_error(&self, root: &Object) -> bool {
        field::str(root, "jsonrpc").is_some() && field::object(root, "error").is_some()
    }

    fn stream(&self, found: &Found) -> Box<dyn Stream> {
        Box::new(MessageStream::new(found.operation))
    }

    fn headers(&self, response: &mut CallResponse, headers: &Headers) {
        if let Some(session) = headers.get(SESSION).filter(|s| !s.is_empty()) {
            let mcp = response.mcp.get_or_insert_default();
            mcp.session_id = Some(session.to_owned());
        }
    }
}

/// Whether a client takes both forms of answers, as it must.
fn accepts(headers: &Headers) -> bool {
    headers.get("accept").is_some_and(|accept| {
        let accept = accept.to_ascii_lowercase();
        accept.contains("application/json") && accept.contains("text/event-stream")
    })
}
