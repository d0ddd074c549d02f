use super::*;
use crate::model::framework::{RunHit, RunName};

const PID: u32 = 7;
const MAIN: u32 = 7;

/// Feeds hits and keeps what comes of them.
#[derive(Default)]
struct Scene {
    runs: Runs,
    next: u64,
    now: u64,
    told: Vec<String>,
    /// What the kernel says of each run that begins.
    followed: bool,
}

/// A run that begins: `(id, parent, manager, method, owner, flags)`.
type Start<'a> = (u128, Option<u128>, u64, &'a str, u64, u32);

impl Scene {
    fn take(&mut self, out: Vec<RunEvent>) {
        for event in out {
            self.told.push(match event {
                RunEvent::Began(facts) => {
                    let parent = facts.parent.map_or("-".to_owned(), |p| p.0.to_string());
                    let name = facts.name.as_deref().unwrap_or("?");
                    let id = facts.exchange.0;
                    format!(
                        "{id} in {parent}: {:?} {name} {:?}",
                        facts.kind, facts.inside
                    )
                }
                RunEvent::Left(id) => format!("{} left", id.0),
                RunEvent::Contents { exchange, contents } => {
                    format!("{} gave {:?}", exchange.0, contents.got)
                }
                RunEvent::Agent(id) => format!("{} is an agent", id.0),
                RunEvent::Streams(id) => format!("{} streams", id.0),
                RunEvent::Worked { exchange, .. } => format!("{} worked", exchange.0),
                RunEvent::Ended {
                    exchange,
                    end,
                    error,
                    defects,
                } => {
                    let names: Vec<_> = defects.names().collect();
                    let error = error.map_or(String::new(), |e| format!(" {e}"));
                    format!(
                        "{} over at {}{error} {}",
                        exchange.0,
                        end.0,
                        names.join(",")
                    )
                }
            });
        }
    }

    fn hit(&mut self, tid: u32, what: RunStep<'_>) -> &mut Self {
        self.now += 1;
        let hit = RunHit {
            pid: PID,
            tid,
            time: BootTime(self.now),
            what,
        };
        let mut out = Vec::new();
        let next = &mut self.next;
        let name = || {
            *next += 1;
            ExchangeId(*next)
        };
        self.runs.hit(&hit, name, &mut out);
        self.take(out);
        self
    }

    fn begins(&mut self, tid: u32, start: Start<'_>) -> &mut Self {
        self.begins_as(tid, start, b"pkg.Thing", None)
    }

    /// A run of a class, with a name of its own.
    fn begins_as(
        &mut self,
        tid: u32,
        (run, parent, manager, method, owner, flags): Start<'_>,
        class: &[u8],
        name: Option<&str>,
    ) -> &mut Self {
        let name = name.map(|name| RunName {
            bytes: name.as_bytes(),
            width: 1,
            characters: name.len() as u64,
        });
        self.hit(
            tid,
            RunStep::Begins(Box::new(RunStart {
                manager,
                run: Some(run),
                parent,
                around: (owner % 100 == 50).then(|| owner - 50),
                context: None,
                owner,
                owner_code: owner + 1,
                owner_flags: flags,
                owner_class: class,
                method: method.as_bytes(),
                flags,
                followed: self.followed,
                name,
            })),
        )
    }

    fn ends(&mut self, manager: u64) -> &mut Self {
        self.hit(MAIN, RunStep::Ends { manager })
    }

    fn told_by(&mut self, manager: u64, method: &str, class: &str) -> &mut Self {
        let (method, class) = (method.as_bytes(), class.as_bytes());
        self.hit(
            MAIN,
            RunStep::Told {
                manager,
                method,
                class,
            },
        )
    }

    fn gone(&mut self, manager: u64, returned: bool) -> &mut Self {
        self.hit(MAIN, RunStep::Gone { manager, returned })
    }

    fn raised(&mut self, owner: u64, class: &str) -> &mut Self {
        let class = class.as_bytes();
        let owner_code = owner + 1;
        self.hit(
            MAIN,
            RunStep::Raised {
                owner,
                owner_code,
                class,
            },
        )
    }

    fn tick(&mut self, later: u64) -> &mut Self {
        self.now += later;
        let mut out = Vec::new();
        self.runs.tick(BootTime(self.now), &mut out);
        self.take(out);
        self
    }

    #[track_caller]
    fn comes_to(&mut self, wanted: &[&str]) {
        let told: Vec<_> = self.told.iter().map(|t| t.trim_end()).collect();
        assert_eq!(told, wanted);
    }
}

const CHAIN: &str = "CallbackManager.on_chain_start";
const LLM: &str = "CallbackManager.on_llm_start";
const TOOL: &str = "CallbackManager.on_tool_start";
const RETRIEVER: &str = "CallbackManager.on_retriever_start";

/// A graph with a node that asks a model is an agent, also when it fails, which its nodes do not tell; what
/// begins where a node's first function was is not begun with it.
#[test]
fn a_graph_that_is_an_agent() {
    let mut scene = Scene::default();
    let graph = (10, None, 0xa, CHAIN, 100, GENERATOR);
    scene.begins_as(MAIN, graph, b"CompiledStateGraph", Some("helper"));
    let node = (11, Some(10), 0xb, CHAIN, 200, 0);
    scene.begins_as(MAIN, node, b"RunnableSeq", Some("model"));
    let other = (12, Some(10), 0xc, CHAIN, 200, 0);
    scene.begins_as(MAIN + 1, other, b"RunnableSeq", Some("tools"));
    scene.ends(0xc).raised(100, "Odd").tick(CAUGHT_WITHIN + 1);
    scene.gone(0xb, false);
    scene.comes_to(&[
        "1 in -: Chain helper Nowhere",
        "2 in 1: Chain model Thread",
        "1 is an agent",
        "3 in 1: Chain tools Thread",
        "3 over at 4",
        "1 left",
        "2 left",
        "1 over at 5 Odd",
        "2 over at 5 Odd end_late",
    ]);
}

#[test]
fn a_chain_with_a_model() {
    let mut scene = Scene::default();
    scene.begins(MAIN, (10, None, 0xa, CHAIN, 100, 0));
    scene.begins(MAIN, (11, Some(10), 0xb, LLM, 200, 0));
    // The same run spoken for by another object, which tells its end.
    scene.begins(
        MAIN,
        (
            11,
            Some(10),
            0xc,
            "AsyncCallbackManagerForLLMRun.get_sync",
            300,
            0,
        ),
    );
    scene.ends(0xc).ends(0xa).ends(0xa);
    scene.comes_to(&[
        "1 in -: Chain Thing Thread",
        "2 in 1: Completion Thing Thread",
        "2 over at 4",
        "1 over at 5",
    ]);
    assert!(scene.runs.is_empty() && scene.runs.managers.is_empty());
    assert!(scene.runs.ids.is_empty());
}

#[test]
fn asynchronous_runs_tell_their_end_and_their_error() {
    let mut scene = Scene::default();
    scene.begins(
        MAIN,
        (
            10,
            None,
            0xa,
            "AsyncCallbackManager.on_chain_start",
            100,
            0x80,
        ),
    );
    scene.begins(
        MAIN,
        (
            11,
            Some(10),
            0xb,
            "AsyncCallbackManager.on_chat_model_start",
            200,
            0x80,
        ),
    );
    scene.told_by(0xb, "AsyncCallbackManagerForLLMRun.on_llm_new_token", "str");
    scene.told_by(
        0xb,
        "AsyncCallbackManagerForLLMRun.on_llm_error",
        "openai.APIError",
    );
    scene.told_by(0xa, "AsyncCallbackManagerForChainRun.on_chain_end", "dict");
    scene.comes_to(&[
        "1 in -: Chain Thing Context",
        "2 in 1: Chat Thing Context",
        "2 over at 4 APIError",
        "1 over at 5",
    ]);
}

#[test]
fn tools_and_retrievers_end_with_what_comes_after_them() {
    let mut scene = Scene::default();
    scene.begins(MAIN, (10, None, 0xa, CHAIN, 100, 0));
    scene.begins(MAIN, (11, Some(10), 0xb, TOOL, 200, 0));
    // Within the tool; its own child is around nothing else.
    scene
        .begins(MAIN, (12, Some(11), 0xc, CHAIN, 300, 0))
        .ends(0xc);
    // On another thread nothing is said of it.
    scene.begins(9, (13, Some(10), 0xd, CHAIN, 400, 0));
    scene.begins(MAIN, (14, Some(10), 0xe, RETRIEVER, 500, 0));
    scene.ends(0xa);
    scene.comes_to(&[
        "1 in -: Chain Thing Thread",
        "2 in 1: Tool Thing Nowhere",
        "3 in 2: Chain Thing Thread",
        "3 over at 4",
        "4 in 1: Chain Thing Thread",
        "2 over at 6 end_late",
        "5 in 1: Retriever Thing Nowhere",
        "5 over at 7 end_late",
        "1 over at 7",
    ]);
    // What is told to end belongs to nothing any more: its end may yet come, for a while.
    scene.told.clear();
    scene.tick(OUTLIVES / 2).tick(OUTLIVES);
    scene.comes_to(&["4 over at 7 end_late"]);
}

#[test]
fn an_exception_ends_what_does_not_catch_it() {
    let mut scene = Scene::default();
    scene.begins(MAIN, (10, None, 0xa, CHAIN, 100, 0));
    scene.begins(MAIN, (11, Some(10), 0xb, LLM, 200, 0));
    scene.raised(200, "ValueError").raised(100, "ValueError");
    // A fallback: the chain goes on.
    scene
        .begins(MAIN, (12, Some(10), 0xc, LLM, 300, 0))
        .ends(0xc);
    scene.tick(CAUGHT_WITHIN + 5);
    scene.ends(0xa);
    scene.comes_to(&[
        "1 in -: Chain Thing Thread",
        "2 in 1: Completion Thing Thread",
        "2 left",
        "1 left",
        "3 in 1: Completion Thing Thread",
        "3 over at 6",
        "2 over at 3 ValueError",
        "1 over at 200000012",
    ]);
}

#[test]
fn the_end_of_a_loop_ends_no_run() {
    let (next, anext) = ("StopIteration", "StopAsyncIteration");
    let table = [
        (next, GENERATOR, false),
        (next, COROUTINE, false),
        (next, ASYNC_GENERATOR, false),
        (next, 0, true),
        (anext, ASYNC_GENERATOR, false),
        (anext, COROUTINE, false),
        (anext, GENERATOR, true),
        ("Odd", ASYNC_GENERATOR, true),
    ];
    for (class, flags, is_its_end) in table {
        let mut scene = Scene::default();
        scene.begins(MAIN, (10, None, 0xa, CHAIN, 100, flags));
        scene.raised(100, class).tick(CAUGHT_WITHIN + 1);
        let over = format!("1 over at 2 {class}");
        let has_ended = scene.told.iter().any(|told| told.trim_end() == over);
        assert_eq!(has_ended, is_its_end, "{class} {flags:#x}");
        // Nor is it left.
        let is_left = scene.told.contains(&"1 left".to_owned());
        assert_eq!(is_left, is_its_end, "{class} {flags:#x}");
    }
}

#[test]
fn a_tool_that_handles_an_exception_goes_on() {
    let mut scene = Scene::default();
    scene
        .begins(MAIN, (10, None, 0xa, TOOL, 100, 0))
        .raised(100, "ToolException");
    scene.tick(2 * CAUGHT_WITHIN);
    scene.begins(MAIN, (11, None, 0xb, TOOL, 200, 0));
    scene
        .raised(200, "KeyError")
        .raised(200, "KeyError")
        .tick(2 * CAUGHT_WITHIN);
    scene.comes_to(&[
        "1 in -: Tool Thing Nowhere",
        "1 left",
        "1 over at 400000003 end_late",
        "2 in -: Tool Thing Nowhere",
        "2 left",
        "2 left",
        "2 over at 400000005 KeyError",
    ]);
}

#[test]
fn a_run_is_over_when_what_speaks_for_it_is_gone() {
    let mut scene = Scene {
        followed: true,
        ..Scene::default()
    };
    scene.begins(MAIN, (10, None, 0xa, CHAIN, 100, 0));
    scene
        .begins(MAIN, (11, Some(10), 0xb, TOOL, 200, 0))
        .gone(0xb, true);
    // A copy goes first, or is kept.
    let copy = "AsyncCallbackManagerForRetrieverRun.get_sync";
    scene
        .begins(MAIN, (12, Some(10), 0xc, RETRIEVER, 300, 0))
        .begins(MAIN, (12, Some(10), 0xd, copy, 400, 0))
        .gone(0xd, true);
    scene.gone(0xc, true);
    scene
        .begins(MAIN, (13, Some(10), 0xe, LLM, 500, 0))
        .begins(MAIN, (13, Some(10), 0xf, copy, 600, 0))
        .gone(0xe, true);
    scene.gone(0xf, true).gone(0xa, true).gone(0xa, true);
    scene.comes_to(&[
        "1 in -: Chain Thing Thread",
        "2 in 1: Tool Thing Thread",
        "2 over at 3",
        "3 in 1: Retriever Thing Thread",
        "3 over at 7",
        "4 in 1: Completion Thing Thread",
        "4 over at 10",
        "1 over at 12",
    ]);
    assert!(scene.runs.is_empty() && scene.runs.managers.is_empty());
}

#[test]
fn what_is_kept_longer_than_its_function_says_that_it_is_late() {
    let mut scene = Scene {
        followed: true,
        ..Scene::default()
    };
    scene
        .begins(MAIN, (10, None, 0xa, TOOL, 100, 0))
        .gone(0xa, false);
    // The exception kept it; the handled one of a tool did not end it.
    scene
        .begins(MAIN, (11, None, 0xb, LLM, 200, 0))
        .raised(200, "KeyError")
        .gone(0xb, false);
    scene
        .begins(MAIN, (12, None, 0xc, TOOL, 300, 0))
        .raised(300, "ToolException")
        .gone(0xc, true);
    scene.comes_to(&[
        "1 in -: Tool Thing Thread",
        "1 over at 2 end_late",
        "2 in -: Completion Thing Thread",
        "2 left",
        "2 over at 4 KeyError",
        "3 in -: Tool Thing Thread",
        "3 left",
        "3 over at 8",
    ]);
}

#[test]
fn methods_without_their_class_are_told_apart_by_their_flags() {
    let mut scene = Scene::default();
    scene.begins(MAIN, (10, None, 0xa, "on_chain_start", 100, COROUTINE));
    scene.begins(MAIN, (11, Some(10), 0xb, "on_llm_start", 200, 0));
    scene.begins(MAIN, (11, Some(10), 0xc, "get_sync", 300, 0));
    scene.told_by(0xa, "on_chain_end", "");
    scene.comes_to(&[
        "1 in -: Chain Thing Context",
        "2 in 1: Completion Thing Thread",
        "1 over at 4",
    ]);
}

#[test]
fn runs_of_a_batch_are_around_nothing() {
    let mut scene = Scene::default();
    scene.begins(MAIN, (10, None, 0xa, CHAIN, 100, 0));
    scene.begins(MAIN, (11, None, 0xb, CHAIN, 100, 0));
    scene.ends(0xa).ends(0xb);
    scene.comes_to(&[
        "1 in -: Chain Thing Thread",
        "1 left",
        "2 in -: Chain Thing Nowhere",
        "1 over at 3",
        "2 over at 4",
    ]);
}

#[test]
fn the_next_call_in_the_frame_of_one_that_failed_is_another() {
    let mut scene = Scene::default();
    scene
        .begins(MAIN, (10, None, 0xa, CHAIN, 100, 0))
        .raised(100, "KeyError");
    scene.raised(100, "LookupError");
    scene
        .begins(MAIN, (11, None, 0xb, CHAIN, 100, 0))
        .raised(100, "Odd");
    scene.tick(2 * CAUGHT_WITHIN);
    scene.comes_to(&[
        "1 in -: Chain Thing Thread",
        "1 left",
        "1 left",
        "1 over at 2 KeyError",
        "2 in -: Chain Thing Thread",
        "2 left",
        "2 over at 5 Odd",
    ]);
}

#[test]
fn a_run_belongs_to_that_in_whose_function_it_begins() {
    let mut scene = Scene::default();
    scene.begins(MAIN, (10, None, 0xa, CHAIN, 100, 0));
    scene
        .begins(MAIN, (11, None, 0xb, TOOL, 150, 0))
        .raised(100, "KeyError");
    // The chain caught it: it is around what begins now.
    scene
        .begins(MAIN, (12, None, 0xc, LLM, 150, 0))
        .tick(2 * CAUGHT_WITHIN);
    scene.comes_to(&[
        "1 in -: Chain Thing Thread",
        "2 in 1: Tool Thing Nowhere",
        "1 left",
        "2 over at 4 end_late",
        "3 in 1: Completion Thing Thread",
    ]);
}

#[test]
fn generators_are_around_nothing_but_models() {
    let mut scene = Scene::default();
    scene.begins(MAIN, (10, None, 0xa, CHAIN, 100, GENERATOR));
    scene.begins(MAIN, (11, Some(10), 0xb, LLM, 200, GENERATOR));
    scene.comes_to(&[
        "1 in -: Chain Thing Nowhere",
        "2 in 1: Completion Thing Thread",
    ]);
}

#[test]
fn what_is_not_over_is_told_so() {
    let mut scene = Scene::default();
    scene.begins(MAIN, (10, None, 0xa, CHAIN, 100, 0));
    scene.begins(MAIN, (11, Some(10), 0xb, TOOL, 200, 0));
    let mut out = Vec::new();
    scene.runs.stop(Some(PID + 1), BootTime(50), &mut out);
    assert_eq!(out, []);
    scene.runs.stop(Some(PID), BootTime(50), &mut out);
    scene.take(out);
    scene.comes_to(&[
        "1 in -: Chain Thing Thread",
        "2 in 1: Tool Thing Nowhere",
        "2 over at 50 unfinished",
        "1 over at 50 unfinished",
    ]);
}

#[test]
fn what_means_nothing_is_nothing() {
    let mut scene = Scene::default();
    scene
        .ends(1)
        .raised(5, "E")
        .told_by(3, "X.on_chain_end", "");
    scene.begins(MAIN, (10, None, 0xa, "RunManager.get_noop_manager", 100, 0));
    scene.begins(MAIN, (10, None, 0xa, "on_chain_begin", 100, 0));
    scene.begins(MAIN, (10, None, 0xa, "\u{fffd}.on_llm_token", 100, 0));
    // At an address that was another run's.
    scene.begins(MAIN, (11, None, 0xa, CHAIN, 100, 0));
    scene
        .begins(MAIN, (12, None, 0xa, "RunManager.get_noop_manager", 100, 0))
        .ends(0xa);
    scene.comes_to(&["1 in -: Chain Thing Thread", "1 over at 8 end_late"]);
    assert!(scene.runs.is_empty() && scene.runs.managers.is_empty());
}

#[test]
fn who_has_the_address_of_what_spoke_for_a_run_ends_it() {
    let mut scene = Scene::default();
    scene
        .begins(MAIN, (10, None, 0xa, CHAIN, 100, 0))
        .begins(MAIN, (11, None, 0xb, CHAIN, 200, 0));
    // What speaks for the second as well.
    scene.begins(MAIN, (11, None, 0xa, CHAIN, 300, 0)).ends(0xa);
    scene
        .begins(MAIN, (12, None, 0xb, CHAIN, 400, 0))
        .begins(MAIN, (13, None, 0xb, CHAIN, 500, 0))
        .ends(0xb);
    scene.comes_to(&[
        "1 in -: Chain Thing Thread",
        "2 in -: Chain Thing Thread",
        "1 over at 3 end_late",
        "2 over at 4",
        "3 in -: Chain Thing Thread",
        "3 over at 6 end_late",
        "4 in -: Chain Thing Thread",
        "4 over at 7",
    ]);
    assert!(scene.runs.is_empty() && scene.runs.managers.is_empty());
}

#[test]
fn runs_under_way_are_bounded() {
    let mut scene = Scene::default();
    for n in 0..MAX_RUNS as u64 + 2 {
        scene.begins(n as u32, (u128::from(n) + 1, None, n + 1, CHAIN, 8 * n, 0));
    }
    assert_eq!((scene.runs.open.len(), scene.runs.refused), (MAX_RUNS, 2));
    assert!(
        scene
            .told
            .contains(&format!("1 over at {} unfinished", MAX_RUNS + 1))
    );
}

#[test]
fn what_belongs_to_a_run_is_over_with_it_as_deep_as_a_program_likes() {
    let mut scene = Scene::default();
    let tool = "AsyncCallbackManager.on_tool_start";
    for n in 0..MAX_RUNS as u64 {
        let parent = Some(u128::from(n)).filter(|n| *n > 0);
        let run = (u128::from(n) + 1, parent, n + 1, tool, 8 * n, 0);
        scene.begins(MAIN, run);
    }
    scene.told.clear();
    scene.gone(1, true);
    let now = scene.now;
    assert_eq!(scene.told.len(), MAX_RUNS);
    assert_eq!(scene.told[0], format!("{MAX_RUNS} over at {now} end_late"));
    assert_eq!(scene.told[MAX_RUNS - 1], format!("1 over at {now} "));
    assert!(scene.runs.is_empty());
    // One of them failed before: that is the end of what it did.
    let mut scene = Scene::default();
    scene
        .begins(MAIN, (1, None, 1, CHAIN, 100, 0))
        .begins(MAIN, (2, Some(1), 2, CHAIN, 200, 0))
        .begins(MAIN, (3, Some(2), 3, tool, 300, 0))
        .raised(200, "pkg.Failed")
        .ends(1);
    scene.comes_to(&[
        "1 in -: Chain Thing Thread",
        "2 in 1: Chain Thing Thread",
        "3 in 2: Tool Thing Nowhere",
        "2 left",
        "3 over at 4 end_late",
        "2 over at 4 Failed",
        "1 over at 5",
    ]);
}

#[test]
fn names() {
    let name = |bytes, width, characters| {
        text_of(&RunName {
            bytes,
            width,
            characters,
        })
    };
    assert_eq!(name(b"gr\xfc\xdfe", 1, 5), "grüße");
    assert_eq!(name(&[0x60, 0x4f, 0x7d, 0x59], 2, 2), "你好");
    assert_eq!(
        name(&[0x80, 0xf9, 1, 0, 0, 0xd8, 0, 0], 4, 9),
        "🦀\u{fffd}…"
    );
    assert_eq!(class_of(b"langchain_core.x.Y"), "Y");
    assert_eq!(class_of(b""), "_OTHER");
}

#[test]
fn what_a_function_gives_is_its_own_runs() {
    let mut scene = Scene {
        followed: true,
        ..Scene::default()
    };
    scene.begins(MAIN, (1, None, 10, "CallbackManager.on_tool_start", 100, 0));
    // A copy of what speaks for it, which another function had made.
    scene.begins(MAIN, (1, None, 20, "AsyncRunManager.get_sync", 200, 0));
    for (manager, gave) in [(10, "own"), (20, "other"), (30, "nobody's")] {
        scene.runs.values(
            &Snapshot {
                pid: PID,
                tid: MAIN,
                time: BootTime(5),
                subject: Subject::Run {
                    hook: hook::GONE,
                    manager,
                },
                context: None,
                values: vec![None, Some(gave.into())],
            },
            true,
        );
    }
    scene.gone(20, true).gone(10, true);
    let told = scene
        .told
        .iter()
        .any(|told| told == "1 gave Some(String(\"own\"))");
    assert!(told, "{:?}", scene.told);
}
