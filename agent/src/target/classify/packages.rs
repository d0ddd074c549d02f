//! The packages that tell what a program does.

use crate::model::process::AppType;

/// What a package is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Serves models.
    ModelServer,
    /// Builds chains, agents and the like on top of models.
    Framework,
    /// A provider's client library.
    Sdk,
    /// Serves HTTP.
    Web,
}

impl Role {
    /// As it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ModelServer => "model server",
            Self::Framework => "framework",
            Self::Sdk => "sdk",
            Self::Web => "web",
        }
    }
}

/// A package that is known.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The module by whose presence it is loaded.
    pub module: &'static str,
    /// Distributions that bring it, the one that names its version first.
    pub distributions: &'static [&'static str],
    /// What it is for.
    pub role: Role,
}

impl Known {
    /// What it makes of a program that has it.
    #[must_use]
    pub const fn makes(&self) -> Option<AppType> {
        match self.role {
            Role::ModelServer => Some(AppType::Model),
            Role::Framework | Role::Sdk => Some(AppType::App),
            Role::Web => None,
        }
    }
}

const fn known(module: &'static str, distributions: &'static [&'static str], role: Role) -> Known {
    Known {
        module,
        distributions,
        role,
    }
}

/// All of them; those that weigh more first. vLLM and SGLang make a model service, clients and
/// frameworks an application; what serves HTTP is only told.
pub const ALL: [Known; 39] = [
    known("vllm", &["vllm"], Role::ModelServer),
    known("sglang", &["sglang"], Role::ModelServer),
    known("openai", &["openai"], Role::Sdk),
    known("dashscope", &["dashscope"], Role::Sdk),
    known(
        "llama_index",
        &["llama-index-core", "llama-index"],
        Role::Framework,
    ),
    known("langchain", &["langchain"], Role::Framework),
    known("langchain_core", &["langchain-core"], Role::Framework),
    known("langgraph", &["langgraph"], Role::Framework),
    known("anthropic", &["anthropic"], Role::Sdk),
    known("google.genai", &["google-genai"], Role::Sdk),
    known("google.generativeai", &["google-generativeai"], Role::Sdk),
    known("cohere", &["cohere"], Role::Sdk),
    known("mistralai", &["mistralai"], Role::Sdk),
    known("ollama", &["ollama"], Role::Sdk),
    known("groq", &["groq"], Role::Sdk),
    known("together", &["together"], Role::Sdk),
    known("litellm", &["litellm"], Role::Sdk),
    known("zhipuai", &["zhipuai"], Role::Sdk),
    known(
        "volcenginesdkarkruntime",
        &["volcengine-python-sdk"],
        Role::Sdk,
    ),
    known("agents", &["openai-agents"], Role::Framework),
    known("agno", &["agno"], Role::Framework),
    known("autogen_core", &["autogen-core"], Role::Framework),
    known("crewai", &["crewai"], Role::Framework),
    known("dspy", &["dspy", "dspy-ai"], Role::Framework),
    known("haystack", &["haystack-ai"], Role::Framework),
    known("instructor", &["instructor"], Role::Framework),
    known(
        "pydantic_ai",
        &["pydantic-ai-slim", "pydantic-ai"],
        Role::Framework,
    ),
    known("semantic_kernel", &["semantic-kernel"], Role::Framework),
    known("smolagents", &["smolagents"], Role::Framework),
    known("fastapi", &["fastapi"], Role::Web),
    known("flask", &["flask"], Role::Web),
    known("django", &["django"], Role::Web),
    known("aiohttp.web", &["aiohttp"], Role::Web),
    known("uvicorn", &["uvicorn"], Role::Web),
    known("gunicorn", &["gunicorn"], Role::Web),
    known("hypercorn", &["hypercorn"], Role::Web),
    known("tornado", &["tornado"], Role::Web),
    known("gradio", &["gradio"], Role::Web),
    known("streamlit", &["streamlit"], Role::Web),
];

#[cfg(test)]
mod tests {
    use super::ALL;
    use crate::target::classify::description::normalized;
    use std::collections::HashSet;

    #[test]
    fn the_table_is_consistent() {
        let mut modules = HashSet::new();
        for known in &ALL {
            assert!(modules.insert(known.module), "{} twice", known.module);
            assert!(!known.distributions.is_empty(), "{}", known.module);
            for name in known.distributions {
                assert_eq!(*name, normalized(name));
            }
        }
    }
}
