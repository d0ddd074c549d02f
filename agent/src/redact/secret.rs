//! Secrets that are told by what stands around them: JSON Web Tokens, PEM, `Bearer`, names that
//! say so, passwords in URLs.

use super::builtin::BuiltIn;
use super::class::{Class, word_begins};
use super::find::{Find, Text};
use core::ops::Range;

/// How the header of a JSON Web Token begins: `{"` in base 64.
pub(super) const JWT: &str = "eyJ";

/// A JSON Web Token (RFC 7519, section 3.1) at `at`: the payload is a JSON object as well, or
/// there are the five parts of an encrypted one (RFC 7516, section 3.1).
pub(super) fn jwt(text: &Text<'_>, at: usize) -> Find {
    let bytes = text.bytes();
    if !word_begins(bytes, at, text.floor) {
        return Find::None;
    }
    let mut ends = [Class::URL.run(bytes, at); 5];
    let mut parts = 1;
    while parts < 5 && bytes.get(ends[parts - 1]) == Some(&b'.') {
        ends[parts] = Class::URL.run(bytes, ends[parts - 1] + 1);
        parts += 1;
    }
    let first = ends[0];
    let last = ends[parts - 1];
    if text.cut && last == bytes.len() && last > at + JWT.len() {
        return Find::Here(at..last);
    }
    let empty = |n: usize| ends[n] == ends[n - 1] + 1;
    let payload = bytes[first..ends[1].max(first)]
        .get(1..)
        .is_some_and(|p| p.starts_with(JWT.as_bytes()));
    let long = first - at >= 11;
    match parts {
        // The signature of an unsigned one is empty; its point is one of the text, perhaps.
        3.. if long && payload => Find::Here(at..if empty(2) { ends[1] } else { ends[2] }),
        5 if long && !empty(2) && !empty(3) && !empty(4) => Find::Here(at..last),
        _ => Find::Not { until: first },
    }
}

/// How a private key in PEM begins (RFC 7468, section 2), and those of OpenPGP and SSH.
pub(super) const PEM: &str = "-----BEGIN ";

/// A private key: to its end, or as far as its characters go when that is not there. It does not go
/// over a quotation mark: what is behind one is another text of the JSON that this one holds.
/// `no_end` is where an end was looked for in vain.
pub(super) fn private_key(text: &Text<'_>, at: usize, no_end: &mut Range<usize>) -> Find {
    const LABEL: usize = 48;
    const END: &[u8] = b"-----END ";
    let bytes = text.bytes();
    let find = |from: usize, to: usize, what: &[u8]| {
        let found = bytes
            .get(from..to)
            .and_then(|b| memchr::memmem::find(b, what));
        found.map(|n| from + n)
    };
    let within = |from: usize| bytes.len().min(from + LABEL);
    let label = at + PEM.len();
    let Some(dashes) = find(label, within(label), b"-----") else {
        return Find::None;
    };
    if find(label, dashes, b"PRIVATE KEY").is_none() {
        return Find::None;
    }
    let body = dashes + 5;
    let quote = match no_end.contains(&body) {
        true => no_end.end,
        false => memchr::memchr(b'"', &bytes[body..]).map_or(bytes.len(), |n| body + n),
    };
    // The mark is escaped in a JSON text, once or oftener.
    let slashes = bytes[body..quote].iter().rev();
    let limit = quote - slashes.take_while(|b| **b == b'\\').count();
    if !no_end.contains(&body) {
        if let Some(end) = find(body, limit, END) {
            // The rest of the line, should it be there.
            let rest = end + END.len();
            let close = find(rest, within(rest).min(limit), b"-----");
            return Find::Here(at..close.map_or(rest, |n| n + 5));
        }
        *no_end = body..quote;
    }
    if text.cut && quote == bytes.len() {
        return Find::Here(at..limit);
    }
    let of_pem = |b: &u8| Class::ALNUM.has(*b) || b"+/=\r\n \t\\:,.-".contains(b);
    let run = bytes[body..limit].iter().position(|b| !of_pem(b));
    let end = run.map_or(limit, |n| body + n);
    let slashes = bytes[body..end].iter().rev();
    let end = end - slashes.take_while(|b| **b == b'\\').count();
    // Below a text that only speaks of keys there is no line of one.
    let mut words = bytes[body..end].split(|b| !Class::BASE64.has(*b));
    if words.any(|word| word.len() >= 40) {
        Find::Here(at..end)
    } else {
        Find::Not { until: end }
    }
}

/// Words before a token of RFC 6750, section 2.1, or RFC 7617, section 2.
pub(super) const SCHEMES: [&str; 6] = [
    "Bearer ", "bearer ", "BEARER ", "Basic ", "basic ", "BASIC ",
];

/// What stands behind such a word, which is at `at`.
pub(super) fn credentials(text: &Text<'_>, at: usize, scheme: &str) -> Find {
    let bytes = text.bytes();
    if !word_begins(bytes, at, text.floor) {
        return Find::None;
    }
    let start = at + scheme.len();
    let start = start + bytes[start..].iter().take_while(|b| **b == b' ').count();
    let run = Class::TOKEN68.run(bytes, start);
    let dots = bytes[start..run].iter().rev().take_while(|b| **b == b'.');
    let end = run - dots.count();
    let value = &bytes[start..end];
    if text.cut && run == bytes.len() && run > start {
        return Find::Here(start..run);
    }
    let fits = if scheme.starts_with(['B', 'b']) && scheme[1..].eq_ignore_ascii_case("asic ") {
        // "Basic" is a word like others; only a header makes it one of these.
        let before = &bytes[at.saturating_sub(24)..at];
        value.len() >= 8
            && before
                .to_ascii_lowercase()
                .windows(13)
                .any(|w| w == b"authorization")
    } else {
        value.len() >= 16 && value.iter().any(u8::is_ascii_digit)
    };
    if fits {
        Find::Here(start..end)
    } else {
        Find::Not {
            until: end.max(start),
        }
    }
}

/// Names whose value is a secret without a form of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) rule: BuiltIn,
    /// The end of the name, in the writings that there are.
    pub(super) name: &'static str,
    class: Class,
    min: usize,
}

const fn named(rule: BuiltIn, name: &'static str, class: Class, min: usize) -> Named {
    Named {
        rule,
        name,
        class,
        min,
    }
}

/// All of them.
#[rustfmt::skip]
pub(super) const NAMED: &[Named] = &[
    named(BuiltIn::Aws, "secret_access_key", Class::BASE64, 40),
    named(BuiltIn::Aws, "SECRET_ACCESS_KEY", Class::BASE64, 40),
    named(BuiltIn::Aws, "SecretAccessKey", Class::BASE64, 40),
    named(BuiltIn::Aws, "secretAccessKey", Class::BASE64, 40),
    named(BuiltIn::Aws, "session_token", Class::BASE64, 100),
    named(BuiltIn::Aws, "SESSION_TOKEN", Class::BASE64, 100),
    named(BuiltIn::Aws, "SessionToken", Class::BASE64, 100),
    named(BuiltIn::Alibaba, "AccessKeySecret", Class::ALNUM, 30),
    named(BuiltIn::Alibaba, "accessKeySecret", Class::ALNUM, 30),
    named(BuiltIn::Alibaba, "access_key_secret", Class::ALNUM, 30),
    named(BuiltIn::Alibaba, "ACCESS_KEY_SECRET", Class::ALNUM, 30),
    named(BuiltIn::Azure, "AccountKey", Class::BASE64, 40),
    named(BuiltIn::Azure, "SharedAccessKey", Class::BASE64, 40),
    named(BuiltIn::UrlSignature, "sig", Class::BASE64, 20),
    named(BuiltIn::UrlSignature, "Signature", Class::BASE64, 20),
    named(BuiltIn::UrlSignature, "signature", Class::BASE64, 20),
];

impl Named {
    /// The value behind the name, which begins at `at`.
    pub(super) fn find(&self, text: &Text<'_>, at: usize) -> Find {
        let bytes = text.bytes();
        let mut start = at + self.name.len();
        // `name=`, `name: `, `"name": "`, and the last one inside a JSON text.
        let between = bytes[start..].iter().take(8);
        let between = between.take_while(|b| b"\"'\\ \t:=".contains(b));
        let joined = &bytes[start..start + between.clone().count()];
        start += joined.len();
        if !joined.iter().any(|b| b":=".contains(b)) {
            return Find::None;
        }
        if self.rule == BuiltIn::UrlSignature {
            // A parameter of a link, its name whole or behind a provider's: `x-oss-signature`.
            let before = at.checked_sub(1).and_then(|n| bytes.get(n));
            if joined != b"=" || !before.is_some_and(|b| b"?&;-".contains(b)) {
                return Find::None;
            }
        }
        let end = self.class.run(bytes, start);
        if end - start >= self.min || (text.cut && end == bytes.len() && end > start) {
            Find::Here(start..end)
        } else {
            Find::Not { until: end }
        }
    }
}

/// What stands before the authority of a URL.
pub(super) const AUTHORITY: &str = "://";

/// The password of a URL whose authority begins behind `at` (RFC 3986, section 3.2.1).
pub(super) fn url_password(text: &Text<'_>, at: usize) -> Find {
    const MOST: usize = 512;
    let bytes = text.bytes();
    let start = at + AUTHORITY.len();
    let window = &bytes[start..bytes.len().min(start + MOST)];
    let ends = |b: &u8| {
        matches!(
            b,
            b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>' | b'\\' | 0..=b' '
        )
    };
    let stop = window.iter().position(ends);
    let authority = &window[..stop.unwrap_or(window.len())];
    let Some(colon) = authority.iter().position(|b| *b == b':') else {
        return Find::None;
    };
    let open = text.cut && stop.is_none() && start + window.len() == bytes.len();
    let close = match authority.iter().rposition(|b| *b == b'@') {
        Some(close) => close,
        // A port has digits alone.
        None if open && !authority[colon + 1..].iter().all(u8::is_ascii_digit) => authority.len(),
        None => return Find::None,
    };
    if close > colon + 1 {
        Find::Here(start + colon + 1..start + close)
    } else {
        Find::None
    }
}
