//! IBM watsonx.ai's text generation.

use super::{Must, text};
use crate::recordings::Exchange;
use crate::recordings::cassette::events;
use genspan::vocabulary::attr;
use serde_json::{Value, json};

pub(super) fn of(x: &Exchange) -> Option<Must> {
    let path = x.path.strip_suffix("_stream").unwrap_or(&x.path);
    let asked = x.asked();
    if x.method != "POST" || !path.ends_with("/generation/text") || asked["input"].is_null() {
        return None;
    }
    let mut must = Must::call(x, "text_completion", asked["model_id"].as_str());
    must.set(attr::PROVIDER_NAME, Some(json!("ibm.watsonx.ai")));
    must.asks(&[("user", vec![text(&asked["input"])])]);
    let stream = x.path.ends_with("_stream").then(|| json!(true));
    must.set(attr::REQUEST_STREAM, stream);
    let answers: Vec<Value> = if x.streams() {
        let data = events(&x.response).into_iter();
        data.filter_map(|(_, data)| serde_json::from_str(&data).ok())
            .collect()
    } else {
        vec![x.answer()]
    };
    let results = || answers.iter().map(|a| &a["results"][0]);
    let model = answers.first().and_then(|a| a.get("model_id")).cloned();
    must.set(attr::RESPONSE_MODEL, model);
    // What was read is told once, what was made up to then.
    let read = results().filter_map(|r| r["input_token_count"].as_i64());
    must.set(attr::USAGE_INPUT_TOKENS, read.max().map(|n| json!(n)));
    let mut made = results().filter_map(|r| r["generated_token_count"].as_i64());
    must.set(
        attr::USAGE_OUTPUT_TOKENS,
        made.next_back().map(|n| json!(n)),
    );
    let reasons = results().map(|r| &r["stop_reason"]);
    must.set_reasons(reasons.filter(|r| **r != "not_finished").cloned());
    let said: String = results()
        .filter_map(|r| r["generated_text"].as_str())
        .collect();
    must.output = Some(vec![vec![text(&json!(said))]]);
    Some(must)
}
