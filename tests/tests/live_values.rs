//! What is inside of the arguments of watched functions: what the program itself says of them, at the
//! moment when the function began.

use anyhow::{Context as _, Result};
use genspan::vocabulary::attr;
use genspan_tests::{Agent, Process, Span, Temp, agent, need};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn argument<'a>(span: &'a Span, name: &str) -> &'a Value {
    span.attribute(&format!("{}{name}", attr::FUNCTION_ARGUMENT))
}

fn of_python(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg(genspan_tests::programs().join("live/values.py"));
    command
}

/// A text that is a list or an object of JSON, as what it says; any other as it is.
fn parsed(value: &Value) -> Value {
    let text = value.as_str().filter(|text| text.starts_with(['[', '{']));
    let inside = text.and_then(|text| serde_json::from_str(text).ok());
    inside.unwrap_or_else(|| value.clone())
}

/// The spans in the order of the calls.
fn in_order(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| span.name() == "take");
    spans.sort_by_key(|span| argument(span, "number").as_u64());
    spans
}

fn every_value(command: &mut Command) -> Result<()> {
    let temp = Temp::new()?;
    let mut program = Process::ready(command, &temp)?;
    let recording = temp.file("recording").to_string_lossy().into_owned();
    let options = [
        "--function",
        "__main__:take(number, value)",
        "--record",
        &recording,
    ];
    let mut agent = Agent::start(&temp, &options, &["--pid", &program.pid().to_string()])?;
    agent.wait_for_log("watching __main__:take (pid")?;
    program.tell("objects")?;
    let truth = program.record()?;
    agent.wait_for_spans(truth.len())?;
    let finished = agent.stop()?;
    assert!(!finished.log.contains("lost:"), "{}", finished.log);
    let spans = in_order(finished.spans);
    assert_eq!(spans.len(), truth.len());
    let told = spans.iter().map(|span| parsed(argument(span, "value")));
    let wrong: Vec<String> = told
        .zip(&truth)
        .enumerate()
        .filter(|(_, (told, truth))| told != *truth)
        .map(|(n, (told, truth))| format!("{n}: {told}\n is {truth}"))
        .collect();
    assert!(wrong.is_empty(), "{command:?}: {}", wrong.join("\n"));
    let replayed = temp.file("replayed").to_string_lossy().into_owned();
    let again = agent::run(
        &temp,
        &[
            "replay", &recording, "--format", "json", "--output", &replayed,
        ],
    )?;
    assert_eq!(again.code, 0, "{}", again.log);
    assert_eq!(std::fs::read_to_string(replayed)?, finished.lines);
    let kept = std::fs::read(temp.file("recording"))?;
    let leaks = kept.windows(4).any(|bytes| bytes == b"sk-1");
    assert!(!leaks, "a secret is recorded");
    Ok(())
}

fn with_python(python: Option<PathBuf>) -> Result<()> {
    match (need::root()?, python) {
        (Some(()), Some(python)) => every_value(&mut of_python(&python)),
        _ => Ok(()),
    }
}

#[test]
fn python_38() -> Result<()> {
    with_python(need::python(8)?)
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
    let source = std::fs::read_to_string(genspan_tests::programs().join("live/values.py"))?;
    let mut command = Command::new("chroot");
    every_value(
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

/// Objects without end are told in part, and the program goes on; where content is not wanted nothing
/// is told of any.
#[test]
fn without_end_and_without_content() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::python(13)?) else {
        return Ok(());
    };
    for content in [true, false] {
        let temp = Temp::new()?;
        let mut command = of_python(&python);
        if !content {
            command.env(
                "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
                "NO_CONTENT",
            );
        }
        let mut program = Process::ready(&mut command, &temp)?;
        let options = ["--function", "__main__:take(number, value)"];
        let mut agent = Agent::start(&temp, &options, &["--pid", &program.pid().to_string()])?;
        agent.wait_for_log("watching __main__:take (pid")?;
        program.tell("hostile")?;
        let truth = program.record()?;
        agent.wait_for_spans(truth.len())?;
        let finished = agent.stop()?;
        assert_eq!(finished.spans.len(), truth.len());
        if !content {
            for span in &finished.spans {
                assert_eq!(argument(span, "value"), &Value::Null, "{}", span.0);
            }
            continue;
        }
        let spans = in_order(finished.spans);
        let texts: Vec<_> = spans
            .iter()
            .map(|s| argument(s, "value").as_str())
            .collect();
        for text in &texts {
            let text = text.context("no text")?;
            assert!((10..64 << 10).contains(&text.len()), "{}", text.len());
            serde_json::from_str::<Value>(text).context("no JSON")?;
        }
        assert_eq!(texts[0], Some("[[\"<cycle>\",{\"ring\":\"<cycle>\"}]]"));
        assert!(texts[3].unwrap_or("").contains("xxx… <9997952 more>"));
    }
    Ok(())
}
