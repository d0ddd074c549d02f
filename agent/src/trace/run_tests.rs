use super::*;
use crate::model::call::{CallEvent, Message, ModelCall, Operation, Part};
use crate::model::exchange::ExchangeId;
use crate::model::framework::{Inside, RunEvent};
use crate::model::process::ProcessFacts;
use crate::model::span::Value;
use crate::trace::Spans;
use crate::trace::tests::call;
use serde_json::json;

/// Process and thread of everything.
const PID: u32 = 9;
const TID: u32 = 10;
const SECOND: u64 = 1_000_000_000;

fn stage() -> Spans {
    let mut spans = Spans::new(5);
    spans.process(&ProcessFacts {
        pid: PID,
        ..ProcessFacts::default()
    });
    spans
}

/// Run `n` begins at second `n`.
fn began(spans: &mut Spans, n: u64, parent: Option<u64>, kind: RunKind) {
    spans.run(RunEvent::Began(Box::new(RunFacts {
        exchange: ExchangeId(n),
        pid: PID,
        tid: TID,
        start: BootTime(n * SECOND),
        context: None,
        framework: Framework::LangChain,
        run: u128::from(n),
        parent: parent.map(ExchangeId),
        kind,
        name: Some(format!("run {n}")),
        inside: Inside::Thread,
        is_generator: false,
        label: RunLabel::Uuid,
        subject: None,
    })));
}

fn ended(spans: &mut Spans, n: u64, at: u64, error: Option<&str>) {
    spans.run(RunEvent::Ended {
        exchange: ExchangeId(n),
        end: BootTime(at * SECOND),
        error: error.map(str::to_owned),
        defects: Defects::NONE,
    });
}

/// A request as call `n`.
fn asked(spans: &mut Spans, n: u64, at: u64) -> ModelCall {
    let mut call = call();
    call.exchange = ExchangeId(n);
    call.start = BootTime(at * SECOND);
    call.end = BootTime((at + 1) * SECOND);
    let begun = crate::trace::span::begun(&call);
    spans.call(CallEvent::Began(Box::new(begun)));
    call
}

fn answered(spans: &mut Spans, call: ModelCall) {
    spans.call(CallEvent::Over {
        exchange: call.exchange,
        told: true,
    });
    spans.call(CallEvent::Finished(Box::new(call)));
}

/// Each span as its name, its run's name, and the name of its parent.
fn tree(spans: &mut Spans) -> Vec<String> {
    let all: Vec<Span> = spans.drain().collect();
    let parent = |span: &Span| {
        let id = span.parent_span_id?;
        let found = all.iter().find(|s| s.span_id == id);
        Some(found.map_or("?", |s| s.name.as_str()).to_owned())
    };
    all.iter()
        .map(|span| {
            let run = match span.attribute(attr::RUN_NAME) {
                Some(Value::Str(name)) => name.as_ref(),
                _ => "-",
            };
            let parent = parent(span).unwrap_or_default();
            format!("{} ({run}) in {parent:?}", span.name)
        })
        .collect()
}

#[test]
fn ids_are_written_as_uuids() {
    let number = 0x0193_6ad2_0000_7abc_8def_0123_4567_89ab;
    assert_eq!(uuid(number), "01936ad2-0000-7abc-8def-0123456789ab");
    assert_eq!(uuid(1), "00000000-0000-0000-0000-000000000001");
}

#[test]
fn each_kind_has_its_span() {
    let mut spans = stage();
    let kinds = [
        RunKind::Agent,
        RunKind::Chain,
        RunKind::Completion,
        RunKind::Chat,
        RunKind::Tool,
        RunKind::Retriever,
    ];
    began(&mut spans, 1, None, RunKind::Chain);
    for (n, kind) in (2..).zip(kinds) {
        began(&mut spans, n, Some(1), kind);
        ended(&mut spans, n, n + 1, (n == 6).then_some("KeyError"));
    }
    ended(&mut spans, 1, 20, None);
    let all: Vec<Span> = spans.drain().collect();
    let names: Vec<_> = all.iter().map(|s| s.name.as_str()).collect();
    let wanted = [
        "invoke_agent run 2",
        "chain run 3",
        "text_completion",
        "chat",
        "execute_tool run 6",
        "retrieval",
        "invoke_workflow run 1",
    ];
    assert_eq!(names, wanted);
    let root = all.last().unwrap();
    for span in &all[..6] {
        assert_eq!(span.parent_span_id, Some(root.span_id));
        let source = span.attribute(attr::PARENT_SOURCE);
        assert_eq!(source, Some(&"run".into()));
        let failed = span.name.starts_with("execute_tool");
        assert_eq!(span.error.is_some(), failed);
        assert_eq!(span.attribute(attr::ERROR_TYPE).is_some(), failed);
    }
    assert_eq!(all[4].attribute(attr::TOOL_NAME), Some(&"run 6".into()));
    assert_eq!(all[1].attribute(attr::OPERATION_NAME), None);
    assert_eq!((root.start.0, root.end.0), (SECOND, 20 * SECOND));
}

#[test]
fn a_model_run_and_its_call_are_one_span() {
    let mut spans = stage();
    began(&mut spans, 1, None, RunKind::Chain);
    began(&mut spans, 2, Some(1), RunKind::Chat);
    let call = asked(&mut spans, 3, 3);
    answered(&mut spans, call);
    ended(&mut spans, 2, 5, None);
    // Another one, whose call is told when the run is over.
    began(&mut spans, 4, Some(1), RunKind::Chat);
    let call = asked(&mut spans, 5, 5);
    ended(&mut spans, 4, 6, None);
    answered(&mut spans, call);
    ended(&mut spans, 1, 9, None);
    let wanted = [
        "chat m (run 2) in \"invoke_workflow run 1\"",
        "chat m (run 4) in \"invoke_workflow run 1\"",
        "invoke_workflow run 1 (run 1) in \"\"",
    ];
    assert_eq!(tree(&mut spans), wanted);
}

#[test]
fn what_is_not_the_call_of_a_model_run_is_part_of_it() {
    let mut spans = stage();
    began(&mut spans, 1, None, RunKind::Chat);
    let mut other = asked(&mut spans, 2, 2);
    other.operation = Operation::Embeddings;
    answered(&mut spans, other);
    // The second one is.
    let call = asked(&mut spans, 3, 4);
    answered(&mut spans, call);
    // And a third one has the place that it has.
    let call = asked(&mut spans, 4, 6);
    answered(&mut spans, call);
    ended(&mut spans, 1, 9, None);
    // What is made in no run belongs to none.
    let call = asked(&mut spans, 5, 10);
    answered(&mut spans, call);
    let told = tree(&mut spans);
    assert_eq!(told[0], "embeddings m (-) in \"chat m\"");
    assert_eq!(told[1], "chat m (run 1) in \"\"");
    assert_eq!(told[2], "chat m (-) in \"chat m\"");
    assert_eq!(told[3], "chat m (-) in \"\"");
    assert_eq!(told.len(), 4);
}

#[test]
fn a_chain_is_around_a_call_that_no_model_run_makes() {
    let mut spans = stage();
    began(&mut spans, 1, None, RunKind::Chain);
    let call = asked(&mut spans, 2, 2);
    answered(&mut spans, call);
    // It left by an exception, as far as is known: nothing more is done in it.
    spans.run(RunEvent::Left(ExchangeId(1)));
    let call = asked(&mut spans, 3, 4);
    answered(&mut spans, call);
    ended(&mut spans, 1, 5, Some("KeyError"));
    let wanted = [
        "chat m (-) in \"invoke_workflow run 1\"",
        "chat m (-) in \"\"",
        "invoke_workflow run 1 (run 1) in \"\"",
    ];
    assert_eq!(tree(&mut spans), wanted);
}

/// Contents of a model's run, and of a chain's.
fn contents() -> RunContents {
    let message = |text: &str| Message {
        role: "user".to_owned(),
        parts: vec![Part::Text(text.into())],
        ..Message::default()
    };
    let mut contents = RunContents {
        given: Some(json!({"x": "a long text", "n": 1})),
        got: Some(json!(["b"])),
        ..RunContents::default()
    };
    contents.request.model = Some("m".to_owned());
    contents.request.messages = vec![message("asked here")];
    contents.response.messages = vec![message("said")];
    contents.response.model = Some("m-2".to_owned());
    contents.response.usage.input = Some(3);
    contents
}

#[test]
fn contents_are_told_where_they_are_wanted() {
    for wanted in [true, false] {
        let mut spans = Spans::new(5);
        let mut facts = ProcessFacts {
            pid: PID,
            ..ProcessFacts::default()
        };
        facts.content.on_spans = wanted;
        facts.content.max_message_chars = 5;
        spans.process(&facts);
        let kinds = [
            RunKind::Chain,
            RunKind::Chat,
            RunKind::Tool,
            RunKind::Retriever,
        ];
        for (n, kind) in (1..).zip(kinds) {
            began(&mut spans, n, None, kind);
            spans.run(RunEvent::Contents {
                exchange: ExchangeId(n),
                contents: Box::new(contents()),
            });
            ended(&mut spans, n, n + 1, None);
        }
        // Of another run: nobody's.
        began(&mut spans, 9, None, RunKind::Chain);
        spans.run(RunEvent::Contents {
            exchange: ExchangeId(8),
            contents: Box::new(contents()),
        });
        ended(&mut spans, 9, 10, None);
        let all: Vec<Span> = spans.drain().collect();
        let text = |n: usize, name: &str| match all[n].attribute(name) {
            Some(Value::Str(text)) => Some(text.to_string()),
            _ => None,
        };
        let some = |text: &str| wanted.then(|| text.to_owned());
        let cut = r#"{"content":"{\"x\":","genspan.original_length":25}"#;
        assert_eq!(text(0, attr::INPUT_VALUE), some(cut));
        assert_eq!(text(0, attr::OUTPUT_VALUE), some(r#"["b"]"#));
        let asked = r#"[{"role":"user","parts":[{"type":"text","content":"asked","genspan.original_length":10}]}]"#;
        assert_eq!(text(1, attr::INPUT_MESSAGES), some(asked));
        assert!(text(1, attr::OUTPUT_MESSAGES).is_some() == wanted);
        assert_eq!(text(2, attr::TOOL_CALL_RESULT), some(r#"["b"]"#));
        assert_eq!(text(3, attr::RETRIEVAL_DOCUMENTS), some(r#"["b"]"#));
        assert_eq!(text(4, attr::INPUT_VALUE), None);
        // A model's name and tokens are no content.
        assert_eq!(all[1].name, "chat m");
        assert_eq!(text(1, attr::RESPONSE_MODEL).as_deref(), Some("m-2"));
        let tokens = all[1].attribute(attr::USAGE_INPUT_TOKENS);
        assert_eq!(tokens, Some(&Value::Int(3)));
        assert_eq!(text(0, attr::REQUEST_MODEL), None);
    }
}

#[test]
fn a_tool_is_called_by_its_class_where_content_is_not_wanted() {
    for (wanted, shed) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut spans = Spans::new(5);
        let mut facts = ProcessFacts {
            pid: PID,
            ..ProcessFacts::default()
        };
        facts.content.on_spans = wanted;
        spans.process(&facts);
        assert_eq!(spans.tells_content(PID), wanted);
        // Another process's, of which nothing is known.
        assert!(!spans.tells_content(PID + 1));
        began(&mut spans, 1, None, RunKind::Tool);
        began(&mut spans, 2, None, RunKind::Tool);
        for exchange in [1, 2].map(ExchangeId) {
            // To be left out from its end on, or right before that.
            if exchange == ExchangeId(2) {
                spans.shed_content(shed);
            }
            let mut contents = Box::new(RunContents::default());
            contents.name = Some("secret".to_owned());
            spans.run(RunEvent::Contents { exchange, contents });
            spans.shed_content(shed);
            ended(&mut spans, exchange.0, 3, None);
        }
        // One that had none.
        began(&mut spans, 3, None, RunKind::Tool);
        ended(&mut spans, 3, 4, None);
        let told = wanted && !shed;
        let all: Vec<Span> = spans.drain().collect();
        let named = |span: &Span| {
            let name = span.attribute(attr::TOOL_NAME);
            let is_own = name == Some(&Value::Str("secret".into()));
            assert_eq!(span.name.contains("secret"), is_own, "{span:?}");
            is_own
        };
        let named: Vec<bool> = all.iter().map(named).collect();
        assert_eq!(named, [told, told, false], "{wanted} {shed}");
        let counted = if wanted && shed { 2 } else { 0 };
        assert_eq!(spans.counters().calls_shed, counted);
    }
}

#[test]
fn the_only_request_for_embeddings_is_their_run() {
    let mut spans = stage();
    began(&mut spans, 1, None, RunKind::Retriever);
    began(&mut spans, 2, Some(1), RunKind::Embedding);
    let mut call = asked(&mut spans, 3, 3);
    call.operation = Operation::Embeddings;
    answered(&mut spans, call);
    // Others may come yet.
    assert_eq!(tree(&mut spans), Vec::<String>::new());
    ended(&mut spans, 2, 5, None);
    ended(&mut spans, 1, 6, None);
    let wanted = [
        "embeddings m (run 2) in \"retrieval\"",
        "retrieval (run 1) in \"\"",
    ];
    assert_eq!(tree(&mut spans), wanted);
}

#[test]
fn several_requests_for_embeddings_are_parts_of_their_run() {
    let mut spans = stage();
    began(&mut spans, 1, None, RunKind::Embedding);
    for n in 2..5 {
        let mut call = asked(&mut spans, n, 2 * n);
        call.operation = Operation::Embeddings;
        answered(&mut spans, call);
    }
    ended(&mut spans, 1, 12, None);
    spans.tick(BootTime(13 * SECOND));
    let mut told = tree(&mut spans);
    told.sort();
    let wanted = [
        "embeddings (run 1) in \"\"",
        "embeddings m (-) in \"embeddings\"",
        "embeddings m (-) in \"embeddings\"",
        "embeddings m (-) in \"embeddings\"",
    ];
    assert_eq!(told, wanted);
}
