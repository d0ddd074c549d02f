//! What tracing costs a program with LangChain, and one with FastAPI, side by side with the in-process
//! instrumentations: each program is measured bare first, then with one of them, so that both figures are
//! of one process.

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
    /// Chains of each kind, and requests, per configuration and round.
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
        "fastapi",
        "uvicorn",
        "openai",
        "opentelemetry-instrumentation-fastapi",
        "opentelemetry-instrumentation-openai",
        "openinference-instrumentation-openai",
    ],
);

/// What is compared, genspan first; the others as `chain_load.py` knows them.
const CONFIGURATIONS: [&str; 3] = ["genspan", "openllmetry", "openinference"];
/// Kinds of chains: `chain.invoke`, `chain.ainvoke`.
const KINDS: [&str; 2] = ["sync", "async"];
/// The kind of the other program: requests to a FastAPI application that calls a model.
const WEB: &str = "fastapi";
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
            let figure = if name == "genspan" {
                our_web(options, &binary, (&mut sink, &url))?
            } else {
                peer_web(options, name, (&mut sink, &url))?
            };
            figures.entry((name, WEB)).or_default().push(figure);
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
    /// Of the application: where it is to be asked.
    port: String,
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
            port: String::new(),
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

/// The same of the application.
fn peer_web(options: &Options, name: &str, (sink, url): (&mut Program, &str)) -> Result<Figure> {
    let (mut program, mut figure) = bare_web(options, sink, url)?;
    writeln!(program.input, "instrument {name} {url}").context("the program ended")?;
    let port = program.line()?;
    (figure.with, figure.median) = driven(options, &mut program, sink, &port)?;
    Ok(figure)
}

/// The application, traced by genspan.
fn our_web(options: &Options, binary: &Path, (sink, url): (&mut Program, &str)) -> Result<Figure> {
    let (mut program, mut figure) = bare_web(options, sink, url)?;
    let traced = Traced::start(options, binary, &program, "tracing ")?;
    let port = program.port.clone();
    let before = cpu_time(traced.agent.id())?;
    (figure.with, figure.median) = driven(options, &mut program, sink, &port)?;
    std::thread::sleep(LAST);
    let spent = cpu_time(traced.agent.id())? - before;
    figure.agent = 1e6 * spent / f64::from(WARM + options.chains);
    drop(program);
    // The request, and the call in it.
    traced.told(options, 2 * u64::from(WARM + options.chains))?;
    Ok(figure)
}

/// The application, and its figures.
fn bare_web(options: &Options, sink: &mut Program, url: &str) -> Result<(Program, Figure)> {
    let mut program = Program::start(&["--web", url], "0")?;
    program.port = program.line()?;
    let port = program.port.clone();
    let mut figure = Figure::default();
    (figure.bare, figure.bare_median) = driven(options, &mut program, sink, &port)?;
    Ok((program, figure))
}

/// CPU time and median time of a request, when it is warm.
fn driven(
    options: &Options,
    program: &mut Program,
    sink: &mut Program,
    port: &str,
) -> Result<(f64, f64)> {
    let port = port.trim();
    let number = |value: Value| value.as_f64().context("a figure is missing");
    number(sink.told(&format!("drive {port} {WARM}"))?)?;
    let before = number(program.told("cpu")?)?;
    let median = number(sink.told(&format!("drive {port} {}", options.chains))?)?;
    let spent = number(program.told("cpu")?)? - before;
    Ok((spent / f64::from(options.chains), median))
}

/// Until genspan has looked at what came last.
const LAST: Duration = Duration::from_millis(500);

/// genspan while it traces one of the programs.
struct Traced {
    agent: Child,
    log: PathBuf,
    spans: PathBuf,
}

impl Traced {
    /// Starts it, and waits until its log has that line.
    fn start(options: &Options, binary: &Path, program: &Program, line: &str) -> Result<Self> {
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
        if options.genspan.is_empty() {
            wait_for(line, &log, &mut agent)?;
        } else {
            std::thread::sleep(Duration::from_secs(3));
        }
        Ok(Self { agent, log, spans })
    }

    /// It ends with what it traces, and has told so many spans.
    fn told(mut self, options: &Options, made: u64) -> Result<()> {
        ended(&mut self.agent)?;
        let told = fs::read_to_string(&self.spans).unwrap_or_default();
        let told = told.lines().count() as u64;
        ensure!(
            !options.genspan.is_empty() || told == made,
            "genspan told {told} spans of {made}: {}",
            tail(&fs::read_to_string(&self.log).unwrap_or_default())
        );
        Ok(())
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.agent.kill().ok();
        self.agent.wait().ok();
    }
}

/// Measured bare, then traced by genspan.
fn ours(options: &Options, binary: &Path) -> Result<[Figure; 2]> {
    let (mut program, mut figures) = Program::bare(options)?;
    let traced = Traced::start(options, binary, &program, "watching LangChain")?;
    program.warm()?;
    for (figure, kind) in figures.iter_mut().zip(KINDS) {
        let spent = cpu_time(traced.agent.id())?;
        (figure.with, figure.median) = program.measured(options, kind)?;
        // What it has not looked at yet belongs to it.
        std::thread::sleep(LAST);
        let spent = cpu_time(traced.agent.id())? - spent;
        figure.agent = 1e6 * spent / f64::from(options.chains);
    }
    drop(program);
    let kinds = KINDS.len() as u64;
    traced.told(options, kinds * u64::from(RUNS * (WARM + options.chains)))?;
    Ok(figures)
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
        "{} rounds, {} chains or requests per configuration, kind and round.\n\n\
         | | what | bare CPU | added CPU | bare median | added to the median | own process |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
        options.rounds, options.chains
    );
    let mut verdicts = String::new();
    for kind in KINDS.into_iter().chain([WEB]) {
        let mut added = Vec::new();
        let mut later = Vec::new();
        for name in CONFIGURATIONS {
            let all = figures.get(&(name, kind)).map_or(&[][..], Vec::as_slice);
            let of = |f: fn(&Figure) -> f64| median(all.iter().map(f));
            let plus = of(|f| f.with - f.bare);
            added.push(plus);
            later.push(of(|f| f.median - f.bare_median));
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
        for (what, all) in [("CPU time", added), ("the median time", later)] {
            if let [ours, peers @ ..] = all.as_slice() {
                let cheapest = peers.iter().copied().fold(f64::MAX, f64::min);
                let _ = writeln!(
                    verdicts,
                    "- {kind}: genspan adds {ours:+.0} µs to {what}, {:.0}% of the cheapest peer's \
                     {cheapest:.0} µs.",
                    ours / cheapest * 100.0
                );
            }
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
        let verdict = "sync: genspan adds +30 µs to CPU time, 25% of the cheapest peer's 120 µs.";
        assert!(text.contains(verdict), "{text}");
    }
}
