//! Spans of LlamaIndex, seen from outside: every one, with its parent, its beginning and its end, is
//! what LlamaIndex's own dispatcher told handlers of it.

use anyhow::{Context as _, Result, ensure};
use genspan::vocabulary::attr;
use genspan_tests::tree::{Tree, crowd, get, has_none_of, id_in, replays_to};
use genspan_tests::{Agent, Finished, Process, Scene, Span, Temp, need, programs};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// The environment with the newest.
const NEWEST: &str = "llamaindex313";

const STEPS: [&str; 9] = [
    "query", "models", "stream", "later", "crowd", "errors", "threads", "agent", "workflow",
];

/// How far wall time may be off boot time between two measurements of it, in nanoseconds.
const CLOCK: u64 = 2_000_000;

/// How much later than what it is told of a handler may look at the clock, in nanoseconds.
const AFTER: u64 = 1_000_000;

/// In so many of a hundred spans it may be later than that: something else ran in between.
const SLOW: usize = 3;

/// So often it is tried whether it is so.
const TIMES: usize = 3;

fn program(environment: &str, temp: &Temp) -> Result<Option<Process>> {
    let (Some(()), Some(python)) = (need::root()?, need::environment(environment)?) else {
        return Ok(None);
    };
    let mut command = Command::new(python);
    command.arg(programs().join("live/llama_index_runs.py"));
    Process::ready(&mut command, temp).map(Some)
}

/// What kind of run a span is of.
fn kind(span: &Span) -> &str {
    match span.text(attr::OPERATION_NAME) {
        "" | "invoke_workflow" => "chain",
        kind => kind,
    }
}

/// Most characters of a text that are compared: of long ones less is copied.
const COMPARED: usize = 1000;

/// A value with short texts.
fn shortened(value: &Value) -> Value {
    match value {
        Value::String(text) => text.chars().take(COMPARED).collect::<String>().into(),
        Value::Array(items) => items.iter().map(shortened).collect(),
        other => other.clone(),
    }
}

/// What a span was given and gave, as the program tells it; null where that is nothing.
fn contents(span: &Span) -> (Value, Value) {
    let parsed = |name: &str| match span.attribute(name) {
        Value::String(text) => serde_json::from_str(text).unwrap_or(Value::from(text.as_str())),
        _ => Value::Null,
    };
    let messages = |name: &str| match parsed(name) {
        Value::Array(all) => all
            .iter()
            .map(|m| {
                let text = m["parts"][0]["content"].as_str().unwrap_or_default();
                Value::from(vec![m["role"].clone(), text.into()])
            })
            .collect(),
        other => other,
    };
    let (given, got) = match kind(span) {
        "chat" | "text_completion" => (
            messages(attr::INPUT_MESSAGES),
            messages(attr::OUTPUT_MESSAGES),
        ),
        "execute_tool" => (
            parsed(attr::TOOL_CALL_ARGUMENTS),
            parsed(attr::TOOL_CALL_RESULT),
        ),
        "retrieval" => (
            parsed(attr::RETRIEVAL_QUERY_TEXT),
            parsed(attr::RETRIEVAL_DOCUMENTS),
        ),
        _ => (parsed(attr::INPUT_VALUE), parsed(attr::OUTPUT_VALUE)),
    };
    (shortened(&given), shortened(&got))
}

/// What the handlers were told, and what we tell.
struct Compared<'a> {
    /// What was told of each id.
    told: BTreeMap<&'a str, &'a Value>,
    /// Spans by the ids of LlamaIndex.
    spans: BTreeMap<&'a str, &'a Span>,
    /// Those that end later than they should.
    slow: usize,
    wrong: Vec<String>,
}

impl Compared<'_> {
    /// The id of the span that something belongs to: parts are none.
    fn above(&self, told: &Value) -> Value {
        let mut next = told["parent"].as_str();
        while let Some(id) = next {
            let Some(above) = self.told.get(id) else {
                return Value::Null;
            };
            if above["part"] != true {
                let span = self.spans.get(id);
                return span.map_or(Value::from("none"), |s| s.0["span_id"].clone());
            }
            next = above["parent"].as_str();
        }
        Value::Null
    }

    fn check(&mut self, told: &Value, span: &Span) {
        let mut wrong = Vec::new();
        let mut check = |right: bool, what: &str| {
            if !right {
                wrong.push(what.to_owned());
            }
        };
        check(kind(span) == told["kind"], "kind");
        let name = span.attribute(attr::RUN_NAME);
        check(*name == told["name"], "name");
        check(span.0["parent_span_id"] == self.above(told), "parent");
        check(span.defects().is_empty(), "defects");
        let error = told["error"].as_str().unwrap_or_default();
        check(span.error() == error, "error");
        let failed = span.0["status"]["code"] == "ERROR";
        check(failed == told["error"].is_string(), "status");
        check(span.text(attr::FRAMEWORK) == "llama_index", "framework");
        let (given, got) = contents(span);
        for (name, is) in [("given", given), ("got", got)] {
            let is_same = told.get(name).is_none_or(|told| shortened(told) == is);
            check(is_same, &format!("{name} as {is}"));
        }
        if let Some(tool) = told["tool"].as_str() {
            let is_named = span.name() == format!("execute_tool {tool}");
            check(is_named && span.text(attr::TOOL_NAME) == tool, "tool");
        }
        if let Some(tokens) = told.get("tokens") {
            let own = [attr::USAGE_INPUT_TOKENS, attr::USAGE_OUTPUT_TOKENS];
            let own: Value = own
                .iter()
                .map(|name| span.attribute(name).clone())
                .collect();
            check(own == *tokens, "tokens");
            check(span.text(attr::RESPONSE_MODEL) == "counted-1", "model");
        }
        let (start, end) = (span.start(), span.start() + span.duration());
        match (told["start"].as_u64(), told["end"].as_u64()) {
            (Some(from), Some(to)) => {
                check(start <= from + CLOCK, "start");
                check(end <= to + CLOCK, "end");
                let is_late = start + AFTER + CLOCK < from || end + AFTER + CLOCK < to;
                self.slow += usize::from(is_late);
            }
            _ => check(false, "the handler was not told of its end"),
        }
        if !wrong.is_empty() {
            let of = format!("{wrong:?}: {told}\nwas told as {}", span.0);
            self.wrong.push(of);
        }
    }
}

/// All steps in one environment; the recording gives the same spans.
fn every_span(environment: &str) -> Result<()> {
    // What else a machine does makes handlers late now and then; what is ours does so each time.
    let mut late = Vec::new();
    for _ in 0..TIMES {
        let Some((slow, count)) = told_as_heard(environment)? else {
            return Ok(());
        };
        if slow * 100 <= count * SLOW {
            return Ok(());
        }
        late.push(format!("{slow} of {count}"));
    }
    anyhow::bail!("{environment}: not as the handler was told: {late:?}")
}

/// All steps, each span held against what the handler was told. Gives how many were told much earlier than it, and
/// of how many; none where there is nothing to run it with.
fn told_as_heard(environment: &str) -> Result<Option<(usize, usize)>> {
    let temp = Temp::new()?;
    let Some(mut program) = program(environment, &temp)? else {
        return Ok(None);
    };
    let recording = temp.file("recording").to_string_lossy().into_owned();
    let pid = program.pid().to_string();
    let mut agent = Agent::start(&temp, &["--record", &recording], &["--pid", &pid])?;
    agent.wait_for_log(&format!("watching LlamaIndex (pid {pid})"))?;
    let mut truth = Vec::new();
    for step in STEPS {
        program.tell(step)?;
        truth.extend(program.record()?);
        // Without handlers all is told the same.
        program.tell(&format!("bare {step}"))?;
        program.record()?;
    }
    let is_own = |told: &&Value| told["part"] != true;
    let count = truth.iter().filter(is_own).count();
    assert!(count > 100, "{count}");
    // Of all kinds some are compared in what they were given and gave.
    // The oldest tells no spans of tools.
    for kind in ["chain", "retrieval", "execute_tool", "chat"] {
        if kind == "execute_tool" && environment != NEWEST {
            continue;
        }
        let has = |name: &str| {
            let mut all = truth.iter().filter(is_own);
            all.any(|told| told["kind"] == kind && told.get(name).is_some())
        };
        assert!(has("given"), "{kind}");
        assert!(has("got"), "{kind}");
    }
    // Of streams what they gave when they were read.
    for kind in ["chain", "chat"] {
        let mut all = truth.iter().filter(is_own);
        let streamed =
            all.any(|t| t["kind"] == kind && t["gives"] == true && t.get("got").is_some());
        assert!(streamed, "{kind}");
    }
    assert!(truth.iter().any(|told| told.get("tokens").is_some()));
    // Where models have no spans, they are asked and answer all the same.
    let mut bare = truth.iter().filter(|told| told["id"].is_null());
    let is_told = |told: &Value| told.get("given").is_some() && told.get("got").is_some();
    assert_eq!(bare.any(is_told), environment != NEWEST);
    agent.wait_for_spans(2 * count)?;
    // Those of streams without a sign of their end.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let Finished {
        spans, log, lines, ..
    } = agent.stop()?;
    assert!(!log.contains("lost:"), "{log}");
    // Nor is told what a step of a workflow is given to work with.
    let given = |span: &Span| span.text(attr::INPUT_VALUE).contains("workflows.context");
    let handle = spans.iter().find(|span| given(span));
    assert!(handle.is_none(), "{handle:?}");
    let mut compared = Compared {
        told: truth
            .iter()
            .filter_map(|told| Some((told["id"].as_str()?, told)))
            .collect(),
        spans: BTreeMap::new(),
        slow: 0,
        wrong: Vec::new(),
    };
    for span in spans.iter().filter(|s| !s.text(attr::RUN_ID).is_empty()) {
        let before = compared.spans.insert(span.text(attr::RUN_ID), span);
        assert!(before.is_none(), "twice: {}", span.0);
    }
    for told in truth.iter().filter(is_own).filter(|t| t["id"].is_string()) {
        match compared.spans.get(told["id"].as_str().unwrap_or_default()) {
            Some(span) => compared.check(told, span),
            None => compared.wrong.push(format!("no span of {told}")),
        }
    }
    // Models that have events alone have no ids: of those of a kind within the same span the one that
    // begins nearest to when the handler was told.
    let mut bare: Vec<_> = spans
        .iter()
        .filter(|s| s.text(attr::RUN_ID).is_empty())
        .collect();
    for told in truth.iter().filter(|t| t["id"].is_null()) {
        let from = told["start"].as_u64().unwrap_or_default();
        let above = compared.above(told);
        let same = bare.iter().enumerate().filter(|(_, s)| {
            s.start() <= from + CLOCK / 2
                && kind(s) == told["kind"]
                && s.0["parent_span_id"] == above
        });
        match same.min_by_key(|(_, s)| s.start().abs_diff(from)) {
            Some((at, _)) => {
                let span = bare.remove(at);
                compared.check(told, span);
            }
            None => compared.wrong.push(format!("no span of {told}")),
        }
    }
    let wrong = &compared.wrong;
    let some: Vec<_> = wrong.iter().take(8).cloned().collect();
    assert!(
        wrong.is_empty(),
        "{environment}: {} of {count} wrong: {}\n{log}",
        wrong.len(),
        some.join("\n")
    );
    let slow = compared.slow;
    // Those without handlers are as many, and as many of each kind and name.
    let mut all: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for span in &spans {
        let name = span.text(attr::RUN_NAME).to_owned();
        let key = (kind(span).to_owned(), name, span.error().to_owned());
        *all.entry(key).or_default() += 1;
    }
    let mut wanted: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for told in truth.iter().filter(is_own) {
        let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        *wanted
            .entry((text("kind"), text("name"), text("error")))
            .or_default() += 2;
    }
    assert_eq!(all, wanted, "{environment}");
    replays_to(&temp, &recording, &lines)?;
    Ok(Some((slow, count)))
}

#[test]
fn the_newest_on_313() -> Result<()> {
    every_span(NEWEST)
}

#[test]
fn the_oldest_on_311() -> Result<()> {
    every_span("llamaindex311")
}

/// Where content is not wanted nothing of it is told, nor recorded.
fn without_content(environment: &str) -> Result<()> {
    let temp = Temp::new()?;
    let Some(mut program) = program(environment, &temp)? else {
        return Ok(());
    };
    let recording = temp.file("recording").to_string_lossy().into_owned();
    let pid = program.pid().to_string();
    let options = ["--no-content", "--record", &recording];
    let mut agent = Agent::start(&temp, &options, &["--pid", &pid])?;
    agent.wait_for_log(&format!("watching LlamaIndex (pid {pid})"))?;
    let mut told = Vec::new();
    for step in ["query", "models"] {
        program.tell(step)?;
        told.extend(program.record()?);
    }
    let count = told.iter().filter(|told| told["part"] != true).count();
    agent.wait_for_spans(count)?;
    let Finished { spans, log, .. } = agent.stop()?;
    assert_eq!(spans.len(), count, "{log}");
    for span in &spans {
        let contents = contents(span);
        assert_eq!(contents, (Value::Null, Value::Null), "{}", span.0);
    }
    // What a model says besides is none.
    let counted = spans.iter().filter(|span| {
        span.attribute(attr::USAGE_INPUT_TOKENS) == 3
            && span.attribute(attr::USAGE_OUTPUT_TOKENS) == 4
            && span.text(attr::RESPONSE_MODEL) == "counted-1"
    });
    assert_eq!(counted.count(), 1, "{log}");
    has_none_of(&recording, &["what?", "hello"])
}

#[test]
fn without_content_in_the_newest() -> Result<()> {
    without_content(NEWEST)
}

#[test]
fn without_content_in_the_oldest() -> Result<()> {
    without_content("llamaindex311")
}

/// Clients at one time, and requests of each.
const CLIENTS: u32 = 10;
const REQUESTS: u32 = 6;

/// A path of the application, and of each call of a model its name and what is above it up to the
/// request, the steps of the framework's own left out.
type Route = (&'static str, &'static [(&'static str, &'static str)]);

/// What a query is told as.
const QUERY: &str = "invoke_workflow RetrieverQueryEngine";
const ASKED: (&str, &str) = ("chat web", QUERY);
const LOOKED_FOR: (&str, &str) = ("embeddings web", "retrieval");

const ROUTES: [Route; 6] = [
    ("sync", &[ASKED, LOOKED_FOR]),
    ("async", &[ASKED, LOOKED_FOR]),
    ("gather", &[ASKED, ASKED, LOOKED_FOR, LOOKED_FOR]),
    ("streamed", &[("chat web", "GET or query"), LOOKED_FOR]),
    ("direct", &[("chat web", "GET")]),
    ("retrieve", &[LOOKED_FOR]),
];

/// What is wrong with the spans of the application.
fn wrong_in(spans: &[Span], asked: &BTreeMap<u32, Route>) -> Vec<String> {
    let tree = Tree::of(spans);
    let mut wrong = Vec::new();
    let mut calls: BTreeMap<u32, Vec<(String, String)>> = BTreeMap::new();
    for span in spans {
        let Some(request) = tree.request(span) else {
            wrong.push(format!("under no request: {}", span.0));
            continue;
        };
        if span.kind() != "CLIENT" || span.name() == "retrieval" {
            // A model's run that is not told with its call.
            if matches!(kind(span), "chat" | "text_completion" | "embeddings") {
                wrong.push(format!("apart from its call: {}", span.0));
            }
            continue;
        }
        let known = id_in(span.text(attr::INPUT_MESSAGES), "request ");
        let is_run = span.text(attr::FRAMEWORK) == "llama_index";
        // What is embedded is not told.
        let expected = (span.name() != "embeddings web").then_some(request);
        if known != expected || !is_run || !span.error().is_empty() {
            wrong.push(format!("{known:?} under {request}: {}", span.0));
        }
        let around = tree.upwards(span).into_iter().skip(1).map(Span::name);
        let around = around.filter(|name| !name.starts_with("chain "));
        let nearest = around.map(str::to_owned).next().unwrap_or_default();
        let named = (span.name().to_owned(), nearest);
        calls.entry(request).or_default().push(named);
    }
    for (id, (path, expected)) in asked {
        let mut found = calls.remove(id).unwrap_or_default();
        found.sort();
        let same = |(found, wanted): (&(String, String), &(&str, &str))| {
            let is_either = wanted.1 == "GET or query" && (found.1 == "GET" || found.1 == QUERY);
            found.0 == wanted.0 && (is_either || found.1 == wanted.1)
        };
        if found.len() != expected.len() || !found.iter().zip(*expected).all(same) {
            wrong.push(format!("/{path} {id}: {found:?}"));
        }
    }
    wrong
}

/// A request, what LlamaIndex does for it, and the calls of models that it makes.
fn one_tree(environment: &str) -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::plain()?, need::environment(environment)?) else {
        return Ok(());
    };
    let mut server = Process::start(
        &mut scene.live(&python, "llama_index_app.py"),
        &scene.next_log(),
    )?;
    let port: u16 = server.line()?.trim().parse()?;
    let paths = ROUTES.map(|(path, _)| path);
    for path in paths {
        get(port, &format!("{path}?id=0")).with_context(|| server.complaints())?;
    }
    let mut agent = Agent::attach(&scene.temp, &[server.pid()], &[])?;
    agent.wait_for_log(&format!("watching LlamaIndex (pid {})", server.pid()))?;
    let asked = crowd(port, (CLIENTS, REQUESTS), &paths).with_context(|| server.complaints())?;
    let asked: BTreeMap<_, _> = asked.into_iter().map(|(id, at)| (id, ROUTES[at])).collect();
    let calls: usize = asked.values().map(|(_, calls)| calls.len()).sum();
    agent.wait_for_spans(asked.len() + calls)?;
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let Finished { spans, log, .. } = agent.stop()?;
    let wrong = wrong_in(&spans, &asked);
    let some: Vec<_> = wrong.iter().take(8).cloned().collect();
    ensure!(
        wrong.is_empty(),
        "{} wrong of {} spans: {}\n{log}",
        wrong.len(),
        spans.len(),
        some.join("\n")
    );
    Ok(())
}

#[test]
fn one_tree_from_the_request_to_the_models_of_the_newest() -> Result<()> {
    one_tree(NEWEST)
}

#[test]
fn one_tree_from_the_request_to_the_models_of_the_oldest() -> Result<()> {
    one_tree("llamaindex311")
}
