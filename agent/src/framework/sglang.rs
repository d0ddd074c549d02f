//! SGLang: what its scheduler counts for each request, as it comes back to the process that serves.
//!
//! `TokenizerManager._handle_batch_output` is given what a step of the engine made for several requests:
//! lists with a place for each (`BatchStrOut`, a dataclass, in 0.4; `BatchStrOutput`, a struct of msgspec,
//! in 0.5). A request is over when the place of its reason is not empty.
//!
//! The newer ones of 0.5 also have what the scheduler took down of times (`time_stats`), where the server keeps
//! metrics (`--enable-metrics`) and its processes send each other pickles, as they do unless they are told
//! otherwise: seconds of one clock, which the server's process has made its own. When the last token was made is
//! not among them.

use genspan_common::framework::hook;
use serde_json::Value as Json;

use super::{Hook, LENGTHS_ONLY, engine};
use crate::model::engine::EngineRequest;

/// Number of the hook.
pub const BATCH: u32 = 3;

/// What ids begin with by which the server asks its own engine whether it is well.
pub(super) const HEALTH: &str = "HEALTH_CHECK";

/// The functions that are watched.
pub const HOOKS: [Hook; 1] = [Hook {
    function: "sglang.srt.managers.tokenizer_manager:TokenizerManager._handle_batch_output",
    before: &[],
    arguments: &["recv_obj"],
    callers: &[],
    contents: 1,
    // The batch, its lists, what they have, and of that the members. What was said are lists in lists, and would take
    // the place of the times.
    depths: &[4 | LENGTHS_ONLY],
    what: hook::SNAPSHOT,
    number: BATCH,
    without: "what the engine says of its requests is not known",
}];

/// Of a batch, what is told, in this order: the rest would take what room there is for one value.
pub const PARTS: [&str; 8] = [
    "rids",
    "finished_reasons",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "retraction_counts",
    "time_stats",
];

/// The requests of a batch that are over, from its [`PARTS`].
#[must_use]
pub fn finished(values: &[Option<Json>]) -> Vec<EngineRequest> {
    let list = |name: &str| {
        let place = PARTS.iter().position(|part| *part == name)?;
        values.get(place)?.as_ref()?.as_array()
    };
    let (Some(ids), Some(reasons)) = (list("rids"), list("finished_reasons")) else {
        return Vec::new();
    };
    let counts = |name: &str, index: usize| list(name)?.get(index)?.as_i64().filter(|n| *n >= 0);
    let all = ids.iter().zip(reasons).enumerate();
    let over = all.filter_map(|(index, (id, reason))| {
        // A reason is a dict; what stands for what is missing is a text, and says nothing.
        let reason = reason.as_object()?;
        let id = id
            .as_str()
            .filter(|id| engine::is_id(id) && !id.starts_with(HEALTH))?;
        let times = list("time_stats").and_then(|times| times.get(index));
        let moment = |name: &str| engine::moment(times?, name);
        Some(EngineRequest {
            id: id.to_owned(),
            own: id.to_owned(),
            input: counts("prompt_tokens", index),
            cached: counts("cached_tokens", index),
            output: counts("completion_tokens", index),
            reasoning: counts("reasoning_tokens", index),
            finish_reason: reason.get("type").and_then(Json::as_str).map(str::to_owned),
            preemptions: counts("retraction_counts", index),
            // One that gave way to others queued anew: that is later than the next, and no time is told.
            queued: moment("wait_queue_entry_time"),
            scheduled: moment("forward_entry_time"),
            first_token: moment("prefill_finished_time"),
            ..EngineRequest::default()
        })
    });
    over.collect()
}

#[cfg(test)]
mod tests {
    use super::{PARTS, finished};
    use crate::model::engine::EngineRequest;
    use serde_json::{Value as Json, json};

    fn parts(batch: &Json) -> [Option<Json>; PARTS.len()] {
        PARTS.map(|name| batch.get(name).cloned())
    }

    #[test]
    fn the_requests_of_a_batch_that_are_over() {
        let batch = json!({
            "<class>": "sglang.srt.managers.io_struct.BatchStrOutput",
            "rids": ["a", "b", "c", "<4 more>"],
            "finished_reasons": [null, {"type": "length", "length": 5}, {"type": "stop"}, "<4 more>"],
            "prompt_tokens": [9, 8, 7], "completion_tokens": [1, 5, 3],
            "cached_tokens": [0, 6, "<omitted>"], "retraction_counts": [0, 2, 0],
            "time_stats": [
                {"forward_entry_time": 9.0},
                {"wait_queue_entry_time": 50.0, "forward_entry_time": 50.25,
                 "prefill_finished_time": 51.5, "queue_duration_s": 0.25},
                {"wait_queue_entry_time": 0.0, "forward_entry_time": "<deeper>"},
            ],
        });
        let request = |id: &str, reason: &str| EngineRequest {
            id: id.to_owned(),
            own: id.to_owned(),
            finish_reason: Some(reason.to_owned()),
            ..EngineRequest::default()
        };
        let wanted = [
            EngineRequest {
                input: Some(8),
                cached: Some(6),
                output: Some(5),
                preemptions: Some(2),
                queued: Some(50_000_000_000),
                scheduled: Some(50_250_000_000),
                first_token: Some(51_500_000_000),
                ..request("b", "length")
            },
            EngineRequest {
                input: Some(7),
                output: Some(3),
                preemptions: Some(0),
                ..request("c", "stop")
            },
        ];
        assert_eq!(finished(&parts(&batch)), wanted);
    }

    #[test]
    fn a_batch_that_says_nothing() {
        let batch = json!({"rids": ["a"], "finished_reasons": [null]});
        assert!(finished(&parts(&batch)).is_empty());
        let health = json!({
            "rids": ["HEALTH_CHECK_1.7"], "finished_reasons": [{"type": "length", "length": 1}],
        });
        assert!(finished(&parts(&health)).is_empty());
        let unreadable = json!({"rids": ["<omitted>"], "finished_reasons": [{"type": "stop"}]});
        assert!(finished(&parts(&unreadable)).is_empty());
        assert!(finished(&[Some(json!("<deeper>"))]).is_empty());
        assert!(finished(&[]).is_empty());
    }
}
