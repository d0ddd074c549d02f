//! Exchanges as Cohere has them.

use super::Cohere;
use crate::model::call::{Api, Operation, Part};
use crate::model::defect::Defects;
use crate::provider::shape::{Payload, Shape as _};
use crate::provider::testing::{Asked, Event, Scene, document, events, post};
use serde_json::json;

const HOST: &str = "api.cohere.com";
const V2: Asked<'_> = post(
    "/v2/chat",
    HOST,
    r#"{"model":"c-1","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#,
);
const V1: Asked<'_> = post(
    "/v1/chat",
    HOST,
    r#"{"model":"c-1","stream":true,"message":"Hi"}"#,
);

fn tool(id: Option<&str>, name: &str, arguments: serde_json::Value) -> Part {
    Part::ToolCall {
        id: id.map(str::to_owned),
        name: name.to_owned(),
        arguments: Some(arguments),
    }
}

#[test]
fn requests() {
    let body = json!({
        "model":"c-1","stream":false,"temperature":0.5,"p":0.9,"k":40,"max_tokens":64,"seed":7,
        "frequency_penalty":0.1,"presence_penalty":0.2,"stop_sequences":["x"],
        "response_format":{"type":"json_object"},
        "tools":[{"type":"function","function":{"name":"clock","parameters":{"type":"object"}}}],
        "messages":[
            {"role":"system","content":"Be brief"},
            {"role":"user","content":[{"type":"text","text":"What is it?"},
                {"type":"image_url","image_url":{"url":"https://h/i.png"}}]},
            {"role":"assistant","tool_plan":"I will look","content":null,
                "tool_calls":[{"id":"t1","type":"function","function":{"name":"clock","arguments":"{\"tz\":\"UTC\"}"}}]},
            {"role":"tool","tool_call_id":"t1","content":"noon"}]
    })
    .to_string();
    let call = document(&post("/v2/chat", HOST, &body), 200, "{}").unwrap();
    let request = &call.request;
    assert_eq!(call.provider, "cohere");
    assert_eq!(
        (call.operation, call.api),
        (Operation::Chat, Api::CohereChat)
    );
    assert_eq!((request.temperature, request.top_p), (Some(0.5), Some(0.9)));
    assert_eq!((request.top_k, request.max_tokens), (Some(40), Some(64)));
    assert_eq!((request.seed, request.output_type), (Some(7), Some("json")));
    assert_eq!(
        (request.frequency_penalty, request.presence_penalty),
        (Some(0.1), Some(0.2))
    );
    assert_eq!(request.stop_sequences.as_deref().unwrap(), ["x"]);
    assert_eq!(request.tools[0].name.as_deref(), Some("clock"));
    let parts: Vec<_> = request.messages.iter().flat_map(|m| &m.parts).collect();
    assert_eq!(
        parts,
        [
            &Part::Text("Be brief".into()),
            &Part::Text("What is it?".into()),
            &Part::Uri {
                modality: "image",
                mime_type: None,
                uri: "https://h/i.png".to_owned(),
            },
            &Part::Reasoning("I will look".into()),
            &tool(Some("t1"), "clock", json!({"tz":"UTC"})),
            &Part::ToolCallResponse {
                id: Some("t1".to_owned()),
                response: json!("noon"),
            },
        ]
    );
}

#[test]
fn requests_of_the_first_version() {
    let body = json!({
        "model":"c-1","message":"","preamble":"Be brief","conversation_id":"k1",
        "connectors":[{"id":"web","user_access_token":"secret-token"}],
        "chat_history":[{"role":"USER","message":"Hi"},
            {"role":"CHATBOT","message":"","tool_calls":[{"name":"clock","parameters":{"tz":"UTC"}}]}],
        "tools":[{"name":"clock","description":"tells it","parameter_definitions":{"tz":{"type":"str"}}}],
        "tool_results":[{"call":{"name":"clock","parameters":{}},"outputs":[{"h":12}]}]
    })
    .to_string();
    let call = document(&post("/v1/chat", HOST, &body), 200, "{}").unwrap();
    let request = &call.request;
    assert_eq!(call.api, Api::CohereChatV1);
    assert_eq!(request.conversation_id.as_deref(), Some("k1"));
    assert_eq!(request.system_instructions, [Part::Text("Be brief".into())]);
    let roles: Vec<_> = request.messages.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "tool"]);
    let parts: Vec<_> = request.messages.iter().flat_map(|m| &m.parts).collect();
    assert_eq!(
        parts,
        [
            &Part::Text("Hi".into()),
            &tool(None, "clock", json!({"tz":"UTC"})),
            &Part::ToolCallResponse {
                id: None,
                response: json!([{"h":12}]),
            },
        ]
    );
    assert_eq!(
        request.tools[0].definition,
        json!({"type":"function","name":"clock","description":"tells it","parameters":{"tz":{"type":"str"}}})
    );
    assert!(!format!("{call:?}").contains("secret"));
}

const ANSWER: &str = r#"{"id":"c1","message":{"role":"assistant","tool_plan":"I will look",
    "tool_calls":[{"id":"t1","type":"function","function":{"name":"a","arguments":"{\"k\":1}"}},
        {"id":"t2","type":"function","function":{"name":"b","arguments":"{}"}}],
    "content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"Yes"}]},
    "finish_reason":"TOOL_CALL","usage":{"billed_units":{"input_tokens":5,"output_tokens":2},
    "tokens":{"input_tokens":50,"output_tokens":20},"cached_tokens":3}}"#;

const STREAM: [Event<'_>; 15] = [
    (
        "message-start",
        r#"{"type":"message-start","id":"c1","delta":{"message":{"role":"assistant","content":[],"tool_calls":[]}}}"#,
        "",
    ),
    (
        "tool-plan-delta",
        r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I will"}}}"#,
        "",
    ),
    (
        "tool-plan-delta",
        r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":" look"}}}"#,
        "",
    ),
    (
        "tool-call-start",
        r#"{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"t1","type":"function","function":{"name":"a","arguments":""}}}}}"#,
        "",
    ),
    (
        "tool-call-start",
        r#"{"type":"tool-call-start","index":1,"delta":{"message":{"tool_calls":{"id":"t2","type":"function","function":{"name":"b","arguments":"{}"}}}}}"#,
        "",
    ),
    (
        "tool-call-delta",
        r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"k\""}}}}}"#,
        "",
    ),
    (
        "tool-call-delta",
        r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":":1}"}}}}}"#,
        "",
    ),
    ("tool-call-end", r#"{"type":"tool-call-end","index":0}"#, ""),
    (
        "content-start",
        r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"thinking","thinking":""}}}}"#,
        "",
    ),
    (
        "content-delta",
        r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"thinking":"hm"}}}}"#,
        "",
    ),
    (
        "content-start",
        r#"{"type":"content-start","index":1,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
        "",
    ),
    (
        "content-delta",
        r#"{"type":"content-delta","index":1,"delta":{"message":{"content":{"text":"Y"}}}}"#,
        "",
    ),
    (
        "content-delta",
        r#"{"type":"content-delta","index":1,"delta":{"message":{"content":{"text":"es"}}}}"#,
        "",
    ),
    ("content-end", r#"{"type":"content-end","index":1}"#, ""),
    (
        "message-end",
        r#"{"type":"message-end","delta":{"finish_reason":"TOOL_CALL","usage":{"billed_units":{"input_tokens":5,"output_tokens":2},"tokens":{"input_tokens":50,"output_tokens":20},"cached_tokens":3}}}"#,
        "",
    ),
];

#[test]
fn plain_and_streamed_say_the_same() {
    let plain = document(&V2, 200, ANSWER).unwrap();
    let response = &plain.response;
    assert_eq!(response.id.as_deref(), Some("c1"));
    assert_eq!(response.finish_reasons, ["TOOL_CALL"]);
    let usage = response.usage;
    assert_eq!((usage.input, usage.output), (Some(5), Some(2)));
    assert_eq!(usage.cache_read, Some(3));
    let message = &response.messages[0];
    assert_eq!(message.finish_reason.as_deref(), Some("tool_call"));
    assert_eq!(
        message.parts,
        [
            Part::Reasoning("I will look".into()),
            tool(Some("t1"), "a", json!({"k":1})),
            tool(Some("t2"), "b", json!({})),
            Part::Reasoning("hm".into()),
            Part::Text("Yes".into()),
        ]
    );
    let streamed = events(&V2, &STREAM, Defects::RESPONSE_CUT);
    assert!(streamed.defects.is_none() && streamed.error.is_none());
    assert_eq!(streamed.response.messages, response.messages);
    assert_eq!(streamed.response.usage, usage);
    assert_eq!(streamed.response.id, response.id);
    assert_eq!(streamed.first_chunk.unwrap().0, 1101);
    for n in 0..STREAM.len() - 1 {
        let cut = events(&V2, &STREAM[..n], Defects::RESPONSE_CUT).response;
        assert!(cut.finish_reasons.is_empty() && cut.usage.input.is_none());
        if let Some(message) = cut.messages.first() {
            assert_eq!(message.finish_reason.as_deref(), Some("error"));
        }
    }
}

#[test]
fn the_first_version() {
    let answer = r#"{"response_id":"r1","generation_id":"g1","text":"Yes","chat_history":[],"finish_reason":"COMPLETE",
        "meta":{"billed_units":{"input_tokens":5,"output_tokens":2},"tokens":{"input_tokens":50,"output_tokens":2}}}"#;
    let plain = document(&V1, 200, answer).unwrap();
    let last = format!(
        r#"{{"is_finished":true,"event_type":"stream-end","finish_reason":"COMPLETE","response":{}}}"#,
        answer.replace('\n', "")
    );
    let lines: [Event<'_>; 4] = [
        (
            "",
            r#"{"is_finished":false,"event_type":"stream-start","generation_id":"g1"}"#,
            "",
        ),
        (
            "",
            r#"{"is_finished":false,"event_type":"text-generation","text":"Y"}"#,
            "",
        ),
        (
            "",
            r#"{"is_finished":false,"event_type":"text-generation","text":"es"}"#,
            "",
        ),
        ("", &last, ""),
    ];
    let streamed = events(&V1, &lines, Defects::RESPONSE_CUT);
    assert!(streamed.defects.is_none());
    for call in [&plain, &streamed] {
        let response = &call.response;
        assert_eq!(response.id.as_deref(), Some("r1"));
        assert_eq!(response.usage.input, Some(5));
        assert_eq!(response.finish_reasons, ["COMPLETE"]);
        assert_eq!(response.messages[0].parts, [Part::Text("Yes".into())]);
        let reason = response.messages[0].finish_reason.as_deref();
        assert_eq!(reason, Some("stop"));
    }
    let cut = events(&V1, &lines[..2], Defects::RESPONSE_CUT).response;
    assert_eq!(cut.id.as_deref(), Some("g1"));
    assert!(cut.finish_reasons.is_empty() && cut.usage.input.is_none());
    let calls = r#"{"event_type":"tool-calls-generation","is_finished":false,"tool_calls":[{"name":"a","parameters":{"k":1}}]}"#;
    let call = events(&V1, &[lines[0], ("", calls, "")], Defects::NONE);
    let parts = &call.response.messages[0].parts;
    assert_eq!(*parts, [tool(None, "a", json!({"k":1}))]);
}

#[test]
fn generation_embeddings_and_rerank() {
    let call = document(
        &post("/v1/generate", HOST, r#"{"model":"c-1","prompt":"Hi","num_generations":2}"#),
        200,
        r#"{"id":"g","generations":[{"id":"a","text":"Yes","finish_reason":"COMPLETE"},{"id":"b","text":"No","finish_reason":"MAX_TOKENS"}],
            "meta":{"billed_units":{"input_tokens":1,"output_tokens":2}}}"#,
    )
    .unwrap();
    assert_eq!(call.operation, Operation::TextCompletion);
    assert_eq!(call.response.finish_reasons, ["COMPLETE", "MAX_TOKENS"]);
    assert_eq!(call.response.messages[1].parts, [Part::Text("No".into())]);
    for (embeddings, length) in [
        ("[[1,2.5,3],[4,5,6]]", Some(3)),
        (r#"{"float":[[1,2]]}"#, Some(2)),
        (r#"{"ubinary":[[1,2]]}"#, Some(16)),
        ("[]", None),
    ] {
        let body = r#"{"model":"e-1","texts":["a","b"],"input_type":"x","embedding_types":["float"],"output_dimension":2}"#;
        let answer = format!(
            r#"{{"id":"e","embeddings":{embeddings},"meta":{{"billed_units":{{"input_tokens":4}}}}}}"#
        );
        let call = document(&post("/v2/embed", HOST, body), 200, &answer).unwrap();
        assert_eq!(call.operation, Operation::Embeddings);
        assert_eq!(call.request.dimensions, Some(2));
        assert_eq!(call.request.encoding_formats.as_deref().unwrap(), ["float"]);
        assert_eq!(call.response.embedding_dimensions, length);
        assert_eq!(call.response.usage.input, Some(4));
        assert!(call.response.messages.is_empty());
    }
    let body = r#"{"model":"r-1","query":"q","documents":["a","b"],"top_n":1}"#;
    let answer = r#"{"id":"r","results":[{"index":0,"relevance_score":0.5}],"meta":{"billed_units":{"search_units":1}}}"#;
    let call = document(&post("/v1/rerank", HOST, body), 200, answer).unwrap();
    assert_eq!(call.operation, Operation::Rerank);
    assert_eq!(
        (call.request.documents, call.request.top_n),
        (Some(2), Some(1))
    );
    assert_eq!(call.response.id.as_deref(), Some("r"));
    assert!(call.response.messages.is_empty() && call.error.is_none());
}

#[test]
fn failures() {
    for (status, kind) in [(429, "429"), (200, "_OTHER")] {
        let call = document(&V2, status, r#"{"id":"f1","message":"Too many"}"#).unwrap();
        let error = call.error.unwrap();
        assert_eq!(error.kind, kind);
        assert_eq!(error.message.as_deref(), Some("Too many"));
        assert_eq!(call.response.id.as_deref(), Some("f1"));
        assert!(call.response.messages.is_empty());
    }
    let end = r#"{"type":"message-end","delta":{"finish_reason":"ERROR","error":"gone"}}"#;
    let call = events(&V2, &[STREAM[0], STREAM[11], ("", end, "")], Defects::NONE);
    assert_eq!(call.error.unwrap().message.as_deref(), Some("gone"));
    assert_eq!(call.response.finish_reasons, ["ERROR"]);
}

#[test]
fn a_server_that_says_it_another_way() {
    let call = events(
        &V2,
        &[
            (
                "content-delta",
                r#"{"delta":{"message":{"content":{"text":"He"}}}}"#,
                "",
            ),
            ("content-delta", "no json", ""),
            (
                "content-delta",
                r#"{"index":"0","delta":{"message":{"content":{"text":"y"}}}}"#,
                "",
            ),
            (
                "tool-call-delta",
                r#"{"index":0,"delta":{"message":{"tool_calls":[{"function":{"name":"a","arguments":"{}"}}]}}}"#,
                "",
            ),
            ("content-delta", r#"{"index":0,"delta":7}"#, ""),
        ],
        Defects::NONE,
    );
    assert_eq!(call.defects, Defects::EVENT_BROKEN);
    assert_eq!(
        call.response.messages[0].parts,
        [tool(None, "a", json!({})), Part::Text("Hey".into())]
    );
}

#[test]
fn what_is_no_call() {
    for target in [
        "/v1/models",
        "/v1/tokenize",
        "/v1/embed-jobs",
        "/v1/classify",
    ] {
        assert!(!Scene::default().ask(&post(target, HOST, "{}")), "{target}");
    }
    for (target, body) in [
        ("/v1/chat", r#"{"message":"hi","to":"you"}"#),
        ("/v2/chat", r#"{"messages":[]}"#),
        ("/v1/generate", r#"{"report":1}"#),
        ("/v1/rerank", r#"{"query":"q"}"#),
    ] {
        assert_eq!(
            document(&post(target, "h", body), 200, "{}"),
            None,
            "{target}"
        );
    }
}

#[test]
fn answers_alone() {
    let found = |text: &str, event: bool| {
        let root = serde_json::from_str(text).unwrap();
        let payload = if event {
            Payload::Event(&root)
        } else {
            Payload::Document(&root)
        };
        Cohere.by_answer(&payload).map(|f| f.api)
    };
    assert_eq!(found(ANSWER, false), Some(Api::CohereChat));
    assert_eq!(found(STREAM[11].1, true), Some(Api::CohereChat));
    let line = r#"{"is_finished":false,"event_type":"text-generation","text":"Y"}"#;
    assert_eq!(found(line, true), Some(Api::CohereChatV1));
    assert_eq!(found(r#"{"message":"hi"}"#, false), None);
    assert_eq!(found(r#"{"type":"ping"}"#, true), None);
}
