//! The exporters that a command line asks for.

use std::fs::File;
use std::io::{self, IsTerminal as _};

use anyhow::Context as _;

use super::args::{Dialect, Format, SharedArgs, Vocabulary};
use crate::export::FanOut;
use crate::export::json::JsonLines;
use crate::export::metrics::{MetricsExporter, Reader, Source};
use crate::export::terminal::{Options, Terminal};
use crate::metrics::Metrics;
use crate::pipeline::{Limits, Settings};
use crate::redact::{Redactor, Rules};
use crate::vocabulary::{Generation, Names};

/// Opens them.
pub(super) fn open(args: &SharedArgs, title: Option<String>) -> anyhow::Result<FanOut> {
    let mut all = written(args, title)?;
    sent(args, None, &mut all)?;
    Ok(all)
}

/// Opens those that are sent over the network, by threads of their own. What is measured goes to
/// `source`, too, where somebody else reads that.
pub(super) fn sent(
    args: &SharedArgs,
    source: Option<Source>,
    all: &mut FanOut,
) -> anyhow::Result<()> {
    otlp(args, all)?;
    metrics(args, source, all)
}

/// Opens those that are written to a file or to standard output.
pub(super) fn written(args: &SharedArgs, title: Option<String>) -> anyhow::Result<FanOut> {
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
    let (endpoint, protocol) = (args.otlp_endpoint.as_deref(), args.otlp_protocol.as_deref());
    let events = Config::resolve_logs(endpoint, protocol, &env)?;
    if let Some(mut config) = Config::resolve(endpoint, protocol, &env)? {
        // They are log records; on spans they are told only if nobody takes those.
        config.span_events = events.is_none();
        all.push(Box::new(Otlp::start(config)?));
    }
    if let Some(config) = events {
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

/// The names that are asked for where the conventions renamed something.
fn generation(args: &SharedArgs) -> Generation {
    match args.vocabulary {
        Some(Vocabulary::Legacy) => Generation::Legacy,
        Some(Vocabulary::Current) => Generation::Current,
        Some(Vocabulary::Both) => Generation::Both,
        None => {
            let opt_in = std::env::var("OTEL_SEMCONV_STABILITY_OPT_IN");
            Generation::from_opt_in(&opt_in.unwrap_or_default())
        }
    }
}

/// An empty store of metrics, with the names that are asked for.
pub(super) fn source(args: &SharedArgs) -> Source {
    let names = generation(args);
    Source::new(Metrics::new(names, crate::metrics::Limits::default()))
}

/// Metrics are made when somebody reads them.
fn metrics(args: &SharedArgs, read: Option<Source>, all: &mut FanOut) -> anyhow::Result<()> {
    let is_read = read.is_some();
    let source = read.unwrap_or_else(|| source(args));
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
    if is_read || !readers.is_empty() {
        all.push(Box::new(MetricsExporter::new(source, readers)));
    }
    Ok(())
}

/// What the command line says is to be redacted, and the file that it names.
pub(super) fn redactor(args: &SharedArgs) -> anyhow::Result<Redactor> {
    let mut rules = match &args.redact_file {
        Some(file) => {
            let name = file.display();
            let text = std::fs::read_to_string(file);
            let text = text.with_context(|| format!("cannot read the rules in {name}"))?;
            serde_yaml_ng::from_str(&text)
                .with_context(|| format!("cannot use the rules in {name}"))?
        }
        None => Rules::default(),
    };
    if let Some(chosen) = &args.redact {
        rules.rules.clone_from(chosen);
    }
    rules.patterns.extend(args.redact_pattern.iter().cloned());
    rules.paths.extend(args.redact_path.iter().cloned());
    Ok(Redactor::new(&rules)?)
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
        names: Names {
            generation: generation(args),
            aliyun: args.dialect == Dialect::Aliyun,
        },
    }
}
