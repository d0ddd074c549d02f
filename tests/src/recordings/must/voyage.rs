//! Voyage AI's embeddings and rerank: OpenAI's and Cohere's forms, with one count of tokens.

use super::Must;
use crate::recordings::Exchange;
use genspan::vocabulary::attr;
use serde_json::json;

pub(super) fn of(x: &Exchange) -> Option<Must> {
    if x.host != "api.voyageai.com" {
        return None;
    }
    let kind = match x.path.as_str() {
        "/v1/embeddings" => "embeddings",
        "/v1/rerank" => "rerank_documents",
        _ => return None,
    };
    let (asked, answer) = (x.asked(), x.answer());
    let mut must = Must::call(x, kind, asked["model"].as_str());
    must.set(attr::PROVIDER_NAME, Some(json!("voyageai")));
    must.set(attr::RESPONSE_MODEL, answer.get("model").cloned());
    // There is no output that could count.
    must.set(
        attr::USAGE_INPUT_TOKENS,
        answer.pointer("/usage/total_tokens").cloned(),
    );
    must.set(attr::USAGE_OUTPUT_TOKENS, None);
    Some(must)
}
