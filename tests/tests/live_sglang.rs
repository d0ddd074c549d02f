//! What SGLang's scheduler does with requests, in a process that the server started: on the spans of what was served.
//! The scheduler's functions, its caches and its requests are those of the package; what it asks of a model, and
//! tensors, are made up (`tests/python/live/sglang_parts.py`).

use anyhow::{Context as _, Result};
use genspan::vocabulary::attr;
use genspan_tests::{Agent, Finished, Process, Span, Temp, need, programs};
use serde::Deserialize;
use std::process::Command;

/// How often everything is done.
const TIMES: usize = 3;

/// What the program knows of a request: seconds between the moments at which it called the functions.
#[derive(Debug, Deserialize)]
struct Asked {
    id: String,
    kind: String,
    input: i64,
    output: i64,
    cached: Option<i64>,
    reason: String,
    /// The least and the most that each can be, in seconds.
    times: [[f64; 2]; 3],
    /// When it had its first token cannot be known.
    unsure: bool,
}

/// How much a time may be off that, in seconds: the clocks of both are read, not the same at once.
const NEAR: f64 = 0.000_01;

fn check(span: &Span, asked: &Asked) {
    let tokens = [attr::USAGE_INPUT_TOKENS, attr::USAGE_OUTPUT_TOKENS];
    let tokens = tokens.map(|name| span.number(name));
    assert_eq!(tokens, [asked.input, asked.output].map(Some), "{}", span.0);
    if asked.cached.is_some() {
        let cached = span.number(attr::USAGE_CACHE_READ);
        assert_eq!(cached.unwrap_or(0), asked.cached.unwrap_or(0), "{}", span.0);
    }
    let reasons = span.list(attr::RESPONSE_FINISH_REASONS);
    assert_eq!(reasons, [asked.reason.as_str()], "{}", span.0);
    let names = [
        attr::ENGINE_QUEUE_TIME,
        attr::ENGINE_PREFILL_TIME,
        attr::ENGINE_DECODE_TIME,
    ];
    for (name, [least, most]) in names.into_iter().zip(asked.times) {
        let told = span.attribute(name).as_f64();
        if name != attr::ENGINE_QUEUE_TIME && asked.unsure {
            assert_eq!(told, None, "{name}: {asked:?}, {}", span.0);
            continue;
        }
        assert!(
            told.is_some_and(|told| told > least - NEAR && told < most + NEAR),
            "{name}: {asked:?}, {}",
            span.0
        );
    }
    let each = span.attribute(attr::ENGINE_TIME_PER_OUTPUT_TOKEN);
    let is_told = asked.kind != "one" && !asked.unsure;
    assert_eq!(each.is_null(), !is_told, "{}", span.0);
    assert!(
        span.attribute(attr::ENGINE_REQUESTS).is_null(),
        "{}",
        span.0
    );
}

fn scheduler(environment: &str, options: &[&str]) -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::environment(environment)?) else {
        return Ok(());
    };
    let temp = Temp::new()?;
    let mut command = Command::new(python);
    command
        .arg(programs().join("live/sglang_server.py"))
        .args(options);
    let mut server = Process::start(&mut command, &temp.file("server.err"))?;
    let line = server.line()?;
    let engine: u32 = line.trim().parse().with_context(|| server.complaints())?;
    let recording = temp.file("recording").to_string_lossy().into_owned();
    let pid = server.pid().to_string();
    let mut agent = Agent::start(&temp, &["--record", &recording], &["--pid", &pid])?;
    agent.wait_for_log(&format!("watching SGLang (pid {engine})"))?;
    agent.wait_attached(server.pid())?;
    let mut asked: Vec<Asked> = Vec::new();
    for _ in 0..TIMES {
        server.tell("go")?;
        let line = server.line()?;
        let all: Vec<Asked> = serde_json::from_str(&line).context(line)?;
        asked.extend(all);
    }
    // Each served request is one that was made as well.
    agent.wait_for_spans(2 * asked.len())?;
    let Finished { spans, log, .. } = agent.stop()?;
    assert!(!log.contains("lost:"), "{log}");
    assert!(!log.contains("four watchpoints"), "{log}");
    let served: Vec<_> = spans
        .iter()
        .filter(|span| span.kind() == "SERVER")
        .collect();
    assert_eq!(served.len(), asked.len(), "{log}");
    for one in &asked {
        let span = served
            .iter()
            .find(|span| span.text(attr::RESPONSE_ID) == one.id);
        check(span.with_context(|| one.id.clone())?, one);
    }
    for span in &spans {
        assert!(!span.0.to_string().contains("nobody is told"), "{}", span.0);
    }
    // What a recording has is no more than that.
    let bytes = std::fs::read(&recording)?;
    let is_there = bytes.windows(14).any(|part| part == b"nobody is told");
    assert!(!is_there, "a prompt is in the recording");
    Ok(())
}

/// Its processes have no titles, and the server's side has no function that is called once for an answer.
#[test]
fn of_the_first_that_is_supported() -> Result<()> {
    scheduler("sglang-0.4.0", &[])
}

#[test]
fn of_one_that_tells_of_itself() -> Result<()> {
    scheduler("sglang-0.4.6", &[])
}

#[test]
fn without_a_tree_of_prefixes() -> Result<()> {
    scheduler("sglang-0.4.6", &["--disable-radix-cache"])
}

#[test]
fn of_one_that_frees_by_a_function_of_its_own() -> Result<()> {
    scheduler("sglang-0.5.6", &[])
}

/// What the newest has in its place is made up.
#[test]
fn of_one_that_asks_any_cache() -> Result<()> {
    scheduler("sglang-0.5.6", &["--newest", "--disable-radix-cache"])
}
