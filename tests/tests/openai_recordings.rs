//! Recorded traffic of OpenAI-shaped providers, fed to the provider and trace stages, against what
//! an in-process instrumentation (OpenTelemetry's for `openai`) reported for the same requests.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, its helpers too"
)]

use genspan::vocabulary::attr;
use genspan_tests::recordings::seen::{STRUCTURED, same};
use genspan_tests::recordings::{Lab, Report, Seen, Stages, cassette, lab};

use serde_json::Value;

fn recordings() -> Option<Lab> {
    let lab = Lab::find();
    if lab.is_none() {
        println!("skipped: no recordings beside this repository");
    }
    lab
}

#[test]
fn spans_are_those_of_the_peer() {
    let Some(lab) = recordings() else { return };
    let mut report = Report::default();
    for file in lab.files().unwrap() {
        let exchanges = lab.exchanges(&file).unwrap();
        let mut stages = Stages::new();
        let ours: Vec<Vec<Seen>> = exchanges
            .iter()
            .map(|x| {
                let spans = stages.feed(x, usize::MAX);
                spans.iter().map(|s| Seen::of_span(s).unwrap()).collect()
            })
            .collect();
        report.recording(
            lab::below(&file),
            &exchanges,
            Some(&lab.peer(&file).unwrap()),
            &ours,
        );
    }
    println!("{}", report.text());
    assert!(report.bugs.is_empty(), "{} differences", report.bugs.len());
}

/// Whatever a cut answer tells, the whole one tells too: texts in part, the rest the same.
#[test]
fn a_cut_answer_tells_nothing_else() {
    let Some(lab) = recordings() else { return };
    let mut cuts = 0;
    for file in lab.files().unwrap().iter().step_by(3) {
        for exchange in lab.exchanges(file).unwrap() {
            let mut stages = Stages::new();
            let Some(whole) = stages.feed(&exchange, usize::MAX).pop() else {
                continue;
            };
            let whole = Seen::of_span(&whole).unwrap().attributes;
            let length = if exchange.streams() {
                cassette::events(&exchange.response).len()
            } else {
                exchange.response.len()
            };
            for n in 0..16 {
                let cut = stages.feed(&exchange, length * n / 16).pop().unwrap();
                cuts += 1;
                for (name, value) in Seen::of_span(&cut).unwrap().attributes {
                    let told = |v: &Value| match (v, &value) {
                        (Value::Array(all), Value::Array(some)) => some.len() <= all.len(),
                        (all, some) => same(all, some),
                    };
                    let ours = [attr::DEFECTS, attr::ERROR_TYPE].contains(&name.as_str());
                    let messages = STRUCTURED.contains(&name.as_str());
                    assert!(
                        ours || messages || whole.get(&name).is_some_and(told),
                        "{file} cut at {n}/16: {name}: {value}, whole {:?}",
                        whole.get(&name)
                    );
                }
            }
        }
    }
    println!("{cuts} cut answers");
}
