//! Which processes are traced where nobody names them: by what they are, and by the operator's rules.
//! Pure.

use std::str::FromStr;

use regex::Regex;
use thiserror::Error;

use super::classify::{Classification, Description};
use crate::model::process::AppType;

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The name of its service.
    Name,
    /// Its command line, words with spaces between.
    Command,
    /// Path of its executable.
    Executable,
    /// Its user, by name or number.
    User,
    /// Id of its container.
    Container,
    /// Id (UID) of its pod.
    Pod,
    /// What kind of application it is.
    Type,
}

const KEYS: [(&str, Key); 7] = [
    ("name", Key::Name),
    ("command", Key::Command),
    ("exe", Key::Executable),
    ("user", Key::User),
    ("container", Key::Container),
    ("pod", Key::Pod),
    ("type", Key::Type),
];

/// One rule: `KEY=PATTERN`, where `*` stands for anything and `?` for one character; without a key it
/// is about the name.
#[derive(Clone, Debug)]
pub struct Rule {
    key: Key,
    /// As it was given, without the key.
    text: String,
    pattern: Regex,
}

/// Why a rule is none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadRule {
    /// No such key.
    #[error("there is no key `{0}`: expected name, command, exe, user, container, pod or type")]
    Key(String),
    /// No such type.
    #[error("there is no type `{0}`: expected app, model or microservice")]
    Type(String),
    /// Nothing to match.
    #[error("expected a pattern, as in `name=shop-*`")]
    Empty,
    /// Longer than anything that it could match.
    #[error("the pattern is too long")]
    TooLong,
}

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let (key, pattern) = match text.split_once('=') {
            Some((key, pattern)) => {
                let known = KEYS.iter().find(|(name, _)| *name == key.trim());
                let (_, key) = known.ok_or_else(|| BadRule::Key(key.to_owned()))?;
                (*key, pattern.trim())
            }
            None => (Key::Name, text.trim()),
        };
        if pattern.is_empty() {
            return Err(BadRule::Empty);
        }
        if key == Key::Type && !AppType::ALL.iter().any(|kind| kind.name() == pattern) {
            return Err(BadRule::Type(pattern.to_owned()));
        }
        let escaped = regex::escape(pattern);
        let loose = escaped.replace(r"\*", ".*").replace(r"\?", ".");
        Ok(Self {
            key,
            text: pattern.to_owned(),
            pattern: Regex::new(&format!("(?s)^{loose}$")).map_err(|_| BadRule::TooLong)?,
        })
    }
}

impl Rule {
    /// Whether it is about this process.
    fn fits(&self, candidate: &Candidate<'_>, user_name: impl Fn(u32) -> Option<String>) -> bool {
        let Candidate {
            process,
            what,
            service,
        } = candidate;
        let text = match self.key {
            Key::Name => (*service).to_owned(),
            Key::Command => process.command.join(" "),
            Key::Executable => process.executable.clone(),
            Key::User => {
                let number = process.user.to_string();
                if self.text == number {
                    return true;
                }
                user_name(process.user).unwrap_or(number)
            }
            Key::Container => process.container.clone().unwrap_or_default(),
            Key::Pod => process.pod.clone().unwrap_or_default(),
            Key::Type => what.kind.map_or("", AppType::name).to_owned(),
        };
        self.pattern.is_match(&text)
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = KEYS.iter().find(|(_, key)| *key == self.key);
        write!(f, "{}={}", name.map_or("name", |(name, _)| name), self.text)
    }
}

/// A process that may be traced.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What was seen.
    pub process: &'a Description,
    /// What it is.
    pub what: &'a Classification,
    /// The name of its service.
    pub service: &'a str,
}

/// What an operator says of which processes are traced.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// One of these must fit, if there is any.
    pub include: Vec<Rule>,
    /// None of these may fit.
    pub exclude: Vec<Rule>,
}

/// The rules in a configuration file.
#[derive(Clone, Debug, Default)]
pub struct RulesFile {
    /// As [`Rules::include`].
    pub include: Vec<Rule>,
    /// As [`Rules::exclude`].
    pub exclude: Vec<Rule>,
}

/// What is wrong with a configuration file.
#[derive(Debug, Error)]
pub enum BadFile {
    /// It is no such document: where, and what is expected there.
    #[error(transparent)]
    Yaml(#[from] serde_yaml_ng::Error),
    /// Rules that are none: all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Rules(Vec<BadLine>),
}

/// A rule in a file that is none.
#[derive(Debug, Error)]
#[error("{}`{rule}`: {why}", .line.map(|n| format!("line {n}: ")).unwrap_or_default())]
pub struct BadLine {
    /// Its line, counted from one; unknown of one that is written over several.
    pub line: Option<usize>,
    /// As it is written.
    pub rule: String,
    /// What is wrong with it.
    pub why: BadRule,
}

impl RulesFile {
    /// Reads the rules of the lists in a file whose text is this.
    ///
    /// # Errors
    ///
    /// What is wrong, with its line and what is expected.
    pub fn read(include: Vec<String>, exclude: Vec<String>, text: &str) -> Result<Self, BadFile> {
        let mut bad = Vec::new();
        let mut read = |rules: Vec<String>| -> Vec<Rule> {
            let parsed = rules.into_iter().filter_map(|rule| match rule.parse() {
                Ok(parsed) => Some(parsed),
                Err(why) => {
                    // The reader knows where a list begins, and not where its items do.
                    let mut lines = text.lines();
                    let line = lines.position(|line| line.contains(&rule));
                    let line = line.filter(|_| !rule.is_empty()).map(|n| n + 1);
                    bad.push(BadLine { line, rule, why });
                    None
                }
            });
            parsed.collect()
        };
        let (include, exclude) = (read(include), read(exclude));
        if bad.is_empty() {
            Ok(Self { include, exclude })
        } else {
            Err(BadFile::Rules(bad))
        }
    }
}

/// Why a process is not traced.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotTraced {
    /// It is not Python.
    #[error("not Python: genspan reads Python programs")]
    NotPython,
    /// It is of no type that is traced.
    #[error("it has no package that calls models, and serves nobody")]
    Nothing,
    /// A part of a model server that nobody speaks HTTP with.
    #[error("the {0} of a model server: what is asked passes its API process")]
    InnerPart(&'static str),
    /// A rule says so.
    #[error("excluded by `{0}`")]
    Excluded(String),
    /// No rule asks for it.
    #[error("no --include fits")]
    NotIncluded,
}

impl Rules {
    /// Whether a process is traced.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub fn judge(
        &self,
        candidate: &Candidate<'_>,
        user_name: impl Fn(u32) -> Option<String>,
    ) -> Result<(), NotTraced> {
        if !candidate.process.python {
            return Err(NotTraced::NotPython);
        }
        let excluded = self.exclude.iter().find(|r| r.fits(candidate, &user_name));
        if let Some(rule) = excluded {
            return Err(NotTraced::Excluded(rule.to_string()));
        }
        if candidate.what.kind.is_none() {
            return Err(NotTraced::Nothing);
        }
        if let Some(server) = &candidate.what.server
            && !server.part.speaks_http()
        {
            return Err(NotTraced::InnerPart(server.part.name()));
        }
        if !self.include.is_empty() && !self.include.iter().any(|r| r.fits(candidate, &user_name)) {
            return Err(NotTraced::NotIncluded);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{BadRule, Candidate, NotTraced, Rule, Rules};
    use crate::target::classify::{Description, classify};

    fn rules(include: &[&str], exclude: &[&str]) -> Rules {
        let parse =
            |all: &[&str]| -> Vec<Rule> { all.iter().map(|r| r.parse().unwrap()).collect() };
        Rules {
            include: parse(include),
            exclude: parse(exclude),
        }
    }

    fn judge(rules: &Rules, process: &Description) -> Result<(), NotTraced> {
        let what = classify(process);
        let candidate = Candidate {
            process,
            what: &what,
            service: "shop-api",
        };
        rules.judge(&candidate, |id| (id == 33).then(|| "www-data".to_owned()))
    }

    fn app() -> Description {
        Description {
            python: true,
            user: 33,
            executable: "/opt/v/bin/python3.12".to_owned(),
            command: ["python", "shop.py", "--port", "1"]
                .map(str::to_owned)
                .to_vec(),
            modules: Some(vec!["openai".to_owned()]),
            container: Some("abc".to_owned()),
            ..Description::default()
        }
    }

    #[test]
    fn rules_choose() {
        for (include, exclude, traced) in [
            (&[][..], &[][..], true),
            (&["shop-*"], &[], true),
            (&["name=shop-ap?"], &[], true),
            (&["shop"], &[], false),
            (&["user=www-data"], &[], true),
            (&["user=33"], &[], true),
            (&["user=34", "container=a*"], &[], true),
            (&["type=app"], &[], true),
            (&["type=model"], &[], false),
            (&[], &["command=*shop.py*"], false),
            (&[], &["exe=/opt/*"], false),
            (&["shop-*"], &["type=app"], false),
            (&[], &["pod=?*"], true),
            (&["name=.*"], &[], false),
        ] {
            let got = judge(&rules(include, exclude), &app());
            assert_eq!(got.is_ok(), traced, "{include:?} {exclude:?}: {got:?}");
        }
    }

    #[test]
    fn what_is_not_traced_says_why() {
        let none = Rules::default();
        let plain = Description {
            modules: None,
            ..app()
        };
        assert_eq!(judge(&none, &plain), Err(NotTraced::Nothing));
        let native = Description {
            python: false,
            ..app()
        };
        assert_eq!(judge(&none, &native), Err(NotTraced::NotPython));
        let engine = Description {
            command: vec!["VLLM::EngineCore".to_owned()],
            ..app()
        };
        assert_eq!(judge(&none, &engine), Err(NotTraced::InnerPart("engine")));
        let excluded = judge(&rules(&[], &["shop-*"]), &app()).unwrap_err();
        assert_eq!(excluded.to_string(), "excluded by `name=shop-*`");
    }

    #[test]
    fn bad_rules_say_what_is_expected() {
        let bad = |text: &str| text.parse::<Rule>().unwrap_err();
        assert_eq!(bad("nme=x"), BadRule::Key("nme".to_owned()));
        assert_eq!(bad("type=robot"), BadRule::Type("robot".to_owned()));
        assert_eq!(bad("name="), BadRule::Empty);
        assert_eq!(bad(""), BadRule::Empty);
    }
}
