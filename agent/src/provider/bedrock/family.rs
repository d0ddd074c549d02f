//! Whose form a body of invoke has. The body tells it and not the model's name: of an imported
//! model, or of one behind a profile, the name says nothing.

use crate::model::call::{Api, Operation};
use crate::provider::anthropic::Anthropic;
use crate::provider::cohere::Cohere;
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::openai::OpenAi;
use crate::provider::shape::{Found, Shape};
use serde_json::Value;

/// The form of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Anthropic's messages.
    Messages,
    /// Amazon's Nova: nearly converse.
    Nova,
    /// Messages as OpenAI has them: Jamba, Mistral, gpt-oss, imported models.
    Chat,
    /// Cohere's chat.
    CohereChat,
    /// Cohere's embeddings.
    CohereEmbed,
    /// Cohere's rerank, and Amazon's.
    Rerank,
    /// Amazon's Titan: text, and embeddings of text or images.
    Titan,
    /// A text to go on with, and settings in the maker's spelling.
    Prompt,
    /// Amazon's image models and embeddings: a task.
    Task,
    /// Stability's image models of old.
    Prompts,
}

/// The form of a request, if it is one.
pub(super) fn of(body: &Object) -> Option<Family> {
    let has = |key: &str| field::is_set(body, key);
    let text = |key: &str| field::str(body, key).is_some();
    let list = |key: &str| field::list(body, key).is_some();
    Some(if list("messages") {
        if has("anthropic_version") {
            Family::Messages
        } else if has("schemaVersion") || has("inferenceConfig") || untyped(body) {
            Family::Nova
        } else {
            Family::Chat
        }
    } else if text("message") {
        Family::CohereChat
    } else if list("texts") || (list("images") && has("input_type")) {
        Family::CohereEmbed
    } else if has("query") && list("documents") {
        Family::Rerank
    } else if text("inputText") || text("inputImage") {
        Family::Titan
    } else if text("prompt") {
        Family::Prompt
    } else if text("taskType") {
        Family::Task
    } else if list("text_prompts") {
        Family::Prompts
    } else {
        return None;
    })
}

/// The first content is a block as converse has it: a text without a type.
fn untyped(body: &Object) -> bool {
    let block = || {
        let first = field::list(body, "messages")?.first()?.get("content")?;
        first.get(0)?.as_object()
    };
    block().is_some_and(|b| !b.contains_key("type"))
}

impl Family {
    /// What the body asks for.
    pub(super) fn operation(self, body: &Object, model: &str) -> Operation {
        let has = |key: &str| field::is_set(body, key);
        match self {
            Self::Messages | Self::Nova | Self::Chat | Self::CohereChat => Operation::Chat,
            Self::CohereEmbed => Operation::Embeddings,
            Self::Rerank => Operation::Rerank,
            Self::Titan => {
                const OF_VECTORS: [&str; 5] = [
                    "inputImage",
                    "dimensions",
                    "normalize",
                    "embeddingTypes",
                    "embeddingConfig",
                ];
                if model.contains("embed") || OF_VECTORS.iter().any(|key| has(key)) {
                    Operation::Embeddings
                } else {
                    Operation::TextCompletion
                }
            }
            Self::Prompt if model.contains("stability.") => Operation::GenerateContent,
            Self::Prompt => Operation::TextCompletion,
            Self::Task => match field::str(body, "taskType") {
                Some("SINGLE_EMBEDDING" | "SEGMENTED_EMBEDDING") => Operation::Embeddings,
                _ => Operation::GenerateContent,
            },
            Self::Prompts => Operation::GenerateContent,
        }
    }

    /// The shape that reads it, when it is another provider's.
    pub(super) fn of_others(self) -> Option<(&'static dyn Shape, Found)> {
        let (shape, operation, api): (&'static dyn Shape, _, _) = match self {
            Self::Messages => (&Anthropic, Operation::Chat, Api::Messages),
            Self::Chat => (&OpenAi, Operation::Chat, Api::ChatCompletions),
            Self::CohereChat => (&Cohere, Operation::Chat, Api::CohereChatV1),
            Self::CohereEmbed => (&Cohere, Operation::Embeddings, Api::CohereEmbed),
            Self::Rerank => (&Cohere, Operation::Rerank, Api::CohereRerank),
            Self::Nova | Self::Titan | Self::Prompt | Self::Task | Self::Prompts => return None,
        };
        Some((shape, Found::new(operation, api, super::PROVIDER)))
    }
}

/// The form of an answer, or of a chunk of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// Anthropic's messages.
    Messages,
    /// Anthropic's completions of old.
    Complete,
    /// Nova: as converse.
    Nova,
    /// OpenAI's chat.
    Chat,
    /// OpenAI's completions.
    Completions,
    /// Cohere's generations, embeddings, rerank.
    Cohere,
    /// Cohere's chat, streamed or not.
    CohereChat,
    /// Titan, Llama, Mistral, Jurassic: text.
    Text,
    /// Titan's and Nova's vectors.
    Vector,
    /// Images.
    Images,
}

/// The form of an answer or of a chunk, if it is one.
pub(super) fn answered(root: &Object) -> Option<Answered> {
    const NOVA: [&str; 6] = [
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ];
    let has = |key: &str| field::is_set(root, key);
    let list = |key: &str| field::list(root, key).is_some();
    Some(if has("completion") {
        Answered::Complete
    } else if list("choices") {
        let first = field::list(root, "choices").and_then(<[Value]>::first);
        match first.and_then(|c| c.get("text")) {
            Some(_) => Answered::Completions,
            None => Answered::Chat,
        }
    } else if has("generation_id") || has("event_type") || root.contains_key("is_finished") {
        Answered::CohereChat
    } else if (has("type") && !has("outputText")) || (list("content") && has("stop_reason")) {
        Answered::Messages
    } else if field::object(root, "output").is_some() || NOVA.iter().any(|key| has(key)) {
        Answered::Nova
    } else if ranked(root) {
        Answered::Cohere
    } else if ["generation", "outputText"].iter().any(|key| has(key))
        || ["results", "outputs", "completions"]
            .iter()
            .any(|key| list(key))
    {
        Answered::Text
    } else if has("generations") || (has("embeddings") && (has("id") || has("response_type"))) {
        Answered::Cohere
    } else if has("embedding") || has("embeddings") || has("embeddingsByType") {
        Answered::Vector
    } else if list("images") || list("artifacts") {
        Answered::Images
    } else {
        return None;
    })
}

/// The results are places in an order.
fn ranked(root: &Object) -> bool {
    let first = field::list(root, "results").and_then(<[Value]>::first);
    first.is_some_and(|r| r.get("relevance_score").is_some())
}

impl Answered {
    /// The shape that reads it, when it is another provider's.
    pub(super) fn of_others(self) -> Option<(&'static dyn Shape, Found)> {
        let (shape, operation, api): (&'static dyn Shape, _, _) = match self {
            Self::Messages => (&Anthropic, Operation::Chat, Api::Messages),
            Self::Complete => (&Anthropic, Operation::TextCompletion, Api::Complete),
            Self::Chat => (&OpenAi, Operation::Chat, Api::ChatCompletions),
            Self::Completions => (&OpenAi, Operation::TextCompletion, Api::Completions),
            Self::Cohere => (&Cohere, Operation::TextCompletion, Api::CohereGenerate),
            Self::CohereChat => (&Cohere, Operation::Chat, Api::CohereChatV1),
            Self::Nova | Self::Text | Self::Vector | Self::Images => return None,
        };
        Some((shape, Found::new(operation, api, super::PROVIDER)))
    }
}
