//! Names of members and of values of enumerations. Protocol Buffers' JSON mapping takes members in
//! two spellings, and gives enumerations as numbers to those who ask for it
//! (`$alt=json;enum-encoding=int`: Google's clients that are generated).

use crate::provider::json::{Object, field};
use serde_json::Value;

/// Whose enumerations: they have the same names, but not the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enums {
    /// `google.ai.generativelanguage.v1beta`.
    Gemini,
    /// `google.cloud.aiplatform.v1`.
    Vertex,
}

/// `Candidate.FinishReason` from 1 on.
const GEMINI_REASONS: [&str; 10] = [
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
];

/// See above.
const VERTEX_REASONS: [&str; 16] = [
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "MODEL_ARMOR",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "IMAGE_OTHER",
    "UNEXPECTED_TOOL_CALL",
    "NO_IMAGE",
];

/// `PromptFeedback.BlockReason` from 1 on, as far as both agree.
const BLOCK_REASONS: [&str; 4] = ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT"];

/// Why a candidate ended; absent while it has not.
pub(super) fn finish_reason(candidate: &Object, enums: Enums) -> Option<String> {
    let names: &[&str] = match enums {
        Enums::Gemini => &GEMINI_REASONS,
        Enums::Vertex => &VERTEX_REASONS,
    };
    value(candidate, "finishReason", names)
}

/// Why a prompt was refused.
pub(super) fn block_reason(feedback: &Object) -> Option<String> {
    value(feedback, "blockReason", &BLOCK_REASONS)
}

/// The value of an enumeration. The one that is called unspecified is not used. A number that is
/// not known stays one.
fn value(object: &Object, key: &str, names: &[&str]) -> Option<String> {
    if let Some(name) = field::nonempty(object, key) {
        return (!name.ends_with("_UNSPECIFIED")).then(|| name.to_owned());
    }
    let number = field::int(object, key).filter(|n| *n > 0)?;
    let name = usize::try_from(number - 1)
        .ok()
        .and_then(|at| names.get(at));
    Some(name.map_or_else(|| number.to_string(), |n| (*n).to_owned()))
}

/// Where a modality stands among text, image, audio.
pub(super) fn modality(value: &Value) -> Option<usize> {
    match (value.as_str(), value.as_i64()) {
        (Some("TEXT"), _) | (_, Some(1)) => Some(0),
        (Some("IMAGE"), _) | (_, Some(2)) => Some(1),
        (Some("AUDIO"), _) | (_, Some(4)) => Some(2),
        _ => None,
    }
}

/// The object with its members in the first spelling, `likeThis`; values are left alone.
pub(super) fn camel(object: Object) -> Object {
    if !object.keys().any(|key| key.contains('_')) {
        return object;
    }
    let renamed = object.into_iter().map(|(key, value)| {
        let mut name = String::with_capacity(key.len());
        let mut upper = false;
        for c in key.chars() {
            match c {
                '_' => upper = true,
                c if upper => {
                    name.push(c.to_ascii_uppercase());
                    upper = false;
                }
                c => name.push(c),
            }
        }
        (name, value)
    });
    renamed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_and_names() {
        let reason = |v: Value, enums| {
            let candidate = json!({"finishReason": v});
            finish_reason(candidate.as_object().unwrap(), enums)
        };
        for (value, gemini, vertex) in [
            (json!("STOP"), Some("STOP"), Some("STOP")),
            (json!("NEW_WORD"), Some("NEW_WORD"), Some("NEW_WORD")),
            (json!("FINISH_REASON_UNSPECIFIED"), None, None),
            (json!(0), None, None),
            (json!(1), Some("STOP"), Some("STOP")),
            (json!(6), Some("LANGUAGE"), Some("BLOCKLIST")),
            (
                json!(10),
                Some("MALFORMED_FUNCTION_CALL"),
                Some("MODEL_ARMOR"),
            ),
            (json!(99), Some("99"), Some("99")),
            (json!(-1), None, None),
            (json!(""), None, None),
            (json!(null), None, None),
            (json!({}), None, None),
        ] {
            assert_eq!(
                reason(value.clone(), Enums::Gemini).as_deref(),
                gemini,
                "{value}"
            );
            assert_eq!(
                reason(value.clone(), Enums::Vertex).as_deref(),
                vertex,
                "{value}"
            );
        }
        let blocked = json!({"blockReason": 4});
        let blocked = block_reason(blocked.as_object().unwrap());
        assert_eq!(blocked.as_deref(), Some("PROHIBITED_CONTENT"));
    }

    #[test]
    fn spellings() {
        let object = json!({"inline_data": {"mime_type": "a"}, "plain": 1, "_x_": 2});
        let got = camel(object.as_object().unwrap().clone());
        let want = json!({"inlineData": {"mime_type": "a"}, "plain": 1, "X": 2});
        assert_eq!(Value::Object(got), want);
    }
}
