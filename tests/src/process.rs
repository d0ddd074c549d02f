//! A program of the test, ended with the value that stands for it, or with the process that started it.

use crate::{PATIENCE, Temp, interrupt};
use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often a wait for a line looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// A running program. It has a process group of its own, which ends with this value. However this process ends,
/// the program (though not what it started itself) is killed then.
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
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .process_group(0);
        let mut child = start_for_life(command)?;
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

    /// Starts one that prints `ready` when it is; what it complains of goes to `program.err`.
    ///
    /// # Errors
    ///
    /// When it does not get so far.
    pub fn ready(command: &mut Command, temp: &Temp) -> Result<Self> {
        let mut process = Self::start(command, &temp.file("program.err"))?;
        let line = process.line()?;
        anyhow::ensure!(line == "ready", "{line:?}: {}", process.complaints());
        Ok(process)
    }

    /// Its next line, which is a list in JSON: what it has a record of.
    ///
    /// # Errors
    ///
    /// When it ended, or none came in time, or another one.
    pub fn record(&mut self) -> Result<Vec<Value>> {
        let line = self.line()?;
        let all = serde_json::from_str(&line);
        all.with_context(|| format!("{line} {}", self.complaints()))
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
        let begun = Instant::now();
        loop {
            interrupt::check()?;
            let left = time.saturating_sub(begun.elapsed());
            match self.lines.recv_timeout(left.min(LOOK)) {
                Err(RecvTimeoutError::Timeout) if left > LOOK => {}
                line => {
                    return line.map_err(|e| {
                        anyhow::anyhow!("no line ({e}); it said: {}", self.complaints())
                    });
                }
            }
        }
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

/// A command on its way to the thread that starts it, and where that answers.
struct Job {
    command: Command,
    answer: Sender<(Command, std::io::Result<Child>)>,
}

/// Starts a command that is killed when this process ends.
///
/// The kernel sends that signal when the *thread* ends that started the child (`PR_SET_PDEATHSIG`, prctl(2)), and a
/// test's thread may end before a program that it handed on. So all are started by one that ends with the process.
fn start_for_life(command: &mut Command) -> Result<Child> {
    static STARTER: OnceLock<Sender<Job>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (send, jobs) = channel::<Job>();
        std::thread::spawn(move || {
            for Job {
                mut command,
                answer,
            } in jobs
            {
                let started = command.spawn();
                answer.send((command, started)).ok();
            }
        });
        send
    });
    let parent = std::process::id();
    let dies_with_us = move || {
        // SAFETY: a number is all that this takes.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // It may have ended before that, and then there is no signal.
        if std::os::unix::process::parent_id() == parent {
            Ok(())
        } else {
            Err(std::io::Error::from_raw_os_error(libc::ESRCH))
        }
    };
    // SAFETY: what runs between fork and exec makes two system calls, and allocates nothing.
    unsafe { command.pre_exec(dies_with_us) };
    let (answer, started) = channel();
    let own = std::mem::replace(command, Command::new("true"));
    let job = Job {
        command: own,
        answer,
    };
    starter.send(job).ok().context("nobody starts programs")?;
    let (own, started) = started.recv().context("nobody started it")?;
    *command = own;
    started.with_context(|| format!("cannot start {command:?}"))
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

#[cfg(test)]
mod tests {
    use super::Process;
    use crate::{Temp, wait_for};
    use anyhow::{Context as _, Result};
    use nix::sys::signal::Signal;
    use std::process::Command;
    use std::time::Duration;

    /// Set where the test is the process that starts another and is killed.
    const STARTS: &str = "GENSPAN_TEST_STARTS";

    fn sleeps(temp: &Temp) -> Result<Process> {
        Process::start(Command::new("sleep").arg("60"), &temp.file("sleep.err"))
    }

    /// Whether it runs: it neither is gone nor waits to be asked for.
    fn runs(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }

    #[test]
    fn a_program_ends_with_the_process_that_started_it() -> Result<()> {
        let temp = Temp::new()?;
        if std::env::var_os(STARTS).is_some() {
            let sleep = sleeps(&temp)?;
            println!("\nstarted {}", sleep.pid());
            std::thread::sleep(Duration::from_secs(60));
            return Ok(());
        }
        let mut command = Command::new(std::env::current_exe()?);
        let name = "process::tests::a_program_ends_with_the_process_that_started_it";
        command
            .args(["--exact", name, "--nocapture"])
            .env(STARTS, "1")
            .env("TMPDIR", temp.path());
        let mut between = Process::start(&mut command, &temp.file("between.err"))?;
        let pid = loop {
            let line = between.line()?;
            if let Some(pid) = line.strip_prefix("started ") {
                break pid.to_owned();
            }
        };
        anyhow::ensure!(runs(&pid), "it does not run: {}", between.complaints());
        between.signal(Signal::SIGKILL)?;
        wait_for("its end", || (!runs(&pid)).then_some(()))
    }

    #[test]
    fn a_program_outlives_the_thread_that_started_it() -> Result<()> {
        let temp = Temp::new()?;
        let started = std::thread::scope(|scope| scope.spawn(|| sleeps(&temp)).join());
        let mut sleep = started.ok().context("it panicked")??;
        std::thread::sleep(Duration::from_millis(100));
        assert!(!sleep.has_ended()?);
        Ok(())
    }

    #[test]
    fn what_cannot_be_started_is_named() -> Result<()> {
        let temp = Temp::new()?;
        let mut command = Command::new("/nowhere/at-all");
        let error = Process::start(&mut command, &temp.file("err"));
        let error = error.map(|_| ()).expect_err("there is no such program");
        assert!(
            format!("{error:#}").contains("/nowhere/at-all"),
            "{error:#}"
        );
        // It is the command that it was.
        assert_eq!(command.get_program(), "/nowhere/at-all");
        Ok(())
    }
}
