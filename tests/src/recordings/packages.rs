//! The real packages that send recorded requests, and whose recordings each of them sends.

use super::Exchange;

/// Whose recordings: those that the packages of one provider can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// OpenAI, Azure, and whoever is spoken to with OpenAI's package.
    OpenAi,
    /// DashScope's own API.
    DashScope,
    /// Anthropic.
    Anthropic,
    /// Gemini API and Vertex AI.
    Google,
    /// Bedrock.
    Bedrock,
    /// Cohere.
    Cohere,
    /// Mistral.
    Mistral,
    /// Groq.
    Groq,
    /// Ollama.
    Ollama,
    /// Together.
    Together,
    /// Voyage AI.
    Voyage,
    /// Writer.
    Writer,
    /// Vector databases and other services.
    Others,
}

/// Hosts, or a part of them, and whose they are; the first that fits counts.
const HOSTS: [(&str, Group); 15] = [
    ("dashscope.aliyuncs.com", Group::DashScope),
    ("api.anthropic.com", Group::Anthropic),
    ("bedrock-runtime.", Group::Bedrock),
    ("api.cohere.", Group::Cohere),
    ("api.mistral.ai", Group::Mistral),
    ("api.groq.com", Group::Groq),
    ("api.together.xyz", Group::Together),
    ("api.voyageai.com", Group::Voyage),
    ("api.writer.com", Group::Writer),
    ("googleapis.com", Group::Google),
    (":11434", Group::Ollama),
    ("localhost:8000", Group::OpenAi),
    ("localhost:5002", Group::OpenAi),
    ("invalid-url-", Group::OpenAi),
    ("openai", Group::OpenAi),
];

impl Group {
    /// Whose a recording is, of which `listed` says that it is of OpenAI's protocol.
    #[must_use]
    pub fn of(listed: bool, exchanges: &[Exchange]) -> Self {
        if listed {
            return Self::OpenAi;
        }
        let known = |x: &Exchange| HOSTS.iter().find(|(host, _)| x.host.contains(host));
        let found = exchanges.iter().find_map(known);
        found.map_or(Self::Others, |(_, group)| *group)
    }

    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "OpenAI, Azure, OpenAI-shaped",
            Self::DashScope => "DashScope",
            Self::Anthropic => "Anthropic",
            Self::Google => "Gemini, Vertex AI",
            Self::Bedrock => "Bedrock",
            Self::Cohere => "Cohere",
            Self::Mistral => "Mistral",
            Self::Groq => "Groq",
            Self::Ollama => "Ollama",
            Self::Together => "Together",
            Self::Voyage => "Voyage AI",
            Self::Writer => "Writer",
            Self::Others => "other services",
        }
    }
}

/// A package in an environment of its own.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Whose recordings it sends.
    pub group: Group,
    /// Its environment, by the name that `xtask` gives it.
    pub environment: &'static str,
    /// The module below `python/replay/senders` that knows it.
    pub sender: &'static str,
    /// It can be told to speak HTTP/2.
    pub http2: bool,
}

const fn package(
    group: Group,
    environment: &'static str,
    sender: &'static str,
    http2: bool,
) -> Package {
    Package {
        group,
        environment,
        sender,
        http2,
    }
}

/// All of them: of each provider the newest and the oldest.
pub const PACKAGES: [Package; 26] = [
    package(Group::OpenAi, "lab-openai", "openai_package", true),
    package(Group::OpenAi, "lab-openai-1", "openai_package", true),
    package(Group::OpenAi, "lab-openai-0", "openai_0", false),
    package(
        Group::DashScope,
        "lab-dashscope",
        "dashscope_package",
        false,
    ),
    package(
        Group::DashScope,
        "lab-dashscope-old",
        "dashscope_package",
        false,
    ),
    package(Group::Anthropic, "lab-anthropic", "anthropic_package", true),
    package(
        Group::Anthropic,
        "lab-anthropic-old",
        "anthropic_package",
        true,
    ),
    package(Group::Google, "lab-genai", "google_genai", true),
    package(Group::Google, "lab-genai-old", "google_genai", false),
    package(Group::Bedrock, "lab-boto", "boto", false),
    package(Group::Bedrock, "lab-boto-old", "boto", false),
    package(Group::Cohere, "lab-cohere", "cohere_package", true),
    package(Group::Cohere, "lab-cohere-old", "cohere_package", true),
    package(Group::Mistral, "lab-mistral", "mistral_package", true),
    package(Group::Mistral, "lab-mistral-old", "mistral_package", false),
    package(Group::Groq, "lab-groq", "groq_package", true),
    package(Group::Groq, "lab-groq-old", "groq_package", true),
    package(Group::Ollama, "lab-ollama", "ollama_package", true),
    package(Group::Ollama, "lab-ollama-old", "ollama_package", true),
    package(Group::Together, "lab-together", "together_package", true),
    package(Group::Together, "lab-together-old", "together_1", false),
    package(Group::Voyage, "lab-voyage", "voyage_package", false),
    package(Group::Voyage, "lab-voyage-old", "voyage_package", false),
    package(Group::Writer, "lab-writer", "writer_package", true),
    package(Group::Writer, "lab-writer-old", "writer_package", true),
    package(Group::Others, "lab-raw", "raw", true),
];

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

impl Http {
    /// Its number.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::One => "1.1",
            Self::Two => "2",
        }
    }
}
