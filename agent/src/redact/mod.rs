//! Redaction: what must not leave this process is replaced by the name of the rule that found it.
//!
//! Rules work on texts: attributes, and the texts inside messages and JSON values, before
//! anything is cut or written as JSON. So a cut cannot hide half a key, and what is JSON stays
//! JSON. What is replaced becomes `[redacted:RULE]`; such a marker is never touched again, so that
//! to redact twice is to redact once.
//!
//! The built-in rules are written by hand over one search for all their literals: one pass, and
//! linear in the text whatever it holds. An operator's own are regular expressions of the `regex`
//! crate, each match of which is found in linear time, or paths into JSON documents.

pub mod builtin;
mod class;
mod config;
mod digits;
mod email;
mod find;
mod paths;
mod scan;
mod secret;
mod token;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use config::{Expression, Path, PathRule, Pattern, RuleError, RuleName, Rules, Selection};

use builtin::BuiltIn;
use core::cell::Cell;
use regex::{Regex, RegexSet};
use scan::Scanner;
use serde_json::{Map, Value};
use serde_json_path::JsonPath;
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

/// How a marker begins.
const OPEN: &str = "[redacted:";

/// How often a text in which something was found is looked at again: what is replaced may have
/// hidden something beside it.
const ROUNDS: usize = 4;

/// A find in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Match {
    start: usize,
    end: usize,
    /// Number of the rule.
    rule: usize,
}

/// How often a rule found something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    /// The rule's name.
    pub rule: String,
    /// Replacements since the start.
    pub count: u64,
}

/// Replaces what rules find, and counts.
#[derive(Debug)]
pub struct Redactor {
    scanner: Option<Arc<Scanner>>,
    card: bool,
    phone: bool,
    /// The operator's expressions, their rules' numbers and the group that is the secret.
    patterns: Vec<(Regex, usize, Option<usize>)>,
    set: Option<RegexSet>,
    /// The operator's paths, with their rules' numbers.
    paths: Vec<(JsonPath, usize)>,
    /// The markers, by the number of the rule: the built-in ones, then the operator's.
    markers: Vec<String>,
    counts: Vec<Cell<u64>>,
    counting: Cell<bool>,
    /// Texts below this length hold nothing.
    shortest: usize,
}

impl Default for Redactor {
    /// With the rules that are on unless somebody says otherwise.
    fn default() -> Self {
        // Made once: it is the costly part.
        static KEYS: LazyLock<Option<Arc<Scanner>>> =
            LazyLock::new(|| Scanner::new(&Rules::default().built_in()).map(Arc::new));
        Self::of(&Rules::default(), KEYS.clone(), None)
    }
}

impl Redactor {
    /// One that follows these rules.
    ///
    /// # Errors
    ///
    /// When two rules have one name, or the expressions are too large together.
    pub fn new(rules: &Rules) -> Result<Self, RuleError> {
        rules.check()?;
        let sources = rules.patterns.iter().map(|p| p.regex.as_str());
        let set = RegexSet::new(sources).map_err(|e| RuleError::TooLarge(e.to_string()))?;
        let scanner = Scanner::new(&rules.built_in()).map(Arc::new);
        Ok(Self::of(rules, scanner, Some(set)))
    }

    /// One that replaces nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::of(&Rules::none(), None, None)
    }

    fn of(rules: &Rules, scanner: Option<Arc<Scanner>>, set: Option<RegexSet>) -> Self {
        let on = rules.built_in();
        let marker = |name: &str| format!("{OPEN}{name}]");
        let mut markers: Vec<String> = BuiltIn::ALL.iter().map(|r| marker(r.name())).collect();
        let mut patterns = Vec::new();
        for pattern in &rules.patterns {
            let regex = pattern.regex.regex().clone();
            let secret = regex.capture_names().position(|n| n == Some("secret"));
            patterns.push((regex, markers.len(), secret));
            markers.push(marker(pattern.name.as_str()));
        }
        let mut paths = Vec::new();
        for path in &rules.paths {
            let marker = marker(path.name());
            // Paths without a name have one together.
            let known = markers[BuiltIn::ALL.len()..]
                .iter()
                .position(|m| *m == marker);
            let rule = known.map_or(markers.len(), |n| n + BuiltIn::ALL.len());
            if known.is_none() {
                markers.push(marker);
            }
            paths.push((path.path.path().clone(), rule));
        }
        let (card, phone) = (
            on.contains(&BuiltIn::CreditCard),
            on.contains(&BuiltIn::Phone),
        );
        // `a@b.co`, `+1 555 0100`, `sk-` and what follows.
        let shortest = match (patterns.is_empty(), on.contains(&BuiltIn::Email)) {
            (false, _) => 1,
            (true, true) => 6,
            (true, false) => 8,
        };
        Self {
            scanner,
            card,
            phone,
            patterns,
            set,
            paths,
            counts: vec![Cell::new(0); markers.len()],
            counting: Cell::new(true),
            markers,
            shortest,
        }
    }

    /// Whether there is nothing that it could replace.
    #[must_use]
    pub fn is_off(&self) -> bool {
        let own = self.patterns.is_empty() && self.paths.is_empty();
        self.scanner.is_none() && !self.card && !self.phone && own
    }

    /// What was replaced so far: rules that found something.
    #[must_use]
    pub fn counts(&self) -> Vec<Redacted> {
        let all = self.markers.iter().zip(&self.counts);
        all.filter(|(_, count)| count.get() > 0)
            .map(|(marker, count)| Redacted {
                rule: marker[OPEN.len()..marker.len() - 1].to_owned(),
                count: count.get(),
            })
            .collect()
    }

    /// The text with everything replaced that a rule finds.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.look(text, false)
            .map_or(Cow::Borrowed(text), Cow::Owned)
    }

    /// What is to be shown instead of a text that will be told once more; not counted.
    #[must_use]
    pub fn peek(&self, text: &str) -> Option<String> {
        self.counting.set(false);
        let shown = self.look(text, false);
        self.counting.set(true);
        shown
    }

    /// The same in place. `cut` says that the text went on where it ends: what may be the
    /// beginning of something is replaced as well.
    pub fn redact(&self, text: &mut String, cut: bool) {
        if let Some(new) = self.look(text, cut) {
            *text = new;
        }
    }

    /// The same for all texts in a value, keys included. A number in which a card or an
    /// operator's rule is found becomes a text.
    pub fn json(&self, value: &mut Value, cut: bool) {
        match value {
            Value::String(text) => self.redact(text, cut),
            Value::Array(list) => list.iter_mut().for_each(|v| self.json(v, cut)),
            Value::Object(map) => {
                map.values_mut().for_each(|v| self.json(v, cut));
                self.keys(map);
            }
            Value::Number(number) if self.card || !self.patterns.is_empty() => {
                let text = number.to_string();
                if let Some(new) = self.look_with(&text, false, false) {
                    *value = Value::String(new);
                }
            }
            Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    /// Two keys that become one stay two.
    fn keys(&self, map: &mut Map<String, Value>) {
        if !map.keys().any(|k| matches!(self.text(k), Cow::Owned(_))) {
            return;
        }
        for (key, value) in std::mem::take(map) {
            let mut new = self.text(&key).into_owned();
            let mut n = 1;
            while map.contains_key(&new) {
                n += 1;
                new = format!("{} {n}", self.text(&key));
            }
            map.insert(new, value);
        }
    }

    fn look(&self, text: &str, cut: bool) -> Option<String> {
        self.look_with(text, cut, self.phone)
    }

    fn look_with(&self, text: &str, cut: bool, phone: bool) -> Option<String> {
        if text.len() < self.shortest && !cut {
            return None;
        }
        let mut new = self.round(text, cut, phone)?;
        for _ in 1..ROUNDS {
            match self.round(&new, cut, phone) {
                Some(newer) => new = newer,
                None => break,
            }
        }
        Some(new)
    }

    /// Looks through a text once; gives the new one if anything was found.
    fn round(&self, text: &str, cut: bool, phone: bool) -> Option<String> {
        let mut new: Option<String> = None;
        let mut found = Vec::new();
        let mut pass = |find: &dyn Fn(&str, &mut Vec<Match>)| {
            let now = new.as_deref().unwrap_or(text);
            find(now, &mut found);
            if let Some(newer) = self.replace(now, &mut found) {
                new = Some(newer);
            }
            found.clear();
        };
        if let Some(scanner) = &self.scanner {
            pass(&|text, found| scanner.find(text, cut, found));
        }
        if self.card || phone {
            pass(&|text, found| numbers(text, cut, self.card, phone, found));
        }
        if !self.patterns.is_empty() {
            pass(&|text, found| self.expressions(text, found));
        }
        new
    }

    /// What the operator's expressions match, in order.
    fn expressions(&self, text: &str, found: &mut Vec<Match>) {
        for n in self.set.iter().flat_map(|set| set.matches(text)) {
            let Some((regex, rule, secret)) = self.patterns.get(n) else {
                continue;
            };
            let rule = *rule;
            let mut add = |start, end| {
                if start < end {
                    found.push(Match { start, end, rule });
                }
            };
            match secret {
                None => regex.find_iter(text).for_each(|m| add(m.start(), m.end())),
                Some(group) => regex
                    .captures_iter(text)
                    .filter_map(|c| c.get(*group))
                    .for_each(|m| add(m.start(), m.end())),
            }
        }
        // The first of two that overlap counts, and of two at one place the longer one.
        found.sort_by_key(|m| (m.start, usize::MAX - m.end));
        let mut end = 0;
        found.retain_mut(|m| {
            m.start = m.start.max(end);
            end = end.max(m.end);
            m.start < m.end
        });
    }

    /// The text with the finds, which are in order, replaced; what is a marker already stays.
    fn replace(&self, text: &str, found: &mut Vec<Match>) -> Option<String> {
        if found.is_empty() {
            return None;
        }
        self.spare_markers(text, found);
        let mut new = String::with_capacity(text.len());
        let mut at = 0;
        for m in found.iter() {
            new.push_str(&text[at..m.start]);
            new.push_str(&self.markers[m.rule]);
            at = m.end;
            self.count(m.rule);
        }
        new.push_str(&text[at..]);
        (!found.is_empty()).then_some(new)
    }

    fn count(&self, rule: usize) {
        if self.counting.get() {
            let count = &self.counts[rule];
            count.set(count.get() + 1);
        }
    }

    /// Takes markers out of the finds.
    fn spare_markers(&self, text: &str, found: &mut Vec<Match>) {
        let mut at = 0;
        while let Some(n) = text[at..].find(OPEN) {
            let start = at + n;
            let rest = &text[start..];
            let Some(marker) = self.markers.iter().find(|m| rest.starts_with(m.as_str())) else {
                at = start + OPEN.len();
                continue;
            };
            let end = start + marker.len();
            let mut parts = Vec::with_capacity(found.len());
            for m in found.drain(..) {
                if m.end <= start || m.start >= end {
                    parts.push(m);
                    continue;
                }
                for (a, b) in [(m.start, start), (end, m.end)] {
                    if a < b {
                        parts.push(Match {
                            start: a,
                            end: b,
                            ..m
                        });
                    }
                }
            }
            *found = parts;
            at = end;
        }
    }
}

/// Cards and telephone numbers, in order.
fn numbers(text: &str, cut: bool, card: bool, phone: bool, out: &mut Vec<Match>) {
    let mut looked = find::Text {
        text,
        cut,
        floor: 0,
    };
    let bytes = text.as_bytes();
    let mut at = 0;
    let begins = |b: &u8| b.is_ascii_digit() || (phone && matches!(b, b'+' | b'('));
    while let Some(n) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(begins))
    {
        at += n;
        match digits::find(&looked, at, card, phone) {
            Ok((range, rule)) => {
                (at, looked.floor) = (range.end, range.end);
                out.push(Match {
                    start: range.start,
                    end: range.end,
                    rule: rule as usize,
                });
            }
            Err(next) => at = next,
        }
    }
}
