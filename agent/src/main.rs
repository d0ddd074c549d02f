//! The `genspan` command: reads the command line, runs it, tells what went wrong.

use std::process::ExitCode;

use clap::Parser as _;
use genspan::cli::{self, Cli};

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the last word of a failed command")]
            {
                eprintln!("genspan: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
