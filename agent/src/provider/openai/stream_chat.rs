//! Streamed chat completions and legacy completions: chunks are merged into one answer.

use super::choice::ChoiceState;
use super::chunk::{self, Chunk};
use super::repeated::Repeated;
use super::usage;
use crate::model::call::{CallError, CallResponse};
use crate::model::exchange::SseEvent;
use crate::provider::error;
use crate::provider::json::{self, Document, Object};
use crate::provider::limits::MAX_CHOICES;
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::Room;
use serde_json::Value;

/// An answer under way.
#[derive(Debug, Default)]
pub(super) struct ChatStream {
    id: Option<String>,
    model: Option<String>,
    service_tier: Option<String>,
    fingerprint: Option<String>,
    choices: Vec<ChoiceState>,
    /// The last usage that was told.
    usage: Option<Box<str>>,
    error: Option<CallError>,
    too_many: bool,
    over: bool,
    repeated: Repeated,
}

fn set(slot: &mut Option<String>, value: Option<&str>) {
    if slot.is_none() {
        *slot = value.filter(|v| !v.is_empty()).map(str::to_owned);
    }
}

fn failed(chunk: &Chunk<'_>) -> bool {
    let apart = chunk.x_groq.as_ref().and_then(|g| g.error);
    chunk.error.or(apart).is_some()
}

impl ChatStream {
    /// A chunk that is not as it should be: what can be had of it.
    fn slow(&mut self, name: &str, data: &[u8], room: &mut Room) -> Seen {
        let Some(Document { root, .. }) = json::read(data) else {
            return Seen::Broken;
        };
        let apart = || root.get("x_groq")?.get("error");
        let failed = root.get("error").filter(|e| !e.is_null());
        if let Some(e) = failed.or_else(|| apart().filter(|e| !e.is_null())) {
            self.error = Some(error::of_event(e));
            // OpenRouter says it in a chunk that ends the choice too.
            self.merge(&chunk::lenient(&Value::Object(root)), room);
            return Seen::Chunk { output: false };
        }
        let root = Value::Object(root);
        if name == "error" || root.get("object").and_then(Value::as_str) == Some("error") {
            self.error = Some(error::of_event(&root));
            return Seen::Chunk { output: false };
        }
        let first = root.pointer("/choices/0/usage").filter(|u| u.is_object());
        let groq = root.pointer("/x_groq/usage").filter(|u| u.is_object());
        let usage = root.get("usage").filter(|u| u.is_object());
        let usage = usage.or(first).or(groq);
        if let Some(usage) = usage {
            self.usage = Some(usage.to_string().into());
        }
        self.merge(&chunk::lenient(&root), room);
        Seen::Chunk { output: true }
    }

    fn merge(&mut self, chunk: &Chunk<'_>, room: &mut Room) {
        set(&mut self.id, chunk.id.as_deref());
        set(&mut self.model, chunk.model.as_deref());
        set(&mut self.service_tier, chunk.service_tier.as_deref());
        set(&mut self.fingerprint, chunk.system_fingerprint.as_deref());
        let mut usage = chunk.usage;
        for (at, choice) in chunk.choices.iter().flatten().enumerate() {
            let index = choice.index.unwrap_or(at as u32);
            match self.choice(index) {
                Some(state) => {
                    let all = state.merge(choice, room);
                    self.too_many |= !all;
                }
                None => self.too_many = true,
            }
            usage = usage.or(choice.usage);
        }
        if let (Some(text), None) = (&chunk.value, &chunk.choices)
            && let Some(state) = self.choice(0)
        {
            state.text(text, room);
        }
        let groq = chunk.x_groq.as_ref().and_then(|g| g.usage);
        if let Some(usage) = usage.or(groq) {
            self.usage = Some(usage.get().into());
        }
    }

    /// The choice with this index; they are kept in order.
    fn choice(&mut self, index: u32) -> Option<&mut ChoiceState> {
        let at = match self.choices.binary_search_by_key(&index, |c| c.index) {
            Ok(at) => at,
            Err(_) if self.choices.len() >= MAX_CHOICES => return None,
            Err(at) => {
                self.choices.insert(at, ChoiceState::new(index));
                at
            }
        };
        self.choices.get_mut(at)
    }
}

impl Stream for ChatStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        self.over |= event.data == b"[DONE]";
        let (name, data) = (event.event, event.data.trim_ascii());
        if data.is_empty() || data == b"[DONE]" {
            return Seen::Nothing;
        }
        if name == "error" {
            return self.slow(name, data, room);
        }
        if let Some((index, text)) = self.repeated.text(data) {
            match self.choice(index) {
                Some(state) => state.text(text, room),
                None => self.too_many = true,
            }
            return Seen::Chunk { output: true };
        }
        // UTF-8 once for all its texts is cheaper than text by text.
        let chunk = std::str::from_utf8(data)
            .ok()
            .and_then(|text| Some((text, serde_json::from_str::<Chunk<'_>>(text).ok()?)));
        match chunk {
            Some((text, chunk)) if !failed(&chunk) => {
                self.merge(&chunk, room);
                self.repeated.remember(text, &chunk);
                Seen::Chunk { output: true }
            }
            _ => self.slow(name, data, room),
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        let usage = self
            .usage
            .and_then(|u| serde_json::from_str::<Object>(&u).ok());
        let mut response = CallResponse {
            id: self.id,
            model: self.model,
            service_tier: self.service_tier,
            system_fingerprint: self.fingerprint,
            usage: usage.as_ref().map(usage::read).unwrap_or_default(),
            ..CallResponse::default()
        };
        for choice in self.choices {
            response
                .finish_reasons
                .extend(choice.finish_reason().map(str::to_owned));
            response.messages.push(choice.into_message());
        }
        Answer {
            response,
            error: self.error,
            too_many: self.too_many,
            ..Answer::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer to these chunks, each with so many blanks within.
    fn answer(chunks: &[String], blanks: impl Fn(usize) -> usize) -> String {
        let (mut stream, mut room) = (ChatStream::default(), Room(40));
        for (n, chunk) in chunks.iter().enumerate() {
            let data = chunk.replacen('{', &format!("{{{}", " ".repeat(blanks(n))), 1);
            let event = SseEvent {
                event: "",
                data: data.as_bytes(),
                comment: "",
            };
            stream.event(event, &mut room);
        }
        let answer = Box::new(stream).finish(&mut room);
        format!("{answer:?}{room:?}")
    }

    #[test]
    fn chunks_that_repeat_add_as_those_that_do_not() {
        let chunk = |index: usize, delta: &str, rest: &str| {
            format!(
                r#"{{"id":"c","model":"m","choices":[{{"index":{index},"delta":{{{delta}}}}}]{rest}}}"#
            )
        };
        let mut chunks = vec![chunk(0, r#""role":"assistant","content":"""#, "")];
        for (n, text) in ["a", "", "é", r"\n", "漢字", r#"\"b"#, "}", "xyz"]
            .iter()
            .cycle()
            .take(40)
            .enumerate()
        {
            let text = format!(r#""content":"{text}""#);
            let padding = format!(r#","obfuscation":"{}""#, "p".repeat(n % 5));
            let rest = if n % 9 > 5 { &padding } else { "" };
            chunks.push(chunk(n / 7 % 2, &text, rest));
            if n % 11 == 10 {
                chunks.push(chunk(0, r#""reasoning_content":"r""#, ""));
                chunks.push(chunk(
                    1,
                    r#""content":"u""#,
                    r#","usage":{"total_tokens":3}"#,
                ));
            }
        }
        // No chunk is as long as the one before: each is parsed.
        let parsed = answer(&chunks, |n| n % 7);
        assert_eq!(answer(&chunks, |_| 0), parsed);
        assert!(parsed.contains("漢字"), "{parsed}");
    }
}
