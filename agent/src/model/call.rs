//! Model calls as the provider stage tells them: what the application asked and what it got, in
//! terms that hold for every provider.

use core::net::SocketAddr;

use super::defect::Defects;
use super::event::ConnectionId;
use super::exchange::{ExchangeId, Role};
use super::gaps::ChunkGaps;
use super::mcp::{McpRequest, McpResponse};
use super::propagated::Propagated;
use super::request::{Begun, HttpRequest};
use super::time::BootTime;
use serde_json::Value as Json;

/// What kind of call it is, as far as a wire shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Chat completion (chat completions, responses).
    Chat,
    /// Legacy text completion.
    TextCompletion,
    /// Content of other kinds than chat, or of several (Gemini; images, video, speech).
    GenerateContent,
    /// Embeddings.
    Embeddings,
    /// Documents put in order by a query.
    Rerank,
    /// Fetching a response that was made before.
    FetchResponse,
    /// An agent run at the provider's.
    InvokeAgent,
    /// A workflow run at the provider's.
    InvokeWorkflow,
    /// A tool run at a server's.
    ExecuteTool,
    /// Whatever else is asked of an MCP server.
    Mcp,
}

/// Which API a call used; each belongs to one shape of the provider stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// `/chat/completions`
    ChatCompletions,
    /// `/responses`
    Responses,
    /// `/completions`
    Completions,
    /// `/embeddings`
    Embeddings,
    /// Anthropic's `/v1/messages`
    Messages,
    /// Anthropic's `/v1/complete`
    Complete,
    /// DashScope's `/services/aigc/…` and `/services/audio/…`, and the tasks that they make
    DashScope,
    /// DashScope's `/services/embeddings/…`
    DashScopeEmbeddings,
    /// DashScope's `/services/rerank/…`
    DashScopeRerank,
    /// Bailian's `/apps/{id}/completion`
    DashScopeApp,
    /// Bedrock's `/model/{id}/converse` and `…/converse-stream`
    BedrockConverse,
    /// Bedrock's `/model/{id}/invoke` and `…/invoke-with-response-stream`
    BedrockInvoke,
    /// Cohere's `/v2/chat`
    CohereChat,
    /// Cohere's `/v1/chat`
    CohereChatV1,
    /// Cohere's `/v1/generate`
    CohereGenerate,
    /// Cohere's `/embed`
    CohereEmbed,
    /// Cohere's `/rerank`, and that of those who imitate it
    CohereRerank,
    /// Ollama's `/api/chat`
    OllamaChat,
    /// Ollama's `/api/generate`
    OllamaGenerate,
    /// Ollama's `/api/embed` and `/api/embeddings`
    OllamaEmbed,
    /// SGLang's `/generate`
    SglangGenerate,
    /// Text Generation Inference's `/generate` and `/generate_stream`
    TgiGenerate,
    /// Text Generation Inference's `/`, and what imitates it
    TgiRoot,
    /// llama.cpp's `/completion` and `/infill`
    LlamaCppCompletion,
    /// Dify's `/chat-messages`
    DifyChat,
    /// Dify's `/completion-messages`
    DifyCompletion,
    /// Dify's `/workflows/run`
    DifyWorkflow,
    /// Google's `:generateContent` and `:streamGenerateContent`
    GenerateContent,
    /// Google's `:embedContent` and `:batchEmbedContents`
    EmbedContent,
    /// Vertex AI's `:predict` of models that embed
    Predict,
    /// OpenAI's Realtime API, `/realtime` over WebSocket
    Realtime,
    /// DashScope's tasks over WebSocket, `/api-ws/v1/inference`
    DashScopeInference,
    /// watsonx.ai's `/text/generation` and `/text/generation_stream`
    WatsonxGeneration,
    /// watsonx.ai's `/text/chat` and `/text/chat_stream`
    WatsonxChat,
    /// Replicate's `/predictions`
    ReplicatePrediction,
    /// Aleph Alpha's `/complete`
    AlephAlphaComplete,
    /// Model Context Protocol over HTTP
    Mcp,
}

/// Text of a message, possibly cut: what is beyond a call's bound is counted, not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The beginning, or all of it.
    pub kept: String,
    /// Characters (Unicode scalar values) after it that were not kept.
    pub dropped: u64,
}

impl Text {
    /// Characters of the whole text.
    #[must_use]
    pub fn chars(&self) -> u64 {
        self.kept.chars().count() as u64 + self.dropped
    }
}

impl From<String> for Text {
    fn from(kept: String) -> Self {
        Self { kept, dropped: 0 }
    }
}

impl From<&str> for Text {
    fn from(kept: &str) -> Self {
        Self::from(kept.to_owned())
    }
}

/// A part of a message, in the JSON forms of the GenAI conventions.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text.
    Text(Text),
    /// Reasoning shown by the model.
    Reasoning(Text),
    /// The model asks for a tool.
    ToolCall {
        /// The provider's id of it.
        id: Option<String>,
        /// The tool.
        name: String,
        /// Arguments, parsed when they are JSON, else the text as it is.
        arguments: Option<Json>,
    },
    /// A tool's answer.
    ToolCallResponse {
        /// Id of the call it answers.
        id: Option<String>,
        /// The answer.
        response: Json,
    },
    /// Inline data.
    Blob {
        /// `image`, `audio`, `video`, `document`.
        modality: &'static str,
        /// MIME type, when known.
        mime_type: Option<String>,
        /// Base64, as sent.
        content: Text,
    },
    /// A file that the provider holds.
    File {
        /// As for `Blob`.
        modality: &'static str,
        /// MIME type, when known.
        mime_type: Option<String>,
        /// The provider's id.
        file_id: String,
    },
    /// Data behind an address.
    Uri {
        /// As for `Blob`.
        modality: &'static str,
        /// MIME type, when known.
        mime_type: Option<String>,
        /// The address.
        uri: String,
    },
    /// Anything else, as an object with its `type`.
    Other(Json),
}

/// A message of the input or the output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, or as sent.
    pub role: String,
    /// Name of the participant.
    pub name: Option<String>,
    /// Its parts, in order.
    pub parts: Vec<Part>,
    /// For output messages: the mapped finish reason.
    pub finish_reason: Option<String>,
}

/// A tool that the request offers.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolDefinition {
    /// `function` or as sent.
    pub kind: String,
    /// Name; built-in tools have none.
    pub name: Option<String>,
    /// The whole definition in the form of the conventions.
    pub definition: Json,
}

/// What the request asked. Absent fields were not in the request (or not seen).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallRequest {
    /// Requested model.
    pub model: Option<String>,
    /// Streaming asked for.
    pub stream: bool,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Frequency penalty.
    pub frequency_penalty: Option<f64>,
    /// Presence penalty.
    pub presence_penalty: Option<f64>,
    /// Top-k sampling.
    pub top_k: Option<i64>,
    /// Repetition penalty.
    pub repetition_penalty: Option<f64>,
    /// Most tokens of output.
    pub max_tokens: Option<i64>,
    /// Seed.
    pub seed: Option<i64>,
    /// Number of choices.
    pub choice_count: Option<i64>,
    /// Stop sequences.
    pub stop_sequences: Option<Vec<String>>,
    /// `text`, `json`, `image`, `speech`.
    pub output_type: Option<&'static str>,
    /// Service tier asked for.
    pub service_tier: Option<String>,
    /// Reasoning effort, as sent.
    pub reasoning_level: Option<String>,
    /// Conversation the provider holds.
    pub conversation_id: Option<String>,
    /// Response that this one continues.
    pub previous_response_id: Option<String>,
    /// Stored prompt template: id and version.
    pub prompt: Option<(String, Option<String>)>,
    /// Embedding formats asked for.
    pub encoding_formats: Option<Vec<String>>,
    /// Dimensions asked for.
    pub dimensions: Option<i64>,
    /// The provider's id of the agent or application to run.
    pub agent_id: Option<String>,
    /// Documents to put in order.
    pub documents: Option<i64>,
    /// How many of them to give back.
    pub top_n: Option<i64>,
    /// Id of the response to fetch.
    pub fetch_id: Option<String>,
    /// Where a fetched stream starts.
    pub stream_cursor: Option<String>,
    /// Messages sent.
    pub messages: Vec<Message>,
    /// Instructions sent apart from the messages.
    pub system_instructions: Vec<Part>,
    /// Tools offered.
    pub tools: Vec<ToolDefinition>,
    /// What was sent was compacted by the provider before.
    pub compacted: bool,
    /// The guardrail of Bedrock's that watches the call.
    pub guardrail_id: Option<String>,
    /// What is asked of an MCP server.
    pub mcp: Option<Box<McpRequest>>,
}

/// Token counts, each absent unless the provider told it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens, cached ones included.
    pub input: Option<i64>,
    /// Output tokens, reasoning included.
    pub output: Option<i64>,
    /// Input tokens read from a cache.
    pub cache_read: Option<i64>,
    /// Input tokens written to a cache.
    pub cache_write: Option<i64>,
    /// Output tokens spent on reasoning.
    pub reasoning: Option<i64>,
    /// Input tokens by modality: text, image, audio.
    pub input_by_modality: [Option<i64>; 3],
    /// Input tokens read from a cache by modality: text, image, audio.
    pub cache_read_by_modality: [Option<i64>; 3],
    /// Output tokens by modality: text, image, audio.
    pub output_by_modality: [Option<i64>; 3],
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallResponse {
    /// HTTP status, when a response was seen.
    pub status: Option<u16>,
    /// The provider's id.
    pub id: Option<String>,
    /// Model that answered.
    pub model: Option<String>,
    /// One per choice, in the order of choices, as the provider says it.
    pub finish_reasons: Vec<String>,
    /// One per choice.
    pub messages: Vec<Message>,
    /// Token counts.
    pub usage: Usage,
    /// Service tier that served.
    pub service_tier: Option<String>,
    /// Fingerprint of the provider's configuration.
    pub system_fingerprint: Option<String>,
    /// Length of the first embedding.
    pub embedding_dimensions: Option<i64>,
    /// State of a stored response (`completed`, …).
    pub stored_status: Option<String>,
    /// Conversation that the provider began.
    pub conversation_id: Option<String>,
    /// The provider compacted the conversation.
    pub compacted: bool,
    /// Instructions of a fetched response.
    pub system_instructions: Vec<Part>,
    /// Tools of a fetched response.
    pub tools: Vec<ToolDefinition>,
    /// Chunks of a streamed answer.
    pub chunks: u64,
    /// Times between them, from the first with output on.
    pub chunk_gaps: Option<Box<ChunkGaps>>,
    /// The provider's id of the HTTP request (`x-request-id`).
    pub request_id: Option<String>,
    /// What an MCP server answered.
    pub mcp: Option<Box<McpResponse>>,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// `error.type`: the provider's code, its type, the HTTP status, or a transport id.
    pub kind: String,
    /// What the provider said; may quote the input, so it counts as content.
    pub message: Option<String>,
}

/// What a retry of the same call can be told by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryHint {
    /// Which attempt of the call this was, from 0 (`x-stainless-retry-count`, Amazon's
    /// `amz-sdk-request`).
    pub attempt: u32,
    /// Whether the client may try again after this outcome, by the SDK's own rules.
    pub may_retry: bool,
    /// How long the client may wait before it does, in nanoseconds: generously.
    pub within: u64,
    /// Hash of path, host and body: equal for the attempts of one call.
    pub fingerprint: u64,
}

/// A finished call.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelCall {
    /// The exchange it was seen as.
    pub exchange: ExchangeId,
    /// The connection it went over.
    pub connection: ConnectionId,
    /// Whether the process made the call or served it.
    pub role: Role,
    /// Thread that sent the request, or read it where the call was served.
    pub tid: u32,
    /// Operation.
    pub operation: Operation,
    /// API.
    pub api: Api,
    /// Who the client believes it speaks to.
    pub provider: &'static str,
    /// Host the client addressed.
    pub server_address: Option<String>,
    /// Port the client addressed.
    pub server_port: Option<u16>,
    /// The peer's address, when its socket was seen.
    pub peer: Option<SocketAddr>,
    /// The process's own address on that connection, when its socket was seen.
    pub local: Option<SocketAddr>,
    /// First byte of the request.
    pub start: BootTime,
    /// First chunk of a streamed answer.
    pub first_chunk: Option<BootTime>,
    /// End of the response, or what ended the call.
    pub end: BootTime,
    /// The request.
    pub request: CallRequest,
    /// The response.
    pub response: CallResponse,
    /// Why it failed, if it did.
    pub error: Option<CallError>,
    /// How often the client asked after the task that this call is.
    pub polls: u32,
    /// Set when the client is known to retry.
    pub retry: Option<RetryHint>,
    /// Trace context that the request carried.
    pub propagated: Option<Propagated>,
    /// What we could not see right.
    pub defects: Defects,
}

/// What the provider stage tells, in the order of the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum CallEvent {
    /// An exchange began that may be a call, or is to be told as a plain request. What follows is
    /// its `Over`, and if that says so something that is told of it, before or after.
    Began(Box<Begun>),
    /// A request began that the process serves and of which nothing will be told.
    Passed(Box<Begun>),
    /// A request is whole that its client calls a retry. What follows is its `Finished`.
    Retrying {
        /// Process.
        pid: u32,
        /// The exchange of the retry.
        exchange: ExchangeId,
        /// Which attempt it is: 1 or more.
        attempt: u32,
        /// As in [`RetryHint::fingerprint`].
        fingerprint: u64,
        /// First byte of the retry.
        start: BootTime,
    },
    /// A call is over.
    Finished(Box<ModelCall>),
    /// A request that is no call is over.
    Requested(Box<HttpRequest>),
    /// An exchange is over on the wire.
    Over {
        /// The exchange.
        exchange: ExchangeId,
        /// Something was told of it under its own name, or will be.
        told: bool,
    },
}

/// How a call gets on, for views that show it while it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct CallProgress {
    /// The exchange.
    pub exchange: ExchangeId,
    /// Process.
    pub pid: u32,
    /// Whether it makes the call or serves it.
    pub role: Role,
    /// Operation.
    pub operation: Operation,
    /// Requested model, once known.
    pub model: Option<String>,
    /// First byte of the request.
    pub start: BootTime,
    /// Now.
    pub now: BootTime,
    /// First chunk, once it came.
    pub first_chunk: Option<BootTime>,
    /// Chunks so far.
    pub chunks: u64,
}
