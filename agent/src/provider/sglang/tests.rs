//! Exchanges as SGLang has them.

use crate::model::call::{Api, ModelCall, Operation, Part};
use crate::model::defect::Defects;
use crate::provider::testing::{Asked, document, events, post};
use serde_json::json;

const HOST: &str = "localhost:30000";
const ASKED: Asked<'_> = post(
    "/generate",
    HOST,
    r#"{"text":"Say red","stream":true,"sampling_params":{"max_new_tokens":8}}"#,
);

fn texts(call: &ModelCall) -> Vec<String> {
    let parts = call.response.messages.iter().flat_map(|m| &m.parts);
    parts
        .map(|part| match part {
            Part::Text(text) => text.kept.clone(),
            other => format!("{other:?}"),
        })
        .collect()
}

fn event(text: &str, made: i64, reason: &serde_json::Value) -> String {
    json!({"text":text,"meta_info":{"id":"r7","finish_reason":reason,"prompt_tokens":6,
        "completion_tokens":made,"cached_tokens":2}})
    .to_string()
}

fn stream(list: &[String], defects: Defects) -> ModelCall {
    let mut list: Vec<_> = list.iter().map(|data| ("", data.as_str(), "")).collect();
    if defects.is_none() {
        list.push(("", "[DONE]", ""));
    }
    events(&ASKED, &list, defects)
}

#[test]
fn a_request_and_its_answer() {
    let asked = json!({"text":"Say red","rid":"r7","sampling_params":{"max_new_tokens":8,
        "temperature":0.5,"top_p":0.9,"top_k":40,"n":1,"stop":["x"],"repetition_penalty":1.1,
        "json_schema":"{}"}})
    .to_string();
    let answer = json!({"text":"Red fox","meta_info":{"id":"r7",
        "finish_reason":{"type":"stop","matched":2},"prompt_tokens":6,"completion_tokens":2,
        "cached_tokens":1,"e2e_latency":0.31}})
    .to_string();
    let call = document(&post("/generate", HOST, &asked), 200, &answer).unwrap();
    assert_eq!(
        (call.operation, call.api, call.provider),
        (Operation::TextCompletion, Api::SglangGenerate, "sglang")
    );
    let request = &call.request;
    assert_eq!(request.messages[0].parts, [Part::Text("Say red".into())]);
    assert_eq!(
        (request.max_tokens, request.temperature, request.top_k),
        (Some(8), Some(0.5), Some(40))
    );
    assert_eq!((request.stream, request.output_type), (false, Some("json")));
    assert_eq!(request.stop_sequences, Some(vec!["x".to_owned()]));
    let response = &call.response;
    assert_eq!(response.id.as_deref(), Some("r7"));
    assert_eq!(texts(&call), ["Red fox"]);
    assert_eq!(response.finish_reasons, ["stop"]);
    let usage = response.usage;
    assert_eq!(
        (usage.input, usage.output, usage.cache_read),
        (Some(6), Some(2), Some(1))
    );
    assert!(call.defects.is_none() && call.error.is_none());
}

#[test]
fn several_prompts() {
    let asked = json!({"text":["a","b"],"sampling_params":{"max_new_tokens":8}}).to_string();
    let one = |text: &str, id: &str| {
        json!({"text":text,"meta_info":{"id":id,"finish_reason":{"type":"length","length":8},
            "prompt_tokens":3,"completion_tokens":8}})
    };
    let answer = json!([one("A", "r1"), one("B", "r2")]).to_string();
    let call = document(&post("/generate", HOST, &asked), 200, &answer).unwrap();
    assert_eq!(call.request.messages.len(), 2);
    assert_eq!(texts(&call), ["A", "B"]);
    assert_eq!(call.response.finish_reasons, ["length", "length"]);
    let usage = call.response.usage;
    assert_eq!((usage.input, usage.output), (Some(6), Some(16)));
    assert!(call.defects.is_none());
}

/// Texts that grow, and texts that are new each time.
#[test]
fn streams() {
    let stop = json!({"type":"stop","matched":2});
    let none = json!(null);
    let whole = ["Red", "Red fox", "Red fox", "Red fox runs"];
    let pieces = ["Red", " fox", "", " runs"];
    for list in [whole, pieces] {
        let data: Vec<_> = list
            .iter()
            .zip(1..)
            .map(|(text, n)| event(text, n, if n == 4 { &stop } else { &none }))
            .collect();
        let call = stream(&data, Defects::NONE);
        assert_eq!(texts(&call), ["Red fox runs"], "{list:?}");
        let usage = call.response.usage;
        assert_eq!((usage.input, usage.output), (Some(6), Some(4)));
        assert_eq!(call.response.finish_reasons, ["stop"]);
        assert_eq!(call.response.id.as_deref(), Some("r7"));
        assert!(call.first_chunk.is_some() && call.defects.is_none());
        // Cut after each event: what was said so far, and nothing more.
        for end in 1..list.len() {
            let cut = stream(&data[..end], Defects::RESPONSE_CUT);
            assert!(cut.response.finish_reasons.is_empty());
            assert_eq!(cut.response.usage.output, Some(end as i64));
            assert!("Red fox runs".starts_with(texts(&cut)[0].as_str()));
            assert_eq!(
                cut.response.messages[0].finish_reason.as_deref(),
                Some("error")
            );
        }
    }
    // Neither: it says so.
    let mut texts: Vec<String> = (1..9).map(|n| "abcdefgh"[..n].to_owned()).collect();
    texts.push("x".to_owned());
    let data: Vec<_> = texts.iter().map(|text| event(text, 1, &none)).collect();
    let call = stream(&data, Defects::NONE);
    assert!(call.defects.has(Defects::EVENT_BROKEN));
}

/// Two answers to each of two prompts: a prompt's tokens count once.
#[test]
fn several_answers_to_a_prompt() {
    let asked = json!({"text":["a","b"],"stream":true,"sampling_params":{"n":2}}).to_string();
    let ask = |stream: bool| asked.replace("true", if stream { "true" } else { "false" });
    let one = |index: usize, text: &str| {
        json!({"index":index,"text":text,"meta_info":{"id":format!("r{index}"),
            "finish_reason":{"type":"stop"},"prompt_tokens":if index < 2 { 3 } else { 5 },
            "completion_tokens":10 + index,"cached_tokens":1}})
    };
    let all: Vec<_> = (0..4).map(|n| one(n, ["A", "B", "C", "D"][n])).collect();
    let whole = json!(all).to_string();
    let plain = document(&post("/generate", HOST, &ask(false)), 200, &whole).unwrap();
    let mut data: Vec<_> = all.iter().map(ToString::to_string).collect();
    // They come as they are made.
    data.swap(0, 3);
    let mut list: Vec<_> = data.iter().map(|data| ("", data.as_str(), "")).collect();
    list.push(("", "[DONE]", ""));
    let streamed = events(&post("/generate", HOST, &ask(true)), &list, Defects::NONE);
    for call in [plain, streamed] {
        assert_eq!(texts(&call), ["A", "B", "C", "D"]);
        assert_eq!(call.request.choice_count, Some(2));
        let usage = call.response.usage;
        assert_eq!(
            (usage.input, usage.output, usage.cache_read),
            (Some(8), Some(46), Some(2))
        );
        assert!(call.defects.is_none());
    }
}

/// What is not as it should be loses a member, not the event.
#[test]
fn odd_events() {
    let odd = [
        r#"{"text":"Red","index":"0","meta_info":{"id":7,"finish_reason":"length","prompt_tokens":-1,"completion_tokens":2.0}}"#,
        r#"{"text":7,"meta_info":{"id":"r7","finish_reason":[],"completion_tokens":3}}"#,
        r#"{"text":"Red"}"#,
    ]
    .map(str::to_owned);
    let call = stream(&odd[..1], Defects::NONE);
    assert_eq!(
        (texts(&call), call.response.id.as_deref()),
        (vec!["Red".to_owned()], None)
    );
    assert_eq!(call.response.finish_reasons, ["length"]);
    let usage = call.response.usage;
    assert_eq!((usage.input, usage.output), (None, Some(2)));
    let call = stream(&odd[..2], Defects::NONE);
    assert_eq!(
        (call.response.id.as_deref(), call.response.usage.output),
        (Some("r7"), Some(3))
    );
    assert!(call.defects.is_none());
    assert!(
        stream(&odd, Defects::NONE)
            .defects
            .has(Defects::EVENT_BROKEN)
    );
}

/// What was cut is told so, unless it said before how it ended.
#[test]
fn answers_in_part() {
    let ends = |answer: &str| {
        let call = document(&ASKED, 200, answer).unwrap();
        let messages = call.response.messages.iter();
        let ends: Vec<_> = messages.map(|m| m.finish_reason.clone()).collect();
        (texts(&call).join("|"), ends)
    };
    let error = || Some("error".to_owned());
    let stop = || Some("stop".to_owned());
    for (answer, want) in [
        (r#"{"text":"Red"#, ("Red", vec![error()])),
        (
            r#"{"text":"Red","meta_info":{"id":"r7","#,
            ("Red", vec![error()]),
        ),
        (
            r#"{"meta_info":{"finish_reason":"stop"},"text":"Red"#,
            ("Red", vec![stop()]),
        ),
        (
            r#"{"text":"Red","meta_info":{"id":"r7"}}"#,
            ("Red", vec![None]),
        ),
        (
            r#"[{"text":"Red","meta_info":{"finish_reason":"stop"}},{"text":"fo"#,
            ("Red|fo", vec![stop(), error()]),
        ),
        ("[]", ("", vec![])),
    ] {
        assert_eq!(ends(answer), (want.0.to_owned(), want.1), "{answer}");
    }
    // A stream that came to its end said all that it had to.
    let call = stream(&[event("Red", 1, &json!(null))], Defects::NONE);
    assert_eq!(call.response.messages[0].finish_reason, None);
    let gone = r#"{"error":{"message":"gone"}}"#.to_owned();
    let call = stream(&[event("Red", 1, &json!(null)), gone], Defects::NONE);
    assert_eq!(call.response.messages[0].finish_reason, error());
    // Where only the answer can tell, none does not.
    for (answer, told) in [
        ("[]", false),
        (r#"[{"text":"Red"#, false),
        (r#"[{"text":"Red","meta_info":{}},{"text":"#, true),
    ] {
        let asked = post("/generate", HOST, r#"{"x":1,"y":"#);
        assert_eq!(document(&asked, 200, answer).is_some(), told, "{answer}");
    }
}

/// How many answers each prompt has may stand in what is missing of a request: what was read is
/// then told of a single answer only.
#[test]
fn requests_in_part() {
    let asked = post(
        "/generate",
        HOST,
        r#"{"text":"a","sampling_params":{"max_new_tokens":8,"#,
    );
    let one = json!({"text":"A","meta_info":{"finish_reason":"stop","prompt_tokens":3,
        "completion_tokens":8}});
    for (answer, want) in [
        (json!([one]), (Some(3), Some(8))),
        (json!([one, one]), (None, Some(16))),
    ] {
        let usage = document(&asked, 200, &answer.to_string())
            .unwrap()
            .response
            .usage;
        assert_eq!((usage.input, usage.output), want);
    }
}

#[test]
fn failures() {
    let abort = json!({"type":"abort","message":"gone","status_code":503});
    let call = stream(&[event("", 0, &abort)], Defects::NONE);
    let error = call.error.unwrap();
    assert_eq!(
        (error.kind.as_str(), error.message.as_deref()),
        ("abort", Some("gone"))
    );
    let refused = r#"{"error":{"message":"too long"}}"#;
    let call = document(&ASKED, 400, refused).unwrap();
    let error = call.error.unwrap();
    assert_eq!(
        (error.kind.as_str(), error.message.as_deref()),
        ("400", Some("too long"))
    );
}

#[test]
fn what_is_no_call() {
    for body in [
        r#"{"text":"x"}"#,
        r#"{"prompt":"x"}"#,
        r#"{"sampling_params":{}}"#,
        // Anybody's captions.
        r#"{"text":"x","image_data":"y"}"#,
    ] {
        assert!(
            document(&post("/generate", HOST, body), 200, "{}").is_none(),
            "{body}"
        );
    }
}
