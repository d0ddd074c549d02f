//! Model calls of a web application belong to the requests that they were made for: each request
//! carries an id, the application puts it into the prompt, and the spans are compared.

use anyhow::{Context as _, Result, ensure};
use genspan::vocabulary::attr;
use genspan_tests::{Agent, Finished, Process, Scene, need};
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// Clients at one time, and requests of each.
const CLIENTS: u32 = 30;
const REQUESTS: u32 = 8;

/// What a path's model calls must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parent {
    /// The request, found by this.
    By(&'static str),
    /// None: it cannot be known, and nothing wrong is told.
    Nobody,
}

const CONTEXT: Parent = Parent::By("context");

/// Each path, how many calls it makes, and what they belong to.
const PATHS: [(&str, usize, Parent); 8] = [
    ("sync", 1, CONTEXT),
    ("async", 1, CONTEXT),
    ("fresh", 1, CONTEXT),
    ("thread", 2, CONTEXT),
    ("gather", 3, CONTEXT),
    ("stream", 4, CONTEXT),
    ("background", 1, CONTEXT),
    ("executor", 1, Parent::Nobody),
];

/// The trace and the span that a request's client names, by the request's number.
fn traceparent(id: u32) -> (String, String) {
    (
        format!("{:032x}", 0xabc0_0000 + id),
        format!("{:016x}", 0xdef0_0000 + id),
    )
}

/// Makes requests one after the other, on one connection while the server keeps it.
fn client(port: u16, ids: Vec<u32>, paths: &[(&str, usize, Parent)]) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    for (n, id) in ids.into_iter().enumerate() {
        let path = paths[(n + id as usize) % paths.len()].0;
        let (trace, span) = traceparent(id);
        write!(
            stream,
            "GET /{path}?id={id}&path={path} HTTP/1.1\r\nhost: localhost\r\n\
             traceparent: 00-{trace}-{span}-01\r\n\r\n"
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
    loop {
        let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            ensure!(head.starts_with("http/1.1 200"), "{head}");
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
            let is_whole = match length {
                Some(length) => body.len() >= length,
                None => body.ends_with("0\r\n\r\n"),
            };
            if is_whole {
                return Ok(!head.contains("connection: close"));
            }
        }
        let n = stream.read(&mut buffer)?;
        ensure!(n > 0, "the server closed: {text}");
        seen.extend_from_slice(&buffer[..n]);
    }
}

/// Runs an application under load and compares.
fn serve(
    environment: &str,
    program: &str,
    arguments: &[&str],
    paths: &'static [(&'static str, usize, Parent)],
) -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment(environment)?) else {
        return Ok(());
    };
    let mut command = scene.live(&python, program);
    command.args(arguments);
    let mut server = Process::start(&mut command, &scene.next_log())?;
    let port: u16 = server.line()?.trim().parse()?;
    let agent = Agent::attach(&scene.temp, &[server.pid()], &["--debug"])?;
    let threads: Vec<_> = (0..CLIENTS)
        .map(|c| {
            let ids = (0..REQUESTS).map(|n| 1 + c * REQUESTS + n).collect();
            std::thread::spawn(move || client(port, ids, paths))
        })
        .collect();
    for thread in threads {
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    let expected = expected(paths);
    let came = agent.wait_for_spans(expected.values().map(|(_, calls, _)| calls).sum());
    let finished = agent.stop()?;
    compare(&expected, &finished)?;
    came
}

/// What each request makes: its path, how many calls, and what they belong to.
fn expected(
    paths: &'static [(&'static str, usize, Parent)],
) -> HashMap<u32, (&'static str, usize, Parent)> {
    let mut all = HashMap::new();
    for c in 0..CLIENTS {
        for n in 0..REQUESTS {
            let id = 1 + c * REQUESTS + n;
            all.insert(id, paths[(n + id) as usize % paths.len()]);
        }
    }
    all
}

fn compare(
    expected: &HashMap<u32, (&'static str, usize, Parent)>,
    finished: &Finished,
) -> Result<()> {
    assert_eq!(finished.code, 0, "{}", finished.log);
    let mut seen: HashMap<u32, usize> = HashMap::new();
    let mut wrong = Vec::new();
    for span in &finished.spans {
        let text = span.text(attr::INPUT_MESSAGES);
        let id: u32 = text
            .split("request ")
            .nth(1)
            .and_then(|rest| {
                rest.split(|c: char| !c.is_ascii_digit())
                    .next()?
                    .parse()
                    .ok()
            })
            .with_context(|| format!("no id in {text}"))?;
        *seen.entry(id).or_default() += 1;
        let (path, _, parent) = expected[&id];
        let found_by = span.0["attributes"][attr::PARENT_FOUND_BY].as_str();
        let trace = span.0["trace_id"].as_str().unwrap_or_default();
        let above = span.0["parent_span_id"].as_str();
        let (its_trace, its_span) = traceparent(id);
        let right = match parent {
            Parent::By(way) => {
                found_by == Some(way) && trace == its_trace && above == Some(&*its_span)
            }
            Parent::Nobody => found_by.is_none() && above.is_none(),
        };
        if !right {
            wrong.push(format!("/{path} {id}: {found_by:?} {trace} {above:?}"));
        }
    }
    let calls: usize = expected.values().map(|(_, calls, _)| calls).sum();
    ensure!(
        wrong.is_empty(),
        "{} of {calls} wrong: {wrong:?}\n{}",
        wrong.len(),
        finished.log
    );
    let mut missing: Vec<_> = expected
        .iter()
        .filter(|(id, (_, calls, _))| seen.get(id) != Some(calls))
        .map(|(id, (path, calls, _))| format!("/{path} {id}: {:?} of {calls}", seen.get(id)))
        .collect();
    missing.sort();
    ensure!(missing.is_empty(), "{missing:#?}\n{}", finished.log);
    Ok(())
}

fn fastapi(environment: &str, arguments: &[&str]) -> Result<()> {
    serve(environment, "web_app.py", arguments, &PATHS)
}

#[test]
fn fastapi_on_asyncio_311() -> Result<()> {
    fastapi("web311", &["asyncio", "http=h11"])
}

#[test]
fn fastapi_on_uvloop_311() -> Result<()> {
    fastapi("web311", &["uvloop", "http=httptools"])
}

#[test]
fn fastapi_on_asyncio_312() -> Result<()> {
    fastapi("web312", &["asyncio", "http=httptools"])
}

#[test]
fn fastapi_on_uvloop_312() -> Result<()> {
    fastapi("web312", &["uvloop", "http=h11"])
}

#[test]
fn fastapi_on_asyncio_313() -> Result<()> {
    fastapi("web313", &["asyncio", "http=h11"])
}

#[test]
fn fastapi_on_uvloop_313() -> Result<()> {
    fastapi("web313", &["uvloop", "http=httptools"])
}

/// Debian's interpreter: static, without symbols but those that it exports.
#[test]
fn fastapi_on_the_systems_python() -> Result<()> {
    fastapi("web-system", &["asyncio", "http=h11"])?;
    fastapi("web-system", &["uvloop", "http=httptools"])
}
