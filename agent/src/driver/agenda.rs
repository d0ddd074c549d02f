//! Which process is looked at next: each has a time from which on it is due, and of those that are, the
//! one comes first that says most about others. Nothing here takes longer the more processes there are,
//! but for a logarithm.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// Processes with the time of their next look.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// When each is due, and whether it was looked at before.
    entries: HashMap<u32, Entry>,
    /// Those whose time had not come when this was looked through last.
    later: BTreeSet<(Instant, u32)>,
    /// Those that are due: first those that were never looked at, since their first call may come soon,
    /// and then those with the lowest number, since parents name the service.
    due: BTreeSet<(bool, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Instant,
    again: bool,
}

impl Agenda {
    /// A process is to be looked at from this time on, whatever was set before; `again` when it was before.
    pub(super) fn set(&mut self, pid: u32, at: Instant, again: bool) {
        self.remove(pid);
        self.entries.insert(pid, Entry { at, again });
        self.later.insert((at, pid));
    }

    /// A process that was looked at before is to be looked at from this time on, or from the one that was set
    /// where that is sooner.
    pub(super) fn set_sooner(&mut self, pid: u32, at: Instant) {
        if self.entries.get(&pid).is_none_or(|set| at < set.at) {
            self.set(pid, at, true);
        }
    }

    /// A process is not to be looked at.
    pub(super) fn remove(&mut self, pid: u32) {
        if let Some(old) = self.entries.remove(&pid) {
            self.later.remove(&(old.at, pid));
            self.due.remove(&(old.again, pid));
        }
    }

    /// Takes the process that is to be looked at now, if one is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<u32> {
        while let Some(&(at, pid)) = self.later.first() {
            if at > now {
                break;
            }
            self.later.pop_first();
            let again = self.entries.get(&pid).is_some_and(|entry| entry.again);
            self.due.insert((again, pid));
        }
        let (_, pid) = self.due.pop_first()?;
        self.entries.remove(&pid);
        Some(pid)
    }

    /// When the next one is due that is not yet.
    pub(super) fn next(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::Agenda;
    use std::time::{Duration, Instant};

    fn all(agenda: &mut Agenda, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| agenda.take(now)).collect()
    }

    #[test]
    fn new_ones_come_first_and_then_parents() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut agenda = Agenda::default();
        for (pid, at, again) in [
            (9, now, true),
            (30, now, false),
            (8, now, true),
            (20, now, false),
            (1, later, false),
        ] {
            agenda.set(pid, at, again);
        }
        assert_eq!(all(&mut agenda, now), [20, 30, 8, 9]);
        assert_eq!(agenda.next(), Some(later));
        assert_eq!(all(&mut agenda, later), [1]);
        assert_eq!(agenda.next(), None);
    }

    #[test]
    fn what_was_set_last_counts_even_once_it_was_due() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut agenda = Agenda::default();
        for pid in [1, 2, 3] {
            agenda.set(pid, now, false);
        }
        assert_eq!(agenda.take(now), Some(1));
        agenda.set(2, later, true);
        agenda.remove(3);
        agenda.remove(4);
        assert_eq!(all(&mut agenda, now).len(), 0);
        agenda.set(3, now, true);
        assert_eq!(all(&mut agenda, later), [2, 3]);
        assert!(agenda.entries.is_empty() && agenda.later.is_empty() && agenda.due.is_empty());
    }

    #[test]
    fn a_look_is_not_put_off() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut agenda = Agenda::default();
        agenda.set(1, after(3), true);
        agenda.set_sooner(1, after(300));
        assert_eq!(agenda.next(), Some(after(3)));
        agenda.set_sooner(1, after(2));
        assert_eq!(agenda.next(), Some(after(2)));
        agenda.set_sooner(2, after(300));
        agenda.set(3, now, false);
        assert_eq!(agenda.take(now), Some(3));
        assert_eq!(all(&mut agenda, after(2)), [1]);
        // One that is due, and waits for others, stays so.
        agenda.set(4, after(4), true);
        agenda.set(5, after(4), true);
        assert_eq!(agenda.take(after(4)), Some(4));
        agenda.set_sooner(5, after(400));
        assert_eq!(all(&mut agenda, after(4)), [5]);
        assert_eq!(agenda.next(), Some(after(300)));
    }

    /// It does what a search through all would.
    #[test]
    fn the_order_is_that_of_a_search() {
        let begun = Instant::now();
        let at = |tick: u64| begun + Duration::from_millis(tick);
        let mut agenda = Agenda::default();
        let mut plain: Vec<(u32, Instant, bool)> = Vec::new();
        let mut random = 1_u64;
        for tick in 0..4000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let pid = (random >> 33) as u32 % 64;
            match random >> 60 {
                0..=7 => {
                    let due = at(tick + (random >> 40) % 50);
                    agenda.set(pid, due, random & 1 << 50 != 0);
                    plain.retain(|(other, ..)| *other != pid);
                    plain.push((pid, due, random & 1 << 50 != 0));
                }
                8 => {
                    agenda.remove(pid);
                    plain.retain(|(other, ..)| *other != pid);
                }
                _ => {
                    let due = plain.iter().filter(|(_, due, _)| *due <= at(tick));
                    let want = due.min_by_key(|(pid, _, again)| (*again, *pid));
                    let want = want.map(|(pid, ..)| *pid);
                    assert_eq!(agenda.take(at(tick)), want, "{tick}");
                    plain.retain(|(other, ..)| Some(*other) != want);
                }
            }
        }
    }
}
