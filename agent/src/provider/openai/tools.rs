//! Tools that a request offers.

use crate::model::call::ToolDefinition;
use crate::provider::content::definition;
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::limits::MAX_TOOLS;
use serde_json::Value;

/// The tools of a request, nested as chat completions have them or flat as responses do. Of
/// tools that are no functions only type and name are kept: a remote server's entry holds keys.
pub(in crate::provider) fn offered(list: Vec<Value>) -> Vec<ToolDefinition> {
    list.into_iter()
        .take(MAX_TOOLS)
        .filter_map(|tool| match tool {
            Value::Object(o) => one(o),
            _ => None,
        })
        .collect()
}

fn one(mut tool: Object) -> Option<ToolDefinition> {
    let kind = field::owned(&tool, "type")?;
    let nested = match field::take(&mut tool, &kind) {
        Some(Value::Object(o)) => Some(o),
        _ => None,
    };
    if kind == "function" {
        return Some(function(nested.unwrap_or(tool)));
    }
    let name = nested.as_ref().unwrap_or(&tool);
    let name = field::owned(name, "name").unwrap_or_else(|| kind.clone());
    Some(definition(&kind, name, Object::new()))
}

/// The `functions` of old.
pub(super) fn legacy(list: Vec<Value>) -> Vec<ToolDefinition> {
    list.into_iter()
        .take(MAX_TOOLS)
        .filter_map(|f| match f {
            Value::Object(o) => Some(function(o)),
            _ => None,
        })
        .collect()
}

fn function(mut f: Object) -> ToolDefinition {
    let name = field::take_string(&mut f, "name").unwrap_or_default();
    let mut more = Object::new();
    for key in ["description", "parameters"] {
        if let Some(value) = field::take(&mut f, key) {
            more.insert(key.to_owned(), value);
        }
    }
    definition("function", name, more)
}
