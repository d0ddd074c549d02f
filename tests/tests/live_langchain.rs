//! Runs of LangChain, seen from outside: every run, with its parent, its beginning and its end, is
//! what LangChain's own callback handler was told.

use anyhow::{Context as _, Result, ensure};
use genspan::vocabulary::attr;
use genspan_tests::tree::{has_none_of, replays_to};
use genspan_tests::{Agent, Finished, Process, Span, Temp, need, programs};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

const STEPS: [&str; 7] = [
    "plain", "batch", "tools", "stream", "errors", "later", "crowd",
];

/// Those of LangGraph.
const GRAPH_STEPS: [&str; 6] = [
    "invoke", "at_once", "models", "stream", "failing", "awaited",
];

/// How near beginning and end of a run are to when the handler is told them, in nanoseconds.
const NEAR: i64 = 1_000_000;

/// How often a step is taken at most. What an interrupt does, or a page that the machine below has yet to give,
/// is the thread's own time for all it can tell, and makes one run's end milliseconds earlier than when the
/// handler hears of it; where that is ours it is so each time.
const ROUNDS: usize = 3;

/// One of so many runs may be hit so, at most.
const STALLED: usize = 50;

/// How long a handler may wait in all, in nanoseconds.
const AHEAD: u64 = 1_000_000_000;

/// The program in an environment.
fn program(environment: &str) -> Result<Option<Command>> {
    let (Some(()), Some(python)) = (need::root()?, need::environment(environment)?) else {
        return Ok(None);
    };
    let mut command = Command::new(python);
    command.arg(programs().join("live/langchain_runs.py"));
    Ok(Some(command))
}

/// What kind of run a span is of.
fn kind(span: &Span) -> &str {
    match span.text(attr::OPERATION_NAME) {
        "" | "invoke_workflow" => "chain",
        kind => kind,
    }
}

/// What is wrong with the span of a run.
fn differs(told: &Value, span: &Span, by_id: &BTreeMap<&str, &Span>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |right: bool, what: &str| {
        if !right {
            wrong.push(what.to_owned());
        }
    };
    check(kind(span) == told["kind"], "kind");
    check(*span.attribute(attr::RUN_NAME) == told["name"], "name");
    let parent = told["parent"].as_str();
    let above = parent.map(|id| {
        by_id
            .get(id)
            .map_or(Value::Null, |s| s.0["span_id"].clone())
    });
    check(
        above.is_none_or(|id| !id.is_null() && span.0["parent_span_id"] == id),
        "parent",
    );
    if parent.is_none() && !span.0["parent_span_id"].is_null() {
        // What runs in a run is told to be part of it also where the framework does not say so.
        let around = by_id
            .values()
            .find(|s| s.0["span_id"] == span.0["parent_span_id"]);
        let in_time = around.is_some_and(|s| s.start() <= span.start() && s.error().is_empty());
        let is_fallback = around.is_some_and(|s| s.text(attr::RUN_NAME) == "RunnableWithFallbacks");
        check(in_time && is_fallback, "has a parent");
    }
    for what in contents_differ(told, span) {
        check(false, &what);
    }
    check(
        span.error() == told["error"].as_str().unwrap_or_default(),
        "error",
    );
    let failed = span.0["status"]["code"] == "ERROR";
    check(failed == told["error"].is_string(), "status");
    let (start, end) = (span.start(), span.start() + span.duration());
    let times = (told["start"].as_u64(), told["end"].as_u64());
    let (Some(from), Some(to)) = times else {
        check(false, "the handler was not told of its end");
        return wrong;
    };
    check(start <= from + AHEAD && start + AHEAD >= from, "start");
    check(end + AHEAD >= to && end <= to + AHEAD, "end");
    wrong
}

/// Whether all was seen of a run; the end of one is not that keeps what speaks for it.
fn is_sound(span: &Span) -> bool {
    let late: &[&str] = match span.text(attr::RUN_NAME) {
        "keeps" => &["end_late"],
        _ => &[],
    };
    span.defects() == late
}

/// How far a run's times are off what the handler was told, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Off {
    /// So much later it begins: what speaks for a run is made when the handler was told.
    begins: i64,
    /// So much later it ends.
    ends: i64,
    /// How long the thread did not run behind the handler's beginning and end, as far as the program can tell.
    waited: [i64; 2],
    /// How long before the handler heard of its end the thread did not run, or ran other tasks: an event
    /// loop has many, and what an asynchronous run tells comes to a handler when its turn comes.
    late: i64,
}

impl Off {
    /// Of a run whose end was seen.
    fn of(told: &Value, span: &Span) -> Option<Self> {
        let told = |name: &str| told[name].as_i64();
        let start = i64::try_from(span.start()).ok()?;
        let end = i64::try_from(span.start() + span.duration()).ok()?;
        Some(Self {
            begins: start - told("start")?,
            ends: end - told("end")?,
            waited: [told("start_waited")?, told("end_waited")?],
            late: told("end_late")?,
        })
    }

    /// Whether it is more than is due to the thread not being run just then.
    fn is_far(&self) -> bool {
        self.begins > NEAR + self.waited[0]
            || self.ends > NEAR + self.waited[1]
            || -self.ends > NEAR + self.late
    }
}

/// What is wrong with what the run was given and gave.
fn contents_differ(told: &Value, span: &Span) -> Vec<String> {
    let (given, got) = match kind(span) {
        "chat" | "text_completion" => (attr::INPUT_MESSAGES, attr::OUTPUT_MESSAGES),
        "execute_tool" => (attr::TOOL_CALL_ARGUMENTS, attr::TOOL_CALL_RESULT),
        "retrieval" => (attr::RETRIEVAL_QUERY_TEXT, attr::RETRIEVAL_DOCUMENTS),
        _ => (attr::INPUT_VALUE, attr::OUTPUT_VALUE),
    };
    let parsed = |name: &str| match span.attribute(name) {
        Value::String(text) if name == attr::RETRIEVAL_QUERY_TEXT => Value::from(text.as_str()),
        Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        _ => Value::Null,
    };
    let tokens = [attr::USAGE_INPUT_TOKENS, attr::USAGE_OUTPUT_TOKENS];
    let tokens: Value = tokens
        .iter()
        .map(|name| span.attribute(name).clone())
        .collect();
    let none = serde_json::json!([null, null]);
    let of = |name: &str| match told.get(name) {
        // What it gives is told with its end, where that is seen.
        Some(_) if name == "got" && span.defects() == ["end_late"] => Value::Null,
        // What the function gives that began it is something else than it told the handler.
        Some(_) if name == "got" && told["name"] == "by_hand" => Value::Null,
        // LangChain 0.1 tells handlers of asynchronous tools the text of what those give.
        Some(Value::String(text))
            if name == "got" && told["kind"] == "execute_tool" && told["message"] != true =>
        {
            serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()))
        }
        value => value.cloned().unwrap_or_default(),
    };
    let all = [
        ("given", parsed(given), of("given")),
        ("got", parsed(got), of("got")),
        (
            "model",
            span.attribute(attr::REQUEST_MODEL).clone(),
            of("model"),
        ),
        (
            "answers",
            span.attribute(attr::RESPONSE_MODEL).clone(),
            of("answers"),
        ),
        (
            "tokens",
            tokens,
            told.get("tokens").cloned().unwrap_or(none),
        ),
    ];
    let wrong = all.iter().filter(|(_, is, wanted)| is != wanted);
    wrong
        .map(|(name, is, wanted)| format!("{name} {is} is {wanted}"))
        .collect()
}

/// Tells how far all are off, for who wants to know (`--nocapture`).
#[expect(clippy::print_stdout, reason = "for who measures it")]
fn tell(off: &[Off]) {
    let mut ends: Vec<_> = off.iter().map(|of| of.ends / 1000).collect();
    ends.sort_unstable();
    let at = |part: usize| ends.get(part * ends.len().saturating_sub(1) / 100);
    let places = [0, 1, 50, 99, 100].map(|part| at(part).copied().unwrap_or_default());
    let raw = |of: &&Off| of.ends.abs() > NEAR;
    println!(
        "{} runs: ends less the handler's, least, 1, 50, 99 of 100, largest: {places:?} us; \
         {} further than a millisecond, for as long as the thread did not run",
        off.len(),
        off.iter().filter(raw).count(),
    );
}

/// All steps in one environment.
fn every_run(environment: &str) -> Result<()> {
    match program(environment)? {
        Some(mut program) => every_run_of(&mut program, &STEPS, |_| {}),
        None => Ok(()),
    }
}

/// One step of the program, with and without handlers: what the handler was told.
fn take(program: &mut Process, step: &str, expect: fn(&mut Value)) -> Result<Vec<Value>> {
    program.tell(step)?;
    let mut runs = program.record()?;
    for told in &mut runs {
        told["step"] = Value::from(step);
        expect(told);
    }
    // A graph whose first node fails has no more than that.
    let least = if step == "failing" { 2 } else { 6 };
    assert!(runs.len() >= least, "{step}: {runs:?}");
    // Without handlers the framework leaves out much of what it does with them.
    program.tell(&format!("bare {step}"))?;
    program.record()?;
    Ok(runs)
}

/// The runs whose times are far off, with their steps.
fn far_off(truth: &[Value], spans: &[Span]) -> BTreeMap<String, String> {
    let by_id: BTreeMap<&str, &Span> = spans.iter().map(|s| (s.text(attr::RUN_ID), s)).collect();
    let is_far = |told: &&Value| {
        let span = by_id.get(told["id"].as_str().unwrap_or_default());
        let span = span.filter(|span| span.defects().is_empty());
        let off = span.and_then(|span| Off::of(told, span));
        off.is_some_and(|off| off.is_far())
    };
    let text = |told: &Value, name: &str| told[name].as_str().unwrap_or_default().to_owned();
    let far = truth.iter().filter(is_far);
    far.map(|told| (text(told, "id"), text(told, "step")))
        .collect()
}

/// All steps of the program; the recording gives the same spans. `expect` makes of what the handler was told of a
/// run what is to be seen of it.
fn every_run_of(program: &mut Command, steps: &[&str], expect: fn(&mut Value)) -> Result<()> {
    let temp = Temp::new()?;
    let mut program = Process::ready(program, &temp)?;
    let recording = temp.file("recording").to_string_lossy().into_owned();
    let pid = program.pid().to_string();
    let mut agent = Agent::start(&temp, &["--record", &recording], &["--pid", &pid])?;
    agent.wait_for_log(&format!("watching LangChain (pid {pid})"))?;
    let mut truth = Vec::new();
    let mut stalled = BTreeSet::new();
    let mut left: Vec<&str> = steps.to_vec();
    for round in 1..=ROUNDS {
        for &step in &left {
            truth.extend(take(&mut program, step, expect)?);
        }
        // As many without handlers.
        agent.wait_for_spans(2 * truth.len())?;
        if round == ROUNDS {
            break;
        }
        let far = far_off(&truth, &agent.spans()?);
        let again = |step: &&str| {
            let mut news = far.iter().filter(|(id, _)| !stalled.contains(*id));
            news.any(|(_, of)| of == step)
        };
        left.retain(again);
        stalled.extend(far.into_keys());
        if left.is_empty() {
            break;
        }
    }
    assert!(
        stalled.len() <= truth.len() / STALLED,
        "{} of {} are far off: {stalled:?}",
        stalled.len(),
        truth.len()
    );
    let Finished {
        spans, log, lines, ..
    } = agent.stop()?;
    assert!(!log.contains("lost:"), "{log}");
    let mut by_id: BTreeMap<&str, &Span> = BTreeMap::new();
    for span in &spans {
        let before = by_id.insert(span.text(attr::RUN_ID), span);
        assert!(before.is_none(), "twice: {}", span.0);
    }
    let mut wrong = Vec::new();
    for told in &truth {
        let Some(span) = by_id.get(told["id"].as_str().unwrap_or_default()) else {
            wrong.push(format!("no span of {told}"));
            continue;
        };
        let what = differs(told, span, &by_id);
        if !what.is_empty() {
            wrong.push(format!("{what:?}: {told}\nwas told as {}", span.0));
        }
    }
    let all = spans.iter().filter(|span| !is_sound(span));
    wrong.extend(all.map(|span| format!("defects: {}", span.0)));
    let mut off = Vec::new();
    for told in &truth {
        let span = by_id.get(told["id"].as_str().unwrap_or_default());
        let Some(span) = span.filter(|span| span.defects().is_empty()) else {
            continue;
        };
        let of = Off::of(told, span).context("no times")?;
        if of.is_far() && !stalled.contains(span.text(attr::RUN_ID)) {
            wrong.push(format!("{of:?}: {told}\nwas told as {}", span.0));
        }
        off.push(of);
    }
    tell(&off);
    let some: Vec<_> = wrong.iter().take(8).cloned().collect();
    assert!(
        wrong.is_empty(),
        "{} of {} wrong: {}\n{log}",
        wrong.len(),
        truth.len(),
        some.join("\n")
    );
    // Those without handlers are as many, and as many of each kind and name.
    let ids: Vec<_> = truth.iter().map(|t| t["id"].as_str()).collect();
    let count = |with: bool| {
        let mut all: BTreeMap<(String, String, String), u32> = BTreeMap::new();
        for span in &spans {
            if ids.contains(&Some(span.text(attr::RUN_ID))) == with {
                let name = span.text(attr::RUN_NAME).to_owned();
                let key = (kind(span).to_owned(), name, span.error().to_owned());
                *all.entry(key).or_default() += 1;
            }
        }
        all
    };
    assert_eq!(count(false), count(true), "{log}");
    replays_to(&temp, &recording, &lines)
}

/// Of a process whose content an operator's rule forbids no object is copied; of one whose content a rule
/// asks for they are. The rules are known when the processes are found.
#[test]
fn what_a_rule_says_of_content_decides_what_is_copied() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::environment("langchain312")?) else {
        return Ok(());
    };
    let temp = Temp::new()?;
    let here = temp.file("it").display().to_string();
    let config = temp.file("rules.yaml");
    let rules = |later: &str| {
        let rules = json!({
            "include": [format!("command=*{here}/*")],
            "settings": [
                {"rule": format!("command=*{here}/secret"), "content": "forbid"},
                {"rule": format!("command=*{here}/*"), "content": later},
            ],
        });
        fs::write(&config, rules.to_string())
    };
    rules("spans")?;
    let start = |word: &str, ask: Option<&str>| {
        let mut command = Command::new(&python);
        command
            .arg(programs().join("live/langchain_runs.py"))
            .arg(temp.file("it").join(word))
            .envs(ask.map(|ask| ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", ask)));
        let mut process = Process::start(&mut command, &temp.file(&format!("{word}.err")))?;
        ensure!(process.line()? == "ready", "{}", process.complaints());
        anyhow::Ok(process)
    };
    let mut secret = start("secret", Some("SPAN_ONLY"))?;
    let mut open = start("open", None)?;
    let path = config.display().to_string();
    let mut agent = Agent::host(&temp, &["--debug", "--config", &path])?;
    for process in [&secret, &open] {
        agent.wait_for_log(&format!("watching LangChain (pid {})", process.pid()))?;
    }
    let mut sent = 0;
    let mut runs = |agent: &Agent, process: &mut Process| -> Result<Vec<Span>> {
        process.tell("plain")?;
        let truth = process.record()?;
        sent += truth.len();
        agent.wait_for_spans(sent)?;
        let mut spans = agent.spans()?;
        let is_of = |told: &Value, span: &Span| told["id"] == *span.attribute(attr::RUN_ID);
        spans.retain(|span| truth.iter().any(|told| is_of(told, span)));
        assert_eq!(spans.len(), truth.len());
        Ok(spans)
    };
    // The name of a model is told whatever is said of content.
    let of_objects = [attr::INPUT_MESSAGES, attr::INPUT_VALUE, attr::REQUEST_MODEL];
    let count = |spans: &[Span]| {
        of_objects.map(|name| {
            let all = spans.iter();
            all.filter(|s| !s.attribute(name).is_null()).count()
        })
    };
    let bare = count(&runs(&agent, &mut secret)?);
    let told = count(&runs(&agent, &mut open)?);
    assert!(told.iter().all(|count| *count > 0), "{told:?}");
    assert_eq!(bare, [0, 0, told[2]]);
    // From here on it is not wanted of the other one either.
    rules("none")?;
    agent.process.signal(Signal::SIGHUP)?;
    agent.wait_for_log("whether objects are copied is told anew")?;
    assert_eq!(count(&runs(&agent, &mut open)?), bare);
    rules("spans")?;
    agent.process.signal(Signal::SIGHUP)?;
    let again = format!(
        "whether objects are copied is told anew pid={} contents=true",
        open.pid()
    );
    agent.wait_for_log(&again)?;
    assert_eq!(count(&runs(&agent, &mut open)?), told);
    assert_eq!(agent.stop()?.code, 0);
    Ok(())
}

// The oldest and the newest langchain-core on each of these.

#[test]
fn the_newest_on_39() -> Result<()> {
    every_run("langchain39")
}

#[test]
fn the_newest_on_311() -> Result<()> {
    every_run("langchain311")
}

#[test]
fn the_newest_on_312() -> Result<()> {
    every_run("langchain312")
}

#[test]
fn the_newest_on_313() -> Result<()> {
    every_run("langchain313")
}

#[test]
fn the_newest_on_the_systems_python() -> Result<()> {
    every_run("langchain-system")
}

#[test]
fn the_oldest_on_39() -> Result<()> {
    every_run("langchain-old39")
}

#[test]
fn the_oldest_on_311() -> Result<()> {
    every_run("langchain-old311")
}

#[test]
fn the_oldest_on_312() -> Result<()> {
    every_run("langchain-old312")
}

#[test]
fn the_oldest_on_313() -> Result<()> {
    every_run("langchain-old313")
}

#[test]
fn the_oldest_on_the_systems_python() -> Result<()> {
    every_run("langchain-old-system")
}

/// Models whose runs a synchronous generator begins, in the step `stream`.
const GENERATED: [&str; 2] = ["FakeListChatModel", "Streams"];

/// What generators put together of a model's pieces is not seen in 3.14, which frees it before what speaks for
/// the run.
fn as_of_314(told: &mut Value) {
    let name = told["name"].as_str().unwrap_or_default();
    if told["step"] == "stream" && GENERATED.contains(&name) {
        told["got"] = Value::Null;
    }
}

/// On Debian's, in a root directory of its own.
#[test]
fn the_newest_on_314() -> Result<()> {
    let python = need::debian_python_with(14, "langchain_core")?;
    let (Some(()), Some(root)) = (need::root()?, python) else {
        return Ok(());
    };
    let source = fs::read_to_string(programs().join("live/langchain_runs.py"))?;
    let mut program = Command::new("chroot");
    program
        .arg(root)
        .args(["/usr/bin/python3.14", "-c", &source]);
    every_run_of(&mut program, &STEPS, as_of_314)
}

/// Graphs that are agents: the prebuilt ones, of which one has no name of its own.
fn as_of_graphs(told: &mut Value) {
    if told["name"].is_null() {
        // What it is not told it takes from the class.
        told["name"] = Value::from("RunnableCallable");
        return;
    }
    let name = told["name"].as_str().unwrap_or_default();
    let is_unnamed = name == "LangGraph" && told["step"] == "models";
    if ["helper", "react"].contains(&name) || is_unnamed {
        told["kind"] = Value::from("invoke_agent");
    }
}

/// Nodes of LangGraph, conditions, tools, graphs in graphs: runs as all others.
#[test]
fn graphs_on_313() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::environment("langchain313")?) else {
        return Ok(());
    };
    let mut program = Command::new(python);
    program.arg(programs().join("live/langgraph_runs.py"));
    every_run_of(&mut program, &GRAPH_STEPS, as_of_graphs)
}

/// An `AgentExecutor` is an agent.
#[test]
fn an_agent_executor_on_312() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::environment("compare-langchain")?) else {
        return Ok(());
    };
    let mut program = Command::new(python);
    program.arg(programs().join("live/executor_runs.py"));
    every_run_of(&mut program, &["agent", "awaited"], |told| {
        if told["name"] == "AgentExecutor" {
            told["kind"] = Value::from("invoke_agent");
        }
    })
}

/// Where content is not wanted nothing is told of what runs were given and gave, but of models what they are
/// called, why they stopped, and tokens.
#[test]
fn without_content() -> Result<()> {
    let temp = Temp::new()?;
    let Some(mut program) = program("langchain312")? else {
        return Ok(());
    };
    let mut program = Process::ready(&mut program, &temp)?;
    let recording = temp.file("recording").to_string_lossy().into_owned();
    let pid = program.pid().to_string();
    let options = ["--no-content", "--record", &recording];
    let mut agent = Agent::start(&temp, &options, &["--pid", &pid])?;
    agent.wait_for_log(&format!("watching LangChain (pid {pid})"))?;
    let mut runs = Vec::new();
    for step in ["plain", "stream", "later"] {
        program.tell(step)?;
        runs.extend(program.record()?);
    }
    agent.wait_for_spans(runs.len())?;
    let Finished { spans, log, .. } = agent.stop()?;
    assert_eq!(spans.len(), runs.len(), "{log}");
    let content = [
        attr::INPUT_MESSAGES,
        attr::OUTPUT_MESSAGES,
        attr::INPUT_VALUE,
        attr::OUTPUT_VALUE,
    ];
    for span in &spans {
        let told = content.iter().find(|name| !span.attribute(name).is_null());
        assert_eq!(told, None, "{}", span.0);
    }
    let mut counted = 0;
    for mut told in runs {
        let id = told["id"].as_str().unwrap_or_default();
        let span = spans.iter().find(|span| span.text(attr::RUN_ID) == id);
        let span = span.with_context(|| format!("no span of {told}"))?;
        let all = told.as_object_mut().context("no run")?;
        all.retain(|name, _| name != "given" && name != "got");
        let wrong = contents_differ(&told, span);
        assert!(wrong.is_empty(), "{wrong:?}: {told}: {}", span.0);
        if told["tokens"] == serde_json::json!([11, 7]) {
            counted += 1;
            let reasons = span.attribute(attr::RESPONSE_FINISH_REASONS);
            assert_eq!(*reasons, serde_json::json!(["stop"]), "{}", span.0);
        }
    }
    assert_eq!(counted, 2);
    // Nor is it recorded.
    has_none_of(&recording, &["Say three", "viele", "alone", "how many"])
}
