//! From where in a Python program calls are made, held against the program's own record.

use anyhow::{Context as _, Result};
use genspan::vocabulary::attr;
use genspan_tests::{Agent, Client, Scene, Span, agent, need};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// Most frames that are told.
const MOST: usize = 64;

/// A file, a line and a function.
type Place = (String, u64, String);

/// The places of a call path, the outermost first, and whether it says that some are missing.
fn places(stack: &str) -> Result<(Vec<Place>, bool)> {
    let mut lines = stack.lines();
    anyhow::ensure!(
        lines.next() == Some("Stack (most recent call last):"),
        "{stack}"
    );
    let mut cut = false;
    let mut all = Vec::new();
    for line in lines {
        if line == "  ..." {
            cut = true;
            continue;
        }
        let rest = line.strip_prefix("  File \"").context(stack.to_owned())?;
        let (file, rest) = rest.split_once("\", line ").context(stack.to_owned())?;
        let (number, function) = rest.split_once(", in ").context(stack.to_owned())?;
        all.push((file.to_owned(), number.parse()?, function.to_owned()));
    }
    Ok((all, cut))
}

/// What the program says of a call.
fn truth(call: &Value) -> Vec<Place> {
    let frame = |frame: &Value| {
        let text = |at: usize| frame[at].as_str().unwrap_or_default().to_owned();
        (text(0), frame[1].as_u64().unwrap_or(0), text(2))
    };
    call.as_array().into_iter().flatten().map(frame).collect()
}

/// Holds a span against what the program says.
fn compare(span: &Span, call: &Value, what: &str) -> Result<()> {
    let expected = truth(call);
    let stack = span.text(attr::CODE_STACKTRACE);
    let (told, cut) = places(stack).with_context(|| format!("{what}: {}", span.0))?;
    assert!(told.len() <= MOST, "{what}: {} places", told.len());
    if cut {
        assert_eq!(told.len(), MOST, "{what}: {stack}");
        // What is told begins somewhere within it.
        let from = (0..expected.len()).find(|from| told.starts_with(&expected[*from..]));
        assert!(from.is_some_and(|from| from > 0), "{what}: {stack}");
    } else {
        assert!(
            told.starts_with(&expected),
            "{what}: told was {told:#?}, the program says {expected:#?}"
        );
        // Below it is only the library that writes.
        let below = &told[expected.len()..];
        assert!(
            (1..8).contains(&below.len()) && below[0].2.ends_with("kept"),
            "{what}: {below:?}"
        );
    }
    // The innermost of the program's own is the one that keeps the record.
    let file = span.text(attr::CODE_FILE_PATH);
    assert!(file.ends_with("stacks.py") || file == "<string>", "{what}");
    assert!(
        span.text(attr::CODE_FUNCTION_NAME).ends_with("kept"),
        "{what}"
    );
    Ok(())
}

/// What the program may be asked to do.
const STEPS: [&str; 6] = ["plain", "generated", "deep", "threads", "tasks", "forked"];

/// What of it a sub-interpreter may do: it does not fork.
const STEPS_BESIDE: &[&str] = STEPS.split_at(5).0;

fn every_call(scene: &Scene, command: &mut Command, steps: &[&'static str]) -> Result<()> {
    let mut program = Client::start(command, &scene.next_log())?;
    let recording = scene.temp.file("recording");
    let path = recording.to_string_lossy().into_owned();
    let agent = Agent::attach(
        &scene.temp,
        &[program.pid()],
        &["--stacks", "--record", &path],
    )?;
    let mut calls = Vec::new();
    for &step in steps {
        program.0.tell(step)?;
        let line = program.0.line()?;
        let made: Vec<Value> = serde_json::from_str(&line).with_context(|| line.clone())?;
        assert!(!made.is_empty(), "{step}");
        calls.extend(made.into_iter().map(|call| (step, call)));
        agent.wait_for_spans(calls.len()).context(step)?;
    }
    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert!(!finished.log.contains("lost:"), "{}", finished.log);
    let mut spans = finished.spans.clone();
    spans.sort_by_key(Span::start);
    assert_eq!(spans.len(), calls.len(), "{}", finished.lines);
    for (span, (step, call)) in spans.iter().zip(&calls) {
        compare(span, call, &format!("{step} of {command:?}"))?;
    }
    let again = scene.temp.file("replayed").to_string_lossy().into_owned();
    let arguments = ["replay", &path, "--format", "json", "--output", &again];
    let replayed = agent::run(&scene.temp, &arguments)?;
    assert_eq!(replayed.code, 0, "{}", replayed.log);
    assert_eq!(std::fs::read_to_string(&again)?, finished.lines);
    Ok(())
}

fn python(python: Option<PathBuf>) -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, python) else {
        return Ok(());
    };
    every_call(&scene, &mut scene.live(&python, "stacks.py"), &STEPS)
}

/// The frames of a sub-interpreter, in the thread in which the main one waits for it and in its own.
fn in_subinterpreter(python: Option<PathBuf>) -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, python) else {
        return Ok(());
    };
    let mut command = scene.live(&python, "subinterpreter.py");
    command.arg(genspan_tests::programs().join("live/stacks.py"));
    every_call(&scene, &mut command, STEPS_BESIDE)
}

/// Before 3.12 a thread tells the main interpreter's frames alone, as far as they go: to where that waits.
#[test]
fn a_sub_interpreter_of_311() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::python(11)?) else {
        return Ok(());
    };
    let mut command = scene.live(&python, "subinterpreter.py");
    command.arg(genspan_tests::programs().join("live/stacks.py"));
    let mut program = Client::start(&mut command, &scene.next_log())?;
    let agent = Agent::attach(&scene.temp, &[program.pid()], &["--stacks"])?;
    program.0.tell("plain")?;
    let made: Vec<Value> = serde_json::from_str(&program.0.line()?)?;
    agent.wait_for_spans(made.len())?;
    let finished = agent.stop()?;
    assert_eq!(finished.spans.len(), made.len(), "{}", finished.log);
    for span in &finished.spans {
        let (told, cut) = places(span.text(attr::CODE_STACKTRACE))?;
        let functions: Vec<_> = told.iter().map(|place| place.2.as_str()).collect();
        assert_eq!(
            (functions.as_slice(), cut),
            (&["<module>", "main", "wait"][..], false)
        );
        assert!(
            told.iter()
                .all(|place| place.0.ends_with("subinterpreter.py"))
        );
    }
    Ok(())
}

#[test]
fn a_sub_interpreter_of_312() -> Result<()> {
    in_subinterpreter(need::python(12)?)
}

#[test]
fn a_sub_interpreter_of_313() -> Result<()> {
    in_subinterpreter(need::python(13)?)
}

#[test]
fn python_38() -> Result<()> {
    python(need::python(8)?)
}

#[test]
fn python_39() -> Result<()> {
    python(need::python(9)?)
}

#[test]
fn python_310() -> Result<()> {
    python(need::python(10)?)
}

#[test]
fn python_311() -> Result<()> {
    python(need::python(11)?)
}

#[test]
fn python_312() -> Result<()> {
    python(need::python(12)?)
}

#[test]
fn python_313() -> Result<()> {
    python(need::python(13)?)
}

#[test]
fn python_314() -> Result<()> {
    let (Some(scene), Some(root)) = (Scene::new()?, need::debian_python(14)?) else {
        return Ok(());
    };
    let source = std::fs::read_to_string(genspan_tests::programs().join("live/stacks.py"))?;
    let mut command = Command::new("chroot");
    command
        .arg(&root)
        .args(["/usr/bin/python3.14", "-c", &source]);
    let elsewhere = scene.live(&root, "stacks.py");
    for (name, value) in elsewhere.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    // The authority's file is not there.
    let authority = std::fs::read_to_string(scene.provider.authority())?;
    command.env("AUTHORITY", authority);
    every_call(&scene, &mut command, &STEPS)
}

#[test]
fn of_the_system() -> Result<()> {
    python(need::system_python()?)
}

/// Without the option nothing of it is told.
#[test]
fn only_when_asked_for() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    let mut program = Client::start(&mut scene.live(&python, "stacks.py"), &scene.next_log())?;
    let agent = Agent::attach(&scene.temp, &[program.pid()], &[])?;
    program.0.tell("threads")?;
    program.0.line()?;
    let finished = agent.stop()?;
    assert_eq!(finished.spans.len(), 2, "{}", finished.log);
    assert!(!finished.lines.contains("code."), "{}", finished.lines);
    Ok(())
}

/// Of a program that is traced from its start.
#[test]
fn from_the_start() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    // It does not end at once: then its frames can be looked up.
    let program = "import one_call, time; one_call.call('m'); time.sleep(0.3)";
    let mut command = scene.command(&python);
    command
        .args(["-c", program])
        .env("PYTHONPATH", genspan_tests::programs().join("live"));
    let finished = Agent::run(&scene.temp, &["--stacks"], &command)?.wait()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert!(!finished.spans.is_empty(), "{}", finished.log);
    for span in &finished.spans {
        let stack = span.text(attr::CODE_STACKTRACE);
        assert!(
            stack.contains("File \"<string>\", line 1, in <module>"),
            "{}",
            span.0
        );
    }
    Ok(())
}
