//! What reading plain sockets costs a server that makes no model calls: `wrk` against the smallest
//! application, bare and traced in each way, interleaved.

use super::sampled::{self, Doing, Shares};
use super::{ended, wait_for};
use crate::cmd::{Cmd, find, log_path, tail};
use crate::{build, paths, venv};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds; each runs every configuration once.
    #[arg(long, default_value_t = 8)]
    rounds: u32,
    /// Seconds of load for each configuration and size.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// The servers: uvicorn (asyncio and h11), uvloop (uvicorn with uvloop and httptools).
    #[arg(long, value_delimiter = ',', default_values = SERVERS)]
    servers: Vec<String>,
    /// A genspan that is built already [default: the release binary, built when it is not new]
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Also sample the servers, to tell what their time goes to (needs perf).
    #[arg(long)]
    profile: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rounds: 8,
            seconds: 2,
            servers: SERVERS.map(str::to_owned).into(),
            binary: None,
            profile: false,
        }
    }
}

/// Servers, as `asgi_bare.py` knows them.
const SERVERS: [&str; 2] = ["uvicorn", "uvloop"];
/// What is compared: a name, and genspan's options; the first is without it.
const CONFIGURATIONS: [(&str, &[&str]); 6] = [
    ("bare", &[]),
    (
        "tracepoints, no contexts",
        &[
            "--sockets",
            "tracepoints",
            "--http-spans",
            "off",
            "--no-python",
        ],
    ),
    (
        "libc, no contexts",
        &["--sockets", "libc", "--http-spans", "off", "--no-python"],
    ),
    (
        "libc, no contexts, HTTP spans",
        &["--sockets", "libc", "--http-spans", "on", "--no-python"],
    ),
    ("libc", &["--sockets", "libc", "--http-spans", "off"]),
    (
        "libc, HTTP spans",
        &["--sockets", "libc", "--http-spans", "on"],
    ),
];
/// Sizes of the answer, as paths of `asgi_bare.py`.
const SIZES: [&str; 2] = ["small", "large"];
/// Connections of the load, which are kept.
const CONNECTIONS: u32 = 8;

/// What was measured of a configuration and a size in one round.
#[derive(Clone, Copy, Debug)]
struct Figure {
    /// CPU time of the server, in microseconds per request.
    cpu: f64,
    /// CPU time of genspan's own process, the same way.
    own: f64,
    /// Requests per second.
    rate: f64,
}

/// What a server's time goes to, for each request of the first size, in microseconds.
struct Profile {
    server: String,
    name: &'static str,
    rate: f64,
    cpu: f64,
    shares: Shares,
}

/// By server, configuration and size, one for each round.
type Figures = BTreeMap<(String, &'static str, &'static str), Vec<Figure>>;

/// Runs the rounds and keeps the table.
pub(super) fn run(options: &Options) -> Result<()> {
    ensure!(
        find("wrk").is_some(),
        "this needs wrk (on Debian and Ubuntu: apt-get install wrk)"
    );
    let python = venv::interpreter_of("servers");
    ensure!(
        python.is_file(),
        "this needs the environment `servers`: cargo xtask setup --tests"
    );
    for server in &options.servers {
        ensure!(
            SERVERS.contains(&server.as_str()),
            "{server} is none of {}",
            SERVERS.join(", ")
        );
    }
    if options.profile {
        sampled::check()?;
    }
    let binary = match &options.binary {
        Some(binary) => {
            fs::canonicalize(binary).with_context(|| format!("there is no {}", binary.display()))?
        }
        None => build::run()?,
    };
    let mut figures = Figures::new();
    for round in 0..options.rounds {
        println!("round {} of {}", round + 1, options.rounds);
        for server in &options.servers {
            // Another order in each round.
            for at in 0..CONFIGURATIONS.len() {
                let at = (at + round as usize) % CONFIGURATIONS.len();
                let (name, arguments) = CONFIGURATIONS[at];
                let traced = (at > 0).then_some((binary.as_path(), arguments));
                let of_sizes = measured(options, &python, server, traced)
                    .with_context(|| format!("{server}, {name}"))?;
                for (size, figure) in SIZES.into_iter().zip(of_sizes) {
                    let key = (server.clone(), name, size);
                    figures.entry(key).or_default().push(figure);
                }
            }
        }
    }
    let mut profiles = Vec::new();
    if options.profile {
        println!("sampling");
        for server in &options.servers {
            for (at, (name, arguments)) in CONFIGURATIONS.into_iter().enumerate() {
                let traced = (at > 0).then_some((binary.as_path(), arguments));
                let profile = sampled_server(options, &python, server, (name, traced));
                profiles.push(profile.with_context(|| format!("{server}, {name}"))?);
            }
        }
    }
    for server in &options.servers {
        let mut text = table(&figures, server, options);
        text += &table_of_profiles(profiles.iter().filter(|p| p.server == *server));
        super::keep(&format!("sockets-{server}"), &text)?;
    }
    // Servers that were measured another time stay.
    let parts = SERVERS.iter().filter_map(|server| {
        fs::read_to_string(super::report::dir().join(format!("sockets-{server}.md"))).ok()
    });
    let table = parts.collect::<Vec<_>>().join("\n");
    println!("{table}");
    super::keep("sockets", &table)
}

/// A server, which ends with its input.
struct Server {
    child: Child,
    input: Option<ChildStdin>,
    port: u16,
}

impl Server {
    fn start(python: &Path, kind: &str) -> Result<Self> {
        let mut child = Cmd::new("taskset")
            .args(["-c", "0"])
            .arg(python)
            .arg(paths::python_programs().join("asgi_bare.py"))
            .arg(kind)
            .spawn(|c| {
                c.stdin(Stdio::piped()).stdout(Stdio::piped());
            })?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let port = line.trim().parse();
        Ok(Self {
            child,
            input,
            port: port.context("the server ended; its complaint is above")?,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        ended(&mut self.child).ok();
    }
}

/// A server of its own, bare or traced, and its figures for both sizes.
fn measured(
    options: &Options,
    python: &Path,
    kind: &str,
    traced: Option<(&Path, &[&str])>,
) -> Result<[Figure; 2]> {
    with_server(python, kind, traced, |server, agent| {
        let mut figures = Vec::new();
        for size in SIZES {
            load(server.port, size, 1)?;
            figures.push(figure(server, agent, size, options.seconds)?);
        }
        <[Figure; 2]>::try_from(figures).ok().context("two sizes")
    })
}

/// A server of its own, bare or traced, and what its time goes to.
fn sampled_server(
    options: &Options,
    python: &Path,
    kind: &str,
    (name, traced): (&'static str, Option<(&Path, &[&str])>),
) -> Result<Profile> {
    // Enough samples that a part of a hundredth is told to a tenth of it.
    let seconds = 3 * options.seconds;
    with_server(python, kind, traced, |server, agent| {
        load(server.port, SIZES[0], 1)?;
        let data = log_path("bench-sockets-perf")?;
        let mut perf = sampled::begin(server.child.id(), seconds, &data)?;
        let figure = figure(server, agent, SIZES[0], seconds);
        let shares = sampled::end(&mut perf, &data)?;
        fs::remove_file(&data)?;
        let figure = figure?;
        Ok(Profile {
            server: kind.to_owned(),
            name,
            rate: figure.rate,
            cpu: figure.cpu,
            shares,
        })
    })
}

/// Does something with a server of its own, bare or traced, and ends both.
fn with_server<T>(
    python: &Path,
    kind: &str,
    traced: Option<(&Path, &[&str])>,
    work: impl FnOnce(&Server, Option<&Child>) -> Result<T>,
) -> Result<T> {
    let server = Server::start(python, kind)?;
    let pid = server.child.id();
    let log = log_path("bench-sockets-genspan")?;
    let mut agent = match traced {
        Some((binary, arguments)) => Some(agent(binary, arguments, pid, &log)?),
        None => None,
    };
    let result = (|| {
        if let Some(agent) = &mut agent {
            wait_for(&format!("(pid {pid}"), &log, agent)?;
        }
        work(&server, agent.as_ref())
    })();
    // It ends with what it traces.
    drop(server);
    if let Some(agent) = &mut agent {
        ended(agent)?;
    }
    result
}

/// Puts load on a server and measures.
fn figure(server: &Server, agent: Option<&Child>, size: &str, seconds: u32) -> Result<Figure> {
    let pid = server.child.id();
    let (before, own) = (cpu(pid)?, of_agent(agent)?);
    let (requests, rate) = load(server.port, size, seconds)?;
    let spent = cpu(pid)? - before;
    // What it has not looked at yet belongs to it.
    std::thread::sleep(Duration::from_millis(300));
    Ok(Figure {
        cpu: spent / requests,
        own: (of_agent(agent)? - own) / requests,
        rate,
    })
}

fn agent(binary: &Path, arguments: &[&str], pid: u32, log: &Path) -> Result<Child> {
    let errors = File::create(log)?;
    Cmd::new("taskset")
        .args(["-c", "1"])
        .arg(binary)
        .args(["trace", "--pid", &pid.to_string()])
        .args(["--format", "json", "--output", "/dev/null"])
        .args(arguments)
        .spawn(|c| {
            c.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        })
}

/// Requests that were answered, and how many in a second.
fn load(port: u16, size: &str, seconds: u32) -> Result<(f64, f64)> {
    let text = Cmd::new("taskset")
        .args(["-c", "1", "wrk", "-t1"])
        .arg(format!("-c{CONNECTIONS}"))
        .arg(format!("-d{seconds}s"))
        .arg(format!("http://127.0.0.1:{port}/{size}"))
        .read()
        .context("wrk failed")?;
    told(&text).with_context(|| format!("wrk said {}", tail(&text)))
}

/// What `wrk` counted; none when something was not answered.
fn told(text: &str) -> Option<(f64, f64)> {
    let failed = ["Socket errors", "Non-2xx"];
    if failed.iter().any(|what| text.contains(what)) {
        return None;
    }
    let line = text.lines().find(|line| line.contains(" requests in "))?;
    let requests = line.split_whitespace().next()?.parse().ok()?;
    let rate = text.lines().find_map(|l| l.strip_prefix("Requests/sec:"))?;
    let rate = rate.trim().parse().ok()?;
    (requests > 0.0).then_some((requests, rate))
}

/// Microseconds that all threads of a process were on a processor (`/proc/PID/task/TID/schedstat`,
/// the first field in nanoseconds).
fn cpu(pid: u32) -> Result<f64> {
    let mut nanos = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split_whitespace().next().and_then(|n| n.parse().ok());
        nanos += first.unwrap_or(0.0);
    }
    Ok(nanos / 1000.0)
}

fn of_agent(agent: Option<&Child>) -> Result<f64> {
    agent.map_or(Ok(0.0), |agent| cpu(agent.id()))
}

fn table(figures: &Figures, server: &str, options: &Options) -> String {
    let shown = match server {
        "uvicorn" => "uvicorn, asyncio and h11",
        _ => "uvicorn, uvloop and httptools",
    };
    let mut out = format!(
        "{shown}: {} rounds, {} s of load each.\n\n\
         | answer | | server's CPU | added | lowest and highest round | requests/s | own process |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
        options.rounds, options.seconds
    );
    for size in SIZES {
        let of = |name| {
            let all = figures.get(&(server.to_owned(), name, size));
            all.map_or(&[][..], Vec::as_slice)
        };
        let bare = of(CONFIGURATIONS[0].0);
        for (name, _) in CONFIGURATIONS {
            let all = of(name);
            let middle =
                |f: fn(&Figure) -> f64| super::overhead::median(all.iter().map(f).collect());
            let mut ratios: Vec<f64> = all.iter().zip(bare).map(|(a, b)| a.cpu / b.cpu).collect();
            ratios.sort_by(f64::total_cmp);
            let percent = |ratio: f64| format!("{:+.1}%", (ratio - 1.0) * 100.0);
            let (added, range, own) = if name == CONFIGURATIONS[0].0 {
                (String::new(), String::new(), String::new())
            } else {
                let ends = ratios.first().zip(ratios.last());
                let range = ends.map(|(a, b)| format!("{} to {}", percent(*a), percent(*b)));
                (
                    percent(super::overhead::median(ratios.clone())),
                    range.unwrap_or_default(),
                    format!("{:.1} µs", middle(|f| f.own)),
                )
            };
            let _ = writeln!(
                out,
                "| {size} | {name} | {:.1} µs | {added} | {range} | {:.0} | {own} |",
                middle(|f| f.cpu),
                middle(|f| f.rate),
            );
        }
    }
    out
}

fn table_of_profiles<'a>(profiles: impl Iterator<Item = &'a Profile>) -> String {
    let mut rows = profiles.peekable();
    if rows.peek().is_none() {
        return String::new();
    }
    let mut out = format!(
        "\nSampled, answer {}: what the time of a request goes to.\n\n",
        SIZES[0]
    );
    let names = Doing::ALL.map(Doing::name).join(" | ");
    let _ = writeln!(out, "| | requests/s | server's CPU | {names} |");
    let _ = writeln!(
        out,
        "| --- | ---: | ---: |{}",
        " ---: |".repeat(Doing::ALL.len())
    );
    for row in rows {
        let _ = write!(
            out,
            "| {} | {:.0} | {:.1} µs |",
            row.name, row.rate, row.cpu
        );
        for doing in Doing::ALL {
            let share = row.shares.get(&doing).copied().unwrap_or_default();
            let _ = write!(out, " {:.2} µs |", share * row.cpu);
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn wrk_is_read() {
        let text = "Running 2s test @ http://127.0.0.1:1/small\n  1 threads and 8 connections\n  \
                    36410 requests in 2.00s, 5.10MB read\nRequests/sec:  18190.53\nTransfer/sec: 2.5MB\n";
        assert_eq!(told(text), Some((36410.0, 18190.53)));
        let failed = format!("{text}  Non-2xx or 3xx responses: 3\n");
        assert_eq!(told(&failed), None);
        assert_eq!(told("unable to connect to 127.0.0.1:1"), None);
    }
}
