//! Bedrock: converse, and invocations in the forms of each maker.

use super::{Must, asked, first, text, tool_call};
use crate::recordings::Exchange;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use genspan::model::exchange::SseEvent;
use genspan::protocol::aws_frames::AwsFrames;
use genspan::vocabulary::attr;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) fn of(x: &Exchange) -> Option<Must> {
    let rest = x.path.strip_prefix("/model/")?;
    if x.method != "POST" || !x.host.starts_with("bedrock-runtime.") {
        return None;
    }
    let model = decode(rest.rsplit_once('/')?.0);
    let (asked, answer) = (x.asked(), whole(x));
    // Which kind of call an invocation is depends on its maker; it is not judged.
    let mut must = Must::call(x, "", None);
    must.attributes.remove(attr::OPERATION_NAME);
    must.name.clear();
    must.set(attr::REQUEST_MODEL, Some(json!(model)));
    must.set(attr::PROVIDER_NAME, Some(json!("aws.bedrock")));
    let limits = [
        "/inferenceConfig/maxTokens",
        "/inferenceConfig/max_new_tokens",
        "/textGenerationConfig/maxTokenCount",
        "/max_tokens",
        "/max_gen_len",
        "/max_tokens_to_sample",
    ];
    let heats = [
        "/inferenceConfig/temperature",
        "/textGenerationConfig/temperature",
        "/temperature",
    ];
    let reasons = [
        "/stopReason",
        "/stop_reason",
        "/results/0/completionReason",
        "/generations/0/finish_reason",
        "/choices/0/finish_reason",
        "/finish_reason",
    ];
    must.set(attr::REQUEST_MAX_TOKENS, first(&asked, &limits).cloned());
    must.set(attr::REQUEST_TEMPERATURE, first(&asked, &heats).cloned());
    must.set_reasons(first(&answer, &reasons).cloned());
    let cached: i64 = CACHED
        .iter()
        .filter_map(|places| first(&answer, places)?.as_i64())
        .sum();
    let input = count(x, &answer, &INPUT, "x-amzn-bedrock-input-token-count");
    must.set(attr::USAGE_INPUT_TOKENS, input.map(|n| json!(n + cached)));
    let output = count(x, &answer, &OUTPUT, "x-amzn-bedrock-output-token-count");
    must.set(attr::USAGE_OUTPUT_TOKENS, output.map(|n| json!(n)));
    let cached = &answer["usage"];
    for (name, places) in [
        (attr::USAGE_CACHE_READ, &CACHED[0]),
        (attr::USAGE_CACHE_WRITE, &CACHED[1]),
    ] {
        must.set_nonzero(name, first(&answer, places).cloned());
    }
    must.set_nonzero(
        attr::USAGE_REASONING,
        cached.get("reasoningTokens").cloned(),
    );
    says(&mut must, x, &asked);
    let kind = x
        .response_headers
        .iter()
        .find(|(n, _)| n == "x-amzn-errortype");
    let kind = kind.and_then(|(_, v)| v.split(':').next());
    let told = json!({"header": kind});
    let broken = answer["exception"].is_string();
    must.set_error(x, &told, &["/header"]);
    if broken {
        must.set(attr::ERROR_TYPE, answer.get("exception").cloned());
    }
    let parts = parts(&answer);
    must.output = Some(if parts.is_empty() {
        vec![]
    } else {
        vec![parts]
    });
    must.failed |= answer["exception"].is_string();
    Some(must)
}

/// What is asked, in the form of each maker, and which operation that is.
fn says(must: &mut Must, x: &Exchange, asked: &Value) {
    let converses = x.path.contains("/converse");
    let nova = asked["messages"][0]["content"][0]
        .get("text")
        .filter(|_| asked["messages"][0]["content"][0]["type"].is_null());
    if converses || nova.is_some() {
        asked::converse(must, asked);
    } else if asked["messages"].is_array() {
        asked::anthropic(must, asked);
    } else if let Some(prompt) = first(asked, &["/prompt", "/inputText"]) {
        asked::prompt(must, prompt);
    }
    if asked["messages"].is_array() {
        must.set(attr::OPERATION_NAME, Some(json!("chat")));
    }
}

const CACHED: [[&str; 2]; 2] = [
    [
        "/usage/cacheReadInputTokens",
        "/usage/cache_read_input_tokens",
    ],
    [
        "/usage/cacheWriteInputTokens",
        "/usage/cache_creation_input_tokens",
    ],
];

const INPUT: [&str; 5] = [
    "/usage/inputTokens",
    "/usage/input_tokens",
    "/usage/prompt_tokens",
    "/inputTextTokenCount",
    "/prompt_token_count",
];

const OUTPUT: [&str; 5] = [
    "/usage/outputTokens",
    "/usage/output_tokens",
    "/usage/completion_tokens",
    "/results/0/tokenCount",
    "/generation_token_count",
];

fn count(x: &Exchange, answer: &Value, places: &[&str], header: &str) -> Option<i64> {
    let told = first(answer, places).and_then(Value::as_f64);
    let headers = &x.response_headers;
    let header = headers.iter().find(|(n, _)| n == header);
    told.map(|n| n as i64).or_else(|| header?.1.parse().ok())
}

fn parts(answer: &Value) -> Vec<Value> {
    let blocks = first(answer, &["/output/message/content", "/content"]);
    if let Some(blocks) = blocks.and_then(Value::as_array) {
        let part = |b: &Value| {
            let used = first(b, &["/toolUse"]).unwrap_or(b);
            if used["input"].is_object() {
                let id = first(used, &["/toolUseId", "/id"]).cloned();
                return Some(tool_call(
                    &id.unwrap_or_default(),
                    &used["name"],
                    &used["input"],
                ));
            }
            b["text"].is_string().then(|| text(&b["text"]))
        };
        return blocks.iter().filter_map(part).collect();
    }
    let places = [
        "/completion",
        "/results/0/outputText",
        "/generation",
        "/generations/0/text",
        "/choices/0/text",
        "/text",
    ];
    first(answer, &places).map(text).into_iter().collect()
}

/// The answer, put together from a stream in the simplest way: whoever says something of text,
/// reasons and counts in it means the same.
fn whole(x: &Exchange) -> Value {
    if !x.is_framed() {
        return x.answer();
    }
    let mut blocks: BTreeMap<u64, Value> = BTreeMap::new();
    let mut whole = json!({});
    AwsFrames::new().feed(&x.response, &mut |e: SseEvent<'_>| {
        let event = opened(e.data, &mut whole);
        if e.comment == "exception" {
            whole["exception"] = json!(e.event);
        }
        let index = first(&event, &["/contentBlockIndex", "/index"]);
        let index = index.and_then(Value::as_u64).unwrap_or_default();
        // Nova begins a block for each piece when it is invoked.
        let index = if x.path.ends_with("/invoke-with-response-stream") {
            0
        } else {
            index
        };
        let block = blocks.entry(index).or_default();
        let text = ["/delta/text", "/outputText", "/completion"];
        for (key, places) in [("text", &text[..]), ("json", &["/delta/toolUse/input"])] {
            if let Some(piece) = first(&event, places).and_then(Value::as_str) {
                let before = block[key].as_str().unwrap_or_default();
                block[key] = json!(format!("{before}{piece}"));
            }
        }
        if let Some(used) = first(&event, &["/start/toolUse"]) {
            block["toolUse"] = used.clone();
        }
        let reasons = [
            "/stopReason",
            "/delta/stop_reason",
            "/completionReason",
            "/stop_reason",
        ];
        if let Some(reason) = first(&event, &reasons) {
            whole["stopReason"] = reason.clone();
        }
        for (name, counted) in [
            ("inputTokens", "/inputTextTokenCount"),
            ("outputTokens", "/totalOutputTextTokenCount"),
        ] {
            // Titan's own counts, where no other come.
            if let Some(count) = event.pointer(counted).and_then(Value::as_f64)
                && whole["usage"][name].is_null()
            {
                whole["usage"][name] = json!(count);
            }
        }
        if let Some(usage) = first(&event, &["/usage"]).filter(|u| u["inputTokens"].is_i64()) {
            whole["usage"] = usage.clone();
        }
    });
    let blocks: Vec<Value> = blocks
        .into_values()
        .filter(Value::is_object)
        .map(|mut block| {
            if block["toolUse"].is_object() {
                let input = block["json"].as_str().unwrap_or("{}");
                let parsed = serde_json::from_str(input);
                block["toolUse"]["input"] = parsed.unwrap_or_else(|_| json!(input));
            }
            block
        })
        .collect();
    whole["content"] = json!(blocks);
    whole
}

/// The event itself, of what may be wrapped in an invocation's chunk.
fn opened(data: &[u8], whole: &mut Value) -> Value {
    let event: Value = serde_json::from_slice(data).unwrap_or_default();
    let Some(chunk) = event["bytes"].as_str() else {
        return event;
    };
    let decoded = STANDARD.decode(chunk).unwrap_or_default();
    let event: Value = serde_json::from_slice(&decoded).unwrap_or_default();
    let metrics = event.get("amazon-bedrock-invocationMetrics");
    if let Some(metrics) = metrics.filter(|m| m["inputTokenCount"].is_i64()) {
        whole["usage"] = json!({
            "inputTokens": metrics["inputTokenCount"],
            "outputTokens": metrics["outputTokenCount"],
        });
    }
    let inner = event.as_object().into_iter().flatten().find(|(name, v)| {
        v.is_object() && (name.starts_with("message") || name.starts_with("contentBlock"))
    });
    inner
        .filter(|(name, _)| *name != "message")
        .map_or_else(|| event.clone(), |(_, inner)| inner.clone())
}

/// Percent-decodes the name of a model.
fn decode(text: &str) -> String {
    text.replace("%3A", ":").replace("%2F", "/")
}
