//! Token counts. Anthropic's input tokens leave out those of the cache; the conventions' do not.

use crate::model::call::Usage;
use crate::provider::json::Object;
use crate::provider::json::field;

/// Reads a `usage` object; counts that are not there are absent, not zero.
pub(super) fn read(usage: &Object) -> Usage {
    let count = |key: &str| field::int(usage, key).filter(|n| *n >= 0);
    let by_age = field::object(usage, "cache_creation").and_then(|ages| {
        let of = |key: &str| field::int(ages, key).filter(|n| *n >= 0);
        match (
            of("ephemeral_5m_input_tokens"),
            of("ephemeral_1h_input_tokens"),
        ) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
        }
    });
    let cache_read = count("cache_read_input_tokens");
    let cache_write = count("cache_creation_input_tokens").or(by_age);
    let cached = cache_read
        .unwrap_or(0)
        .saturating_add(cache_write.unwrap_or(0));
    let details = field::object(usage, "output_tokens_details");
    Usage {
        input: count("input_tokens").map(|n| n.saturating_add(cached)),
        output: count("output_tokens"),
        cache_read,
        cache_write,
        reasoning: details
            .and_then(|d| field::int(d, "thinking_tokens"))
            .filter(|n| *n >= 0),
        ..Usage::default()
    }
}
