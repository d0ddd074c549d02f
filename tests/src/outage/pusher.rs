//! The process with the exporter: it makes spans when it is told to.

use super::spans;
use anyhow::{Context as _, Result, bail};
use genspan::export::Exporter as _;
use genspan::export::otlp::{Config, Otlp, Protocol};
use genspan::export::spool::Spool;
use genspan::export::status::ExportStatus;
use serde::{Deserialize, Serialize};
use std::io::BufRead as _;
use std::path::Path;
use std::time::Duration;

/// What it tells after each thing that it was told to do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Told {
    /// Spans that it was told to make.
    pub pushed: u64,
    /// How the exporter stands.
    pub status: ExportStatus,
}

/// So many at most are made before it is waited until they are on the disk: less than half of what the queue
/// holds, so that nothing is dropped because they are made faster than they ever come.
const AT_ONCE: u64 = 1000;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes spans for the endpoint, the first with this id, with a spool in that directory if there is one. `push N`
/// on standard input makes N, `status` none, and `stop` is the end; each is answered with a line ([`Told`]).
///
/// # Errors
///
/// When the exporter cannot be started, or is told what it does not know.
#[expect(
    clippy::print_stdout,
    reason = "what it prints is what it is started for"
)]
pub fn main(endpoint: &str, first: u64, spool: Option<(&Path, u64)>) -> Result<()> {
    let mut spans = spans::Spans::from(first)?;
    let config = Config::new(Protocol::HttpProtobuf, endpoint);
    let queue = match spool {
        Some((directory, bytes)) => Some(config.queue(&Spool::open(directory, bytes)?)?),
        None => None,
    };
    let mut otlp = Otlp::start_with(config, queue)?;
    println!("ready");
    let mut pushed = 0;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("push", count)) => {
                let mut left: u64 = count.parse().context("no number")?;
                pushed += left;
                while left > 0 {
                    let part = left.min(AT_ONCE);
                    for _ in 0..part {
                        otlp.span(&spans.next())?;
                    }
                    left -= part;
                    if spool.is_some() {
                        otlp.force_flush(PATIENCE)?;
                    }
                }
            }
            None if line == "status" => {}
            // What it could not deliver is in its numbers.
            None if line == "stop" => drop(otlp.shutdown(&[])),
            _ => bail!("what is {line:?}?"),
        }
        let told = Told {
            pushed,
            status: otlp.status(),
        };
        println!("{}", serde_json::to_string(&told)?);
        if line == "stop" {
            break;
        }
    }
    Ok(())
}
