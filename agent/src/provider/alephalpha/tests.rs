//! Exchanges as Aleph Alpha has them.

use crate::model::call::{Api, ModelCall, Operation, Part};
use crate::model::defect::Defects;
use crate::model::time::BootTime;
use crate::provider::shape::{Payload, Shape as _};
use crate::provider::testing::{Asked, Event, document, events, post};
use serde_json::{Value, json};

const HOST: &str = "api.aleph-alpha.com";
const COMPLETE: Asked<'_> = post(
    "/complete",
    HOST,
    r#"{"model":"l-b","prompt":[{"type":"text","data":"Hi","controls":[]},{"type":"image","data":"aGk=","x":0},{"type":"token_ids","data":[1,2]}],"maximum_tokens":9,"temperature":0.5,"top_k":3,"top_p":0.9,"presence_penalty":0.1,"frequency_penalty":0.2,"n":2,"stop_sequences":["\n"]}"#,
);
const STREAM: Asked<'_> = post(
    "/complete?nice=true",
    HOST,
    r#"{"model":"l-b","prompt":"Hi","maximum_tokens":9,"stream":true}"#,
);

fn texts(call: &ModelCall) -> Vec<(&str, Option<&str>)> {
    let each = call.response.messages.iter().map(|m| {
        let text = match &m.parts[..] {
            [] => "",
            [Part::Text(text)] => text.kept.as_str(),
            other => panic!("{other:?}"),
        };
        (text, m.finish_reason.as_deref())
    });
    each.collect()
}

#[test]
fn a_completion() {
    let answer = r#"{"completions":[{"completion":" Lo","finish_reason":"end_of_text"},{"completion":" Ho","finish_reason":"maximum_tokens"}],"model_version":"2022-04","num_tokens_prompt_total":9,"num_tokens_generated":12}"#;
    let call = document(&COMPLETE, 200, answer).unwrap();
    assert_eq!(
        (call.operation, call.api, call.provider),
        (
            Operation::TextCompletion,
            Api::AlephAlphaComplete,
            "aleph_alpha"
        )
    );
    let asked = &call.request;
    assert_eq!(asked.model.as_deref(), Some("l-b"));
    assert_eq!(
        [
            asked.temperature,
            asked.top_p,
            asked.presence_penalty,
            asked.frequency_penalty
        ],
        [Some(0.5), Some(0.9), Some(0.1), Some(0.2)]
    );
    assert_eq!(
        [asked.max_tokens, asked.top_k, asked.choice_count],
        [Some(9), Some(3), Some(2)]
    );
    assert_eq!(asked.stop_sequences, Some(vec!["\n".to_owned()]));
    assert_eq!(
        asked.messages[0].parts,
        [
            Part::Text("Hi".into()),
            Part::Blob {
                modality: "image",
                mime_type: None,
                content: "aGk=".into(),
            },
        ]
    );
    assert_eq!(
        texts(&call),
        [(" Lo", Some("stop")), (" Ho", Some("length"))]
    );
    let told = &call.response;
    assert_eq!(told.finish_reasons, ["end_of_text", "maximum_tokens"]);
    assert_eq!((told.usage.input, told.usage.output), (Some(9), Some(12)));
    assert_eq!((&told.model, &told.id), (&None, &None));
}

const PIECES: [Event<'_>; 5] = [
    (
        "",
        r#"{"type":"stream_chunk","index":0,"completion":"Lo"}"#,
        "",
    ),
    (
        "",
        r#"{"type":"stream_chunk","index":1,"completion":"Ho"}"#,
        "",
    ),
    (
        "",
        r#"{"type":"stream_summary","index":0,"model_version":"v","finish_reason":"stop_sequence_reached"}"#,
        "",
    ),
    (
        "",
        r#"{"type":"stream_summary","index":1,"model_version":"v","finish_reason":"maximum_tokens"}"#,
        "",
    ),
    (
        "",
        r#"{"type":"completion_summary","num_tokens_prompt_total":2,"num_tokens_generated":4}"#,
        "",
    ),
];

#[test]
fn a_stream_however_far_it_comes() {
    for n in 1..=PIECES.len() {
        let call = events(&STREAM, &PIECES[..n], Defects::RESPONSE_CUT);
        assert!(call.request.stream);
        assert_eq!(call.request.messages[0].parts, [Part::Text("Hi".into())]);
        let first = if n > 2 { "stop" } else { "error" };
        let second = if n > 3 { "length" } else { "error" };
        let mut want = vec![("Lo", Some(first))];
        if n > 1 {
            want.push(("Ho", Some(second)));
        }
        assert_eq!(texts(&call), want, "{n}");
        let usage = (call.response.usage.input, call.response.usage.output);
        let all = n == PIECES.len();
        assert_eq!(
            usage,
            if all {
                (Some(2), Some(4))
            } else {
                (None, None)
            }
        );
        assert_eq!(call.first_chunk, Some(BootTime(1100)));
        assert_eq!(call.defects.has(Defects::RESPONSE_CUT), !all);
    }
    assert!(texts(&events(&STREAM, &[], Defects::NONE)).is_empty());
}

#[test]
fn failures() {
    for (status, body, kind) in [
        (
            400,
            r#"{"error":"Bad prompt","code":"PROMPT_TOO_LONG"}"#,
            "PROMPT_TOO_LONG",
        ),
        (503, r#"{"error":"busy","code":"QUEUE_FULL"}"#, "QUEUE_FULL"),
        (401, "", "401"),
    ] {
        let error = document(&COMPLETE, status, body).unwrap().error.unwrap();
        assert_eq!(error.kind, kind);
    }
    let broken = [PIECES[0], ("", r#"{"error":"x","code":"BROKEN"}"#, "")];
    let call = events(&STREAM, &broken, Defects::NONE);
    assert_eq!(call.error.as_ref().unwrap().kind, "BROKEN");
    assert_eq!(texts(&call), [("Lo", Some("error"))]);
}

#[test]
fn what_is_said_another_way() {
    for answer in [
        json!({}),
        json!({"completions":7}),
        json!({"completions":[7],"num_tokens_generated":-1}),
    ] {
        let call = document(&COMPLETE, 200, &answer.to_string()).unwrap();
        assert!(call.response.messages.is_empty() && call.error.is_none());
        assert_eq!(call.response.usage.output, None);
    }
    let odd = [
        ("", "{", ""),
        (
            "",
            r#"{"type":"stream_chunk","index":-1,"completion":"a"}"#,
            "",
        ),
        ("", "[DONE]", ""),
    ];
    let call = events(&STREAM, &odd, Defects::NONE);
    assert_eq!(texts(&call), [("a", Some("error"))]);
}

#[test]
fn choices_are_bounded() {
    let many: Vec<String> = (0..200)
        .map(|n| json!({"type":"stream_chunk","index":n,"completion":"a"}).to_string())
        .collect();
    let list: Vec<Event<'_>> = many.iter().map(|data| ("", data.as_str(), "")).collect();
    let call = events(&STREAM, &list, Defects::NONE);
    assert_eq!(texts(&call).len(), crate::provider::MAX_CHOICES);
    assert!(call.defects.has(Defects::TOO_MANY_PARTS));
}

#[test]
fn what_is_no_call() {
    for (path, body) in [
        ("/evaluate", COMPLETE.body),
        ("/complete", r#"{"model":"m","prompt":"Hi"}"#),
        ("/complete", r#"{"prompt":"Hi","maximum_tokens":1}"#),
        ("/complete", r#"{"model":"m","maximum_tokens":1}"#),
        ("/complete", r#"{"model":"m","prompt":["a"]}"#),
        ("/tasks/7/complete", r#"{"done":true}"#),
    ] {
        assert!(
            document(&post(path, HOST, body), 200, "{}").is_none(),
            "{body}"
        );
    }
    // Anthropic's of old.
    let body = r#"{"model":"c","prompt":"Hi","max_tokens_to_sample":9}"#;
    let call = document(&post("/v1/complete", "h", body), 200, "{}").unwrap();
    assert_eq!(call.api, Api::Complete);
}

#[test]
fn known_by_an_answer_alone() {
    let is = |answer: &Value, event: bool| {
        let Value::Object(root) = answer else {
            panic!()
        };
        let payload = if event {
            Payload::Event(root)
        } else {
            Payload::Document(root)
        };
        super::AlephAlpha.by_answer(&payload).is_some()
    };
    let whole = json!({"completions":[],"num_tokens_prompt_total":1});
    let piece = json!({"type":"stream_chunk","completion":"a"});
    assert!(is(&whole, false) && is(&piece, true));
    assert!(!is(&whole, true) && !is(&piece, false));
    assert!(!is(&json!({"completions":[]}), false));
}
