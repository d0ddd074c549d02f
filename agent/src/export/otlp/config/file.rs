//! Endpoints in a configuration file.

use super::environment::Env;
use super::headers::header;
use super::url::Url;
use super::{Config, ConfigError, Protocol, Signal};
use crate::export::size::Size;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The section `export`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExportFile {
    /// Where to, instead of what the environment says.
    pub endpoints: Vec<EndpointFile>,
    /// Where what cannot be delivered waits.
    pub spool: Option<SpoolFile>,
}

impl ExportFile {
    /// Whether it names files of certificates, whose content may change.
    #[must_use]
    pub fn has_certificates(&self) -> bool {
        let mut all = self.endpoints.iter();
        all.any(|e| e.certificate.is_some() || e.client_certificate.is_some())
    }

    /// Whether it has values of headers that are no variables.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        let headers = self.endpoints.iter().flat_map(|e| e.headers.values());
        headers.into_iter().any(|value| !value.contains("${"))
    }
}

/// The section `export.spool`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpoolFile {
    /// Which directory.
    pub directory: PathBuf,
    /// What all in it may take.
    #[serde(default)]
    pub max_bytes: Option<Size>,
}

/// One of `export.endpoints`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointFile {
    #[serde(deserialize_with = "address")]
    url: String,
    #[serde(default)]
    protocol: Option<ProtocolFile>,
    /// What it takes.
    #[serde(default = "all_signals")]
    signals: Vec<Signal>,
    #[serde(default, deserialize_with = "headers")]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    compression: Option<CompressionFile>,
    #[serde(default)]
    timeout_ms: Option<std::num::NonZeroU32>,
    #[serde(default)]
    certificate: Option<PathBuf>,
    #[serde(default)]
    client_certificate: Option<PathBuf>,
    #[serde(default)]
    client_key: Option<PathBuf>,
    #[serde(default)]
    queue: Option<std::num::NonZeroU32>,
}

/// Without the headers' values, which are tokens.
impl std::fmt::Debug for EndpointFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointFile")
            .field("url", &self.url)
            .field("headers", &self.headers.keys())
            .finish_non_exhaustive()
    }
}

/// The address of an endpoint, while it is known where it stands.
fn address<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    Url::parse("url", &text, false).map_err(D::Error::custom)?;
    Ok(text)
}

/// Headers whose names can be some. What variables stand in their values is not looked up here.
fn headers<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let all = BTreeMap::<String, String>::deserialize(from)?;
    match all.keys().find(|name| header(name, b"").is_none()) {
        Some(name) => Err(D::Error::custom(format!(
            "headers: `{name}` cannot be the name of a header; expected one as in x-api-key"
        ))),
        None => Ok(all),
    }
}

fn all_signals() -> Vec<Signal> {
    vec![Signal::Traces, Signal::Metrics, Signal::Logs]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum ProtocolFile {
    #[serde(rename = "grpc")]
    Grpc,
    #[serde(rename = "http/protobuf")]
    Http,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CompressionFile {
    Gzip,
    None,
}

impl Config {
    /// What the `n`th endpoint of a file (from one) says of a signal; none if it does not take that. Of
    /// the environment only the sizes of batches and queues count, and what `${NAME}` in a header
    /// stands for: other headers, keys and certificates of the environment are another endpoint's.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn from_file(
        signal: Signal,
        n: usize,
        file: &EndpointFile,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ConfigError> {
        if !file.signals.contains(&signal) {
            return Ok(None);
        }
        let name = |key: &str| format!("export.endpoints, number {n}: {key}");
        let url = Url::parse(&name("url"), &file.url, false)?;
        let protocol = match file.protocol {
            Some(ProtocolFile::Grpc) => Protocol::Grpc,
            Some(ProtocolFile::Http) => Protocol::HttpProtobuf,
            None => url.likely_protocol(),
        };
        let endpoint = url.endpoint(protocol, signal.names().path, false);
        let mut config = Self::new(protocol, endpoint);
        config.signal = signal;
        config.read_batching(&Env(env, signal))?;
        if let Some(queue) = file.queue {
            config.max_queue = queue.get() as usize;
            config.max_batch = config.max_batch.min(config.max_queue);
        }
        for (key, value) in &file.headers {
            let name = name(&format!("header `{key}`"));
            let value = expanded(value, env)
                .map_err(|missing| ConfigError::new(&name, format!("{missing} is not set")))?;
            let (key, value) = header(key, value.as_bytes())
                .ok_or_else(|| ConfigError::new(&name, "it cannot be a header"))?;
            config.headers.insert(key, value);
        }
        config.gzip = file.compression == Some(CompressionFile::Gzip);
        if let Some(timeout) = file.timeout_ms {
            config.timeout = Duration::from_millis(timeout.get().into());
        }
        config.ca_file.clone_from(&file.certificate);
        config.client_identity = match (&file.client_certificate, &file.client_key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            _ => {
                let problem = "it needs client_key, and that needs it";
                return Err(ConfigError::new(&name("client_certificate"), problem));
            }
        };
        Ok(Some(config))
    }
}

/// With the environment's values for `${NAME}`; the name of one that is not set otherwise.
fn expanded(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((name, behind)) = after.split_once('}') else {
            out.push_str("${");
            rest = after;
            continue;
        };
        out.push_str(&env(name).ok_or_else(|| name.to_owned())?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> ExportFile {
        serde_yaml_ng::from_str(yaml).unwrap()
    }

    fn env(name: &str) -> Option<String> {
        let value = match name {
            "TOKEN" => "s3",
            "OTEL_BSP_MAX_QUEUE_SIZE" => "77",
            "OTEL_EXPORTER_OTLP_HEADERS" => "x-other=secret",
            "OTEL_EXPORTER_OTLP_COMPRESSION" => "gzip",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn each_endpoint_has_its_own() {
        let file = read(
            "
            endpoints:
              - url: https://a.example:4317
                headers: {authorization: 'Bearer ${TOKEN}', x-b: 'a${'}
                compression: gzip
                timeout_ms: 1500
                certificate: /ca.pem
                client_certificate: /c.pem
                client_key: /k.pem
                queue: 10
              - url: http://b.example/otlp
                signals: [metrics, traces]
                protocol: http/protobuf
            spool: {directory: /var/spool/genspan, max_bytes: 2G}",
        );
        let of = |n: usize, signal| Config::from_file(signal, n + 1, &file.endpoints[n], &env);
        let a = of(0, Signal::Traces).unwrap().unwrap();
        assert_eq!(
            (a.protocol, a.endpoint.as_str()),
            (Protocol::Grpc, "https://a.example:4317")
        );
        assert_eq!(a.headers["authorization"], "Bearer s3");
        assert_eq!(
            (a.headers["x-b"].as_bytes(), a.headers.len()),
            (&b"a${"[..], 2)
        );
        assert!(!format!("{a:?}").contains("s3"));
        assert!(a.gzip && a.timeout == Duration::from_millis(1500));
        assert_eq!((a.max_queue, a.max_batch), (10, 10));
        assert_eq!(a.ca_file, Some("/ca.pem".into()));
        assert_eq!(a.client_identity, Some(("/c.pem".into(), "/k.pem".into())));

        let b = of(1, Signal::Metrics).unwrap().unwrap();
        assert_eq!(b.endpoint, "http://b.example/otlp/v1/metrics");
        assert!(b.headers.is_empty() && !b.gzip && b.ca_file.is_none());
        assert_eq!(of(1, Signal::Logs), Ok(None));
        assert_eq!(of(1, Signal::Traces).unwrap().unwrap().max_queue, 77);
        assert!(!file.has_secrets());
        assert!(read("endpoints: [{url: a, headers: {x: t}}]").has_secrets());
        let spool = file.spool.unwrap();
        assert_eq!(spool.max_bytes, Some(Size(2 << 30)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (yaml, want) in [
            (
                "{url: 'http://a', headers: {k: '${NO}'}}",
                "header `k`: NO is not set",
            ),
            (
                "{url: 'http://a', headers: {k: \"a\\nb\"}}",
                "header `k`: it cannot be a header",
            ),
            (
                "{url: 'http://a', client_key: /k}",
                "client_certificate: it needs client_key",
            ),
        ] {
            let file = serde_yaml_ng::from_str(yaml).unwrap();
            let error = Config::from_file(Signal::Traces, 1, &file, &env).unwrap_err();
            assert!(error.to_string().contains(want), "{error}");
        }
        for (yaml, want) in [
            (
                "endpoints:\n  - {url: 'http://a', protocol: thrift}",
                "expected `grpc` or `http/protobuf`",
            ),
            (
                "endpoints:\n  - {url: 'http://a', signals: [spans]}",
                "expected one of `traces`",
            ),
            (
                "endpoints:\n  - {url: 'http://a', header: {}}",
                "unknown field `header`",
            ),
            ("endpoints: [{}]", "missing field `url`"),
            (
                "endpoints:\n  - url: ftp://a\n",
                "endpoints[0]: url: `ftp://a` is not an http or https address; expected something like \
                 http://localhost:4317 at line 2",
            ),
            (
                "endpoints: [{url: 'http://u:p@a'}]",
                "must not hold a user or password",
            ),
            (
                "endpoints:\n  - url: http://a\n    headers: {'k k': v}\n",
                "endpoints[0]: headers: `k k` cannot be the name of a header; expected one as in x-api-key at line 2",
            ),
            ("spool: {max_bytes: 1G}", "missing field `directory`"),
            ("spool: {directory: /a, max_bytes: many}", "as in 512M"),
            ("spool: {directory: /a, max_bytes: -1}", "as in 512M"),
        ] {
            let error = serde_yaml_ng::from_str::<ExportFile>(yaml)
                .unwrap_err()
                .to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
