//! Rules on every file: nothing of one machine in it, and no secrets.

use super::Finding;

/// Directories that are one machine's. Put together here, so that this file does not spell them.
const MACHINE: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];

/// Settings that name where packages come from: that is the user's to say.
const SOURCES: [&str; 5] = [
    concat!("index", "-url"),
    concat!("find", "-links"),
    concat!("replace", "-with ="),
    concat!("files.python", "hosted.org"),
    concat!("static.", "crates.io"),
];

/// Where a lock file may say that packages come from.
const LOCK_SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Letters after `sk-` from which on it looks like a real key.
const KEY_LETTERS: usize = 16;

/// What a key that is plainly none begins with.
const FAKE: [&str; 5] = ["test", "fake", "example", "none", "0123456789"];

pub(super) fn machine(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for dir in MACHINE {
            if begins_path(line, dir) {
                findings.push(Finding::error(
                    index + 1,
                    format!("`{dir}…` is one machine's"),
                ));
            }
        }
        for name in SOURCES.iter().filter(|name| line.contains(**name)) {
            findings.push(Finding::error(
                index + 1,
                format!("`{name}` says where packages come from"),
            ));
        }
        if path.ends_with("Cargo.lock")
            && line.starts_with("source = ")
            && !line.contains(LOCK_SOURCE)
        {
            findings.push(Finding::error(
                index + 1,
                "a package that is not from crates.io",
            ));
        }
    }
    findings
}

/// Whether `dir` stands at the beginning of a path, not inside one such as `/proc/1/root/usr`.
fn begins_path(line: &str, dir: &str) -> bool {
    line.match_indices(dir).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| {
            c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | '>' | ')' | '*' | '$')
        })
    })
}

/// Keys that look real, in texts and recordings alike.
pub(super) fn secrets(bytes: &[u8]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    for (at, window) in bytes.windows(3).enumerate() {
        if window != b"sk-" {
            continue;
        }
        if at
            .checked_sub(1)
            .and_then(|before| bytes.get(before))
            .is_some_and(is_letter)
        {
            continue;
        }
        let rest = bytes.get(at + 3..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| is_letter(byte)).count();
        let is_fake = FAKE.iter().any(|word| rest.starts_with(word.as_bytes()));
        if length >= KEY_LETTERS && !is_fake {
            let line = bytes.iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
            findings.push(Finding::error(
                line,
                "looks like a provider's key; use sk-test-…",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_machine_are_found() {
        let [first, second] = MACHINE;
        assert_eq!(machine("a.md", &format!("see {first}x")).len(), 1);
        assert_eq!(machine("a.rs", &format!("\"{second}x\"")).len(), 1);
        assert_eq!(machine("a.rs", &format!("/proc/1{second}usr")).len(), 0);
        assert_eq!(
            machine("a.rs", &format!("/proc/{{pid}}{second}usr")).len(),
            0
        );
        assert_eq!(machine("a.rs", &format!("target{first}x")).len(), 0);
    }

    #[test]
    fn sources_of_packages_are_found() {
        for name in SOURCES {
            assert_eq!(machine("a.toml", &format!("{name} x")).len(), 1, "{name}");
        }
        let ours = format!("source = \"{LOCK_SOURCE}\"\n");
        assert_eq!(machine("Cargo.lock", &ours).len(), 0);
        assert_eq!(
            machine("x/Cargo.lock", "source = \"registry+https://other\"\n").len(),
            1
        );
    }

    #[test]
    fn keys_are_found() {
        let key = format!("Bearer sk{}", "-abcdefghijklmnop0123");
        assert_eq!(secrets(key.as_bytes()).len(), 1);
        assert_eq!(secrets(b"Bearer sk-test-abcdefghijklmnop0123").len(), 0);
        assert_eq!(secrets(b"the risk-of-something-very-long-here").len(), 0);
        assert_eq!(secrets(b"sk-short").len(), 0);
        let recording = [b"\xff\x00\n".as_slice(), key.as_bytes()].concat();
        assert_eq!(
            secrets(&recording).first().map(|finding| finding.line),
            Some(2)
        );
    }
}
