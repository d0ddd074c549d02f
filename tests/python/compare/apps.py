"""The sample applications, what is asked of them, and the in-process instrumentations beside them."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Peer:
    """An in-process instrumentation: its name here, what it is called, its package, its environment."""

    name: str
    title: str
    package: str
    environment: str


@dataclass(frozen=True)
class App:
    """An application of `samples/`, and the requests that are compared, each a trace. `framework` is what
    genspan says it watches there, where it does."""

    name: str
    title: str
    module: str
    environment: str
    packages: tuple
    requests: tuple
    peers: tuple = field(default=())
    framework: str = None


def peers(environment, *rows):
    return tuple(Peer(*row, environment) if len(row) == 3 else Peer(*row) for row in rows)


APPS = [
    App(
        "openai",
        "FastAPI with OpenAI",
        "openai_app",
        "compare-openai",
        ("fastapi", "openai"),
        ("/", "/", "/"),
        peers(
            "compare-openai",
            ("opentelemetry-openai", "OpenTelemetry", "opentelemetry-instrumentation-genai-openai"),
            ("openllmetry-openai", "OpenLLMetry", "opentelemetry-instrumentation-openai"),
            ("openinference-openai", "OpenInference", "openinference-instrumentation-openai"),
        ),
    ),
    App(
        "dashscope",
        "FastAPI with DashScope",
        "dashscope_app",
        "compare-dashscope",
        ("fastapi", "dashscope"),
        ("/", "/", "/"),
        peers(
            "compare-dashscope",
            ("loongsuite-dashscope", "LoongSuite", "loongsuite-instrumentation-dashscope"),
        ),
    ),
    App(
        "llamaindex",
        "FastAPI with LlamaIndex, Chroma and DashScope's embeddings",
        "llamaindex_app",
        "compare-llamaindex",
        ("fastapi", "llama-index-core", "chromadb", "dashscope"),
        tuple("/query?question=%s" % q for q in ("Why+rain%3F", "What+bow%3F", "Which+colours%3F")),
        peers(
            "compare-llamaindex",
            ("openinference-llamaindex", "OpenInference", "openinference-instrumentation-llama-index"),
            (
                "openllmetry-llamaindex",
                "OpenLLMetry",
                "opentelemetry-instrumentation-llamaindex",
                "compare-llamaindex-openllmetry",
            ),
            (
                "aliyun-llamaindex",
                "Aliyun",
                "aliyun-instrumentation-llama-index",
                "compare-llamaindex-aliyun",
            ),
        ),
        "LlamaIndex",
    ),
    App(
        "langchain",
        "FastAPI with LangChain's `FakeListLLM`",
        "langchain_app",
        "compare-langchain",
        ("fastapi", "langchain", "langchain-core"),
        ("/", "/", "/"),
        peers(
            "compare-langchain",
            (
                "loongsuite-langchain",
                "LoongSuite",
                "loongsuite-instrumentation-langchain",
                "compare-langchain-loongsuite",
            ),
            ("openllmetry-langchain", "OpenLLMetry", "opentelemetry-instrumentation-langchain"),
            ("openinference-langchain", "OpenInference", "openinference-instrumentation-langchain"),
        ),
        "LangChain",
    ),
    App(
        "dify",
        "FastAPI with Dify's workflow engine",
        "dify_app",
        "compare-dify",
        ("fastapi", "graphon", "openai"),
        tuple("/run?question=%s" % q for q in ("Why+rain%3F", "What+bow%3F", "Which+colours%3F")),
        peers(
            "compare-dify",
            ("graphon-layer", "graphon's own layer", "graphon"),
            ("openllmetry-dify", "OpenLLMetry", "opentelemetry-instrumentation-openai"),
        ),
        "Dify",
    ),
]
