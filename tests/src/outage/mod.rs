//! An hour's spans through the real exporter while its collector is away, faster than they come in an hour; then
//! the collector comes back. Of each span it is known what became of it.

pub mod pusher;
mod spans;
mod verdict;

pub use verdict::table;

use crate::soak::collector::{Collector, Mode};
use crate::soak::watched::{Sample, Watched};
use crate::{Process, Temp, interrupt};
use anyhow::{Context as _, Result, ensure};
use genspan::export::status::ExportStatus;
use nix::sys::signal::Signal;
use pusher::Told;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How an exporter's process ends in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By its exporter's shutdown.
    Orderly,
    /// By SIGKILL.
    Killed,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// As it is shown.
    pub name: &'static str,
    /// Bytes of the spool; none for an exporter without.
    pub spool: Option<u64>,
    /// How the collector fails.
    pub mode: Mode,
    /// Spans.
    pub spans: u64,
    /// The process ends so after half of them, and another one takes its place.
    pub between: Option<End>,
    /// It is killed after a part of what waited was delivered, and another one takes its place.
    pub killed_in_drain: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was done.
    pub outage: Outage,
    /// Spans that were handed to the exporter.
    pub pushed: u64,
    /// How long that took.
    pub pushing: Duration,
    /// Spans and bytes on the disk when the collector came back.
    pub waited: (u64, u64),
    /// From then until nothing waited any more.
    pub drain: Duration,
    /// And from the first of them that was delivered.
    pub delivering: Duration,
    /// Spans that the collector acknowledged, each once.
    pub taken: u64,
    /// Those that came again.
    pub twice: u64,
    /// Spans that the exporters said they dropped, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// Requests that the collector could not read.
    pub unread: u64,
    /// What each process held.
    pub samples: Vec<Vec<Sample>>,
    /// What the last one complained of.
    pub log: String,
}

/// Spans that are handed over at a time, before it is looked at what the process holds.
const PART: u64 = 5_000;
/// How long what waits may take to be delivered.
const DRAIN: Duration = Duration::from_secs(300);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(50);
/// How long a part may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process with an exporter.
struct Exporting {
    process: Process,
    watched: Watched,
    last: Told,
}

/// The processes of one run, one after the other.
struct Run<'a> {
    outage: &'a Outage,
    program: PathBuf,
    collector: Collector,
    temp: Temp,
    dropped: Vec<(&'static str, u64)>,
    samples: Vec<Vec<Sample>>,
    started: u32,
}

impl Outage {
    /// Does it. `program` is the one that [`pusher::main`] is in.
    ///
    /// # Errors
    ///
    /// When the exporter's process does not work, or what waits is not delivered.
    pub fn run(&self, program: &Path) -> Result<Outcome> {
        let mut run = Run {
            outage: self,
            program: program.to_owned(),
            collector: Collector::start()?,
            temp: Temp::new()?,
            dropped: Vec::new(),
            samples: Vec::new(),
            started: 0,
        };
        run.collector.set(self.mode);
        let begun = Instant::now();
        let half = self.spans / 2;
        let mut one = run.start(1)?;
        one.push(half)?;
        if let Some(end) = self.between {
            run.end(one, end)?;
            one = run.start(half + 1)?;
        }
        one.push(self.spans - half)?;
        let pushing = begun.elapsed();
        let spool = one.last.status.spool.unwrap_or_default();
        let waited = (spool.items, spool.bytes);

        run.collector.set(Mode::Well);
        let back = Instant::now();
        let mut first = None;
        let mut kills = self.killed_in_drain;
        loop {
            interrupt::check()?;
            one.ask("status")?;
            let taken = run.collector.taken();
            if taken > 0 {
                first.get_or_insert_with(Instant::now);
            }
            if kills && taken > self.spans / 5 {
                kills = false;
                run.end(one, End::Killed)?;
                one = run.start(self.spans + 1)?;
            } else if one.last.waits() == 0 {
                break;
            }
            ensure!(
                back.elapsed() < DRAIN,
                "{} spans were not delivered: {}",
                one.last.waits(),
                one.process.complaints()
            );
            std::thread::sleep(LOOK);
        }
        let (drain, delivering) = (back.elapsed(), first.unwrap_or(back).elapsed());
        let log = one.process.complaints();
        run.end(one, End::Orderly)?;
        Ok(Outcome {
            outage: *self,
            pushed: self.spans,
            pushing,
            waited,
            drain,
            delivering,
            taken: run.collector.taken(),
            twice: run.collector.twice(),
            dropped: run.dropped,
            unread: run.collector.unread(),
            samples: run.samples,
            log,
        })
    }
}

impl Run<'_> {
    /// A process whose first span has this id.
    fn start(&mut self, first: u64) -> Result<Exporting> {
        self.started += 1;
        let spool = self.temp.file("spool");
        let mut command = Command::new(&self.program);
        command
            .arg("push")
            .arg(format!("{}/v1/traces", self.collector.url()))
            .arg(first.to_string());
        if let Some(bytes) = self.outage.spool {
            command.arg(&spool).arg(bytes.to_string());
        }
        let errors = self.temp.file(&format!("push-{}.err", self.started));
        let mut process = Process::start(&mut command, &errors)?;
        let line = process.line_within(PATIENCE)?;
        ensure!(line == "ready", "{line}: {}", process.complaints());
        let watched = Watched::new(process.pid());
        Ok(Exporting {
            process,
            watched,
            last: Told::default(),
        })
    }

    /// Ends a process, and counts what it dropped.
    fn end(&mut self, mut one: Exporting, how: End) -> Result<()> {
        match how {
            End::Orderly => {
                one.ask("stop")?;
                one.process.close();
            }
            // What it told last was after all that it was handed was on the disk.
            End::Killed => one.process.signal(Signal::SIGKILL)?,
        }
        // The next one gets the spool when this is gone.
        one.process.wait()?;
        for (reason, count) in one.last.lost() {
            match self.dropped.iter_mut().find(|(name, _)| *name == reason) {
                Some((_, all)) => *all += count,
                None => self.dropped.push((reason, count)),
            }
        }
        self.samples.push(one.watched.into_samples());
        Ok(())
    }
}

impl Exporting {
    /// Hands it so many more spans; when this ends they are delivered, dropped or on the disk, or in memory where
    /// there is no disk.
    fn push(&mut self, spans: u64) -> Result<()> {
        let mut left = spans;
        while left > 0 {
            interrupt::check()?;
            let part = left.min(PART);
            self.ask(&format!("push {part}"))?;
            left -= part;
        }
        Ok(())
    }

    fn ask(&mut self, what: &str) -> Result<()> {
        self.process.tell(what)?;
        let line = self.process.line_within(PATIENCE)?;
        self.last = serde_json::from_str(&line).with_context(|| line.clone())?;
        if what != "stop" {
            self.watched.look()?;
        }
        Ok(())
    }
}

impl Told {
    /// Spans that the exporter dropped, by reason.
    fn lost(&self) -> Vec<(&'static str, u64)> {
        let ExportStatus {
            dropped, rejected, ..
        } = &self.status;
        let all = dropped.by_reason().into_iter();
        all.chain([("rejected", *rejected)])
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// Spans of which nothing came yet.
    fn waits(&self) -> u64 {
        let on_disk = self.status.spool.unwrap_or_default().items;
        let dropped: u64 = self.status.dropped.by_reason().iter().map(|(_, n)| n).sum();
        // What an earlier process left is delivered too, and was not handed to this one.
        match self.status.spool {
            Some(_) => on_disk,
            None => self.pushed.saturating_sub(self.status.delivered + dropped),
        }
    }
}
