//! Failures: `{code, message, request_id}`, under any status.

use crate::model::call::CallError;
use crate::provider::error;
use crate::provider::json::Object;
use crate::provider::json::field;

/// The error of a document, if it is one. A success may have an empty code.
pub(super) fn in_document(root: &Object) -> Option<CallError> {
    let code = root.get("code").and_then(error::scalar)?;
    let message = field::nonempty(root, "message").or_else(|| field::nonempty(root, "msg"));
    Some(CallError {
        kind: code,
        message: message.map(error::bounded),
    })
}

/// The error of a failed HTTP exchange.
pub(super) fn of_status(status: u16, document: Option<&Object>, body: &[u8]) -> CallError {
    let told = document.and_then(in_document);
    told.unwrap_or_else(|| error::of_status(status, document, body))
}

/// Whether a document that has a code has no output: then it is an error whatever its status.
pub(super) fn instead_of_output(root: &Object) -> Option<CallError> {
    let output = field::object(root, "output");
    let says = output.is_some_and(|o| o.values().any(|v| !v.is_null()));
    in_document(root).filter(|_| !says)
}
