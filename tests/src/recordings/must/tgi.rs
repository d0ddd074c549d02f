//! Text Generation Inference, as Hugging Face hosts it: its root takes a text.

use super::{Must, asked, text};
use crate::recordings::Exchange;
use genspan::vocabulary::attr;
use serde_json::json;

pub(super) fn of(x: &Exchange) -> Option<Must> {
    let asked = x.asked();
    let hosted = x.host.ends_with(".endpoints.huggingface.cloud");
    if !(hosted && x.path == "/" && asked["inputs"].is_string()) {
        return None;
    }
    let answer = x.answer();
    let (answer, parameters) = (&answer[0], &asked["parameters"]);
    let mut must = Must::call(x, "text_completion", None);
    must.set(attr::PROVIDER_NAME, Some(json!("huggingface")));
    must.set(
        attr::REQUEST_TEMPERATURE,
        parameters.get("temperature").cloned(),
    );
    must.set(attr::REQUEST_TOP_P, parameters.get("top_p").cloned());
    must.set(
        attr::REQUEST_MAX_TOKENS,
        parameters.get("max_new_tokens").cloned(),
    );
    asked::prompt(&mut must, &asked["inputs"]);
    must.set_error(x, answer, &[]);
    let details = &answer["details"];
    must.set(
        attr::USAGE_OUTPUT_TOKENS,
        details.get("generated_tokens").cloned(),
    );
    must.set(attr::USAGE_INPUT_TOKENS, None);
    must.set_reasons([details["finish_reason"].clone()]);
    must.output = Some(vec![vec![text(&answer["generated_text"])]]);
    Some(must)
}
