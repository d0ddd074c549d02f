//! Requests under way in SGLang's schedulers: from the moments at which each is seen to when it waited, was read and
//! made.

use std::collections::{BTreeMap, HashMap};

use super::sglang_scheduler::{CAME, OVER, READ, SCHEDULED, Step};
use crate::model::engine::EngineRequest;
use crate::model::time::BootTime;

/// Requests that are followed; of more, the oldest are given up.
pub const MAX_LIVES: usize = 16_384;

/// How long one is followed, in nanoseconds. Of one that was given up in the queue nobody tells.
const LONGEST: u64 = 3_600_000_000_000;

/// How long after a request came the same hit may be told again, in nanoseconds.
const AGAIN: u64 = 100_000_000;

/// What is known of a request so far.
#[derive(Debug)]
struct Life {
    came: BootTime,
    scheduled: Option<BootTime>,
    first: Option<BootTime>,
    /// When what was read for it was kept last, if nobody says how much it has made by then: in the end that is when it
    /// had its first token, unless another part of its prompt is read behind it.
    kept: Option<BootTime>,
    /// It had to give way where that is all that is known.
    is_unsure: bool,
    cached: Option<i64>,
}

/// The requests of all schedulers, each by its process and its id.
#[derive(Debug, Default)]
pub struct Lives {
    by_age: BTreeMap<u64, ((u32, String), Life)>,
    ids: HashMap<(u32, String), u64>,
    next: u64,
    /// Requests given up: there were too many, or it took too long.
    pub refused: u64,
}

impl Lives {
    /// A hook of a scheduler tells of a request. Gives it with its times when it is over, if it was seen to begin: of
    /// one that was under way already, or is no generation, nothing is told.
    pub fn told(
        &mut self,
        number: u32,
        (pid, time): (u32, BootTime),
        step: Step,
    ) -> Option<EngineRequest> {
        let key = (pid, step.id);
        if number == CAME {
            self.came(key, time);
            return None;
        }
        if number == OVER {
            if step.gave_way {
                self.gives_way(&key);
            }
            let over = step.over?;
            let life = self.take(&key)?;
            return Some(request(*over, &life, (time, step.made)));
        }
        let serial = self.ids.get(&key)?;
        let (_, life) = self.by_age.get_mut(serial)?;
        match number {
            SCHEDULED if life.scheduled.is_none() => {
                life.scheduled = Some(time);
                life.cached = step.prefix;
            }
            // Another part of its prompt.
            SCHEDULED if life.kept.is_some() => life.kept = None,
            // It had to give way, and what it is read anew with is its own.
            SCHEDULED if life.first.is_some() => life.cached = None,
            // Between the parts of its prompt it has made nothing.
            READ if step.made.is_some_and(|made| made > 0) => {
                life.first.get_or_insert(time);
            }
            READ if step.made.is_none() => life.kept = Some(time),
            _ => {}
        }
        None
    }

    fn gives_way(&mut self, key: &(u32, String)) {
        let life = self.ids.get(key).and_then(|s| self.by_age.get_mut(s));
        if let Some((_, life)) = life {
            // What it is read anew with has its own first token.
            life.is_unsure |= life.first.is_none();
            life.cached = None;
        }
    }

    /// A process is gone, or (none) nothing more will come.
    pub fn stop(&mut self, pid: Option<u32>) {
        let is_of = |of: u32| pid.is_none_or(|pid| pid == of);
        self.by_age.retain(|_, ((of, _), _)| !is_of(*of));
        self.ids.retain(|(of, _), _| !is_of(*of));
    }

    fn came(&mut self, key: (u32, String), time: BootTime) {
        if let Some((_, known)) = self.ids.get(&key).and_then(|s| self.by_age.get(s))
            && known.scheduled.is_none()
            && time.since(known.came) < AGAIN
        {
            return;
        }
        // Who asks may choose an id that he had before.
        self.take(&key);
        while let Some((_, (_, oldest))) = self.by_age.first_key_value()
            && (self.by_age.len() >= MAX_LIVES || time.since(oldest.came) > LONGEST)
        {
            if let Some((_, (key, life))) = self.by_age.pop_first() {
                self.ids.remove(&key);
                // Of one that never was worked at nothing is missed, unless it still waits.
                let is_missed = life.scheduled.is_some() || time.since(life.came) <= LONGEST;
                self.refused += u64::from(is_missed);
            }
        }
        self.next = self.next.wrapping_add(1);
        self.ids.insert(key.clone(), self.next);
        let life = Life {
            came: time,
            scheduled: None,
            first: None,
            kept: None,
            is_unsure: false,
            cached: None,
        };
        self.by_age.insert(self.next, (key, life));
    }

    fn take(&mut self, key: &(u32, String)) -> Option<Life> {
        let serial = self.ids.remove(key)?;
        self.by_age.remove(&serial).map(|(_, life)| life)
    }
}

/// A request that is over, with its times.
fn request(
    over: EngineRequest,
    life: &Life,
    (end, made): (BootTime, Option<i64>),
) -> EngineRequest {
    let nanoseconds = |time: BootTime| time.0;
    // The only token is the first and the last; its end may be seen later.
    let only = made == Some(1);
    let kept = life.kept.filter(|_| made.is_none() && !life.is_unsure);
    let first = life.first.or(only.then_some(end)).or(kept);
    let last = if only { first } else { Some(end) };
    EngineRequest {
        cached: life.cached.filter(|_| over.input.is_some()),
        queued: Some(nanoseconds(life.came)),
        scheduled: life.scheduled.map(nanoseconds),
        first_token: first.map(nanoseconds),
        last_token: last.filter(|_| made != Some(0)).map(nanoseconds),
        ..over
    }
}

#[cfg(test)]
mod tests {
    use super::{AGAIN, CAME, LONGEST, Lives, MAX_LIVES, OVER, READ, SCHEDULED, Step};
    use crate::model::engine::{EngineRequest, EngineWork};
    use crate::model::time::BootTime;

    const PID: u32 = 7;

    fn step(id: &str) -> Step {
        Step {
            id: id.to_owned(),
            ..Step::default()
        }
    }

    fn scheduled(id: &str, prefix: i64) -> Step {
        Step {
            prefix: Some(prefix),
            ..step(id)
        }
    }

    fn made(id: &str, made: i64) -> Step {
        Step {
            made: Some(made),
            ..step(id)
        }
    }

    fn over(id: &str, tokens: i64) -> Step {
        let request = EngineRequest {
            id: id.to_owned(),
            own: id.to_owned(),
            is_inner: true,
            input: Some(9),
            output: Some(tokens),
            ..EngineRequest::default()
        };
        Step {
            over: Some(Box::new(request)),
            ..made(id, tokens)
        }
    }

    fn run(lives: &mut Lives, steps: &[(u32, u64, Step)]) -> Vec<EngineRequest> {
        let tell = |(number, time, step): &(u32, u64, Step)| {
            lives.told(*number, (PID, BootTime(*time)), step.clone())
        };
        steps.iter().filter_map(tell).collect()
    }

    fn times(one: &EngineRequest) -> [Option<u64>; 4] {
        [one.queued, one.scheduled, one.first_token, one.last_token]
    }

    #[test]
    fn a_life() {
        let mut lives = Lives::default();
        let found = run(
            &mut lives,
            &[
                (CAME, 10, step("a")),
                (CAME, 11, step("b")),
                (SCHEDULED, 20, scheduled("a", 4)),
                // A second part of its prompt, and between the two.
                (READ, 25, made("a", 0)),
                (SCHEDULED, 26, scheduled("a", 0)),
                (READ, 30, made("a", 1)),
                (OVER, 90, over("a", 5)),
                // The same hit once more.
                (OVER, 91, over("a", 5)),
            ],
        );
        let [one] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(times(one), [10, 20, 30, 90].map(Some));
        assert_eq!((one.cached, one.output), (Some(4), Some(5)));
        assert_eq!((lives.ids.len(), lives.by_age.len()), (1, 1));
    }

    #[test]
    fn one_that_had_to_give_way() {
        let found = run(
            &mut Lives::default(),
            &[
                (CAME, 10, step("a")),
                (SCHEDULED, 20, scheduled("a", 4)),
                (READ, 30, made("a", 1)),
                (SCHEDULED, 60, scheduled("a", 8)),
                (READ, 70, made("a", 3)),
                (OVER, 90, over("a", 5)),
            ],
        );
        assert_eq!(times(&found[0]), [10, 20, 30, 90].map(Some));
        assert_eq!(found[0].cached, None);
    }

    /// As in the newest versions, which do not say how much a request has made.
    #[test]
    fn where_nobody_says_what_was_made() {
        let over = |id: &str| Step {
            made: None,
            ..over(id, 5)
        };
        let gives_way = |id: &str| Step {
            gave_way: true,
            ..step(id)
        };
        let begin = [(CAME, 10, step("a")), (SCHEDULED, 20, scheduled("a", 4))];
        let mut lives = Lives::default();
        let mut first = |steps: &[(u32, u64, Step)]| {
            run(&mut lives, &begin);
            let found = run(&mut lives, steps);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].last_token, Some(90));
            (found[0].first_token, found[0].cached)
        };
        let whole = [(READ, 30, step("a")), (OVER, 90, over("a"))];
        assert_eq!(first(&whole), (Some(30), Some(4)));
        let parts = [
            (READ, 30, step("a")),
            (SCHEDULED, 31, scheduled("a", 0)),
            (READ, 40, step("a")),
            (OVER, 90, over("a")),
        ];
        assert_eq!(first(&parts), (Some(40), Some(4)));
        // With one token, or what was lost, nothing is kept behind the last part.
        let [one, two, _, four] = parts;
        assert_eq!(first(&[one.clone(), two.clone(), four.clone()]).0, None);
        assert_eq!(first(std::slice::from_ref(&four)).0, None);
        // Which of the two is the first nobody knows.
        let way = (OVER, 30, gives_way("a"));
        let three = (READ, 70, step("a"));
        assert_eq!(first(&[one, way, two, three, four]), (None, None));
    }

    #[test]
    fn the_only_token_is_the_first_and_the_last() {
        let begin = [(CAME, 10, step("a")), (SCHEDULED, 20, scheduled("a", 0))];
        let mut lives = Lives::default();
        run(&mut lives, &begin);
        let found = run(&mut lives, &[(OVER, 30, over("a", 1))]);
        assert_eq!(times(&found[0]), [10, 20, 30, 30].map(Some));
        // The end of one that waits for what it made to be fetched is seen later.
        run(&mut lives, &begin);
        let steps = [(READ, 30, made("a", 1)), (OVER, 60, over("a", 1))];
        assert_eq!(
            times(&run(&mut lives, &steps)[0]),
            [10, 20, 30, 30].map(Some)
        );
        // Of another cache the first token is not seen, and of an abort there may be none.
        run(&mut lives, &begin);
        let found = run(&mut lives, &[(OVER, 60, over("a", 9))]);
        assert_eq!(times(&found[0]), [Some(10), Some(20), None, Some(60)]);
        let work = EngineWork::of(&found);
        assert_eq!((work.prefill, work.decode), (None, None));
        run(&mut lives, &begin);
        let found = run(&mut lives, &[(OVER, 60, over("a", 0))]);
        assert_eq!(times(&found[0]), [Some(10), Some(20), None, None]);
    }

    #[test]
    fn of_what_was_under_way_nothing_is_told() {
        let mut lives = Lives::default();
        let steps = [
            (SCHEDULED, 20, scheduled("a", 0)),
            (READ, 30, made("a", 1)),
            (OVER, 90, over("a", 5)),
        ];
        assert!(run(&mut lives, &steps).is_empty());
        // Nor of another process's.
        lives.told(CAME, (PID + 1, BootTime(10)), step("a"));
        assert!(run(&mut lives, &steps).is_empty());
        lives.stop(Some(PID));
        assert_eq!(lives.ids.len(), 1);
        lives.stop(Some(PID + 1));
        assert!(lives.ids.is_empty() && lives.by_age.is_empty());
    }

    #[test]
    fn an_id_that_was_there_before() {
        let mut lives = Lives::default();
        let twice = [(CAME, 10, step("a")), (CAME, 11, step("a"))];
        run(&mut lives, &twice);
        let again = [
            (SCHEDULED, 12, scheduled("a", 0)),
            (CAME, 13 + AGAIN, step("a")),
            (SCHEDULED, 14 + AGAIN, scheduled("a", 0)),
            (OVER, 20 + AGAIN, over("a", 5)),
        ];
        let found = run(&mut lives, &again);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].queued, Some(13 + AGAIN));
    }

    #[test]
    fn there_are_not_too_many_nor_too_old_ones() {
        let mut lives = Lives::default();
        for n in 0..MAX_LIVES as u64 + 3 {
            run(&mut lives, &[(CAME, n, step(&n.to_string()))]);
        }
        assert_eq!(
            (lives.by_age.len(), lives.ids.len()),
            (MAX_LIVES, MAX_LIVES)
        );
        assert_eq!(lives.refused, 3);
        // Of those that are old one was worked at.
        run(&mut lives, &[(SCHEDULED, 1 << 20, scheduled("9", 0))]);
        run(&mut lives, &[(CAME, LONGEST + (1 << 21), step("new"))]);
        assert_eq!((lives.by_age.len(), lives.ids.len()), (1, 1));
        assert_eq!(lives.refused, 4);
    }
}
