//! Recorded exchanges of real providers (VCR cassettes).

use anyhow::{Context as _, Result};
use base64::Engine as _;
use flate2::Crc;
use flate2::read::GzDecoder;
use serde_json::Value;
use serde_yaml_ng::Value as Yaml;
use std::io::Read as _;
use std::path::Path;

/// One recorded exchange.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Method.
    pub method: String,
    /// Host that was addressed.
    pub host: String,
    /// Path without the query.
    pub path: String,
    /// Query.
    pub query: String,
    /// Headers of the request, names in lower case.
    pub request_headers: Vec<(String, String)>,
    /// Body of the request.
    pub request: Vec<u8>,
    /// Status of the answer.
    pub status: u16,
    /// Headers of the answer, names in lower case.
    pub response_headers: Vec<(String, String)>,
    /// Body of the answer, decoded.
    pub response: Vec<u8>,
}

impl Exchange {
    /// The answer is a stream of events.
    #[must_use]
    pub fn streams(&self) -> bool {
        header(&self.response_headers, "content-type").contains("event-stream")
    }

    /// The answer is in Amazon's frames.
    #[must_use]
    pub fn is_framed(&self) -> bool {
        header(&self.response_headers, "content-type").contains("amazon.eventstream")
    }

    /// The answer is one document a line.
    #[must_use]
    pub fn is_lines(&self) -> bool {
        header(&self.response_headers, "content-type").contains("ndjson")
    }

    /// The request's body as one document; null when it is none.
    #[must_use]
    pub fn asked(&self) -> Value {
        serde_json::from_slice(&self.request)
            // Some were written by hand, with one comma too many.
            .or_else(|_| {
                let text = String::from_utf8_lossy(&self.request);
                serde_json::from_str(&text.replace(", }", " }"))
            })
            .unwrap_or_default()
    }

    /// The answer as one document; null when it is none.
    #[must_use]
    pub fn answer(&self) -> Value {
        serde_json::from_slice(&self.response).unwrap_or_default()
    }
}

/// The exchanges of a cassette.
///
/// # Errors
///
/// When it is no cassette.
pub fn load(path: &Path) -> Result<Vec<Exchange>> {
    let mut text = std::fs::read_to_string(path)?;
    // One says its version twice, which YAML does not allow.
    while text.matches("\nversion: 1\n").count() > 1 {
        text = text.replacen("\nversion: 1\n", "\n", 1);
    }
    let root: Yaml = serde_yaml_ng::from_str(&text)?;
    let list = root["interactions"]
        .as_sequence()
        .context("no list of interactions")?;
    list.iter().map(exchange).collect()
}

fn exchange(y: &Yaml) -> Result<Exchange> {
    let (request, response) = (&y["request"], &y["response"]);
    let uri = request["uri"]
        .as_str()
        .or(request["url"].as_str())
        .context("no URI")?;
    let rest = uri.split_once("://").map_or(uri, |(_, r)| r);
    // A fragment is the client's own.
    let rest = rest.split_once('#').map_or(rest, |(r, _)| r);
    let (host, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let response_headers = headers(&response["headers"]);
    let encoding = header(&response_headers, "content-encoding");
    let status = &response["status"];
    let status = status["code"].as_u64().or(status.as_u64()).unwrap_or(200);
    let body = [&response["body"], &response["content"]];
    let body = body
        .into_iter()
        .find(|b| !b.is_null())
        .map_or_else(Vec::new, bytes);
    Ok(Exchange {
        method: request["method"]
            .as_str()
            .context("no method")?
            .to_ascii_uppercase(),
        host: host.to_owned(),
        path: if path.is_empty() { "/" } else { path }.to_owned(),
        query: query.to_owned(),
        request: bytes(&request["body"]),
        request_headers: headers(&request["headers"]),
        status: u16::try_from(status)?,
        response: if encoding == "gzip" {
            gunzip(body)
        } else if header(&response_headers, "content-type").contains("amazon.eventstream") {
            binary(&body).unwrap_or_else(|| framed(&body))
        } else {
            body
        },
        response_headers,
    })
}

fn headers(y: &Yaml) -> Vec<(String, String)> {
    let text = |v: &Yaml| v.as_str().unwrap_or_default().to_owned();
    let map = y.as_mapping().cloned().unwrap_or_default();
    map.iter()
        .map(|(k, v)| {
            let value = v.as_sequence().and_then(|s| s.first()).unwrap_or(v);
            (text(k).to_ascii_lowercase(), text(value))
        })
        .collect()
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
    let found = headers.iter().find(|(n, _)| n == name);
    found.map_or("", |(_, v)| v)
}

fn bytes(y: &Yaml) -> Vec<u8> {
    let json = || serde_json::to_vec(y).unwrap_or_default();
    match y {
        Yaml::String(text) => text.clone().into_bytes(),
        Yaml::Tagged(tagged) => bytes(&tagged.value),
        Yaml::Mapping(map) => {
            let inner = map.get("string").or_else(|| map.get("base64_string"));
            inner.map_or_else(json, bytes)
        }
        Yaml::Sequence(_) => json(),
        _ => Vec::new(),
    }
}

/// Base64 of `!!binary`, which the YAML parser leaves as it is.
fn binary(body: &[u8]) -> Option<Vec<u8>> {
    let mut digits = body.to_vec();
    digits.retain(|b| !b.is_ascii_whitespace());
    base64::engine::general_purpose::STANDARD
        .decode(digits)
        .ok()
}

/// Amazon's frames of what is written as text: a line for each, its event before its payload.
fn framed(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in String::from_utf8_lossy(text).lines() {
        let (event, payload) = line.split_once(' ').unwrap_or((line, ""));
        let headers = [
            (":event-type", event),
            (":content-type", "application/json"),
            (":message-type", "event"),
        ];
        let mut head = Vec::new();
        for (name, value) in headers {
            let length = u16::try_from(value.len()).unwrap_or_default();
            head.push(u8::try_from(name.len()).unwrap_or_default());
            head.extend(name.bytes());
            // A string.
            head.push(7);
            head.extend(length.to_be_bytes());
            head.extend(value.bytes());
        }
        let size = |n: usize| u32::try_from(n).unwrap_or_default().to_be_bytes();
        let mut frame = Vec::new();
        frame.extend(size(head.len() + payload.len() + 16));
        frame.extend(size(head.len()));
        frame.extend(checksum(&frame));
        frame.extend(head);
        frame.extend(payload.bytes());
        frame.extend(checksum(&frame));
        out.extend(frame);
    }
    out
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().to_be_bytes()
}

/// What was compressed; recordings have it as such, or decoded.
fn gunzip(body: Vec<u8>) -> Vec<u8> {
    let bytes = binary(&body)
        .filter(|b| b.starts_with(&[0x1f, 0x8b]))
        .unwrap_or(body);
    let mut out = Vec::new();
    match GzDecoder::new(bytes.as_slice()).read_to_end(&mut out) {
        Ok(_) => out,
        Err(_) => bytes,
    }
}

/// The events of a stream: name and data.
#[must_use]
pub fn events(body: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(body).replace("\r\n", "\n");
    let frames = text.split("\n\n").filter(|f| !f.trim().is_empty());
    frames
        .map(|frame| {
            let of = |name: &str| {
                let lines = frame
                    .lines()
                    .filter_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
                let values: Vec<_> = lines.map(|v| v.strip_prefix(' ').unwrap_or(v)).collect();
                values.join("\n")
            };
            (of("event"), of("data"))
        })
        .filter(|(_, data)| !data.is_empty())
        .collect()
}
