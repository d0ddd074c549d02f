//! What tracing costs a program, side by side with the in-process peers: the lab's `overhead.py`,
//! round by round, and the arithmetic on what it measured.

use crate::cmd::Cmd;
use crate::{build, paths};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds; each runs every configuration once.
    #[arg(long, default_value_t = 8)]
    rounds: u32,
    /// Requests of each kind per configuration and round.
    #[arg(long, default_value_t = 800)]
    requests: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rounds: 8,
            requests: 800,
        }
    }
}

/// In-process peers, each with the bare program of the same packages.
const PEERS: [(&str, &str); 3] = [
    ("otel", "bare"),
    ("traceloop", "bare"),
    ("genai-openai3", "bare-openai3"),
];
/// The bare programs.
const BARE: [&str; 2] = ["bare", "bare-openai3"];
const PATHS: [(&str, &str, f64); 2] = [("/ask", "plain", 0.10), ("/ask_stream", "stream", 0.25)];

/// One figure per round: by configuration and path.
type Rounds = BTreeMap<(String, String), Vec<f64>>;

/// Runs the rounds and keeps the table.
pub(super) fn run(options: &Options) -> Result<()> {
    let lab = paths::root().join("../shared/lab/overhead.py");
    let home = lab_home()?;
    let python = home.join("venvs/replay/bin/python");
    if !lab.exists() || !python.exists() {
        bail!(
            "this needs the lab beside the repository (../shared/lab) with its environments: \
             `bash ../shared/lab/setup.sh replay overhead`, and its certificates (start `serve.sh \
             replay` once)"
        );
    }
    build::run()?;
    let out = paths::target().join("bench");
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let agent = format!(
        "taskset -c 1 {} trace --pid {{pid}} --format json --output {}",
        paths::binary().display(),
        out.join("overhead-spans.jsonl").display()
    );
    let (mut cpu, mut rate) = (Rounds::new(), Rounds::new());
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        let peers: Vec<&str> = PEERS.iter().map(|(name, _)| *name).collect();
        for (only, agent) in [(BARE.join(","), agent.as_str()), (peers.join(","), "")] {
            let file = out.join("overhead-round.json");
            Cmd::new(&python)
                .arg(&lab)
                .args([
                    "--rounds",
                    "1",
                    "--n",
                    &options.requests.to_string(),
                    "--only",
                    &only,
                ])
                .args(["--agent", agent])
                .arg("--out")
                .arg(&file)
                .logged("bench-overhead")?;
            let text = fs::read_to_string(&file).context("overhead.py left no result")?;
            collect(&serde_json::from_str(&text)?, &mut cpu, &mut rate);
        }
    }
    let table = table(&cpu, &rate, options)?;
    println!("{table}");
    super::keep("overhead", &table)
}

fn lab_home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("LAB_HOME") {
        return Ok(home.into());
    }
    let home = std::env::var_os("HOME").context("HOME is not set")?;
    Ok(PathBuf::from(home).join(".cache/genspan-lab"))
}

fn collect(result: &Value, cpu: &mut Rounds, rate: &mut Rounds) {
    for (config, by_path) in result.as_object().into_iter().flatten() {
        for (path, runs) in by_path.as_object().into_iter().flatten() {
            for run in runs.as_array().into_iter().flatten() {
                let key = (config.clone(), path.clone());
                let number = |name: &str| run.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
                cpu.entry(key.clone()).or_default().push(number("cpu_ms"));
                rate.entry(key).or_default().push(number("rps"));
            }
        }
    }
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    match (values.get(n.saturating_sub(1) / 2), values.get(n / 2)) {
        (Some(a), Some(b)) => f64::midpoint(*a, *b),
        _ => f64::NAN,
    }
}

/// Median over rounds of `f` of the two configurations.
fn paired(
    rounds: &Rounds,
    path: &str,
    one: &str,
    bare: &str,
    f: impl Fn(f64, f64) -> f64,
) -> Result<f64> {
    let get = |name: &str| {
        let key = (name.to_owned(), path.to_owned());
        rounds
            .get(&key)
            .with_context(|| format!("nothing measured of {name}{path}"))
    };
    Ok(median(
        get(one)?
            .iter()
            .zip(get(bare)?)
            .map(|(a, b)| f(*a, *b))
            .collect(),
    ))
}

fn table(cpu: &Rounds, rate: &Rounds, options: &Options) -> Result<String> {
    let mut out = format!(
        "{} rounds, {} requests of each kind per configuration and round, eight clients.\n\n\
         | | kind | bare CPU | added CPU | of bare throughput |\n| --- | --- | ---: | ---: | ---: |\n",
        options.rounds, options.requests
    );
    let mut verdicts = String::new();
    for (path, kind, wanted) in PATHS {
        let mut added = BTreeMap::new();
        let genspan = BARE.map(|bare| (format!("{bare}+agent"), bare.to_owned()));
        let peers = PEERS.map(|(peer, bare)| (peer.to_owned(), bare.to_owned()));
        for (name, bare) in genspan.into_iter().chain(peers) {
            let plus = paired(cpu, path, &name, &bare, |a, b| a - b)?;
            let base = paired(cpu, path, &bare, &bare, |a, _| a)?;
            let share = paired(rate, path, &name, &bare, |a, b| a / b)?;
            let shown = match name.as_str() {
                "bare+agent" => "**genspan** (openai 2)",
                "bare-openai3+agent" => "**genspan** (openai 3)",
                other => other,
            };
            let _ = writeln!(
                out,
                "| {shown} | {kind} | {base:.2} ms | {plus:+.3} ms | {:.0}% |",
                share * 100.0
            );
            added.insert(name, plus);
        }
        let cheapest = PEERS
            .iter()
            .filter_map(|(p, _)| added.get(*p))
            .copied()
            .fold(f64::MAX, f64::min);
        for bare in BARE {
            let ours = added
                .get(&format!("{bare}+agent"))
                .copied()
                .unwrap_or(f64::NAN);
            let _ = writeln!(
                verdicts,
                "- {kind}, {bare}: genspan adds {ours:+.3} ms, {:.0}% of the cheapest peer's {cheapest:.3} \
                 ms (wanted: at most {:.0}%).",
                ours / cheapest * 100.0,
                wanted * 100.0
            );
        }
    }
    Ok(format!("{out}\n{verdicts}"))
}

#[cfg(test)]
mod tests {
    use super::{Rounds, median, paired};

    #[test]
    fn medians_are_of_paired_rounds() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
        let mut rounds = Rounds::new();
        rounds.insert(("a".into(), "/".into()), vec![2.0, 12.0, 3.0]);
        rounds.insert(("b".into(), "/".into()), vec![1.0, 10.0, 1.5]);
        assert_eq!(paired(&rounds, "/", "a", "b", |a, b| a - b).unwrap(), 1.5);
        assert!(paired(&rounds, "/", "a", "c", |a, b| a - b).is_err());
    }
}
