//! The table of the wire shapes that are known. Names of providers that share a shape, and tell
//! themselves apart by their hosts, are in [`super::hosts`].

use super::shape::Shape;
use super::{
    alephalpha, anthropic, bedrock, cohere, dashscope, dify, gemini, llamacpp, mcp, ollama, openai,
    replicate, sglang, tgi, watsonx,
};

/// All shapes. When a path fits more than one, the payload decides, and the first one when it
/// does not.
///
/// | Shape | Operations | Answers |
/// | --- | --- | --- |
/// | [`openai`] | chat completions (Writer's path too), responses, completions, embeddings | document, SSE |
/// | [`anthropic`] | messages, completions of old | document, SSE |
/// | [`dashscope`] | generation, embeddings, rerank, tasks (images, video, speech), applications | document, SSE, tasks |
/// | [`bedrock`] | converse; invocations in the forms of Anthropic, Amazon, Meta, Mistral, Cohere, AI21, OpenAI | document, Amazon's event stream |
/// | [`cohere`] | chat (v1, v2), generation, embeddings, rerank | document, SSE, lines |
/// | [`dify`] | chat and completion applications, workflows | document, SSE |
/// | [`mcp`] | tools and all else of an MCP server | document, SSE |
/// | [`ollama`] | chat, generate, embeddings | document, lines |
/// | [`sglang`] | generation (SGLang's own) | document, list, SSE |
/// | [`tgi`] | generation (Text Generation Inference's own) | document, list, SSE |
/// | [`llamacpp`] | completion, infill (llama.cpp's own) | document, list, SSE |
/// | [`gemini`] | contents, embeddings (Gemini API, Vertex AI) | document, SSE, JSON array |
/// | [`watsonx`] | generation, chat, of models and deployments | document, SSE |
/// | [`replicate`] | predictions of models, versions, deployments | tasks, SSE |
/// | [`alephalpha`] | completion | document, SSE |
pub(super) static SHAPES: &[&dyn Shape] = &[
    &openai::OpenAi,
    &anthropic::Anthropic,
    &dashscope::DashScope,
    &bedrock::Bedrock,
    &cohere::Cohere,
    &ollama::Ollama,
    &sglang::Sglang,
    &tgi::Tgi,
    &llamacpp::LlamaCpp,
    &dify::Dify,
    &gemini::Gemini,
    &watsonx::Watsonx,
    &replicate::Replicate,
    &alephalpha::AlephAlpha,
    &mcp::Mcp,
];
