//! `genspan doctor`

use std::process::ExitCode;

use serde_json::json;

use super::args::DoctorArgs;
use crate::target::host::{self, Check, Verdict};

#[expect(clippy::print_stdout, reason = "the report is the command's output")]
pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let checks = host::check();
    let fine = checks.iter().all(|c| c.verdict != Verdict::Bad);
    if args.json {
        let list: Vec<_> = checks.iter().map(as_json).collect();
        println!("{:#}", json!({ "ready": fine, "checks": list }));
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
