//! `docs/kernels.md`, from what the machines told last.

use super::console::{Check, Verdict};
use super::kernels::{KERNELS, Kernel};
use crate::paths;
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// What checks of single programs begin with.
pub(super) const PROGRAM: &str = "program ";

/// The check of all of them.
const PROGRAMS: &str = "programs";

/// What checks of single ways' costs begin with: `tests/python/vm/cost.py`.
const COST: &str = "cost ";

const COSTS: &str = "
## What reading plain sockets costs

Made by `cargo xtask vm --only cost`: the machine's clock goes by its instructions, so these are instructions,
and hardly depend on how busy the host is (`drift` is how far two runs without genspan are
apart from their mean). What a trap costs beside its instructions, which on a real processor is most of it, they do
not tell: that is measured in [sockets.md](sockets.md). The request is the smallest there is, one `recv`
and one `send` of a traced Python server; the calls are those of a process that is not traced, 16 bytes each,
the Python around them included.
";

/// Columns of their table.
const COST_HEADS: [&str; 6] = [
    "Linux",
    "`--sockets`",
    "a request of the traced process",
    "others: Unix socket",
    "others: TCP",
    "others: files",
];

/// The table's rows: a check, and how it is told.
const ROWS: [(&str, &str); 13] = [
    ("boots", "kernel"),
    ("doctor", "`genspan doctor`"),
    (PROGRAMS, "eBPF programs"),
    ("tls", "a call over TLS"),
    ("tls-perf", "the same, `--perf-probes`"),
    ("stacks", "with `--stacks`"),
    ("function", "with `--function`"),
    ("langchain", "runs of LangChain"),
    ("sockets-libc", "a plain call, `--sockets libc`"),
    ("sockets-fentry", "the same, `--sockets fentry`"),
    (
        "pieces-fentry",
        "in pieces, looked at first, from a file, over a Unix socket, `--sockets fentry`",
    ),
    (
        "sockets-tracepoints",
        "a plain call, `--sockets tracepoints`",
    ),
    ("sockets-syscalls", "the same, `--sockets syscalls`"),
];

const INTRODUCTION: &str = "\
# Kernels

Made by `cargo xtask vm`: Debian's cloud kernels, each booted in QEMU (emulated, one processor, 1 GiB) with
Debian 12's Python 3.11 and OpenSSL 3.0. The program that is traced runs before genspan comes, and makes two
calls; `yes` is that both were told, with their ids, tokens and the server's port as the program had them.
Runs of LangChain are compared with what its own callback handler was told, also of what they were given and gave.
Every program of the object is loaded, also those that are loaded only on demand (`genspan doctor
--programs` does the same on any host). The verifier gives up at a million instructions; how many it went through
kernels tell from 5.16 on.

The oldest kernel is Linux 5.8: the ring buffer and the boot clock in programs are of that version.
";

/// Where a kernel's results are kept.
fn results(kernel: Kernel) -> PathBuf {
    super::dir().join(format!("{}.json", kernel.suite))
}

/// What was told of a kernel.
fn kept(kernel: Kernel) -> Vec<Check> {
    let text = fs::read_to_string(results(kernel)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Keeps what a kernel's machine told: of checks that it did not come to, what was told before.
pub(super) fn keep(kernel: Kernel, checks: &[Check]) -> Result<()> {
    let file = results(kernel);
    let all = joined(kept(kernel), checks);
    fs::write(&file, serde_json::to_string_pretty(&all)?).with_context(|| paths::shown(&file))
}

/// Results of before with new ones in their places.
fn joined(mut all: Vec<Check>, new: &[Check]) -> Vec<Check> {
    if new.iter().any(|check| check.check == PROGRAMS) {
        all.retain(|check| !check.check.starts_with(PROGRAM));
    }
    for check in new {
        match all.iter_mut().find(|old| old.check == check.check) {
            Some(old) => old.clone_from(check),
            None => all.push(check.clone()),
        }
    }
    all
}

/// Writes the page.
pub(super) fn write() -> Result<()> {
    let all = KERNELS.map(|kernel| (kernel, kept(kernel)));
    let path = paths::root().join("docs/kernels.md");
    fs::write(&path, page(&all)).with_context(|| paths::shown(&path))?;
    println!("{}", paths::shown(&path));
    Ok(())
}

fn page(all: &[(Kernel, Vec<Check>)]) -> String {
    let mut text = format!("{INTRODUCTION}\n{}", table(all));
    text += &costs(all);
    text.push_str("\n## What each does without\n");
    for (kernel, checks) in all {
        let lacks = lacks(checks);
        if !lacks.is_empty() {
            let _ = write!(text, "\n**Linux {}**\n\n{lacks}", kernel.version);
        }
    }
    text
}

/// A column for each kernel, a row for each check.
fn table(all: &[(Kernel, Vec<Check>)]) -> String {
    let row = |first: &str, cells: Vec<String>| format!("| {first} | {} |\n", cells.join(" | "));
    let heads = all.iter().map(|(kernel, _)| kernel.suite.to_owned());
    let mut text = row("Debian", heads.collect());
    text += &row("---", vec!["---".to_owned(); all.len()]);
    for (check, name) in ROWS {
        let cells = all.iter().map(|(_, checks)| cell(checks, check));
        text += &row(name, cells.collect());
        if check == PROGRAMS {
            let cells = all.iter().map(|(_, checks)| longest(checks));
            text += &row("the one that takes the verifier longest", cells.collect());
        }
    }
    text
}

/// The program for which the verifier went through the most instructions, and how many.
fn longest(checks: &[Check]) -> String {
    let counted = checks.iter().filter_map(|check| {
        let (_, name) = check.check.strip_prefix(PROGRAM)?.split_once(' ')?;
        let count: u32 = check.found.strip_suffix(" verified")?.parse().ok()?;
        Some((count, name))
    });
    counted.max().map_or_else(
        || "not told".to_owned(),
        |(count, name)| format!("{name}: {count}"),
    )
}

/// What each way of reading sockets costs, on the kernels where that was measured.
fn costs(all: &[(Kernel, Vec<Check>)]) -> String {
    let mut rows = String::new();
    for (kernel, checks) in all {
        for check in checks {
            let Some(way) = check.check.strip_prefix(COST) else {
                continue;
            };
            let cells: Vec<&str> = check
                .found
                .split(" | ")
                .chain(std::iter::repeat(""))
                .take(4)
                .collect();
            let _ = writeln!(
                rows,
                "| {} | {way} | {} |",
                kernel.version,
                cells.join(" | ")
            );
        }
    }
    if rows.is_empty() {
        return rows;
    }
    let head = format!(
        "| {} |\n|{}\n",
        COST_HEADS.join(" | "),
        " --- |".repeat(COST_HEADS.len())
    );
    format!("{COSTS}\n{head}{rows}")
}

/// What a kernel's column says of a check.
fn cell(checks: &[Check], name: &str) -> String {
    let Some(check) = checks.iter().find(|check| check.check == name) else {
        return if checks.is_empty() {
            "not run"
        } else {
            "not tried"
        }
        .to_owned();
    };
    match (check.verdict, name) {
        (Verdict::Ok, "boots" | PROGRAMS) => check.found.clone(),
        (Verdict::Ok, _) => "yes".to_owned(),
        (Verdict::Poor, _) => "does without".to_owned(),
        (Verdict::Failed, _) => "no".to_owned(),
    }
}

/// A kernel's list: programs that were refused, what genspan said, what went wrong.
fn lacks(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let name = check.check.strip_prefix(PROGRAM).unwrap_or(&check.check);
        if check.verdict != Verdict::Ok && !check.check.starts_with(COST) {
            let _ = writeln!(text, "- `{name}`: {}", line(&check.found));
        }
        for said in &check.said {
            let _ = writeln!(text, "- `{name}` says: {}", line(said));
        }
    }
    text
}

/// A text as one line of a list; its colours are the terminal's.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(check: &str, verdict: Verdict, found: &str) -> Check {
        Check {
            check: check.to_owned(),
            verdict,
            found: found.to_owned(),
            said: Vec::new(),
            seconds: 0,
        }
    }

    #[test]
    fn new_results_take_the_places_of_old_ones() {
        let old = ["tls", "program uprobe gone", "boots"];
        let old = old.map(|name| check(name, Verdict::Failed, "old"));
        let new = ["tls", "programs", "end"].map(|name| check(name, Verdict::Ok, "new"));
        let all = joined(old.to_vec(), &new);
        let told: Vec<_> = all
            .iter()
            .map(|c| (c.check.as_str(), c.found.as_str()))
            .collect();
        let want = [
            ("tls", "new"),
            ("boots", "old"),
            ("programs", "new"),
            ("end", "new"),
        ];
        assert_eq!(told, want);
    }

    #[test]
    fn costs_have_a_table() {
        let checks = vec![
            check("cost bare", Verdict::Ok, "9000 | 700 | 900 | 300"),
            check("cost fentry", Verdict::Ok, "not here: no"),
        ];
        let text = costs(&[(KERNELS[1], checks)]);
        for want in [
            "| 6.1 | bare | 9000 | 700 | 900 | 300 |\n",
            "| 6.1 | fentry | not here: no |  |  |  |\n",
        ] {
            assert!(text.contains(want), "{want}\nin\n{text}");
        }
    }

    #[test]
    fn the_longest_program_is_told() {
        let mut checks = vec![check("program uprobe a", Verdict::Ok, "None verified")];
        assert_eq!(longest(&checks), "not told");
        for (name, found) in [("b", "900 verified"), ("c", "10 verified")] {
            checks.push(check(&format!("program uprobe {name}"), Verdict::Ok, found));
        }
        assert_eq!(longest(&checks), "b: 900");
    }

    #[test]
    fn a_page_tells_each_kernel() {
        let mut said = check("sockets-libc", Verdict::Ok, "");
        said.said.push("one\n two".to_owned());
        let checks = vec![
            check("boots", Verdict::Ok, "5.10.0"),
            check("tls", Verdict::Failed, "told nothing"),
            check("program uprobe tls_free", Verdict::Poor, "refused"),
            said,
        ];
        let text = page(&[(KERNELS[0], checks), (KERNELS[1], Vec::new())]);
        for want in [
            "| Debian | bullseye | bookworm |\n| --- | --- | --- |\n",
            "| kernel | 5.10.0 | not run |\n",
            "| a call over TLS | no | not run |\n",
            "| with `--stacks` | not tried | not run |\n",
            "**Linux 5.10**\n\n- `tls`: told nothing\n- `uprobe tls_free`: refused\n\
             - `sockets-libc` says: one two\n",
        ] {
            assert!(text.contains(want), "{want}\nin\n{text}");
        }
        assert!(!text.contains("**Linux 6.1**") && !text.contains("costs"));
    }
}
