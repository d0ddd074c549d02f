use super::*;
use crate::framework::contents::MAX_BYTES;
use serde_json::json;

const RUN: ExchangeId = ExchangeId(1);
const PID: u32 = 7;

fn of(kind: RunKind, is_part: bool) -> Of {
    Of {
        run: RUN,
        kind,
        is_part,
    }
}

/// The contents of a span that is given these arguments, and gives that.
fn whole(kind: RunKind, given: Json, got: Json) -> RunContents {
    let mut contents = Contents::default();
    contents.add(of(kind, false), true, &[Some(given)]);
    contents.add(of(kind, false), false, &[Some(got)]);
    let taken = *contents.kept.take(RUN, false).expect("contents");
    assert_eq!((contents.kept.bytes, contents.kept.open.len()), (0, 0));
    assert!(taken.bytes > 0);
    taken
}

fn node(id: &str, text: &Json) -> Json {
    let mut node = json!({"<class>": "llama_index.core.schema.TextNode", "id_": id,
        "embedding": ["<4 more>"], "relationships": "<omitted>"});
    if let (Some(node), Some(more)) = (node.as_object_mut(), text.as_object()) {
        node.extend(more.clone());
    }
    json!({"<class>": "llama_index.core.schema.NodeWithScore", "node": node, "score": 0.5})
}

fn query() -> Json {
    json!({"<class>": "llama_index.core.schema.QueryBundle", "query_str": "what?",
        "image_path": null, "embedding": null})
}

#[test]
fn what_spans_are_given_and_give() {
    let nodes = || {
        json!([
            node("a", &json!({"text": "x"})),
            node("b", &json!({"text_resource": {"text": "y"}}))
        ])
    };
    let documents = || json!([{"id": "a", "score": 0.5, "content": "x"}, {"id": "b", "score": 0.5, "content": "y"}]);
    let response = json!({"<class>": "llama_index.core.base.response.schema.Response",
        "response": "that", "source_nodes": nodes(), "metadata": {}});
    let streaming = json!({"<class>": "a.StreamingResponse", "response_gen": "<generator>"});
    let agent = json!({"<class>": "a.AgentOutput", "response": {"<class>": "a.ChatMessage",
        "blocks": [{"block_type": "text", "text": "done"}]}});
    let output = json!({"<class>": "a.ToolOutput", "blocks": [{"text": "6"}], "raw_output": 6});
    let table = [
        (
            RunKind::Retriever,
            json!({"self": "<omitted>", "str_or_query_bundle": query()}),
            nodes(),
            Some(json!("what?")),
            Some(documents()),
        ),
        (
            RunKind::Retriever,
            json!({"str_or_query_bundle": "q"}),
            json!([]),
            Some(json!("q")),
            Some(json!([])),
        ),
        (
            RunKind::Chain,
            json!({"str_or_query_bundle": "q"}),
            response,
            Some(json!("q")),
            Some(json!("that")),
        ),
        (
            RunKind::Chain,
            json!({"query": query(), "nodes": nodes()}),
            streaming,
            Some(json!({"query": "what?", "nodes": documents()})),
            None,
        ),
        (
            RunKind::Chain,
            json!({"ev": {"<class>": "a.StartEvent", "n": 1}}),
            json!(null),
            Some(json!({"n": 1})),
            None,
        ),
        // What a step is given to work with is not copied.
        (
            RunKind::Chain,
            json!({"self": "<omitted>", "ctx": "<omitted>", "ev": {"<class>": "a.AgentInput", "input": ["x"]}}),
            json!(null),
            Some(json!({"input": ["x"]})),
            None,
        ),
        (
            RunKind::Agent,
            json!({"user_msg": "hello"}),
            agent,
            Some(json!("hello")),
            Some(json!("done")),
        ),
        (
            RunKind::Tool,
            json!({"args": [2, 3]}),
            output,
            Some(json!([2, 3])),
            Some(json!("6")),
        ),
        (
            RunKind::Tool,
            json!({"kwargs": {"a": 2}}),
            json!({"content": "2"}),
            Some(json!({"a": 2})),
            Some(json!("2")),
        ),
        (
            RunKind::Tool,
            json!({"args": [1], "kwargs": {"a": 2}}),
            json!({"raw_output": 2}),
            Some(json!({"args": [1], "kwargs": {"a": 2}})),
            Some(json!(2)),
        ),
        (
            RunKind::Tool,
            json!({"input": "i"}),
            json!("<generator>"),
            Some(json!("i")),
            None,
        ),
        (
            RunKind::Embedding,
            json!({"texts": ["a"]}),
            json!([["<4 more>"]]),
            None,
            None,
        ),
    ];
    for (kind, given, got, wanted, wanted_got) in table {
        let found = whole(kind, given.clone(), got);
        assert_eq!(found.given, wanted, "{given}");
        assert_eq!(found.got, wanted_got, "{given}");
        assert!(found.request.messages.is_empty() && found.response.messages.is_empty());
    }
}

#[test]
fn a_model_is_asked_messages_and_answers_with_one() {
    let messages = json!([
        {"role": "system", "content": "be"},
        {"role": {"_value_": "user"}, "additional_kwargs": {},
            "blocks": [{"block_type": "text", "text": "hi"}, {"block_type": "image", "url": "u"}]},
        {"role": "assistant", "content": null, "additional_kwargs": {"tool_calls": [
            {"id": "c1", "function": {"name": "f", "arguments": "{\"a\": 1}"}}, "no call"]}},
        {"role": "assistant", "blocks": [
            {"block_type": "tool_call", "tool_call_id": "c2", "tool_name": "g", "tool_kwargs": {"b": 2}}]},
        {"role": "tool", "content": "done", "additional_kwargs": {"tool_call_id": "c1"}},
        "no message",
    ]);
    let answer = json!({"message": {"role": "assistant", "content": "yes"},
        "raw": {"model": "m-1", "id": "r1", "usage": {"prompt_tokens": 5, "completion_tokens": 7}}});
    let run = whole(RunKind::Chat, json!({"messages": messages}), answer);
    let call = |id: &str, name: &str, arguments: Json| Part::ToolCall {
        id: Some(id.into()),
        name: name.into(),
        arguments: Some(arguments),
    };
    let of = |role: &str, parts: Vec<Part>| Message {
        role: role.into(),
        parts,
        ..Message::default()
    };
    let image = json!({"block_type": "image", "url": "u"});
    let response = Part::ToolCallResponse {
        id: Some("c1".into()),
        response: json!("done"),
    };
    let wanted = [
        said("system", "be"),
        of("user", vec![Part::Text("hi".into()), Part::Other(image)]),
        of("assistant", vec![call("c1", "f", json!({"a": 1}))]),
        of("assistant", vec![call("c2", "g", json!({"b": 2}))]),
        of("tool", vec![response]),
    ];
    assert_eq!(run.request.messages, wanted);
    let response = &run.response;
    assert_eq!(response.messages, [said("assistant", "yes")]);
    assert_eq!(response.model.as_deref(), Some("m-1"));
    assert_eq!(response.id.as_deref(), Some("r1"));
    assert_eq!(
        (response.usage.input, response.usage.output),
        (Some(5), Some(7))
    );
    assert_eq!((run.given, run.got), (None, None));
}

/// A function whose decorator takes anything has its arguments without their names.
#[test]
fn a_prompt_may_be_an_argument_without_a_name() {
    let asked = |kind, arguments: Json| {
        let run = whole(kind, arguments, json!({"text": "yes"}));
        run.request.messages
    };
    let messages = json!([{"role": "user", "content": "hi"}]);
    for arguments in [
        json!({"args": ["hi"]}),
        json!({"args": ["hi", true], "kwargs": {"formatted": true}}),
        json!({"kwargs": {"prompt": "hi", "formatted": false}}),
        json!({"kwargs": {"messages": messages}}),
        json!({"args": [messages]}),
    ] {
        let got = asked(RunKind::Completion, arguments.clone());
        assert_eq!(got, [said("user", "hi")], "{arguments}");
    }
    // None of these is a prompt; and what has a name is not asked twice.
    for arguments in [
        json!({"args": []}),
        json!({"args": [7, "hi"]}),
        json!({"args": "hi"}),
        json!({"kwargs": ["prompt", "hi"]}),
        json!({"prompt": {"template": "hi"}}),
    ] {
        assert!(
            asked(RunKind::Chat, arguments.clone()).is_empty(),
            "{arguments}"
        );
    }
}

/// `predict` is given a template and gives a text: what it asks is what its part is asked.
#[test]
fn what_a_part_of_a_model_says_is_told_of_the_whole() {
    let mut contents = Contents::default();
    let template = json!({"<class>": "a.PromptTemplate", "template": "t"});
    let (own, part) = (of(RunKind::Chat, false), of(RunKind::Chat, true));
    contents.add(own, true, &[Some(json!({"prompt": template}))]);
    contents.add(part, true, &[Some(json!({"prompt": "filled"}))]);
    let answer =
        json!({"text": "yes", "additional_kwargs": {"prompt_tokens": 1, "completion_tokens": 2}});
    contents.add(part, false, &[Some(answer)]);
    contents.add(own, false, &[Some(json!("yes"))]);
    let run = contents.kept.take(RUN, false).expect("contents");
    assert_eq!(run.request.messages, [said("user", "filled")]);
    assert_eq!(run.response.messages, [said("assistant", "yes")]);
    assert_eq!(run.response.usage.output, Some(2));
    // Of anything else the whole says it.
    contents.add(
        of(RunKind::Retriever, true),
        true,
        &[Some(json!({"q": "q"}))],
    );
    assert!(contents.kept.take(RUN, false).is_none());
}

#[test]
fn a_tool_says_its_name_and_what_failed_gives_nothing() {
    let mut contents = Contents::default();
    let tool = json!({"_metadata": {"name": "multiply", "description": "It multiplies."}});
    let own = of(RunKind::Tool, false);
    contents.add(own, true, &[Some(json!({"kwargs": {"a": 1}})), Some(tool)]);
    contents.add(own, false, &[Some(json!({"content": "1"}))]);
    let run = contents.kept.take(RUN, true).expect("contents");
    assert_eq!(run.name.as_deref(), Some("multiply"));
    assert_eq!(run.description.as_deref(), Some("It multiplies."));
    assert_eq!((run.given, run.got), (Some(json!({"a": 1})), None));
}

#[test]
fn a_span_is_known_by_a_part_of_its_id() {
    let mut contents = Contents::default();
    let id = 0x1234_5678_9abc_def0_1234_5678_9abc_def0;
    let written = u64::from_ne_bytes(*b"56789abc");
    assert_eq!(contents.id(PID, written), None);
    contents.known(PID, id);
    assert_eq!(contents.id(PID, written), Some(id));
    assert_eq!(contents.id(PID + 1, written), None);
    assert_eq!(contents.id(PID, u64::from_ne_bytes(*b"5678-abc")), None);
    contents.unknown(PID, id);
    assert_eq!(contents.id(PID, written), None);
    contents.known(PID, id);
    contents.clear(None);
    assert_eq!(contents.id(PID, written), None);
}

#[test]
fn there_is_an_end_to_what_is_kept() {
    let mut contents = Contents::default();
    let text = "x".repeat(MAX_BYTES / 2);
    for _ in 0..3 {
        let given = json!({"query": text.as_str()});
        contents.add(of(RunKind::Chain, false), true, &[Some(given)]);
    }
    assert_eq!(contents.kept.refused, 2);
    contents.kept.take(RUN, false);
    assert_eq!(contents.kept.bytes, 0);
}
