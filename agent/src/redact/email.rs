//! E-mail addresses (RFC 5321, section 4.1.2, as people have them: no quotes, no comments).

use super::class::{Class, escape_before, word_begins};
use super::find::{Find, Text};

/// Longest local part (RFC 5321, section 4.5.3.1.1).
const LOCAL: usize = 64;
/// Longest domain (RFC 5321, section 4.5.3.1.2).
const DOMAIN: usize = 255;

/// What stands between name and domain: as it is, and as addresses of the web have it.
pub(super) const AT: [&str; 2] = ["@", "%40"];

/// The address whose `@` is at `at`, `mark` bytes long.
pub(super) fn find(text: &Text<'_>, at: usize, mark: usize) -> Find {
    let bytes = text.bytes();
    let floor = text.floor.max(at.saturating_sub(LOCAL));
    let mut start = at;
    while start > floor && bytes.get(start - 1).is_some_and(|b| Class::LOCAL.has(*b)) {
        start -= 1;
    }
    // The letter of an escape is none of the name.
    for n in start + 1..=at.min(start + 6) {
        if escape_before(bytes, n) > 0 {
            start = n;
        }
    }
    while start < at && matches!(bytes[start], b'.' | b'%' | b'+' | b'-' | b'\'') {
        start += 1;
    }
    let local = &bytes[start..at];
    if local.is_empty() || local.ends_with(b".") || !word_begins(bytes, start, text.floor) {
        return Find::None;
    }
    let Some(end) = domain(bytes, at + mark) else {
        let run = Class::DOTTED.run(bytes, at + mark);
        return if text.cut && run == bytes.len() {
            Find::Here(start..run)
        } else {
            Find::None
        };
    };
    // git@host:path is where a repository is.
    if local == b"git" && bytes.get(end) == Some(&b':') {
        return Find::None;
    }
    Find::Here(start..end)
}

/// Where the domain ends that begins at `start`: labels, the last of letters alone.
fn domain(bytes: &[u8], start: usize) -> Option<usize> {
    let most = bytes.len().min(start + DOMAIN);
    let (mut at, mut end, mut labels) = (start, None, 0);
    loop {
        let label = at;
        while at < most && (Class::ALNUM.has(bytes[at]) || bytes[at] == b'-') {
            at += 1;
        }
        let name = &bytes[label..at];
        if name.is_empty() || name.starts_with(b"-") || name.len() > 63 {
            return end;
        }
        labels += 1;
        let top = name.len() >= 2 && name.iter().all(u8::is_ascii_alphabetic);
        if labels >= 2 && (top || name.starts_with(b"xn--")) {
            end = Some(at);
        }
        if bytes.get(at) != Some(&b'.') || at + 1 >= most {
            return end;
        }
        at += 1;
    }
}
