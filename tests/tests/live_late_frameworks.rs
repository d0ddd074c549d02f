//! Frameworks that a program imports while it is traced, within a request, and uses there at once: from some run
//! on, soon after the import, each is told as the framework's own handler was told of it, with its parent up to
//! the request; and of those that began before nothing is told, rather than something wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use genspan::vocabulary::attr;
use genspan_tests::tree::{Tree, get};
use genspan_tests::{Agent, Finished, Process, Span, Temp, need, programs, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;

/// How many runs of two each there are of a request.
const COUNT: usize = 100;

/// So long after the import is over, or after the first run that imports what tells of runs, the first one is told
/// at the latest, in microseconds. A machine that is busy adds to what it takes (`docs/frameworks.md`); to look
/// for modules now and then would take a quarter of a second and more.
const SOON: u64 = 150_000;

/// How near a span's times are to what the handler was told, in nanoseconds: a busy machine adds.
const NEAR: u64 = 1_000_000_000;

/// How long after an answer spans may come that belong to it.
const SETTLED: Duration = Duration::from_millis(1500);

/// By which of its attributes a span is known as a run of the record.
#[derive(Clone, Copy, Debug)]
struct Kind {
    framework: &'static str,
    known_by: &'static str,
}

const LANGCHAIN: Kind = Kind {
    framework: "langchain",
    known_by: attr::RUN_ID,
};
/// Without a handler nobody but the agent knows the ids; names are the program's own.
const BARE: Kind = Kind {
    known_by: attr::RUN_NAME,
    ..LANGCHAIN
};
const LLAMA_INDEX: Kind = Kind {
    framework: "llama_index",
    known_by: attr::RUN_ID,
};

/// A server that has not imported anything yet, and the agent that traces it.
struct Late {
    _temp: Temp,
    server: Process,
    port: u16,
    agent: Agent,
}

/// What a request was answered.
struct Told {
    id: u32,
    /// When the import was over, in nanoseconds.
    imported: u64,
    /// What tells of runs was imported before the first of them.
    loaded: bool,
    /// Its runs may be under no request: not under another one either.
    loose: bool,
    runs: Vec<Value>,
}

/// What is to be told of a request, as far as that is measured.
#[derive(Debug)]
struct Seen {
    /// The first run that was told, by its place.
    first: usize,
    /// So long after the import, or the beginning of the first run, that began: microseconds.
    after: u64,
    /// So many were told under the request, since the run that they belong to was not seen to begin.
    orphans: usize,
    /// So many were told under no request.
    apart: usize,
}

impl Late {
    fn start(python: &Path, options: &[&str], of_agent: &[&str]) -> Result<Self> {
        let temp = Temp::new()?;
        let mut command = Command::new(python);
        command
            .arg(programs().join("live/late_frameworks.py"))
            .args(options);
        let mut server = Process::start(&mut command, &temp.file("program.err"))?;
        let port = server.line()?.trim().parse()?;
        let mut agent = Agent::attach(&temp, &[server.pid()], of_agent)?;
        agent.wait_placed()?;
        Ok(Self {
            _temp: temp,
            server,
            port,
            agent,
        })
    }

    fn ask(&self, what: &str, id: u32) -> Result<Told> {
        Told::of(self.port, what, id, COUNT).with_context(|| self.server.complaints())
    }

    /// Waits until the server has a file of this name loaded.
    fn wait_loaded(&self, name: &str) -> Result<()> {
        let maps = format!("/proc/{}/maps", self.server.pid());
        wait_for(name, || {
            let maps = fs::read_to_string(&maps).unwrap_or_default();
            maps.contains(name).then_some(())
        })
    }

    /// Holds what was told against the records; says what was seen of each.
    fn held(self, kind: Kind, all: &[Told]) -> Result<Vec<Seen>> {
        thread::sleep(SETTLED);
        let Finished { spans, log, .. } = self.agent.stop()?;
        ensure!(!log.contains("lost:"), "{log}");
        let mut by_key: BTreeMap<&str, &Span> = BTreeMap::new();
        let is_run = |span: &&Span| span.text(attr::FRAMEWORK) == kind.framework;
        for span in spans.iter().filter(is_run) {
            let before = by_key.insert(span.text(kind.known_by), span);
            ensure!(before.is_none(), "twice: {}", span.0);
        }
        let runs: usize = all.iter().map(|told| told.runs.len()).sum();
        ensure!(by_key.len() <= runs, "more than there were: {log}");
        let tree = Tree::of(&spans);
        let seen = all.iter().map(|told| {
            let seen = told.seen(kind, &by_key, &tree);
            seen.with_context(|| format!("request {}: {log}", told.id))
        });
        seen.collect()
    }
}

impl Told {
    /// Of the server on this port.
    fn of(port: u16, what: &str, id: u32, count: usize) -> Result<Self> {
        let answer = get(port, &format!("{what}?id={id}&count={count}"))?;
        let mut answer: Value = serde_json::from_str(&answer)?;
        let runs = answer["runs"].take();
        Ok(Self {
            id,
            imported: answer["imported"].as_u64().context("no time")?,
            loaded: answer["loaded"] != false,
            loose: false,
            runs: serde_json::from_value(runs)?,
        })
    }

    fn seen(&self, kind: Kind, by_key: &BTreeMap<&str, &Span>, tree: &Tree<'_>) -> Result<Seen> {
        let key = |run: &Value| run["id"].as_str().unwrap_or_default().to_owned();
        let is_told = |run: &Value| by_key.contains_key(key(run).as_str());
        let first = self.runs.iter().position(is_told);
        let first = first.context("none was told")?;
        let (mut orphans, mut apart) = (0, 0);
        for run in &self.runs[first..] {
            let span = by_key.get(key(run).as_str());
            let span = span.with_context(|| format!("not told: {run}"))?;
            let same = |what: &str, is: bool| {
                ensure!(is, "{what} of {run} was told as {}", span.0);
                Ok(())
            };
            // What LlamaIndex calls a function is its name alone.
            let name = run["name"].as_str().unwrap_or_default();
            same("the name", name.ends_with(span.text(attr::RUN_NAME)))?;
            let error = run["error"].as_str().unwrap_or_default();
            same("the error", span.error() == error)?;
            let failed = span.0["status"]["code"] == "ERROR";
            same("the status", failed == run["error"].is_string())?;
            same("a defect", span.defects().is_empty())?;
            let (start, end) = (span.start(), span.start() + span.duration());
            let near = |at: u64, told: &Value| Some(at.abs_diff(told.as_u64()?) <= NEAR);
            same("the start", near(start, &run["start"]) == Some(true))?;
            same("the end", near(end, &run["end"]) == Some(true))?;
            let request = tree.request(span);
            let is_apart = self.loose && request.is_none();
            apart += usize::from(is_apart);
            same("the request", is_apart || request == Some(self.id))?;
            let above = tree.above(span);
            let parent = run["parent"].as_str();
            // That of one which began before runs were seen is not told.
            let told = parent.filter(|parent| by_key.contains_key(parent));
            orphans += usize::from(parent.is_some() && told.is_none());
            let is_right = match (told, above) {
                (Some(parent), Some(above)) => above.text(kind.known_by) == parent,
                (None, Some(above)) => above.kind() == "SERVER",
                (told, None) => is_apart && told.is_none(),
            };
            same("the parent", is_right)?;
        }
        let began = |run: &Value| run["start"].as_u64().context("no time");
        let since = if self.loaded {
            self.imported
        } else {
            began(&self.runs[0])?
        };
        Ok(Seen {
            first,
            after: began(&self.runs[first])?.saturating_sub(since) / 1000,
            orphans,
            apart,
        })
    }
}

/// Tells how soon runs were seen, for who wants to know (`--nocapture`).
#[expect(clippy::print_stdout, reason = "for who measures it")]
fn tell(environment: &str, what: &str, seen: &Seen) {
    println!(
        "{environment} {what}: told from run {} on, {} us after the import or its first run; {} below the request",
        seen.first + 1,
        seen.after,
        seen.orphans
    );
    if seen.apart > 0 {
        println!("{} under no request", seen.apart);
    }
}

/// Asks twice: the first time imports the framework.
fn twice(environment: &str, what: &str, kind: Kind, of_agent: &[&str]) -> Result<Option<Seen>> {
    let (Some(()), Some(python)) = (need::root()?, need::environment(environment)?) else {
        return Ok(None);
    };
    let late = Late::start(&python, &[], of_agent)?;
    let told = [late.ask(what, 1)?, late.ask(what, 2)?];
    let mut seen = late.held(kind, &told)?;
    let second = seen.pop().context("no second")?;
    ensure!(second.first == 0 && second.orphans == 0, "{second:?}");
    let first = seen.pop().context("no first")?;
    tell(environment, what, &first);
    // By perf's probes the end of a module is not told: it is looked for every 5 ms.
    ensure!(first.after <= SOON, "{environment}: {first:?}");
    Ok(Some(first))
}

/// What tells of runs is imported long before the import is over: nothing is missed.
fn all_of(environment: &str) -> Result<()> {
    if let Some(seen) = twice(environment, "langchain", LANGCHAIN, &[])? {
        ensure!(seen.first == 0, "{environment}: {seen:?}");
    }
    Ok(())
}

/// What tells of runs is imported last of all, or by the first run itself.
fn most_of(environment: &str) -> Result<()> {
    twice(environment, "langchain", LANGCHAIN, &[])?;
    twice(environment, "lazy", BARE, &[])?;
    Ok(())
}

#[test]
fn the_newest_langchain_on_39() -> Result<()> {
    all_of("langchain39")
}

#[test]
fn the_newest_langchain_on_312() -> Result<()> {
    all_of("langchain312")
}

#[test]
fn the_newest_langchain_on_313() -> Result<()> {
    all_of("langchain313")
}

#[test]
fn the_newest_langchain_on_the_systems_python() -> Result<()> {
    all_of("langchain-system")
}

#[test]
fn the_oldest_langchain_on_39() -> Result<()> {
    most_of("langchain-old39")
}

#[test]
fn the_oldest_langchain_on_313() -> Result<()> {
    most_of("langchain-old313")
}

#[test]
fn the_oldest_langchain_on_the_systems_python() -> Result<()> {
    most_of("langchain-old-system")
}

#[test]
fn the_oldest_langchain_by_perfs_probes() -> Result<()> {
    twice(
        "langchain-old39",
        "langchain",
        LANGCHAIN,
        &["--perf-probes"],
    )?;
    Ok(())
}

#[test]
fn the_newest_llama_index_on_313() -> Result<()> {
    if let Some(seen) = twice("llamaindex313", "llama_index", LLAMA_INDEX, &[])? {
        ensure!(seen.first == 0, "{seen:?}");
    }
    Ok(())
}

#[test]
fn the_oldest_llama_index_on_311() -> Result<()> {
    twice("llamaindex311", "llama_index", LLAMA_INDEX, &[])?;
    Ok(())
}

/// The body of a module that imports others from a slow disk takes long: its functions are waited for.
#[test]
fn an_import_that_takes_long() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::environment("langchain-old39")?) else {
        return Ok(());
    };
    let late = Late::start(&python, &[], &[])?;
    // What `langchain_core.callbacks.manager` imports first.
    get(late.port, "slow?name=langsmith&seconds=12")?;
    let told = [late.ask("langchain", 1)?];
    let seen = late.held(LANGCHAIN, &told)?;
    let first = seen.first().context("no request")?;
    ensure!(first.after <= SOON, "{first:?}");
    Ok(())
}

/// The agent does not run from before the import until the runs are under way, as on a machine that has no time for it:
/// contexts and runs are told from the middle of a request on.
#[test]
fn an_agent_that_comes_to_it_within_the_request() -> Result<()> {
    const MANY: usize = 5000;
    let (Some(()), Some(python)) = (need::root()?, need::environment("langchain-old39")?) else {
        return Ok(());
    };
    let mut late = Late::start(&python, &[], &[])?;
    late.agent.process.signal(Signal::SIGSTOP)?;
    let port = late.port;
    let asked = thread::spawn(move || Told::of(port, "lazy", 1, MANY));
    late.wait_loaded("pydantic_core")?;
    thread::sleep(Duration::from_secs(1));
    late.agent.process.signal(Signal::SIGCONT)?;
    let told = asked.join().map_err(|_| anyhow!("it panicked"))??;
    let seen = late.held(BARE, &[told])?;
    tell(
        "langchain-old39",
        "lazy, late",
        seen.first().context("no request")?,
    );
    Ok(())
}

/// Three requests at a time in one event loop, of which the first imports LangChain; and three more.
#[test]
fn langchain_in_an_event_loop() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::environment("langchain312")?) else {
        return Ok(());
    };
    let late = Late::start(&python, &["--fastapi"], &[])?;
    let mut all = at_once(late.port, [1, 2, 3])?;
    // For whom a process works that had nothing loaded to call anybody with is followed from then on.
    for told in &mut all {
        told.loose = true;
    }
    all.extend(at_once(late.port, [4, 5, 6])?);
    for seen in late.held(LANGCHAIN, &all)? {
        tell("langchain312", "in an event loop", &seen);
        ensure!(seen.first == 0 && seen.orphans == 0, "{seen:?}");
    }
    Ok(())
}

fn at_once(port: u16, ids: [u32; 3]) -> Result<Vec<Told>> {
    let asked = ids.map(|id| thread::spawn(move || Told::of(port, "alangchain", id, COUNT)));
    let told = asked.map(|asked| asked.join().map_err(|_| anyhow!("it panicked"))?);
    told.into_iter().collect()
}
