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
use genspan_tests::recordings::packages::{Group, Http, Package};
use genspan_tests::recordings::{Encoding, Lab, Recording, Server, replayed};

/// Every so many recordings.
const EVERY: usize = 6;

#[test]
fn spans_of_recorded_answers_are_those_of_the_peer() {
    let Some(lab) = Lab::find() else {
        eprintln!("SKIP: no recordings beside this repository");
        return;
    };
    if need::root().unwrap().is_none() {
        return;
    }
    let files: Vec<String> = lab.files().unwrap().into_iter().step_by(EVERY).collect();
    let Some(server) = Server::start(&lab, &files).unwrap() else {
        eprintln!("SKIP: the lab's environment `replay` is not set up");
        return;
    };
    let load = |file: &String| Recording::load(&lab, file, true).unwrap();
    let recordings: Vec<_> = files.iter().map(load).collect();
    let package = Package {
        group: Group::OpenAi,
        environment: "sdk-new",
        sender: "openai_package",
        http2: false,
    };
    let encodings = [Encoding::None, Encoding::Gzip];
    let run = replayed::run(
        &server,
        (package, Http::One),
        &encodings,
        &recordings,
        (None, false),
    );
    let Some(run) = run.unwrap() else { return };
    println!("{}; the agent says: {:?}", run.sdk, run.warnings);
    assert_eq!(
        run.passes.len(),
        encodings.len(),
        "an encoding was left out"
    );
    for pass in &run.passes {
        let text = pass.report.text();
        println!("{}: {text}", pass.encoding.name());
        assert!(pass.report.bugs.is_empty(), "{text}");
        assert!(pass.report.peer.spans > 0, "no span was compared");
        assert!(pass.coded > 0, "no answer was sent with this coding");
    }
}
