//! Aleph Alpha's completion.

use super::{Must, text};
use crate::recordings::Exchange;
use genspan::vocabulary::attr;
use serde_json::json;

pub(super) fn of(x: &Exchange) -> Option<Must> {
    let asked = x.asked();
    if x.method != "POST" || x.path != "/complete" || asked["prompt"].is_null() {
        return None;
    }
    let answer = x.answer();
    let mut must = Must::call(x, "text_completion", asked["model"].as_str());
    must.set(attr::PROVIDER_NAME, Some(json!("aleph_alpha")));
    for (name, member) in [
        (attr::REQUEST_TEMPERATURE, "temperature"),
        (attr::REQUEST_TOP_P, "top_p"),
        (attr::REQUEST_TOP_K, "top_k"),
        (attr::REQUEST_MAX_TOKENS, "maximum_tokens"),
        (attr::REQUEST_PRESENCE_PENALTY, "presence_penalty"),
        (attr::REQUEST_FREQUENCY_PENALTY, "frequency_penalty"),
    ] {
        must.set(name, asked.get(member).cloned());
    }
    let items = asked["prompt"].as_array().into_iter().flatten();
    let parts = items.map(|item| text(&item["data"])).collect();
    must.asks(&[("user", parts)]);
    for (name, member) in [
        (attr::USAGE_INPUT_TOKENS, "num_tokens_prompt_total"),
        (attr::USAGE_OUTPUT_TOKENS, "num_tokens_generated"),
    ] {
        must.set(name, answer.get(member).cloned());
    }
    let completions = answer["completions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    must.set_reasons(completions.iter().map(|c| c["finish_reason"].clone()));
    let said = completions.iter().map(|c| vec![text(&c["completion"])]);
    must.output = Some(said.collect());
    Some(must)
}
