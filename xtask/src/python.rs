//! Python interpreters on this machine.

use crate::cmd::{self, Cmd};
use std::path::{Path, PathBuf};

/// `(3, 12)`
pub(crate) type Minor = (u32, u32);

/// The oldest Python that genspan and the `openai` package know.
pub(crate) const OLDEST: Minor = (3, 8);

/// The newest Python that is looked for.
const NEWEST: Minor = (3, 16);

/// An interpreter and what matters of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interpreter {
    /// Its path, links and shims resolved.
    pub(crate) path: PathBuf,
    /// Its version.
    pub(crate) minor: Minor,
    /// It can make environments with pip in them.
    pub(crate) has_venv: bool,
    /// Its `_ssl` is a file of its own and not built into the executable, so that it most likely
    /// uses a shared OpenSSL whose functions have names.
    pub(crate) shared_ssl: bool,
}

/// What is asked of an interpreter; it prints one line.
const PROBE: &str = "import sys, importlib.util as u
try:
    import _ssl
    ssl = 'shared' if getattr(_ssl, '__file__', None) else 'static'
except ImportError:
    ssl = 'none'
venv = bool(u.find_spec('venv') and u.find_spec('ensurepip'))
print(sys.version_info[0], sys.version_info[1], venv, ssl, sys.executable, sep='|')";

/// Looks at one interpreter; `None` when it does not run, is too old, or has no TLS.
pub(crate) fn probe(path: &Path) -> Option<Interpreter> {
    if !path.is_file() {
        return None;
    }
    let line = Cmd::new(path).args(["-I", "-c", PROBE]).read()?;
    parse(&line)
}

/// The interpreter for this version: pyenv's, then one on PATH, then the system's.
pub(crate) fn find(minor: Minor) -> Option<Interpreter> {
    let name = format!("python{}.{}", minor.0, minor.1);
    pyenv(minor)
        .into_iter()
        .chain(cmd::find(&name))
        .chain([system_path()])
        .filter_map(|path| probe(&path))
        .find(|python| python.minor == minor)
}

/// The system's own interpreter.
pub(crate) fn system() -> Option<Interpreter> {
    probe(&system_path())
}

/// The best interpreter for the demo: it can make environments, genspan can see its TLS, and if
/// may be, the newest `openai` runs on it.
pub(crate) fn for_demo() -> Option<Interpreter> {
    let versions = (OLDEST.1..=NEWEST.1).rev().map(|minor| (OLDEST.0, minor));
    let mut found: Vec<Interpreter> = cmd::find("python3")
        .into_iter()
        .chain([system_path()])
        .filter_map(|path| probe(&path))
        .collect();
    if !found.iter().any(is_ideal) {
        found.extend(versions.filter_map(find));
    }
    best(&found).cloned()
}

fn is_ideal(python: &Interpreter) -> bool {
    python.has_venv && python.shared_ssl && python.minor >= (3, 10)
}

fn best(found: &[Interpreter]) -> Option<&Interpreter> {
    // Of equals the first is taken.
    found
        .iter()
        .rev()
        .max_by_key(|python| (python.has_venv, python.shared_ssl, python.minor >= (3, 10)))
}

fn system_path() -> PathBuf {
    PathBuf::from("/usr/bin/python3")
}

/// pyenv's interpreters of this version, the newest patch first.
fn pyenv(minor: Minor) -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv"));
    let prefix = format!("{}.{}.", minor.0, minor.1);
    let mut found: Vec<(u32, PathBuf)> = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .into_iter()
        .chain(home)
        .filter_map(|root| std::fs::read_dir(root.join("versions")).ok())
        .flat_map(Iterator::flatten)
        .filter_map(|entry| {
            let name = entry.file_name();
            let patch = name.to_str()?.strip_prefix(&prefix)?.parse().ok()?;
            Some((patch, entry.path().join("bin/python")))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.dedup();
    found.into_iter().map(|(_, path)| path).collect()
}

fn parse(line: &str) -> Option<Interpreter> {
    let mut fields = line.splitn(5, '|');
    let minor = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let has_venv = fields.next()? == "True";
    let ssl = fields.next()?;
    if minor < OLDEST || ssl == "none" {
        return None;
    }
    Some(Interpreter {
        path: PathBuf::from(fields.next()?),
        minor,
        has_venv,
        shared_ssl: ssl == "shared",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreters_answer_is_read() {
        let python = parse("3|12|True|shared|/opt/py|thon").unwrap();
        assert_eq!(python.minor, (3, 12));
        assert!(python.has_venv && python.shared_ssl);
        assert_eq!(python.path, Path::new("/opt/py|thon"));
        assert_eq!(parse("3|7|True|shared|/x"), None);
        assert_eq!(parse("3|12|True|none|/x"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn the_demo_takes_the_first_of_the_best() {
        let python = |path: &str, minor, has_venv, shared_ssl| Interpreter {
            path: path.into(),
            minor,
            has_venv,
            shared_ssl,
        };
        let found = [
            python("static", (3, 13), true, false),
            python("old", (3, 8), true, true),
            python("a", (3, 11), true, true),
            python("b", (3, 12), true, true),
            python("bare", (3, 12), false, true),
        ];
        assert_eq!(best(&found).unwrap().path, Path::new("a"));
        assert_eq!(best(&found[..2]).unwrap().path, Path::new("old"));
        assert_eq!(best(&[]), None);
    }
}
