//! Which headers are kept. A value that is not on the list is never copied, so that no secret
//! gets further than the buffer it came in.

use crate::model::exchange::Headers;

/// Longest value that is kept; a longer one counts as not seen.
pub const MAX_VALUE_BYTES: usize = 4096;

/// Most headers of one head that are kept.
pub const MAX_KEPT: usize = 64;

/// Names that the agent has a use for: lower case, sorted.
const KEPT: &[&str] = &[
    "accept",
    "anthropic-beta",
    "anthropic-version",
    "api-version",
    "apim-request-id",
    "b3",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "mcp-protocol-version",
    "mcp-session-id",
    "openai-processing-ms",
    "openai-version",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "server",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-amzn-bedrock-cache-read-input-token-count",
    "x-amzn-bedrock-cache-write-input-token-count",
    "x-amzn-bedrock-guardrailidentifier",
    "x-amzn-bedrock-input-token-count",
    "x-amzn-bedrock-output-token-count",
    "x-amzn-errortype",
    "x-amzn-requestid",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-dashscope-async",
    "x-dashscope-request-id",
    "x-dashscope-sse",
    "x-ms-region",
    "x-ms-served-model",
    "x-request-id",
    "x-should-retry",
    "x-stainless-arch",
    "x-stainless-async",
    "x-stainless-lang",
    "x-stainless-os",
    "x-stainless-package-version",
    "x-stainless-raw-response",
    "x-stainless-read-timeout",
    "x-stainless-retry-count",
    "x-stainless-runtime",
    "x-stainless-runtime-version",
    "x-stainless-timeout",
];

const LONGEST_NAME: usize = 44;

/// The name as the list has it, when the header is on the list.
#[must_use]
pub fn kept_name(name: &[u8]) -> Option<&'static str> {
    let mut buffer = [0; LONGEST_NAME];
    let lower = buffer.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let at = KEPT.binary_search_by(|k| k.as_bytes().cmp(lower)).ok()?;
    Some(KEPT[at])
}

/// Keeps a header if it is on the list.
pub fn keep(headers: &mut Headers, name: &[u8], value: &[u8]) {
    let Some(name) = kept_name(name) else { return };
    let value = value.trim_ascii();
    if value.len() > MAX_VALUE_BYTES || headers.iter().nth(MAX_KEPT - 1).is_some() {
        return;
    }
    headers.push(name, String::from_utf8_lossy(value).into_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_fits() {
        assert!(KEPT.is_sorted());
        for k in KEPT {
            assert!(k.len() <= LONGEST_NAME, "{k}");
            assert_eq!(kept_name(k.to_uppercase().as_bytes()), Some(*k));
        }
    }

    #[test]
    fn secrets_are_not_on_it() {
        for name in [
            "authorization",
            "api-key",
            "x-api-key",
            "x-goog-api-key",
            "cookie",
            "set-cookie",
            "proxy-authorization",
            "Authorization",
            "a-name-that-is-longer-than-any-other-that-stands-on-the-list",
            "",
        ] {
            assert_eq!(kept_name(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn bounds() {
        let mut headers = Headers::default();
        keep(&mut headers, b"Server", &vec![b'x'; MAX_VALUE_BYTES + 1]);
        assert_eq!(headers.get("server"), None);
        for _ in 0..2 * MAX_KEPT {
            keep(&mut headers, b"server", b" x\xff ");
        }
        assert_eq!(headers.iter().count(), MAX_KEPT);
        assert_eq!(headers.get("server"), Some("x\u{fffd}"));
    }
}
