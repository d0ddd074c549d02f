//! Whether and when the client will send a failed request again, by the rules of the `openai`
//! library, and how the attempts of one call are told to be the same. Amazon's libraries follow
//! nearly the same rules: they pause for no more than eight seconds, and say when they give up.
//!
//! Source of the latter: botocore 1.44, `retryhandler.py`, `data/_retry.json`, and
//! `handlers.py` (`add_retry_headers`).

use super::body::Body;
use super::hash::Hasher;
use crate::model::exchange::{Headers, RequestHead};

const SECOND: u64 = 1_000_000_000;

/// Longest pause of the library's own, with its jitter, and time for the machine to be slow.
const OWN_PAUSE: u64 = 11 * SECOND;

/// The library does not follow a `retry-after` of more than a minute.
const MOST: u64 = 61 * SECOND;

/// Which attempt a request is, from 0, if its client counts.
pub(super) fn attempt(headers: &Headers) -> Option<u32> {
    match headers.get("x-stainless-retry-count") {
        Some(count) => count.trim().parse().ok(),
        None => amazons(headers, "attempt")?.checked_sub(1),
    }
}

/// Whether the client says that it will not try again whatever comes.
pub(super) fn is_last(headers: &Headers) -> bool {
    let most = amazons(headers, "max");
    most.is_some_and(|most| amazons(headers, "attempt").is_some_and(|n| n >= most))
}

/// A number of `amz-sdk-request: attempt=1; max=5`.
fn amazons(headers: &Headers, key: &str) -> Option<u32> {
    let mut pairs = headers
        .get("amz-sdk-request")?
        .split(';')
        .filter_map(|p| p.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim() == key)?;
    value.trim().parse().ok()
}

/// Whether the library tries again after an answer with this status.
pub(super) fn after_status(status: u16, headers: &Headers) -> bool {
    match headers.get("x-should-retry").map(str::trim) {
        Some("true") => true,
        Some("false") => false,
        _ => matches!(status, 408 | 409 | 429 | 500..),
    }
}

/// How long the library may wait before it does, in nanoseconds.
pub(super) fn within(headers: Option<&Headers>) -> u64 {
    let told = headers.and_then(|h| {
        let millis = number(h, "retry-after-ms").map(|ms| ms / 1e3);
        let seconds = || number(h, "retry-after");
        // A date: the wall clock is not ours to read.
        let date = || h.get("retry-after").map(|_| 60.0);
        millis.or_else(seconds).or_else(date)
    });
    let told = told.map_or(0, |s| (s.clamp(0.0, 3600.0) * 1e9) as u64);
    if told > MOST {
        return OWN_PAUSE;
    }
    (told + SECOND).clamp(OWN_PAUSE, MOST)
}

fn number(headers: &Headers, name: &str) -> Option<f64> {
    headers
        .get(name)?
        .trim()
        .parse()
        .ok()
        .filter(|n: &f64| n.is_finite())
}

/// The same for each attempt of one call.
pub(super) fn fingerprint(target: u64, body: &Body) -> u64 {
    let (total, head, tail) = body.parts();
    let mut hasher = Hasher::new();
    hasher.word(target);
    hasher.word(total);
    hasher.piece(head);
    hasher.piece(tail);
    hasher.finish()
}

/// What the head contributes to [`fingerprint`].
pub(super) fn target(head: &RequestHead) -> u64 {
    let mut hasher = Hasher::new();
    hasher.piece(head.host.as_deref().unwrap_or("").as_bytes());
    hasher.piece(head.path.as_bytes());
    hasher.piece(head.query.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> Headers {
        let mut h = Headers::default();
        h.push(name, value.to_owned());
        h
    }

    #[test]
    fn the_librarys_rules() {
        let none = Headers::default();
        for (status, want) in [
            (400, false),
            (401, false),
            (408, true),
            (409, true),
            (429, true),
            (500, true),
            (503, true),
        ] {
            assert_eq!(after_status(status, &none), want, "{status}");
        }
        assert!(after_status(400, &headers("x-should-retry", "true")));
        assert!(!after_status(503, &headers("x-should-retry", "false")));
        assert_eq!(within(None), OWN_PAUSE);
        assert_eq!(within(Some(&headers("retry-after", "30"))), 31 * SECOND);
        assert_eq!(
            within(Some(&headers("retry-after-ms", "20000"))),
            21 * SECOND
        );
        assert_eq!(
            within(Some(&headers(
                "retry-after",
                "Wed, 21 Oct 2026 07:28:00 GMT"
            ))),
            MOST
        );
        assert_eq!(within(Some(&headers("retry-after", "500"))), OWN_PAUSE);
        assert_eq!(attempt(&headers("x-stainless-retry-count", "2")), Some(2));
        assert_eq!(attempt(&headers("x-stainless-retry-count", "x")), None);
    }

    #[test]
    fn amazons_header() {
        for (value, number, last) in [
            ("attempt=1", Some(0), false),
            ("attempt=2; max=5", Some(1), false),
            ("ttl=20260101T000000Z; attempt=5; max=5", Some(4), true),
            ("attempt=6;max=5", Some(5), true),
            ("max=5", None, false),
            ("attempt=0; max=0", None, true),
            ("attempt=; max=", None, false),
            ("attempt=99999999999", None, false),
            ("", None, false),
        ] {
            let h = headers("amz-sdk-request", value);
            assert_eq!((attempt(&h), is_last(&h)), (number, last), "{value}");
        }
        assert!(!is_last(&headers("x-stainless-retry-count", "2")));
    }
}
