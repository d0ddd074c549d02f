//! Headers of requests, which hold tokens.

use super::environment::Env;
use super::{ConfigError, Signal};

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
        let header = item
            .split_once('=')
            .and_then(|(name, value)| header(name, &percent_decoded(value.trim())));
        let Some((name, value)) = header else {
            let problem = format!("item {} is not name=value", n + 1);
            return Err(ConfigError::new(&variable, problem));
        };
        all.insert(name, value);
    }
    Ok(all)
}

/// A header, whose value nothing prints; none of what cannot be one.
pub(super) fn header(name: &str, value: &[u8]) -> Option<(http::HeaderName, http::HeaderValue)> {
    let name = name.trim().parse().ok()?;
    let mut value = http::HeaderValue::from_bytes(value).ok()?;
    value.set_sensitive(true);
    Some((name, value))
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
