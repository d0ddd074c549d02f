//! Writes the description of a live process in the form of the recorded ones of
//! `agent/src/target/classify/recorded/`, with what the classification says of it as what is wanted: to be
//! looked through before it is kept.
//!
//! What is one machine's is replaced: process ids, times, users, and the folders that are named.
//!
//! ```text
//! record_process PID --about TEXT [--replace FOLDER=NAME]…
//! ```

use anyhow::{Context as _, Result, bail};
use genspan::target::classify::{Classification, Description, classify};
use genspan::target::discover::{Depth, Discovery};
use genspan::target::survey;
use serde_yaml_ng::{Mapping, Value};
use std::io::Write as _;

/// What was asked for.
struct Asked {
    pid: u32,
    about: String,
    /// Beginnings of paths, and what stands for them; the longest first.
    replace: Vec<(String, String)>,
}

fn asked() -> Result<Asked> {
    let mut words = std::env::args().skip(1);
    let pid = words.next().context("which process?")?;
    let mut asked = Asked {
        pid: pid
            .parse()
            .with_context(|| format!("{pid} is no process id"))?,
        about: String::new(),
        replace: Vec::new(),
    };
    while let Some(option) = words.next() {
        let value = words.next().with_context(|| format!("{option} of what?"))?;
        match option.as_str() {
            "--about" => asked.about = value,
            "--replace" => {
                let (folder, name) = value.split_once('=').context("FOLDER=NAME")?;
                asked.replace.push((folder.to_owned(), name.to_owned()));
            }
            _ => bail!("what is {option}?"),
        }
    }
    asked
        .replace
        .sort_by_key(|(folder, _)| std::cmp::Reverse(folder.len()));
    Ok(asked)
}

impl Asked {
    fn neutral(&self, text: &str) -> String {
        let replaced = |text: String, (from, to): &(String, String)| text.replace(from, to);
        self.replace.iter().fold(text.to_owned(), replaced)
    }

    fn neutral_process(&self, mut process: Description) -> Description {
        let all = |texts: &mut Vec<String>| {
            for text in texts {
                *text = self.neutral(text);
            }
        };
        process.command.truncate(MAX_WORDS);
        for word in &mut process.command {
            let end = word.char_indices().nth(MAX_CHARACTERS);
            word.truncate(end.map_or(word.len(), |(at, _)| at));
        }
        all(&mut process.command);
        all(&mut process.mapped);
        process.executable = self.neutral(&process.executable);
        for (_, value) in &mut process.environment {
            *value = self.neutral(value);
        }
        process.installed.sort();
        if let Some(modules) = &mut process.modules {
            modules.sort();
        }
        process.mapped.sort();
        // One file of each package is as good as all.
        process
            .mapped
            .dedup_by_key(|path| package_of(path).to_owned());
        process.mapped.truncate(MAX_MAPPED);
        Description {
            pid: 1,
            parent: 0,
            start_ticks: 0,
            user: 0,
            container: None,
            pod: None,
            // Names folders of this machine.
            installed_unseen: None,
            ..process
        }
    }
}

/// Most files that are kept of what a process has mapped.
const MAX_MAPPED: usize = 24;

/// Most words of a command line that are kept, and characters of each.
const MAX_WORDS: usize = 32;
const MAX_CHARACTERS: usize = 160;

/// The first folder or file within the folder of packages.
fn package_of(path: &str) -> &str {
    let inside = path.split_once("-packages/").map_or(path, |(_, rest)| rest);
    inside.split(['/', '.']).next().unwrap_or(inside)
}

/// Only what says something.
fn without_nothing(value: Value) -> Value {
    let Value::Mapping(fields) = value else {
        return value;
    };
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Sequence(all) => !all.is_empty(),
        Value::Number(n) => n.as_u64() != Some(0),
        _ => true,
    };
    let kept = fields.into_iter().filter(|(_, value)| says(value));
    Value::Mapping(kept.collect())
}

/// What a process is, in the words of the table.
fn wanted(process: &Description, what: &Classification) -> Mapping {
    let mut all = Mapping::new();
    let mut put = |name: &str, value: Value| all.insert(name.into(), value);
    put("kind", what.kind.map_or("none", |kind| kind.name()).into());
    if let Some(first) = what.evidence.first() {
        put(
            "why",
            format!("{}: {}", first.source.name(), first.what).into(),
        );
    }
    put("service", survey::service_name(process).into());
    if let Some(server) = &what.server {
        let told = &server.told;
        put(
            "server",
            format!("{} {}", server.server.name(), server.part.name()).into(),
        );
        put("model", told.model.clone().map_or(Value::Null, Value::from));
        put(
            "served_as",
            told.served_as
                .clone()
                .into_iter()
                .map(Value::from)
                .collect(),
        );
        put("port", told.port.map_or(Value::Null, Value::from));
        put(
            "tensor_parallel",
            told.tensor_parallel.map_or(Value::Null, Value::from),
        );
        put(
            "version",
            server.version.clone().map_or(Value::Null, Value::from),
        );
    }
    let packages = what.packages.iter().map(|package| {
        let version = package.version.as_ref().map(|v| format!(" {v}"));
        let loaded = if package.loaded { " loaded" } else { "" };
        Value::from(format!(
            "{}{}{loaded}",
            package.name,
            version.unwrap_or_default()
        ))
    });
    put("packages", packages.collect());
    all
}

fn main() -> Result<()> {
    let asked = asked()?;
    let process = Discovery::default().describe(asked.pid, Depth::Inside)?;
    let process = asked.neutral_process(process);
    let what = classify(&process);
    let mut all = Mapping::new();
    all.insert("about".into(), asked.about.clone().into());
    let python = process.python;
    let described = without_nothing(serde_yaml_ng::to_value(&process)?);
    all.insert("process".into(), described);
    if !python {
        all.insert("native".into(), true.into());
    }
    let wanted = wanted(&process, &what);
    let mut wanted = without_nothing(Value::Mapping(wanted));
    // That there is none is said, too.
    if let (Value::Mapping(fields), true) = (&mut wanted, what.packages.is_empty()) {
        fields.insert("packages".into(), Value::Sequence(Vec::new()));
    }
    all.insert("want".into(), wanted);
    let text = serde_yaml_ng::to_string(&Value::Mapping(all))?;
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}
