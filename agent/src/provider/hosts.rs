//! Who is addressed, by the host that the client names.

use crate::model::event::ConnectionId;

/// Known hosts: the host itself or, with a leading dot, anything below it. The first that fits
/// counts. Values are those of the conventions where they have one.
const HOSTS: &[(&str, &str)] = &[
    ("api.openai.com", "openai"),
    (".api.openai.com", "openai"),
    (".openai.azure.com", "azure.ai.openai"),
    (".openai.azure.us", "azure.ai.openai"),
    (".openai.azure.cn", "azure.ai.openai"),
    (".cognitiveservices.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.inference"),
    (".models.ai.azure.com", "azure.ai.inference"),
    ("models.inference.ai.azure.com", "azure.ai.inference"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral_ai"),
    ("codestral.mistral.ai", "mistral_ai"),
    ("api.moonshot.cn", "moonshot_ai"),
    ("api.moonshot.ai", "moonshot_ai"),
    ("api.x.ai", "x_ai"),
    (".api.x.ai", "x_ai"),
    ("api.together.xyz", "together"),
    ("api.together.ai", "together"),
    ("openrouter.ai", "openrouter"),
    ("api.fireworks.ai", "fireworks"),
    ("router.huggingface.co", "huggingface"),
    ("api-inference.huggingface.co", "huggingface"),
    (".endpoints.huggingface.cloud", "huggingface"),
    ("ollama.com", "ollama"),
    ("api.dify.ai", "dify"),
    ("api.perplexity.ai", "perplexity"),
    ("api.anthropic.com", "anthropic"),
    ("api.writer.com", "writer"),
    ("api.voyageai.com", "voyageai"),
    ("api.cohere.com", "cohere"),
    ("api.cohere.ai", "cohere"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    (".aiplatform.googleapis.com", "gcp.vertex_ai"),
    (".ml.cloud.ibm.com", "ibm.watsonx.ai"),
    ("dashscope.aliyuncs.com", "dashscope"),
    (".dashscope.aliyuncs.com", "dashscope"),
    (".maas.aliyuncs.com", "dashscope"),
];

/// Hosts of which the region is part of the first label.
const PATTERNS: &[(&str, &str, &str)] = &[
    ("dashscope-", ".aliyuncs.com", "dashscope"),
    ("vpc-", ".dashscope.aliyuncs.com", "dashscope"),
    ("", "-aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("bedrock-runtime.", ".amazonaws.com", "aws.bedrock"),
    ("bedrock-runtime-fips.", ".amazonaws.com", "aws.bedrock"),
    ("bedrock-runtime.", ".amazonaws.com.cn", "aws.bedrock"),
    ("bedrock-runtime.", ".api.aws", "aws.bedrock"),
    ("bedrock-mantle.", ".api.aws", "aws.bedrock"),
];

/// Azure's own OpenAI service, whatever the host.
pub(super) const AZURE_OPENAI: &str = "azure.ai.openai";

/// What speaks OpenAI's protocol and is not known.
pub(super) const OPENAI: &str = "openai";

/// The provider behind a host (without port), if it is a known one.
pub(super) fn provider(host: &str) -> Option<&'static str> {
    let host = host.to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    let known = HOSTS.iter().find(|(pattern, _)| {
        if pattern.starts_with('.') {
            host.ends_with(pattern)
        } else {
            host == *pattern
        }
    });
    known.map(|(_, name)| *name).or_else(|| {
        PATTERNS
            .iter()
            .find(|(start, end, _)| {
                host.starts_with(start)
                    && host.ends_with(end)
                    && host.len() > start.len() + end.len()
            })
            .map(|(_, _, name)| *name)
    })
}

/// The port of `https` addresses that name none.
pub(super) const TLS_PORT: u16 = 443;

/// The port of `http` addresses that name none.
pub(super) const PLAIN_PORT: u16 = 80;

/// The port that is meant on a connection where none is named.
pub(super) const fn default_port(connection: ConnectionId) -> u16 {
    if connection.is_socket() {
        PLAIN_PORT
    } else {
        TLS_PORT
    }
}

/// Host and port of a `Host` header; `default_port` when it names none.
pub(super) fn split(authority: &str, default_port: u16) -> (String, u16) {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, h)| h);
    if let Some(rest) = authority.strip_prefix('[') {
        if let Some((host, after)) = rest.split_once(']') {
            let port = after.strip_prefix(':').and_then(|p| p.parse().ok());
            return (host.to_owned(), port.unwrap_or(default_port));
        }
    }
    match authority.split_once(':') {
        Some((host, port)) if !port.contains(':') => {
            (host.to_owned(), port.parse().unwrap_or(default_port))
        }
        _ => (authority.to_owned(), default_port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (host, want) in [
            ("api.openai.com", Some("openai")),
            ("eu.api.openai.com", Some("openai")),
            ("Contoso.OpenAI.azure.com", Some("azure.ai.openai")),
            ("api.groq.com", Some("groq")),
            ("us-east-1.api.x.ai", Some("x_ai")),
            ("api.together.xyz", Some("together")),
            ("openrouter.ai", Some("openrouter")),
            ("api.fireworks.ai", Some("fireworks")),
            ("router.huggingface.co", Some("huggingface")),
            ("ollama.com", Some("ollama")),
            ("api.dify.ai", Some("dify")),
            ("codestral.mistral.ai", Some("mistral_ai")),
            ("api.deepseek.com", Some("deepseek")),
            ("api.moonshot.cn", Some("moonshot_ai")),
            ("api.perplexity.ai", Some("perplexity")),
            ("api.writer.com", Some("writer")),
            ("api.voyageai.com", Some("voyageai")),
            ("dashscope-intl.aliyuncs.com", Some("dashscope")),
            ("cn-hongkong.dashscope.aliyuncs.com", Some("dashscope")),
            (
                "us-central1-aiplatform.googleapis.com",
                Some("gcp.vertex_ai"),
            ),
            (
                "bedrock-runtime.us-west-2.amazonaws.com",
                Some("aws.bedrock"),
            ),
            (
                "bedrock-runtime.cn-north-1.amazonaws.com.cn",
                Some("aws.bedrock"),
            ),
            ("bedrock-runtime.us-east-1.api.aws", Some("aws.bedrock")),
            ("notapi.openai.com.evil.example", None),
            ("xapi.openai.com", None),
            ("localhost", None),
        ] {
            assert_eq!(provider(host), want, "{host}");
        }
    }

    #[test]
    fn authorities() {
        for (text, host, port) in [
            ("api.openai.com", "api.openai.com", 443),
            ("localhost:8443", "localhost", 8443),
            ("[::1]:8443", "::1", 8443),
            ("[::1]", "::1", 443),
            ("::1", "::1", 443),
            ("h:", "h", 443),
            ("u:p@h:1", "h", 1),
        ] {
            assert_eq!(split(text, TLS_PORT), (host.to_owned(), port), "{text}");
        }
    }
}
