//! The attributes of a call's span other than its content, in a fixed order.

use super::{mcp, redaction};
use crate::model::call::{Api, CallRequest, CallResponse, ModelCall, Operation, Usage};
use crate::model::exchange::Role;
use crate::model::span::{Attributes, Value};
use crate::redact::Redactor;
use crate::vocabulary::{attr, operation};
use core::net::SocketAddr;
use std::borrow::Cow;

/// Attributes being set; texts are redacted, then cut to the limit.
pub(super) struct Set<'a> {
    all: Attributes,
    pub(super) limit: Option<usize>,
    redactor: &'a Redactor,
}

impl<'a> Set<'a> {
    pub(super) fn new(limit: Option<usize>, redactor: &'a Redactor) -> Self {
        Self {
            all: Attributes::with_capacity(32),
            limit,
            redactor,
        }
    }

    /// Sets an attribute.
    pub(super) fn add(&mut self, name: &'static str, value: impl Into<Value>) {
        let mut value = value.into();
        redaction::redact(self.redactor, &mut value);
        if let Some(limit) = self.limit {
            match &mut value {
                Value::Str(text) => {
                    let text: &mut Cow<'static, str> = text;
                    if let Some((at, _)) = text.char_indices().nth(limit) {
                        text.to_mut().truncate(at);
                    }
                }
                Value::StrList(list) => list.iter_mut().for_each(|t| cut(t, limit)),
                _ => {}
            }
        }
        self.all.push((Cow::Borrowed(name), value));
    }

    /// Sets an attribute whose value was redacted and made to fit.
    pub(super) fn add_fitting(&mut self, name: &'static str, value: String) {
        self.all.push((Cow::Borrowed(name), value.into()));
    }

    /// Sets an attribute whose name is not one of ours alone, and whose value was redacted and
    /// made to fit.
    pub(super) fn add_named(&mut self, name: String, value: Value) {
        self.all.push((Cow::Owned(name), value));
    }

    /// Sets an attribute when there is a value.
    pub(super) fn may<V: Into<Value>>(&mut self, name: &'static str, value: Option<V>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// Sets a count when there is one that says something.
    pub(super) fn count(&mut self, name: &'static str, value: Option<i64>) {
        self.may(name, value.filter(|n| *n != 0));
    }

    pub(super) fn done(self) -> Attributes {
        self.all
    }
}

fn cut(text: &mut String, limit: usize) {
    if let Some((at, _)) = text.char_indices().nth(limit) {
        text.truncate(at);
    }
}

/// All that is not content. `model_server` is what the process is known to serve models with.
pub(super) fn of_call(
    set: &mut Set<'_>,
    call: &ModelCall,
    model_server: Option<&str>,
    resends: u32,
) {
    let served_by = model_server.filter(|_| call.role == Role::Server);
    if let Some(asked) = &call.request.mcp {
        mcp::of_call(set, call, asked);
    } else {
        set.add(attr::OPERATION_NAME, operation::name(call.operation));
        match served_by {
            Some(name) => set.add(attr::PROVIDER_NAME, name.to_owned()),
            None => set.add(attr::PROVIDER_NAME, call.provider),
        }
    }
    set.may(attr::REQUEST_MODEL, call.request.model.clone());
    let ends = Ends {
        role: call.role,
        host: call.server_address.as_deref(),
        port: call.server_port,
        peer: call.peer,
        local: call.local,
    };
    addresses(set, &ends);
    request(set, call, &call.request);
    response(set, call, &call.response, served_by);
    if call.operation != Operation::FetchResponse {
        usage(set, call.operation, &call.response.usage);
    }
    if let Some(error) = &call.error {
        set.add(attr::ERROR_TYPE, error.kind.clone());
    }
    if call.polls > 0 {
        set.add(attr::TASK_POLLS, i64::from(call.polls));
    }
    if resends > 0 {
        set.add(attr::HTTP_RESEND_COUNT, i64::from(resends));
    }
    if !call.defects.is_none() {
        let names: Vec<String> = call.defects.names().map(str::to_owned).collect();
        set.add(attr::DEFECTS, names);
    }
}

/// Of a model that answers within the process: what was asked and how many tokens it took, as far as
/// the framework tells.
pub(super) fn of_model(set: &mut Set<'_>, asked: &CallRequest, answer: &CallResponse) {
    set.may(attr::REQUEST_MODEL, asked.model.clone());
    if asked.stream {
        set.add(attr::REQUEST_STREAM, true);
    }
    sampling(set, asked);
    set.may(attr::RESPONSE_ID, answer.id.clone());
    set.may(attr::RESPONSE_MODEL, answer.model.clone());
    if !answer.finish_reasons.is_empty() {
        let reasons = answer.finish_reasons.clone();
        set.add(attr::RESPONSE_FINISH_REASONS, reasons);
    }
    usage(set, Operation::Chat, &answer.usage);
}

/// Between whom an exchange went.
pub(super) struct Ends<'a> {
    pub(super) role: Role,
    /// What the client addressed.
    pub(super) host: Option<&'a str>,
    pub(super) port: Option<u16>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
}

/// Who addressed whom.
pub(super) fn addresses(set: &mut Set<'_>, ends: &Ends<'_>) {
    let server = match ends.role {
        Role::Client => ends.peer,
        Role::Server => ends.local,
    };
    if let Some(address) = ends.host {
        set.add(attr::SERVER_ADDRESS, address.to_owned());
        set.may(attr::SERVER_PORT, ends.port.map(i64::from));
    } else if let Some(server) = server {
        // The client named no host: where it went is what there is.
        set.add(attr::SERVER_ADDRESS, server.ip().to_string());
        set.add(attr::SERVER_PORT, i64::from(server.port()));
    }
    let Some(peer) = ends.peer else { return };
    if ends.role == Role::Server {
        set.add(attr::CLIENT_ADDRESS, peer.ip().to_string());
        set.add(attr::CLIENT_PORT, i64::from(peer.port()));
    }
    set.add(attr::NETWORK_PEER_ADDRESS, peer.ip().to_string());
    set.add(attr::NETWORK_PEER_PORT, i64::from(peer.port()));
}

fn request(set: &mut Set<'_>, call: &ModelCall, request: &CallRequest) {
    if call.api == Api::Responses {
        set.add(attr::OPENAI_API_TYPE, "responses");
    }
    if request.stream {
        set.add(attr::REQUEST_STREAM, true);
    }
    set.may(attr::REQUEST_STREAM_CURSOR, request.stream_cursor.clone());
    sampling(set, request);
    set.may(
        attr::REQUEST_ENCODING_FORMATS,
        request.encoding_formats.clone(),
    );
    set.may(
        attr::REQUEST_REASONING_LEVEL,
        request.reasoning_level.clone(),
    );
    set.may(
        attr::REQUEST_PREVIOUS_RESPONSE_ID,
        request.previous_response_id.clone(),
    );
    set.may(attr::OUTPUT_TYPE, request.output_type);
    let held = &call.response.conversation_id;
    let conversation = request.conversation_id.as_ref().or(held.as_ref());
    set.may(attr::CONVERSATION_ID, conversation.cloned());
    set.may(attr::AGENT_ID, request.agent_id.clone());
    set.may(attr::RERANK_DOCUMENTS_COUNT, request.documents);
    set.may(attr::RETRIEVAL_TOP_K, request.top_n);
    if let Some((name, version)) = &request.prompt {
        set.add(attr::PROMPT_NAME, name.clone());
        set.may(attr::PROMPT_VERSION, version.clone());
    }
    set.may(attr::AWS_BEDROCK_GUARDRAIL_ID, request.guardrail_id.clone());
    let tier = request.service_tier.clone().filter(|t| t != "auto");
    set.may(attr::OPENAI_REQUEST_SERVICE_TIER, tier);
}

/// How the model is to choose its words.
fn sampling(set: &mut Set<'_>, request: &CallRequest) {
    set.may(attr::REQUEST_TEMPERATURE, request.temperature);
    set.may(attr::REQUEST_TOP_P, request.top_p);
    set.may(attr::REQUEST_TOP_K, request.top_k);
    set.may(attr::REQUEST_REPETITION_PENALTY, request.repetition_penalty);
    set.may(attr::REQUEST_FREQUENCY_PENALTY, request.frequency_penalty);
    set.may(attr::REQUEST_PRESENCE_PENALTY, request.presence_penalty);
    set.may(attr::REQUEST_MAX_TOKENS, request.max_tokens);
    set.may(attr::REQUEST_SEED, request.seed);
    set.may(
        attr::REQUEST_CHOICE_COUNT,
        request.choice_count.filter(|n| *n != 1),
    );
    set.may(attr::REQUEST_STOP_SEQUENCES, request.stop_sequences.clone());
}

fn response(set: &mut Set<'_>, call: &ModelCall, response: &CallResponse, served_by: Option<&str>) {
    let id = match call.operation {
        // The id that was asked for is known even when the answer is not.
        Operation::FetchResponse => call.request.fetch_id.as_ref().or(response.id.as_ref()),
        _ => response.id.as_ref(),
    };
    set.may(attr::RESPONSE_ID, id.cloned());
    if matches!(served_by, Some("vllm" | "sglang")) {
        // These answer with the id under which their engine knows the request.
        set.may(attr::REQUEST_ID, id.cloned());
    }
    set.may(attr::RESPONSE_MODEL, response.model.clone());
    if !response.finish_reasons.is_empty() {
        set.add(
            attr::RESPONSE_FINISH_REASONS,
            response.finish_reasons.clone(),
        );
    }
    set.may(attr::RESPONSE_STATUS, response.stored_status.clone());
    let first = call.first_chunk.map(|t| t.since(call.start) as f64 / 1e9);
    set.may(attr::RESPONSE_TIME_TO_FIRST_CHUNK, first);
    if response.compacted || call.request.compacted {
        set.add(attr::CONVERSATION_COMPACTED, true);
    }
    set.may(
        attr::EMBEDDINGS_DIMENSION_COUNT,
        response.embedding_dimensions,
    );
    set.may(
        attr::OPENAI_RESPONSE_SERVICE_TIER,
        response.service_tier.clone(),
    );
    set.may(
        attr::OPENAI_RESPONSE_SYSTEM_FINGERPRINT,
        response.system_fingerprint.clone(),
    );
}

fn usage(set: &mut Set<'_>, operation: Operation, usage: &Usage) {
    set.may(attr::USAGE_INPUT_TOKENS, usage.input);
    if matches!(operation, Operation::Embeddings | Operation::Rerank) {
        return;
    }
    set.may(attr::USAGE_OUTPUT_TOKENS, usage.output);
    set.count(attr::USAGE_CACHE_READ, usage.cache_read);
    set.count(attr::USAGE_CACHE_WRITE, usage.cache_write);
    set.count(attr::USAGE_REASONING, usage.reasoning);
    for (names, counts) in [
        (attr::USAGE_INPUT_BY_MODALITY, usage.input_by_modality),
        (attr::USAGE_OUTPUT_BY_MODALITY, usage.output_by_modality),
        (
            attr::USAGE_CACHE_READ_BY_MODALITY,
            usage.cache_read_by_modality,
        ),
    ] {
        for (name, count) in names.into_iter().zip(counts) {
            set.count(name, count);
        }
    }
}
