//! Token counts: those that are billed go before those that were processed, as the conventions
//! want it.

use crate::model::call::Usage;
use crate::provider::json::Object;
use crate::provider::json::field;

/// Reads `usage` (v2) or `meta` (v1).
pub(super) fn read(counts: &Object) -> Usage {
    let of = |key: &str| {
        let told = |group| {
            let group = field::object(counts, group)?;
            field::int(group, key).filter(|n| *n >= 0)
        };
        told("billed_units").or_else(|| told("tokens"))
    };
    // Voyage's rerank tells one count; there is no output that could be in it.
    let total = || field::int(counts, "total_tokens").filter(|n| *n >= 0);
    Usage {
        input: of("input_tokens").or_else(total),
        output: of("output_tokens"),
        cache_read: field::int(counts, "cached_tokens").filter(|n| *n >= 0),
        ..Usage::default()
    }
}
