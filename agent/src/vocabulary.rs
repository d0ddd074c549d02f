//! The one table of attribute and operation names. Nothing else spells them out.
//!
//! Sections are those of the OpenTelemetry GenAI conventions as the project's reference has
//! them: 1 enumerations, 2.1 inference, 2.2 other operations, 2.3 provider refinements, 5 errors
//! and server, 8 the Aliyun dialect.

use crate::model::call::Operation;

/// Names of attributes.
pub mod attr {
    /// What a span is, a value of [`super::span_kind`]; the Aliyun dialect's (8).
    pub const SPAN_KIND: &str = "gen_ai.span.kind";
    /// What kind of call it is (2.1).
    pub const OPERATION_NAME: &str = "gen_ai.operation.name";
    /// Who the client believes it speaks to (1, 2.1).
    pub const PROVIDER_NAME: &str = "gen_ai.provider.name";
    /// Conversation that the provider holds (2.1).
    pub const CONVERSATION_ID: &str = "gen_ai.conversation.id";
    /// The provider compacted the conversation; only ever true (2.1).
    pub const CONVERSATION_COMPACTED: &str = "gen_ai.conversation.compacted";
    /// Output format that the request fixes (2.1).
    pub const OUTPUT_TYPE: &str = "gen_ai.output.type";
    /// Stored prompt template (2.1).
    pub const PROMPT_NAME: &str = "gen_ai.prompt.name";
    /// Version of the stored prompt template (2.1).
    pub const PROMPT_VERSION: &str = "gen_ai.prompt.version";

    /// The name of an agent (2.2).
    pub const AGENT_NAME: &str = "gen_ai.agent.name";
    /// The name of a workflow (2.2).
    pub const WORKFLOW_NAME: &str = "gen_ai.workflow.name";
    /// The framework that makes a call (8).
    pub const FRAMEWORK: &str = "gen_ai.framework";
    /// The provider's id of an agent (2.2).
    pub const AGENT_ID: &str = "gen_ai.agent.id";
    /// Number of documents to put in order (8).
    pub const RERANK_DOCUMENTS_COUNT: &str = "gen_ai.rerank.documents.count";
    /// How many documents come back (2.2).
    pub const RETRIEVAL_TOP_K: &str = "gen_ai.retrieval.top_k";

    /// Requested model (2.1).
    pub const REQUEST_MODEL: &str = "gen_ai.request.model";
    /// Number of choices, when not one (2.1).
    pub const REQUEST_CHOICE_COUNT: &str = "gen_ai.request.choice.count";
    /// Seed (2.1).
    pub const REQUEST_SEED: &str = "gen_ai.request.seed";
    /// Streaming; only ever true (2.1).
    pub const REQUEST_STREAM: &str = "gen_ai.request.stream";
    /// Where a fetched stream starts (2.2).
    pub const REQUEST_STREAM_CURSOR: &str = "gen_ai.request.stream_cursor";
    /// Sampling top-k (2.1).
    pub const REQUEST_TOP_K: &str = "gen_ai.request.top_k";
    /// Sampling temperature (2.1).
    pub const REQUEST_TEMPERATURE: &str = "gen_ai.request.temperature";
    /// Nucleus sampling (2.1).
    pub const REQUEST_TOP_P: &str = "gen_ai.request.top_p";
    /// Frequency penalty (2.1).
    pub const REQUEST_FREQUENCY_PENALTY: &str = "gen_ai.request.frequency_penalty";
    /// Presence penalty (2.1).
    pub const REQUEST_PRESENCE_PENALTY: &str = "gen_ai.request.presence_penalty";
    /// Most tokens of output (2.1).
    pub const REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
    /// Response that this request continues (2.1).
    pub const REQUEST_PREVIOUS_RESPONSE_ID: &str = "gen_ai.request.previous_response.id";
    /// Reasoning effort as sent (2.1).
    pub const REQUEST_REASONING_LEVEL: &str = "gen_ai.request.reasoning.level";
    /// Stop sequences (2.1).
    pub const REQUEST_STOP_SEQUENCES: &str = "gen_ai.request.stop_sequences";
    /// Repetition penalty (8).
    pub const REQUEST_REPETITION_PENALTY: &str = "gen_ai.request.repetition_penalty";
    /// Embedding formats (2.2).
    pub const REQUEST_ENCODING_FORMATS: &str = "gen_ai.request.encoding_formats";

    /// The id under which a model server's engine knows the request, as its own spans name it.
    pub const REQUEST_ID: &str = "gen_ai.request.id";

    /// The provider's id of the response (2.1).
    pub const RESPONSE_ID: &str = "gen_ai.response.id";
    /// Model that answered (2.1).
    pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
    /// Why each choice ended, as the provider says it (2.1).
    pub const RESPONSE_FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
    /// State of a stored response (2.2).
    pub const RESPONSE_STATUS: &str = "gen_ai.response.status";
    /// Seconds from the start to the first chunk of a stream (2.1).
    pub const RESPONSE_TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";

    /// Nanoseconds from the start to the first chunk; the Aliyun dialect's (8).
    pub const RESPONSE_TIME_TO_FIRST_TOKEN: &str = "gen_ai.response.time_to_first_token";

    /// Input tokens, cached ones included (2.1).
    pub const USAGE_INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    /// Output tokens, reasoning included (2.1).
    pub const USAGE_OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
    /// Input tokens read from a cache (2.1).
    pub const USAGE_CACHE_READ: &str = "gen_ai.usage.cache_read.input_tokens";
    /// Input tokens written to a cache (2.1).
    pub const USAGE_CACHE_WRITE: &str = "gen_ai.usage.cache_write.input_tokens";
    /// What [`USAGE_CACHE_WRITE`] was called before (8).
    pub const USAGE_CACHE_CREATION: &str = "gen_ai.usage.cache_creation.input_tokens";
    /// Input and output tokens together; the Aliyun dialect's (8).
    pub const USAGE_TOTAL_TOKENS: &str = "gen_ai.usage.total_tokens";
    /// Output tokens spent on reasoning (2.1).
    pub const USAGE_REASONING: &str = "gen_ai.usage.reasoning.output_tokens";
    /// Input tokens by modality: text, image, audio (2.1).
    pub const USAGE_INPUT_BY_MODALITY: [&str; 3] = [
        "gen_ai.usage.text.input_tokens",
        "gen_ai.usage.image.input_tokens",
        "gen_ai.usage.audio.input_tokens",
    ];
    /// Output tokens by modality: text, image, audio (2.1).
    pub const USAGE_OUTPUT_BY_MODALITY: [&str; 3] = [
        "gen_ai.usage.text.output_tokens",
        "gen_ai.usage.image.output_tokens",
        "gen_ai.usage.audio.output_tokens",
    ];
    /// Input tokens read from a cache by modality: text, image, audio (2.1).
    pub const USAGE_CACHE_READ_BY_MODALITY: [&str; 3] = [
        "gen_ai.usage.text.cache_read.input_tokens",
        "gen_ai.usage.image.cache_read.input_tokens",
        "gen_ai.usage.audio.cache_read.input_tokens",
    ];

    /// Length of the vectors (2.2).
    pub const EMBEDDINGS_DIMENSION_COUNT: &str = "gen_ai.embeddings.dimension.count";

    /// Messages sent, JSON (2.1, 3).
    pub const INPUT_MESSAGES: &str = "gen_ai.input.messages";
    /// Messages received, JSON (2.1, 3).
    pub const OUTPUT_MESSAGES: &str = "gen_ai.output.messages";
    /// Instructions apart from the messages, JSON (2.1, 3).
    pub const SYSTEM_INSTRUCTIONS: &str = "gen_ai.system_instructions";
    /// Tools offered, JSON (2.1, 3).
    pub const TOOL_DEFINITIONS: &str = "gen_ai.tool.definitions";

    /// The guardrail that watches the call (2.3).
    pub const AWS_BEDROCK_GUARDRAIL_ID: &str = "aws.bedrock.guardrail.id";
    /// The tool that is run (2.2).
    pub const TOOL_NAME: &str = "gen_ai.tool.name";
    /// The call for which the tool is run (2.2).
    pub const TOOL_CALL_ID: &str = "gen_ai.tool.call.id";
    /// What the tool is for (2.2).
    pub const TOOL_DESCRIPTION: &str = "gen_ai.tool.description";
    /// What a retriever is asked (2.2).
    pub const RETRIEVAL_QUERY_TEXT: &str = "gen_ai.retrieval.query.text";
    /// What a retriever found, JSON (2.2).
    pub const RETRIEVAL_DOCUMENTS: &str = "gen_ai.retrieval.documents";
    /// What a chain is given, JSON (8.4).
    pub const INPUT_VALUE: &str = "input.value";
    /// What a chain gives, JSON (8.4).
    pub const OUTPUT_VALUE: &str = "output.value";
    /// Arguments of the tool, JSON (2.2).
    pub const TOOL_CALL_ARGUMENTS: &str = "gen_ai.tool.call.arguments";
    /// What the tool gave, JSON (2.2).
    pub const TOOL_CALL_RESULT: &str = "gen_ai.tool.call.result";

    /// What is asked of an MCP server (7).
    pub const MCP_METHOD_NAME: &str = "mcp.method.name";
    /// Session with an MCP server (7).
    pub const MCP_SESSION_ID: &str = "mcp.session.id";
    /// Version of the protocol (7).
    pub const MCP_PROTOCOL_VERSION: &str = "mcp.protocol.version";
    /// Resource of an MCP server (7).
    pub const MCP_RESOURCE_URI: &str = "mcp.resource.uri";
    /// Id of a JSON-RPC request (7).
    pub const JSONRPC_REQUEST_ID: &str = "jsonrpc.request.id";
    /// JSON-RPC error code, as a text (7).
    pub const RPC_RESPONSE_STATUS_CODE: &str = "rpc.response.status_code";
    /// Transport below (7).
    pub const NETWORK_TRANSPORT: &str = "network.transport";
    /// Protocol below (7).
    pub const NETWORK_PROTOCOL_NAME: &str = "network.protocol.name";

    /// Which API of OpenAI's was used (2.3).
    pub const OPENAI_API_TYPE: &str = "openai.api.type";
    /// Service tier asked for, when not `auto` (2.3).
    pub const OPENAI_REQUEST_SERVICE_TIER: &str = "openai.request.service_tier";
    /// Service tier that served (2.3).
    pub const OPENAI_RESPONSE_SERVICE_TIER: &str = "openai.response.service_tier";
    /// Fingerprint of the provider's configuration (2.3).
    pub const OPENAI_RESPONSE_SYSTEM_FINGERPRINT: &str = "openai.response.system_fingerprint";

    /// Why the call failed (5).
    pub const ERROR_TYPE: &str = "error.type";
    /// Host that the client addressed (5).
    pub const SERVER_ADDRESS: &str = "server.address";
    /// Port that the client addressed (5).
    pub const SERVER_PORT: &str = "server.port";
    /// Address of the client, where the call was served (HTTP conventions).
    pub const CLIENT_ADDRESS: &str = "client.address";
    /// Port of the client, where the call was served (HTTP conventions).
    pub const CLIENT_PORT: &str = "client.port";
    /// Address of the peer of the connection.
    pub const NETWORK_PEER_ADDRESS: &str = "network.peer.address";
    /// Port of the peer of the connection.
    pub const NETWORK_PEER_PORT: &str = "network.peer.port";
    /// How often the client sent the request again (HTTP conventions).
    pub const HTTP_RESEND_COUNT: &str = "http.request.resend_count";

    /// Method of an HTTP request (HTTP conventions, as all of these).
    pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
    /// The method when it is none of the usual ones.
    pub const HTTP_REQUEST_METHOD_ORIGINAL: &str = "http.request.method_original";
    /// Status of the response.
    pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
    /// `http` or `https`.
    pub const URL_SCHEME: &str = "url.scheme";
    /// Path of a request that was served.
    pub const URL_PATH: &str = "url.path";
    /// Query of a request that was served, without secrets.
    pub const URL_QUERY: &str = "url.query";
    /// Address of a request that was made, without secrets.
    pub const URL_FULL: &str = "url.full";
    /// What made the request.
    pub const USER_AGENT_ORIGINAL: &str = "user_agent.original";
    /// Version of the protocol.
    pub const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";

    /// A function's name, with its module.
    pub const CODE_FUNCTION_NAME: &str = "code.function.name";
    /// The file it is defined in.
    pub const CODE_FILE_PATH: &str = "code.file.path";
    /// The line it begins at.
    pub const CODE_LINE_NUMBER: &str = "code.line.number";
    /// Call path of a request, the innermost place last.
    pub const CODE_STACKTRACE: &str = "code.stacktrace";
    /// What the name of a function's argument has before it; ours.
    pub const FUNCTION_ARGUMENT: &str = "genspan.function.argument.";
    /// A generator or coroutine was closed before its end; ours.
    pub const FUNCTION_CLOSED: &str = "genspan.function.closed";

    /// The framework's id of a run; ours.
    pub const RUN_ID: &str = "genspan.run.id";
    /// The framework's name of a run; ours.
    pub const RUN_NAME: &str = "genspan.run.name";

    /// Seconds that a request waited in an engine until it was first worked at; ours.
    pub const ENGINE_QUEUE_TIME: &str = "genspan.engine.queue_time";
    /// Seconds from then to its first token; ours.
    pub const ENGINE_PREFILL_TIME: &str = "genspan.engine.prefill_time";
    /// Seconds from its first token to its last; ours.
    pub const ENGINE_DECODE_TIME: &str = "genspan.engine.decode_time";
    /// Seconds to the first token, as the engine measured it; ours.
    pub const ENGINE_TIME_TO_FIRST_TOKEN: &str = "genspan.engine.time_to_first_token";
    /// Seconds for each token after the first; ours.
    pub const ENGINE_TIME_PER_OUTPUT_TOKEN: &str = "genspan.engine.time_per_output_token";
    /// Requests that an engine had for one that was served, when it is not one; ours.
    pub const ENGINE_REQUESTS: &str = "genspan.engine.requests";
    /// How often they gave way to others, and began anew; ours.
    pub const ENGINE_PREEMPTIONS: &str = "genspan.engine.preemptions";

    /// How the span's parent was found; ours.
    pub const PARENT_SOURCE: &str = "genspan.parent.source";
    /// How often the client asked after the task that the call is; ours.
    pub const TASK_POLLS: &str = "genspan.task.polls";
    /// What could not be seen right of the call; ours.
    pub const DEFECTS: &str = "genspan.defects";
    /// Number of messages sent, when their content is not told; ours.
    pub const INPUT_MESSAGES_COUNT: &str = "genspan.input.messages.count";
    /// Characters of content sent, when the content is not told; ours.
    pub const INPUT_MESSAGES_CHARS: &str = "genspan.input.messages.chars";
    /// Number of messages received, when their content is not told; ours.
    pub const OUTPUT_MESSAGES_COUNT: &str = "genspan.output.messages.count";
    /// Characters of content received, when the content is not told; ours.
    pub const OUTPUT_MESSAGES_CHARS: &str = "genspan.output.messages.chars";
    /// Characters of a tool's arguments, when they are not told; ours.
    pub const TOOL_CALL_ARGUMENTS_CHARS: &str = "genspan.tool.call.arguments.chars";
    /// Characters of what a tool gave, when that is not told; ours.
    pub const TOOL_CALL_RESULT_CHARS: &str = "genspan.tool.call.result.chars";
    /// Characters of instructions, when their content is not told; ours.
    pub const SYSTEM_INSTRUCTIONS_CHARS: &str = "genspan.system_instructions.chars";

    /// Class of an exception, or what stands for it (exception conventions).
    pub const EXCEPTION_TYPE: &str = "exception.type";
    /// What an exception says (exception conventions).
    pub const EXCEPTION_MESSAGE: &str = "exception.message";

    /// Those that are JSON texts on spans and structured values in events (3).
    pub const STRUCTURED: [&str; 7] = [
        SYSTEM_INSTRUCTIONS,
        INPUT_MESSAGES,
        OUTPUT_MESSAGES,
        TOOL_DEFINITIONS,
        TOOL_CALL_ARGUMENTS,
        TOOL_CALL_RESULT,
        RETRIEVAL_DOCUMENTS,
    ];
}

/// Values of [`attr::OPERATION_NAME`] (1).
pub mod operation {
    use super::Operation;

    /// Chat.
    pub const CHAT: &str = "chat";
    /// Legacy completion.
    pub const TEXT_COMPLETION: &str = "text_completion";
    /// Embeddings.
    pub const EMBEDDINGS: &str = "embeddings";
    /// Content of any kind.
    pub const GENERATE_CONTENT: &str = "generate_content";
    /// Documents put in order; the conventions have no word for it, the Aliyun dialect has (8).
    pub const RERANK_DOCUMENTS: &str = "rerank_documents";
    /// Fetching a response made before.
    pub const FETCH_RESPONSE: &str = "fetch_response";
    /// An agent.
    pub const INVOKE_AGENT: &str = "invoke_agent";
    /// A workflow.
    pub const INVOKE_WORKFLOW: &str = "invoke_workflow";
    /// Documents looked for.
    pub const RETRIEVAL: &str = "retrieval";
    /// A tool.
    pub const EXECUTE_TOOL: &str = "execute_tool";

    /// What an MCP client asks; the conventions have no word for it, and spans do not tell it.
    pub const MCP: &str = "mcp";

    /// The name of an operation.
    #[must_use]
    pub const fn name(operation: Operation) -> &'static str {
        match operation {
            Operation::Chat => CHAT,
            Operation::TextCompletion => TEXT_COMPLETION,
            Operation::GenerateContent => GENERATE_CONTENT,
            Operation::Embeddings => EMBEDDINGS,
            Operation::Rerank => RERANK_DOCUMENTS,
            Operation::FetchResponse => FETCH_RESPONSE,
            Operation::InvokeAgent => INVOKE_AGENT,
            Operation::InvokeWorkflow => INVOKE_WORKFLOW,
            Operation::ExecuteTool => EXECUTE_TOOL,
            Operation::Mcp => MCP,
        }
    }
}

/// Values of [`attr::SPAN_KIND`] (8).
pub mod span_kind {
    /// A call of a model.
    pub const LLM: &str = "LLM";
    /// Embeddings.
    pub const EMBEDDING: &str = "EMBEDDING";
    /// Documents put in order.
    pub const RERANKER: &str = "RERANKER";
    /// Documents looked for.
    pub const RETRIEVER: &str = "RETRIEVER";
    /// A tool.
    pub const TOOL: &str = "TOOL";
    /// An agent.
    pub const AGENT: &str = "AGENT";
    /// A workflow.
    pub const WORKFLOW: &str = "WORKFLOW";
    /// A step of a workflow.
    pub const CHAIN: &str = "CHAIN";
    /// What is asked of an MCP server.
    pub const MCP: &str = "MCP";
}

/// Names of events (4).
pub mod event {
    /// Content of a call, as an event.
    pub const OPERATION_DETAILS: &str = "gen_ai.client.inference.operation.details";
    /// Why a call failed, as an event.
    pub const OPERATION_EXCEPTION: &str = "gen_ai.client.operation.exception";

    /// All of them.
    pub const ALL: [&str; 2] = [OPERATION_DETAILS, OPERATION_EXCEPTION];
}

/// Fields inside message JSON that the conventions do not have; ours.
pub mod field {
    /// Characters that a text had before it was cut; present only when it was.
    pub const ORIGINAL_LENGTH: &str = "genspan.original_length";
}

/// Names of resource attributes (resource conventions).
pub mod resource {
    /// Service.
    pub const SERVICE_NAME: &str = "service.name";
    /// What the service's name is unique in.
    pub const SERVICE_NAMESPACE: &str = "service.namespace";
    /// The service's version.
    pub const SERVICE_VERSION: &str = "service.version";
    /// Process id.
    pub const PROCESS_PID: &str = "process.pid";
    /// File name of the executable.
    pub const PROCESS_EXECUTABLE_NAME: &str = "process.executable.name";
    /// Path of the executable.
    pub const PROCESS_EXECUTABLE_PATH: &str = "process.executable.path";
    /// Command line, secrets left out.
    pub const PROCESS_COMMAND_ARGS: &str = "process.command_args";
    /// Language runtime.
    pub const PROCESS_RUNTIME_NAME: &str = "process.runtime.name";
    /// Version of the language runtime.
    pub const PROCESS_RUNTIME_VERSION: &str = "process.runtime.version";
    /// Host.
    pub const HOST_NAME: &str = "host.name";
    /// What made the telemetry.
    pub const TELEMETRY_SDK_NAME: &str = "telemetry.sdk.name";
    /// Its version.
    pub const TELEMETRY_SDK_VERSION: &str = "telemetry.sdk.version";
    /// Language of the traced program.
    pub const TELEMETRY_SDK_LANGUAGE: &str = "telemetry.sdk.language";
    /// The runtime's id of the container.
    pub const CONTAINER_ID: &str = "container.id";
    /// Its image, as it was asked for, without tag and digest.
    pub const CONTAINER_IMAGE_NAME: &str = "container.image.name";
    /// The image's tags: a list.
    pub const CONTAINER_IMAGE_TAGS: &str = "container.image.tags";
    /// The image, as the runtime has it.
    pub const CONTAINER_IMAGE_ID: &str = "container.image.id";
    /// Name of the container in its pod.
    pub const K8S_CONTAINER_NAME: &str = "k8s.container.name";
    /// How often it was started again: a number.
    pub const K8S_CONTAINER_RESTART_COUNT: &str = "k8s.container.restart_count";
    /// Name of the pod.
    pub const K8S_POD_NAME: &str = "k8s.pod.name";
    /// UID of the pod.
    pub const K8S_POD_UID: &str = "k8s.pod.uid";
    /// Address of the pod.
    pub const K8S_POD_IP: &str = "k8s.pod.ip";
    /// A label of the pod; its key follows.
    pub const K8S_POD_LABEL: &str = "k8s.pod.label.";
    /// An annotation of the pod; its key follows.
    pub const K8S_POD_ANNOTATION: &str = "k8s.pod.annotation.";
    /// Namespace of the pod.
    pub const K8S_NAMESPACE_NAME: &str = "k8s.namespace.name";
    /// Node that it is on.
    pub const K8S_NODE_NAME: &str = "k8s.node.name";
    /// What it belongs to.
    pub const K8S_DEPLOYMENT_NAME: &str = "k8s.deployment.name";
    /// What it belongs to.
    pub const K8S_REPLICASET_NAME: &str = "k8s.replicaset.name";
    /// What it belongs to.
    pub const K8S_STATEFULSET_NAME: &str = "k8s.statefulset.name";
    /// What it belongs to.
    pub const K8S_DAEMONSET_NAME: &str = "k8s.daemonset.name";
    /// What it belongs to.
    pub const K8S_CRONJOB_NAME: &str = "k8s.cronjob.name";
    /// What it belongs to.
    pub const K8S_JOB_NAME: &str = "k8s.job.name";
}

/// What the agent counts of itself, as it stands on the page for Prometheus. The first group has the
/// names that all programs have there.
pub mod own {
    /// Processor time used.
    pub const CPU: &str = "process_cpu_seconds_total";
    /// Resident memory.
    pub const RESIDENT: &str = "process_resident_memory_bytes";
    /// Open file descriptors.
    pub const OPEN_FILES: &str = "process_open_fds";
    /// When it was started.
    pub const STARTED: &str = "process_start_time_seconds";

    /// One, with the version as a label.
    pub const BUILD: &str = "genspan_build_info";
    /// One when it is ready, else zero.
    pub const READY: &str = "genspan_agent_ready";
    /// Processes by how it stands with them.
    pub const PROCESSES: &str = "genspan_agent_processes";
    /// Records taken from the kernel.
    pub const RECORDS: &str = "genspan_agent_records_total";
    /// Payload bytes in them.
    pub const BYTES: &str = "genspan_agent_bytes_total";
    /// Connections first seen.
    pub const CONNECTIONS: &str = "genspan_agent_connections_total";
    /// Spans told.
    pub const SPANS: &str = "genspan_agent_spans_total";
    /// Of those, model calls.
    pub const CALLS: &str = "genspan_agent_calls_total";
    /// Of those, the ones of which something was not seen.
    pub const INCOMPLETE: &str = "genspan_agent_calls_incomplete_total";
    /// Spans that were not told, of traces beyond the share that is to be.
    pub const UNSAMPLED: &str = "genspan_agent_spans_unsampled_total";

    /// What is not told to keep to the limits.
    pub const LEFT_OUT: &str = "genspan_agent_left_out";
    /// Calls that were told without their content to keep to the limits.
    pub const WITHOUT_CONTENT: &str = "genspan_agent_calls_without_content_total";
    /// One when an endpoint took the last request, else zero.
    pub const EXPORT_UP: &str = "genspan_export_up";
    /// Items that an endpoint acknowledged.
    pub const EXPORT_DELIVERED: &str = "genspan_export_delivered_total";
    /// Of those, the ones that it said it did not keep.
    pub const EXPORT_REJECTED: &str = "genspan_export_rejected_total";
    /// Requests and attempts to connect that failed.
    pub const EXPORT_ERRORS: &str = "genspan_export_errors_total";
    /// Items that were lost.
    pub const EXPORT_DROPPED: &str = "genspan_export_dropped_total";
    /// Items that went to the disk.
    pub const SPOOL_WRITTEN: &str = "genspan_export_spool_written_total";
    /// Items that wait on the disk.
    pub const SPOOL_ITEMS: &str = "genspan_export_spool_items";
    /// Bytes of the disk that they take.
    pub const SPOOL_BYTES: &str = "genspan_export_spool_bytes";

    /// Label of what is told of an export: its URL.
    pub const ENDPOINT: &str = "endpoint";
    /// Label of what is told of an export: `traces`, `metrics`, `logs`.
    pub const SIGNAL: &str = "signal";
    /// Label of [`EXPORT_DROPPED`].
    pub const REASON: &str = "reason";
    /// Label of [`BUILD`].
    pub const VERSION: &str = "version";
    /// Label of [`PROCESSES`].
    pub const STATE: &str = "state";
}

/// Names of metrics (6), and of the attributes that only they have.
pub mod metric {
    /// How long operations took; under the current names only those that are no inference.
    pub const CLIENT_OPERATION_DURATION: &str = "gen_ai.client.operation.duration";
    /// Tokens of a call; legacy.
    pub const CLIENT_TOKEN_USAGE: &str = "gen_ai.client.token.usage";
    /// Time to the first chunk; legacy.
    pub const CLIENT_OPERATION_FIRST_CHUNK: &str = "gen_ai.client.operation.time_to_first_chunk";
    /// Time from chunk to chunk; legacy.
    pub const CLIENT_OPERATION_PER_CHUNK: &str = "gen_ai.client.operation.time_per_output_chunk";

    /// How long inference took.
    pub const CLIENT_INFERENCE_DURATION: &str = "gen_ai.client.inference.duration";
    /// Time to the first chunk.
    pub const CLIENT_INFERENCE_FIRST_CHUNK: &str = "gen_ai.client.inference.time_to_first_chunk";
    /// Time from chunk to chunk.
    pub const CLIENT_INFERENCE_PER_CHUNK: &str = "gen_ai.client.inference.time_per_output_chunk";
    /// Input tokens of a call.
    pub const CLIENT_INFERENCE_INPUT: &str = "gen_ai.client.inference.operation.input_tokens";
    /// Output tokens of a call.
    pub const CLIENT_INFERENCE_OUTPUT: &str = "gen_ai.client.inference.operation.output_tokens";
    /// Sum of input tokens, by modality.
    pub const CLIENT_INPUT_SUM: &str = "gen_ai.client.inference.usage.input_tokens";
    /// Sum of output tokens, by modality.
    pub const CLIENT_OUTPUT_SUM: &str = "gen_ai.client.inference.usage.output_tokens";
    /// Sum of input tokens read from a cache, by modality.
    pub const CLIENT_CACHE_READ_SUM: &str = "gen_ai.client.inference.usage.cache_read.input_tokens";
    /// Sum of input tokens written to a cache, by modality.
    pub const CLIENT_CACHE_WRITE_SUM: &str =
        "gen_ai.client.inference.usage.cache_write.input_tokens";
    /// Sum of output tokens spent on reasoning, by modality.
    pub const CLIENT_REASONING_SUM: &str = "gen_ai.client.inference.usage.reasoning.output_tokens";

    /// How long a served request took.
    pub const SERVER_REQUEST_DURATION: &str = "gen_ai.server.request.duration";
    /// Time to the first token served.
    pub const SERVER_FIRST_TOKEN: &str = "gen_ai.server.time_to_first_token";
    /// Time per token served after the first.
    pub const SERVER_PER_TOKEN: &str = "gen_ai.server.time_per_output_token";

    /// How long a workflow's run took.
    pub const INVOKE_WORKFLOW_DURATION: &str = "gen_ai.invoke_workflow.duration";
    /// How long an agent's run took.
    pub const INVOKE_AGENT_DURATION: &str = "gen_ai.invoke_agent.duration";
    /// How long a tool took.
    pub const EXECUTE_TOOL_DURATION: &str = "gen_ai.execute_tool.duration";

    /// Requests that a model server works at; ours.
    pub const ENGINE_RUNNING: &str = "genspan.engine.requests.running";
    /// Requests that wait there; ours.
    pub const ENGINE_WAITING: &str = "genspan.engine.requests.waiting";
    /// Use of its cache of keys and values, 0 to 1; ours.
    pub const ENGINE_CACHE_USAGE: &str = "genspan.engine.kv_cache.usage";
    /// Part of the input found in the cache of late, 0 to 1; ours.
    pub const ENGINE_HIT_RATE: &str = "genspan.engine.prefix_cache.hit_rate";
    /// Tokens looked for in the prefix cache; ours.
    pub const ENGINE_PREFIX_QUERIES: &str = "genspan.engine.prefix_cache.queries";
    /// Tokens found there; ours.
    pub const ENGINE_PREFIX_HITS: &str = "genspan.engine.prefix_cache.hits";
    /// Requests put back for want of room; ours.
    pub const ENGINE_PREEMPTIONS: &str = "genspan.engine.preemptions";
    /// Input tokens read; ours.
    pub const ENGINE_INPUT: &str = "genspan.engine.usage.input_tokens";
    /// Output tokens made; ours.
    pub const ENGINE_OUTPUT: &str = "genspan.engine.usage.output_tokens";
    /// Which of several engines of one server; ours.
    pub const ENGINE_INDEX: &str = "genspan.engine.index";

    /// What did not get through, by reason; ours.
    pub const LOST: &str = "genspan.lost";
    /// The reason, in words; ours.
    pub const LOST_REASON: &str = "genspan.lost.reason";
    /// What was redacted, by rule; ours.
    pub const REDACTED: &str = "genspan.redacted";
    /// The rule; ours.
    pub const REDACTED_RULE: &str = "genspan.redaction.rule";

    /// Input or output (1).
    pub const TOKEN_TYPE: &str = "gen_ai.token.type";
    /// Text, image, audio or unknown (1).
    pub const TOKEN_MODALITY: &str = "gen_ai.token.modality";
    /// The agent of a run (2.2).
    pub const AGENT_NAME: &str = "gen_ai.agent.name";
    /// The tool of a run (2.2).
    pub const TOOL_NAME: &str = "gen_ai.tool.name";
    /// The workflow of a run (2.2).
    pub const WORKFLOW_NAME: &str = "gen_ai.workflow.name";
    /// Marks the one series of an instrument that takes what is beyond its limits
    /// (OpenTelemetry's metrics SDK, cardinality limits).
    pub const OVERFLOW: &str = "otel.metric.overflow";

    /// Operations that are inference (2).
    pub const INFERENCE: [&str; 3] = [
        super::operation::CHAT,
        super::operation::GENERATE_CONTENT,
        super::operation::TEXT_COMPLETION,
    ];
}

/// Which names are written where the conventions renamed something (0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Generation {
    /// What libraries and dashboards use today.
    #[default]
    Legacy,
    /// What the conventions say now.
    Current,
    /// Both, side by side.
    Both,
}

impl Generation {
    /// Whether the legacy names are written.
    #[must_use]
    pub const fn legacy(self) -> bool {
        matches!(self, Self::Legacy | Self::Both)
    }

    /// Whether the current names are written.
    #[must_use]
    pub const fn current(self) -> bool {
        matches!(self, Self::Current | Self::Both)
    }

    /// From `OTEL_SEMCONV_STABILITY_OPT_IN`: a list in which `/dup` asks for both.
    #[must_use]
    pub fn from_opt_in(value: &str) -> Self {
        let mut found = Self::Legacy;
        for item in value.split(',').map(str::trim) {
            match item {
                "gen_ai_latest_experimental/dup" => return Self::Both,
                "gen_ai_latest_experimental" => found = Self::Current,
                _ => {}
            }
        }
        found
    }
}

/// What the attributes of spans are called beside their names in the conventions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// With [`Generation::Both`] what was renamed has its name of before as well. The other two are
    /// the same: libraries that write the legacy metrics have the current attributes.
    pub generation: Generation,
    /// With the attributes of the Aliyun dialect (8).
    pub aliyun: bool,
}
