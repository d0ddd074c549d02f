//! Answers that came as one document; each says by its members which it is.

use super::{request, usage};
use crate::model::call::{CallError, CallResponse, Message, Part};
use crate::provider::error;
use crate::provider::json::field;
use crate::provider::json::{Document, Object};
use crate::provider::limits::MAX_CHOICES;
use crate::provider::openai::messages;
use crate::provider::shape::Answer;
use crate::provider::text::Room;
use serde_json::Value;

/// Reads the document of a successful exchange.
pub(super) fn read(document: Document, room: &mut Room) -> Answer {
    let Document { mut root, whole } = document;
    let mut answer = Answer {
        response: head(&root),
        error: instead(&root),
        ..Answer::default()
    };
    let response = &mut answer.response;
    let reason = field::owned(&root, "finish_reason");
    if let Some(Value::Object(message)) = field::take(&mut root, "message") {
        v2(response, message, reason, whole, room);
    } else if let Some(list) = field::take_list(&mut root, "generations") {
        answer.too_many = list.len() > MAX_CHOICES;
        generations(response, list, whole, room);
    } else if field::is_set(&root, "text") || field::is_set(&root, "tool_calls") {
        let parts = v1(&mut root, room);
        close(response, None, parts, reason, whole);
    } else if let Some(length) = dimension(&root) {
        response.embedding_dimensions = Some(length);
    }
    answer
}

/// Id and counts.
pub(super) fn head(root: &Object) -> CallResponse {
    let counts = field::object(root, "usage").or_else(|| field::object(root, "meta"));
    CallResponse {
        id: ["response_id", "id", "generation_id"]
            .iter()
            .find_map(|key| field::owned(root, key)),
        // Voyage's rerank names it.
        model: field::owned(root, "model"),
        usage: counts.map(usage::read).unwrap_or_default(),
        ..CallResponse::default()
    }
}

/// A gateway that says 200 and means an error: nothing but a message.
fn instead(root: &Object) -> Option<CallError> {
    const ANSWERS: [&str; 6] = [
        "text",
        "generations",
        "embeddings",
        "results",
        "tool_calls",
        "finish_reason",
    ];
    let answers = ANSWERS.iter().any(|key| field::is_set(root, key));
    if answers || field::object(root, "message").is_some() {
        return None;
    }
    let told = error::in_document(root).or_else(|| {
        field::str(root, "message").map(|message| CallError {
            kind: String::new(),
            message: Some(error::bounded(message)),
        })
    });
    told.map(|mut failed| {
        if failed.kind.is_empty() {
            failed.kind = error::OTHER.to_owned();
        }
        failed
    })
}

/// A message of the second version.
fn v2(
    response: &mut CallResponse,
    mut message: Object,
    reason: Option<String>,
    whole: bool,
    room: &mut Room,
) {
    request::plan_first(&mut message);
    let mut choice = Object::new();
    choice.insert("message".to_owned(), Value::Object(message));
    let said = messages::received(&mut choice, false, room);
    let (role, parts) = said.map(|m| (m.role, m.parts)).unzip();
    close(response, role, parts.unwrap_or_default(), reason, whole);
}

/// What an answer of the first version says.
pub(super) fn v1(root: &mut Object, room: &mut Room) -> Vec<Part> {
    let calls = request::tool_calls(root);
    let text = field::take_string(root, "text").filter(|t| calls.is_empty() || !t.is_empty());
    let text = text.map(|t| Part::Text(room.keep(t)));
    calls.into_iter().chain(text).collect()
}

fn generations(response: &mut CallResponse, list: Vec<Value>, whole: bool, room: &mut Room) {
    for generation in list.into_iter().take(MAX_CHOICES) {
        let Value::Object(mut generation) = generation else {
            continue;
        };
        let reason = field::owned(&generation, "finish_reason");
        let text = field::take_string(&mut generation, "text");
        let parts = text.map(|t| Part::Text(room.keep(t)));
        close(response, None, parts.into_iter().collect(), reason, whole);
    }
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

/// A finish reason in the words of the conventions.
pub(super) fn mapped(reason: &str) -> &str {
    match reason {
        "COMPLETE" | "complete" | "STOP_SEQUENCE" | "stop_sequence" => "stop",
        "MAX_TOKENS" | "max_tokens" | "ERROR_LIMIT" => "length",
        "TOOL_CALL" | "tool_call" => "tool_call",
        "ERROR_TOXIC" => "content_filter",
        "ERROR" | "error" | "TIMEOUT" | "timeout" => "error",
        other => other,
    }
}

/// Length of the first vector: of a list of such, or of a list by the vectors' type. Packed
/// vectors hold eight dimensions in each number.
fn dimension(root: &Object) -> Option<i64> {
    let length = |list: &Value| {
        let vector = list.as_array()?.first()?.as_array()?;
        i64::try_from(vector.len()).ok().filter(|n| *n > 0)
    };
    match root.get("embeddings")? {
        Value::Object(by_type) => by_type.iter().find_map(|(kind, list)| {
            let packed = matches!(kind.as_str(), "binary" | "ubinary");
            length(list).map(|n| if packed { n.saturating_mul(8) } else { n })
        }),
        list => length(list),
    }
}
