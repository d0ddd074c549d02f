use super::told::class_of_error;
use super::{AFTER, MAX_OPEN, NODE_BEGINS, NODE_ENDS, RUN_BEGINS, RUN_ENDS, Workflows, kept};
use crate::model::call::Part;
use crate::model::defect::Defects;
use crate::model::exchange::ExchangeId;
use crate::model::framework::{Framework, Inside, RunContents, RunEvent, RunFacts, RunKind};
use crate::model::snapshot::{CLASS, Snapshot, Subject};
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

/// A node of an engine with these callers above it, or with what its worker and the caller of the hook have.
fn inner(number: u64, kind: &str, worker: Json, within: Json) -> [Json; 3] {
    [worker, node(number, kind), within]
}

fn parent_of(workflows: &mut Workflows, of: &Snapshot, next: u64) -> Option<u64> {
    let events = tell(workflows, of, next);
    began(&events).parent.map(|parent| parent.0)
}

#[test]
fn what_an_engine_says_that_a_node_is_within() {
    let mut workflows = running();
    let begins = |number, kind: &str, within: Json| {
        hit(
            NODE_BEGINS,
            (5, 9, 200 + number),
            &inner(number, kind, json!({}), within),
        )
    };
    let outer = begins(1, "iteration", Json::Null);
    assert_eq!(parent_of(&mut workflows, &outer, 2), Some(1));
    let inner = begins(2, "loop", json!(execution(1)));
    assert_eq!(parent_of(&mut workflows, &inner, 3), Some(2));
    let of_inner = begins(3, "llm", json!(execution(2)));
    assert_eq!(parent_of(&mut workflows, &of_inner, 4), Some(3));
    // What is not under way, is of another run, is the node's own, or is no id at all.
    let others = [
        json!(execution(77)),
        json!(execution(6)),
        json!("a"),
        json!(7),
    ];
    for (number, within) in (5..).zip(others) {
        let of = begins(number, "llm", within);
        assert_eq!(parent_of(&mut workflows, &of, 10 + number), Some(1));
    }
    let other = hit(RUN_BEGINS, (6, 8, 300), &[engine()]);
    tell(&mut workflows, &other, 30);
    let values = self::inner(40, "llm", json!({}), json!(execution(1)));
    let of_other = hit(NODE_BEGINS, (6, 9, 310), &values);
    assert_eq!(parent_of(&mut workflows, &of_other, 31), Some(30));
}

#[test]
fn what_frames_say_that_a_node_is_within() {
    let mut workflows = running();
    let begins = |number, kind: &str, frame: &str| {
        let worker = json!({"_current_frame_id": frame});
        let values = inner(number, kind, worker, Json::Null);
        hit(NODE_BEGINS, (5, 9, 200 + number), &values)
    };
    let ends = |number| {
        let values = [json!({}), node(number, ""), Json::Null, Json::Null];
        hit(NODE_ENDS, (5, 9, 300 + number), &values)
    };
    tell(&mut workflows, &begins(1, "iteration", "root"), 2);
    tell(&mut workflows, &begins(2, "loop", "root"), 3);
    // One iteration waits, and one loop.
    let first = begins(3, "llm", "a:iteration:0");
    assert_eq!(parent_of(&mut workflows, &first, 4), Some(2));
    let within = begins(4, "llm", "b:loop:0");
    assert_eq!(parent_of(&mut workflows, &within, 5), Some(3));
    // Another frame of the same, and one of neither.
    let second = begins(5, "llm", "a:iteration:1");
    assert_eq!(parent_of(&mut workflows, &second, 6), Some(2));
    for (number, frame) in (6..).zip(["c:iteration:0", "root", "", "iteration:0", "c:other:0"]) {
        let of = begins(number, "llm", frame);
        assert_eq!(parent_of(&mut workflows, &of, number), Some(1), "{frame}");
    }
    // Two of the same kind: which is it? What the first waits for is known.
    tell(&mut workflows, &begins(20, "iteration", "root"), 20);
    tell(&mut workflows, &begins(21, "iteration", "root"), 21);
    let either = begins(22, "llm", "d:iteration:0");
    assert_eq!(parent_of(&mut workflows, &either, 22), Some(1));
    let known = begins(23, "llm", "a:iteration:2");
    assert_eq!(parent_of(&mut workflows, &known, 23), Some(2));
    // One of them is over: it is the other.
    tell(&mut workflows, &ends(20), 0);
    let other = begins(24, "llm", "d:iteration:1");
    assert_eq!(parent_of(&mut workflows, &other, 24), Some(21));
    // What a run that goes on has in a frame may have begun before that.
    let again = [engine(), json!(true)];
    tell(&mut workflows, &hit(RUN_BEGINS, (5, 8, 400), &again), 40);
    tell(&mut workflows, &begins(30, "iteration", "root"), 41);
    let before = begins(31, "llm", "e:iteration:0");
    assert_eq!(parent_of(&mut workflows, &before, 42), Some(40));
}

#[test]
fn rounds_with_engines_of_their_own() {
    let mut workflows = running();
    let outer = hit(NODE_BEGINS, (5, 9, 200), &[json!({}), node(1, "iteration")]);
    tell(&mut workflows, &outer, 2);
    let tool = hit(NODE_BEGINS, (5, 10, 200), &[json!({}), node(2, "tool")]);
    tell(&mut workflows, &tool, 3);
    let round = |registry, caller: Json| {
        let callers = [engine(), Json::Null, json!({"id": "x"}), caller, json!([1])];
        hit(RUN_BEGINS, (registry, 30, 210), &callers)
    };
    // Two at a time, of the same node: none is a run of its own.
    for (registry, number) in [(50, 5), (51, 6)] {
        assert_eq!(
            tell(
                &mut workflows,
                &round(registry, node(1, "iteration")),
                number
            ),
            []
        );
        let of = hit(
            NODE_BEGINS,
            (registry, 31, 220),
            &[json!({}), node(number, "llm")],
        );
        assert_eq!(parent_of(&mut workflows, &of, 10 + number), Some(2));
    }
    // What a tool runs is; so is what nobody who is known asks for.
    let events = tell(&mut workflows, &round(52, node(2, "tool")), 20);
    assert_eq!(began(&events).parent, None);
    let events = tell(&mut workflows, &round(53, node(9, "iteration")), 21);
    assert_eq!(began(&events).exchange, ExchangeId(21));
    // The end of a round is nobody's; what it leaves behind is over with it.
    let over = hit(RUN_ENDS, (50, 30, 300), &[engine()]);
    assert_eq!(tell(&mut workflows, &over, 0), []);
    let mut out = Vec::new();
    workflows.tick(BootTime(301 + AFTER), &mut out);
    assert_eq!(out, [ended(15, 300, None, Defects::UNFINISHED)]);
    out.clear();
    workflows.stop(None, BootTime(400 + AFTER), &mut out);
    let ended: Vec<_> = out
        .iter()
        .map(|event| match event {
            RunEvent::Ended { exchange, .. } => exchange.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ended, [2, 3, 16, 1, 20, 21]);
    assert!(workflows.run_ages.is_empty() && workflows.runs.is_empty());
}

/// As the oldest engines have it.
fn old_engine() -> Json {
    json!({"init_params": {"workflow_id": "w", "user_id": "said"}})
}

fn old_node(number: u64, kind: &str) -> Json {
    let class = format!("core.workflow.nodes.{kind}.node.Node");
    json!({
        "id": execution(number), "node_id": "n", CLASS: class,
        "node_data": {"title": "A title", "credentials": "said"},
    })
}

#[test]
fn engines_that_run_their_nodes_themselves() {
    let mut workflows = Workflows::default();
    let begins = hit(RUN_BEGINS, (5, 8, 100), &[old_engine()]);
    let events = tell(&mut workflows, &begins, 1);
    assert_eq!(began(&events).name.as_deref(), Some("w"));
    let node = |number, kind: &str, time| {
        hit(
            NODE_BEGINS,
            (5, 8, time),
            &[old_engine(), old_node(number, kind)],
        )
    };
    let over = |number, status: &str, time| {
        let state = json!({"id": execution(number), "node_id": "n"});
        let result = json!({
            "status": {"_value_": status, "_name_": "X"}, "error_type": "KeyError", "error": "said",
            "outputs": {"x": "so"},
        });
        let values = [state.clone(), state, Json::Null, result.clone(), result];
        hit(NODE_ENDS, (7, 8, time), &values)
    };
    let events = tell(&mut workflows, &node(1, "knowledge_retrieval", 200), 2);
    assert_eq!(began(&events).kind, RunKind::Retriever);
    assert_eq!(began(&events).name.as_deref(), Some("A title"));
    let events = tell(&mut workflows, &over(1, "succeeded", 300), 0);
    assert_eq!(events.last(), Some(&ended(2, 300, None, Defects::NONE)));
    // A round of it.
    tell(&mut workflows, &node(2, "iteration", 310), 3);
    let values = [old_engine(), Json::Null, old_node(2, "iteration")];
    assert_eq!(
        tell(&mut workflows, &hit(RUN_BEGINS, (6, 8, 320), &values), 4),
        []
    );
    let values = [old_engine(), old_node(3, "code")];
    let within = hit(NODE_BEGINS, (6, 8, 330), &values);
    assert_eq!(parent_of(&mut workflows, &within, 5), Some(3));
    tell(&mut workflows, &over(3, "succeeded", 340), 0);
    tell(&mut workflows, &over(2, "succeeded", 350), 0);
    // Nothing says that it is over for a node that failed.
    tell(&mut workflows, &node(4, "tool", 360), 6);
    let events = tell(&mut workflows, &over(4, "failed", 400), 0);
    assert_eq!(
        events.last(),
        Some(&ended(6, 400, Some("KeyError"), Defects::NONE))
    );
    assert!(!workflows.is_settled());
    let mut out = Vec::new();
    workflows.tick(BootTime(400 + AFTER), &mut out);
    assert_eq!(out, []);
    workflows.tick(BootTime(401 + AFTER), &mut out);
    assert_eq!(out, [ended(1, 400, Some("KeyError"), Defects::NONE)]);
    assert!(workflows.is_settled() && workflows.runs.is_empty());
    // Where it does it is over then.
    tell(
        &mut workflows,
        &hit(RUN_BEGINS, (5, 8, 500 + AFTER), &[old_engine()]),
        7,
    );
    tell(&mut workflows, &node(5, "end", 510 + AFTER), 8);
    tell(&mut workflows, &over(5, "succeeded", 520 + AFTER), 0);
    let ends = hit(RUN_ENDS, (5, 8, 530 + AFTER), &[old_engine()]);
    let events = tell(&mut workflows, &ends, 0);
    assert_eq!(events, [ended(7, 530 + AFTER, None, Defects::NONE)]);
    assert!(workflows.is_settled());
}

/// As Dify 1.9 and 1.10 tell of a node: the worker and the node where it begins, events of it to whom handles them.
#[test]
fn engines_whose_workers_have_no_hooks() {
    let mut workflows = running();
    let node = |number| {
        let class = "core.workflow.nodes.llm.node.LLMNode";
        json!({
            "id": "llm", "_node_id": "llm", "_node_execution_id": execution(number), CLASS: class,
            "_node_data": {"title": "A title", "headers": "said"},
        })
    };
    let event = |kind: &str, number, time| {
        let event = json!({
            CLASS: format!("core.workflow.graph_events.node.{kind}"), "id": execution(number),
            "node_id": "llm", "node_run_result": {"status": "failed", "error_type": "KeyError"},
        });
        let values = [Some(json!({})), None, None, Some(event)];
        let mut hit = hit(NODE_ENDS, (70, 12, time), &[]);
        hit.values = kept(NODE_ENDS, &values, Some(70));
        hit
    };
    let begins = hit(NODE_BEGINS, (5, 10, 200), &[json!({}), node(1)]);
    let events = tell(&mut workflows, &begins, 2);
    let facts = began(&events);
    assert_eq!(facts.parent, Some(ExchangeId(1)));
    assert_eq!(
        (facts.kind, facts.name.as_deref()),
        (RunKind::Chat, Some("A title"))
    );
    for (kind, time) in [
        ("NodeRunStartedEvent", 210),
        ("NodeRunPauseRequestedEvent", 220),
    ] {
        assert_eq!(tell(&mut workflows, &event(kind, 1, time), 0), []);
    }
    // Who asks for a title is no worker of a run.
    let asked = hit(NODE_BEGINS, (77, 12, 225), &[json!({}), node(4)]);
    assert_eq!(tell(&mut workflows, &asked, 9), []);
    // It fails, which is told twice, and begins once more with the same id.
    let over = ended(2, 230, Some("KeyError"), Defects::NONE);
    assert_eq!(
        tell(&mut workflows, &event("NodeRunFailedEvent", 1, 230), 0),
        [over]
    );
    for kind in ["NodeRunFailedEvent", "NodeRunRetryEvent"] {
        assert_eq!(tell(&mut workflows, &event(kind, 1, 240), 0), []);
    }
    let begins = hit(NODE_BEGINS, (5, 10, 250), &[json!({}), node(1)]);
    assert_eq!(parent_of(&mut workflows, &begins, 3), Some(1));
    assert_eq!(
        tell(&mut workflows, &event("NodeRunRetryEvent", 1, 255), 0),
        []
    );
    let over = ended(3, 260, Some("KeyError"), Defects::NONE);
    assert_eq!(
        tell(&mut workflows, &event("NodeRunExceptionEvent", 1, 260), 0),
        [over]
    );
}
