//! Paths that code names: `crate::a::b`, `use std::{fs, time::Instant}`, `super::super::c`.

use super::lexer::line_at;

/// A path, and where it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Line, from 1.
    pub(super) line: usize,
    /// Its segments; the first is `crate`, `super` or a crate's name.
    pub(super) segments: Vec<String>,
    /// How many inline modules it is inside of.
    pub(super) inline_modules: usize,
}

/// All paths in `code` (strings and comments blanked) that begin with one of `roots`.
pub(super) fn named(code: &str, roots: &[&str]) -> Vec<Named> {
    let words = Words::new(code);
    let mut found = Vec::new();
    let mut modules = Modules::default();
    let mut i = 0;
    while let Some(word) = words.get(i) {
        modules.see(&words, i);
        let begins = roots.contains(&word.text)
            && words.text(i + 1) == "::"
            && (i == 0 || words.text(i - 1) != "::");
        if !begins {
            i += 1;
            continue;
        }
        let line = line_at(code, word.position);
        let mut paths = Vec::new();
        let end = expand(&words, i, &mut Vec::new(), &mut paths);
        found.extend(paths.into_iter().map(|segments| Named {
            line,
            segments,
            inline_modules: modules.depth(),
        }));
        i = end.max(i + 1);
    }
    found
}

/// Reads a path or group at `at`, adds every path in it, and returns where it ends.
fn expand(
    words: &Words<'_>,
    mut at: usize,
    prefix: &mut Vec<String>,
    out: &mut Vec<Vec<String>>,
) -> usize {
    let depth = prefix.len();
    loop {
        if words.text(at) == "{" {
            at += 1;
            while !matches!(words.text(at), "}" | "") {
                at = expand(words, at, prefix, out).max(at + 1);
                if words.text(at) == "," {
                    at += 1;
                }
            }
            prefix.truncate(depth);
            return at + 1;
        }
        prefix.push(words.text(at).to_owned());
        at += 1;
        if words.text(at) != "::" || words.text(at + 1) == "<" {
            break;
        }
        at += 1;
    }
    out.push(prefix.clone());
    prefix.truncate(depth);
    if words.text(at) == "as" {
        at += 2;
    }
    at
}

/// Follows braces to know how many inline modules we are in.
#[derive(Default)]
struct Modules {
    braces: Vec<bool>,
    opening: bool,
}

impl Modules {
    fn see(&mut self, words: &Words<'_>, at: usize) {
        match words.text(at) {
            "mod" if words.text(at + 2) == "{" => self.opening = true,
            "{" => {
                self.braces.push(self.opening);
                self.opening = false;
            }
            "}" => {
                self.braces.pop();
            }
            _ => {}
        }
    }

    fn depth(&self) -> usize {
        self.braces.iter().filter(|is_module| **is_module).count()
    }
}

struct Word<'a> {
    text: &'a str,
    position: usize,
}

/// Code as words: identifiers, `::`, and single other characters.
struct Words<'a>(Vec<Word<'a>>);

impl<'a> Words<'a> {
    fn new(code: &'a str) -> Self {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut words = Vec::new();
        let mut chars = code.char_indices().peekable();
        while let Some((position, c)) = chars.next() {
            if c.is_whitespace() {
                continue;
            }
            let mut end = position + c.len_utf8();
            if is_word(c) {
                while let Some((_, next)) = chars.next_if(|(_, next)| is_word(*next)) {
                    end += next.len_utf8();
                }
            } else if c == ':' && chars.next_if(|(_, next)| *next == ':').is_some() {
                end += 1;
            }
            words.push(Word {
                text: code.get(position..end).unwrap_or_default(),
                position,
            });
        }
        Self(words)
    }

    fn get(&self, at: usize) -> Option<&Word<'a>> {
        self.0.get(at)
    }

    fn text(&self, at: usize) -> &'a str {
        self.0.get(at).map_or("", |word| word.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(code: &str, root: &str) -> Vec<String> {
        named(code, &[root])
            .iter()
            .map(|n| n.segments.join("::"))
            .collect()
    }

    #[test]
    fn groups_are_expanded() {
        let code = "use crate::{a::{b, c as d}, e::*, f};\nfn g() { crate::h::i::<u8>(1) }";
        let expected = [
            "crate::a::b",
            "crate::a::c",
            "crate::e::*",
            "crate::f",
            "crate::h::i",
        ];
        assert_eq!(list(code, "crate"), expected);
        assert_eq!(
            list("use std::{fs, time::Instant};", "std"),
            ["std::fs", "std::time::Instant"]
        );
        assert_eq!(list("a::std::fs", "std"), Vec::<String>::new());
    }

    #[test]
    fn lines_and_modules_are_told() {
        let code = "mod a {\n  fn f() {}\n  use super::b;\n}\nuse super::c;";
        let found = named(code, &["super"]);
        let places: Vec<_> = found.iter().map(|n| (n.line, n.inline_modules)).collect();
        assert_eq!(places, [(3, 1), (5, 0)]);
    }

    #[test]
    fn broken_code_ends() {
        for code in [
            "use crate::{",
            "crate::",
            "use crate::{a::{b",
            "crate::{{{,,}",
        ] {
            named(code, &["crate"]);
        }
    }
}
