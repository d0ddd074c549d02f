//! `genspan ps`

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::PsArgs;
use super::running;
use crate::model::process::AppType;
use crate::state::status::{ProcessStatus, Status};
use crate::target::classify::packages::Role;
use crate::target::classify::{ModelServer, Package};
use crate::target::discover::{stat, user_name};
use crate::target::process::ProcessError;
use crate::target::rules::{Candidate, NotTraced, Rules, Whereabouts};
use crate::target::survey::{Survey, Surveyed, TlsState, survey};

/// What the running agent says, if one was asked and there is one.
struct Agent {
    status: Status,
    by_pid: HashMap<u32, ProcessStatus>,
}

impl Agent {
    fn new(mut status: Status) -> Self {
        let all = std::mem::take(&mut status.processes).into_iter();
        let by_pid = all.map(|process| (process.pid, process)).collect();
        Self { status, by_pid }
    }

    /// Whether it traces programs that are not Python.
    fn reads_others(&self) -> bool {
        let mut all = self.by_pid.values();
        all.any(|process| process.python.is_none())
    }

    /// What it says of a process: of this one, and not of another that had its number.
    fn of(&self, one: &Surveyed) -> Option<&ProcessStatus> {
        let of = self.by_pid.get(&one.process.pid)?;
        (of.start_ticks == stat(of.pid)?.start_ticks).then_some(of)
    }
}

pub(super) fn run(args: &PsArgs) -> anyhow::Result<ExitCode> {
    let agent = running::ask(&args.ask).map(Agent::new);
    let agent = agent.as_ref();
    let rules = args.rules.rules();
    // Those that are no Python, where they are asked for here or traced by the agent.
    let others = !rules.include_other.is_empty() || agent.is_some_and(Agent::reads_others);
    let mut survey = survey(args.others || others);
    survey.found.retain(|one| {
        let is_known = one.process.python || one.what.server.is_some();
        let is_traced = || agent.is_some_and(|agent| agent.of(one).is_some());
        args.others || is_known || is_traced() || judge(one, &rules) != Err(NotTraced::NotPython)
    });
    let text = if args.json {
        let all: Vec<_> = survey
            .found
            .iter()
            .map(|one| as_json(one, &rules, agent))
            .collect();
        let asked = agent.map(|agent| running::as_json(&agent.status));
        let unseen: Vec<_> = survey.unseen.iter().map(ToString::to_string).collect();
        format!(
            "{:#}\n",
            json!({ "agent": asked, "processes": all, "unseen": unseen })
        )
    } else {
        table(&survey, &rules, agent)
    };
    match io::stdout().write_all(text.as_bytes()) {
        // `genspan ps | head` is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn judge(one: &Surveyed, rules: &Rules) -> Result<(), NotTraced> {
    let candidate = Candidate {
        process: &one.process,
        what: &one.what,
        service: &one.service,
        // Only the agent asks Kubernetes.
        pod: Whereabouts::of(one.process.pod.as_deref(), None),
    };
    rules.judge(&candidate, user_name)
}

fn as_json(one: &Surveyed, rules: &Rules, agent: Option<&Agent>) -> Value {
    let Surveyed {
        process,
        what,
        root,
        service,
        tls,
    } = one;
    let evidence: Vec<_> = what
        .evidence
        .iter()
        .map(|e| json!({ "source": e.source.name(), "makes": e.makes.name(), "what": e.what }))
        .collect();
    let packages: Vec<_> = what
        .packages
        .iter()
        .map(|p| json!({ "name": p.name, "version": p.version, "role": p.role.name(), "loaded": p.loaded }))
        .collect();
    let verdict = judge(one, rules);
    json!({
        "pid": process.pid,
        "parent": process.parent,
        "user": process.user,
        "type": what.kind.map(AppType::name),
        "evidence": evidence,
        "service": { "name": service, "pid": root },
        "executable": process.executable,
        "command": process.command,
        "python": process.python.then_some(&process.version),
        "python_unread": process.unread,
        "packages": packages,
        "packages_unseen": process.installed_unseen,
        "modules_read": process.modules.is_some(),
        "model_server": what.server.as_ref().map(server_json),
        "ports": process.ports,
        "tls": tls_json(tls),
        "container": process.container,
        "pod": process.pod,
        "traced": verdict.is_ok(),
        "why_not": verdict.err().map(|why| why.to_string()),
        "agent": agent.and_then(|agent| agent.of(one)),
    })
}

fn server_json(server: &ModelServer) -> Value {
    json!({
        "name": server.server.name(),
        "part": server.part.name(),
        "model": server.told.model,
        "served_as": server.told.served_as,
        "port": server.told.port,
        "tensor_parallel": server.told.tensor_parallel,
        "version": server.version,
    })
}

fn tls_json(tls: &TlsState) -> Value {
    match tls {
        TlsState::Reachable {
            path,
            banner,
            found_by,
        } => {
            json!({ "state": "reachable", "library": path, "version": banner, "found_by": found_by })
        }
        TlsState::Unreachable { path, why } => {
            json!({ "state": "unreachable", "library": path, "why": why })
        }
        TlsState::None => json!({ "state": "not_loaded" }),
    }
}

/// Heads of the columns.
const HEADS: [&str; 6] = ["PID", "TYPE", "SERVICE", "PYTHON", "TLS", "WHY"];
/// A column is no wider than this; the last one is as wide as it is.
const WIDEST: usize = 28;

fn table(survey: &Survey, rules: &Rules, agent: Option<&Agent>) -> String {
    let mut out = String::new();
    let rows: Vec<[String; 6]> = survey.found.iter().map(row).collect();
    if rows.is_empty() {
        out.push_str("no Python process and no model server was found\n");
    } else {
        let mut widths = HEADS.map(str::len);
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count()).min(WIDEST);
            }
        }
        line(&mut out, &HEADS.map(str::to_owned), widths);
        for (one, row) in survey.found.iter().zip(&rows) {
            line(&mut out, row, widths);
            for note in notes(one, rules, agent) {
                out.push_str(&format!("{:>width$}{note}\n", "", width = widths[0] + 2));
            }
        }
    }
    out.push_str(&match agent {
        Some(agent) => format!("{}\n", running::line(&agent.status)),
        None => "no agent runs here: what is not traced is by the rules given to this command\n"
            .to_owned(),
    });
    let forbidden = survey
        .unseen
        .iter()
        .filter(|e| matches!(e, ProcessError::NotPermitted(_)))
        .count();
    if forbidden > 0 {
        out.push_str(&format!(
            "{forbidden} processes could not be looked at: run genspan as root (sudo), or give it \
             CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH\n"
        ));
    }
    out
}

fn line(out: &mut String, cells: &[String; 6], widths: [usize; 6]) {
    let last = cells.len() - 1;
    for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if at == last {
            out.push_str(&plain(cell, usize::MAX));
        } else {
            out.push_str(&format!("{:<width$}  ", plain(cell, width)));
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
}

/// A cell without anything that a terminal takes for more than text, cut to its width.
fn plain(text: &str, width: usize) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    if text.chars().count() <= width {
        return clean.collect();
    }
    clean.take(width.saturating_sub(1)).chain(['…']).collect()
}

fn row(one: &Surveyed) -> [String; 6] {
    let version = match (&one.process.version, one.process.python) {
        (Some(version), true) => version.clone(),
        (None, true) => "yes".to_owned(),
        (_, false) => "-".to_owned(),
    };
    let tls = match &one.tls {
        TlsState::Reachable { path, banner, .. } => {
            let file = path.file_name().and_then(|f| f.to_str());
            banner.as_deref().map_or(file.unwrap_or("OpenSSL"), short)
        }
        TlsState::Unreachable { .. } => "unreachable",
        TlsState::None => "not loaded",
    };
    let why = one.what.evidence.first();
    [
        one.process.pid.to_string(),
        one.what.kind.map_or("-", AppType::name).to_owned(),
        if one.root == one.process.pid {
            one.service.clone()
        } else {
            format!("{} ({})", one.service, one.root)
        },
        version,
        tls.to_owned(),
        why.map(|e| format!("{}: {}", e.source.name().replace('_', " "), e.what))
            .unwrap_or_default(),
    ]
}

/// `OpenSSL 3.0.15` of the whole banner.
fn short(banner: &str) -> &str {
    let end = banner.match_indices(' ').nth(1).map(|(at, _)| at);
    end.and_then(|at| banner.get(..at)).unwrap_or(banner)
}

/// What else there is to say of a process, a line each.
fn notes(one: &Surveyed, rules: &Rules, agent: Option<&Agent>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(server) = &one.what.server {
        let mut parts = vec![format!("{} {}", server.server.name(), server.part.name())];
        parts.extend(server.version.clone());
        parts.extend(server.told.model.as_ref().map(|m| format!("model {m}")));
        if !server.told.served_as.is_empty() {
            parts.push(format!("served as {}", server.told.served_as.join(", ")));
        }
        parts.extend(server.told.port.map(|p| format!("port {p}")));
        let parallel = server.told.tensor_parallel;
        parts.extend(parallel.map(|n| format!("tensor parallel {n}")));
        notes.push(plain(&parts.join(" · "), usize::MAX));
    }
    let told: Vec<_> = one.what.packages.iter().filter(|p| p.loaded).collect();
    if !told.is_empty() {
        let all: Vec<_> = told.into_iter().map(package).collect();
        notes.push(plain(&format!("loaded: {}", all.join(", ")), usize::MAX));
    }
    if let Some(why) = &one.process.unread {
        notes.push(plain(&format!("Python: {why}"), usize::MAX));
    }
    if let TlsState::Unreachable { path, why } = &one.tls {
        notes.push(plain(
            &format!("TLS: {}: {why}", path.display()),
            usize::MAX,
        ));
    }
    match (agent, judge(one, rules)) {
        // The agent does not look at what is no Python.
        (Some(agent), Err(why @ NotTraced::NotPython)) if agent.of(one).is_none() => {
            notes.push(plain(&format!("not traced: {why}"), usize::MAX));
        }
        (Some(agent), _) => {
            let of = agent.of(one);
            notes.push(plain(&running::of_process(of), usize::MAX));
            let found = of.map(running::found_by_code).unwrap_or_default();
            notes.extend(found.iter().map(|line| plain(line, usize::MAX)));
            let ways = of.map(running::mechanisms).unwrap_or_default();
            if !ways.is_empty() {
                let said = format!("Python by: {}", ways.join(", "));
                notes.push(plain(&said, usize::MAX));
                let costs = of.map(running::costs).unwrap_or_default();
                let said = format!("which costs it: {}", costs.join("; "));
                notes.push(plain(&said, usize::MAX));
            }
        }
        (None, Err(why)) => notes.push(plain(&format!("not traced: {why}"), usize::MAX)),
        (None, Ok(())) => {}
    }
    notes
}

fn package(of: &Package) -> String {
    let mark = if of.role == Role::Web { " (web)" } else { "" };
    match &of.version {
        Some(version) => format!("{} {version}{mark}", of.name),
        None => format!("{}{mark}", of.name),
    }
}

#[cfg(test)]
mod tests {
    use super::{as_json, table};
    use crate::target::classify::{Description, Distribution, classify};
    use crate::target::rules::Rules;
    use crate::target::survey::{Survey, Surveyed, TlsState};

    fn surveyed(pid: u32, root: u32, line: &str, modules: &[&str]) -> Surveyed {
        let process = Description {
            pid,
            python: true,
            version: Some("3.12.1".to_owned()),
            command: line.split(' ').map(str::to_owned).collect(),
            modules: Some(modules.iter().map(|m| (*m).to_owned()).collect()),
            installed: vec![Distribution::from("openai==2.1.0".to_owned())],
            ..Description::default()
        };
        let what = classify(&process);
        Surveyed {
            process,
            what,
            root,
            service: "shop\u{1b}[31m".to_owned(),
            tls: TlsState::Reachable {
                path: "/usr/lib/libssl.so.3".into(),
                // Put together here: a test elsewhere looks for such a text in this executable.
                banner: Some(["OpenSSL", "3.0.15 3 Sep 2024"].join(" ")),
                found_by: "dynsym",
            },
        }
    }

    #[test]
    fn the_table_tells_and_is_plain_text() {
        let survey = Survey {
            found: vec![
                surveyed(7, 7, "python bot.py", &["openai"]),
                surveyed(8, 7, "VLLM::EngineCore", &[]),
            ],
            unseen: Vec::new(),
        };
        let text = table(&survey, &Rules::default(), None);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("PID  TYPE   SERVICE"), "{text}");
        assert!(lines[1].starts_with("7    app    shop"), "{text}");
        assert!(
            lines[1].ends_with("3.12.1  OpenSSL 3.0.15  loaded: openai 2.1.0"),
            "{text}"
        );
        assert_eq!(lines[2].trim(), "loaded: openai 2.1.0");
        assert!(
            lines[3].contains("(7)") && lines[4].trim() == "vllm engine",
            "{text}"
        );
        assert!(
            lines[5].trim().starts_with("not traced: the engine"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn json_has_all_of_it() {
        let one = surveyed(7, 7, "vllm serve m --port 1", &["openai"]);
        let json = as_json(&one, &Rules::default(), None);
        assert_eq!(json["type"], "model");
        assert_eq!(json["evidence"][0]["source"], "command_line");
        assert_eq!(json["model_server"]["model"], "m");
        assert_eq!(json["model_server"]["port"], 1);
        assert_eq!(json["packages"][0]["version"], "2.1.0");
        assert_eq!(json["tls"]["state"], "reachable");
        assert_eq!(json["service"]["pid"], 7);
        assert_eq!(json["traced"], true);
    }
}
