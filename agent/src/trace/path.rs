//! The Python call paths of requests: kept until their spans are made, and as attributes.

use super::attributes::Set;
use crate::model::exchange::ExchangeId;
use crate::model::stack::{CallPath, Place};
use crate::vocabulary::attr;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Call paths that are kept; of more, the oldest are forgotten.
const MAX_PATHS: usize = 8192;
/// Most bytes of those, roughly; likewise.
const MAX_PATHS_BYTES: usize = 32 << 20;
/// Most characters of a call path; of a longer one the outermost places are left out.
const MAX_CHARS: usize = 16_384;
/// Above the places, as CPython's `logging` has it.
const TITLE: &str = "Stack (most recent call last):\n";
/// In the place of those that are not told.
const LEFT_OUT: &str = "  ...\n";

/// Those of requests under way.
#[derive(Debug, Default)]
pub(super) struct Paths {
    of: BTreeMap<ExchangeId, Box<CallPath>>,
    /// What they take.
    bytes: usize,
    /// Forgotten because there were too many.
    pub(super) evicted: u64,
}

impl Paths {
    pub(super) fn know(&mut self, request: ExchangeId, path: Box<CallPath>) {
        self.bytes += bytes(&path);
        if let Some(before) = self.of.insert(request, path) {
            self.bytes -= bytes(&before);
        }
        while (self.of.len() > MAX_PATHS || self.bytes > MAX_PATHS_BYTES)
            && let Some((_, gone)) = self.of.pop_first()
        {
            self.bytes -= bytes(&gone);
            self.evicted += 1;
        }
    }

    pub(super) fn take(&mut self, request: ExchangeId) -> Option<Box<CallPath>> {
        let path = self.of.remove(&request)?;
        self.bytes -= bytes(&path);
        Some(path)
    }
}

/// What a path takes, roughly.
fn bytes(path: &CallPath) -> usize {
    let of = |place: &Place| size_of::<Place>() + place.function.len() + place.file.len();
    size_of::<CallPath>() + path.places.iter().map(of).sum::<usize>()
}

/// The whole path, and the innermost place that is the program's own.
pub(super) fn attributes(set: &mut Set<'_>, path: &CallPath) {
    if path.places.is_empty() {
        return;
    }
    let most = set.limit.map_or(MAX_CHARS, |limit| limit.min(MAX_CHARS));
    set.add(attr::CODE_STACKTRACE, text(path, most));
    if let Some(own) = path.places.iter().find(|place| is_own(place)) {
        set.add(attr::CODE_FUNCTION_NAME, own.function.clone());
        set.add(attr::CODE_FILE_PATH, own.file.clone());
        set.add(attr::CODE_LINE_NUMBER, i64::from(own.line));
    }
}

/// As `traceback.print_stack` has it, without the source.
fn text(path: &CallPath, most: usize) -> String {
    let mut lines = Vec::with_capacity(path.places.len());
    let mut chars = TITLE.len() + LEFT_OUT.len();
    let mut cut = path.cut;
    for place in &path.places {
        let Place {
            function,
            file,
            line,
        } = place;
        let line = format!("  File \"{file}\", line {line}, in {function}\n");
        chars += line.chars().count();
        if chars > most {
            cut = true;
            break;
        }
        lines.push(line);
    }
    let mut text = TITLE.to_owned();
    if cut {
        text.push_str(LEFT_OUT);
    }
    for line in lines.iter().rev() {
        let _ = write!(text, "{line}");
    }
    text
}

/// Whether a place is in the program's own code: in no installed package, and not in the standard
/// library.
fn is_own(place: &Place) -> bool {
    let file = place.file.as_str();
    let installed = ["/site-packages/", "/dist-packages/", "/lib/python3"];
    !file.starts_with("<frozen ") && !installed.iter().any(|part| file.contains(part))
}

#[cfg(test)]
mod tests {
    use super::{CallPath, MAX_PATHS, MAX_PATHS_BYTES, Paths, Place, attributes, text};
    use crate::model::exchange::ExchangeId;
    use crate::model::span::Value;
    use crate::redact::Redactor;
    use crate::trace::attributes::Set;
    use crate::vocabulary::attr;

    fn path(places: &[(&str, &str, u32)]) -> CallPath {
        let place = |(function, file, line): &(&str, &str, u32)| Place {
            function: (*function).to_owned(),
            file: (*file).to_owned(),
            line: *line,
        };
        CallPath {
            places: places.iter().map(place).collect(),
            cut: false,
        }
    }

    fn told(path: &CallPath, limit: Option<usize>) -> Vec<(String, Value)> {
        let redactor = Redactor::default();
        let mut set = Set::new(limit, &redactor);
        attributes(&mut set, path);
        let all = set.done().into_iter();
        all.map(|(name, value)| (name.into_owned(), value))
            .collect()
    }

    #[test]
    fn the_innermost_place_of_the_program_itself_is_told() {
        let path = path(&[
            (
                "HTTPConnection.send",
                "/usr/lib/python3.11/http/client.py",
                1001,
            ),
            (
                "Client.post",
                "/srv/venv/lib/python3.11/site-packages/httpx/_client.py",
                12,
            ),
            ("Bot.ask", "/srv/app/bot.py", 7),
            ("main", "/srv/app/main.py", 30),
            ("_run_code", "<frozen runpy>", 88),
        ]);
        let all = told(&path, None);
        let get = |name: &str| {
            let found = all.iter().find(|(n, _)| n == name);
            found.map(|(_, value)| value.clone())
        };
        assert_eq!(get(attr::CODE_FUNCTION_NAME), Some("Bot.ask".into()));
        assert_eq!(get(attr::CODE_FILE_PATH), Some("/srv/app/bot.py".into()));
        assert_eq!(get(attr::CODE_LINE_NUMBER), Some(7_i64.into()));
        let Some(Value::Str(stack)) = get(attr::CODE_STACKTRACE) else {
            panic!("{all:?}");
        };
        let lines: Vec<_> = stack.lines().collect();
        assert_eq!(lines.len(), 6, "{stack}");
        assert_eq!(lines[0], "Stack (most recent call last):");
        assert_eq!(lines[1], "  File \"<frozen runpy>\", line 88, in _run_code");
        assert_eq!(lines[3], "  File \"/srv/app/bot.py\", line 7, in Bot.ask");
    }

    #[test]
    fn of_a_long_path_the_outermost_is_left_out() {
        let all: Vec<_> = (0..20).map(|n| ("f", "/srv/a.py", n)).collect();
        let mut path = path(&all);
        let whole = text(&path, 10_000);
        assert_eq!(whole.lines().count(), 21);
        for most in [80, 100, 200, whole.len() + 5] {
            let cut = text(&path, most);
            assert!(cut.chars().count() <= most, "{most}: {cut}");
            let places = cut
                .lines()
                .filter(|line| line.starts_with("  File "))
                .count();
            assert!(
                places > 0 && cut.contains("  ...\n") == (places < 20),
                "{cut}"
            );
            assert!(cut.ends_with("line 0, in f\n"), "{cut}");
        }
        path.cut = true;
        assert!(text(&path, 10_000).contains("  ...\n"));
        // Without any place there is nothing to tell.
        assert_eq!(told(&CallPath::default(), None), []);
        // Of a program without a place of its own only the path.
        let library = super::tests::path(&[("g", "/usr/lib/python3/dist-packages/g.py", 1)]);
        assert_eq!(told(&library, Some(500)).len(), 1);
    }

    #[test]
    fn so_many_are_kept() {
        let mut paths = Paths::default();
        for n in 0..=MAX_PATHS as u64 {
            paths.know(ExchangeId(n), Box::default());
        }
        assert_eq!((paths.evicted, paths.of.len()), (1, MAX_PATHS));
        assert!(paths.take(ExchangeId(0)).is_none() && paths.take(ExchangeId(1)).is_some());
    }

    #[test]
    fn so_many_bytes_are_kept() {
        let mut paths = Paths::default();
        let long = "f".repeat(1 << 20);
        let fit = (MAX_PATHS_BYTES >> 20) as u64 - 1;
        for n in 0..fit + 2 {
            paths.know(ExchangeId(n), Box::new(path(&[(&long, "/srv/a.py", 1)])));
            // What is told again is in the place of what was told.
            paths.know(ExchangeId(n), Box::new(path(&[(&long, "/srv/a.py", 1)])));
            assert_eq!(paths.evicted, (n + 1).saturating_sub(fit));
        }
        for n in 0..fit + 2 {
            assert_eq!(paths.take(ExchangeId(n)).is_some(), n >= 2);
        }
        assert_eq!(paths.bytes, 0);
    }
}
