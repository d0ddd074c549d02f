//! Data flows one way, and a stage knows the model and the one before it, no more.

use super::Finding;
use super::lexer::Source;
use super::paths_in::{Named, named};

/// The pure stages in the order of the data. Each may name what the one before it offers at its
/// root, not what is inside it.
const STAGES: [&str; 4] = ["stream", "protocol", "provider", "trace"];

/// Pure as well: what is done with finished spans. They know the model and the names.
const AFTERWARDS: [&str; 1] = ["metrics"];

/// Pure as well: the reader of CPython, which knows nothing else, and what frameworks do; what has
/// the memory of processes or events from them uses it.
const BESIDE: [&str; 2] = ["python", "framework"];

/// Of those, the one that is wired with the stages.
const FRAMEWORK: &str = "framework";

/// What every stage may name.
const SHARED: &str = "model";

/// What must not be told; the stage that tells applies it.
const REDACTION: &str = "redact";

/// The table of names, and the one stage that writes them.
const VOCABULARY: &str = "vocabulary";
const NAMING_STAGE: &str = "trace";

/// The file that wires the stages.
const WIRING: &str = "pipeline";

/// Parts of the standard library that do or know what a pure stage may not.
const IMPURE_STD: [&[&str]; 7] = [
    &["fs"],
    &["net"],
    &["env"],
    &["process"],
    &["thread"],
    &["time", "Instant"],
    &["time", "SystemTime"],
];

/// Crates that a pure stage may not name.
const IMPURE_CRATES: [&str; 4] = ["aya", "aya_log", "tokio", "libc"];

const SOURCES: &str = "agent/src/";

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let Some(inside) = source.path.strip_prefix(SOURCES) else {
        return Vec::new();
    };
    let modules: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
    let Some(module) = modules.first().copied() else {
        return Vec::new();
    };
    if matches!(module, "lib" | "main") {
        return Vec::new();
    }
    let depth = modules.len() - usize::from(modules.last() == Some(&"mod"));
    let mut findings = Vec::new();
    for path in named(&source.code, &["crate", "super", "genspan"]) {
        if source.is_test(path.line) {
            continue;
        }
        if let Some(inner) = from_root(&path, depth)
            && let Some(why) = refusal(module, &inner)
        {
            findings.push(Finding::error(path.line, why));
        }
    }
    if is_pure(module) {
        findings.extend(impurities(source, module));
    }
    findings
}

/// The path from the crate's root on, if it goes through it.
fn from_root(path: &Named, depth: usize) -> Option<Vec<String>> {
    let first = path.segments.first()?;
    if first != "super" {
        return Some(path.segments.iter().skip(1).cloned().collect());
    }
    let ups = path
        .segments
        .iter()
        .take_while(|segment| *segment == "super")
        .count();
    (ups >= depth + path.inline_modules).then(|| path.segments.iter().skip(ups).cloned().collect())
}

fn is_pure(module: &str) -> bool {
    STAGES.contains(&module)
        || AFTERWARDS.contains(&module)
        || BESIDE.contains(&module)
        || [SHARED, VOCABULARY, REDACTION, WIRING].contains(&module)
}

fn rank(module: &str) -> Option<usize> {
    STAGES.iter().position(|stage| *stage == module)
}

/// Why `module` may not name `path` (segments after the crate's root).
fn refusal(module: &str, path: &[String]) -> Option<String> {
    let other = path.first()?.as_str();
    if other == module || other == SHARED {
        return None;
    }
    if AFTERWARDS.contains(&module) {
        return (other != VOCABULARY)
            .then(|| format!("`{module}` names `{other}`: it works on finished spans alone"));
    }
    if BESIDE.contains(&module) {
        return Some(format!(
            "`{module}` names `{other}`: it knows no other part"
        ));
    }
    let other_rank = rank(other);
    let Some(own) = rank(module) else {
        let beside = [VOCABULARY, REDACTION, FRAMEWORK].contains(&other);
        let wires = module == WIRING && (other_rank.is_some() || beside);
        return match module {
            SHARED | VOCABULARY | REDACTION => {
                Some(format!("`{module}` names `{other}`: it stands below all"))
            }
            WIRING if !wires => Some(format!("`{WIRING}` is pure and may not name `{other}`")),
            WIRING => None,
            _ if other_rank.is_some() => Some(format!(
                "`{module}` names the stage `{other}`: only `{WIRING}` wires the stages"
            )),
            _ => None,
        };
    };
    if [VOCABULARY, REDACTION].contains(&other) {
        return (module != NAMING_STAGE)
            .then(|| format!("`{module}` names `{other}`: only `{NAMING_STAGE}` does"));
    }
    match other_rank {
        Some(before) if before + 1 == own => {
            let inner = path.get(1).map(String::as_str).unwrap_or_default();
            let is_item = inner == "*" || inner.starts_with(char::is_uppercase) || path.len() <= 2;
            (!is_item).then(|| {
                format!(
                    "`{module}` names what is inside `{other}`: `{}`",
                    path.join("::")
                )
            })
        }
        Some(before) if before < own => Some(format!(
            "`{module}` names `{other}`, which is not the stage before it"
        )),
        Some(_) => Some(format!("`{module}` names `{other}`, a later stage")),
        None => Some(format!("the pure stage `{module}` names `{other}`")),
    }
}

fn impurities(source: &Source, module: &str) -> Vec<Finding> {
    let mut roots = vec!["std"];
    roots.extend(IMPURE_CRATES);
    named(&source.code, &roots)
        .into_iter()
        .filter(|path| !source.is_test(path.line))
        .filter(|path| {
            let (first, rest) = path
                .segments
                .split_first()
                .map_or(("", &[][..]), |(f, r)| (f, r));
            first != "std"
                || IMPURE_STD.iter().any(|bad| {
                    rest.len() >= bad.len() && rest.iter().zip(*bad).all(|(a, b)| a == b)
                })
        })
        .map(|path| {
            let path_text = path.segments.join("::");
            Finding::error(
                path.line,
                format!("`{module}` is pure and may not use `{path_text}`"),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text))
            .into_iter()
            .map(|f| f.message)
            .collect()
    }

    #[track_caller]
    fn good(path: &str, text: &str) {
        assert_eq!(findings(path, text), Vec::<String>::new(), "{path}: {text}");
    }

    #[track_caller]
    fn bad(path: &str, text: &str) {
        assert_eq!(findings(path, text).len(), 1, "{path}: {text}");
    }

    #[test]
    fn a_stage_knows_the_model_itself_and_the_one_before() {
        good(
            "agent/src/protocol/http1.rs",
            "use crate::model::event::Data; use crate::protocol::a;",
        );
        good("agent/src/protocol/http1.rs", "use crate::stream::Piece;");
        good("agent/src/protocol/mod.rs", "use super::stream::Piece;");
        bad(
            "agent/src/protocol/http1.rs",
            "use crate::stream::assembler::Inner;",
        );
        bad("agent/src/protocol/http1.rs", "use crate::provider::Thing;");
        bad("agent/src/provider/chat.rs", "use crate::stream::Piece;");
        bad(
            "agent/src/provider/openai/chat.rs",
            "use super::super::super::trace::Thing;",
        );
        bad(
            "agent/src/provider/chat.rs",
            "use crate::{model::call::Call, export::Json};",
        );
        good(
            "agent/src/provider/mod.rs",
            "mod stream; fn f() { stream::run() } mod m { use super::stream; }",
        );
        bad("agent/src/model/call.rs", "use crate::trace::Span;");
    }

    #[test]
    fn what_comes_after_the_stages_knows_finished_spans_alone() {
        good(
            "agent/src/metrics/store.rs",
            "use crate::{model::span::Span, vocabulary::metric}; use super::label::Label;",
        );
        bad("agent/src/metrics/store.rs", "use crate::trace::Spans;");
        bad("agent/src/metrics/store.rs", "use crate::export::Loss;");
        bad("agent/src/metrics/store.rs", "use std::time::Instant;");
        bad("agent/src/trace/span.rs", "use crate::metrics::Metrics;");
        good("agent/src/export/a.rs", "use crate::metrics::Metrics;");
    }

    #[test]
    fn the_reader_of_python_stands_alone() {
        good(
            "agent/src/python/layout/mod.rs",
            "use crate::python::version::Version; use super::reader::Reader;",
        );
        bad("agent/src/python/check.rs", "use crate::target::process;");
        bad("agent/src/python/check.rs", "use crate::stream::Piece;");
        bad("agent/src/python/memory.rs", "use std::fs::File;");
        bad(
            "agent/src/stream/mod.rs",
            "use crate::python::value::Value;",
        );
        good("agent/src/target/python.rs", "use crate::python::check;");
    }

    #[test]
    fn the_vocabulary_belongs_to_the_last_stage() {
        good("agent/src/trace/span.rs", "use crate::vocabulary as v;");
        bad("agent/src/provider/chat.rs", "use crate::vocabulary;");
        good("agent/src/export/view.rs", "use crate::vocabulary::MODEL;");
    }

    #[test]
    fn redaction_stands_below_the_last_stage() {
        good("agent/src/trace/span.rs", "use crate::redact::Redactor;");
        good("agent/src/cli/args.rs", "use crate::redact::Rules;");
        good("agent/src/pipeline.rs", "use crate::redact::Redactor;");
        bad("agent/src/provider/chat.rs", "use crate::redact::Redactor;");
        bad("agent/src/redact/mod.rs", "use crate::trace::Spans;");
        bad("agent/src/redact/mod.rs", "use std::fs;");
    }

    #[test]
    fn one_file_wires() {
        good(
            "agent/src/pipeline.rs",
            "use crate::{stream::A, trace::b::C, vocabulary};",
        );
        bad("agent/src/pipeline.rs", "use crate::export::Json;");
        bad("agent/src/capture/ring.rs", "use crate::stream::A;");
        good(
            "agent/src/capture/ring.rs",
            "use crate::probe::A; use crate::pipeline::Pipeline;",
        );
        good("agent/src/lib.rs", "use crate::stream::A;");
    }

    #[test]
    fn pure_stages_do_nothing_outside() {
        bad("agent/src/stream/mod.rs", "use std::fs;");
        bad(
            "agent/src/stream/mod.rs",
            "use std::{collections::HashMap, time::Instant};",
        );
        bad(
            "agent/src/pipeline.rs",
            "let t = std::time::SystemTime::now();",
        );
        bad("agent/src/trace/mod.rs", "use aya::Ebpf;");
        good(
            "agent/src/stream/mod.rs",
            "use std::time::Duration; use std::fmt;",
        );
        good("agent/src/capture/ring.rs", "use std::fs; use aya::Ebpf;");
        good(
            "agent/src/stream/mod.rs",
            "#[cfg(test)]\nmod tests { use std::fs; use crate::export; }",
        );
        good(
            "agent/src/stream/mod.rs",
            "// use std::fs;\nlet a = \"std::fs::x\";",
        );
    }
}
