//! Spans of what is asked of MCP servers (semconv 7).

use super::attributes::Set;
use super::content::{document, json_chars as chars, signed};
use crate::model::call::{ModelCall, Operation};
use crate::model::mcp::McpRequest;
use crate::vocabulary::{attr, operation};
use serde_json::Value;

/// The span's name: the method and the tool or prompt that it is about.
pub(super) fn name(asked: &McpRequest) -> String {
    match asked.tool.as_ref().or(asked.prompt.as_ref()) {
        Some(target) => format!("{} {target}", asked.method),
        // Its request was not seen whole.
        None if asked.method.is_empty() => operation::MCP.to_owned(),
        None => asked.method.to_owned(),
    }
}

/// All that is not content and not common to all calls.
pub(super) fn of_call(set: &mut Set<'_>, call: &ModelCall, asked: &McpRequest) {
    if call.operation == Operation::ExecuteTool {
        set.add(attr::OPERATION_NAME, operation::name(call.operation));
    }
    if !asked.method.is_empty() {
        set.add(attr::MCP_METHOD_NAME, asked.method);
    }
    let told = call.response.mcp.as_deref();
    let session = told.and_then(|t| t.session_id.as_ref());
    let session = asked.session_id.as_ref().or(session);
    set.may(attr::MCP_SESSION_ID, session.cloned());
    // What the server chose counts.
    let version = told.and_then(|t| t.protocol_version.as_ref());
    let version = version.or(asked.protocol_version.as_ref());
    set.may(attr::MCP_PROTOCOL_VERSION, version.cloned());
    set.may(attr::MCP_RESOURCE_URI, asked.resource_uri.clone());
    set.may(attr::JSONRPC_REQUEST_ID, asked.id.clone());
    let code = told.and_then(|t| t.code);
    set.may(attr::RPC_RESPONSE_STATUS_CODE, code.map(|c| c.to_string()));
    set.may(attr::TOOL_NAME, asked.tool.clone());
    set.may(attr::PROMPT_NAME, asked.prompt.clone());
    set.add(attr::NETWORK_TRANSPORT, "tcp");
    set.add(attr::NETWORK_PROTOCOL_NAME, "http");
}

/// What the tool was given, and what it gave.
fn given_and_got(call: &ModelCall) -> [(Option<&Value>, &'static str, &'static str); 2] {
    let asked = call.request.mcp.as_deref();
    let told = call.response.mcp.as_deref();
    [
        (
            asked.and_then(|m| m.arguments.as_ref()),
            attr::TOOL_CALL_ARGUMENTS,
            attr::TOOL_CALL_ARGUMENTS_CHARS,
        ),
        (
            told.and_then(|m| m.result.as_ref()),
            attr::TOOL_CALL_RESULT,
            attr::TOOL_CALL_RESULT_CHARS,
        ),
    ]
}

/// Both, as JSON. Of what has more than `max` characters the beginning of its JSON is told, as a
/// text; what does not fit the attribute's limit even so is left out: half of it is no JSON.
pub(super) fn content(set: &mut Set<'_>, call: &ModelCall, max: usize) {
    for (value, name, _) in given_and_got(call) {
        if let Some(value) = value {
            document(set, name, value, max);
        }
    }
}

/// How much both are.
pub(super) fn sizes(set: &mut Set<'_>, call: &ModelCall) {
    for (value, _, name) in given_and_got(call) {
        set.may(name, value.map(|v| signed(chars(v))));
    }
}
