//! What came of outages, as a table and as a verdict.

use super::{End, Outage, Outcome};
use crate::soak::watched::{Sample, thirds};
use std::fmt::Write as _;
use std::time::Duration;

/// Memory of a process may grow by this part, and this much, from the first third of the time to the last.
const GROWTH: f64 = 1.10;
/// KiB.
const SLACK: u64 = 4 << 10;
/// With fewer looks it is not known what a process held.
const FEWEST_LOOKS: usize = 12;
/// A request that was answered in the moment before the process was killed is made again by the next one, and
/// so its spans come twice: as many as a batch has (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE` when nothing is set).
const BATCH: u64 = 512;

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers that a table shows with three figures"
)]
fn ratio(of: u64, to: f64) -> f64 {
    if to > 0.0 { of as f64 / to } else { 0.0 }
}

fn mib(kib: u64) -> String {
    format!("{:.1} MiB", ratio(kib, 1024.0))
}

/// Whether a process held more and more.
fn grew(samples: &[Sample]) -> Option<(u64, u64)> {
    let [(first, _), (last, _)] = thirds(samples);
    let most = ratio(first, 1.0) * GROWTH + ratio(SLACK, 1.0);
    (samples.len() >= FEWEST_LOOKS && ratio(last, 1.0) > most).then_some((first, last))
}

impl Outcome {
    /// Spans that the exporters said they dropped.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.dropped.iter().map(|(_, count)| count).sum()
    }

    /// Spans that did not arrive and that no counter explains.
    #[must_use]
    pub fn unexplained(&self) -> i64 {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        signed(self.pushed) - signed(self.taken) - signed(self.lost())
    }

    /// What is wrong; nothing where all is as it should be.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |text: String| faults.push(format!("{}: {text}", self.outage.name));
        if self.pushed == 0 || self.taken == 0 {
            fault(format!("{} spans, {} arrived", self.pushed, self.taken));
        }
        let unexplained = self.unexplained();
        if unexplained != 0 {
            fault(format!("{unexplained} spans lost that no counter explains"));
        }
        let again = if self.outage.killed_in_drain {
            BATCH
        } else {
            0
        };
        if self.twice > again {
            fault(format!("{} spans came again", self.twice));
        }
        if self.unread > 0 {
            fault(format!("{} requests could not be read", self.unread));
        }
        // On the disk only want of room loses anything, and what fits there is not lost.
        let (_, bytes) = self.waited;
        let full =
            |reason: &str| reason == "spool_full" && bytes >= self.outage.spool.unwrap_or(0) / 2;
        for (reason, count) in &self.dropped {
            if self.outage.spool.is_some() && !full(reason) {
                fault(format!("{count} lost for {reason}, and there was room"));
            }
        }
        for (first, last) in self.samples.iter().filter_map(|all| grew(all)) {
            fault(format!("memory grew from {first} to {last} KiB"));
        }
        faults
    }
}

/// A heading of a column.
fn heading(of: &Outage) -> String {
    let kept = match of.spool {
        Some(bytes) => format!("spool of {} MiB", bytes >> 20),
        None => "memory alone".to_owned(),
    };
    let between = match of.between {
        Some(End::Orderly) => ", restarted half-way",
        Some(End::Killed) => ", killed half-way",
        None => "",
    };
    let killed = if of.killed_in_drain {
        " and while it delivered"
    } else {
        ""
    };
    format!("{kept}{between}{killed}; it {}", of.mode.name())
}

/// The table for the benchmarks.
#[must_use]
pub fn table(outcomes: &[Outcome]) -> String {
    let heads: Vec<_> = outcomes.iter().map(|o| heading(&o.outage)).collect();
    let mut table = format!("| | {} |\n| --- |", heads.join(" | "));
    let _ = writeln!(table, "{}", " ---: |".repeat(outcomes.len()));
    let mut row = |name: &str, of: &dyn Fn(&Outcome) -> String| {
        let cells: Vec<_> = outcomes.iter().map(of).collect();
        let _ = writeln!(table, "| {name} | {} |", cells.join(" | "));
    };
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    row("spans", &|o| o.pushed.to_string());
    row("pushed in", &|o| seconds(o.pushing));
    row("waited on the disk", &|o| match o.outage.spool {
        Some(_) => format!("{}, {}", o.waited.0, mib(o.waited.1 >> 10)),
        None => "–".to_owned(),
    });
    row("arrived", &|o| o.taken.to_string());
    row("arrived again", &|o| o.twice.to_string());
    row("dropped, and counted", &|o| {
        let all = o
            .dropped
            .iter()
            .map(|(name, count)| format!("{count} {name}"));
        let all: Vec<_> = all.collect();
        if all.is_empty() {
            "0".to_owned()
        } else {
            all.join(", ")
        }
    });
    row("lost unexplained", &|o| o.unexplained().to_string());
    row("all delivered after", &|o| seconds(o.drain));
    row("delivered a second, once it began", &|o| {
        // What is in memory is gone before it is looked at.
        match o.outage.spool {
            Some(_) => format!("{:.0}", ratio(o.taken, o.delivering.as_secs_f64())),
            None => "–".to_owned(),
        }
    });
    row("memory of a process: first third, last third, most", &|o| {
        let all = o.samples.iter().filter(|s| s.len() >= FEWEST_LOOKS);
        let all = all.map(|samples| {
            let [(first, _), (last, _)] = thirds(samples);
            let most = samples.iter().map(|s| s.resident).max().unwrap_or(0);
            [first, last, most].map(mib).join(", ")
        });
        all.collect::<Vec<_>>().join("; ")
    });
    table
}

#[cfg(test)]
mod tests {
    use super::super::{End, Outage, Outcome};
    use super::table;
    use crate::soak::collector::Mode;
    use crate::soak::watched::Sample;
    use std::time::Duration;

    fn outcome() -> Outcome {
        let sample = |at: u32| Sample {
            at: f64::from(at),
            resident: 20_480,
            ..Sample::default()
        };
        Outcome {
            outage: Outage {
                name: "small",
                spool: Some(64 << 20),
                mode: Mode::Busy,
                spans: 1000,
                between: Some(End::Killed),
                killed_in_drain: true,
            },
            pushed: 1000,
            pushing: Duration::from_secs(2),
            waited: (700, 40 << 20),
            drain: Duration::from_secs(9),
            delivering: Duration::from_secs(1),
            taken: 700,
            twice: 12,
            dropped: vec![("spool_full", 300)],
            unread: 0,
            samples: vec![(0..30).map(sample).collect()],
            log: String::new(),
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert_eq!(outcome().faults(), Vec::<String>::new());
        let check = |change: &dyn Fn(&mut Outcome), want: &str| {
            let mut changed = outcome();
            change(&mut changed);
            let faults = changed.faults();
            assert!(
                faults.len() == 1 && faults[0].contains(want),
                "{want}: {faults:?}"
            );
        };
        check(&|o| o.taken = 699, "small: 1 spans lost that no counter");
        check(&|o| o.taken = 701, "small: -1 spans lost");
        check(
            &|o| (o.taken, o.dropped) = (0, vec![("spool_full", 1000)]),
            "0 arrived",
        );
        check(&|o| o.twice = 513, "513 spans came again");
        check(&|o| o.outage.killed_in_drain = false, "12 spans came again");
        check(&|o| o.unread = 2, "2 requests");
        check(
            &|o| o.dropped[0].0 = "queue_full",
            "300 lost for queue_full",
        );
        check(&|o| o.waited.1 = 1 << 20, "there was room");
        check(
            &|o| {
                for sample in &mut o.samples[0][25..] {
                    sample.resident = 30_000;
                }
            },
            "memory grew from 20480 to 30000",
        );
        // Without a disk it is the queue.
        let mut memory = outcome();
        memory.outage.spool = None;
        memory.dropped[0].0 = "queue_full";
        assert_eq!(memory.faults(), Vec::<String>::new());
    }

    #[test]
    fn the_table_has_a_column_for_each() {
        let table = table(&[outcome(), outcome()]);
        let head = "spool of 64 MiB, killed half-way and while it delivered; it answers 503";
        assert!(table.starts_with(&format!("| | {head} | {head} |\n| --- | ---: | ---: |\n")));
        for row in [
            "| waited on the disk | 700, 40.0 MiB |",
            "| dropped, and counted | 300 spool_full |",
            "| lost unexplained | 0 |",
            "| delivered a second, once it began | 700 |",
            "| 20.0 MiB, 20.0 MiB, 20.0 MiB |",
        ] {
            assert!(table.contains(row), "{row}: {table}");
        }
    }
}
