//! vLLM, its V0 engine (to 0.10, from 0.8 on with `VLLM_USE_V1=0` or where V1 cannot do what is asked): what it keeps
//! of each request, in the process where the engine is. Before 0.5.5 it is another function: [`vllm_old`].
//!
//! That is the server's own with `--disable-frontend-multiprocessing`, and one that the server started else
//! (`MQLLMEngine`, before 0.6.1 `AsyncEngineRPCServer`): then a request belongs to what the engine's parent serves
//! ([`EngineRequest::parent`]).
//!
//! `Scheduler._free_seq_group_cross_attn_blocks` is the one function that is entered once for each request that is
//! over, or was given up, after its times were taken and before who asked is told. All others are entered with each
//! step. A `SequenceGroup` has the request's times, all of the wall clock, and its sequences, the answers: one, or up
//! to 0.6.3 as many as were asked for. From 0.6.4 on each answer is a group of its own, whose id says so.

use genspan_common::framework::hook;
use serde_json::Value as Json;

use super::{Hook, LENGTHS_ONLY, engine, vllm, vllm_old};
use crate::model::engine::EngineRequest;

/// Number of the hook at the end of a request.
pub const FINISHED: u32 = 8;
/// Number of the hook where the engine is asked for one, in the process where it is.
pub const ASKED: u32 = 9;

/// The functions that are watched, the most important first.
pub const HOOKS: [Hook; 2] = [
    Hook {
        function: "vllm.core.scheduler:Scheduler._free_seq_group_cross_attn_blocks",
        before: &[vllm_old::FINISHED],
        arguments: &["seq_group"],
        callers: &[],
        contents: 1,
        // The group, its list of sequences, a sequence, its data, and of that the lengths of lists. Of each token that was
        // made there is a dict, which would take the place of the times.
        depths: &[5 | LENGTHS_ONLY],
        what: hook::SNAPSHOT,
        number: FINISHED,
        without: "what the engine says of its requests is not known",
    },
    Hook {
        function: "vllm.engine.llm_engine:LLMEngine.add_request",
        before: &[],
        arguments: &["request_id", "params"],
        callers: &[],
        contents: 2,
        depths: &[],
        what: hook::SNAPSHOT,
        number: ASKED,
        without: vllm::HOOKS[1].without,
    },
];

/// Of a group that is over, the attributes that are told, in this order; the others would take what room there is for
/// one value. Those of an output ([`vllm_old`]) behind: it has no `seqs`, and a group none of those.
pub const PARTS: [&str; 5] = [
    "request_id",
    "metrics",
    "seqs",
    "prompt_token_ids",
    "outputs",
];

/// Members of `SequenceStatus` that are an end, in the order of their numbers, and the number of the first
/// (`vllm/sequence.py`): what was refused as too long ended by its length.
const FINISH_REASONS: [&str; 4] = ["stop", "length", "abort", "length"];
const FIRST_END: u64 = 3;

/// What stands between the id of a request and the number of one of its answers.
const ANSWER: &str = "_parallel_sample_";

/// Whether the number is one of these hooks.
#[must_use]
pub const fn is_one(number: u32) -> bool {
    matches!(number, FINISHED | ASKED)
}

/// The request that is over, from the [`PARTS`] of the first hook's argument, once for each of its answers.
#[must_use]
pub fn finished(values: &[Option<Json>]) -> Vec<EngineRequest> {
    let part = |index: usize| values.get(index).and_then(Option::as_ref);
    let own = part(0).and_then(Json::as_str);
    let Some(own) = own.filter(|id| engine::is_id(id)) else {
        return Vec::new();
    };
    if let (None, Some(Json::Array(outputs))) = (part(2), part(4)) {
        return vllm_old::finished(own, part(1), part(3), outputs);
    }
    // How many answers there are of which this is one is not in it.
    let (id, alone) = match own.rsplit_once(ANSWER) {
        Some((id, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => (id, false),
        _ => (own, true),
    };
    let sequences = part(2).and_then(Json::as_array);
    let sequences = sequences.map_or(&[][..], Vec::as_slice);
    let choices = engine::length_of(sequences).and_then(|n| u32::try_from(n).ok());
    let times = part(1).filter(|times| times.is_object());
    let moment = |name: &str| engine::moment(times?, name);
    let (arrival, first_token) = (moment("arrival_time"), moment("first_token_time"));
    let requests = sequences.iter().filter(|one| one.is_object());
    let requests = requests.enumerate().map(|(index, sequence)| {
        let data = sequence.get("data").filter(|data| data.is_object());
        let count = |name: &str| engine::length(data?.get(name)?);
        let input = count("_prompt_token_ids_tuple");
        let all = count("_cached_all_token_ids");
        let output = all
            .zip(input)
            .and_then(|(all, input)| all.checked_sub(input));
        let status = sequence.get("status").and_then(Json::as_u64);
        let end = status.and_then(|status| usize::try_from(status.checked_sub(FIRST_END)?).ok());
        EngineRequest {
            id: id.to_owned(),
            own: if index == 0 {
                own.to_owned()
            } else {
                format!("{own}{ANSWER}{index}")
            },
            choices: choices.filter(|_| alone),
            input,
            cached: data.and_then(|data| engine::count(data, "_num_cached_tokens")),
            output: output.filter(|n| *n >= 0),
            finish_reason: end
                .and_then(|end| FINISH_REASONS.get(end))
                .map(|&reason| reason.to_owned()),
            queued: arrival,
            scheduled: moment("first_scheduled_time"),
            first_token,
            last_token: moment("finished_time").or_else(|| moment("last_token_time")),
            time_to_first_token: first_token
                .zip(arrival)
                .and_then(|(first, arrival)| first.checked_sub(arrival)),
            ..EngineRequest::default()
        }
    });
    requests.collect()
}

#[cfg(test)]
mod tests {
    use super::finished;
    use crate::model::engine::{EngineRequest, EngineWork};
    use serde_json::{Value as Json, json};

    fn sequence(status: u32, made: usize) -> Json {
        let mut all: Vec<_> = (0..3 + made.min(29)).map(Json::from).collect();
        if made > 29 {
            all.push(json!(format!("<{} more>", made - 29)));
        }
        json!({
            "<class>": "vllm.sequence.Sequence", "seq_id": 5, "status": status,
            "output_text": "said",
            "data": {
                "<class>": "vllm.sequence.SequenceData", "_prompt_token_ids_tuple": ["<unreadable>", 8, 9],
                "_cached_all_token_ids": all, "_num_cached_tokens": 2, "_num_computed_tokens": 9,
            },
        })
    }

    fn group(id: &str, sequences: &[Json]) -> Vec<Option<Json>> {
        let times = json!({
            "<class>": "vllm.sequence.RequestMetrics", "arrival_time": 1_795_919_091.0,
            "last_token_time": 1_795_919_099.0, "first_scheduled_time": 1_795_919_091.25,
            "first_token_time": 1_795_919_092.25, "time_in_queue": 0.25,
            "finished_time": 1_795_919_094.25,
        });
        vec![Some(json!(id)), Some(times), Some(json!(sequences))]
    }

    #[test]
    fn a_request_that_is_over() {
        // Of lists that are not copied the items cannot be read, and how many they are can.
        let unread = json!(["<unreadable>", "<unreadable>", "<7 more>"]);
        assert_eq!(crate::framework::engine::length(&unread), Some(9));
        let found = finished(&group("chatcmpl-1", &[sequence(4, 60)]));
        let wanted = EngineRequest {
            id: "chatcmpl-1".to_owned(),
            own: "chatcmpl-1".to_owned(),
            choices: Some(1),
            input: Some(3),
            cached: Some(2),
            output: Some(60),
            finish_reason: Some("length".to_owned()),
            queued: Some(1_795_919_091_000_000_000),
            scheduled: Some(1_795_919_091_250_000_000),
            first_token: Some(1_795_919_092_250_000_000),
            last_token: Some(1_795_919_094_250_000_000),
            time_to_first_token: Some(1_250_000_000),
            ..EngineRequest::default()
        };
        assert_eq!(found, [wanted]);
        let work = EngineWork::of(&found);
        assert_eq!(
            (work.queue, work.prefill, work.decode),
            (Some(0.25), Some(1.0), Some(2.0))
        );
    }

    #[test]
    fn answers_in_one_group() {
        let found = finished(&group("cmpl-1-0", &[sequence(3, 1), sequence(4, 2)]));
        assert!(found.iter().all(|one| one.id == "cmpl-1-0"));
        assert_ne!(found[0].own, found[1].own);
        let work = EngineWork::of(&found);
        assert_eq!(
            (work.requests, work.input, work.output),
            (2, Some(3), Some(3))
        );
        assert_eq!(work.finish_reasons, ["stop", "length"]);
    }

    #[test]
    fn an_answer_of_several() {
        let found = finished(&group("cmpl-1-0_parallel_sample_1", &[sequence(5, 0)]));
        let [one] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((one.id.as_str(), one.choices), ("cmpl-1-0", None));
        assert_eq!(one.own, "cmpl-1-0_parallel_sample_1");
        assert_eq!(
            (one.output, one.finish_reason.as_deref()),
            (Some(0), Some("abort"))
        );
        let found = finished(&group("a_parallel_sample_b", &[sequence(3, 0)]));
        assert_eq!(found[0].id, "a_parallel_sample_b");
    }

    #[test]
    fn what_was_not_copied_is_not_known() {
        let cut = json!({"status": 1, "data": "<deeper>"});
        let found = finished(&group("a", &[cut]));
        assert_eq!(
            (found[0].input, found[0].output, found[0].cached),
            (None, None, None)
        );
        assert_eq!(found[0].finish_reason, None);
        let cut = json!({"status": 9, "data": {"_cached_all_token_ids": [1], "_prompt_token_ids_tuple": [1, 2]}});
        let found = finished(&group("a", &[cut]));
        assert_eq!(
            (found[0].output, found[0].finish_reason.clone()),
            (None, None)
        );
        assert!(finished(&group("a", &[json!("<deeper>")])).is_empty());
        assert!(finished(&group("<unreadable>", &[sequence(3, 1)])).is_empty());
        assert!(finished(&[Some(json!("a")), None, Some(json!("<deeper>"))]).is_empty());
        assert!(finished(&[None]).is_empty());
        assert!(finished(&[]).is_empty());
    }
}
