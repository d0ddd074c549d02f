//! Properties of redaction over texts made of pieces of secrets and of what stands between them.

use super::tests::{all, plain};
use serde_json::{Value, json};

/// Pieces that meet; tildes as in the tables.
const PIECES: &[&str] = &[
    "s~k-",
    "s~k-ant-",
    "A~KIA",
    "IOSFODNN7EXAMPLE",
    "e~yJhbGciOiJIUzI1",
    ".e~yJzdWIiOiIx",
    ".sig",
    "--~---BEGIN PRIVATE KEY-----",
    "--~---END PRIVATE KEY-----",
    "Bearer ",
    "://u:",
    "@",
    "a.com",
    "4111 ",
    "1111",
    "4111111111111111",
    "+49 30 ",
    "901820",
    "415-555-0132",
    "[redacted:",
    "email]",
    "[redacted:email]",
    "\\n",
    "\\u00e9",
    "%20",
    "\"",
    "\\",
    " ",
    "\n",
    ".",
    "-",
    "_",
    "é",
    "x",
    "1",
    "0123456789abcdefABCDEFGHIJ",
    "secret_access_key=",
    "sig=",
    "hf~_",
    "x~oxb-",
    "138",
    "12345678",
    "(010) ",
];

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn text(&mut self) -> String {
        let count = 1 + self.below(14);
        let pieces: Vec<_> = (0..count)
            .map(|_| PIECES[self.below(PIECES.len())])
            .collect();
        plain(&pieces.concat())
    }
}

#[test]
fn twice_is_once() {
    let redactor = all();
    let mut random = Random(42);
    for _ in 0..60_000 {
        let text = random.text();
        for cut in [false, true] {
            let mut once = text.clone();
            redactor.redact(&mut once, cut);
            let mut twice = once.clone();
            redactor.redact(&mut twice, cut);
            assert_eq!(once, twice, "{text:?} (cut: {cut})");
        }
    }
}

#[test]
fn json_stays_json_of_the_same_shape() {
    let redactor = all();
    let mut random = Random(7);
    for _ in 0..20_000 {
        let (key, text, inner) = (random.text(), random.text(), random.text());
        let inner = json!({"x": inner, "n": 1}).to_string();
        let mut value = json!({"list": [text, null, 1.5], "map": {key: {"inner": inner}}});
        redactor.json(&mut value, false);
        assert!(value["list"][0].is_string() && value["list"][2] == 1.5);
        let map = value["map"].as_object().unwrap();
        assert_eq!(map.len(), 1);
        let inner = map.values().next().unwrap()["inner"].as_str().unwrap();
        // A text that is JSON stays one as well, and nothing but its texts changed.
        let inner: Value = serde_json::from_str(inner).unwrap_or_else(|e| panic!("{e}: {inner}"));
        assert_eq!(inner["n"], 1);
        let written = value.to_string();
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), value);
    }
}

/// Texts in which each piece could make a search look at all that follow: should one do so, this
/// takes hours.
#[test]
fn hostile_texts_are_looked_through_once() {
    let redactor = all();
    let more = [
        "s~k-a",
        "e~yJa.",
        "e~yJaaaaaaaaaaa.",
        "a@",
        "1 ",
        "+1-",
        "(4",
        "://a:b",
        "Bearer x",
    ];
    for piece in PIECES.iter().chain(&more) {
        let text = plain(piece).repeat(20_000);
        for cut in [false, true] {
            let mut once = text.clone();
            redactor.redact(&mut once, cut);
            let mut twice = once.clone();
            redactor.redact(&mut twice, cut);
            assert_eq!(once, twice, "{piece}");
        }
    }
}
