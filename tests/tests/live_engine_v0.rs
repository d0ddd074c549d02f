//! What vLLM's V0 engine says of its requests: on the spans of what a server served that has it in a process of its own,
//! or in the server's, and as runs of a program that asks it itself. The classes are its by name and by what they have;
//! `cargo xtask vllm-v0` does the same with a real one. And what it said before 0.5.5, in the server's process.

use anyhow::{Context as _, Result};
use genspan::vocabulary::attr;
use genspan_tests::tree::has_none_of;
use genspan_tests::{Agent, Finished, Process, Span, Temp, need, programs};
use std::path::Path;
use std::process::Command;

/// How often everything is done.
const TIMES: usize = 4;

/// `[input, output, cached]`.
fn tokens(span: &Span) -> [Option<i64>; 3] {
    [
        attr::USAGE_INPUT_TOKENS,
        attr::USAGE_OUTPUT_TOKENS,
        attr::USAGE_CACHE_READ,
    ]
    .map(|name| span.number(name))
}

fn times(span: &Span) -> [Option<f64>; 4] {
    [
        attr::ENGINE_QUEUE_TIME,
        attr::ENGINE_PREFILL_TIME,
        attr::ENGINE_DECODE_TIME,
        attr::ENGINE_TIME_TO_FIRST_TOKEN,
    ]
    .map(|name| span.attribute(name).as_f64())
}

/// Wants on a span what the program made up: tokens made, of so many requests, and why they ended.
fn check(span: &Span, output: i64, requests: Option<i64>, reasons: &[&str]) {
    // Each prompt is read by itself.
    let prompts = if span.model() == "prompts" { 2 } else { 1 };
    let wanted = [300 * prompts, output, 16 * prompts].map(Some);
    assert_eq!(tokens(span), wanted, "{}", span.0);
    let wanted = [0.25, 1.0, 2.0, 1.25].map(Some);
    assert_eq!(times(span), wanted, "{}", span.0);
    assert_eq!(span.number(attr::ENGINE_REQUESTS), requests, "{}", span.0);
    let found = span.list(attr::RESPONSE_FINISH_REASONS);
    assert_eq!(found, reasons, "{}", span.0);
}

fn check_served(span: &Span) {
    match span.model() {
        "answers" => check(span, 120, Some(2), &["length", "length"]),
        "group" => check(span, 7, Some(2), &["stop", "stop"]),
        "prompts" => check(span, 80, Some(2), &["stop", "stop"]),
        _ => check(span, 100, None, &["stop"]),
    }
}

fn check_run(span: &Span) {
    assert_eq!(span.name(), "text_completion", "{}", span.0);
    assert_eq!(span.text(attr::FRAMEWORK), "vllm", "{}", span.0);
    match span.number(attr::USAGE_OUTPUT_TOKENS) {
        Some(7) => check(span, 7, Some(2), &["stop", "stop"]),
        Some(120) => check(span, 120, Some(2), &["stop", "stop"]),
        _ => check(span, 100, None, &["stop"]),
    }
}

/// Starts the program; by that name, as its command line is what says that it is a server.
fn start(python: &Path, temp: &Temp, role: &str) -> Result<Process> {
    let program = temp.file("vllm");
    if !program.exists() {
        std::os::unix::fs::symlink(programs().join("live/engine_v0.py"), &program)?;
    }
    let mut command = Command::new(python);
    command.arg(program).arg(role);
    Process::start(&mut command, &temp.file(&format!("{role}.err")))
}

fn engines(environment: &str) -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::environment(environment)?) else {
        return Ok(());
    };
    let temp = Temp::new()?;
    let mut server = start(&python, &temp, "serve")?;
    let engine: u32 = server.line()?.trim().parse().context("the engine")?;
    let mut program = start(&python, &temp, "offline")?;
    anyhow::ensure!(program.line()? == "ready", "{}", program.complaints());
    let recording = temp.file("recording").to_string_lossy().into_owned();
    let pids = [server.pid(), program.pid()].map(|pid| pid.to_string());
    let [first, second] = &pids;
    let mut agent = Agent::start(
        &temp,
        &["--record", &recording],
        &["--pid", first, "--pid", second],
    )?;
    for pid in [server.pid(), engine, program.pid()] {
        agent.wait_for_log(&format!("watching vLLM (pid {pid})"))?;
    }
    agent.wait_attached(server.pid())?;
    let mut told: Vec<String> = Vec::new();
    for _ in 0..TIMES {
        for process in [&mut server, &mut program] {
            process.tell("go")?;
            let line = process.line()?;
            let ids: Vec<String> = serde_json::from_str(&line).context(line)?;
            told.extend(ids);
        }
    }
    // Each served request is one that was made as well.
    agent.wait_for_spans(TIMES * (2 * 5 + 3))?;
    let Finished { spans, log, .. } = agent.stop()?;
    assert!(!log.contains("lost:"), "{log}");
    let mut seen = Vec::new();
    for span in &spans {
        match span.kind() {
            "SERVER" => {
                check_served(span);
                seen.push(span.text(attr::RESPONSE_ID).to_owned());
            }
            "INTERNAL" => {
                check_run(span);
                seen.push(span.text(attr::REQUEST_ID).to_owned());
            }
            _ => assert_eq!(
                (times(span), tokens(span)),
                ([None; 4], [None; 3]),
                "{}",
                span.0
            ),
        }
        assert!(!span.0.to_string().contains("nobody is told"), "{}", span.0);
    }
    seen.sort_unstable();
    told.sort_unstable();
    assert_eq!(seen, told, "{log}");
    // What a recording has is no more than that.
    has_none_of(&recording, &["nobody is told"])
}

/// What was served by an engine as it was before 0.5.5: cached tokens it does not know.
fn check_old(span: &Span) {
    let whole = [0.25, 1.0, 2.0, 1.25].map(Some);
    let (used, took, reasons): (_, _, &[&str]) = match span.model() {
        "group" => ([300, 7].map(Some), whole, &["length", "length"]),
        "prompts" => ([600, 80].map(Some), whole, &["stop", "stop"]),
        // It was too long, and never worked at.
        "refused" => ([300, 0].map(Some), [None; 4], &["length"]),
        // Their clients went away, or the engine failed.
        "gone" | "failed" | "broken" => ([None; 2], [None; 4], &[]),
        // When it came is told of another clock.
        "monotonic" => {
            let took = [None, Some(1.0), Some(2.0), None];
            ([300, 100].map(Some), took, &["stop"])
        }
        "oldest" => ([300, 100].map(Some), [None; 4], &["stop"]),
        _ => ([300, 100].map(Some), whole, &["stop"]),
    };
    let [input, output] = used;
    assert_eq!(tokens(span), [input, output, None], "{}", span.0);
    assert_eq!(times(span), took, "{}", span.0);
    let found = span.list(attr::RESPONSE_FINISH_REASONS);
    assert_eq!(found, reasons, "{}", span.0);
}

fn an_old_engine(environment: &str) -> Result<()> {
    const KINDS: usize = 9;
    let (Some(()), Some(python)) = (need::root()?, need::environment(environment)?) else {
        return Ok(());
    };
    let temp = Temp::new()?;
    let mut command = Command::new(&python);
    command.arg(programs().join("live/engine_old.py"));
    let mut server = Process::start(&mut command, &temp.file("server.err"))?;
    anyhow::ensure!(server.line()? == "ready", "{}", server.complaints());
    let recording = temp.file("recording").to_string_lossy().into_owned();
    let pid = server.pid().to_string();
    let mut agent = Agent::start(&temp, &["--record", &recording], &["--pid", &pid])?;
    agent.wait_for_log(&format!("watching vLLM (pid {pid})"))?;
    // Nobody sees how requests of a program end that asks the engine itself, so their beginnings are left alone.
    agent.wait_for_log("not in versions before 0.5.5")?;
    agent.wait_attached(server.pid())?;
    let mut told: Vec<String> = Vec::new();
    for _ in 0..TIMES {
        server.tell("go")?;
        let line = server.line()?;
        let ids: Vec<String> = serde_json::from_str(&line).context(line)?;
        told.extend(ids);
    }
    agent.wait_for_spans(TIMES * 2 * KINDS)?;
    let Finished { spans, log, .. } = agent.stop()?;
    assert!(!log.contains("lost:"), "{log}");
    let mut seen = Vec::new();
    for span in &spans {
        if span.kind() == "SERVER" {
            check_old(span);
            seen.push(span.text(attr::RESPONSE_ID).to_owned());
        } else {
            assert_eq!(span.kind(), "CLIENT", "{}", span.0);
            assert_eq!(times(span), [None; 4], "{}", span.0);
        }
        assert!(!span.0.to_string().contains("nobody is told"), "{}", span.0);
    }
    seen.sort_unstable();
    told.sort_unstable();
    assert_eq!(seen, told, "{log}");
    let bytes = std::fs::read(&recording)?;
    let is_there = bytes.windows(14).any(|part| part == b"nobody is told");
    assert!(!is_there, "a prompt is in the recording");
    Ok(())
}

#[test]
fn one_of_before_on_the_oldest_python() -> Result<()> {
    an_old_engine("py38")
}

#[test]
fn one_of_before_on_the_last_whose_frames_are_objects() -> Result<()> {
    an_old_engine("py310")
}

#[test]
fn on_the_newest_python() -> Result<()> {
    engines("web313")
}

#[test]
fn on_an_older_one() -> Result<()> {
    engines("web311")
}

#[test]
fn on_one_whose_frames_are_objects() -> Result<()> {
    engines("langchain39")
}
