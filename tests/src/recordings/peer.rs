//! What the in-process instrumentation reported for a recording.

use super::Seen;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::Path;

/// Methods of the SDK that it makes spans of.
const SEEN: [&str; 3] = [
    "chat.completions.create",
    "embeddings.create",
    "responses.create",
];

/// Its report on one recording.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The SDK that it watched.
    pub sdk: String,
    /// How each exchange was sent.
    pub sent: Vec<String>,
    /// Its spans, in the order of the exchanges that it sees.
    pub spans: Vec<Seen>,
}

impl Peer {
    /// Reads a report.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let root: Value = serde_json::from_slice(&bytes)?;
        let sent = root["interactions"].as_array().context("no interactions")?;
        let spans = root["spans"].as_array().context("no spans")?;
        Ok(Self {
            sdk: root["sdk"].as_str().unwrap_or_default().to_owned(),
            sent: sent
                .iter()
                .map(|i| i["via"].as_str().unwrap_or_default().to_owned())
                .collect(),
            spans: spans.iter().map(Seen::of_peer).collect::<Result<_>>()?,
        })
    }
}

/// Whether the peer makes a span of an exchange sent this way.
#[must_use]
pub fn sees(via: &str) -> bool {
    SEEN.iter().any(|method| via.contains(method))
}
