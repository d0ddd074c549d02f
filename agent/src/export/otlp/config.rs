//! Settings of the export: flags, then the standard `OTEL_EXPORTER_OTLP_*` and `OTEL_BSP_*`
//! variables, then OpenTelemetry's defaults.

mod environment;
mod file;
mod headers;
mod signal;
mod url;

#[cfg(test)]
mod tests;

pub use file::{EndpointFile, ExportFile, SpoolFile};
pub use signal::Signal;

use crate::export::spool::{Queue, Spool, SpoolError};
use environment::{Env, is_true, millis, positive};
use flate2::Crc;
use headers::headers;
use signal::{LOG_QUEUE, SPAN_QUEUE};
use std::path::PathBuf;
use std::time::Duration;
use url::{Url, default_endpoint};

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf in HTTP/1.1 requests.
    HttpProtobuf,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct ConfigError {
    /// Flag or variable.
    pub name: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl ConfigError {
    pub(super) fn new(name: &str, problem: impl Into<String>) -> Self {
        let (name, problem) = (name.to_owned(), problem.into());
        Self { name, problem }
    }
}

/// Everything the exporter needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What is exported.
    pub signal: Signal,
    /// Protocol.
    pub protocol: Protocol,
    /// Whole URL of the endpoint; for HTTP with its path.
    pub endpoint: String,
    /// Headers, or gRPC metadata, of each request. Values (tokens) are marked as sensitive, so that
    /// nothing prints them.
    pub headers: http::HeaderMap,
    /// Compress requests with gzip.
    pub gzip: bool,
    /// One request may take this long.
    pub timeout: Duration,
    /// PEM file with the certificate authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files with a client certificate and its key.
    pub client_identity: Option<(PathBuf, PathBuf)>,
    /// Events go along on spans, where nobody takes them as log records.
    pub span_events: bool,
    /// Spans that may wait, or those with events.
    pub max_queue: usize,
    /// Bytes (estimated) that waiting spans may hold: content makes spans of any size.
    pub max_queue_bytes: usize,
    /// Spans per export.
    pub max_batch: usize,
    /// Spans wait at most this long before they are sent; metrics are sent so often.
    pub schedule_delay: Duration,
    /// Somebody said how long that is.
    pub schedule_is_set: bool,
    /// An export that the endpoint answers with retryable errors is given up after this long.
    pub export_timeout: Duration,
    /// An export is kept this long while the endpoint cannot be reached at all.
    pub unreachable_timeout: Duration,
    /// Wait before the first retry; doubles with each further one.
    pub retry_initial: Duration,
    /// Longest wait between retries.
    pub retry_max: Duration,
    /// Wait before the next attempt at an endpoint that refuses everything while what it refuses waits
    /// on the disk; doubles with each further one.
    pub held_initial: Duration,
    /// Longest such wait.
    pub held_max: Duration,
    /// Where there is a disk, a request that is not answered within this time is there too, and so is
    /// what came meanwhile.
    pub unsafe_time: Duration,
    /// What is left at exit must be gone within this time.
    pub shutdown_timeout: Duration,
}

impl Config {
    /// For an endpoint, with defaults for the rest.
    #[must_use]
    pub fn new(protocol: Protocol, endpoint: impl Into<String>) -> Self {
        Self {
            signal: Signal::Traces,
            protocol,
            endpoint: endpoint.into(),
            headers: http::HeaderMap::new(),
            gzip: false,
            timeout: Duration::from_secs(10),
            ca_file: None,
            client_identity: None,
            span_events: true,
            max_queue: 2048,
            max_queue_bytes: 64 << 20,
            max_batch: 512,
            schedule_delay: Duration::from_secs(5),
            schedule_is_set: false,
            export_timeout: Duration::from_secs(30),
            unreachable_timeout: Duration::from_secs(300),
            retry_initial: Duration::from_millis(500),
            retry_max: Duration::from_secs(10),
            held_initial: Duration::from_secs(5),
            held_max: Duration::from_secs(300),
            unsafe_time: Duration::from_secs(1),
            shutdown_timeout: Duration::from_secs(5),
        }
    }

    /// The same for an exporter with a queue on the disk: where nobody said how long spans wait, they do
    /// not wait longer in memory than a request does that is not answered.
    #[must_use]
    pub fn with_disk(mut self) -> Self {
        if !self.schedule_is_set {
            self.schedule_delay = self.schedule_delay.min(self.unsafe_time);
        }
        self
    }

    /// The queue on the disk of this endpoint and signal.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn queue(&self, spool: &Spool) -> Result<Queue, SpoolError> {
        // What tells endpoints apart that look alike once their names are those of directories.
        let mut sum = Crc::new();
        sum.update(self.endpoint.as_bytes());
        let name = format!("{}-{:08x}-{}", self.signal.name(), sum.sum(), self.endpoint);
        spool.queue(&name, self.signal as u8)
    }

    /// From the values of `--otlp-endpoint` and `--otlp-protocol` and the environment that `env`
    /// gives. `None` when nothing asks for an export: no flag, no endpoint variable, and not
    /// `OTEL_TRACES_EXPORTER=otlp`.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn resolve(
        endpoint_flag: Option<&str>,
        protocol_flag: Option<&str>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ConfigError> {
        Self::resolve_for(Signal::Traces, endpoint_flag, protocol_flag, env)
    }

    /// The same for metrics. The flags are for spans first: `OTEL_METRICS_EXPORTER` that names
    /// another exporter, or `none`, wins over them.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn resolve_metrics(
        endpoint_flag: Option<&str>,
        protocol_flag: Option<&str>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ConfigError> {
        Self::resolve_beside(Signal::Metrics, endpoint_flag, protocol_flag, env)
    }

    /// The same for events, with `OTEL_LOGS_EXPORTER`.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn resolve_logs(
        endpoint_flag: Option<&str>,
        protocol_flag: Option<&str>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ConfigError> {
        Self::resolve_beside(Signal::Logs, endpoint_flag, protocol_flag, env)
    }

    fn resolve_beside(
        signal: Signal,
        endpoint_flag: Option<&str>,
        protocol_flag: Option<&str>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ConfigError> {
        let exporters = Env(env, signal).get(signal.names().exporter);
        if exporters.is_some_and(|list| list.split(',').all(|e| e.trim() != "otlp")) {
            return Ok(None);
        }
        Self::resolve_for(signal, endpoint_flag, protocol_flag, env)
    }

    fn resolve_for(
        signal: Signal,
        endpoint_flag: Option<&str>,
        protocol_flag: Option<&str>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ConfigError> {
        let env = Env(env, signal);
        let names = signal.names();
        let exporter = env.get(names.exporter);
        if endpoint_flag.is_none() && exporter.as_deref() == Some("none") {
            return Ok(None);
        }
        let asked = exporter.is_some_and(|list| list.split(',').any(|e| e.trim() == "otlp"));
        let given = endpoint_flag
            .map(|e| ("--otlp-endpoint", e.to_owned()))
            .or_else(|| env.named(names.endpoint))
            .or_else(|| env.named("OTEL_EXPORTER_OTLP_ENDPOINT"));
        if given.is_none() && protocol_flag.is_none() && !asked {
            return Ok(None);
        }
        let named_protocol = protocol_flag
            .map(|p| ("--otlp-protocol", p.to_owned()))
            .or_else(|| env.named(names.protocol))
            .or_else(|| env.named("OTEL_EXPORTER_OTLP_PROTOCOL"));
        let named_protocol = match named_protocol {
            Some((name, value)) => Some(parse_protocol(name, &value)?),
            None => None,
        };
        let (protocol, endpoint) = match given {
            None => {
                let protocol = named_protocol.unwrap_or(Protocol::HttpProtobuf);
                (protocol, default_endpoint(protocol, names.path))
            }
            Some((name, value)) => {
                let insecure = env.signal("INSECURE").is_some_and(|(_, v)| is_true(&v));
                let url = Url::parse(name, &value, insecure)?;
                let protocol = named_protocol.unwrap_or_else(|| url.likely_protocol());
                let verbatim = name == names.endpoint;
                (protocol, url.endpoint(protocol, names.path, verbatim))
            }
        };
        let mut config = Self::new(protocol, endpoint);
        config.signal = signal;
        config.headers = headers(signal, env.0)?;
        config.read_transport(&env)?;
        config.read_batching(&env)?;
        Ok(Some(config))
    }

    fn read_transport(&mut self, env: &Env<'_>) -> Result<(), ConfigError> {
        if let Some((name, value)) = env.signal("COMPRESSION") {
            self.gzip = match value.to_ascii_lowercase().as_str() {
                "gzip" => true,
                "none" => false,
                other => {
                    let problem = format!("`{other}` is not supported; use gzip or none");
                    return Err(ConfigError::new(&name, problem));
                }
            };
        }
        if let Some((name, value)) = env.signal("TIMEOUT") {
            self.timeout = millis(&name, &value)?;
        }
        self.ca_file = env.signal("CERTIFICATE").map(|(_, v)| v.into());
        let certificate = env.signal("CLIENT_CERTIFICATE");
        let key = env.signal("CLIENT_KEY");
        self.client_identity = match (certificate, key) {
            (Some((_, certificate)), Some((_, key))) => Some((certificate.into(), key.into())),
            (None, None) => None,
            (Some((name, _)), None) | (None, Some((name, _))) => {
                let problem = "a client certificate needs its key and the key its certificate";
                return Err(ConfigError::new(&name, problem));
            }
        };
        Ok(())
    }

    fn read_batching(&mut self, env: &Env<'_>) -> Result<(), ConfigError> {
        if self.signal == Signal::Metrics {
            self.schedule_delay = METRIC_INTERVAL;
            if let Some((name, value)) = env.named("OTEL_METRIC_EXPORT_INTERVAL") {
                self.schedule_delay = millis(name, &value)?;
            }
            if let Some((name, value)) = env.named("OTEL_METRIC_EXPORT_TIMEOUT") {
                self.export_timeout = millis(name, &value)?;
            }
            return Ok(());
        }
        let [queue, batch, delay, timeout] = match self.signal {
            Signal::Logs => {
                self.schedule_delay = LOG_DELAY;
                [
                    LOG_QUEUE,
                    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
                    "OTEL_BLRP_SCHEDULE_DELAY",
                    "OTEL_BLRP_EXPORT_TIMEOUT",
                ]
            }
            _ => [
                SPAN_QUEUE,
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
                "OTEL_BSP_SCHEDULE_DELAY",
                "OTEL_BSP_EXPORT_TIMEOUT",
            ],
        };
        if let Some((name, value)) = env.named(queue) {
            self.max_queue = positive(name, &value)?;
        }
        if let Some((name, value)) = env.named(batch) {
            self.max_batch = positive(name, &value)?;
        }
        self.max_batch = self.max_batch.min(self.max_queue);
        if let Some((name, value)) = env.named(delay) {
            self.schedule_delay = millis(name, &value)?;
            self.schedule_is_set = true;
        }
        if let Some((name, value)) = env.named(timeout) {
            self.export_timeout = millis(name, &value)?;
        }
        Ok(())
    }
}

/// Events wait at most this long when nothing is said.
const LOG_DELAY: Duration = Duration::from_secs(1);

/// How often metrics are sent when nothing is said.
const METRIC_INTERVAL: Duration = Duration::from_secs(60);

fn parse_protocol(name: &str, value: &str) -> Result<Protocol, ConfigError> {
    match value.trim() {
        "grpc" => Ok(Protocol::Grpc),
        "http/protobuf" => Ok(Protocol::HttpProtobuf),
        other => Err(ConfigError::new(
            name,
            format!("`{other}` is not supported; use grpc or http/protobuf"),
        )),
    }
}
