//! `genspan doctor`

use std::process::ExitCode;

use serde_json::json;

use super::args::DoctorArgs;
use super::running;
use crate::probe::programs::{self, Tried};
use crate::target::host::{self, Check, Verdict};

#[expect(clippy::print_stdout, reason = "the report is the command's output")]
pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let checks = host::check();
    let fine = checks.iter().all(|c| c.verdict != Verdict::Bad);
    let programs = match &args.programs {
        Some(part) => Some(programs::load_each(part)?),
        None => None,
    };
    let agent = running::ask(&args.ask);
    if args.json {
        let list: Vec<_> = checks.iter().map(as_json).collect();
        let mut report = json!({ "ready": fine, "checks": list, "agent": agent });
        if let (Some(programs), Some(report)) = (&programs, report.as_object_mut()) {
            report.insert(
                "programs".to_owned(),
                programs.iter().map(program).collect(),
            );
        }
        println!("{report:#}");
    } else {
        for check in &checks {
            let mark = match check.verdict {
                Verdict::Good => "ok  ",
                Verdict::Poor => "warn",
                Verdict::Bad => "FAIL",
            };
            println!("{mark}  {:<22} {}", check.name, check.found);
            if let Some(remedy) = &check.remedy {
                println!("      {:<22} -> {remedy}", "");
            }
        }
        println!("{}", running::report(agent.as_ref()));
        for tried in programs.iter().flatten() {
            let (mark, said) = match &tried.refusal {
                None => ("ok  ", verified(tried)),
                Some(refusal) => ("no  ", refusal.clone()),
            };
            println!("{mark}  {:<28} {:<12} {said}", tried.name, tried.kind);
        }
        println!();
        println!(
            "{}",
            if fine {
                "genspan can trace here."
            } else {
                "genspan cannot trace here."
            }
        );
    }
    Ok(if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
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
