//! What frameworks do for requests belongs to the requests that they do it for: many clients at a time ask a
//! web application that answers with LangChain or LlamaIndex. Each request carries an id, which is in what
//! chains, models, tools and retrievers are given; what is told of each is held against the id, and against
//! what is told of the same request when nothing else is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use genspan::vocabulary::attr;
use genspan_tests::tree::{Tree, crowd, get, id_in, ids_in};
use genspan_tests::{Agent, Finished, Process, Scene, Span, Temp, need, programs, wait_for};

/// Clients at one time, and requests of each, unless the environment asks for more in all.
const CLIENTS: u32 = 30;
const REQUESTS: u32 = 6;
const IN_ALL: &str = "GENSPAN_PARENT_REQUESTS";

/// The ids of requests that are made alone, of each path one, are this one and those behind it.
const ALONE: u32 = 1_000_000;

/// How long after an answer spans may come that belong to it: some wait for what may say more of them.
const SETTLED: Duration = Duration::from_millis(1500);

/// What is said of objects of which more was to be copied than is at once.
const IN_PART: &str = "snapshots of Python objects told in part";

/// A path of an application, and what each call of a model that it makes has right above it.
type Route = (&'static str, &'static [&'static str]);

/// What a chain of the application is told as, and what makes a call itself, without a model of LangChain.
const CHAIN: &str = "invoke_workflow RunnableSequence";
const IN_CHAIN: &str = "chain RunnableSequence";
const LAMBDA: &str = "invoke_workflow RunnableLambda";
const TOOL: &str = "execute_tool asks";
const FOUND: &str = "retrieval";
const MODEL: &str = "chain model";

const LANGCHAIN: &[Route] = &[
    ("sync", &[CHAIN]),
    ("async", &[CHAIN]),
    ("threaded", &[CHAIN]),
    ("gather", &[CHAIN; 2]),
    ("batch", &[CHAIN; 3]),
    ("abatch", &[CHAIN; 3]),
    ("parallel", &[IN_CHAIN; 2]),
    ("aparallel", &[IN_CHAIN; 2]),
    ("streamed", &[CHAIN]),
    ("astreamed", &[CHAIN]),
    ("fake", &[]),
    ("direct", &[LAMBDA]),
    ("tool", &[TOOL]),
    ("found", &[FOUND]),
];

/// Agents of LangGraph: the model, what its tools ask, and the model again.
const AGENTS: &[Route] = &[
    ("agent", &[IN_CHAIN, MODEL, MODEL, FOUND]),
    ("aagent", &[IN_CHAIN, IN_CHAIN, MODEL, MODEL, FOUND]),
    ("sagent", &[IN_CHAIN, MODEL, MODEL, FOUND]),
];

/// An application under load.
struct Case<'a> {
    /// As the agent calls what it is made with.
    framework: &'static str,
    routes: Vec<Route>,
    scene: &'a Scene,
}

/// Requests of each client.
fn requests() -> u32 {
    let asked = std::env::var(IN_ALL).ok().and_then(|n| n.parse().ok());
    asked.map_or(REQUESTS, |all: u32| all.div_ceil(CLIENTS).max(1))
}

/// Whether a span is a call of a model over the network.
fn is_call(span: &Span) -> bool {
    span.kind() == "CLIENT" && span.name() != FOUND
}

/// A span and what is above it, as one text.
fn way(tree: &Tree<'_>, span: &Span) -> String {
    let mut names = vec![span.name()];
    let mut next = tree.above(span);
    while let Some(above) = next {
        names.push(above.name());
        next = tree.above(above);
    }
    names.join(" < ")
}

/// The ids of requests that are in what a span tells.
fn ids(span: &Span) -> BTreeSet<u32> {
    let all = span.0["attributes"].as_object().into_iter().flatten();
    // That of the request itself stands in its query.
    all.filter(|(name, _)| *name != attr::URL_QUERY)
        .filter_map(|(_, value)| value.as_str())
        .flat_map(ids_in)
        .collect()
}

/// What was told of one request: each span with what is above it, and with right above calls of models.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    spans: BTreeMap<String, u32>,
    calls: Vec<String>,
}

/// What was told of all requests, by their ids, and what is wrong with it.
fn told(spans: &[Span]) -> (BTreeMap<u32, Told>, Vec<String>, usize) {
    let tree = Tree::of(spans);
    let mut all: BTreeMap<u32, Told> = BTreeMap::new();
    let (mut wrong, mut named) = (Vec::new(), 0);
    for span in spans {
        let Some(request) = tree.request(span) else {
            wrong.push(format!("under no request: {}", span.0));
            continue;
        };
        let ids = ids(span);
        if !ids.is_empty() {
            named += 1;
        }
        if ids.iter().any(|id| *id != request) {
            wrong.push(format!("{ids:?} under {request}: {}", span.0));
        }
        if !span.error().is_empty() || !span.defects().is_empty() {
            wrong.push(format!("not sound: {}", span.0));
        }
        let told = all.entry(request).or_default();
        let way = format!("{} [{}]", way(&tree, span), span.text(attr::FRAMEWORK));
        *told.spans.entry(way).or_default() += 1;
        if is_call(span) {
            let above = tree.above(span).map_or("", Span::name).to_owned();
            told.calls.push(above);
            let asks = id_in(span.text(attr::INPUT_MESSAGES), "request ");
            // What is embedded is not told.
            if asks.is_none() && !span.name().starts_with("embeddings ") {
                wrong.push(format!("asks for nobody: {}", span.0));
            }
        }
    }
    for told in all.values_mut() {
        told.calls.sort_unstable();
    }
    (all, wrong, named)
}

impl Case<'_> {
    fn run(&self, application: &mut Command) -> Result<()> {
        let mut server = Process::start(application, &self.scene.next_log())?;
        let port: u16 = server.line()?.trim().parse()?;
        let paths: Vec<_> = self.routes.iter().map(|(path, _)| *path).collect();
        for path in &paths {
            get(port, &format!("{path}?id=0")).with_context(|| server.complaints())?;
        }
        let mut agent = Agent::attach(&self.scene.temp, &[server.pid()], &[])?;
        agent.wait_for_log(&format!(
            "watching {} (pid {})",
            self.framework,
            server.pid()
        ))?;
        // Contexts of requests are believed once one is answered.
        get(port, &format!("{}?id=0", paths[0])).with_context(|| server.complaints())?;
        std::thread::sleep(SETTLED);
        let before = agent.spans()?.len();
        for (id, path) in (ALONE..).zip(&paths) {
            get(port, &format!("{path}?id={id}")).with_context(|| server.complaints())?;
        }
        std::thread::sleep(SETTLED);
        let alone = agent.spans()?;
        let (alone, ..) = told(&alone[before..]);
        let each: Vec<u32> = (ALONE..)
            .zip(&paths)
            .map(|(id, _)| alone.get(&id).map_or(0, |told| told.spans.values().sum()))
            .collect();
        let asked =
            crowd(port, (CLIENTS, requests()), &paths).with_context(|| server.complaints())?;
        let sum: u32 = asked.values().map(|at| each[*at]).sum();
        let all = before + usize::try_from(sum + each.iter().sum::<u32>())?;
        // A span may wait for a minute for who reads its stream, where that was not seen.
        let are_there = || agent.spans().is_ok_and(|s| s.len() >= all).then_some(());
        let wait = || wait_for("all spans", are_there);
        let answered = Instant::now();
        let came = wait().or_else(|_| wait()).or_else(|_| wait());
        tell_late(answered.elapsed());
        std::thread::sleep(SETTLED);
        let there = agent.spans()?.len();
        let Finished { spans, log, .. } = agent.stop()?;
        let wrong = self.compare(&spans[before..], &asked);
        let some: Vec<_> = wrong.iter().take(8).cloned().collect();
        ensure!(
            wrong.is_empty(),
            "{} wrong of {} spans: {}\n{log}",
            wrong.len(),
            spans.len(),
            some.join("\n")
        );
        // The state of an agent may be more than is copied at once: that is said, and nothing else is lost.
        let mut lost = log.lines().filter(|line| line.contains("lost:"));
        ensure!(lost.all(|line| line.contains(IN_PART)), "{log}");
        came.with_context(|| {
            let late: Vec<_> = spans[there..].iter().map(|span| &span.0).collect();
            format!("{there} of {all} came; when it was stopped: {late:#?}\n{log}")
        })
    }

    /// What is wrong with the spans.
    fn compare(&self, spans: &[Span], asked: &BTreeMap<u32, usize>) -> Vec<String> {
        let (all, mut wrong, named) = told(spans);
        for (id, (path, calls)) in (ALONE..).zip(&self.routes) {
            match all.get(&id) {
                Some(told) if told.calls == *calls => {}
                told => wrong.push(format!("/{path} alone: {told:#?}")),
            }
        }
        for (id, at) in asked {
            let alone = u32::try_from(*at)
                .ok()
                .and_then(|at| all.get(&(ALONE + at)));
            let told = all.get(id);
            if told.is_none() || told != alone {
                let (path, _) = self.routes[*at];
                wrong.push(format!("/{path} {id}: {told:#?}\nand alone: {alone:#?}"));
            }
        }
        tell(self.framework, asked.len(), spans, named);
        wrong
    }
}

/// How long after the last answer the last span came.
#[expect(clippy::print_stdout, reason = "for who runs the full count")]
fn tell_late(after: Duration) {
    println!(
        "the last span came {} ms after the last answer",
        after.as_millis()
    );
}

/// A line for the table of the documentation.
#[expect(clippy::print_stdout, reason = "for who runs the full count")]
fn tell(framework: &str, requests: usize, spans: &[Span], named: usize) {
    let under = |what: fn(&Span) -> bool| spans.iter().filter(|s| what(s)).count();
    let runs = under(|s| !s.text(attr::FRAMEWORK).is_empty());
    println!(
        "{framework}: {requests} requests at a time of {CLIENTS} clients: {} spans, {} calls of models, \
         {runs} runs of the framework ({} tools, {} retrievals); {named} spans name their request",
        spans.len(),
        under(is_call),
        under(|s| s.name().starts_with("execute_tool ")),
        under(|s| s.name() == FOUND),
    );
}

#[test]
fn langchain_and_agents_on_312() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("langchain312")?) else {
        return Ok(());
    };
    let case = Case {
        framework: "LangChain",
        routes: [LANGCHAIN, AGENTS].concat(),
        scene: &scene,
    };
    case.run(&mut scene.live(&python, "langchain_app.py"))
}

/// On Debian's 3.14, in a root directory of its own.
#[test]
fn langchain_on_314() -> Result<()> {
    let python = need::debian_python_with(14, "langchain_openai")?;
    let (Some(scene), Some(root)) = (Scene::new()?, python) else {
        return Ok(());
    };
    // What it needs, where it sees it.
    let place = Temp::below(&root.join("tmp"))?;
    for file in ["langchain_app.py", "web_calls.py"] {
        fs::copy(programs().join("live").join(file), place.file(file))?;
    }
    let authority = place.file("ca.pem");
    fs::copy(scene.provider.authority(), &authority)?;
    let inside = |file: PathBuf| Some(Path::new("/").join(file.strip_prefix(&root).ok()?));
    let application = inside(place.file("langchain_app.py")).context("not below its root")?;
    // No name has an address there.
    let provider = scene.provider.url().replace("localhost", "127.0.0.1");
    let mut command = scene.command("chroot");
    command
        .env("OPENAI_BASE_URL", provider)
        .arg(&root)
        .arg("/usr/bin/python3.14")
        .arg(application)
        .env("SSL_CERT_FILE", inside(authority).context("the same")?);
    let case = Case {
        framework: "LangChain",
        routes: LANGCHAIN.to_vec(),
        scene: &scene,
    };
    case.run(&mut command)
}

/// What is right above the calls of models for a query, synchronous and not; those of embeddings are for a
/// retrieval.
const ASKED: &str = "chain CompactAndRefine.synthesize";
const AASKED: &str = "chain CompactAndRefine.asynthesize";
/// The newest asks synchronously by a program.
const PROGRAM: &str = "chain DefaultRefineProgram.__call__";

/// What is the same in all versions.
const LLAMA_INDEX: &[Route] = &[
    ("async", &[AASKED, FOUND]),
    ("gather", &[AASKED, AASKED, AASKED, FOUND, FOUND, FOUND]),
    ("astreamed", &["GET"]),
    ("direct", &["GET"]),
    ("adirect", &["GET"]),
    ("retrieve", &[FOUND]),
    ("aretrieve", &[FOUND]),
];

/// Steps of agents and of a workflow.
const STEP: &str = "chain BaseWorkflowAgent.run_agent_step";
const OLD_STEP: &str = "chain ReActAgent._run_step";
const OLD_ASTEP: &str = "chain ReActAgent._arun_step";
const FIRST: &str = "chain Flow.first";

const NEWEST: &[Route] = &[
    ("sync", &[PROGRAM, FOUND]),
    // Where it is read.
    ("streamed", &["GET", FOUND]),
    ("threaded", &[PROGRAM, FOUND]),
    ("agent", &[STEP, STEP, AASKED, FOUND]),
    ("aagent", &[STEP, STEP, AASKED, FOUND]),
    ("workflow", &[AASKED, FIRST, FOUND]),
];

const OLDEST: &[Route] = &[
    ("sync", &[ASKED, FOUND]),
    ("streamed", &[ASKED, FOUND]),
    ("threaded", &[ASKED, FOUND]),
    ("agent", &[ASKED, OLD_STEP, OLD_STEP, FOUND]),
    ("aagent", &[AASKED, OLD_ASTEP, OLD_ASTEP, FOUND]),
];

fn llama_index(environment: &str, more: &[Route]) -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::plain()?, need::environment(environment)?) else {
        return Ok(());
    };
    let case = Case {
        framework: "LlamaIndex",
        routes: [LLAMA_INDEX, more].concat(),
        scene: &scene,
    };
    case.run(&mut scene.live(&python, "llama_index_fastapi.py"))
}

#[test]
fn llama_index_its_agents_and_workflows_on_313() -> Result<()> {
    llama_index("llamaindex313", NEWEST)
}

#[test]
fn the_oldest_llama_index_and_its_agents_on_311() -> Result<()> {
    llama_index("llamaindex311", OLDEST)
}
