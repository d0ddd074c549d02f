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
    /// Spans that may wait.
    pub max_queue: usize,
    /// Bytes (estimated) that waiting spans may hold: content makes spans of any size.
    pub max_queue_bytes: usize,
    /// Spans per export.
    pub max_batch: usize,
    /// Spans wait at most this long before they are sent.
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
            protocol,
            endpoint: endpoint.into(),
            gzip: false,
            timeout: Duration::from_secs(10),
            ca_file: None,
            client_identity: None,
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
        let env = Env(env);
        let exporter = env.get("OTEL_TRACES_EXPORTER");
        if endpoint_flag.is_none() && exporter.as_deref() == Some("none") {
            return Ok(None);
        }
        let given = endpoint_flag
            .map(|e| ("--otlp-endpoint", e.to_owned()))
            .or_else(|| env.named(TRACES_ENDPOINT))
            .or_else(|| env.named("OTEL_EXPORTER_OTLP_ENDPOINT"));
        if given.is_none() && protocol_flag.is_none() && exporter.as_deref() != Some("otlp") {
            return Ok(None);
        }
        let named_protocol = protocol_flag
            .map(|p| ("--otlp-protocol", p.to_owned()))
            .or_else(|| env.named("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"))
            .or_else(|| env.named("OTEL_EXPORTER_OTLP_PROTOCOL"));
        let named_protocol = match named_protocol {
            Some((name, value)) => Some(parse_protocol(name, &value)?),
            None => None,
        };
        let (protocol, endpoint) = match given {
            None => {
                let protocol = named_protocol.unwrap_or(Protocol::HttpProtobuf);
                (protocol, default_endpoint(protocol).to_owned())
            }
            Some((name, value)) => {
                let insecure = env.signal("INSECURE").is_some_and(|(_, v)| is_true(&v));
                let url = Url::parse(name, &value, insecure)?;
                let protocol = named_protocol.unwrap_or_else(|| url.likely_protocol());
                (protocol, url.endpoint(protocol, name == TRACES_ENDPOINT))
            }
        };
        let mut config = Self::new(protocol, endpoint);
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
        if let Some((name, value)) = env.named("OTEL_BSP_MAX_QUEUE_SIZE") {
            self.max_queue = positive(name, &value)?;
        }
        if let Some((name, value)) = env.named("OTEL_BSP_MAX_EXPORT_BATCH_SIZE") {
            self.max_batch = positive(name, &value)?;
        }
        self.max_batch = self.max_batch.min(self.max_queue);
        if let Some((name, value)) = env.named("OTEL_BSP_SCHEDULE_DELAY") {
            self.schedule_delay = millis(name, &value)?;
        }
        if let Some((name, value)) = env.named("OTEL_BSP_EXPORT_TIMEOUT") {
            self.export_timeout = millis(name, &value)?;
        }
        Ok(())
    }
}

const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const TRACES_PATH: &str = "/v1/traces";

/// The environment; an empty variable counts as unset, as OpenTelemetry wants it.
struct Env<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Env<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|v| !v.trim().is_empty())
    }

    fn named(&self, name: &'static str) -> Option<(&'static str, String)> {
        self.get(name).map(|v| (name, v))
    }

    /// The variable for traces, else the one for all signals.
    fn signal(&self, what: &str) -> Option<(String, String)> {
        ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"]
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

const fn default_endpoint(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Grpc => "http://localhost:4317",
        Protocol::HttpProtobuf => "http://localhost:4318/v1/traces",
    }
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

    fn endpoint(&self, protocol: Protocol, verbatim: bool) -> String {
        let Self {
            scheme,
            authority,
            path,
        } = self;
        let path = match protocol {
            Protocol::Grpc => "",
            Protocol::HttpProtobuf if verbatim && path.is_empty() => "/",
            Protocol::HttpProtobuf if verbatim || path.ends_with(TRACES_PATH) => path,
            Protocol::HttpProtobuf => {
                let path = path.trim_end_matches('/');
                return format!("{scheme}://{authority}{path}{TRACES_PATH}");
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
                &[(ALL, "http://e:4318"), (TRACES_ENDPOINT, "http://t:1/own")],
                Http,
                "http://t:1/own",
            ),
            (
                None,
                None,
                &[(TRACES_ENDPOINT, "http://t:1")],
                Http,
                "http://t:1/",
            ),
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
