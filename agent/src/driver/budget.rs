//! What the agent may use, and what it leaves out when that is not enough.
//!
//! [`Governor`] is told now and then what was used and says what to leave out: first content, then the
//! least valuable detail. It is pure. It leaves out more after two measurements above a limit, one
//! above the other, and less after a minute well below all limits; what had to be left out again soon
//! after it was told again stays out for longer each time, since it is its cost that goes over.

use std::time::Duration;

use crate::state::status::Shed;

/// Measurements above a limit before more is left out.
const PATIENCE: u32 = 2;
/// Part of each limit below which there is room again.
const CALM: f64 = 0.75;
/// How long there must be room before more is told, unless something else is said.
const RECOVER: Duration = Duration::from_secs(60);
/// The longest that this becomes.
const LONGEST: Duration = Duration::from_secs(3600);
/// Shorter times are not measured: the processor's time is counted in ticks of ten milliseconds.
const SHORTEST: Duration = Duration::from_secs(1);

/// What may be used; no limit where none is said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// Processor time, in cores: 0.5 is half of one.
    pub cores: Option<f64>,
    /// Resident memory, in bytes.
    pub memory: Option<u64>,
    /// How long there must be room before more is told again, at first.
    pub recover: Option<Duration>,
}

impl Budget {
    fn recover(&self) -> Duration {
        self.recover.unwrap_or(RECOVER)
    }

    /// Whether there is a limit.
    const fn limits(&self) -> bool {
        self.cores.is_some() || self.memory.is_some()
    }
}

/// What was used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Used {
    /// When it was measured, since any moment.
    pub at: Duration,
    /// Processor time since the start, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub memory: u64,
}

/// Something else is left out from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What.
    pub shed: Shed,
    /// Why, in words.
    pub why: String,
}

/// Decides what is left out.
#[derive(Clone, Debug)]
pub struct Governor {
    budget: Budget,
    shed: Shed,
    last: Option<Used>,
    /// Measurements above a limit, one after the other.
    over: u32,
    /// Since when there is room.
    calm: Option<Duration>,
    /// How long there must be.
    recover: Duration,
    /// When more was told again.
    recovered: Option<Duration>,
    /// Processor time in the last measured time, in cores.
    cores: f64,
    /// That nothing is left to leave out was told.
    told_all: bool,
}

impl Default for Governor {
    /// Without limits.
    fn default() -> Self {
        Self::new(Budget::default())
    }
}

impl Governor {
    /// With this budget, and nothing left out.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            shed: Shed::Nothing,
            last: None,
            over: 0,
            calm: None,
            recover: budget.recover(),
            recovered: None,
            cores: 0.0,
            told_all: false,
        }
    }

    /// With another budget from now on.
    pub fn set(&mut self, budget: Budget) {
        if budget.recover() != self.budget.recover() {
            self.recover = budget.recover();
        }
        self.budget = budget;
    }

    /// What may be used.
    #[must_use]
    pub const fn budget(&self) -> Budget {
        self.budget
    }

    /// What is left out.
    #[must_use]
    pub const fn shed(&self) -> Shed {
        self.shed
    }

    /// Cores used in the last measured time.
    #[must_use]
    pub const fn cores(&self) -> f64 {
        self.cores
    }

    /// Whether there is nothing to watch.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.budget.limits() && self.shed == Shed::Nothing
    }

    /// Takes a measurement; gives what changes, if anything does.
    pub fn measure(&mut self, used: Used) -> Option<Change> {
        let last = match self.last {
            Some(last) if used.at < last.at + SHORTEST => return None,
            last => last.unwrap_or(used),
        };
        self.last = Some(used);
        let time = used.at.saturating_sub(last.at);
        if time.is_zero() {
            return None;
        }
        self.cores = (used.cpu_seconds - last.cpu_seconds).max(0.0) / time.as_secs_f64();
        match self.above(used.memory) {
            Some(why) => {
                self.calm = None;
                self.over += 1;
                (self.over >= PATIENCE).then(|| self.more(used.at, why))?
            }
            None => {
                self.over = 0;
                self.told_all = false;
                if !self.has_room(used.memory) {
                    self.calm = None;
                    return None;
                }
                let since = *self.calm.get_or_insert(used.at);
                (used.at.saturating_sub(since) >= self.recover).then(|| self.less(used.at))?
            }
        }
    }

    /// Which limit is passed, and by what.
    fn above(&self, memory: u64) -> Option<String> {
        let Budget {
            cores,
            memory: most,
            ..
        } = self.budget;
        if let Some(limit) = cores.filter(|limit| self.cores > *limit) {
            return Some(format!("{:.2} of {limit:.2} cores", self.cores));
        }
        let limit = most.filter(|limit| memory > *limit)?;
        Some(format!("{} of {} MiB", memory >> 20, limit >> 20))
    }

    #[expect(clippy::cast_precision_loss, reason = "a part of it is meant")]
    fn has_room(&self, memory: u64) -> bool {
        let Budget {
            cores,
            memory: most,
            ..
        } = self.budget;
        cores.is_none_or(|limit| self.cores <= limit * CALM)
            && most.is_none_or(|limit| memory as f64 <= limit as f64 * CALM)
    }

    fn more(&mut self, at: Duration, why: String) -> Option<Change> {
        self.over = 0;
        let shed = match self.shed {
            Shed::Nothing => Shed::Content,
            Shed::Content => Shed::Detail,
            Shed::Detail if self.told_all => return None,
            Shed::Detail => {
                self.told_all = true;
                let shed = Shed::Detail;
                let why = format!("{why}, and nothing is left to leave out");
                return Some(Change { shed, why });
            }
        };
        let soon = |then: Duration| at.saturating_sub(then) < self.recover * 5;
        if self.recovered.take().is_some_and(soon) {
            self.recover = (self.recover * 2).min(LONGEST);
        }
        self.shed = shed;
        Some(Change { shed, why })
    }

    fn less(&mut self, at: Duration) -> Option<Change> {
        self.calm = None;
        let shed = match self.shed {
            Shed::Nothing => {
                // A long time without trouble: as at the start.
                self.recover = self.budget.recover();
                return None;
            }
            Shed::Content => Shed::Nothing,
            Shed::Detail => Shed::Content,
        };
        self.recovered = Some(at);
        self.shed = shed;
        let why = "there is room again".to_owned();
        Some(Change { shed, why })
    }
}

/// What our own process has used, as the system counts it.
#[must_use]
pub fn used(at: Duration) -> Option<Used> {
    let stat = procfs::process::Process::myself().ok()?.stat().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "centuries fit")]
    let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second().max(1) as f64;
    Some(Used {
        at,
        cpu_seconds: seconds(stat.utime + stat.stime),
        memory: stat.rss * procfs::page_size(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A governor, fed every five seconds.
    struct Fed {
        governor: Governor,
        at: u64,
        cpu: f64,
    }

    impl Fed {
        fn new(cores: Option<f64>, memory: Option<u64>) -> Self {
            let recover = None;
            let governor = Governor::new(Budget {
                cores,
                memory,
                recover,
            });
            let mut fed = Self {
                governor,
                at: 0,
                cpu: 100.0,
            };
            assert_eq!(fed.step(0.0, 0), None);
            fed
        }

        fn step(&mut self, cores: f64, memory: u64) -> Option<Change> {
            self.at += 5;
            self.cpu += cores * 5.0;
            self.governor.measure(Used {
                at: Duration::from_secs(self.at),
                cpu_seconds: self.cpu,
                memory,
            })
        }

        /// Steps until something changes: what, and after how many seconds.
        fn until(&mut self, cores: f64, memory: u64) -> (Shed, u64) {
            let begun = self.at;
            for _ in 0..2000 {
                if let Some(change) = self.step(cores, memory) {
                    return (change.shed, self.at - begun);
                }
            }
            panic!("nothing changed")
        }

        fn nothing_changes(&mut self, cores: f64, memory: u64) {
            for _ in 0..100 {
                assert_eq!(self.step(cores, memory), None);
            }
        }
    }

    #[test]
    fn without_limits_nothing_is_left_out() {
        let mut fed = Fed::new(None, None);
        assert!(fed.governor.is_idle());
        fed.nothing_changes(64.0, u64::MAX);
    }

    #[test]
    fn more_goes_the_longer_it_is_too_much_and_comes_back() {
        let mut fed = Fed::new(Some(0.5), None);
        fed.nothing_changes(0.49, 0);
        // A moment is none.
        assert_eq!(fed.step(2.0, 0), None);
        fed.nothing_changes(0.4, 0);
        assert_eq!(fed.step(0.6, 0), None);
        let change = fed.step(0.6, 0).unwrap();
        assert_eq!(
            (change.shed, change.why.as_str()),
            (Shed::Content, "0.60 of 0.50 cores")
        );
        // Neither too much nor room.
        fed.nothing_changes(0.45, 0);
        assert_eq!(fed.until(0.6, 0), (Shed::Detail, 10));
        let change = fed.step(0.6, 0).or_else(|| fed.step(0.6, 0)).unwrap();
        assert!(change.why.ends_with("and nothing is left to leave out"));
        fed.nothing_changes(0.6, 0);
        assert_eq!(fed.until(0.3, 0), (Shed::Content, 65));
        assert_eq!(fed.until(0.3, 0), (Shed::Nothing, 65));
        fed.nothing_changes(0.3, 0);
    }

    #[test]
    fn what_costs_too_much_again_stays_out_for_longer() {
        let mut fed = Fed::new(Some(0.5), None);
        let mut waited = Vec::new();
        for _ in 0..9 {
            assert_eq!(fed.until(1.0, 0), (Shed::Content, 10));
            waited.push(fed.until(0.1, 0).1);
        }
        assert_eq!(waited[..4], [65, 125, 245, 485]);
        assert_eq!(waited.last(), Some(&3605));
        // Long after that it is as it was.
        for _ in 0..2000 {
            fed.step(0.1, 0);
        }
        assert_eq!(fed.until(1.0, 0), (Shed::Content, 10));
        assert_eq!(fed.until(0.1, 0), (Shed::Nothing, 65));
    }

    #[test]
    fn how_long_there_must_be_room_can_be_said() {
        let mut fed = Fed::new(Some(0.5), None);
        let budget = Budget {
            recover: Some(Duration::from_secs(10)),
            ..fed.governor.budget()
        };
        fed.governor.set(budget);
        assert_eq!(fed.until(1.0, 0), (Shed::Content, 10));
        assert_eq!(fed.until(0.1, 0), (Shed::Nothing, 15));
        // What costs too much again waits for twice as long, also when the same was said again.
        assert_eq!(fed.until(1.0, 0), (Shed::Content, 10));
        fed.governor.set(budget);
        assert_eq!(fed.until(0.1, 0), (Shed::Nothing, 25));
        let alone = Budget {
            cores: None,
            ..budget
        };
        fed.governor.set(alone);
        assert!(fed.governor.is_idle());
    }

    #[test]
    fn memory_counts_as_well() {
        let mut fed = Fed::new(Some(0.5), Some(100 << 20));
        let change = fed
            .step(0.1, 101 << 20)
            .or_else(|| fed.step(0.1, 101 << 20))
            .unwrap();
        assert_eq!(
            (change.shed, change.why.as_str()),
            (Shed::Content, "101 of 100 MiB")
        );
        // There is room for both or for none.
        fed.nothing_changes(0.1, 80 << 20);
        fed.nothing_changes(0.4, 70 << 20);
        assert_eq!(fed.until(0.1, 70 << 20), (Shed::Nothing, 65));
        // Another budget.
        fed.governor.set(Budget::default());
        fed.nothing_changes(9.0, 1 << 40);
    }

    #[test]
    fn what_is_left_out_comes_back_when_the_limits_go() {
        let mut fed = Fed::new(Some(0.5), None);
        assert_eq!(fed.until(1.0, 0).0, Shed::Content);
        fed.governor.set(Budget::default());
        assert!(!fed.governor.is_idle());
        assert_eq!(fed.until(1.0, 0), (Shed::Nothing, 65));
        assert!(fed.governor.is_idle());
    }

    #[test]
    fn our_own_use_is_measured() {
        let used = used(Duration::ZERO).unwrap();
        assert!(used.memory > 1 << 20 && used.cpu_seconds >= 0.0);
    }
}
