//! Addresses of endpoints.

use super::signal::TRACES_PATH;
use super::{ConfigError, Protocol};

/// The address of an endpoint.
pub(super) struct Url {
    scheme: String,
    authority: String,
    path: String,
}

impl Url {
    pub(super) fn parse(name: &str, value: &str, insecure: bool) -> Result<Self, ConfigError> {
        let value = value.trim();
        // A password may hold what ends an authority, and must be in no message: no `@` at all.
        if value.contains('@') {
            let problem = "the address must not hold a user or password; use \
                OTEL_EXPORTER_OTLP_HEADERS (an `@` in its path is written %40)";
            return Err(ConfigError::new(name, problem));
        }
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
        if parsed.host().is_empty() {
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
    pub(super) fn likely_protocol(&self) -> Protocol {
        if self.authority.ends_with(":4317") {
            Protocol::Grpc
        } else {
            Protocol::HttpProtobuf
        }
    }

    pub(super) fn endpoint(&self, protocol: Protocol, own: &str, verbatim: bool) -> String {
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

/// The endpoint when none is named.
pub(super) fn default_endpoint(protocol: Protocol, path: &str) -> String {
    match protocol {
        Protocol::Grpc => "http://localhost:4317".to_owned(),
        Protocol::HttpProtobuf => format!("http://localhost:4318{path}"),
    }
}
