//! Why a call failed, from what the server said about it.

use crate::model::call::CallError;
use crate::provider::json::Object;
use crate::provider::json::field;
use serde_json::Value;

/// Longest code that is one; what is longer is prose.
const MAX_KIND: usize = 80;

/// Bytes kept of a message.
const MAX_MESSAGE: usize = 4096;

/// The error of a document, if it has one.
pub(super) fn in_document(root: &Object) -> Option<CallError> {
    if let Some(error) = root.get("error").filter(|e| !e.is_null()) {
        return Some(from_value(error, root));
    }
    // vLLM of old, some gateways: the error is the document.
    let bare = field::str(root, "object") == Some("error")
        || field::str(root, "type") == Some("error")
        || (!field::is_set(root, "choices")
            && !field::is_set(root, "output")
            && !field::is_set(root, "data")
            && field::is_set(root, "message")
            && (field::is_set(root, "code") || field::is_set(root, "type")));
    bare.then(|| from_object(root))
}

/// The error of a failed HTTP exchange, with what its body says.
pub(super) fn of_status(status: u16, document: Option<&Object>, body: &[u8]) -> CallError {
    let listed = document.is_none().then(|| first_listed(body)).flatten();
    let document = document.or(listed.as_ref());
    let told = document.and_then(|root| {
        in_document(root).or_else(|| {
            let message = text(root.get("message").or_else(|| root.get("detail"))?)?;
            Some(CallError {
                kind: String::new(),
                message: Some(message),
            })
        })
    });
    let mut error = told.unwrap_or_else(|| CallError {
        kind: String::new(),
        message: document.is_none().then(|| plain(body)).flatten(),
    });
    if error.kind.is_empty() {
        error.kind = status.to_string();
    }
    error
}

/// Google puts the error of a stream that is an array into one, too.
fn first_listed(body: &[u8]) -> Option<Object> {
    if body.trim_ascii_start().first() != Some(&b'[') {
        return None;
    }
    match serde_json::from_slice(body).ok()? {
        Value::Array(list) => match list.into_iter().next()? {
            Value::Object(first) => Some(first),
            _ => None,
        },
        _ => None,
    }
}

/// The error of a document or an event that is `{"error":…}`, if it is one.
pub(super) fn in_event(root: &Object) -> Option<CallError> {
    let failed = root.get("error").filter(|e| !e.is_null())?;
    Some(of_event(failed))
}

/// The error of a mid-stream error event. The kind is never empty.
pub(super) fn of_event(error: &Value) -> CallError {
    let mut error = match error {
        Value::Object(o) => from_object(o),
        other => CallError {
            kind: String::new(),
            message: text(other),
        },
    };
    if error.kind.is_empty() {
        error.kind = OTHER.to_owned();
    }
    error
}

/// The kind of an error that says nothing of itself.
pub(super) const OTHER: &str = "_OTHER";

fn from_value(error: &Value, root: &Object) -> CallError {
    match error {
        Value::Object(o) => from_object(o),
        // `{"error": "…", "code": …}`, and `{"error": "…"}`.
        Value::String(s) => CallError {
            kind: from_object(root).kind,
            message: Some(bounded(s)),
        },
        other => CallError {
            kind: String::new(),
            message: text(other),
        },
    }
}

/// Code, else type, else Google's status, else a code that is but a number.
fn from_object(o: &Object) -> CallError {
    let code = o.get("code").and_then(scalar);
    let word = code
        .as_ref()
        .filter(|c| !c.bytes().all(|b| b.is_ascii_digit()));
    let kind = word.cloned();
    let kind = kind
        .or_else(|| {
            let kind = o.get("type").filter(|t| t.is_string()).and_then(scalar);
            kind.filter(|t| t != "error")
        })
        .or_else(|| {
            let status = o.get("status").filter(|s| s.is_string()).and_then(scalar)?;
            let word = status.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
            word.then_some(status)
        })
        .or(code)
        .unwrap_or_default();
    CallError {
        kind,
        message: o.get("message").and_then(text),
    }
}

/// A text or a number that may be a code.
pub(super) fn scalar(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(s) => s.trim().to_owned(),
        Value::Number(n) => n.to_string(),
        _ => return None,
    };
    let fit = !text.is_empty() && text.len() <= MAX_KIND && !text.contains(char::is_whitespace);
    fit.then_some(text)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(s) => Some(bounded(s)),
        other => Some(bounded(&other.to_string())),
    }
}

/// A body that is short text without markup says what it says.
fn plain(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    (!text.is_empty() && text.len() <= 512 && !text.starts_with('<')).then(|| bounded(text))
}

/// The beginning of a message.
pub(super) fn bounded(text: &str) -> String {
    let end = (0..=MAX_MESSAGE.min(text.len()))
        .rev()
        .find(|n| text.is_char_boundary(*n));
    without_key(&text[..end.unwrap_or(0)])
}

/// Google quotes the key of a consumer that it refuses.
fn without_key(text: &str) -> String {
    const MARK: &str = "api_key:";
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut pieces = text.split(MARK);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out.push_str(MARK);
        let rest = piece.trim_start_matches(is_key);
        if rest.len() < piece.len() {
            out.push_str("***");
        }
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, body: &str) -> (String, Option<String>) {
        let value: Option<Value> = serde_json::from_str(body).ok();
        let root = value.as_ref().and_then(Value::as_object);
        let e = of_status(status, root, body.as_bytes());
        (e.kind, e.message)
    }

    #[test]
    fn what_providers_say() {
        for (status, body, want, message) in [
            (
                404,
                r#"{"error":{"message":"No","type":"invalid_request_error","code":"model_not_found"}}"#,
                "model_not_found",
                Some("No"),
            ),
            (
                429,
                r#"{"error":{"message":"No","type":"tokens","code":null}}"#,
                "tokens",
                Some("No"),
            ),
            (
                404,
                r#"{"object":"error","message":"No","type":"NotFoundError","code":404}"#,
                "NotFoundError",
                Some("No"),
            ),
            (
                401,
                r#"{"error":{"code":"401","message":"No"}}"#,
                "401",
                Some("No"),
            ),
            (400, r#"{"error":"bad"}"#, "400", Some("bad")),
            (
                404,
                r#"{"error":{"code":404,"message":"No","status":"NOT_FOUND"}}"#,
                "NOT_FOUND",
                Some("No"),
            ),
            (
                429,
                r#" [{"error":{"code":429,"message":"No","status":"RESOURCE_EXHAUSTED"}}]"#,
                "RESOURCE_EXHAUSTED",
                Some("No"),
            ),
            (
                403,
                r#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"'api_key:AIza-0_x' is bad, api_key: is none"}}"#,
                "PERMISSION_DENIED",
                Some("'api_key:***' is bad, api_key: is none"),
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"No","status":"error"}}"#,
                "400",
                Some("No"),
            ),
            (500, "[1]", "500", Some("[1]")),
            (
                422,
                r#"{"detail":[{"loc":["a"]}]}"#,
                "422",
                Some(r#"[{"loc":["a"]}]"#),
            ),
            (502, "<html><body>Bad gateway</body></html>", "502", None),
            (
                503,
                "no healthy upstream",
                "503",
                Some("no healthy upstream"),
            ),
            (500, "", "500", None),
            (
                500,
                r#"{"error":{"code":"a long text that is no code","type":7}}"#,
                "500",
                None,
            ),
        ] {
            assert_eq!(
                kind(status, body),
                (want.to_owned(), message.map(str::to_owned)),
                "{body}"
            );
        }
    }
}
