//! Measurements. Each leaves a table below `target/bench`, from which `docs/benchmarks.md` is made.

mod endurance;
mod frameworks;
mod overhead;
mod report;
mod sampled;
mod sockets;

use crate::cmd::{Cmd, log_path, tail};
use crate::{paths, python, setup};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// How long a program may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand)]
enum What {
    /// The pure pipeline on replayed events, per core: calls and streamed chunks per second, and
    /// memory over a million calls.
    Pipeline {
        /// Arguments for the benchmark program, for example a name to filter by.
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// What one TLS read or write costs the traced thread, against empty probes (root).
    Probes,
    /// What tracing costs a program, side by side with the in-process peers (root; needs the lab).
    Overhead(overhead::Options),
    /// What tracing LangChain costs a program, side by side with the in-process peers (root).
    Frameworks(frameworks::Options),
    /// What `genspan agent` misses and holds when many small programs come and go (root). It is no part
    /// of what is measured without a word: it takes as long as it is told to.
    Swarm {
        /// Programs that are started each second.
        #[arg(long, default_value_t = 50)]
        rate: u32,
        /// For how many seconds.
        #[arg(long, default_value_t = 600)]
        seconds: u32,
        /// How many seconds each lives; with the rate this is how many there are at a time.
        #[arg(long, default_value_t = 10)]
        life: u32,
        /// A genspan that is built already.
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
    },
    /// What `genspan agent` loses and holds under a steady load while its collector fails half of the time
    /// (root). It is no part of what is measured without a word: it takes as long as it is told to.
    ///
    /// Two agents trace the same programs: what waits is in the memory of the one, and on the disk of the
    /// other. It fails, and writes nothing, when a call is lost that no counter explains, or when memory or
    /// descriptors grow.
    #[command(verbatim_doc_comment)]
    Soak {
        /// For how many minutes.
        #[arg(default_value_t = 30.0)]
        minutes: f64,
        /// Calls each second.
        #[arg(default_value_t = 200.0)]
        rate: f64,
        /// Instead of that the collector is away once, for these minutes; a minute before, and one after it.
        #[arg(long)]
        outage: bool,
        /// A genspan that is built already.
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
    },
    /// What becomes of an hour's spans while the collector is away.
    ///
    /// They are those of the recordings (needs the lab), and go through the exporter faster than they come in an
    /// hour: with a spool as large as it is by default while the agent is restarted, while it is killed, with a
    /// small spool, and without. Takes some minutes, and 2 GB of the disk. It fails, and writes nothing, when a
    /// span is lost that no counter explains, or when memory grows.
    #[command(verbatim_doc_comment)]
    Outage {
        /// Spans: 200 calls a second for an hour.
        #[arg(default_value_t = 720_000)]
        spans: u64,
    },
    /// What reading plain sockets costs a server, in each way, with spans of plain HTTP requests and
    /// without (root; needs wrk).
    Sockets(sockets::Options),
    /// Makes docs/benchmarks.md anew from what was measured last.
    Report,
}

/// The subcommand; without a choice, all of them.
pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.what {
        None => {
            pipeline(&[])?;
            probes()?;
            overhead::run(&overhead::Options::default())?;
            frameworks::run(&frameworks::Options::default())?;
            sockets::run(&sockets::Options::default())?;
        }
        Some(What::Pipeline { args }) => pipeline(args)?,
        Some(What::Probes) => probes()?,
        Some(What::Overhead(options)) => overhead::run(options)?,
        Some(What::Frameworks(options)) => frameworks::run(options)?,
        Some(What::Swarm {
            rate,
            seconds,
            life,
            binary,
        }) => endurance::swarm([*rate, *seconds, *life], binary.clone())?,
        Some(What::Soak {
            minutes,
            rate,
            outage,
            binary,
        }) => endurance::soak(*minutes, *rate, *outage, binary.clone())?,
        Some(What::Outage { spans }) => endurance::outage(*spans)?,
        Some(What::Sockets(options)) => sockets::run(options)?,
        Some(What::Report) => {}
    }
    report::write()
}

/// Keeps a table for the report.
fn keep(name: &str, table: &str) -> Result<()> {
    let dir = report::dir();
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let file = dir.join(format!("{name}.md"));
    fs::write(&file, table).with_context(|| format!("cannot write {}", file.display()))
}

fn pipeline(args: &[String]) -> Result<()> {
    println!("pipeline: criterion, then a million calls (about a minute after the build)");
    let log = "bench-pipeline";
    Cmd::cargo()
        .args([
            "bench",
            "--package",
            "genspan",
            "--no-default-features",
            "--benches",
            "--",
        ])
        .args(args)
        .logged(log)?;
    let path = log_path(log)?;
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let table = report::pipeline_table(&text);
    println!("{table}");
    if args.is_empty() {
        keep("pipeline", &table)
    } else {
        Ok(())
    }
}

fn probes() -> Result<()> {
    setup::for_building()?;
    crate::ebpf::build(true)?;
    let object = crate::ebpf::build_bench()?;
    let python = python::for_demo()
        .context("no Python 3.8 or later was found")?
        .path;
    println!("probes: bare, empty pair, copying pair, genspan; 24 interleaved rounds a size");
    let table = Cmd::cargo()
        .args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "genspan",
            "--example",
            "probe_cost",
            "--",
        ])
        .arg(&object)
        .arg(python)
        .arg(paths::python_programs().join("tls_pair.py"))
        .read()
        .context("the probes could not be measured: this needs root")?;
    println!("{table}");
    keep("probes", &table)
}

/// Waits until genspan said something; one that does not is killed.
fn wait_for(text: &str, log: &Path, agent: &mut Child) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = fs::read_to_string(log).unwrap_or_default();
        if said.contains(text) {
            return Ok(());
        }
        if Instant::now() > deadline || agent.try_wait()?.is_some() {
            agent.kill().ok();
            agent.wait().ok();
            bail!("genspan did not say `{text}`: {}", tail(&said));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for the end of a program; one that does not end is killed.
fn ended(child: &mut Child) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill().ok();
            child.wait().ok();
            bail!("a program did not end by itself");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
