//! A steady load for a long time, under agents whose collector fails half of the time: what they lost, and
//! what they held.

pub mod collector;
pub mod phases;
pub mod verdict;
pub mod watched;

use crate::scene::KEY;
use crate::{Agent, PATIENCE, Process, Provider, Temp, interrupt, programs};
use anyhow::{Context as _, Result, ensure};
use collector::{Collector, Mode};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use watched::{Sample, Watched};

/// How long it goes on, and how fast.
#[derive(Clone, Debug)]
pub struct Soak {
    /// For how many seconds.
    pub seconds: f64,
    /// Calls a second, of all programs.
    pub rate: f64,
    /// From when on the collectors behave how, in seconds from the start.
    pub phases: Vec<(f64, Mode)>,
}

/// Programs that make the calls.
const PROGRAMS: u32 = 4;
/// How long the agents may take to deliver what waits, once the collector takes it.
const DRAIN: Duration = Duration::from_secs(120);
/// How often the agents are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is told how far it is, besides each time the collector behaves otherwise.
const TELL: Duration = Duration::from_secs(60);

/// An agent with a collector of its own.
struct Side {
    name: &'static str,
    agent: Agent,
    collector: Collector,
    watched: Watched,
    // Last: what is above uses it.
    _temp: Temp,
}

/// What came of one agent.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which: how it keeps what waits.
    pub name: &'static str,
    /// Calls that it told, and those of them of which something was missing.
    pub told: u64,
    /// As above.
    pub incomplete: u64,
    /// Spans that its collector acknowledged, each once, and those that came again after that.
    pub taken: u64,
    /// As above.
    pub twice: u64,
    /// Spans that it says it dropped, by reason.
    pub dropped: Vec<(String, u64)>,
    /// Other losses that it counted.
    pub losses: Vec<(String, u64)>,
    /// Requests that the collector could not read.
    pub unread: u64,
    /// What it held at each look.
    pub samples: Vec<Sample>,
    /// What it said.
    pub log: String,
}

/// What came of all.
#[derive(Clone, Debug)]
pub struct Report {
    /// How long the load was, in seconds.
    pub seconds: f64,
    /// For how much of that the collector failed.
    pub failing: f64,
    /// Calls that were made, and those that failed.
    pub calls: u64,
    /// As above.
    pub failed: u64,
    /// Processor time of programs and provider, in seconds.
    pub load_cpu: f64,
    /// Of each agent.
    pub outcomes: Vec<Outcome>,
}

impl Soak {
    /// A collector that fails half of the time, in each way.
    #[must_use]
    pub fn failing(seconds: f64, rate: f64) -> Self {
        Self {
            seconds,
            rate,
            phases: phases::phases(seconds),
        }
    }

    /// A collector that is away once, for so many seconds.
    #[must_use]
    pub fn outage(seconds: f64, rate: f64) -> Self {
        let (phases, seconds) = phases::outage(seconds);
        Self {
            seconds,
            rate,
            phases,
        }
    }

    /// Runs it; `tell` is told how far it is.
    ///
    /// # Errors
    ///
    /// When one of the programs does not work.
    pub fn run(&self, python: &Path, tell: &mut dyn FnMut(&str)) -> Result<Report> {
        let temp = Temp::new()?;
        let program = programs().join("live/soak_provider.py");
        let provider = Provider::start_program(&temp, python, &program, "soak-provider")?;
        let rate = self.rate / f64::from(PROGRAMS);
        let mut load = Vec::new();
        for number in 0..PROGRAMS {
            let mut command = Command::new(python);
            command
                .arg(programs().join("live/soak_load.py"))
                .args([provider.port.to_string(), rate.to_string()])
                .arg(provider.authority())
                .env("OPENAI_API_KEY", KEY)
                .env("APSARA_APM_APP_TYPE", "app");
            let mut one = Process::start(&mut command, &temp.file(&format!("load-{number}.err")))?;
            ensure!(one.line()? == "ready", "{}", one.complaints());
            load.push(one);
        }
        let mut sides = [side("memory", false)?, side("disk", true)?];
        for side in &mut sides {
            for one in &load {
                side.agent.wait_attached(one.pid())?;
            }
        }
        let pids: Vec<u32> = load
            .iter()
            .map(Process::pid)
            .chain([provider.pid()])
            .collect();
        let cpu = |pids: &[u32]| {
            pids.iter()
                .filter_map(|pid| watched::cpu(*pid).ok())
                .sum::<f64>()
        };
        let before = cpu(&pids);
        for one in &mut load {
            one.tell("go")?;
        }
        let failing = self.under_load(&mut sides, tell)?;
        for one in &mut load {
            one.tell("stop")?;
        }
        let (mut calls, mut failed) = (0, 0);
        for one in &mut load {
            let said: Value = serde_json::from_str(&one.line()?)?;
            calls += said["calls"].as_u64().context("no calls")?;
            failed += said["failed"].as_u64().context("no failed")?;
        }
        let load_cpu = cpu(&pids) - before;
        tell("the load is over; what waits is delivered");
        let mut outcomes = Vec::new();
        for side in sides {
            outcomes.push(side.end()?);
        }
        Ok(Report {
            seconds: self.seconds,
            failing,
            calls,
            failed,
            load_cpu,
            outcomes,
        })
    }

    /// Has the collectors fail in their time, and looks at the agents; for how long they failed.
    fn under_load(&self, sides: &mut [Side; 2], tell: &mut dyn FnMut(&str)) -> Result<f64> {
        let begun = Instant::now();
        let mut phases = self.phases.iter().copied().peekable();
        let (mut mode, mut since, mut failing) = (Mode::Well, 0.0, 0.0);
        let mut told = begun;
        loop {
            interrupt::check()?;
            let now = begun.elapsed().as_secs_f64();
            let next = phases.next_if(|(at, _)| *at <= now);
            if next.is_some() || now >= self.seconds {
                if mode != Mode::Well {
                    failing += now - since;
                }
                (since, mode) = (now, next.map_or(Mode::Well, |(_, mode)| mode));
                sides.iter().for_each(|side| side.collector.set(mode));
            }
            for side in sides.iter_mut() {
                ensure!(
                    !side.agent.process.has_ended()?,
                    "the agent ended: {}",
                    side.agent.log()
                );
                side.watched.look()?;
            }
            if next.is_some() || told.elapsed() >= TELL {
                told = Instant::now();
                let all: Vec<_> = sides.iter().map(Side::line).collect();
                let line = format!(
                    "{now:.0} of {:.0} s, the collector {}: ",
                    self.seconds,
                    mode.name()
                );
                tell(&(line + &all.join("; ")));
            }
            if now >= self.seconds {
                return Ok(failing);
            }
            std::thread::sleep(LOOK);
        }
    }
}

fn side(name: &'static str, spool: bool) -> Result<Side> {
    let temp = Temp::new()?;
    let collector = Collector::start()?;
    let endpoint = format!(
        "include: ['command=*/soak_load.py *']\nexport:\n  endpoints:\n    - url: {}\n      signals: [traces]\n",
        collector.url()
    );
    let config = temp.file("rules.yaml");
    std::fs::write(&config, endpoint)?;
    let config = config.display().to_string();
    let directory = temp.file("spool").display().to_string();
    let mut options = vec!["--config", config.as_str()];
    if spool {
        options.extend(["--spool", directory.as_str()]);
    }
    let agent = Agent::host_without_output(&temp, &options)?;
    let watched = Watched::new(agent.process.pid());
    Ok(Side {
        name,
        agent,
        collector,
        watched,
        _temp: temp,
    })
}

impl Side {
    /// How it stands, in words.
    fn line(&self) -> String {
        let (taken, last) = (self.collector.taken(), self.watched.last());
        format!(
            "{}: {taken} delivered, {} MiB",
            self.name,
            last.resident >> 10
        )
    }

    fn status(&mut self) -> Result<Value> {
        Ok(serde_json::from_str(&self.agent.page("/status")?.1)?)
    }

    /// Waits until all that waits is delivered, and ends the agent.
    fn end(mut self) -> Result<Outcome> {
        let begun = Instant::now();
        let mut status = self.status()?;
        loop {
            let number = |at: &str| status.pointer(at).and_then(Value::as_u64).unwrap_or(0);
            let spans = number("/counts/spans");
            let lost: u64 = dropped(&status).iter().map(|(_, count)| count).sum();
            let waits = spans > self.collector.taken() + lost;
            if !waits || begun.elapsed() > DRAIN {
                break;
            }
            interrupt::check()?;
            std::thread::sleep(Duration::from_millis(200));
            status = self.status()?;
        }
        // What is counted last is told a moment later.
        std::thread::sleep(Duration::from_secs(1));
        status = self.status()?;
        let number = |at: &str| status.pointer(at).and_then(Value::as_u64).unwrap_or(0);
        let losses = status["losses"].as_array().cloned().unwrap_or_default();
        let losses = losses
            .iter()
            .filter_map(|loss| Some((loss["what"].as_str()?.to_owned(), loss["count"].as_u64()?)));
        let outcome = Outcome {
            name: self.name,
            told: number("/counts/calls"),
            incomplete: number("/counts/calls_incomplete"),
            taken: self.collector.taken(),
            twice: self.collector.twice(),
            dropped: dropped(&status),
            losses: losses.collect(),
            unread: self.collector.unread(),
            samples: self.watched.into_samples(),
            log: self.agent.log(),
        };
        let finished = self.agent.stop()?;
        ensure!(finished.code == 0, "{}", finished.log);
        ensure!(
            begun.elapsed() < DRAIN + PATIENCE * 2,
            "{} took too long to end",
            self.name
        );
        Ok(outcome)
    }
}

/// What the agent says it dropped on the way to its endpoint, by reason.
fn dropped(status: &Value) -> Vec<(String, u64)> {
    let exports = status["exports"].as_array().cloned().unwrap_or_default();
    let mut all = Vec::new();
    for export in exports.iter().filter(|export| export["signal"] == "traces") {
        let reasons = export["dropped"].as_object().cloned().unwrap_or_default();
        all.extend(
            reasons
                .into_iter()
                .filter_map(|(name, count)| Some((name, count.as_u64()?))),
        );
        all.push((
            "rejected".to_owned(),
            export["rejected"].as_u64().unwrap_or(0),
        ));
    }
    all.retain(|(_, count)| *count > 0);
    all
}
