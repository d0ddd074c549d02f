//! Requests that a web application makes belong to the requests that it makes them for: each
//! request carries an id, the application puts it into the prompt, and the spans are compared.

use anyhow::{Context as _, Result, ensure};
use genspan::vocabulary::attr;
use genspan_tests::{Agent, Finished, Process, Scene, Span, agent, need};
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// Clients at one time, and requests of each, unless the environment asks for more in all.
const CLIENTS: u32 = 30;
const REQUESTS: u32 = 6;
const IN_ALL: &str = "GENSPAN_PARENT_REQUESTS";

/// Requests of each client.
fn requests() -> u32 {
    let asked = std::env::var(IN_ALL).ok().and_then(|n| n.parse().ok());
    asked.map_or(REQUESTS, |all: u32| all.div_ceil(CLIENTS).max(1))
}

/// A path of an application, and for each call that it makes for a request by what the request is
/// found to be its parent; by nothing where nothing can tell, and nothing wrong is told.
type Route = (&'static str, &'static [&'static str]);

const NOBODY: &[&str] = &[""];
const SUBMITTED: &[&str] = &["submitted"];

const FASTAPI: &[Route] = &[
    ("sync", &["context"]),
    ("async", &["context"]),
    ("fresh", &["context"]),
    ("thread", &["context"; 2]),
    ("gather", &["context"; 3]),
    ("group", &["context"; 2]),
    ("stream", &["context"; 4]),
    ("background", &["context"; 2]),
    ("copied", &["context"]),
    ("pool", SUBMITTED),
    ("executor", SUBMITTED),
];

const AIOHTTP: &[Route] = &[
    ("async", &["context"]),
    ("thread", &["context"]),
    ("gather", &["context"; 3]),
    ("stream", &["context"; 4]),
    ("executor", SUBMITTED),
];

const FLASK: &[Route] = &[
    ("sync", &["thread"]),
    ("run", &["context", "context", "thread"]),
    ("stream", &["thread"; 3]),
    ("copied", &["context"]),
    ("pool", SUBMITTED),
];

const DJANGO_WSGI: &[Route] = &[
    ("sync", &["thread"]),
    ("stream", &["thread"; 3]),
    ("run", &["context"]),
    ("copied", &["context"]),
    ("pool", SUBMITTED),
];

const DJANGO_ASGI: &[Route] = &[
    ("sync", &["context"]),
    ("async", &["context"]),
    ("thread", &["context"; 2]),
    ("gather", &["context"; 3]),
    ("astream", &["context"; 3]),
    ("run", &["context"]),
    ("copied", &["context"]),
    ("pool", SUBMITTED),
    ("executor", SUBMITTED),
];

const CELERY: &[Route] = &[
    ("delay", NOBODY),
    ("eager", &["thread"]),
    ("queue", NOBODY),
    ("pool", SUBMITTED),
];

/// The trace and the span that a request's client names, by the request's number; every other one
/// names none.
fn traceparent(id: u32) -> Option<(String, String)> {
    (id % 2 == 1).then(|| {
        (
            format!("{:032x}", 0xabc0_0000 + id),
            format!("{:016x}", 0xdef0_0000 + id),
        )
    })
}

/// What a client asks, in this order.
fn asks(client: u32, routes: &[Route]) -> Vec<(u32, Route)> {
    let ids = (0..requests()).map(|n| (n, 1 + client * requests() + n));
    ids.map(|(n, id)| (id, routes[(n + client) as usize % routes.len()]))
        .collect()
}

/// Makes requests one after the other, on one connection while the server keeps it.
fn client(port: u16, asks: &[(u32, Route)]) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    for (id, (path, _)) in asks {
        let header = traceparent(*id).map_or_else(String::new, |(trace, span)| {
            format!("traceparent: 00-{trace}-{span}-01\r\n")
        });
        write!(
            stream,
            "GET /{path}?id={id} HTTP/1.1\r\nhost: localhost\r\n{header}\r\n"
        )?;
        if !answer(&mut stream).with_context(|| format!("/{path}, request {id}"))? {
            stream = TcpStream::connect(("127.0.0.1", port))?;
        }
    }
    Ok(())
}

/// Reads one answer: to the length that its head tells, or the last chunk. Gives whether the
/// connection is kept.
fn answer(stream: &mut TcpStream) -> Result<bool> {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    // Whether its end is that of the connection.
    let mut is_open_ended = false;
    loop {
        let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let is_good = ["http/1.1 200", "http/1.0 200"];
            ensure!(is_good.iter().any(|good| head.starts_with(good)), "{text}");
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
            let closes = head.contains("connection: close") || head.starts_with("http/1.0");
            is_open_ended = closes && length.is_none() && !head.contains("chunked");
            let is_whole = match length {
                Some(length) => body.len() >= length,
                None => !is_open_ended && body.ends_with("0\r\n\r\n"),
            };
            if is_whole {
                return Ok(!closes);
            }
        }
        let n = stream.read(&mut buffer)?;
        if n == 0 && is_open_ended {
            return Ok(false);
        }
        ensure!(n > 0, "the server closed: {text}");
        seen.extend_from_slice(&buffer[..n]);
    }
}

/// The children of a process.
fn children(pid: u32) -> Result<Vec<u32>> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let all = list.split_ascii_whitespace().map(str::parse);
    Ok(all.collect::<Result<_, _>>()?)
}

/// An application under load.
struct Case {
    /// Its environment.
    environment: &'static str,
    /// What runs: a program of `python/live`, and its arguments.
    command: &'static [&'static str],
    routes: &'static [Route],
    /// Its provider speaks without TLS.
    plain: bool,
}

impl Case {
    const fn new(
        environment: &'static str,
        command: &'static [&'static str],
        routes: &'static [Route],
    ) -> Self {
        Self {
            environment,
            command,
            routes,
            plain: false,
        }
    }

    /// Runs it and compares.
    fn run(&self) -> Result<()> {
        let scene = if self.plain {
            Scene::plain()?
        } else {
            Scene::new()?
        };
        let (Some(scene), Some(python)) = (scene, need::environment(self.environment)?) else {
            return Ok(());
        };
        let mut command = scene.live(&python, self.command[0]);
        command.args(&self.command[1..]);
        if self.plain {
            command.env_remove("SSL_CERT_FILE");
        }
        let recording = scene.temp.file("parents.rec");
        let recording = recording.to_string_lossy();
        let options = ["--debug", "--record", &recording];
        let mut server = Process::start(&mut command, &scene.next_log())?;
        let line = server.line()?;
        // Until it has its workers.
        client(line.trim().parse()?, &[(0, self.routes[0])])?;
        let mut agent = Agent::attach(&scene.temp, &[server.pid()], &options)?;
        for worker in children(server.pid())? {
            agent.wait_attached(worker)?;
        }
        let port: u16 = line.trim().parse()?;
        let expected: HashMap<u32, Route> = (0..CLIENTS)
            .flat_map(|client| asks(client, self.routes))
            .collect();
        let threads: Vec<_> = (0..CLIENTS)
            .map(|c| {
                let asks = asks(c, self.routes);
                std::thread::spawn(move || client(port, &asks))
            })
            .collect();
        for thread in threads {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))?
                .with_context(|| agent.log())?;
        }
        let calls: usize = expected.values().map(|(_, calls)| calls.len()).sum();
        let came = agent.wait_for_spans(expected.len() + calls);
        let finished = agent.stop()?;
        ensure!(finished.code == 0, "{}", finished.log);
        self.compare(&expected, &finished)?;
        came?;
        if std::env::var_os(IN_ALL).is_some() {
            self.tell(&expected);
        }
        // A replay says the same.
        let again = scene.temp.file("again.jsonl");
        let again = again.to_string_lossy();
        let replay = ["replay", &recording, "--format", "json", "--output", &again];
        let replayed = agent::run(&scene.temp, &replay)?;
        ensure!(replayed.code == 0, "{}", replayed.log);
        ensure!(std::fs::read_to_string(&*again)? == finished.lines);
        Ok(())
    }

    /// A line of the table that was asked for.
    #[expect(clippy::print_stdout, reason = "for who runs the full count")]
    fn tell(&self, expected: &HashMap<u32, Route>) {
        let calls: Vec<_> = expected.values().flat_map(|(_, calls)| *calls).collect();
        println!(
            "{} {:?}: {} requests, {} calls, {} without a parent, none wrong",
            self.environment,
            self.command,
            expected.len(),
            calls.len(),
            calls.iter().filter(|source| source.is_empty()).count(),
        );
    }

    fn compare(&self, expected: &HashMap<u32, Route>, finished: &Finished) -> Result<()> {
        let id = |span: &Span, name: &str| span.0[name].as_str().unwrap_or_default().to_owned();
        let mut served = HashMap::new();
        for span in finished.spans.iter().filter(|s| s.kind() == "SERVER") {
            let request: u32 = span
                .text(attr::URL_QUERY)
                .strip_prefix("id=")
                .and_then(|id| id.parse().ok())
                .with_context(|| format!("no id: {}", span.0))?;
            let path = span.text(attr::URL_PATH);
            ensure!(path.strip_prefix('/') == Some(expected[&request].0));
            if let Some((trace, above)) = traceparent(request) {
                ensure!(id(span, "trace_id") == trace && id(span, "parent_span_id") == above);
            }
            let all = served.insert(request, (id(span, "trace_id"), id(span, "span_id")));
            ensure!(all.is_none(), "{request} twice");
        }
        let mut sources: HashMap<u32, Vec<&str>> = HashMap::new();
        let mut wrong = Vec::new();
        for span in finished.spans.iter().filter(|s| s.kind() == "CLIENT") {
            let text = span.text(attr::INPUT_MESSAGES);
            let request: u32 = text
                .split_once("request ")
                .and_then(|(_, rest)| rest.split_once('.')?.0.parse().ok())
                .with_context(|| format!("no id: {}", span.0))?;
            let source = span.text(attr::PARENT_SOURCE);
            sources.entry(request).or_default().push(source);
            let above = (id(span, "trace_id"), id(span, "parent_span_id"));
            let right = match source {
                "" => above.1.is_empty() && served.values().all(|s| s.0 != above.0),
                _ => served.get(&request) == Some(&above),
            };
            if !right {
                wrong.push(format!("{request}: {source:?} {above:?}"));
            }
        }
        for (request, (path, calls)) in expected {
            let mut found = sources.remove(request).unwrap_or_default();
            found.sort_unstable();
            if found != *calls || !served.contains_key(request) {
                wrong.push(format!("/{path} {request}: {found:?}, not {calls:?}"));
            }
        }
        wrong.sort();
        ensure!(
            wrong.is_empty(),
            "{:?}: {} wrong of {} spans: {wrong:#?}\n{}",
            self.command,
            wrong.len(),
            finished.spans.len(),
            finished.log
        );
        Ok(())
    }
}

#[test]
fn fastapi_on_asyncio() -> Result<()> {
    fastapi("web312", &["web_app.py", "asyncio", "http=h11"])?;
    fastapi("web313", &["web_app.py", "asyncio", "http=httptools"])
}

#[test]
fn fastapi_on_uvloop() -> Result<()> {
    fastapi("web311", &["web_app.py", "uvloop", "http=h11"])?;
    fastapi("web313", &["web_app.py", "uvloop", "http=httptools"])
}

/// Calls that go over sockets instead of TLS.
#[test]
fn fastapi_without_tls() -> Result<()> {
    let command = &["web_app.py", "uvloop", "http=httptools"];
    let mut case = Case::new("web312", command, FASTAPI);
    case.plain = true;
    case.run()
}

/// Debian's interpreter: static, without symbols but those that it exports.
#[test]
fn fastapi_on_the_systems_python() -> Result<()> {
    fastapi("web-system", &["web_app.py", "asyncio", "http=httptools"])
}

#[test]
fn aiohttp_server() -> Result<()> {
    Case::new("web312", &["web_aiohttp.py"], AIOHTTP).run()
}

#[test]
fn flask_in_threads() -> Result<()> {
    let command = &["web_flask.py", "--worker-class=gthread", "--threads=16"];
    Case::new("web312", command, FLASK).run()
}

#[test]
fn django_in_threads() -> Result<()> {
    let workers = &[
        "web_django.py",
        "wsgi",
        "--worker-class=gthread",
        "--threads=16",
    ];
    Case::new("web312", workers, DJANGO_WSGI).run()?;
    Case::new("web313", &["web_django.py", "own"], DJANGO_WSGI).run()
}

#[test]
fn django_on_loops() -> Result<()> {
    let command = &["web_django.py", "asgi", "asyncio", "http=h11"];
    Case::new("web312", command, DJANGO_ASGI).run()?;
    let command = &["web_django.py", "asgi", "uvloop", "http=httptools"];
    Case::new("web311", command, DJANGO_ASGI).run()
}

#[test]
fn workers_of_celery() -> Result<()> {
    Case::new("celery", &["web_celery.py"], CELERY).run()
}

/// Copies of contexts are traps: a process that only serves has none, until it makes a request.
#[test]
fn a_server_is_followed_once_it_calls() -> Result<()> {
    const FOLLOWED: &str = "contexts are followed";
    const HELLO: Route = ("hello", &[]);
    const CALL: Route = ("call", &["context"]);
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("web312")?) else {
        return Ok(());
    };
    let mut command = scene.live(&python, "web_quiet.py");
    let mut server = Process::start(&mut command, &scene.next_log())?;
    let port: u16 = server.line()?.trim().parse()?;
    let mut agent = Agent::attach(&scene.temp, &[server.pid()], &["--debug"])?;
    for id in 0..3 {
        client(port, &[(id, HELLO), (id, HELLO)])?;
    }
    agent.wait_for_spans(6)?;
    ensure!(!agent.log().contains(FOLLOWED), "{}", agent.log());
    client(port, &[(7, CALL)])?;
    agent.wait_for_log(FOLLOWED)?;
    // The probe is placed while the process goes on, so the next calls may still be too early for it.
    let ids = 8..18;
    for id in ids.clone() {
        client(port, &[(id, CALL)])?;
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    agent.wait_for_spans(6 + 2 + 2 * ids.len())?;
    let finished = agent.stop()?;
    ensure!(finished.code == 0, "{}", finished.log);
    let mut followed = Vec::new();
    for id in ids.clone() {
        let find = |kind: &str, name: &str, value: &str| {
            let mut spans = finished.spans.iter().filter(|s| s.kind() == kind);
            spans.find(|s| s.text(name).contains(value))
        };
        let served = find("SERVER", attr::URL_QUERY, &format!("id={id}"));
        let served = served.context("no span of the request")?;
        let called = find("CLIENT", attr::INPUT_MESSAGES, &format!("request {id}."));
        let called = called.context("no span of the call")?;
        let above = &called.0["parent_span_id"];
        match called.text(attr::PARENT_SOURCE) {
            "context" => followed.push(id),
            source => ensure!(source.is_empty() && above.is_null(), "{}", called.0),
        }
        ensure!(
            above.is_null() || *above == served.0["span_id"],
            "{}",
            called.0
        );
    }
    let last: Vec<u32> = ids.skip(5).collect();
    ensure!(followed.ends_with(&last), "{followed:?}\n{}", finished.log);
    Ok(())
}

fn fastapi(environment: &'static str, command: &'static [&'static str]) -> Result<()> {
    Case::new(environment, command, FASTAPI).run()
}
