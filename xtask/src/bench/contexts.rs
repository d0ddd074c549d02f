//! What it costs a web application that the contexts are followed in which it works: CPU time of
//! its event loop per request, untraced, traced without contexts, and traced; interleaved.

use crate::cmd::Cmd;
use crate::provider::Provider;
use crate::{build, certs, paths, venv};
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

const ROUNDS: usize = 4;
const CLIENTS: usize = 8;
/// Requests of each client in each round.
const REQUESTS: usize = 60;
/// The environment of the application.
const ENVIRONMENT: &str = "web312";

/// The agent's options; none is no agent.
const WAYS: [(&str, Option<&[&str]>); 3] = [
    ("not traced", None),
    ("traced, `--no-python`", Some(&["--no-python"])),
    ("traced", Some(&[])),
];

/// A child that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Measures both loops and keeps the table.
pub(super) fn run() -> Result<()> {
    let python = venv::interpreter_of(ENVIRONMENT);
    ensure!(
        python.is_file(),
        "no environment {ENVIRONMENT}: `cargo xtask setup`"
    );
    build::run()?;
    let certs = certs::ensure()?;
    let provider = Provider::start(&python, &certs)?;
    let mut table =
        String::from("| loop | | CPU per request | added |\n| --- | --- | ---: | ---: |\n");
    for event_loop in ["asyncio", "uvloop"] {
        println!("contexts: {event_loop}, {ROUNDS} rounds");
        let mut server = Running(
            Cmd::new(&python)
                .arg(paths::python_programs().join("live/web_app.py"))
                .args([event_loop, "http=httptools"])
                .env(
                    "OPENAI_BASE_URL",
                    format!("https://localhost:{}/v1", provider.port),
                )
                .env("OPENAI_API_KEY", "sk-bench")
                .env("SSL_CERT_FILE", certs.authority())
                .spawn(|c| {
                    c.stdin(Stdio::piped()).stdout(Stdio::piped());
                })?,
        );
        let mut line = String::new();
        let stdout = server.0.stdout.take().context("no pipe")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line
            .trim()
            .parse()
            .context("the application did not start")?;
        let pid = server.0.id();
        load(port)?;
        let mut measured = [(); WAYS.len()].map(|()| Vec::new());
        for _ in 0..ROUNDS {
            for (values, (_, options)) in measured.iter_mut().zip(WAYS) {
                let agent = options.map(|options| trace(pid, options)).transpose()?;
                let before = cpu(pid)?;
                load(port)?;
                values.push((cpu(pid)? - before) / (CLIENTS * REQUESTS) as f64);
                if let Some(agent) = agent {
                    stop(agent)?;
                }
            }
        }
        let bare = measured[0].clone();
        for (values, (name, options)) in measured.iter().zip(WAYS) {
            let mut added: Vec<f64> = values.iter().zip(&bare).map(|(a, b)| a - b).collect();
            let added = match options {
                None => String::new(),
                Some(_) => format!("{:+.0} µs", median(&mut added)),
            };
            let whole = median(&mut values.clone());
            table += &format!("| {event_loop} | {name} | {whole:.0} µs | {added} |\n");
        }
    }
    println!("{table}");
    super::keep("contexts", &table)
}

/// Attaches the agent, and waits until it says that it did.
fn trace(pid: u32, options: &[&str]) -> Result<Running> {
    let mut child = Cmd::new(paths::binary())
        .args(["trace", "--pid", &pid.to_string(), "--format", "json"])
        .args(["--output", "/dev/null"])
        .args(options)
        .spawn(|c| {
            c.stderr(Stdio::piped());
        })?;
    let mut log = BufReader::new(child.stderr.take().context("no pipe")?);
    let child = Running(child);
    let mut line = String::new();
    while log.read_line(&mut line)? > 0 {
        if line.contains(&format!("(pid {pid}")) {
            // What it says at its end is to have somewhere to go.
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return Ok(child);
        }
    }
    bail!("the agent ended (this needs root): {line}")
}

fn stop(mut agent: Running) -> Result<()> {
    Cmd::new("kill")
        .args(["-INT", &agent.0.id().to_string()])
        .run()?;
    let status = agent.0.wait()?;
    ensure!(status.success(), "the agent failed: {status}");
    Ok(())
}

/// CPU time of the main thread, in microseconds (`/proc/PID/schedstat`: nanoseconds first).
fn cpu(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1000.0)
}

/// Asks for as much as is asked in a round.
fn load(port: u16) -> Result<()> {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| std::thread::spawn(move || client(port)))
        .collect();
    for client in clients {
        client
            .join()
            .map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    Ok(())
}

fn client(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    for id in 0..REQUESTS {
        write!(
            stream,
            "GET /async?id={id} HTTP/1.1\r\nhost: localhost\r\n\r\n"
        )?;
        let mut seen = String::new();
        let mut buffer = [0; 4096];
        // The answer is the id as JSON: a string.
        while !seen.ends_with(&format!("\r\n\r\n\"{id}\"")) {
            let n = stream.read(&mut buffer)?;
            ensure!(n > 0, "the application closed: {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
