//! Exchanges as Ollama has them, and as those who imitate it do.

use super::Ollama;
use crate::model::call::{Api, ModelCall, Operation, Part};
use crate::model::defect::Defects;
use crate::model::time::BootTime;
use crate::provider::shape::{Payload, Shape as _};
use crate::provider::testing::{Asked, document, events, post};
use serde_json::json;

const HOST: &str = "localhost:11434";
const CHAT: Asked<'_> = post(
    "/api/chat",
    HOST,
    r#"{"model":"l-3","messages":[{"role":"user","content":"Hi"}]}"#,
);
const GENERATE: Asked<'_> = post(
    "/api/generate",
    HOST,
    r#"{"model":"l-3","prompt":"Hi","system":"Be brief","images":["AAAA"],"stream":false}"#,
);

fn lines(asked: &Asked<'_>, list: &[&str], defects: Defects) -> ModelCall {
    let list: Vec<_> = list.iter().map(|line| ("", *line, "")).collect();
    events(asked, &list, defects)
}

fn reasons(call: &ModelCall) -> (Vec<&str>, Option<&str>) {
    let told = call.response.finish_reasons.iter();
    let message = call.response.messages.first();
    (
        told.map(String::as_str).collect(),
        message.and_then(|m| m.finish_reason.as_deref()),
    )
}

#[test]
fn requests() {
    let asked = json!({
        "model":"l-3","stream":false,"keep_alive":"5m","think":"high",
        "format":{"type":"object"},
        "options":{"temperature":0.5,"top_p":0.9,"top_k":40,"num_predict":64,"seed":7,
            "stop":["x","y"],"repeat_penalty":1.1,"frequency_penalty":0.1,"presence_penalty":0.2},
        "tools":[{"type":"function","function":{"name":"clock","description":"tells it",
            "parameters":{"type":"object"}}}],
        "messages":[{"role":"system","content":"Be brief"},
            {"role":"user","content":"What is it?","images":["AAAA"]},
            {"role":"assistant","content":"","thinking":"hm",
                "tool_calls":[{"function":{"name":"clock","arguments":{"tz":"UTC"}}}]},
            {"role":"tool","tool_name":"clock","content":"noon"}]
    })
    .to_string();
    let answer = r#"{"model":"l-3","created_at":"t","message":{"role":"assistant","content":"Noon","thinking":"so"},
        "done":true,"done_reason":"stop","total_duration":9,"prompt_eval_count":12,"eval_count":5}"#;
    let call = document(&post("/api/chat", HOST, &asked), 200, answer).unwrap();
    let request = &call.request;
    assert_eq!(call.provider, "ollama");
    assert_eq!(
        (call.operation, call.api),
        (Operation::Chat, Api::OllamaChat)
    );
    assert_eq!(
        (call.server_address.as_deref(), call.server_port),
        (Some("localhost"), Some(11434))
    );
    assert!(!request.stream);
    assert_eq!(request.model.as_deref(), Some("l-3"));
    assert_eq!((request.temperature, request.top_p), (Some(0.5), Some(0.9)));
    assert_eq!((request.top_k, request.max_tokens), (Some(40), Some(64)));
    assert_eq!(
        (request.seed, request.repetition_penalty),
        (Some(7), Some(1.1))
    );
    assert_eq!(
        (request.frequency_penalty, request.presence_penalty),
        (Some(0.1), Some(0.2))
    );
    assert_eq!(request.stop_sequences.as_deref().unwrap(), ["x", "y"]);
    assert_eq!(request.reasoning_level.as_deref(), Some("high"));
    assert_eq!(request.output_type, Some("json"));
    assert_eq!(
        request.tools[0].definition,
        json!({"type":"function","name":"clock","description":"tells it","parameters":{"type":"object"}})
    );
    let parts: Vec<_> = request.messages.iter().flat_map(|m| &m.parts).collect();
    assert_eq!(
        parts,
        [
            &Part::Text("Be brief".into()),
            &Part::Text("What is it?".into()),
            &Part::Blob {
                modality: "image",
                mime_type: None,
                content: "AAAA".into(),
            },
            &Part::Reasoning("hm".into()),
            &Part::ToolCall {
                id: None,
                name: "clock".to_owned(),
                arguments: Some(json!({"tz":"UTC"})),
            },
            &Part::ToolCallResponse {
                id: None,
                response: json!("noon"),
            },
        ]
    );
    assert_eq!(request.messages[3].name.as_deref(), Some("clock"));
    let response = &call.response;
    assert_eq!(
        response.messages[0].parts,
        [Part::Reasoning("so".into()), Part::Text("Noon".into())]
    );
    assert_eq!(
        (response.usage.input, response.usage.output),
        (Some(12), Some(5))
    );
    assert_eq!(reasons(&call), (vec!["stop"], Some("stop")));
    assert!(call.defects.is_none());
}

#[test]
fn generation() {
    let call = document(
        &GENERATE,
        200,
        r#"{"model":"l-3","created_at":"t","response":"Ho","thinking":"hm","done":true,
            "done_reason":"length","context":[1,2],"eval_count":3}"#,
    )
    .unwrap();
    assert_eq!(call.operation, Operation::TextCompletion);
    assert_eq!(
        call.request.system_instructions,
        [Part::Text("Be brief".into())]
    );
    assert_eq!(call.request.messages[0].parts.len(), 2);
    assert_eq!(
        call.response.messages[0].parts,
        [Part::Reasoning("hm".into()), Part::Text("Ho".into())]
    );
    // A prompt that was in the cache as a whole is not counted.
    assert_eq!(call.response.usage.input, None);
    assert_eq!(reasons(&call), (vec!["length"], Some("length")));
}

#[test]
fn streams() {
    let list = [
        r#"{"model":"l-3","created_at":"t","message":{"role":"assistant","content":"","thinking":"h"},"done":false}"#,
        r#"{"model":"l-3","created_at":"t","message":{"role":"assistant","content":"","thinking":"m"},"done":false}"#,
        r#"{"model":"l-3","created_at":"t","message":{"role":"assistant","content":"H\u00e9"},"done":false}"#,
        r#"{"model":"l-3","created_at":"t","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"a","arguments":{"k":1}}}]},"done":false}"#,
        r#"{"model":"l-3","created_at":"t","message":{"role":"assistant","content":"y","tool_calls":[{"id":"c2","function":{"name":"b","arguments":{}}}]},"done":false}"#,
        r#"{"model":"l-3","created_at":"t","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":12,"eval_count":5}"#,
    ];
    let call = lines(&CHAT, &list, Defects::NONE);
    assert!(call.request.stream);
    assert_eq!(call.first_chunk, Some(BootTime(1100)));
    assert_eq!(call.response.chunks, 6);
    assert_eq!(call.response.model.as_deref(), Some("l-3"));
    assert_eq!(
        call.response.messages[0].parts,
        [
            Part::Reasoning("hm".into()),
            Part::Text("Héy".into()),
            Part::ToolCall {
                id: None,
                name: "a".to_owned(),
                arguments: Some(json!({"k":1})),
            },
            Part::ToolCall {
                id: Some("c2".to_owned()),
                name: "b".to_owned(),
                arguments: Some(json!({})),
            },
        ]
    );
    assert_eq!(reasons(&call), (vec!["stop"], Some("stop")));
    for cut in 0..list.len() {
        let call = lines(&CHAT, &list[..cut], Defects::RESPONSE_CUT);
        assert_eq!(call.response.usage.input, None, "{cut}");
        assert!(call.response.finish_reasons.is_empty(), "{cut}");
        let message = call.response.messages.first();
        let want = (cut > 0).then_some("error");
        assert_eq!(message.and_then(|m| m.finish_reason.as_deref()), want);
        let text = message.is_some_and(|m| m.parts.contains(&Part::Text("Héy".into())));
        assert_eq!(text, cut == 5, "{cut}");
    }
}

#[test]
fn streamed_generation() {
    let asked = post("/api/generate", HOST, r#"{"model":"l-3","prompt":"Hi"}"#);
    let call = lines(
        &asked,
        &[
            r#"{"model":"l-3","created_at":"t","response":"H","done":false}"#,
            r#"{"model":7,"created_at":"t","response":"o","done":false}"#,
            r#"{"model":"l-3","created_at":"t","response":"","done":true,"eval_count":2}"#,
        ],
        Defects::NONE,
    );
    let message = &call.response.messages[0];
    assert_eq!(message.parts, [Part::Text("Ho".into())]);
    // A server of old says no reason; that is no failure.
    assert_eq!(reasons(&call), (vec![], None));
    assert_eq!(call.response.usage.output, Some(2));
    assert_eq!(call.response.model.as_deref(), Some("l-3"));
}

#[test]
fn failures() {
    let call = document(&CHAT, 404, r#"{"error":"model 'l-3' not found"}"#).unwrap();
    let error = call.error.unwrap();
    assert_eq!(error.kind, "404");
    assert_eq!(error.message.as_deref(), Some("model 'l-3' not found"));
    let call = lines(
        &CHAT,
        &[
            r#"{"model":"l-3","created_at":"t","message":{"role":"assistant","content":"H"},"done":false}"#,
            r#"{"error":"runner ended"}"#,
        ],
        Defects::NONE,
    );
    let error = call.error.unwrap();
    assert_eq!(error.kind, "_OTHER");
    assert_eq!(error.message.as_deref(), Some("runner ended"));
    assert_eq!(call.response.messages[0].parts, [Part::Text("H".into())]);
    let call = document(&GENERATE, 200, r#"{"error":"no"}"#).unwrap();
    assert_eq!(call.error.unwrap().message.as_deref(), Some("no"));
    let call = lines(&CHAT, &["no json at all"], Defects::NONE);
    assert!(call.defects.has(Defects::EVENT_BROKEN));
}

#[test]
fn embeddings() {
    let asked = post(
        "/api/embed",
        HOST,
        r#"{"model":"e-1","input":["a","b"],"dimensions":3}"#,
    );
    for (answer, dimensions, input) in [
        (
            r#"{"model":"e-1","embeddings":[[0.1,2,3],[1,2,3]],"total_duration":1,"prompt_eval_count":4}"#,
            Some(3),
            Some(4),
        ),
        (r#"{"model":"e-1","embeddings":[]}"#, None, None),
        (
            r#"{"model":"e-1","embeddings":[[0.1,2,3],[1,2"#,
            Some(3),
            None,
        ),
        (r#"{"model":"e-1","embeddings":[[0.1,2"#, None, None),
    ] {
        let call = document(&asked, 200, answer).unwrap();
        assert_eq!(call.operation, Operation::Embeddings);
        assert_eq!(call.request.dimensions, Some(3));
        assert!(!call.request.stream);
        assert_eq!(call.response.embedding_dimensions, dimensions, "{answer}");
        assert_eq!(call.response.usage.input, input, "{answer}");
        assert_eq!(call.error, None, "{answer}");
    }
    let asked = post("/api/embeddings", HOST, r#"{"model":"e-1","prompt":"a"}"#);
    let call = document(&asked, 200, r#"{"embedding":[0.5,1]}"#).unwrap();
    assert_eq!(call.api, Api::OllamaEmbed);
    assert_eq!(call.response.embedding_dimensions, Some(2));
    // The same path is OpenAI's when the body is.
    let asked = post("/api/embeddings", HOST, r#"{"model":"e-1","input":"a"}"#);
    let answer = r#"{"object":"list","data":[{"embedding":[1]}],"usage":{"prompt_tokens":1}}"#;
    assert_eq!(document(&asked, 200, answer).unwrap().api, Api::Embeddings);
}

#[test]
fn no_calls() {
    for (path, body) in [
        ("/api/chat", r#"{"id":"c","messages":[{"role":"user"}]}"#),
        ("/api/chat", r#"{"model":"l-3","messages":[]}"#),
        ("/api/generate", r#"{"model":"l-3","keep_alive":0}"#),
        ("/api/generate", r#"{"model":"l-3","prompt":""}"#),
        ("/api/show", r#"{"model":"l-3"}"#),
        ("/api/pull", r#"{"model":"l-3"}"#),
    ] {
        assert_eq!(
            document(&post(path, HOST, body), 200, "{}"),
            None,
            "{path} {body}"
        );
    }
}

#[test]
fn answers_alone() {
    for (root, want) in [
        (
            json!({"model":"m","created_at":"t","message":{"content":"x"},"done":false}),
            Some(Api::OllamaChat),
        ),
        (
            json!({"model":"m","created_at":"t","response":"x","done":true}),
            Some(Api::OllamaGenerate),
        ),
        (json!({"model":"m","response":"x"}), None),
        (json!({"error":"x"}), None),
    ] {
        let root = root.as_object().unwrap();
        let found = Ollama.by_answer(&Payload::Event(root));
        assert_eq!(found.map(|f| f.api), want, "{root:?}");
    }
}
