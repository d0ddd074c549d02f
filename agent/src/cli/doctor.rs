//! `genspan doctor`

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;

use super::args::DoctorArgs;
use super::{interpreter, running};
use crate::probe::multi;
use crate::probe::programs::{self, Tried};
use crate::target::host::{self, Check, Verdict};

pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut checks = host::check(multi::are_perfs(false));
    checks.push(interpreter::watchpoints());
    let fine = checks.iter().all(|c| c.verdict != Verdict::Bad);
    let programs = match &args.programs {
        Some(part) => Some(programs::load_each(part)?),
        None => None,
    };
    let agent = running::ask(&args.ask);
    let looked = args.pids.iter();
    let looked = looked.map(|pid| interpreter::look(*pid, agent.as_ref()));
    let looked: Vec<_> = looked.collect();
    let mut out = io::stdout().lock();
    let written = if args.json {
        let list: Vec<_> = checks.iter().map(as_json).collect();
        let mut report = json!({ "ready": fine, "checks": list, "agent": agent });
        if let (Some(programs), Some(report)) = (&programs, report.as_object_mut()) {
            report.insert(
                "programs".to_owned(),
                programs.iter().map(program).collect(),
            );
        }
        if !looked.is_empty()
            && let Some(report) = report.as_object_mut()
        {
            let all = looked.iter().map(interpreter::as_json).collect();
            report.insert("processes".to_owned(), all);
        }
        writeln!(out, "{report:#}")
    } else {
        let agent = running::report(agent.as_ref());
        let programs = programs.as_deref();
        pretty(&mut out, &checks, &agent, (programs, &looked), fine)
    };
    match written {
        // `genspan doctor | head` is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn pretty(
    out: &mut impl Write,
    checks: &[Check],
    agent: &str,
    (programs, looked): (Option<&[Tried]>, &[interpreter::Found]),
    fine: bool,
) -> io::Result<()> {
    for check in checks {
        let mark = match check.verdict {
            Verdict::Good => "ok  ",
            Verdict::Poor => "warn",
            Verdict::Bad => "FAIL",
        };
        writeln!(out, "{mark}  {:<22} {}", check.name, check.found)?;
        if let Some(remedy) = &check.remedy {
            writeln!(out, "      {:<22} -> {remedy}", "")?;
        }
    }
    writeln!(out, "{agent}")?;
    for found in looked {
        interpreter::write(out, found)?;
    }
    for tried in programs.into_iter().flatten() {
        let (mark, said) = match &tried.refusal {
            None => ("ok  ", verified(tried)),
            Some(refusal) => ("no  ", refusal.clone()),
        };
        writeln!(out, "{mark}  {:<28} {:<12} {said}", tried.name, tried.kind)?;
    }
    let can = if fine { "can" } else { "cannot" };
    writeln!(out, "\ngenspan {can} trace here.")
}

/// What the verifier went through.
fn verified(tried: &Tried) -> String {
    tried
        .verified
        .map(|n| format!("{n} instructions verified"))
        .unwrap_or_default()
}

fn program(tried: &Tried) -> serde_json::Value {
    json!({
        "name": tried.name,
        "kind": tried.kind,
        "loads": tried.refusal.is_none(),
        "refusal": tried.refusal,
        "verified_instructions": tried.verified,
    })
}

fn as_json(check: &Check) -> serde_json::Value {
    let verdict = match check.verdict {
        Verdict::Good => "ok",
        Verdict::Poor => "warning",
        Verdict::Bad => "failed",
    };
    json!({
        "name": check.name,
        "verdict": verdict,
        "found": check.found,
        "remedy": check.remedy,
    })
}
