//! The agent under test.

use crate::temp::Temp;
use crate::{PATIENCE, Process, Span, memory, need, wait_for};
use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

/// The name of a thread of the agent's that has the kernel place probes (`agent/src/probe/multi.rs`).
const PLACING: &str = "probe-placing";

/// A running `genspan trace` or `genspan agent`.
#[derive(Debug)]
pub struct Agent {
    /// Its process.
    pub process: Process,
    output: PathBuf,
}

/// What an agent left behind.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code.
    pub code: i32,
    /// The spans that it wrote.
    pub spans: Vec<Span>,
    /// The same as it wrote them.
    pub lines: String,
    /// What it said on standard error.
    pub log: String,
}

/// `genspan` with these arguments.
///
/// # Errors
///
/// When there is no agent.
pub fn command<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Command> {
    let mut command = Command::new(need::agent()?);
    command.args(arguments).env_remove("GENSPAN_LOG");
    Ok(command)
}

/// Runs `genspan` with these arguments to its end.
///
/// # Errors
///
/// When it does not end.
pub fn run<S: AsRef<OsStr>>(temp: &Temp, arguments: &[S]) -> Result<Finished> {
    let mut process = Process::start(&mut command(arguments)?, &temp.file("agent.err"))?;
    process.close();
    finished(process, &temp.file("none"))
}

impl Agent {
    /// Traces these processes and waits until it says so of each.
    ///
    /// # Errors
    ///
    /// When it does not get so far.
    pub fn attach(temp: &Temp, pids: &[u32], options: &[&str]) -> Result<Self> {
        let list: Vec<String> = pids.iter().map(u32::to_string).collect();
        let mut agent = Self::start(temp, options, &["--pid", &list.join(",")])?;
        for pid in pids {
            agent.wait_attached(*pid)?;
        }
        Ok(agent)
    }

    /// Waits until it says that it traces this process, or waits for it to load TLS.
    ///
    /// # Errors
    ///
    /// When it ends before, or never says so.
    pub fn wait_attached(&mut self, pid: u32) -> Result<()> {
        self.wait_for_log(&format!("(pid {pid}"))
    }

    /// Starts and traces a command, with its arguments and its environment. Its input and output
    /// are the agent's.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn run(temp: &Temp, options: &[&str], traced: &Command) -> Result<Self> {
        let output = temp.file("spans.jsonl");
        let mut command = command(&["trace", "--format", "json"])?;
        command.arg("--output").arg(&output).args(options);
        command
            .arg("--")
            .arg(traced.get_program())
            .args(traced.get_args());
        for (name, value) in traced.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let process = Process::start(&mut command, &temp.file("agent.err"))?;
        Ok(Self { process, output })
    }

    /// Starts it with these options for these processes or this command.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start<S: AsRef<OsStr>>(temp: &Temp, options: &[&str], what: &[S]) -> Result<Self> {
        Self::start_as("trace", temp, options, what)
    }

    /// Starts `genspan agent` with these options. It tells its state at a port that is free, and at
    /// [`Agent::socket`].
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn host(temp: &Temp, options: &[&str]) -> Result<Self> {
        let socket = Self::socket(temp).display().to_string();
        let state = ["--listen", "0", "--socket", &socket];
        Self::start_as("agent", temp, options, &state)
    }

    /// The same, with its spans written nowhere but to its endpoints.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn host_without_output(temp: &Temp, options: &[&str]) -> Result<Self> {
        let mut command = command(&["agent", "--format", "json", "--output", "/dev/null"])?;
        command
            .args(["--listen", "0", "--socket"])
            .arg(Self::socket(temp))
            .args(options);
        let process = Process::start(&mut command, &temp.file("agent.err"))?;
        let output = temp.file("none");
        Ok(Self { process, output })
    }

    /// Starts `genspan` with these arguments as a user who is nobody and has these capabilities alone
    /// (`CAP_BPF`), as a service manager would. What it writes of spans must go to `spans.jsonl`, and
    /// the directory must be for everybody.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn unprivileged(
        temp: &Temp,
        capabilities: &[String],
        arguments: &[String],
    ) -> Result<Self> {
        let set = capabilities.iter().fold("-all".to_owned(), |all, name| {
            let name = name.trim_start_matches("CAP_").to_lowercase();
            format!("{all},+{name}")
        });
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            // What it would be sent at our end is forgotten with the user (credentials(7), prctl(2)).
            .args(["--no-new-privs", "--pdeathsig", "KILL"])
            .args(["inh-caps", "ambient-caps", "bounding-set"].map(|of| format!("--{of}={set}")))
            .arg(need::agent()?)
            .args(arguments)
            .env_remove("GENSPAN_LOG");
        Ok(Self {
            process: Process::start(&mut command, &temp.file("agent.err"))?,
            output: temp.file("spans.jsonl"),
        })
    }

    /// Where an agent that was started with [`Agent::host`] is asked.
    #[must_use]
    pub fn socket(temp: &Temp) -> PathBuf {
        temp.file("agent.sock")
    }

    /// Asks for a page of its state: status, and body.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn page(&mut self, path: &str) -> Result<(u16, String)> {
        self.get("state: http://", path)
    }

    /// Asks for its metrics, which it serves with `--prometheus`: status, and body.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn metrics(&mut self) -> Result<(u16, String)> {
        self.get("metrics: http://", "/metrics")
    }

    /// Asks for a page at an address that it tells in its log.
    fn get(&mut self, told: &str, path: &str) -> Result<(u16, String)> {
        self.wait_for_log(told)?;
        let log = self.log();
        let address = log.split(told).nth(1).context("no address")?;
        let address = address.split('/').next().context("no address")?;
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
        let status = head.split(' ').nth(1).context("no status")?;
        Ok((status.parse()?, body.to_owned()))
    }

    fn start_as<S: AsRef<OsStr>>(
        what_to_do: &str,
        temp: &Temp,
        options: &[&str],
        what: &[S],
    ) -> Result<Self> {
        let output = temp.file("spans.jsonl");
        let mut command = command(&[what_to_do, "--format", "json"])?;
        command
            .arg("--output")
            .arg(&output)
            .args(options)
            .args(what);
        let process = Process::start(&mut command, &temp.file("agent.err"))?;
        Ok(Self { process, output })
    }

    /// Waits until it said something.
    ///
    /// # Errors
    ///
    /// When it ended before, or never says it.
    pub fn wait_for_log(&mut self, text: &str) -> Result<()> {
        let mut ended = false;
        wait_for(
            &format!("the agent's word {text:?}; it said {}", self.log()),
            || {
                ended = self.process.has_ended().unwrap_or(true);
                (self.process.complaints().contains(text) || ended).then_some(())
            },
        )?;
        anyhow::ensure!(self.log().contains(text), "the agent ended: {}", self.log());
        Ok(())
    }

    /// Waits until no probes are being placed: those that it asks the kernel for while it goes on, as it says
    /// already what they are for.
    ///
    /// # Errors
    ///
    /// When it ended, or does not get done with it.
    pub fn wait_placed(&mut self) -> Result<()> {
        let tasks = format!("/proc/{}/task", self.process.pid());
        let places = |task: std::io::Result<std::fs::DirEntry>| {
            let name = std::fs::read_to_string(task?.path().join("comm"));
            // One that is gone is done.
            Ok(name.is_ok_and(|name| name.trim_end() == PLACING))
        };
        let placing = || -> std::io::Result<bool> {
            let all: Vec<bool> = std::fs::read_dir(&tasks)?
                .map(places)
                .collect::<std::io::Result<_>>()?;
            Ok(all.contains(&true))
        };
        wait_for("probes to be placed", || {
            placing().is_ok_and(|is| !is).then_some(())
        })?;
        anyhow::ensure!(
            !self.process.has_ended()?,
            "the agent ended: {}",
            self.log()
        );
        Ok(())
    }

    /// What it said so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.complaints()
    }

    /// Waits until it has told so many spans.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn wait_for_spans(&self, count: usize) -> Result<()> {
        let lines = || std::fs::read_to_string(&self.output).map_or(0, |t| t.lines().count());
        let what = format!("{count} spans");
        wait_for(&what, || (lines() >= count).then_some(()))
            .map_err(|e| e.context(format!("{} came; it said {}", lines(), self.log())))
    }

    /// Those that it has told so far.
    ///
    /// # Errors
    ///
    /// When there is no file of them, or something else is in it.
    pub fn spans(&self) -> Result<Vec<Span>> {
        let text = std::fs::read_to_string(&self.output)?;
        // The last line may be on its way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Span::all(whole)
    }

    /// Resident memory in KiB.
    ///
    /// # Errors
    ///
    /// When it ended.
    pub fn resident(&self) -> Result<u64> {
        memory::resident(self.process.pid())
    }

    /// Tells it to stop, as Ctrl-C does.
    ///
    /// # Errors
    ///
    /// When it does not stop.
    pub fn stop(mut self) -> Result<Finished> {
        self.process.signal(Signal::SIGINT)?;
        finished(self.process, &self.output)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn wait(self) -> Result<Finished> {
        finished(self.process, &self.output)
    }
}

fn finished(mut process: Process, output: &PathBuf) -> Result<Finished> {
    let code = process.wait()?;
    let log = process.complaints();
    anyhow::ensure!(!log.contains("panicked"), "the agent panicked: {log}");
    let lines = std::fs::read_to_string(output).unwrap_or_default();
    Ok(Finished {
        code,
        spans: Span::all(&lines)?,
        lines,
        log,
    })
}
