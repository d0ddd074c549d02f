//! Chosen coroutines and generators, seen from outside: every one, from when it first runs to its
//! end, on whatever thread it goes on, and what is made in it, is what the program itself has a
//! record of.

use anyhow::Result;
use genspan::vocabulary::attr;
use genspan_tests::{Agent, Client, Finished, Process, Scene, Span, Temp, agent, need};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// What is watched, the number of a call with it; some arguments are in cells.
const COROUTINES: [&str; 2] = [
    "__main__:Service.handle(number, text, share, flag, nothing, then)",
    "__main__:inner(number)",
];
const GENERATORS: [&str; 2] = ["__main__:numbers(number)", "__main__:stream(number)"];

/// How far wall time may be off boot time between two measurements of it, in nanoseconds.
const CLOCK: u64 = 2_000_000;

fn argument(span: &Span, name: &str) -> Value {
    let name = format!("{}{name}", attr::FUNCTION_ARGUMENT);
    span.attribute(&name).clone()
}

fn of_python(python: &std::path::Path) -> Command {
    let mut command = Command::new(python);
    command.arg(genspan_tests::programs().join("live/coroutines.py"));
    command
}

fn watch(temp: &Temp, pid: u32, functions: [&str; 2], options: &[&str]) -> Result<Agent> {
    let mut all = options.to_vec();
    for function in functions {
        all.extend(["--function", function]);
    }
    let list = pid.to_string();
    let mut agent = Agent::start(temp, &all, &["--pid", &list])?;
    for function in functions {
        let name = function.split('(').next().unwrap_or_default();
        agent.wait_for_log(&format!("watching {name} (pid {pid})"))?;
    }
    Ok(agent)
}

/// Holds spans against a program's own record.
fn compare(truth: &[Value], spans: &[Span], what: &str) {
    let mut by_number: BTreeMap<u64, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        let number = argument(span, "number").as_u64();
        assert!(number.is_some(), "{what}: {}", span.0);
        by_number.entry(number.unwrap_or(0)).or_default().push(span);
    }
    let ids: BTreeMap<u64, Value> = by_number
        .iter()
        .filter_map(|(number, spans)| Some((*number, spans.first()?.0["span_id"].clone())))
        .collect();
    let mut wrong = Vec::new();
    for told in truth {
        let number = told["number"].as_u64().unwrap_or(0);
        let found = by_number.remove(&number).unwrap_or_default();
        let [span] = found.as_slice() else {
            wrong.push(format!("{} spans of {told}", found.len()));
            continue;
        };
        let name = match told["name"].as_str() {
            Some("handle") => "Service.handle",
            Some(name) => name,
            None => "",
        };
        let around = told["around"].as_u64();
        let parent = around.and_then(|around| ids.get(&around).cloned());
        let error = told["error"].as_str().unwrap_or_default();
        let failed = span.0["status"]["code"] == "ERROR";
        let (start, end) = (span.start(), span.start() + span.duration());
        // From 3.12 on one whose frame is kept is seen to be over when something else shows it.
        let kept = told["kept"] == true;
        let in_time = told["start"]
            .as_u64()
            .is_none_or(|from| start + CLOCK >= from)
            && told["end"]
                .as_u64()
                .is_none_or(|to| end <= to + CLOCK || kept)
            && told["least"]
                .as_u64()
                .is_none_or(|least| span.duration() >= least);
        // The class's name cannot be read where a forked child did not touch it yet.
        let unnamed = what.starts_with("forks") && failed && span.error() == "_OTHER";
        let closed = *span.attribute(attr::FUNCTION_CLOSED) == Value::Bool(true);
        let right = span.name() == name
            && span.kind() == "INTERNAL"
            && around.is_some() == parent.is_some()
            && span.0["parent_span_id"] == parent.clone().unwrap_or(Value::Null)
            && failed != error.is_empty()
            && (span.error() == error || unnamed)
            && closed == (told["closed"] == true)
            && (span.defects().is_empty()
                || (kept && (span.defects() == ["end_late"] || span.defects() == ["unfinished"])))
            && in_time;
        if !right {
            wrong.push(format!("{told} was told as {}, parent {parent:?}", span.0));
        }
    }
    for (number, spans) in by_number {
        wrong.push(format!("{} spans of no call {number}", spans.len()));
    }
    let some: Vec<_> = wrong.iter().take(5).cloned().collect();
    assert!(
        wrong.is_empty(),
        "{what}: {} of {} wrong: {}",
        wrong.len(),
        truth.len(),
        some.join("\n")
    );
}

/// What the arguments of the calls in `plain` are told as.
fn check_arguments(spans: &[Span]) {
    let handled = spans.iter().filter(|s| s.name() == "Service.handle");
    let handled: Vec<_> = handled.collect();
    let all = |name: &str| -> Vec<Value> { handled.iter().map(|s| argument(s, name)).collect() };
    let cut = format!("{}…", "a".repeat(1024));
    let wanted = [
        ("text", serde_json::json!(["grüße", cut, 5])),
        ("share", serde_json::json!([0.25, 1.5, -7])),
        ("flag", serde_json::json!([true, false, true])),
        (
            "nothing",
            serde_json::json!(["None", "None", 1_099_511_627_776_u64]),
        ),
    ];
    for (name, values) in wanted {
        assert_eq!(Value::from(all(name)), values, "{name}");
    }
    assert_eq!(all("then")[1], "[]");
}

/// These steps with one Python; the recording gives the same spans.
fn steps(command: &mut Command, functions: [&str; 2], all: &[&str]) -> Result<()> {
    steps_by(command, (functions, &[]), all)
}

/// The same with these options.
fn steps_by(
    command: &mut Command,
    (functions, options): ([&str; 2], &[&str]),
    steps: &[&str],
) -> Result<()> {
    let temp = Temp::new()?;
    let mut program = Process::ready(command, &temp)?;
    let recording = temp.file("recording");
    let path = recording.to_string_lossy().into_owned();
    let options = [options, &["--record", &path]].concat();
    let agent = watch(&temp, program.pid(), functions, &options)?;
    let mut truth: Vec<Vec<Value>> = Vec::new();
    for step in steps {
        program.tell(step)?;
        if *step == "forks" {
            // The child goes on when the agent knows of it: then its exceptions are seen.
            let before: usize = truth.iter().map(Vec::len).sum();
            agent.wait_for_spans(before + 30)?;
            std::thread::sleep(Duration::from_millis(200));
            program.tell("")?;
        }
        truth.push(program.record()?);
    }
    let Finished {
        spans, log, lines, ..
    } = agent.stop()?;
    assert!(!log.contains("lost:"), "{log}");
    let mut left = spans;
    for (step, truth) in steps.iter().zip(&truth) {
        let numbers: Vec<_> = truth.iter().map(|t| t["number"].clone()).collect();
        let (own, rest) = left
            .into_iter()
            .partition(|s| numbers.contains(&argument(s, "number")));
        left = rest;
        compare(truth, &own, &format!("{step} of {command:?}"));
        if *step == "plain" {
            check_arguments(&own);
        }
    }
    assert!(left.is_empty(), "spans of no call: {:?}", left.first());
    let replayed = temp.file("replayed");
    let to = replayed.to_string_lossy().into_owned();
    let replay = ["replay", &path, "--format", "json", "--output", &to];
    let finished = agent::run(&temp, &replay)?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_eq!(std::fs::read_to_string(replayed)?, lines);
    Ok(())
}

fn every_one(command: &mut Command) -> Result<()> {
    let all = [
        "plain", "errors", "nested", "many", "threads", "closed", "forks", "kept",
    ];
    steps(command, COROUTINES, &all)
}

fn with_python(python: Option<PathBuf>) -> Result<()> {
    match (need::root()?, python) {
        (Some(()), Some(python)) => every_one(&mut of_python(&python)),
        _ => Ok(()),
    }
}

#[test]
fn python_38() -> Result<()> {
    with_python(need::python(8)?)
}

#[test]
fn python_39() -> Result<()> {
    with_python(need::python(9)?)
}

#[test]
fn python_310() -> Result<()> {
    with_python(need::python(10)?)
}

#[test]
fn python_311() -> Result<()> {
    with_python(need::python(11)?)
}

#[test]
fn python_312() -> Result<()> {
    with_python(need::python(12)?)
}

#[test]
fn python_313() -> Result<()> {
    with_python(need::python(13)?)
}

/// Debian's, in a root directory of its own.
#[test]
fn python_314() -> Result<()> {
    let (Some(()), Some(root)) = (need::root()?, need::debian_python(14)?) else {
        return Ok(());
    };
    let source = std::fs::read_to_string(genspan_tests::programs().join("live/coroutines.py"))?;
    let mut command = Command::new("chroot");
    every_one(
        command
            .arg(root)
            .args(["/usr/bin/python3.14", "-c", &source]),
    )
}

/// Debian's: static, stripped, with link-time optimisation.
#[test]
fn of_the_system() -> Result<()> {
    with_python(need::system_python()?)
}

/// Generators and asynchronous generators: run to the end, left, closed, thrown into.
#[test]
fn generators() -> Result<()> {
    for python in [need::python(10)?, need::python(13)?, need::system_python()?] {
        if let (Some(()), Some(python)) = (need::root()?, python) {
            steps(&mut of_python(&python), GENERATORS, &["generators"])?;
        }
    }
    Ok(())
}

/// Where the interpreter runs them, without a watchpoint: their frames, or `RESUME`.
#[test]
fn by_the_interpreter() -> Result<()> {
    let pythons = [
        (need::python(8)?, "interpreter"),
        (need::python(10)?, "interpreter"),
        (need::python(11)?, "resume"),
        (need::python(12)?, "resume"),
        (need::python(13)?, "resume"),
        (need::system_python()?, "resume"),
    ];
    for (python, how) in pythons {
        let options = ["--function-probe", how];
        if let (Some(()), Some(python)) = (need::root()?, python) {
            let all = [
                "plain", "errors", "nested", "many", "threads", "closed", "kept",
            ];
            steps_by(&mut of_python(&python), (COROUTINES, &options), &all)?;
            steps_by(
                &mut of_python(&python),
                (GENERATORS, &options),
                &["generators"],
            )?;
        }
    }
    Ok(())
}

/// Twenty at a time in one thread, each with its own model call, made by itself, by another task or in
/// another thread, and as many calls that nobody watched makes: each call has its own coroutine as its
/// parent, or none.
#[test]
fn each_model_call_has_its_own_coroutine() -> Result<()> {
    let pythons = [9, 12].map(|minor| need::python(minor).map(|python| (minor, python)));
    let pythons = pythons.into_iter().collect::<Result<Vec<_>>>()?;
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    for (minor, python) in pythons {
        let Some(python) = python else { continue };
        let mut command = scene.live(&python, "coroutine_tree.py");
        let mut program = Client::start(&mut command, &scene.next_log())?;
        let list = program.pid().to_string();
        let options = ["--debug", "--function", "__main__:answer(question)"];
        let mut agent = Agent::start(&scene.temp, &options, &["--pid", &list])?;
        agent.wait_for_log("watching __main__:answer (pid")?;
        agent.wait_for_log("thread pools are followed")?;
        agent.wait_for_log("contexts are followed")?;
        agent.wait_placed()?;
        if minor == 12 {
            doctor_tells(&list)?;
        }
        program.0.tell("20")?;
        assert_eq!(program.0.line()?, "40");
        let finished = agent.stop()?;
        let (answers, calls): (Vec<_>, Vec<_>) =
            finished.spans.iter().partition(|s| s.name() == "answer");
        let calls: Vec<_> = calls
            .into_iter()
            .filter(|s| s.name().starts_with("chat"))
            .collect();
        assert_eq!((answers.len(), calls.len()), (20, 40), "{}", finished.lines);
        for call in calls {
            let question = call.texts(attr::INPUT_MESSAGES).concat();
            let own = answers.iter().find(|s| argument(s, "question") == question);
            assert_eq!(own.is_some(), question.starts_with("question"));
            let parent = own.map_or(Value::Null, |own| own.0["span_id"].clone());
            assert_eq!(call.0["parent_span_id"], parent, "{python:?}: {}", call.0);
            if own.is_some() {
                assert_eq!(call.text(attr::PARENT_SOURCE), "function");
            }
        }
    }
    Ok(())
}

/// What `genspan doctor` says of a process in which a function is watched.
fn doctor_tells(pid: &str) -> Result<()> {
    let asked = ["doctor", "--json", "--socket", "none", "--pid", pid];
    let done = agent::command(&asked)?.output()?;
    let report: Value = serde_json::from_slice(&done.stdout)?;
    let ways = report["processes"][0]["mechanisms"].as_array();
    let found = |name: &str| {
        let way = ways?.iter().find(|way| way["name"] == name)?;
        Some((way["there"].as_bool()?, way["found"].as_str()?.to_owned()))
    };
    let (there, said) = found("watchpoints").unwrap_or_default();
    assert!(there && said.starts_with("2 of 4 left"), "{report:#}");
    let (there, said) = found("contexts").unwrap_or_default();
    assert!(
        there && said.starts_with("PyContext_CopyCurrent at 0x"),
        "{report:#}"
    );
    Ok(())
}
