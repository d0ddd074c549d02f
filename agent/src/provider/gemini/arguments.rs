//! Arguments of a call that come in pieces, each at its path: Vertex AI's
//! `streamFunctionCallArguments`. A call goes on while it says `willContinue`; what then comes
//! without a name is more of it.
//!
//! Source: Vertex AI, "Introduction to function calling", "Streaming function call arguments".

use super::{names, parts};
use crate::model::call::Part;
use crate::provider::json::{Object, field};
use crate::provider::text::Room;
use serde_json::{Map, Value};

/// Steps of a path that are followed.
const MAX_STEPS: usize = 32;

/// Elements of a list that are followed.
const MAX_ELEMENTS: usize = 1024;

/// What a value counts for that is no text, and each step to it.
const NODE_BYTES: usize = 32;

/// A call of a tool under way.
#[derive(Debug, Default)]
pub(super) struct Call {
    id: Option<String>,
    name: String,
    args: Option<Value>,
    /// More of it may come.
    pub(super) open: bool,
    /// Something of its arguments could not be put in place: they are not told.
    lost: bool,
}

impl Call {
    /// As it is begun.
    pub(super) fn new(mut call: Object, room: &mut Room) -> Self {
        let mut begun = Self {
            id: field::owned(&call, "id"),
            name: field::take_string(&mut call, "name").unwrap_or_default(),
            args: field::take(&mut call, "args").map(|a| parts::kept(a, room)),
            ..Self::default()
        };
        begun.more(call, room);
        begun
    }

    /// Takes a part that says more of it.
    pub(super) fn more(&mut self, call: Object, room: &mut Room) {
        let mut call = names::camel(call);
        self.open = field::is_true(&call, "willContinue");
        if self.id.is_none() {
            self.id = field::owned(&call, "id");
        }
        for piece in parts::list(field::take(&mut call, "partialArgs")) {
            self.lost |= self.place(piece, room).is_none();
        }
    }

    /// Puts a piece where it belongs.
    fn place(&mut self, mut piece: Object, room: &mut Room) -> Option<()> {
        let path = field::take_string(&mut piece, "jsonPath")?;
        let steps = steps(&path)?;
        let text = field::take_string(&mut piece, "stringValue");
        let value = match (&text, piece.get("numberValue"), piece.get("boolValue")) {
            (Some(_), ..) => Value::String(String::new()),
            (_, Some(number @ Value::Number(_)), _) => number.clone(),
            (.., Some(truth @ Value::Bool(_))) => truth.clone(),
            _ if piece.contains_key("nullValue") => Value::Null,
            // Says that nothing more comes at this place.
            _ => return Some(()),
        };
        let cost = path.len() + NODE_BYTES * (steps.len() + 1);
        room.0 = room.0.checked_sub(cost)?;
        let mut at = self.args.get_or_insert_with(|| Value::Object(Map::new()));
        for step in &steps {
            at = enter(at, step)?;
        }
        match (at, text) {
            (Value::String(before), Some(text)) => before.push_str(&room.keep(text).kept),
            (at, Some(text)) => *at = Value::String(room.keep(text).kept),
            (at, None) => *at = value,
        }
        Some(())
    }

    /// The part that it is, as far as it came.
    pub(super) fn into_part(self) -> Part {
        Part::ToolCall {
            id: self.id,
            name: self.name,
            arguments: self.args.filter(|_| !self.lost),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Member(&'a str),
    Element(usize),
}

/// The steps of a path: `$.a.b[0]['c d']`.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if steps.len() == MAX_STEPS {
            return None;
        }
        if let Some(member) = rest.strip_prefix('.') {
            let end = member.find(['.', '[']).unwrap_or(member.len());
            let (name, after) = member.split_at(end);
            if name.is_empty() {
                return None;
            }
            steps.push(Step::Member(name));
            rest = after;
            continue;
        }
        let inner = rest.strip_prefix('[')?;
        if let Some(quote) = inner.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            let (name, after) = inner[1..].split_once(quote)?;
            steps.push(Step::Member(name));
            rest = after.strip_prefix(']')?;
        } else {
            let (index, after) = inner.split_once(']')?;
            let index = index.parse().ok().filter(|n| *n < MAX_ELEMENTS)?;
            steps.push(Step::Element(index));
            rest = after;
        }
    }
    Some(steps)
}

/// The value behind a step, made if there is none; `None` when another value is in the way.
fn enter<'a>(at: &'a mut Value, step: &Step<'_>) -> Option<&'a mut Value> {
    match step {
        Step::Member(name) => {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            let object = at.as_object_mut()?;
            Some(object.entry(*name).or_insert(Value::Null))
        }
        Step::Element(index) => {
            if at.is_null() {
                *at = Value::Array(Vec::new());
            }
            let list = at.as_array_mut()?;
            // They come in order: a hole is a loss.
            if *index == list.len() {
                list.push(Value::Null);
            }
            list.get_mut(*index)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn arguments(pieces: &Value, room: usize) -> Option<Value> {
        let mut room = Room(room);
        let mut call = Call::new(
            json!({"name":"f","willContinue":true})
                .as_object()
                .unwrap()
                .clone(),
            &mut room,
        );
        assert!(call.open);
        for piece in pieces.as_array().unwrap() {
            let more = json!({"partialArgs":[piece]});
            call.more(more.as_object().unwrap().clone(), &mut room);
        }
        assert!(!call.open);
        match call.into_part() {
            Part::ToolCall { arguments, .. } => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pieces_find_their_places() {
        let pieces = json!([
            {"jsonPath":"$.city","stringValue":"Ly","willContinue":true},
            {"jsonPath":"$.city","stringValue":"on"},
            {"jsonPath":"$.city"},
            {"jsonPath":"$.days[0].n","numberValue":1},
            {"jsonPath":"$.days[1]['a b']","boolValue":false},
            {"jsonPath":"$.none","nullValue":"NULL_VALUE"}]);
        let want = json!({"city":"Lyon","days":[{"n":1},{"a b":false}],"none":null});
        assert_eq!(arguments(&pieces, 10_000), Some(want));
        assert_eq!(arguments(&pieces, 100), None);
    }

    #[test]
    fn what_has_no_place_is_not_guessed() {
        let deep = format!("${}", ".a".repeat(MAX_STEPS + 1));
        for path in [
            "",
            "city",
            "$..a",
            "$[",
            "$[x]",
            "$[5]",
            "$['a",
            "$.a[9999999]",
            "$[''x",
            deep.as_str(),
        ] {
            let pieces =
                json!([{"jsonPath":"$.a","numberValue":1},{"jsonPath":path,"numberValue":2}]);
            assert_eq!(arguments(&pieces, 10_000), None, "{path}");
        }
        let through =
            json!([{"jsonPath":"$.a","numberValue":1},{"jsonPath":"$.a.b","numberValue":2}]);
        assert_eq!(arguments(&through, 10_000), None);
    }
}
