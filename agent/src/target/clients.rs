//! Whether a Python process has anything loaded with which it could call somebody.

use super::classify::packages;
use super::python::Python;
use crate::python::paged::Paged;
use crate::python::reader::{QUESTION_BUDGET, Reader};

/// Modules with which Python programs make HTTP and gRPC requests, beside the packages that are known
/// for models ([`packages::ALL`]). `http.client` and `urllib.request` are not among them: they come
/// with web frameworks that serve only, too.
const CLIENTS: [&str; 11] = [
    "httpx",
    "httpcore",
    "requests",
    "urllib3",
    "aiohttp",
    "curl_cffi",
    "grpc",
    "httplib2",
    "pycurl",
    "tornado.httpclient",
    "websocket",
];

/// Whether a client library, a provider's package or a framework for models is loaded. Also true where
/// the modules cannot be read: then nothing speaks against it.
///
/// One that is not among those that are known is not seen here; a request that the process makes shows
/// it.
#[must_use]
pub fn any_loaded(python: &Python) -> bool {
    // A process has a thousand modules, whose names lie close together.
    let paged = Paged::new(&python.memory);
    let reader = Reader::new(&paged, &python.fit.layout, QUESTION_BUDGET);
    let Ok(modules) = reader.modules(python.fit.main.address) else {
        return true;
    };
    modules
        .into_iter()
        .any(|(name, _)| reader.short_text(name).is_ok_and(|name| calls(&name)))
}

fn calls(module: &str) -> bool {
    CLIENTS.contains(&module)
        || packages::ALL
            .iter()
            .any(|known| known.module == module && known.makes().is_some())
}

#[cfg(test)]
mod tests {
    use super::{CLIENTS, calls};

    #[test]
    fn what_serves_only_calls_nobody() {
        for module in [
            "uvicorn",
            "fastapi",
            "flask",
            "http.client",
            "websockets",
            "json",
        ] {
            assert!(!calls(module), "{module}");
        }
        for module in CLIENTS
            .into_iter()
            .chain(["openai", "dashscope", "langchain_core", "vllm"])
        {
            assert!(calls(module), "{module}");
        }
    }
}
