//! Embeddings: a content, several contents, and Vertex AI's instances. Vectors are long and of no
//! interest: only the first one's length is taken, and none is kept.

use super::{answer, usage};
use crate::model::call::{CallRequest, CallResponse, Usage};
use crate::provider::body::Body;
use crate::provider::json::borrowed::Str;
use crate::provider::json::{Object, field};
use crate::provider::shape::Answer;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// Reads a request's body; that a model embeds the texts says nothing of them.
pub(super) fn request(body: &Object) -> CallRequest {
    let of = |object: &Object| {
        let named = ["outputDimensionality", "output_dimensionality"];
        named.iter().find_map(|key| field::int(object, key))
    };
    let inner = ["parameters", "embedContentConfig"];
    let first = || field::list(body, "requests")?.first()?.as_object();
    let dimensions = of(body)
        .or_else(|| inner.iter().find_map(|key| of(field::object(body, key)?)))
        .or_else(|| of(first()?));
    CallRequest {
        dimensions,
        ..CallRequest::default()
    }
}

/// Reads an answer without making values of its vectors; `None` when it is not as it should be.
pub(super) fn fast(body: &Body) -> Option<Answer> {
    if body.has_hole() {
        return None;
    }
    let wire: Wire = serde_json::from_slice(body.head()).ok()?;
    let one = wire.embedding.map(|e| e.length);
    let several = wire.embeddings.or(wire.predictions);
    if one.is_none() && several.is_none() {
        return None;
    }
    let several = several.unwrap_or_default();
    let mut response = told(wire.usage.as_ref(), several.tokens);
    response.embedding_dimensions = one.unwrap_or(several.first);
    Some(Answer {
        response,
        ..Answer::default()
    })
}

/// Reads an answer that is not as it should be, or not whole.
pub(super) fn answer(root: &Object) -> Answer {
    let embeds = ["embedding", "embeddings", "predictions"];
    if !embeds.iter().any(|key| field::is_set(root, key)) {
        return Answer {
            error: answer::failed(root),
            ..Answer::default()
        };
    }
    let list = field::list(root, "predictions");
    let counts = list.unwrap_or_default().iter().filter_map(|p| {
        let inner = p.get("embeddings")?.get("statistics")?.as_object()?;
        tokens(inner)
    });
    let usage = field::object(root, "usageMetadata");
    let mut response = told(usage, total(counts));
    let first = |key: &str| field::list(root, key)?.first();
    response.embedding_dimensions = vector(root.get("embedding"))
        .or_else(|| vector(first("embeddings")))
        .or_else(|| vector(first("predictions")));
    Answer {
        response,
        ..Answer::default()
    }
}

fn told(usage: Option<&Object>, tokens: Option<i64>) -> CallResponse {
    let counted = usage.map(usage::read).unwrap_or_default();
    CallResponse {
        usage: Usage {
            input: counted.input.or(tokens),
            ..counted
        },
        ..CallResponse::default()
    }
}

/// The members of an entry that hold a vector, or hold what holds it.
const VECTORS: [&str; 5] = [
    "values",
    "embeddings",
    "textEmbedding",
    "imageEmbedding",
    "embedding",
];

/// Length of an entry's vector.
fn vector(entry: Option<&Value>) -> Option<i64> {
    let entry = entry?.as_object()?;
    VECTORS.iter().find_map(|key| match entry.get(*key)? {
        Value::Array(list) => i64::try_from(list.len()).ok(),
        Value::Object(inner) => i64::try_from(inner.get("values")?.as_array()?.len()).ok(),
        _ => None,
    })
}

/// Tokens of a `statistics`.
fn tokens(statistics: &Object) -> Option<i64> {
    field::int(statistics, "token_count").filter(|n| *n >= 0)
}

fn total(mut counts: impl Iterator<Item = i64>) -> Option<i64> {
    let first = counts.next()?;
    Some(counts.fold(first, i64::saturating_add))
}

#[derive(Deserialize)]
struct Wire {
    embedding: Option<Entry>,
    embeddings: Option<Entries>,
    predictions: Option<Entries>,
    #[serde(rename = "usageMetadata")]
    usage: Option<Object>,
}

/// What a list of embeddings tells: the length of the first, and the tokens of all.
#[derive(Default)]
struct Entries {
    first: Option<i64>,
    tokens: Option<i64>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries, A::Error> {
                let mut entries = Entries::default();
                let mut at_first = true;
                while let Some(entry) = seq.next_element::<Entry>()? {
                    if std::mem::take(&mut at_first) {
                        entries.first = entry.length;
                    }
                    let counts = entries.tokens.into_iter().chain(entry.tokens);
                    entries.tokens = total(counts);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// An entry: `{"values": […]}`, `{"embeddings": {"values": […], "statistics": …}}`,
/// `{"textEmbedding": […]}`.
#[derive(Default)]
struct Entry {
    length: Option<i64>,
    tokens: Option<i64>,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an embedding")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entry, A::Error> {
                let mut n = 0;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    n += 1;
                }
                Ok(Entry {
                    length: Some(n),
                    tokens: None,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
                let mut entry = Entry::default();
                let mut best = VECTORS.len();
                while let Some(key) = map.next_key::<Str<'de>>()? {
                    let vector = VECTORS.iter().position(|v| **v == *key);
                    match (vector, &*key) {
                        (Some(at), _) => {
                            let inner: Entry = map.next_value()?;
                            entry.tokens = entry.tokens.or(inner.tokens);
                            if at < best && inner.length.is_some() {
                                best = at;
                                entry.length = inner.length;
                            }
                        }
                        (None, "statistics") => {
                            let told: Object = map.next_value()?;
                            entry.tokens = tokens(&told);
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(entry)
            }
        }
        deserializer.deserialize_any(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::json;

    fn read(text: &str) -> Option<(Option<i64>, Option<i64>)> {
        let mut body = Body::default();
        body.push(0, text.as_bytes(), 1 << 20);
        body.close();
        let slow = json::read(text.as_bytes()).map(|d| answer(&d.root));
        let (slow, fast) = (slow?.response, fast(&body).map(|a| a.response));
        if let Some(fast) = fast {
            assert_eq!(fast, slow, "{text}");
        }
        Some((slow.embedding_dimensions, slow.usage.input))
    }

    #[test]
    fn forms() {
        for (text, dimensions, input) in [
            (r#"{"embedding":{"values":[0.1,2,3e-4]}}"#, Some(3), None),
            (
                r#"{"embedding":{"values":[0.1,2]},"usageMetadata":{"promptTokenCount":4}}"#,
                Some(2),
                Some(4),
            ),
            (
                r#"{"embeddings":[{"values":[1,2]},{"values":[3]}]}"#,
                Some(2),
                None,
            ),
            (r#"{"embeddings":[]}"#, None, None),
            (
                r#"{"predictions":[{"embeddings":{"statistics":{"token_count":4,"truncated":false},"values":[1,2,3]}},
                    {"embeddings":{"values":[1,2,3],"statistics":{"token_count":5}}}],"metadata":{"billableCharacterCount":9}}"#,
                Some(3),
                Some(9),
            ),
            (
                r#"{"predictions":[{"imageEmbedding":[1,2],"textEmbedding":[1,2,3]}],"deployedModelId":"1"}"#,
                Some(3),
                None,
            ),
            // Cut: what was not seen whole has no length.
            (r#"{"embedding":{"values":[0.1,2"#, None, None),
            (
                r#"{"predictions":[{"embeddings":{"values":[1,2],"statistics":{"token_count":4,"#,
                Some(2),
                Some(4),
            ),
            (r#"{"embedding":{"values":"AAAA"}}"#, None, None),
            (r#"{"embedding":7,"embeddings":{}}"#, None, None),
        ] {
            assert_eq!(read(text), Some((dimensions, input)), "{text}");
        }
    }
}
