//! genspan's own tasks: `cargo xtask --help` lists them.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its user"
)]

mod archive;
mod backends;
mod bench;
mod build;
mod certs;
mod cmd;
mod compare;
mod correctness;
mod debian;
mod demo;
mod ebpf;
mod engines;
mod free_threaded;
mod fuzz;
mod helm;
mod host;
mod linker;
mod package;
mod packages;
mod paths;
mod progress;
mod provider;
mod python;
mod setup;
mod static_python;
mod summary;
mod test;
mod tidy;
mod toolchain;
mod venv;
mod vm;

use anyhow::Result;
use clap::{Parser, Subcommand};
use engines::Engine;
use std::process::ExitCode;

/// Everything genspan's developers and first users run.
///
/// Each command sets up what it needs first, so any of them works on a new machine.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Show genspan at work: an OpenAI program, a provider stand-in, and their spans.
    ///
    /// Sets everything up, builds, starts a provider stand-in on loopback over TLS and an ordinary
    /// OpenAI program, traces the program and prints each call as it streams and ends. Takes about
    /// six seconds once built and ends by itself. Tracing needs root: without it, sudo is used.
    Demo,
    /// Install what is missing: eBPF compiler and linker, Rust components, the demo's Python.
    ///
    /// Safe to run again: what is there is left alone. As root on Debian and its kin missing
    /// packages are installed with apt-get; on other systems the missing pieces are listed with
    /// the way to get each, and the exit code is 1.
    Setup(setup::Options),
    /// Build the eBPF programs into target/bpf/genspan.o.
    BuildEbpf(ebpf::Options),
    /// Build everything: the eBPF programs and the release binary.
    Build,
    /// Run all tests, live ones included, and a short run of every fuzz target.
    ///
    /// Live tests load real eBPF programs and need root: without it, sudo is used. With CI=true in
    /// the environment, a live test that cannot run is a failure instead of a skip.
    Test(test::Options),
    /// Check the repository's own rules: layering, file sizes, names, secrets.
    Tidy,
    /// Measure: the pure pipeline on replayed events.
    Bench(bench::Options),
    /// Compare the spans of recorded traffic with what they must be; makes docs/correctness.md.
    ///
    /// Sends all recorded requests with the newest and an old package of each provider, each in an
    /// environment of its own below target/venv, in five encodings, over HTTP/1.1 and HTTP/2. Needs
    /// the recordings beside the repository (shared/lab, `setup.sh replay`), and root or sudo. The
    /// exit code is 1 when a span is wrong. With a choice, the page is printed and not written.
    Correctness(correctness::Options),
    /// Compare what genspan tells of sample applications with what in-process instrumentations tell.
    ///
    /// Installs five applications (FastAPI with OpenAI, DashScope, LlamaIndex and Chroma, LangChain, and
    /// Dify's workflow engine) and the instrumentations that there are for them (2 GB below target/venv,
    /// each in an environment of its own where they do not go together), runs each application bare with
    /// genspan attached while it runs, then with each instrumentation built in, and compares the spans of
    /// the same requests one by one. Takes two minutes once they are installed. Needs Python 3.11 and
    /// 3.12, and root or sudo. The exit code is 1 when something that was seen is seen no more, or when an
    /// instrumentation tells something that genspan does not and no reason for it is written in
    /// tests/python/compare/reasons.json. With `--write` the result is kept, and docs/frameworks.md has it.
    Compare(compare::Options),
    /// Compare the spans of a real vLLM with its own counters.
    ///
    /// Starts vLLM on the processor with a tiny model, and `genspan agent`, which is to find it: its processes
    /// are one service, with the model's name. Asks 200 times, eight requests at a time, and compares
    /// requests and tokens with `/metrics`. Takes about three minutes. Needs the lab beside the repository
    /// (shared/lab, `setup.sh vllm`, 6 GB), and root or sudo. The exit code is 1 when something differs.
    Vllm,
    /// Compare the spans of a real vLLM with its V0 engine with its own counters.
    ///
    /// As `vllm` does, with an environment `vllm-v0` (docs/serving.md says how it is made): once with the engine in a
    /// process of its own, and once in the server's.
    VllmV0,
    /// Compare the spans of a real SGLang with its own counters.
    ///
    /// As `vllm` does; a third of what is asked goes to its own `/generate`. Needs the lab beside the
    /// repository (shared/lab, `setup.sh sglang`, 10 GB), and root or sudo.
    #[command(verbatim_doc_comment)]
    Sglang,
    /// Send a traced program's spans to Arize Phoenix and MLflow and compare what they have stored.
    ///
    /// Installs both (1.2 GB below target/venv), starts them in a network of their own that has nothing
    /// but loopback, traces a FastAPI program to both at the same time, over gRPC and over HTTP, and
    /// asks them by their APIs for each span. Takes about a minute once they are installed. Needs Python
    /// 3.12, and root or sudo. The exit code is 1 when something differs.
    Backends(backends::Options),
    /// Try genspan on Linux kernels of several ages, in virtual machines; makes docs/kernels.md.
    ///
    /// Fetches Debian's cloud kernels (5.10, 6.1, 6.12 and what sid has; nothing is installed) and
    /// boots each in QEMU without acceleration, with a small system in memory: `genspan doctor`, every
    /// eBPF program, and calls over TLS and plain sockets in every way, with --function and --stacks.
    /// Takes about three minutes a kernel. Needs Debian with apt-get and qemu-system-x86 (as root it is
    /// installed). With a choice of kernels the others' results of before are kept. The exit code is 1
    /// when a kernel fails at something that it should have.
    Vm(vm::Options),
    /// Make what is handed to users: a static binary, manual pages, completions, deploy/.
    ///
    /// As a tarball and as a Debian package below target/package, with checksums. Needs rustup's library for
    /// static binaries and musl-gcc (as root on Debian and its kin they are installed), and for the
    /// Debian package cargo-deb, which is built below target/tools.
    Package(package::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Demo => demo::run()?,
        Task::Setup(options) => setup::run(&options)?,
        Task::BuildEbpf(options) => ebpf::run(&options)?,
        Task::Build => {
            let binary = build::run()?;
            println!("built {}", paths::shown(&binary));
        }
        Task::Test(options) => return test::run(&options),
        Task::Tidy => return tidy::run(),
        Task::Bench(options) => bench::run(&options)?,
        Task::Correctness(options) => return correctness::run(&options),
        Task::Compare(options) => return compare::run(&options),
        Task::Vllm => return engines::run(Engine::Vllm),
        Task::VllmV0 => return engines::run(Engine::VllmV0),
        Task::Sglang => return engines::run(Engine::Sglang),
        Task::Backends(options) => return backends::run(&options),
        Task::Vm(options) => return vm::run(&options),
        Task::Package(options) => package::run(&options)?,
    }
    Ok(ExitCode::SUCCESS)
}
