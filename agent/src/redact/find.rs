//! What looking for a rule at a place gives.

use core::ops::Range;

/// A text that is looked through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    /// It may go on where it ends here: a beginning is then enough.
    pub(super) cut: bool,
    /// Where the last find ended.
    pub(super) floor: usize,
}

impl<'a> Text<'a> {
    pub(super) const fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Find {
    /// Nothing.
    None,
    /// Nothing, nor of this rule before this place.
    Not {
        /// The place.
        until: usize,
    },
    /// This is to be replaced.
    Here(Range<usize>),
}
