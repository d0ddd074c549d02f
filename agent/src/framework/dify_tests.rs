use super::{
    AFTER, MAX_OPEN, NODE_BEGINS, NODE_ENDS, RUN_BEGINS, RUN_ENDS, Workflows, class_of_error, kept,
};
use crate::model::call::Part;
use crate::model::defect::Defects;
use crate::model::exchange::ExchangeId;
use crate::model::framework::{Framework, Inside, RunContents, RunEvent, RunFacts, RunKind};
use crate::model::snapshot::{Snapshot, Subject};
use crate::model::time::BootTime;
use serde_json::{Value as Json, json};

/// The execution of this number, as graphon names one.
fn execution(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

/// As the driver tells it, of a thread.
fn hit(number: u32, (registry, tid, time): (u64, u32, u64), values: &[Json]) -> Snapshot {
    let values: Vec<_> = values.iter().cloned().map(Some).collect();
    Snapshot {
        pid: 7,
        tid,
        time: BootTime(time),
        subject: Subject::Hook {
            hook: number,
            first: 1,
        },
        context: Some(9),
        values: kept(number, &values, Some(registry)),
    }
}

fn engine() -> Json {
    json!({"_graph_execution": {"workflow_id": "w", "error": null}, "_command_channel": "said"})
}

fn node(number: u64, kind: &str) -> Json {
    json!({
        "_node_id": "n", "_node_execution_id": execution(number), "workflow_id": "w",
        "_model_instance": {"credentials": {"api_key": "said"}},
        "_node_data": {"title": "A title", "type": kind, "headers": "Authorization: said"},
    })
}

fn tell(workflows: &mut Workflows, of: &Snapshot, next: u64) -> Vec<RunEvent> {
    let Subject::Hook { hook, .. } = of.subject else {
        panic!("{:?}", of.subject);
    };
    let mut out = Vec::new();
    workflows.told((hook, of), || ExchangeId(next), &mut out);
    out
}

fn began(events: &[RunEvent]) -> &RunFacts {
    let [RunEvent::Began(facts)] = events else {
        panic!("{events:?}");
    };
    facts
}

fn ended(exchange: u64, end: u64, error: Option<&str>, defects: Defects) -> RunEvent {
    RunEvent::Ended {
        exchange: ExchangeId(exchange),
        end: BootTime(end),
        error: error.map(str::to_owned),
        defects,
    }
}

/// A run under way, as that of this number.
fn running() -> Workflows {
    let mut workflows = Workflows::default();
    let events = tell(
        &mut workflows,
        &hit(RUN_BEGINS, (5, 8, 100), &[engine()]),
        1,
    );
    assert_eq!(began(&events).exchange, ExchangeId(1));
    workflows
}

#[test]
fn a_run_and_its_nodes_on_threads_of_its_own() {
    let mut workflows = Workflows::default();
    let events = tell(
        &mut workflows,
        &hit(RUN_BEGINS, (5, 8, 100), &[engine()]),
        1,
    );
    let facts = began(&events);
    assert_eq!((facts.framework, facts.parent), (Framework::Dify, None));
    assert_eq!((facts.name.as_deref(), facts.context), (Some("w"), Some(9)));
    assert_eq!(facts.inside, Inside::Nowhere);
    // One of another process's engine, or of one that began before it was seen, is nobody's.
    let other = hit(NODE_BEGINS, (6, 9, 150), &[json!({}), node(1, "llm")]);
    assert!(tell(&mut workflows, &other, 2).is_empty());
    let first = hit(NODE_BEGINS, (5, 20, 200), &[json!({}), node(1, "llm")]);
    let events = tell(&mut workflows, &first, 2);
    let facts = began(&events);
    assert_eq!(facts.parent, Some(ExchangeId(1)));
    assert_eq!((facts.kind, facts.tid), (RunKind::Chat, 20));
    assert_eq!(facts.name.as_deref(), Some("A title"));
    assert_eq!(
        (facts.run, facts.inside),
        (0x4000_8000_0000_0000_0001, Inside::Thread)
    );
    // The same hit once more.
    assert!(tell(&mut workflows, &first, 3).is_empty());
    let second = hit(
        NODE_BEGINS,
        (5, 21, 210),
        &[json!({}), node(2, "iteration")],
    );
    let events = tell(&mut workflows, &second, 3);
    // What else its thread does while it is suspended is not its own.
    assert_eq!(
        (began(&events).kind, began(&events).inside),
        (RunKind::Chain, Inside::Nowhere)
    );
    let succeeded = json!({"node_run_result": {"status": "succeeded"}});
    let over = |number, tid, time| {
        let values = [json!({}), node(number, ""), Json::Null, succeeded.clone()];
        hit(NODE_ENDS, (5, tid, time), &values)
    };
    let events = tell(&mut workflows, &over(1, 20, 300), 9);
    assert_eq!(events, [ended(2, 300, None, Defects::NONE)]);
    assert!(tell(&mut workflows, &over(1, 20, 301), 9).is_empty());
    // It goes on on another thread.
    let events = tell(&mut workflows, &over(2, 22, 400), 9);
    assert_eq!(events, [ended(3, 400, None, Defects::NONE)]);
    let events = tell(&mut workflows, &hit(RUN_ENDS, (5, 8, 500), &[engine()]), 9);
    assert_eq!(events, [ended(1, 500, None, Defects::NONE)]);
    assert!(workflows.runs.is_empty() && workflows.nodes.is_empty());
}

#[test]
fn what_nodes_do() {
    let kinds = [
        ("llm", RunKind::Chat),
        ("knowledge-retrieval", RunKind::Retriever),
        ("tool", RunKind::Tool),
        ("http-request", RunKind::Tool),
        ("code", RunKind::Tool),
        ("agent", RunKind::Agent),
        ("if-else", RunKind::Chain),
        ("<omitted>", RunKind::Chain),
    ];
    let mut workflows = running();
    for (number, (name, kind)) in (10..).zip(kinds) {
        let begins = hit(NODE_BEGINS, (5, 9, 200), &[json!({}), node(number, name)]);
        let events = tell(&mut workflows, &begins, number);
        assert_eq!(began(&events).kind, kind, "{name}");
    }
}

#[test]
fn secrets_of_a_nodes_configuration_are_not_kept() {
    for number in [RUN_BEGINS, RUN_ENDS, NODE_BEGINS, NODE_ENDS] {
        let values = [
            engine(),
            node(1, "llm"),
            json!("E: said"),
            json!({"x": "said"}),
        ];
        let found = hit(number, (5, 8, 1), &values);
        assert_eq!(found.values.len(), 1);
        assert!(!format!("{found:?}").contains("said"), "{found:?}");
    }
    // Whose workers nobody knows.
    assert!(kept(NODE_BEGINS, &[None, Some(node(1, "llm"))], None).is_empty());
}

/// The end of a node that was under way.
fn end_of(kind: &str, values: &[Json]) -> Vec<RunEvent> {
    let mut workflows = running();
    let begins = hit(NODE_BEGINS, (5, 9, 200), &[json!({}), node(1, kind)]);
    tell(&mut workflows, &begins, 2);
    let all: Vec<_> = [json!({}), node(1, kind)]
        .iter()
        .chain(values)
        .cloned()
        .collect();
    tell(&mut workflows, &hit(NODE_ENDS, (5, 9, 300), &all), 9)
}

#[test]
fn errors_have_their_type() {
    let result = |status: &str, kind: &str| json!({"node_run_result": {"status": status, "error_type": kind, "error": "said"}});
    let cases = [
        (Json::Null, result("failed", "KeyError"), Some("KeyError")),
        (
            Json::Null,
            result("exception", "HTTPError"),
            Some("HTTPError"),
        ),
        (Json::Null, result("failed", ""), Some("_OTHER")),
        (Json::Null, result("succeeded", "KeyError"), None),
        (
            json!("builtins.ValueError: said"),
            Json::Null,
            Some("ValueError"),
        ),
        (
            json!({"<class>": "a.b.Other", "x": 1}),
            Json::Null,
            Some("Other"),
        ),
        (json!("<unreadable>"), Json::Null, Some("_OTHER")),
    ];
    for (error, event, wanted) in cases {
        let events = end_of("tool", &[error, event]);
        assert_eq!(events, [ended(2, 300, wanted, Defects::NONE)]);
    }
    assert_eq!(class_of_error(&Json::Null), None);
    let mut workflows = running();
    let failed =
        json!({"_graph_execution": {"workflow_id": "w", "error": "builtins.RuntimeError: x"}});
    let events = tell(&mut workflows, &hit(RUN_ENDS, (5, 8, 500), &[failed]), 9);
    assert_eq!(events, [ended(1, 500, Some("RuntimeError"), Defects::NONE)]);
}

fn contents_of(kind: &str, wanted: bool) -> Option<RunContents> {
    let event = json!({"node_run_result": {
        "status": "succeeded", "inputs": {"query": "why"},
        "process_data": {"model_name": "m", "prompts": [{"role": "user", "text": "why"}]},
        "outputs": {"text": "so"}, "llm_usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }});
    let mut values = vec![Json::Null, event];
    values.extend(wanted.then_some(Json::Null));
    match &end_of(kind, &values)[..] {
        [
            RunEvent::Contents { exchange, contents },
            RunEvent::Ended { .. },
        ] => {
            assert_eq!(*exchange, ExchangeId(2));
            Some((**contents).clone())
        }
        [RunEvent::Ended { .. }] => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_node_was_given_and_gave_where_that_is_wanted() {
    for kind in ["llm", "tool", "knowledge-retrieval"] {
        assert_eq!(contents_of(kind, false), None, "{kind}");
    }
    let found = contents_of("tool", true).unwrap();
    assert_eq!(found.given, Some(json!({"query": "why"})));
    assert_eq!(found.got, Some(json!({"text": "so"})));
    assert!(found.bytes > 12 && found.request.messages.is_empty());
    let found = contents_of("knowledge-retrieval", true).unwrap();
    assert_eq!(found.given, Some(json!("why")));
    let found = contents_of("llm", true).unwrap();
    assert_eq!((found.given, found.got), (None, None));
    assert_eq!(found.request.model.as_deref(), Some("m"));
    let usage = found.response.usage;
    assert_eq!((usage.input, usage.output), (Some(3), Some(4)));
    let [asked, said] = [&found.request.messages[0], &found.response.messages[0]];
    assert_eq!(
        (asked.role.as_str(), said.role.as_str()),
        ("user", "assistant")
    );
    assert_eq!(said.parts, [Part::Text("so".into())]);
    // It counts for as much as what it says takes.
    assert!(found.bytes > 4 + 3 + 9 + 2, "{}", found.bytes);
}

#[test]
fn a_node_may_end_after_its_run() {
    let mut workflows = running();
    let begins = |n: u64| hit(NODE_BEGINS, (5, 9, 200), &[json!({}), node(n, "tool")]);
    tell(&mut workflows, &begins(1), 2);
    tell(&mut workflows, &begins(2), 3);
    let events = tell(&mut workflows, &hit(RUN_ENDS, (5, 8, 300), &[engine()]), 9);
    assert_eq!(events, [ended(1, 300, None, Defects::NONE)]);
    // Another engine has the place of the first.
    tell(
        &mut workflows,
        &hit(RUN_BEGINS, (5, 8, 310), &[engine()]),
        4,
    );
    let values = [json!({}), node(1, "tool"), Json::Null, Json::Null];
    let events = tell(&mut workflows, &hit(NODE_ENDS, (5, 9, 320), &values), 9);
    assert_eq!(events, [ended(2, 320, None, Defects::NONE)]);
    assert_eq!(workflows.late.len(), 1);
    // Nothing more is heard: one that was left so is over with its run.
    let mut left = Vec::new();
    let mut silent = running();
    tell(&mut silent, &begins(1), 2);
    tell(&mut silent, &hit(RUN_ENDS, (5, 8, 300), &[engine()]), 9);
    assert!(!silent.is_settled());
    silent.tick(BootTime(300 + AFTER), &mut left);
    assert!(left.is_empty());
    silent.tick(BootTime(301 + AFTER), &mut left);
    assert_eq!(left, [ended(2, 300, None, Defects::UNFINISHED)]);
    assert!(silent.is_settled() && silent.nodes.is_empty());
    // So it is with the next that is heard.
    let later = hit(
        NODE_BEGINS,
        (6, 9, 301 + AFTER),
        &[json!({}), node(7, "tool")],
    );
    let events = tell(&mut workflows, &later, 9);
    assert_eq!(events, [ended(3, 300, None, Defects::UNFINISHED)]);
}

#[test]
fn what_does_not_end_says_so() {
    let mut workflows = running();
    let begins = hit(NODE_BEGINS, (5, 9, 200), &[json!({}), node(1, "tool")]);
    tell(&mut workflows, &begins, 2);
    let mut out = Vec::new();
    workflows.stop(Some(6), BootTime(300), &mut out);
    assert!(out.is_empty());
    workflows.stop(Some(7), BootTime(300), &mut out);
    let wanted = [2, 1].map(|id| ended(id, 300, None, Defects::UNFINISHED));
    assert_eq!(out, wanted);
    assert!(workflows.late.is_empty());
    // The same hit once more is no run of its own; one after it is.
    let mut workflows = running();
    assert!(
        tell(
            &mut workflows,
            &hit(RUN_BEGINS, (5, 8, 101), &[engine()]),
            2
        )
        .is_empty()
    );
    let events = tell(
        &mut workflows,
        &hit(RUN_BEGINS, (5, 9, 102), &[engine()]),
        2,
    );
    assert_eq!(
        events.first(),
        Some(&ended(1, 102, None, Defects::UNFINISHED))
    );
    assert_eq!(events.len(), 2);
}

#[test]
fn of_too_many_the_oldest_are_given_up() {
    let mut workflows = Workflows::default();
    let most = MAX_OPEN as u64;
    for n in 0..most + 3 {
        let begins = hit(RUN_BEGINS, (100 + n, 8, n), &[engine()]);
        tell(&mut workflows, &begins, n);
    }
    assert_eq!((workflows.refused, workflows.runs.len()), (3, MAX_OPEN));
    let begins = hit(RUN_BEGINS, (5, 8, most), &[engine()]);
    let events = tell(&mut workflows, &begins, most + 3);
    assert_eq!(events.len(), 2);
    assert_eq!(events[0], ended(3, most, None, Defects::UNFINISHED));
    // Nodes of the newest.
    let node = |n: u64| {
        let begins = hit(NODE_BEGINS, (5, 9, most), &[json!({}), node(n, "tool")]);
        (begins, (1 << 20) + n)
    };
    for n in 0..most + 3 {
        let (begins, id) = node(n);
        tell(&mut workflows, &begins, id);
    }
    assert_eq!(
        (workflows.refused, workflows.nodes.len()),
        (4 + 3, MAX_OPEN)
    );
    let (begins, id) = node(most + 3);
    let events = tell(&mut workflows, &begins, id);
    assert_eq!(events.len(), 2);
    let oldest = (1 << 20) + 3;
    assert_eq!(events[0], ended(oldest, most, None, Defects::UNFINISHED));
    // Those of no run that is followed cost nobody his place.
    let strange = hit(
        NODE_BEGINS,
        (1, 9, most),
        &[json!({}), self::node(1, "tool")],
    );
    assert!(tell(&mut workflows, &strange, 1).is_empty());
    assert_eq!(workflows.refused, 4 + 4);
    let mut out = Vec::new();
    workflows.stop(None, BootTime(most), &mut out);
    assert!(workflows.run_ages.is_empty() && workflows.node_ages.is_empty());
    assert!(workflows.is_settled() && workflows.runs.is_empty());
}
