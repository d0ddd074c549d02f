//! Members of an object by the type they should have; of another type they count as absent.

use super::Object;
use serde_json::Value;

/// A text.
#[must_use]
pub fn str<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

/// A text that says something.
#[must_use]
pub fn nonempty<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    str(object, key).filter(|s| !s.is_empty())
}

/// A text that says something, copied.
#[must_use]
pub fn owned(object: &Object, key: &str) -> Option<String> {
    nonempty(object, key).map(str::to_owned)
}

/// A whole number, also when it is written with a fraction of zero.
#[must_use]
pub fn int(object: &Object, key: &str) -> Option<i64> {
    as_int(object.get(key)?)
}

/// See [`int`].
#[must_use]
pub fn as_int(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let f = value.as_f64()?;
        (f.fract() == 0.0 && f.abs() < 9e15).then_some(f as i64)
    })
}

/// A number.
#[must_use]
pub fn float(object: &Object, key: &str) -> Option<f64> {
    object.get(key)?.as_f64().filter(|f| f.is_finite())
}

/// A truth value that is true.
#[must_use]
pub fn is_true(object: &Object, key: &str) -> bool {
    object.get(key).and_then(Value::as_bool) == Some(true)
}

/// An object.
#[must_use]
pub fn object<'a>(object: &'a Object, key: &str) -> Option<&'a Object> {
    object.get(key)?.as_object()
}

/// A list.
#[must_use]
pub fn list<'a>(object: &'a Object, key: &str) -> Option<&'a [Value]> {
    object.get(key)?.as_array().map(Vec::as_slice)
}

/// Whether there is a member that is not null.
#[must_use]
pub fn is_set(object: &Object, key: &str) -> bool {
    object.get(key).is_some_and(|v| !v.is_null())
}

/// Takes a member out, leaving null in its place; a null is absent.
pub fn take(object: &mut Object, key: &str) -> Option<Value> {
    object
        .get_mut(key)
        .map(Value::take)
        .filter(|v| !v.is_null())
}

/// Takes a text out.
pub fn take_string(object: &mut Object, key: &str) -> Option<String> {
    match object.get_mut(key)? {
        Value::String(s) => Some(std::mem::take(s)),
        _ => None,
    }
}

/// Takes an object out.
pub fn take_object(object: &mut Object, key: &str) -> Option<Object> {
    match object.get_mut(key)? {
        Value::Object(o) => Some(std::mem::take(o)),
        _ => None,
    }
}

/// Takes a list out.
pub fn take_list(object: &mut Object, key: &str) -> Option<Vec<Value>> {
    match object.get_mut(key)? {
        Value::Array(list) => Some(std::mem::take(list)),
        _ => None,
    }
}
