//! Names beside those of the conventions: what they called something before, and what the Aliyun
//! dialect has of its own (semconv 8).

use super::attributes::Set;
use crate::model::call::{ModelCall, Operation};
use crate::model::framework::{RunFacts, RunKind};
use crate::vocabulary::{Names, attr, span_kind};

/// What a call is called beside its other attributes, which were set before.
pub(super) fn of_call(set: &mut Set<'_>, call: &ModelCall, names: Names) {
    let fetches = call.operation == Operation::FetchResponse;
    let usage = call.response.usage;
    let before = names.generation.legacy() && names.generation.current();
    if before && call.request.top_k.is_none() {
        set.may(attr::REQUEST_TOP_K, call.request.top_n);
    }
    if (before || names.aliyun) && !fetches {
        set.count(attr::USAGE_CACHE_CREATION, usage.cache_write);
    }
    if !names.aliyun {
        return;
    }
    set.may(attr::SPAN_KIND, kind(call));
    if !fetches {
        let output = match call.operation {
            Operation::Embeddings | Operation::Rerank => Some(0),
            _ => usage.output,
        };
        // Half of a sum is a wrong number.
        let both = usage.input.zip(output);
        set.may(
            attr::USAGE_TOTAL_TOKENS,
            both.and_then(|(input, output)| input.checked_add(output)),
        );
    }
    let first = call.first_chunk.map(|time| time.since(call.start));
    let first = first.and_then(|nanos| i64::try_from(nanos).ok());
    set.may(attr::RESPONSE_TIME_TO_FIRST_TOKEN, first);
}

/// What a framework's run is called, where no call stands for it.
pub(super) fn of_run(set: &mut Set<'_>, facts: &RunFacts, names: Names) {
    if !names.aliyun {
        return;
    }
    let kind = match facts.kind {
        RunKind::Chain if facts.parent.is_none() => span_kind::WORKFLOW,
        RunKind::Chain => span_kind::CHAIN,
        RunKind::Agent => span_kind::AGENT,
        RunKind::Completion | RunKind::Chat => span_kind::LLM,
        RunKind::Tool => span_kind::TOOL,
        RunKind::Retriever => span_kind::RETRIEVER,
        RunKind::Embedding => span_kind::EMBEDDING,
        RunKind::Reranker => span_kind::RERANKER,
    };
    set.add(attr::SPAN_KIND, kind);
}

/// The dialect has no word for fetching what was made before.
fn kind(call: &ModelCall) -> Option<&'static str> {
    if call.request.mcp.is_some() {
        return Some(span_kind::MCP);
    }
    Some(match call.operation {
        Operation::Chat | Operation::TextCompletion | Operation::GenerateContent => span_kind::LLM,
        Operation::Embeddings => span_kind::EMBEDDING,
        Operation::Rerank => span_kind::RERANKER,
        Operation::InvokeAgent => span_kind::AGENT,
        Operation::InvokeWorkflow => span_kind::WORKFLOW,
        Operation::ExecuteTool => span_kind::TOOL,
        Operation::Mcp => span_kind::MCP,
        Operation::FetchResponse => return None,
    })
}

#[cfg(test)]
#[path = "dialect_tests.rs"]
mod tests;
