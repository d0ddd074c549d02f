//! A span in the form in which spans of different makers are compared.

use anyhow::{Context as _, Result};
use genspan::model::span::{Span, Value as Attribute};
use genspan::vocabulary::attr;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Attributes whose text is a JSON document.
pub const STRUCTURED: [&str; 4] = [
    attr::INPUT_MESSAGES,
    attr::OUTPUT_MESSAGES,
    attr::SYSTEM_INSTRUCTIONS,
    attr::TOOL_DEFINITIONS,
];

/// What a span says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Its status is an error.
    pub failed: bool,
    /// What its status says of the error.
    pub message: Option<String>,
    /// Its attributes, structured ones parsed.
    pub attributes: BTreeMap<String, Value>,
}

impl Seen {
    /// A span of the trace stage.
    ///
    /// # Errors
    ///
    /// When an attribute is there twice, or holds JSON that is none.
    pub fn of_span(span: &Span) -> Result<Self> {
        let mut attributes = BTreeMap::new();
        for (name, value) in &span.attributes {
            let value = match value {
                Attribute::Str(s) => json!(s),
                Attribute::Int(n) => json!(n),
                Attribute::Double(n) => json!(n),
                Attribute::Bool(b) => json!(b),
                Attribute::StrList(l) => json!(l),
            };
            let before = attributes.insert(name.to_string(), parsed(name, value)?);
            anyhow::ensure!(before.is_none(), "{name} is there twice");
        }
        Ok(Self {
            name: span.name.clone(),
            failed: span.error.is_some(),
            message: span.error.clone(),
            attributes,
        })
    }

    /// A line of the agent's output.
    ///
    /// # Errors
    ///
    /// When it is no span, or an attribute holds JSON that is none.
    pub fn of_line(line: &Value) -> Result<Self> {
        let mut attributes = BTreeMap::new();
        for (name, value) in line["attributes"]
            .as_object()
            .context("a span has no attributes")?
        {
            attributes.insert(name.clone(), parsed(name, value.clone())?);
        }
        Ok(Self {
            name: line["name"]
                .as_str()
                .context("a span has no name")?
                .to_owned(),
            failed: line["status"]["code"] == "ERROR",
            message: line["status"]["message"].as_str().map(str::to_owned),
            attributes,
        })
    }

    /// A span of the peer, whose structured attributes are parsed already.
    ///
    /// # Errors
    ///
    /// When it is no span.
    pub fn of_peer(span: &Value) -> Result<Self> {
        let mut attributes = BTreeMap::new();
        for (name, value) in span["attributes"]
            .as_object()
            .context("a span has no attributes")?
        {
            let structured = STRUCTURED.contains(&name.as_str());
            let value = if structured {
                without_nulls(value, 0)
            } else {
                value.clone()
            };
            attributes.insert(name.clone(), value);
        }
        Ok(Self {
            name: span["name"]
                .as_str()
                .context("a span has no name")?
                .to_owned(),
            failed: span["status"]["status_code"] == "ERROR",
            message: None,
            attributes,
        })
    }
}

fn parsed(name: &str, value: Value) -> Result<Value> {
    match &value {
        Value::String(text) if STRUCTURED.contains(&name) => {
            serde_json::from_str(text).with_context(|| format!("{name} is not JSON: {text}"))
        }
        _ => Ok(value),
    }
}

/// The peer writes optional fields of messages, parts and tools as null; we leave them out.
fn without_nulls(value: &Value, depth: usize) -> Value {
    match value {
        Value::Object(map) if depth < 4 => {
            let some = map.iter().filter(|(_, v)| !v.is_null());
            some.map(|(k, v)| (k.clone(), without_nulls(v, depth + 1)))
                .collect()
        }
        Value::Array(list) if depth < 4 => {
            list.iter().map(|v| without_nulls(v, depth + 1)).collect()
        }
        other => other.clone(),
    }
}

/// Whether two values are the same; numbers by their value.
#[must_use]
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|o| same(v, o)))
        }
        _ => a == b,
    }
}
