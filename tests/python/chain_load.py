"""Chains of LangChain, one after the other, and what they cost this process.

Reads commands from its standard input; each is answered by one line of JSON.

`run KIND COUNT`       COUNT chains; CPU time of the process and median time, per chain, in microseconds
`instrument NAME URL`  instruments LangChain in-process, with spans in batches to URL (OTLP over HTTP)

`--sink` instead takes what is exported: it prints its port, and at the end of its input how many bytes came.
"""

import asyncio
import importlib
import json
import statistics
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INSTRUMENTATIONS = {
    "openllmetry": ("opentelemetry.instrumentation.langchain", "LangchainInstrumentor"),
    "openinference": ("openinference.instrumentation.langchain", "LangChainInstrumentor"),
}


def chains():
    from langchain_core.language_models.fake import FakeListLLM
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import PromptTemplate

    answer = "It is sunny in Hangzhou today with a light breeze from the east. " * 6
    # Four runs: the sequence, and its three parts.
    prompt = PromptTemplate.from_template("What is the weather like in {city}? Answer in two sentences.")
    return prompt | FakeListLLM(responses=[answer, answer[::-1]]) | StrOutputParser()


def run(chain, kind, count):
    ask = {"city": "Hangzhou"}
    took = []

    def each():
        for _ in range(count):
            begin = time.perf_counter()
            chain.invoke(ask)
            took.append(time.perf_counter() - begin)

    async def aeach():
        for _ in range(count):
            begin = time.perf_counter()
            await chain.ainvoke(ask)
            took.append(time.perf_counter() - begin)

    return took, each if kind == "sync" else lambda: asyncio.run(aeach())


def instrument(name, url):
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")))
    module, instrumentor = INSTRUMENTATIONS[name]
    getattr(importlib.import_module(module), instrumentor)().instrument(tracer_provider=provider)
    return provider


def main():
    chain, provider = chains(), None
    print("ready", flush=True)
    for line in sys.stdin:
        command, *words = line.split()
        if command == "instrument":
            provider = instrument(*words)
            print("{}", flush=True)
            continue
        took, work = run(chain, words[0], int(words[1]))
        cpu = time.process_time()
        work()
        if provider:
            # What is exported belongs to it.
            provider.force_flush()
        cpu = time.process_time() - cpu
        told = {"cpu_us": 1e6 * cpu / len(took), "median_us": 1e6 * statistics.median(took)}
        print(json.dumps(told), flush=True)


def sink():
    taken = [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            taken[0] += len(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    for _ in sys.stdin:
        print(taken[0], flush=True)


if __name__ == "__main__":
    sink() if sys.argv[1:] == ["--sink"] else main()
