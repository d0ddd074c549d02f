//! Exchanges as Anthropic has them, and as those who imitate it do.

use super::Anthropic;
use crate::model::call::{Api, ModelCall, Operation, Part};
use crate::model::defect::Defects;
use crate::model::time::BootTime;
use crate::provider::shape::{Payload, Shape as _};
use crate::provider::testing::{Asked, Event, Scene, document, events, post};
use serde_json::json;

const HOST: &str = "api.anthropic.com";
const ASKED: Asked<'_> = post(
    "/v1/messages",
    HOST,
    r#"{"model":"a-1","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"Hi"}]}"#,
);

fn plain(answer: &str) -> ModelCall {
    document(&ASKED, 200, answer).unwrap()
}

fn stream(list: &[Event<'_>], defects: Defects) -> ModelCall {
    events(&ASKED, list, defects)
}

#[test]
fn requests() {
    let asked = json!({
        "model":"a-1","max_tokens":64,"temperature":0.5,"top_p":0.9,"top_k":40,
        "stop_sequences":["x","y"],"service_tier":"auto",
        "output_config":{"effort":"low","format":{"type":"json_schema","schema":{}}},
        "thinking":{"type":"enabled","budget_tokens":1024},
        "mcp_servers":[{"type":"url","authorization_token":"secret-token"}],
        "system":[{"type":"text","text":"Be brief","cache_control":{"type":"ephemeral"}}],
        "tools":[{"name":"clock","description":"tells it","input_schema":{"type":"object"}},
            {"type":"custom","name":"other","input_schema":{}},
            {"type":"web_search_20250305","name":"web_search","max_uses":3}],
        "messages":[
            {"role":"user","content":[{"type":"text","text":"What is it?"},
                {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}},
                {"type":"image","source":{"type":"url","url":"https://h/i.png"}},
                {"type":"document","source":{"type":"file","file_id":"file_1"}},
                {"type":"document","source":{"type":"text","media_type":"text/plain","data":"doc"}}]},
            {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"c2ln"},
                {"type":"redacted_thinking","data":"c2VjcmV0"},
                {"type":"tool_use","id":"t1","name":"clock","input":{"tz":"UTC"}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"noon"}]},
                {"type":"tool_result","tool_use_id":"t2","is_error":true,"content":"no"}]}]
    })
    .to_string();
    let answer = r#"{"id":"msg_1","type":"message","role":"assistant","model":"a-1-x","content":[],"stop_reason":"end_turn"}"#;
    let call = document(&post("/v1/messages?beta=true", HOST, &asked), 200, answer).unwrap();
    let request = &call.request;
    assert_eq!(call.provider, "anthropic");
    assert_eq!((call.operation, call.api), (Operation::Chat, Api::Messages));
    assert_eq!(request.model.as_deref(), Some("a-1"));
    assert_eq!((request.temperature, request.top_p), (Some(0.5), Some(0.9)));
    assert_eq!((request.top_k, request.max_tokens), (Some(40), Some(64)));
    assert_eq!(request.stop_sequences.as_deref().unwrap(), ["x", "y"]);
    assert_eq!(request.reasoning_level.as_deref(), Some("low"));
    assert_eq!(request.output_type, Some("json"));
    assert_eq!(request.service_tier, None);
    assert!(!request.stream);
    assert_eq!(request.system_instructions, [Part::Text("Be brief".into())]);
    let tools: Vec<_> = request.tools.iter().map(|t| t.definition.clone()).collect();
    assert_eq!(
        tools,
        [
            json!({"type":"function","name":"clock","description":"tells it","parameters":{"type":"object"}}),
            json!({"type":"function","name":"other","parameters":{}}),
            json!({"type":"web_search_20250305","name":"web_search"}),
        ]
    );
    let parts: Vec<_> = request.messages.iter().flat_map(|m| &m.parts).collect();
    assert_eq!(
        parts,
        [
            &Part::Text("What is it?".into()),
            &Part::Blob {
                modality: "image",
                mime_type: Some("image/png".to_owned()),
                content: "AAAA".into(),
            },
            &Part::Uri {
                modality: "image",
                mime_type: None,
                uri: "https://h/i.png".to_owned(),
            },
            &Part::File {
                modality: "document",
                mime_type: None,
                file_id: "file_1".to_owned(),
            },
            &Part::Text("doc".into()),
            &Part::Reasoning("hm".into()),
            &Part::Other(json!({"type":"redacted_thinking"})),
            &Part::ToolCall {
                id: Some("t1".to_owned()),
                name: "clock".to_owned(),
                arguments: Some(json!({"tz":"UTC"})),
            },
            &Part::ToolCallResponse {
                id: Some("t1".to_owned()),
                response: json!("noon"),
            },
            &Part::ToolCallResponse {
                id: Some("t2".to_owned()),
                response: json!("no"),
            },
        ]
    );
    assert!(!format!("{call:?}").contains("secret"));
}

#[test]
fn plain_answers() {
    let call = plain(
        r#"{"id":"msg_1","type":"message","role":"assistant","model":"a-1-x","content":[
            {"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"Yes"},
            {"type":"server_tool_use","id":"s1","name":"web_search","input":{"query":"q"}},
            {"type":"web_search_tool_result","tool_use_id":"s1","content":[{"type":"web_search_result","url":"u"}]},
            {"type":"tool_use","id":"t1","name":"a","input":{}},{"type":"tool_use","id":"t2","name":"b","input":{"k":1}}],
            "stop_reason":"tool_use","stop_sequence":null,
            "usage":{"input_tokens":5,"cache_creation_input_tokens":20,"cache_read_input_tokens":100,"output_tokens":9,
            "output_tokens_details":{"thinking_tokens":4},"service_tier":"standard"}}"#,
    );
    let response = &call.response;
    assert_eq!(response.id.as_deref(), Some("msg_1"));
    assert_eq!(response.model.as_deref(), Some("a-1-x"));
    assert_eq!(response.finish_reasons, ["tool_use"]);
    let usage = response.usage;
    assert_eq!((usage.input, usage.output), (Some(125), Some(9)));
    assert_eq!((usage.cache_read, usage.cache_write), (Some(100), Some(20)));
    assert_eq!(usage.reasoning, Some(4));
    let message = &response.messages[0];
    assert_eq!(message.finish_reason.as_deref(), Some("tool_call"));
    let tool = |id: &str, name: &str, arguments| Part::ToolCall {
        id: Some(id.to_owned()),
        name: name.to_owned(),
        arguments: Some(arguments),
    };
    assert_eq!(
        message.parts,
        [
            Part::Reasoning("hm".into()),
            Part::Text("Yes".into()),
            Part::Other(
                json!({"type":"server_tool_call","id":"s1","name":"web_search",
                "server_tool_call":{"type":"web_search","input":{"query":"q"}}})
            ),
            Part::Other(json!({"type":"server_tool_call_response","id":"s1",
                "server_tool_call_response":{"type":"web_search","content":[{"type":"web_search_result","url":"u"}]}})),
            tool("t1", "a", json!({})),
            tool("t2", "b", json!({"k":1})),
        ]
    );
    assert!(call.error.is_none() && call.defects.is_none() && call.first_chunk.is_none());
}

#[test]
fn reasons_and_counts() {
    for (reason, mapped) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
    ] {
        let call = plain(&format!(
            r#"{{"type":"message","content":[],"stop_reason":"{reason}","usage":{{"input_tokens":3,"cache_creation":{{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":2}}}}}}"#
        ));
        assert_eq!(call.response.finish_reasons, [reason]);
        let message = &call.response.messages[0];
        assert_eq!(message.finish_reason.as_deref(), Some(mapped));
        assert_eq!(call.response.usage.input, Some(6));
        assert_eq!(call.response.usage.cache_write, Some(3));
        assert_eq!(call.response.usage.output, None);
    }
}

const STREAM: [Event<'_>; 17] = [
    (
        "message_start",
        r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"a-1-x","stop_reason":null,"usage":{"input_tokens":25,"cache_read_input_tokens":10,"output_tokens":1}}}"#,
        "",
    ),
    (
        "content_block_start",
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        "",
    ),
    ("ping", r#"{"type": "ping"}"#, ""),
    (
        "content_block_delta",
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        "",
    ),
    (
        "content_block_delta",
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}"#,
        "",
    ),
    (
        "content_block_stop",
        r#"{"type":"content_block_stop","index":0}"#,
        "",
    ),
    (
        "content_block_start",
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
        "",
    ),
    (
        "content_block_delta",
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Let me "}}"#,
        "",
    ),
    (
        "",
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"look."}}"#,
        "",
    ),
    (
        "content_block_start",
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t1","name":"a","input":{}}}"#,
        "",
    ),
    (
        "content_block_start",
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"t2","name":"b","input":{}}}"#,
        "",
    ),
    (
        "content_block_delta",
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"k\""}}"#,
        "",
    ),
    (
        "content_block_delta",
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        "",
    ),
    (
        "content_block_delta",
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":":1}"}}"#,
        "",
    ),
    (
        "message_delta",
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":15}}"#,
        "",
    ),
    (
        "message_delta",
        r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":17,"input_tokens":null}}"#,
        "",
    ),
    ("message_stop", r#"{"type":"message_stop"}"#, ""),
];

#[test]
fn streams() {
    let call = stream(&STREAM, Defects::RESPONSE_CUT);
    // The end was told: that the connection was closed then is nothing.
    assert!(call.defects.is_none() && call.error.is_none());
    assert_eq!((call.start, call.end), (BootTime(1000), BootTime(1116)));
    assert_eq!(call.first_chunk, Some(BootTime(1101)));
    let response = &call.response;
    assert_eq!(response.chunks, 16);
    assert_eq!(response.id.as_deref(), Some("msg_1"));
    assert_eq!(response.finish_reasons, ["tool_use"]);
    let usage = response.usage;
    assert_eq!((usage.input, usage.output), (Some(35), Some(17)));
    let message = &response.messages[0];
    assert_eq!(message.finish_reason.as_deref(), Some("tool_call"));
    let tool = |id: &str, name: &str, arguments| Part::ToolCall {
        id: Some(id.to_owned()),
        name: name.to_owned(),
        arguments: Some(arguments),
    };
    assert_eq!(
        message.parts,
        [
            Part::Reasoning("hm".into()),
            Part::Text("Let me look.".into()),
            tool("t1", "a", json!({})),
            tool("t2", "b", json!({"k":1})),
        ]
    );
}

#[test]
fn a_stream_cut_anywhere_invents_nothing() {
    let whole = stream(&STREAM, Defects::NONE);
    for n in 0..STREAM.len() - 1 {
        let call = stream(&STREAM[..n], Defects::RESPONSE_CUT);
        assert!(call.error.is_none() || n == 0);
        let (cut, all) = (&call.response, &whole.response);
        assert!(cut.finish_reasons.is_empty() || n > 14, "{n}");
        assert!(cut.usage.output.is_none() || n > 14, "{n}");
        assert!(cut.usage.input.is_none() || cut.usage.input == all.usage.input);
        if let Some(message) = cut.messages.first() {
            let reason = if n > 14 { "tool_call" } else { "error" };
            assert_eq!(message.finish_reason.as_deref(), Some(reason), "{n}");
            assert_eq!(message.role, "assistant");
        }
    }
}

#[test]
fn a_server_that_says_it_another_way() {
    let call = stream(
        &[
            (
                "",
                r#"{"type":"message_start","message":{"id":"m","content":[{"type":"text","text":"He"}]}}"#,
                "",
            ),
            (
                "content_block_delta",
                r#"{"index":0,"delta":{"type":"text_delta","text":"l","x":[]}}"#,
                "",
            ),
            (
                "content_block_delta",
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"lo\ud83d"}}"#,
                "",
            ),
            ("content_block_delta", "no json", ""),
            (
                "message_delta",
                r#"{"delta":{"stop_reason":"end_turn"}}"#,
                "",
            ),
        ],
        Defects::NONE,
    );
    assert_eq!(
        call.response.messages[0].parts,
        [Part::Text("Hello\u{fffd}".into())]
    );
    assert_eq!(call.defects, Defects::EVENT_BROKEN);
    assert_eq!(call.response.finish_reasons, ["end_turn"]);
}

#[test]
fn failures() {
    const BUSY: &str = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#;
    for status in [529, 200] {
        let call = document(&ASKED, status, BUSY).unwrap();
        let error = call.error.unwrap();
        assert_eq!(error.kind, "overloaded_error");
        assert_eq!(error.message.as_deref(), Some("Overloaded"));
        assert!(call.response.messages.is_empty());
    }
    let call = stream(
        &[STREAM[0], STREAM[6], STREAM[7], ("error", BUSY, "")],
        Defects::NONE,
    );
    assert_eq!(call.error.unwrap().kind, "overloaded_error");
    assert_eq!(
        document(&ASKED, 500, "").unwrap().error.unwrap().kind,
        "500"
    );
}

#[test]
fn retries_and_ids_are_told_by_headers() {
    let mut scene = Scene::default();
    let asked = Asked {
        headers: &[("x-stainless-retry-count", "0")],
        ..ASKED
    };
    assert!(scene.ask(&asked));
    scene.head(529, &[("request-id", "req_1"), ("x-should-retry", "true")]);
    let call = scene.end(Defects::NONE).pop().unwrap();
    assert!(call.retry.unwrap().may_retry);
    assert_eq!(call.response.request_id.as_deref(), Some("req_1"));
}

#[test]
fn whoever_speaks_it() {
    const BODY: &str = r#"{"max_tokens":1,"messages":[],"anthropic_version":"vertex-2023-10-16"}"#;
    const ANSWER: &str = r#"{"type":"message","content":[],"stop_reason":"end_turn"}"#;
    let vertex = "/v1/projects/p/locations/l/publishers/anthropic/models/a-1@2:streamRawPredict";
    for (target, host, provider, model) in [
        ("/v1/messages", "gateway.corp", "anthropic", None),
        (
            "/apps/anthropic/v1/messages",
            "dashscope-intl.aliyuncs.com",
            "dashscope",
            None,
        ),
        (
            vertex,
            "us-east5-aiplatform.googleapis.com",
            "gcp.vertex_ai",
            Some("a-1@2"),
        ),
    ] {
        let call = document(&post(target, host, BODY), 200, ANSWER).unwrap();
        assert_eq!(call.provider, provider);
        assert_eq!(call.request.model.as_deref(), model);
        assert_eq!(call.request.stream, model.is_some());
    }
    let versioned = Asked {
        headers: &[("anthropic-version", "2023-06-01")],
        ..post("/proxy/messages", "h", BODY)
    };
    assert!(document(&versioned, 200, ANSWER).is_some());
}

#[test]
fn what_is_no_call() {
    const BODY: &str = r#"{"model":"a-1","messages":[]}"#;
    for target in [
        "/v1/messages/count_tokens",
        "/v1/messages/batches",
        "/v1/threads/t/messages",
        "/v1/projects/p/publishers/anthropic/models/a-1:countTokens",
    ] {
        assert!(!Scene::default().ask(&post(target, HOST, BODY)), "{target}");
    }
    let chat_app = post("/v1/messages", "h", r#"{"to":"me","text":"hi"}"#);
    assert_eq!(document(&chat_app, 200, "{}"), None);
}

#[test]
fn completions_of_old() {
    let asked = post(
        "/v1/complete",
        HOST,
        r#"{"model":"a-0","prompt":"\n\nHuman: Hi\n\nAssistant:","max_tokens_to_sample":9,"top_k":3}"#,
    );
    let call = document(
        &asked,
        200,
        r#"{"type":"completion","id":"compl_1","completion":" Hello","stop_reason":"max_tokens","model":"a-0-x"}"#,
    )
    .unwrap();
    assert_eq!(call.operation, Operation::TextCompletion);
    assert_eq!(
        (call.request.max_tokens, call.request.top_k),
        (Some(9), Some(3))
    );
    let message = &call.response.messages[0];
    assert_eq!(message.parts, [Part::Text(" Hello".into())]);
    assert_eq!(message.finish_reason.as_deref(), Some("length"));
    let streamed = events(
        &asked,
        &[
            (
                "completion",
                r#"{"type":"completion","completion":" Hel","stop_reason":null,"model":"a-0-x"}"#,
                "",
            ),
            ("ping", "{}", ""),
            (
                "completion",
                r#"{"type":"completion","completion":"lo","stop_reason":"max_tokens","model":"a-0-x"}"#,
                "",
            ),
        ],
        Defects::NONE,
    );
    assert_eq!(streamed.response.messages, call.response.messages);
    assert_eq!(streamed.response.finish_reasons, ["max_tokens"]);
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
        Anthropic.by_answer(&payload).map(|f| f.api)
    };
    for (_, data, _) in [STREAM[0], STREAM[1], STREAM[3], STREAM[14]] {
        assert_eq!(found(data, true), Some(Api::Messages));
    }
    assert_eq!(found(STREAM[2].1, true), None);
    let message = r#"{"type":"message","role":"assistant","content":[]}"#;
    assert_eq!(found(message, false), Some(Api::Messages));
    assert_eq!(found(r#"{"type":"message","text":"hi"}"#, false), None);
}
