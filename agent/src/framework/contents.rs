//! What runs under way were given and gave, whatever their framework, and how a value is told of them.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value as Json;

use crate::model::call::{CallResponse, Message, Part, Usage};
use crate::model::exchange::ExchangeId;
use crate::model::framework::RunContents;
use crate::model::snapshot::{CLASS, without_classes};
use crate::model::weight;
use genspan_common::snapshot::counts;

/// Most bytes that the contents of runs under way take, roughly; of more, those of the oldest go: a stream that nobody
/// reads to its end stays under way for as long as its process.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// The contents of the runs of one framework.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) open: HashMap<ExchangeId, (Box<RunContents>, usize)>,
    pub(super) bytes: usize,
    /// Those of `open` that take any bytes. They are numbered as they come: the first is the oldest.
    heavy: BTreeSet<ExchangeId>,
    /// Contents that were not kept, or not to the end, because there were too many.
    pub(super) refused: u64,
}

impl Kept {
    /// The contents of a run to which these values come; none when they are too many by themselves. What the oldest
    /// runs have makes room for them.
    pub(super) fn with(
        &mut self,
        run: ExchangeId,
        values: &[Option<Json>],
    ) -> Option<&mut RunContents> {
        self.with_more(run, values.iter().flatten().map(weight::value).sum())
    }

    /// The same when they grow by so many bytes.
    pub(super) fn with_more(&mut self, run: ExchangeId, bytes: usize) -> Option<&mut RunContents> {
        let own = self.open.get(&run).map_or(0, |(_, weight)| *weight);
        if own.saturating_add(bytes) > MAX_BYTES {
            self.refused += 1;
            return None;
        }
        while self.bytes + bytes > MAX_BYTES {
            let Some(oldest) = self.heavy.iter().copied().find(|other| *other != run) else {
                break;
            };
            self.leave_out(oldest);
            self.refused += 1;
        }
        self.bytes += bytes;
        if bytes > 0 {
            self.heavy.insert(run);
        }
        let (contents, weight) = self.open.entry(run).or_default();
        *weight += bytes;
        Some(contents)
    }

    /// Whether there is something of a run that is to be told.
    pub(super) fn is_told(&self, run: ExchangeId) -> bool {
        let kept = self.open.get(&run);
        kept.is_some_and(|(contents, _)| !contents.left_out)
    }

    /// What is known of a run now is not to be told.
    pub(super) fn leave_out(&mut self, run: ExchangeId) {
        if let Some((contents, weight)) = self.open.get_mut(&run) {
            contents.leave_out();
            self.bytes -= std::mem::take(weight);
            self.heavy.remove(&run);
        }
    }

    /// The contents of a run that is over. One that failed gave nothing.
    pub(super) fn take(&mut self, run: ExchangeId, failed: bool) -> Option<Box<RunContents>> {
        let (mut contents, bytes) = self.open.remove(&run)?;
        self.bytes -= bytes;
        self.heavy.remove(&run);
        contents.bytes = bytes;
        if failed {
            contents.got = None;
            contents.response = CallResponse::default();
        }
        Some(contents)
    }
}

/// What a model says of its answer besides the answer, as the kernel copies it where content is not wanted
/// (`genspan_common::snapshot::counts`); where its run begins, which model is asked.
pub(super) fn besides(contents: &mut RunContents, is_begin: bool, values: &[Option<Json>]) {
    let value = |at: u32| values.get(at as usize).and_then(Option::as_ref);
    let text = |at: u32| value(at).and_then(Json::as_str).map(str::to_owned);
    let model = text(counts::MODEL);
    if is_begin {
        contents.request.model = model;
        return;
    }
    let response = &mut contents.response;
    response.model = model;
    response.finish_reasons = text(counts::REASON).into_iter().collect();
    let mut all = [counts::USAGE, counts::TOKEN_USAGE].into_iter();
    let usage = all.find_map(|at| value(at).filter(|usage| usage.is_object()));
    response.usage = usage.map(counted).unwrap_or_default();
}

/// Tokens, as `usage_metadata` of a message or as `token_usage` of a result has them.
pub(super) fn counted(usage: &Json) -> Usage {
    let number = |value: &Json| value.as_i64().filter(|n| *n >= 0);
    let count = |names: [&str; 2]| {
        let mut all = names.into_iter().filter_map(|name| usage.get(name));
        all.find_map(number)
    };
    let detail = |of: &str, name: &str| number(usage.get(of)?.get(name)?);
    Usage {
        input: count(["input_tokens", "prompt_tokens"]),
        output: count(["output_tokens", "completion_tokens"]),
        cache_read: detail("input_token_details", "cache_read"),
        cache_write: detail("input_token_details", "cache_creation"),
        reasoning: detail("output_token_details", "reasoning"),
        ..Usage::default()
    }
}

/// A value without the classes of instances.
pub(super) fn plain(value: &Json) -> Json {
    let mut value = value.clone();
    without_classes(&mut value);
    value
}

/// The class of an instance.
pub(super) fn class(value: &Json) -> Option<&str> {
    value.get(CLASS)?.as_str()
}

/// A message of one text.
pub(super) fn said(role: &str, text: &str) -> Message {
    Message {
        role: role.to_owned(),
        parts: vec![Part::Text(text.into())],
        ..Message::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Kept, MAX_BYTES};
    use crate::model::exchange::ExchangeId;
    use crate::model::weight;
    use serde_json::json;

    #[test]
    fn what_is_kept_counts_until_it_is_told_or_left_out() {
        let mut kept = Kept::default();
        let value = Some(json!({"question": "x".repeat(100)}));
        let bytes = value.as_ref().map_or(0, weight::value);
        assert!(bytes > 100);
        for run in [1, 1, 2, 3].map(ExchangeId) {
            let contents = kept.with(run, &[value.clone(), None]).expect("room");
            contents.given.clone_from(&value);
            contents.got.clone_from(&value);
        }
        assert_eq!(kept.bytes, 4 * bytes);
        kept.leave_out(ExchangeId(2));
        kept.leave_out(ExchangeId(9));
        let told = [1, 2, 9].map(|run| kept.is_told(ExchangeId(run)));
        assert_eq!(told, [true, false, false]);
        assert_eq!(kept.bytes, 3 * bytes);
        let taken = kept.take(ExchangeId(1), false).expect("contents");
        assert_eq!((taken.bytes, &taken.got), (2 * bytes, &value));
        let failed = kept.take(ExchangeId(3), true).expect("contents");
        assert_eq!((&failed.given, &failed.got), (&value, &None));
        // Nothing is told of it but that there was something.
        let silent = kept.take(ExchangeId(2), false).expect("contents");
        assert!(silent.left_out && silent.given.is_none() && silent.got.is_none());
        assert_eq!((kept.bytes, kept.open.len()), (0, 0));
    }

    #[test]
    fn what_is_left_out_makes_room() {
        let mut kept = Kept::default();
        let large = [Some(json!("x".repeat(MAX_BYTES / 2)))];
        assert!(kept.with(ExchangeId(1), &large).is_some());
        kept.leave_out(ExchangeId(1));
        assert!(kept.with(ExchangeId(2), &large).is_some());
        assert_eq!(kept.refused, 0);
    }

    #[test]
    fn the_oldest_makes_room() {
        let of = |bytes: usize| [Some(json!("x".repeat(bytes)))];
        let third = of(MAX_BYTES / 3 - 1000);
        let mut kept = Kept::default();
        // Each run that something comes to, how much, whether there is room, what was left out by then, and of
        // which runs there is something.
        for (run, value, fits, refused, full) in [
            (5, &third, true, 0, &[5][..]),
            (3, &third, true, 0, &[3, 5]),
            (9, &third, true, 0, &[3, 5, 9]),
            // Whatever was heard of last, the one with the lowest number began first.
            (7, &third, true, 1, &[5, 7, 9]),
            // Not the run itself.
            (5, &third, true, 2, &[5, 9]),
            (5, &of(MAX_BYTES / 2), false, 3, &[5, 9]),
            (4, &of(MAX_BYTES - 1000), true, 5, &[4]),
            (6, &of(MAX_BYTES + 1), false, 6, &[4]),
            (8, &of(10), true, 6, &[4, 8]),
        ] {
            let contents = kept.with(ExchangeId(run), value);
            assert_eq!(contents.is_some(), fits, "{run}");
            if let Some(contents) = contents {
                contents.given = Some(json!("given"));
            }
            let open = kept.open.iter();
            let of = open.filter(|(_, (contents, _))| contents.given.is_some());
            let mut of: Vec<_> = of.map(|(run, _)| run.0).collect();
            of.sort_unstable();
            assert_eq!((kept.refused, &*of), (refused, full), "{run}");
            let sum: usize = kept.open.values().map(|(_, weight)| weight).sum();
            assert!(sum == kept.bytes && sum <= MAX_BYTES, "{run}");
            assert_eq!(kept.heavy.len(), full.len(), "{run}");
        }
        // What was left out is said to have been there.
        let left = kept.take(ExchangeId(5), false).expect("contents");
        assert!(left.left_out && left.given.is_none());
        for run in [3, 4, 7, 8, 9].map(ExchangeId) {
            assert!(kept.take(run, false).is_some());
        }
        assert_eq!((kept.bytes, kept.heavy.len(), kept.open.len()), (0, 0, 0));
    }
}
