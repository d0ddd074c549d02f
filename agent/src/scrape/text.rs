//! Prometheus's text format (<https://prometheus.io/docs/instrumenting/exposition_formats/>), as far as it takes to
//! find some samples on a page. Pure: whatever a page has, reading it ends, costs a line's memory at most, and
//! says what made no sense.

use std::borrow::Cow;

/// Most bytes of a line that is read.
const MAX_LINE: usize = 16 << 10;
/// Most labels of a sample.
const MAX_LABELS: usize = 32;

/// A sample: a name, labels, and a number. Its time, if it has one, is not of use.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// Name.
    pub name: &'a str,
    /// Labels in the order of the page; no name stands twice.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
    /// The number; what is not finite is one as well.
    pub value: f64,
}

impl Sample<'_> {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| &**value)
    }
}

/// Reads the samples of a page whose names are `wanted`, and hands on each. Says how many lines with a name that is
/// wanted make no sense, or are longer than any should be.
pub fn read<'a>(
    page: &'a str,
    wanted: impl Fn(&str) -> bool,
    mut each: impl FnMut(Sample<'a>),
) -> u64 {
    let mut senseless = 0;
    for line in page.split('\n') {
        let line = line.trim_start_matches([' ', '\t']);
        let end = line.find(|c: char| !is_of_name(c)).unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        // Comments and empty lines have no name.
        if name.is_empty() || !wanted(name) {
            continue;
        }
        match sample(name, rest).filter(|_| line.len() <= MAX_LINE) {
            Some(sample) => each(sample),
            None => senseless += 1,
        }
    }
    senseless
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':')
}

const SPACES: [char; 3] = [' ', '\t', '\r'];

/// What follows a name.
fn sample<'a>(name: &'a str, rest: &'a str) -> Option<Sample<'a>> {
    let rest = rest.trim_start_matches(SPACES);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let mut words = rest.split(SPACES).filter(|word| !word.is_empty());
    let value = words.next()?.parse().ok()?;
    Some(Sample {
        name,
        labels,
        value,
    })
}

/// A name and a value.
type Label<'a> = (&'a str, Cow<'a, str>);

/// Labels up to the brace that closes them, and what follows.
fn labels(mut rest: &str) -> Option<(Vec<Label<'_>>, &str)> {
    let mut all: Vec<Label<'_>> = Vec::new();
    loop {
        rest = rest.trim_start_matches(SPACES);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((all, rest));
        }
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_end_matches(SPACES);
        let known = all.iter().any(|(key, _)| *key == name);
        if name.is_empty() || known || all.len() == MAX_LABELS || !name.chars().all(is_of_name) {
            return None;
        }
        let after = after.trim_start_matches(SPACES).strip_prefix('"')?;
        let (value, after) = quoted(after)?;
        all.push((name, value));
        let after = after.trim_start_matches(SPACES);
        rest = match after.strip_prefix(',') {
            Some(after) => after,
            None if after.starts_with('}') => after,
            None => return None,
        };
    }
}

/// A text up to the quote that ends it, and what follows.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut owned: Option<String> = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let value = match owned {
                    Some(value) => Cow::Owned(value),
                    None => Cow::Borrowed(text.get(..at)?),
                };
                return Some((value, text.get(at + 1..)?));
            }
            '\\' => {
                let value = owned.get_or_insert_with(|| text[..at].to_owned());
                match chars.next()?.1 {
                    'n' => value.push('\n'),
                    c @ ('"' | '\\') => value.push(c),
                    // Nobody escapes anything else; then it is what it is.
                    c => value.extend(['\\', c]),
                }
            }
            c => {
                if let Some(value) = &mut owned {
                    value.push(c);
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{MAX_LABELS, MAX_LINE, Sample, read};

    fn all(page: &str) -> (Vec<Sample<'_>>, u64) {
        let mut found = Vec::new();
        let senseless = read(page, |name| name.starts_with("a:"), |s| found.push(s));
        (found, senseless)
    }

    #[test]
    fn samples_are_read() {
        let page = "# HELP a:x things\n# TYPE a:x gauge\n\
                    a:x 1\n a:y{} 2.5 1700000000\n\
                    a:z{model_name=\"m\",engine=\"0\"} +Inf\r\n\
                    a:q { k = \"v\" , } 3e2\n\
                    b:x{broken 1\n\n\
                    a:e{k=\"a\\\"b\\\\c\\nd\\te\"} NaN";
        let (found, senseless) = all(page);
        assert_eq!(senseless, 0);
        let names: Vec<_> = found.iter().map(|s| (s.name, s.value)).collect();
        assert_eq!(
            names[..4],
            [
                ("a:x", 1.0),
                ("a:y", 2.5),
                ("a:z", f64::INFINITY),
                ("a:q", 300.0)
            ]
        );
        assert!(found[4].value.is_nan());
        assert_eq!(found[2].label("model_name"), Some("m"));
        assert_eq!(
            (found[2].label("engine"), found[2].label("no")),
            (Some("0"), None)
        );
        assert_eq!(found[3].label("k"), Some("v"));
        assert_eq!(found[4].label("k"), Some("a\"b\\c\nd\\te"));
    }

    #[test]
    fn what_makes_no_sense_is_counted() {
        for line in [
            "a:x",
            "a:x ",
            "a:x one",
            "a:x{",
            "a:x{k}",
            "a:x{k=} 1",
            "a:x{k=\"v} 1",
            "a:x{k=\"v\"",
            "a:x{k=\"v\"} ",
            "a:x{=\"v\"} 1",
            "a:x{k=\"v\"l=\"w\"} 1",
            "a:x{k=\"v\",k=\"w\"} 1",
            "a:x{k=\"v\\",
            "a:x{k-l=\"v\"} 1",
            "a:x{,} 1",
        ] {
            assert_eq!(all(line), (Vec::new(), 1), "{line}");
        }
        let labels = |n: usize| (0..n).map(|n| format!("k{n}=\"\",")).collect::<String>();
        assert_eq!(all(&format!("a:x{{{}}} 1", labels(MAX_LABELS))).1, 0);
        assert_eq!(all(&format!("a:x{{{}}} 1", labels(MAX_LABELS + 1))).1, 1);
        assert_eq!(
            all(&format!("a:x{{k=\"{}\"}} 1", "v".repeat(MAX_LINE))).1,
            1
        );
    }

    #[test]
    fn no_piece_of_a_page_breaks_it() {
        let page = "a:e{k=\"é\\\"\",l=\"m\"} 1.5e3 7\n#\na:x 1\n";
        for from in (0..page.len()).filter(|n| page.is_char_boundary(*n)) {
            for to in (from..=page.len()).filter(|n| page.is_char_boundary(*n)) {
                read(&page[from..to], |_| true, |_| ());
            }
        }
    }
}
