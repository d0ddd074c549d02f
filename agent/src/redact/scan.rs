//! One pass over a text for all built-in rules that are told by a literal.

use super::builtin::BuiltIn;
use super::find::{Find, Text};
use super::secret::{self, NAMED, SCHEMES};
use super::token::TOKENS;
use super::{Match, email};
use core::ops::Range;

use aho_corasick::{AhoCorasick, Input, MatchKind};

/// What a literal may be the beginning, or the middle, of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Token(usize),
    Named(usize),
    Scheme(usize),
    Jwt,
    PrivateKey,
    UrlPassword,
    /// By which of the marks that an address has.
    Email(usize),
}

/// Finds the literals.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    finder: AhoCorasick,
    /// What each literal may be, as places in `all`.
    kinds: Vec<Vec<usize>>,
    all: Vec<Kind>,
}

impl Scanner {
    /// For these rules; none when none of them has a literal.
    pub(super) fn new(rules: &[BuiltIn]) -> Option<Self> {
        let on = |rule: BuiltIn| rules.contains(&rule);
        let mut literals: Vec<&'static str> = Vec::new();
        let mut kinds: Vec<Vec<usize>> = Vec::new();
        let mut all = Vec::new();
        let mut add = |literal: &'static str, kind: Kind| {
            let place = all.len();
            all.push(kind);
            match literals.iter().position(|l| *l == literal) {
                Some(at) => kinds[at].push(place),
                None => {
                    literals.push(literal);
                    kinds.push(vec![place]);
                }
            }
        };
        for (n, token) in TOKENS.iter().enumerate().filter(|(_, t)| on(t.rule)) {
            add(token.prefix, Kind::Token(n));
        }
        for (n, named) in NAMED.iter().enumerate().filter(|(_, t)| on(t.rule)) {
            add(named.name, Kind::Named(n));
        }
        for (n, scheme) in SCHEMES.iter().enumerate().filter(|_| on(BuiltIn::Bearer)) {
            add(scheme, Kind::Scheme(n));
        }
        for (rule, literal, kind) in [
            (BuiltIn::Jwt, secret::JWT, Kind::Jwt),
            (BuiltIn::PrivateKey, secret::PEM, Kind::PrivateKey),
            (BuiltIn::UrlPassword, secret::AUTHORITY, Kind::UrlPassword),
            (BuiltIn::Email, email::AT[0], Kind::Email(0)),
            (BuiltIn::Email, email::AT[1], Kind::Email(1)),
        ] {
            if on(rule) {
                add(literal, kind);
            }
        }
        if literals.is_empty() {
            return None;
        }
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(&literals)
            .ok()?;
        Some(Self { finder, kinds, all })
    }

    /// All finds, in order, none over another.
    pub(super) fn find(&self, text: &str, cut: bool, out: &mut Vec<Match>) {
        let mut text = Text {
            text,
            cut,
            floor: 0,
        };
        let mut at = 0;
        // Of each kind, how far it was looked at in vain.
        let mut dead: Vec<usize> = Vec::new();
        let mut no_end = 0..0;
        while let Some(found) = self.finder.find(Input::new(text.text).range(at..)) {
            at = found.end();
            let kinds = self.kinds.get(found.pattern().as_usize());
            for place in kinds.into_iter().flatten().copied() {
                if dead.is_empty() {
                    dead = vec![0; self.all.len()];
                }
                if dead[place] > found.start() {
                    continue;
                }
                let (rule, outcome) = look(self.all[place], &text, found.start(), &mut no_end);
                match outcome {
                    Find::None => {}
                    Find::Not { until } => dead[place] = until,
                    Find::Here(range) => {
                        (at, text.floor) = (range.end.max(at), range.end);
                        out.push(Match {
                            start: range.start,
                            end: range.end,
                            rule: rule as usize,
                        });
                        break;
                    }
                }
            }
        }
    }
}

fn look(kind: Kind, text: &Text<'_>, at: usize, no_end: &mut Range<usize>) -> (BuiltIn, Find) {
    match kind {
        Kind::Token(n) => (TOKENS[n].rule, TOKENS[n].find(text, at)),
        Kind::Named(n) => (NAMED[n].rule, NAMED[n].find(text, at)),
        Kind::Scheme(n) => (BuiltIn::Bearer, secret::credentials(text, at, SCHEMES[n])),
        Kind::Jwt => (BuiltIn::Jwt, secret::jwt(text, at)),
        Kind::PrivateKey => (BuiltIn::PrivateKey, secret::private_key(text, at, no_end)),
        Kind::UrlPassword => (BuiltIn::UrlPassword, secret::url_password(text, at)),
        Kind::Email(n) => (BuiltIn::Email, email::find(text, at, email::AT[n].len())),
    }
}
