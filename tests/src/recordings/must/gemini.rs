//! Contents of the Gemini API and Vertex AI.

use super::{Must, asked, text, tool_call};
use crate::recordings::Exchange;
use crate::recordings::cassette::events;
use genspan::vocabulary::attr;
use serde_json::{Value, json};

pub(super) fn of(x: &Exchange) -> Option<Must> {
    let name = x.path.rsplit('/').next()?;
    if let Some(model) = name.strip_suffix(":batchEmbedContents") {
        return Some(embeddings(x, model));
    }
    let streams = name.ends_with(":streamGenerateContent");
    let model = if streams {
        name.strip_suffix(":streamGenerateContent")?
    } else {
        name.strip_suffix(":generateContent")?
    };
    let asked = x.asked();
    let answer = if streams { merged(x) } else { x.answer() };
    let (config, usage) = (&asked["generationConfig"], &answer["usageMetadata"]);
    let sum = |keys: [&str; 2]| {
        let counts: Vec<i64> = keys.iter().filter_map(|k| usage[k].as_i64()).collect();
        (!counts.is_empty()).then(|| json!(counts.iter().sum::<i64>()))
    };
    let provider = if x.host.starts_with("generativelanguage.") {
        "gcp.gemini"
    } else {
        "gcp.vertex_ai"
    };
    let mut must = Must::call(x, "generate_content", Some(model));
    must.set(attr::PROVIDER_NAME, Some(json!(provider)));
    for (name, member) in [
        (attr::REQUEST_MAX_TOKENS, "maxOutputTokens"),
        (attr::REQUEST_TEMPERATURE, "temperature"),
        (attr::REQUEST_TOP_P, "topP"),
        (attr::REQUEST_TOP_K, "topK"),
        (attr::REQUEST_SEED, "seed"),
        (attr::REQUEST_STOP_SEQUENCES, "stopSequences"),
        (attr::REQUEST_PRESENCE_PENALTY, "presencePenalty"),
    ] {
        must.set(name, config.get(member).cloned());
    }
    asked::google(&mut must, &asked);
    must.set(attr::REQUEST_STREAM, streams.then_some(json!(true)));
    must.set(attr::RESPONSE_ID, answer.get("responseId").cloned());
    must.set(attr::RESPONSE_MODEL, answer.get("modelVersion").cloned());
    let candidates = answer["candidates"].as_array().cloned().unwrap_or_default();
    must.set_reasons(candidates.iter().map(|c| match &c["finishReason"] {
        // Two of the recorded clients ask for numbers.
        Value::Number(n) if n.as_i64() == Some(1) => json!("STOP"),
        Value::Number(n) if n.as_i64() == Some(2) => json!("MAX_TOKENS"),
        other => other.clone(),
    }));
    must.set(
        attr::USAGE_INPUT_TOKENS,
        sum(["promptTokenCount", "toolUsePromptTokenCount"]),
    );
    must.set(
        attr::USAGE_OUTPUT_TOKENS,
        sum(["candidatesTokenCount", "thoughtsTokenCount"]),
    );
    must.set_nonzero(
        attr::USAGE_CACHE_READ,
        usage.get("cachedContentTokenCount").cloned(),
    );
    must.set_nonzero(
        attr::USAGE_REASONING,
        usage.get("thoughtsTokenCount").cloned(),
    );
    must.set(attr::ERROR_TYPE, answer.pointer("/error/status").cloned());
    must.output = Some(candidates.iter().map(parts).collect());
    Some(must)
}

/// Vectors of several contents, by the Gemini API.
fn embeddings(x: &Exchange, model: &str) -> Must {
    let answer = x.answer();
    let mut must = Must::call(x, "embeddings", Some(model));
    must.set(attr::PROVIDER_NAME, Some(json!("gcp.gemini")));
    let vector = answer.pointer("/embeddings/0/values");
    let length = vector.and_then(Value::as_array).map(Vec::len);
    must.set(attr::EMBEDDINGS_DIMENSION_COUNT, length.map(|n| json!(n)));
    let counted = answer.pointer("/usageMetadata/promptTokenCount");
    must.set(attr::USAGE_INPUT_TOKENS, counted.cloned());
    must.set(attr::ERROR_TYPE, answer.pointer("/error/status").cloned());
    must
}

/// The chunks of a stream as one answer: parts in their order, texts that follow each other joined,
/// the rest as it came last.
fn merged(x: &Exchange) -> Value {
    let mut whole = json!({});
    let mut parts: Vec<Value> = Vec::new();
    for (_, data) in events(&x.response) {
        let chunk: Value = serde_json::from_str(&data).unwrap_or_default();
        let more = chunk.pointer("/candidates/0/content/parts");
        for part in more.and_then(Value::as_array).into_iter().flatten() {
            let joins = |last: &&mut Value| {
                part["text"].is_string()
                    && last["text"].is_string()
                    && last["thought"] == part["thought"]
            };
            match parts.last_mut().filter(joins) {
                Some(last) => {
                    let before = last["text"].as_str().unwrap_or_default();
                    let piece = part["text"].as_str().unwrap_or_default();
                    last["text"] = json!(format!("{before}{piece}"));
                }
                None => parts.push(part.clone()),
            }
        }
        for (name, value) in chunk.as_object().into_iter().flatten() {
            whole[name] = value.clone();
        }
    }
    whole["candidates"][0]["content"]["parts"] = json!(parts);
    whole
}

fn parts(candidate: &Value) -> Vec<Value> {
    let list = candidate["content"]["parts"].as_array().cloned();
    let parts = list.unwrap_or_default().into_iter().map(|p| {
        if p["functionCall"].is_object() {
            let call = &p["functionCall"];
            tool_call(&Value::Null, &call["name"], &call["args"])
        } else if p["thought"] == true {
            json!({"type": "reasoning", "content": p["text"]})
        } else {
            text(&p["text"])
        }
    });
    parts.collect()
}
