//! Recordings sent again over TLS by the real SDK, traced by the real agent.

use super::pairing::pair;
use super::{Lab, Report, Seen, lab};
use crate::temp::Temp;
use crate::{Process, agent};
use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// The driver sends to the hosts of the recordings, on the port that TLS has by default.
const PORT: u16 = 443;

/// How long loading all recordings may take.
const LOADING: Duration = Duration::from_secs(120);

/// How long sending them may take.
const SENDING: Duration = Duration::from_secs(1800);

/// Packages that the driver's environment lacks are looked for there.
pub const PACKAGES: &str = "GENSPAN_LAB_PACKAGES";

/// How answers are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    None,
    /// Compressed with gzip, flushed after each event.
    Gzip,
    /// Compressed with brotli, flushed after each event.
    Br,
    /// Compressed with zstd, flushed after each event.
    Zstd,
    /// As they are, each byte of a stream in a chunk of its own.
    Bytes,
}

impl Encoding {
    /// All, in the order in which they are reported.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Br, Self::Zstd, Self::Bytes];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Br => "br",
            Self::Zstd => "zstd",
            Self::Bytes => "bytes",
        }
    }

    /// The content coding of its answers; empty for none.
    const fn coding(self) -> &'static str {
        match self {
            Self::None | Self::Bytes => "",
            Self::Gzip | Self::Br | Self::Zstd => self.name(),
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Bytes => &["--encoding", "none", "--chunk-bytes", "1"],
            Self::None => &["--encoding", "none"],
            Self::Gzip => &["--encoding", "gzip"],
            Self::Br => &["--encoding", "br"],
            Self::Zstd => &["--encoding", "zstd"],
        }
    }
}

impl FromStr for Encoding {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|e| e.name() == text);
        found.with_context(|| {
            let names: Vec<_> = Self::ALL.iter().map(|e| e.name()).collect();
            format!("no encoding `{text}`: there are {}", names.join(", "))
        })
    }
}

/// What came of sending recordings again.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The SDK that sent them, with its version.
    pub sdk: String,
    /// The comparison.
    pub report: Report,
    /// Answers that were sent in the coding asked for.
    pub coded: usize,
    /// Diagnostics of the agent that are more than information.
    pub warnings: Vec<String>,
}

/// The right to use the port, which only one at a time can have: other test programs wait.
#[derive(Debug)]
pub struct Turn {
    _lock: Flock<File>,
}

impl Turn {
    /// Waits for it. What stands in the way of sending, if something does, is the inner error.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub fn wait(lab: &Lab) -> Result<Result<Self, String>> {
        if lab.python().is_none() {
            return Ok(Err(
                "the lab's environment `replay` is not set up".to_owned()
            ));
        }
        let path = lab.home().join("replay.lock");
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        Ok(match TcpListener::bind(("127.0.0.1", PORT)) {
            Ok(_) => Ok(Self { _lock: lock }),
            Err(error) => Err(format!("port {PORT} on loopback: {error}")),
        })
    }
}

/// Sends these recordings with the real SDK, traced, and compares the spans.
///
/// # Errors
///
/// When something does not run as it should; a wrong span is none of that.
pub fn run(_: &Turn, lab: &Lab, encoding: Encoding, files: &[String]) -> Result<Replayed> {
    let temp = Temp::new()?;
    let python = lab
        .python()
        .context("the lab's environment `replay` is not set up")?;
    let [port, control] = free_ports()?;
    let _server = serve(lab, &temp, encoding, port, control)?;

    let output = temp.file("spans.jsonl");
    let mut command = agent::command(&["trace", "--format", "json", "--output"])?;
    command
        .arg(&output)
        .arg("--")
        .arg(python)
        .arg(lab.path("drive_openai.py"));
    command.args([
        "--port",
        &port.to_string(),
        "--ctl",
        &control.to_string(),
        "--out",
    ]);
    command.arg(temp.file("out"));
    command.args(files.iter().map(|file| lab.path(file)));
    // Contents are compared whole.
    command.env(
        "OTEL_INSTRUMENTATION_GENAI_MESSAGE_CONTENT_MAX_LENGTH",
        i32::MAX.to_string(),
    );
    command.env("LAB_HOME", lab.home());
    if let Some(packages) = std::env::var_os(PACKAGES) {
        command.env("PYTHONPATH", packages);
    }
    let mut traced = Process::start(&mut command, &temp.file("agent.err"))?;
    traced.close();
    end_of(&mut traced)?;
    let log = traced.complaints();
    anyhow::ensure!(!log.contains("panicked"), "the agent panicked: {log}");

    let coding = encoding.coding();
    let mut replayed = compared(lab, files, coding, &temp.file("out"), &output)?;
    anyhow::ensure!(
        replayed.coded > 0,
        "no answer was sent with the coding `{coding}`: the client does not accept it"
    );
    let said = log
        .lines()
        .filter(|l| l.contains("WARN") || l.contains("ERROR"));
    replayed.warnings = said.map(str::to_owned).collect();
    Ok(replayed)
}

/// Ports that nobody listens on. Both are held until both are known, so that they differ.
fn free_ports() -> Result<[u16; 2]> {
    let bind = || TcpListener::bind(("127.0.0.1", 0));
    let (one, two) = (bind()?, bind()?);
    Ok([one.local_addr()?.port(), two.local_addr()?.port()])
}

fn serve(lab: &Lab, temp: &Temp, encoding: Encoding, port: u16, control: u16) -> Result<Process> {
    let mut command = Command::new("bash");
    command
        .arg(lab.path("serve.sh"))
        .args(["replay", "--delay-ms", "0", "--plain-port", "0"]);
    command.args(["--port", &port.to_string(), "--ctl", &control.to_string()]);
    command.args(encoding.options()).env("LAB_HOME", lab.home());
    let mut server = Process::start(&mut command, &temp.file("server.err"))?;
    let said = server
        .line_within(LOADING)
        .context("the replay server does not start")?;
    anyhow::ensure!(
        said.starts_with("replay:"),
        "the replay server says: {said}"
    );
    Ok(server)
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

/// An exchange that the server answered.
struct Served {
    /// When, in nanoseconds.
    time: u64,
    /// Position of its file and of itself in it.
    at: (usize, usize),
}

fn compared(
    lab: &Lab,
    files: &[String],
    coding: &str,
    out: &Path,
    spans: &Path,
) -> Result<Replayed> {
    let mut told = Replayed {
        sdk: String::new(),
        report: Report::default(),
        coded: 0,
        warnings: Vec::new(),
    };
    let mut all = Vec::new();
    let mut ours: Vec<Vec<Vec<Seen>>> = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let name = Path::new(lab::below(file)).with_extension("json");
        let report = std::fs::read(out.join(name))
            .with_context(|| format!("the driver did not come to {file}"))?;
        let report: Value = serde_json::from_slice(&report)?;
        told.sdk = report["sdk"].as_str().unwrap_or_default().to_owned();
        let sent = report["interactions"]
            .as_array()
            .context("no interactions")?;
        ours.push(vec![Vec::new(); sent.len()]);
        all.extend(served(&report, number, coding, &mut told.coded).with_context(|| file.clone())?);
    }
    all.sort_by_key(|s| s.time);

    let text = std::fs::read_to_string(spans)?;
    let mut lines = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        let start = line["start_time_unix_nano"]
            .as_str()
            .and_then(|t| t.parse::<u64>().ok());
        lines.push((
            start.context("a span without a start")?,
            Seen::of_line(&line)?,
        ));
    }
    lines.sort_by_key(|(start, _)| *start);
    let times: Vec<u64> = all.iter().map(|s| s.time).collect();
    let starts: Vec<u64> = lines.iter().map(|(start, _)| *start).collect();
    for (served, spans) in all.iter().zip(pair(&times, &starts)) {
        let place = ours
            .get_mut(served.at.0)
            .and_then(|f| f.get_mut(served.at.1));
        let place = place.context("an answer to no request")?;
        place.extend(spans.iter().filter_map(|s| Some(lines.get(*s)?.1.clone())));
    }
    for (file, ours) in files.iter().zip(&ours) {
        let (exchanges, peer) = (lab.exchanges(file)?, lab.peer(file)?);
        told.report
            .recording(lab::below(file), &exchanges, Some(&peer), ours);
    }
    Ok(told)
}

/// What the server answered of a file, in the order of the file.
fn served(report: &Value, file: usize, coding: &str, coded: &mut usize) -> Result<Vec<Served>> {
    let sent = report["interactions"]
        .as_array()
        .context("no interactions")?;
    let mut next = sent.iter().enumerate();
    let mut out = Vec::new();
    for answer in report["served"].as_array().context("no answers")? {
        let index = next
            .find(|(_, i)| i["idx"] == answer["idx"])
            .map(|(n, _)| n);
        let index = index.context("answers in another order than requests")?;
        let seconds = answer["t"].as_f64().context("an answer without a time")?;
        let time = Duration::try_from_secs_f64(seconds)?.as_nanos();
        *coded += usize::from(answer["enc"] == coding);
        out.push(Served {
            time: u64::try_from(time)?,
            at: (file, index),
        });
    }
    Ok(out)
}
