//! Text from outside, made fit for a terminal: harmless, and of known width.

use std::borrow::Cow;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// What a character may do to a terminal decides what is shown for it.
fn harmless(c: char) -> Option<char> {
    match c {
        // Each C0 control has a picture, so that what was there can still be told.
        '\0'..='\u{1f}' => char::from_u32(0x2400 + c as u32),
        '\u{7f}' => Some('\u{2421}'),
        // C1 controls are escape sequences in one character; the bidirectional controls and
        // line separators rearrange what stands around them.
        '\u{80}'..='\u{9f}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}' => Some(char::REPLACEMENT_CHARACTER),
        _ => None,
    }
}

/// One line's text without control characters: line ends and tabs become spaces.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| harmless(c).is_some()) {
        return Cow::Borrowed(text);
    }
    let shown = |c| match c {
        '\n' | '\t' | '\r' => ' ',
        c => harmless(c).unwrap_or(c),
    };
    Cow::Owned(text.replace("\r\n", "\n").chars().map(shown).collect())
}

/// The text, if need be cut to so many columns, the last of them an ellipsis.
pub(super) fn fit(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let mut end = 0;
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used >= columns {
            break;
        }
        end = at + c.len_utf8();
    }
    let kept = text.get(..end).unwrap_or_default();
    Cow::Owned(if columns == 0 {
        String::new()
    } else {
        format!("{kept}…")
    })
}

/// Cut or filled up with spaces at its right to exactly so many columns.
pub(super) fn left(text: &str, columns: usize) -> String {
    let text = fit(text, columns);
    let fill = columns.saturating_sub(width(&text));
    format!("{text}{:fill$}", "")
}

/// Cut or filled up with spaces at its left to exactly so many columns.
pub(super) fn right(text: &str, columns: usize) -> String {
    let text = fit(text, columns);
    let fill = columns.saturating_sub(width(&text));
    format!("{:fill$}{text}", "")
}

/// The text in lines of at most so many columns, broken at spaces where there are any; cleaned.
/// Stops after `max` lines; the second value tells whether something was left out.
pub(super) fn wrap(text: &str, columns: usize, max: usize) -> (Vec<String>, bool) {
    let columns = columns.max(8);
    let mut lines = Vec::new();
    for paragraph in text.trim_end().lines() {
        let paragraph = clean(&paragraph.replace('\t', "    ")).into_owned();
        let mut rest = paragraph.as_str();
        loop {
            if lines.len() == max {
                return (lines, true);
            }
            let (line, after) = break_at(rest, columns);
            lines.push(line.to_owned());
            if after.is_empty() {
                break;
            }
            rest = after;
        }
    }
    (lines, false)
}

/// The part that goes onto a line, and what comes after it.
fn break_at(text: &str, columns: usize) -> (&str, &str) {
    let mut used = 0;
    let mut space = None;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if c == ' ' && at > 0 {
            space = Some(at);
        }
        if used > columns {
            // A line of spaces alone, or a word longer than the line, is cut where it must be.
            let at = space
                .filter(|&s| !text[..s].trim().is_empty())
                .unwrap_or(at);
            let (line, rest) = text.split_at(at);
            return (line.trim_end(), rest.trim_start_matches(' '));
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_steer_the_terminal() {
        assert_eq!(clean("plain ä 漢 🙂"), "plain ä 漢 🙂");
        assert_eq!(
            clean("\u{1b}[31mred\u{1b}]0;title\u{7}"),
            "␛[31mred␛]0;title␇"
        );
        assert_eq!(clean("a\r\nb\tc\rd\0\u{7f}"), "a b c d␀␡");
        assert_eq!(clean("\u{9b}31m \u{202e}evil\u{2028}"), "�31m �evil�");
        let every: String = (0..0x3000).filter_map(char::from_u32).collect();
        assert!(!clean(&every).chars().any(char::is_control));
        let (lines, _) = wrap(&every, 40, 1000);
        assert!(!lines.concat().chars().any(char::is_control));
    }

    #[test]
    fn columns_hold_with_wide_characters() {
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abcd", 3), "ab…");
        assert_eq!(fit("漢字漢字", 5), "漢字…");
        assert_eq!(fit("漢字漢字", 4), "漢…");
        assert_eq!(fit("abc", 0), "");
        for columns in 0..12 {
            for text in ["", "abc", "漢字漢字", "a漢b字", "e\u{301}e\u{301}e\u{301}"] {
                assert_eq!(width(&left(text, columns)), columns, "{text} {columns}");
                assert_eq!(width(&right(text, columns)), columns, "{text} {columns}");
            }
        }
    }

    #[test]
    fn wrapping() {
        let wrapped = |text, columns, max| {
            let (lines, cut) = wrap(text, columns, max);
            (lines.join("|"), cut)
        };
        assert_eq!(
            wrapped("one two three four", 9, 9),
            ("one two|three|four".to_owned(), false)
        );
        assert_eq!(
            wrapped("a\n\n  indented code", 12, 9),
            ("a||  indented|code".to_owned(), false)
        );
        assert_eq!(
            wrapped("漢字漢字漢字", 8, 9),
            ("漢字漢字|漢字".to_owned(), false)
        );
        assert_eq!(
            wrapped("0123456789abcdef", 8, 1),
            ("01234567".to_owned(), true)
        );
        assert_eq!(wrapped("", 8, 1), (String::new(), false));
    }
}
