//! `swarm RATE SECONDS LIFE [OPTION…]`: many small programs under an agent with these options, and what came of
//! it, as a row of a table.

use anyhow::{Context as _, Result, ensure};
use genspan_tests::swarm::Swarm;
use genspan_tests::{Temp, need};

#[expect(clippy::print_stdout, reason = "the row is the program's output")]
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
    let python = need::any_python()?.context("no Python")?;
    let temp = Temp::new()?;
    let swarm = Swarm {
        rate,
        seconds,
        life,
    };
    let outcome = swarm.run_with(&temp, &python, &options)?;
    println!("{}", outcome.line());
    if std::env::var_os("GENSPAN_SWARM_LOG").is_some() {
        println!("{}", outcome.log);
    }
    ensure!(
        outcome.told == outcome.answered,
        "{} of {} were missed",
        outcome.answered.saturating_sub(outcome.told),
        outcome.answered
    );
    Ok(())
}
