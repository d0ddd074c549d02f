use super::{AGAIN, Engines, MAX_OPEN, kept};
use crate::framework::{sglang, sglang_scheduler, vllm, vllm_v0};
use crate::model::defect::Defects;
use crate::model::exchange::ExchangeId;
use crate::model::framework::{Framework, RunEvent};
use crate::model::snapshot::{Snapshot, Subject};
use crate::model::time::BootTime;
use serde_json::{Value as Json, json};

/// As the driver tells it.
fn snapshot(number: u32, time: u64, values: &[Json]) -> Snapshot {
    let values: Vec<_> = values.iter().cloned().map(Some).collect();
    Snapshot {
        pid: 7,
        tid: 8,
        time: BootTime(time),
        subject: Subject::Hook {
            hook: number,
            first: 1,
        },
        context: Some(9),
        values: kept(number, &values),
    }
}

fn asked(id: &str, n: u32, time: u64) -> Snapshot {
    let params = json!({"<class>": "vllm.sampling_params.SamplingParams", "n": n});
    snapshot(vllm::ASKED, time, &[json!(id), params])
}

fn finished(id: &str, queue: &Json, time: u64) -> Snapshot {
    let state = json!({
        "external_req_id": id, "request_id": format!("{time}_{id}"), "prompt": "said", "prompt_len": 3,
        "queue": queue, "stats": {"num_generation_tokens": 5},
    });
    snapshot(vllm::FINISHED, time, &[state, json!(0)])
}

fn tell(engines: &mut Engines, of: &Snapshot, next: u64) -> (Vec<RunEvent>, Vec<String>) {
    let Subject::Hook { hook, .. } = of.subject else {
        panic!("{:?}", of.subject);
    };
    let mut out = Vec::new();
    // Process 5 is a server.
    let told = engines.told((hook, of), || ExchangeId(next), |pid| pid == 5, &mut out);
    let served = told.into_iter().map(|(_, request)| request.id);
    (out, served.collect())
}

#[test]
fn nothing_that_was_said_is_kept() {
    let found = finished("a", &Json::Null, 1);
    assert!(!format!("{found:?}").contains("said"), "{found:?}");
    assert!(kept(99, &[Some(json!({"prompt": "said"}))]).is_empty());
    assert!(kept(vllm::ASKED, &[Some(json!("1"))]).is_empty());
}

#[test]
fn a_request_in_the_engines_process_is_a_run() {
    let mut engines = Engines::default();
    let (out, _) = tell(&mut engines, &asked("0", 1, 100), 1);
    let [RunEvent::Began(facts)] = &out[..] else {
        panic!("{out:?}");
    };
    assert_eq!((facts.pid, facts.tid, facts.start), (7, 8, BootTime(100)));
    assert_eq!((facts.framework, facts.context), (Framework::Vllm, Some(9)));
    // That of a server is none, though it has the same id.
    let queue = json!({"<class>": "RequestOutputCollector"});
    let (out, served) = tell(&mut engines, &finished("0", &queue, 150), 2);
    assert!(out.is_empty() && served == ["0"], "{out:?} {served:?}");
    let (out, served) = tell(&mut engines, &finished("0", &Json::Null, 200), 2);
    let [RunEvent::Worked { exchange, work, .. }, ended] = &out[..] else {
        panic!("{out:?}");
    };
    assert_eq!(
        (*exchange, work.output, work.input),
        (ExchangeId(1), Some(5), Some(3))
    );
    let wanted = RunEvent::Ended {
        exchange: ExchangeId(1),
        end: BootTime(200),
        error: None,
        defects: Defects::NONE,
    };
    assert_eq!(*ended, wanted);
    assert!(served.is_empty());
    // Once.
    assert!(
        tell(&mut engines, &finished("0", &Json::Null, 300), 3)
            .0
            .is_empty()
    );
}

/// As V0 has it, in a process that this one started.
fn v0(number: u32, values: &[Json], parent: u32, time: u64) -> Snapshot {
    let mut found = snapshot(number, time, values);
    super::started_by(number, &mut found.values, &[parent]);
    found
}

#[test]
fn an_engine_that_a_server_started_answers_for_it() {
    let params = json!({"<class>": "vllm.sampling_params.SamplingParams", "n": 1});
    let group = [
        json!("chatcmpl-1"),
        json!({"arrival_time": 1.7e9}),
        json!([{"status": 3, "output_text": "said", "data": {
            "_prompt_token_ids_tuple": [1], "_cached_all_token_ids": [1, 2],
        }}]),
    ];
    let mut engines = Engines::default();
    let asked = v0(
        vllm_v0::ASKED,
        &[json!("chatcmpl-1"), params.clone()],
        5,
        100,
    );
    assert!(tell(&mut engines, &asked, 1).0.is_empty());
    let over = v0(vllm_v0::FINISHED, &group, 5, 200);
    assert!(!format!("{over:?}").contains("said"), "{over:?}");
    let mut out = Vec::new();
    let hit = (vllm_v0::FINISHED, &over);
    let served = engines.told(hit, || ExchangeId(2), |pid| pid == 5, &mut out);
    let [(5, request)] = &served[..] else {
        panic!("{served:?}");
    };
    assert!(out.is_empty() && request.output == Some(1), "{request:?}");
    // One that was started by no server.
    let asked = v0(vllm_v0::ASKED, &[json!("chatcmpl-1"), params], 6, 300);
    assert_eq!(tell(&mut engines, &asked, 3).0.len(), 1);
    let over = v0(vllm_v0::FINISHED, &group, 6, 400);
    let (out, served) = tell(&mut engines, &over, 4);
    assert!(out.len() == 2 && served.is_empty(), "{out:?} {served:?}");
    // Nor did the server ask in its own process.
    let mut out = Vec::new();
    let served = engines.told(
        (vllm_v0::FINISHED, &over),
        || ExchangeId(5),
        |_| false,
        &mut out,
    );
    assert!(
        matches!(&served[..], [(7, _)]) && out.is_empty(),
        "{served:?}"
    );
}

/// As a scheduler of SGLang tells it, which these started.
fn scheduler(number: u32, values: &[Json], parents: &[u32], time: u64) -> Snapshot {
    let mut found = snapshot(number, time, values);
    super::started_by(number, &mut found.values, parents);
    found
}

#[test]
fn a_scheduler_answers_for_the_server_above_it() {
    let request = json!({"rid": "a", "origin_input_text": "said"});
    let reason = json!({"<class>": "sglang.srt.managers.schedule_batch.FINISH_LENGTH"});
    let end = [json!("a"), json!([1, 2]), json!([3, 4]), reason];
    // A server that has several starts them by another process; of one that serves in its own way nobody says that
    // it is a server.
    for (parents, wanted) in [(&[5, 1][..], 5), (&[6, 5], 5), (&[6, 1], 6), (&[], 7)] {
        let mut engines = Engines::default();
        let steps = [
            scheduler(sglang_scheduler::CAME, &[json!("a")], parents, 10),
            scheduler(
                sglang_scheduler::SCHEDULED,
                &[json!(1), request.clone()],
                parents,
                20,
            ),
            scheduler(
                sglang_scheduler::READ,
                &[json!("a"), json!([3])],
                parents,
                30,
            ),
            scheduler(sglang_scheduler::OVER, &end, parents, 40),
        ];
        let mut served = Vec::new();
        for found in &steps {
            assert!(!format!("{found:?}").contains("said"), "{found:?}");
            let Subject::Hook { hook, .. } = found.subject else {
                panic!("{found:?}");
            };
            let mut out = Vec::new();
            let next = || ExchangeId(1);
            served.extend(engines.told((hook, found), next, |pid| pid == 5, &mut out));
            assert!(out.is_empty(), "{out:?}");
        }
        let [(pid, one)] = &served[..] else {
            panic!("{served:?}");
        };
        assert_eq!((*pid, one.cached, one.output), (wanted, Some(1), Some(2)));
        assert_eq!((one.queued, one.last_token), (Some(10), Some(40)));
    }
}

#[test]
fn what_is_missing_is_known_to_be() {
    let whole = json!({"input": 1, "output": 0, "finish_reason": "stop", "queued": 5});
    let part = json!({"input": null, "output": 0, "finish_reason": "stop", "queued": 5});
    assert!(!super::is_part(vllm_v0::FINISHED, &[Some(whole.clone())]));
    assert!(super::is_part(
        vllm_v0::FINISHED,
        &[Some(whole.clone()), Some(part)]
    ));
    assert!(super::is_part(vllm::FINISHED, &[Some(whole)]));
    assert!(super::is_part(vllm_v0::FINISHED, &[]));
    let mut untimed = json!({"input": 1, "output": 0, "finish_reason": "stop"});
    assert!(super::is_part(vllm_v0::FINISHED, &[Some(untimed.clone())]));
    untimed["last_token"] = json!(7);
    assert!(!super::is_part(vllm_v0::FINISHED, &[Some(untimed)]));
}

#[test]
fn nobody_looks_for_the_parents_of_another_engine() {
    for number in [vllm::FINISHED, vllm::ASKED, sglang::BATCH] {
        assert!(!super::wants_parents(number));
        let mut kept = [Some(json!({"id": "a"}))];
        super::started_by(number, &mut kept, &[5]);
        assert_eq!(kept, [Some(json!({"id": "a"}))]);
    }
    assert!(super::wants_parents(vllm_v0::FINISHED));
    let mut kept = [Some(json!({"id": "a"})), None];
    super::started_by(vllm_v0::FINISHED, &mut kept, &[]);
    assert_eq!(kept, [Some(json!({"id": "a"})), None]);
    super::started_by(vllm_v0::FINISHED, &mut kept, &[5, 6]);
    assert_eq!(kept, [Some(json!({"id": "a", "parent": 5})), None]);
}

#[test]
fn it_is_over_with_the_last_of_its_answers() {
    let mut engines = Engines::default();
    tell(&mut engines, &asked("0", 2, 100), 1);
    for _ in 0..3 {
        assert!(
            tell(&mut engines, &finished("0", &Json::Null, 200), 2)
                .0
                .is_empty()
        );
    }
    let (out, _) = tell(&mut engines, &finished("0", &Json::Null, 300), 2);
    assert!(
        matches!(
            out[..],
            [
                _,
                RunEvent::Ended {
                    end: BootTime(300),
                    ..
                }
            ]
        ),
        "{out:?}"
    );
}

#[test]
fn what_does_not_end_says_so() {
    let mut engines = Engines::default();
    tell(&mut engines, &asked("0", 1, 100), 1);
    // Another engine of the process, which counts from zero again.
    // The same hit once more.
    assert!(tell(&mut engines, &asked("0", 1, 101), 2).0.is_empty());
    let (out, _) = tell(&mut engines, &asked("0", 1, 100 + AGAIN), 2);
    let [
        _,
        RunEvent::Ended {
            exchange, defects, ..
        },
        RunEvent::Began(_),
    ] = &out[..]
    else {
        panic!("{out:?}");
    };
    assert_eq!((*exchange, *defects), (ExchangeId(1), Defects::UNFINISHED));
    let mut out = Vec::new();
    engines.stop(Some(6), BootTime(250), &mut out);
    assert!(out.is_empty());
    engines.stop(Some(7), BootTime(300), &mut out);
    assert!(matches!(
        out[..],
        [
            _,
            RunEvent::Ended {
                exchange: ExchangeId(2),
                ..
            }
        ]
    ));
    engines.stop(None, BootTime(400), &mut out);
    assert_eq!(out.len(), 2);
}

#[test]
fn there_are_not_too_many() {
    let mut engines = Engines::default();
    for n in 0..MAX_OPEN as u64 + 3 {
        tell(&mut engines, &asked(&n.to_string(), 1, n), n);
    }
    assert_eq!((engines.refused(), engines.open.len()), (3, MAX_OPEN));
    assert_eq!(engines.ids.len(), MAX_OPEN);
    // The oldest had to go, not the newest.
    assert!(engines.open.contains_key(&ExchangeId(MAX_OPEN as u64 + 2)));
    let (out, _) = tell(&mut engines, &asked("new", 1, 7 << 20), 1 << 20);
    assert!(
        matches!(
            out[..],
            [
                RunEvent::Worked { .. },
                RunEvent::Ended {
                    exchange: ExchangeId(3),
                    defects: Defects::UNFINISHED,
                    ..
                },
                RunEvent::Began(_)
            ]
        ),
        "{out:?}"
    );
}

#[test]
fn a_batch_of_sglang() {
    let batch = json!({
        "rids": ["a", "b"], "output_strs": ["said", "said"],
        "finished_reasons": [{"type": "stop"}, null], "completion_tokens": [4, 5],
    });
    let parts = sglang::PARTS.map(|name| batch.get(name).cloned().unwrap_or_default());
    let found = snapshot(sglang::BATCH, 1, &parts);
    assert!(!format!("{found:?}").contains("said"));
    let (out, served) = tell(&mut Engines::default(), &found, 1);
    assert!(out.is_empty());
    assert_eq!(served, ["a"]);
}
