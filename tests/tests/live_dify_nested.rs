//! Nodes of Dify's workflows that others are run within: iterations, side by side and not, and loops in them.
//! Every version of the engine is held against what its nodes say of themselves; nothing is ever told within
//! another than it is, and a model's call is under the request that names it.
#![allow(clippy::print_stderr, reason = "how much was held, for who measures")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use genspan::vocabulary::attr;
use genspan_tests::tree::{Tree, crowd, get, has_none_of, id_in, replays_to};
use genspan_tests::{Agent, Finished, Process, Scene, Span, need};
use serde_json::Value;

/// Clients at one time, and requests of each; under load, and how many these ask in all unless the environment
/// says how many.
const CLIENTS: u32 = 3;
const REQUESTS: u32 = 2;
const MANY: u32 = 30;
const OF_MANY: u32 = 60;
const IN_ALL: &str = "GENSPAN_PARENT_REQUESTS";

/// What a node is right within; none for the run of the workflow.
fn around(node: &str) -> Option<&'static str> {
    match node {
        "each_start" | "again" | "after" => Some("each"),
        "again_start" | "model" => Some("again"),
        "other_start" | "tool" => Some("other"),
        _ => None,
    }
}

/// Which engine, and what is run by it.
struct Engine {
    program: &'static str,
    environment: &'static str,
    /// What the program's environment says.
    settings: &'static [(&'static str, &'static str)],
    /// The paths that are asked for, with how many nodes are run for each, and how many models asked.
    paths: &'static [(&'static str, usize, usize)],
    /// Which of two containers of a kind a node is within may not be known: then it is told within none.
    may_be_unknown: bool,
    /// What nodes are given and give is told.
    content: bool,
}

/// What the imitations have in the configuration of a node, of a graph and of an engine.
const SECRET: &str = "nobody-may-see-this";

const NESTED: (&str, usize, usize) = ("nested", 31, 6);
const DEEP: (&str, usize, usize) = ("deep", 24, 6);
const LAYERS: &[(&str, &str)] = &[];
const NO_LAYERS: &[(&str, &str)] = &[("ENGINE_LAYERS", "none")];

/// One of graphon.
const fn graphon(environment: &'static str, settings: &'static [(&str, &str)]) -> Engine {
    Engine {
        program: "dify_nested_app.py",
        environment,
        settings,
        paths: &[NESTED, DEEP],
        may_be_unknown: false,
        content: true,
    }
}

/// The packages of an environment.
fn packages(environment: &str) -> Result<Option<PathBuf>> {
    let Some(python) = need::environment(environment)? else {
        return Ok(None);
    };
    let above = python.parent().and_then(|bin| bin.parent());
    let above = above.context("no environment")?;
    Ok(Some(above.join("lib/python3.12/site-packages")))
}

/// What is wrong with the parent of what a node said of itself, and whether it is not known.
fn check(tree: &Tree<'_>, span: &Span, said: &Value, all: &BTreeMap<&str, &Value>) -> (bool, bool) {
    let above = tree.above(span);
    let is_run = above.is_some_and(|s| !s.text(attr::WORKFLOW_NAME).is_empty());
    let node = said["node"].as_str().unwrap_or_default();
    let Some(wanted) = around(node) else {
        return (is_run, false);
    };
    let of = above.and_then(|above| all.get(above.text(attr::RUN_ID)));
    let is_right = of.is_some_and(|of| {
        let same_round = wanted == "each" || wanted == "other" || of["item"] == said["item"];
        of["node"] == wanted && of["asked"] == said["asked"] && same_round
    });
    (is_right || is_run, is_run)
}

/// The type of the error of a node.
fn error(said: &Value) -> &'static str {
    match said["node"].as_str() {
        Some("fails") => "KeyError",
        Some("raises") => "WorkflowNodeError",
        _ => "",
    }
}

/// Asks an engine from so many clients, each so many times, and holds what is told against what its nodes say.
fn holds(engine: &Engine, (clients, requests): (u32, u32)) -> Result<()> {
    let scene = Scene::plain()?;
    let (Some(scene), Some(python)) = (scene, need::environment(engine.environment)?) else {
        return Ok(());
    };
    let Some(more) = packages("dify")? else {
        return Ok(());
    };
    let mut command = scene.live(&python, engine.program);
    command.env("MORE_PACKAGES", more);
    command.envs(engine.settings.iter().copied());
    let mut server = Process::start(&mut command, &scene.next_log())?;
    let port: u16 = server.line()?.trim().parse()?;
    let paths: Vec<_> = engine.paths.iter().map(|(path, ..)| *path).collect();
    for path in &paths {
        get(port, &format!("{path}?id=0")).with_context(|| server.complaints())?;
    }
    let temp = &scene.temp;
    let recording = temp.file("recording").to_string_lossy().into_owned();
    let is_recorded = clients < MANY;
    // Many nodes begin at a time, and a snapshot of each waits to be read: of a thousand requests more than the
    // agent reads while they are made.
    let mut options = match clients * requests {
        _ if is_recorded => vec!["--record", &recording],
        0..=OF_MANY => vec!["--ring-size", "64M"],
        _ => vec!["--ring-size", "256M"],
    };
    options.extend((!engine.content).then_some("--no-content"));
    let mut agent = Agent::attach(temp, &[server.pid()], &options)?;
    agent.wait_for_log(&format!("watching Dify (pid {})", server.pid()))?;
    let asked = crowd(port, (clients, requests), &paths).with_context(|| server.complaints())?;
    let of = |at: &usize| engine.paths[*at];
    let nodes: usize = asked.values().map(|at| of(at).1).sum();
    let calls: usize = asked.values().map(|at| of(at).2).sum();
    // Of a thousand requests it is busy for a while: it has come to its end when nothing more comes.
    let mut so_far = 0;
    let came = loop {
        let came = agent.wait_for_spans(2 * asked.len() + nodes);
        let told = agent.spans()?.len();
        if came.is_ok() || told == so_far {
            break came;
        }
        so_far = told;
    };
    let Finished {
        spans, log, lines, ..
    } = agent.stop()?;
    ensure!(!log.contains("lost:"), "{log}");
    let told: Vec<Value> = serde_json::from_str(&get(port, "record")?)?;
    let told = told.iter().filter(|said| said["asked"] != 0);
    let told: Vec<_> = told
        .filter_map(|said| Some((said["id"].as_str()?, said)))
        .collect();
    let all: BTreeMap<_, _> = told.iter().copied().collect();
    let tree = Tree::of(&spans);
    let mut by_id: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in &spans {
        by_id.entry(span.text(attr::RUN_ID)).or_default().push(span);
    }
    let mut wrong = Vec::new();
    let mut unknown = 0;
    for (id, said) in &all {
        let found = by_id.get(id).map_or(&[][..], Vec::as_slice);
        // What is tried again says so with the same id.
        let tries = told.iter().filter(|(of, _)| of == id).count();
        if found.len() != tries {
            wrong.push(format!("{} instead of {tries} of {said}", found.len()));
        }
        for span in found {
            let (is_right, is_unknown) = check(&tree, span, said, &all);
            unknown += usize::from(is_unknown);
            // Without content a request does not say its id.
            let is_asked =
                !engine.content || tree.request(span).map(u64::from) == said["asked"].as_u64();
            let is_error = span.text(attr::ERROR_TYPE) == error(said);
            let is_given = said["node"] != "tool"
                || span
                    .text(attr::TOOL_CALL_RESULT)
                    .contains(&format!("of {}.", said["asked"]));
            let is_whole = is_given && span.defects().is_empty();
            if !is_right || !is_asked || !is_error || !is_whole {
                let above = tree.above(span).map(|s| &s.0);
                wrong.push(format!("{said}: {} below {above:?}", span.0));
            }
        }
    }
    let mut seen = 0;
    for span in spans.iter().filter(|s| s.name() == "chat web") {
        seen += 1;
        let named = id_in(span.text(attr::INPUT_MESSAGES), "request ");
        if named.is_none() || tree.request(span) != named || span.text(attr::RUN_ID).is_empty() {
            wrong.push(format!("a call that is nobody's: {}", span.0));
        }
    }
    let runs = spans
        .iter()
        .filter(|s| !s.text(attr::WORKFLOW_NAME).is_empty());
    let (runs, some): (_, Vec<_>) = (runs.count(), wrong.iter().take(6).cloned().collect());
    ensure!(
        wrong.is_empty(),
        "{}: {} wrong of {} spans: {}\n{log}",
        engine.environment,
        wrong.len(),
        spans.len(),
        some.join("\n")
    );
    came?;
    assert_eq!(
        (told.len(), seen, runs),
        (nodes, calls, asked.len()),
        "{log}"
    );
    assert!(
        unknown == 0 || engine.may_be_unknown,
        "{unknown} of {nodes} unknown"
    );
    eprintln!(
        "{} {:?}: {} requests, {nodes} nodes, {calls} calls, {unknown} within what is not known",
        engine.environment,
        engine.settings,
        asked.len()
    );
    if !is_recorded {
        return Ok(());
    }
    has_none_of(&recording, &[SECRET])?;
    replays_to(temp, &recording, &lines)
}

/// Rounds that are frames of the engine, which says to its layers what they are within.
#[test]
fn frames_of_an_engine_with_layers() -> Result<()> {
    holds(&graphon("dify", LAYERS), (CLIENTS, REQUESTS))
}

/// Rounds that are frames of an engine that does not: what is known for sure is told, and nothing else.
#[test]
fn frames_of_an_engine_without() -> Result<()> {
    let kinds = [graphon("dify", NO_LAYERS), graphon("dify-0.7", LAYERS)];
    for engine in kinds {
        let alone = Engine {
            paths: &[DEEP],
            ..engine
        };
        holds(&alone, (CLIENTS, REQUESTS))?;
        let both = Engine {
            paths: &[NESTED],
            may_be_unknown: true,
            ..alone
        };
        holds(&both, (CLIENTS, REQUESTS))?;
    }
    Ok(())
}

/// Rounds that have engines of their own, on the thread of what they are within or on those of a pool.
#[test]
fn engines_of_rounds() -> Result<()> {
    for environment in ["dify-0.6", "dify-0.1"] {
        holds(&graphon(environment, LAYERS), (CLIENTS, REQUESTS))?;
    }
    Ok(())
}

/// The first graphon by the names that its modules had within Dify.
#[test]
fn the_engine_as_a_part_of_dify() -> Result<()> {
    holds(
        &graphon("dify-0.1", &[("ENGINE_IS", "core.workflow")]),
        (CLIENTS, REQUESTS),
    )?;
    holds(
        &graphon("dify-0.1", &[("ENGINE_IS", "dify_graph")]),
        (CLIENTS, REQUESTS),
    )
}

/// An imitation of the engine up to Dify 1.8, on the oldest Python that it ran on and on a later one.
#[test]
fn engines_that_run_their_nodes_themselves() -> Result<()> {
    for environment in ["py310", "py312"] {
        let engine = Engine {
            program: "dify_old_app.py",
            paths: &[("nested", 18, 6), ("fails", 2, 0)],
            ..graphon(environment, LAYERS)
        };
        holds(&engine, (CLIENTS, REQUESTS))?;
        let without_content = Engine {
            paths: &[("fails", 2, 0)],
            content: false,
            ..engine
        };
        holds(&without_content, (1, REQUESTS))?;
    }
    Ok(())
}

/// An imitation of the engine of Dify 1.9 and 1.10, on the Pythons that it ran on: a node that fails is tried
/// again, and the next one ends the run.
#[test]
fn workers_without_hooks() -> Result<()> {
    for environment in ["py311", "py312"] {
        let engine = Engine {
            program: "dify_workers_app.py",
            paths: &[("nested", 18, 6), ("fails", 4, 0)],
            ..graphon(environment, LAYERS)
        };
        holds(&engine, (CLIENTS, REQUESTS))?;
        let without_content = Engine {
            paths: &[("fails", 4, 0)],
            content: false,
            ..engine
        };
        holds(&without_content, (1, REQUESTS))?;
    }
    Ok(())
}

/// Thirty clients at a time: every node and every model's call is within what it should be.
#[test]
fn under_load() -> Result<()> {
    let asked = std::env::var(IN_ALL).ok().and_then(|n| n.parse().ok());
    let requests = asked.unwrap_or(OF_MANY).div_ceil(MANY).max(1);
    let engine = Engine {
        paths: &[NESTED],
        ..graphon("dify", LAYERS)
    };
    holds(&engine, (MANY, requests))
}
