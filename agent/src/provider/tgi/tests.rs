//! Exchanges as Text Generation Inference has them.

use crate::model::call::{Api, ModelCall, Part};
use crate::model::defect::Defects;
use crate::provider::limits::MAX_CHOICES;
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

/// The text of each message, and how it ended.
fn said(call: &ModelCall) -> Vec<(&str, Option<&str>)> {
    let messages = call.response.messages.iter();
    messages
        .map(|message| {
            let text = match message.parts.first() {
                Some(Part::Text(text)) => text.kept.as_str(),
                _ => "",
            };
            (text, message.finish_reason.as_deref())
        })
        .collect()
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

/// A token without a text is no output yet.
#[test]
fn the_first_chunk() {
    let first = |list: &[String]| {
        let list: Vec<_> = list.iter().map(|data| ("", data.as_str(), "")).collect();
        events(&STREAMED, &list, Defects::NONE).first_chunk
    };
    let empty = [token("", false), token("", false)];
    assert_eq!(first(&empty), None);
    let red = [token("Red", false)];
    let second = [token("", false), token("Red", false)];
    assert!(first(&red).is_some() && first(&red) < first(&second));
}

/// Several answers to the one text, whose tokens each of them counts.
#[test]
fn several_answers() {
    let details = json!({"finish_reason":"length","generated_tokens":3,"prefill":[{"id":1}]});
    let one = |text: &str| json!({"generated_text":text,"details":details});
    let asked = post("/", HOST, ASKED);
    let answer = json!([one("A"), one("B")]).to_string();
    let call = document(&asked, 200, &answer).unwrap();
    assert_eq!(said(&call), [("A", Some("length")), ("B", Some("length"))]);
    assert_eq!(call.response.finish_reasons, ["length", "length"]);
    let usage = call.response.usage;
    assert_eq!((usage.input, usage.output), (Some(1), Some(6)));
    assert!(call.defects.is_none());
    let many = json!(vec![one("A"); MAX_CHOICES + 1]).to_string();
    let call = document(&asked, 200, &many).unwrap();
    assert_eq!(call.response.messages.len(), MAX_CHOICES);
    assert_eq!(call.defects, Defects::TOO_MANY_PARTS);
}

/// What was cut is told so, unless it said before how it ended; and what of the text there is.
#[test]
fn answers_in_part() {
    for (answer, want) in [
        (
            r#"{"generated_text":"Red fo"#,
            &[("Red fo", Some("error"))][..],
        ),
        (
            r#"{"generated_text":"Red fox","#,
            &[("Red fox", Some("error"))],
        ),
        (
            r#"{"details":{"finish_reason":"length"},"generated_text":"Red"#,
            &[("Red", Some("length"))],
        ),
        (r#"{"generated_text":"Red fox"}"#, &[("Red fox", None)]),
        (
            r#"[{"generated_text":"Red"},{"generated_text":"fo"#,
            &[("Red", None), ("fo", Some("error"))],
        ),
        ("[]", &[]),
    ] {
        let call = document(&post("/", HOST, ASKED), 200, answer).unwrap();
        assert_eq!(said(&call), want, "{answer}");
        let whole = answer.ends_with(['}', ']']);
        assert_eq!(call.defects.is_none(), whole, "{answer}");
    }
    // Where only the answer can tell, none does not.
    for (answer, told) in [("[]", false), (r#"[{"generated_text":"R"#, true)] {
        let asked = post("/", HOST, r#"{"parameters":{"x":1},"inputs":"Sa"#);
        let call = document(&asked, 200, answer);
        assert_eq!(call.is_some(), told, "{answer}");
        let Some(call) = call else { continue };
        assert_eq!(call.request.messages[0].parts, [Part::Text("Sa".into())]);
    }
}

#[test]
fn failures() {
    let failed = r#"{"error":"Request failed during generation","error_type":"generation"}"#;
    let call = events(&STREAMED, &[("", failed, "")], Defects::NONE);
    assert_eq!(call.error.unwrap().kind, "generation");
    let refused = r#"{"error":"Input validation error","error_type":"validation"}"#;
    let error = document(&STREAMED, 422, refused).unwrap().error.unwrap();
    assert_eq!(
        (error.kind.as_str(), error.message.as_deref()),
        ("validation", Some("Input validation error"))
    );
    // A kind that is none, from whoever answers.
    for kind in ["x".repeat(81), "a b".to_owned(), String::new()] {
        let failed = json!({"error":"No","error_type":kind}).to_string();
        let call = events(&STREAMED, &[("", &failed, "")], Defects::NONE);
        assert_eq!(call.error.unwrap().kind, "_OTHER");
        let call = document(&STREAMED, 422, &failed).unwrap();
        assert_eq!(call.error.unwrap().kind, "422");
    }
}

#[test]
fn what_is_no_call() {
    for (target, body) in [
        ("/generate", r#"{"inputs":"x"}"#),
        ("/generate", r#"{"inputs":"x","parameters":null}"#),
        ("/generate", r#"{"inputs":["x"],"parameters":{}}"#),
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

#[test]
fn what_is_a_call() {
    for (target, body) in [
        ("/generate", r#"{"inputs":"x","parameters":{}}"#),
        ("/generate", r#"{"inputs":"x","stream":false}"#),
        ("/generate_stream", r#"{"inputs":"x"}"#),
        ("/", r#"{"inputs":"x","stream":false}"#),
    ] {
        let call = document(&post(target, HOST, body), 200, r#"{"generated_text":"y"}"#);
        assert_eq!(call.map(|c| c.provider), Some("huggingface"), "{body}");
    }
}
