//! A program of the test, ended with the value that stands for it.

use crate::PATIENCE;
use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A running program. It has a process group of its own, which ends with this value.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts it. What it prints is kept; what it complains of goes to the file `stderr`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(command: &mut Command, stderr: &Path) -> Result<Self> {
        let errors = File::create(stderr)?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let (send, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if send.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let stdin = child.stdin.take();
        Ok(Self {
            child,
            stdin,
            lines,
            stderr: stderr.to_owned(),
            ended: None,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    ///
    /// When it does not read any more.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its input is closed")?;
        let result = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
        result.with_context(|| format!("it reads no more; it said: {}", self.complaints()))
    }

    /// Closes its standard input.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    /// The next line that it prints.
    ///
    /// # Errors
    ///
    /// When it ended, or none came in time.
    pub fn line(&mut self) -> Result<String> {
        self.line_within(PATIENCE)
    }

    /// The next line that it prints.
    ///
    /// # Errors
    ///
    /// When it ended, or none came within this time.
    pub fn line_within(&mut self, time: Duration) -> Result<String> {
        self.lines
            .recv_timeout(time)
            .map_err(|e| anyhow::anyhow!("no line ({e}); it said: {}", self.complaints()))
    }

    /// The lines printed and not taken yet.
    pub fn lines(&mut self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// What it wrote to its standard error so far.
    #[must_use]
    pub fn complaints(&self) -> String {
        std::fs::read(&self.stderr)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// When it ended already.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        anyhow::ensure!(
            !self.has_ended()?,
            "it ended already: {}",
            self.complaints()
        );
        Ok(kill(Pid::from_raw(i32::try_from(self.pid())?), signal)?)
    }

    /// Whether it ended.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn has_ended(&mut self) -> Result<bool> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended.is_some())
    }

    /// Waits for its end: its code, or 128 and the signal that ended it.
    ///
    /// # Errors
    ///
    /// When it goes on for longer than [`PATIENCE`].
    pub fn wait(&mut self) -> Result<i32> {
        let begun = Instant::now();
        while !self.has_ended()? {
            if begun.elapsed() > PATIENCE {
                bail!(
                    "process {} does not end; it said: {}",
                    self.pid(),
                    self.complaints()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = self.ended.context("it did not end")?;
        Ok(status
            .code()
            .or_else(|| status.signal().map(|s| 128 + s))
            .unwrap_or(-1))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stdin = None;
        // Our child until it is waited for, so this is still its group and nobody else's.
        if let Ok(pid) = i32::try_from(self.child.id())
            && !self.has_ended().unwrap_or(true)
        {
            kill(Pid::from_raw(-pid), Signal::SIGKILL).ok();
        }
        self.child.wait().ok();
    }
}
