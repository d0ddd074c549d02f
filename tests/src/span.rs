//! Spans as the agent writes them.

use anyhow::{Context as _, Result};
use genspan::vocabulary::attr;
use serde_json::Value;

/// A span, as one line of JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Span(pub Value);

impl Span {
    /// All spans of an output file.
    ///
    /// # Errors
    ///
    /// When a line is not JSON.
    pub fn all(text: &str) -> Result<Vec<Self>> {
        text.lines()
            .map(|line| {
                Ok(Self(
                    serde_json::from_str(line).with_context(|| line.to_owned())?,
                ))
            })
            .collect()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0["name"].as_str().unwrap_or_default()
    }

    /// Its kind: `CLIENT`, `SERVER`, `INTERNAL`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0["kind"].as_str().unwrap_or_default()
    }

    /// An attribute; null when it is not there.
    #[must_use]
    pub fn attribute(&self, name: &str) -> &Value {
        &self.0["attributes"][name]
    }

    /// An attribute that is text; empty when it is not there.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.attribute(name).as_str().unwrap_or_default()
    }

    /// An attribute that is a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        self.attribute(name).as_i64()
    }

    /// An attribute that is a list of texts; empty when it is not there.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        let list = self.attribute(name).as_array();
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    }

    /// A resource attribute; null when it is not there.
    #[must_use]
    pub fn resource(&self, name: &str) -> &Value {
        &self.0["resource"][name]
    }

    /// The process that it is of.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let pid = self
            .resource(genspan::vocabulary::resource::PROCESS_PID)
            .as_u64();
        pid.and_then(|pid| u32::try_from(pid).ok())
            .unwrap_or_default()
    }

    /// The model asked for.
    #[must_use]
    pub fn model(&self) -> &str {
        self.text(attr::REQUEST_MODEL)
    }

    /// What could not be seen right.
    #[must_use]
    pub fn defects(&self) -> Vec<String> {
        self.list(attr::DEFECTS)
    }

    /// `error.type`; empty when there is none.
    #[must_use]
    pub fn error(&self) -> &str {
        self.text(attr::ERROR_TYPE)
    }

    /// The messages in an attribute that holds JSON.
    #[must_use]
    pub fn messages(&self, name: &str) -> Vec<Value> {
        serde_json::from_str(self.text(name)).unwrap_or_default()
    }

    /// The text of each message in an attribute that holds messages.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<String> {
        self.messages(name).iter().map(text_of).collect()
    }

    /// When it began, in nanoseconds of wall time.
    #[must_use]
    pub fn start(&self) -> u64 {
        let start = self.0["start_time_unix_nano"].as_str();
        start.and_then(|t| t.parse().ok()).unwrap_or_default()
    }

    /// Nanoseconds from start to end.
    #[must_use]
    pub fn duration(&self) -> u64 {
        let time = |name: &str| self.0[name].as_str().and_then(|t| t.parse::<u64>().ok());
        let start = time("start_time_unix_nano").unwrap_or_default();
        time("end_time_unix_nano")
            .unwrap_or_default()
            .saturating_sub(start)
    }
}

/// All text and refusals of a message.
fn text_of(message: &Value) -> String {
    let parts = message["parts"].as_array();
    parts
        .into_iter()
        .flatten()
        .filter(|part| matches!(part["type"].as_str(), Some("text" | "refusal")))
        .filter_map(|part| part["content"].as_str())
        .collect()
}
