//! Which processes are traced where nobody names them: by what they are, and by the operator's rules.
//! Pure.

use std::str::FromStr;

use regex::Regex;
use thiserror::Error;

use super::classify::{Classification, Description};
use super::settings::{RuleSettings, Settings};
use crate::kubernetes::facts::PodFacts;
use crate::model::process::AppType;

/// What a rule looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The namespace of its pod.
    Namespace,
    /// The Deployment of its pod.
    Deployment,
    /// What its pod belongs to, whatever that is; the pod's name, if to nothing.
    Workload,
    /// A label of its pod, by the label's key.
    Label(String),
}

/// What stands before the key of a label.
const LABEL: &str = "label:";

const KEYS: [(&str, Key); 10] = [
    ("name", Key::Name),
    ("command", Key::Command),
    ("exe", Key::Executable),
    ("user", Key::User),
    ("container", Key::Container),
    ("pod", Key::Pod),
    ("type", Key::Type),
    ("namespace", Key::Namespace),
    ("deployment", Key::Deployment),
    ("workload", Key::Workload),
];

impl Key {
    fn of(name: &str) -> Option<Self> {
        match name.strip_prefix(LABEL) {
            Some(label) => (!label.is_empty()).then(|| Self::Label(label.to_owned())),
            None => {
                let known = KEYS.iter().find(|(known, _)| *known == name);
                known.map(|(_, key)| key.clone())
            }
        }
    }

    /// Whether only Kubernetes can tell.
    const fn asks_cluster(&self) -> bool {
        matches!(
            self,
            Self::Namespace | Self::Deployment | Self::Workload | Self::Label(_)
        )
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Self::Label(label) = self {
            return write!(f, "{LABEL}{label}");
        }
        let name = KEYS.iter().find(|(_, key)| key == self);
        f.write_str(name.map_or("name", |(name, _)| name))
    }
}

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
    #[error(
        "there is no key `{0}`: expected name, command, exe, user, container, pod, type, namespace, \
         deployment, workload or label:KEY"
    )]
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
                let known = Key::of(key.trim()).ok_or_else(|| BadRule::Key(key.to_owned()))?;
                (known, pattern.trim())
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
    /// Whether it is about this process; none while that cannot be said.
    fn fits(
        &self,
        candidate: &Candidate<'_>,
        user_name: impl Fn(u32) -> Option<String>,
    ) -> Option<bool> {
        let Candidate {
            process,
            what,
            service,
            pod,
        } = candidate;
        let pod = match pod {
            Whereabouts::Nowhere if self.key.asks_cluster() => return Some(false),
            Whereabouts::Unknown if self.key.asks_cluster() => return None,
            Whereabouts::Pod(facts) => Some(facts),
            Whereabouts::Nowhere | Whereabouts::Unknown => None,
        };
        let of_pod = |get: &dyn Fn(&PodFacts) -> Option<String>| pod.and_then(|pod| get(pod));
        let text = match &self.key {
            Key::Name => (*service).to_owned(),
            Key::Command => process.command.join(" "),
            Key::Executable => process.executable.clone(),
            Key::User => {
                let number = process.user.to_string();
                if self.text == number {
                    return Some(true);
                }
                user_name(process.user).unwrap_or(number)
            }
            Key::Container => process.container.clone().unwrap_or_default(),
            Key::Pod => process.pod.clone().unwrap_or_default(),
            Key::Type => what.kind.map_or("", AppType::name).to_owned(),
            Key::Namespace => of_pod(&|pod| Some(pod.namespace.clone())).unwrap_or_default(),
            Key::Deployment => of_pod(&|pod| pod.deployment.clone()).unwrap_or_default(),
            Key::Workload => of_pod(&|pod| Some(pod.workload.clone())).unwrap_or_default(),
            // One that is not there is not an empty one: `*` is for those that have it.
            Key::Label(label) => match of_pod(&|pod| pod.labels.get(label).cloned()) {
                Some(value) => value,
                None => return Some(false),
            },
        };
        Some(self.pattern.is_match(&text))
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.key, self.text)
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
    /// The pod that it is in.
    pub pod: Whereabouts<'a>,
}

/// What is known of the pod that a process is in.
#[derive(Clone, Copy, Debug)]
pub enum Whereabouts<'a> {
    /// It is in none.
    Nowhere,
    /// It is in one of which nothing is known, or not yet.
    Unknown,
    /// It is in this one.
    Pod(&'a PodFacts),
}

impl<'a> Whereabouts<'a> {
    /// Of a process in a pod with this UID, of which this is known.
    #[must_use]
    pub fn of(pod: Option<&str>, known: Option<&'a PodFacts>) -> Self {
        match (known, pod) {
            (Some(facts), _) => Self::Pod(facts),
            (None, Some(_)) => Self::Unknown,
            (None, None) => Self::Nowhere,
        }
    }
}

/// What an operator says of which processes are traced.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// One of these must fit, if there is any.
    pub include: Vec<Rule>,
    /// None of these may fit.
    pub exclude: Vec<Rule>,
    /// Programs that are not Python are traced if one of these fits, whatever `include` says.
    pub include_other: Vec<Rule>,
    /// What is set for those that one of these fits; the first one that sets something counts.
    pub settings: Vec<RuleSettings>,
    /// What processes say of themselves in their environment, to whoever traces them, counts for nothing
    /// (`trust_process_env: false`).
    pub ignores_environment: bool,
}

/// The rules in a configuration file.
#[derive(Clone, Debug, Default)]
pub struct RulesFile {
    /// As [`Rules::include`].
    pub include: Vec<Rule>,
    /// As [`Rules::exclude`].
    pub exclude: Vec<Rule>,
    /// As [`Rules::include_other`].
    pub include_other: Vec<Rule>,
}

/// What is wrong with a configuration file.
#[derive(Debug, Error)]
pub enum BadFile {
    /// It is no such document: where, and what is expected there.
    #[error("{}", placed(.0))]
    Yaml(#[from] serde_yaml_ng::Error),
    /// Rules that are none: all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Rules(Vec<BadLine>),
}

/// With its place: what stands at the very beginning is told without one.
fn placed(error: &serde_yaml_ng::Error) -> String {
    let text = error.to_string();
    match error.location() {
        Some(place) if !text.contains(" at line ") => {
            let (line, column) = (place.line(), place.column());
            format!("{text} at line {line} column {column}")
        }
        _ => text,
    }
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
    pub fn read(
        [include, exclude, include_other]: [Vec<String>; 3],
        text: &str,
    ) -> Result<Self, BadFile> {
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
        let (include, exclude, include_other) = (read(include), read(exclude), read(include_other));
        if bad.is_empty() {
            Ok(Self {
                include,
                exclude,
                include_other,
            })
        } else {
            Err(BadFile::Rules(bad))
        }
    }
}

/// Why a process is not traced.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotTraced {
    /// It is not Python.
    #[error("not Python: traced only if a rule of --include-other fits it")]
    NotPython,
    /// It is of no type that is traced.
    #[error(
        "it has no package that calls models, and serves nobody; with APSARA_APM_APP_TYPE=app in its \
         environment it is traced"
    )]
    Nothing,
    /// A part of a model server that nobody speaks HTTP with, and that has nothing of its own to tell.
    #[error("the {0} of a model server: what is asked passes its API process")]
    InnerPart(&'static str),
    /// A rule says so.
    #[error("excluded by `{0}`")]
    Excluded(String),
    /// No rule asks for it.
    #[error("no `include` fits")]
    NotIncluded,
    /// A rule asks for what is not known of its pod.
    #[error("its pod is not known, or not yet, which `{0}` asks for")]
    PodUnknown(String),
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
        let fits = |rule: &Rule| rule.fits(candidate, &user_name);
        let is_other = !candidate.process.python;
        if is_other && self.include_other.iter().all(|r| fits(r) == Some(false)) {
            return Err(NotTraced::NotPython);
        }
        if let Some(rule) = self.exclude.iter().find(|r| fits(r) == Some(true)) {
            return Err(NotTraced::Excluded(rule.to_string()));
        }
        if candidate.what.kind.is_none() && !is_other {
            return Err(NotTraced::Nothing);
        }
        if let Some(server) = &candidate.what.server
            && !server.server.has_traced(server.part)
        {
            return Err(NotTraced::InnerPart(server.part.name()));
        }
        // What may turn out to be excluded is not traced until it is known not to be.
        let open = |rules: &[Rule]| {
            let open = rules.iter().find(|r| fits(r).is_none());
            open.map(|rule| NotTraced::PodUnknown(rule.to_string()))
        };
        if let Some(unknown) = open(&self.exclude) {
            return Err(unknown);
        }
        // What is set for it may be that less is told.
        let set = self.settings.iter().find(|set| fits(&set.rule).is_none());
        if let Some(set) = set {
            return Err(NotTraced::PodUnknown(set.rule.to_string()));
        }
        if is_other {
            let chosen = self.include_other.iter().any(|r| fits(r) == Some(true));
            let unknown = || open(&self.include_other).unwrap_or(NotTraced::NotPython);
            return if chosen { Ok(()) } else { Err(unknown()) };
        }
        if self.include.is_empty() || self.include.iter().any(|r| fits(r) == Some(true)) {
            return Ok(());
        }
        Err(open(&self.include).unwrap_or(NotTraced::NotIncluded))
    }

    /// What is set for a process.
    #[must_use]
    pub fn settings_of(
        &self,
        candidate: &Candidate<'_>,
        user_name: impl Fn(u32) -> Option<String>,
    ) -> Settings {
        let fits = |set: &&RuleSettings| set.rule.fits(candidate, &user_name) == Some(true);
        let mut settings = Settings::default();
        for set in self.settings.iter().filter(fits) {
            settings.fill(&set.settings);
        }
        settings.other = !candidate.process.python && !self.include_other.is_empty();
        settings
    }

    /// Whether a rule asks for what only Kubernetes can tell.
    #[must_use]
    pub fn ask_cluster(&self) -> bool {
        let set = self.settings.iter().map(|set| &set.rule);
        let mut all = self.include.iter().chain(&self.exclude).chain(set);
        let mut others = self.include_other.iter();
        let asks = |rule: &Rule| rule.key.asks_cluster();
        all.any(asks) || others.any(asks)
    }
}

#[cfg(test)]
mod tests {
    use super::{BadRule, Candidate, NotTraced, Rule, Rules, Whereabouts};
    use crate::kubernetes::facts::PodFacts;
    use crate::target::classify::{Description, classify};
    use crate::target::settings::Content;

    fn rules(include: &[&str], exclude: &[&str]) -> Rules {
        let parse =
            |all: &[&str]| -> Vec<Rule> { all.iter().map(|r| r.parse().unwrap()).collect() };
        Rules {
            include: parse(include),
            exclude: parse(exclude),
            ..Rules::default()
        }
    }

    fn judge(rules: &Rules, process: &Description) -> Result<(), NotTraced> {
        judge_in(rules, process, Whereabouts::Nowhere)
    }

    fn judge_in(
        rules: &Rules,
        process: &Description,
        pod: Whereabouts<'_>,
    ) -> Result<(), NotTraced> {
        let what = classify(process);
        let candidate = Candidate {
            process,
            what: &what,
            service: "shop-api",
            pod,
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
    fn pods_choose() {
        let facts = PodFacts {
            namespace: "eu".to_owned(),
            labels: [("team".to_owned(), "a".to_owned())].into(),
            workload: "db".to_owned(),
            ..PodFacts::default()
        };
        let unknown = |rule: &str| Err(NotTraced::PodUnknown(rule.to_owned()));
        let left = Err(NotTraced::NotIncluded);
        let excluded = |rule: &str| Err(NotTraced::Excluded(rule.to_owned()));
        // In no pod, in one that is not known, and in this one.
        for (include, exclude, nowhere, not_known, here) in [
            (
                &["namespace=e*"][..],
                &[][..],
                left.clone(),
                unknown("namespace=e*"),
                Ok(()),
            ),
            (
                &["label:team=a"],
                &[],
                left.clone(),
                unknown("label:team=a"),
                Ok(()),
            ),
            (
                &["label:other=*"],
                &[],
                left.clone(),
                unknown("label:other=*"),
                left.clone(),
            ),
            (
                &["workload=db"],
                &[],
                left.clone(),
                unknown("workload=db"),
                Ok(()),
            ),
            (
                &["deployment=?*"],
                &[],
                left.clone(),
                unknown("deployment=?*"),
                left.clone(),
            ),
            (&["namespace=x", "type=app"], &[], Ok(()), Ok(()), Ok(())),
            (
                &[],
                &["namespace=x"],
                Ok(()),
                unknown("namespace=x"),
                Ok(()),
            ),
            (
                &[],
                &["label:team=*"],
                Ok(()),
                unknown("label:team=*"),
                excluded("label:team=*"),
            ),
        ] {
            let rules = rules(include, exclude);
            assert!(rules.ask_cluster());
            for (pod, want) in [
                (Whereabouts::Nowhere, nowhere),
                (Whereabouts::Unknown, not_known),
                (Whereabouts::Pod(&facts), here),
            ] {
                assert_eq!(
                    judge_in(&rules, &app(), pod),
                    want,
                    "{include:?} {exclude:?} {pod:?}"
                );
            }
        }
        assert!(!rules(&["pod=x"], &["type=app"]).ask_cluster());
        assert!(matches!(Whereabouts::of(None, None), Whereabouts::Nowhere));
        assert!(matches!(
            Whereabouts::of(Some("u"), None),
            Whereabouts::Unknown
        ));
    }

    #[test]
    fn rules_set_something_and_wait_for_what_they_ask_for() {
        let text = "[{rule: namespace=eu, content: none}, {rule: shop-*, service: a, max_message: 9}, \
                    {rule: user=33, content: both, service: b}]";
        let rules = Rules {
            settings: serde_yaml_ng::from_str(text).unwrap(),
            ..Rules::default()
        };
        let app = app();
        let what = classify(&app);
        let facts = PodFacts {
            namespace: "eu".to_owned(),
            ..PodFacts::default()
        };
        let of = |pod| {
            let candidate = Candidate {
                process: &app,
                what: &what,
                service: "shop-api",
                pod,
            };
            rules.settings_of(&candidate, |_| None)
        };
        let set = of(Whereabouts::Nowhere);
        assert_eq!(
            (set.content, set.max_message_chars),
            (Some(Content::Both), Some(9))
        );
        assert_eq!(set.service.as_deref(), Some("a"));
        assert_eq!(of(Whereabouts::Pod(&facts)).content, Some(Content::None));
        let unknown = judge_in(&rules, &app, Whereabouts::Unknown);
        assert_eq!(
            unknown,
            Err(NotTraced::PodUnknown("namespace=eu".to_owned()))
        );
        assert_eq!(judge_in(&rules, &app, Whereabouts::Nowhere), Ok(()));
        assert!(rules.ask_cluster());
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
        let titled = |title: &str| Description {
            command: vec![title.to_owned()],
            ..app()
        };
        // What a scheduler of SGLang does with requests nobody else knows.
        let scheduler = titled("sglang::scheduler_TP0");
        assert_eq!(judge(&none, &scheduler), Ok(()));
        let other = judge(&none, &titled("sglang::detokenizer"));
        assert_eq!(other, Err(NotTraced::InnerPart("detokenizer")));
        let excluded = judge(&rules(&[], &["shop-*"]), &app()).unwrap_err();
        assert_eq!(excluded.to_string(), "excluded by `name=shop-*`");
    }

    #[test]
    fn what_is_no_python_is_traced_by_choice() {
        let others = |include: &[&str], exclude: &[&str], other: &[&str]| Rules {
            include_other: other.iter().map(|rule| rule.parse().unwrap()).collect(),
            ..rules(include, exclude)
        };
        let of = |executable: &str| Description {
            python: false,
            executable: executable.to_owned(),
            pod: Some("pod".to_owned()),
            modules: None,
            ..app()
        };
        let node = of("/usr/bin/node");
        // Neither what is included of Pythons nor what it is counts.
        let chosen = others(&["type=model"], &[], &["exe=*/deno", "exe=*/node"]);
        assert_eq!(judge(&chosen, &node), Ok(()));
        assert_eq!(judge(&chosen, &of("/bin/sh")), Err(NotTraced::NotPython));
        assert!(judge(&chosen, &app()).is_err());
        let excluded = others(&[], &["container=abc"], &["exe=*/node"]);
        let said = judge(&excluded, &node).unwrap_err().to_string();
        assert_eq!(said, "excluded by `container=abc`");
        // Where Kubernetes has not said yet whether it is one.
        let asks = others(&[], &[], &["namespace=eu"]);
        assert!(asks.ask_cluster());
        let unknown = judge_in(&asks, &node, Whereabouts::Unknown);
        let wanted = NotTraced::PodUnknown("namespace=eu".to_owned());
        assert_eq!(unknown, Err(wanted));
        assert_eq!(judge(&asks, &node), Err(NotTraced::NotPython));
    }

    #[test]
    fn bad_rules_say_what_is_expected() {
        let bad = |text: &str| text.parse::<Rule>().unwrap_err();
        assert_eq!(bad("nme=x"), BadRule::Key("nme".to_owned()));
        assert_eq!(bad("label:=x"), BadRule::Key("label:".to_owned()));
        assert_eq!(bad("type=robot"), BadRule::Type("robot".to_owned()));
        assert_eq!(bad("name="), BadRule::Empty);
        assert_eq!(bad(""), BadRule::Empty);
    }
}
