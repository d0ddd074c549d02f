use super::{
    CAME, HOOKS, OVER, READ, Role, SCHEDULED, Step, is_of_other_cache, is_one, role, step,
};
use crate::model::engine::EngineRequest;
use serde_json::{Value as Json, json};

fn values(all: Json) -> Vec<Option<Json>> {
    let Json::Array(all) = all else {
        panic!("{all}");
    };
    // One that is not there, or was not copied.
    let told = all
        .into_iter()
        .map(|value| (value != json!("-")).then_some(value));
    told.collect()
}

type Told = (Option<i64>, Option<i64>, Option<i64>, Option<String>);

/// What is told of an end: tokens read, made, as they are told, and the reason.
fn over(all: Json) -> Option<Told> {
    let found = step(OVER, &values(all))?;
    assert_eq!(found.gave_way, found.over.is_none());
    let request = found.over?;
    assert_eq!((&request.id, &request.own), (&found.id, &found.id));
    assert!(request.is_inner);
    Some((
        request.input,
        request.output,
        found.made,
        request.finish_reason,
    ))
}

fn ended(reason: &str) -> Json {
    json!({"<class>": format!("sglang.srt.managers.schedule_batch.{reason}"), "is_error": false})
}

#[test]
fn a_request_that_is_over() {
    // To 0.5.5, of the caller of what frees its place.
    let reasons = [
        ("FINISH_LENGTH", "length"),
        ("FINISH_MATCHED_TOKEN", "stop"),
        ("FINISH_MATCHED_STR", "stop"),
        ("FINISH_ABORT", "abort"),
    ];
    for (class, reason) in reasons {
        let all = json!(["a", [5, 6, "<7 more>"], [1, 2], ended(class)]);
        let wanted = (Some(9), Some(2), Some(2), Some(reason.to_owned()));
        assert_eq!(over(all), Some(wanted));
    }
    // One that gives way, or is read anew; and one whose place another function freed.
    assert_eq!(over(json!(["a", [5], [1], null])), None);
    assert_eq!(over(json!(["-", "-", "-", "-"])), None);
    assert_eq!(over(json!([])), None);
    // Those by which the server asks whether the engine is well.
    assert_eq!(
        over(json!([
            "HEALTH_CHECK_1.5",
            [5],
            [1],
            ended("FINISH_LENGTH")
        ])),
        None
    );
}

#[test]
fn in_newer_versions() {
    // 0.5.6: what is told of its tokens is said elsewhere.
    let wanted = (None, None, Some(1), Some("length".to_owned()));
    let reason = ended("FINISH_LENGTH");
    assert_eq!(
        over(json!(["a", [5], [1], reason, true, "-"])),
        Some(wanted.clone())
    );
    assert_eq!(over(json!(["a", [5], [1], null, false, "-"])), None);
    // The newest: the reason is not among what was copied, and one that may give way is not over.
    let wanted = (None, None, Some(1), None);
    assert_eq!(over(json!(["a", [5], [1], "-", "-", true])), Some(wanted));
    assert_eq!(over(json!(["a", [5], [1], "-", "-", false])), None);
    assert_eq!(over(json!(["a", [5], [1], "-"])), None);
}

#[test]
fn the_steps_before() {
    let id = |id: &str| Step {
        id: id.to_owned(),
        ..Step::default()
    };
    assert_eq!(step(CAME, &values(json!(["a"]))), Some(id("a")));
    assert_eq!(step(CAME, &values(json!([["a", "b"]]))), None);
    assert_eq!(step(CAME, &values(json!(["<unreadable>"]))), None);
    let request = json!({"<class>": "sglang.srt.managers.schedule_batch.Req", "rid": "a", "eos_token_ids": "<deeper>"});
    let wanted = Step {
        prefix: Some(16),
        ..id("a")
    };
    assert_eq!(step(SCHEDULED, &values(json!([16, request]))), Some(wanted));
    // Of a caller that has something else there.
    assert_eq!(step(SCHEDULED, &values(json!([16, 5]))), None);
    assert_eq!(step(SCHEDULED, &values(json!([16, {"rid": 5}]))), None);
    assert_eq!(step(SCHEDULED, &values(json!([16]))), None);
    let wanted = Step {
        made: Some(1),
        ..id("a")
    };
    assert_eq!(step(READ, &values(json!(["a", [7]]))), Some(wanted));
    // An array, of which there is nothing.
    assert_eq!(step(READ, &values(json!(["a", "-"]))), Some(id("a")));
    assert_eq!(step(READ, &values(json!(["-", [7]]))), None);
    assert_eq!(step(99, &values(json!(["a"]))), None);
}

#[test]
fn what_is_recorded_comes_back() {
    let all = values(json!(["a", [5], [1], ended("FINISH_LENGTH")]));
    let mut told = step(OVER, &all).expect("over");
    told.parents = vec![5, 6];
    let text = serde_json::to_value(&told).expect("a value");
    assert_eq!(serde_json::from_value::<Step>(text).expect("a step"), told);
    let none: EngineRequest = serde_json::from_value(json!({})).expect("a request");
    assert!(!none.is_inner);
}

#[test]
fn who_is_who() {
    let role = |line: &str| role(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let spawned = "python -c x --multiprocessing-fork";
    let cases = [
        ("sglang::scheduler", Role::Scheduler),
        ("sglang::scheduler_TP0", Role::Scheduler),
        ("sglang::detokenizer", Role::Other),
        (spawned, Role::Spawned),
        ("python -m sglang.launch_server --model-path x", Role::None),
    ];
    for (line, wanted) in cases {
        assert_eq!(role(line), wanted, "{line}");
    }
}

#[test]
fn of_the_caches_one_is_watched() {
    let line = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let with = [line("python -m sglang.launch_server"), line("bash")];
    let without = [
        line("sglang::data_parallel_controller"),
        line("python -m s --disable-radix-cache"),
    ];
    for (above, has_any) in [
        (&with, false),
        (&without, false),
        (&with, true),
        (&without, true),
    ] {
        let has = |name: &'static str| has_any && name.ends_with(":maybe_cache_unfinished_req");
        let left: Vec<_> = HOOKS
            .iter()
            .filter(|hook| !is_of_other_cache(hook, above, has))
            .collect();
        // As many as a thread has watchpoints.
        assert_eq!(left.len(), 4);
        assert!(left.iter().all(|hook| is_one(hook.number)));
        let is_chunks = left.iter().any(|hook| hook.function.contains("ChunkCache"));
        assert_eq!(is_chunks, above == &without && !has_any);
    }
}
