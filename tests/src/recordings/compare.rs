//! Spans of recordings against what they must be, attribute by attribute.

use super::allowed::{ALLOWED, Difference};
use super::must::{self, Must};
use super::seen::same;
use super::{Exchange, Peer, Seen, peer};
use genspan::vocabulary::attr;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What was counted of spans against one kind of reference. A span's name and status count as
/// attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Spans compared.
    pub spans: usize,
    /// Attributes that either side has.
    pub attributes: usize,
    /// Those that are the same.
    pub equal: usize,
}

/// What came of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Recordings.
    pub recordings: usize,
    /// Exchanges in them that were sent.
    pub exchanges: usize,
    /// Exchanges of no model, of which there is no span.
    pub silent: usize,
    /// Against the peer's spans.
    pub peer: Tally,
    /// Against the recording itself, where the peer has no span.
    pub own: Tally,
    /// Differences that are right, by their reason.
    pub allowed: BTreeMap<&'static str, usize>,
    /// Those that are not.
    pub bugs: Vec<String>,
}

/// Under this name texts, reasoning and calls of tools of the answer are compared.
pub const SAID: &str = "what the answer says";

/// Under this name what the status says of an error is compared.
pub const MESSAGE: &str = "message of the status";

/// What is compared of a structured attribute.
type Read = fn(&Value) -> Vec<Value>;

/// A span to be compared.
struct Case<'a> {
    file: &'a str,
    exchange: &'a Exchange,
    via: &'a str,
    ours: &'a Seen,
}

impl Report {
    /// Compares the spans of a recording: of each exchange those that we made of it. Where there is
    /// a peer's report, its spans are the reference of the calls that it sees.
    pub fn recording(
        &mut self,
        file: &str,
        exchanges: &[Exchange],
        peer: Option<&Peer>,
        ours: &[Vec<Seen>],
    ) {
        self.recordings += 1;
        let mut peers = peer.into_iter().flat_map(|p| &p.spans);
        for (n, (exchange, ours)) in exchanges.iter().zip(ours).enumerate() {
            self.exchanges += 1;
            if ours.len() > 1 {
                self.bug(file, &format!("{} spans of one exchange", ours.len()));
            }
            let via = peer.and_then(|p| p.sent.get(n)).map_or("", |v| v);
            let seen = peer::sees(via);
            let reference = if seen { peers.next() } else { None };
            let must = if seen { None } else { must::of(exchange) };
            let case = |ours| Case {
                file,
                exchange,
                via,
                ours,
            };
            match (ours.first(), reference, must) {
                (Some(ours), Some(peer), _) => self.against_peer(&case(ours), peer),
                (Some(ours), None, Some(must)) => self.against_recording(&case(ours), &must),
                (None, None, None) => self.silent += 1,
                (Some(ours), None, None) => {
                    let what = format!("a span of what is no call: {}", ours.name);
                    self.bug(
                        file,
                        &format!("{what}: {} {}", exchange.method, exchange.path),
                    );
                }
                (None, peer, must) => {
                    let wanted = peer.map(|p| &p.name).or(must.as_ref().map(|m| &m.name));
                    let what = format!("no span {}", wanted.map_or("", |n| n));
                    self.bug(
                        file,
                        &format!("{what}: {} {}", exchange.method, exchange.path),
                    );
                }
            }
        }
        if peers.next().is_some() {
            self.bug(file, "the peer has more spans");
        }
    }

    fn against_peer(&mut self, case: &Case<'_>, peer: &Seen) {
        self.peer.spans += 1;
        let tally = self.span(case, peer, |_| true);
        self.peer.attributes += tally.attributes;
        self.peer.equal += tally.equal;
    }

    fn against_recording(&mut self, case: &Case<'_>, must: &Must) {
        self.own.spans += 1;
        let mut reference = Seen {
            name: must.name.clone(),
            failed: must.failed,
            ..Seen::default()
        };
        if must.name.is_empty() {
            reference.name.clone_from(&case.ours.name);
        }
        for (name, value) in &must.attributes {
            if let Some(value) = value {
                reference
                    .attributes
                    .insert((*name).to_owned(), value.clone());
            }
        }
        let mut tally = self.span(case, &reference, |name| must.judges(name));
        if let Some(want) = &must.output {
            let ours = json!(must::said(case.ours));
            let want = json!(must::telling(want.clone()));
            self.attribute(case, &mut tally, SAID, Some(&ours), Some(&want));
        }
        if let Some(want) = &must.message {
            let ours = case.ours.message.as_ref().map(|m| json!(m));
            self.attribute(case, &mut tally, MESSAGE, ours.as_ref(), Some(&json!(want)));
        }
        let ours = |name: &str| case.ours.attributes.get(name).unwrap_or(&Value::Null);
        for (name, read, want) in [
            (attr::INPUT_MESSAGES, must::heard as Read, &must.input),
            (attr::SYSTEM_INSTRUCTIONS, must::instructed, &must.system),
            (attr::TOOL_DEFINITIONS, must::offered, &must.tools),
        ] {
            let Some(want) = want else { continue };
            let told = |value: &Value| Some(read(value)).filter(|l| !l.is_empty()).map(Value::from);
            let (ours, want) = (told(ours(name)), told(&json!(want)));
            if ours.is_some() || want.is_some() {
                self.attribute(case, &mut tally, name, ours.as_ref(), want.as_ref());
            }
        }
        self.own.attributes += tally.attributes;
        self.own.equal += tally.equal;
        let timed = case
            .ours
            .attributes
            .contains_key(attr::RESPONSE_TIME_TO_FIRST_CHUNK);
        if must.whole && timed != case.exchange.streams() {
            self.bug(case.file, &format!("time to first chunk: {timed}"));
        }
    }

    fn span(&mut self, case: &Case<'_>, reference: &Seen, judged: impl Fn(&str) -> bool) -> Tally {
        let (ours, theirs) = (&case.ours.attributes, &reference.attributes);
        let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
        let mut tally = Tally::default();
        for name in names.into_iter().filter(|name| judged(name)) {
            self.attribute(case, &mut tally, name, ours.get(name), theirs.get(name));
        }
        let (a, b) = (json!(case.ours.name), json!(reference.name));
        self.attribute(case, &mut tally, "name", Some(&a), Some(&b));
        let (a, b) = (json!(case.ours.failed), json!(reference.failed));
        self.attribute(case, &mut tally, "status", Some(&a), Some(&b));
        tally
    }

    fn attribute(
        &mut self,
        case: &Case<'_>,
        tally: &mut Tally,
        name: &str,
        ours: Option<&Value>,
        peer: Option<&Value>,
    ) {
        tally.attributes += 1;
        if let (Some(a), Some(b)) = (ours, peer)
            && same(a, b)
        {
            tally.equal += 1;
            return;
        }
        let d = Difference {
            name,
            peer,
            ours,
            exchange: case.exchange,
            via: case.via,
        };
        match ALLOWED.iter().find(|a| (a.holds)(&d)) {
            Some(allowed) => *self.allowed.entry(allowed.why).or_default() += 1,
            None => {
                let text = |v: Option<&Value>| v.map_or("absent".to_owned(), Value::to_string);
                let (ours, peer) = (text(ours), text(peer));
                let what = format!("{name} of {}\n  ours {ours}\n  must {peer}", case.ours.name);
                self.bug(case.file, &what);
            }
        }
    }

    fn bug(&mut self, file: &str, what: &str) {
        self.bugs.push(format!("{file}: {what}"));
    }

    /// What came of it, for a person.
    #[must_use]
    pub fn text(&self) -> String {
        let (peer, own) = (self.peer, self.own);
        let mut out = format!(
            "{} recordings, {} exchanges; {} spans and {} attributes against the peer, {} equal; \
             {} spans and {} attributes against the recording, {} equal; {} without a span\n",
            self.recordings,
            self.exchanges,
            peer.spans,
            peer.attributes,
            peer.equal,
            own.spans,
            own.attributes,
            own.equal,
            self.silent
        );
        for (why, n) in &self.allowed {
            out.push_str(&format!("{n:5} {why}\n"));
        }
        for bug in &self.bugs {
            out.push_str(&format!("BUG {bug}\n"));
        }
        out
    }
}
