//! Chosen Python functions, seen from outside: every call of them, with its beginning, its end and
//! its parent, is what the program itself has a record of.

use anyhow::{Context as _, Result};
use genspan::probe::slots;
use genspan::vocabulary::attr;
use genspan_tests::kernel::{self, Objects};
use genspan_tests::{Agent, Client, Finished, Process, Scene, Span, Temp, agent, memory, need};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What is watched, the number of a call with it.
const HANDLE: &str = "__main__:Service.handle(number, text, share, flag, nothing, then, absent)";
const INNER: &str = "__main__:inner(number)";

/// How far wall time may be off boot time between two measurements of it, in nanoseconds.
const CLOCK: u64 = 2_000_000;

/// What an argument is told as.
fn argument(span: &Span, name: &str) -> Value {
    let name = format!("{}{name}", attr::FUNCTION_ARGUMENT);
    span.attribute(&name).clone()
}

fn of_python(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg(genspan_tests::programs().join("live/functions.py"));
    command
}

/// Debian's 3.14, in a root directory of its own.
fn of_debian(root: &Path) -> Result<Command> {
    let source = std::fs::read_to_string(genspan_tests::programs().join("live/functions.py"))?;
    let mut command = Command::new("chroot");
    command
        .arg(root)
        .args(["/usr/bin/python3.14", "-c", &source]);
    Ok(command)
}

/// The agent, when it watches both.
fn watch(temp: &Temp, pid: u32, options: &[&str]) -> Result<Agent> {
    let mut all = vec!["--function", HANDLE, "--function", INNER];
    all.extend_from_slice(options);
    let list = pid.to_string();
    let mut agent = Agent::start(temp, &all, &["--pid", &list])?;
    for name in ["__main__:Service.handle", "__main__:inner"] {
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
    let mut wrong = Vec::new();
    let mut untouched = 0;
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
        let parent = told["around"].as_u64().and_then(|around| {
            let around = Some(&Value::from(around));
            spans
                .iter()
                .find(|s| Some(&argument(s, "number")) == around)
                .map(|s| s.0["span_id"].clone())
        });
        let error = told["error"].as_str().unwrap_or_default();
        let failed = span.0["status"]["code"] == "ERROR";
        let (start, end) = (span.start(), span.start() + span.duration());
        let in_time = match (told["start"].as_u64(), told["end"].as_u64()) {
            // The end of one whose frame is kept is that of what its thread does next.
            (Some(from), Some(to)) => {
                start + CLOCK >= from && (end <= to + CLOCK || told["kept"] == true)
            }
            _ => true,
        };
        // The class's name cannot be read where a forked child did not touch it yet.
        let unnamed = what.starts_with("forks") && failed && span.error() == "_OTHER";
        untouched += usize::from(unnamed);
        let right = span.name() == name
            && span.kind() == "INTERNAL"
            && span.0["parent_span_id"] == parent.clone().unwrap_or(Value::Null)
            && failed != error.is_empty()
            && (span.error() == error || unnamed)
            && (span.defects().is_empty()
                || (told["kept"] == true && span.defects() == ["end_late"]))
            && in_time;
        if !right {
            wrong.push(format!("{told} was told as {}, parent {parent:?}", span.0));
        }
    }
    for (number, spans) in by_number {
        wrong.push(format!("{} spans of no call {number}", spans.len()));
    }
    // Two children, two classes.
    assert!(untouched <= 4, "{what}: {untouched} errors without a name");
    let some: Vec<_> = wrong.iter().take(5).cloned().collect();
    assert!(
        wrong.is_empty(),
        "{what}: {} wrong: {}",
        wrong.len(),
        some.join("\n")
    );
}

/// What the arguments of the calls in `plain` are told as.
fn check_arguments(spans: &[Span]) {
    let handled: Vec<_> = spans
        .iter()
        .filter(|s| s.name() == "Service.handle")
        .collect();
    let all = |name: &str| -> Vec<Value> { handled.iter().map(|s| argument(s, name)).collect() };
    let cut = format!("{}…", "a".repeat(1024));
    assert_eq!(
        Value::from(all("text")),
        serde_json::json!(["grüße, 你好 🦀", cut, 5, "None"])
    );
    assert_eq!(
        Value::from(all("share")),
        serde_json::json!([0.25, 1.5, -7, "1208925819614629174706176"])
    );
    assert_eq!(
        Value::from(all("flag")),
        serde_json::json!([true, false, true, "__main__.Odd"])
    );
    assert_eq!(
        Value::from(all("nothing")),
        serde_json::json!(["None", "None", 1_099_511_627_776_u64, ""])
    );
    let lambda = "<function plain.<locals>.<lambda>>";
    let then = serde_json::json!([lambda, lambda]).to_string();
    assert_eq!(
        Value::from(all("then")),
        serde_json::json!([then, "[]", "[]", "[]"])
    );
    for span in handled {
        assert_eq!(
            span.text(attr::CODE_FUNCTION_NAME),
            "__main__.Service.handle"
        );
        let file = span.text(attr::CODE_FILE_PATH);
        assert!(
            file.ends_with("functions.py") || file == "<string>",
            "{file}"
        );
        assert!(span.number(attr::CODE_LINE_NUMBER) > Some(20));
    }
}

/// All steps with one Python; the recording gives the same spans.
fn every_call(command: &mut Command) -> Result<()> {
    every_call_by(command, &[], true)
}

/// The same with these options, in forked children or not.
fn every_call_by(command: &mut Command, options: &[&str], forks: bool) -> Result<()> {
    let temp = Temp::new()?;
    let mut program = Process::ready(command, &temp)?;
    let recording = temp.file("recording");
    let path = recording.to_string_lossy().into_owned();
    let options = [options, &["--record", &path]].concat();
    let agent = watch(&temp, program.pid(), &options)?;
    let mut truth: Vec<Vec<Value>> = Vec::new();
    let mut steps = vec![
        "plain",
        "errors",
        "nested",
        "called_from_c",
        "looked_at",
        "threads",
    ];
    if forks {
        steps.push("forks");
    }
    for step in &steps {
        program.tell(step)?;
        if *step == "forks" {
            // Each child goes on when the agent knows of it: then its exceptions are seen.
            let mut before: usize = truth.iter().map(Vec::len).sum();
            for calls in [30, truth[1].len() + 15] {
                before += calls;
                agent.wait_for_spans(before)?;
                std::thread::sleep(Duration::from_millis(100));
                program.tell("")?;
            }
        }
        truth.push(program.record()?);
    }
    let Finished {
        spans, log, lines, ..
    } = agent.stop()?;
    assert!(!log.contains("lost:"), "{log}");
    assert!(
        log.contains("`__main__:Service.handle` has no argument `absent`"),
        "{log}"
    );
    let mut left = spans;
    for (step, truth) in steps.into_iter().zip(&truth) {
        let numbers: Vec<_> = truth.iter().map(|t| t["number"].clone()).collect();
        let (own, rest) = left
            .into_iter()
            .partition(|s| numbers.contains(&argument(s, "number")));
        left = rest;
        let what = format!("{step} of {command:?}");
        compare(truth, &own, &what);
        if step == "plain" {
            check_arguments(&own);
        }
    }
    assert!(left.is_empty(), "spans of no call: {:?}", left.first());
    let replayed = agent::run(
        &temp,
        &["replay", &path, "--format", "json", "--output", &{
            temp.file("replayed").to_string_lossy().into_owned()
        }],
    )?;
    assert_eq!(replayed.code, 0, "{}", replayed.log);
    assert_eq!(std::fs::read_to_string(temp.file("replayed"))?, lines);
    Ok(())
}

fn with_python(python: Option<PathBuf>) -> Result<()> {
    match (need::root()?, python) {
        (Some(()), Some(python)) => every_call(&mut of_python(&python)),
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

/// Where the interpreter runs them, without a watchpoint. A forked child has the probe from when the agent
/// knows of it, so its first calls are not compared.
#[test]
fn by_the_interpreter() -> Result<()> {
    for python in [need::python(8)?, need::python(9)?, need::python(10)?] {
        if let (Some(()), Some(python)) = (need::root()?, python) {
            let options = ["--function-probe", "interpreter"];
            every_call_by(&mut of_python(&python), &options, false)?;
        }
    }
    Ok(())
}

/// The same where it runs `RESUME`, from 3.11 on: Debian's are static, stripped and built with a profile.
#[test]
fn by_resume() -> Result<()> {
    if need::root()?.is_none() {
        return Ok(());
    }
    let options = ["--function-probe", "resume"];
    let pythons = [
        need::python(11)?,
        need::python(12)?,
        need::python(13)?,
        need::system_python()?,
    ];
    for python in pythons.into_iter().flatten() {
        every_call_by(&mut of_python(&python), &options, false)?;
    }
    if let Some(root) = need::debian_python(14)? {
        every_call_by(&mut of_debian(&root)?, &options, false)?;
    }
    Ok(())
}

/// More functions than there are watchpoints for are seen by the interpreter, unless that is not wanted; nor
/// where it has no such instruction.
#[test]
fn more_functions_than_watchpoints() -> Result<()> {
    let refused = "`__main__:fail` is not watched: no watchpoint is left";
    let seen = "watching __main__:fail (pid";
    let perfs = "a function takes two; to see it where the interpreter runs frames";
    for (minor, options, said) in [
        (10, &[][..], seen),
        (10, &["--perf-probes"], perfs),
        (12, &[], seen),
        (12, &["--perf-probes"], seen),
        (12, &["--function-probe", "watchpoints"], refused),
    ] {
        let (Some(()), Some(python)) = (need::root()?, need::python(minor)?) else {
            continue;
        };
        let temp = Temp::new()?;
        let mut program = Process::ready(&mut of_python(&python), &temp)?;
        let options = [&["--function", "__main__:fail"], options].concat();
        let mut agent = watch(&temp, program.pid(), &options)?;
        agent.wait_for_log(said)?;
        program.tell("errors")?;
        let truth = program.record()?;
        let Finished { spans, .. } = agent.stop()?;
        let (failed, watched): (Vec<_>, Vec<_>) =
            spans.into_iter().partition(|span| span.name() == "fail");
        assert_eq!(watched.len(), truth.len());
        assert_eq!(failed.is_empty(), !said.starts_with("watching"));
        assert!(failed.iter().all(|span| !span.error().is_empty()));
    }
    Ok(())
}

/// What the probes at `RESUME` hit is not what it should be: they are taken away, and a function gets watchpoints
/// if there are any by then.
#[test]
fn what_is_no_resume() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::python(12)?) else {
        return Ok(());
    };
    for freed in [true, false] {
        let temp = Temp::new()?;
        let mut program = Process::ready(&mut of_python(&python), &temp)?;
        let mut held = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", program.pid()))? {
            let tid: u32 = task?.file_name().to_string_lossy().parse()?;
            for _ in 0..slots::MOST {
                held.push(slots::take(tid)?);
            }
        }
        let list = program.pid().to_string();
        let mut agent = Agent::start(&temp, &["--function", INNER], &["--pid", &list])?;
        agent.wait_for_log("watching __main__:inner (pid")?;
        if freed {
            held.clear();
        }
        // As its programs do.
        // `genspan_common::resume::refused::NO_RESUME`, in `Resumed::refused`.
        let refused = 1;
        kernel::set_word(agent.process.pid(), "RESUMED", (program.pid(), 36, refused))?;
        agent.wait_for_log("is not RESUME, by what the probe there saw")?;
        if freed {
            genspan_tests::wait_for("the function to be watched again", || {
                let log = agent.log();
                (log.matches("watching __main__:inner (pid").count() == 2).then_some(())
            })?;
        } else {
            agent.wait_for_log("`__main__:inner` is not watched: no watchpoint is left")?;
        }
        program.tell("plain")?;
        let truth = program.record()?;
        let Finished { spans, log, .. } = agent.stop()?;
        let calls = truth.iter().filter(|told| told["name"] == "inner").count();
        assert!(calls > 0);
        assert_eq!(spans.len(), if freed { calls } else { 0 }, "{log}");
    }
    Ok(())
}

/// Asked for where there is none, it is refused by name.
#[test]
fn no_resume_before_311() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::python(10)?) else {
        return Ok(());
    };
    let temp = Temp::new()?;
    let program = Process::ready(&mut of_python(&python), &temp)?;
    let list = program.pid().to_string();
    let options = ["--function", INNER, "--function-probe", "resume"];
    let mut agent = Agent::start(&temp, &options, &["--pid", &list])?;
    agent.wait_for_log("has no instruction `RESUME`")?;
    let finished = agent.stop()?;
    assert!(finished.spans.is_empty(), "{}", finished.lines);
    Ok(())
}

/// Debian's, in a root directory of its own.
#[test]
fn python_314() -> Result<()> {
    let (Some(()), Some(root)) = (need::root()?, need::debian_python(14)?) else {
        return Ok(());
    };
    every_call(&mut of_debian(&root)?)
}

/// Debian's: static, stripped, with link-time optimisation.
#[test]
fn of_the_system() -> Result<()> {
    with_python(need::system_python()?)
}

/// A function whose module comes later, in a program that the agent starts; and functions that
/// are not watched, with the reason.
#[test]
fn late_and_never() -> Result<()> {
    for (python, way) in [
        (need::any_python()?, "watchpoints"),
        (need::any_python()?, "auto"),
        (need::python(10)?, "auto"),
    ] {
        if let (Some(()), Some(python)) = (need::root()?, python) {
            late_and_never_in(&python, way)?;
        }
    }
    Ok(())
}

/// What made room is watched no more, or in another way.
fn late_and_never_in(python: &Path, way: &str) -> Result<()> {
    let is_replaced = way == "watchpoints";
    let temp = Temp::new()?;
    let command = of_python(python);
    let options = [
        "--function",
        "functions_late:added(number)",
        "--function",
        "__main__:nowhere",
        "--function",
        "time:sleep",
        "--function",
        "__main__:call(function, api_key)",
        "--function",
        "__main__:fail",
        "--function-probe",
        way,
    ];
    let mut agent = Agent::run(&temp, &options, &command)?;
    anyhow::ensure!(agent.process.line()? == "ready", "{}", agent.log());
    agent.wait_for_log("watching __main__:fail (pid")?;
    agent.process.tell("late")?;
    agent.wait_for_log("watching functions_late:added (pid")?;
    agent.process.tell("")?;
    let truth: Vec<Value> = serde_json::from_str(&agent.process.line()?)?;
    for said in [
        "waiting for functions_late:added: the module `functions_late` is not loaded",
        "waiting for __main__:nowhere: `__main__` has no `nowhere`",
        "waiting for time:sleep: `time:sleep` is no Python function",
        "the argument `api_key` of `__main__:call` is not told",
    ] {
        agent.wait_for_log(said)?;
    }
    let replaced = "`__main__:fail` is watched no more: `functions_late:added` comes before it";
    if is_replaced {
        agent.wait_for_log(replaced)?;
    } else {
        genspan_tests::wait_for("`__main__:fail` to be watched again", || {
            let log = agent.log();
            (log.matches("watching __main__:fail (pid").count() == 2).then_some(())
        })?;
        assert!(!agent.log().contains(replaced), "{}", agent.log());
    }
    // By what it is seen now.
    agent.process.tell("errors")?;
    agent.process.line()?;
    agent.process.close();
    let finished = agent.wait()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    let (added, others): (Vec<_>, Vec<_>) = finished
        .spans
        .into_iter()
        .partition(|span| span.name() == "added");
    assert_eq!(added.len(), truth.len());
    assert_eq!(truth.len(), 10);
    let failed = others.iter().filter(|span| span.name() == "fail");
    let unlike = failed.filter(|span| is_replaced || span.error().is_empty());
    assert_eq!(unlike.count(), 0, "{}", finished.log);
    let fails = others.iter().any(|span| span.name() == "fail");
    assert_eq!(fails, !is_replaced, "{}", finished.log);
    let outer: Vec<_> = others.iter().filter(|span| span.name() == "call").collect();
    for span in &added {
        // Called by the other one that is watched.
        let parent = outer
            .iter()
            .find(|o| o.0["span_id"] == span.0["parent_span_id"]);
        let parent = parent.context("no parent")?;
        assert_eq!(argument(parent, "function"), "<function added>");
        assert_eq!(span.text(attr::PARENT_SOURCE), "function");
    }
    Ok(())
}

/// A program that goes on in a child while what was there before ends, as daemons do: the child
/// loses its parent's watchpoints, and gets its own.
#[test]
fn goes_on_in_a_child() -> Result<()> {
    for python in [need::python(11)?, need::python(13)?] {
        let (Some(()), Some(python)) = (need::root()?, python) else {
            continue;
        };
        let temp = Temp::new()?;
        let mut program = Process::ready(&mut of_python(&python), &temp)?;
        let mut agent = watch(&temp, program.pid(), &[])?;
        program.tell("daemon")?;
        let child = program.line()?;
        for name in ["__main__:Service.handle", "__main__:inner"] {
            agent.wait_for_log(&format!("watching {name} (pid {child})"))?;
        }
        program.tell("")?;
        let truth = program.record()?;
        program.close();
        let finished = agent.wait()?;
        assert_eq!(finished.code, 0, "{}", finished.log);
        assert!(!finished.log.contains("lost:"), "{}", finished.log);
        assert!(truth.len() > 200, "{}", truth.len());
        compare(&truth, &finished.spans, &format!("a child of {python:?}"));
    }
    Ok(())
}

/// From the request that is served, over the function that handles it, to the model call.
#[test]
fn from_request_to_model_call() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    let mut command = scene.live(&python, "function_tree.py");
    let mut server = Client::start(&mut command, &scene.next_log())?;
    let list = server.pid().to_string();
    let options = ["--function", "__main__:answer(question)"];
    let mut agent = Agent::start(&scene.temp, &options, &["--pid", &list])?;
    agent.wait_for_log("watching __main__:answer (pid")?;
    for question in ["one", "two", "three"] {
        server.0.tell(question)?;
        server.0.line()?;
    }
    let finished = agent.stop()?;
    let of_kind = |kind: &str, name: &str| -> Vec<&Span> {
        let all = finished.spans.iter();
        all.filter(|s| s.kind() == kind && s.name().starts_with(name))
            .collect()
    };
    let functions = of_kind("INTERNAL", "answer");
    let calls = of_kind("CLIENT", "chat");
    let requests = of_kind("SERVER", "POST");
    assert_eq!(
        (functions.len(), calls.len(), requests.len()),
        (3, 3, 3),
        "{}",
        finished.lines
    );
    for (function, question) in functions.iter().zip(["one", "two", "three"]) {
        assert_eq!(argument(function, "question"), question);
        let of_parent = |s: &&&Span| s.0["span_id"] == function.0["parent_span_id"];
        assert_eq!(
            requests.iter().filter(of_parent).count(),
            1,
            "{}",
            finished.lines
        );
        let of_child = |s: &&&Span| s.0["parent_span_id"] == function.0["span_id"];
        let below: Vec<_> = calls.iter().filter(of_child).collect();
        let [call] = below.as_slice() else {
            panic!("{} calls below {}", below.len(), function.0);
        };
        assert_eq!(call.0["trace_id"], function.0["trace_id"]);
        assert_eq!(call.text(attr::PARENT_SOURCE), "function");
        assert_eq!(call.texts(attr::INPUT_MESSAGES), [question]);
    }
    Ok(())
}

/// The agent is killed in a storm of calls: the program does not notice, and nothing is left.
#[test]
fn killed_in_a_storm() -> Result<()> {
    let pythons = [
        (need::python(11)?, 3),
        (need::python(13)?, 1),
        (need::python(9)?, 1),
    ];
    for (python, rounds) in pythons {
        let (Some(()), Some(python)) = (need::root()?, python) else {
            continue;
        };
        let place = Temp::new()?;
        let mut storm = Process::ready(&mut of_python(&python), &place)?;
        storm.tell("storm")?;
        let mut count = 0;
        for round in 0..rounds {
            let temp = Temp::new()?;
            let mut agent = watch(&temp, storm.pid(), &[])?;
            agent.wait_for_spans(200)?;
            std::thread::sleep(Duration::from_millis(round * 37 % 100));
            let held = Objects::of(agent.process.pid())?;
            assert!(held.programs.len() > 5, "{held:?}");
            agent.process.signal(Signal::SIGKILL)?;
            assert_eq!(agent.process.wait()?, 128 + 9);
            genspan_tests::wait_for("the kernel to free the agent's objects", || {
                held.still_there().ok().filter(Objects::is_empty)
            })?;
            let changed = memory::changed_code(storm.pid())?;
            assert!(changed.is_empty(), "breakpoints left: {changed:x?}");
            storm.tell("")?;
            let counts: Value = serde_json::from_str(&storm.line()?)?;
            assert_eq!(counts["wrong"], 0, "{counts}");
            let calls = counts["calls"].as_u64().unwrap_or(0);
            assert!(calls > count, "{counts}");
            count = calls;
        }
        // All watchpoints are free again.
        let temp = Temp::new()?;
        let finished = watch(&temp, storm.pid(), &[])?.stop()?;
        assert!(!finished.log.contains("no watchpoint"), "{}", finished.log);
    }
    Ok(())
}
