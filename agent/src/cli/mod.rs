//! The command line.

mod args;
mod manual;
mod replay;
mod sinks;

#[cfg(feature = "kernel")]
mod agent;
#[cfg(feature = "kernel")]
mod config;
#[cfg(feature = "kernel")]
mod confined;
#[cfg(feature = "kernel")]
mod doctor;
#[cfg(feature = "kernel")]
mod interpreter;
#[cfg(feature = "kernel")]
mod ps;
#[cfg(feature = "kernel")]
mod running;
#[cfg(feature = "kernel")]
mod trace;

pub use args::Cli;

use std::process::ExitCode;

use args::Command;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Runs a command line.
///
/// # Errors
///
/// Whatever made the command fail; its message says what to do.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    log(&cli);
    match cli.command {
        #[cfg(feature = "kernel")]
        Command::Trace(args) => trace::run(&args, cli.debug),
        #[cfg(feature = "kernel")]
        Command::Agent(args) => agent::run(&args, cli.debug),
        #[cfg(feature = "kernel")]
        Command::Ps(args) => ps::run(&args),
        #[cfg(feature = "kernel")]
        Command::Doctor(args) => doctor::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
    }
}

/// Diagnostics go to standard error, as short lines.
fn log(cli: &Cli) {
    use std::io::IsTerminal as _;
    let default = if cli.debug {
        "genspan=debug"
    } else {
        "genspan=info"
    };
    let filter = EnvFilter::try_from_env("GENSPAN_LOG").unwrap_or_else(|_| default.into());
    let colour = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(cli.debug)
        .without_time();
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
}
