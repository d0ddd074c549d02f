//! What a test run did: groups, their outcome, and one closing line.

use std::time::Duration;

/// How a group of tests went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All passed.
    Passed,
    /// Something failed.
    Failed,
    /// Did not run, and why.
    Skipped(String),
}

/// Tests counted from the lines that test programs end with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Passed.
    pub(crate) passed: u64,
    /// Failed.
    pub(crate) failed: u64,
}

impl Counts {
    /// Takes in a line of a test program's output.
    pub(crate) fn read(&mut self, line: &str) {
        let Some(at) = line.find("test result: ") else {
            return;
        };
        let rest = line.get(at..).unwrap_or_default();
        for part in rest.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(kind)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match kind {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                _ => {}
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

struct Group {
    name: String,
    outcome: Outcome,
    counts: Counts,
    took: Duration,
}

/// The whole run.
#[derive(Default)]
pub(crate) struct Summary {
    groups: Vec<Group>,
}

impl Summary {
    /// Adds a group that ran.
    pub(crate) fn ran(&mut self, name: &str, passed: bool, counts: Counts, took: Duration) {
        let outcome = if passed {
            Outcome::Passed
        } else {
            Outcome::Failed
        };
        self.groups.push(Group {
            name: name.to_owned(),
            outcome,
            counts,
            took,
        });
    }

    /// Adds a group that did not run.
    pub(crate) fn skipped(&mut self, name: &str, why: &str) {
        self.groups.push(Group {
            name: name.to_owned(),
            outcome: Outcome::Skipped(why.to_owned()),
            counts: Counts::default(),
            took: Duration::ZERO,
        });
    }

    /// Whether nothing failed, and, when `strict`, nothing was skipped.
    pub(crate) fn is_good(&self, strict: bool) -> bool {
        self.groups.iter().all(|group| match group.outcome {
            Outcome::Passed => true,
            Outcome::Failed => false,
            Outcome::Skipped(_) => !strict,
        })
    }

    /// The table and the closing line.
    pub(crate) fn text(&self, strict: bool) -> String {
        let width = self.groups.iter().map(|g| g.name.len()).max().unwrap_or(0);
        let mut text = String::new();
        let mut total = Counts::default();
        let mut took = Duration::ZERO;
        let mut skipped = 0;
        for group in &self.groups {
            total.add(group.counts);
            took += group.took;
            let seconds = group.took.as_secs_f64();
            let state = match &group.outcome {
                Outcome::Passed => {
                    format!("ok      {seconds:6.1} s  {} passed", group.counts.passed)
                }
                Outcome::Failed => {
                    format!("FAILED  {seconds:6.1} s  {} failed", group.counts.failed)
                }
                Outcome::Skipped(why) => {
                    skipped += 1;
                    format!(
                        "skipped            {}",
                        why.lines().next().unwrap_or_default()
                    )
                }
            };
            text.push_str(&format!("  {:width$}  {state}\n", group.name));
        }
        if strict && skipped > 0 {
            text.push_str("with CI=true nothing may be skipped\n");
        }
        let word = if self.is_good(strict) { "ok" } else { "FAILED" };
        text.push_str(&format!(
            "\ntest result: {word}. {} passed; {} failed; {skipped} groups skipped; finished in \
             {:.1}s",
            total.passed,
            total.failed,
            took.as_secs_f64()
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted() {
        let mut counts = Counts::default();
        counts.read("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out");
        counts.read("test result: \u{1b}[31mFAILED\u{1b}[m. 1 passed; 2 failed; 0 ignored");
        counts.read("test passed ... ok");
        assert_eq!(
            counts,
            Counts {
                passed: 13,
                failed: 2
            }
        );
    }

    #[test]
    fn a_skip_is_a_failure_only_when_strict() {
        let mut summary = Summary::default();
        summary.ran(
            "unit",
            true,
            Counts {
                passed: 5,
                failed: 0,
            },
            Duration::from_secs(1),
        );
        summary.skipped("live", "no root");
        assert!(summary.is_good(false) && !summary.is_good(true));
        let text = summary.text(false);
        assert!(text.contains("live  skipped            no root"), "{text}");
        assert!(
            text.ends_with(
                "test result: ok. 5 passed; 0 failed; 1 groups skipped; finished in 1.0s"
            )
        );
        assert!(summary.text(true).contains("test result: FAILED."));
    }
}
