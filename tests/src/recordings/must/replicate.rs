//! Replicate's predictions. What becomes of one other exchanges tell.

use super::{Must, text};
use crate::recordings::Exchange;
use genspan::vocabulary::attr;
use serde_json::json;

pub(super) fn of(x: &Exchange) -> Option<Must> {
    let asked = x.asked();
    if x.method != "POST" || !x.path.ends_with("/predictions") || !asked["input"].is_object() {
        return None;
    }
    let named = x.path.strip_prefix("/v1/models/");
    let named = named.and_then(|p| p.strip_suffix("/predictions"));
    let model = named.or(asked["version"].as_str());
    let mut must = Must::call(x, "generate_content", model);
    must.set(attr::PROVIDER_NAME, Some(json!("replicate")));
    must.asks(&[("user", vec![text(&asked["input"]["prompt"])])]);
    let answer = x.answer();
    must.set(attr::RESPONSE_ID, answer.get("id").cloned());
    must.set(attr::RESPONSE_MODEL, answer.get("model").cloned());
    Some(must)
}
