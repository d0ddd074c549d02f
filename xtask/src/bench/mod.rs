//! Measurements.

use crate::cmd::Cmd;
use crate::setup;
use anyhow::Result;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand)]
enum What {
    /// The pure pipeline on replayed events, per core: calls and streamed chunks per second.
    Pipeline {
        /// Arguments for the benchmark program, for example a name to filter by.
        #[arg(last = true)]
        args: Vec<String>,
    },
}

/// The subcommand; without a choice, all that there is.
pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.what {
        None => pipeline(&[]),
        Some(What::Pipeline { args }) => pipeline(args),
    }
}

fn pipeline(args: &[String]) -> Result<()> {
    setup::for_building()?;
    crate::ebpf::build(true)?;
    Cmd::cargo()
        .args(["bench", "--package", "genspan", "--benches", "--"])
        .args(args)
        .run()
}
