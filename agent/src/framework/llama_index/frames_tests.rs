//! Models of versions in which they have events alone.

use super::*;

impl Scene {
    /// What a model is asked, or answers, as the function in this frame tells it.
    fn says(&mut self, frame: u64, asked: Option<Json>, answer: Option<Json>) -> &mut Self {
        let found = Snapshot {
            pid: PID,
            tid: self.tid,
            time: BootTime(self.now),
            subject: Subject::Span {
                hook: hook::EVENT,
                id: frame,
            },
            context: None,
            values: vec![asked, answer],
        };
        self.spans.values(&found, true);
        self
    }
}

/// An answer to a chat.
fn answer(text: &str) -> Json {
    json!({"message": {"role": "assistant", "content": text}})
}

#[test]
fn models_with_events_alone_are_known_by_their_frames() {
    let mut scene = Scene::new();
    scene
        .old(9, "LLMChatStartEvent", 100, 0, 0)
        .old(9, "LLMCompletionStartEvent", 200, 100, 0)
        .old(9, "LLMCompletionEndEvent", 200, 100, 0)
        .old(9, "LLMChatEndEvent", 100, 0, 0)
        .gives(&["1 in -: Chat ? Thread", "1 streams", "1 over at 4"])
        .is_over();
    // Two at a time, which name the same span; one fails.
    scene
        .old(9, "LLMChatStartEvent", 100, 0, COROUTINE)
        .old(9, "LLMChatStartEvent", 300, 0, COROUTINE)
        .old(9, "LLMChatEndEvent", 300, 0, COROUTINE)
        .raised(200, "Other")
        .raised(100, "pkg.Odd")
        .gives(&[
            "2 in -: Chat ? Context",
            "2 streams",
            "3 in -: Chat ? Context",
            "3 streams",
            "3 over at 7",
            "2 over at 9 Odd",
        ])
        .is_over();
    // The end of a loop is that of its generator; where that took the function's place it is nothing.
    scene
        .old(9, "LLMCompletionStartEvent", 100, 0, COROUTINE)
        .raised(100, "StopAsyncIteration")
        .old(9, "LLMCompletionEndEvent", 500, 0, ASYNC_GENERATOR)
        .raised(500, "StopAsyncIteration")
        .gives(&["4 in -: Completion ? Context", "4 streams", "4 over at 13"])
        .is_over();
}

#[test]
fn streams_of_models_with_events_alone() {
    let mut scene = Scene::new();
    scene
        .old(9, "LLMChatStartEvent", 100, 0, 0)
        .old(9, "LLMChatInProgressEvent", 500, 0, GENERATOR)
        .old(9, "LLMChatEndEvent", 500, 0, GENERATOR)
        .gives(&["1 in -: Chat ? Thread", "1 streams", "1 over at 3"])
        .is_over();
    // Each piece of a completion is told as an end.
    scene
        .old(9, "LLMCompletionStartEvent", 100, 0, 0)
        .old(9, "LLMCompletionEndEvent", 500, 0, GENERATOR)
        .old(9, "LLMCompletionEndEvent", 500, 0, GENERATOR)
        .tick(SETTLED)
        .gives(&["2 in -: Completion ? Thread", "2 streams"])
        .tick(SETTLED + 7)
        .gives(&["2 over at 6"])
        .is_over();
    // Its generator is in the frame in which it began.
    scene
        .old(9, "LLMChatStartEvent", 100, 0, 0)
        .old(9, "LLMChatInProgressEvent", 100, 0, GENERATOR)
        .old(9, "LLMChatEndEvent", 100, 0, GENERATOR)
        .gives(&["3 in -: Chat ? Thread", "3 streams", "3 over at 9"])
        .is_over();
    // A span whose stream is followed by another one, in the same frame.
    scene
        .enters((9, None), "Thing.stream", Some(60), MODEL)
        .old(9, "LLMCompletionStartEvent", 100, 0, 0)
        .exits(9, "generator")
        .old(9, "LLMCompletionEndEvent", 500, 0, GENERATOR);
    scene.cell = 0x200;
    scene
        .old(9, "LLMCompletionStartEvent", 100, 0, 0)
        .old(9, "LLMCompletionEndEvent", 500, 0, GENERATOR)
        .tick(3 * SETTLED)
        .gives(&[
            "4 in -: Chat Thing.stream Thread",
            "4 streams",
            "5 in -: Completion ? Thread",
            "5 streams",
            "4 over at 13",
            "5 over at 15",
        ])
        .is_over();
}

/// Streams that are read by turns, and that name the same span, end each with its own last piece.
#[test]
fn two_streams_at_a_time() {
    let mut scene = Scene::new();
    for (cell, frame) in [(0x100, 100), (0x200, 100)] {
        scene.cell = cell;
        scene.old(9, "LLMChatStartEvent", frame, 0, 0);
    }
    scene.told.clear();
    // The second is read first.
    scene.old(9, "LLMChatInProgressEvent", 600, 0, GENERATOR);
    scene.cell = 0x100;
    scene.old(9, "LLMChatInProgressEvent", 500, 0, GENERATOR);
    scene.says(500, None, Some(answer("first")));
    scene.old(9, "LLMChatEndEvent", 500, 0, GENERATOR);
    scene.gives(&["1 gave \"first\"", "1 over at 5"]);
    // One that nothing is known of is nobody's, also in a frame that was known.
    scene.cell = 0x300;
    scene.old(9, "LLMChatInProgressEvent", 500, 0, GENERATOR);
    scene.says(500, None, Some(answer("other")));
    scene.old(9, "LLMChatEndEvent", 500, 0, GENERATOR);
    scene.gives(&[]);
    scene.cell = 0x200;
    scene.says(600, None, Some(answer("second")));
    scene.old(9, "LLMChatEndEvent", 600, 0, GENERATOR);
    scene.gives(&["2 gave \"second\"", "2 over at 8"]).is_over();
    // A record without cells, of an agent of before, is nobody's either.
    scene.old(9, "LLMChatStartEvent", 100, 0, 0);
    let caller = Caller {
        frame: 500,
        code: 1,
        flags: GENERATOR,
    };
    scene.caller = caller;
    let class = b"LLMChatEndEvent".as_slice();
    let old = Some(Around::default());
    let exception = b"".as_slice();
    scene.hit(
        Some(9),
        SpanStep::Event {
            class,
            exception,
            old,
        },
    );
    scene.gives(&["3 in -: Chat ? Thread", "3 streams"]);
}

/// The stream of a completion is over, of which nothing tells: its frame and its variables are those of the next.
#[test]
fn all_that_a_stream_had_is_another_ones() {
    for (starts, is_chat) in [
        ("LLMChatStartEvent", true),
        ("LLMCompletionStartEvent", false),
    ] {
        let mut scene = Scene::new();
        scene
            .old(9, "LLMCompletionStartEvent", 100, 0, 0)
            .old(9, "LLMCompletionEndEvent", 500, 0, GENERATOR)
            .says(500, None, Some(json!({"text": "first"})))
            .old(9, starts, 100, 0, 0);
        if is_chat {
            scene
                .old(9, "LLMChatInProgressEvent", 500, 0, GENERATOR)
                .says(500, None, Some(answer("second")))
                .old(9, "LLMChatEndEvent", 500, 0, GENERATOR);
        } else {
            scene
                .old(9, "LLMCompletionEndEvent", 500, 0, GENERATOR)
                .says(500, None, Some(json!({"text": "second"})));
        }
        scene.tick(3 * SETTLED);
        let told = scene.told.clone();
        let gave = |run: u32, text: &str| told.contains(&format!("{run} gave \"{text}\""));
        assert!(gave(1, "first") && gave(2, "second"), "{told:?}");
        let over = |run: u32| {
            told.iter()
                .filter(|t| t.starts_with(&format!("{run} over")))
                .count()
        };
        assert_eq!((over(1), over(2)), (1, 1), "{told:?}");
        scene.told.clear();
        scene.is_over();
    }
}

/// What the outermost function asks and answers is told; of a completion its last piece has all of the text.
#[test]
fn what_models_with_events_alone_are_asked_and_answer() {
    let mut scene = Scene::new();
    let asked = json!([{"role": "user", "content": "why"}]);
    scene
        .old(9, "LLMChatStartEvent", 100, 0, 0)
        .says(100, Some(asked), None)
        .old(9, "LLMCompletionStartEvent", 200, 100, 0)
        .says(200, Some(json!("user: why")), None)
        .says(200, None, Some(json!({"text": "inner"})))
        .old(9, "LLMCompletionEndEvent", 200, 0, 0)
        .says(100, None, Some(answer("outer")));
    let contents = &scene.spans.contents.kept.open[&ExchangeId(1)].0;
    let [message] = &contents.request.messages[..] else {
        panic!("{:?}", contents.request.messages);
    };
    assert_eq!(message.role, "user");
    scene.old(9, "LLMChatEndEvent", 100, 0, 0).gives(&[
        "1 in -: Chat ? Thread",
        "1 streams",
        "1 gave \"outer\"",
        "1 over at 4",
    ]);
    scene
        .old(9, "LLMCompletionStartEvent", 100, 0, 0)
        .says(100, Some(json!("why")), None);
    for text in ["be", "becau", "because"] {
        scene
            .old(9, "LLMCompletionEndEvent", 500, 0, GENERATOR)
            .says(500, None, Some(json!(text)));
    }
    // What is kept is weighed once.
    let kept = scene.spans.contents.kept.open[&ExchangeId(2)].1;
    assert!(kept < 100, "{kept}");
    scene.tick(2 * SETTLED).gives(&[
        "2 in -: Completion ? Thread",
        "2 streams",
        "2 gave \"because\"",
        "2 over at 8",
    ]);
    scene.is_over();
    // Of a frame that asked nothing, nothing is kept.
    scene.says(100, Some(json!("why")), None);
    assert!(scene.spans.contents.kept.open.is_empty());
}

/// An engine returns the answer of a model that has events alone, and which somebody reads then.
#[test]
fn the_stream_of_a_model_with_events_alone_is_what_those_around_it_gave() {
    let [query, synthesizer, _] = QUERY;
    let mut scene = Scene::new();
    let given = json!({"query": "why"});
    scene
        .enters((query, None), "Thing.stream_chat", Some(50), ENGINE)
        .values(hook::ENTERS, query, given, true)
        .enters(
            (synthesizer, Some(query)),
            "Thing.retrieve",
            Some(51),
            ENGINE,
        )
        .exits(synthesizer, "list")
        // What was begun last is over.
        .old(synthesizer, "LLMChatStartEvent", 100, 0, 0)
        .exits(query, "StreamingAgentChatResponse");
    begins_with(
        &mut scene,
        &[
            "1 in -: Chain Thing.stream_chat Thread",
            "2 in 1: Chain Thing.retrieve Thread",
            "2 over at 3",
            "3 in -: Chat ? Thread",
            "3 streams",
            "1 left",
        ],
    );
    // Another thread reads it.
    scene.tid = 8;
    scene
        .old(synthesizer, "LLMChatInProgressEvent", 500, 0, GENERATOR)
        .says(500, None, Some(answer("because")))
        .old(synthesizer, "LLMChatEndEvent", 500, 0, GENERATOR)
        .gives(&[
            "3 gave \"because\"",
            "3 over at 7",
            "1 gave \"because\"",
            "1 over at 5",
        ])
        .is_over();
    // One that another thread asks is not within it.
    let mut scene = Scene::new();
    scene.enters((query, None), "Thing.stream_chat", Some(50), ENGINE);
    scene.values(hook::ENTERS, query, json!({"query": "why"}), true);
    scene.tid = 8;
    scene.old(query, "LLMChatStartEvent", 100, 0, 0);
    scene.tid = MAIN;
    scene.told.clear();
    scene
        .exits(query, "StreamingAgentChatResponse")
        .gives(&["1 gave null", "1 over at 3"]);
}

#[test]
fn an_event_that_names_a_span_of_somebody_else_is_not_its() {
    let mut scene = Scene::new();
    scene.caller.flags = COROUTINE;
    scene.context = Some(1);
    scene
        .enters((9 << 16, None), "Thing.apredict", Some(1), MODEL)
        // Another task asks a model without a span, and the dispatcher knows of one in this thread.
        .gives(&["1 in -: Chat Thing.apredict Context"]);
    scene.context = Some(2);
    scene.old(9 << 16, "LLMChatStartEvent", 100, 0, COROUTINE);
    scene.context = Some(1);
    // That of the span itself is a part of it.
    scene
        .old(9 << 16, "LLMChatStartEvent", 200, 0, COROUTINE)
        .old(9 << 16, "LLMChatEndEvent", 200, 0, COROUTINE);
    scene.context = Some(2);
    scene
        .old(9 << 16, "LLMChatEndEvent", 100, 0, COROUTINE)
        .gives(&["2 in -: Chat ? Context", "2 streams", "2 over at 5"]);
    scene.context = Some(1);
    scene
        .exits(9 << 16, "str")
        .gives(&["1 over at 6"])
        .is_over();
    // In another thread likewise.
    scene.caller.flags = 0;
    scene
        .enters((10 << 16, None), "Thing.predict", Some(1), MODEL)
        .gives(&["3 in -: Chat Thing.predict Thread"]);
    scene.tid += 1;
    scene
        .old(10 << 16, "LLMChatStartEvent", 100, 0, 0)
        .old(10 << 16, "LLMChatEndEvent", 100, 0, 0)
        .gives(&["4 in -: Chat ? Thread", "4 streams", "4 over at 9"]);
    scene.tid -= 1;
    scene
        .exits(10 << 16, "str")
        .gives(&["3 over at 10"])
        .is_over();
}
