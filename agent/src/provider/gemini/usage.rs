//! Token counts. Google counts what was thought, and what its own tools read, apart from the
//! rest; the conventions have output with the one and, as it is billed so, input with the other.

use super::names;
use crate::model::call::Usage;
use crate::provider::json::{Object, field};

/// Reads a `usageMetadata`; counts that are not there are absent, not zero.
pub(super) fn read(usage: &Object) -> Usage {
    let count = |key: &str| field::int(usage, key).filter(|n| *n >= 0);
    let by = |key: &str| by_modality(usage, key);
    let (prompt, tools) = (count("promptTokenCount"), count("toolUsePromptTokenCount"));
    let (told, thoughts) = (count("candidatesTokenCount"), count("thoughtsTokenCount"));
    let input = sum(prompt, tools);
    let output = sum(told, thoughts);
    // Not all servers count both apart; the total says whether this one does.
    let inclusive = thoughts > Some(0)
        && told.is_some()
        && told >= thoughts
        && input.is_some()
        && count("totalTokenCount") == sum(input, told);
    let asked = by("promptTokensDetails");
    let read = by("toolUsePromptTokensDetails");
    Usage {
        input,
        output: if inclusive { told } else { output },
        cache_read: count("cachedContentTokenCount"),
        reasoning: thoughts,
        input_by_modality: [0, 1, 2].map(|m: usize| sum(asked[m], read[m])),
        cache_read_by_modality: by("cacheTokensDetails"),
        output_by_modality: by("candidatesTokensDetails"),
        ..Usage::default()
    }
}

/// What is there of two counts.
fn sum(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    }
}

/// Text, image, audio of a list of modalities.
fn by_modality(usage: &Object, key: &str) -> [Option<i64>; 3] {
    let mut counts = [None; 3];
    for entry in field::list(usage, key).unwrap_or_default() {
        let Some(entry) = entry.as_object() else {
            continue;
        };
        let at = entry.get("modality").and_then(names::modality);
        let told = field::int(entry, "tokenCount").filter(|n| *n >= 0);
        if let Some(at) = at {
            counts[at] = sum(counts[at], told);
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(usage: &Value) -> Usage {
        read(usage.as_object().unwrap())
    }

    #[test]
    fn forms() {
        for (usage, input, output, reasoning) in [
            (
                json!({"promptTokenCount":5,"candidatesTokenCount":3,"totalTokenCount":8}),
                Some(5),
                Some(3),
                None,
            ),
            (
                json!({"promptTokenCount":5,"candidatesTokenCount":3,"thoughtsTokenCount":4,"totalTokenCount":12}),
                Some(5),
                Some(7),
                Some(4),
            ),
            // All of it went into thinking.
            (
                json!({"promptTokenCount":5,"thoughtsTokenCount":4,"totalTokenCount":9}),
                Some(5),
                Some(4),
                Some(4),
            ),
            // What was thought is among the others already.
            (
                json!({"promptTokenCount":5,"candidatesTokenCount":7,"thoughtsTokenCount":4,"totalTokenCount":12}),
                Some(5),
                Some(7),
                Some(4),
            ),
            (
                json!({"promptTokenCount":5,"toolUsePromptTokenCount":20,"candidatesTokenCount":3,"thoughtsTokenCount":2,"totalTokenCount":30}),
                Some(25),
                Some(5),
                Some(2),
            ),
            // A prompt that was refused: nothing is said of an output.
            (
                json!({"promptTokenCount":5,"totalTokenCount":5}),
                Some(5),
                None,
                None,
            ),
            (
                json!({"promptTokenCount":-1,"candidatesTokenCount":"3","thoughtsTokenCount":null}),
                None,
                None,
                None,
            ),
            (
                json!({"promptTokenCount":i64::MAX,"toolUsePromptTokenCount":1}),
                Some(i64::MAX),
                None,
                None,
            ),
        ] {
            let u = of(&usage);
            assert_eq!(
                (u.input, u.output, u.reasoning),
                (input, output, reasoning),
                "{usage}"
            );
        }
    }

    #[test]
    fn modalities() {
        let u = of(&json!({
            "promptTokenCount":40,"cachedContentTokenCount":30,
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":10},{"modality":"IMAGE","tokenCount":20},{"modality":"VIDEO","tokenCount":3},{"modality":"TEXT","tokenCount":1}],
            "toolUsePromptTokensDetails":[{"modality":"TEXT","tokenCount":5}],
            "cacheTokensDetails":[{"modality":2,"tokenCount":30}],
            "candidatesTokensDetails":[{"modality":4,"tokenCount":2},{"modality":"TEXT"},7]}));
        assert_eq!(u.cache_read, Some(30));
        assert_eq!(u.input_by_modality, [Some(16), Some(20), None]);
        assert_eq!(u.cache_read_by_modality, [None, Some(30), None]);
        assert_eq!(u.output_by_modality, [None, None, Some(2)]);
    }
}
