//! What engines say of the requests that a server served, until the span of it is made; and as
//! attributes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::attributes::Set;
use crate::model::call::{ModelCall, Operation};
use crate::model::engine::{EngineAsked, EngineRequest, EngineWork};
use crate::model::time::BootTime;
use crate::vocabulary::attr;

/// Requests of engines that wait for the span of what they were made for; of more, the one that waited
/// longest is forgotten.
pub(super) const MAX_WAITING: usize = 8192;

/// How long they wait, in nanoseconds: one of several answers to the same may be long over before the
/// last is.
pub(super) const PATIENCE: u64 = 600_000_000_000;

/// How long after a request was over the same hit may be told again, in nanoseconds.
const AGAIN: u64 = 100_000_000;

/// How long after a part of an engine its server tells of the same request at most, in nanoseconds.
const LATER: u64 = 60_000_000_000;

/// Between the id of an answer and the number of a request that was made for it: a prompt of several
/// in vLLM's completions, a turn of one of its responses.
const SEPARATORS: [char; 2] = ['-', '_'];

/// Requests of engines that are over.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// By process, id and a number that makes them different.
    all: BTreeMap<(u32, String, u64), (BootTime, EngineRequest)>,
    /// Keys in the order in which they came; of those that were taken as well.
    order: VecDeque<(BootTime, (u32, String, u64))>,
    next: u64,
    /// Those that no served request named.
    pub(super) unclaimed: u64,
}

impl Served {
    /// A request of an engine is over.
    pub(super) fn know(&mut self, pid: u32, time: BootTime, request: EngineRequest) {
        let same = (pid, request.id.clone(), 0)..=(pid, request.id.clone(), u64::MAX);
        let mut same = self.all.range(same);
        let known = same.find(|(_, (_, known))| known.own == request.own);
        if let Some((key, (then, known))) = known {
            // A part of the engine tells first.
            let is_both = known.is_inner && !request.is_inner && time.since(*then) < LATER;
            if is_both || time.since(*then) < AGAIN {
                let key = key.clone();
                if let Some((_, known)) = self.all.get_mut(&key)
                    && known.is_inner != request.is_inner
                {
                    let known = std::mem::take(known);
                    let whole = if request.is_inner {
                        known.with(request)
                    } else {
                        request.with(known)
                    };
                    self.all.insert(key, (time, whole));
                }
                return;
            }
            // Who asks chose an id that he had before: of that nobody came to ask.
            let key = key.clone();
            self.all.remove(&key);
            self.unclaimed += 1;
        }
        self.next = self.next.wrapping_add(1);
        let key = (pid, request.id.clone(), self.next);
        self.order.push_back((time, key.clone()));
        self.all.insert(key, (time, request));
        while self.order.len() > MAX_WAITING {
            self.forget_first();
        }
    }

    /// Nothing happened until now.
    pub(super) fn tick(&mut self, now: BootTime) {
        while self
            .order
            .front()
            .is_some_and(|(time, _)| now.since(*time) > PATIENCE)
        {
            self.forget_first();
        }
    }

    /// A process is gone.
    pub(super) fn process_exit(&mut self, pid: u32) {
        let before = self.all.len();
        self.all.retain(|(of, ..), _| *of != pid);
        self.order.retain(|(_, (of, ..))| *of != pid);
        self.unclaimed += (before - self.all.len()) as u64;
    }

    /// What the engine did for a call that was served: the requests that have the id of its answer,
    /// or that with a number behind it.
    pub(super) fn take(&mut self, call: &ModelCall) -> Option<EngineWork> {
        let id = call.response.id.as_deref().filter(|id| !id.is_empty())?;
        let pid = call.connection.pid;
        if self.all.is_empty() {
            return None;
        }
        let first = (pid, id.to_owned(), 0);
        let related = self.all.range(first..);
        let related = related.take_while(|((of, name, _), _)| *of == pid && name.starts_with(id));
        let (mut same, mut numbered) = (Vec::new(), Vec::new());
        for (key, (time, _)) in related {
            // A client may choose ids, and the same again.
            if *time < call.start {
                continue;
            }
            match key.1.strip_prefix(id) {
                Some("") => same.push(key.clone()),
                Some(rest) if is_number(rest) => numbered.push(key.clone()),
                _ => {}
            }
        }
        let is_numbered = same.is_empty();
        let keys = if is_numbered { numbered } else { same };
        let found = keys.iter().filter_map(|key| self.all.remove(key));
        let found: Vec<_> = found.map(|(_, request)| request).collect();
        if self.all.is_empty() {
            self.order.clear();
        }
        if found.is_empty() {
            return None;
        }
        let mut work = EngineWork::of(&found);
        let choices = call.response.finish_reasons.len();
        // Of answers to the same that do not say how many they are.
        let is_short = found.len() < choices && found.iter().all(|one| one.choices.is_none());
        if is_short || is_numbered && !are_all(&found, id, choices) {
            work.is_part();
        }
        Some(work)
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.order.pop_front()
            && self.all.remove(&key).is_some()
        {
            self.unclaimed += 1;
        }
    }
}

/// Whether it is a separator and a number.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(SEPARATORS).unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether of the requests for an answer none is missing, as far as is known: their numbers begin with
/// zero and leave none out, and of several prompts there are no fewer requests than the answer has
/// `choices` of which it says why they ended.
fn are_all(found: &[EngineRequest], id: &str, choices: usize) -> bool {
    let mut numbers = BTreeSet::new();
    let mut are_prompts = true;
    for request in found {
        let rest = request.id.strip_prefix(id).unwrap_or_default();
        are_prompts &= rest.starts_with('-');
        let Ok(number) = rest.trim_start_matches(SEPARATORS).parse::<usize>() else {
            return false;
        };
        numbers.insert(number);
    }
    let is_whole = numbers.iter().copied().eq(0..numbers.len());
    is_whole && (!are_prompts || choices <= found.len())
}

/// Has a call say what the engine says and the answer does not.
pub(super) fn fill(call: &mut ModelCall, work: &EngineWork) {
    let usage = &mut call.response.usage;
    usage.input = usage.input.or(work.input);
    if matches!(call.operation, Operation::Embeddings | Operation::Rerank) {
        // Nothing is made, for no reason.
        return;
    }
    usage.output = usage.output.or(work.output);
    usage.cache_read = usage.cache_read.or(work.cached);
    usage.reasoning = usage.reasoning.or(work.reasoning);
    if call.response.finish_reasons.is_empty() {
        call.response
            .finish_reasons
            .clone_from(&work.finish_reasons);
    }
}

/// What an engine did, beside that.
pub(super) fn attributes(set: &mut Set<'_>, work: &EngineWork) {
    set.may(attr::ENGINE_QUEUE_TIME, work.queue);
    set.may(attr::ENGINE_PREFILL_TIME, work.prefill);
    set.may(attr::ENGINE_DECODE_TIME, work.decode);
    set.may(attr::ENGINE_TIME_TO_FIRST_TOKEN, work.time_to_first_token);
    set.may(
        attr::ENGINE_TIME_PER_OUTPUT_TOKEN,
        work.time_per_output_token,
    );
    if work.requests > 1 {
        set.add(attr::ENGINE_REQUESTS, i64::from(work.requests));
    }
    set.count(attr::ENGINE_PREEMPTIONS, Some(work.preemptions));
}

/// All that is known of a request that an engine was asked for in its own process.
pub(super) fn of_run(set: &mut Set<'_>, asked: &EngineAsked, work: &EngineWork) {
    set.add(attr::PROVIDER_NAME, "vllm");
    set.add(attr::REQUEST_ID, asked.id.clone());
    set.may(attr::REQUEST_MAX_TOKENS, asked.max_tokens);
    set.may(attr::REQUEST_TEMPERATURE, asked.temperature);
    set.may(attr::REQUEST_TOP_P, asked.top_p);
    let choices = asked.choices.filter(|n| *n != 1).map(i64::from);
    set.may(attr::REQUEST_CHOICE_COUNT, choices);
    if !work.finish_reasons.is_empty() {
        set.add(attr::RESPONSE_FINISH_REASONS, work.finish_reasons.clone());
    }
    set.may(attr::USAGE_INPUT_TOKENS, work.input);
    set.may(attr::USAGE_OUTPUT_TOKENS, work.output);
    set.count(attr::USAGE_CACHE_READ, work.cached);
    attributes(set, work);
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
