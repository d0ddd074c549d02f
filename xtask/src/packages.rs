//! Environments of the packages that send recorded requests: of each provider the newest and the
//! oldest that has the calls and that installs.

use crate::progress::step;
use crate::venv::{Environment, Python, environment};
use anyhow::Result;

/// httpx with all that changes how it speaks.
const HTTPX: &str = "httpx[http2,brotli,zstd]";

/// The same of the fork that the newest packages use.
const HTTPX2: &str = "httpx2[http2,brotli,zstd]";

/// Codings for what does without httpx.
const BROTLI: &str = "brotli";
const ZSTD: &str = "zstandard";

const NEW: Python = Python::Version((3, 12));
const PY39: Python = Python::Version((3, 9));
const PY38: Python = Python::Version((3, 8));

/// All of them; `genspan_tests::recordings::packages` knows them by these names.
pub(crate) const PACKAGES: [Environment; 26] = [
    environment("lab-openai", NEW, &["openai", HTTPX, HTTPX2]),
    // The first of its present form, and the last of the one before.
    environment(
        "lab-openai-1",
        PY38,
        &["openai==1.0.0", "httpx[http2,brotli]<0.26"],
    ),
    environment("lab-openai-0", PY38, &["openai==0.28.1", BROTLI]),
    environment(
        "lab-dashscope",
        NEW,
        &["dashscope", "aiohttp", "certifi", BROTLI, ZSTD],
    ),
    environment("lab-dashscope-old", PY38, &["dashscope==1.14.1"]),
    environment("lab-anthropic", NEW, &["anthropic", HTTPX, HTTPX2]),
    environment(
        "lab-anthropic-old",
        PY39,
        &[
            "anthropic==0.21.3",
            "httpx[http2,brotli]<0.28",
            "tokenizers<0.21",
        ],
    ),
    environment(
        "lab-genai",
        NEW,
        &["google-genai", HTTPX, HTTPX2, BROTLI, ZSTD],
    ),
    environment(
        "lab-genai-old",
        PY39,
        &["google-genai==1.0.0", BROTLI, ZSTD],
    ),
    environment("lab-boto", NEW, &["boto3"]),
    // The first that can converse.
    environment("lab-boto-old", PY38, &["boto3==1.34.116"]),
    environment("lab-cohere", NEW, &["cohere", HTTPX]),
    environment(
        "lab-cohere-old",
        PY38,
        &["cohere==5.0.0", "httpx[http2,brotli]<0.28"],
    ),
    environment("lab-mistral", NEW, &["mistralai", HTTPX]),
    environment(
        "lab-mistral-old",
        PY39,
        &["mistralai==0.0.7", "httpx[http2,brotli]<0.26"],
    ),
    environment("lab-groq", NEW, &["groq", HTTPX]),
    environment(
        "lab-groq-old",
        PY38,
        &["groq==0.4.0", "httpx[http2,brotli]<0.28"],
    ),
    environment("lab-ollama", NEW, &["ollama", HTTPX]),
    environment(
        "lab-ollama-old",
        PY38,
        &["ollama==0.1.6", "httpx[http2,brotli]<0.28"],
    ),
    environment("lab-together", NEW, &["together", HTTPX]),
    environment("lab-together-old", PY39, &["together==1.1.5", BROTLI]),
    environment("lab-voyage", NEW, &["voyageai"]),
    environment("lab-voyage-old", PY39, &["voyageai==0.2.1"]),
    environment("lab-writer", NEW, &["writer-sdk", HTTPX]),
    environment(
        "lab-writer-old",
        PY39,
        &["writer-sdk==1.0.0", "httpx[http2,brotli]<0.28"],
    ),
    environment("lab-raw", Python::Version((3, 13)), &[HTTPX]),
];

/// Makes those that are not there; gives a line for each that cannot be made. `wanted` says which.
pub(crate) fn make(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut missing = Vec::new();
    for environment in PACKAGES.iter().filter(|e| wanted(e.name)) {
        let made: Result<()> = environment.interpreter().and_then(|python| {
            if environment.is_ready(&python) {
                return Ok(());
            }
            let what = format!("making the environment {}", environment.name);
            step(&what, || environment.make(&python))
        });
        if let Err(error) = made {
            missing.push(format!(
                "environment {} is missing: {error:#}",
                environment.name
            ));
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venv::TESTS;

    #[test]
    fn names_are_unique_and_not_taken() {
        let all = PACKAGES.iter().chain(&TESTS).map(|e| e.name);
        let mut names: Vec<&str> = all.collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
