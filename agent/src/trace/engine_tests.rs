use super::{AGAIN, MAX_WAITING, PATIENCE, Served};
use crate::model::call::{CallEvent, ModelCall, Operation, Usage};
use crate::model::defect::Defects;
use crate::model::engine::{EngineAsked, EngineRequest, EngineWork};
use crate::model::exchange::{ExchangeId, Role};
use crate::model::framework::{Framework, Inside, RunEvent, RunFacts, RunKind, RunLabel};
use crate::model::process::ProcessFacts;
use crate::model::span::{Span, SpanKind, Value};
use crate::model::time::BootTime;
use crate::trace::Spans;
use crate::trace::tests::call;
use crate::vocabulary::attr;

const PID: u32 = 9;
const SECOND: u64 = 1_000_000_000;

fn request(id: &str, output: i64) -> EngineRequest {
    EngineRequest {
        id: id.to_owned(),
        choices: Some(1),
        input: Some(10),
        cached: Some(4),
        output: Some(output),
        finish_reason: Some("length".to_owned()),
        preemptions: Some(2),
        queued: Some(SECOND),
        scheduled: Some(2 * SECOND),
        first_token: Some(4 * SECOND),
        last_token: Some(8 * SECOND),
        time_to_first_token: Some(3 * SECOND + SECOND / 2),
        ..EngineRequest::default()
    }
}

/// A call that is served from second 10 to 12, answered with this id.
fn served(id: &str) -> ModelCall {
    let mut call = call();
    call.role = Role::Server;
    call.response.id = Some(id.to_owned());
    call
}

/// In the middle of that.
const THEN: BootTime = BootTime(11 * SECOND);

fn spans_of(requests: &[EngineRequest], call: ModelCall) -> Span {
    let mut spans = Spans::new(5);
    spans.process(&ProcessFacts {
        pid: PID,
        ..ProcessFacts::default()
    });
    for request in requests {
        spans.engine(PID, THEN, request.clone());
    }
    spans.call(CallEvent::Finished(Box::new(call)));
    spans.flush();
    let mut all: Vec<_> = spans.drain().collect();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn seconds(span: &Span, name: &str) -> Option<f64> {
    match span.attribute(name)? {
        Value::Double(seconds) => Some(*seconds),
        other => panic!("{other:?}"),
    }
}

fn count(span: &Span, name: &str) -> Option<i64> {
    match span.attribute(name)? {
        Value::Int(count) => Some(*count),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_span_of_a_served_request_says_what_the_engine_did() {
    let mut call = served("chatcmpl-1");
    call.response.usage = Usage::default();
    call.response.finish_reasons.clear();
    let span = spans_of(
        &[request("chatcmpl-1", 5), request("chatcmpl-12", 50)],
        call,
    );
    assert_eq!(seconds(&span, attr::ENGINE_QUEUE_TIME), Some(1.0));
    assert_eq!(seconds(&span, attr::ENGINE_PREFILL_TIME), Some(2.0));
    assert_eq!(seconds(&span, attr::ENGINE_DECODE_TIME), Some(4.0));
    assert_eq!(seconds(&span, attr::ENGINE_TIME_TO_FIRST_TOKEN), Some(3.5));
    assert_eq!(
        seconds(&span, attr::ENGINE_TIME_PER_OUTPUT_TOKEN),
        Some(1.0)
    );
    assert_eq!(count(&span, attr::ENGINE_PREEMPTIONS), Some(2));
    assert_eq!(count(&span, attr::ENGINE_REQUESTS), None);
    // What the answer does not say.
    assert_eq!(count(&span, attr::USAGE_INPUT_TOKENS), Some(10));
    assert_eq!(count(&span, attr::USAGE_OUTPUT_TOKENS), Some(5));
    assert_eq!(count(&span, attr::USAGE_CACHE_READ), Some(4));
    let reasons = Value::StrList(vec!["length".to_owned()]);
    assert_eq!(
        span.attribute(attr::RESPONSE_FINISH_REASONS),
        Some(&reasons)
    );
}

#[test]
fn what_the_answer_says_stands() {
    let mut call = served("chatcmpl-1");
    call.response.usage = Usage {
        input: Some(11),
        output: Some(6),
        ..Usage::default()
    };
    let span = spans_of(&[request("chatcmpl-1", 5)], call);
    assert_eq!(count(&span, attr::USAGE_INPUT_TOKENS), Some(11));
    assert_eq!(count(&span, attr::USAGE_OUTPUT_TOKENS), Some(6));
    assert_eq!(count(&span, attr::USAGE_CACHE_READ), Some(4));
    let reasons = Value::StrList(vec!["stop".to_owned()]);
    assert_eq!(
        span.attribute(attr::RESPONSE_FINISH_REASONS),
        Some(&reasons)
    );
}

#[test]
fn who_asks_an_engine_elsewhere_is_told_nothing_of_it() {
    let mut call = served("chatcmpl-1");
    call.role = Role::Client;
    let span = spans_of(&[request("chatcmpl-1", 5)], call);
    assert_eq!(span.attribute(attr::ENGINE_QUEUE_TIME), None);
    assert_eq!(span.kind, SpanKind::Client);
}

#[test]
fn embeddings_make_no_tokens() {
    let mut call = served("embd-1");
    call.operation = Operation::Embeddings;
    call.response.usage = Usage::default();
    call.response.finish_reasons.clear();
    let span = spans_of(&[request("embd-1-0", 0), request("embd-1-1", 0)], call);
    assert_eq!(count(&span, attr::USAGE_INPUT_TOKENS), Some(20));
    assert_eq!(span.attribute(attr::RESPONSE_FINISH_REASONS), None);
    assert_eq!(count(&span, attr::ENGINE_REQUESTS), Some(2));
}

#[test]
fn what_some_of_several_requests_took_is_not_what_all_did() {
    let tokens = |ids: &[&str], reasons: usize| {
        let mut call = served("cmpl-1");
        call.response.usage = Usage::default();
        call.response.finish_reasons = vec!["stop".to_owned(); reasons];
        let all: Vec<_> = ids.iter().map(|id| request(id, 5)).collect();
        let span = spans_of(&all, call);
        let made = count(&span, attr::USAGE_OUTPUT_TOKENS);
        let read = count(&span, attr::USAGE_INPUT_TOKENS);
        assert_eq!(
            count(&span, attr::USAGE_CACHE_READ).is_some(),
            made.is_some()
        );
        // What took how long is so all the same.
        assert_eq!(seconds(&span, attr::ENGINE_QUEUE_TIME), Some(1.0));
        (read, made)
    };
    let whole = (Some(20), Some(10));
    assert_eq!(tokens(&["cmpl-1-0", "cmpl-1-1"], 2), whole);
    assert_eq!(tokens(&["cmpl-1-1", "cmpl-1-0"], 0), whole);
    // Turns of one answer, which is one choice.
    assert_eq!(tokens(&["cmpl-1_0", "cmpl-1_1"], 1), whole);
    assert_eq!(tokens(&["cmpl-1-0", "cmpl-1-1"], 3), (None, None));
    assert_eq!(tokens(&["cmpl-1-0", "cmpl-1-2"], 2), (None, None));
    assert_eq!(tokens(&["cmpl-1-1", "cmpl-1-2"], 2), (None, None));
    assert_eq!(tokens(&["cmpl-1_1"], 1), (None, None));
}

#[test]
fn an_id_that_is_used_again_is_that_of_another_request() {
    let mut all = Served::default();
    let mut one = request("mine", 5);
    one.own = "mine".to_owned();
    all.know(PID, THEN, one.clone());
    // The same hit once more.
    one.output = Some(6);
    all.know(PID, BootTime(THEN.0 + AGAIN - 1), one.clone());
    assert_eq!((all.all.len(), all.unclaimed), (1, 0));
    one.output = Some(7);
    all.know(PID, BootTime(THEN.0 + AGAIN), one);
    assert_eq!((all.all.len(), all.unclaimed), (1, 1));
    let mut call = served("mine");
    call.connection.pid = PID;
    assert_eq!(all.take(&call).map(|work| work.output), Some(Some(7)));
    assert!(all.order.is_empty());
}

fn take(served: &mut Served, id: &str) -> Option<u32> {
    let mut call = self::served(id);
    call.connection.pid = PID;
    served.take(&call).map(|work: EngineWork| work.requests)
}

#[test]
fn requests_are_found_by_the_id_of_the_answer_alone() {
    let mut all = Served::default();
    for id in [
        "cmpl-1-0",
        "cmpl-1-1",
        "cmpl-10-0",
        "cmpl-1-x",
        "cmpl-1-2-0",
        "cmpl-1-",
    ] {
        all.know(PID, THEN, request(id, 1));
    }
    assert_eq!(take(&mut all, "cmpl-1"), Some(2));
    assert_eq!(take(&mut all, "cmpl-1"), None);
    assert_eq!(take(&mut all, "cmpl-1-2"), Some(1));
    assert_eq!(take(&mut all, "cmpl-10"), Some(1));
    assert_eq!(take(&mut all, ""), None);
    // Its own id first; several answers have the same. A hit that is told again is one.
    for (id, own) in [("a", "0_a"), ("a", "1_a"), ("a", "1_a"), ("a_0", "a_0")] {
        let mut one = request(&format!("chatcmpl-{id}"), 1);
        one.own = own.to_owned();
        all.know(PID, THEN, one);
    }
    assert_eq!(take(&mut all, "chatcmpl-a"), Some(2));
    assert_eq!(take(&mut all, "chatcmpl-a_0"), Some(1));
    // Another process, and one that was over before the call began.
    all.know(PID + 1, THEN, request("b", 1));
    all.know(PID, BootTime(9 * SECOND), request("b", 1));
    assert_eq!(take(&mut all, "b"), None);
    assert_eq!(all.unclaimed, 0);
}

#[test]
fn what_nobody_asks_for_is_forgotten_and_counted() {
    let mut all = Served::default();
    for n in 0..MAX_WAITING as u64 + 2 {
        all.know(PID, BootTime(n), request(&n.to_string(), 1));
    }
    assert_eq!((all.all.len(), all.unclaimed), (MAX_WAITING, 2));
    all.tick(BootTime(PATIENCE + 5));
    assert_eq!((all.all.len(), all.unclaimed), (MAX_WAITING - 3, 5));
    all.process_exit(PID + 1);
    assert_eq!(all.unclaimed, 5);
    all.process_exit(PID);
    assert_eq!((all.all.len(), all.order.len()), (0, 0));
    assert_eq!(all.unclaimed, MAX_WAITING as u64 + 2);
}

#[test]
fn a_request_in_the_engines_process_is_a_span() {
    let mut spans = Spans::new(5);
    spans.process(&ProcessFacts {
        pid: PID,
        ..ProcessFacts::default()
    });
    spans.run(RunEvent::Began(Box::new(RunFacts {
        exchange: ExchangeId(1),
        pid: PID,
        tid: PID,
        start: BootTime(SECOND),
        context: None,
        framework: Framework::Vllm,
        run: 0,
        parent: None,
        kind: RunKind::Completion,
        name: None,
        inside: Inside::Nowhere,
        is_generator: false,
        label: RunLabel::None,
        subject: None,
    })));
    let asked = EngineAsked {
        id: "7".to_owned(),
        choices: Some(1),
        max_tokens: Some(16),
        ..EngineAsked::default()
    };
    spans.run(RunEvent::Worked {
        exchange: ExchangeId(1),
        asked: Box::new(asked),
        work: Box::new(EngineWork::of(&[request("7", 5)])),
    });
    spans.run(RunEvent::Ended {
        exchange: ExchangeId(1),
        end: BootTime(9 * SECOND),
        error: None,
        defects: Defects::NONE,
    });
    spans.flush();
    let all: Vec<_> = spans.drain().collect();
    let [span] = &all[..] else {
        panic!("{all:?}");
    };
    assert_eq!(
        (span.name.as_str(), span.kind),
        ("text_completion", SpanKind::Internal)
    );
    let text = |name| span.attribute(name).cloned();
    assert_eq!(text(attr::FRAMEWORK), Some("vllm".into()));
    assert_eq!(text(attr::PROVIDER_NAME), Some("vllm".into()));
    assert_eq!(text(attr::REQUEST_ID), Some("7".into()));
    assert_eq!(
        (text(attr::RUN_ID), text(attr::REQUEST_CHOICE_COUNT)),
        (None, None)
    );
    assert_eq!(count(span, attr::REQUEST_MAX_TOKENS), Some(16));
    assert_eq!(count(span, attr::USAGE_OUTPUT_TOKENS), Some(5));
    assert_eq!(seconds(span, attr::ENGINE_DECODE_TIME), Some(4.0));
}

/// The same request as a part of the engine tells it: times, and nothing else.
fn inner(id: &str, from: u64) -> EngineRequest {
    EngineRequest {
        id: id.to_owned(),
        own: id.to_owned(),
        is_inner: true,
        queued: Some(from),
        scheduled: Some(from + SECOND),
        first_token: Some(from + 3 * SECOND),
        last_token: Some(from + 6 * SECOND),
        ..EngineRequest::default()
    }
}

/// As a server tells it that knows no times.
fn outer(id: &str, output: i64) -> EngineRequest {
    EngineRequest {
        id: id.to_owned(),
        own: id.to_owned(),
        input: Some(10),
        output: Some(output),
        ..EngineRequest::default()
    }
}

#[test]
fn what_both_sides_of_an_engine_tell_is_one_request() {
    let (a, b) = (inner("a", SECOND), outer("a", 4));
    // Whoever is first, and if several parts tell the same.
    for told in [
        vec![a.clone(), b.clone()],
        vec![b.clone(), a.clone()],
        vec![a.clone(), a.clone(), b.clone(), a.clone()],
    ] {
        let mut known = Served::default();
        for (n, request) in told.into_iter().enumerate() {
            known.know(PID, BootTime(THEN.0 + n as u64), request);
        }
        let work = known.take(&served("a")).expect("what it did");
        assert_eq!((work.requests, work.output), (1, Some(4)));
        assert_eq!((work.queue, work.prefill), (Some(1.0), Some(2.0)));
        assert_eq!(work.decode, Some(3.0));
        assert_eq!(work.time_per_output_token, Some(1.0));
        assert_eq!(known.unclaimed, 0);
        assert!(known.take(&served("a")).is_none());
    }
}

#[test]
fn one_that_was_told_before_is_another() {
    // What its server side told long ago is of a request that had the same id.
    let mut known = Served::default();
    known.know(PID, THEN, outer("a", 9));
    known.know(PID, BootTime(THEN.0 + 2 * AGAIN), inner("a", SECOND));
    assert_eq!(known.unclaimed, 1);
    let later = BootTime(THEN.0 + SECOND);
    known.know(PID, later, outer("a", 4));
    assert_eq!(known.unclaimed, 1);
    let work = known.take(&served("a")).expect("what it did");
    assert_eq!((work.output, work.decode), (Some(4), Some(3.0)));
    // A part told of one, and then nobody for so long.
    known.know(PID, THEN, inner("a", SECOND));
    known.know(PID, BootTime(THEN.0 + super::LATER), outer("a", 4));
    assert_eq!(known.unclaimed, 2);
    let work = known.take(&served("a")).expect("what it did");
    assert_eq!((work.output, work.decode), (Some(4), None));
}
