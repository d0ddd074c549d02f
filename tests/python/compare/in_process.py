"""Runs an application under uvicorn with in-process instrumentations, which its user would have to build
in: in_process.py PEER OUTPUT ADDRESS PORT APPLICATION

Each span is appended to OUTPUT as a line of JSON, as OpenTelemetry's SDK writes it.
"""

import importlib
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SAMPLES = os.path.join(HERE, "..", "samples")

# What each peer instruments, all beside OpenTelemetry's instrumentation of FastAPI.
PEERS = {
    "graphon-layer": [("graphon_layer", "LayerInstrumentor")],
    "openllmetry-dify": [("opentelemetry.instrumentation.openai", "OpenAIInstrumentor")],
    "opentelemetry-openai": [("opentelemetry.instrumentation.genai.openai", "OpenAIInstrumentor")],
    "openllmetry-openai": [("opentelemetry.instrumentation.openai", "OpenAIInstrumentor")],
    "openinference-openai": [("openinference.instrumentation.openai", "OpenAIInstrumentor")],
    "loongsuite-dashscope": [("opentelemetry.instrumentation.dashscope", "DashScopeInstrumentor")],
    "openllmetry-langchain": [("opentelemetry.instrumentation.langchain", "LangchainInstrumentor")],
    "openinference-langchain": [("openinference.instrumentation.langchain", "LangChainInstrumentor")],
    "loongsuite-langchain": [("opentelemetry.instrumentation.langchain", "LangChainInstrumentor")],
    "openllmetry-llamaindex": [("opentelemetry.instrumentation.llamaindex", "LlamaIndexInstrumentor")],
    "aliyun-llamaindex": [("aliyun.instrumentation.llama_index", "AliyunLlamaIndexInstrumentor")],
    "openinference-llamaindex": [
        ("openinference.instrumentation.llama_index", "LlamaIndexInstrumentor")
    ],
}


class Lines:
    """An exporter of spans that appends them to a file."""

    def __init__(self, path):
        self.file = open(path, "a", buffering=1)

    def export(self, spans):
        from opentelemetry.sdk.trace.export import SpanExportResult

        for span in spans:
            self.file.write(json.dumps(json.loads(span.to_json())) + "\n")
        return SpanExportResult.SUCCESS

    def shutdown(self):
        pass

    def force_flush(self, timeout_millis=30000):
        return True


def instrument(peer, output):
    from opentelemetry import trace
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Lines(output)))
    trace.set_tracer_provider(provider)
    FastAPIInstrumentor().instrument(tracer_provider=provider)
    for module, name in PEERS[peer]:
        instrumentor = getattr(importlib.import_module(module), name)()
        # Some ask for the package `llama-index`, which has no code of its own.
        instrumentor.instrument(tracer_provider=provider, skip_dep_check="llamaindex" in peer)


def main():
    import uvicorn

    peer, output, address, port, application = sys.argv[1:]
    instrument(peer, output)
    sys.path.insert(0, SAMPLES)
    uvicorn.run(application + ":app", host=address, port=int(port), log_level="warning")


if __name__ == "__main__":
    main()
