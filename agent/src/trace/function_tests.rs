//! Functions become spans whatever was lost of them, and are the parents of what is within them.

use super::*;
use crate::model::call::CallEvent;
use crate::model::event::Direction;
use crate::model::function::FunctionEnd::{Closed, Late, Raised, Returned, ThreadEnded};
use crate::model::process::ProcessFacts;
use crate::trace::Spans;

const MS: u64 = 1_000_000;

fn call(function: u32, tid: u32, at: u64) -> FunctionCall {
    FunctionCall {
        pid: 7,
        tid,
        function,
        began: BootTime(at * MS),
    }
}

/// Two functions, of which the first tells two arguments.
fn stage(content: bool) -> Spans {
    let mut spans = Spans::new(1);
    let mut facts = ProcessFacts {
        pid: 7,
        ..ProcessFacts::default()
    };
    facts.content.on_spans = content;
    facts.content.max_message_chars = 8;
    spans.process(&facts);
    for (id, name) in [(1, "outer"), (2, "Class.inner")] {
        spans.function(&FunctionFacts {
            id,
            module: "app.core".into(),
            name: name.into(),
            file: "/srv/app/core.py".into(),
            line: 12,
            arguments: vec!["text".into(), "count".into()],
        });
    }
    spans
}

fn drained(spans: &mut Spans) -> Vec<Span> {
    spans.drain().collect()
}

fn defects(span: &Span) -> Option<Value> {
    span.attribute(attr::DEFECTS).cloned()
}

#[test]
fn a_function_within_another_is_its_child() {
    let mut spans = stage(true);
    let (outer, inner) = (call(1, 70, 10), call(2, 70, 20));
    spans.function_began(ExchangeId(1), outer, Some(0), (None, None));
    spans.function_began(ExchangeId(2), inner, Some(1), (None, None));
    spans.function_ended(inner, &Raised(b"ValueError"), BootTime(30 * MS));
    // Another thread's is nobody's child; the name of its exception was out of reach.
    spans.function_began(ExchangeId(3), call(2, 71, 32), Some(0), (None, None));
    spans.function_ended(call(2, 71, 32), &Raised(b""), BootTime(33 * MS));
    spans.function_ended(outer, &Returned, BootTime(40 * MS));
    let all = drained(&mut spans);
    let [inner, other, outer] = all.as_slice() else {
        panic!("{all:?}");
    };
    assert_eq!(
        (inner.name.as_str(), inner.kind),
        ("Class.inner", SpanKind::Internal)
    );
    assert_eq!(inner.end.0 - inner.start.0, 10 * MS);
    assert_eq!(inner.parent_span_id, Some(outer.span_id));
    assert_eq!(inner.trace_id, outer.trace_id);
    assert_eq!((&inner.error, &outer.error), (&Some(String::new()), &None));
    let text = |span: &Span, name: &str| span.attribute(name).cloned();
    assert_eq!(text(inner, attr::ERROR_TYPE), Some("ValueError".into()));
    assert_eq!(text(inner, attr::PARENT_SOURCE), Some("function".into()));
    assert_eq!(text(other, attr::ERROR_TYPE), Some("_OTHER".into()));
    let name = Some("app.core.Class.inner".into());
    assert_eq!(text(inner, attr::CODE_FUNCTION_NAME), name);
    assert_eq!(
        text(inner, attr::CODE_FILE_PATH),
        Some("/srv/app/core.py".into())
    );
    assert_eq!(text(inner, attr::CODE_LINE_NUMBER), Some(12_i64.into()));
    assert_eq!((other.parent_span_id, outer.parent_span_id), (None, None));
    assert_ne!(other.trace_id, outer.trace_id);
}

#[test]
fn what_is_lost_is_said() {
    let mut spans = stage(true);
    let defect = |name: &str| Some(Value::StrList(vec![name.to_owned()]));
    // The end of one within it, then of itself: shown by the depth of the next.
    spans.function_began(ExchangeId(1), call(1, 70, 10), Some(0), (None, None));
    spans.function_began(ExchangeId(2), call(2, 70, 20), Some(1), (None, None));
    spans.function_ended(call(1, 70, 10), &Late, BootTime(30 * MS));
    let all = drained(&mut spans);
    assert_eq!(
        (defects(&all[0]), defects(&all[1])),
        (defect("end_lost"), defect("end_late"))
    );
    spans.function_began(ExchangeId(3), call(1, 70, 40), Some(0), (None, None));
    spans.function_began(ExchangeId(4), call(1, 70, 50), Some(0), (None, None));
    let all = drained(&mut spans);
    assert_eq!((all.len(), defects(&all[0])), (1, defect("end_lost")));
    assert_eq!(all[0].end.0 - all[0].start.0, 10 * MS);
    // An end without a beginning is nothing.
    spans.function_ended(call(2, 70, 55), &Returned, BootTime(56 * MS));
    spans.function_ended(call(2, 99, 55), &Returned, BootTime(56 * MS));
    assert!(drained(&mut spans).is_empty());
    spans.function_ended(call(1, 70, 50), &ThreadEnded, BootTime(60 * MS));
    assert_eq!(defects(&drained(&mut spans)[0]), defect("thread_ended"));
    // The process ends, or the tracing of it.
    for pid in [Some(7), None] {
        spans.function_began(ExchangeId(5), call(1, 70, 70), Some(0), (None, None));
        spans.function_began(ExchangeId(6), call(2, 70, 71), Some(1), (None, None));
        match pid {
            Some(pid) => spans.functions_exit(pid, BootTime(80 * MS)),
            None => spans.functions_stop(BootTime(80 * MS)),
        }
        let all = drained(&mut spans);
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|span| defects(span) == defect("unfinished")));
        assert_eq!(all[0].parent_span_id, Some(all[1].span_id));
    }
    assert_eq!(spans.counters().functions_refused, 0);
}

#[test]
fn what_is_inside_of_arguments_is_content() {
    let inside = serde_json::json!({
        "<class>": "app.Ask", "question": "sk-test-abcdefghijklmnop1234567890abcdefghijklmnop is long", "n": [1, null],
        "empty": {"<class>": "app.Empty"},
    });
    for content in [true, false] {
        let mut spans = stage(content);
        let one = call(1, 70, 10);
        spans.function_began(ExchangeId(1), one, Some(0), (None, None));
        spans.function_argument(one, 0, &Argument::Other(b"Ask"));
        // One that is not of this call, and one that nobody asked for.
        spans.function_values(call(1, 70, 9), &[Some(inside.clone())]);
        let values = [Some(inside.clone()), None, Some(inside.clone())];
        spans.function_values(one, &values);
        spans.function_ended(one, &Returned, BootTime(30 * MS));
        let all = drained(&mut spans);
        let told = all[0].attribute("genspan.function.argument.text").cloned();
        // Each text is cut, not what has them all; nothing of a secret is left.
        let wanted = r#"{"question":"[redacte","n":[1,null],"empty":"<app.Emp"}"#;
        assert_eq!(told, content.then(|| wanted.into()));
        let names = all[0].attributes.iter().map(|(name, _)| name);
        let arguments = names.filter(|n| n.starts_with(attr::FUNCTION_ARGUMENT));
        assert_eq!(arguments.count(), usize::from(content));
    }
}

#[test]
fn arguments_are_content() {
    for content in [true, false] {
        let mut spans = stage(content);
        let one = call(1, 70, 10);
        spans.function_began(ExchangeId(1), one, Some(0), (None, None));
        let text = Argument::Text {
            bytes: b"s\xfc\xdf and long",
            width: 1,
            characters: 900,
        };
        spans.function_argument(one, 0, &text);
        spans.function_argument(one, 1, &Argument::Int(-3));
        // Of no argument, and of no call.
        spans.function_argument(one, 2, &Argument::Int(4));
        spans.function_argument(call(1, 70, 11), 1, &Argument::Int(5));
        spans.function_ended(one, &Returned, BootTime(30 * MS));
        let all = drained(&mut spans);
        let told: Vec<_> = all[0]
            .attributes
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(attr::FUNCTION_ARGUMENT)?, value)))
            .collect();
        let text = Value::from("süß and ".to_owned());
        let wanted = [("text", &text), ("count", &Value::Int(-3))];
        assert_eq!(told, if content { &wanted[..] } else { &[] });
    }
}

#[test]
fn secrets_in_arguments_are_redacted_before_they_are_cut() {
    let mut policy = ContentPolicy::default();
    let key = "Authorization: Bearer abcdef0123456789.xyz";
    // The cut is inside the key: half of it would not be taken for one.
    policy.max_message_chars = "Authorization: Bearer abcdef".len();
    let shown = |redactor: &Redactor| fitting(key, 0, &policy, redactor);
    assert_eq!(shown(&Redactor::none()), "Authorization: Bearer abcdef");
    assert_eq!(shown(&Redactor::default()), "Authorization: Bearer [redac");
    // Of a text the kernel reads only the beginning: there the key is cut before it comes to us.
    policy.max_message_chars = 1024;
    let shown = |missing| fitting("use ghp_A1b2C3", missing, &policy, &Redactor::default());
    assert_eq!(shown(0), "use ghp_A1b2C3");
    assert_eq!(shown(900), "use [redacted:github_token]…");
    assert_eq!(fitting("plain", 3, &policy, &Redactor::none()), "plain…");
}

#[test]
fn characters_of_every_width() {
    assert_eq!(characters_of(b"gr\xfc\xdfe", 1), "grüße");
    assert_eq!(characters_of(&[0x60, 0x4f, 0x7d, 0x59], 2), "你好");
    assert_eq!(characters_of(&[0x00, 0xd8], 2), "\u{fffd}");
    assert_eq!(characters_of(&[0x80, 0xf9, 0x01, 0, 7], 4), "🦀");
    assert_eq!(characters_of(b"", 4), "");
    let values = [
        (Argument::None, "None"),
        (Argument::Float(f64::NAN), "nan"),
        (Argument::Float(f64::NEG_INFINITY), "-inf"),
        (Argument::Other(b"Thing"), "<Thing>"),
    ];
    for (value, wanted) in values {
        assert_eq!(told(&value), Told::Value(Value::from(wanted.to_owned())));
    }
}

#[test]
fn there_is_room_for_so_many() {
    let mut functions = Functions::default();
    for n in 0..=MAX_OPEN {
        let tid = u32::try_from(n).unwrap();
        functions.began(ExchangeId(n as u64), call(1, tid, 1), false);
    }
    assert_eq!((functions.refused, functions.count), (1, MAX_OPEN));
    assert_eq!(functions.stop(None, BootTime(2)).len(), MAX_OPEN);
    assert_eq!(functions.count, 0);
}

#[test]
fn arguments_have_so_much_room() {
    let mut functions = Functions::default();
    for id in 1..=2 {
        functions.know(&FunctionFacts {
            id,
            arguments: vec!["text".into()],
            ..FunctionFacts::default()
        });
    }
    let long = vec![b'x'; 1024];
    let text = Argument::Text {
        bytes: &long,
        width: 1,
        characters: 1024,
    };
    let fit = u32::try_from(MAX_ARGUMENT_BYTES / (1024 + ARGUMENT_BYTES)).unwrap();
    for tid in 0..=fit {
        functions.began(ExchangeId(u64::from(tid)), call(1, tid, 1), false);
        // What is told again is in the place of what was told.
        for _ in 0..if tid == 0 { 3 } else { 0 } {
            functions.argument(call(1, tid, 1), 0, &text);
        }
        functions.argument(call(1, tid, 1), 0, &text);
    }
    assert_eq!(functions.arguments_refused, 1);
    assert!(functions.bytes <= MAX_ARGUMENT_BYTES);
    // One that is over makes room: also one of which the end was lost.
    functions.ended(call(1, 0, 1), &Returned, BootTime(2));
    functions.began(ExchangeId(0), call(2, 1, 2), false);
    functions.argument(call(2, 1, 2), 0, &text);
    assert_eq!(functions.lost(call(2, 1, 3), 0).len(), 2);
    assert_eq!(functions.arguments_refused, 1);
    functions.stop(None, BootTime(3));
    assert_eq!((functions.bytes, functions.count), (0, 0));
}

#[test]
fn functions_that_are_forgotten_are_counted() {
    let mut functions = Functions::default();
    for n in [0, 0].into_iter().chain(0..=MAX_KNOWN) {
        functions.know(&FunctionFacts {
            id: u32::try_from(n).unwrap(),
            ..FunctionFacts::default()
        });
    }
    assert_eq!(functions.evicted, 1);
    assert!(functions.facts(0).is_none() && functions.facts(1).is_some());
}

#[test]
fn generators_stand_by_themselves() {
    let mut spans = stage(true);
    let (one, other, plain) = (call(1, 70, 10), call(1, 70, 11), call(2, 70, 12));
    spans.function_began(ExchangeId(1), one, None, (None, None));
    spans.function_argument(one, 1, &Argument::Int(1));
    spans.function_began(ExchangeId(2), other, None, (None, None));
    spans.function_argument(other, 1, &Argument::Int(2));
    // The plain one says that nothing is around it on its thread: they go on.
    spans.function_began(ExchangeId(3), plain, Some(0), (Some(one.name()), None));
    spans.function_argument(one, 0, &Argument::None);
    spans.function_ended(one, &Closed, BootTime(20 * MS));
    spans.function_ended(plain, &Returned, BootTime(21 * MS));
    // Ended by a call of another function at the same time, which is none of it.
    spans.function_ended(call(2, 70, 11), &Returned, BootTime(22 * MS));
    spans.functions_exit(7, BootTime(30 * MS));
    let all = drained(&mut spans);
    let [one, plain, other] = all.as_slice() else {
        panic!("{all:?}");
    };
    let count = |span: &Span| span.attribute("genspan.function.argument.count").cloned();
    assert_eq!((count(one), count(other)), (Some(1.into()), Some(2.into())));
    assert_eq!(one.attribute(attr::FUNCTION_CLOSED), Some(&true.into()));
    assert_eq!((one.error.as_ref(), defects(one)), (None, None));
    assert_eq!(one.end.0 - one.start.0, 10 * MS);
    assert_eq!(plain.parent_span_id, Some(one.span_id));
    assert_eq!(defects(other), Some(vec!["unfinished".to_owned()].into()));
}

/// One that waits for an answer is told when that was given, and is not under way meanwhile.
#[test]
fn a_function_waits_for_the_answer_that_says_whose_it_is() {
    let mut spans = stage(true);
    let served = Begun {
        exchange: ExchangeId(1),
        connection: ConnectionId {
            pid: 7,
            ssl: 1,
            generation: 1,
        },
        role: Role::Server,
        tid: 70,
        start: BootTime(10 * MS),
        propagated: None,
        stream: None,
    };
    let flows = |spans: &mut Spans, direction, context| {
        let lineage = spans.lineage();
        lineage.flows(served.connection, direction, Some(context));
        lineage.moved(7, 70);
    };
    flows(&mut spans, Direction::Read, 0x10);
    spans.call(CallEvent::Began(Box::new(served.clone())));
    spans.copied((7, 70), Some(0x10), 0x20, None);
    let (one, other) = (call(1, 70, 20), call(2, 70, 30));
    for (id, call) in [(2, one), (3, other)] {
        spans.function_began(ExchangeId(id), call, Some(0), (None, Some(0x20)));
        spans.function_argument(call, 1, &Argument::Int(5));
        spans.function_ended(call, &Returned, BootTime(40 * MS));
    }
    assert!(!spans.has_spans());
    flows(&mut spans, Direction::Write, 0x20);
    spans.answers(served.connection);
    let told = drained(&mut spans);
    let [first, second] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(
        (first.name.as_str(), second.name.as_str()),
        ("outer", "Class.inner")
    );
    assert!(first.parent_span_id.is_some() && first.parent_span_id == second.parent_span_id);
    let count = format!("{}count", attr::FUNCTION_ARGUMENT);
    assert_eq!(first.attribute(&count), Some(&Value::Int(5)));
}
