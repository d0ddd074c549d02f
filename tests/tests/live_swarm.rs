//! Programs that come and go on a host that the agent watches: none is missed, and nothing of them stays.
//! `cargo xtask bench swarm` has more of them, for longer.

use anyhow::Result;
use genspan_tests::swarm::Swarm;
use genspan_tests::{Temp, need};

/// Files of the agent when all programs are gone: those that it had before, and a few.
const FEW: u64 = 32;

#[test]
fn programs_come_and_go() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::any_python()?) else {
        return Ok(());
    };
    let temp = Temp::new()?;
    let swarm = Swarm {
        rate: 10.0,
        seconds: 8.0,
        life: 1.5,
    };
    let outcome = swarm.run(&temp, &python)?;
    println!("{}", outcome.line());
    let faults = outcome.faults();
    assert!(faults.is_empty(), "{}\n{}", faults.join("; "), outcome.log);
    assert!(outcome.started > 0, "{}", outcome.line());
    assert_eq!(outcome.answered, outcome.started, "{}", outcome.log);
    assert_eq!(outcome.told, outcome.started, "{}", outcome.log);
    assert_eq!(outcome.incomplete, 0, "{}", outcome.log);
    let (before, after) = (outcome.before, outcome.after);
    assert!(after.files < before.files + FEW, "{}", outcome.line());
    assert!(after.threads < before.threads + 4, "{}", outcome.line());
    // Twenty traced programs at a time have their share while they live.
    assert!(outcome.peak.files < 2000, "{}", outcome.line());
    Ok(())
}
