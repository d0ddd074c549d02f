//! Why a response failed.

use crate::model::call::CallError;
use crate::provider::error;
use crate::provider::json::{Object, field};
use serde_json::Value;

/// The error of an event `error`.
pub(super) fn of_event(root: &Object) -> Option<CallError> {
    root.get("error")
        .filter(|e| !e.is_null())
        .map(error::of_event)
}

/// The error of a response that failed.
pub(super) fn of_response(response: &Object) -> Option<CallError> {
    let details = field::object(response, "status_details");
    let told = details
        .and_then(|d| d.get("error"))
        .filter(|e| !e.is_null())
        .map(error::of_event);
    let failed = field::str(response, "status") == Some("failed");
    let mut error = told.or_else(|| failed.then(|| error::of_event(&Value::Null)))?;
    if error.kind == error::OTHER {
        error.kind = "response.failed".to_owned();
    }
    Some(error)
}

/// The id of the client's event that an event `error` is about.
pub(super) fn about(root: &Object) -> Option<&str> {
    field::nonempty(field::object(root, "error")?, "event_id")
}

/// Whether an event `error` that names no event of the client's can only be about its asking for a
/// response.
pub(super) fn is_of_response(root: &Object) -> bool {
    let Some(error) = field::object(root, "error") else {
        return false;
    };
    field::str(error, "code") == Some("conversation_already_has_active_response")
        || field::str(error, "param").is_some_and(|p| p == "response" || p.starts_with("response."))
}
