//! The objects that the kernel copied, as values: decoded while the process goes on, in whose memory
//! their types are.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::framework::{dify, engine};
use crate::model::snapshot::{CLASS, RawSnapshot, Snapshot, Subject};
use crate::python::copied;
use crate::python::reader::Types;
use crate::python::render;
use crate::python::value::Value;
use crate::target::process;
use crate::target::python::Python;
use crate::target::secrets::names_secret;

/// How often the interpreter of a process is looked for, and how long apart.
const MOST_LOOKS: u32 = 8;
const APART: Duration = Duration::from_secs(1);

/// One process.
#[derive(Debug)]
struct Process {
    python: Option<Python>,
    types: Types,
    looks: u32,
    looked: Instant,
}

/// The processes whose objects are told.
#[derive(Debug, Default)]
pub struct Snapshots {
    processes: HashMap<u32, Process>,
    /// Objects that could not be told, because their types could not be read.
    unread: u64,
    /// Snapshots of which something was left out.
    cut: u64,
}

impl Snapshots {
    /// The values of what was copied. Secrets, by the names that they have, are left out. To look for the
    /// interpreter takes seconds in a large program: it need not be where it is `known`.
    pub fn decode(&mut self, raw: &RawSnapshot<'_>, known: Option<&Python>) -> Option<Snapshot> {
        let wanted = raw.roots.iter().filter(|root| **root != 0).count() as u64;
        let Some(process) = self.process(raw, known) else {
            self.unread += wanted;
            self.cut += u64::from(raw.cut);
            return None;
        };
        let python = process.python.as_ref()?;
        let how = (&python.fit.layout, &process.types);
        let part = |name: &str| {
            let object = raw.roots.first().copied().unwrap_or_default();
            copied::attribute(raw.segments, (object, name), &python.memory, how)
        };
        let parts = match raw.subject {
            Subject::Hook { hook, .. } => engine::parts(hook),
            _ => &[],
        };
        // The other arguments stand behind the parts of the first.
        let roots = parts.iter().map(|name| part(name).unwrap_or(0));
        let roots: Vec<_> = roots.chain(raw.roots.iter().skip(1).copied()).collect();
        // Of an object of which parts are wanted each of them is.
        let wanted = wanted.max(roots.iter().filter(|root| **root != 0).count() as u64);
        let roots = if parts.is_empty() {
            &raw.roots[..]
        } else {
            &roots
        };
        let found = copied::values(raw.segments, roots, &python.memory, how);
        if let Subject::Hook { hook, .. } = raw.subject {
            let all = found.iter().map(|value| readable(value.as_ref()));
            let all: Vec<_> = all.collect();
            let mut read = all.iter().flatten().count() as u64;
            if read == 0 && !parts.is_empty() {
                // One that has none of the parts is another object than was thought, and not unreadable.
                let whole = copied::values(raw.segments, &raw.roots, &python.memory, how);
                read = whole.iter().flatten().count() as u64;
            }
            let unread = wanted.saturating_sub(read);
            let mut is_part = true;
            // What is not wanted is left out before anybody gets to know it.
            let mut values = if dify::is_one(hook) {
                let registry = raw
                    .roots
                    .first()
                    .filter(|object| **object != 0)
                    .map(|object| {
                        let found = dify::REGISTRIES.into_iter().find_map(part);
                        found.unwrap_or(*object)
                    });
                dify::kept(hook, &all, registry)
            } else {
                let mut kept = engine::kept(hook, &all);
                // Of other hooks nobody asks: some are hit with each step of an engine.
                if engine::wants_parents(hook) && !kept.is_empty() {
                    let above = |pid: &u32| process::parent(*pid);
                    let parents = std::iter::successors(process::parent(raw.pid), above);
                    engine::started_by(hook, &mut kept, &parents.take(2).collect::<Vec<_>>());
                }
                is_part = engine::is_part(hook, &kept);
                kept
            };
            self.cut += u64::from(raw.cut && is_part);
            if !engine::may_be_other(hook) {
                self.unread += unread;
            }
            values.iter_mut().flatten().for_each(without_secrets);
            return (!values.is_empty()).then(|| raw.with(values));
        }
        let mut values: Vec<_> = found.iter().map(|value| told(value.as_ref())).collect();
        while values.last().is_some_and(Option::is_none) {
            values.pop();
        }
        let told = values.iter().flatten().count() as u64;
        self.unread += wanted.saturating_sub(told);
        (told > 0).then(|| raw.with(values))
    }

    /// What was not told: objects whose types could not be read, most often because their process ended, and
    /// how many times a snapshot was larger than what is copied of one.
    #[must_use]
    pub const fn losses(&self) -> [(&'static str, u64); 2] {
        [
            (
                "contents of Python objects that could not be read",
                self.unread,
            ),
            (
                "snapshots of Python objects told in part: too many objects, or too large",
                self.cut,
            ),
        ]
    }

    /// A process is gone, or runs another program.
    pub fn forget(&mut self, pid: u32) {
        self.processes.remove(&pid);
    }

    fn process(&mut self, raw: &RawSnapshot<'_>, known: Option<&Python>) -> Option<&Process> {
        let pid = raw.pid;
        if self.processes.get(&pid).is_none_or(|p| p.python.is_none()) {
            // A forked child is laid out as what it was forked from.
            let parent = self.processes.get(&raw.root);
            let parent = parent.filter(|_| raw.root != pid);
            let forked = parent.and_then(|parent| {
                let python = parent.python.as_ref()?.of_fork(pid).ok()?;
                Some((python, parent.types.clone()))
            });
            let process = self.processes.entry(pid).or_insert_with(|| Process {
                python: None,
                types: Types::default(),
                looks: 0,
                looked: Instant::now(),
            });
            match forked {
                Some((python, types)) => {
                    process.python = Some(python);
                    process.types = types;
                }
                None => match known.and_then(|python| python.of_fork(pid).ok()) {
                    Some(python) => process.python = Some(python),
                    None => process.open(pid),
                },
            }
        }
        self.processes.get(&pid).filter(|p| p.python.is_some())
    }
}

impl Process {
    fn open(&mut self, pid: u32) {
        let may_look = self.looks == 0 || self.looks < MOST_LOOKS && self.looked.elapsed() >= APART;
        if self.python.is_none() && may_look {
            self.looks += 1;
            self.looked = Instant::now();
            match Python::open(pid) {
                Ok(python) => self.python = Some(python),
                Err(error) => tracing::debug!(pid, "its objects are not told: {error}"),
            }
        }
    }
}

/// What is told of a value: nothing of one that could not be read.
fn told(value: Option<&Value>) -> Option<Json> {
    let mut told = readable(value)?;
    without_secrets(&mut told);
    Some(told)
}

/// A value as JSON, if it could be read.
fn readable(value: Option<&Value>) -> Option<Json> {
    let value = value.filter(|v| !matches!(v, Value::Unreadable | Value::Omitted))?;
    Some(render::classed(value, CLASS))
}

/// Leaves out what is a secret by the name that it has. Counts and the like are none, whatever their
/// names.
fn without_secrets(value: &mut Json) {
    match value {
        Json::Object(all) => {
            all.retain(|name, value| !(names_secret(name) && has_text(value)));
            all.values_mut().for_each(without_secrets);
        }
        Json::Array(items) => items.iter_mut().for_each(without_secrets),
        Json::String(_) | Json::Number(_) | Json::Bool(_) | Json::Null => {}
    }
}

fn has_text(value: &Json) -> bool {
    match value {
        Json::String(_) => true,
        Json::Array(items) => items.iter().any(has_text),
        Json::Object(all) => all
            .iter()
            .any(|(name, value)| name != CLASS && has_text(value)),
        Json::Number(_) | Json::Bool(_) | Json::Null => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{told, without_secrets};
    use crate::model::snapshot::OMITTED;
    use crate::python::value::Value;
    use serde_json::json;

    #[test]
    fn what_was_not_copied_is_told_as_others_know_it() {
        let items = vec![Value::Omitted, Value::Bool(true)];
        let list = Value::Items {
            kind: crate::python::object::Kind::List,
            items,
            missing: 0,
        };
        assert_eq!(told(Some(&list)), Some(json!([OMITTED, true])));
    }

    #[test]
    fn secrets_are_left_out_by_their_names() {
        let mut value = json!({
            "api_key": "sk-1", "max_tokens": 5, "text": "t",
            "headers": [{"Authorization": "Bearer x", "accept": "*"}],
            "outputs": {"status_code": 200, "headers": {"set-cookie": "id=1", "Set-Cookie2": ["id=2"], "server": "s"}},
            "cookies": {"id": "1"}, "author": "a", "keywords": ["k"],
            "token_usage": {"total_tokens": 3},
            "credentials": {"user": "u"},
            "auth": {"<class>": "a.Auth", "tries": 2},
        });
        without_secrets(&mut value);
        let wanted = json!({
            "max_tokens": 5, "text": "t",
            "headers": [{"accept": "*"}],
            "outputs": {"status_code": 200, "headers": {"server": "s"}},
            "author": "a", "keywords": ["k"],
            "token_usage": {"total_tokens": 3},
            "auth": {"<class>": "a.Auth", "tries": 2},
        });
        assert_eq!(value, wanted);
    }
}
