//! Watched functions between the requests that a web application serves and the model calls that it makes
//! for them: each under the right request, each call under the right function, with many clients at once.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use genspan::vocabulary::attr;
use genspan_tests::tree::{self, Tree, id_in};
use genspan_tests::{Agent, Process, Scene, Span, need};

/// Clients at one time, and requests of each.
const CLIENTS: u32 = 30;
const REQUESTS: u32 = 6;

/// What calls a model, one way and the other; and what only makes the text that it is asked.
const CALL: &str = "web_calls:call(id)";
const ACALL: &str = "web_calls:acall(id)";
const BODY: &str = "web_calls:body(id)";

/// A path; how many calls of models `call` makes for it, and `acall`, and how often that calls itself.
type Route = (&'static str, [usize; 3]);

/// What is seen of a request: its spans, calls of models, those of them below a function, functions, and
/// those of them below another one.
type Seen = [usize; 5];

const FASTAPI: &[Route] = &[
    ("sync", [1, 0, 0]),
    ("async", [0, 1, 0]),
    ("fresh", [0, 1, 1]),
    ("thread", [2, 0, 0]),
    ("gather", [0, 3, 0]),
    ("group", [1, 1, 0]),
    ("stream", [0, 4, 0]),
    ("background", [1, 1, 0]),
    ("copied", [1, 0, 0]),
    ("pool", [1, 0, 0]),
    ("executor", [1, 0, 0]),
];

const FLASK: &[Route] = &[
    ("sync", [1, 0, 0]),
    ("run", [2, 1, 1]),
    ("stream", [3, 0, 0]),
    ("copied", [1, 0, 0]),
    ("pool", [1, 0, 0]),
];

/// An application under load, and what is watched in it.
struct Case {
    environment: &'static str,
    command: &'static [&'static str],
    routes: &'static [Route],
    functions: [&'static str; 2],
    /// By what functions are found to belong to requests.
    sources: &'static [&'static str],
}

impl Case {
    fn run(&self) -> Result<()> {
        let (Some(scene), Some(python)) = (Scene::new()?, need::environment(self.environment)?)
        else {
            return Ok(());
        };
        let mut command = scene.live(&python, self.command[0]);
        command.args(&self.command[1..]);
        let recording = scene.temp.file("functions.rec");
        let recording = recording.to_string_lossy();
        let mut options = vec!["--debug", "--record", &recording];
        for function in &self.functions {
            options.extend(["--function", function]);
        }
        let mut server = Process::start(&mut command, &scene.next_log())?;
        let port: u16 = server.line()?.trim().parse()?;
        // Until it has its workers, and has loaded what they use.
        tree::get(port, "sync?id=0")?;
        let mut agent = Agent::attach(&scene.temp, &[server.pid()], &options)?;
        let workers = children(server.pid())?;
        let all = if workers.is_empty() {
            vec![server.pid()]
        } else {
            workers
        };
        for pid in all {
            for function in self.functions {
                let (name, _) = function.split_once('(').context("no arguments")?;
                agent.wait_for_log(&format!("watching {name} (pid {pid})"))?;
            }
        }
        let paths: Vec<_> = self.routes.iter().map(|(path, _)| *path).collect();
        let asked = tree::crowd(port, (CLIENTS, REQUESTS), &paths).with_context(|| agent.log())?;
        let all = asked.values().map(|route| {
            let [served, calls, _, functions, _] = self.wanted(*route);
            served + calls + functions
        });
        let came = agent.wait_for_spans(all.sum());
        let finished = agent.stop()?;
        ensure!(finished.code == 0, "{}", finished.log);
        let wrong = self.wrong(&asked, &finished.spans);
        let some: Vec<_> = wrong.iter().take(8).collect();
        ensure!(
            wrong.is_empty(),
            "{:?}, {:?}: {} wrong: {some:#?}\n{}",
            self.command,
            self.functions,
            wrong.len(),
            finished.log
        );
        came?;
        tree::replays_to(&scene.temp, &recording, &finished.lines)
    }

    /// What is to be seen of a request.
    fn wanted(&self, route: usize) -> Seen {
        let (_, [call, acall, nested]) = self.routes[route];
        let calls = call + acall;
        match self.functions {
            [CALL, ACALL] => [1, calls, calls, calls + nested, nested],
            // Each of them asks for a body.
            _ => [1, calls, acall, calls + acall + nested, acall + nested],
        }
    }

    /// What is not as it is to be, a line each.
    fn wrong(&self, asked: &BTreeMap<u32, usize>, spans: &[Span]) -> Vec<String> {
        let tree = Tree::of(spans);
        let mut wrong = Vec::new();
        let mut found: BTreeMap<u32, Seen> = BTreeMap::new();
        let mut sources = BTreeSet::new();
        for span in spans {
            let above = tree.above(span);
            let kind_above = above.map_or("", Span::kind);
            let own = match span.kind() {
                "SERVER" => id_in(span.text(attr::URL_QUERY), "id="),
                "CLIENT" => id_in(span.text(attr::INPUT_MESSAGES), "request "),
                _ => argument(span),
            };
            let Some(own) = own else {
                wrong.push(format!("no id: {}", span.0));
                continue;
            };
            let counts = found.entry(own).or_default();
            let is_right = match span.kind() {
                "SERVER" => {
                    counts[0] += 1;
                    above.is_none()
                }
                "CLIENT" => {
                    counts[1] += 1;
                    counts[2] += usize::from(kind_above == "INTERNAL");
                    let by = span.text(attr::PARENT_SOURCE);
                    kind_above == "SERVER" || calls_models(above) && by == "function"
                }
                _ => {
                    counts[3] += 1;
                    counts[4] += usize::from(kind_above == "INTERNAL");
                    if kind_above == "SERVER" {
                        sources.insert(span.text(attr::PARENT_SOURCE));
                    }
                    kind_above == "SERVER" || calls_models(above)
                }
            };
            if !is_right || tree.request(span) != Some(own) {
                let above = above.map(|above| &above.0);
                wrong.push(format!("{own}: {}, below {above:?}", span.0));
            }
        }
        for (id, route) in asked {
            let path = self.routes[*route].0;
            let wanted = self.wanted(*route);
            let seen = found.remove(id).unwrap_or_default();
            if seen != wanted {
                wrong.push(format!("/{path} {id}: {seen:?}, not {wanted:?}"));
            }
        }
        wrong.extend(found.keys().map(|id| format!("of no request: {id}")));
        if !sources.iter().copied().eq(self.sources.iter().copied()) {
            wrong.push(format!("found by {sources:?}"));
        }
        wrong
    }
}

/// Whether this is a function that calls a model.
fn calls_models(span: Option<&Span>) -> bool {
    span.is_some_and(|span| ["call", "acall"].contains(&span.name()))
}

/// The request that a function was called for: its argument says.
fn argument(span: &Span) -> Option<u32> {
    let name = format!("{}id", attr::FUNCTION_ARGUMENT);
    span.text(&name).parse().ok()
}

/// The children of a process.
fn children(pid: u32) -> Result<Vec<u32>> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let all = list.split_ascii_whitespace().map(str::parse);
    Ok(all.collect::<Result<_, _>>()?)
}

#[test]
fn functions_that_call_models_in_a_loop() -> Result<()> {
    Case {
        environment: "web312",
        command: &["web_app.py", "asyncio", "http=h11"],
        routes: FASTAPI,
        functions: [CALL, ACALL],
        sources: &["context", "submitted"],
    }
    .run()
}

/// One that makes no request itself, and is over at once: only its own context says for whom it works.
#[test]
fn functions_that_ask_nobody_in_a_loop() -> Result<()> {
    Case {
        environment: "web313",
        command: &["web_app.py", "uvloop", "http=httptools"],
        routes: FASTAPI,
        functions: [BODY, ACALL],
        sources: &["context", "submitted"],
    }
    .run()
}

#[test]
fn functions_of_threads() -> Result<()> {
    for functions in [[CALL, ACALL], [BODY, ACALL]] {
        Case {
            environment: "web312",
            command: &["web_flask.py", "--worker-class=gthread", "--threads=16"],
            routes: FLASK,
            functions,
            sources: &["context", "submitted", "thread"],
        }
        .run()?;
    }
    Ok(())
}
