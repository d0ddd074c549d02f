//! vLLM, its V1 engine: what it keeps count of for each request, in the process that asks the engine's
//! own one (the API server, or a program that uses `LLM`).
//!
//! `OutputProcessor._update_stats_from_finished` is called once for each request that is over, before
//! who asked is told, whether statistics are on or not; the same from 0.8 to 0.33. What was asked for
//! by a server waits in a queue of its own (`RequestState.queue`), what `LLMEngine` was asked for does
//! not.

use genspan_common::framework::hook;
use serde_json::Value as Json;

use super::{Hook, engine};
use crate::model::engine::{EngineAsked, EngineRequest};
use crate::model::snapshot::CLASS;

/// Number of the hook at the end of a request: its state, and why it is over.
pub const FINISHED: u32 = 1;
/// Number of the hook where the engine is asked for one in its own process.
pub const ASKED: u32 = 2;

/// The functions that are watched, the most important first.
pub const HOOKS: [Hook; 2] = [
    Hook {
        function: "vllm.v1.engine.output_processor:OutputProcessor._update_stats_from_finished",
        before: &[],
        arguments: &["req_state", "finish_reason"],
        callers: &[],
        contents: 2,
        depths: &[],
        what: hook::SNAPSHOT,
        number: FINISHED,
        without: "what the engine says of its requests is not known",
    },
    Hook {
        function: "vllm.v1.engine.llm_engine:LLMEngine.add_request",
        before: &[],
        arguments: &["request_id", "params"],
        callers: &[],
        contents: 2,
        depths: &[],
        what: hook::SNAPSHOT,
        number: ASKED,
        without: "what the engine is asked for in its own process is not seen",
    },
];

/// Members of `FinishReason`, in the order of their numbers (`vllm/v1/engine/__init__.py`).
const FINISH_REASONS: [&str; 5] = ["stop", "length", "abort", "error", "repetition"];

/// The request that is over, from the arguments of the first hook.
#[must_use]
pub fn finished(values: &[Option<Json>]) -> Option<EngineRequest> {
    let state = values.first()?.as_ref()?;
    let parent = state.get("parent_req").filter(|parent| parent.is_object());
    // Newer versions give requests a name of their own, and keep the one that was asked by; of several
    // answers the older ones do that alone.
    let id = engine::text(state, "external_req_id")
        .or_else(|| engine::text(parent?, "request_id"))
        .or_else(|| engine::text(state, "request_id"))?;
    let asked = parent.and_then(|parent| parent.get("sampling_params"));
    let choices = match parent {
        None => Some(1),
        Some(_) => engine::count(state, "n")
            .filter(|n| *n > 1)
            .or_else(|| engine::count(asked?, "n"))
            .and_then(|n| u32::try_from(n).ok()),
    };
    let input = engine::count(state, "prompt_len");
    let stats = state.get("stats").filter(|stats| stats.is_object());
    let moment = |name: &str| stats.and_then(|stats| engine::moment(stats, name));
    let counted = stats.and_then(|stats| engine::count(stats, "num_generation_tokens"));
    let reason = values.get(1).and_then(|reason| reason.as_ref()?.as_u64());
    let reason = reason.and_then(|n| FINISH_REASONS.get(usize::try_from(n).ok()?));
    Some(EngineRequest {
        id: id.to_owned(),
        own: engine::text(state, "request_id")
            .unwrap_or_default()
            .to_owned(),
        in_process: state.get("queue").is_some_and(Json::is_null),
        is_inner: false,
        parent: None,
        choices,
        input,
        cached: engine::count(state, "num_cached_tokens"),
        output: counted.or_else(|| detokenized(state, input)),
        reasoning: None,
        finish_reason: reason.map(|&reason| reason.to_owned()),
        preemptions: stats.and_then(|stats| engine::count(stats, "num_preemptions")),
        queued: moment("queued_ts"),
        scheduled: moment("scheduled_ts"),
        first_token: moment("first_token_ts"),
        last_token: moment("last_token_ts"),
        time_to_first_token: moment("first_token_latency"),
    })
}

/// How many tokens were made, where the engine keeps no statistics: those that were made text of.
fn detokenized(state: &Json, input: Option<i64>) -> Option<i64> {
    let detokenizer = state.get("detokenizer")?;
    let all = engine::length(detokenizer.get("token_ids")?)?;
    let class = detokenizer.get(CLASS)?.as_str()?;
    // This one begins with those of the prompt.
    let before = if class.ends_with("SlowIncrementalDetokenizer") {
        input?
    } else {
        0
    };
    all.checked_sub(before).filter(|n| *n >= 0)
}

/// What the engine is asked for, from the arguments of the second hook; none of what generates nothing
/// (`PoolingParams`).
#[must_use]
pub fn asked(values: &[Option<Json>]) -> Option<EngineAsked> {
    let id = values.first()?.as_ref()?.as_str()?;
    let params = values.get(1)?.as_ref()?;
    if !params.get(CLASS)?.as_str()?.ends_with("SamplingParams") {
        return None;
    }
    let number = |name: &str| params.get(name).and_then(Json::as_f64);
    Some(EngineAsked {
        id: id.to_owned(),
        choices: engine::count(params, "n").and_then(|n| u32::try_from(n).ok()),
        max_tokens: engine::count(params, "max_tokens"),
        temperature: number("temperature"),
        top_p: number("top_p"),
        parent: None,
    })
}

#[cfg(test)]
mod tests {
    use super::{asked, finished};
    use crate::model::engine::{EngineAsked, EngineRequest};
    use serde_json::json;

    fn stats() -> serde_json::Value {
        json!({
            "<class>": "vllm.v1.metrics.stats.RequestStateStats",
            "num_generation_tokens": 7, "num_preemptions": 1, "arrival_time": 1.7e9,
            "queued_ts": 50.0, "scheduled_ts": 50.25, "first_token_ts": 51.25,
            "last_token_ts": 53.25, "first_token_latency": 1.5,
        })
    }

    #[test]
    fn a_request_that_a_server_was_asked_for() {
        let state = json!({
            "<class>": "vllm.v1.engine.output_processor.RequestState",
            "request_id": "chatcmpl-1-0a1b2c3d", "external_req_id": "chatcmpl-1",
            "parent_req": null, "prompt_len": 12, "num_cached_tokens": 8, "n": 1,
            "queue": {"<class>": "vllm.v1.engine.output_processor.RequestOutputCollector"},
            "stats": stats(),
        });
        let wanted = EngineRequest {
            id: "chatcmpl-1".to_owned(),
            own: "chatcmpl-1-0a1b2c3d".to_owned(),
            in_process: false,
            is_inner: false,
            parent: None,
            choices: Some(1),
            input: Some(12),
            cached: Some(8),
            output: Some(7),
            reasoning: None,
            finish_reason: Some("length".to_owned()),
            preemptions: Some(1),
            queued: Some(50_000_000_000),
            scheduled: Some(50_250_000_000),
            first_token: Some(51_250_000_000),
            last_token: Some(53_250_000_000),
            time_to_first_token: Some(1_500_000_000),
        };
        assert_eq!(finished(&[Some(state), Some(json!(1))]), Some(wanted));
    }

    #[test]
    fn answers_to_the_same_have_the_id_that_it_was_asked_by() {
        // As 0.8 has it: no name beside its own, and how many there are is known of the parent alone.
        let old = json!({
            "request_id": "1_cmpl-5-0", "prompt_len": 3, "queue": "<…RequestOutputCollector>",
            "parent_req": {"request_id": "cmpl-5-0", "sampling_params": {"n": 2}},
            "stats": stats(),
        });
        let found = finished(&[Some(old), Some(json!(0))]).unwrap();
        assert_eq!((found.id.as_str(), found.choices), ("cmpl-5-0", Some(2)));
        assert_eq!(found.finish_reason.as_deref(), Some("stop"));
        let new = json!({
            "request_id": "1_3-aabbccdd", "external_req_id": "3", "n": 4, "queue": null,
            "parent_req": {"request_id": "3-aabbccdd", "external_req_id": "3"},
        });
        let found = finished(&[Some(new), None]).unwrap();
        assert_eq!((found.id.as_str(), found.choices), ("3", Some(4)));
        assert!(found.in_process);
        assert_eq!((found.output, found.finish_reason), (None, None));
    }

    #[test]
    fn tokens_are_known_without_statistics() {
        let state = |class: &str| {
            json!({
                "request_id": "0", "queue": null, "prompt_len": 2, "stats": null,
                "detokenizer": {"<class>": class, "token_ids": [5, 6, 7, "<9 more>"]},
            })
        };
        let of = |class: &str| finished(&[Some(state(class)), Some(json!(9))]).unwrap();
        let fast = of("vllm.v1.engine.detokenizer.FastIncrementalDetokenizer");
        assert_eq!((fast.output, fast.queued), (Some(12), None));
        // A number that no version has.
        assert_eq!(fast.finish_reason, None);
        let slow = of("vllm.v1.engine.detokenizer.SlowIncrementalDetokenizer");
        assert_eq!(slow.output, Some(10));
    }

    #[test]
    fn what_was_not_set_is_not_known() {
        let state = json!({
            "request_id": "0", "queue": "<unreadable>", "prompt_len": "<omitted>",
            "stats": {"queued_ts": 0.0, "first_token_latency": 0.0, "scheduled_ts": "nan"},
        });
        let found = finished(&[Some(state), None]).unwrap();
        let wanted = EngineRequest {
            id: "0".to_owned(),
            own: "0".to_owned(),
            choices: Some(1),
            ..EngineRequest::default()
        };
        assert_eq!(found, wanted);
        assert_eq!(finished(&[Some(json!("<omitted>"))]), None);
        assert_eq!(finished(&[None, Some(json!(1))]), None);
        assert_eq!(finished(&[]), None);
    }

    #[test]
    fn what_the_engine_is_asked_for() {
        let params = json!({
            "<class>": "vllm.sampling_params.SamplingParams",
            "n": 2, "temperature": 0.5, "top_p": 1.0, "max_tokens": 16,
        });
        let wanted = EngineAsked {
            id: "4".to_owned(),
            choices: Some(2),
            max_tokens: Some(16),
            temperature: Some(0.5),
            top_p: Some(1.0),
            parent: None,
        };
        assert_eq!(asked(&[Some(json!("4")), Some(params)]), Some(wanted));
        let pooling = json!({"<class>": "vllm.pooling_params.PoolingParams", "task": "embed"});
        assert_eq!(asked(&[Some(json!("4")), Some(pooling)]), None);
        assert_eq!(asked(&[Some(json!("4")), None]), None);
    }
}
