//! `outage SPANS TABLE`: so many spans through the exporter while its collector is away, in several ways. What came
//! of them is written to the file TABLE, if it is as it should be. `outage push …` is the process with the exporter.

use anyhow::{Context as _, Result, bail};
use genspan_tests::interrupt;
use genspan_tests::outage::{End, Outage, pusher, table};
use genspan_tests::soak::collector::Mode;
use std::path::Path;

/// What a spool may take when nothing is said.
const DEFAULT: u64 = 1 << 30;
/// One that does not hold an hour.
const SMALL: u64 = 64 << 20;

const fn all(spans: u64) -> [Outage; 4] {
    let usual = Outage {
        name: "default",
        spool: Some(DEFAULT),
        mode: Mode::Refuses,
        spans,
        between: Some(End::Orderly),
        killed_in_drain: false,
    };
    [
        usual,
        Outage {
            name: "killed",
            mode: Mode::Busy,
            between: Some(End::Killed),
            killed_in_drain: true,
            ..usual
        },
        Outage {
            name: "small",
            spool: Some(SMALL),
            between: None,
            ..usual
        },
        Outage {
            name: "memory",
            spool: None,
            between: None,
            ..usual
        },
    ]
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its user"
)]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (spans, file) = match arguments[..] {
        ["push", endpoint, first] => return pusher::main(endpoint, first.parse()?, None),
        ["push", endpoint, first, spool, bytes] => {
            let spool = Some((Path::new(spool), bytes.parse()?));
            return pusher::main(endpoint, first.parse()?, spool);
        }
        [spans, file] => (spans.parse().context("no number of spans")?, file),
        _ => bail!("expected SPANS TABLE"),
    };
    interrupt::arm()?;
    let program = std::env::current_exe()?;
    let (mut outcomes, mut faults) = (Vec::new(), Vec::new());
    for outage in all(spans) {
        let outcome = outage.run(&program)?;
        let (taken, lost) = (outcome.taken, outcome.lost());
        eprintln!(
            "{}: {taken} of {spans} arrived, {lost} dropped and counted",
            outage.name
        );
        let found = outcome.faults();
        if !found.is_empty() {
            eprintln!("{}: {}", outage.name, outcome.log);
        }
        faults.extend(found);
        outcomes.push(outcome);
    }
    println!("{}", table(&outcomes));
    if !faults.is_empty() {
        bail!("not as it should be: {}", faults.join("; "));
    }
    println!("as it should be: nothing lost unexplained, memory flat");
    std::fs::write(file, table(&outcomes)).with_context(|| format!("cannot write {file}"))
}
