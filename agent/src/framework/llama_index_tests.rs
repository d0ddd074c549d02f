use super::*;
use crate::model::dispatch::{Around, Caller};
use crate::model::framework::{RunLabel, RunName};
use serde_json::{Value as Json, json};

const PID: u32 = 7;
const MAIN: u32 = 7;

/// Bases of a model, and of other things.
const MODEL: &[&[u8]] = &[b"FunctionCallingLLM", b"LLM", b"BaseLLM"];
const ENGINE: &[&[u8]] = &[b"BaseQueryEngine"];

/// Ids of a query, of the synthesizer within it, and of its model.
const QUERY: [u128; 3] = [1 << 16, 2 << 16, 3 << 16];

/// What is told of these when they begin.
const QUERY_BEGINS: [&str; 4] = [
    "1 in -: Chain Thing.query Thread",
    "2 in 1: Chain Thing.synthesize Thread",
    "3 in 2: Chat Thing.stream_chat Thread",
    "3 streams",
];

/// Feeds what the dispatcher is told, and keeps what comes of it.
#[derive(Default)]
struct Scene {
    spans: Spans,
    next: u64,
    now: u64,
    tid: u32,
    caller: Caller,
    context: Option<u64>,
    /// What a generator has in common with the function that made it.
    cell: u64,
    /// The frame of the generator that is in what is returned, or around what begins.
    generator: Option<u64>,
    told: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        Self {
            tid: MAIN,
            cell: 0x100,
            ..Self::default()
        }
    }

    fn take(&mut self, out: Vec<RunEvent>) {
        for event in out {
            self.told.push(match event {
                RunEvent::Began(facts) => {
                    let parent = facts.parent.map_or("-".to_owned(), |p| p.0.to_string());
                    let name = facts.name.as_deref().unwrap_or("?");
                    let (id, kind, inside) = (facts.exchange.0, facts.kind, facts.inside);
                    format!("{id} in {parent}: {kind:?} {name} {inside:?}")
                }
                RunEvent::Left(id) => format!("{} left", id.0),
                RunEvent::Agent(id) => format!("{} is an agent", id.0),
                RunEvent::Streams(id) => format!("{} streams", id.0),
                RunEvent::Worked { exchange, .. } => format!("{} worked", exchange.0),
                RunEvent::Contents { exchange, contents } => {
                    let said = streamed::text(&contents).map(Json::from);
                    let gave = contents.got.or(said).unwrap_or_default();
                    format!("{} gave {gave}", exchange.0)
                }
                RunEvent::Ended {
                    exchange,
                    end,
                    error,
                    defects,
                } => {
                    let names: Vec<_> = defects.names().collect();
                    let error = error.map_or(String::new(), |e| format!(" {e}"));
                    let (id, end) = (exchange.0, end.0);
                    format!("{id} over at {end}{error}{}", names.join(","))
                }
            });
        }
    }

    fn hit(&mut self, id: Option<u128>, what: SpanStep<'_>) -> &mut Self {
        self.now += 1;
        let hit = SpanHit {
            pid: PID,
            tid: self.tid,
            time: BootTime(self.now),
            context: self.context,
            caller: self.caller,
            id,
            what,
        };
        let mut out = Vec::new();
        let next = &mut self.next;
        let name = || {
            *next += 1;
            ExchangeId(*next)
        };
        self.spans.hit(&hit, name, &mut out);
        self.take(out);
        self
    }

    /// A method of an object of `Thing` begins.
    fn enters(
        &mut self,
        (id, parent): (u128, Option<u128>),
        method: &str,
        object: Option<u64>,
        bases: &[&[u8]],
    ) -> &mut Self {
        let text = format!("{method}-{}", uuid(id));
        let start = SpanStart {
            label: Some(RunName {
                bytes: text.as_bytes(),
                width: 1,
                characters: text.len() as u64,
            }),
            parent,
            around: self.generator,
            object,
            class: if object.is_some() { b"Thing" } else { b"" },
            bases: bases.to_vec(),
        };
        self.hit(Some(id), SpanStep::Enters(Box::new(start)))
    }

    fn exits(&mut self, id: u128, result: &str) -> &mut Self {
        let result = result.as_bytes();
        let stream = self.generator;
        self.hit(Some(id), SpanStep::Exits { result, stream })
    }

    fn drops(&mut self, id: u128, class: &str) -> &mut Self {
        let class = class.as_bytes();
        self.hit(Some(id), SpanStep::Drops { class })
    }

    fn event(&mut self, id: Option<u128>, class: &str, exception: &str) -> &mut Self {
        let (class, exception) = (class.as_bytes(), exception.as_bytes());
        let old = None;
        self.hit(
            id,
            SpanStep::Event {
                class,
                exception,
                old,
            },
        )
    }

    /// An event of a version in which models have no spans, told in this frame.
    fn old(&mut self, id: u128, class: &str, frame: u64, around: u64, flags: u32) -> &mut Self {
        let before = self.caller;
        self.caller = Caller {
            frame,
            code: 1,
            flags,
        };
        let class = class.as_bytes();
        let variables = [1, 2, self.cell, 3].map(u64::to_ne_bytes);
        let old = Some(Around {
            frame: Some(around).filter(|around| *around != 0),
            cell: Some(self.cell).filter(|_| flags & (GENERATOR | ASYNC_GENERATOR) != 0),
            variables: variables.as_flattened(),
        });
        let exception = b"".as_slice();
        self.hit(
            Some(id),
            SpanStep::Event {
                class,
                exception,
                old,
            },
        );
        self.caller = before;
        self
    }

    fn raised(&mut self, frame: u64, class: &str) -> &mut Self {
        self.now += 1;
        let mut out = Vec::new();
        let hit = RunHit {
            pid: PID,
            tid: self.tid,
            time: BootTime(self.now),
            what: RunStep::Raised {
                owner: frame,
                owner_code: 1,
                class: class.as_bytes(),
            },
        };
        self.spans.raised(&hit, &mut out);
        self.take(out);
        self
    }

    /// What a span is given, or gives.
    fn values(&mut self, hook: u32, id: u128, value: Json, wanted: bool) -> &mut Self {
        let text = format!("{:08x}", (id >> 16) as u32);
        let id = u64::from_ne_bytes(text.as_bytes().try_into().expect("eight"));
        let found = Snapshot {
            pid: PID,
            tid: self.tid,
            time: BootTime(self.now),
            subject: Subject::Span { hook, id },
            context: None,
            values: vec![Some(value)],
        };
        self.spans.values(&found, wanted);
        self
    }

    /// A query and within it the synthesizer, which give the stream of a model that is begun.
    fn streamed_query(&mut self, wanted: bool) -> &mut Self {
        let [query, synthesizer, model] = QUERY;
        let given = json!({"query": "why"});
        self.enters((query, None), "Thing.query", Some(50), ENGINE)
            .values(hook::ENTERS, query, given.clone(), wanted)
            .enters(
                (synthesizer, Some(query)),
                "Thing.synthesize",
                Some(51),
                ENGINE,
            )
            .values(hook::ENTERS, synthesizer, given, wanted)
            .enters(
                (model, Some(synthesizer)),
                "Thing.stream_chat",
                Some(52),
                MODEL,
            )
            .event(Some(model), "LLMChatStartEvent", "")
            .exits(model, "generator")
            .exits(synthesizer, "StreamingResponse")
            .exits(query, "AsyncStreamingResponse")
    }

    fn tick(&mut self, now: u64) -> &mut Self {
        let mut out = Vec::new();
        self.spans.tick(BootTime(now), &mut out);
        self.take(out);
        self
    }

    #[track_caller]
    fn gives(&mut self, wanted: &[&str]) -> &mut Self {
        assert_eq!(self.told, wanted);
        self.told.clear();
        self
    }

    /// Nothing is under way, and all that is remembered is what is over.
    #[track_caller]
    fn is_over(&self) {
        assert!(self.spans.open.is_empty() && self.spans.settling.is_empty());
        assert!(self.spans.frames.is_empty() && self.spans.unread.is_empty());
        assert!(self.spans.threads.is_empty() && self.spans.is_settled());
        assert_eq!(self.spans.ids.len(), self.spans.past.len());
    }
}

fn uuid(id: u128) -> String {
    let text = format!("{id:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..]
    )
}

#[test]
fn what_an_object_does_by_itself_is_one_span() {
    let mut scene = Scene::new();
    scene
        .enters((1, None), "BaseQueryEngine.query", Some(50), ENGINE)
        .enters((2, Some(1)), "Thing._query", Some(50), ENGINE)
        .enters((2, Some(1)), "Thing._query", Some(50), ENGINE)
        .enters((3, Some(2)), "Thing.predict", Some(60), MODEL)
        .enters((4, Some(3)), "Thing.complete", Some(60), MODEL)
        .exits(4, "CompletionResponse")
        .exits(3, "str")
        .exits(2, "Response")
        .exits(1, "Response")
        .exits(1, "Response")
        .gives(&[
            "1 in -: Chain Thing.query Thread",
            "2 in 1: Chat Thing.predict Thread",
            "2 over at 7",
            "1 over at 9",
        ])
        .is_over();
}

#[test]
fn what_another_object_does_is_another_span() {
    let mut scene = Scene::new();
    scene
        .enters((1, None), "Thing.query", Some(50), ENGINE)
        .enters((2, Some(1)), "Thing.query", Some(51), ENGINE)
        // Its own, but another thing.
        .enters((3, Some(1)), "Thing.report", Some(50), ENGINE)
        // A function, and a step.
        .enters((4, Some(1)), "run_jobs", None, &[])
        .enters((5, Some(1)), "Flow.first", None, &[])
        .gives(&[
            "1 in -: Chain Thing.query Thread",
            "2 in 1: Chain Thing.query Thread",
            "3 in 1: Chain Thing.report Thread",
            "4 in 1: Chain run_jobs Thread",
            "5 in 1: Chain Flow.first Thread",
        ]);
}

#[test]
fn each_class_has_its_kinds() {
    let kinds: [(&str, &[&[u8]], RunKind); 18] = [
        ("achat", MODEL, RunKind::Chat),
        ("astream", MODEL, RunKind::Chat),
        ("stream_complete", MODEL, RunKind::Completion),
        ("predict_and_call", MODEL, RunKind::Chain),
        ("structured_predict", MODEL, RunKind::Chain),
        ("chat", &[b"BaseChatEngine"], RunKind::Chain),
        ("chat", &[b"AgentRunner", b"BaseChatEngine"], RunKind::Agent),
        ("_chat", &[b"AgentRunner"], RunKind::Agent),
        ("_run_step", &[b"AgentRunner"], RunKind::Chain),
        ("run", &[b"BaseWorkflowAgent", b"Workflow"], RunKind::Agent),
        ("run", &[b"Workflow"], RunKind::Chain),
        (
            "get_query_embedding",
            &[b"BaseEmbedding"],
            RunKind::Embedding,
        ),
        ("_aretrieve", &[b"BaseRetriever"], RunKind::Retriever),
        ("__call__", &[b"AsyncBaseTool", b"BaseTool"], RunKind::Tool),
        ("acall", &[b"BaseTool"], RunKind::Tool),
        (
            "postprocess_nodes",
            &[b"BaseNodePostprocessor"],
            RunKind::Chain,
        ),
        ("get_response", &[b"BaseSynthesizer"], RunKind::Chain),
        ("anything", &[b"object"], RunKind::Chain),
    ];
    for (method, bases, wanted) in kinds {
        let text = format!("Thing.{method}-{}", uuid(9));
        let mut start = SpanStart {
            label: Some(RunName {
                bytes: text.as_bytes(),
                width: 1,
                characters: text.len() as u64,
            }),
            parent: None,
            around: None,
            object: Some(1),
            class: b"Thing",
            bases: bases.to_vec(),
        };
        let called = kinds::Called::of(9, &start);
        assert_eq!(called.kind, wanted, "{method} {bases:?}");
        assert_eq!(called.name, Some(format!("Thing.{method}")));
        assert_eq!(called.label, RunLabel::Prefixed(format!("Thing.{method}")));
        start.class = b"LLMRerank";
        if method == "postprocess_nodes" {
            assert_eq!(kinds::Called::of(9, &start).kind, RunKind::Reranker);
        }
    }
}

#[test]
fn ids_that_are_cut_or_are_no_uuids() {
    let called = |text: &str, told: usize, id: u128| {
        kinds::Called::of(
            id,
            &SpanStart {
                label: Some(RunName {
                    bytes: &text.as_bytes()[..told],
                    width: 1,
                    characters: text.len() as u64,
                }),
                parent: None,
                around: None,
                object: None,
                class: b"",
                bases: Vec::new(),
            },
        )
    };
    let long = format!("{}.method-{}", "a".repeat(100), uuid(1));
    let cut = called(&long, 124, 1);
    assert_eq!(cut.label, RunLabel::Uuid);
    assert_eq!(cut.name, Some(format!("{}.method", "a".repeat(100))));
    let own = called("my own id", 9, 1);
    assert_eq!(own.label, RunLabel::Text("my own id".to_owned()));
    assert_eq!(own.name.as_deref(), Some("my own id"));
    let nothing = called("", 0, 1);
    assert_eq!((nothing.name, nothing.subject), (None, None));
}

#[test]
fn a_streamed_model_ends_when_its_stream_does() {
    let mut scene = Scene::new();
    scene
        .enters((1, None), "Thing.stream_chat", Some(60), MODEL)
        .event(Some(1), "LLMChatStartEvent", "")
        .enters((2, Some(1)), "Thing.stream_complete", Some(60), MODEL)
        .event(Some(2), "LLMCompletionStartEvent", "")
        .exits(2, "generator")
        .exits(1, "generator")
        .gives(&["1 in -: Chat Thing.stream_chat Thread", "1 streams"]);
    scene.caller.flags = GENERATOR;
    for _ in 0..2 {
        scene
            .event(Some(2), "LLMCompletionInProgressEvent", "")
            .event(Some(1), "LLMChatInProgressEvent", "");
    }
    scene
        .event(Some(2), "LLMCompletionEndEvent", "")
        .gives(&[])
        .event(Some(1), "LLMChatEndEvent", "")
        .gives(&["1 over at 12"])
        .is_over();
}

#[test]
fn a_stream_that_fails_or_is_left() {
    for (class, wanted) in [
        ("pkg.Odd", "1 over at 4 Odd"),
        ("GeneratorExit", "1 over at 4"),
    ] {
        let mut scene = Scene::new();
        scene
            .enters((1, None), "Thing.stream_chat", Some(60), MODEL)
            .event(Some(1), "LLMChatStartEvent", "")
            .exits(1, "async_generator")
            .event(Some(1), "ExceptionEvent", class)
            .gives(&["1 in -: Chat Thing.stream_chat Thread", "1 streams", wanted])
            .is_over();
    }
    // Without events nobody knows better.
    let mut scene = Scene::new();
    scene
        .enters((1, None), "Thing.stream_chat", Some(60), MODEL)
        .exits(1, "generator")
        .gives(&["1 in -: Chat Thing.stream_chat Thread", "1 over at 2"])
        .is_over();
}

#[test]
fn errors_and_what_was_not_told() {
    let mut scene = Scene::new();
    scene
        .enters((1, None), "Thing.query", Some(50), ENGINE)
        .enters(
            (2, Some(1)),
            "Thing.retrieve",
            Some(51),
            &[b"BaseRetriever"],
        )
        .drops(2, "builtins.KeyError")
        .drops(1, "KeyError")
        .gives(&[
            "1 in -: Chain Thing.query Thread",
            "2 in 1: Retriever Thing.retrieve Thread",
            "2 over at 3 KeyError",
            "1 over at 4 KeyError",
        ]);
    // The end of one was not seen: it was over before that around it.
    scene
        .enters((3, None), "Thing.query", Some(50), ENGINE)
        .enters(
            (4, Some(3)),
            "Thing.retrieve",
            Some(51),
            &[b"BaseRetriever"],
        )
        .exits(3, "Response")
        .gives(&[
            "3 in -: Chain Thing.query Thread",
            "4 in 3: Retriever Thing.retrieve Thread",
            "4 over at 7end_late",
            "3 over at 7",
        ]);
    // What goes on elsewhere goes on.
    scene.enters((5, None), "Thing.chat", Some(50), ENGINE);
    scene.tid = 8;
    scene.enters((6, Some(5)), "Reply.write", Some(52), &[]);
    scene.tid = MAIN;
    scene
        .exits(5, "Reply")
        .exits(6, "NoneType")
        // And may come later.
        .enters((7, Some(5)), "Reply.write", Some(52), &[])
        .exits(7, "NoneType")
        .gives(&[
            "5 in -: Chain Thing.chat Thread",
            "6 in 5: Chain Thing.write Thread",
            "5 over at 10",
            "6 over at 11",
            "7 in 5: Chain Thing.write Thread",
            "7 over at 13",
        ])
        .is_over();
}

#[test]
fn whatever_a_function_called_is_over_with_it() {
    let mut scene = Scene::new();
    scene
        .enters((1, None), "Thing.query", Some(50), ENGINE)
        .enters((2, Some(1)), "Thing.report", Some(51), ENGINE)
        .enters((3, Some(2)), "Thing.query", Some(52), ENGINE)
        .enters((4, Some(2)), "Thing.query", Some(53), ENGINE)
        .exits(1, "Response")
        .gives(&[
            "1 in -: Chain Thing.query Thread",
            "2 in 1: Chain Thing.report Thread",
            "3 in 2: Chain Thing.query Thread",
            "4 in 2: Chain Thing.query Thread",
            "4 over at 5end_late",
            "3 over at 5end_late",
            "2 over at 5end_late",
            "1 over at 5",
        ])
        .is_over();
    // As deep as a program likes.
    let mut scene = Scene::new();
    for n in 0..MAX_RUNS as u128 {
        let parent = Some(n).filter(|n| *n > 0);
        scene.enters((n + 1, parent), "run_jobs", None, &[]);
    }
    scene.told.clear();
    scene.exits(1, "Response");
    assert_eq!(scene.told.len(), MAX_RUNS);
    assert!(scene.spans.open.is_empty());
}

#[test]
fn who_begins_anew_is_in_nothing_any_more() {
    let mut scene = Scene::new();
    scene.context = Some(5);
    scene
        .enters((1, None), "Thing.query", Some(50), ENGINE)
        .enters((2, Some(1)), "Thing.retrieve", Some(51), &[])
        .enters((3, None), "Thing.query", Some(50), ENGINE)
        .gives(&[
            "1 in -: Chain Thing.query Thread",
            "2 in 1: Chain Thing.retrieve Thread",
            "2 over at 3end_late",
            "1 over at 3end_late",
            "3 in -: Chain Thing.query Thread",
        ]);
    // Another context, another thread, one that names what is not known, and who reads a stream.
    scene.context = Some(6);
    scene.enters((4, None), "Thing.query", Some(50), ENGINE);
    scene.tid = 8;
    scene
        .enters((5, Some(99)), "Thing.stream_chat", Some(60), MODEL)
        .event(Some(5), "LLMChatStartEvent", "")
        .exits(5, "generator")
        .enters((6, None), "Thing.query", Some(50), ENGINE)
        .enters((7, Some(98)), "Thing.query", Some(50), ENGINE)
        .gives(&[
            "4 in -: Chain Thing.query Thread",
            "5 in -: Chat Thing.stream_chat Thread",
            "5 streams",
            "6 in -: Chain Thing.query Thread",
            "7 in -: Chain Thing.query Thread",
        ]);
    assert_eq!(scene.spans.open.len(), 5);
}

#[test]
fn coroutines_and_workflows_are_in_their_contexts() {
    let mut scene = Scene::new();
    scene.context = Some(5);
    scene.enters((1, None), "Flow.run", Some(50), &[b"Workflow"]);
    scene.caller.flags = COROUTINE;
    scene
        .enters((2, Some(1)), "Thing.aquery", Some(51), ENGINE)
        .gives(&[
            "1 in -: Chain Thing.run Context",
            "2 in 1: Chain Thing.aquery Context",
        ]);
    let mut out = Vec::new();
    scene.spans.stop(Some(PID + 1), BootTime(20), &mut out);
    assert!(out.is_empty());
    scene.spans.stop(Some(PID), BootTime(20), &mut out);
    scene.take(out);
    scene
        .gives(&["2 over at 20unfinished", "1 over at 20unfinished"])
        .is_over();
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut scene = Scene::new();
    scene.caller.flags = COROUTINE;
    for n in 0..MAX_RUNS as u128 + 10 {
        scene.enters((n + 1, None), "Thing.query", Some(50), ENGINE);
    }
    assert_eq!(scene.spans.open.len(), MAX_RUNS);
    assert_eq!(scene.spans.refused, 10);
    let mut out = Vec::new();
    scene.spans.stop(None, BootTime(1), &mut out);
    assert_eq!(out.len(), MAX_RUNS);
    for n in 0..MAX_PAST as u128 + 10 {
        let id = 1 << 100 | n;
        scene
            .enters((id, None), "Thing.query", Some(50), ENGINE)
            .exits(id, "Response");
    }
    assert_eq!(scene.spans.past.len(), MAX_PAST);
    assert_eq!(scene.spans.ids.len(), MAX_PAST);
}

/// Whether what is told begins so; the rest is left.
#[track_caller]
fn begins_with(scene: &mut Scene, wanted: &[&str]) {
    let rest = scene.told.split_off(wanted.len().min(scene.told.len()));
    assert_eq!(std::mem::replace(&mut scene.told, rest), wanted);
}

#[test]
fn what_a_stream_said_is_what_those_around_it_gave() {
    let [_, _, model] = QUERY;
    let mut scene = Scene::new();
    scene.streamed_query(true);
    begins_with(&mut scene, &QUERY_BEGINS);
    scene.gives(&["2 left", "1 left"]);
    assert!(!scene.spans.is_settled());
    // What the thread does meanwhile is none of theirs.
    scene
        .enters((9, None), "Thing.query", Some(60), ENGINE)
        .exits(9, "Response")
        .gives(&["4 in -: Chain Thing.query Thread", "4 over at 9"]);
    scene.caller.flags = GENERATOR;
    let answer = json!({"message": {"role": "assistant", "content": "because"}});
    scene
        .event(Some(model), "LLMChatInProgressEvent", "")
        .values(hook::EXITS, model, answer, true)
        .event(Some(model), "LLMChatEndEvent", "")
        .gives(&[
            "3 gave \"because\"",
            "3 over at 11",
            "2 gave \"because\"",
            "2 over at 6",
            "1 gave \"because\"",
            "1 over at 7",
        ])
        .is_over();
}

#[test]
fn who_gives_a_stream_does_not_wait_for_ever() {
    let [query, synthesizer, model] = QUERY;
    let mut scene = Scene::new();
    scene.streamed_query(true).told.clear();
    // Nobody reads it.
    scene.tick(streamed::PATIENCE + 6).gives(&[]);
    scene
        .tick(streamed::PATIENCE + 7)
        .gives(&["2 gave null", "2 over at 6"]);
    scene
        .tick(streamed::PATIENCE + 8)
        .gives(&["1 gave null", "1 over at 7"]);
    assert!(scene.spans.is_settled());
    scene.caller.flags = GENERATOR;
    scene
        .event(Some(model), "LLMChatEndEvent", "")
        .gives(&["3 over at 8"])
        .is_over();
    // It fails, it is left with the process, and nobody wants to know.
    let mut scene = Scene::new();
    scene.streamed_query(true).told.clear();
    scene
        .event(Some(model), "ExceptionEvent", "pkg.Odd")
        .gives(&[
            "3 over at 8 Odd",
            "2 gave null",
            "2 over at 6",
            "1 gave null",
            "1 over at 7",
        ]);
    let mut scene = Scene::new();
    scene.streamed_query(true).told.clear();
    let mut out = Vec::new();
    scene.spans.stop(None, BootTime(99), &mut out);
    scene.take(out);
    scene.gives(&[
        "3 over at 99unfinished",
        "2 gave null",
        "2 over at 6",
        "1 gave null",
        "1 over at 7",
    ]);
    let mut scene = Scene::new();
    scene.streamed_query(false);
    begins_with(&mut scene, &QUERY_BEGINS);
    scene.gives(&["2 gave null", "2 over at 6", "1 gave null", "1 over at 7"]);
    // Of several streams it is not known which one is given.
    let mut scene = Scene::new();
    let given = json!({"query": "why"});
    scene
        .enters((query, None), "Thing.query", Some(50), ENGINE)
        .values(hook::ENTERS, query, given, true);
    for id in [synthesizer, model] {
        scene
            .enters((id, Some(query)), "Thing.stream_chat", Some(52), MODEL)
            .event(Some(id), "LLMChatStartEvent", "")
            .exits(id, "generator");
    }
    scene.told.clear();
    scene
        .exits(query, "StreamingResponse")
        .gives(&["1 gave null", "1 over at 8"]);
}

#[path = "llama_index/frames_tests.rs"]
mod events_alone;

#[path = "llama_index/streamed_tests.rs"]
mod asked_late;
