//! What inference engines (vLLM, SGLang) say of requests of theirs, as they keep count themselves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A request of an engine that is over. What the engine did not say is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EngineRequest {
    /// The id by which who asked knows it. Several have the same when several answers were asked for.
    pub id: String,
    /// The engine's own id of it, which no other has. A hit may be told more than once: CPython reads
    /// the first bytecode of a function again when it makes it a special one.
    pub own: String,
    /// It was asked for in the engine's own process, by no server.
    pub in_process: bool,
    /// It was told by a part of the engine that the server asks, and the server's own side may tell of it as well.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_inner: bool,
    /// The parent of the engine's process, where the engine may be one that its parent asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<u32>,
    /// It is one of several answers to the same, of so many if that is known.
    pub choices: Option<u32>,
    /// Tokens read, cached ones included.
    pub input: Option<i64>,
    /// Of these, so many were in the engine's cache.
    pub cached: Option<i64>,
    /// Tokens made.
    pub output: Option<i64>,
    /// Of these, so many for reasoning.
    pub reasoning: Option<i64>,
    /// Why it ended, in the engine's words.
    pub finish_reason: Option<String>,
    /// How often it had to give way to others, and began anew.
    pub preemptions: Option<i64>,
    /// When it came to the engine, in nanoseconds of a clock that is the same for all of its requests.
    pub queued: Option<u64>,
    /// When it was first worked at.
    pub scheduled: Option<u64>,
    /// When the first token was made.
    pub first_token: Option<u64>,
    /// When the last one was.
    pub last_token: Option<u64>,
    /// Nanoseconds from when the server's side of the engine knew of it to when it had the first token.
    pub time_to_first_token: Option<u64>,
}

impl EngineRequest {
    /// The same request, with what a part of the engine says of it that the server's side does not. Each time that
    /// something took is of one of the two, as they are of different clocks: of the server's side, which has them as the
    /// engine took them down, if it knows when the first token was made.
    #[must_use]
    pub fn with(self, inner: Self) -> Self {
        let mut times = if self.first_token.is_some() || inner.queued.is_none() {
            self.clone()
        } else {
            inner.clone()
        };
        if times.last_token.is_none() {
            // As long after the first as the other one saw it.
            let took = inner.last_token.zip(inner.first_token);
            let took = took.and_then(|(last, first)| last.checked_sub(first));
            let first = times.first_token.zip(took);
            times.last_token = first.and_then(|(first, took)| first.checked_add(took));
        }
        let output = self.output.or(inner.output);
        if output == Some(1) {
            // It may be longer until that is seen.
            times.last_token = times.last_token.and(times.first_token);
        }
        Self {
            choices: self.choices.or(inner.choices),
            input: self.input.or(inner.input),
            cached: self.cached.or(inner.cached),
            output,
            reasoning: self.reasoning.or(inner.reasoning),
            finish_reason: self.finish_reason.or(inner.finish_reason),
            preemptions: self.preemptions.or(inner.preemptions),
            queued: times.queued,
            scheduled: times.scheduled,
            first_token: times.first_token,
            last_token: times.last_token,
            time_to_first_token: self.time_to_first_token.or(inner.time_to_first_token),
            ..self
        }
    }
}

/// A request that an engine is asked for in its own process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EngineAsked {
    /// As [`EngineRequest::id`].
    pub id: String,
    /// How many answers it wants.
    pub choices: Option<u32>,
    /// What was asked for.
    pub max_tokens: Option<i64>,
    /// Likewise.
    pub temperature: Option<f64>,
    /// Likewise.
    pub top_p: Option<f64>,
    /// As [`EngineRequest::parent`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<u32>,
}

/// All that an engine did for one call: one request, or several of the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineWork {
    /// How many requests it took.
    pub requests: u32,
    /// Why they ended, in their order.
    pub finish_reasons: Vec<String>,
    /// Tokens read, once for each different request; none when one did not say.
    pub input: Option<i64>,
    /// As [`EngineRequest::cached`], likewise.
    pub cached: Option<i64>,
    /// Tokens made by all; none when one did not say, or is missing.
    pub output: Option<i64>,
    /// As [`EngineRequest::reasoning`], likewise.
    pub reasoning: Option<i64>,
    /// Of all.
    pub preemptions: i64,
    /// Seconds until the first of them was worked at.
    pub queue: Option<f64>,
    /// From then to the first token of any.
    pub prefill: Option<f64>,
    /// From then to the last token of any.
    pub decode: Option<f64>,
    /// The shortest of theirs.
    pub time_to_first_token: Option<f64>,
    /// Seconds for each token after the first, of a single request.
    pub time_per_output_token: Option<f64>,
}

impl EngineWork {
    /// That of these requests.
    #[must_use]
    pub fn of(all: &[EngineRequest]) -> Self {
        let earliest = |of: fn(&EngineRequest) -> Option<u64>| {
            let known: Option<Vec<u64>> = all.iter().map(of).collect();
            known?.into_iter().min()
        };
        let latest = |of: fn(&EngineRequest) -> Option<u64>| {
            let known: Option<Vec<u64>> = all.iter().map(of).collect();
            known?.into_iter().max()
        };
        let queued = earliest(|r| r.queued);
        let scheduled = earliest(|r| r.scheduled);
        let first = earliest(|r| r.first_token);
        let last = latest(|r| r.last_token);
        let prompts = by_id(all);
        let whole = prompts.iter().all(|(one, same)| {
            // As far as is known how many there should be.
            one.choices.is_none_or(|n| usize::try_from(n) == Ok(*same))
        });
        let once = || prompts.iter().map(|(one, _)| *one);
        let output = sum(all.iter().map(|r| r.output)).filter(|_| whole);
        let decode = between(first, last);
        let single = decode.filter(|_| all.len() == 1);
        let time_per_output_token = single.zip(output).and_then(|(seconds, tokens)| {
            let after = tokens.checked_sub(1).filter(|n| *n > 0)?;
            Some(seconds / after as f64)
        });
        Self {
            requests: u32::try_from(all.len()).unwrap_or(u32::MAX),
            finish_reasons: all.iter().filter_map(|r| r.finish_reason.clone()).collect(),
            input: sum(once().map(|r| r.input)),
            cached: sum(once().map(|r| r.cached)),
            output,
            reasoning: sum(all.iter().map(|r| r.reasoning)).filter(|_| whole),
            preemptions: all
                .iter()
                .filter_map(|r| r.preemptions)
                .fold(0, i64::saturating_add),
            queue: between(queued, scheduled),
            prefill: between(scheduled, first),
            decode,
            time_to_first_token: earliest(|r| r.time_to_first_token).map(seconds),
            time_per_output_token,
        }
    }

    /// Not all of its requests are there: what all of them took is not known.
    pub fn is_part(&mut self) {
        (self.input, self.cached, self.output, self.reasoning) = (None, None, None, None);
        self.finish_reasons.clear();
        // Nor when the last of them was over.
        (self.decode, self.time_per_output_token) = (None, None);
    }
}

/// The first of each id, and how many have it.
fn by_id(all: &[EngineRequest]) -> Vec<(&EngineRequest, usize)> {
    let mut found: BTreeMap<&str, (&EngineRequest, usize)> = BTreeMap::new();
    for one in all {
        found.entry(&one.id).or_insert((one, 0)).1 += 1;
    }
    found.into_values().collect()
}

/// None when one is not known.
fn sum(counts: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    let mut all = None;
    for count in counts {
        all = Some(all.unwrap_or(0_i64).saturating_add(count?));
    }
    all
}

fn between(from: Option<u64>, to: Option<u64>) -> Option<f64> {
    to?.checked_sub(from?).map(seconds)
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::{EngineRequest, EngineWork};

    const SECOND: u64 = 1_000_000_000;

    fn request(id: &str, from: u64, output: i64) -> EngineRequest {
        let from = from * SECOND;
        EngineRequest {
            id: id.to_owned(),
            choices: Some(1),
            input: Some(10),
            cached: Some(4),
            output: Some(output),
            finish_reason: Some("stop".to_owned()),
            queued: Some(from),
            scheduled: Some(from + SECOND / 2),
            first_token: Some(from + 3 * SECOND / 2),
            last_token: Some(from + 7 * SECOND / 2),
            time_to_first_token: Some(7 * SECOND / 4),
            ..EngineRequest::default()
        }
    }

    #[test]
    fn one_request_is_told_as_it_is() {
        let work = EngineWork::of(&[request("a", 100, 5)]);
        assert_eq!(
            (work.requests, work.output, work.input),
            (1, Some(5), Some(10))
        );
        assert_eq!((work.cached, work.queue), (Some(4), Some(0.5)));
        assert_eq!((work.prefill, work.decode), (Some(1.0), Some(2.0)));
        assert_eq!(work.time_to_first_token, Some(1.75));
        assert_eq!(work.time_per_output_token, Some(0.5));
        assert_eq!(work.finish_reasons, ["stop"]);
        // Of one token nothing comes after the first.
        let work = EngineWork::of(&[request("a", 100, 1)]);
        assert_eq!(work.time_per_output_token, None);
    }

    #[test]
    fn answers_to_the_same_read_it_once() {
        let mut two = [request("a", 100, 5), request("a", 101, 7)];
        for one in &mut two {
            one.choices = Some(2);
        }
        let work = EngineWork::of(&two);
        assert_eq!(
            (work.requests, work.output, work.input),
            (2, Some(12), Some(10))
        );
        assert_eq!(
            (work.queue, work.prefill, work.decode),
            (Some(0.5), Some(1.0), Some(3.0))
        );
        assert_eq!(work.time_per_output_token, None);
        // One of them was not seen: how many tokens there were in all is not known.
        assert_eq!(EngineWork::of(&two[..1]).output, None);
        let work = EngineWork::of(&[request("a-0", 100, 5), request("a-1", 100, 7)]);
        assert_eq!(
            (work.output, work.input, work.cached),
            (Some(12), Some(20), Some(8))
        );
    }

    #[test]
    fn counts_have_an_end() {
        let mut all = [request("a", 100, i64::MAX), request("b", 100, 1)];
        for one in &mut all {
            one.preemptions = Some(i64::MAX);
        }
        let work = EngineWork::of(&all);
        assert_eq!((work.preemptions, work.output), (i64::MAX, Some(i64::MAX)));
    }

    #[test]
    fn many_requests_take_no_longer_than_they_are_many() {
        let all: Vec<_> = (0..100_000)
            .map(|n| request(&format!("a-{n}"), 100, 1))
            .collect();
        let work = EngineWork::of(&all);
        assert_eq!((work.output, work.input), (Some(100_000), Some(1_000_000)));
    }

    #[test]
    fn both_sides_of_an_engine() {
        let times = |one: &EngineRequest| {
            let all = [one.queued, one.scheduled, one.first_token, one.last_token];
            all.map(|time| time.map(|time| time / (SECOND / 2)))
        };
        let inner = EngineRequest {
            is_inner: true,
            output: None,
            cached: Some(7),
            ..request("a", 100, 5)
        };
        let outer = EngineRequest {
            last_token: None,
            ..request("a", 50, 5)
        };
        let both = outer.clone().with(inner.clone());
        assert_eq!(times(&both), [100, 101, 103, 107].map(Some));
        assert_eq!((both.output, both.cached), (Some(5), Some(4)));
        assert!(!both.is_inner);
        // Which part does not know when the first token was made.
        let less = EngineRequest {
            first_token: None,
            ..inner.clone()
        };
        let both = outer.clone().with(less.clone());
        assert_eq!(times(&both), [Some(100), Some(101), Some(103), None]);
        let bare = EngineRequest {
            id: "a".to_owned(),
            output: Some(1),
            ..EngineRequest::default()
        };
        let both = bare.clone().with(less);
        assert_eq!(times(&both), [Some(200), Some(201), None, None]);
        // Of a single token the first is the last.
        let only = EngineRequest {
            last_token: inner.first_token,
            ..inner
        };
        assert_eq!(times(&bare.with(only)), [200, 201, 203, 203].map(Some));
    }

    #[test]
    fn what_one_does_not_say_is_not_known() {
        let mut other = request("b", 100, 1);
        (other.queued, other.input) = (None, None);
        let work = EngineWork::of(&[request("a", 100, 5), other]);
        assert_eq!((work.queue, work.input, work.output), (None, None, Some(6)));
        // Clocks that contradict each other.
        let mut wrong = request("a", 100, 5);
        wrong.scheduled = Some(99 * SECOND);
        assert_eq!(EngineWork::of(&[wrong]).queue, None);
        assert_eq!(EngineWork::of(&[]), EngineWork::default());
    }
}
