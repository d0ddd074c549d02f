//! The last members of an object of which only the end was seen.

use super::Object;

/// The members that lie whole in `tail`, the end of a document that is an object. Reads backwards
/// from the closing brace: there it is known what is inside a string and what is not.
#[must_use]
pub fn members(tail: &[u8]) -> Option<Object> {
    let end = tail.iter().rposition(|b| !b.is_ascii_whitespace())?;
    if tail[end] != b'}' {
        return None;
    }
    let comma = first_top_level_comma(&tail[..end])?;
    let mut text = Vec::with_capacity(end - comma + 2);
    text.push(b'{');
    text.extend_from_slice(&tail[comma + 1..=end]);
    serde_json::from_slice(&text).ok()
}

/// The leftmost comma between members of the outermost object that can be told to be one.
fn first_top_level_comma(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut found = None;
    let mut at = bytes.len();
    while at > 0 {
        at -= 1;
        match bytes[at] {
            b'"' => match string_start(bytes, at) {
                Some(start) => at = start,
                None => break,
            },
            b'}' | b']' => depth += 1,
            b'{' | b'[' => match depth.checked_sub(1) {
                Some(d) => depth = d,
                None => break,
            },
            b',' if depth == 0 => found = Some(at),
            _ => {}
        }
    }
    found
}

/// Where the string begins whose closing quote is at `end`.
fn string_start(bytes: &[u8], end: usize) -> Option<usize> {
    let mut at = end;
    loop {
        at = memchr::memrchr(b'"', &bytes[..at])?;
        let backslashes = bytes[..at]
            .iter()
            .rev()
            .take_while(|b| **b == b'\\')
            .count();
        // A run that reaches the edge may be longer than what is seen of it.
        if backslashes == at {
            return (at == 0).then_some(0);
        }
        if backslashes % 2 == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const DOC: &str = r#"{"messages":[{"role":"user","content":"a \"},{\\ b, \"model\":\"no\",}"}],"model":"m-1","stream":true,"o":{"u":[1,{"k":"}"}]},"n":12}
"#;

    #[test]
    fn every_suffix_gives_only_true_members() {
        let whole: Object = serde_json::from_str(DOC).unwrap();
        for n in 0..DOC.len() {
            if let Some(found) = members(&DOC.as_bytes()[n..]) {
                for (k, v) in &found {
                    assert_eq!(whole.get(k), Some(v), "{n}: {k}");
                }
            }
        }
    }

    #[test]
    fn finds_model_and_stream_behind_the_messages() {
        let from = DOC.find("no").unwrap();
        let found = members(&DOC.as_bytes()[from..]).unwrap();
        assert_eq!(found["model"], Value::from("m-1"));
        assert_eq!(found["stream"], Value::from(true));
        assert_eq!(found["n"], Value::from(12));
    }

    #[test]
    fn an_end_that_is_none_gives_nothing() {
        assert_eq!(members(br#""model":"m","n":1"#), None);
        assert_eq!(members(b""), None);
    }
}
