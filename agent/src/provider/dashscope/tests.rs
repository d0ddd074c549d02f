//! Requests and answers that come as one document.

use super::DashScope;
use crate::model::call::{Api, ModelCall, Operation, Part};
use crate::model::defect::Defects;
use crate::provider::shape::{Payload, Shape as _};
use crate::provider::testing::{Asked, Scene, document, events, post};
use serde_json::{Value, json};

const HOST: &str = "dashscope.aliyuncs.com";
const TEXT: &str = "/api/v1/services/aigc/text-generation/generation";
const MULTIMODAL: &str = "/api/v1/services/aigc/multimodal-generation/generation";

fn call(target: &str, asked: &Value, answer: &Value) -> ModelCall {
    let asked = asked.to_string();
    document(&post(target, HOST, &asked), 200, &answer.to_string()).unwrap()
}

#[test]
fn a_request_with_everything() {
    let asked = json!({"model":"q-1","input":{"messages":[
            {"role":"system","content":"Be brief"},
            {"role":"user","content":"Hi"},
            {"role":"assistant","content":"","tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"clock","arguments":"{\"tz\": \"UTC\"}"}}]},
            {"role":"tool","content":"noon","tool_call_id":"c1"}]},
        "parameters":{"result_format":"message","temperature":0.5,"top_p":0.8,"top_k":50,"max_tokens":9,"seed":7,
            "stop":["x"],"repetition_penalty":1.1,"presence_penalty":0.2,"n":2,
            "response_format":{"type":"json_object"},
            "tools":[{"type":"function","function":{"name":"clock","description":"tells it","parameters":{}}}]}});
    let answer = json!({"output":{"choices":[
            {"finish_reason":"tool_calls","index":0,"message":{"role":"assistant","content":"","reasoning_content":"hm",
                "tool_calls":[{"index":0,"id":"c9","type":"function","function":{"name":"clock","arguments":"{\"k\": 1}"}}]}},
            {"finish_reason":"stop","index":1,"message":{"role":"assistant","content":"Hello"}}]},
        "usage":{"input_tokens":90,"output_tokens":12,"total_tokens":102,"prompt_tokens_details":{"cached_tokens":3},
            "output_tokens_details":{"reasoning_tokens":5}},
        "request_id":"r-1"});
    let call = call(TEXT, &asked, &answer);
    assert_eq!(call.provider, "dashscope");
    assert_eq!(
        (call.operation, call.api),
        (Operation::Chat, Api::DashScope)
    );
    let r = &call.request;
    assert_eq!(r.model.as_deref(), Some("q-1"));
    assert_eq!(
        (r.temperature, r.top_p, r.top_k),
        (Some(0.5), Some(0.8), Some(50))
    );
    assert_eq!(
        (r.max_tokens, r.seed, r.choice_count),
        (Some(9), Some(7), Some(2))
    );
    assert_eq!(
        (r.repetition_penalty, r.presence_penalty),
        (Some(1.1), Some(0.2))
    );
    assert_eq!(r.stop_sequences.as_deref().unwrap(), ["x"]);
    assert_eq!(r.output_type, Some("json"));
    assert_eq!(r.tools[0].name.as_deref(), Some("clock"));
    assert!(!r.stream);
    let roles: Vec<_> = r.messages.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    let tool = |id: &str, arguments| Part::ToolCall {
        id: Some(id.to_owned()),
        name: "clock".to_owned(),
        arguments: Some(arguments),
    };
    assert_eq!(r.messages[2].parts[0], tool("c1", json!({"tz":"UTC"})));
    let a = &call.response;
    assert_eq!((a.id.as_deref(), a.model.as_deref()), (Some("r-1"), None));
    assert_eq!(a.finish_reasons, ["tool_calls", "stop"]);
    let usage = a.usage;
    assert_eq!((usage.input, usage.output), (Some(90), Some(12)));
    assert_eq!((usage.cache_read, usage.reasoning), (Some(3), Some(5)));
    assert_eq!(
        a.messages[0].parts,
        [Part::Reasoning("hm".into()), tool("c9", json!({"k":1}))]
    );
    assert_eq!(a.messages[0].finish_reason.as_deref(), Some("tool_call"));
    assert_eq!(a.messages[1].parts, [Part::Text("Hello".into())]);
    assert!(call.error.is_none() && call.defects.is_none());
}

#[test]
fn what_is_said_stands_before_calls_of_tools() {
    let message = json!({"role":"assistant","content":"Let me look","tool_calls":[
        {"id":"c","type":"function","function":{"name":"clock","arguments":"{}"}}]});
    let asked = json!({"model":"q","messages":[message]});
    let answer = json!({"output":{"choices":[{"finish_reason":"tool_calls","message":message}]},"request_id":"r"});
    let call = call(TEXT, &asked, &answer);
    for message in [&call.request.messages[0], &call.response.messages[0]] {
        assert_eq!(message.parts[0], Part::Text("Let me look".into()));
        assert!(matches!(message.parts[1], Part::ToolCall { .. }));
    }
}

#[test]
fn prompts_and_texts() {
    let asked = json!({"model":"q-0","input":{"prompt":"And now?","history":[{"user":"Hi","bot":"Yes?"}]},"parameters":{"stop":[[1,2]]}});
    let answer = json!({"output":{"text":"Fine.","finish_reason":"stop"},"usage":{"prompt_tokens":3,"completion_tokens":2},
        "request_id":"r-1","code":"","message":"","status_code":200});
    let call = call(TEXT, &asked, &answer);
    let roles: Vec<_> = call
        .request
        .messages
        .iter()
        .map(|m| m.role.as_str())
        .collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert_eq!(call.request.stop_sequences, None);
    assert_eq!(
        call.response.messages[0].parts,
        [Part::Text("Fine.".into())]
    );
    assert_eq!(call.response.finish_reasons, ["stop"]);
    assert_eq!(call.response.usage.input, Some(3));
    assert!(call.error.is_none());
}

#[test]
fn several_modalities() {
    let asked = json!({"model":"q-vl","input":{"messages":[{"role":"user","content":[
        {"image":"https://h/a.png"},{"image":"data:image/jpeg;base64,AAAA"},{"video":["https://h/1.png","https://h/2.png"]},
        {"audio":"https://h/a.wav"},{"text":"What is it?"},{"box":[1,2],"x":null}]}]}});
    let answer = json!({"output":{"choices":[{"finish_reason":"stop","message":{"role":"assistant","reasoning_content":"",
            "content":[{"text":"A "},{"text":"cat"},{"image":"https://h/out.png"}]}}]},
        "usage":{"input_tokens":1300,"output_tokens":4,"image_tokens":1246,"input_tokens_details":{"text_tokens":54}},"request_id":"r"});
    let call = call(MULTIMODAL, &asked, &answer);
    assert_eq!(call.operation, Operation::Chat);
    let uri = |modality, uri: &str| Part::Uri {
        modality,
        mime_type: None,
        uri: uri.to_owned(),
    };
    assert_eq!(
        call.request.messages[0].parts,
        [
            uri("image", "https://h/a.png"),
            Part::Blob {
                modality: "image",
                mime_type: Some("image/jpeg".to_owned()),
                content: "AAAA".into(),
            },
            uri("image", "https://h/1.png"),
            uri("image", "https://h/2.png"),
            uri("audio", "https://h/a.wav"),
            Part::Text("What is it?".into()),
            Part::Other(json!({"box":[1,2],"type":"box"})),
        ]
    );
    assert_eq!(
        call.response.messages[0].parts,
        [
            Part::Text("A ".into()),
            Part::Text("cat".into()),
            uri("image", "https://h/out.png")
        ]
    );
    assert_eq!(
        call.response.usage.input_by_modality,
        [Some(54), Some(1246), None]
    );
    let spoken = json!({"output":{"finish_reason":"stop","audio":{"url":"https://h/s.wav","data":"","id":"a"}},"request_id":"r"});
    let asked = json!({"model":"q-tts","input":{"text":"Hello","voice":"v"}});
    let call = self::call(MULTIMODAL, &asked, &spoken);
    assert_eq!(call.operation, Operation::GenerateContent);
    assert_eq!(call.request.messages[0].parts, [Part::Text("Hello".into())]);
    let message = &call.response.messages[0];
    assert_eq!(message.parts, [uri("audio", "https://h/s.wav")]);
}

#[test]
fn embeddings_and_rerank() {
    let embed = "/api/v1/services/embeddings/text-embedding/text-embedding";
    let asked = json!({"model":"e-1","input":{"texts":["a secret","b"]},"parameters":{"dimension":3,"text_type":"query"}});
    let answer = json!({"output":{"embeddings":[{"text_index":0,"embedding":[0.1,0.2,0.3]},{"text_index":1,"embedding":[]}]},
        "usage":{"total_tokens":7},"request_id":"r"});
    let call = call(embed, &asked, &answer);
    assert_eq!(call.operation, Operation::Embeddings);
    assert_eq!(call.request.dimensions, Some(3));
    assert_eq!(call.response.embedding_dimensions, Some(3));
    assert_eq!(call.response.usage.input, Some(7));
    assert!(call.request.messages.is_empty() && call.response.messages.is_empty());
    let several = "/api/v1/services/embeddings/multimodal-embedding/multimodal-embedding";
    let asked = json!({"model":"e-2","input":{"contents":[{"image":"https://h/a.png"}]}});
    assert_eq!(
        self::call(several, &asked, &answer).operation,
        Operation::Embeddings
    );
    let asked = json!({"model":"g-1","input":{"query":"q","documents":["a","b","c"]},"parameters":{"top_n":2}});
    let answer = json!({"output":{"results":[{"index":2,"relevance_score":0.9},{"index":0,"relevance_score":0.1}]},
        "usage":{"total_tokens":68},"request_id":"r"});
    let call = self::call(
        "/api/v1/services/rerank/text-rerank/text-rerank",
        &asked,
        &answer,
    );
    assert_eq!(call.operation, Operation::Rerank);
    assert_eq!(
        (call.request.documents, call.request.top_n),
        (Some(3), Some(2))
    );
    assert_eq!(call.response.usage.input, Some(68));
    assert_eq!(call.response.id.as_deref(), Some("r"));
    assert!(call.response.finish_reasons.is_empty());
}

#[test]
fn applications() {
    let asked = json!({"input":{"prompt":"Hi","session_id":"s-1"},"parameters":{},"debug":{}});
    let answer = json!({"output":{"text":"Yes?","finish_reason":"stop","session_id":"s-1"},
        "usage":{"models":[{"model_id":"q-1","input_tokens":70,"output_tokens":9}]},"request_id":"r"});
    let call = call("/api/v1/apps/app-1/completion", &asked, &answer);
    assert_eq!(call.operation, Operation::InvokeAgent);
    assert_eq!(call.request.agent_id.as_deref(), Some("app-1"));
    assert_eq!(call.request.conversation_id.as_deref(), Some("s-1"));
    assert_eq!(call.response.model.as_deref(), Some("q-1"));
    assert_eq!(
        (call.response.usage.input, call.response.usage.output),
        (Some(70), Some(9))
    );
    assert_eq!(call.response.messages[0].parts, [Part::Text("Yes?".into())]);
    let two = json!({"output":{"text":"","session_id":"s-2"},"request_id":"r",
        "usage":{"models":[{"model_id":"a","input_tokens":1,"output_tokens":2},{"model_id":"b","input_tokens":3}]}});
    let asked = json!({"input":{"prompt":"Hi"}});
    let call = self::call("/api/v1/apps/app-1/completion", &asked, &two);
    assert_eq!(
        (call.response.usage.input, call.response.usage.output),
        (Some(4), Some(2))
    );
    assert_eq!(call.response.model, None);
    assert_eq!(call.response.conversation_id.as_deref(), Some("s-2"));
}

#[test]
fn failures_under_any_status() {
    let asked = post(TEXT, HOST, r#"{"model":"q","input":{"prompt":"Hi"}}"#);
    for (status, body, kind, message) in [
        (
            400,
            r#"{"code":"InvalidParameter","message":"No","request_id":"r"}"#,
            "InvalidParameter",
            Some("No"),
        ),
        (
            200,
            r#"{"code":"Throttling.RateQuota","message":"No","request_id":"r"}"#,
            "Throttling.RateQuota",
            Some("No"),
        ),
        (
            200,
            r#"{"code":"InternalError","msg":"No","output":{},"request_id":"r"}"#,
            "InternalError",
            Some("No"),
        ),
        (
            429,
            r#"{"code":"Throttling","output":null}"#,
            "Throttling",
            None,
        ),
        (503, "<html>", "503", None),
        (500, "", "500", None),
        (401, r#"{"message":"No"}"#, "401", Some("No")),
    ] {
        let call = document(&asked, status, body).unwrap();
        assert_eq!(call.response.id.is_some(), body.contains("request_id"));
        let error = call.error.unwrap();
        assert_eq!(
            (error.kind.as_str(), error.message.as_deref()),
            (kind, message),
            "{body}"
        );
        assert!(call.response.messages.is_empty());
    }
}

#[test]
fn an_answer_cut_anywhere_invents_nothing() {
    let asked = post(TEXT, HOST, r#"{"model":"q","input":{"prompt":"Hi"}}"#);
    let answer = r#"{"output":{"choices":[{"finish_reason":"stop","message":{"role":"assistant","content":"Fine."}}]},"usage":{"input_tokens":30,"output_tokens":4},"request_id":"r-1"}"#;
    let run = |n: usize| {
        let mut scene = Scene::default();
        assert!(scene.ask(&asked));
        scene.head(200, &[]);
        scene.body(&answer[..n]);
        scene.end(Defects::RESPONSE_CUT).pop().unwrap()
    };
    let whole = run(answer.len());
    for n in 0..answer.len() {
        let (cut, all) = (run(n), &whole.response);
        assert!(cut.error.is_none(), "{n}");
        let cut = cut.response;
        assert!(cut.id.is_none() || cut.id == all.id);
        assert!(cut.usage.input.is_none() || cut.usage.input == all.usage.input);
        assert!(cut.usage.output.is_none() || cut.usage.output == all.usage.output);
        assert!(cut.finish_reasons.is_empty() || cut.finish_reasons == all.finish_reasons);
    }
}

#[test]
fn hosts() {
    const BODY: &str = r#"{"model":"q","messages":[{"role":"user","content":"Hi"}],"input":{"prompt":"Hi"},"prompt":"Hi","max_tokens":1}"#;
    for host in [
        "dashscope.aliyuncs.com",
        "dashscope-intl.aliyuncs.com",
        "dashscope-us.aliyuncs.com",
        "cn-hongkong.dashscope.aliyuncs.com",
        "vpc-cn-beijing.dashscope.aliyuncs.com",
        "dashscope-vpc.aliyuncs.com",
        "ws-1.cn-beijing.maas.aliyuncs.com",
    ] {
        for (target, api) in [
            (TEXT, Api::DashScope),
            ("/compatible-mode/v1/chat/completions", Api::ChatCompletions),
            ("/compatible-mode/v1/responses", Api::Responses),
            ("/compatible-mode/v1/completions", Api::Completions),
            ("/compatible-mode/v1/embeddings", Api::Embeddings),
            ("/apps/anthropic/v1/messages", Api::Messages),
        ] {
            let call = document(&post(target, host, BODY), 200, "{}").unwrap();
            assert_eq!(
                (call.provider, call.api),
                ("dashscope", api),
                "{host} {target}"
            );
            assert_eq!(call.server_address.as_deref(), Some(host));
        }
    }
    let call = document(&post(TEXT, "gateway.corp:8443", BODY), 200, "{}").unwrap();
    assert_eq!((call.provider, call.server_port), ("dashscope", Some(8443)));
}

/// Every path that makes something, and what the conventions call it.
#[test]
fn what_is_made() {
    const BODY: &str = r#"{"model":"w-1","input":{"prompt":"A wood"}}"#;
    for (path, makes) in [
        ("aigc/text2image/image-synthesis", Some("image")),
        ("aigc/image2image/image-synthesis", Some("image")),
        ("aigc/image-generation/generation", Some("image")),
        ("aigc/video-generation/video-synthesis", None),
        ("aigc/image2video/video-synthesis", None),
        ("aigc/video-generation/generation", None),
        ("audio/tts/customization", Some("speech")),
        ("audio/asr/transcription", None),
    ] {
        let target = format!("/api/v1/services/{path}");
        let call = document(&post(&target, HOST, BODY), 200, "{}").unwrap();
        assert_eq!(
            (call.operation, call.request.output_type),
            (Operation::GenerateContent, makes),
            "{path}"
        );
        assert_eq!(call.request.model.as_deref(), Some("w-1"));
    }
}

/// The library may encrypt what is said: what stands beside it is told, of the rest nothing.
#[test]
fn what_is_encrypted_is_not_read() {
    let asked = Asked {
        headers: &[("x-dashscope-sse", "enable")],
        ..post(
            TEXT,
            HOST,
            r#"{"model":"q-1","input":"c2VjcmV0","parameters":{"temperature":0.5,"incremental_output":true}}"#,
        )
    };
    let usage = r#""usage":{"input_tokens":9,"output_tokens":2},"request_id":"r-1""#;
    let answer = format!(r#"{{"output":"cmVk",{usage}}}"#);
    let plain = document(&asked, 200, &answer).unwrap();
    let streamed = events(&asked, &[("result", answer.as_str(), ""); 2], Defects::NONE);
    for call in [plain, streamed] {
        assert_eq!(call.request.model.as_deref(), Some("q-1"));
        assert_eq!(call.request.temperature, Some(0.5));
        assert_eq!(call.response.id.as_deref(), Some("r-1"));
        let usage = call.response.usage;
        assert_eq!((usage.input, usage.output), (Some(9), Some(2)));
        assert!(call.request.messages.is_empty(), "{call:?}");
        assert!(call.response.messages.is_empty(), "{call:?}");
        assert!(call.response.finish_reasons.is_empty());
        assert!(call.error.is_none() && call.defects.is_none(), "{call:?}");
    }
}

#[test]
fn what_is_no_call() {
    let get = |target| Asked {
        method: "GET",
        ..post(target, HOST, "")
    };
    for asked in [
        get("/api/v1/tasks"),
        get("/api/v1/tasks/17"),
        get("/api/v1/tasks/a-name-that-is-long-but-not-an-id"),
        post("/api/v1/apps/a/b/completion", HOST, "{}"),
        post("/api/v1/uploads", HOST, "{}"),
        get(TEXT),
    ] {
        assert!(!Scene::default().ask(&asked), "{asked:?}");
    }
    let own = post("/services/embeddings/new", "h", r#"{"model":"m"}"#);
    assert_eq!(document(&own, 200, "{}"), None);
    let other = post("/shop/apps/7/completion", "h", r#"{"done":true}"#);
    assert_eq!(document(&other, 200, "{}"), None);
}

#[test]
fn answers_alone() {
    let found = |text: &str| {
        let root = serde_json::from_str(text).unwrap();
        let streamed = DashScope.by_answer(&Payload::Event(&root));
        assert_eq!(streamed, DashScope.by_answer(&Payload::Document(&root)));
        streamed.map(|f| f.api)
    };
    let text = r#"{"output":{"text":"Hi","finish_reason":"null"},"usage":{},"request_id":"r"}"#;
    assert_eq!(found(text), Some(Api::DashScope));
    assert_eq!(found(r#"{"output":{"text":"Hi"},"request_id":"r"}"#), None);
    assert_eq!(
        found(r#"{"output":"Hi","usage":{},"request_id":"r"}"#),
        None
    );
}
