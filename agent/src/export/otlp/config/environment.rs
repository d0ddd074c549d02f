//! The environment: variables for a signal and for all, and values in their forms.

use super::{ConfigError, Signal};
use std::time::Duration;

/// What the variables for all signals begin with.
const ALL_PREFIX: &str = "OTEL_EXPORTER_OTLP_";

/// The environment; an empty variable counts as unset, as OpenTelemetry wants it.
pub(super) struct Env<'a>(
    pub(super) &'a dyn Fn(&str) -> Option<String>,
    pub(super) Signal,
);

impl Env<'_> {
    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|v| !v.trim().is_empty())
    }

    pub(super) fn named(&self, name: &'static str) -> Option<(&'static str, String)> {
        self.get(name).map(|v| (name, v))
    }

    /// The variable for the signal, else the one for all signals.
    pub(super) fn signal(&self, what: &str) -> Option<(String, String)> {
        [self.1.names().prefix, ALL_PREFIX]
            .iter()
            .map(|prefix| format!("{prefix}{what}"))
            .find_map(|name| self.get(&name).map(|value| (name, value)))
    }
}

pub(super) fn is_true(value: &str) -> bool {
    value.trim().eq_ignore_ascii_case("true")
}

pub(super) fn positive(name: &str, value: &str) -> Result<usize, ConfigError> {
    match value.trim().parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(ConfigError::new(
            name,
            format!("`{value}` is not a number above zero"),
        )),
    }
}

pub(super) fn millis(name: &str, value: &str) -> Result<Duration, ConfigError> {
    positive(name, value)
        .map(|n| Duration::from_millis(n as u64))
        .map_err(|_| ConfigError::new(name, format!("`{value}` is not a number of milliseconds")))
}
