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

/// An error with all that is behind it, in one line. Some say themselves what the system said, which is behind
/// them as well: nothing is said twice.
#[must_use]
pub fn whole(error: &anyhow::Error) -> String {
    let mut said = String::new();
    let mut last = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if last.contains(&cause) {
            continue;
        }
        if !said.is_empty() {
            said.push_str(": ");
        }
        said.push_str(&cause);
        last = cause;
    }
    said
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

#[cfg(test)]
mod tests {
    use super::whole;
    use anyhow::{Context as _, anyhow};
    use std::io;

    /// One that says what is behind it.
    #[derive(Debug, thiserror::Error)]
    #[error("cannot listen: {source}; choose another address")]
    struct Tells {
        source: io::Error,
    }

    #[test]
    fn nothing_is_said_twice() {
        let source = || io::Error::other("in use");
        let told = whole(&Tells { source: source() }.into());
        assert_eq!(told, "cannot listen: in use; choose another address");
        let told = Err::<(), _>(source())
            .context("cannot read")
            .context("no start");
        assert_eq!(whole(&told.unwrap_err()), "no start: cannot read: in use");
        let told = Err::<(), _>(Tells { source: source() }).context("no start");
        let wanted = "no start: cannot listen: in use; choose another address";
        assert_eq!(whole(&told.unwrap_err()), wanted);
        assert_eq!(whole(&anyhow!("alone")), "alone");
    }
}
