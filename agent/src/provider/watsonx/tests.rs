//! Exchanges as watsonx.ai has them.

use crate::model::call::{Api, ModelCall, Operation, Part};
use crate::model::defect::Defects;
use crate::model::time::BootTime;
use crate::provider::shape::{Payload, Shape as _};
use crate::provider::testing::{Asked, Event, document, events, post};
use serde_json::{Value, json};

const HOST: &str = "us-south.ml.cloud.ibm.com";
const GENERATE: Asked<'_> = post(
    "/ml/v1/text/generation?version=2024-05-01",
    HOST,
    r#"{"model_id":"ibm/g-2","input":"Hi","project_id":"p","parameters":{"max_new_tokens":9,"temperature":0.5,"top_p":0.9,"top_k":40,"random_seed":7,"repetition_penalty":1.1,"stop_sequences":["\n"]}}"#,
);
const STREAM: Asked<'_> = post(
    "/ml/v1-beta/generation/text_stream?version=2024-02-15",
    HOST,
    r#"{"model_id":"ibm/g-2","input":"Hi"}"#,
);
const CHAT: &str = r#"{"model_id":"ibm/g-3","project_id":"p","max_tokens":9,"messages":[{"role":"system","content":"Be brief"},{"role":"user","content":[{"type":"text","text":"Hi"}]}],"tools":[{"type":"function","function":{"name":"now","parameters":{"type":"object"}}}]}"#;

fn text(call: &ModelCall) -> (&str, Option<&str>) {
    let [message] = &call.response.messages[..] else {
        panic!("{:?}", call.response.messages)
    };
    let text = match &message.parts[..] {
        [] => "",
        [Part::Text(text)] => &text.kept,
        other => panic!("{other:?}"),
    };
    (text, message.finish_reason.as_deref())
}

#[test]
fn a_generated_text() {
    let answer = r#"{"model_id":"ibm/g-2","created_at":"2024-03-10T14:39:21.676Z","results":[{"generated_text":"Lo","generated_token_count":2,"input_token_count":7,"stop_reason":"eos_token"}],"system":{"warnings":[]}}"#;
    let call = document(&GENERATE, 200, answer).unwrap();
    assert_eq!(
        (call.operation, call.api, call.provider),
        (
            Operation::TextCompletion,
            Api::WatsonxGeneration,
            "ibm.watsonx.ai"
        )
    );
    let asked = &call.request;
    assert_eq!(asked.model.as_deref(), Some("ibm/g-2"));
    assert_eq!(
        (asked.temperature, asked.top_p, asked.repetition_penalty),
        (Some(0.5), Some(0.9), Some(1.1))
    );
    assert_eq!(
        (asked.max_tokens, asked.top_k, asked.seed, asked.stream),
        (Some(9), Some(40), Some(7), false)
    );
    assert_eq!(asked.stop_sequences, Some(vec!["\n".to_owned()]));
    assert_eq!(asked.messages[0].parts, [Part::Text("Hi".into())]);
    assert_eq!(text(&call), ("Lo", Some("stop")));
    let told = &call.response;
    assert_eq!(told.model.as_deref(), Some("ibm/g-2"));
    assert_eq!((told.usage.input, told.usage.output), (Some(7), Some(2)));
    assert_eq!(told.finish_reasons, ["eos_token"]);
}

#[test]
fn reasons_of_an_end() {
    for (said, mapped) in [
        ("eos_token", Some("stop")),
        ("stop_sequence", Some("stop")),
        ("max_tokens", Some("length")),
        ("token_limit", Some("length")),
        ("time_limit", Some("time_limit")),
        ("cancelled", Some("cancelled")),
        ("error", Some("error")),
        ("not_finished", None),
        ("NOT_FINISHED", None),
    ] {
        let answer = json!({"model_id":"m","results":[{"generated_text":"a","stop_reason":said}]});
        let call = document(&GENERATE, 200, &answer.to_string()).unwrap();
        assert_eq!(text(&call).1, mapped, "{said}");
        let reasons: &[String] = &call.response.finish_reasons;
        assert_eq!(reasons.len(), usize::from(mapped.is_some()), "{said}");
        assert_eq!(call.response.usage.output, None);
    }
}

const PIECES: [Event<'_>; 5] = [
    (
        "message",
        r#"{"model_id":"ibm/g-2","results":[{"generated_text":"","generated_token_count":0,"input_token_count":8,"stop_reason":"not_finished"}]}"#,
        "",
    ),
    (
        "message",
        r#"{"model_id":"ibm/g-2","results":[{"generated_text":"the","generated_token_count":1,"input_token_count":0,"stop_reason":"not_finished"}]}"#,
        "",
    ),
    (
        "message",
        r#"{"model_id":"ibm/g-2","results":[{"generated_text":" sun","generated_token_count":2,"input_token_count":0,"stop_reason":"not_finished"}]}"#,
        "",
    ),
    (
        "message",
        r#"{"model_id":"ibm/g-2","results":[{"generated_text":"","generated_token_count":3,"input_token_count":0,"stop_reason":"eos_token"}]}"#,
        "",
    ),
    ("close", "{}", ""),
];

#[test]
fn a_stream_however_far_it_comes() {
    for (n, so_far, output) in [
        (1, "", Some(0)),
        (2, "the", Some(1)),
        (3, "the sun", Some(2)),
        (4, "the sun", Some(3)),
        (5, "the sun", Some(3)),
    ] {
        let call = events(&STREAM, &PIECES[..n], Defects::RESPONSE_CUT);
        assert!(call.request.stream);
        let reason = if n < 4 { "error" } else { "stop" };
        assert_eq!(text(&call), (so_far, Some(reason)), "{n}");
        assert_eq!(call.response.usage.input, Some(8), "{n}");
        assert_eq!(call.response.usage.output, output, "{n}");
        assert_eq!(call.response.model.as_deref(), Some("ibm/g-2"));
        let first = (n > 1).then_some(BootTime(1101));
        assert_eq!(call.first_chunk, first);
        // Behind the last event nobody reads.
        assert_eq!(call.defects.has(Defects::RESPONSE_CUT), n < 5);
    }
    let nothing = events(&STREAM, &[], Defects::NONE);
    assert!(nothing.response.messages.is_empty());
}

#[test]
fn chats() {
    let answer = json!({
        "id":"chat-1","model_id":"ibm/g-3","created":1,"created_at":"2025-01-01T00:00:00Z",
        "choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[
            {"id":"c1","type":"function","function":{"name":"now","arguments":"{}"}}]},
            "finish_reason":"tool_calls"}],
        "usage":{"prompt_tokens":11,"completion_tokens":5,"total_tokens":16}
    });
    for path in [
        "/ml/v1/text/chat?version=2025-01-01",
        "/gateway/ml/v1/text/chat",
    ] {
        let call = document(&post(path, HOST, CHAT), 200, &answer.to_string()).unwrap();
        assert_eq!(
            (call.operation, call.api),
            (Operation::Chat, Api::WatsonxChat)
        );
        assert_eq!(call.request.model.as_deref(), Some("ibm/g-3"));
        assert_eq!(call.request.max_tokens, Some(9));
        assert_eq!(call.request.messages.len(), 2);
        assert_eq!(call.request.tools[0].name.as_deref(), Some("now"));
        let told = &call.response;
        assert_eq!(told.model.as_deref(), Some("ibm/g-3"));
        assert_eq!(told.id.as_deref(), Some("chat-1"));
        assert_eq!((told.usage.input, told.usage.output), (Some(11), Some(5)));
        assert_eq!(told.finish_reasons, ["tool_calls"]);
        let call = Part::ToolCall {
            id: Some("c1".to_owned()),
            name: "now".to_owned(),
            arguments: Some(json!({})),
        };
        assert_eq!(told.messages[0].parts, [call]);
    }
}

#[test]
fn streamed_chats() {
    let asked = post("/ml/v1/text/chat_stream?version=2025-01-01", HOST, CHAT);
    let pieces: [Event<'_>; 5] = [
        (
            "message",
            r#"{"id":"chat-2","model_id":"ibm/g-3","choices":[{"index":0,"finish_reason":null,"delta":{"role":"assistant","content":""}}]}"#,
            "",
        ),
        (
            "message",
            r#"{"id":"chat-2","model_id":"ibm/g-3","choices":[{"index":0,"finish_reason":null,"delta":{"content":"Lo"}}]}"#,
            "",
        ),
        (
            "message",
            r#"{"id":"chat-2","model_id":"ibm/g-3","choices":[{"index":0,"finish_reason":"stop","delta":{"content":""}}]}"#,
            "",
        ),
        (
            "message",
            r#"{"id":"chat-2","model_id":"ibm/g-3","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":2,"total_tokens":13}}"#,
            "",
        ),
        ("close", "{}", ""),
    ];
    let call = events(&asked, &pieces, Defects::RESPONSE_CUT);
    assert!(call.request.stream);
    assert_eq!(text(&call), ("Lo", Some("stop")));
    let told = &call.response;
    assert_eq!(told.model.as_deref(), Some("ibm/g-3"));
    assert_eq!((told.usage.input, told.usage.output), (Some(11), Some(2)));
    assert!(!call.defects.has(Defects::RESPONSE_CUT));
    let cut = events(&asked, &pieces[..2], Defects::RESPONSE_CUT);
    assert_eq!(text(&cut), ("Lo", Some("error")));
    let failed = r#"{"errors":[{"code":"token_quota_reached","message":"No"}],"trace":"t","status_code":403}"#;
    for asked in [&asked, &STREAM] {
        let call = events(asked, &[("error", failed, "")], Defects::NONE);
        assert_eq!(call.error.unwrap().kind, "token_quota_reached");
    }
}

#[test]
fn deployments_name_no_model() {
    let answer = r#"{"model_id":"ibm/g-2","results":[{"generated_text":"Lo"}]}"#;
    let path = "/ml/v1/deployments/d-1/text/generation?version=2024-05-01";
    for body in [
        r#"{"input":"Hi"}"#,
        r#"{"parameters":{"prompt_variables":{"a":"b"}}}"#,
    ] {
        let call = document(&post(path, "h:1", body), 200, answer).unwrap();
        assert_eq!(call.request.model.as_deref(), Some("d-1"));
        assert_eq!(call.provider, "ibm.watsonx.ai");
    }
}

#[test]
fn failures() {
    for (status, body, kind, message) in [
        (
            404,
            r#"{"errors":[{"code":"model_not_supported","message":"No"}],"trace":"t","status_code":404}"#,
            "model_not_supported",
            Some("No"),
        ),
        (
            401,
            r#"{"errors":[{"message":"No"}],"trace":"t"}"#,
            "401",
            Some("No"),
        ),
        (502, "<html>", "502", None),
        (500, "", "500", None),
    ] {
        let error = document(&GENERATE, status, body).unwrap().error.unwrap();
        assert_eq!(
            (error.kind.as_str(), error.message.as_deref()),
            (kind, message)
        );
    }
    let said = r#"{"errors":[{"code":"x","message":"No"}]}"#;
    assert_eq!(
        document(&GENERATE, 200, said).unwrap().error.unwrap().kind,
        "x"
    );
}

#[test]
fn what_is_said_another_way() {
    for results in [
        json!(null),
        json!([]),
        json!([7]),
        json!([{"generated_text":7,"input_token_count":-1,"generated_token_count":"2"}]),
    ] {
        let answer = json!({"model_id":7,"results":results}).to_string();
        let call = document(&GENERATE, 200, &answer).unwrap();
        assert!(call.error.is_none());
        let told = &call.response;
        assert_eq!((told.usage.input, told.model.as_deref()), (None, None));
    }
    let events = [("message", "{", ""), ("message", r#"{"results":{}}"#, "")];
    let call = crate::provider::testing::events(&STREAM, &events, Defects::NONE);
    assert!(call.response.messages.is_empty());
}

#[test]
fn what_is_no_call() {
    let body = r#"{"model_id":"m","input":"Hi"}"#;
    for path in [
        "/ml/v1/text/tokenization",
        "/ml/v1/foundation_model_specs",
        "/text/generation",
        "/ml/v4/deployments",
        "/ml/v1/text",
    ] {
        assert!(
            document(&post(path, HOST, body), 200, "{}").is_none(),
            "{path}"
        );
    }
    for body in [
        r#"{"model_id":"m"}"#,
        r#"{"input":"Hi"}"#,
        r#"{"model_id":"m","input":["Hi"]}"#,
    ] {
        let asked = Asked { body, ..GENERATE };
        assert!(document(&asked, 200, "{}").is_none(), "{body}");
    }
}

#[test]
fn known_by_an_answer_alone() {
    for (answer, api) in [
        (
            json!({"model_id":"m","results":[{"generated_text":""}]}),
            Some(Api::WatsonxGeneration),
        ),
        (json!({"model_id":"m","choices":[]}), Some(Api::WatsonxChat)),
        (json!({"results":[{"generated_text":""}]}), None),
        (json!({"model_id":"m","results":[]}), None),
    ] {
        let Value::Object(root) = &answer else {
            panic!()
        };
        for payload in [Payload::Document(root), Payload::Event(root)] {
            let found = super::Watsonx.by_answer(&payload);
            assert_eq!(found.map(|f| f.api), api, "{answer}");
        }
    }
}
