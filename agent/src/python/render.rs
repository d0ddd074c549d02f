//! Values as JSON, for attributes of spans.

use serde_json::{Map, Number, Value as Json};

use super::number::Int;
use super::object::Kind;
use super::value::Value;

/// What stands for what is missing, in its place.
mod mark {
    pub(super) const CYCLE: &str = "<cycle>";
    pub(super) const DEEPER: &str = "<deeper>";
    pub(super) const OMITTED: &str = "<omitted>";
    pub(super) const UNREADABLE: &str = "<unreadable>";
}

/// The value as JSON. Texts, numbers, lists and dicts are themselves; an instance is the object of
/// its attributes; what JSON has no word for is a text in angle brackets.
///
/// It is as large as the value: what bounds it are the limits that it was read with.
#[must_use]
pub fn json(value: &Value) -> Json {
    render(value, None)
}

/// The same, in which every instance has its class as its first member, of this name.
#[must_use]
pub fn classed(value: &Value, name: &str) -> Json {
    render(value, Some(name))
}

fn render(value: &Value, classes: Option<&str>) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(Int::Small(value)) => Json::from(*value),
        // A number as it is, not a float that is nearly it.
        Value::Int(Int::Large(decimals)) => Json::String(decimals.clone()),
        Value::Int(Int::Huge(bits)) => Json::String(format!("<int of about {bits} bits>")),
        Value::Float(value) => Number::from_f64(*value)
            .map_or_else(|| Json::String(python_float(*value).into()), Json::Number),
        Value::Text { text, missing: 0 } => Json::String(text.clone()),
        Value::Text { text, missing } => Json::String(format!("{text}… <{missing} more>")),
        Value::Bytes { bytes, missing } => {
            Json::String(format!("<{} bytes>", bytes.len() + missing))
        }
        Value::Items { items, missing, .. } => {
            let mut all: Vec<_> = items.iter().map(|item| render(item, classes)).collect();
            if *missing > 0 {
                all.push(Json::String(format!("<{missing} more>")));
            }
            Json::Array(all)
        }
        Value::Dict { entries, missing } => {
            let mut all = Map::new();
            for (key, value) in entries {
                all.insert(key_text(key), render(value, classes));
            }
            if *missing > 0 {
                all.insert("<more>".into(), Json::from(*missing));
            }
            Json::Object(all)
        }
        Value::Uuid(value) => Json::String(uuid(*value)),
        Value::Instance { class, attributes } => {
            let shown = attributes.iter().filter(|(name, _)| !is_special(name));
            let mut all = Map::new();
            if let Some(name) = classes {
                all.insert(name.to_owned(), Json::from(class.as_str()));
            }
            all.extend(shown.map(|(n, v)| (n.clone(), render(v, classes))));
            if all.is_empty() {
                return Json::String(format!("<{class}>"));
            }
            Json::Object(all)
        }
        Value::Exception { class, args } => {
            let texts: Vec<_> = args.iter().map(key_text).collect();
            Json::String(if texts.is_empty() {
                class.clone()
            } else {
                format!("{class}: {}", texts.join(", "))
            })
        }
        Value::Named { kind, name } => Json::String(match kind {
            Kind::Type => format!("<class {name}>"),
            Kind::Module => format!("<module {name}>"),
            _ => format!("<function {name}>"),
        }),
        Value::Cycle => mark::CYCLE.into(),
        Value::Deeper => mark::DEEPER.into(),
        Value::Omitted => mark::OMITTED.into(),
        Value::Unreadable => mark::UNREADABLE.into(),
    }
}

/// Whether a name is one of those that Python and libraries such as pydantic keep for their own
/// working.
fn is_special(name: &str) -> bool {
    name.len() > 4 && name.starts_with("__") && name.ends_with("__")
}

/// The value as a text: itself, or its JSON.
#[must_use]
pub fn key_text(value: &Value) -> String {
    match json(value) {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

/// A UUID as Python writes it.
#[must_use]
pub fn uuid(value: u128) -> String {
    let hex = format!("{value:032x}");
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

fn python_float(value: f64) -> &'static str {
    if value.is_nan() {
        "nan"
    } else if value > 0.0 {
        "inf"
    } else {
        "-inf"
    }
}
