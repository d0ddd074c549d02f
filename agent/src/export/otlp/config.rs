//! Settings of the export: flags, then the standard `OTEL_EXPORTER_OTLP_*` and `OTEL_BSP_*`
//! variables, then OpenTelemetry's defaults.

use std::path::PathBuf;
use std::time::Duration;

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf in HTTP/1.1 requests.
    HttpProtobuf,
}

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
    /// Events, as log records.
    Logs,
}

impl Signal {
    /// The signal's part of the names of variables, and of paths.
    const fn names(self) -> SignalNames {
        match self {
            Self::Traces => SignalNames {
                exporter: "OTEL_TRACES_EXPORTER",
                endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                protocol: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
                prefix: "OTEL_EXPORTER_OTLP_TRACES_",
                path: TRACES_PATH,
            },
            Self::Metrics => SignalNames {
                exporter: "OTEL_METRICS_EXPORTER",
                endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                protocol: "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
                prefix: "OTEL_EXPORTER_OTLP_METRICS_",
                path: "/v1/metrics",
            },
            Self::Logs => SignalNames {
                exporter: "OTEL_LOGS_EXPORTER",
                endpoint: "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
                protocol: "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
                prefix: "OTEL_EXPORTER_OTLP_LOGS_",
                path: "/v1/logs",
            },
        }
    }

    /// The variable that makes its queue larger.
    pub(super) const fn queue_variable(self) -> &'static str {
        match self {
            Self::Logs => LOG_QUEUE,
            Self::Traces | Self::Metrics => SPAN_QUEUE,
        }
    }

    /// What it exports, in messages.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Traces => "spans",
            Self::Metrics => "metrics",
            Self::Logs => "events",
        }
    }
}

struct SignalNames {
    exporter: &'static str,
    endpoint: &'static str,
    protocol: &'static str,
    prefix: &'static str,
    path: &'static str,
}

const TRACES_PATH: &str = "/v1/traces";
const ALL_PREFIX: &str = "OTEL_EXPORTER_OTLP_";

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

/// Everything the exporter needs to know. Headers are not in here: `opentelemetry-otlp` reads
/// `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_EXPORTER_OTLP_TRACES_HEADERS` itself, so that their
/// values (tokens) pass through nothing of ours that could print them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What is exported.
    pub signal: Signal,
    /// Protocol.
    pub protocol: Protocol,
    /// Whole URL of the endpoint; for HTTP with its path.
    pub endpoint: String,
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
    /// An export that the endpoint answers with retryable errors is given up after this long.
    pub export_timeout: Duration,
    /// An export is kept this long while the endpoint cannot be reached at all.
    pub unreachable_timeout: Duration,
    /// Wait before the first retry; doubles with each further one.
    pub retry_initial: Duration,
    /// Longest wait between retries.
    pub retry_max: Duration,
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
            gzip: false,
            timeout: Duration::from_secs(10),
            ca_file: None,
            client_identity: None,
            span_events: true,
            max_queue: 2048,
            max_queue_bytes: 64 << 20,
            max_batch: 512,
            schedule_delay: Duration::from_secs(5),
            export_timeout: Duration::from_secs(30),
            unreachable_timeout: Duration::from_secs(300),
            retry_initial: Duration::from_millis(500),
            retry_max: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(5),
        }
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
        }
        if let Some((name, value)) = env.named(timeout) {
            self.export_timeout = millis(name, &value)?;
        }
        Ok(())
    }
}

/// What says how many spans may wait.
const SPAN_QUEUE: &str = "OTEL_BSP_MAX_QUEUE_SIZE";

/// What says how many spans with events may wait.
const LOG_QUEUE: &str = "OTEL_BLRP_MAX_QUEUE_SIZE";

/// Events wait at most this long when nothing is said.
const LOG_DELAY: Duration = Duration::from_secs(1);

/// How often metrics are sent when nothing is said.
const METRIC_INTERVAL: Duration = Duration::from_secs(60);

/// The environment; an empty variable counts as unset, as OpenTelemetry wants it.
struct Env<'a>(&'a dyn Fn(&str) -> Option<String>, Signal);

impl Env<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|v| !v.trim().is_empty())
    }

    fn named(&self, name: &'static str) -> Option<(&'static str, String)> {
        self.get(name).map(|v| (name, v))
    }

    /// The variable for the signal, else the one for all signals.
    fn signal(&self, what: &str) -> Option<(String, String)> {
        [self.1.names().prefix, ALL_PREFIX]
            .iter()
            .map(|prefix| format!("{prefix}{what}"))
            .find_map(|name| self.get(&name).map(|value| (name, value)))
    }
}

fn is_true(value: &str) -> bool {
    value.trim().eq_ignore_ascii_case("true")
}

fn positive(name: &str, value: &str) -> Result<usize, ConfigError> {
    match value.trim().parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(ConfigError::new(
            name,
            format!("`{value}` is not a number above zero"),
        )),
    }
}

fn millis(name: &str, value: &str) -> Result<Duration, ConfigError> {
    positive(name, value)
        .map(|n| Duration::from_millis(n as u64))
        .map_err(|_| ConfigError::new(name, format!("`{value}` is not a number of milliseconds")))
}

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

fn default_endpoint(protocol: Protocol, path: &str) -> String {
    match protocol {
        Protocol::Grpc => "http://localhost:4317".to_owned(),
        Protocol::HttpProtobuf => format!("http://localhost:4318{path}"),
    }
}

/// The headers that a signal's requests carry, from `OTEL_EXPORTER_OTLP_HEADERS` and the
/// signal's own variable: a list of `name=value`, percent-encoded. Values are marked so that
/// nothing prints them, and no message repeats one.
///
/// # Errors
/// When an item cannot be a header.
pub(super) fn headers(
    signal: Signal,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<http::HeaderMap, ConfigError> {
    let mut all = http::HeaderMap::new();
    let Some((variable, list)) = Env(env, signal).signal("HEADERS") else {
        return Ok(all);
    };
    for (n, item) in list.split(',').map(str::trim).enumerate() {
        if item.is_empty() {
            continue;
        }
        let header = item.split_once('=').and_then(|(name, value)| {
            let name: http::HeaderName = name.trim().parse().ok()?;
            let mut value = http::HeaderValue::from_bytes(&percent_decoded(value.trim())).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        let Some((name, value)) = header else {
            let problem = format!("item {} is not name=value", n + 1);
            return Err(ConfigError::new(&variable, problem));
        };
        all.insert(name, value);
    }
    Ok(all)
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|d| str::from_utf8(d).ok());
        let decoded = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
        match decoded.filter(|_| *first == b'%') {
            Some(byte) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

struct Url {
    scheme: String,
    authority: String,
    path: String,
}

impl Url {
    fn parse(name: &str, value: &str, insecure: bool) -> Result<Self, ConfigError> {
        let value = value.trim();
        let wrong = |why: &str| {
            ConfigError::new(
                name,
                format!("`{value}` {why}; expected something like http://localhost:4317"),
            )
        };
        let (scheme, rest) = match value.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None => (String::new(), value),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let parsed: http::uri::Authority =
            authority.parse().map_err(|_| wrong("has no valid host"))?;
        if parsed.host().is_empty() || authority.contains('@') {
            return Err(wrong("has no valid host"));
        }
        let scheme = match scheme.as_str() {
            "http" | "https" => scheme,
            // The specification leaves a bare `host:port` to the INSECURE variable; towards the
            // own machine nobody means TLS.
            "" if insecure || matches!(parsed.host(), "localhost" | "127.0.0.1" | "[::1]") => {
                "http".to_owned()
            }
            "" => "https".to_owned(),
            _ => return Err(wrong("is not an http or https address")),
        };
        Ok(Self {
            scheme,
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }

    /// The registered ports tell; else OpenTelemetry's default.
    fn likely_protocol(&self) -> Protocol {
        if self.authority.ends_with(":4317") {
            Protocol::Grpc
        } else {
            Protocol::HttpProtobuf
        }
    }

    fn endpoint(&self, protocol: Protocol, own: &str, verbatim: bool) -> String {
        let Self {
            scheme,
            authority,
            path,
        } = self;
        let path = match protocol {
            Protocol::Grpc => "",
            Protocol::HttpProtobuf if verbatim && path.is_empty() => "/",
            Protocol::HttpProtobuf if verbatim || path.ends_with(own) => path,
            Protocol::HttpProtobuf => {
                // One that was given with the path for spans is that of a collector as well.
                let path = path.strip_suffix(TRACES_PATH).unwrap_or(path);
                let path = path.trim_end_matches('/');
                return format!("{scheme}://{authority}{path}{own}");
            }
        };
        format!("{scheme}://{authority}{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(
        endpoint: Option<&str>,
        protocol: Option<&str>,
        env: &[(&str, &str)],
    ) -> Result<Option<Config>, ConfigError> {
        Config::resolve(endpoint, protocol, &|name| {
            env.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        })
    }

    fn target(
        endpoint: Option<&str>,
        protocol: Option<&str>,
        env: &[(&str, &str)],
    ) -> (Protocol, String) {
        let config = resolve(endpoint, protocol, env).unwrap().unwrap();
        (config.protocol, config.endpoint)
    }

    #[test]
    fn nothing_asked_for() {
        assert_eq!(resolve(None, None, &[]), Ok(None));
        let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", " ")];
        assert_eq!(resolve(None, None, &env), Ok(None));
        let env = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ];
        assert_eq!(resolve(None, None, &env), Ok(None));
    }

    #[test]
    fn endpoints_and_protocols() {
        use Protocol::{Grpc, HttpProtobuf as Http};
        const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        const OWN: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        type Case<'a> = (
            Option<&'a str>,
            Option<&'a str>,
            &'a [(&'a str, &'a str)],
            Protocol,
            &'a str,
        );
        let cases: &[Case<'_>] = &[
            (Some("http://c:4317"), None, &[], Grpc, "http://c:4317"),
            (Some("http://c:4317/"), None, &[], Grpc, "http://c:4317"),
            (
                Some("http://c:4318"),
                None,
                &[],
                Http,
                "http://c:4318/v1/traces",
            ),
            (
                Some("https://c/otlp/"),
                None,
                &[],
                Http,
                "https://c/otlp/v1/traces",
            ),
            (
                Some("http://c/x/v1/traces"),
                None,
                &[],
                Http,
                "http://c/x/v1/traces",
            ),
            (Some("https://c"), Some("grpc"), &[], Grpc, "https://c"),
            (
                Some("localhost:4317"),
                None,
                &[],
                Grpc,
                "http://localhost:4317",
            ),
            (Some("[::1]:4317"), None, &[], Grpc, "http://[::1]:4317"),
            (Some("c:4317"), None, &[], Grpc, "https://c:4317"),
            (
                Some("c:4317"),
                None,
                &[("OTEL_EXPORTER_OTLP_INSECURE", "True")],
                Grpc,
                "http://c:4317",
            ),
            (None, Some("grpc"), &[], Grpc, "http://localhost:4317"),
            (
                None,
                None,
                &[("OTEL_TRACES_EXPORTER", "otlp")],
                Http,
                "http://localhost:4318/v1/traces",
            ),
            // The flag wins over the variables, the signal's variable over the general one.
            (
                Some("http://f:4317"),
                None,
                &[(ALL, "http://e:4318")],
                Grpc,
                "http://f:4317",
            ),
            (
                None,
                None,
                &[(ALL, "http://e:4318")],
                Http,
                "http://e:4318/v1/traces",
            ),
            (
                None,
                None,
                &[(ALL, "http://e:4318"), (OWN, "http://t:1/own")],
                Http,
                "http://t:1/own",
            ),
            (None, None, &[(OWN, "http://t:1")], Http, "http://t:1/"),
            (
                Some("http://c:4318"),
                None,
                &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
                Grpc,
                "http://c:4318",
            ),
            (
                Some("http://c:4318"),
                Some("http/protobuf"),
                &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
                Http,
                "http://c:4318/v1/traces",
            ),
        ];
        for (endpoint, protocol, env, want_protocol, want) in cases {
            assert_eq!(
                target(*endpoint, *protocol, env),
                (*want_protocol, (*want).to_owned()),
                "{endpoint:?} {protocol:?} {env:?}"
            );
        }
    }

    #[test]
    fn metrics_have_their_own_settings() {
        let resolve = |flag: Option<&str>, env: &[(&str, &str)]| {
            let found = Config::resolve_metrics(flag, None, &|name| {
                let found = env.iter().find(|(n, _)| *n == name);
                found.map(|(_, v)| (*v).to_owned())
            });
            let config = found.unwrap();
            config.map(|c| (c.endpoint, c.schedule_delay.as_millis()))
        };
        let at = |endpoint: &str, millis| Some((endpoint.to_owned(), millis));
        const ALL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://e:4318");
        assert_eq!(resolve(None, &[]), None);
        assert_eq!(
            resolve(None, &[ALL]),
            at("http://e:4318/v1/metrics", 60_000)
        );
        assert_eq!(
            resolve(
                Some("http://c/x/v1/traces"),
                &[("OTEL_METRIC_EXPORT_INTERVAL", "1500")]
            ),
            at("http://c/x/v1/metrics", 1500)
        );
        assert_eq!(
            resolve(Some("http://c:4317"), &[]),
            at("http://c:4317", 60_000)
        );
        for other in ["none", "prometheus", "console"] {
            let env = [ALL, ("OTEL_METRICS_EXPORTER", other)];
            assert_eq!(resolve(Some("http://c:4317"), &env), None);
        }
        let env = [("OTEL_METRICS_EXPORTER", "prometheus, otlp")];
        assert_eq!(
            resolve(None, &env),
            at("http://localhost:4318/v1/metrics", 60_000)
        );
        let env = [
            ALL,
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:1/own"),
            ("OTEL_BSP_SCHEDULE_DELAY", "1"),
        ];
        assert_eq!(resolve(None, &env), at("http://m:1/own", 60_000));
    }

    #[test]
    fn headers_from_the_environment() {
        let read = |own: &str| {
            headers(Signal::Metrics, &|name| match name {
                "OTEL_EXPORTER_OTLP_METRICS_HEADERS" => Some(own.to_owned()),
                "OTEL_EXPORTER_OTLP_HEADERS" => Some("x=all".to_owned()),
                _ => None,
            })
        };
        let all = read(" Authorization = Bearer%20a%3Db%zz , x-b=1=2,").unwrap();
        assert_eq!(all["authorization"], "Bearer a=b%zz");
        assert_eq!(all["x-b"], "1=2");
        assert_eq!(all.len(), 2);
        assert!(!format!("{all:?}").contains("Bearer"));
        assert_eq!(read("").unwrap()["x"], "all");
        let error = read("a=1, secret").unwrap_err().to_string();
        assert_eq!(
            error,
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS: item 2 is not name=value"
        );
    }

    #[test]
    fn the_rest_of_the_variables() {
        let env = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://e:4317"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "7000"),
        ];
        let config = resolve(None, None, &env).unwrap().unwrap();
        assert!(config.gzip);
        assert_eq!(config.timeout, Duration::from_millis(2500));
        assert_eq!(config.ca_file, Some("/ca.pem".into()));
        let identity = Some(("/c.pem".into(), "/k.pem".into()));
        assert_eq!(config.client_identity, identity);
        assert_eq!((config.max_queue, config.max_batch), (100, 100));
        assert_eq!(config.schedule_delay, Duration::from_millis(200));
        assert_eq!(config.export_timeout, Duration::from_secs(7));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |endpoint, protocol, env: &[(&str, &str)]| {
            resolve(endpoint, protocol, env).unwrap_err().to_string()
        };
        assert_eq!(
            message(Some("http://"), None, &[]),
            "--otlp-endpoint: `http://` has no valid host; \
             expected something like http://localhost:4317"
        );
        assert!(message(Some("ftp://c"), None, &[]).contains("not an http or https address"));
        assert_eq!(
            message(Some("http://c"), Some("http/json"), &[]),
            "--otlp-protocol: `http/json` is not supported; use grpc or http/protobuf"
        );
        assert_eq!(
            message(Some("http://c"), None, &[("OTEL_BSP_SCHEDULE_DELAY", "5s")]),
            "OTEL_BSP_SCHEDULE_DELAY: `5s` is not a number of milliseconds"
        );
        let env = [("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem")];
        assert!(message(Some("http://c"), None, &env).contains("needs its key"));
        let env = [("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")];
        assert!(message(Some("http://c"), None, &env).contains("use gzip or none"));
    }
}
