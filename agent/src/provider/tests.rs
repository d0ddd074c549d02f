//! The stage as a whole: exchanges in, calls out.

use super::{Calls, Limits};
use crate::model::call::{Api, CallEvent, CallRequest, ModelCall, Operation, Part};
use crate::model::defect::Defects;
use crate::model::event::ConnectionId;
use crate::model::exchange::{
    ExchangeId, ExchangeSink, Headers, Interest, RequestHead, ResponseHead, SseEvent,
};
use crate::model::time::BootTime;
use serde_json::{Value, json};

const ID: ExchangeId = ExchangeId(7);
const CONNECTION: ConnectionId = ConnectionId {
    pid: 42,
    ssl: 1,
    generation: 2,
};

fn headers(list: &[(&'static str, &str)]) -> Headers {
    let mut out = Headers::default();
    for (name, value) in list {
        out.push(name, (*value).to_owned());
    }
    out
}

fn ask(calls: &mut Calls, method: &str, path: &str, body: &[u8]) -> Interest {
    ask_with(calls, method, path, body, &[])
}

fn ask_with(
    calls: &mut Calls,
    method: &str,
    path: &str,
    body: &[u8],
    list: &[(&'static str, &str)],
) -> Interest {
    let head = RequestHead {
        method: method.to_owned(),
        path: path.to_owned(),
        query: String::new(),
        host: Some("api.openai.com".to_owned()),
        headers: headers(list),
        stream: None,
    };
    let interest = calls.request_head(ID, CONNECTION, 43, BootTime(100), &head);
    calls.request_body(ID, 0, body);
    calls.request_end(ID, BootTime(110), Defects::NONE);
    interest
}

fn answered(calls: &mut Calls, status: u16) -> Interest {
    let head = ResponseHead {
        status,
        headers: Headers::default(),
    };
    calls.response_head(ID, BootTime(120), &head)
}

fn event(calls: &mut Calls, at: u64, name: &str, data: &str) {
    let event = SseEvent {
        event: name,
        data: data.as_bytes(),
        comment: "",
    };
    calls.response_event(ID, BootTime(at), event);
}

fn end(calls: &mut Calls, defects: Defects) -> Option<ModelCall> {
    calls.response_end(ID, BootTime(900), defects);
    assert!(calls.open_calls() == 0);
    calls.drain().find_map(|e| match e {
        CallEvent::Finished(call) => Some(*call),
        _ => None,
    })
}

const CHAT: &str = "/v1/chat/completions";
const ASKED: &[u8] =
    br#"{"messages":[{"role":"user","content":"Hi"}],"model":"m-1","stream":true}"#;

fn stream(chunks: &[&str], defects: Defects) -> ModelCall {
    let mut calls = Calls::new(Limits::default());
    assert_eq!(ask(&mut calls, "POST", CHAT, ASKED), Interest::Wanted);
    answered(&mut calls, 200);
    for (n, chunk) in chunks.iter().enumerate() {
        event(&mut calls, 200 + n as u64, "", chunk);
    }
    end(&mut calls, defects).unwrap()
}

fn plain(status: u16, body: &str, defects: Defects) -> ModelCall {
    let mut calls = Calls::new(Limits::default());
    ask(
        &mut calls,
        "POST",
        CHAT,
        br#"{"messages":[],"model":"m-1"}"#,
    );
    answered(&mut calls, status);
    calls.response_body(ID, BootTime(130), 0, body.as_bytes());
    end(&mut calls, defects).unwrap()
}

/// Clients stop reading at the event that ends a stream, and may close the connection before the
/// end of the HTTP message.
#[test]
fn a_stream_that_said_it_is_over_is_not_cut() {
    let chunk =
        r#"{"id":"c1","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}"#;
    let over = stream(&[chunk, "[DONE]"], Defects::RESPONSE_CUT);
    assert!(over.defects.is_none());
    assert_eq!(over.end, BootTime(201));
    let cut = stream(&[chunk], Defects::RESPONSE_CUT);
    assert_eq!(cut.defects, Defects::RESPONSE_CUT);
    assert_eq!(cut.end, BootTime(900));
}

#[test]
fn tool_calls_are_merged_whatever_the_server_repeats() {
    let call = stream(
        &[
            r#"{"id":"c1","model":"m-1-x","choices":[{"index":0,"delta":{"role":null,"content":""}}]}"#,
            r#"{"id":"c1","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"two","arguments":""}}]}}]}"#,
            r#"{"id":"","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"one","arguments":"{\"x\""}}]},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"","arguments":":1}"}},{"index":1,"id":"","function":{"name":null,"arguments":"no json"}}]}}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}"#,
            "[DONE]",
        ],
        Defects::NONE,
    );
    let message = &call.response.messages[0];
    assert_eq!(message.role, "assistant");
    assert_eq!(
        message.parts[1..],
        [
            Part::ToolCall {
                id: Some("a".to_owned()),
                name: "one".to_owned(),
                arguments: Some(json!({"x": 1})),
            },
            Part::ToolCall {
                id: Some("b".to_owned()),
                name: "two".to_owned(),
                arguments: Some(json!("no json")),
            },
        ]
    );
    assert_eq!(message.finish_reason.as_deref(), Some("tool_call"));
    assert_eq!(call.response.finish_reasons, ["tool_calls"]);
    assert_eq!(call.response.usage.output, Some(9));
    assert_eq!(call.response.chunks, 6);
    assert_eq!(call.first_chunk, Some(BootTime(200)));
    assert_eq!((call.start, call.end), (BootTime(100), BootTime(206)));
    assert!(call.error.is_none() && call.defects.is_none());
}

#[test]
fn tool_calls_without_index_are_told_apart_by_their_id() {
    let one = |id: &str, arguments: &str| {
        json!({"choices":[{"delta":{"tool_calls":[{"id":id,"function":{"name":"f","arguments":arguments}}]}}]})
            .to_string()
    };
    let (a, b) = (one("a", "{}"), one("b", "[]"));
    let call = stream(&[&a, &b], Defects::NONE);
    assert_eq!(call.response.messages[0].parts.len(), 2);
}

#[test]
fn one_wrong_type_does_not_lose_the_chunk() {
    let call = stream(
        &[
            r#"{"id":7,"model":"m","choices":[{"index":"x","delta":{"content":"Bl","reasoning_content":["?"],"tool_calls":{}}}],"usage":"none"}"#,
            r#"{"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"ue"}]},"finish_reason":5}],"usage":{"prompt_tokens":1,"completion_tokens":"2"}}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"\ud83d."},"finish_reason":"stop"}]}"#,
        ],
        Defects::NONE,
    );
    assert_eq!(call.response.model.as_deref(), Some("m"));
    assert_eq!(
        call.response.messages[0].parts,
        [
            Part::Reasoning("hm".into()),
            Part::Text("Blue\u{fffd}.".into())
        ]
    );
    assert_eq!(call.response.usage.input, Some(1));
    assert_eq!(call.response.usage.output, None);
    assert_eq!(call.response.finish_reasons, ["stop"]);
}

#[test]
fn choices_are_ordered_by_index_and_each_has_its_message() {
    let call = stream(
        &[
            r#"{"choices":[{"index":1,"delta":{"content":"b"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"refusal":"no"}},{"index":1,"delta":{"content":"c"},"finish_reason":"length"}]}"#,
            r#"{"choices":[{"index":0,"finish_reason":"stop","delta":{"reasoning":"r"},"usage":{"prompt_tokens":5}}]}"#,
        ],
        Defects::NONE,
    );
    assert_eq!(call.response.finish_reasons, ["stop", "length"]);
    assert_eq!(
        call.response.messages[0].parts,
        [Part::Reasoning("r".into()), Part::Text("no".into())]
    );
    assert_eq!(call.response.messages[1].parts, [Part::Text("bc".into())]);
    assert_eq!(call.response.usage.input, Some(5));
}

#[test]
fn a_client_that_hangs_up_is_no_error() {
    let call = stream(
        &[r#"{"choices":[{"index":0,"delta":{"content":"Bl"}}]}"#],
        Defects::RESPONSE_CUT,
    );
    assert!(call.error.is_none());
    assert!(call.response.finish_reasons.is_empty());
    assert_eq!(
        call.response.messages[0].finish_reason.as_deref(),
        Some("error")
    );
    assert_eq!(call.response.usage.input, None);
    assert!(call.defects.has(Defects::RESPONSE_CUT));
}

#[test]
fn an_error_within_a_stream_fails_the_call() {
    let call = stream(
        &[
            r#"{"choices":[{"index":0,"delta":{"content":"Bl"}}]}"#,
            r#"{"error":{"message":"Too busy","type":"server_error","code":null}}"#,
        ],
        Defects::NONE,
    );
    let error = call.error.unwrap();
    assert_eq!(
        (error.kind.as_str(), error.message.as_deref()),
        ("server_error", Some("Too busy"))
    );
}

#[test]
fn more_choices_than_are_followed_are_told() {
    let chunks: Vec<String> = (0..200)
        .map(|n| format!(r#"{{"choices":[{{"index":{n},"delta":{{"content":"x"}}}}]}}"#))
        .collect();
    let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
    let call = stream(&chunks, Defects::NONE);
    assert_eq!(call.response.messages.len(), super::MAX_CHOICES);
    assert!(call.defects.has(Defects::TOO_MANY_PARTS));
}

#[test]
fn text_beyond_the_bound_is_counted() {
    let mut calls = Calls::new(Limits {
        text_bytes: 10,
        ..Limits::default()
    });
    ask(&mut calls, "POST", CHAT, ASKED);
    answered(&mut calls, 200);
    for _ in 0..5 {
        event(
            &mut calls,
            200,
            "",
            r#"{"choices":[{"index":0,"delta":{"content":"abcé"}}]}"#,
        );
    }
    let call = end(&mut calls, Defects::NONE).unwrap();
    let Part::Text(text) = &call.response.messages[0].parts[0] else {
        panic!()
    };
    assert_eq!((text.kept.as_str(), text.chars()), ("abcéabcé", 20));
}

#[test]
fn a_plain_answer_cut_anywhere_invents_nothing() {
    const BODY: &str = r#"{"id":"c1","model":"m-1-x","choices":[{"index":0,"message":{"role":"assistant","content":"Blue."},"finish_reason":"stop"}],"usage":{"prompt_tokens":30,"completion_tokens":4},"service_tier":"default"}"#;
    let whole = plain(200, BODY, Defects::NONE);
    assert!(whole.defects.is_none() && whole.error.is_none());
    for n in 0..BODY.len() {
        let call = plain(200, &BODY[..n], Defects::RESPONSE_CUT);
        let (cut, all) = (&call.response, &whole.response);
        assert!(
            call.defects
                .has(Defects::RESPONSE_CUT.with(Defects::JSON_BROKEN))
        );
        assert!(call.error.is_none());
        for (cut, all) in [
            (&cut.id, &all.id),
            (&cut.model, &all.model),
            (&cut.service_tier, &all.service_tier),
        ] {
            assert!(cut.is_none() || cut == all, "{n}");
        }
        assert!(cut.usage.input.is_none() || cut.usage.input == all.usage.input);
        assert!(cut.usage.output.is_none() || cut.usage.output == all.usage.output);
        assert!(cut.finish_reasons.is_empty() || cut.finish_reasons == all.finish_reasons);
    }
}

#[test]
fn failures_are_named_by_what_the_server_says() {
    for (status, body, kind) in [
        (
            404,
            r#"{"error":{"message":"m","type":"invalid_request_error","code":"model_not_found"}}"#,
            "model_not_found",
        ),
        (
            429,
            r#"{"error":{"message":"m","type":"tokens","code":null}}"#,
            "tokens",
        ),
        (502, "<html>", "502"),
        (
            200,
            r#"{"error":{"code":"content_filter"}}"#,
            "content_filter",
        ),
        (200, "", "invalid_response"),
    ] {
        let call = plain(status, body, Defects::NONE);
        assert_eq!(call.error.unwrap().kind, kind, "{body}");
        assert!(call.response.messages.is_empty());
    }
}

#[test]
fn no_answer_at_all() {
    let unanswered = |defects, stopping: bool| {
        let mut calls = Calls::new(Limits::default());
        ask_with(
            &mut calls,
            "POST",
            CHAT,
            ASKED,
            &[("x-stainless-retry-count", "0")],
        );
        if stopping {
            calls.stopping();
        }
        end(&mut calls, defects).unwrap()
    };
    let call = unanswered(Defects::RESPONSE_CUT, false);
    assert_eq!(call.error.unwrap().kind, "connection_closed");
    assert!(call.retry.unwrap().may_retry);
    assert!(unanswered(Defects::RESPONSE_CUT, true).error.is_none());
    assert!(unanswered(Defects::RESPONSE_GAP, false).error.is_none());
}

#[test]
fn what_is_no_model_call_is_not_told() {
    for (method, path, body) in [
        (
            "POST",
            "/api/survey/responses",
            &br#"{"answers":[1,2]}"#[..],
        ),
        ("POST", "/v1/embeddings", b"a=b"),
        ("POST", "/api/embeddings", br#"{"prompt":"x"}"#),
        ("POST", "/editor/completions", br#"{"line":3}"#),
        ("POST", "/v1/responses", br"[1]"),
    ] {
        let mut calls = Calls::new(Limits::default());
        assert_eq!(ask(&mut calls, method, path, body), Interest::Wanted);
        assert_eq!(answered(&mut calls, 200), Interest::Unwanted);
        assert!(end(&mut calls, Defects::NONE).is_none());
        assert_eq!(calls.counters().not_calls, 1);
    }
    let mut calls = Calls::new(Limits::default());
    assert_eq!(
        ask(&mut calls, "POST", "/v1/models", b"{}"),
        Interest::Unwanted
    );
}

#[test]
fn fetched_responses() {
    const BODY: &str = r#"{"id":"resp_1","object":"response","status":"failed","model":"m","error":{"code":"server_error","message":"x"},"instructions":"Be brief","tools":[{"type":"web_search"}],"output":[],"usage":{"input_tokens":5}}"#;
    let fetch = |id: &str, status: u16, body: &str| {
        let mut calls = Calls::new(Limits::default());
        ask(&mut calls, "GET", &format!("/v1/responses/{id}"), b"");
        answered(&mut calls, status);
        calls.response_body(ID, BootTime(130), 0, body.as_bytes());
        end(&mut calls, Defects::NONE)
    };
    let call = fetch("resp_1", 200, BODY).unwrap();
    assert_eq!(call.operation, Operation::FetchResponse);
    assert!(call.error.is_none());
    assert_eq!(call.response.stored_status.as_deref(), Some("failed"));
    assert_eq!(call.response.finish_reasons, ["error"]);
    assert_eq!(
        call.response.system_instructions,
        [Part::Text("Be brief".into())]
    );
    assert_eq!(call.response.usage.input, None);
    assert!(fetch("17", 200, r#"{"id":17,"answers":[]}"#).is_none());
    assert!(fetch("17", 404, "<html>").is_none());
    assert_eq!(
        fetch("resp_2", 404, r#"{"error":{"code":null,"type":"x"}}"#)
            .unwrap()
            .error
            .unwrap()
            .kind,
        "x"
    );
}

fn responses(events: &[(&str, Value)], defects: Defects) -> ModelCall {
    let mut calls = Calls::new(Limits::default());
    ask(
        &mut calls,
        "POST",
        "/v1/responses",
        br#"{"model":"m","input":"Hi","stream":true}"#,
    );
    answered(&mut calls, 200);
    for (n, (name, data)) in events.iter().enumerate() {
        let mut data = data.clone();
        data["type"] = json!(name);
        event(&mut calls, 200 + n as u64, name, &data.to_string());
    }
    end(&mut calls, defects).unwrap()
}

#[test]
fn a_streamed_response_and_what_is_left_of_a_cut_one() {
    let done = json!({"id":"resp_1","object":"response","status":"completed","model":"m-x","output":[
        {"type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Blue."}]}],
        "usage":{"input_tokens":5,"output_tokens":2,"input_tokens_details":{"cached_tokens":1}}});
    let events = [
        (
            "response.created",
            json!({"response":{"id":"resp_1","object":"response","status":"in_progress","model":"m-x","output":[]}}),
        ),
        (
            "response.output_item.added",
            json!({"output_index":0,"item":{"type":"message","role":"assistant","status":"in_progress","content":[]}}),
        ),
        (
            "response.output_text.delta",
            json!({"output_index":0,"content_index":0,"delta":"Bl"}),
        ),
        (
            "response.output_text.delta",
            json!({"output_index":0,"content_index":0,"delta":"ue."}),
        ),
        ("response.completed", json!({"response":done})),
    ];
    let call = responses(&events, Defects::NONE);
    assert_eq!(call.response.finish_reasons, ["stop"]);
    assert_eq!(
        call.response.messages[0].parts,
        [Part::Text("Blue.".into())]
    );
    assert_eq!(call.response.usage.cache_read, Some(1));
    assert_eq!(call.first_chunk, Some(BootTime(202)));
    let call = responses(&events[..3], Defects::RESPONSE_CUT);
    assert_eq!(call.response.id.as_deref(), Some("resp_1"));
    assert_eq!(call.response.messages[0].parts, [Part::Text("Bl".into())]);
    assert_eq!(
        call.response.messages[0].finish_reason.as_deref(),
        Some("error")
    );
    assert!(call.response.finish_reasons.is_empty() && call.error.is_none());
    let failed = [
        events[0].clone(),
        ("error", json!({"code":"rate_limit_exceeded","message":"x"})),
    ];
    assert_eq!(
        responses(&failed, Defects::NONE).error.unwrap().kind,
        "rate_limit_exceeded"
    );
}

#[test]
fn a_request_over_the_limit_keeps_what_stands_at_its_end() {
    let mut calls = Calls::new(Limits {
        body_bytes: 1000,
        ..Limits::default()
    });
    let body = json!({"messages":[{"role":"user","content":"x".repeat(500_000)}],"model":"m-1","stream":true});
    ask(&mut calls, "POST", CHAT, body.to_string().as_bytes());
    answered(&mut calls, 200);
    let call = end(&mut calls, Defects::NONE).unwrap();
    assert_eq!(call.request.model.as_deref(), Some("m-1"));
    assert!(call.request.stream);
    assert!(call.defects.has(Defects::REQUEST_OVER_LIMIT));
    assert!(!call.defects.has(Defects::REQUEST_GAP));
    assert_eq!(calls.counters().bodies_over_limit, 1);
}

#[test]
fn any_split_of_a_body_gives_the_same_call() {
    let body = json!({"model":"m","messages":[{"role":"user","content":"héllo"}]}).to_string();
    let answer =
        r#"{"id":"é","choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}"#;
    let run = |step: usize| {
        let mut calls = Calls::new(Limits::default());
        let head = RequestHead {
            method: "POST".to_owned(),
            path: CHAT.to_owned(),
            query: String::new(),
            host: None,
            headers: headers(&[("x-stainless-retry-count", "0")]),
            stream: None,
        };
        calls.request_head(ID, CONNECTION, 43, BootTime(100), &head);
        for piece in body.as_bytes().chunks(step) {
            calls.request_body(ID, 0, piece);
        }
        answered(&mut calls, 200);
        for piece in answer.as_bytes().chunks(step) {
            calls.response_body(ID, BootTime(130), 0, piece);
        }
        // The request's end may come last.
        calls.request_end(ID, BootTime(140), Defects::NONE);
        end(&mut calls, Defects::NONE).unwrap()
    };
    assert_eq!(run(1), run(1000));
}

#[test]
fn attempts_have_the_same_fingerprint_and_are_announced() {
    let mut calls = Calls::new(Limits::default());
    ask_with(
        &mut calls,
        "POST",
        CHAT,
        ASKED,
        &[("x-stainless-retry-count", "0")],
    );
    answered(&mut calls, 503);
    let first = end(&mut calls, Defects::NONE).unwrap().retry.unwrap();
    assert!(first.may_retry);
    ask_with(
        &mut calls,
        "POST",
        CHAT,
        ASKED,
        &[("x-stainless-retry-count", "1")],
    );
    let announced = calls.drain().find_map(|event| match event {
        CallEvent::Retrying {
            attempt,
            fingerprint,
            pid,
            ..
        } => Some((attempt, fingerprint, pid)),
        _ => None,
    });
    assert_eq!(announced, Some((1, first.fingerprint, 42)));
    assert_eq!(
        calls.progress(BootTime(300))[0].model.as_deref(),
        Some("m-1")
    );
    answered(&mut calls, 200);
    let second = end(&mut calls, Defects::NONE).unwrap().retry.unwrap();
    assert_eq!(second.fingerprint, first.fingerprint);
    assert!(!second.may_retry);
}

#[test]
fn open_calls_are_bounded() {
    let mut calls = Calls::new(Limits {
        open_calls: 0,
        ..Limits::default()
    });
    assert_eq!(ask(&mut calls, "POST", CHAT, ASKED), Interest::Unwanted);
    assert_eq!(calls.counters().refused, 1);
}

/// A stage that was told of an exchange under way, and with what head of its response.
fn half_seen(head: Option<u16>) -> Calls {
    let mut calls = Calls::new(Limits::default());
    let wanted = calls.half_seen(ID, CONNECTION, 43, BootTime(100));
    assert_eq!(wanted, Interest::Wanted);
    if let Some(status) = head {
        assert_eq!(answered(&mut calls, status), Interest::Wanted);
    }
    calls
}

fn half_seen_stream(head: Option<u16>, events: &[&str], defects: Defects) -> Option<ModelCall> {
    let mut calls = half_seen(head);
    for (n, data) in events.iter().enumerate() {
        event(&mut calls, 200 + n as u64, "", data);
        assert!(calls.progress(BootTime(300)).is_empty());
    }
    end(&mut calls, defects.with(Defects::ATTACHED_MIDWAY))
}

fn half_seen_document(body: &str, defects: Defects) -> Option<ModelCall> {
    let mut calls = half_seen(Some(200));
    calls.response_body(ID, BootTime(130), 0, body.as_bytes());
    end(&mut calls, defects.with(Defects::ATTACHED_MIDWAY))
}

#[test]
fn a_half_seen_stream_is_told_as_far_as_it_was_seen() {
    let chunks = [
        r#"{"id":"c1","object":"chat.completion.chunk","model":"m-x","choices":[{"index":0,"delta":{"content":"lue."}}]}"#,
        r#"{"id":"c1","object":"chat.completion.chunk","model":"m-x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"id":"c1","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#,
        "[DONE]",
    ];
    for head in [None, Some(200)] {
        let call = half_seen_stream(head, &chunks, Defects::RESPONSE_CUT).unwrap();
        assert_eq!(
            (call.operation, call.api),
            (Operation::Chat, Api::ChatCompletions)
        );
        assert_eq!((call.start, call.first_chunk), (BootTime(100), None));
        assert_eq!(call.request, CallRequest::default());
        assert_eq!((call.provider, call.server_address), ("openai", None));
        assert_eq!(call.defects, Defects::ATTACHED_MIDWAY);
        assert!(call.error.is_none() && call.retry.is_none());
        assert_eq!(call.response.status, head);
        assert_eq!(call.response.id.as_deref(), Some("c1"));
        assert_eq!(call.response.model.as_deref(), Some("m-x"));
        assert_eq!(call.response.finish_reasons, ["stop"]);
        assert_eq!(call.response.messages[0].parts, [Part::Text("lue.".into())]);
        assert_eq!(call.response.usage.output, Some(2));
    }
    let delta = r#"{"type":"response.output_text.delta","output_index":0,"delta":"x"}"#;
    let done = r#"{"type":"response.completed","response":{"id":"r1","object":"response","status":"completed","model":"m-x","output":[],"usage":{"input_tokens":5,"output_tokens":2}}}"#;
    let call = half_seen_stream(None, &[delta, done], Defects::NONE).unwrap();
    assert_eq!(
        (call.api, call.response.usage.input),
        (Api::Responses, Some(5))
    );
    let text = r#"{"id":"t","object":"text_completion","choices":[{"index":0,"text":"x"}]}"#;
    let call = half_seen_stream(None, &[text], Defects::NONE).unwrap();
    assert_eq!(call.operation, Operation::TextCompletion);
    assert!(call.response.finish_reasons.is_empty());
}

#[test]
fn a_half_seen_document_says_itself_what_it_is() {
    for (body, api) in [
        (
            r#"{"object":"chat.completion","id":"x","choices":[]}"#,
            Some(Api::ChatCompletions),
        ),
        (
            r#"{"object":"response","id":"x","output":[]}"#,
            Some(Api::Responses),
        ),
        (
            r#"{"object":"list","id":"x","data":[{"object":"embedding","embedding":[1,2]}]}"#,
            Some(Api::Embeddings),
        ),
        (r#"{"id":"x","model":"m"}"#, None),
        (r#"{"error":{"code":"x"}}"#, None),
        ("", None),
    ] {
        let call = half_seen_document(body, Defects::NONE);
        assert_eq!(call.as_ref().map(|c| c.api), api, "{body}");
        let Some(call) = call else { continue };
        assert_eq!(call.defects, Defects::ATTACHED_MIDWAY);
        assert_eq!(call.response.id.as_deref(), Some("x"));
        assert!(call.error.is_none());
    }
}

#[test]
fn what_is_half_seen_and_no_models_is_only_counted() {
    let mut calls = half_seen(None);
    event(&mut calls, 200, "tick", r#"{"price":1}"#);
    event(&mut calls, 201, "", "[DONE]");
    assert!(end(&mut calls, Defects::ATTACHED_MIDWAY).is_none());
    assert_eq!((calls.counters().not_calls, calls.counters().calls), (1, 0));
    // Of a stream that a client was refused nothing was seen at all.
    let mut calls = half_seen(None);
    assert!(end(&mut calls, Defects::ATTACHED_MIDWAY).is_none());
}

#[test]
fn a_server_that_ends_in_the_middle_of_its_answer_fails_the_call() {
    let by_server = Defects::RESPONSE_CUT.with(Defects::SERVER_ENDED);
    let chunk = r#"{"id":"c1","choices":[{"index":0,"delta":{"content":"Hi"}}]}"#;
    let kind = |call: &ModelCall| call.error.as_ref().map(|e| e.kind.clone());
    let reset = Some("connection_reset".to_owned());

    let call = stream(&[chunk], by_server);
    assert_eq!(
        (kind(&call), call.defects),
        (reset.clone(), Defects::RESPONSE_CUT)
    );
    let call = plain(200, r#"{"id":"c1","object":"chat.co"#, by_server);
    assert_eq!(kind(&call), reset);
    assert!(!call.defects.has(Defects::SERVER_ENDED));
    assert_eq!(
        kind(
            &half_seen_stream(
                None,
                &[r#"{"object":"chat.completion.chunk","choices":[]}"#],
                by_server
            )
            .unwrap()
        ),
        reset
    );
    // What it said of itself goes before.
    let call = stream(&[chunk, r#"{"error":{"code":"overloaded"}}"#], by_server);
    assert_eq!(kind(&call).as_deref(), Some("overloaded"));
    let call = plain(503, r#"{"err"#, by_server);
    assert_eq!(kind(&call).as_deref(), Some("503"));
    // The stream was over, or it was the client.
    let call = stream(&[chunk, "[DONE]"], by_server);
    assert!(call.error.is_none() && call.defects.is_none());
    assert!(stream(&[chunk], Defects::RESPONSE_CUT).error.is_none());
}

/// After a large loss in a stream only what names its response counts as its own.
#[test]
fn a_doubtful_stream_goes_on_with_its_own_id_only() {
    let chunk = |id: &str, text: &str| {
        json!({"id": id, "choices": [{"index": 0, "delta": {"content": text}}]}).to_string()
    };
    let run = |before: &[String], after: &[String]| {
        let mut calls = Calls::new(Limits::default());
        ask(&mut calls, "POST", CHAT, ASKED);
        answered(&mut calls, 200);
        for data in before {
            event(&mut calls, 200, "", data);
        }
        calls.response_doubtful(ID);
        for data in after {
            event(&mut calls, 210, "", data);
        }
        let call = end(&mut calls, Defects::RESPONSE_GAP).unwrap();
        let parts = call.response.messages.into_iter().flat_map(|m| m.parts);
        let texts = parts.filter_map(|p| match p {
            Part::Text(text) => Some(text.kept),
            _ => None,
        });
        (texts.collect::<String>(), call.end)
    };
    let (own, other, done) = (chunk("a", "x"), chunk("b", "y"), "[DONE]".to_owned());
    let none = chunk("", "z");
    let before = [own.clone()];
    for (after, text, at) in [
        (vec![own.clone(), none.clone(), done.clone()], "xxz", 210),
        (vec![none, other.clone(), done.clone()], "x", 900),
        (vec![done.clone()], "x", 900),
    ] {
        assert_eq!(
            run(&before, &after),
            (text.to_owned(), BootTime(at)),
            "{after:?}"
        );
    }
    assert_eq!(run(&[], &[other, done]).0, "");
}
