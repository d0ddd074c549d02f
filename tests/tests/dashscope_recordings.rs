//! Recorded traffic of DashScope's own protocol, fed to the provider and trace stages, against
//! what an in-process instrumentation (LoongSuite's for `dashscope`) reported for the same
//! requests.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, its helpers too"
)]

use genspan::vocabulary::{Generation, Names, attr, operation};
use genspan_tests::recordings::seen::same;
use genspan_tests::recordings::{Exchange, Lab, Seen, Stages};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const EXPECTED: &str = "expected/loongsuite-dashscope";

/// The peer's span of waiting for a task, which is a part of the call that made it.
const WAIT: &str = "wait ";

/// The peer's dialect.
const NAMES: Names = Names {
    generation: Generation::Legacy,
    aliyun: true,
};

/// Why a difference is none of ours, by attribute.
fn allowed(name: &str, ours: Option<&Value>, peer: Option<&Value>) -> Option<&'static str> {
    match (name, ours, peer) {
        (attr::RESPONSE_TIME_TO_FIRST_TOKEN, Some(_), Some(theirs)) if theirs.is_i64() => {
            Some("time to the first chunk is measured, not equal")
        }
        (attr::SERVER_ADDRESS | attr::SERVER_PORT, Some(_), None) => {
            Some("the peer does not say which host")
        }
        (
            attr::REQUEST_STREAM
            | attr::RESPONSE_TIME_TO_FIRST_CHUNK
            | attr::RESPONSE_TIME_TO_FIRST_TOKEN,
            Some(_),
            None,
        ) => Some("the peer does not say that it streams, nor when the first chunk came"),
        (attr::RERANK_DOCUMENTS_COUNT | attr::RETRIEVAL_TOP_K, Some(_), None)
        | (
            attr::RESPONSE_ID | attr::USAGE_INPUT_TOKENS | attr::USAGE_TOTAL_TOKENS,
            Some(_),
            None,
        ) => Some("the peer reads less of it"),
        (attr::OUTPUT_TYPE | attr::TASK_POLLS | attr::REQUEST_CHOICE_COUNT, Some(_), None) => {
            Some("the peer does not say what a task makes, nor how often it was asked after")
        }
        (attr::ERROR_TYPE, Some(_), None) | ("status", Some(Value::Bool(true)), Some(_)) => {
            Some("an answer with a code is an error; the peer sees none that raises nothing")
        }
        ("gen_ai.usage.text.output_tokens" | attr::USAGE_CACHE_READ, Some(_), None) => {
            Some("the peer reads less of the usage")
        }
        (attr::OUTPUT_MESSAGES | attr::RESPONSE_FINISH_REASONS, Some(_), None) => {
            Some("the peer loses what is streamed in pieces")
        }
        (attr::OUTPUT_MESSAGES, Some(_), Some(Value::Array(theirs)))
            if theirs[0]["parts"].as_array().is_some_and(Vec::is_empty) =>
        {
            Some("the peer loses tool calls that are streamed in pieces")
        }
        (attr::INPUT_MESSAGES, Some(ours), Some(theirs))
            if plain(without_names(ours)) == plain(theirs.clone()) =>
        {
            Some("the peer leaves out the names of participants")
        }
        (attr::USAGE_CACHE_READ, None, Some(zero)) if *zero == 0 => {
            Some("a count of zero says nothing")
        }
        _ => None,
    }
}

/// The form in which messages are compared: arguments parsed, finish reasons as messages have
/// them, what is null left out.
fn plain(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            if let Some(Value::String(text)) = map.get("arguments")
                && let Ok(parsed) = serde_json::from_str(text)
            {
                map.insert("arguments".to_owned(), parsed);
            }
            if map.get("finish_reason").is_some_and(|r| r == "tool_calls") {
                map.insert("finish_reason".to_owned(), Value::from("tool_call"));
            }
            for v in map.values_mut() {
                *v = plain(v.take());
            }
            value
        }
        Value::Array(list) => {
            list.iter_mut().for_each(|v| *v = plain(v.take()));
            value
        }
        _ => value,
    }
}

/// Messages without the names of who said them.
fn without_names(messages: &Value) -> Value {
    let mut messages = messages.clone();
    for message in messages.as_array_mut().into_iter().flatten() {
        if let Some(map) = message.as_object_mut() {
            map.remove("name");
        }
    }
    messages
}

#[derive(Default)]
struct Tally {
    spans: usize,
    attributes: usize,
    equal: usize,
    allowed: BTreeMap<&'static str, usize>,
    bugs: Vec<String>,
}

impl Tally {
    fn span(&mut self, file: &str, ours: &Seen, peer: &Seen) {
        self.spans += 1;
        let names: BTreeSet<_> = ours
            .attributes
            .keys()
            .chain(peer.attributes.keys())
            .collect();
        for name in names {
            let (a, b) = (ours.attributes.get(name), peer.attributes.get(name));
            if ours.failed && a.is_none() && name == attr::RESPONSE_TIME_TO_FIRST_TOKEN {
                self.attributes += 1;
                let why = "the peer takes a failure for a first token";
                *self.allowed.entry(why).or_default() += 1;
                continue;
            }
            self.compare(file, name, a, b);
        }
        let (a, b) = (Value::from(&*ours.name), Value::from(&*peer.name));
        self.compare(file, "name", Some(&a), Some(&b));
        let (a, b) = (Value::from(ours.failed), Value::from(peer.failed));
        self.compare(file, "status", Some(&a), Some(&b));
    }

    fn compare(&mut self, file: &str, name: &str, ours: Option<&Value>, peer: Option<&Value>) {
        self.attributes += 1;
        let (a, b) = (ours.cloned().map(plain), peer.cloned().map(plain));
        if let (Some(a), Some(b)) = (&a, &b)
            && same(a, b)
        {
            self.equal += 1;
        } else if let Some(why) = allowed(name, ours, peer) {
            *self.allowed.entry(why).or_default() += 1;
        } else {
            self.bugs
                .push(format!("{file}: {name}\n  ours {a:?}\n  peer {b:?}"));
        }
    }
}

/// The peer's reports, by their names below the folder of recordings.
fn reports(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            reports(&path, found);
        } else {
            found.push(path);
        }
    }
    found.sort();
}

/// Our spans of a recording's exchanges.
fn ours(exchanges: &[Exchange]) -> Vec<Seen> {
    let mut stages = Stages::with(NAMES);
    let mut spans: Vec<_> = exchanges
        .iter()
        .flat_map(|x| stages.feed(x, usize::MAX))
        .collect();
    spans.extend(stages.finish());
    spans.iter().map(|s| Seen::of_span(s).unwrap()).collect()
}

/// The peer's spans, those of waiting joined to the calls that they belong to.
fn joined(spans: Vec<Seen>) -> Vec<Seen> {
    let mut all: Vec<Seen> = Vec::new();
    for span in spans {
        let own = span.attributes[attr::OPERATION_NAME].as_str().unwrap();
        if own.starts_with(WAIT) {
            let before = all.last_mut().unwrap();
            for (name, value) in span.attributes {
                before.attributes.entry(name).or_insert(value);
            }
        } else {
            all.push(span);
        }
    }
    all
}

#[test]
fn spans_are_those_of_the_peer() {
    let Some(lab) = Lab::find() else {
        println!("skipped: no recordings beside this repository");
        return;
    };
    let root = lab.path(EXPECTED);
    let mut files = Vec::new();
    reports(&root, &mut files);
    let mut tally = Tally::default();
    let mut unsent = 0;
    for report in &files {
        let text = std::fs::read_to_string(report).unwrap();
        let report: Value = serde_json::from_str(&text).unwrap();
        let file = report["cassette"].as_str().unwrap();
        let peers = report["spans"].as_array().unwrap();
        let peers = joined(peers.iter().map(|s| Seen::of_peer(s).unwrap()).collect());
        let exchanges = lab.exchanges(&format!("cassettes/{file}")).unwrap();
        let ours = ours(&exchanges);
        // One recording is made up: the library sends no such request.
        if peers
            .iter()
            .any(|p| p.attributes.get(attr::ERROR_TYPE) == Some(&"InputRequired".into()))
        {
            unsent += 1;
            continue;
        }
        if ours.len() != peers.len() {
            let names = |s: &[Seen]| s.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
            let (a, b) = (names(&ours), names(&peers));
            tally.bugs.push(format!("{file}: ours {a:?}\n  peer {b:?}"));
            continue;
        }
        for (a, b) in ours.iter().zip(&peers) {
            assert_ne!(
                a.attributes[attr::OPERATION_NAME],
                operation::FETCH_RESPONSE
            );
            tally.span(file, a, b);
        }
    }
    println!(
        "{} recordings ({unsent} not comparable), {} spans, {} attributes, {} equal",
        files.len(),
        tally.spans,
        tally.attributes,
        tally.equal
    );
    for (why, n) in &tally.allowed {
        println!("{n:5} {why}");
    }
    for bug in &tally.bugs {
        println!("BUG {bug}");
    }
    assert!(tally.bugs.is_empty(), "{} differences", tally.bugs.len());
}
