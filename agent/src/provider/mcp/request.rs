//! Messages that a client sends.

use crate::model::call::CallRequest;
use crate::model::mcp::McpRequest;
use crate::provider::content;
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::limits::MAX_NAME_BYTES;
use crate::provider::shape::Found;
use crate::provider::text::Room;
use serde_json::Value;

/// Runs a tool.
pub(super) const CALL: &str = "tools/call";

/// What a client may say to a server. Spans are named by it, so that nothing else counts.
const METHODS: [&str; 22] = [
    "initialize",
    "ping",
    CALL,
    "tools/list",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "logging/setLevel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/cancel",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/tasks/status",
    "notifications/roots/list_changed",
];

/// The method of a message, if it is a known one.
pub(super) fn method(body: &Object) -> Option<&'static str> {
    let told = field::str(body, "method")?;
    METHODS.into_iter().find(|m| *m == told)
}

/// Reads a message.
pub(super) fn read(found: &Found, mut body: Object, room: &mut Room) -> CallRequest {
    let mut mcp = McpRequest {
        method: method(&body).unwrap_or_default(),
        id: body.get("id").and_then(id),
        session_id: found.session.clone(),
        protocol_version: found.version.clone(),
        ..McpRequest::default()
    };
    if let Some(Value::Object(mut params)) = field::take(&mut body, "params") {
        let name = named(&params, "name");
        match mcp.method {
            CALL => {
                mcp.tool = name;
                mcp.arguments =
                    field::take(&mut params, "arguments").map(|a| content::within(a, room));
            }
            "prompts/get" => mcp.prompt = name,
            "initialize" => {
                let asked = named(&params, "protocolVersion");
                mcp.protocol_version = mcp.protocol_version.or(asked);
            }
            _ => {}
        }
        mcp.resource_uri = named(&params, "uri");
        mcp.traceparent =
            field::object(&params, "_meta").and_then(|meta| named(meta, "traceparent"));
    }
    CallRequest {
        mcp: Some(Box::new(mcp)),
        ..CallRequest::default()
    }
}

fn named(object: &Object, key: &str) -> Option<String> {
    field::owned(object, key).filter(|n| n.len() <= MAX_NAME_BYTES)
}

/// An id, which is a text or a number.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()).filter(|s| s.len() <= MAX_NAME_BYTES),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}
