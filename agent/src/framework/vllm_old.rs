//! vLLM before 0.5.5: what its server is told last of each request, in the process where `AsyncLLMEngine` is.
//!
//! Every function of the engine that has a request is entered with each of its tokens, and so is
//! `RequestTracker.process_request_output` of the server's side. But once an output is the last one, that gives
//! the request up (`RequestTracker.abort_request`), and nobody else does who has an output: one whose client went
//! away is given up by its id, one that failed with the exception. So what counts is the first argument of who
//! calls `abort_request`: of a `RequestOutput` its counts, times and reasons are told, of anything else nothing.
//!
//! - to 0.3.1 it has no times; in 0.3.2 and 0.3.3 the time at which a request came is of another clock than the
//!   rest (`time.monotonic`), so it is not told;
//! - to 0.5.4 nothing is known of cached tokens;
//! - `LLM` and `LLMEngine` by themselves have no such function.

use serde_json::Value as Json;

use super::{Before, CallerArgument, LENGTHS_ONLY, engine};
use crate::model::engine::EngineRequest;

/// What stands for the end of a request in V0: an output is what who calls gets, after `self`, and it has
/// `verbose` as well; who gives a request up by its id has less.
pub const FINISHED: Before = Before::with(
    "vllm.engine.async_llm_engine:RequestTracker.abort_request",
    &[""],
    // The output, its list of answers, an answer, and of its tokens how many they are.
    &[4 | LENGTHS_ONLY],
)
.called(&[(0, CallerArgument::new(1, 3))]);

/// Nanoseconds from which on a time is one of the wall clock: a moment of 2001. No machine runs so long.
const WALL: u64 = 1_000_000_000_000_000_000;

/// The request of this id that is over, once for each of its answers, from an output's `metrics`,
/// `prompt_token_ids` and `outputs`; none if one of them is not over, or these are no answers (`EmbeddingOutput`).
#[must_use]
pub fn finished(
    id: &str,
    metrics: Option<&Json>,
    prompt: Option<&Json>,
    outputs: &[Json],
) -> Vec<EngineRequest> {
    let answers = || outputs.iter().filter(|one| one.is_object());
    let is_open = |one: &Json| one.get("finish_reason").is_none_or(Json::is_null);
    if answers().any(is_open) {
        return Vec::new();
    }
    let metrics = metrics.filter(|metrics| metrics.is_object());
    let moment = |name: &str| engine::moment(metrics?, name).filter(|time| *time >= WALL);
    let (arrival, first_token) = (moment("arrival_time"), moment("first_token_time"));
    let choices = engine::length_of(outputs).and_then(|n| u32::try_from(n).ok());
    let answers = answers().enumerate().map(|(index, answer)| EngineRequest {
        id: id.to_owned(),
        own: match index {
            0 => id.to_owned(),
            _ => format!("{id} {index}"),
        },
        choices,
        input: prompt.and_then(engine::length),
        output: answer.get("token_ids").and_then(engine::length),
        finish_reason: engine::text(answer, "finish_reason").map(str::to_owned),
        queued: arrival,
        scheduled: moment("first_scheduled_time"),
        first_token,
        last_token: moment("finished_time"),
        time_to_first_token: first_token
            .zip(arrival)
            .and_then(|(first, arrival)| first.checked_sub(arrival)),
        ..EngineRequest::default()
    });
    answers.collect()
}

#[cfg(test)]
mod tests {
    use super::super::vllm_v0;
    use crate::model::engine::{EngineRequest, EngineWork};
    use serde_json::{Value as Json, json};

    fn answer(made: usize, reason: &Json) -> Json {
        // Lists of which only the length is wanted.
        json!({
            "<class>": "vllm.outputs.CompletionOutput", "index": 0, "text": "said",
            "token_ids": ["<unreadable>", format!("<{} more>", made - 1)], "finish_reason": reason,
        })
    }

    fn times() -> Json {
        json!({
            "<class>": "vllm.sequence.RequestMetrics", "arrival_time": 1_713_000_000.5,
            "last_token_time": 1_713_000_000.5, "first_scheduled_time": 1_713_000_000.75,
            "first_token_time": 1_713_000_001.75, "time_in_queue": 0.25, "finished_time": 1_713_000_003.75,
        })
    }

    /// As the driver has the parts of an output.
    fn finished(id: &Json, times: Option<Json>, outputs: &Json) -> Vec<EngineRequest> {
        let prompt = json!([5, 6, "<9 more>"]);
        let all = [
            ("request_id", Some(id.clone())),
            ("metrics", times),
            ("prompt_token_ids", Some(prompt)),
            ("outputs", Some(outputs.clone())),
        ];
        let part = |name: &&str| all.iter().find(|(one, _)| one == name)?.1.clone();
        let values: Vec<_> = vllm_v0::PARTS.iter().map(part).collect();
        vllm_v0::finished(&values)
    }

    #[test]
    fn the_last_output_of_a_request() {
        let found = finished(
            &json!("cmpl-1-0"),
            Some(times()),
            &json!([answer(60, &json!("length"))]),
        );
        let wanted = EngineRequest {
            id: "cmpl-1-0".to_owned(),
            own: "cmpl-1-0".to_owned(),
            choices: Some(1),
            input: Some(11),
            output: Some(60),
            finish_reason: Some("length".to_owned()),
            queued: Some(1_713_000_000_500_000_000),
            scheduled: Some(1_713_000_000_750_000_000),
            first_token: Some(1_713_000_001_750_000_000),
            last_token: Some(1_713_000_003_750_000_000),
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
    fn several_answers() {
        let (stop, length) = (json!("stop"), json!("length"));
        let outputs = json!([answer(4, &stop), answer(9, &length)]);
        let work = EngineWork::of(&finished(&json!("a"), Some(times()), &outputs));
        assert_eq!(
            (work.requests, work.input, work.output),
            (2, Some(11), Some(13))
        );
        assert_eq!(work.finish_reasons, ["stop", "length"]);
        // Of more than were copied the tokens are not known.
        let outputs = json!([answer(4, &stop), "<deeper>", "<3 more>"]);
        let work = EngineWork::of(&finished(&json!("a"), Some(times()), &outputs));
        assert_eq!((work.requests, work.output), (1, None));
    }

    #[test]
    fn times_of_another_clock_are_none() {
        let mut mixed = times();
        mixed["arrival_time"] = json!(8_640_000.25);
        let stop = json!([answer(4, &json!("stop"))]);
        let found = finished(&json!("a"), Some(mixed), &stop);
        assert_eq!(
            (found[0].queued, found[0].time_to_first_token),
            (None, None)
        );
        let work = EngineWork::of(&found);
        assert_eq!(
            (work.queue, work.prefill, work.decode),
            (None, Some(1.0), Some(2.0))
        );
        // Nor are any that it does not have.
        let found = finished(&json!("a"), None, &stop);
        let work = EngineWork::of(&found);
        assert_eq!(
            (work.input, work.output, work.decode),
            (Some(11), Some(4), None)
        );
        // One that was refused for its length was never worked at.
        let mut refused = times();
        refused["first_scheduled_time"] = Json::Null;
        refused["first_token_time"] = Json::Null;
        let outputs = json!([{"token_ids": [], "finish_reason": "length"}]);
        let found = finished(&json!("a"), Some(refused), &outputs);
        assert_eq!((found[0].output, found[0].scheduled), (Some(0), None));
        assert!(found[0].queued.is_some());
    }

    #[test]
    fn what_is_not_over_is_not_told() {
        let open = answer(4, &Json::Null);
        let outputs = json!([answer(4, &json!("stop")), open]);
        assert!(finished(&json!("a"), Some(times()), &outputs).is_empty());
        let nameless = json!([{"token_ids": [5]}]);
        assert!(finished(&json!("a"), Some(times()), &nameless).is_empty());
        // Embeddings, and what is no output.
        let embedding = json!({"<class>": "vllm.outputs.EmbeddingOutput", "embedding": [0.5]});
        assert!(finished(&json!("a"), None, &embedding).is_empty());
        assert!(finished(&json!("a"), None, &json!([])).is_empty());
        let outputs = json!([answer(4, &json!("stop"))]);
        assert!(finished(&Json::Null, Some(times()), &outputs).is_empty());
    }

    #[test]
    fn what_was_not_copied_is_not_known() {
        let outputs = json!([{"token_ids": "<omitted>", "finish_reason": "<omitted>"}]);
        let found = finished(&json!("a"), Some(json!("<deeper>")), &outputs);
        assert_eq!(
            (found[0].output, found[0].finish_reason.as_deref()),
            (None, None)
        );
        assert_eq!((found[0].queued, found[0].last_token), (None, None));
    }
}
