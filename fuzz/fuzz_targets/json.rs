//! JSON of which only a part was seen: never a panic, and never another value than the whole
//! document has.
#![no_main]

use genspan::provider::json;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

/// Whether everything in `part` stands in `whole`, texts and lists perhaps cut at their end.
fn is_part(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(p), Value::Object(w)) => is_part_of_map(p, w),
        (Value::Array(p), Value::Array(w)) => {
            p.len() <= w.len() && p.iter().zip(w).all(|(p, w)| is_part(p, w))
        }
        (Value::String(p), Value::String(w)) => w.starts_with(p.as_str()),
        _ => part == whole,
    }
}

fn is_part_of_map(part: &Map<String, Value>, whole: &Map<String, Value>) -> bool {
    part.iter()
        .all(|(key, value)| whole.get(key).is_some_and(|w| is_part(value, w)))
}

/// Objects with a key twice have no one meaning: a cut may show the first, the whole the second.
fn ambiguous(bytes: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return false;
    };
    let keys = |v: &Value| count_keys(v);
    let quoted = bytes.iter().filter(|b| **b == b':').count();
    // Fewer keys after parsing than colons before: perhaps a duplicate, perhaps a colon in a text.
    keys(&value) < quoted
}

fn count_keys(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.len() + map.values().map(count_keys).sum::<usize>(),
        Value::Array(list) => list.iter().map(count_keys).sum(),
        _ => 0,
    }
}

fuzz_target!(|input: (&[u8], u16, u16)| {
    let (bytes, a, b) = input;
    let _ = json::read(bytes);
    let _ = json::tail::members(bytes);
    let parsed = json::partial::parse(bytes);
    drop(parsed);
    let (a, b) = (
        usize::from(a).min(bytes.len()),
        usize::from(b).min(bytes.len()),
    );
    let (a, b) = (a.min(b), a.max(b));
    let hole = json::read_with_hole(&bytes[..a], &bytes[b..]);
    let Ok(Value::Object(whole)) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    if ambiguous(bytes) {
        return;
    }
    if let Some(document) = json::read(&bytes[..a]) {
        assert!(
            is_part_of_map(&document.root, &whole),
            "the start of a document says otherwise"
        );
    }
    drop(hole);
});
