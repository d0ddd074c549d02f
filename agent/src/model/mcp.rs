//! What a client asks of an MCP server, and what it gets. The conventions have such calls as
//! spans of their own.

use serde_json::Value as Json;

/// What the request of a JSON-RPC message asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct McpRequest {
    /// Method; only known ones are followed.
    pub method: &'static str,
    /// Id of the JSON-RPC request; notifications have none.
    pub id: Option<String>,
    /// Session that it belongs to.
    pub session_id: Option<String>,
    /// Version of the protocol.
    pub protocol_version: Option<String>,
    /// Tool to run.
    pub tool: Option<String>,
    /// Prompt to get.
    pub prompt: Option<String>,
    /// Resource that it is about.
    pub resource_uri: Option<String>,
    /// Arguments of the tool.
    pub arguments: Option<Json>,
    /// `traceparent` in the message itself.
    pub traceparent: Option<String>,
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct McpResponse {
    /// Session that the server began.
    pub session_id: Option<String>,
    /// Version of the protocol that the server chose.
    pub protocol_version: Option<String>,
    /// JSON-RPC error code.
    pub code: Option<i64>,
    /// What the tool gave.
    pub result: Option<Json>,
}
