//! Inference engines: from snapshots of what they keep count of to requests that are over, and runs
//! for those that they are asked for in their own process.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;

use super::{sglang, vllm, vllm_v0};
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

/// Times from this one on are none: some three hundred years, in seconds, so that those of the wall clock are.
const MOST: f64 = 1e10;

/// What is kept of the arguments of an engine's function: counts, times and ids, and nothing of what
/// was said. The rest is neither told nor recorded.
#[must_use]
pub fn kept(number: u32, values: &[Option<Json>]) -> Vec<Option<Json>> {
    let all: Vec<_> = match number {
        vllm::FINISHED => vllm::finished(values)
            .into_iter()
            .map(serde_json::to_value)
            .collect(),
        vllm_v0::FINISHED => vllm_v0::finished(values)
            .into_iter()
            .map(serde_json::to_value)
            .collect(),
        vllm::ASKED | vllm_v0::ASKED => vllm::asked(values)
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

/// The attributes of a hook's first argument that are wanted, where that is all; nothing where its arguments are.
#[must_use]
pub const fn parts(number: u32) -> &'static [&'static str] {
    match number {
        vllm_v0::FINISHED => &vllm_v0::PARTS,
        sglang::BATCH => &sglang::PARTS,
        _ => &[],
    }
}

/// Has what was kept of a hook say which process started the one of the engine, where that one may be who asks. Of
/// others nobody looks for the `parent`: some hooks are hit with each step of an engine.
pub fn started_by(number: u32, kept: &mut [Option<Json>], parent: impl FnOnce() -> Option<u32>) {
    if kept.is_empty() || !vllm_v0::is_one(number) {
        return;
    }
    let Some(parent) = parent() else {
        return;
    };
    for value in kept.iter_mut().flatten() {
        if let Json::Object(members) = value {
            members.insert("parent".to_owned(), parent.into());
        }
    }
}

/// Whether something that is wanted of a hook is not among what was kept.
#[must_use]
pub fn is_part(number: u32, kept: &[Option<Json>]) -> bool {
    let has = |value: &Json, name: &str| value.get(name).is_some_and(|value| !value.is_null());
    number != vllm_v0::FINISHED
        // Of which nothing is kept, all was wanted.
        || kept.is_empty()
        || !kept.iter().flatten().all(|value| {
            let counted = has(value, "input") && has(value, "output");
            // Of old ones the time at which they came is not known.
            let timed = has(value, "queued") || has(value, "last_token");
            counted && has(value, "finish_reason") && timed
        })
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
    /// An engine's function was entered. `next` names a run, if one begins; `serves` says whether a process is
    /// known to be a model server. Gives the requests that are over and were asked for by one, with its process.
    pub fn told(
        &mut self,
        (number, found): (u32, &Snapshot),
        next: impl FnOnce() -> ExchangeId,
        serves: impl Fn(u32) -> bool,
        out: &mut Vec<RunEvent>,
    ) -> Vec<(u32, EngineRequest)> {
        let values = found.values.iter().flatten();
        if matches!(number, vllm::ASKED | vllm_v0::ASKED) {
            for value in values.take(1) {
                if let Ok(asked) = serde_json::from_value::<EngineAsked>(value.clone()) {
                    // What a server asks of the engine that it started is a request to the server.
                    if !asked.parent.is_some_and(&serves) {
                        self.begins(found, asked, next, out);
                    }
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
            let key = (found.pid, request.id.clone());
            // V0 does not say who asked.
            let is_run = number == vllm_v0::FINISHED && self.ids.contains_key(&key);
            if request.in_process || is_run {
                self.over(found, request, out);
            } else {
                let parent = request.parent.filter(|parent| serves(*parent));
                served.push((parent.unwrap_or(found.pid), request));
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
    let seconds = of.get(name)?.as_f64()?;
    // In two parts: nanoseconds of the wall clock are more than such a number has places for.
    let (whole, part) = (seconds.trunc(), (seconds.fract() * 1e9).round());
    (1e-9..MOST).contains(&seconds).then_some(
        (whole as u64)
            .saturating_mul(1_000_000_000)
            .saturating_add(part as u64),
    )
}

/// How long a list is of which not all was copied.
pub(super) fn length(list: &Json) -> Option<i64> {
    length_of(list.as_array()?)
}

/// The same, of what was copied of it.
pub(super) fn length_of(items: &[Json]) -> Option<i64> {
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
    use crate::framework::{sglang, vllm, vllm_v0};
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
        // Process 5 is a server.
        let told = engines.told((hook, of), || ExchangeId(next), |pid| pid == 5, &mut out);
        let served = told.into_iter().map(|(_, request)| request.id);
        (out, served.collect())
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

    /// As V0 has it, in a process that this one started.
    fn v0(number: u32, values: &[Json], parent: u32, time: u64) -> Snapshot {
        let mut found = snapshot(number, time, values);
        super::started_by(number, &mut found.values, || Some(parent));
        found
    }

    #[test]
    fn nobody_looks_for_the_parent_of_another_engine() {
        for number in [vllm::FINISHED, vllm::ASKED, sglang::BATCH] {
            let mut kept = [Some(json!({"id": "a"}))];
            super::started_by(number, &mut kept, || panic!("{number}"));
            assert_eq!(kept, [Some(json!({"id": "a"}))]);
        }
        super::started_by(vllm_v0::FINISHED, &mut [], || panic!("of nothing"));
        let mut kept = [Some(json!({"id": "a"})), None];
        super::started_by(vllm_v0::FINISHED, &mut kept, || None);
        assert_eq!(kept, [Some(json!({"id": "a"})), None]);
        super::started_by(vllm_v0::FINISHED, &mut kept, || Some(5));
        assert_eq!(kept, [Some(json!({"id": "a", "parent": 5})), None]);
    }

    #[test]
    fn an_engine_that_a_server_started_answers_for_it() {
        let params = json!({"<class>": "vllm.sampling_params.SamplingParams", "n": 1});
        let group = [
            json!("chatcmpl-1"),
            json!({"arrival_time": 1.7e9}),
            json!([{"status": 3, "output_text": "said", "data": {
                "_prompt_token_ids_tuple": [1], "_cached_all_token_ids": [1, 2],
            }}]),
        ];
        let mut engines = Engines::default();
        let asked = v0(
            vllm_v0::ASKED,
            &[json!("chatcmpl-1"), params.clone()],
            5,
            100,
        );
        assert!(tell(&mut engines, &asked, 1).0.is_empty());
        let over = v0(vllm_v0::FINISHED, &group, 5, 200);
        assert!(!format!("{over:?}").contains("said"), "{over:?}");
        let mut out = Vec::new();
        let hit = (vllm_v0::FINISHED, &over);
        let served = engines.told(hit, || ExchangeId(2), |pid| pid == 5, &mut out);
        let [(5, request)] = &served[..] else {
            panic!("{served:?}");
        };
        assert!(out.is_empty() && request.output == Some(1), "{request:?}");
        // One that was started by no server.
        let asked = v0(vllm_v0::ASKED, &[json!("chatcmpl-1"), params], 6, 300);
        assert_eq!(tell(&mut engines, &asked, 3).0.len(), 1);
        let over = v0(vllm_v0::FINISHED, &group, 6, 400);
        let (out, served) = tell(&mut engines, &over, 4);
        assert!(out.len() == 2 && served.is_empty(), "{out:?} {served:?}");
        // Nor did the server ask in its own process.
        let mut out = Vec::new();
        let served = engines.told(
            (vllm_v0::FINISHED, &over),
            || ExchangeId(5),
            |_| false,
            &mut out,
        );
        assert!(
            matches!(&served[..], [(7, _)]) && out.is_empty(),
            "{served:?}"
        );
    }

    #[test]
    fn what_is_missing_is_known_to_be() {
        let whole = json!({"input": 1, "output": 0, "finish_reason": "stop", "queued": 5});
        let part = json!({"input": null, "output": 0, "finish_reason": "stop", "queued": 5});
        assert!(!super::is_part(vllm_v0::FINISHED, &[Some(whole.clone())]));
        assert!(super::is_part(
            vllm_v0::FINISHED,
            &[Some(whole.clone()), Some(part)]
        ));
        assert!(super::is_part(vllm::FINISHED, &[Some(whole)]));
        assert!(super::is_part(vllm_v0::FINISHED, &[]));
        let mut untimed = json!({"input": 1, "output": 0, "finish_reason": "stop"});
        assert!(super::is_part(vllm_v0::FINISHED, &[Some(untimed.clone())]));
        untimed["last_token"] = json!(7);
        assert!(!super::is_part(vllm_v0::FINISHED, &[Some(untimed)]));
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
        let parts = sglang::PARTS.map(|name| batch.get(name).cloned().unwrap_or_default());
        let found = snapshot(sglang::BATCH, 1, &parts);
        assert!(!format!("{found:?}").contains("said"));
        let (out, served) = tell(&mut Engines::default(), &found, 1);
        assert!(out.is_empty());
        assert_eq!(served, ["a"]);
    }
}
