//! What tracing LangChain costs a program, side by side with the in-process instrumentations: each
//! program is measured bare first, then with one of them, so that both figures are of one process.

use super::{ended, wait_for};
use crate::cmd::{Cmd, log_path, tail};
use crate::progress::step;
use crate::venv::{self, Environment, Python, environment};
use crate::{build, paths};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds; each runs every configuration once.
    #[arg(long, default_value_t = 8)]
    rounds: u32,
    /// Chains of each kind per configuration and round.
    #[arg(long, default_value_t = 1000)]
    chains: u32,
    /// A genspan that is built already [default: the release binary, built when it is not new]
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Options of `genspan trace`, to see what a part of it costs.
    #[arg(last = true)]
    genspan: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rounds: 8,
            chains: 1000,
            binary: None,
            genspan: Vec::new(),
        }
    }
}

/// What the traced program runs in.
const PACKAGES: Environment = environment(
    "bench-langchain",
    Python::Version((3, 12)),
    &[
        "langchain-core",
        "opentelemetry-sdk",
        "opentelemetry-exporter-otlp-proto-http",
        "opentelemetry-instrumentation-langchain",
        "openinference-instrumentation-langchain",
    ],
);

/// What is compared, genspan first; the others as `chain_load.py` knows them.
const CONFIGURATIONS: [&str; 3] = ["genspan", "openllmetry", "openinference"];
/// Kinds of chains: `chain.invoke`, `chain.ainvoke`.
const KINDS: [&str; 2] = ["sync", "async"];
/// Runs of a chain.
const RUNS: u32 = 4;
/// Chains before anything is measured, for an interpreter that adapts to what it runs.
const WARM: u32 = 100;
/// Clock ticks of `/proc/PID/stat` per second.
const TICKS: f64 = 100.0;

/// What was measured of a kind in one round.
#[derive(Clone, Copy, Debug, Default)]
struct Figure {
    /// CPU time of the process, in microseconds per chain: bare, and with the configuration.
    bare: f64,
    with: f64,
    /// Median time of a chain, the same way.
    bare_median: f64,
    median: f64,
    /// CPU time of genspan's own process.
    agent: f64,
}

/// By configuration and kind, one for each round.
type Figures = BTreeMap<(&'static str, &'static str), Vec<Figure>>;

/// Runs the rounds and keeps the table.
pub(super) fn run(options: &Options) -> Result<()> {
    let interpreter = PACKAGES.interpreter()?;
    if !PACKAGES.is_ready(&interpreter) {
        step("making the environment of the benchmark", || {
            PACKAGES.make(&interpreter)
        })?;
    }
    let binary = match &options.binary {
        Some(binary) => {
            fs::canonicalize(binary).with_context(|| format!("there is no {}", binary.display()))?
        }
        None => build::run()?,
    };
    let mut sink = Program::start(&["--sink"], "1")?;
    let url = format!("http://127.0.0.1:{}", sink.line()?.trim());
    let mut figures = Figures::new();
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        for name in CONFIGURATIONS {
            let both = if name == "genspan" {
                ours(options, &binary)?
            } else {
                peers(options, name, (&mut sink, &url))?
            };
            for (kind, figure) in KINDS.into_iter().zip(both) {
                figures.entry((name, kind)).or_default().push(figure);
            }
        }
    }
    let table = table(&figures, options);
    println!("{table}");
    if options.genspan.is_empty() {
        super::keep("frameworks", &table)?;
    }
    Ok(())
}

/// The program, or what takes the spans of the in-process instrumentations.
struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(args: &[&str], processor: &str) -> Result<Self> {
        let mut child = Cmd::new("taskset")
            .args(["-c", processor])
            .arg(venv::interpreter_of(PACKAGES.name))
            .arg(paths::python_programs().join("chain_load.py"))
            .args(args)
            .spawn(|c| {
                c.stdin(Stdio::piped()).stdout(Stdio::piped());
            })?;
        let input = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    /// One that is warm, and its figures.
    fn bare(options: &Options) -> Result<(Self, [Figure; 2])> {
        let mut program = Self::start(&[], "0")?;
        program.line()?;
        program.warm()?;
        let mut figures = [Figure::default(); 2];
        for (figure, kind) in figures.iter_mut().zip(KINDS) {
            (figure.bare, figure.bare_median) = program.measured(options, kind)?;
        }
        Ok((program, figures))
    }

    fn warm(&mut self) -> Result<()> {
        for kind in KINDS {
            self.told(&format!("run {kind} {WARM}"))?;
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(
            !line.is_empty(),
            "the program ended; its complaint is above"
        );
        Ok(line)
    }

    fn told(&mut self, command: &str) -> Result<Value> {
        writeln!(self.input, "{command}").context("the program ended")?;
        Ok(serde_json::from_str(&self.line()?)?)
    }

    /// CPU time and median time of a chain.
    fn measured(&mut self, options: &Options, kind: &str) -> Result<(f64, f64)> {
        let told = self.told(&format!("run {kind} {}", options.chains))?;
        let number = |name: &str| told[name].as_f64().context("a figure is missing");
        Ok((number("cpu_us")?, number("median_us")?))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Measured bare, then with an in-process instrumentation.
fn peers(options: &Options, name: &str, (sink, url): (&mut Program, &str)) -> Result<[Figure; 2]> {
    let (mut program, mut figures) = Program::bare(options)?;
    let before = sink.told("")?.as_u64();
    program.told(&format!("instrument {name} {url}"))?;
    program.warm()?;
    for (figure, kind) in figures.iter_mut().zip(KINDS) {
        (figure.with, figure.median) = program.measured(options, kind)?;
    }
    let exported = sink.told("")?.as_u64() > before;
    ensure!(exported, "{name} exported nothing");
    Ok(figures)
}

/// Measured bare, then traced by genspan.
fn ours(options: &Options, binary: &Path) -> Result<[Figure; 2]> {
    let (mut program, mut figures) = Program::bare(options)?;
    let log = log_path("bench-frameworks-genspan")?;
    let spans = paths::target().join("bench/frameworks-spans.jsonl");
    fs::create_dir_all(paths::target().join("bench"))?;
    let errors = File::create(&log)?;
    let mut agent = Cmd::new("taskset")
        .args(["-c", "1"])
        .arg(binary)
        .args(["trace", "--pid", &program.child.id().to_string()])
        .args(["--format", "json", "--output"])
        .arg(&spans)
        .args(&options.genspan)
        .spawn(|c| {
            c.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        })?;
    let result = (|| {
        if options.genspan.is_empty() {
            wait_for("watching LangChain", &log, &mut agent)?;
        } else {
            std::thread::sleep(Duration::from_secs(3));
        }
        program.warm()?;
        for (figure, kind) in figures.iter_mut().zip(KINDS) {
            let spent = cpu_time(agent.id())?;
            (figure.with, figure.median) = program.measured(options, kind)?;
            // What it has not looked at yet belongs to it.
            std::thread::sleep(Duration::from_millis(500));
            figure.agent = 1e6 * (cpu_time(agent.id())? - spent) / f64::from(options.chains);
        }
        Ok(figures)
    })();
    // It ends with what it traces.
    drop(program);
    ended(&mut agent)?;
    let told = fs::read_to_string(&spans).unwrap_or_default();
    let told = told.lines().count() as u64;
    let kinds = KINDS.len() as u64;
    let made = kinds * u64::from(RUNS * (WARM + options.chains));
    ensure!(
        result.is_err() || !options.genspan.is_empty() || told == made,
        "genspan told {told} spans of {made} runs: {}",
        tail(&fs::read_to_string(&log).unwrap_or_default())
    );
    result
}

/// CPU time that a process has spent, in seconds.
fn cpu_time(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no such process")?;
    // The state is the third field, `utime` and `stime` are the 14th and 15th.
    let ticks = fields.split_whitespace().skip(11).take(2);
    Ok(ticks.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / TICKS)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    super::overhead::median(values.collect())
}

fn table(figures: &Figures, options: &Options) -> String {
    let mut out = format!(
        "{} rounds, {} chains per configuration, kind and round.\n\n\
         | | chain | bare CPU | added CPU | bare median | added to the median | own process |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
        options.rounds, options.chains
    );
    let mut verdicts = String::new();
    for kind in KINDS {
        let mut added = Vec::new();
        for name in CONFIGURATIONS {
            let all = figures.get(&(name, kind)).map_or(&[][..], Vec::as_slice);
            let of = |f: fn(&Figure) -> f64| median(all.iter().map(f));
            let plus = of(|f| f.with - f.bare);
            added.push(plus);
            let (shown, own) = match name {
                "genspan" => ("**genspan**", format!("{:.0} µs", of(|f| f.agent))),
                name => (name, "none".to_owned()),
            };
            let _ = writeln!(
                out,
                "| {shown} | {kind} | {:.0} µs | {plus:+.0} µs | {:.0} µs | {:+.0} µs | {own} |",
                of(|f| f.bare),
                of(|f| f.bare_median),
                of(|f| f.median - f.bare_median),
            );
        }
        if let [ours, peers @ ..] = added.as_slice() {
            let cheapest = peers.iter().copied().fold(f64::MAX, f64::min);
            let _ = writeln!(
                verdicts,
                "- {kind}: genspan adds {ours:+.0} µs, {:.0}% of the cheapest peer's {cheapest:.0} µs.",
                ours / cheapest * 100.0
            );
        }
    }
    format!("{out}\n{verdicts}")
}

#[cfg(test)]
mod tests {
    use super::{Figure, Figures, Options, table};

    #[test]
    fn what_is_added_is_the_median_of_each_rounds_difference() {
        let mut figures = Figures::new();
        for (name, plus) in [
            ("genspan", 1.0),
            ("openllmetry", 4.0),
            ("openinference", 8.0),
        ] {
            // A slow round counts as the others do.
            let rounds = [(10.0, 10.0), (20.0, 30.0), (1000.0, 50.0)];
            let all = rounds.map(|(bare, more)| Figure {
                bare,
                with: bare + plus * more,
                bare_median: bare,
                median: bare + 1.0,
                agent: 7.0,
            });
            figures.insert((name, "sync"), all.to_vec());
        }
        let text = table(&figures, &Options::default());
        let row = "| **genspan** | sync | 20 µs | +30 µs | 20 µs | +1 µs | 7 µs |";
        assert!(text.contains(row), "{text}");
        let verdict = "sync: genspan adds +30 µs, 25% of the cheapest peer's 120 µs.";
        assert!(text.contains(verdict), "{text}");
    }
}
