//! An operator's paths into JSON documents (RFC 9535). What a path leads to is replaced, whatever it
//! is.

use super::Redactor;
use serde_json::Value;

/// Longest text that is tried as a document of its own, in bytes.
const DOCUMENT: usize = 1 << 20;

impl Redactor {
    /// Whether there are paths at all.
    #[must_use]
    pub fn has_paths(&self) -> bool {
        !self.paths.is_empty()
    }

    /// Replaces in a document what the paths lead to; gives whether that was anything.
    pub fn document(&self, document: &mut Value) -> bool {
        let mut any = false;
        for (path, rule) in &self.paths {
            let marker = &self.markers[*rule];
            let places: Vec<String> = path
                .query_located(document)
                .locations()
                .map(|place| place.to_json_pointer())
                .collect();
            for place in places {
                // What lies in something that was replaced is gone.
                let Some(value) = document.pointer_mut(&place) else {
                    continue;
                };
                if value.as_str() != Some(marker) {
                    *value = Value::String(marker.clone());
                    self.count(*rule);
                    any = true;
                }
            }
        }
        any
    }

    /// The same for a text that is a JSON object or array.
    pub fn text_document(&self, text: &mut String) {
        let begins = text.trim_start().starts_with(['{', '[']);
        if self.paths.is_empty() || !begins || text.len() > DOCUMENT {
            return;
        }
        if let Ok(mut document) = serde_json::from_str(text)
            && self.document(&mut document)
        {
            *text = document.to_string();
        }
    }

    /// The same for a value, and for the texts in it.
    pub fn value_document(&self, value: &mut Value) {
        if self.paths.is_empty() {
            return;
        }
        self.document(value);
        self.texts_in(value);
    }

    fn texts_in(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.text_document(text),
            Value::Array(list) => list.iter_mut().for_each(|v| self.texts_in(v)),
            Value::Object(map) => map.values_mut().for_each(|v| self.texts_in(v)),
            Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }
}
