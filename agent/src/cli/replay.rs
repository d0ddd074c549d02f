//! `genspan replay`

use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

use anyhow::Context as _;

use super::args::ReplayArgs;
use super::sinks;
use crate::driver::output::Output;
use crate::driver::replay::{self, ReplayError};

pub(super) fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let name = args.file.display();
    let file = File::open(&args.file).with_context(|| format!("cannot open {name}"))?;
    let exporters = sinks::open(&args.shared, Some(format!("genspan replay {name}")))?;
    let mut output = Output::new(exporters);
    let settings = sinks::settings(&args.shared);
    match replay::run(
        BufReader::new(file),
        settings,
        args.shared.no_content,
        sinks::redactor(&args.shared)?,
        &mut output,
    ) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(ReplayError::Export(e)) if e.is_closed() => Ok(ExitCode::SUCCESS),
        Err(e) => Err(e).with_context(|| format!("cannot replay {name}")),
    }
}
