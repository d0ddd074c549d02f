//! Inference engines: from snapshots of what they keep count of to requests that are over, and runs
//! for those that they are asked for in their own process.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;

use super::{sglang, vllm};
use crate::model::defect::Defects;
use crate::model::engine::{EngineAsked, EngineRequest, EngineWork};
use crate::model::exchange::ExchangeId;
use crate::model::framework::{Framework, Inside, RunEvent, RunFacts, RunKind, RunLabel};
use crate::model::snapshot::Snapshot;
use crate::model::time::BootTime;

/// Requests under way in engines' own processes that are followed; of more, the oldest are given up.
pub const MAX_OPEN: usize = 16_384;

/// Most answers to one request that are followed.
const MAX_CHOICES: u32 = 1024;

/// How long after a request began the same hit may be told again, in nanoseconds.
const AGAIN: u64 = 100_000_000;

/// Times from this one on are none: some thirty years, in nanoseconds.
const MOST: f64 = 1e18;

/// What is kept of the arguments of an engine's function: counts, times and ids, and nothing of what
/// was said. The rest is neither told nor recorded.
#[must_use]
pub fn kept(number: u32, values: &[Option<Json>]) -> Vec<Option<Json>> {
    let all: Vec<_> = match number {
        vllm::FINISHED => vllm::finished(values)
            .into_iter()
            .map(serde_json::to_value)
            .collect(),
        vllm::ASKED => vllm::asked(values)
            .into_iter()
            .map(serde_json::to_value)
            .collect(),
        sglang::BATCH => sglang::finished(values)
            .into_iter()
            .map(serde_json::to_value)
            .collect(),
        _ => Vec::new(),
    };
    all.into_iter().map(Result::ok).collect()
}

/// A request under way in the engine's own process.
#[derive(Debug)]
struct Open {
    run: ExchangeId,
    pid: u32,
    tid: u32,
    start: BootTime,
    asked: EngineAsked,
    over: Vec<EngineRequest>,
}

/// What the engines of all processes are asked for, and answer.
#[derive(Debug, Default)]
pub struct Engines {
    open: BTreeMap<ExchangeId, Open>,
    ids: HashMap<(u32, String), ExchangeId>,
    /// Requests given up because there were too many.
    pub refused: u64,
}

impl Engines {
    /// An engine's function was entered. `next` names a run, if one begins. Gives the requests that
    /// are over and were asked for by a server.
    pub fn told(
        &mut self,
        (number, found): (u32, &Snapshot),
        next: impl FnOnce() -> ExchangeId,
        out: &mut Vec<RunEvent>,
    ) -> Vec<EngineRequest> {
        let values = found.values.iter().flatten();
        if number == vllm::ASKED {
            for value in values.take(1) {
                if let Ok(asked) = serde_json::from_value(value.clone()) {
                    self.begins(found, asked, next, out);
                    break;
                }
            }
            return Vec::new();
        }
        let mut served = Vec::new();
        for value in values {
            let Ok(request) = serde_json::from_value::<EngineRequest>(value.clone()) else {
                continue;
            };
            if request.in_process {
                self.over(found, request, out);
            } else {
                served.push(request);
            }
        }
        served
    }

    /// A process is gone, or (none) nothing more will come: its requests do not end any more.
    pub fn stop(&mut self, pid: Option<u32>, now: BootTime, out: &mut Vec<RunEvent>) {
        let of = |open: &Open| pid.is_none_or(|pid| open.pid == pid);
        let all = self.open.iter().filter(|(_, open)| of(open));
        let ids: Vec<_> = all.map(|(id, _)| *id).collect();
        for id in ids {
            self.end(id, now, Defects::UNFINISHED, out);
        }
    }

    fn begins(
        &mut self,
        found: &Snapshot,
        asked: EngineAsked,
        next: impl FnOnce() -> ExchangeId,
        out: &mut Vec<RunEvent>,
    ) {
        let key = (found.pid, asked.id.clone());
        if let Some(known) = self.ids.get(&key).copied() {
            let again = self.open.get(&known).is_some_and(|open| {
                let soon = found.time.since(open.start) < AGAIN;
                soon && open.tid == found.tid && open.over.is_empty()
            });
            if again {
                return;
            }
            // Of an engine that is no more: its successor counts anew.
            self.end(known, found.time, Defects::UNFINISHED, out);
        }
        if self.open.len() >= MAX_OPEN
            && let Some(oldest) = self.open.keys().next().copied()
        {
            self.refused += 1;
            self.end(oldest, found.time, Defects::UNFINISHED, out);
        }
        let run = next();
        out.push(RunEvent::Began(Box::new(RunFacts {
            exchange: run,
            pid: found.pid,
            tid: found.tid,
            start: found.time,
            context: found.context,
            framework: Framework::Vllm,
            run: 0,
            parent: None,
            kind: RunKind::Completion,
            name: None,
            inside: Inside::Nowhere,
            is_generator: false,
            label: RunLabel::None,
            subject: None,
        })));
        self.ids.insert(key, run);
        let open = Open {
            run,
            pid: found.pid,
            tid: found.tid,
            start: found.time,
            asked,
            over: Vec::new(),
        };
        self.open.insert(run, open);
    }

    fn over(&mut self, found: &Snapshot, request: EngineRequest, out: &mut Vec<RunEvent>) {
        let Some(run) = self.ids.get(&(found.pid, request.id.clone())).copied() else {
            // It was under way when the function was found.
            return;
        };
        let Some(open) = self.open.get_mut(&run) else {
            return;
        };
        if open.over.iter().any(|known| known.own == request.own) {
            return;
        }
        let wanted = open.asked.choices.unwrap_or(1).clamp(1, MAX_CHOICES);
        open.over.push(request);
        if open.over.len() >= usize::try_from(wanted).unwrap_or(1) {
            self.end(run, found.time, Defects::NONE, out);
        }
    }

    fn end(&mut self, run: ExchangeId, end: BootTime, defects: Defects, out: &mut Vec<RunEvent>) {
        let Some(open) = self.open.remove(&run) else {
            return;
        };
        let key = (open.pid, open.asked.id.clone());
        if self.ids.get(&key) == Some(&open.run) {
            self.ids.remove(&key);
        }
        let work = EngineWork::of(&open.over);
        out.push(RunEvent::Worked {
            exchange: run,
            asked: Box::new(open.asked),
            work: Box::new(work),
        });
        out.push(RunEvent::Ended {
            exchange: run,
            end,
            error: None,
            defects,
        });
    }
}

/// Whether a text is an id, and not what stands for one that is missing.
pub(super) fn is_id(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('<')
}

/// A member that is an id.
pub(super) fn text<'a>(of: &'a Json, name: &str) -> Option<&'a str> {
    of.get(name)?.as_str().filter(|text| is_id(text))
}

/// A member that is a count.
pub(super) fn count(of: &Json, name: &str) -> Option<i64> {
    of.get(name)?.as_i64().filter(|n| *n >= 0)
}

/// A member that is a time in seconds, in nanoseconds; zero is none that was taken.
pub(super) fn moment(of: &Json, name: &str) -> Option<u64> {
    let nanoseconds = of.get(name)?.as_f64()? * 1e9;
    // What is cut off is less than the clock tells.
    (1.0..MOST)
        .contains(&nanoseconds)
        .then_some(nanoseconds as u64)
}

/// How long a list is of which not all was copied.
pub(super) fn length(list: &Json) -> Option<i64> {
    let items = list.as_array()?;
    let more = |text: &str| -> Option<i64> {
        text.strip_prefix('<')?.strip_suffix(" more>")?.parse().ok()
    };
    let rest = items.last().and_then(|last| more(last.as_str()?));
    let there = i64::try_from(items.len()).ok()?;
    there.checked_add(rest.map_or(0, |rest| rest.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::{AGAIN, Engines, MAX_OPEN, kept};
    use crate::framework::{sglang, vllm};
    use crate::model::defect::Defects;
    use crate::model::exchange::ExchangeId;
    use crate::model::framework::{Framework, RunEvent};
    use crate::model::snapshot::{Snapshot, Subject};
    use crate::model::time::BootTime;
    use serde_json::{Value as Json, json};

    /// As the driver tells it.
    fn snapshot(number: u32, time: u64, values: &[Json]) -> Snapshot {
        let values: Vec<_> = values.iter().cloned().map(Some).collect();
        Snapshot {
            pid: 7,
            tid: 8,
            time: BootTime(time),
            subject: Subject::Hook {
                hook: number,
                first: 1,
            },
            context: Some(9),
            values: kept(number, &values),
        }
    }

    fn asked(id: &str, n: u32, time: u64) -> Snapshot {
        let params = json!({"<class>": "vllm.sampling_params.SamplingParams", "n": n});
        snapshot(vllm::ASKED, time, &[json!(id), params])
    }

    fn finished(id: &str, queue: &Json, time: u64) -> Snapshot {
        let state = json!({
            "external_req_id": id, "request_id": format!("{time}_{id}"), "prompt": "said", "prompt_len": 3,
            "queue": queue, "stats": {"num_generation_tokens": 5},
        });
        snapshot(vllm::FINISHED, time, &[state, json!(0)])
    }

    fn tell(engines: &mut Engines, of: &Snapshot, next: u64) -> (Vec<RunEvent>, Vec<String>) {
        let Subject::Hook { hook, .. } = of.subject else {
            panic!("{:?}", of.subject);
        };
        let mut out = Vec::new();
        let served = engines.told((hook, of), || ExchangeId(next), &mut out);
        (out, served.into_iter().map(|request| request.id).collect())
    }

    #[test]
    fn nothing_that_was_said_is_kept() {
        let found = finished("a", &Json::Null, 1);
        assert!(!format!("{found:?}").contains("said"), "{found:?}");
        assert!(kept(99, &[Some(json!({"prompt": "said"}))]).is_empty());
        assert!(kept(vllm::ASKED, &[Some(json!("1"))]).is_empty());
    }

    #[test]
    fn a_request_in_the_engines_process_is_a_run() {
        let mut engines = Engines::default();
        let (out, _) = tell(&mut engines, &asked("0", 1, 100), 1);
        let [RunEvent::Began(facts)] = &out[..] else {
            panic!("{out:?}");
        };
        assert_eq!((facts.pid, facts.tid, facts.start), (7, 8, BootTime(100)));
        assert_eq!((facts.framework, facts.context), (Framework::Vllm, Some(9)));
        // That of a server is none, though it has the same id.
        let queue = json!({"<class>": "RequestOutputCollector"});
        let (out, served) = tell(&mut engines, &finished("0", &queue, 150), 2);
        assert!(out.is_empty() && served == ["0"], "{out:?} {served:?}");
        let (out, served) = tell(&mut engines, &finished("0", &Json::Null, 200), 2);
        let [RunEvent::Worked { exchange, work, .. }, ended] = &out[..] else {
            panic!("{out:?}");
        };
        assert_eq!(
            (*exchange, work.output, work.input),
            (ExchangeId(1), Some(5), Some(3))
        );
        let wanted = RunEvent::Ended {
            exchange: ExchangeId(1),
            end: BootTime(200),
            error: None,
            defects: Defects::NONE,
        };
        assert_eq!(*ended, wanted);
        assert!(served.is_empty());
        // Once.
        assert!(
            tell(&mut engines, &finished("0", &Json::Null, 300), 3)
                .0
                .is_empty()
        );
    }

    #[test]
    fn it_is_over_with_the_last_of_its_answers() {
        let mut engines = Engines::default();
        tell(&mut engines, &asked("0", 2, 100), 1);
        for _ in 0..3 {
            assert!(
                tell(&mut engines, &finished("0", &Json::Null, 200), 2)
                    .0
                    .is_empty()
            );
        }
        let (out, _) = tell(&mut engines, &finished("0", &Json::Null, 300), 2);
        assert!(
            matches!(
                out[..],
                [
                    _,
                    RunEvent::Ended {
                        end: BootTime(300),
                        ..
                    }
                ]
            ),
            "{out:?}"
        );
    }

    #[test]
    fn what_does_not_end_says_so() {
        let mut engines = Engines::default();
        tell(&mut engines, &asked("0", 1, 100), 1);
        // Another engine of the process, which counts from zero again.
        // The same hit once more.
        assert!(tell(&mut engines, &asked("0", 1, 101), 2).0.is_empty());
        let (out, _) = tell(&mut engines, &asked("0", 1, 100 + AGAIN), 2);
        let [
            _,
            RunEvent::Ended {
                exchange, defects, ..
            },
            RunEvent::Began(_),
        ] = &out[..]
        else {
            panic!("{out:?}");
        };
        assert_eq!((*exchange, *defects), (ExchangeId(1), Defects::UNFINISHED));
        let mut out = Vec::new();
        engines.stop(Some(6), BootTime(250), &mut out);
        assert!(out.is_empty());
        engines.stop(Some(7), BootTime(300), &mut out);
        assert!(matches!(
            out[..],
            [
                _,
                RunEvent::Ended {
                    exchange: ExchangeId(2),
                    ..
                }
            ]
        ));
        engines.stop(None, BootTime(400), &mut out);
        assert_eq!(out.len(), 2);
    }

    #[test]
    fn there_are_not_too_many() {
        let mut engines = Engines::default();
        for n in 0..MAX_OPEN as u64 + 3 {
            tell(&mut engines, &asked(&n.to_string(), 1, n), n);
        }
        assert_eq!((engines.refused, engines.open.len()), (3, MAX_OPEN));
        assert_eq!(engines.ids.len(), MAX_OPEN);
        // The oldest had to go, not the newest.
        assert!(engines.open.contains_key(&ExchangeId(MAX_OPEN as u64 + 2)));
        let (out, _) = tell(&mut engines, &asked("new", 1, 7 << 20), 1 << 20);
        assert!(
            matches!(
                out[..],
                [
                    RunEvent::Worked { .. },
                    RunEvent::Ended {
                        exchange: ExchangeId(3),
                        defects: Defects::UNFINISHED,
                        ..
                    },
                    RunEvent::Began(_)
                ]
            ),
            "{out:?}"
        );
    }

    #[test]
    fn a_batch_of_sglang() {
        let batch = json!({
            "rids": ["a", "b"], "output_strs": ["said", "said"],
            "finished_reasons": [{"type": "stop"}, null], "completion_tokens": [4, 5],
        });
        let found = snapshot(sglang::BATCH, 1, &[batch]);
        assert!(!format!("{found:?}").contains("said"));
        let (out, served) = tell(&mut Engines::default(), &found, 1);
        assert!(out.is_empty());
        assert_eq!(served, ["a"]);
    }
}
