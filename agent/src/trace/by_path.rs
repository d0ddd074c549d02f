//! An operator's JSON paths, applied to messages in the form in which they are told.

use super::json::{Cut, value};
use crate::model::call::{Message, Part, Text, ToolDefinition};
use crate::redact::Redactor;
use serde::Serialize;
use serde_json::Value;

/// Applies the paths to a list of messages.
pub(super) fn messages(redactor: &Redactor, messages: &mut [Message]) {
    let Some(list) = replaced(redactor, messages) else {
        return;
    };
    for (message, new) in messages.iter_mut().zip(list) {
        let Value::Object(mut new) = new else {
            message.parts = vec![told(new)];
            continue;
        };
        set(&mut message.role, new.get("role"));
        for (text, name) in [
            (&mut message.name, "name"),
            (&mut message.finish_reason, "finish_reason"),
        ] {
            if let Some(text) = text {
                set(text, new.get(name));
            }
        }
        match new.remove("parts") {
            Some(Value::Array(list)) => put_parts(&mut message.parts, list),
            Some(other) => message.parts = vec![told(other)],
            None => {}
        }
    }
}

/// Applies them to instructions.
pub(super) fn parts(redactor: &Redactor, parts: &mut [Part]) {
    if let Some(list) = replaced(redactor, parts) {
        put_parts(parts, list);
    }
}

/// Applies them to tools.
pub(super) fn tools(redactor: &Redactor, tools: &mut [ToolDefinition]) {
    let mut list: Value = tools.iter().map(|t| t.definition.clone()).collect();
    if !redactor.document(&mut list) {
        return;
    }
    let all = match list {
        Value::Array(list) => list,
        // All of them in one.
        other => vec![other; tools.len()],
    };
    for (tool, new) in tools.iter_mut().zip(all) {
        if let Some(name) = &mut tool.name {
            match new.as_object() {
                Some(new) => set(name, new.get("name")),
                None => set(name, Some(&new)),
            }
        }
        tool.definition = new;
    }
}

/// The list as JSON with what the paths lead to replaced, if that is anything.
fn replaced<T>(redactor: &Redactor, items: &[T]) -> Option<Vec<Value>>
where
    for<'a> Cut<'a, T>: Serialize,
{
    if items.is_empty() {
        return None;
    }
    let mut document = value(items);
    if !redactor.document(&mut document) {
        return None;
    }
    Some(match document {
        Value::Array(list) => list,
        other => vec![other; items.len()],
    })
}

fn put_parts(parts: &mut [Part], list: Vec<Value>) {
    for (part, new) in parts.iter_mut().zip(list) {
        if new.is_object() {
            put_part(part, new);
        } else {
            *part = told(new);
        }
    }
}

/// What stands for a part that was replaced as a whole.
fn told(marker: Value) -> Part {
    let text = match marker {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Part::Text(text.into())
}

fn put_part(part: &mut Part, mut new: Value) {
    let mut take = |name: &str| new.get_mut(name).map(Value::take);
    match part {
        Part::Text(text) | Part::Reasoning(text) | Part::Blob { content: text, .. } => {
            put_text(text, take("content"));
        }
        Part::ToolCall {
            id,
            name,
            arguments,
        } => {
            if let Some(id) = id {
                set(id, take("id").as_ref());
            }
            set(name, take("name").as_ref());
            if arguments.is_some() {
                *arguments = take("arguments");
            }
        }
        Part::ToolCallResponse { id, response } => {
            if let Some(id) = id {
                set(id, take("id").as_ref());
            }
            if let Some(new) = take("response") {
                *response = new;
            }
        }
        Part::File { file_id, .. } => set(file_id, take("file_id").as_ref()),
        Part::Uri { uri, .. } => set(uri, take("uri").as_ref()),
        Part::Other(value) => *value = new,
    }
}

fn put_text(text: &mut Text, new: Option<Value>) {
    if let Some(Value::String(new)) = new
        && new != text.kept
    {
        *text = new.into();
    }
}

fn set(text: &mut String, new: Option<&Value>) {
    if let Some(Value::String(new)) = new
        && new != text
    {
        text.clone_from(new);
    }
}
