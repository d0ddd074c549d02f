//! Inference engines: from snapshots of what they keep count of to requests that are over, and runs
//! for those that they are asked for in their own process.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;

use super::sglang_lives::Lives;
use super::{sglang, sglang_scheduler, vllm, vllm_v0};
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
        number if sglang_scheduler::is_one(number) => sglang_scheduler::step(number, values)
            .into_iter()
            .map(serde_json::to_value)
            .collect(),
        _ => Vec::new(),
    };
    all.into_iter().map(Result::ok).collect()
}

/// The attributes of a hook's first argument that are wanted in its place; nothing where all of it is.
#[must_use]
pub const fn parts(number: u32) -> &'static [&'static str] {
    match number {
        vllm_v0::FINISHED => &vllm_v0::PARTS,
        sglang::BATCH => &sglang::PARTS,
        sglang_scheduler::OVER => &sglang_scheduler::PARTS_OVER,
        sglang_scheduler::READ => &sglang_scheduler::PARTS_READ,
        sglang_scheduler::CAME => &sglang_scheduler::PARTS_CAME,
        _ => &[],
    }
}

/// Whether it is to be said of a hook which processes started that of the engine ([`started_by`]).
#[must_use]
pub const fn wants_parents(number: u32) -> bool {
    vllm_v0::is_one(number) || number == sglang_scheduler::OVER
}

/// Whether what a hook is told may be something else than what is wanted: that it could not be read says nothing.
#[must_use]
pub const fn may_be_other(number: u32) -> bool {
    number == sglang_scheduler::OVER
}

/// Has what was kept of a hook say which processes started the one of the engine, the nearest first, where one of them
/// may be who asks.
pub fn started_by(number: u32, kept: &mut [Option<Json>], parents: &[u32]) {
    let Some(parent) = parents.first() else {
        return;
    };
    for value in kept.iter_mut().flatten() {
        if let Json::Object(members) = value {
            if vllm_v0::is_one(number) {
                members.insert("parent".to_owned(), (*parent).into());
            } else if number == sglang_scheduler::OVER {
                members.insert("parents".to_owned(), parents.into());
            }
        }
    }
}

/// Whether something that is wanted of a hook is not among what was kept.
#[must_use]
pub fn is_part(number: u32, kept: &[Option<Json>]) -> bool {
    let has = |value: &Json, name: &str| value.get(name).is_some_and(|value| !value.is_null());
    if sglang_scheduler::is_one(number) {
        // Of a request a part is enough, and of other objects nothing is wanted.
        return false;
    }
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
    lives: Lives,
    refused: u64,
}

impl Engines {
    /// Requests given up because there were too many.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused.saturating_add(self.lives.refused)
    }

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
        if sglang_scheduler::is_one(number) {
            let hit = (found.pid, found.time);
            for value in values.take(1) {
                let Ok(step) = serde_json::from_value::<sglang_scheduler::Step>(value.clone())
                else {
                    continue;
                };
                let parents = step.parents.clone();
                if let Some(request) = self.lives.told(number, hit, step) {
                    // A server that has several engines starts them by another process.
                    let server = parents.iter().copied().find(|pid| serves(*pid));
                    let server = server.or(parents.first().copied());
                    served.push((server.unwrap_or(found.pid), request));
                }
            }
            return served;
        }
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
        self.lives.stop(pid);
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
#[path = "engine_tests.rs"]
mod tests;
