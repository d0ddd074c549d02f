//! Answers of the embeddings API. Vectors are long and of no interest: only the first one's
//! length is taken, and none is kept.

use super::answer;
use super::usage;
use crate::model::call::{Api, CallResponse, Operation};
use crate::provider::body::Body;
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::shape::Answer;
use crate::provider::text::Room;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// Reads the answer; `None` when it is no JSON object.
pub(super) fn read(body: &Body, ended: bool) -> Option<(Answer, bool)> {
    if !body.has_hole() {
        if let Ok(wire) = serde_json::from_slice::<Wire>(body.head()) {
            return Some((fast(wire), true));
        }
    }
    let document = body.document(ended)?;
    let whole = document.whole;
    let dimension = field::list(&document.root, "data").and_then(|d| length(d.first()?));
    let usage = field::object(&document.root, "usage").map(usage::of_input);
    let mut answer = answer::read(
        Operation::Embeddings,
        Api::Embeddings,
        document,
        &mut Room(0),
    );
    answer.response.embedding_dimensions = dimension;
    if let Some(usage) = usage {
        answer.response.usage = usage;
    }
    Some((answer, whole))
}

#[derive(Deserialize)]
struct Wire {
    data: First,
    model: Option<String>,
    id: Option<String>,
    usage: Option<Object>,
}

fn fast(wire: Wire) -> Answer {
    Answer {
        response: CallResponse {
            id: wire.id.filter(|i| !i.is_empty()),
            model: wire.model.filter(|m| !m.is_empty()),
            usage: wire.usage.as_ref().map(usage::of_input).unwrap_or_default(),
            embedding_dimensions: wire.data.0,
            ..CallResponse::default()
        },
        ..Answer::default()
    }
}

/// Length of the first vector of a list.
struct First(Option<i64>);

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = First;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<First, A::Error> {
                let first = seq.next_element::<Entry>()?.and_then(|e| e.embedding.0);
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

#[derive(Deserialize)]
struct Entry {
    embedding: Length,
}

/// Length of a vector, of floats or base64.
struct Length(Option<i64>);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Vector;
        impl<'de> Visitor<'de> for Vector {
            type Value = Length;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Length, E> {
                Ok(Length(base64_floats(text)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Length, A::Error> {
                let mut n = 0;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    n += 1;
                }
                Ok(Length(Some(n)))
            }
        }
        deserializer.deserialize_any(Vector)
    }
}

fn length(entry: &Value) -> Option<i64> {
    match entry.get("embedding")? {
        Value::String(text) => base64_floats(text),
        Value::Array(list) => i64::try_from(list.len()).ok(),
        _ => None,
    }
}

/// How many little-endian floats of four bytes a base64 text holds.
fn base64_floats(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches('=').len();
    let bytes = digits / 4 * 3 + [0, 0, 1, 2][digits % 4];
    (digits % 4 != 1 && bytes.is_multiple_of(4) && bytes > 0).then_some((bytes / 4) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dimension(text: &str) -> Option<i64> {
        let mut body = Body::default();
        body.push(0, text.as_bytes(), 1 << 20);
        body.close();
        read(&body, true).and_then(|(a, _)| a.response.embedding_dimensions)
    }

    #[test]
    fn lengths() {
        assert_eq!(
            dimension(r#"{"data":[{"embedding":"AACAPwAAAEA="}],"usage":{}}"#),
            Some(2)
        );
        assert_eq!(
            dimension(r#"{"data":[{"embedding":[0.1,2,3e-4]},{"embedding":[1]}]}"#),
            Some(3)
        );
        assert_eq!(dimension(r#"{"data":[{"index":0}],"model":"m"}"#), None);
        assert_eq!(dimension(r#"{"data":[{"embedding":[0.1,2,3"#), None);
        assert_eq!(
            dimension(r#"{"data":[{"embedding":[0.1,2,3],"index":0},{"emb"#),
            Some(3)
        );
        assert_eq!(dimension(r#"{"data":[{"embedding":"AACAPwAA"#), None);
    }
}
