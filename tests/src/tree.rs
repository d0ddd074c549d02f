//! Small servers that many clients ask at the same time, and the tree of spans that comes of it: a request's
//! id is in its query and in what models are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use genspan::vocabulary::attr;

use crate::{Span, Temp, agent};

/// More spans above each other than there ever are: parents that go round end there.
const MAX_DEPTH: usize = 64;

/// What a server on this port of loopback answers to a request for `path`, which closes its connection.
///
/// # Errors
///
/// When it does not answer, or with another status than 200.
pub fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.split(' ').nth(1) == Some("200"), "/{path}: {answer}");
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    Ok(body.to_owned())
}

/// Asks a server from so many clients at the same time, each so many times, one of `paths` after the other,
/// and says which path each request (its `id`, from one on) was for.
///
/// # Errors
///
/// When one is not answered.
pub fn crowd(
    port: u16,
    (clients, requests): (u32, u32),
    paths: &[&'static str],
) -> Result<BTreeMap<u32, usize>> {
    let mut asked = BTreeMap::new();
    let mut threads = Vec::new();
    for client in 0..clients {
        let mut asks = Vec::new();
        for n in 0..requests {
            let route = (client + n) as usize % paths.len();
            let id = 1 + client * requests + n;
            asked.insert(id, route);
            asks.push(format!("{}?id={id}", paths[route]));
        }
        threads.push(thread::spawn(move || -> Result<()> {
            asks.iter().try_for_each(|path| get(port, path).map(|_| ()))
        }));
    }
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a client panicked"))??;
    }
    Ok(asked)
}

/// The id that a text has in it behind `before`.
#[must_use]
pub fn id_in(text: &str, before: &str) -> Option<u32> {
    let (_, rest) = text.split_once(before)?;
    let end = rest.find(|c: char| !c.is_ascii_digit());
    rest.get(..end.unwrap_or(rest.len()))?.parse().ok()
}

/// The ids of requests that a text names: as `request 17.`, or as `"id":"17"` in what chains are given.
#[must_use]
pub fn ids_in(text: &str) -> BTreeSet<u32> {
    let asked = text.split("request ").skip(1).filter_map(|rest| {
        let (number, _) = rest.split_once('.')?;
        number.parse().ok()
    });
    let given = text.split(r#""id":""#).skip(1).filter_map(|rest| {
        let (number, _) = rest.split_once('"')?;
        number.parse().ok()
    });
    asked.chain(given).collect()
}

/// Spans by their ids.
#[derive(Debug)]
pub struct Tree<'a>(BTreeMap<&'a str, &'a Span>);

impl<'a> Tree<'a> {
    /// Of these.
    #[must_use]
    pub fn of(spans: &'a [Span]) -> Self {
        Self(spans.iter().map(|s| (id(s, "span_id"), s)).collect())
    }

    /// What a span belongs to, if that was told.
    #[must_use]
    pub fn above(&self, span: &Span) -> Option<&'a Span> {
        self.0.get(id(span, "parent_span_id")).copied()
    }

    /// A span and all that it belongs to, the outermost last.
    #[must_use]
    pub fn upwards(&self, span: &'a Span) -> Vec<&'a Span> {
        let mut all = vec![span];
        while let Some(next) = all.last().and_then(|last| self.above(last))
            && all.len() < MAX_DEPTH
        {
            all.push(next);
        }
        all
    }

    /// The id of the served request that a span is under.
    #[must_use]
    pub fn request(&self, span: &'a Span) -> Option<u32> {
        let all = self.upwards(span);
        let root = all.last().filter(|root| root.kind() == "SERVER")?;
        id_in(root.text(attr::URL_QUERY), "id=")
    }
}

fn id<'a>(span: &'a Span, name: &str) -> &'a str {
    span.0[name].as_str().unwrap_or_default()
}

/// Holds that a recording, replayed, gives the same spans, line by line.
///
/// # Errors
///
/// When it does not, or cannot be replayed.
pub fn replays_to(temp: &Temp, recording: &str, lines: &str) -> Result<()> {
    let again = temp.file("replayed").to_string_lossy().into_owned();
    let replay = ["replay", recording, "--format", "json", "--output", &again];
    let replayed = agent::run(temp, &replay)?;
    ensure!(replayed.code == 0, "{}", replayed.log);
    let told = std::fs::read_to_string(&again)?;
    ensure!(
        told == lines,
        "replayed, it is told otherwise:\n{told}\nthan:\n{lines}"
    );
    Ok(())
}

/// Holds that a file has none of these texts in it.
///
/// # Errors
///
/// When it has, or cannot be read, or is empty.
pub fn has_none_of(file: impl AsRef<Path>, texts: &[&str]) -> Result<()> {
    let kept = std::fs::read(&file)?;
    ensure!(
        !kept.is_empty(),
        "nothing is in {}",
        file.as_ref().display()
    );
    for text in texts {
        let mut parts = kept.windows(text.len());
        let is_there = parts.any(|part| part == text.as_bytes());
        ensure!(!is_there, "{text} is in {}", file.as_ref().display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Tree, has_none_of, id_in, ids_in};
    use crate::{Span, Temp};
    use serde_json::json;

    #[test]
    fn ids_are_found_and_parents_followed() {
        assert_eq!(id_in("a request 17.", "request "), Some(17));
        assert_eq!(id_in("a request", "request "), None);
        let text =
            r#"any request is: request 17. {"id":"4","x":{"id":"call_5"}} request 3, request 2."#;
        assert_eq!(ids_in(text), [2, 4, 17].into());
        let span = |own: &str, above: &str| {
            Span(
                json!({"span_id": own, "parent_span_id": above, "kind": "SERVER",
                "attributes": {"url.query": "id=4"}}),
            )
        };
        let spans = [
            span("a", ""),
            span("b", "a"),
            span("x", "y"),
            span("y", "x"),
        ];
        let tree = Tree::of(&spans);
        assert_eq!(tree.upwards(&spans[1]).len(), 2);
        assert_eq!(tree.request(&spans[1]), Some(4));
        // Round and round.
        assert_eq!(tree.upwards(&spans[2]).len(), super::MAX_DEPTH);
    }

    #[test]
    fn what_a_file_has_is_found() -> anyhow::Result<()> {
        let temp = Temp::new()?;
        std::fs::write(temp.file("f"), "a secret here")?;
        assert!(has_none_of(temp.file("f"), &["nothing"]).is_ok());
        assert!(has_none_of(temp.file("f"), &["nothing", "secret"]).is_err());
        std::fs::write(temp.file("g"), "")?;
        assert!(has_none_of(temp.file("g"), &["x"]).is_err());
        Ok(())
    }
}
