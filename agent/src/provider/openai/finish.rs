//! Why a choice ended, in the words of the conventions.

use crate::provider::json::Object;
use crate::provider::json::field;

/// A choice that gave no reason.
pub(super) const ERROR: &str = "error";

/// A finish reason of chat completions, as messages have it.
pub(super) fn mapped(reason: &str) -> &str {
    match reason {
        "tool_calls" | "function_call" => "tool_call",
        // Together.
        "eos" => "stop",
        // Mistral.
        "model_length" => "length",
        // DeepSeek; vLLM and SGLang.
        "" | "insufficient_system_resource" | "abort" => ERROR,
        other => other,
    }
}

/// The finish reason that a state of a response, or of an item of it, stands for.
pub(super) fn of_status<'a>(status: Option<&str>, incomplete: Option<&'a str>) -> Option<&'a str> {
    match status? {
        "completed" => Some("stop"),
        "failed" | "cancelled" => Some(ERROR),
        "incomplete" => Some(match incomplete {
            Some("max_output_tokens") => "length",
            Some(other) => other,
            None => "incomplete",
        }),
        _ => None,
    }
}

/// `incomplete_details.reason`.
pub(super) fn incomplete_reason(response: &Object) -> Option<&str> {
    field::nonempty(field::object(response, "incomplete_details")?, "reason")
}
