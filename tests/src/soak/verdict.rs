//! What came of a soak, as a table and as a verdict.

use super::watched::thirds;
use super::{Outcome, Report};
use std::fmt::Write as _;

/// Memory may grow by this part, and this much, from the first third of the time to the last.
const GROWTH: f64 = 1.10;
/// KiB.
const SLACK: u64 = 4 << 10;
/// So many descriptors more are as many: connections come and go.
const FEW: u64 = 8;
/// This part of the calls that were asked for must have been made: with fewer the machine was too slow.
const ENOUGH: f64 = 0.95;
/// While the collector takes all, so much of what is told arrives at least: the rest is what waits behind more than
/// the queue holds when it takes it again.
const ARRIVES: f64 = 0.9;
/// An agent is looked at once a second; with less than this part of the looks, or fewer than these, it is not known
/// what it held.
const LOOKED: f64 = 0.5;
/// As above.
const FEWEST_LOOKS: usize = 12;

impl Outcome {
    /// Spans that it says it dropped.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.dropped.iter().map(|(_, count)| count).sum()
    }

    /// Calls that did not arrive and that no counter explains.
    #[must_use]
    pub fn unexplained(&self, calls: u64) -> i64 {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        signed(calls) - signed(self.taken) - signed(self.lost())
    }

    /// Cores that it used.
    #[must_use]
    pub fn cores(&self) -> f64 {
        match (self.samples.first(), self.samples.last()) {
            (Some(first), Some(last)) if last.at > first.at => {
                (last.cpu - first.cpu) / (last.at - first.at)
            }
            _ => 0.0,
        }
    }

    /// What is wrong with it, in a run of so many seconds of which the collector failed for some.
    fn faults(&self, calls: u64, (seconds, failing): (f64, f64)) -> Vec<String> {
        let mut faults = Vec::new();
        #[expect(clippy::cast_precision_loss, reason = "far fewer")]
        let (taken, made) = (self.taken as f64, calls as f64);
        let least = made * (1.0 - failing / seconds) * ARRIVES;
        if self.taken == 0 || taken < least {
            faults.push(format!(
                "{taken} calls arrived, and {least:.0} were made while the collector took all"
            ));
        }
        if self.twice > 0 {
            faults.push(format!(
                "{} calls came again after they were acknowledged",
                self.twice
            ));
        }
        for (what, count) in self.losses.iter().filter(|(_, count)| *count > 0) {
            faults.push(format!("lost: {count} {what}"));
        }
        let looks = self.samples.len();
        #[expect(clippy::cast_precision_loss, reason = "one a second")]
        if looks < FEWEST_LOOKS || (looks as f64) < seconds * LOOKED {
            faults.push(format!("{looks} looks in {seconds:.0} s are too few"));
        }
        let unexplained = self.unexplained(calls);
        if unexplained != 0 {
            faults.push(format!("{unexplained} calls lost that no counter explains"));
        }
        if self.told != calls {
            faults.push(format!("{} calls told of {calls}", self.told));
        }
        if self.incomplete > 0 {
            faults.push(format!("{} calls incomplete", self.incomplete));
        }
        if self.unread > 0 {
            faults.push(format!(
                "{} requests that the collector could not read",
                self.unread
            ));
        }
        if self.name == "disk" && self.lost() > 0 {
            faults.push(format!(
                "{} lost though there was room on the disk",
                self.lost()
            ));
        }
        let [first, last] = thirds(&self.samples);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "KiB of one process"
        )]
        let most = (first.0 as f64 * GROWTH) as u64 + SLACK;
        if last.0 > most {
            faults.push(format!("memory grew from {} to {} KiB", first.0, last.0));
        }
        if last.1 > first.1 + FEW {
            faults.push(format!("descriptors grew from {} to {}", first.1, last.1));
        }
        faults
            .into_iter()
            .map(|fault| format!("{}: {fault}", self.name))
            .collect()
    }
}

impl Report {
    /// What is wrong; nothing where all is as it should be.
    #[must_use]
    pub fn faults(&self, rate: f64) -> Vec<String> {
        let mut faults = Vec::new();
        if self.failed > 0 {
            faults.push(format!("{} calls failed", self.failed));
        }
        #[expect(clippy::cast_precision_loss, reason = "far fewer")]
        let made = self.calls as f64;
        if made < self.seconds * rate * ENOUGH {
            let wanted = self.seconds * rate;
            faults.push(format!(
                "{made} calls made of {wanted:.0}: this machine is too slow for the rate"
            ));
        }
        if self.outcomes.is_empty() {
            faults.push("there was no agent".to_owned());
        }
        let times = (self.seconds, self.failing);
        faults.extend(
            self.outcomes
                .iter()
                .flat_map(|outcome| outcome.faults(self.calls, times)),
        );
        faults
    }

    /// The table for the benchmarks.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = format!(
            "{} calls in {:.0} s; the collector failed for {:.0} s of them. Programs and provider used {:.2} cores.\n\n\
             | | waits in memory | waits on the disk |\n| --- | ---: | ---: |\n",
            self.calls,
            self.seconds,
            self.failing,
            self.load_cpu / self.seconds
        );
        let mut row = |name: &str, of: &dyn Fn(&Outcome) -> String| {
            let cells: Vec<_> = self.outcomes.iter().map(of).collect();
            let _ = writeln!(table, "| {name} | {} |", cells.join(" | "));
        };
        let named = |all: &[(String, u64)]| {
            let all: Vec<_> = all
                .iter()
                .map(|(name, count)| format!("{count} {name}"))
                .collect();
            if all.is_empty() {
                "0".to_owned()
            } else {
                all.join(", ")
            }
        };
        let held = |o: &Outcome, at: usize| {
            let (resident, files) = thirds(&o.samples)[at];
            format!(
                "{:.1} MiB, {files}",
                f64::from(u32::try_from(resident).unwrap_or(u32::MAX)) / 1024.0
            )
        };
        row("calls told", &|o| o.told.to_string());
        row("arrived", &|o| o.taken.to_string());
        row("dropped, and counted", &|o| named(&o.dropped));
        row("lost unexplained", &|o| {
            o.unexplained(self.calls).to_string()
        });
        row("arrived again", &|o| o.twice.to_string());
        row("other losses", &|o| named(&o.losses));
        row("cores", &|o| format!("{:.3}", o.cores()));
        row("memory and descriptors, first third", &|o| held(o, 0));
        row("the same, last third", &|o| held(o, 1));
        row("most memory", &|o| {
            let most = o.samples.iter().map(|s| s.resident).max().unwrap_or(0);
            format!(
                "{:.1} MiB",
                f64::from(u32::try_from(most).unwrap_or(u32::MAX)) / 1024.0
            )
        });
        table
    }
}

#[cfg(test)]
mod tests {
    use super::super::watched::Sample;
    use super::{Outcome, Report};

    fn outcome(name: &'static str, taken: u64, lost: u64, memory: [u64; 2]) -> Outcome {
        let sample = |at: u32, resident: u64| Sample {
            at: f64::from(at),
            resident,
            files: 100,
            cpu: f64::from(at) / 10.0,
        };
        let dropped = if lost > 0 {
            vec![("queue_full".to_owned(), lost)]
        } else {
            Vec::new()
        };
        Outcome {
            name,
            told: 1000,
            incomplete: 0,
            taken,
            twice: 0,
            dropped,
            losses: Vec::new(),
            unread: 0,
            samples: (0..30)
                .map(|at| sample(at, memory[usize::from(at > 15)]))
                .collect(),
            log: String::new(),
        }
    }

    fn report(outcomes: Vec<Outcome>) -> Report {
        Report {
            seconds: 10.0,
            failing: 5.0,
            calls: 1000,
            failed: 0,
            load_cpu: 1.0,
            outcomes,
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let good = || {
            vec![
                outcome("memory", 900, 100, [30_000; 2]),
                outcome("disk", 1000, 0, [30_000, 33_000]),
            ]
        };
        assert_eq!(report(good()).faults(100.0), Vec::<String>::new());
        let check = |change: &dyn Fn(&mut Report), want: &str| {
            let mut changed = report(good());
            change(&mut changed);
            let faults = changed.faults(100.0);
            assert!(
                faults.iter().any(|fault| fault.contains(want)),
                "{faults:?}"
            );
        };
        check(
            &|r| r.outcomes[0].taken = 899,
            "memory: 1 calls lost that no counter explains",
        );
        check(&|r| r.outcomes[1].taken = 1001, "disk: -1 calls lost");
        check(&|r| r.outcomes[0].told = 999, "999 calls told of 1000");
        check(&|r| r.outcomes[0].incomplete = 2, "2 calls incomplete");
        check(
            &|r| r.outcomes[1] = outcome("disk", 999, 1, [30_000; 2]),
            "room on the disk",
        );
        check(
            &|r| r.outcomes[0] = outcome("memory", 900, 100, [30_000, 50_000]),
            "memory grew from 30000 to 50000",
        );
        // All dropped, and counted.
        check(
            &|r| r.outcomes[0] = outcome("memory", 0, 1000, [30_000; 2]),
            "memory: 0 calls arrived, and 450 were made",
        );
        check(
            &|r| r.outcomes[0] = outcome("memory", 449, 551, [30_000; 2]),
            "memory: 449 calls arrived, and 450 were made",
        );
        check(
            &|r| {
                (r.calls, r.failing) = (0, 10.0);
                r.outcomes[0] = outcome("memory", 0, 0, [30_000; 2]);
            },
            "memory: 0 calls arrived",
        );
        check(&|r| r.outcomes[1].twice = 7, "disk: 7 calls came again");
        check(
            &|r| r.outcomes[1].losses = vec![("events".to_owned(), 5)],
            "disk: lost: 5 events",
        );
        check(
            &|r| r.outcomes[0].samples.truncate(11),
            "memory: 11 looks in 10 s are too few",
        );
        check(&|r| r.seconds = 61.0, "memory: 30 looks in 61 s");
        check(&|r| r.outcomes.clear(), "no agent");
        check(&|r| r.failed = 3, "3 calls failed");
        check(&|r| r.seconds = 20.0, "too slow");
        check(
            &|r| {
                r.outcomes[0]
                    .samples
                    .iter_mut()
                    .skip(20)
                    .for_each(|s| s.files = 120);
            },
            "descriptors grew",
        );
    }

    /// What came of half an hour.
    #[test]
    fn a_long_one_is_as_it_should_be() {
        let mut sides = [
            outcome("memory", 250_440, 109_724, [40_000; 2]),
            outcome("disk", 360_164, 0, [40_000; 2]),
        ];
        for side in &mut sides {
            side.told = 360_164;
            let first = side.samples[0];
            side.samples = vec![first; 1790];
        }
        let long = Report {
            seconds: 1800.0,
            failing: 830.0,
            calls: 360_164,
            ..report(sides.to_vec())
        };
        assert_eq!(long.faults(200.0), Vec::<String>::new());
    }

    #[test]
    fn the_table_has_a_row_for_each() {
        let table = report(vec![
            outcome("memory", 900, 100, [30_720; 2]),
            outcome("disk", 1000, 0, [30_720; 2]),
        ])
        .table();
        assert!(
            table.contains("| dropped, and counted | 100 queue_full | 0 |"),
            "{table}"
        );
        assert!(table.contains("| lost unexplained | 0 | 0 |"), "{table}");
        assert!(table.contains("| cores | 0.100 | 0.100 |"), "{table}");
        assert!(table.contains("30.0 MiB, 100"), "{table}");
    }
}
