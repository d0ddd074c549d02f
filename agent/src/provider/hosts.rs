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
    ("api.replicate.com", "replicate"),
    ("api.aleph-alpha.com", "aleph_alpha"),
    ("dashscope.aliyuncs.com", "dashscope"),
    (".dashscope.aliyuncs.com", "dashscope"),
    (".maas.aliyuncs.com", "dashscope"),
];

/// Hosts in whose middle the region stands, or something like it.
const PATTERNS: &[(&str, &str, &str)] = &[
    ("dashscope-", ".aliyuncs.com", "dashscope"),
    ("", "-aiplatform.googleapis.com", "gcp.vertex_ai"),
    // Several regions as one, and those where the client shows a certificate.
    ("aiplatform.", ".googleapis.com", "gcp.vertex_ai"),
    ("", "-aiplatform.mtls.googleapis.com", "gcp.vertex_ai"),
    ("generativelanguage.", ".googleapis.com", "gcp.gemini"),
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
    let known = HOSTS.iter().find(|(pattern, _)| is_host(host, pattern));
    known.map(|(_, name)| *name).or_else(|| {
        PATTERNS
            .iter()
            .find(|(start, end, _)| is_between(host, start, end))
            .map(|(_, _, name)| *name)
    })
}

fn is_host(host: &str, pattern: &str) -> bool {
    if pattern.starts_with('.') {
        host.ends_with(pattern)
    } else {
        host == pattern
    }
}

fn is_between(host: &str, start: &str, end: &str) -> bool {
    host.starts_with(start) && host.ends_with(end) && host.len() > start.len() + end.len()
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

    /// Each row of both tables has one here.
    const KNOWN: &[(&str, &str)] = &[
        ("api.openai.com", "openai"),
        ("eu.api.openai.com", "openai"),
        ("Contoso.OpenAI.azure.com", "azure.ai.openai"),
        ("contoso.openai.azure.us", "azure.ai.openai"),
        ("contoso.openai.azure.cn", "azure.ai.openai"),
        ("contoso.cognitiveservices.azure.com", "azure.ai.openai"),
        ("contoso.services.ai.azure.com", "azure.ai.inference"),
        ("m.eastus.models.ai.azure.com", "azure.ai.inference"),
        ("models.inference.ai.azure.com", "azure.ai.inference"),
        ("api.deepseek.com", "deepseek"),
        ("api.groq.com", "groq"),
        ("api.mistral.ai", "mistral_ai"),
        ("codestral.mistral.ai", "mistral_ai"),
        ("api.moonshot.cn", "moonshot_ai"),
        ("api.moonshot.ai", "moonshot_ai"),
        ("api.x.ai", "x_ai"),
        ("us-east-1.api.x.ai", "x_ai"),
        ("api.together.xyz", "together"),
        ("api.together.ai", "together"),
        ("openrouter.ai", "openrouter"),
        ("api.fireworks.ai", "fireworks"),
        ("router.huggingface.co", "huggingface"),
        ("api-inference.huggingface.co", "huggingface"),
        ("e.us-east-1.aws.endpoints.huggingface.cloud", "huggingface"),
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
        ("us.aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("aiplatform.eu.rep.googleapis.com", "gcp.vertex_ai"),
        ("us-central1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("us-east1-aiplatform.mtls.googleapis.com", "gcp.vertex_ai"),
        ("generativelanguage.mtls.googleapis.com", "gcp.gemini"),
        ("us-south.ml.cloud.ibm.com", "ibm.watsonx.ai"),
        ("api.replicate.com", "replicate"),
        ("api.aleph-alpha.com", "aleph_alpha"),
        ("dashscope.aliyuncs.com", "dashscope"),
        ("dashscope.aliyuncs.com.", "dashscope"),
        ("cn-hongkong.dashscope.aliyuncs.com", "dashscope"),
        ("vpc-cn-beijing.dashscope.aliyuncs.com", "dashscope"),
        ("ws-1.cn-beijing.maas.aliyuncs.com", "dashscope"),
        ("dashscope-intl.aliyuncs.com", "dashscope"),
        ("bedrock-runtime.us-west-2.amazonaws.com", "aws.bedrock"),
        (
            "bedrock-runtime-fips.us-east-1.amazonaws.com",
            "aws.bedrock",
        ),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "aws.bedrock"),
        ("bedrock-runtime.us-east-1.api.aws", "aws.bedrock"),
        ("bedrock-mantle.us-east-1.api.aws", "aws.bedrock"),
    ];

    #[test]
    fn hosts() {
        for (host, want) in KNOWN {
            assert_eq!(provider(host), Some(*want), "{host}");
        }
        for host in [
            "notapi.openai.com.evil.example",
            "xapi.openai.com",
            "dashscope-.aliyuncs.com",
            "bedrock-runtime.amazonaws.com",
            "oss-cn-beijing.aliyuncs.com",
            "storage.googleapis.com",
            "localhost",
        ] {
            assert_eq!(provider(host), None, "{host}");
        }
    }

    /// A row that no host needs, or that another one hides, is none.
    #[test]
    fn each_row_has_a_host() {
        let all = || KNOWN.iter().map(|(host, _)| host.to_ascii_lowercase());
        for (row, (pattern, _)) in HOSTS.iter().enumerate() {
            let first = |host: &str| HOSTS.iter().position(|(p, _)| is_host(host, p));
            assert!(all().any(|host| first(&host) == Some(row)), "{pattern}");
        }
        for (row, (start, end, _)) in PATTERNS.iter().enumerate() {
            let first = |host: &str| {
                let hidden = HOSTS.iter().any(|(p, _)| is_host(host, p));
                let found = PATTERNS.iter().position(|(s, e, _)| is_between(host, s, e));
                found.filter(|_| !hidden)
            };
            assert!(all().any(|host| first(&host) == Some(row)), "{start} {end}");
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
