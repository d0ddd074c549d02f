//! The exporter while its collector is away: each span arrives once, or is counted as dropped. In small what
//! `cargo xtask bench outage` does with an hour's.
#![allow(clippy::unwrap_used, reason = "a test")]

use genspan_tests::outage::{End, Outage};
use genspan_tests::soak::collector::Mode;
use std::path::Path;

/// What a spool may take at least.
const SMALLEST: u64 = 1 << 20;

fn check(outage: Outage, lost: bool) {
    let outcome = outage.run(Path::new(env!("CARGO_BIN_EXE_outage"))).unwrap();
    assert_eq!(outcome.faults(), Vec::<String>::new(), "{outcome:?}");
    assert_eq!(outcome.lost() > 0, lost, "{outcome:?}");
}

#[test]
fn what_fits_is_delivered_once_over_a_restart() {
    let outage = Outage {
        name: "restarted",
        spool: Some(256 << 20),
        mode: Mode::Refuses,
        spans: 6_000,
        between: Some(End::Orderly),
        killed_in_drain: false,
    };
    check(outage, false);
}

#[test]
fn one_that_is_killed_loses_nothing_that_was_written() {
    let outage = Outage {
        name: "killed",
        spool: Some(256 << 20),
        mode: Mode::Busy,
        spans: 6_000,
        between: Some(End::Killed),
        killed_in_drain: true,
    };
    check(outage, false);
}

#[test]
fn what_does_not_fit_is_counted() {
    let outage = Outage {
        name: "small",
        spool: Some(SMALLEST),
        mode: Mode::Refuses,
        spans: 6_000,
        between: None,
        killed_in_drain: false,
    };
    check(outage, true);
}

#[test]
fn without_a_disk_it_is_counted_too() {
    let outage = Outage {
        name: "memory",
        spool: None,
        mode: Mode::Busy,
        spans: 6_000,
        between: None,
        killed_in_drain: false,
    };
    check(outage, true);
}
