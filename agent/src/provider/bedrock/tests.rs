//! Exchanges of converse, and what holds for all of Bedrock.

use super::Bedrock;
use crate::model::call::{Api, ModelCall, Operation, Part};
use crate::model::defect::Defects;
use crate::provider::shape::{Payload, Shape as _};
use crate::provider::testing::{Asked, Event, Scene, document, events, post};
use serde_json::json;

const HOST: &str = "bedrock-runtime.us-east-1.amazonaws.com";
const BODY: &str = r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}"#;
const PLAIN: Asked<'_> = post("/model/amazon.m-1%3A0/converse", HOST, BODY);
const STREAMED: Asked<'_> = post("/model/amazon.m-1%3A0/converse-stream", HOST, BODY);

fn tool(id: &str, name: &str, arguments: serde_json::Value) -> Part {
    Part::ToolCall {
        id: Some(id.to_owned()),
        name: name.to_owned(),
        arguments: Some(arguments),
    }
}

#[test]
fn requests() {
    let body = json!({
        "system":[{"text":"Be brief"},{"cachePoint":{"type":"default"}}],
        "inferenceConfig":{"maxTokens":64,"temperature":0.5,"topP":0.9,"stopSequences":["x"]},
        "additionalModelRequestFields":{"top_k":40},
        "guardrailConfig":{"guardrailIdentifier":"g1","guardrailVersion":"1"},
        "toolConfig":{"tools":[
            {"toolSpec":{"name":"clock","description":"tells it","inputSchema":{"json":{"type":"object"}}}},
            {"cachePoint":{"type":"default"}},{"systemTool":{"name":"grounding"}}],"toolChoice":{"auto":{}}},
        "messages":[
            {"role":"user","content":[{"text":"What is it?"},
                {"image":{"format":"jpg","source":{"bytes":"AAAA"}}},
                {"document":{"format":"pdf","name":"d","source":{"s3Location":{"uri":"s3://b/d.pdf"}}}},
                {"guardContent":{"text":{"text":"watched","qualifiers":["query"]}}}]},
            {"role":"assistant","content":[
                {"reasoningContent":{"reasoningText":{"text":"hm","signature":"c2ln"}}},
                {"reasoningContent":{"redactedContent":"c2VjcmV0"}},
                {"toolUse":{"toolUseId":"t1","name":"clock","input":{"tz":"UTC"}}}]},
            {"role":"user","content":[
                {"toolResult":{"toolUseId":"t1","content":[{"json":{"h":12}}],"status":"success"}},
                {"toolResult":{"toolUseId":"t2","content":[{"text":"no"}]}}]}]
    })
    .to_string();
    let target = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.m-1/converse";
    let call = document(&post(target, HOST, &body), 200, "{}").unwrap();
    let request = &call.request;
    assert_eq!(call.provider, "aws.bedrock");
    assert_eq!(
        (call.operation, call.api),
        (Operation::Chat, Api::BedrockConverse)
    );
    assert_eq!(
        request.model.as_deref(),
        Some("arn:aws:bedrock:us-east-1:1:inference-profile/us.m-1")
    );
    assert_eq!((request.temperature, request.top_p), (Some(0.5), Some(0.9)));
    assert_eq!((request.top_k, request.max_tokens), (Some(40), Some(64)));
    assert_eq!(request.stop_sequences.as_deref().unwrap(), ["x"]);
    assert_eq!(request.guardrail_id.as_deref(), Some("g1"));
    assert!(!request.stream);
    assert_eq!(request.system_instructions, [Part::Text("Be brief".into())]);
    let tools: Vec<_> = request.tools.iter().map(|t| t.definition.clone()).collect();
    assert_eq!(
        tools,
        [
            json!({"type":"function","name":"clock","description":"tells it","parameters":{"type":"object"}}),
            json!({"type":"system_tool","name":"grounding"}),
        ]
    );
    let parts: Vec<_> = request.messages.iter().flat_map(|m| &m.parts).collect();
    let answered = |id: &str, response| Part::ToolCallResponse {
        id: Some(id.to_owned()),
        response,
    };
    assert_eq!(
        parts,
        [
            &Part::Text("What is it?".into()),
            &Part::Blob {
                modality: "image",
                mime_type: Some("image/jpeg".to_owned()),
                content: "AAAA".into(),
            },
            &Part::Uri {
                modality: "document",
                mime_type: Some("application/pdf".to_owned()),
                uri: "s3://b/d.pdf".to_owned(),
            },
            &Part::Text("watched".into()),
            &Part::Reasoning("hm".into()),
            &Part::Other(json!({"type":"redacted_thinking"})),
            &tool("t1", "clock", json!({"tz":"UTC"})),
            &answered("t1", json!({"h":12})),
            &answered("t2", json!("no")),
        ]
    );
}

#[test]
fn plain_answers() {
    let call = document(
        &PLAIN,
        200,
        r#"{"metrics":{"latencyMs":9},"output":{"message":{"role":"assistant","content":[
            {"reasoningContent":{"reasoningText":{"text":"hm","signature":"s"}}},{"text":"Yes"},
            {"toolUse":{"toolUseId":"t1","name":"a","input":{}}},{"toolUse":{"toolUseId":"t2","name":"b","input":{"k":1}}}]}},
            "stopReason":"tool_use","trace":{"promptRouter":{"invokedModelId":"m-1-x"}},
            "usage":{"inputTokens":5,"outputTokens":9,"totalTokens":134,"cacheReadInputTokens":100,"cacheWriteInputTokens":20}}"#,
    )
    .unwrap();
    let response = &call.response;
    assert_eq!(response.model.as_deref(), Some("m-1-x"));
    assert_eq!(response.finish_reasons, ["tool_use"]);
    let usage = response.usage;
    assert_eq!((usage.input, usage.output), (Some(125), Some(9)));
    assert_eq!((usage.cache_read, usage.cache_write), (Some(100), Some(20)));
    let message = &response.messages[0];
    assert_eq!(message.finish_reason.as_deref(), Some("tool_call"));
    assert_eq!(
        message.parts,
        [
            Part::Reasoning("hm".into()),
            Part::Text("Yes".into()),
            tool("t1", "a", json!({})),
            tool("t2", "b", json!({"k":1})),
        ]
    );
    assert!(call.error.is_none() && call.defects.is_none());
}

#[test]
fn reasons() {
    for (reason, mapped) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("malformed_tool_use", "malformed_tool_use"),
    ] {
        let body = format!(
            r#"{{"output":{{"message":{{"role":"assistant","content":[]}}}},"stopReason":"{reason}"}}"#
        );
        let call = document(&PLAIN, 200, &body).unwrap();
        assert_eq!(call.response.finish_reasons, [reason]);
        let message = &call.response.messages[0];
        assert_eq!(message.finish_reason.as_deref(), Some(mapped));
        assert_eq!(call.response.usage.input, None);
    }
}

const STREAM: [Event<'_>; 14] = [
    ("messageStart", r#"{"p":"abc","role":"assistant"}"#, "event"),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}}"#,
        "event",
    ),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"c2ln"}}}"#,
        "event",
    ),
    ("contentBlockStop", r#"{"contentBlockIndex":0}"#, "event"),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":1,"delta":{"text":"Let me "},"p":"ab"}"#,
        "event",
    ),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":1,"delta":{"text":"look.","more":[]}}"#,
        "event",
    ),
    ("contentBlockStop", r#"{"contentBlockIndex":1}"#, "event"),
    (
        "contentBlockStart",
        r#"{"contentBlockIndex":2,"start":{"toolUse":{"name":"a","toolUseId":"t1"}}}"#,
        "event",
    ),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":"{\"k\""}}}"#,
        "event",
    ),
    (
        "contentBlockStart",
        r#"{"contentBlockIndex":3,"start":{"toolUse":{"name":"b","toolUseId":"t2"}}}"#,
        "event",
    ),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":"{}"}}}"#,
        "event",
    ),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":":1}"}}}"#,
        "event",
    ),
    ("messageStop", r#"{"stopReason":"tool_use"}"#, "event"),
    (
        "metadata",
        r#"{"metrics":{"latencyMs":9},"usage":{"inputTokens":5,"outputTokens":9,"cacheReadInputTokens":3}}"#,
        "event",
    ),
];

#[test]
fn streams() {
    let call = events(&STREAMED, &STREAM, Defects::RESPONSE_CUT);
    // The end was told: that the connection was closed then is nothing.
    assert!(call.defects.is_none() && call.error.is_none());
    assert!(call.request.stream);
    assert_eq!(call.request.model.as_deref(), Some("amazon.m-1:0"));
    assert_eq!(call.first_chunk.unwrap().0, 1101);
    let response = &call.response;
    assert_eq!((response.chunks, response.usage.input), (14, Some(8)));
    assert_eq!(response.usage.output, Some(9));
    assert_eq!(response.finish_reasons, ["tool_use"]);
    assert_eq!(
        response.messages[0].parts,
        [
            Part::Reasoning("hm".into()),
            Part::Text("Let me look.".into()),
            tool("t1", "a", json!({"k":1})),
            tool("t2", "b", json!({})),
        ]
    );
}

#[test]
fn a_stream_cut_anywhere_invents_nothing() {
    for n in 0..STREAM.len() - 1 {
        let call = events(&STREAMED, &STREAM[..n], Defects::RESPONSE_CUT);
        let response = &call.response;
        assert!(response.finish_reasons.is_empty() || n > 12, "{n}");
        assert_eq!((response.usage.input, response.usage.output), (None, None));
        if let Some(message) = response.messages.first() {
            let reason = if n > 12 { "tool_call" } else { "error" };
            assert_eq!(message.finish_reason.as_deref(), Some(reason), "{n}");
        }
    }
}

#[test]
fn failures() {
    let mut scene = Scene::default();
    assert!(scene.ask(&PLAIN));
    let kind = "ValidationException:http://internal/coral/";
    scene.head(
        400,
        &[("x-amzn-errortype", kind), ("x-amzn-requestid", "r1")],
    );
    scene.body(r#"{"message":"No such model"}"#);
    let call = scene.end(Defects::NONE).pop().unwrap();
    let error = call.error.unwrap();
    assert_eq!(error.kind, "ValidationException");
    assert_eq!(error.message.as_deref(), Some("No such model"));
    assert_eq!(call.response.request_id.as_deref(), Some("r1"));
    let kind = |status, body| document(&PLAIN, status, body).unwrap().error.unwrap().kind;
    let named = r#"{"__type":"com.amazon#ThrottlingException","message":"slow"}"#;
    assert_eq!(kind(429, named), "ThrottlingException");
    assert_eq!(kind(503, ""), "503");
    let thrown = (
        "throttlingException",
        r#"{"message":"Too many"}"#,
        "exception",
    );
    let call = events(&STREAMED, &[STREAM[0], STREAM[4], thrown], Defects::NONE);
    let error = call.error.unwrap();
    assert_eq!(error.kind, "throttlingException");
    assert_eq!(error.message.as_deref(), Some("Too many"));
    let message = &call.response.messages[0];
    assert_eq!(message.parts, [Part::Text("Let me ".into())]);
    assert_eq!(message.finish_reason.as_deref(), Some("error"));
}

#[test]
fn a_server_that_says_it_another_way() {
    let call = events(
        &STREAMED,
        &[
            ("contentBlockDelta", r#"{"delta":{"text":"He"}}"#, ""),
            (
                "contentBlockDelta",
                r#"{"contentBlockIndex":"0","delta":{"text":"llo"}}"#,
                "",
            ),
            ("contentBlockDelta", "no json", ""),
            (
                "contentBlockDelta",
                r#"{"contentBlockIndex":4,"delta":{"toolUse":{"input":{"k":1}}}}"#,
                "",
            ),
            ("unheardOf", "{}", "event"),
            ("messageStop", r#"{"stopReason":7}"#, ""),
        ],
        Defects::NONE,
    );
    let lone = Part::ToolCall {
        id: None,
        name: String::new(),
        arguments: Some(json!({"k":1})),
    };
    assert_eq!(
        call.response.messages[0].parts,
        [Part::Text("Hello".into()), lone]
    );
    assert_eq!(call.defects, Defects::EVENT_BROKEN);
    assert!(call.response.finish_reasons.is_empty());
}

#[test]
fn what_is_no_call() {
    for target in [
        "/model/m/count-tokens",
        "/model/m/async-invoke",
        "/model//converse",
        "/converse",
        "/model/invoke",
        "/guardrail/g/version/1/apply",
        "/foundation-models/m/x",
    ] {
        assert!(!Scene::default().ask(&post(target, HOST, BODY)), "{target}");
    }
    for (target, body) in [
        ("/model/m/invoke", r#"{"x":1}"#),
        ("/model/m/converse", r#"{"text":"hi"}"#),
        ("/model/m/invoke", r#"{"prompt":{"a":1}}"#),
    ] {
        assert_eq!(document(&post(target, "h", body), 200, "{}"), None);
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
        Bedrock.by_answer(&payload).map(|f| f.api)
    };
    for (_, data, _) in [STREAM[1], STREAM[4], STREAM[7]] {
        assert_eq!(found(data, true), Some(Api::BedrockConverse));
    }
    assert_eq!(found(STREAM[0].1, true), None);
    let plain = r#"{"metrics":{},"output":{"message":{}},"stopReason":"end_turn"}"#;
    assert_eq!(found(plain, false), Some(Api::BedrockConverse));
    assert_eq!(found(r#"{"output":{"text":"x"}}"#, false), None);
}

#[test]
fn any_host() {
    let call: ModelCall =
        document(&post("/proxy/model/m/converse", "gw", BODY), 200, "{}").unwrap();
    assert_eq!(call.provider, "aws.bedrock");
}

#[test]
fn attempts_are_told_by_amazons_header() {
    for (value, attempt, may_retry) in [
        ("attempt=1", 0, true),
        ("attempt=3; max=4", 2, true),
        ("attempt=4; max=4", 3, false),
    ] {
        let mut scene = Scene::default();
        let headers = [("amz-sdk-request", value)];
        let asked = Asked {
            headers: &headers,
            ..PLAIN
        };
        assert!(scene.ask(&asked));
        scene.head(503, &[]);
        let retry = scene.end(Defects::NONE).pop().unwrap().retry.unwrap();
        assert_eq!(
            (retry.attempt, retry.may_retry),
            (attempt, may_retry),
            "{value}"
        );
    }
}
