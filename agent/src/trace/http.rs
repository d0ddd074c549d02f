//! Spans of plain HTTP requests, by the HTTP conventions.

use super::attributes::{self, Ends, Set};
use super::span::{self, At};
use super::stage::Known;
use crate::model::exchange::Role;
use crate::model::request::HttpRequest;
use crate::model::span::Span;
use crate::redact::Redactor;
use crate::vocabulary::attr;

/// Methods that the conventions know; any other could be anything.
const METHODS: [&str; 10] = [
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "QUERY",
];

/// A method that is none of them.
pub(super) const OTHER: &str = "_OTHER";

/// A span whose method is none of them.
const UNNAMED: &str = "HTTP";

/// The span of a request that is no model call. Its name is the method alone: which part of a
/// path is a name and which an id, only the application knows.
pub(super) fn of_request(
    at: At,
    known: &Known,
    request: &HttpRequest,
    redactor: &Redactor,
) -> Span {
    let policy = &known.content;
    let role = request.begun.role;
    let mut set = Set::new(policy.max_attribute_chars, redactor);
    let method = METHODS.into_iter().find(|m| *m == request.method);
    set.add(attr::HTTP_REQUEST_METHOD, method.unwrap_or(OTHER));
    if method.is_none() {
        set.add(attr::HTTP_REQUEST_METHOD_ORIGINAL, request.method.clone());
    }
    let scheme = if request.begun.connection.is_socket() {
        "http"
    } else {
        "https"
    };
    // What is asked is content.
    let query = Some(request.query.as_str()).filter(|q| !q.is_empty() && policy.on_spans);
    match role {
        Role::Server => {
            set.add(attr::URL_SCHEME, scheme);
            set.add(attr::URL_PATH, request.path.clone());
            set.may(attr::URL_QUERY, query.map(str::to_owned));
        }
        Role::Client => {
            set.may(attr::URL_FULL, full(request, scheme, query));
        }
    }
    attributes::addresses(
        &mut set,
        &Ends {
            role,
            host: request.server_address.as_deref(),
            port: request.server_port,
            peer: request.peer,
            local: request.local,
        },
    );
    if request.http2 {
        set.add(attr::NETWORK_PROTOCOL_VERSION, "2");
    }
    set.may(attr::USER_AGENT_ORIGINAL, request.user_agent.clone());
    set.may(
        attr::HTTP_RESPONSE_STATUS_CODE,
        request.status.map(i64::from),
    );
    // A client's mistake is no failure of the server.
    let from = match role {
        Role::Client => 400,
        Role::Server => 500,
    };
    let failed = request.status.filter(|status| *status >= from);
    let error = failed.map(|status| status.to_string());
    let error = error.or(request.error.map(str::to_owned));
    set.may(attr::ERROR_TYPE, error.clone());
    if !request.defects.is_none() {
        let names: Vec<String> = request.defects.names().map(str::to_owned).collect();
        set.add(attr::DEFECTS, names);
    }
    at.source(&mut set);
    at.path(&mut set);
    let start = at.offset.wall(request.begun.start);
    Span {
        trace_id: at.place.trace,
        span_id: at.place.span,
        parent_span_id: at.place.parent.map(|(span, _)| span),
        // Half of it would be another one.
        trace_state: at.place.state.filter(|s| redactor.text(s) == s.as_str()),
        name: method.unwrap_or(UNNAMED).to_owned(),
        kind: span::kind(role),
        start,
        end: at.offset.wall(request.end).max(start),
        error: error.map(|_| String::new()),
        attributes: set.done(),
        events: Vec::new(),
        chunk_gaps: None,
        pid: request.begun.connection.pid,
        resource: known.resource.clone(),
        sampled: known.share.has(at.place.trace),
    }
}

/// The address that a client asked for.
fn full(request: &HttpRequest, scheme: &str, query: Option<&str>) -> Option<String> {
    let host = request.server_address.as_deref()?;
    let bracket = host.contains(':');
    let (open, close) = if bracket { ("[", "]") } else { ("", "") };
    let mut url = format!("{scheme}://{open}{host}{close}");
    let usual = if scheme == "http" { 80 } else { 443 };
    if let Some(port) = request.server_port.filter(|p| *p != usual) {
        url.push_str(&format!(":{port}"));
    }
    url.push_str(&request.path);
    if let Some(query) = query {
        url.push('?');
        url.push_str(query);
    }
    Some(url)
}
