//! What a running agent says of itself, in words: for `genspan ps` and `genspan doctor`.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::args::AskArgs;
use crate::export::status::{ExportStatus, Reach};
use crate::state::client;
use crate::state::mechanisms::WATCHPOINTS;
use crate::state::status::{Attached, Phase, ProcessStatus, Shed, Status};

/// Older than this, what it says may not hold any more.
const OLD: f64 = 5.0;

/// Asks the running agent. That one does not answer is told and no failure: we can look ourselves.
pub(super) fn ask(args: &AskArgs) -> Option<Status> {
    if args.socket == Path::new("none") {
        return None;
    }
    client::ask(&args.socket).unwrap_or_else(|error| {
        tracing::warn!("{error}");
        None
    })
}

/// `agent 42 (genspan 0.1.0) ready for 3 h: 4 of 7 processes traced, 12 calls`
pub(super) fn line(status: &Status) -> String {
    let traced = |p: &&ProcessStatus| matches!(p.state, Attached::Attached | Attached::Waiting);
    let processes = if status.processes.is_empty() {
        String::new()
    } else {
        let traced = status.processes.iter().filter(traced).count();
        format!("{traced} of {} processes traced, ", status.processes.len())
    };
    let mut said = format!(
        "the agent (pid {}, genspan {}) says so; {}, up {}: {processes}{} calls",
        status.pid,
        status.version,
        status.phase.name(),
        long(status.uptime_seconds),
        status.counts.calls,
    );
    if status.counts.calls_incomplete > 0 {
        let part = format!(", {} of them incomplete", status.counts.calls_incomplete);
        said.push_str(&part);
    }
    if status.age_seconds > OLD {
        let part = format!(" (as it was {} ago)", long(status.age_seconds));
        said.push_str(&part);
    }
    said
}

/// The agent itself, without its processes.
pub(super) fn as_json(status: &Status) -> Value {
    json!({
        "pid": status.pid,
        "version": status.version,
        "phase": status.phase,
        "uptime_seconds": status.uptime_seconds,
        "age_seconds": status.age_seconds,
        "counts": status.counts,
    })
}

/// What it says of a process.
pub(super) fn of_process(of: Option<&ProcessStatus>) -> String {
    let Some(of) = of else {
        return "not seen by the agent yet".to_owned();
    };
    let why = of.why_not.join("; ");
    match of.state {
        Attached::NotTraced => format!("not traced: {why}"),
        Attached::Failed => format!("could not be traced: {why}"),
        Attached::Attached | Attached::Waiting => {
            let mut said = match of.state {
                Attached::Waiting => "traced, nothing to read yet".to_owned(),
                _ => "traced".to_owned(),
            };
            if let Some(since) = of.since_unix_seconds {
                let since = UNIX_EPOCH + Duration::from_secs(since);
                let since = SystemTime::now().duration_since(since);
                let since = since.map_or(0.0, |d| d.as_secs_f64());
                said.push_str(&format!(" for {}", long(since)));
            }
            said.push_str(&format!(": {} calls", of.calls));
            if of.calls_incomplete > 0 {
                said.push_str(&format!(", {} of them incomplete", of.calls_incomplete));
            }
            if !why.is_empty() {
                said.push_str(&format!("; {why}"));
            }
            said
        }
    }
}

/// How the Python of a process is looked into: `watchpoints 4 of 4 (app:answer (2), LangChain (2))`.
pub(super) fn mechanisms(of: &ProcessStatus) -> Vec<String> {
    let told = of.mechanisms.iter().map(|way| {
        let mut said = way.name.clone();
        if way.taken > 0 {
            said.push_str(&format!(" {} of {WATCHPOINTS}", way.taken));
        }
        if !way.used_by.is_empty() {
            said.push_str(&format!(" ({})", way.used_by.join(", ")));
        }
        said
    });
    told.collect()
}

/// The TLS libraries whose functions were found by their code, and what calls said of that.
pub(super) fn found_by_code(of: &ProcessStatus) -> Vec<String> {
    let told = of.tls_by_code.iter().map(|found| {
        let calls = if found.verified {
            "verified by a call"
        } else {
            "not verified by a call yet"
        };
        format!("TLS: {}: found by its code, {calls}", found.library)
    });
    told.collect()
}

/// What these cost it.
pub(super) fn costs(of: &ProcessStatus) -> Vec<String> {
    let told = of.mechanisms.iter();
    let told = told.map(|way| format!("{}: {}", way.name, way.cost));
    told.collect()
}

/// The lines of `genspan doctor`.
pub(super) fn report(status: Option<&Status>) -> String {
    let Some(status) = status else {
        return format!("--    {:<22} none answers", "running agent");
    };
    let good = status.phase == Phase::Ready && status.age_seconds <= OLD;
    let mut lines = vec![format!(
        "{}  {:<22} {}",
        if good { "ok  " } else { "warn" },
        "running agent",
        line(status)
    )];
    let failed = status
        .processes
        .iter()
        .filter(|p| p.state == Attached::Failed || !p.why_not.is_empty())
        .filter(|p| p.state != Attached::NotTraced);
    for process in failed {
        lines.push(format!(
            "warn  {:<22} {}: {}",
            format!("process {}", process.pid),
            process.service,
            process.why_not.join("; ")
        ));
    }
    for process in status.processes.iter().filter(|p| !p.mechanisms.is_empty()) {
        lines.push(format!(
            "      {:<22} {}: Python by {}",
            format!("process {}", process.pid),
            process.service,
            mechanisms(process).join(", ")
        ));
        lines.extend(
            costs(process)
                .into_iter()
                .map(|cost| format!("      {:<22} costs: {cost}", "")),
        );
    }
    for loss in &status.losses {
        lines.push(format!("warn  {:<22} {} {}", "lost", loss.count, loss.what));
    }
    lines.extend(status.exports.iter().filter_map(export));
    if status.limits.left_out != Shed::Nothing {
        lines.push(format!(
            "warn  {:<22} {}, to keep to its limits",
            "left out",
            match status.limits.left_out {
                Shed::Detail => "content, HTTP requests and call paths",
                _ => "the content of messages",
            }
        ));
    }
    lines.push(format!(
        "      {:<22} {:.1} s of CPU, {} MiB, {} files, {} threads",
        "",
        status.own.cpu_seconds,
        status.own.resident_bytes >> 20,
        status.own.open_files,
        status.own.threads
    ));
    lines.join("\n")
}

/// What is not as it should be with an export, or waits.
fn export(of: &ExportStatus) -> Option<String> {
    let mut said = Vec::new();
    let why = of.problem.as_ref().map(|why| format!(": {why}"));
    let why = why.unwrap_or_default();
    match of.state {
        Reach::Well => {}
        Reach::Failing => said.push(format!("does not take what it is sent{why}")),
        Reach::Unreachable => said.push(format!("not reachable{why}")),
    }
    let lost = of.dropped.by_reason().into_iter();
    let lost = lost.filter(|(_, count)| *count > 0);
    said.extend(lost.map(|(reason, count)| format!("{count} lost ({reason})")));
    let waiting = of.spool.map_or(0, |spool| spool.items);
    if waiting > 0 {
        said.push(format!("{waiting} wait on the disk"));
    }
    let (endpoint, signal) = (&of.endpoint, &of.signal);
    let all = said.join(", ");
    (!all.is_empty()).then(|| format!("warn  {:<22} {signal} to {endpoint}: {all}", "export"))
}

/// `3 h`, in the largest unit that fits.
fn long(seconds: f64) -> String {
    let units = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")];
    let unit = units.into_iter().find(|(length, _)| seconds >= *length);
    let (length, name) = unit.unwrap_or((1.0, "s"));
    format!("{:.0} {name}", (seconds / length).floor())
}

#[cfg(test)]
mod tests {
    use super::{ExportStatus, Reach, Shed, line, long, mechanisms, of_process, report};
    use crate::state::mechanisms::Way;
    use crate::state::status::{Attached, Count, Phase, ProcessStatus, Status};

    fn process(state: Attached, why: &[&str]) -> ProcessStatus {
        ProcessStatus {
            pid: 7,
            state,
            why_not: why.iter().map(|w| (*w).to_owned()).collect(),
            service: "shop".to_owned(),
            calls: 3,
            ..ProcessStatus::default()
        }
    }

    #[test]
    fn processes_in_words() {
        for (process, want) in [
            (None, "not seen by the agent yet"),
            (Some(process(Attached::Attached, &[])), "traced: 3 calls"),
            (
                Some(process(Attached::Waiting, &["no symbols"])),
                "traced, nothing to read yet: 3 calls; no symbols",
            ),
            (
                Some(process(Attached::NotTraced, &["excluded by `name=x`"])),
                "not traced: excluded by `name=x`",
            ),
            (
                Some(process(Attached::Failed, &["too many"])),
                "could not be traced: too many",
            ),
        ] {
            assert_eq!(of_process(process.as_ref()), want);
        }
    }

    #[test]
    fn ways_into_a_python_in_words() {
        let mut one = process(Attached::Attached, &[]);
        assert!(mechanisms(&one).is_empty());
        let users = vec!["app:answer (2)".to_owned(), "LangChain (1)".to_owned()];
        one.mechanisms = vec![
            Way::Watchpoints.used_by(users, 3),
            Way::Contexts.used_by(Vec::new(), 0),
        ];
        let want = "watchpoints 3 of 4 (app:answer (2), LangChain (1)), contexts";
        assert_eq!(mechanisms(&one).join(", "), want);
        let status = Status {
            processes: vec![one],
            ..Status::default()
        };
        let told = report(Some(&status));
        assert!(told.contains(&format!("shop: Python by {want}")), "{told}");
        for way in [Way::Watchpoints, Way::Contexts] {
            let cost = format!("costs: {}: {}", way.name(), way.cost());
            assert!(told.contains(&cost), "{told}");
        }
    }

    #[test]
    fn an_agent_in_words() {
        let mut status = Status {
            pid: 42,
            version: "0.1.0".to_owned(),
            phase: Phase::Ready,
            uptime_seconds: 7300.0,
            losses: vec![Count {
                what: "bytes missing on connections".to_owned(),
                count: 5,
            }],
            processes: vec![
                process(Attached::Attached, &[]),
                process(Attached::Failed, &["too many"]),
                process(Attached::NotTraced, &["nothing"]),
            ],
            ..Status::default()
        };
        status.counts.calls = 3;
        assert_eq!(
            line(&status),
            "the agent (pid 42, genspan 0.1.0) says so; ready, up 2 h: 1 of 3 processes traced, 3 calls"
        );
        let told = report(Some(&status));
        assert!(told.starts_with("ok    running agent"), "{told}");
        assert!(
            told.contains("process 7              shop: too many"),
            "{told}"
        );
        assert!(told.contains("5 bytes missing on connections"), "{told}");
        assert!(!told.contains("nothing"), "{told}");
        assert!(
            !told.contains("export") && !told.contains("left out"),
            "{told}"
        );
        status.limits.left_out = Shed::Content;
        status.exports = vec![ExportStatus {
            endpoint: "http://c:4317".to_owned(),
            signal: "traces".to_owned(),
            state: Reach::Unreachable,
            problem: Some("connection refused".to_owned()),
            ..ExportStatus::default()
        }];
        status.exports[0].dropped.queue_full = 3;
        let told = report(Some(&status));
        let want =
            "traces to http://c:4317: not reachable: connection refused, 3 lost (queue_full)\n";
        assert!(told.contains(want), "{told}");
        assert!(told.contains("the content of messages, to keep"), "{told}");
        status.age_seconds = 61.0;
        let told = report(Some(&status));
        assert!(
            told.starts_with("warn") && told.contains("(as it was 1 min ago)"),
            "{told}"
        );
        assert!(report(None).contains("none answers"));
    }

    #[test]
    fn lengths_of_time() {
        let all = [0.4, 59.9, 60.0, 7200.0, 200_000.0].map(long);
        assert_eq!(all, ["0 s", "59 s", "1 min", "2 h", "2 d"]);
    }
}
