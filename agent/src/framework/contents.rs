//! What runs under way were given and gave, whatever their framework, and how a value is told of them.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::model::call::{CallResponse, Message, Part};
use crate::model::exchange::ExchangeId;
use crate::model::framework::RunContents;
use crate::model::snapshot::{CLASS, without_classes};
use crate::model::weight;

/// Most bytes that the contents of runs under way take, roughly; of more, those of the next are not kept.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// The contents of the runs of one framework.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) open: HashMap<ExchangeId, (Box<RunContents>, usize)>,
    pub(super) bytes: usize,
    /// Contents that were not kept, because there were too many.
    pub(super) refused: u64,
}

impl Kept {
    /// The contents of a run to which these values come; none when there are too many.
    pub(super) fn with(
        &mut self,
        run: ExchangeId,
        values: &[Option<Json>],
    ) -> Option<&mut RunContents> {
        let bytes: usize = values.iter().flatten().map(weight::value).sum();
        if self.bytes + bytes > MAX_BYTES {
            self.refused += 1;
            return None;
        }
        self.bytes += bytes;
        let (contents, weight) = self.open.entry(run).or_default();
        *weight += bytes;
        Some(contents)
    }

    /// What is known of a run now is not to be told.
    pub(super) fn leave_out(&mut self, run: ExchangeId) {
        if let Some((contents, weight)) = self.open.get_mut(&run) {
            contents.leave_out();
            self.bytes -= std::mem::take(weight);
        }
    }

    /// The contents of a run that is over. One that failed gave nothing.
    pub(super) fn take(&mut self, run: ExchangeId, failed: bool) -> Option<Box<RunContents>> {
        let (mut contents, bytes) = self.open.remove(&run)?;
        self.bytes -= bytes;
        contents.bytes = bytes;
        if failed {
            contents.got = None;
            contents.response = CallResponse::default();
        }
        Some(contents)
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
        assert!(kept.with(ExchangeId(2), &large).is_none());
        assert_eq!(kept.refused, 1);
        kept.leave_out(ExchangeId(1));
        assert!(kept.with(ExchangeId(2), &large).is_some());
        assert_eq!(kept.refused, 1);
    }
}
