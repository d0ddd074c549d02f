//! What an operator asks to be redacted, as the command line and files say it.

use super::builtin::{BuiltIn, Group};
use core::fmt;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use serde_json_path::JsonPath;

/// Longest name of a rule.
const NAME: usize = 32;

/// Most memory that one expression may take when it is compiled, in bytes.
const EXPRESSION: usize = 1 << 20;

/// A rule that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There is no such rule.
    #[error("there is no rule `{0}`; there are the groups keys, pii, all and none, and the rules {names}", names = names())]
    Unknown(String),
    /// `none` and others.
    #[error("`none` stands alone: leave it out, or the others")]
    NoneAndOthers,
    /// A name that cannot be one.
    #[error(
        "`{0}` is no name for a rule: use up to {NAME} small letters, digits, `_` and `-`, a letter first"
    )]
    Name(String),
    /// A name that is taken.
    #[error("two rules have the name `{0}`")]
    Taken(String),
    /// `NAME=REGEX` without a name.
    #[error("`{0}` names no rule: write NAME=REGEX, as in employee=E-[0-9]{{6}}")]
    NoName(String),
    /// No regular expression.
    #[error("no regular expression (syntax: https://docs.rs/regex): {0}")]
    Expression(String),
    /// An expression that matches nothing at all.
    #[error("`{0}` matches the empty text, and so everything: leave out what may be absent")]
    Empty(String),
    /// No path.
    #[error("`{0}` is no JSON path (RFC 9535, as in $..password): {1}")]
    Path(String, String),
    /// Too much to be compiled.
    #[error("the expressions are too large together: {0}")]
    TooLarge(String),
}

fn names() -> String {
    let names: Vec<&str> = BuiltIn::ALL.iter().map(|r| r.name()).collect();
    names.join(", ")
}

/// A group of built-in rules, or one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Selection {
    /// All built-in rules.
    All,
    /// None of them.
    None,
    /// The rules of a group.
    Group(Group),
    /// One rule.
    One(BuiltIn),
}

impl Selection {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::None => "none",
            Self::Group(group) => group.name(),
            Self::One(rule) => rule.name(),
        }
    }

    const fn has(self, rule: BuiltIn) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Group(group) => rule.group() as u8 == group as u8,
            Self::One(one) => rule as u8 == one as u8,
        }
    }
}

impl TryFrom<String> for Selection {
    type Error = RuleError;

    fn try_from(name: String) -> Result<Self, RuleError> {
        name.parse()
    }
}

impl core::str::FromStr for Selection {
    type Err = RuleError;

    fn from_str(name: &str) -> Result<Self, RuleError> {
        let name = name.trim();
        Ok(match name {
            "all" => Self::All,
            "none" => Self::None,
            "keys" => Self::Group(Group::Keys),
            "pii" => Self::Group(Group::Pii),
            _ => match BuiltIn::named(name) {
                Some(rule) => Self::One(rule),
                None => return Err(RuleError::Unknown(name.to_owned())),
            },
        })
    }
}

impl From<Selection> for String {
    fn from(selection: Selection) -> Self {
        selection.name().to_owned()
    }
}

/// The name of an operator's rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RuleName(String);

impl RuleName {
    /// As it stands in what replaces a find.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RuleName {
    type Error = RuleError;

    fn try_from(name: String) -> Result<Self, RuleError> {
        let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
        let right = name.len() <= NAME
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(inside);
        if right {
            Ok(Self(name))
        } else {
            Err(RuleError::Name(name))
        }
    }
}

impl From<RuleName> for String {
    fn from(name: RuleName) -> Self {
        name.0
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A regular expression of the `regex` crate that matches no empty text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expression(Regex);

impl Expression {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(super) const fn regex(&self) -> &Regex {
        &self.0
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Expression {}

impl TryFrom<String> for Expression {
    type Error = RuleError;

    fn try_from(source: String) -> Result<Self, RuleError> {
        let regex = RegexBuilder::new(&source).size_limit(EXPRESSION).build();
        let regex = regex.map_err(|e| RuleError::Expression(e.to_string()))?;
        if regex.is_match("") {
            return Err(RuleError::Empty(source));
        }
        Ok(Self(regex))
    }
}

impl From<Expression> for String {
    fn from(expression: Expression) -> Self {
        expression.as_str().to_owned()
    }
}

/// An operator's rule for texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// Its name.
    pub name: RuleName,
    /// What it finds; the group `secret` of it, if it has one.
    pub regex: Expression,
}

impl core::str::FromStr for Pattern {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (name, regex) = text
            .split_once('=')
            .ok_or_else(|| RuleError::NoName(text.to_owned()))?;
        Ok(Self {
            name: RuleName::try_from(name.trim().to_owned())?,
            regex: Expression::try_from(regex.to_owned())?,
        })
    }
}

/// A path into JSON documents (RFC 9535).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Path {
    source: String,
    path: JsonPath,
}

impl Path {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    pub(super) const fn path(&self) -> &JsonPath {
        &self.path
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Path {}

impl TryFrom<String> for Path {
    type Error = RuleError;

    fn try_from(source: String) -> Result<Self, RuleError> {
        match JsonPath::parse(&source) {
            Ok(path) => Ok(Self { source, path }),
            Err(error) => Err(RuleError::Path(source, error.to_string())),
        }
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.source
    }
}

/// An operator's rule for JSON documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathRule {
    /// Its name; without one it is called `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<RuleName>,
    /// What is replaced.
    pub path: Path,
}

impl PathRule {
    /// The name of those that have none.
    const UNNAMED: &'static str = "path";

    /// Its name, as it stands in what replaces a find.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_ref().map_or(Self::UNNAMED, RuleName::as_str)
    }
}

impl core::str::FromStr for PathRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (name, path) = match text.split_once('=') {
            Some((name, path)) if !text.starts_with('$') => (Some(name), path),
            _ => (None, text),
        };
        let name = name.map(|n| RuleName::try_from(n.trim().to_owned()));
        Ok(Self {
            name: name.transpose()?,
            path: Path::try_from(path.trim().to_owned())?,
        })
    }
}

/// All that is to be redacted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Built-in rules.
    pub rules: Vec<Selection>,
    /// The operator's regular expressions.
    pub patterns: Vec<Pattern>,
    /// The operator's JSON paths.
    pub paths: Vec<PathRule>,
}

impl Default for Rules {
    /// Keys: nobody wants those in a trace. What tells of a person is often what the call is
    /// about, and is left to the operator.
    fn default() -> Self {
        Self {
            rules: vec![Selection::Group(Group::Keys)],
            patterns: Vec::new(),
            paths: Vec::new(),
        }
    }
}

impl Rules {
    /// No rule.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            rules: Vec::new(),
            patterns: Vec::new(),
            paths: Vec::new(),
        }
    }

    /// The built-in rules meant.
    #[must_use]
    pub fn built_in(&self) -> Vec<BuiltIn> {
        let all = BuiltIn::ALL.iter().copied();
        all.filter(|rule| self.rules.iter().any(|s| s.has(*rule)))
            .collect()
    }

    /// Whether the rules go together.
    ///
    /// # Errors
    ///
    /// When two have one name, or `none` does not stand alone.
    pub fn check(&self) -> Result<(), RuleError> {
        if self.rules.contains(&Selection::None) && self.rules.len() > 1 {
            return Err(RuleError::NoneAndOthers);
        }
        let mut names: Vec<&str> = Vec::new();
        let paths = self.paths.iter().filter_map(|p| p.name.as_ref());
        let all = self.patterns.iter().map(|p| &p.name).chain(paths);
        for name in all.map(RuleName::as_str) {
            let taken = names.contains(&name)
                || name.parse::<Selection>().is_ok()
                || name == PathRule::UNNAMED;
            if taken {
                return Err(RuleError::Taken(name.to_owned()));
            }
            names.push(name);
        }
        Ok(())
    }
}
