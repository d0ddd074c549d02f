//! Redaction of a call's content, before it is cut and written as JSON.

use super::by_path;
use crate::model::call::{Message, ModelCall, Part, ToolDefinition};
use crate::model::defect::Defects;
use crate::model::span::{Attributes, Value};
use crate::redact::Redactor;
use std::borrow::Cow;

/// After these a text of the request may go on where it ends.
const REQUEST_CUT: [Defects; 6] = [
    Defects::REQUEST_GAP,
    Defects::REQUEST_OVER_LIMIT,
    Defects::REQUEST_CUT,
    Defects::REQUEST_MALFORMED,
    Defects::BODY_UNDECODABLE,
    Defects::BODY_TOO_EXPANSIVE,
];

/// The same of the response.
const RESPONSE_CUT: [Defects; 8] = [
    Defects::RESPONSE_GAP,
    Defects::RESPONSE_OVER_LIMIT,
    Defects::RESPONSE_CUT,
    Defects::RESPONSE_MALFORMED,
    Defects::BODY_UNDECODABLE,
    Defects::BODY_TOO_EXPANSIVE,
    Defects::EVENT_OVER_LIMIT,
    Defects::EVENT_BROKEN,
];

/// All that counts as content of a call.
pub(super) fn content(redactor: &Redactor, call: &mut ModelCall) {
    if redactor.is_off() {
        return;
    }
    let any = |of: &[Defects]| {
        let broken = call.defects.has(Defects::JSON_BROKEN);
        broken || of.iter().any(|d| call.defects.has(*d))
    };
    let (sent, received) = (any(&REQUEST_CUT), any(&RESPONSE_CUT));
    if let Some(message) = call.error.as_mut().and_then(|e| e.message.as_mut()) {
        redactor.redact(message, false);
    }
    let request = &mut call.request;
    if redactor.has_paths() {
        by_path::messages(redactor, &mut request.messages);
        by_path::parts(redactor, &mut request.system_instructions);
        by_path::tools(redactor, &mut request.tools);
    }
    messages(redactor, &mut request.messages, sent);
    parts(redactor, &mut request.system_instructions, sent);
    tools(redactor, &mut request.tools, sent);
    if let Some(arguments) = request.mcp.as_mut().and_then(|m| m.arguments.as_mut()) {
        redactor.value_document(arguments);
        redactor.json(arguments, sent);
    }
    let response = &mut call.response;
    if redactor.has_paths() {
        by_path::messages(redactor, &mut response.messages);
        by_path::parts(redactor, &mut response.system_instructions);
        by_path::tools(redactor, &mut response.tools);
    }
    messages(redactor, &mut response.messages, received);
    parts(redactor, &mut response.system_instructions, received);
    tools(redactor, &mut response.tools, received);
    if let Some(result) = response.mcp.as_mut().and_then(|m| m.result.as_mut()) {
        redactor.value_document(result);
        redactor.json(result, received);
    }
}

pub(super) fn messages(redactor: &Redactor, messages: &mut [Message], cut: bool) {
    for message in messages {
        redactor.redact(&mut message.role, false);
        if let Some(name) = &mut message.name {
            redactor.redact(name, false);
        }
        parts(redactor, &mut message.parts, cut);
    }
}

fn parts(redactor: &Redactor, parts: &mut [Part], cut: bool) {
    for part in parts {
        match part {
            Part::Text(text) | Part::Reasoning(text) => {
                redactor.text_document(&mut text.kept);
                redactor.redact(&mut text.kept, cut || text.dropped > 0);
            }
            Part::ToolCall {
                id,
                name,
                arguments,
            } => {
                if let Some(id) = id {
                    redactor.redact(id, false);
                }
                redactor.redact(name, false);
                if let Some(arguments) = arguments {
                    redactor.value_document(arguments);
                    redactor.json(arguments, cut);
                }
            }
            Part::ToolCallResponse { id, response } => {
                if let Some(id) = id {
                    redactor.redact(id, false);
                }
                redactor.value_document(response);
                redactor.json(response, cut);
            }
            Part::File { file_id: text, .. } | Part::Uri { uri: text, .. } => {
                redactor.redact(text, cut);
            }
            Part::Other(value) => redactor.json(value, cut),
            // Base 64 is no text.
            Part::Blob { .. } => {}
        }
    }
}

fn tools(redactor: &Redactor, tools: &mut [ToolDefinition], cut: bool) {
    for tool in tools {
        if let Some(name) = &mut tool.name {
            redactor.redact(name, false);
        }
        redactor.json(&mut tool.definition, cut);
    }
}

/// Attributes that are not set through a [`Set`](super::attributes::Set): a resource's.
pub(super) fn attributes(redactor: &Redactor, attributes: &mut Attributes) {
    for (_, value) in attributes {
        redact(redactor, value);
    }
}

/// A value, unless it is one of the words that the conventions define.
pub(super) fn redact(redactor: &Redactor, value: &mut Value) {
    match value {
        Value::Str(Cow::Owned(text)) => redactor.redact(text, false),
        Value::StrList(list) => list
            .iter_mut()
            .for_each(|text| redactor.redact(text, false)),
        Value::Str(Cow::Borrowed(_)) | Value::Int(_) | Value::Double(_) | Value::Bool(_) => {}
    }
}
