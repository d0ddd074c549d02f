//! The repository's own rules, as code. Each module is a family of rules with its tests.

mod code;
mod layering;
mod lexer;
mod paths_in;
mod size;
mod text;

use crate::cmd::Cmd;
use crate::paths;
use anyhow::{Context as _, Result};
use lexer::Source;
use std::fs;
use std::process::ExitCode;

/// Whether a finding stops the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Warning,
    Error,
}

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    severity: Severity,
    /// Line, from 1; 0 for the file as a whole.
    line: usize,
    message: String,
}

impl Finding {
    fn error(line: usize, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            line,
            message: message.into(),
        }
    }

    fn warning(line: usize, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            line,
            message: message.into(),
        }
    }
}

/// The subcommand.
pub(crate) fn run() -> Result<ExitCode> {
    let files = tracked()?;
    let mut errors = 0;
    for path in &files {
        // A file that was deleted but is still in the index is not there to be read.
        let Ok(bytes) = fs::read(paths::root().join(path)) else {
            continue;
        };
        let mut findings = check(path, &bytes);
        findings.sort_by_key(|finding| (finding.line, finding.severity));
        for finding in findings {
            let word = match finding.severity {
                Severity::Warning => "warning",
                Severity::Error => {
                    errors += 1;
                    "error"
                }
            };
            println!("{path}:{}: {word}: {}", finding.line, finding.message);
        }
    }
    if errors == 0 {
        println!("tidy: {} files are in order", files.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("tidy: {errors} errors");
    Ok(ExitCode::FAILURE)
}

/// All rules on one file.
fn check(path: &str, bytes: &[u8]) -> Vec<Finding> {
    let mut findings = text::secrets(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return findings;
    };
    findings.extend(text::machine(path, text));
    if path.ends_with(".rs") {
        let source = Source::new(path, text);
        findings.extend(size::check(&source));
        findings.extend(code::check(&source));
        findings.extend(layering::check(&source));
    } else if path.ends_with(".py") {
        findings.extend(size::python(text));
    }
    findings
}

/// Files that git knows or would take.
fn tracked() -> Result<Vec<String>> {
    let list = Cmd::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .read()
        .context("`git ls-files` failed: tidy needs git and a clone")?;
    let mut files: Vec<String> = list.lines().map(str::to_owned).collect();
    files.sort();
    files.dedup();
    Ok(files)
}
