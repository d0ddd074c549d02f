//! Converse: requests, and answers that came as one document. Amazon's Nova speaks nearly the
//! same when it is invoked.

use super::{blocks, usage};
use crate::model::call::{CallRequest, CallResponse, Message, Part, ToolDefinition};
use crate::provider::content::definition;
use crate::provider::json::field;
use crate::provider::json::{Document, Object};
use crate::provider::limits::{MAX_MESSAGES, MAX_TOOLS};
use crate::provider::shape::Answer;
use crate::provider::text::Room;
use serde_json::Value;

/// Reads a request's body.
pub(super) fn request(mut body: Object, room: &mut Room) -> CallRequest {
    let empty = Object::new();
    let settings = field::object(&body, "inferenceConfig").unwrap_or(&empty);
    let more = field::object(&body, "additionalModelRequestFields").unwrap_or(&empty);
    let more_settings = field::object(more, "inferenceConfig").unwrap_or(&empty);
    let top_k = |o: &Object| field::int(o, "topK").or_else(|| field::int(o, "top_k"));
    let guardrail = field::object(&body, "guardrailConfig");
    let format = field::object(&body, "outputConfig").and_then(|o| field::object(o, "textFormat"));
    let mut request = CallRequest {
        temperature: field::float(settings, "temperature"),
        top_p: field::float(settings, "topP").or_else(|| field::float(settings, "top_p")),
        top_k: top_k(settings)
            .or_else(|| top_k(more))
            .or_else(|| top_k(more_settings)),
        max_tokens: field::int(settings, "maxTokens")
            // As Nova has it when it is invoked.
            .or_else(|| field::int(settings, "max_new_tokens")),
        stop_sequences: texts(settings, "stopSequences"),
        output_type: format
            .filter(|f| field::str(f, "type") == Some("json_schema"))
            .map(|_| "json"),
        guardrail_id: guardrail.and_then(|g| field::owned(g, "guardrailIdentifier")),
        ..CallRequest::default()
    };
    request.system_instructions = blocks::of(field::take(&mut body, "system"), room);
    let list = field::take_list(&mut body, "messages").unwrap_or_default();
    request.messages = messages(list, room);
    if let Some(Value::Object(mut config)) = field::take(&mut body, "toolConfig") {
        let list = field::take_list(&mut config, "tools").unwrap_or_default();
        request.tools = list.into_iter().take(MAX_TOOLS).filter_map(tool).collect();
    }
    request
}

/// A list of nothing but texts.
pub(super) fn texts(object: &Object, key: &str) -> Option<Vec<String>> {
    let list = field::list(object, key)?;
    list.iter().map(|s| Some(s.as_str()?.to_owned())).collect()
}

fn messages(list: Vec<Value>, room: &mut Room) -> Vec<Message> {
    let skip = list.len().saturating_sub(MAX_MESSAGES);
    list.into_iter()
        .skip(skip)
        .filter_map(|value| match value {
            Value::Object(mut o) => Some(Message {
                role: field::take_string(&mut o, "role")?,
                parts: blocks::of(field::take(&mut o, "content"), room),
                ..Message::default()
            }),
            _ => None,
        })
        .filter(|m: &Message| !m.parts.is_empty())
        .collect()
}

/// The client's tools are functions; of Amazon's own only the name is kept.
fn tool(tool: Value) -> Option<ToolDefinition> {
    let Value::Object(mut tool) = tool else {
        return None;
    };
    if let Some(system) = field::object(&tool, "systemTool") {
        let name = field::owned(system, "name")?;
        return Some(definition("system_tool", name, Object::new()));
    }
    let Value::Object(mut spec) = field::take(&mut tool, "toolSpec")? else {
        return None;
    };
    let name = field::take_string(&mut spec, "name")?;
    let mut more = Object::new();
    if let Some(text) = field::take(&mut spec, "description") {
        more.insert("description".to_owned(), text);
    }
    if let Some(Value::Object(mut schema)) = field::take(&mut spec, "inputSchema")
        && let Some(schema) = field::take(&mut schema, "json")
    {
        more.insert("parameters".to_owned(), schema);
    }
    Some(definition("function", name, more))
}

/// Reads the document of a successful exchange.
pub(super) fn answer(document: Document, room: &mut Room) -> Answer {
    let Document { mut root, whole } = document;
    let mut response = CallResponse {
        model: invoked(&root),
        usage: field::object(&root, "usage")
            .map(usage::read)
            .unwrap_or_default(),
        ..CallResponse::default()
    };
    let reason = field::owned(&root, "stopReason");
    if let Some(Value::Object(mut output)) = field::take(&mut root, "output")
        && let Some(Value::Object(mut message)) = field::take(&mut output, "message")
    {
        let role = field::take_string(&mut message, "role");
        let parts = blocks::of(field::take(&mut message, "content"), room);
        close(&mut response, role, parts, reason, whole);
    }
    Answer {
        response,
        ..Answer::default()
    }
}

/// The model that a router of prompts chose.
pub(super) fn invoked(root: &Object) -> Option<String> {
    let router = field::object(field::object(root, "trace")?, "promptRouter")?;
    field::owned(router, "invokedModelId")
}

/// Puts a message and its end into the response. `whole` says that a reason that is not there was
/// not given.
pub(super) fn close(
    response: &mut CallResponse,
    role: Option<String>,
    parts: Vec<Part>,
    reason: Option<String>,
    whole: bool,
) {
    let reason = reason.or_else(|| whole.then(|| "error".to_owned()));
    response.messages.push(Message {
        role: role.unwrap_or_else(|| "assistant".to_owned()),
        name: None,
        parts,
        finish_reason: reason.as_deref().map(|r| mapped(r).to_owned()),
    });
    response.finish_reasons.extend(reason);
}

/// The same of an answer that may not have come to its end.
pub(super) fn close_cut(
    response: &mut CallResponse,
    role: Option<String>,
    parts: Vec<Part>,
    reason: Option<String>,
) {
    let cut = reason.is_none();
    close(response, role, parts, reason, false);
    if let (true, Some(message)) = (cut, response.messages.last_mut()) {
        message.finish_reason = Some("error".to_owned());
    }
}

/// The reason of an end, in the words of the conventions: of converse, and of all the makers.
fn mapped(reason: &str) -> &str {
    match reason {
        "end_turn" | "stop_sequence" | "FINISH" | "FINISHED" | "endoftext" => "stop",
        "STOP_CRITERIA_MET" | "SUCCESS" => "stop",
        "max_tokens" | "model_context_window_exceeded" | "LENGTH" => "length",
        "tool_use" => "tool_call",
        "guardrail_intervened" | "content_filtered" | "CONTENT_FILTERED" => "content_filter",
        other => other,
    }
}
