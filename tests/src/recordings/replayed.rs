//! Recordings sent again over TLS by the real packages, traced by the real agent.

use super::kept::{Kept, Told};
use super::packages::{Http, Package};
use super::pairing::pair;
use super::server::{Encoding, Server};
use super::{Exchange, Lab, Peer, Report, Seen, cassette, lab};
use crate::temp::Temp;
use crate::{Process, agent, need, programs};
use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long sending them may take: more than four thousand requests, on a machine that is busy.
const SENDING: Duration = Duration::from_secs(7200);

/// Options of the agent. Of requests that are no calls, and of parents, the recordings say nothing. The
/// peer redacts nothing, and answers hold links with the key ids of their owners.
pub const QUIET: [&str; 5] = [
    "--http-spans",
    "off",
    "--no-parent-source",
    "--redact",
    "none",
];

/// What programs are to have in their environment: contents are compared whole.
pub(super) const UNCUT: (&str, &str) = (
    "OTEL_INSTRUMENTATION_GENAI_MESSAGE_CONTENT_MAX_LENGTH",
    "2147483647",
);

/// A recording, and what a peer reported of it.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Its name below the folder of all recordings.
    pub name: String,
    /// What it holds.
    pub exchanges: Vec<Exchange>,
    /// The peer's report, where there is one.
    pub peer: Option<Peer>,
}

impl Recording {
    /// Reads one, with the peer's report if it is a `listed` one.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn load(lab: &Lab, file: &str, listed: bool) -> Result<Self> {
        Ok(Self {
            name: lab::below(file).to_owned(),
            exchanges: lab.exchanges(file)?,
            peer: listed.then(|| lab.peer(file)).transpose()?,
        })
    }

    /// Reads one of our own.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn own(file: &Path) -> Result<Self> {
        let name = file.file_name().unwrap_or_default();
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            exchanges: cassette::load(file)?,
            peer: None,
        })
    }
}

/// What came of sending recordings with one encoding.
#[derive(Clone, Debug)]
pub struct Pass {
    /// The encoding.
    pub encoding: Encoding,
    /// The comparison.
    pub report: Report,
    /// Answers that were sent in the coding asked for.
    pub coded: usize,
}

/// What came of sending recordings with one package over one version of HTTP.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The package.
    pub package: Package,
    /// Its name and version.
    pub sdk: String,
    /// The version of HTTP.
    pub http: Http,
    /// One for each encoding that the package accepts.
    pub passes: Vec<Pass>,
    /// Requests that the package cannot express, of one pass: its HTTP client sent them.
    pub raw: usize,
    /// Diagnostics of the agent that are more than information.
    pub warnings: Vec<String>,
    /// The spans as the agent wrote them.
    pub lines: String,
    /// What the driver reported, as JSON.
    told: String,
}

impl Replayed {
    /// Compares other spans of the same requests, as the agent writes them: those of another end.
    ///
    /// # Errors
    ///
    /// When they cannot be read; a wrong span is none of that.
    pub fn other_end(&self, lines: &str, recordings: &[Recording]) -> Result<Vec<Pass>> {
        let report: Value = serde_json::from_str(&self.told)?;
        let passes = report["passes"].as_array().context("no passes")?;
        compared(passes, &spans(lines)?, recordings)
    }
}

/// Sends these recordings with a real package, traced, and compares the spans. `None` when the
/// package is not there. With a folder, what is told is kept there; with `resume`, what was kept of
/// the same agent and programs stands for sending it again.
///
/// # Errors
///
/// When something does not run as it should; a wrong span is none of that.
pub fn run(
    server: &Server,
    (package, http): (Package, Http),
    encodings: &[Encoding],
    recordings: &[Recording],
    (dir, resume): (Option<&Path>, bool),
) -> Result<Option<Replayed>> {
    let Some(python) = need::environment(package.environment)? else {
        return Ok(None);
    };
    let plan = planned(encodings, recordings).to_string();
    let kept = dir.map(|dir| Kept::of(dir, &package, http, &plan));
    let kept = kept.transpose()?;
    let told = match kept.as_ref().filter(|_| resume).and_then(Kept::read) {
        Some(told) => told,
        None => {
            let told = send(server, &package, http, &python, &plan)?;
            if let Some(kept) = &kept {
                kept.write(&told)?;
            }
            told
        }
    };
    let report: Value = serde_json::from_str(&told.report)?;
    let spans = spans(&told.spans)?;
    let text = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
    let passes = report["passes"].as_array().context("no passes")?;
    let said = told
        .log
        .lines()
        .filter(|l| l.contains("WARN") || l.contains("ERROR"));
    Ok(Some(Replayed {
        package,
        sdk: format!("{} {}", text("sdk"), text("version")),
        http,
        passes: compared(passes, &spans, recordings)?,
        raw: passes.first().map_or(0, raw),
        warnings: said.map(str::to_owned).collect(),
        lines: told.spans,
        told: told.report,
    }))
}

/// Has the driver send what is planned, traced.
fn send(
    server: &Server,
    package: &Package,
    http: Http,
    python: &Path,
    planned: &str,
) -> Result<Told> {
    let temp = Temp::new()?;
    let (plan, out, output) = (
        temp.file("plan.json"),
        temp.file("out.json"),
        temp.file("spans.jsonl"),
    );
    std::fs::write(&plan, planned)?;
    let mut command = agent::command(&[&["trace", "--format", "json"], &QUIET[..]].concat())?;
    command.arg("--output");
    command.arg(&output).arg("--").arg(python);
    command.args(["-W", "ignore"]);
    command.arg(programs().join("replay/drive.py"));
    command.arg("--plan").arg(&plan).arg("--out").arg(&out);
    command.arg("--ca").arg(&server.authority);
    command.args(["--sender", package.sender]);
    command.args(["--tls-port", &server.port.to_string()]);
    command.args(["--control", &server.control.to_string()]);
    if http == Http::Two {
        command.arg("--http2");
    }
    command.env(UNCUT.0, UNCUT.1);
    let mut traced = Process::start(&mut command, &temp.file("agent.err"))?;
    traced.close();
    end_of(&mut traced)?;
    let log = traced.complaints();
    anyhow::ensure!(!log.contains("panicked"), "the agent panicked: {log}");

    let report = std::fs::read_to_string(&out)?;
    if http == Http::Two {
        let told: Value = serde_json::from_str(&report)?;
        let versions = told["connections"].as_object().cloned().unwrap_or_default();
        let other = versions.iter().find(|(name, _)| *name != "h2");
        anyhow::ensure!(
            !versions.is_empty() && other.is_none(),
            "not HTTP/2 but {versions:?}"
        );
    }
    Ok(Told {
        report,
        spans: std::fs::read_to_string(&output)?,
        log,
    })
}

/// What the driver is to send, and what it is answered.
#[must_use]
pub fn planned(encodings: &[Encoding], recordings: &[Recording]) -> Value {
    let list: Vec<Value> = recordings
        .iter()
        .map(|r| {
            let exchanges = r.exchanges.iter().enumerate().map(|(index, x)| {
                json!({
                    "index": index,
                    "method": x.method,
                    "host": x.host,
                    "path": x.path,
                    "query": x.query,
                    "headers": x.request_headers,
                    "body": STANDARD.encode(&x.request),
                    "status": x.status,
                    "answer_headers": x.response_headers,
                    "answer": STANDARD.encode(&x.response),
                    "streams": x.streams(),
                })
            });
            json!({"file": r.name, "exchanges": exchanges.collect::<Vec<_>>()})
        })
        .collect();
    let passes: Vec<Value> = encodings.iter().map(|e| e.settings()).collect();
    json!({"passes": passes, "recordings": list})
}

fn end_of(traced: &mut Process) -> Result<()> {
    let begun = Instant::now();
    while !traced.has_ended()? {
        if begun.elapsed() > SENDING {
            bail!(
                "the driver does not end; the agent said: {}",
                traced.complaints()
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let code = traced.wait()?;
    anyhow::ensure!(code == 0, "exit code {code}: {}", traced.complaints());
    Ok(())
}

/// The agent's spans with their starts, in order.
fn spans(text: &str) -> Result<Vec<(u64, Seen)>> {
    let mut spans = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        let start = line["start_time_unix_nano"]
            .as_str()
            .and_then(|t| t.parse::<u64>().ok());
        let start = start.context("a span without a start")?;
        spans.push((start, Seen::of_line(&line)?));
    }
    spans.sort_by_key(|(start, _)| *start);
    Ok(spans)
}

/// An exchange that the server answered.
struct Served {
    /// When, in nanoseconds.
    time: u64,
    /// Positions of the pass, of the recording, and in it.
    at: (usize, usize, usize),
}

fn compared(
    passes: &[Value],
    spans: &[(u64, Seen)],
    recordings: &[Recording],
) -> Result<Vec<Pass>> {
    let mut all = Vec::new();
    let mut out = Vec::new();
    for (number, pass) in passes.iter().enumerate() {
        let encoding: Encoding = pass["encoding"].as_str().unwrap_or_default().parse()?;
        let mut told = Pass {
            encoding,
            report: Report::default(),
            coded: 0,
        };
        let files = pass["recordings"].as_array().context("no recordings")?;
        for (file, report) in files.iter().enumerate() {
            let sent = report["sent"].as_array().context("nothing was sent")?;
            for (index, sent) in sent.iter().enumerate() {
                let served = sent["served"].as_array().context("no answers")?;
                for answer in served {
                    told.coded += usize::from(answer["enc"] == encoding.coding());
                    all.push(Served {
                        time: nanoseconds(&answer["t"])?,
                        at: (number, file, index),
                    });
                }
                if served.len() != 1 || served.iter().any(|s| s["idx"] != json!(index)) {
                    let what = format!("answered otherwise: {sent}");
                    let name = report["file"].as_str().unwrap_or_default();
                    told.report.bugs.push(format!("{name}#{index}: {what}"));
                }
            }
        }
        out.push(told);
    }
    all.sort_by_key(|s| s.time);
    let times: Vec<u64> = all.iter().map(|s| s.time).collect();
    let starts: Vec<u64> = spans.iter().map(|(start, _)| *start).collect();
    let of = |r: &Recording| vec![Vec::new(); r.exchanges.len()];
    let mut ours: Vec<Vec<Vec<Vec<Seen>>>> = vec![recordings.iter().map(of).collect(); out.len()];
    for (served, found) in all.iter().zip(pair(&times, &starts)) {
        let (pass, file, index) = served.at;
        let place = ours.get_mut(pass).and_then(|p| p.get_mut(file));
        let place = place.and_then(|f| f.get_mut(index));
        let place = place.context("an answer to no request")?;
        place.extend(found.iter().filter_map(|s| Some(spans.get(*s)?.1.clone())));
    }
    for (pass, ours) in out.iter_mut().zip(&ours) {
        for (recording, ours) in recordings.iter().zip(ours) {
            let (name, exchanges) = (&recording.name, &recording.exchanges);
            pass.report
                .recording(name, exchanges, recording.peer.as_ref(), ours);
        }
    }
    Ok(out)
}

fn nanoseconds(seconds: &Value) -> Result<u64> {
    let seconds = seconds.as_f64().context("an answer without a time")?;
    let time = Duration::try_from_secs_f64(seconds)?.as_nanos();
    Ok(u64::try_from(time)?)
}

/// How many requests of a pass were not sent by the package itself.
fn raw(pass: &Value) -> usize {
    let files = pass["recordings"].as_array().into_iter().flatten();
    let sent = files.flat_map(|f| f["sent"].as_array().into_iter().flatten());
    let raw = |s: &&Value| s["via"].as_str().is_some_and(|via| via.starts_with("raw "));
    sent.filter(raw).count()
}
