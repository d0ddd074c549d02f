//! Enough of Rust's lexical structure to tell code from strings, comments and tests.

/// A source file, seen in three ways of the same length and lines.
pub(super) struct Source {
    /// Path in the repository.
    pub(super) path: String,
    /// As it is.
    pub(super) text: String,
    /// Strings and comments blanked.
    pub(super) code: String,
    /// Comments blanked, strings kept.
    pub(super) uncommented: String,
    /// For each line whether it is inside `#[cfg(test)]`, or the whole file is.
    test_lines: Vec<bool>,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let (code, uncommented) = blank(text);
        let test_lines = if is_test_file(path) {
            vec![true; text.lines().count() + 1]
        } else {
            test_lines(&code)
        };
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            uncommented,
            test_lines,
        }
    }

    /// Whether this line (from 1) is test code.
    pub(super) fn is_test(&self, line: usize) -> bool {
        line > 0 && self.test_lines.get(line - 1).copied().unwrap_or(false)
    }

    /// Lines that are not test code.
    pub(super) fn product_lines(&self) -> usize {
        self.test_lines
            .iter()
            .take(self.text.lines().count())
            .filter(|test| !**test)
            .count()
    }

    /// Where `needle` is in `view`, as lines from 1.
    pub(super) fn lines_with<'a>(
        view: &'a str,
        needle: &'a str,
    ) -> impl Iterator<Item = usize> + 'a {
        view.lines()
            .enumerate()
            .filter(move |(_, line)| line.contains(needle))
            .map(|(index, _)| index + 1)
    }
}

/// The line (from 1) of a byte position.
pub(super) fn line_at(text: &str, position: usize) -> usize {
    text.bytes()
        .take(position)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

fn is_test_file(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    file == "tests.rs"
        || file.ends_with("_tests.rs")
        || path
            .split('/')
            .any(|part| matches!(part, "tests" | "benches" | "examples"))
}

/// What the scanner is inside of.
enum State {
    Code,
    LineComment,
    BlockComment(u32),
    Text { hashes: Option<usize> },
}

/// The text with strings and comments blanked, and with comments alone blanked.
fn blank(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut code = String::with_capacity(text.len());
    let mut uncommented = String::with_capacity(text.len());
    let mut state = State::Code;
    let mut i = 0;
    while i < chars.len() {
        let mut taken = 1;
        let (in_code, in_text) = match state {
            State::Code => match (at(i), at(i + 1)) {
                ('/', '/') => {
                    state = State::LineComment;
                    (false, false)
                }
                ('/', '*') => {
                    state = State::BlockComment(1);
                    taken = 2;
                    (false, false)
                }
                ('"', _) => {
                    state = State::Text {
                        hashes: raw_hashes(&chars, i),
                    };
                    (true, true)
                }
                ('\'', next) => {
                    taken = char_literal(&chars, i, next);
                    (taken == 1, true)
                }
                _ => (true, true),
            },
            State::LineComment => {
                if at(i) == '\n' {
                    state = State::Code;
                }
                (false, false)
            }
            State::BlockComment(depth) => {
                match (at(i), at(i + 1)) {
                    ('*', '/') => {
                        taken = 2;
                        state = if depth == 1 {
                            State::Code
                        } else {
                            State::BlockComment(depth - 1)
                        };
                    }
                    ('/', '*') => {
                        taken = 2;
                        state = State::BlockComment(depth + 1);
                    }
                    _ => {}
                }
                (false, false)
            }
            State::Text { hashes: None } => {
                match at(i) {
                    '\\' => taken = 2,
                    '"' => state = State::Code,
                    _ => {}
                }
                (matches!(state, State::Code), true)
            }
            State::Text {
                hashes: Some(count),
            } => {
                let ends = at(i) == '"' && (1..=count).all(|n| at(i + n) == '#');
                if ends {
                    taken = 1 + count;
                    state = State::Code;
                }
                (ends, true)
            }
        };
        for c in chars.iter().skip(i).take(taken) {
            push(&mut code, *c, in_code);
            push(&mut uncommented, *c, in_text);
        }
        i += taken;
    }
    (code, uncommented)
}

/// Keeps the character, or puts spaces of its length: positions stay the same in all views.
fn push(out: &mut String, c: char, keep: bool) {
    if keep || c == '\n' {
        out.push(c);
    } else {
        out.extend(std::iter::repeat_n(' ', c.len_utf8()));
    }
}

/// For a quote at `at`: `Some(number of hashes)` when it opens a raw string.
fn raw_hashes(chars: &[char], at: usize) -> Option<usize> {
    let before = || chars.iter().take(at).rev();
    let hashes = before().take_while(|c| **c == '#').count();
    let mut rest = before().skip(hashes);
    if rest.next() != Some(&'r') {
        return None;
    }
    let prefix = match rest.next() {
        Some('b' | 'c') => rest.next(),
        other => other,
    };
    let in_word = prefix.is_some_and(|c| c.is_alphanumeric() || *c == '_');
    (!in_word).then_some(hashes)
}

/// The length of a character literal that begins here; 1 for a lifetime's quote.
fn char_literal(chars: &[char], at: usize, next: char) -> usize {
    if next == '\\' {
        let rest = chars.iter().skip(at + 3).position(|c| *c == '\'');
        return rest.map_or(1, |length| length + 4);
    }
    if chars.get(at + 2) == Some(&'\'') {
        3
    } else {
        1
    }
}

/// For each line whether it is in an item under `#[cfg(test)]`.
fn test_lines(code: &str) -> Vec<bool> {
    let mut lines = vec![false; code.lines().count() + 1];
    let mut from = 0;
    while let Some(found) = code.get(from..).and_then(|rest| rest.find("#[cfg(test)]")) {
        let start = from + found;
        let end = item_end(code, start);
        let (first, last) = (line_at(code, start), line_at(code, end));
        for line in lines.iter_mut().take(last).skip(first - 1) {
            *line = true;
        }
        from = end.max(start + 1);
    }
    lines
}

/// Where the item that begins here ends: at its closing brace, or at a semicolon before any.
fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b';' if depth == 0 => return offset,
            b'{' => depth += 1,
            b'}' if depth <= 1 => return offset,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_are_told_from_code() {
        let text = r####"a("x // y"); // b "c"
/* d /* e */ f */ g('"', '\'', r#"h "i" "#, b"j"); let k: &'l str = r"m"; n"####;
        let (code, uncommented) = blank(text);
        assert_eq!(code.len(), text.len());
        for gone in ["x // y", "b ", "d ", "e ", " f ", "h ", "i\"", "m"] {
            assert!(!code.contains(gone), "{gone}: {code}");
        }
        for kept in ["a(", "g(", "&'l str", "; n"] {
            assert!(code.contains(kept), "{kept}: {code}");
        }
        assert!(uncommented.contains("x // y") && uncommented.contains("h \"i\""));
        assert!(!uncommented.contains("b \"c\"") && !uncommented.contains(" f "));
    }

    #[test]
    fn positions_are_kept() {
        let text = "// ä\nx \"ö\" y";
        let (code, uncommented) = blank(text);
        assert_eq!(code.find('y'), text.find('y'));
        assert_eq!(uncommented.find('y'), text.find('y'));
    }

    #[test]
    fn test_modules_are_marked() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() { {} }\n}\nfn c() {}\n";
        let source = Source::new("agent/src/a.rs", text);
        let marked: Vec<usize> = (1..=6).filter(|line| source.is_test(*line)).collect();
        assert_eq!(marked, [2, 3, 4, 5]);
        assert_eq!(source.product_lines(), 2);
        assert_eq!(Source::new("agent/tests/a.rs", text).product_lines(), 0);
        let outside = Source::new("agent/src/b.rs", "#[cfg(test)]\nmod tests;\nfn a() {}\n");
        assert!(outside.is_test(2) && !outside.is_test(3));
    }
}
