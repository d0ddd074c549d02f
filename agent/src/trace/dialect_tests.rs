use super::super::Spans;
use super::super::tests::{call, finished};
use super::*;
use crate::model::call::Usage;
use crate::model::event::ConnectionId;
use crate::model::process::ProcessFacts;
use crate::model::span::{Span, Value};
use crate::model::time::BootTime;
use crate::vocabulary::Generation;

/// Everything that one of the names here is for.
fn cached() -> ModelCall {
    let mut call = call();
    call.first_chunk = Some(call.start.plus(250));
    call.request.top_n = Some(3);
    call.response.usage = Usage {
        input: Some(30),
        output: Some(4),
        cache_write: Some(20),
        ..Usage::default()
    };
    call
}

fn told(names: Names, call: ModelCall) -> Span {
    let mut spans = Spans::new(5);
    spans.names(names);
    let ConnectionId { pid, .. } = call.connection;
    spans.process(&ProcessFacts {
        pid,
        ..ProcessFacts::default()
    });
    finished(&mut spans, call).remove(0)
}

fn number(span: &Span, name: &str) -> Option<i64> {
    match span.attribute(name)? {
        Value::Int(n) => Some(*n),
        other => panic!("{name}: {other:?}"),
    }
}

fn text<'a>(span: &'a Span, name: &str) -> Option<&'a str> {
    match span.attribute(name)? {
        Value::Str(text) => Some(text),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn names_of_before_stand_beside_those_of_now() {
    for (generation, both) in [
        (Generation::Legacy, false),
        (Generation::Current, false),
        (Generation::Both, true),
    ] {
        let names = Names {
            generation,
            aliyun: false,
        };
        let span = told(names, cached());
        let if_both = |n| both.then_some(n);
        assert_eq!(number(&span, attr::USAGE_CACHE_WRITE), Some(20));
        assert_eq!(number(&span, attr::USAGE_CACHE_CREATION), if_both(20));
        assert_eq!(number(&span, attr::RETRIEVAL_TOP_K), Some(3));
        assert_eq!(number(&span, attr::REQUEST_TOP_K), if_both(3));
        for name in [
            attr::SPAN_KIND,
            attr::USAGE_TOTAL_TOKENS,
            attr::RESPONSE_TIME_TO_FIRST_TOKEN,
        ] {
            assert_eq!(span.attribute(name), None, "{name} {generation:?}");
        }
    }
    // Sampling comes first.
    let mut sampled = cached();
    sampled.request.top_k = Some(40);
    let names = Names {
        generation: Generation::Both,
        aliyun: false,
    };
    let span = told(names, sampled);
    let all = span.attributes.iter();
    let all: Vec<_> = all.filter(|(n, _)| n == attr::REQUEST_TOP_K).collect();
    assert_eq!(all, [&(attr::REQUEST_TOP_K.into(), Value::Int(40))]);
}

#[test]
fn aliyuns_dialect() {
    let names = Names {
        generation: Generation::Legacy,
        aliyun: true,
    };
    let span = told(names, cached());
    assert_eq!(text(&span, attr::SPAN_KIND), Some("LLM"));
    assert_eq!(number(&span, attr::USAGE_TOTAL_TOKENS), Some(34));
    assert_eq!(number(&span, attr::USAGE_CACHE_CREATION), Some(20));
    assert_eq!(number(&span, attr::RESPONSE_TIME_TO_FIRST_TOKEN), Some(250));
    assert_eq!(number(&span, attr::REQUEST_TOP_K), None);
    for (operation, kind, total) in [
        (Operation::TextCompletion, Some("LLM"), Some(34)),
        (Operation::GenerateContent, Some("LLM"), Some(34)),
        (Operation::Embeddings, Some("EMBEDDING"), Some(30)),
        (Operation::Rerank, Some("RERANKER"), Some(30)),
        (Operation::InvokeAgent, Some("AGENT"), Some(34)),
        (Operation::InvokeWorkflow, Some("WORKFLOW"), Some(34)),
        (Operation::ExecuteTool, Some("TOOL"), Some(34)),
        (Operation::FetchResponse, None, None),
    ] {
        let mut call = cached();
        call.operation = operation;
        let span = told(names, call);
        assert_eq!(text(&span, attr::SPAN_KIND), kind, "{operation:?}");
        assert_eq!(number(&span, attr::USAGE_TOTAL_TOKENS), total);
    }
    let mut ran = cached();
    (ran.operation, ran.request.mcp) = (Operation::ExecuteTool, Some(Box::default()));
    assert_eq!(text(&told(names, ran), attr::SPAN_KIND), Some("MCP"));
    // What was not counted has no total, nor has what was counted by half; a sum that cannot be is none.
    for (input, output, total) in [
        (None, None, None),
        (Some(7), None, None),
        (None, Some(7), None),
        (Some(i64::MAX), Some(1), None),
    ] {
        let mut call = cached();
        call.first_chunk = None;
        call.response.usage = Usage {
            input,
            output,
            ..Usage::default()
        };
        let span = told(names, call);
        assert_eq!(number(&span, attr::USAGE_TOTAL_TOKENS), total);
        assert_eq!(number(&span, attr::RESPONSE_TIME_TO_FIRST_TOKEN), None);
        assert_eq!(number(&span, attr::USAGE_CACHE_CREATION), None);
    }
    // A clock that went back is no negative time.
    let mut early = cached();
    early.first_chunk = Some(BootTime(0));
    let span = told(names, early);
    assert_eq!(number(&span, attr::RESPONSE_TIME_TO_FIRST_TOKEN), Some(0));
}
