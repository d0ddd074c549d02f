//! Recorded traffic of all providers, fed to the provider and trace stages, against what the
//! recordings themselves say; exchanges of no model must give no span.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, its helpers too"
)]

use genspan_tests::recordings::{Exchange, Lab, Report, Seen, Stages, lab, must};

/// Where tasks are asked after, or what they make is read.
const TASKS: [&str; 3] = ["/api/v1/tasks/", "/v1/predictions/", "/v1/streams/"];

/// The spans of a recording's exchanges, those of a task with the exchange that made it.
fn ours(exchanges: &[Exchange]) -> Vec<Vec<Seen>> {
    let mut stages = Stages::new();
    let mut ours = vec![Vec::new(); exchanges.len()];
    let mut tasks = Vec::new();
    for (x, ours) in exchanges.iter().zip(&mut ours) {
        let spans = stages.feed(x, usize::MAX);
        let spans = spans.iter().map(|s| Seen::of_span(s).unwrap());
        match must::of(x) {
            None if TASKS.iter().any(|part| x.path.contains(part)) => tasks.extend(spans),
            _ => ours.extend(spans),
        }
    }
    tasks.extend(stages.finish().iter().map(|s| Seen::of_span(s).unwrap()));
    let waiting = exchanges.iter().zip(&mut ours);
    let mut waiting = waiting.filter(|(x, ours)| ours.is_empty() && must::of(x).is_some());
    for span in tasks {
        waiting.next().unwrap().1.push(span);
    }
    ours
}

#[test]
fn spans_say_what_the_recordings_say() {
    let Some(lab) = Lab::find() else {
        println!("skipped: no recordings beside this repository");
        return;
    };
    let mut report = Report::default();
    for file in lab.all_files().unwrap() {
        let exchanges = lab.exchanges(&file).unwrap();
        report.recording(lab::below(&file), &exchanges, None, &ours(&exchanges));
    }
    println!("{}", report.text());
    assert!(report.bugs.is_empty(), "{} differences", report.bugs.len());
    assert!(report.own.spans > 900, "{} spans", report.own.spans);
}
