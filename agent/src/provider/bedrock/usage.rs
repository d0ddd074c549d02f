//! Token counts. Bedrock's input tokens leave out those of the cache; the conventions' do not.

use crate::model::call::Usage;
use crate::model::exchange::Headers;
use crate::provider::json::Object;
use crate::provider::json::field;

/// Input, output, read from a cache, written to one: headers of a plain answer of invoke.
pub(super) const HEADERS: [&str; 4] = [
    "x-amzn-bedrock-input-token-count",
    "x-amzn-bedrock-output-token-count",
    "x-amzn-bedrock-cache-read-input-token-count",
    "x-amzn-bedrock-cache-write-input-token-count",
];

/// Under which a chunk tells what the whole invocation took.
pub(super) const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// Counts as they are told, in the order of [`HEADERS`].
type Counts = [Option<i64>; 4];

/// Reads the `usage` of converse, and of those models that speak alike.
pub(super) fn read(usage: &Object) -> Usage {
    whole([
        count(usage, &["inputTokens", "inputTokenCount"]),
        count(usage, &["outputTokens", "outputTokenCount"]),
        count(usage, &["cacheReadInputTokens", "cacheReadInputTokenCount"]),
        count(
            usage,
            &["cacheWriteInputTokens", "cacheWriteInputTokenCount"],
        ),
    ])
}

/// Completes what the body says with what the headers say.
pub(super) fn from_headers(usage: &mut Usage, headers: &Headers) {
    let told = HEADERS.map(|name| {
        let count = headers.get(name)?.trim().parse::<i64>().ok();
        count.filter(|n| *n >= 0)
    });
    complete(usage, whole(told));
}

/// What is not known yet is taken from what was told elsewhere.
pub(super) fn complete(usage: &mut Usage, other: Usage) {
    usage.input = usage.input.or(other.input);
    usage.output = usage.output.or(other.output);
    usage.cache_read = usage.cache_read.or(other.cache_read);
    usage.cache_write = usage.cache_write.or(other.cache_write);
}

fn whole([input, output, cache_read, cache_write]: Counts) -> Usage {
    let cached = cache_read
        .unwrap_or(0)
        .saturating_add(cache_write.unwrap_or(0));
    Usage {
        input: input.map(|n| n.saturating_add(cached)),
        output,
        cache_read,
        cache_write,
        ..Usage::default()
    }
}

fn count(usage: &Object, names: &[&str]) -> Option<i64> {
    names
        .iter()
        .find_map(|name| field::int(usage, name))
        .filter(|n| *n >= 0)
}
