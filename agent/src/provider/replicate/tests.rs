//! Exchanges as Replicate has them.

use crate::model::call::{Api, ModelCall, Operation, Part};
use crate::model::defect::Defects;
use crate::model::time::BootTime;
use crate::provider::testing::{Asked, Event, Scene, document, post};
use serde_json::{Value, json};

const HOST: &str = "api.replicate.com";
const ID: &str = "vdcbnszbj37qhlzgoergjj5dsa";
const STREAM_PATH: &str = "/v1/streams/56o77r2wpzc3krgyiy444okt3";
const CREATE: Asked<'_> = post(
    "/v1/predictions",
    HOST,
    r#"{"version":"ac732df8","input":{"prompt":"robots","image":"https://h/i.png?x=1","mask":"data:image/png;base64,aGk=","seed":7,"webhook":"x"}}"#,
);
const MODEL: Asked<'_> = post(
    "/v1/models/meta/llama-2/predictions",
    HOST,
    r#"{"input":{"prompt":"Hi","system_prompt":"Be brief","max_new_tokens":9,"temperature":0.5,"top_p":0.9,"top_k":3,"repetition_penalty":1.1,"stop_sequences":"a,b"},"stream":true}"#,
);
const POLL: Asked<'_> = Asked {
    method: "GET",
    ..post("/v1/predictions/vdcbnszbj37qhlzgoergjj5dsa", HOST, "")
};
const CANCEL: Asked<'_> = post(
    "/v1/predictions/vdcbnszbj37qhlzgoergjj5dsa/cancel",
    HOST,
    "",
);
const STREAM: Asked<'_> = Asked {
    method: "GET",
    headers: &[("accept", "text/event-stream")],
    ..post(STREAM_PATH, "streaming-api.svc.us.c.replicate.net", "")
};

fn state(status: &str, more: &Value) -> String {
    let mut whole = json!({
        "id":ID,"model":"own/er","version":"ac732df8","status":status,"error":null,"logs":"",
        "input":{"prompt":"robots"},
        "urls":{"get":format!("https://{HOST}/v1/predictions/{ID}"),
            "stream":format!("https://streaming-api.svc.us.c.replicate.net{STREAM_PATH}")}
    });
    let more = more.as_object().unwrap().clone();
    whole.as_object_mut().unwrap().extend(more);
    whole.to_string()
}

fn only(calls: Vec<ModelCall>) -> ModelCall {
    let [call] = <[ModelCall; 1]>::try_from(calls).unwrap();
    call
}

fn created(scene: &mut Scene, asked: &Asked<'_>) {
    let told = scene.document(asked, 201, &state("starting", &json!({})));
    assert!(told.is_empty());
}

#[test]
fn made_asked_after_and_done() {
    let mut scene = Scene::default();
    created(&mut scene, &CREATE);
    let under_way = state("processing", &json!({"logs":"6%"}));
    assert!(scene.document(&POLL, 200, &under_way).is_empty());
    let output = json!({"output":["https://h/0.png","https://h/1.PNG"]});
    let call = only(scene.document(&POLL, 200, &state("succeeded", &output)));
    assert_eq!(
        (call.operation, call.api, call.provider),
        (
            Operation::GenerateContent,
            Api::ReplicatePrediction,
            "replicate"
        )
    );
    assert_eq!(call.request.model.as_deref(), Some("ac732df8"));
    assert_eq!(call.request.seed, Some(7));
    let uri = |uri: &str| Part::Uri {
        modality: "image",
        mime_type: None,
        uri: uri.to_owned(),
    };
    let asked = &call.request.messages[0].parts;
    assert_eq!(
        asked[..2],
        [Part::Text("robots".into()), uri("https://h/i.png?x=1")]
    );
    assert!(matches!(
        &asked[2],
        Part::Blob {
            modality: "image",
            ..
        }
    ));
    assert_eq!(asked.len(), 3);
    assert_eq!((call.start, call.end), (BootTime(1000), BootTime(3900)));
    assert_eq!(call.polls, 2);
    let told = &call.response;
    assert_eq!(told.id.as_deref(), Some(ID));
    assert_eq!(told.model.as_deref(), Some("own/er"));
    assert_eq!(told.finish_reasons, ["stop"]);
    assert_eq!(
        told.messages[0].parts,
        [uri("https://h/0.png"), uri("https://h/1.PNG")]
    );
    assert!(!call.request.stream && call.error.is_none());
}

#[test]
fn done_at_once() {
    for (output, part) in [
        (
            json!(["He", "llo", " ", "you"]),
            Part::Text("Hello you".into()),
        ),
        (json!("Hello you"), Part::Text("Hello you".into())),
        (
            json!({"a":1}),
            Part::Other(json!({"type":"output","output":[{"a":1}]})),
        ),
        (
            json!("https://h/a.mp3"),
            Part::Uri {
                modality: "audio",
                mime_type: None,
                uri: "https://h/a.mp3".to_owned(),
            },
        ),
    ] {
        let metrics = json!({"predict_time":1.5,"input_token_count":4,"output_token_count":3});
        let answer = state("succeeded", &json!({"output":output,"metrics":metrics}));
        let call = document(&MODEL, 200, &answer).unwrap();
        assert_eq!(call.response.messages[0].parts, [part]);
        let usage = call.response.usage;
        assert_eq!((usage.input, usage.output), (Some(4), Some(3)));
        let asked = &call.request;
        assert_eq!(asked.model.as_deref(), Some("meta/llama-2"));
        assert_eq!(asked.system_instructions, [Part::Text("Be brief".into())]);
        assert_eq!(
            [asked.temperature, asked.top_p, asked.repetition_penalty],
            [Some(0.5), Some(0.9), Some(1.1)]
        );
        assert_eq!([asked.max_tokens, asked.top_k], [Some(9), Some(3)]);
        let stops = ["a".to_owned(), "b".to_owned()];
        assert_eq!(asked.stop_sequences.as_deref(), Some(&stops[..]));
        assert_eq!(call.polls, 0);
    }
}

#[test]
fn other_paths_of_the_same() {
    let answer = state("succeeded", &json!({"output":"a"}));
    for (path, model) in [
        ("/v1/deployments/me/mine/predictions", Some("me/mine")),
        ("/gateway/v1/models/o/m/predictions", Some("o/m")),
        ("/v1/models/o/m/versions/v/predictions", None),
        ("/v1/models/o/predictions", None),
        ("/predictions", None),
    ] {
        let asked = post(path, "h:1", r#"{"input":{"prompt":"a"}}"#);
        let call = document(&asked, 200, &answer);
        let told = call.as_ref().map(|c| c.request.model.as_deref());
        assert_eq!(told, model.map(Some), "{path}");
    }
}

const PIECES: [Event<'_>; 5] = [
    ("", "", "hi"),
    ("output", "", ""),
    ("output", "Sure", ""),
    ("output", ", \nhere", ""),
    ("done", "{}", ""),
];

#[test]
fn read_as_a_stream() {
    let mut scene = Scene::default();
    created(&mut scene, &MODEL);
    // Another one's stream is not this one's.
    let other = Asked {
        target: "/v1/streams/other",
        ..STREAM
    };
    assert!(scene.ask(&other));
    scene.head(200, &[]);
    scene.events(&PIECES);
    assert!(scene.end(Defects::NONE).is_empty());
    assert!(scene.ask(&STREAM));
    scene.head(200, &[]);
    scene.events(&PIECES);
    let call = only(scene.end(Defects::RESPONSE_CUT));
    assert!(call.request.stream);
    assert_eq!(call.request.model.as_deref(), Some("meta/llama-2"));
    assert_eq!(
        call.response.messages[0].parts,
        [Part::Text("Sure, \nhere".into())]
    );
    assert_eq!(call.response.finish_reasons, ["stop"]);
    assert_eq!(call.response.id.as_deref(), Some(ID));
    assert_eq!(call.response.model.as_deref(), Some("own/er"));
    assert_eq!(
        (call.start, call.first_chunk),
        (BootTime(1000), Some(BootTime(3102)))
    );
    assert_eq!((call.end, call.polls), (BootTime(3104), 0));
    assert_eq!(call.response.chunks, 4);
    // After its end nobody reads.
    assert!(!call.defects.has(Defects::RESPONSE_CUT));
    scene.calls.flush();
    assert!(scene.drain().is_empty());
    assert_eq!(scene.calls.counters().not_calls, 1);
}

#[test]
fn a_stream_that_breaks_off_does_not_end_it() {
    for n in 0..PIECES.len() {
        let mut scene = Scene::default();
        created(&mut scene, &MODEL);
        assert!(scene.ask(&STREAM));
        scene.head(200, &[]);
        scene.events(&PIECES[..n]);
        assert!(scene.end(Defects::RESPONSE_CUT).is_empty(), "{n}");
        // What is known of it is told when nobody asks any more.
        scene.calls.flush();
        let call = only(scene.drain());
        let text = ["", "", "", "Sure", "Sure, \nhere"][n];
        let want: &[Part] = &[Part::Text(text.into())];
        let parts = call.response.messages.first().map(|m| &m.parts[..]);
        assert_eq!(parts, (!text.is_empty()).then_some(want), "{n}");
        assert!(call.response.finish_reasons.is_empty());
        assert_eq!(call.response.id.as_deref(), Some(ID));
    }
    // One that is refused says nothing of it.
    let mut scene = Scene::default();
    created(&mut scene, &MODEL);
    assert!(scene.document(&STREAM, 503, "").is_empty());
    let call = only(scene.document(&POLL, 200, &state("succeeded", &json!({"output":"a"}))));
    assert!(call.error.is_none());
    assert_eq!(call.response.messages[0].parts, [Part::Text("a".into())]);
}

#[test]
fn failed_and_cancelled() {
    let mut scene = Scene::default();
    created(&mut scene, &CREATE);
    let failed = state("failed", &json!({"error":"CUDA out of memory"}));
    let call = only(scene.document(&POLL, 200, &failed));
    let error = call.error.unwrap();
    assert_eq!(
        (error.kind.as_str(), error.message.as_deref()),
        ("prediction_failed", Some("CUDA out of memory"))
    );
    assert_eq!(call.response.finish_reasons, ["error"]);
    created(&mut scene, &CREATE);
    let call = only(scene.document(&CANCEL, 200, &state("canceled", &json!({}))));
    assert_eq!(call.response.finish_reasons, ["cancelled"]);
    for (done, error, reason) in [
        (r#"{"reason":"error"}"#, true, "error"),
        (r#"{"reason":"canceled"}"#, false, "cancelled"),
    ] {
        created(&mut scene, &MODEL);
        assert!(scene.ask(&STREAM));
        scene.head(200, &[]);
        scene.events(&[("done", done, "")]);
        let call = only(scene.end(Defects::NONE));
        assert_eq!(call.error.is_some(), error);
        assert_eq!(call.response.finish_reasons, [reason]);
    }
    created(&mut scene, &MODEL);
    assert!(scene.ask(&STREAM));
    scene.head(200, &[]);
    scene.events(&[("error", r#"{"detail":"No"}"#, ""), ("done", "{}", "")]);
    let call = only(scene.end(Defects::NONE));
    assert_eq!(call.error.unwrap().message.as_deref(), Some("No"));
    assert_eq!(call.response.finish_reasons, ["error"]);
    let refused = r#"{"title":"Invalid version","detail":"No","status":422}"#;
    let error = document(&CREATE, 422, refused).unwrap().error.unwrap();
    assert_eq!(
        (error.kind.as_str(), error.message.as_deref()),
        ("422", Some("No"))
    );
}

#[test]
fn what_is_no_call() {
    for body in [
        r#"{"version":"v"}"#,
        r#"{"input":{"prompt":"a"}}"#,
        r#"{"version":"v","input":"a"}"#,
        r#"{"instances":[{"a":1}]}"#,
    ] {
        let asked = Asked { body, ..CREATE };
        assert!(document(&asked, 200, "{}").is_none(), "{body}");
    }
    let get = |target| Asked {
        method: "GET",
        ..post(target, HOST, "")
    };
    for target in [
        "/v1/predictions",
        "/v1/predictions/short",
        "/v1/files/abc",
        STREAM_PATH,
    ] {
        let asked = get(target);
        assert!(!Scene::default().ask(&asked), "{target}");
    }
    // Any application may have such a path.
    for body in [r#"{"id":"x","status":"succeeded"}"#, "", "[]"] {
        assert!(document(&POLL, 200, body).is_none(), "{body}");
    }
}

#[test]
fn answers_said_another_way() {
    for answer in ["{}", r#"{"id":7}"#, r#"{"id":"a","urls":7,"output":7}"#] {
        let mut scene = Scene::default();
        scene.document(&CREATE, 201, answer);
        scene.calls.flush();
        assert!(scene.drain().len() <= 1);
    }
    let answer = state(
        "succeeded",
        &json!({"output":null,"metrics":{"input_token_count":-1}}),
    );
    let call = document(&CREATE, 201, &answer).unwrap();
    assert!(call.response.messages.is_empty());
    assert_eq!(call.response.usage.input, None);
}
