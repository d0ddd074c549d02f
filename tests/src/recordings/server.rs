//! The lab's server, which answers what was recorded.

use super::{Lab, Recording, replayed};
use crate::temp::Temp;
use crate::{Process, need, programs};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

/// How long loading all recordings may take.
const LOADING: Duration = Duration::from_secs(180);

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
    #[must_use]
    pub const fn coding(self) -> &'static str {
        match self {
            Self::None | Self::Bytes => "",
            Self::Gzip | Self::Br | Self::Zstd => self.name(),
        }
    }

    /// What the server is told for it.
    #[must_use]
    pub fn settings(self) -> Value {
        let coding = Some(self.coding()).filter(|c| !c.is_empty());
        let bytes = (self == Self::Bytes).then_some(1);
        json!({
            "name": self.name(),
            "settings": {"encoding": coding.unwrap_or("none"), "chunk_bytes": bytes},
        })
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

/// A running server.
#[derive(Debug)]
pub struct Server {
    process: Process,
    _temp: Temp,
    /// Where it speaks TLS.
    pub port: u16,
    /// Where it is told what to answer.
    pub control: u16,
    /// What clients are to trust.
    pub authority: PathBuf,
}

impl Server {
    /// Starts it with these recordings, if its environment is there.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(lab: &Lab, files: &[String]) -> Result<Option<Self>> {
        let Some(python) = lab.python() else {
            return Ok(None);
        };
        let temp = Temp::new()?;
        let [port, control] = free_ports()?;
        let mut command = Command::new(python);
        command.arg(lab.path("replay_server.py"));
        command.args(["--http2", "--delay-ms", "0", "--plain-port", "0"]);
        command.args(["--port", &port.to_string(), "--ctl", &control.to_string()]);
        command.args(files.iter().map(|file| lab.path(file)));
        command.env("LAB_HOME", lab.home());
        let mut process = Process::start(&mut command, &temp.file("server.err"))?;
        let said = process
            .line_within(LOADING)
            .context("the replay server does not start")?;
        anyhow::ensure!(
            said.starts_with("replay:"),
            "the replay server says: {said}"
        );
        Ok(Some(Self {
            process,
            _temp: temp,
            port,
            control,
            authority: lab.home().join("certs/ca.pem"),
        }))
    }

    /// Starts one that needs no lab, and answers what these recordings say.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_own(recordings: &[Recording]) -> Result<Option<Self>> {
        let Some(python) = need::any_python()? else {
            return Ok(None);
        };
        let temp = Temp::new()?;
        let (plan, certs) = (temp.file("plan.json"), temp.file("certs"));
        std::fs::create_dir(&certs)?;
        std::fs::write(&plan, replayed::planned(&[], recordings).to_string())?;
        let mut command = Command::new(python);
        command.arg(programs().join("answers.py"));
        command.env(replayed::UNCUT.0, replayed::UNCUT.1);
        command.arg("--plan").arg(&plan).arg("--dir").arg(&certs);
        let mut process = Process::start(&mut command, &temp.file("server.err"))?;
        let said = process.line()?;
        let ports: Vec<u16> = said
            .split_whitespace()
            .filter_map(|p| p.parse().ok())
            .collect();
        let [port, control] = ports.as_slice() else {
            anyhow::bail!("the server printed {said:?}: {}", process.complaints());
        };
        Ok(Some(Self {
            port: *port,
            control: *control,
            authority: certs.join("ca.pem"),
            process,
            _temp: temp,
        }))
    }
}

impl Server {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// Ports that nobody listens on. Both are held until both are known, so that they differ.
fn free_ports() -> Result<[u16; 2]> {
    let bind = || TcpListener::bind(("127.0.0.1", 0));
    let (one, two) = (bind()?, bind()?);
    Ok([one.local_addr()?.port(), two.local_addr()?.port()])
}
