//! Differences between our spans and the peer's that are right, each with its reason.

use super::seen::same;
use super::{Exchange, must};
use genspan::vocabulary::attr;
use serde_json::{Value, json};

/// One attribute (or `name`, or `status`) that is not the same.
#[derive(Debug)]
pub struct Difference<'a> {
    /// Its name.
    pub name: &'a str,
    /// What the peer says.
    pub peer: Option<&'a Value>,
    /// What we say.
    pub ours: Option<&'a Value>,
    /// What was sent and answered.
    pub exchange: &'a Exchange,
    /// How it was sent.
    pub via: &'a str,
}

impl Difference<'_> {
    /// What we say is what the recording says.
    fn recorded(&self) -> bool {
        let must = must::of(self.exchange);
        let value = must.as_ref().and_then(|m| m.wants(self.name));
        value.zip(self.ours).is_some_and(|(a, b)| same(a, b))
    }

    /// The request asks for it under this member.
    fn asked(&self, pointer: &str) -> bool {
        self.exchange
            .asked()
            .pointer(pointer)
            .is_some_and(|v| !v.is_null())
    }

    fn ours_only(&self, name: &str) -> bool {
        self.name == name && self.peer.is_none()
    }

    fn both(&self, name: &str) -> bool {
        self.name == name && self.peer.is_some() && self.ours.is_some()
    }
}

/// The names of tools or functions.
fn names(list: &Value) -> Vec<&Value> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|tool| &tool["name"])
        .collect()
}

/// A difference that is right, and why.
#[derive(Debug)]
pub struct Allowed {
    /// Why.
    pub why: &'static str,
    /// Whether a difference is this one.
    pub holds: fn(&Difference<'_>) -> bool,
}

/// All of them.
pub const ALLOWED: &[Allowed] = &[
    Allowed {
        why: "`server.port`: the conventions ask for the port with the address; the peer omits 443",
        holds: |d| d.ours_only(attr::SERVER_PORT) && d.ours == Some(&json!(443)),
    },
    Allowed {
        why: "the peer's address is the socket's; an SDK does not see it",
        holds: |d| {
            (d.ours_only(attr::NETWORK_PEER_ADDRESS) && d.ours == Some(&json!("127.0.0.1")))
                || (d.ours_only(attr::NETWORK_PEER_PORT) && d.ours.is_some_and(Value::is_u64))
        },
    },
    Allowed {
        why: "the recorded request carries a `traceparent`, and the span says that it was used",
        holds: |d| {
            let headers = &d.exchange.request_headers;
            d.ours_only(attr::PARENT_FOUND_BY)
                && d.ours == Some(&json!("traceparent"))
                && headers.iter().any(|(name, _)| name == "traceparent")
        },
    },
    Allowed {
        why: "provider by host; the peer always says openai",
        holds: |d| d.both(attr::PROVIDER_NAME) && d.peer == Some(&json!("openai")),
    },
    Allowed {
        why: "time to first chunk is measured, not equal",
        holds: |d| {
            d.both(attr::RESPONSE_TIME_TO_FIRST_CHUNK)
                && d.ours.is_some_and(|n| n.as_f64() > Some(0.0))
        },
    },
    Allowed {
        why: "`error.type` is the provider's code; the peer names the Python class",
        holds: |d| {
            let error = &d.exchange.answer()["error"];
            let status = json!(d.exchange.status.to_string());
            d.both(attr::ERROR_TYPE)
                && d.peer.is_some_and(|p| p.to_string().contains("openai."))
                && [&error["code"], &error["type"], &status]
                    .contains(&d.ours.unwrap_or(&Value::Null))
        },
    },
    Allowed {
        why: "the fingerprint is in each chunk; the peer reads it from whole answers only",
        holds: |d| {
            let streams = d.exchange.streams();
            d.ours_only(attr::OPENAI_RESPONSE_SYSTEM_FINGERPRINT) && streams && d.recorded()
        },
    },
    Allowed {
        why: "reasoning effort is in the request; the peer does not set it",
        holds: |d| {
            let asked = d.exchange.asked();
            let [new, old] = ["/reasoning/effort", "/reasoning_effort"].map(|p| asked.pointer(p));
            d.ours_only(attr::REQUEST_REASONING_LEVEL) && (d.ours == new || d.ours == old)
        },
    },
    Allowed {
        why: "the peer sets nothing of an answer that was asked for as a raw response (embeddings)",
        holds: |d| d.peer.is_none() && d.via.contains("embeddings.create(raw)") && d.recorded(),
    },
    Allowed {
        why: "dimension: the peer counts characters when the vector is base64",
        holds: |d| {
            let chars = d.peer.and_then(Value::as_u64);
            let floats = d.ours.and_then(Value::as_u64);
            d.both(attr::EMBEDDINGS_DIMENSION_COUNT)
                && chars == floats.map(|f| (f * 4).div_ceil(3) * 4)
        },
    },
    Allowed {
        why: "functions of old are tools too; the peer reads only tools",
        holds: |d| {
            let asked = d.exchange.asked();
            d.ours_only(attr::TOOL_DEFINITIONS)
                && d.ours
                    .is_some_and(|tools| names(tools) == names(&asked["functions"]))
        },
    },
    Allowed {
        why: "function calls of old are tool calls too; the peer reads only tool_calls",
        holds: |d| {
            let answer = d.exchange.answer();
            let called = &answer["choices"][0]["message"]["function_call"];
            let part = d.ours.map_or(&Value::Null, |m| &m[0]["parts"][0]);
            let arguments = called["arguments"].as_str().unwrap_or_default();
            let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
            d.both(attr::OUTPUT_MESSAGES)
                && part["type"] == "tool_call"
                && part["name"] == called["name"]
                && same(&part["arguments"], &arguments)
        },
    },
    Allowed {
        why: "reasoning items are in answers without a state; the peer leaves those out",
        holds: |d| {
            let mut list = d
                .ours
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            list.retain(|m| m["parts"][0]["type"] != "reasoning");
            d.both(attr::OUTPUT_MESSAGES) && d.peer.is_some_and(|p| same(p, &json!(list)))
        },
    },
    Allowed {
        why: "an error in the body of an answer with status 200; the peer takes it for a success",
        holds: |d| {
            let failed = d.exchange.status == 200 && d.exchange.answer()["error"].is_object();
            failed && (d.ours_only(attr::ERROR_TYPE) || d.name == "status")
        },
    },
    Allowed {
        why: "an empty answer: the peer names the parser's exception, we what was wrong",
        holds: |d| {
            d.exchange.response.is_empty()
                && (d.both(attr::ERROR_TYPE) || d.ours_only(attr::DEFECTS))
        },
    },
    Allowed {
        why: "the recorded request says that it is a retry; the driver sent it as a first attempt",
        holds: |d| {
            let headers = &d.exchange.request_headers;
            let count = headers
                .iter()
                .find(|(name, _)| name == "x-stainless-retry-count");
            let count = count.and_then(|(_, n)| n.parse::<u64>().ok());
            d.ours_only(attr::HTTP_RESEND_COUNT) && d.ours.and_then(Value::as_u64) == count
        },
    },
    Allowed {
        why: "the recorded request is no JSON; what is behind the place where it breaks is not read",
        holds: |d| {
            let broken = serde_json::from_slice::<Value>(&d.exchange.request).is_err();
            broken && !d.exchange.request.is_empty() && d.ours.is_none()
        },
    },
    Allowed {
        why: "the SDK asks for base64 by itself; the peer sees only what the caller asked for",
        holds: |d| {
            let unasked = !d.asked("/encoding_format");
            d.ours_only(attr::REQUEST_ENCODING_FORMATS)
                && unasked
                && d.ours == Some(&json!(["base64"]))
        },
    },
];
