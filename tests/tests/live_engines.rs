//! What engines (vLLM, SGLang) say of their requests, on the spans of what was served; the functions
//! are theirs by name and by what they are given. `cargo xtask vllm` and `sglang` do the same with real ones.

use anyhow::{Context as _, Result};
use genspan::vocabulary::attr;
use genspan_tests::tree::has_none_of;
use genspan_tests::{Agent, Finished, Process, Span, Temp, need, programs};
use std::process::Command;

/// How often everything is done.
const TIMES: usize = 5;

fn seconds(span: &Span, name: &str) -> Option<f64> {
    span.attribute(name).as_f64()
}

/// `(input, output, cached)`.
fn tokens(span: &Span) -> [Option<i64>; 3] {
    [
        attr::USAGE_INPUT_TOKENS,
        attr::USAGE_OUTPUT_TOKENS,
        attr::USAGE_CACHE_READ,
    ]
    .map(|name| span.number(name))
}

fn check_served(span: &Span) {
    const VLLM: [Option<f64>; 4] = [Some(0.25), Some(1.0), Some(2.0), Some(1.5)];
    const SGLANG: [Option<f64>; 4] = [Some(0.25), Some(1.25), None, None];
    let (times, reason, requests, counted) = match span.model() {
        "single" => (VLLM, vec!["length"], None, [12, 5, 3]),
        "answers" => (VLLM, vec!["length", "length"], Some(2), [12, 12, 3]),
        "prompts" => (VLLM, vec!["length", "length"], Some(2), [24, 8, 6]),
        "wide" => (SGLANG, vec!["stop"], None, [300, 400, 256]),
        _ => ([None; 4], vec!["stop"], None, [300, 400, 256]),
    };
    assert_eq!(tokens(span), counted.map(Some), "{}", span.0);
    assert_eq!(
        span.list(attr::RESPONSE_FINISH_REASONS),
        reason,
        "{}",
        span.0
    );
    assert_eq!(span.number(attr::ENGINE_REQUESTS), requests, "{}", span.0);
    let names = [
        attr::ENGINE_QUEUE_TIME,
        attr::ENGINE_PREFILL_TIME,
        attr::ENGINE_DECODE_TIME,
        attr::ENGINE_TIME_TO_FIRST_TOKEN,
    ];
    for (name, wanted) in names.into_iter().zip(times) {
        assert_eq!(seconds(span, name), wanted, "{name}: {}", span.0);
    }
    let each = (span.model() == "single").then_some(0.5);
    let found = seconds(span, attr::ENGINE_TIME_PER_OUTPUT_TOKEN);
    assert_eq!(found, each, "{}", span.0);
}

fn engines(environment: &str) -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::environment(environment)?) else {
        return Ok(());
    };
    let temp = Temp::new()?;
    let mut command = Command::new(python);
    command.arg(programs().join("live/engines.py"));
    let mut program = Process::start(&mut command, &temp.file("program.err"))?;
    anyhow::ensure!(program.line()? == "ready", "{}", program.complaints());
    let recording = temp.file("recording").to_string_lossy().into_owned();
    let pid = program.pid().to_string();
    let mut agent = Agent::start(&temp, &["--record", &recording], &["--pid", &pid])?;
    agent.wait_for_log(&format!("watching vLLM (pid {pid})"))?;
    agent.wait_for_log(&format!("watching SGLang (pid {pid})"))?;
    agent.wait_attached(program.pid())?;
    let mut told: Vec<String> = Vec::new();
    for _ in 0..TIMES {
        program.tell("go")?;
        let line = program.line()?;
        let ids: Vec<String> = serde_json::from_str(&line).context(line)?;
        told.extend(ids);
    }
    // Each served request is one that was made as well.
    agent.wait_for_spans(TIMES * 11)?;
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
                assert_eq!(span.name(), "text_completion", "{}", span.0);
                assert_eq!(span.text(attr::FRAMEWORK), "vllm", "{}", span.0);
                // As many as were made text of: it keeps no statistics.
                assert_eq!(tokens(span), [12, 90, 3].map(Some), "{}", span.0);
                assert_eq!(seconds(span, attr::ENGINE_DECODE_TIME), None, "{}", span.0);
                let asked = [attr::REQUEST_MAX_TOKENS, attr::REQUEST_CHOICE_COUNT];
                let asked = asked.map(|name| span.number(name));
                assert_eq!(asked, [Some(16), Some(2)], "{}", span.0);
                seen.push(span.text(attr::REQUEST_ID).to_owned());
            }
            _ => {
                let told = seconds(span, attr::ENGINE_DECODE_TIME);
                assert!(told.is_none() && tokens(span) == [None; 3], "{}", span.0);
            }
        }
        assert!(!span.0.to_string().contains("nobody is told"), "{}", span.0);
    }
    seen.sort_unstable();
    told.sort_unstable();
    assert_eq!(seen, told, "{log}");
    // What a recording has is no more than that.
    has_none_of(&recording, &["nobody is told"])
}

#[test]
fn on_the_newest_python() -> Result<()> {
    engines("web313")
}

#[test]
fn on_an_older_one() -> Result<()> {
    engines("web311")
}
