//! `genspan doctor --pid`: how the Python of a process is looked into, or would be.

use std::fs;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::running;
use crate::probe::slots;
use crate::python::version::Version;
use crate::state::mechanisms::{WATCHPOINTS, Way};
use crate::state::status::Status;
use crate::target::host::{Check, Verdict};
use crate::target::python::Python;

/// Whether this host has watchpoints at all.
pub(super) fn watchpoints() -> Check {
    let own = std::process::id();
    let (verdict, found, remedy) = match slots::free(own) {
        Ok(0) => (
            Verdict::Poor,
            "none for a thread".to_owned(),
            Some(
                "no functions and frameworks are seen: this machine has no debug registers for us",
            ),
        ),
        Ok(free) => (Verdict::Good, format!("{free} for each thread"), None),
        Err(error) => (
            Verdict::Poor,
            format!("refused: {error}"),
            Some(
                "no functions and frameworks are seen: run as root, or with CAP_PERFMON (Debian's kernels want \
                 CAP_SYS_ADMIN where kernel.perf_event_paranoid is above 2)",
            ),
        ),
    };
    Check {
        name: "hardware watchpoints",
        verdict,
        found,
        remedy: remedy.map(str::to_owned),
    }
}

/// A way of one process.
struct Looked {
    way: Way,
    /// Whether there is one.
    there: bool,
    said: String,
}

/// What is found of a process.
pub(super) struct Found {
    pid: u32,
    /// The version of its Python, or why it is not read.
    python: Result<String, String>,
    ways: Vec<Looked>,
    /// What a running agent has there.
    used: Vec<String>,
}

/// Looks at a process, and at what a running agent says of it.
pub(super) fn look(pid: u32, agent: Option<&Status>) -> Found {
    let of = agent.and_then(|agent| agent.processes.iter().find(|p| p.pid == pid));
    let used = of.map(running::mechanisms).unwrap_or_default();
    match Python::open(pid) {
        Ok(python) => Found {
            pid,
            python: Ok(python.version()),
            ways: Way::ALL
                .iter()
                .map(|way| way_of(pid, &python, *way))
                .collect(),
            used,
        },
        Err(error) => Found {
            pid,
            python: Err(error.to_string()),
            ways: Vec::new(),
            used,
        },
    }
}

fn way_of(pid: u32, python: &Python, way: Way) -> Looked {
    let version = python.fit.layout.version;
    let Some(symbol) = way.symbol() else {
        return watchpoints_of(pid);
    };
    let looked = |there, said| Looked { way, there, said };
    if way == Way::Pools && version >= Version::V3_14 {
        return looked(
            false,
            "not in Python 3.14, whose locks are made in another way".to_owned(),
        );
    }
    if way == Way::Interpreter && version >= Version::V3_11 {
        let said = "not from Python 3.11 on, which calls Python functions without a call in C";
        return looked(false, said.to_owned());
    }
    match python.place(pid, symbol) {
        Ok((file, offset)) => {
            let mut said = format!("{symbol} at {offset:#x} of {}", file.path.display());
            if way == Way::Exceptions && version >= Version::V3_12 {
                said.push_str("; of plain functions it is not needed");
            }
            looked(true, said)
        }
        Err(error) => looked(false, error.to_string()),
    }
}

/// How many of a process's watchpoints are left: of the thread that has the fewest.
fn watchpoints_of(pid: u32) -> Looked {
    let way = Way::Watchpoints;
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tids = tasks.into_iter().flatten().flatten();
    let tids = tids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut least: Option<u32> = None;
    for tid in tids {
        match slots::free(tid) {
            Ok(free) => least = Some(least.map_or(free, |least| least.min(free))),
            // It ended meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => {
                let said = format!("refused: {error}");
                return Looked {
                    way,
                    there: false,
                    said,
                };
            }
        }
    }
    let free = least.unwrap_or(0);
    let said = format!("{free} of {WATCHPOINTS} left for each thread; a function takes two");
    Looked {
        way,
        there: free > 0,
        said,
    }
}

/// As lines.
pub(super) fn write(out: &mut impl Write, found: &Found) -> io::Result<()> {
    let name = format!("process {}", found.pid);
    match &found.python {
        Ok(version) => writeln!(out, "      {name:<22} CPython {version}")?,
        Err(why) => writeln!(out, "warn  {name:<22} {why}")?,
    }
    if !found.used.is_empty() {
        writeln!(out, "      {:<22} in use: {}", "", found.used.join(", "))?;
    }
    for looked in &found.ways {
        let mark = if looked.there { "ok  " } else { "no  " };
        let way = looked.way;
        writeln!(
            out,
            "{mark}    {:<20} {}: {}",
            way.name(),
            way.purpose(),
            looked.said
        )?;
        writeln!(out, "        {:<20} costs: {}", "", way.cost())?;
    }
    Ok(())
}

/// As JSON.
pub(super) fn as_json(found: &Found) -> Value {
    let ways = found.ways.iter().map(|looked| {
        json!({
            "name": looked.way.name(),
            "purpose": looked.way.purpose(),
            "there": looked.there,
            "found": looked.said,
            "cost": looked.way.cost(),
        })
    });
    json!({
        "pid": found.pid,
        "python": found.python.as_ref().ok(),
        "why_not": found.python.as_ref().err(),
        "in_use": found.used,
        "mechanisms": ways.collect::<Vec<_>>(),
    })
}
