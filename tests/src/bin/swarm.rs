//! `swarm RATE SECONDS LIFE [OPTION…]`: many small programs under an agent with these options, and what came of
//! it, in a line. `GENSPAN_SWARM_TABLE` names a file for the table of it, if it is as it should be.

use anyhow::{Context as _, Result, ensure};
use genspan_tests::swarm::Swarm;
use genspan_tests::{Temp, interrupt, need};

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its user"
)]
fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let numbers: Vec<f64> = arguments
        .by_ref()
        .take(3)
        .map(|text| {
            text.parse()
                .with_context(|| format!("{text:?} is no number"))
        })
        .collect::<Result<_>>()?;
    let [rate, seconds, life] = numbers[..] else {
        anyhow::bail!("expected RATE SECONDS LIFE");
    };
    let options: Vec<String> = arguments.collect();
    need::root()?.context("only root can do this")?;
    interrupt::arm()?;
    let python = need::any_python()?.context("no Python")?;
    let temp = Temp::new()?;
    let swarm = Swarm {
        rate,
        seconds,
        life,
    };
    let outcome = swarm.run_with(&temp, &python, &options, |line| eprintln!("{line}"))?;
    println!("{}", outcome.line());
    if std::env::var_os("GENSPAN_SWARM_LOG").is_some() {
        println!("{}", outcome.log);
    }
    let faults = outcome.faults();
    ensure!(
        faults.is_empty(),
        "not as it should be: {}",
        faults.join("; ")
    );
    println!("as it should be: none missed, nothing of them stays");
    if let Some(file) = std::env::var_os("GENSPAN_SWARM_TABLE") {
        std::fs::write(&file, outcome.table()).context("the table cannot be written")?;
    }
    Ok(())
}
