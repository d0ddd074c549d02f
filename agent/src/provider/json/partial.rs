//! A JSON parser that takes what is there: a document cut at any byte gives its prefix.
//!
//! It is also the second try for documents that the strict parser refuses though every client
//! library sends them: lone surrogates in `\u` escapes, bytes that are not UTF-8, `NaN`.

use serde_json::{Map, Number, Value};

/// Nesting beyond this is skipped.
pub const MAX_DEPTH: usize = 96;

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The value; `None` when nothing of it can be told.
    pub value: Option<Value>,
    /// It is whole: nothing was cut, skipped or broken.
    pub whole: bool,
}

/// Members whose texts are worth having in part.
const CONTENT_KEYS: [&str; 20] = [
    "content",
    "text",
    "arguments",
    "input",
    "inputs",
    "input_prefix",
    "input_suffix",
    "prompt",
    "prompt_string",
    "instructions",
    "output",
    "generated_text",
    "refusal",
    "reasoning_content",
    "reasoning",
    "message",
    "detail",
    "data",
    "transcript",
    "file_data",
];

/// Lists that mean something else when they are cut.
const ATOMIC_LISTS: [&str; 4] = ["embedding", "values", "stop", "stopSequences"];

/// Reads as much of `bytes` as there is.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut parser = Parser {
        bytes,
        at: 0,
        stopped: false,
        skipped: false,
    };
    let value = parser.value("", 0);
    parser.space();
    Parsed {
        value,
        whole: !parser.stopped && !parser.skipped && parser.at == bytes.len(),
    }
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The input ended inside a value, or broke: everything unwinds with what it has.
    stopped: bool,
    /// Something was too deep.
    skipped: bool,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn stop<T>(&mut self) -> Option<T> {
        self.stopped = true;
        None
    }

    fn value(&mut self, key: &str, depth: usize) -> Option<Value> {
        self.space();
        if depth > MAX_DEPTH && matches!(self.peek(), Some(b'{' | b'[')) {
            return self.skip();
        }
        match self.peek() {
            Some(b'{') => Some(self.object(depth)),
            Some(b'[') => self.array(key, depth),
            Some(b'"') => self.string(CONTENT_KEYS.contains(&key)).map(Value::String),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'N') => self.word("NaN", Value::Null),
            Some(b'I') => self.word("Infinity", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.stop(),
        }
    }

    fn object(&mut self, depth: usize) -> Value {
        self.at += 1;
        let mut map = Map::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Value::Object(map);
        }
        while !self.stopped {
            self.space();
            let Some(key) = (match self.peek() {
                Some(b'"') => self.string(false),
                _ => self.stop(),
            }) else {
                break;
            };
            self.space();
            if self.peek() != Some(b':') {
                self.stopped = true;
                break;
            }
            self.at += 1;
            if let Some(value) = self.value(&key, depth + 1) {
                map.insert(key, value);
            }
            if !self.more(b'}') {
                break;
            }
        }
        Value::Object(map)
    }

    fn array(&mut self, key: &str, depth: usize) -> Option<Value> {
        self.at += 1;
        let mut list = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Some(Value::Array(list));
        }
        while !self.stopped {
            if let Some(value) = self.value(key, depth + 1) {
                list.push(value);
            }
            if !self.more(b']') {
                break;
            }
        }
        (!self.stopped || !ATOMIC_LISTS.contains(&key)).then_some(Value::Array(list))
    }

    /// After a member: whether another follows.
    fn more(&mut self, end: u8) -> bool {
        if self.stopped {
            return false;
        }
        self.space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                true
            }
            Some(b) if b == end => {
                self.at += 1;
                false
            }
            _ => {
                self.stopped = true;
                false
            }
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Some(value);
        }
        self.stop()
    }

    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        if self.bytes[start..].starts_with(b"-Infinity") {
            self.at += 9;
            return Some(Value::Null);
        }
        while matches!(
            self.peek(),
            Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
        ) {
            self.at += 1;
        }
        // Without a byte after it nobody knows whether more digits would have come.
        if self.at == self.bytes.len() {
            return self.stop();
        }
        match serde_json::from_slice::<Number>(&self.bytes[start..self.at]) {
            Ok(n) => Some(Value::Number(n)),
            Err(_) => self.stop(),
        }
    }

    /// Reads a string; `in_part` says whether the prefix of a cut one is wanted.
    fn string(&mut self, in_part: bool) -> Option<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.bytes[self.at..];
            let Some(n) = memchr::memchr2(b'"', b'\\', rest) else {
                push_cut(&mut out, rest);
                self.at = self.bytes.len();
                self.stopped = true;
                return in_part.then_some(out);
            };
            push_lossy(&mut out, &rest[..n]);
            self.at += n;
            if rest[n] == b'"' {
                self.at += 1;
                return Some(out);
            }
            match self.escape() {
                Some(c) => out.push(c),
                None => {
                    self.stopped = true;
                    return in_part.then_some(out);
                }
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let c = *self.bytes.get(self.at + 1)?;
        self.at += 2;
        Some(match c {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'u' => return self.unicode_escape(),
            b'"' | b'\\' | b'/' => c as char,
            _ => return None,
        })
    }

    fn unicode_escape(&mut self) -> Option<char> {
        let unit = self.hex4()?;
        if !(0xd800..0xdc00).contains(&unit) {
            return Some(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let rest = &self.bytes[self.at..];
        if rest.is_empty() || rest == b"\\" {
            return None;
        }
        if rest.starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                return char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
            }
            self.at = before;
        }
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        let mut unit = 0;
        for d in digits {
            unit = unit * 16 + (*d as char).to_digit(16)?;
        }
        self.at += 4;
        Some(unit)
    }

    /// Leaves out a value that is too deep.
    fn skip(&mut self) -> Option<Value> {
        self.skipped = true;
        let mut depth = 0usize;
        while let Some(b) = self.peek() {
            match b {
                b'"' => {
                    self.string(false);
                    if self.stopped {
                        return None;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return None;
            }
        }
        self.stop()
    }
}

fn push_lossy(out: &mut String, bytes: &[u8]) {
    out.push_str(&String::from_utf8_lossy(bytes));
}

/// Appends text that was cut at its end, perhaps within a character.
fn push_cut(out: &mut String, bytes: &[u8]) {
    let back = bytes
        .iter()
        .rev()
        .take(3)
        .position(|b| *b >= 0xc0)
        .map_or(0, |n| n + 1);
    let (whole, last) = bytes.split_at(bytes.len() - back);
    push_lossy(out, whole);
    if let Ok(last) = std::str::from_utf8(last) {
        out.push_str(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DOC: &str = r#"{"messages":[{"role":"user","content":"hé \"q\" 😀 \ud83d\ude00"},{"role":"a"}],"n":12,"t":-1.5e3,"b":true,"z":null,"stop":["x","y"],"o":{"k":[1,2,{}]}, "model":"m-1"}"#;

    #[test]
    fn whole_documents_are_as_the_strict_parser_has_them() {
        let parsed = parse(DOC.as_bytes());
        assert!(parsed.whole);
        assert_eq!(
            parsed.value.unwrap(),
            serde_json::from_str::<Value>(DOC).unwrap()
        );
    }

    /// Every value of a prefix is in the whole, or is the beginning of a content text.
    fn within(part: &Value, whole: &Value, key: &str) -> bool {
        match (part, whole) {
            (Value::Object(p), Value::Object(w)) => p
                .iter()
                .all(|(k, v)| w.get(k).is_some_and(|o| within(v, o, k))),
            (Value::Array(p), Value::Array(w)) => {
                p.len() <= w.len() && p.iter().zip(w).all(|(a, b)| within(a, b, key))
            }
            (Value::String(p), Value::String(w)) if CONTENT_KEYS.contains(&key) => {
                w.starts_with(p.as_str())
            }
            _ => part == whole,
        }
    }

    #[test]
    fn a_cut_at_any_byte_gives_nothing_wrong() {
        let whole: Value = serde_json::from_str(DOC).unwrap();
        for n in 0..DOC.len() {
            let parsed = parse(&DOC.as_bytes()[..n]);
            assert!(!parsed.whole, "{n}");
            if let Some(v) = parsed.value {
                assert!(within(&v, &whole, ""), "{n}: {v}");
            }
        }
    }

    #[test]
    fn cut_numbers_ids_and_vectors_are_absent() {
        assert_eq!(parse(br#"{"a":1,"n":12"#).value, Some(json!({"a":1})));
        assert_eq!(parse(br#"{"a":1,"model":"gpt"#).value, Some(json!({"a":1})));
        assert_eq!(parse(br#"{"embedding":[1.0,2.0"#).value, Some(json!({})));
        assert_eq!(
            parse(br#"{"content":"ab"#).value,
            Some(json!({"content":"ab"}))
        );
        for key in [
            "generated_text",
            "inputs",
            "input_prefix",
            "input_suffix",
            "prompt_string",
        ] {
            let cut = format!("{{\"{key}\":\"ab");
            assert_eq!(parse(cut.as_bytes()).value, Some(json!({key: "ab"})));
        }
        assert_eq!(
            parse(b"{\"content\":\"ab\xe2\x82").value,
            Some(json!({"content":"ab"}))
        );
    }

    #[test]
    fn takes_what_strict_parsers_refuse() {
        let parsed = parse(b"{\"content\":\"\\ud83d x\",\"t\":NaN,\"i\":-Infinity,\"b\":\"\xff\"}");
        assert!(parsed.whole);
        assert_eq!(
            parsed.value,
            Some(json!({"content":"\u{fffd} x","t":null,"i":null,"b":"\u{fffd}"}))
        );
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!(
            "{{\"a\":{}{},\"b\":1}}",
            "[".repeat(50_000),
            "]".repeat(50_000)
        );
        let parsed = parse(deep.as_bytes());
        assert!(!parsed.whole);
        assert_eq!(parsed.value.unwrap()["b"], 1);
        for open in ["[", "{\"a\":"] {
            assert!(!parse(open.repeat(1_000_000).as_bytes()).whole);
        }
    }
}
