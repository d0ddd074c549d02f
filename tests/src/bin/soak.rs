//! `soak failing MINUTES RATE TABLE`: a steady load under agents whose collector fails half of the time; `soak
//! outage MINUTES RATE TABLE`: that is away once, for so long. What came of it is written to the file TABLE, if it
//! is as it should be.

use anyhow::{Context as _, Result, bail};
use genspan_tests::soak::Soak;
use genspan_tests::{interrupt, need};

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its user"
)]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, minutes, rate, file] = &arguments[..] else {
        bail!("expected failing or outage, MINUTES RATE TABLE");
    };
    let number = |text: &str| -> Result<f64> {
        let parsed = text.parse().ok().filter(|number| *number > 0.0);
        parsed.with_context(|| format!("{text:?} is no number above zero"))
    };
    let (seconds, rate) = (number(minutes)? * 60.0, number(rate)?);
    let soak = match kind.as_str() {
        "failing" => Soak::failing(seconds, rate),
        "outage" => Soak::outage(seconds, rate),
        other => bail!("{other:?} is neither failing nor outage"),
    };
    need::root()?.context("only root can do this")?;
    interrupt::arm()?;
    let python = need::any_python()?.context("no Python")?;
    let report = soak.run(&python, &mut |line| eprintln!("{line}"))?;
    println!("{}", report.table());
    let faults = report.faults(soak.rate);
    if !faults.is_empty() {
        for outcome in &report.outcomes {
            eprintln!("{}: {}", outcome.name, outcome.log);
        }
        bail!("not as it should be: {}", faults.join("; "));
    }
    println!("as it should be: nothing lost unexplained, memory and descriptors flat");
    std::fs::write(file, report.table()).with_context(|| format!("cannot write {file}"))
}
