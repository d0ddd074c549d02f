//! Answers whose model is asked when they are read.

use super::*;

/// The frame of the generator in an answer.
const GIVES: u64 = 700;

/// A query and the synthesizer within it, with these ids, which return an answer that is to be read.
fn answered(scene: &mut Scene, [query, synthesizer]: [u128; 2]) {
    let given = json!({"query": "why"});
    scene
        .enters((query, None), "Thing.query", Some(50), ENGINE)
        .values(hook::ENTERS, query, given.clone(), true)
        .enters(
            (synthesizer, Some(query)),
            "Thing.synthesize",
            Some(51),
            ENGINE,
        )
        .values(hook::ENTERS, synthesizer, given, true);
    scene.generator = Some(GIVES);
    scene
        .exits(synthesizer, "StreamingResponse")
        .exits(query, "StreamingResponse");
    scene.generator = None;
}

/// A model is asked, and streams what it says.
fn asked(scene: &mut Scene, model: u128, says: &str) {
    scene
        .enters((model, None), "Thing.stream_chat", Some(52), MODEL)
        .event(Some(model), "LLMChatStartEvent", "")
        .exits(model, "generator");
    scene.caller.flags = GENERATOR;
    let answer = json!({"message": {"role": "assistant", "content": says}});
    scene
        .values(hook::EXITS, model, answer, true)
        .event(Some(model), "LLMChatEndEvent", "");
    scene.caller.flags = 0;
}

#[test]
fn what_a_model_says_that_is_asked_by_who_reads_is_what_was_given() {
    let [query, synthesizer, model] = QUERY;
    let mut scene = Scene::new();
    answered(&mut scene, [query, synthesizer]);
    scene.gives(&[
        "1 in -: Chain Thing.query Thread",
        "2 in 1: Chain Thing.synthesize Thread",
        "2 left",
        "1 left",
    ]);
    // Somebody else's.
    asked(&mut scene, 9 << 16, "else");
    scene.gives(&[
        "3 in -: Chat Thing.stream_chat Thread",
        "3 streams",
        "3 gave \"else\"",
        "3 over at 8",
    ]);
    scene.generator = Some(GIVES);
    asked(&mut scene, model, "because");
    scene
        .gives(&[
            "4 in -: Chat Thing.stream_chat Thread",
            "4 streams",
            "4 gave \"because\"",
            "4 over at 12",
            "2 gave \"because\"",
            "2 over at 3",
            "1 gave \"because\"",
            "1 over at 4",
        ])
        .is_over();
    assert!(scene.spans.is_settled());
}

#[test]
fn what_no_stream_says_or_another_generator_is_not_what_was_given() {
    let [query, synthesizer, model] = QUERY;
    // It answers at once: the generator asks it on the way.
    let mut scene = Scene::new();
    answered(&mut scene, [query, synthesizer]);
    scene.told.clear();
    scene.generator = Some(GIVES);
    let answer = json!({"message": {"role": "assistant", "content": "because"}});
    scene
        .enters((model, None), "Thing.chat", Some(52), MODEL)
        .values(hook::EXITS, model, answer, true)
        .exits(model, "ChatResponse")
        .gives(&[
            "3 in -: Chat Thing.chat Thread",
            "3 gave \"because\"",
            "3 over at 6",
            "2 gave null",
            "2 over at 3",
            "1 gave null",
            "1 over at 4",
        ])
        .is_over();
    // Nobody reads it, and its generator's place is another one's.
    let mut scene = Scene::new();
    answered(&mut scene, [query, synthesizer]);
    scene.told.clear();
    answered(&mut scene, [8 << 16, 9 << 16]);
    scene.gives(&[
        "3 in -: Chain Thing.query Thread",
        "4 in 3: Chain Thing.synthesize Thread",
        "4 left",
        "2 gave null",
        "2 over at 3",
        "1 gave null",
        "1 over at 4",
        "3 left",
    ]);
    scene
        .tick(streamed::PATIENCE + 10)
        .gives(&["4 gave null", "4 over at 7", "3 gave null", "3 over at 8"])
        .is_over();
    assert!(scene.spans.is_settled());
}
