//! The text of a chunk that differs from an earlier one in nothing but its text.
//!
//! Nearly all chunks of a stream do. The bytes before and after the text are compared instead of
//! being parsed again, which takes a tenth of the time. What is put between equal bytes is a JSON
//! string without escapes (RFC 8259, section 7) as it was in the chunk that was parsed, so it
//! parses to the same chunk but for that text.

use super::chunk::{Chunk, Delta};
use crate::provider::json::borrowed::Str;
use std::borrow::Cow;
use std::ops::Range;

/// Most bytes of a chunk that is remembered, without its texts.
const MAX_BYTES: usize = 4 << 10;

/// A chunk that said a piece of one choice's content and nothing that was not said before.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    /// The chunk without its texts. Empty when none is remembered.
    around: Vec<u8>,
    /// Where in it the content stood.
    content: usize,
    /// Where in it the padding stood that hides the length of the content (OpenAI's
    /// `obfuscation`), when there was one: after the content.
    padding: Option<usize>,
    /// The choice's index.
    index: u32,
}

/// Where a text lies in the chunk it was read from; nothing when it had escapes.
fn place(of: &str, text: &Str<'_>) -> Option<Range<usize>> {
    let Cow::Borrowed(text) = text.0 else {
        return None;
    };
    let start = (text.as_ptr() as usize).checked_sub(of.as_ptr() as usize)?;
    let end = start.checked_add(text.len())?;
    (of.get(start..end)? == text).then_some(start..end)
}

/// The string without escapes that `rest` begins with, without its closing quote.
fn string(rest: &[u8]) -> Option<&str> {
    let end = rest
        .iter()
        .position(|b| matches!(b, b'"' | b'\\' | 0..0x20))?;
    if rest.get(end) != Some(&b'"') {
        return None;
    }
    std::str::from_utf8(rest.get(..end)?).ok()
}

impl Repeated {
    /// Remembers a chunk that was parsed, if it is one of this kind.
    pub(super) fn remember(&mut self, data: &str, chunk: &Chunk<'_>) {
        let Some([choice]) = chunk.choices.as_deref() else {
            return;
        };
        let Some(Delta {
            role: _,
            content: Some(content),
            refusal: None,
            reasoning_content: None,
            reasoning: None,
            tool_calls: None,
            function_call: None,
            audio: None,
        }) = &choice.delta
        else {
            return;
        };
        let more = choice.text.is_some() || choice.finish_reason.is_some();
        let usage = chunk.usage.is_some() || choice.usage.is_some() || chunk.x_groq.is_some();
        if more || usage || chunk.error.is_some() {
            return;
        }
        let Some(content) = place(data, content) else {
            return;
        };
        let padding = match chunk.obfuscation.as_ref().map(|p| place(data, p)) {
            None => None,
            Some(Some(padding)) if padding.start > content.end => Some(padding),
            Some(_) => return,
        };
        let texts = content.len() + padding.as_ref().map_or(0, Range::len);
        if data.len() - texts > MAX_BYTES {
            return;
        }
        let bytes = data.as_bytes();
        let (middle, last) = match &padding {
            None => (content.end..content.end, content.end..data.len()),
            Some(p) => (content.end..p.start, p.end..data.len()),
        };
        self.around.clear();
        self.around.extend_from_slice(&bytes[..content.start]);
        self.around.extend_from_slice(&bytes[middle]);
        self.padding = padding.is_some().then_some(self.around.len());
        self.around.extend_from_slice(&bytes[last]);
        self.content = content.start;
        self.index = choice.index.unwrap_or(0);
    }

    /// The choice's index and the text, when `data` is the chunk that is remembered but for them.
    pub(super) fn text<'d>(&self, data: &'d [u8]) -> Option<(u32, &'d str)> {
        let (before, after) = self.around.split_at_checked(self.content)?;
        let rest = data.strip_prefix(before).filter(|_| !before.is_empty())?;
        let text = string(rest)?;
        let rest = rest.get(text.len()..)?;
        let same = match self.padding {
            None => rest == after,
            Some(at) => {
                let (middle, last) = after.split_at_checked(at.checked_sub(self.content)?)?;
                let rest = rest.strip_prefix(middle)?;
                rest.get(string(rest)?.len()..)? == last
            }
        };
        same.then_some((self.index, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered(data: &str) -> Repeated {
        let mut repeated = Repeated::default();
        let chunk = serde_json::from_str(data).expect("a chunk");
        repeated.remember(data, &chunk);
        repeated
    }

    const FIRST: &str = r#"{"id":"a","choices":[{"index":3,"delta":{"content":" one"},"finish_reason":null}],"usage":null}"#;
    const PADDED: &str =
        r#"{"id":"a","choices":[{"delta":{"content":"one"}}],"obfuscation":"x1","usage":null}"#;

    #[test]
    fn only_the_text_may_differ() {
        let repeated = remembered(FIRST);
        let with = |text: &str| FIRST.replace(" one", text);
        for text in ["", "two", "2 é 漢 \u{1f600}", "}]}", ":"] {
            let data = with(text);
            assert_eq!(repeated.text(data.as_bytes()), Some((3, text)), "{data}");
        }
        for other in [
            with(r"a\n"),
            with(r#"a\""#),
            with(r"\u00e9"),
            with("a\u{1}"),
            with("a\n"),
            with(r#"a","content":"b"#),
            with(r#"a"},"finish_reason":"stop"#),
            FIRST.replace("null}]", r#""stop"}]"#),
            FIRST.replace(r#""a""#, r#""b""#),
            FIRST.replace("null}", "null} "),
            FIRST[..FIRST.len() - 1].to_owned(),
            FIRST[..50].to_owned(),
            String::new(),
        ] {
            assert_eq!(repeated.text(other.as_bytes()), None, "{other}");
        }
        let mut broken = FIRST.as_bytes().to_vec();
        let at = FIRST.find(" one").expect("it is there");
        broken[at] = 0xff;
        assert_eq!(repeated.text(&broken), None, "not UTF-8");
    }

    #[test]
    fn padding_may_differ_too() {
        let repeated = remembered(PADDED);
        let data = PADDED.replace("one", "two").replace("x1", "");
        assert_eq!(repeated.text(data.as_bytes()), Some((0, "two")));
        let data = PADDED.replace("x1", r"x\n");
        assert_eq!(repeated.text(data.as_bytes()), None);
        let data = PADDED.replace("null", "{}");
        assert_eq!(repeated.text(data.as_bytes()), None);
        // Padding before the content is not looked for.
        let data = r#"{"obfuscation":"x1","choices":[{"delta":{"content":"one"}}]}"#;
        assert_eq!(remembered(data).text(data.as_bytes()), None);
    }

    #[test]
    fn what_says_more_than_a_text_is_not_remembered() {
        for other in [
            r#"{"choices":[{"delta":{"content":"a\n"}}]}"#,
            r#"{"choices":[{"delta":{"content":null}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","reasoning":"b"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","refusal":"b"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","tool_calls":[]}}]}"#,
            r#"{"choices":[{"delta":{"content":""},"text":"b"}]}"#,
            r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"total_tokens":1}}"#,
            r#"{"choices":[{"delta":{"content":"a"}}],"x_groq":{}}"#,
            r#"{"choices":[{"delta":{"content":"a"}}],"error":{}}"#,
            r#"{"choices":[]}"#,
            "{}",
        ] {
            assert_eq!(remembered(other).text(other.as_bytes()), None, "{other}");
        }
        let long = format!(
            r#"{{"id":"{}","choices":[{{"delta":{{"content":"a"}}}}]}}"#,
            "i".repeat(MAX_BYTES)
        );
        assert_eq!(remembered(&long).text(long.as_bytes()), None);
        // A long text is no reason.
        let long = FIRST.replace(" one", &"t".repeat(2 * MAX_BYTES));
        assert!(remembered(&long).text(FIRST.as_bytes()).is_some());
    }
}
