//! A text of which each event has all so far, or what is new: which of both, nothing says but the
//! texts themselves.

use crate::provider::text::{Growing, Room};

/// After so many texts of which each begins with the one before, it is settled that each has all,
/// or, if none of them had more than the first, that they are pieces that are alike.
const SETTLED: usize = 8;

/// Whether texts come whole or in pieces.
#[derive(Debug, PartialEq, Eq)]
enum Manner {
    /// Both would explain what came: the lengths of the texts, of which each begins with the one
    /// before. Pieces may do so by chance ("ha", "ha").
    Open(Vec<usize>),
    /// Each has the text so far.
    Whole,
    /// Each has what is new.
    Pieces,
}

/// The text.
#[derive(Debug)]
pub(super) struct Said {
    text: Growing,
    manner: Manner,
}

impl Default for Said {
    fn default() -> Self {
        Self {
            text: Growing::default(),
            manner: Manner::Open(Vec::new()),
        }
    }
}

impl Said {
    /// Takes the text of an event; false when it is neither more of the same nor a piece.
    pub(super) fn take(&mut self, said: &str, room: &mut Room) -> bool {
        let Manner::Open(lengths) = &mut self.manner else {
            return self.settled(said, room);
        };
        let so_far = self.text.as_str();
        let grew = lengths.first() != lengths.last();
        if self.text.is_empty() || (said.starts_with(so_far) && !self.text.is_cut()) {
            if !said.is_empty() {
                lengths.push(said.len());
            }
            let settled = lengths.len() == SETTLED;
            let grew = lengths.first() != lengths.last();
            self.text.replace(said, room);
            if settled && grew {
                self.manner = Manner::Whole;
            } else if settled {
                self.in_pieces(room);
            }
            return true;
        }
        if self.text.is_cut() || (grew && so_far.starts_with(said)) {
            // Too long to be compared, or its end was taken back.
            let whole = grew || said.starts_with(so_far);
            self.manner = if whole { Manner::Whole } else { Manner::Pieces };
            return self.settled(said, room);
        }
        self.in_pieces(room);
        self.text.push(said, room);
        true
    }

    /// What was taken for texts that grow were pieces: together they are the text so far.
    fn in_pieces(&mut self, room: &mut Room) {
        if let Manner::Open(lengths) = std::mem::replace(&mut self.manner, Manner::Pieces) {
            let last = self.text.as_str();
            let pieces = lengths.iter().filter_map(|end| last.get(..*end));
            let pieces: String = pieces.collect();
            self.text.replace(&pieces, room);
        }
    }

    fn settled(&mut self, said: &str, room: &mut Room) -> bool {
        if self.manner == Manner::Pieces {
            self.text.push(said, room);
            return true;
        }
        if said.is_empty() {
            return true;
        }
        let so_far = self.text.as_str();
        // What a stop sequence took may have been told before.
        let fits = said.starts_with(so_far) || so_far.starts_with(said);
        self.text.replace(said, room);
        fits
    }

    /// The text as far as it came.
    pub(super) fn into_text(self) -> Growing {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that comes of these, and whether each of them fits.
    fn said(list: &[&str], room: usize) -> (String, bool) {
        let (mut said, mut room) = (Said::default(), Room(room));
        let fit = list.iter().filter(|text| said.take(text, &mut room));
        let all = fit.count() == list.len();
        let text = said.into_text().into_text();
        (format!("{}+{}", text.kept, text.dropped), all)
    }

    #[test]
    fn whole_or_in_pieces() {
        const GROWING: [&str; 9] = [
            "a", "ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abcdefgh", "x",
        ];
        const LAUGHING: [&str; 10] = ["ha", "ha", "ha", "ha", "ha", "ha", "ha", "ha", "ha", "!"];
        for (list, room, want, fits) in [
            (
                &["Red", "Red fox", "Red fox runs"][..],
                99,
                "Red fox runs+0",
                true,
            ),
            (
                &["Red", " fox", "", " runs", ""],
                99,
                "Red fox runs+0",
                true,
            ),
            // A token without text of its own.
            (&["Red", "Red", "Red fox"], 99, "Red fox+0", true),
            // By chance the pieces begin with each other.
            (&["ha", "ha", "!"], 99, "haha!+0", true),
            (&["ha", "ha", ""], 99, "haha+0", true),
            (&["1", "10", "é"], 99, "110é+0", true),
            // So many of them that it would be settled by their number.
            (&["ha"; 9], 99, "hahahahahahahahaha+0", true),
            (&LAUGHING, 99, "hahahahahahahahaha!+0", true),
            (&["ha"; 9], 5, "hahah+13", true),
            // The end was taken back.
            (&["Red", "Red fox\n\nEND", "Red fox"], 99, "Red fox+0", true),
            (&["Red", "Red fox", ""], 99, "Red fox+0", true),
            (&["", "Red"], 99, "Red+0", true),
            (&GROWING, 99, "x+0", false),
            (&[], 99, "+0", true),
            // No room for it.
            (&["Red", "Red fox", "Red fox runs"], 5, "Red f+7", true),
            (&["Red fox", " runs", "!"], 5, "Red f+8", true),
            (&["Red fox", "Red fox runs"], 5, "Red f+7", true),
        ] {
            assert_eq!(said(list, room), (want.to_owned(), fits), "{list:?}");
        }
    }
}
