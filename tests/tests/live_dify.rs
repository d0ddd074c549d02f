//! Runs of Dify's workflow engine (graphon), seen from outside: every node that the engine tells a layer
//! of is a span, below its run and that below its request, though the engine's own threads run it.

use anyhow::{Context as _, Result, ensure};
use genspan::vocabulary::attr;
use genspan_tests::tree::{Tree, crowd, get, has_none_of, id_in, replays_to};
use genspan_tests::{Agent, Finished, Process, Scene, Span, need};
use serde_json::Value;
use std::collections::BTreeMap;

/// Clients at one time, and requests of each.
const CLIENTS: u32 = 10;
const REQUESTS: u32 = 6;

/// How far wall time may be off boot time between two measurements of it, in nanoseconds.
const CLOCK: u64 = 2_000_000;
/// How much later than the engine says so a layer may look at the clock, in nanoseconds, and of how many
/// of a hundred nodes it may be later: something else ran in between.
const AFTER: u64 = 1_000_000;
const SLOW: usize = 20;

/// What the configuration of every node has in it.
const SECRET: &str = "nobody-may-see";

/// Paths of the application, with how many nodes are run and how many models asked, as often as they are
/// asked for.
const ROUTES: [(&str, usize, usize); 6] = [
    ("parallel", 9, 3),
    ("raises", 2, 0),
    ("parallel", 9, 3),
    ("parallel", 9, 3),
    ("says", 2, 0),
    ("parallel", 9, 3),
];

/// Whether this is a run of a workflow right below its request.
fn is_run(tree: &Tree<'_>, span: &Span) -> bool {
    let named = format!("invoke_workflow {}", span.text(attr::WORKFLOW_NAME));
    span.text(attr::WORKFLOW_NAME).starts_with("workflow-")
        && span.name() == named
        && tree.above(span).is_some_and(|s| s.kind() == "SERVER")
}

/// The span's name and operation of a kind of node.
fn called(kind: &str, title: &str) -> (String, &'static str) {
    match kind {
        "llm" if title == "The model" => ("chat web".to_owned(), "chat"),
        "llm" => ("chat within".to_owned(), "chat"),
        "tool" | "code" => (format!("execute_tool {title}"), "execute_tool"),
        "knowledge-retrieval" => ("retrieval".to_owned(), "retrieval"),
        "agent" => (format!("invoke_agent {title}"), "invoke_agent"),
        _ => (format!("chain {title}"), ""),
    }
}

/// What is wrong with the span of a node that the engine told a layer of; whether it is late.
fn check(tree: &Tree<'_>, span: &Span, (begins, ends): (&Value, &Value)) -> (Vec<String>, bool) {
    let mut wrong = Vec::new();
    let mut check = |right: bool, what: &str| {
        if !right {
            wrong.push(format!("{what}: {begins} {ends}: {}", span.0));
        }
    };
    let title = begins["title"].as_str().unwrap_or_default();
    let (name, operation) = called(begins["type"].as_str().unwrap_or_default(), title);
    check(span.name() == name, "name");
    check(span.text(attr::OPERATION_NAME) == operation, "operation");
    check(span.text(attr::RUN_NAME) == title, "title");
    check(span.text(attr::FRAMEWORK) == "dify", "framework");
    check(ends["error"] == span.error(), "error");
    check(span.defects().is_empty(), "defects");
    check(tree.above(span).is_some_and(|s| is_run(tree, s)), "parent");
    let asked = begins["asked"].as_u64();
    check(tree.request(span).map(u64::from) == asked, "request");
    let asked = asked.unwrap_or_default();
    // The full stop tells 1 from 12.
    let question = format!("question {asked}.");
    match title {
        _ if !span.error().is_empty() => {}
        "The model" => {}
        "The within" => {
            let used = [attr::USAGE_INPUT_TOKENS, attr::USAGE_OUTPUT_TOKENS];
            check(
                used.map(|name| span.number(name)) == [Some(7), Some(3)],
                "tokens",
            );
            check(span.text(attr::INPUT_MESSAGES).contains(&question), "input");
            let answer = format!("within {asked}.");
            check(span.text(attr::OUTPUT_MESSAGES).contains(&answer), "output");
        }
        "The tool" | "The code" => {
            check(
                span.text(attr::TOOL_CALL_ARGUMENTS).contains(&question),
                "given",
            );
            let answer = format!("of {asked}.");
            check(span.text(attr::TOOL_CALL_RESULT).contains(&answer), "got");
        }
        _ => {}
    }
    let (start, end) = (span.start(), span.start() + span.duration());
    let (from, to) = (begins["start"].as_u64(), ends["end"].as_u64());
    let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
    if title == "The model" {
        // As the wire has it, between the two.
        check(start + CLOCK >= from && end <= to + CLOCK, "times");
        return (wrong, false);
    }
    check(start <= from + CLOCK && end <= to + CLOCK, "times");
    let is_late = start + AFTER + CLOCK < from || end + AFTER + CLOCK < to;
    (wrong, is_late)
}

/// Ten clients at a time, whose workflows run nodes side by side: all is told, and belongs to the right.
#[test]
fn every_node_under_its_run_and_request() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::plain()?, need::environment("dify")?) else {
        return Ok(());
    };
    let mut server = Process::start(&mut scene.live(&python, "dify_app.py"), &scene.next_log())?;
    let port: u16 = server.line()?.trim().parse()?;
    let paths = ROUTES.map(|(path, ..)| path);
    for path in paths {
        get(port, &format!("{path}?id=0")).with_context(|| server.complaints())?;
    }
    let temp = &scene.temp;
    let recording = temp.file("recording").to_string_lossy().into_owned();
    let mut agent = Agent::attach(temp, &[server.pid()], &["--record", &recording])?;
    agent.wait_for_log(&format!("watching Dify (pid {})", server.pid()))?;
    let asked = crowd(port, (CLIENTS, REQUESTS), &paths).with_context(|| server.complaints())?;
    let all = asked.values().map(|at| ROUTES[*at]);
    let (nodes, calls) = all.fold((0, 0), |sum, (_, n, c)| (sum.0 + n, sum.1 + c));
    let requests = (CLIENTS * REQUESTS) as usize;
    // The call of one node stands for it.
    let own = calls - calls / 3;
    // What is missing is told below.
    let came = agent.wait_for_spans(2 * requests + nodes + own);
    let Finished {
        spans, log, lines, ..
    } = agent.stop()?;
    ensure!(!log.contains("lost:"), "{log}");
    let told: Vec<Value> = serde_json::from_str(&get(port, "record")?)?;
    let tree = Tree::of(&spans);
    let mut of_node: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in spans.iter().filter(|s| !s.text(attr::RUN_ID).is_empty()) {
        of_node
            .entry(span.text(attr::RUN_ID))
            .or_default()
            .push(span);
    }
    let mut wrong = Vec::new();
    let (mut late, mut count) = (0, 0);
    for begins in told
        .iter()
        .filter(|t| t["start"].is_u64() && t["asked"] != 0)
    {
        let id = begins["id"].as_str().unwrap_or_default();
        let mut ends = told.iter().filter(|t| t["id"] == id && t["end"].is_u64());
        let ends = ends.next().with_context(|| format!("no end of {begins}"))?;
        count += 1;
        match of_node.remove(id).as_deref() {
            Some([span]) => {
                let (found, is_late) = check(&tree, span, (begins, ends));
                wrong.extend(found);
                late += usize::from(is_late);
            }
            other => wrong.push(format!("{} of {begins}", other.map_or(0, <[_]>::len))),
        }
    }
    wrong.extend(of_node.keys().map(|id| format!("nobody ran {id}")));
    // Every call of a model: under the request that it names, in the place of its node or below it.
    let mut seen = 0;
    for span in spans.iter().filter(|s| s.name() == "chat web") {
        seen += 1;
        let named = id_in(span.text(attr::INPUT_MESSAGES), "request ");
        let is_node = span.text(attr::RUN_NAME) == "The model";
        let above = tree.above(span).map(|s| s.text(attr::RUN_NAME));
        let is_below = matches!(above, Some("The tool" | "The agent"));
        if named.is_none() || tree.request(span) != named || is_node == is_below {
            wrong.push(format!("a call below {above:?}: {}", span.0));
        }
    }
    let runs: Vec<_> = spans.iter().filter(|s| is_run(&tree, s)).collect();
    let failed = runs.iter().filter(|s| !s.error().is_empty()).count();
    let some: Vec<_> = wrong.iter().take(8).cloned().collect();
    ensure!(
        wrong.is_empty(),
        "{} wrong of {} spans, {} runs, {seen} calls: {}\n{log}",
        wrong.len(),
        spans.len(),
        runs.len(),
        some.join("\n")
    );
    came?;
    assert_eq!((count, seen, runs.len()), (nodes, calls, requests));
    let failing = asked.values().filter(|at| ROUTES[**at].1 == 2);
    assert_eq!(failed, failing.count());
    assert!(late * 100 <= count * SLOW, "{late} of {count} are late");
    // Neither what a node is set up with nor what an exception says.
    let unwanted = [SECRET, "nobody is told"];
    for text in unwanted {
        assert!(!lines.contains(text), "{text} is in a span");
    }
    has_none_of(&recording, &unwanted)?;
    replays_to(temp, &recording, &lines)
}

/// Where content is not wanted nothing is told of what nodes were given and gave; what failed is.
#[test]
fn without_content() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::plain()?, need::environment("dify")?) else {
        return Ok(());
    };
    let mut server = Process::start(&mut scene.live(&python, "dify_app.py"), &scene.next_log())?;
    let port: u16 = server.line()?.trim().parse()?;
    get(port, "parallel?id=0").with_context(|| server.complaints())?;
    let temp = &scene.temp;
    let recording = temp.file("recording").to_string_lossy().into_owned();
    let options = ["--no-content", "--record", &recording];
    let mut agent = Agent::attach(temp, &[server.pid()], &options)?;
    agent.wait_for_log(&format!("watching Dify (pid {})", server.pid()))?;
    let mut expected = 0;
    for (path, nodes, calls) in [ROUTES[0], ROUTES[1], ROUTES[4]] {
        get(port, &format!("{path}?id=77"))?;
        expected += 2 + nodes + calls - calls / 3;
    }
    agent.wait_for_spans(expected)?;
    let Finished { spans, log, .. } = agent.stop()?;
    assert_eq!(spans.len(), expected, "{log}");
    let content = [
        attr::INPUT_MESSAGES,
        attr::OUTPUT_MESSAGES,
        attr::INPUT_VALUE,
        attr::OUTPUT_VALUE,
        attr::TOOL_CALL_ARGUMENTS,
        attr::TOOL_CALL_RESULT,
        attr::RETRIEVAL_QUERY_TEXT,
    ];
    for span in &spans {
        let told = content.iter().find(|name| !span.attribute(name).is_null());
        assert_eq!(told, None, "{}", span.0);
    }
    let failed = |title: &str| {
        let found = spans.iter().find(|s| s.text(attr::RUN_NAME) == title);
        found.map(|span| span.error().to_owned())
    };
    assert_eq!(failed("The raises").as_deref(), Some("WorkflowNodeError"));
    assert_eq!(failed("The says").as_deref(), Some("KeyError"));
    assert_eq!(failed("The code").as_deref(), Some(""));
    has_none_of(&recording, &["question 77", "of 77", SECRET])
}
