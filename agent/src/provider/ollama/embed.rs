//! Answers of the embeddings' APIs. Vectors are long and of no interest: only the first one's
//! length is taken, and none is kept.

use super::answer;
use crate::provider::body::Body;
use crate::provider::json::Object;
use crate::provider::shape::{Answer, Read};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    embeddings: Option<List<Length>>,
    /// As `/api/embeddings` has it.
    #[serde(default)]
    embedding: Option<Length>,
    #[serde(default)]
    model: Value,
    #[serde(default)]
    prompt_eval_count: Value,
}

/// Reads the answer; `None` when it is not whole or not of this form.
pub(super) fn read(body: &Body, ended: bool) -> Option<Read> {
    if body.has_hole() {
        return cut(body, ended);
    }
    let Ok(wire) = serde_json::from_slice::<Wire>(body.head()) else {
        return cut(body, ended);
    };
    let first = wire.embeddings.and_then(|list| list.first);
    let dimensions = first.or(wire.embedding).map(|l| l.0)?;
    let mut root = Object::new();
    root.insert("model".to_owned(), wire.model);
    root.insert("prompt_eval_count".to_owned(), wire.prompt_eval_count);
    let mut response = answer::head(&root);
    response.embedding_dimensions = Some(dimensions);
    Some(Read {
        answer: Answer {
            response,
            ..Answer::default()
        },
        whole: true,
        foreign: false,
    })
}

/// What can be told of a document in parts: a vector has its length only when another follows.
fn cut(body: &Body, ended: bool) -> Option<Read> {
    let document = body.document(ended)?;
    let vectors = document.root.get("embeddings").and_then(Value::as_array)?;
    let mut response = answer::head(&document.root);
    if vectors.len() > 1 {
        let first = vectors.first().and_then(Value::as_array);
        response.embedding_dimensions = first.and_then(|v| i64::try_from(v.len()).ok());
    }
    Some(Read {
        answer: Answer {
            response,
            ..Answer::default()
        },
        whole: document.whole,
        foreign: false,
    })
}

/// Length of a list.
struct Length(i64);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_seq(Items(std::marker::PhantomData::<IgnoredAny>))
            .map(|list| Self(list.length))
    }
}

/// The first item of a list, and how many there are.
struct List<T> {
    first: Option<T>,
    length: i64,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Items(std::marker::PhantomData))
    }
}

struct Items<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
        let first = seq.next_element::<T>()?;
        let mut length = i64::from(first.is_some());
        while seq.next_element::<IgnoredAny>()?.is_some() {
            length += 1;
        }
        Ok(List { first, length })
    }
}
