//! The exporters that a command line asks for.

use std::fs::File;
use std::io::{self, IsTerminal as _};

use anyhow::Context as _;

use super::args::{Format, SharedArgs, Vocabulary};
use crate::export::FanOut;
use crate::export::json::JsonLines;
use crate::export::metrics::{MetricsExporter, Reader, Source};
use crate::export::terminal::{Options, Terminal};
use crate::metrics::Metrics;
use crate::pipeline::{Limits, Settings};
use crate::redact::{Redactor, RuleError, Rules};
use crate::vocabulary::Generation;

/// Opens them.
pub(super) fn open(args: &SharedArgs, title: Option<String>) -> anyhow::Result<FanOut> {
    let mut all = FanOut::new();
    match &args.output {
        Some(path) => {
            let name = path.display().to_string();
            let file =
                File::create(path).with_context(|| format!("cannot write spans to {name}"))?;
            match args.format.unwrap_or(Format::Json) {
                Format::Json => all.push(Box::new(JsonLines::new(&name, Box::new(file)))),
                Format::Pretty => {
                    let options = Options {
                        title,
                        ..Options::for_output(&file, args.verbose)
                    };
                    all.push(Box::new(Terminal::new(&name, Box::new(file), options)));
                }
            }
        }
        None => {
            let stdout = io::stdout();
            let default = if stdout.is_terminal() {
                Format::Pretty
            } else {
                Format::Json
            };
            match args.format.unwrap_or(default) {
                Format::Json => {
                    all.push(Box::new(JsonLines::new(
                        "standard output",
                        Box::new(unbuffered()?),
                    )));
                }
                Format::Pretty => {
                    let options = Options {
                        title,
                        ..Options::for_output(&stdout, args.verbose)
                    };
                    let out = Box::new(unbuffered()?);
                    all.push(Box::new(Terminal::new("standard output", out, options)));
                }
            }
        }
    }
    otlp(args, &mut all)?;
    metrics(args, &mut all)?;
    Ok(all)
}

/// Whether spans are written for people, who are then told of losses as well.
#[cfg(feature = "kernel")]
pub(super) fn is_pretty(args: &SharedArgs) -> bool {
    let default = args.output.is_none() && io::stdout().is_terminal();
    args.format
        .map_or(default, |format| format == Format::Pretty)
}

/// Standard output without the line buffer of the standard library.
fn unbuffered() -> anyhow::Result<File> {
    use std::os::fd::AsFd as _;
    let fd = io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .context("cannot write to standard output")?;
    Ok(File::from(fd))
}

#[cfg(feature = "otlp")]
fn otlp(args: &SharedArgs, all: &mut FanOut) -> anyhow::Result<()> {
    use crate::export::otlp::{Config, Otlp};
    let env = |name: &str| std::env::var(name).ok();
    let config = Config::resolve(
        args.otlp_endpoint.as_deref(),
        args.otlp_protocol.as_deref(),
        &env,
    )?;
    if let Some(config) = config {
        all.push(Box::new(Otlp::start(config)?));
    }
    Ok(())
}

#[cfg(not(feature = "otlp"))]
fn otlp(args: &SharedArgs, _: &mut FanOut) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.otlp_endpoint.is_none(),
        "this genspan was built without OTLP export; build it with the feature `otlp`"
    );
    Ok(())
}

/// Metrics are made when somebody reads them.
fn metrics(args: &SharedArgs, all: &mut FanOut) -> anyhow::Result<()> {
    let names = match args.vocabulary {
        Some(Vocabulary::Legacy) => Generation::Legacy,
        Some(Vocabulary::Current) => Generation::Current,
        Some(Vocabulary::Both) => Generation::Both,
        None => {
            let opt_in = std::env::var("OTEL_SEMCONV_STABILITY_OPT_IN");
            Generation::from_opt_in(&opt_in.unwrap_or_default())
        }
    };
    let source = Source::new(Metrics::new(names, crate::metrics::Limits::default()));
    #[cfg_attr(
        not(any(feature = "otlp", feature = "prometheus")),
        expect(unused_mut, reason = "nothing reads metrics in such a build")
    )]
    let mut readers: Vec<Box<dyn Reader>> = Vec::new();
    #[cfg(feature = "otlp")]
    {
        use crate::export::otlp::{Config, OtlpMetrics};
        let env = |name: &str| std::env::var(name).ok();
        let config = Config::resolve_metrics(
            args.otlp_endpoint.as_deref(),
            args.otlp_protocol.as_deref(),
            &env,
        )?;
        if let Some(config) = config {
            readers.push(Box::new(OtlpMetrics::start(config, &env, source.clone())?));
        }
    }
    #[cfg(feature = "prometheus")]
    if let Some(address) = args.prometheus {
        let server = crate::export::prometheus::Prometheus::start(address, source.clone())?;
        let address = server.address();
        if !address.ip().is_loopback() {
            tracing::warn!("metrics at {address} can be read by whoever reaches this host");
        }
        tracing::info!("metrics: http://{address}/metrics");
        readers.push(Box::new(server));
    }
    if !readers.is_empty() {
        all.push(Box::new(MetricsExporter::new(source, readers)));
    }
    Ok(())
}

/// What the command line says is to be redacted.
pub(super) fn redactor(args: &SharedArgs) -> Result<Redactor, RuleError> {
    Redactor::new(&Rules {
        rules: args.redact.clone(),
        patterns: args.redact_pattern.clone(),
    })
}

/// What the command line sets of the stages.
pub(super) fn settings(args: &SharedArgs) -> Settings {
    Settings {
        limits: Limits {
            body_bytes: args.max_message as usize,
            ..Limits::default()
        },
        http_spans: args.http_spans.into(),
        parent_source: !args.no_parent_source,
    }
}
