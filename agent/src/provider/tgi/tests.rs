//! Exchanges as Text Generation Inference has them.

use crate::model::call::{Api, ModelCall, Part};
use crate::model::defect::Defects;
use crate::provider::testing::{Asked, document, events, post};
use serde_json::json;

const HOST: &str = "localhost:8080";
const ASKED: &str = r#"{"inputs":"Say red","parameters":{"max_new_tokens":8,"temperature":0.5,"stop":["x"],"details":true}}"#;
const STREAMED: Asked<'_> = post("/generate_stream", HOST, ASKED);

fn text(call: &ModelCall) -> &str {
    match call.response.messages[0].parts.first() {
        Some(Part::Text(text)) => &text.kept,
        _ => "",
    }
}

fn token(text: &str, special: bool) -> String {
    json!({"index":1,"token":{"id":5,"text":text,"logprob":-0.1,"special":special},
        "generated_text":null,"details":null})
    .to_string()
}

#[test]
fn a_request_and_its_answer() {
    let answer = json!({"generated_text":"Red fox","details":{"finish_reason":"eos_token",
        "generated_tokens":3,"seed":null,"prefill":[{"id":1,"text":"Say"},{"id":2,"text":"red"}]}})
    .to_string();
    let call = document(&post("/generate", HOST, ASKED), 200, &answer).unwrap();
    assert_eq!((call.api, call.provider), (Api::TgiGenerate, "huggingface"));
    let request = &call.request;
    assert_eq!((request.max_tokens, request.stream), (Some(8), false));
    assert_eq!(request.messages[0].parts, [Part::Text("Say red".into())]);
    assert_eq!(text(&call), "Red fox");
    assert_eq!(call.response.finish_reasons, ["eos_token"]);
    assert_eq!(
        call.response.messages[0].finish_reason.as_deref(),
        Some("stop")
    );
    let usage = call.response.usage;
    assert_eq!((usage.input, usage.output), (Some(2), Some(3)));
    // Without details nothing is known of them.
    let call = document(
        &post("/generate", HOST, ASKED),
        200,
        r#"{"generated_text":"Red"}"#,
    );
    let call = call.unwrap();
    assert_eq!(call.response.usage.output, None);
    assert!(call.response.finish_reasons.is_empty() && call.error.is_none());
}

/// At `/` as Hugging Face's client asks: the body says whether it streams, and the answer is a list.
#[test]
fn at_the_root() {
    let asked = |stream: bool| {
        json!({"inputs":"Say red","stream":stream,"parameters":{"max_new_tokens":8,"details":true,
            "grammar":{"type":"json","value":{}},"seed":null}})
        .to_string()
    };
    let details = json!({"finish_reason":"length","generated_tokens":3,"prefill":[]});
    let answer = json!([{"generated_text":"Red fox","details":details}]).to_string();
    let call = document(&post("/", HOST, &asked(false)), 200, &answer).unwrap();
    assert_eq!((call.api, call.provider), (Api::TgiRoot, "huggingface"));
    assert_eq!((text(&call), call.request.stream), ("Red fox", false));
    assert_eq!(call.request.output_type, Some("json"));
    assert_eq!(call.response.finish_reasons, ["length"]);
    // An empty list of the prompt's tokens was not asked for.
    let usage = call.response.usage;
    assert_eq!((usage.input, usage.output), (None, Some(3)));
    assert!(call.defects.is_none());
    let last = json!({"token":{"id":2,"text":"</s>","logprob":-0.1,"special":true},
        "generated_text":"Red fox","details":null})
    .to_string();
    let all = [token("Red", false), token(" fox", false), last];
    let list: Vec<_> = all.iter().map(|data| ("", data.as_str(), "")).collect();
    let call = events(&post("/", HOST, &asked(true)), &list, Defects::NONE);
    assert_eq!((text(&call), call.request.stream), ("Red fox", true));
    // It is over, and nothing says why.
    assert!(call.response.finish_reasons.is_empty());
    assert_eq!(call.response.messages[0].finish_reason, None);
    let cut = document(
        &post("/", HOST, &asked(false)),
        200,
        r#"[{"generated_text":"R"#,
    )
    .unwrap();
    assert!(cut.defects.has(Defects::JSON_BROKEN));
}

#[test]
fn a_stream() {
    let last = json!({"index":3,"token":{"id":2,"text":"</s>","logprob":-0.1,"special":true},
        "generated_text":"Red fox","details":{"finish_reason":"length","generated_tokens":3,
        "input_length":6,"seed":1}})
    .to_string();
    let all = [token("Red", false), token(" fox", false), last];
    let list: Vec<_> = all.iter().map(|data| ("", data.as_str(), "")).collect();
    let call = events(&STREAMED, &list, Defects::NONE);
    assert_eq!((text(&call), call.request.stream), ("Red fox", true));
    assert_eq!(call.response.finish_reasons, ["length"]);
    let usage = call.response.usage;
    assert_eq!((usage.input, usage.output), (Some(6), Some(3)));
    assert!(call.first_chunk.is_some() && call.defects.is_none());
    for end in 1..3 {
        let cut = events(&STREAMED, &list[..end], Defects::RESPONSE_CUT);
        assert_eq!(text(&cut), ["Red", "Red fox"][end - 1]);
        assert_eq!(cut.response.usage.output, None);
        assert_eq!(
            cut.response.messages[0].finish_reason.as_deref(),
            Some("error")
        );
    }
}

#[test]
fn failures() {
    let failed = r#"{"error":"Request failed during generation","error_type":"generation"}"#;
    let call = events(&STREAMED, &[("", failed, "")], Defects::NONE);
    assert_eq!(call.error.unwrap().kind, "generation");
    let refused = r#"{"error":"Input validation error","error_type":"validation"}"#;
    let call = document(&STREAMED, 422, refused).unwrap();
    assert_eq!(
        call.error.unwrap().message.as_deref(),
        Some("Input validation error")
    );
}

#[test]
fn what_is_no_call() {
    for (target, body) in [
        ("/generate", r#"{"inputs":["x"]}"#),
        ("/generate", r#"{"prompt":"x"}"#),
        // Embeddings, classes, JSON-RPC.
        ("/", r#"{"inputs":"x"}"#),
        ("/", r#"{"inputs":"x","parameters":{"normalize":true}}"#),
        ("/", r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#),
    ] {
        assert!(
            document(&post(target, HOST, body), 200, "{}").is_none(),
            "{body}"
        );
    }
}
