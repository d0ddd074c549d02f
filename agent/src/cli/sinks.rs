//! The exporters that a command line asks for.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::Context as _;

use super::args::{Dialect, Format, SharedArgs, Vocabulary};
use crate::export::json::JsonLines;
#[cfg(feature = "otlp")]
use crate::export::metrics::Readers;
use crate::export::metrics::{MetricsExporter, Reader, Source};
#[cfg(feature = "otlp")]
use crate::export::otlp::{Config, ExportFile, Otlp, OtlpMetrics, Signal};
#[cfg(feature = "otlp")]
use crate::export::spool::Spool;
#[cfg(feature = "otlp")]
use crate::export::status::Exports;
use crate::export::terminal::{Options, Terminal};
use crate::export::{FanOut, Sent};
use crate::metrics::Metrics;
use crate::pipeline::{Limits, Settings};
use crate::redact::{Redactor, Rules};
use crate::vocabulary::{Generation, Names};

/// What a model server said of itself is told until it did not say so again so many times.
const SAID_AGAIN: u32 = 3;
/// But for so long at least: many servers are asked one after the other.
const SHORTEST_AGE: Duration = Duration::from_secs(15);

/// What the commands that send over the network have beyond their shared options.
#[derive(Default)]
pub(super) struct Sending {
    /// Where to, unless the command line says.
    #[cfg(feature = "otlp")]
    pub(super) file: ExportFile,
    /// Where what cannot be delivered waits.
    #[cfg(feature = "otlp")]
    pub(super) spool: Option<Spool>,
    /// Who is told how it gets on.
    #[cfg(feature = "otlp")]
    pub(super) exports: Exports,
    /// Where what is measured goes, too, if somebody else reads that.
    pub(super) source: Option<Source>,
}

/// Opens them.
pub(super) fn open(args: &SharedArgs, title: Option<String>) -> anyhow::Result<FanOut> {
    let mut all = written(args, title)?;
    sent(args, &Sending::default(), &mut all)?;
    Ok(all)
}

/// Opens those that are sent over the network, by threads of their own.
pub(super) fn sent(args: &SharedArgs, sending: &Sending, all: &mut FanOut) -> anyhow::Result<()> {
    let is_read = sending.source.is_some();
    let source = sending
        .source
        .clone()
        .unwrap_or_else(|| source(args, Duration::ZERO));
    let (network, measured) = network(args, sending, &source)?;
    all.replace_sent(network, || ());
    #[cfg_attr(
        not(feature = "prometheus"),
        expect(unused_mut, reason = "nothing else reads metrics in such a build")
    )]
    let mut readers: Vec<Box<dyn Reader>> = Vec::new();
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
    if is_read || measured || !readers.is_empty() {
        // What reads over the network ends after the last was measured.
        all.push(Box::new(MetricsExporter::new(source, readers)));
    }
    Ok(())
}

/// Opens those that others may take the place of, and says whether metrics of `source` go to one.
pub(super) fn network(
    args: &SharedArgs,
    sending: &Sending,
    source: &Source,
) -> anyhow::Result<(Vec<Sent>, bool)> {
    #[cfg(feature = "otlp")]
    {
        let targets = targets(args, &sending.file)?;
        let mut all = otlp(&targets, sending)?;
        let mut readers: Vec<Box<dyn Reader + Send>> = Vec::new();
        for config in targets.into_iter().filter_map(|t| t.metrics) {
            let exporter = OtlpMetrics::start(config, source.clone())?;
            let handle = exporter.stats_handle();
            sending.exports.add(move || handle.status());
            readers.push(Box::new(exporter));
        }
        let measured = !readers.is_empty();
        if measured {
            all.push(Box::new(Readers(readers)));
        }
        Ok((all, measured))
    }
    #[cfg(not(feature = "otlp"))]
    {
        let _ = (sending, source);
        anyhow::ensure!(
            args.otlp_endpoint.is_empty(),
            "this genspan was built without OTLP export; build it with the feature `otlp`"
        );
        Ok((Vec::new(), false))
    }
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

/// An endpoint, with the settings for what it takes.
#[cfg(feature = "otlp")]
struct Target {
    spans: Option<Config>,
    events: Option<Config>,
    metrics: Option<Config>,
}

/// The endpoints of the command line; else those of the file; else that of the environment.
#[cfg(feature = "otlp")]
fn targets(args: &SharedArgs, file: &ExportFile) -> anyhow::Result<Vec<Target>> {
    let env = |name: &str| std::env::var(name).ok();
    let of_flag = |endpoint: Option<&str>| -> anyhow::Result<Target> {
        let protocol = args.otlp_protocol.as_deref();
        Ok(Target {
            spans: Config::resolve(endpoint, protocol, &env)?,
            events: Config::resolve_logs(endpoint, protocol, &env)?,
            metrics: Config::resolve_metrics(endpoint, protocol, &env)?,
        })
    };
    if !args.otlp_endpoint.is_empty() {
        let given = args.otlp_endpoint.iter();
        return given.map(|endpoint| of_flag(Some(endpoint))).collect();
    }
    if file.endpoints.is_empty() {
        return Ok(vec![of_flag(None)?]);
    }
    let of_file = file.endpoints.iter().enumerate().map(|(n, endpoint)| {
        let of = |signal| Config::from_file(signal, n + 1, endpoint, &env);
        Ok(Target {
            spans: of(Signal::Traces)?,
            events: of(Signal::Logs)?,
            metrics: of(Signal::Metrics)?,
        })
    });
    of_file.collect()
}

/// Opens the exporters of spans and events.
#[cfg(feature = "otlp")]
fn otlp(targets: &[Target], sending: &Sending) -> anyhow::Result<Vec<Sent>> {
    let mut all: Vec<Sent> = Vec::new();
    for target in targets {
        let mut spans = target.spans.clone();
        if let Some(config) = &mut spans {
            // They are log records; on spans they are told only if nobody takes those.
            config.span_events = target.events.is_none();
        }
        for config in spans.into_iter().chain(target.events.clone()) {
            let queue = sending.spool.as_ref().map(|spool| config.queue(spool));
            let exporter = Otlp::start_with(config, queue.transpose()?)?;
            let handle = exporter.stats_handle();
            sending.exports.add(move || handle.status());
            all.push(Box::new(exporter));
        }
    }
    if let Some(spool) = &sending.spool {
        for (queue, items) in spool.unclaimed() {
            tracing::warn!(
                "{items} items on the disk are for an endpoint that is not used any more ({queue}): they \
                 stay there until the room is needed, or their directory is removed"
            );
        }
    }
    Ok(all)
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

/// An empty store of metrics, with the names that are asked for. `said`: how often model servers say what they do.
pub(super) fn source(args: &SharedArgs, said: Duration) -> Source {
    let age = (said * SAID_AGAIN).max(SHORTEST_AGE).as_nanos();
    let limits = crate::metrics::Limits {
        gauge_age: u64::try_from(age).unwrap_or(u64::MAX),
        ..crate::metrics::Limits::default()
    };
    Source::new(Metrics::new(generation(args), limits))
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
