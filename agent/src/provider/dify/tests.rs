//! Exchanges as Dify has them.

use super::Dify;
use crate::model::call::{Api, ModelCall, Operation, Part};
use crate::model::defect::Defects;
use crate::model::time::BootTime;
use crate::provider::shape::{Payload, Shape as _};
use crate::provider::testing::{Asked, document, events, post};
use serde_json::json;

const CHAT: Asked<'_> = post(
    "/v1/chat-messages",
    "api.dify.ai",
    r#"{"inputs":{},"query":"Hi","response_mode":"streaming","user":"u-1","conversation_id":""}"#,
);
const RUN: Asked<'_> = post(
    "/v1/workflows/run",
    "dify.corp",
    r#"{"inputs":{"topic":"sea","depth":2},"response_mode":"streaming","user":"u-1"}"#,
);

fn stream(asked: &Asked<'_>, list: &[&str], defects: Defects) -> ModelCall {
    let list: Vec<_> = list.iter().map(|data| ("", *data, "")).collect();
    events(asked, &list, defects)
}

fn parts(call: &ModelCall) -> &[Part] {
    call.response.messages.first().map_or(&[], |m| &m.parts)
}

#[test]
fn requests() {
    let asked = json!({
        "query":"What is it?","inputs":{"lang":"en"},"response_mode":"blocking","user":"u-1",
        "conversation_id":"cv-1",
        "files":[{"type":"image","transfer_method":"remote_url","url":"https://h/i.png"},
            {"type":"document","transfer_method":"local_file","upload_file_id":"f-1"}]
    })
    .to_string();
    let answer = r#"{"event":"message","task_id":"k1","id":"m1","message_id":"m1","conversation_id":"cv-1","mode":"chat","answer":"A lamp",
        "metadata":{"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"latency":0.5},"retriever_resources":[]}}"#;
    let call = document(&post("/v1/chat-messages", "h:8080", &asked), 200, answer).unwrap();
    assert_eq!(
        (call.operation, call.api, call.provider),
        (Operation::InvokeAgent, Api::DifyChat, "dify")
    );
    assert!(!call.request.stream);
    assert_eq!(call.request.conversation_id.as_deref(), Some("cv-1"));
    assert_eq!(
        call.request.messages[0].parts,
        [
            Part::Text("What is it?".into()),
            Part::Other(json!({"type":"inputs","inputs":{"lang":"en"}})),
            Part::Uri {
                modality: "image",
                mime_type: None,
                uri: "https://h/i.png".to_owned(),
            },
            Part::File {
                modality: "document",
                mime_type: None,
                file_id: "f-1".to_owned(),
            },
        ]
    );
    assert_eq!(call.response.id.as_deref(), Some("m1"));
    assert_eq!(parts(&call), [Part::Text("A lamp".into())]);
    let usage = call.response.usage;
    assert_eq!((usage.input, usage.output), (Some(9), Some(3)));
    let asked = r#"{"inputs":{"query":"Hi","tone":"dry"},"response_mode":"blocking","user":"u"}"#;
    let call = document(&post("/v1/completion-messages", "h", asked), 200, answer).unwrap();
    assert_eq!(call.api, Api::DifyCompletion);
    assert_eq!(
        call.request.messages[0].parts,
        [
            Part::Text("Hi".into()),
            Part::Other(json!({"type":"inputs","inputs":{"tone":"dry"}})),
        ]
    );
}

#[test]
fn a_chat() {
    let list = [
        r#"{"event":"message","task_id":"k1","message_id":"m1","conversation_id":"cv-2","answer":""}"#,
        r#"{"event":"message","task_id":"k1","message_id":"m1","conversation_id":"cv-2","answer":"A "}"#,
        r#"{"event":"message","task_id":"k1","message_id":"m1","conversation_id":"cv-2","answer":"lamp"}"#,
        r#"{"event":"message_end","task_id":"k1","message_id":"m1","conversation_id":"cv-2","metadata":{"usage":{"prompt_tokens":9,"completion_tokens":3}}}"#,
    ];
    let call = stream(&CHAT, &list, Defects::RESPONSE_CUT);
    assert!(call.request.stream);
    assert!(call.defects.is_none());
    assert_eq!(call.first_chunk, Some(BootTime(1101)));
    assert_eq!(call.request.conversation_id, None);
    assert_eq!(call.response.conversation_id.as_deref(), Some("cv-2"));
    assert_eq!(parts(&call), [Part::Text("A lamp".into())]);
    assert_eq!(call.response.usage.output, Some(3));
    assert_eq!(call.response.messages[0].finish_reason, None);
    for cut in 0..list.len() {
        let call = stream(&CHAT, &list[..cut], Defects::RESPONSE_CUT);
        assert_eq!(call.response.usage.output, None);
        let ended = call.response.messages.first();
        let want = (cut > 0).then_some("error");
        assert_eq!(ended.and_then(|m| m.finish_reason.as_deref()), want);
    }
    let replaced = stream(
        &CHAT,
        &[
            list[1],
            r#"{"event":"message_replace","task_id":"k1","answer":"No."}"#,
            r#"{"event":"ping"}"#,
        ],
        Defects::NONE,
    );
    assert_eq!(parts(&replaced), [Part::Text("No.".into())]);
    assert_eq!(replaced.response.chunks, 2);
}

#[test]
fn an_agent() {
    let call = stream(
        &CHAT,
        &[
            r#"{"event":"agent_thought","id":"t1","task_id":"k1","message_id":"m1","position":1,"thought":"","tool":"","tool_input":"","observation":""}"#,
            r#"{"event":"agent_thought","id":"t1","task_id":"k1","message_id":"m1","position":1,"thought":"look","tool":"clock","tool_input":"{\"clock\":{\"tz\":\"UTC\"}}","observation":""}"#,
            r#"{"event":"agent_thought","id":"t1","task_id":"k1","message_id":"m1","position":1,"thought":"look","tool":"clock","tool_input":"{\"clock\":{\"tz\":\"UTC\"}}","observation":"noon"}"#,
            r#"{"event":"message_file","id":"f1","type":"image","belongs_to":"assistant","url":"https://h/i.png","conversation_id":"cv"}"#,
            r#"{"event":"agent_message","task_id":"k1","message_id":"m1","answer":"Noon"}"#,
            r#"{"event":"message_end","task_id":"k1","message_id":"m1","metadata":{}}"#,
        ],
        Defects::NONE,
    );
    assert_eq!(
        parts(&call),
        [
            Part::Other(
                json!({"type":"server_tool_call","id":"t1","name":"clock","server_tool_call":{"type":"clock","input":{"clock":{"tz":"UTC"}}}})
            ),
            Part::Other(
                json!({"type":"server_tool_call_response","id":"t1","server_tool_call_response":{"type":"clock","content":"noon"}})
            ),
            Part::Text("Noon".into()),
            Part::Uri {
                modality: "image",
                mime_type: None,
                uri: "https://h/i.png".to_owned(),
            },
        ]
    );
    assert_eq!(call.response.usage.input, None);
}

#[test]
fn workflows() {
    let list = |total: u32| {
        [
            r#"{"event":"workflow_started","task_id":"k1","workflow_run_id":"r1","data":{"id":"r1","workflow_id":"w1"}}"#.to_owned(),
            r#"{"event":"node_finished","task_id":"k1","workflow_run_id":"r1","data":{"node_type":"llm","status":"succeeded","outputs":{"text":"x","usage":{"prompt_tokens":5,"completion_tokens":2}}}}"#.to_owned(),
            r#"{"event":"node_finished","task_id":"k1","workflow_run_id":"r1","data":{"node_type":"llm","process_data":{"usage":{"prompt_tokens":4,"completion_tokens":1}},"outputs":{"text":"x"}}}"#.to_owned(),
            r#"{"event":"text_chunk","task_id":"k1","workflow_run_id":"r1","data":{"text":"The"}}"#.to_owned(),
            format!(r#"{{"event":"workflow_finished","task_id":"k1","workflow_run_id":"r1","data":{{"id":"r1","status":"succeeded","outputs":{{"text":"The sea"}},"error":null,"total_tokens":{total}}}}}"#),
        ]
    };
    for (total, usage) in [(12, (Some(9), Some(3))), (40, (None, None))] {
        let list = list(total);
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        let call = stream(&RUN, &list, Defects::NONE);
        assert_eq!(
            (call.operation, call.api, call.provider),
            (Operation::InvokeWorkflow, Api::DifyWorkflow, "dify")
        );
        assert_eq!(
            call.request.messages[0].parts,
            [Part::Other(
                json!({"type":"inputs","inputs":{"topic":"sea","depth":2}})
            )]
        );
        assert_eq!(call.response.id.as_deref(), Some("r1"));
        assert_eq!(parts(&call), [Part::Text("The sea".into())]);
        let told = call.response.usage;
        assert_eq!((told.input, told.output), usage);
        assert_eq!(call.first_chunk, Some(BootTime(1103)));
        assert_eq!(call.error, None);
        let cut = stream(&RUN, &list[..4], Defects::RESPONSE_CUT);
        assert_eq!(parts(&cut), [Part::Text("The".into())]);
        assert_eq!(cut.response.usage.input, None);
    }
    let plain = document(
        &post("/v1/workflows/w-2/run", "h", r#"{"inputs":{},"response_mode":"blocking","user":"u"}"#),
        200,
        r#"{"workflow_run_id":"r1","task_id":"k1","data":{"id":"r1","workflow_id":"w1","status":"failed","outputs":{"a":1,"b":"x"},"error":"node broke","total_tokens":0}}"#,
    )
    .unwrap();
    assert_eq!(
        parts(&plain),
        [Part::Other(
            json!({"type":"outputs","outputs":{"a":1,"b":"x"}})
        )]
    );
    let error = plain.error.unwrap();
    assert_eq!(error.kind, "workflow_failed");
    assert_eq!(error.message.as_deref(), Some("node broke"));
}

#[test]
fn failures() {
    let call = document(
        &CHAT,
        400,
        r#"{"code":"provider_quota_exceeded","message":"No","status":400}"#,
    );
    assert_eq!(call.unwrap().error.unwrap().kind, "provider_quota_exceeded");
    let call = stream(
        &CHAT,
        &[
            r#"{"event":"message","task_id":"k1","message_id":"m1","answer":"A"}"#,
            r#"{"event":"error","task_id":"k1","message_id":"m1","status":500,"code":"completion_request_error","message":"No"}"#,
        ],
        Defects::NONE,
    );
    let error = call.error.as_ref().unwrap();
    assert_eq!(error.kind, "completion_request_error");
    assert_eq!(error.message.as_deref(), Some("No"));
    assert_eq!(parts(&call), [Part::Text("A".into())]);
}

#[test]
fn no_calls() {
    for (method, path, body) in [
        ("POST", "/v1/chat-messages/k1/stop", r#"{"user":"u"}"#),
        ("POST", "/v1/workflows/tasks/k1/stop", r#"{"user":"u"}"#),
        ("POST", "/v1/chat-messages", r#"{"text":"hi"}"#),
        ("POST", "/v1/workflows/run", r#"{"job":1}"#),
        ("POST", "/tests/run", r#"{"inputs":{},"user":"u"}"#),
        ("GET", "/v1/workflows/run", ""),
        // What Dify hands to its plugins: the call to the provider leaves from one of them.
        (
            "POST",
            "/plugin/t1/dispatch/llm/invoke",
            r#"{"user_id":"u","data":{"provider":"p","model_type":"llm","model":"m","credentials":{"api_key":"k"},"prompt_messages":[{"role":"user","content":"Hi"}],"model_parameters":{},"stream":true}}"#,
        ),
        (
            "POST",
            "/plugin/t1/dispatch/text_embedding/invoke",
            r#"{"data":{"model":"e","credentials":{},"texts":["a"]}}"#,
        ),
        (
            "POST",
            "/plugin/t1/dispatch/rerank/invoke",
            r#"{"data":{"model":"r","credentials":{},"query":"q","docs":["a"]}}"#,
        ),
    ] {
        let asked = Asked {
            method,
            ..post(path, "h", body)
        };
        assert_eq!(document(&asked, 200, "{}"), None, "{path}");
    }
}

#[test]
fn answers_alone() {
    for (root, want) in [
        (
            json!({"event":"message","task_id":"k","conversation_id":"c","answer":"x"}),
            Some(Api::DifyChat),
        ),
        (
            json!({"event":"node_started","task_id":"k","workflow_run_id":"r","conversation_id":"c"}),
            Some(Api::DifyChat),
        ),
        (
            json!({"event":"text_chunk","task_id":"k","workflow_run_id":"r"}),
            Some(Api::DifyWorkflow),
        ),
        (json!({"event":"message"}), None),
        (json!({"event":"other","task_id":"k"}), None),
    ] {
        let root = root.as_object().unwrap();
        let found = Dify.by_answer(&Payload::Event(root));
        assert_eq!(found.map(|f| f.api), want, "{root:?}");
    }
}
