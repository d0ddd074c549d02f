//! Token counts: chat completions and responses name them differently.

use crate::model::call::Usage;
use crate::provider::json::Object;
use crate::provider::json::field;

const TEXT_IMAGE_AUDIO: [&str; 3] = ["text_tokens", "image_tokens", "audio_tokens"];

/// Reads a `usage` object; counts that are not there are absent, not zero.
pub(in crate::provider) fn read(usage: &Object) -> Usage {
    let of = |first: &str, second: &str| count(usage, first).or_else(|| count(usage, second));
    // Writer has the last names.
    let details = |names: [&str; 3]| names.iter().find_map(|n| field::object(usage, n));
    let input = details([
        "prompt_tokens_details",
        "input_tokens_details",
        "prompt_token_details",
    ]);
    let output = details([
        "completion_tokens_details",
        "output_tokens_details",
        "completion_token_details",
    ]);
    let cache_read = input
        .and_then(|d| count(d, "cached_tokens"))
        // DeepSeek and Moonshot put it beside the others.
        .or_else(|| of("prompt_cache_hit_tokens", "cached_tokens"));
    let cached = input.and_then(|d| field::object(d, "cached_tokens_details"));
    let reasoning = output
        .and_then(|d| count(d, "reasoning_tokens"))
        // SGLang and Perplexity put it beside the others.
        .or_else(|| count(usage, "reasoning_tokens"));
    let sent = of("prompt_tokens", "input_tokens");
    let made = of("completion_tokens", "output_tokens");
    Usage {
        input: sent,
        output: apart(usage, sent, made, reasoning).or(made),
        cache_read,
        cache_write: input.and_then(|d| {
            count(d, "cache_write_tokens").or_else(|| count(d, "cache_creation_input_tokens"))
        }),
        reasoning,
        input_by_modality: by_modality(input),
        cache_read_by_modality: by_modality(cached),
        output_by_modality: by_modality(output),
    }
}

/// The usage of what has no output: where only a total is told (Voyage), it is the input's.
pub(super) fn of_input(usage: &Object) -> Usage {
    let mut read = read(usage);
    if read.output.is_none() {
        read.input = read.input.or_else(|| count(usage, "total_tokens"));
    }
    read
}

/// All of the output where reasoning is not counted in it: xAI does so, and the sum tells.
fn apart(
    usage: &Object,
    sent: Option<i64>,
    made: Option<i64>,
    reasoning: Option<i64>,
) -> Option<i64> {
    let all = made?.checked_add(reasoning.filter(|n| *n > 0)?)?;
    let total = count(usage, "total_tokens")?;
    (sent?.checked_add(all)? == total).then_some(all)
}

fn by_modality(details: Option<&Object>) -> [Option<i64>; 3] {
    TEXT_IMAGE_AUDIO.map(|key| details.and_then(|d| count(d, key)))
}

fn count(object: &Object, key: &str) -> Option<i64> {
    field::int(object, key).filter(|n| *n >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_families() {
        let chat = json!({"prompt_tokens":30,"completion_tokens":4,"total_tokens":34,
            "prompt_tokens_details":{"cached_tokens":16,"audio_tokens":2},
            "completion_tokens_details":{"reasoning_tokens":3,"text_tokens":"x"}});
        let u = read(chat.as_object().unwrap());
        assert_eq!(
            (u.input, u.output, u.cache_read, u.reasoning),
            (Some(30), Some(4), Some(16), Some(3))
        );
        assert_eq!(u.input_by_modality, [None, None, Some(2)]);
        assert_eq!(u.output_by_modality, [None; 3]);
        let responses = json!({"input_tokens":5,"output_tokens":6.0,"input_tokens_details":null,
            "output_tokens_details":{"reasoning_tokens":0}});
        let u = read(responses.as_object().unwrap());
        assert_eq!(
            (u.input, u.output, u.cache_read, u.reasoning),
            (Some(5), Some(6), None, Some(0))
        );
    }

    #[test]
    fn where_others_put_it() {
        for (usage, want) in [
            // DeepSeek.
            (
                json!({"prompt_tokens":30,"completion_tokens":9,"total_tokens":39,"prompt_cache_hit_tokens":20,
                    "prompt_cache_miss_tokens":10,"completion_tokens_details":{"reasoning_tokens":4}}),
                (Some(30), Some(9), Some(20), Some(4)),
            ),
            // Moonshot.
            (
                json!({"prompt_tokens":30,"completion_tokens":9,"total_tokens":39,"cached_tokens":20}),
                (Some(30), Some(9), Some(20), None),
            ),
            // xAI: reasoning stands beside the completion.
            (
                json!({"prompt_tokens":30,"completion_tokens":9,"total_tokens":89,
                    "completion_tokens_details":{"reasoning_tokens":50}}),
                (Some(30), Some(59), None, Some(50)),
            ),
            // SGLang: reasoning is part of it.
            (
                json!({"prompt_tokens":30,"completion_tokens":9,"total_tokens":39,"reasoning_tokens":5}),
                (Some(30), Some(9), None, Some(5)),
            ),
            // Writer.
            (
                json!({"prompt_tokens":40,"completion_tokens":300,"total_tokens":340,
                    "prompt_token_details":{"cached_tokens":8},"completion_token_details":{"reasoning_tokens":2}}),
                (Some(40), Some(300), Some(8), Some(2)),
            ),
            // OpenRouter.
            (
                json!({"prompt_tokens":30,"completion_tokens":9,"total_tokens":39,"cost":0.5,"is_byok":false,
                    "prompt_tokens_details":{"cached_tokens":7},"cost_details":{"upstream_inference_cost":null}}),
                (Some(30), Some(9), Some(7), None),
            ),
            (
                json!({"prompt_tokens":i64::MAX,"completion_tokens":i64::MAX,"total_tokens":1,"reasoning_tokens":1}),
                (Some(i64::MAX), Some(i64::MAX), None, Some(1)),
            ),
        ] {
            let u = read(usage.as_object().unwrap());
            assert_eq!(
                (u.input, u.output, u.cache_read, u.reasoning),
                want,
                "{usage}"
            );
        }
    }

    #[test]
    fn a_total_of_input_alone() {
        for (usage, want) in [
            (json!({"total_tokens":12}), Some(12)),
            (json!({"prompt_tokens":7,"total_tokens":12}), Some(7)),
            (json!({"completion_tokens":2,"total_tokens":12}), None),
            (json!({"total_tokens":-1}), None),
            (json!({}), None),
        ] {
            assert_eq!(of_input(usage.as_object().unwrap()).input, want, "{usage}");
        }
    }
}
