//! What the spans of LlamaIndex are, by the names of their methods and of the classes whose methods
//! they are.

use super::super::{class_of, text_of};
use crate::model::dispatch::SpanStart;
use crate::model::framework::{RunKind, RunLabel};

/// Characters of a UUID.
const UUID: usize = 36;

/// What an event says of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is asked.
    Starts(RunKind),
    /// A piece of its answer came.
    Progresses(RunKind),
    /// It answered.
    Ends(RunKind),
    /// An exception ended its stream.
    Fails,
}

/// What an event of this class says, if anything.
pub(super) fn event(class: &str) -> Option<Told> {
    Some(match class {
        "LLMChatStartEvent" => Told::Starts(RunKind::Chat),
        "LLMChatInProgressEvent" => Told::Progresses(RunKind::Chat),
        "LLMChatEndEvent" => Told::Ends(RunKind::Chat),
        "LLMCompletionStartEvent" => Told::Starts(RunKind::Completion),
        "LLMCompletionInProgressEvent" => Told::Progresses(RunKind::Completion),
        "LLMCompletionEndEvent" => Told::Ends(RunKind::Completion),
        "ExceptionEvent" => Told::Fails,
        _ => return None,
    })
}

/// Whether what a function returned is a stream that is to be read.
pub(super) fn is_generator(result: &[u8]) -> bool {
    matches!(result, b"generator" | b"async_generator")
}

/// Whether it is an answer with a stream in it (`StreamingResponse` and its like).
pub(super) fn has_stream(result: &[u8]) -> bool {
    class_of(result).contains("Streaming")
}

/// A method, or a function, whose span begins.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) kind: RunKind,
    pub(super) method: String,
    pub(super) name: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) label: RunLabel,
    /// It returns at once, and goes on (`Workflow.run` before llama-index-workflows 2.14).
    pub(super) is_future: bool,
    /// Its class calls methods of its own for what is one thing.
    is_whole: bool,
}

impl Called {
    /// What the span with this id, and these classes, is.
    pub(super) fn of(id: u128, start: &SpanStart<'_>) -> Self {
        let (label, prefix) = label_of(id, start);
        let (of, method) = match prefix.rsplit_once('.') {
            Some((of, method)) => (of, method),
            None => ("", prefix.as_str()),
        };
        let class = start.object.map(|_| class_of(start.class));
        let is =
            |name: &str| class.as_deref() == Some(name) || start.bases.contains(&name.as_bytes());
        let kind = match class {
            Some(_) => kind_of(method, class.as_deref().unwrap_or_default(), is),
            None => RunKind::Chain,
        };
        let subject = class.clone().unwrap_or_else(|| {
            let of = if of.is_empty() { method } else { of };
            of.to_owned()
        });
        let name = match &class {
            Some(class) => format!("{class}.{method}"),
            None => prefix.clone(),
        };
        Self {
            kind,
            name: Some(name).filter(|name| !name.is_empty()),
            subject: Some(subject).filter(|subject| !subject.is_empty()),
            label,
            is_future: method == "run" && is("Workflow"),
            is_whole: is("BaseSynthesizer") || is("NodeParser"),
            method: method.to_owned(),
        }
    }

    /// Whether it is a part of a span of this kind and method, of the same object, that it belongs to.
    pub(super) fn is_part_of(&self, kind: RunKind, method: &str) -> bool {
        match self.kind {
            RunKind::Chain => {
                let own = self.method.trim_start_matches('_');
                kind == RunKind::Chain && (self.is_whole || own == method.trim_start_matches('_'))
            }
            RunKind::Chat | RunKind::Completion => {
                matches!(kind, RunKind::Chat | RunKind::Completion)
            }
            own => own == kind,
        }
    }
}

/// The id as it is written, and what of it stands before the UUID.
fn label_of(id: u128, start: &SpanStart<'_>) -> (RunLabel, String) {
    let Some(label) = start.label else {
        return (RunLabel::Uuid, String::new());
    };
    let text = text_of(&label);
    let characters = usize::try_from(label.characters).unwrap_or(usize::MAX);
    let before = characters.saturating_sub(UUID + 1);
    let is_whole = text.chars().count() == characters && !text.ends_with('…');
    let prefix: String = text.chars().take(before).collect();
    if !is_whole {
        return (RunLabel::Uuid, prefix);
    }
    let number: String = text.chars().skip(before + 1).collect();
    let hex: String = number.chars().filter(|c| *c != '-').collect();
    let is_uuid = characters > UUID && u128::from_str_radix(&hex, 16) == Ok(id);
    if is_uuid {
        (RunLabel::Prefixed(prefix.clone()), prefix)
    } else {
        (RunLabel::Text(text.clone()), text)
    }
}

/// What a method of an object does.
fn kind_of(method: &str, class: &str, is: impl Fn(&str) -> bool) -> RunKind {
    let method = method.trim_start_matches('_');
    let any = |names: &[&str]| names.iter().any(|name| is(name));
    if any(&["BaseLLM", "LLM"]) {
        return match method {
            "chat" | "achat" | "stream_chat" | "astream_chat" => RunKind::Chat,
            // Which of both they ask the model for depends on the model.
            "predict" | "apredict" | "stream" | "astream" => RunKind::Chat,
            "complete" | "acomplete" | "stream_complete" | "astream_complete" => {
                RunKind::Completion
            }
            _ => RunKind::Chain,
        };
    }
    if any(&["BaseEmbedding", "BaseSparseEmbedding"]) {
        return RunKind::Embedding;
    }
    if is("BaseRetriever") {
        return match method {
            "retrieve" | "aretrieve" => RunKind::Retriever,
            _ => RunKind::Chain,
        };
    }
    if is("BaseTool") {
        return match method {
            "call" | "acall" | "call__" => RunKind::Tool,
            _ => RunKind::Chain,
        };
    }
    if is("BaseNodePostprocessor") {
        // Others leave out or change what they are given.
        return if class.to_ascii_lowercase().contains("rerank") {
            RunKind::Reranker
        } else {
            RunKind::Chain
        };
    }
    let agents = [
        "AgentRunner",
        "BaseAgentRunner",
        "BaseAgent",
        "BaseWorkflowAgent",
        "AgentWorkflow",
    ];
    if any(&agents) {
        return match method {
            "chat" | "achat" | "stream_chat" | "astream_chat" | "query" | "aquery" | "run" => {
                RunKind::Agent
            }
            _ => RunKind::Chain,
        };
    }
    RunKind::Chain
}
