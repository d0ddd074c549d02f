//! Redaction: whatever stands in a text, to redact twice is to redact once, JSON stays JSON of the
//! same shape, and where a text is cut makes no difference to that.
#![no_main]

use genspan::redact::{PathRule, Pattern, Redactor, Rules, Selection};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use std::borrow::Cow;

thread_local! {
    static ALL: Redactor = {
        let mut rules = Rules::none();
        rules.rules.push(Selection::All);
        for own in ["staff=E-[0-9]{3}", r"pin=pin:\s*(?P<secret>\d+)", "line=name: .*"] {
            rules.patterns.extend(own.parse::<Pattern>());
        }
        rules.paths.extend("$..password".parse::<PathRule>());
        Redactor::new(&rules).unwrap_or_default()
    };
}

/// What a fuzzer would need long to find.
const PIECES: [&str; 24] = [
    "sk-",
    "sk-ant-api03-",
    "AKIA",
    "eyJhbGciOiJIUzI1",
    ".eyJzdWIiOiIx",
    "-----BEGIN PRIVATE KEY-----",
    "-----END PRIVATE KEY-----",
    "Bearer ",
    "://u:",
    "@",
    ".com",
    "4111 1111 ",
    "1111 1111",
    "+49",
    "415-555-0132",
    "[redacted:",
    "openai_key]",
    "\\n",
    "%20",
    "\"",
    "secret_access_key=",
    "E-123",
    "name: ",
    "0123456789abcdefABCDEF0123456789abcdefABCDEF",
];

/// The input with bytes above 0xe0 replaced by pieces.
fn grown(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    for byte in bytes {
        match byte
            .checked_sub(0xe0)
            .and_then(|n| PIECES.get(usize::from(n)))
        {
            Some(piece) => text.extend_from_slice(piece.as_bytes()),
            None => text.push(*byte),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn same_shape(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_shape(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.values().zip(b.values()).all(|(a, b)| same_shape(a, b))
        }
        (Value::Number(_), Value::String(text)) => text.contains("[redacted:"),
        _ => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

fuzz_target!(|input: (&[u8], bool, u16)| {
    let (bytes, cut, at) = input;
    let text = grown(bytes);
    ALL.with(|redactor| {
        let mut once = text.clone();
        redactor.redact(&mut once, cut);
        let mut twice = once.clone();
        redactor.redact(&mut twice, cut);
        assert_eq!(once, twice, "twice is not once");
        if let Cow::Borrowed(same) = redactor.text(&text) {
            assert_eq!(same, text);
        }
        let end = (0..=usize::from(at).min(text.len())).rev();
        let end = end.clone().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
        let mut short = text[..end].to_owned();
        redactor.redact(&mut short, true);
        let inside =
            serde_json::json!({"a": [text.as_str(), {text.as_str(): 1}], "b": 4111111111111111u64});
        for document in [Some(inside), serde_json::from_str::<Value>(&text).ok()]
            .into_iter()
            .flatten()
        {
            let mut new = document.clone();
            redactor.json(&mut new, cut);
            assert!(same_shape(&document, &new), "{document} became {new}");
            redactor.value_document(&mut new);
            let written = new.to_string();
            assert!(serde_json::from_str::<Value>(&written).is_ok());
        }
    });
});
