//! Text generation: its requests and the documents that answer them.

use crate::model::call::{CallRequest, Usage};
use crate::provider::json::{Document, Object, field};
use crate::provider::limits::MAX_CHOICES;
use crate::provider::prompted;
use crate::provider::shape::Answer;
use crate::provider::text::{Growing, Room};
use serde_json::Value;

/// Reads a request's body.
pub(super) fn request(mut body: Object, room: &mut Room) -> CallRequest {
    let mut request = CallRequest {
        model: field::owned(&body, "model_id"),
        ..CallRequest::default()
    };
    if let Some(asked) = field::object(&body, "parameters") {
        request.temperature = field::float(asked, "temperature");
        request.top_p = field::float(asked, "top_p");
        request.top_k = field::int(asked, "top_k");
        request.max_tokens = field::int(asked, "max_new_tokens");
        request.seed = field::int(asked, "random_seed");
        request.repetition_penalty = field::float(asked, "repetition_penalty");
        request.stop_sequences = prompted::stops(asked.get("stop_sequences"));
    }
    request.messages = prompted::prompts(field::take(&mut body, "input"), room);
    request
}

/// Reads the document of a successful exchange.
pub(super) fn answer(document: Document, room: &mut Room) -> Answer {
    let Document { mut root, whole } = document;
    let results = field::take_list(&mut root, "results").unwrap_or_default();
    let mut answer = Answer {
        too_many: results.len() > MAX_CHOICES,
        ..Answer::default()
    };
    answer.response.model = field::owned(&root, "model_id");
    let last = results.len().saturating_sub(1);
    let mut usage = Vec::new();
    let followed = results.into_iter().take(MAX_CHOICES).enumerate();
    for (index, (at, result)) in (0..).zip(followed) {
        let Value::Object(mut result) = result else {
            continue;
        };
        usage.push((index, counts(&result)));
        let reason = reason(&result).map(str::to_owned);
        let mut text = Growing::default();
        if let Some(said) = field::take_string(&mut result, "generated_text") {
            text.push(&said, room);
        }
        let cut = !whole && at == last;
        prompted::close(&mut answer.response, text, reason, cut, mapped);
    }
    // Each counts a prompt of its own.
    answer.response.usage = prompted::total(&usage, Some(1));
    answer
}

/// The counts of a result. In a stream the output's are running totals, and the input's stand in
/// the first event alone: the later ones have zero there.
pub(super) fn counts(result: &Object) -> Usage {
    let count = |key: &str| field::int(result, key).filter(|n| *n >= 0);
    Usage {
        input: count("input_token_count"),
        output: count("generated_token_count"),
        ..Usage::default()
    }
}

/// The reason that is given, if one is.
pub(super) fn reason(result: &Object) -> Option<&str> {
    field::nonempty(result, "stop_reason").filter(|r| !r.eq_ignore_ascii_case("not_finished"))
}

/// A finish reason as messages have it.
pub(super) fn mapped(reason: &str) -> &str {
    match reason {
        "eos_token" | "stop_sequence" => "stop",
        "max_tokens" | "token_limit" => "length",
        other => other,
    }
}
