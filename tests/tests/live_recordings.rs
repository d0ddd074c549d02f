//! Recorded traffic, sent again over TLS by the real SDK and traced: a part of what
//! `cargo xtask correctness` compares. Skipped where the recordings are not, which are no part of
//! this repository.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, its helpers too"
)]

use genspan_tests::need;
use genspan_tests::recordings::{Encoding, Lab, replayed};

/// Every so many recordings.
const EVERY: usize = 6;

fn compare(encoding: Encoding) {
    let Some(lab) = Lab::find() else {
        eprintln!("SKIP: no recordings beside this repository");
        return;
    };
    if need::root().unwrap().is_none() {
        return;
    }
    let turn = match replayed::Turn::wait(&lab).unwrap() {
        Ok(turn) => turn,
        Err(why) => {
            eprintln!("SKIP: {why}");
            return;
        }
    };
    let files: Vec<String> = lab.files().unwrap().into_iter().step_by(EVERY).collect();
    let run = replayed::run(&turn, &lab, encoding, &files).unwrap();
    println!("{}: {}", encoding.name(), run.report.text());
    println!("the agent says: {:?}", run.warnings);
    assert!(run.report.bugs.is_empty(), "{}", run.report.text());
    assert!(run.report.peer.spans > 0, "no span was compared");
}

#[test]
fn spans_of_plain_answers_are_those_of_the_peer() {
    compare(Encoding::None);
}

#[test]
fn spans_of_compressed_answers_are_those_of_the_peer() {
    compare(Encoding::Gzip);
}
