//! Tasks: several exchanges, one call.

use crate::model::call::{ModelCall, Operation, Part};
use crate::model::defect::Defects;
use crate::model::time::BootTime;
use crate::provider::TASK_PATIENCE;
use crate::provider::testing::{Asked, Scene, post};

const ID: &str = "0b0c0d0e-0000-4000-8000-000000000001";
const HOST: &str = "dashscope.aliyuncs.com";
const POLL: Asked<'_> = Asked {
    method: "GET",
    ..post(
        "/api/v1/tasks/0b0c0d0e-0000-4000-8000-000000000001",
        HOST,
        "",
    )
};
const CANCEL: Asked<'_> = post(
    "/api/v1/tasks/0b0c0d0e-0000-4000-8000-000000000001/cancel",
    HOST,
    "",
);
const CREATE: Asked<'_> = Asked {
    headers: &[("x-dashscope-async", "enable")],
    ..post(
        "/api/v1/services/aigc/text2image/image-synthesis",
        HOST,
        r#"{"model":"w-1","input":{"prompt":"A wood"},"parameters":{"n":2,"size":"1024*1024"}}"#,
    )
};

fn answer(status: &str, more: &str) -> String {
    format!(r#"{{"request_id":"r","output":{{"task_id":"{ID}","task_status":"{status}"{more}}}}}"#)
}

fn created(scene: &mut Scene) {
    assert!(
        scene
            .document(&CREATE, 200, &answer("PENDING", ""))
            .is_empty()
    );
}

fn only(calls: Vec<ModelCall>) -> ModelCall {
    let [call] = <[ModelCall; 1]>::try_from(calls).unwrap();
    call
}

#[test]
fn made_asked_after_and_done() {
    let mut scene = Scene::default();
    created(&mut scene);
    for status in ["PENDING", "RUNNING"] {
        assert!(scene.document(&POLL, 200, &answer(status, "")).is_empty());
    }
    // Asking may fail; the task goes on.
    assert!(scene.document(&POLL, 500, "").is_empty());
    let done = answer(
        "SUCCEEDED",
        r#","results":[{"url":"https://h/1.png"},{"code":"x","message":"y"},{"url":"https://h/2.png"}]"#,
    );
    let call = only(scene.document(&POLL, 200, &done));
    assert_eq!(call.operation, Operation::GenerateContent);
    assert_eq!(call.request.model.as_deref(), Some("w-1"));
    assert_eq!(call.request.output_type, Some("image"));
    assert_eq!(
        call.request.messages[0].parts,
        [Part::Text("A wood".into())]
    );
    assert_eq!((call.start, call.end), (BootTime(1000), BootTime(5900)));
    assert_eq!(call.polls, 4);
    assert_eq!(call.response.id.as_deref(), Some(ID));
    assert_eq!(call.response.finish_reasons, ["stop"]);
    let uri = |uri: &str| Part::Uri {
        modality: "image",
        mime_type: None,
        uri: uri.to_owned(),
    };
    assert_eq!(
        call.response.messages[0].parts,
        [uri("https://h/1.png"), uri("https://h/2.png")]
    );
    assert!(call.error.is_none());
    // It is over: who asks again learns the same, and that is another call.
    assert_eq!(only(scene.document(&POLL, 200, &done)).request.model, None);
    assert_eq!(
        (
            scene.calls.counters().calls,
            scene.calls.counters().not_calls
        ),
        (2, 0)
    );
}

#[test]
fn films_and_speech() {
    let mut scene = Scene::default();
    let create = post(
        "/api/v1/services/aigc/video-generation/video-synthesis",
        HOST,
        r#"{"model":"w-v","input":{"prompt":"A bird","img_url":"https://h/b.png"}}"#,
    );
    assert!(
        scene
            .document(&create, 200, &answer("PENDING", ""))
            .is_empty()
    );
    let done = answer("SUCCEEDED", r#","video_url":"https://h/b.mp4""#);
    let call = only(scene.document(&POLL, 200, &done));
    assert_eq!(call.request.messages[0].parts.len(), 2);
    let Part::Uri { modality, uri, .. } = &call.response.messages[0].parts[0] else {
        panic!()
    };
    assert_eq!((*modality, uri.as_str()), ("video", "https://h/b.mp4"));
}

#[test]
fn failed_refused_and_forgotten() {
    let mut scene = Scene::default();
    created(&mut scene);
    let failed = answer("FAILED", r#","code":"InternalError.Algo","message":"No""#);
    let call = only(scene.document(&POLL, 200, &failed));
    let error = call.error.unwrap();
    assert_eq!(
        (error.kind.as_str(), error.message.as_deref()),
        ("InternalError.Algo", Some("No"))
    );
    assert_eq!(call.response.finish_reasons, ["error"]);
    let refused = r#"{"code":"InvalidParameter","message":"No","request_id":"r"}"#;
    let call = only(scene.document(&CREATE, 400, refused));
    assert_eq!(call.error.unwrap().kind, "InvalidParameter");
    created(&mut scene);
    let call = only(scene.document(&POLL, 200, &answer("UNKNOWN", "")));
    assert!(call.error.is_none() && call.response.finish_reasons.is_empty());
}

#[test]
fn cancelled() {
    let mut scene = Scene::default();
    created(&mut scene);
    let refused = r#"{"code":"UnsupportedOperation","message":"No","request_id":"r"}"#;
    assert!(scene.document(&CANCEL, 400, refused).is_empty());
    let call = only(scene.document(&CANCEL, 200, r#"{"request_id":"r"}"#));
    assert_eq!(call.response.finish_reasons, ["cancelled"]);
    assert_eq!((call.polls, call.end), (0, BootTime(3900)));
    assert!(call.error.is_none());
    // Of a task that nobody saw made there is nothing to tell.
    assert!(
        scene
            .document(&CANCEL, 200, r#"{"request_id":"r"}"#)
            .is_empty()
    );
}

#[test]
fn a_task_that_was_made_elsewhere_is_told_from_the_first_time_it_is_asked_after() {
    let mut scene = Scene::default();
    assert!(
        scene
            .document(&POLL, 200, &answer("RUNNING", ""))
            .is_empty()
    );
    let call = only(scene.document(&POLL, 200, &answer("SUCCEEDED", "")));
    assert_eq!((call.polls, call.request.model), (2, None));
    assert_eq!((call.start, call.end), (BootTime(1000), BootTime(2900)));
    // Any application may have such a path.
    for body in [r#"{"id":1,"title":"mow the lawn"}"#, "", "[]"] {
        assert!(scene.document(&POLL, 200, body).is_empty());
    }
    assert!(scene.document(&POLL, 404, r#"{"error":"x"}"#).is_empty());
}

#[test]
fn nobody_asks_any_more() {
    let mut scene = Scene::default();
    created(&mut scene);
    scene.calls.tick(BootTime(TASK_PATIENCE));
    assert!(scene.drain().is_empty());
    scene.calls.tick(BootTime(TASK_PATIENCE + 2000));
    let call = only(scene.drain());
    assert_eq!((call.end, call.polls), (BootTime(1900), 0));
    assert!(call.response.finish_reasons.is_empty());
    for end in [
        |s: &mut Scene| s.calls.process_exit(42),
        |s: &mut Scene| s.calls.flush(),
    ] {
        created(&mut scene);
        scene.calls.process_exit(43);
        assert!(scene.drain().is_empty());
        end(&mut scene);
        assert_eq!(only(scene.drain()).response.id.as_deref(), Some(ID));
    }
}

#[test]
fn tasks_are_bounded() {
    let mut scene = Scene::default();
    for n in 0..=crate::provider::MAX_TASKS {
        let body = answer("PENDING", "").replace("000001", &format!("{n:06}"));
        let told = scene.document(&CREATE, 200, &body);
        assert_eq!(told.len(), usize::from(n == crate::provider::MAX_TASKS));
    }
    assert_eq!(scene.calls.counters().tasks_evicted, 1);
}

#[test]
fn a_cut_poll_does_not_end_it() {
    let mut scene = Scene::default();
    created(&mut scene);
    assert!(scene.ask(&POLL));
    scene.head(200, &[]);
    scene.body(&answer("SUCCEEDED", "")[..60]);
    assert!(scene.end(Defects::RESPONSE_CUT).is_empty());
    let call = only(scene.document(&POLL, 200, &answer("SUCCEEDED", "")));
    assert_eq!(call.polls, 2);
}

#[test]
fn a_task_of_the_same_id_takes_the_place_of_none_unsaid() {
    let mut scene = Scene::default();
    created(&mut scene);
    let first = only(scene.document(&CREATE, 200, &answer("PENDING", "")));
    assert_eq!((first.start, first.polls), (BootTime(1000), 0));
    let second = only(scene.document(&POLL, 200, &answer("SUCCEEDED", "")));
    assert_eq!((second.start, second.polls), (BootTime(2000), 1));
    assert_eq!(scene.calls.counters().tasks_evicted, 0);
}
