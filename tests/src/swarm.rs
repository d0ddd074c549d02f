//! Many programs that come and go under an agent: what it missed, and what it held.

use crate::scene::KEY;
use crate::soak::watched::{Sample, Watched, thirds};
use crate::{Agent, Process, Temp, interrupt, memory, programs};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How programs come and go.
#[derive(Clone, Copy, Debug)]
pub struct Swarm {
    /// Programs that are started each second.
    pub rate: f64,
    /// For how many seconds.
    pub seconds: f64,
    /// How many seconds each lives before it makes its call.
    pub life: f64,
}

/// What the agent's process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Resident memory in KiB.
    pub resident: u64,
    /// Open descriptors.
    pub files: u64,
    /// Threads.
    pub threads: u64,
    /// Those of the descriptors that are links of eBPF programs, and events of the kernel's: probes, and
    /// watchpoints.
    pub probes: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Programs that were to be started.
    pub wanted: f64,
    /// Programs that were started.
    pub started: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Most at one time.
    pub most: u64,
    /// Those of which the agent told the call.
    pub told: u64,
    /// Of those, the ones whose call was told more than once.
    pub twice: u64,
    /// Calls that were told with a defect.
    pub incomplete: u64,
    /// What the agent held before.
    pub before: Held,
    /// The most of each.
    pub peak: Held,
    /// When it was quiet again.
    pub after: Held,
    /// How long it took until its descriptors and threads were as before, or it was not waited for any more.
    pub quiet: Duration,
    /// Processor time that the agent used, in seconds.
    pub cpu: f64,
    /// How long it went on, in seconds.
    pub took: f64,
    /// What the agent held at each look while programs came and went at the full number.
    pub samples: Vec<Sample>,
    /// What the agent said.
    pub log: String,
}

/// Those that read the sockets of all processes stay once there were so many that these were taken for it.
const HOST_PROBES: u64 = 6;
/// How often it is told how far it is.
const TELL: Duration = Duration::from_secs(30);
/// This part of the programs that were asked for must have been started: with fewer the machine was too slow.
const ENOUGH: f64 = 0.95;
/// How often the agent is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// With fewer looks than this it is not told whether memory grows.
const MANY_LOOKS: usize = 60;
/// Memory may grow by this part, and by so many KiB, from the first third of the time to the last.
const GROWTH: (u64, u64) = (10, 4 << 10);
/// How long descriptors and threads may take to be given back.
const GIVEN_BACK: Duration = Duration::from_secs(120);
/// So many more than before are as many: an endpoint's connections, files being read.
const FEW: u64 = 16;
/// The same of threads: one that removes probes, and those that answer at the addresses of its state.
const FEW_THREADS: u64 = 3;

/// What a process holds.
///
/// # Errors
///
/// When it ended.
pub fn held(pid: u32) -> Result<Held> {
    let files = || std::fs::read_dir(format!("/proc/{pid}/fd"));
    let is_probe = |path: PathBuf| {
        let kind = std::fs::read_link(path).unwrap_or_default();
        let kind = kind.to_string_lossy();
        kind.ends_with("bpf_link") || kind.ends_with("bpf-link") || kind.contains("[perf_event]")
    };
    Ok(Held {
        resident: memory::resident(pid)?,
        files: files()?.count() as u64,
        threads: std::fs::read_dir(format!("/proc/{pid}/task"))?.count() as u64,
        probes: files()?
            .flatten()
            .filter(|file| is_probe(file.path()))
            .count() as u64,
    })
}

impl Held {
    /// Whether descriptors or threads are more than before, by more than come and go.
    fn holds_more_than(&self, before: &Self) -> bool {
        self.files > before.files + FEW || self.threads > before.threads + FEW_THREADS
    }
}

impl Swarm {
    /// Runs it under an agent.
    ///
    /// # Errors
    ///
    /// When one of them does not work.
    pub fn run(&self, temp: &Temp, python: &Path) -> Result<Outcome> {
        self.run_with(temp, python, &[], |_| {})
    }

    /// The same under an agent with these options more; `tell` is told now and then how far it is.
    ///
    /// # Errors
    ///
    /// When one of them does not work.
    pub fn run_with(
        &self,
        temp: &Temp,
        python: &Path,
        options: &[String],
        tell: fn(&str),
    ) -> Result<Outcome> {
        let program = programs().join("live/swarm.py");
        let mut command = Command::new(python);
        command
            .arg(&program)
            .args([self.rate, self.seconds, self.life].map(|n| n.to_string()))
            .env("OPENAI_API_KEY", KEY);
        let mut swarm = Process::start(&mut command, &temp.file("swarm.err"))?;
        ensure!(swarm.line()? == "ready", "{}", swarm.complaints());
        // Its programs, and not the one that starts them.
        let include = format!("command=* -I -S {}*", program.display());
        let options = options.iter().map(String::as_str);
        let options: Vec<_> = ["--include", &include].into_iter().chain(options).collect();
        let mut agent = Agent::host(temp, &options)?;
        crate::wait_for("the agent to be ready", || {
            (agent.page("/readyz").ok()?.0 == 200).then_some(())
        })?;
        let pid = agent.process.pid();
        std::thread::sleep(Duration::from_secs(1));
        let before = held(pid)?;
        let used = cpu(&mut agent)?;
        let done = Arc::new(AtomicBool::new(false));
        let watch = {
            let done = Arc::clone(&done);
            let mut watched = Watched::new(pid);
            // It is full once the first have ended.
            let full = self.life * 1.5..self.seconds;
            std::thread::spawn(move || {
                let begun = Instant::now();
                let mut told = begun;
                let mut peak = Held::default();
                while !done.load(Ordering::Relaxed) {
                    let now = held(pid).unwrap_or_default();
                    peak.resident = peak.resident.max(now.resident);
                    peak.files = peak.files.max(now.files);
                    peak.threads = peak.threads.max(now.threads);
                    peak.probes = peak.probes.max(now.probes);
                    if full.contains(&begun.elapsed().as_secs_f64()) {
                        watched.look().ok();
                    }
                    if told.elapsed() >= TELL {
                        told = Instant::now();
                        let Held {
                            resident,
                            files,
                            threads,
                            ..
                        } = now;
                        let at = begun.elapsed().as_secs();
                        tell(&format!(
                            "{at} s: {resident} KiB, {files} descriptors, {threads} threads"
                        ));
                    }
                    std::thread::sleep(LOOK);
                }
                (peak, watched.into_samples())
            })
        };
        swarm.tell("go")?;
        // On a machine that has too much to do, what was started last takes its time.
        let most = Duration::from_secs_f64(self.seconds + self.life) + crate::PATIENCE * 6;
        let line = swarm.line_within(most)?;
        let said: Value = serde_json::from_str(&line).context("what the swarm said")?;
        let begun = Instant::now();
        let mut after = held(pid)?;
        let more = |after: &Held| after.holds_more_than(&before);
        while more(&after) && begun.elapsed() < GIVEN_BACK {
            interrupt::check()?;
            std::thread::sleep(Duration::from_millis(200));
            after = held(pid)?;
        }
        let quiet = begun.elapsed();
        done.store(true, Ordering::Relaxed);
        let (peak, samples) = watch.join().unwrap_or_default();
        let used = cpu(&mut agent)? - used;
        let finished = agent.stop()?;
        ensure!(finished.code == 0, "{}", finished.log);
        // Each has a model of its own.
        let mut told: BTreeMap<&str, u64> = BTreeMap::new();
        let mut incomplete = 0;
        let spans = finished.spans.iter();
        for span in spans.filter(|span| span.model().starts_with("swarm-")) {
            *told.entry(span.model()).or_default() += 1;
            incomplete += u64::from(!span.defects().is_empty());
        }
        let number = |name: &str| said[name].as_u64().with_context(|| line.clone());
        Ok(Outcome {
            wanted: self.rate * self.seconds,
            started: number("started")?,
            answered: number("answered")?,
            most: number("most")?,
            told: told.len() as u64,
            twice: told.values().filter(|times| **times > 1).count() as u64,
            incomplete,
            before,
            peak,
            after,
            quiet,
            cpu: used,
            took: said["took"].as_f64().unwrap_or_default(),
            samples,
            log: finished.log,
        })
    }
}

/// Processor time that the agent used so far, as it says itself.
fn cpu(agent: &mut Agent) -> Result<f64> {
    let (_, text) = agent.page("/status")?;
    let status: Value = serde_json::from_str(&text)?;
    status["own"]["cpu_seconds"].as_f64().context("no time")
}

impl Outcome {
    /// What is wrong; nothing where none was missed and nothing stayed.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |wrong: bool, what: String| {
            if wrong {
                faults.push(what);
            }
        };
        check(self.started == 0, "no program was started".to_owned());
        #[expect(clippy::cast_precision_loss, reason = "far fewer")]
        let enough = self.started as f64 >= self.wanted * ENOUGH;
        let (started, wanted) = (self.started, self.wanted);
        check(
            !enough,
            format!(
                "{started} of {wanted:.0} programs were started: this machine is too slow for the rate"
            ),
        );
        let Self {
            started,
            answered,
            told,
            twice,
            incomplete,
            before,
            after,
            ..
        } = self;
        check(
            answered != started,
            format!("{answered} of {started} programs were answered"),
        );
        check(
            told != answered,
            format!(
                "{} of {answered} were missed",
                answered.saturating_sub(*told)
            ),
        );
        check(*twice > 0, format!("{twice} were told more than once"));
        check(
            *incomplete > 0,
            format!("{incomplete} calls were incomplete"),
        );
        check(
            after.holds_more_than(before),
            format!(
                "descriptors {} → {}, threads {} → {} when all were gone",
                before.files, after.files, before.threads, after.threads
            ),
        );
        check(
            after.probes > before.probes + HOST_PROBES,
            format!(
                "probes {} → {} when all were gone",
                before.probes, after.probes
            ),
        );
        let [first, last] = thirds(&self.samples);
        let (part, more) = GROWTH;
        check(
            self.samples.len() >= MANY_LOOKS && last.0 > first.0 + first.0 / part + more,
            format!(
                "memory grew from {} to {} KiB while as many ran",
                first.0, last.0
            ),
        );
        faults
    }

    /// As a table for the benchmarks.
    #[must_use]
    pub fn table(&self) -> String {
        let [first, last] = thirds(&self.samples);
        let Self {
            before,
            peak,
            after,
            ..
        } = self;
        let row = |name: &str, of: fn(&Held) -> u64| {
            format!(
                "| {name} | {} | {} | {} |\n",
                of(before),
                of(peak),
                of(after)
            )
        };
        format!(
            "{} programs in {:.0} s, {} at most at a time: {} answered, {} told, {} of them incomplete. The agent \
             used {:.2} cores. Its memory was {} KiB in the first third of the time at the full number, {} in the \
             last (medians); what it holds was given back {:.0} s after the last program.\n\n\
             | | before | most | after |\n| --- | ---: | ---: | ---: |\n{}{}{}{}",
            self.started,
            self.took,
            self.most,
            self.answered,
            self.told,
            self.incomplete,
            self.cpu / self.took.max(1.0),
            first.0,
            last.0,
            self.quiet.as_secs_f64(),
            row("memory, KiB", |h| h.resident),
            row("descriptors", |h| h.files),
            row("probes and watchpoints among them", |h| h.probes),
            row("threads", |h| h.threads),
        )
    }

    /// In a line.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{} started in {:.0} s, {} at most at a time, {} answered: {} told ({} incomplete); {:.1} s of CPU; \
             KiB {} → {} → {}, files {} → {} → {} (after {:.0} s), threads {} → {} → {}",
            self.started,
            self.took,
            self.most,
            self.answered,
            self.told,
            self.incomplete,
            self.cpu,
            self.before.resident,
            self.peak.resident,
            self.after.resident,
            self.before.files,
            self.peak.files,
            self.after.files,
            self.quiet.as_secs_f64(),
            self.before.threads,
            self.peak.threads,
            self.after.threads,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{FEW, FEW_THREADS, HOST_PROBES, Held, Outcome};
    use crate::soak::watched::Sample;
    use std::time::Duration;

    fn good() -> Outcome {
        let held = Held {
            resident: 30_000,
            files: 100,
            threads: 8,
            probes: 20,
        };
        Outcome {
            wanted: 100.0,
            started: 100,
            answered: 100,
            most: 20,
            told: 100,
            twice: 0,
            incomplete: 0,
            before: held,
            peak: Held { files: 900, ..held },
            after: Held {
                files: held.files + FEW,
                threads: held.threads + FEW_THREADS,
                probes: held.probes + HOST_PROBES,
                ..held
            },
            quiet: Duration::from_secs(1),
            cpu: 1.0,
            took: 10.0,
            samples: vec![
                Sample {
                    resident: 30_000,
                    ..Sample::default()
                };
                90
            ],
            log: String::new(),
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert_eq!(good().faults(), Vec::<String>::new());
        let check = |change: &dyn Fn(&mut Outcome), want: &[&str]| {
            let mut changed = good();
            change(&mut changed);
            let faults = changed.faults();
            assert_eq!(faults.len(), want.len(), "{faults:?}");
            for (fault, want) in faults.iter().zip(want) {
                assert!(fault.contains(want), "{faults:?}: {want}");
            }
        };
        // None was wanted, and none came.
        check(
            &|o| (o.wanted, o.started, o.answered, o.told) = (0.0, 0, 0, 0),
            &["no program was started"],
        );
        check(&|o| o.wanted = 106.0, &["100 of 106 programs were started"]);
        check(
            &|o| (o.answered, o.told) = (99, 99),
            &["99 of 100 programs were answered"],
        );
        check(&|o| o.told = 98, &["2 of 100 were missed"]);
        check(&|o| o.twice = 3, &["3 were told more than once"]);
        check(&|o| o.incomplete = 4, &["4 calls were incomplete"]);
        check(&|o| o.after.files += 1, &["descriptors 100 → 117"]);
        check(&|o| o.after.threads += 1, &["threads 8 → 12"]);
        check(&|o| o.after.probes += 1, &["probes 20 → 27"]);
        check(
            &|o| {
                let late = o.samples.iter_mut().skip(60);
                late.for_each(|sample| sample.resident = 37_097);
            },
            &["memory grew from 30000 to 37097 KiB"],
        );
    }
}
