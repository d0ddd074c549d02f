//! Texts of a call within their bound.

use crate::model::call::Text;

/// How many bytes of text a call may still keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room(pub(super) usize);

impl Room {
    /// Keeps what there is room for of `text` and counts the rest.
    pub(super) fn keep(&mut self, mut text: String) -> Text {
        let cut = floor_boundary(&text, self.0);
        let dropped = if cut < text.len() {
            let dropped = text[cut..].chars().count() as u64;
            text.truncate(cut);
            text.shrink_to_fit();
            dropped
        } else {
            0
        };
        self.0 -= text.len();
        Text {
            kept: text,
            dropped,
        }
    }
}

/// A text that comes in pieces.
#[derive(Clone, Debug, Default)]
pub(super) struct Growing {
    text: Text,
    /// A piece came, if only an empty one.
    pub(super) seen: bool,
}

impl Growing {
    /// Appends a piece.
    pub(super) fn push(&mut self, piece: &str, room: &mut Room) {
        self.seen = true;
        if self.text.dropped == 0 && piece.len() <= room.0 {
            self.text.kept.push_str(piece);
            room.0 -= piece.len();
            return;
        }
        let cut = match self.text.dropped {
            0 => floor_boundary(piece, room.0),
            _ => 0,
        };
        self.text.kept.push_str(&piece[..cut]);
        self.text.dropped += piece[cut..].chars().count() as u64;
        room.0 -= cut;
    }

    /// Takes a piece that holds all of the text so far.
    pub(super) fn replace(&mut self, whole: &str, room: &mut Room) {
        if self.text.dropped == 0
            && let Some(more) = whole.strip_prefix(self.text.kept.as_str())
        {
            self.push(more, room);
            return;
        }
        room.0 = room.0.saturating_add(self.text.kept.len());
        self.text = Text::default();
        self.push(whole, room);
    }

    /// Nothing but empty pieces came.
    pub(super) fn is_empty(&self) -> bool {
        self.text.kept.is_empty() && self.text.dropped == 0
    }

    /// Not all of it was kept.
    pub(super) fn is_cut(&self) -> bool {
        self.text.dropped > 0
    }

    /// What was kept.
    pub(super) fn as_str(&self) -> &str {
        &self.text.kept
    }

    /// The text.
    pub(super) fn into_text(self) -> Text {
        self.text
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    (0..=at)
        .rev()
        .find(|n| text.is_char_boundary(*n))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut room = Room(4);
        let text = room.keep("aé€".to_owned());
        assert_eq!((text.kept.as_str(), text.dropped, room.0), ("aé", 1, 1));
        let mut growing = Growing::default();
        for piece in ["", "b", "é", "c"] {
            growing.push(piece, &mut room);
        }
        let text = growing.into_text();
        assert_eq!(
            (text.kept.as_str(), text.dropped, text.chars()),
            ("b", 2, 3)
        );
    }
}
