//! The `genspan` command: reads the command line, runs it, tells what went wrong.

use std::process::ExitCode;

use clap::Parser as _;
use genspan::cli::{self, Cli};

/// Takes less of the processor's time than musl's own (docs/development.md has figures).
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the last word of a failed command")]
            {
                eprintln!("genspan: {}", cli::whole(&error));
            }
            ExitCode::FAILURE
        }
    }
}
