//! Tools that the provider runs itself, as output items of the responses API.

use crate::model::call::Part;
use crate::provider::json::Object;
use crate::provider::json::field;
use serde_json::{Value, json};

/// Output item and the tool's name.
const CALLS: [(&str, &str); 7] = [
    ("code_interpreter_call", "code_interpreter"),
    ("file_search_call", "file_search"),
    ("image_generation_call", "image_generation"),
    ("mcp_call", "mcp"),
    ("mcp_list_tools", "mcp_list_tools"),
    ("tool_search_call", "tool_search"),
    ("web_search_call", "web_search"),
];

/// The part that an item stands for, and whether it says that it failed.
pub(super) fn part(kind: &str, mut item: Object) -> Option<(Part, bool)> {
    let is_search = matches!(kind, "tool_search_call" | "tool_search_output");
    if is_search && field::str(&item, "execution") != Some("server") {
        return None;
    }
    let failed = kind == "mcp_list_tools" && field::is_set(&item, "error");
    let own = field::owned(&item, "id");
    let paired = field::owned(&item, "call_id");
    let name = field::owned(&item, "name");
    item.retain(|k, v| !v.is_null() && !matches!(k.as_str(), "id" | "call_id" | "type" | "name"));
    if kind == "tool_search_output" {
        item.insert("type".to_owned(), Value::from("tool_search"));
        let mut part =
            json!({"type": "server_tool_call_response", "server_tool_call_response": item});
        part["id"] = Value::from(paired);
        return Some((Part::Other(part), failed));
    }
    let (_, tool) = CALLS.iter().find(|(k, _)| *k == kind)?;
    item.insert("type".to_owned(), Value::from(*tool));
    let name = name.unwrap_or_else(|| (*tool).to_owned());
    let mut part = json!({"type": "server_tool_call", "name": name, "server_tool_call": item});
    part["id"] = Value::from(paired.or(own));
    Some((Part::Other(part), failed))
}
