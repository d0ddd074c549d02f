use super::*;
use crate::framework::contents::MAX_BYTES;
use serde_json::json;

fn of(kind: RunKind, is_async: bool, position: Option<usize>) -> Of {
    Of {
        kind,
        is_async,
        position,
    }
}

/// The contents of a run that is given these, behind its ids, and gives that.
fn whole(of: Of, given: &[Json], got: Option<Json>) -> RunContents {
    let mut contents = Contents::default();
    let run = ExchangeId(1);
    let mut values: Vec<_> = vec![None; at::GIVEN];
    values.extend(given.iter().cloned().map(Some));
    contents.add(run, of, true, &values);
    if let Some(got) = got {
        contents.add(run, of, false, &[None, Some(got)]);
    }
    let taken = *contents.kept.take(run, false).expect("contents");
    assert_eq!((contents.kept.bytes, contents.kept.open.len()), (0, 0));
    assert!(taken.bytes > 0);
    taken
}

fn text(role: &str, text: &str) -> Message {
    said(role, text)
}

#[test]
fn a_chat_model_is_asked_messages_and_answers_with_one() {
    let messages = json!([[
        {"<class>": "langchain_core.messages.system.SystemMessage", "type": "system", "content": "be"},
        {"type": "human", "name": "me", "content": ["hi", {"type": "text", "text": "you"},
            {"type": "image_url", "image_url": {"url": "http://a/b.png"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
        {"type": "ai", "content": "", "tool_calls": [{"name": "f", "args": {"a": 1}, "id": "c1", "type": "tool_call"}]},
        {"type": "tool", "content": "done", "tool_call_id": "c1"},
        "no message",
    ]]);
    let params = json!({"invocation_params": {"model": "m-1", "temperature": 0.5, "max_tokens": 9,
        "stop": ["."], "n": 2, "_type": "fake"}});
    let answer = json!({"generations": [[{
        "text": "yes", "generation_info": {"finish_reason": "stop"},
        "message": {"type": "AIMessageChunk", "content": "yes",
            "response_metadata": {"model_name": "m-1-b", "finish_reason": "other", "id": "r1"},
            "usage_metadata": {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12,
                "input_token_details": {"cache_read": 2}, "output_token_details": {"reasoning": 3}}},
    }]], "llm_output": {"token_usage": {"prompt_tokens": 90}}});
    let run = whole(
        of(RunKind::Chat, false, None),
        &[messages, params],
        Some(answer),
    );
    let roles: Vec<_> = run
        .request
        .messages
        .iter()
        .map(|m| m.role.as_str())
        .collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    let [system, user, assistant, tool] = run.request.messages.as_slice() else {
        panic!("{:?}", run.request.messages);
    };
    assert_eq!(system, &text("system", "be"));
    assert_eq!(user.name.as_deref(), Some("me"));
    assert_eq!(user.parts.len(), 4);
    assert!(matches!(&user.parts[2], Part::Uri { uri, .. } if uri == "http://a/b.png"));
    assert!(matches!(&user.parts[3], Part::Other(_)));
    let call = Part::ToolCall {
        id: Some("c1".into()),
        name: "f".into(),
        arguments: Some(json!({"a": 1})),
    };
    assert_eq!(assistant.parts, [call]);
    let response = Part::ToolCallResponse {
        id: Some("c1".into()),
        response: json!("done"),
    };
    assert_eq!(tool.parts, [response]);
    let asked = &run.request;
    assert_eq!(asked.model.as_deref(), Some("m-1"));
    assert_eq!((asked.temperature, asked.max_tokens), (Some(0.5), Some(9)));
    assert_eq!((asked.choice_count, asked.seed), (Some(2), None));
    assert_eq!(asked.stop_sequences.as_deref(), Some(&[".".to_owned()][..]));
    let mut said = text("assistant", "yes");
    said.finish_reason = Some("stop".into());
    assert_eq!(run.response.messages, [said]);
    assert_eq!(run.response.finish_reasons, ["stop"]);
    assert_eq!(run.response.model.as_deref(), Some("m-1-b"));
    assert_eq!(run.response.id.as_deref(), Some("r1"));
    let usage = Usage {
        input: Some(5),
        output: Some(7),
        cache_read: Some(2),
        reasoning: Some(3),
        ..Usage::default()
    };
    assert_eq!(run.response.usage, usage);
}

#[test]
fn a_model_of_texts_has_its_own_prompt_of_many() {
    let prompts = json!(["one", "two", "three"]);
    let answer = json!({"generations": [[{"text": "zwei"}, {"text": "deux"}]],
        "llm_output": {"model_name": "t", "token_usage": {"prompt_tokens": 4, "completion_tokens": 6}}});
    let run = whole(
        of(RunKind::Completion, false, Some(1)),
        std::slice::from_ref(&prompts),
        Some(answer),
    );
    assert_eq!(run.request.messages, [text("user", "two")]);
    let said = [text("assistant", "zwei"), text("assistant", "deux")];
    assert_eq!(run.response.messages, said);
    let usage = &run.response.usage;
    assert_eq!((usage.input, usage.output), (Some(4), Some(6)));
    assert_eq!(run.response.model.as_deref(), Some("t"));
    // Which one it is must be known, and be one of them.
    for position in [None, Some(3)] {
        let run = whole(
            of(RunKind::Completion, true, position),
            std::slice::from_ref(&prompts),
            None,
        );
        assert!(run.request.messages.is_empty(), "{position:?}");
    }
    let run = whole(
        of(RunKind::Completion, true, None),
        &[json!(["only"])],
        None,
    );
    assert_eq!(run.request.messages, [text("user", "only")]);
}

#[test]
fn what_a_function_gives_that_began_a_run_or_several() {
    let choice = |text: &str| json!([{"text": text, "message": {"type": "ai", "content": text}}]);
    let both = json!({"generations": [choice("a"), choice("b")],
        "llm_output": {"model_name": "m", "token_usage": {"prompt_tokens": 3}}});
    let chat = |position| of(RunKind::Chat, false, position);
    let said = |of, got: &Json| {
        let run = whole(of, &[json!([[], []])], Some(got.clone()));
        let texts: Vec<_> = run.response.messages.into_iter().map(|m| m.parts).collect();
        (texts, run.response.model, run.response.usage)
    };
    // What all of them took is told of none.
    for (position, wanted) in [(0, "a"), (1, "b")] {
        let wanted = vec![vec![Part::Text(wanted.into())]];
        assert_eq!(
            said(chat(Some(position)), &both),
            (wanted, None, Usage::default())
        );
    }
    for position in [None, Some(2)] {
        assert_eq!(
            said(chat(position), &both),
            (Vec::new(), None, Usage::default())
        );
    }
    let one = json!({"generations": [choice("a")],
        "llm_output": {"model_name": "m", "token_usage": {"prompt_tokens": 3}}});
    let (texts, model, usage) = said(chat(Some(0)), &one);
    assert_eq!(texts, [[Part::Text("a".into())]]);
    assert_eq!((model.as_deref(), usage.input), (Some("m"), Some(3)));
    // Of one that was streamed, what it put together.
    let (texts, ..) = said(chat(Some(0)), &choice("a")[0]);
    assert_eq!(texts, [[Part::Text("a".into())]]);
    let streamed = json!({"text": "a", "generation_info": null});
    let (texts, ..) = said(of(RunKind::Completion, false, None), &streamed);
    assert_eq!(texts, [[Part::Text("a".into())]]);
    let (texts, ..) = said(chat(None), &json!(null));
    assert!(texts.is_empty());
}

#[test]
fn tools_and_retrievers() {
    let keywords = json!({"tool_call_id": "c9", "inputs": {"n": 2}, "color": "green"});
    let serialized = json!({"name": "double", "description": "Twice."});
    let result = json!({"<class>": "langchain_core.messages.tool.ToolMessage", "content": "4", "type": "tool"});
    let given = [
        json!("{'n': 2}"),
        Json::Null,
        json!({"n": 2}),
        keywords.clone(),
        serialized.clone(),
    ];
    let run = whole(of(RunKind::Tool, false, None), &given, Some(result));
    assert_eq!(
        (&run.given, &run.got),
        (&Some(json!({"n": 2})), &Some(json!("4")))
    );
    assert_eq!(run.call_id.as_deref(), Some("c9"));
    assert_eq!(run.description.as_deref(), Some("Twice."));
    let given = [
        json!("{'n': 2}"),
        Json::Null,
        keywords,
        Json::Null,
        serialized,
    ];
    let run = whole(
        of(RunKind::Tool, true, None),
        &given,
        Some(json!({"<class>": "a.B", "x": 1})),
    );
    assert_eq!(
        (&run.given, &run.got),
        (&Some(json!({"n": 2})), &Some(json!({"x": 1})))
    );
    let run = whole(of(RunKind::Tool, false, None), &[json!("text")], None);
    assert_eq!(run.given, Some(json!("text")));
    let found = json!([{"page_content": "p", "metadata": {"score": 0.5, "_id": 3}, "id": null},
        {"page_content": "q", "metadata": {}, "id": "d"}]);
    let run = whole(
        of(RunKind::Retriever, false, None),
        &[json!("where")],
        Some(found),
    );
    assert_eq!(run.given, Some(json!("where")));
    let wanted = json!([{"id": 3, "score": 0.5, "content": "p"}, {"id": "d", "content": "q"}]);
    assert_eq!(run.got, Some(wanted));
}

#[test]
fn what_failed_gave_nothing_and_what_is_odd_says_nothing() {
    let mut contents = Contents::default();
    let run = ExchangeId(1);
    let chain = of(RunKind::Chain, false, None);
    contents.add(run, chain, true, &[None, None, None, Some(json!({"x": 1}))]);
    contents.add(run, chain, false, &[None, Some(json!("half"))]);
    let failed = contents.kept.take(run, true).expect("contents");
    assert_eq!(
        (&failed.given, &failed.got),
        (&Some(json!({"x": 1})), &None)
    );
    assert!(contents.kept.take(run, false).is_none());
    for odd in [
        json!(null),
        json!("text"),
        json!([]),
        json!([[]]),
        json!({"generations": 5}),
    ] {
        for kind in [
            RunKind::Chat,
            RunKind::Completion,
            RunKind::Tool,
            RunKind::Retriever,
        ] {
            let given = [
                odd.clone(),
                odd.clone(),
                odd.clone(),
                odd.clone(),
                odd.clone(),
            ];
            let run = whole(of(kind, true, Some(0)), &given, Some(odd.clone()));
            assert!(run.response.messages.is_empty());
        }
    }
}

#[test]
fn there_is_an_end_to_what_is_kept() {
    let mut contents = Contents::default();
    let chain = of(RunKind::Chain, false, None);
    let large = [None, None, None, Some(json!("x".repeat(MAX_BYTES / 2)))];
    for n in 0..3 {
        contents.add(ExchangeId(n), chain, true, &large);
    }
    assert_eq!(contents.kept.refused, 2);
    assert!(contents.kept.bytes <= MAX_BYTES);
    for (n, is_told) in [(0, false), (1, false), (2, true)] {
        let run = contents.kept.take(ExchangeId(n), false).expect("contents");
        assert_eq!((run.given.is_some(), run.left_out), (is_told, !is_told));
    }
    assert_eq!(contents.kept.bytes, 0);
}

#[test]
fn what_a_model_says_besides_is_told_without_content() {
    let counted = |model: Option<&str>, usage: [Option<Json>; 2], reason: Option<&str>| {
        let mut contents = Contents::default();
        let run = ExchangeId(1);
        contents.count(run, true, &[None, None, Some("asked-1".into())]);
        let [own, whole] = usage;
        let texts = [model, reason].map(|text| text.map(Json::from));
        let [model, reason] = texts;
        contents.count(run, false, &[own, whole, model, reason]);
        assert_eq!(contents.kept.bytes, 0);
        contents.kept.leave_out(run);
        let taken = *contents.kept.take(run, false).expect("contents");
        assert!(!taken.left_out);
        assert_eq!(taken.request.model.as_deref(), Some("asked-1"));
        taken.response
    };
    let own =
        json!({"input_tokens": 11, "output_tokens": 7, "output_token_details": {"reasoning": 2}});
    let whole = json!({"prompt_tokens": 1, "completion_tokens": 2});
    let told = counted(
        Some("fake-1"),
        [Some(own), Some(whole.clone())],
        Some("stop"),
    );
    assert_eq!(
        (told.usage.input, told.usage.reasoning),
        (Some(11), Some(2))
    );
    assert_eq!(told.model.as_deref(), Some("fake-1"));
    assert_eq!(told.finish_reasons, ["stop"]);
    let told = counted(None, [None, Some(whole)], None);
    assert_eq!((told.usage.input, told.usage.output), (Some(1), Some(2)));
    // Nor is less than nothing a count: some models say so where they know none.
    let unknown = json!({
        "input_tokens": -1, "prompt_tokens": 4, "output_tokens": -1, "input_token_details": {"cache_read": -1},
    });
    let told = counted(None, [Some(unknown), None], None).usage;
    assert_eq!(
        (told.input, told.output, told.cache_read),
        (Some(4), None, None)
    );
    // What is no dict counts nothing.
    let told = counted(None, [Some("11".into()), None], None);
    assert_eq!(told, CallResponse::default());
}
