"""Chains of LangChain, or requests to a FastAPI application, one after the other, and what they cost this process.

Reads commands from its standard input; each is answered by one line of JSON.

`run KIND COUNT`       COUNT chains; CPU time of the process and median time, per chain, in microseconds
`instrument NAME URL`  instruments LangChain in-process, with spans in batches to URL (OTLP over HTTP)

`--web URL` serves an application that asks the model at URL for each request, and prints its port first. Then
it is told `cpu`, and answers how much CPU time the process has spent, in microseconds.

`--sink` instead takes what is exported, and is the model: it prints its port, and for each line of its input how
many bytes came. `drive PORT COUNT` makes so many requests to the application; median time, in microseconds.
"""

import asyncio
import http.client
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
# Those of the application, beside that of FastAPI.
WEB_INSTRUMENTATIONS = {
    "openllmetry": ("opentelemetry.instrumentation.openai", "OpenAIInstrumentor"),
    "openinference": ("openinference.instrumentation.openai", "OpenAIInstrumentor"),
}

ANSWER = "It is sunny in Hangzhou today with a light breeze from the east. " * 6
COMPLETION = json.dumps({
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "web",
    "choices": [{
        "index": 0,
        "message": {"role": "assistant", "content": ANSWER},
        "finish_reason": "stop",
    }],
    "usage": {"prompt_tokens": 12, "completion_tokens": 90, "total_tokens": 102},
}).encode()


def chains():
    from langchain_core.language_models.fake import FakeListLLM
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import PromptTemplate

    # Four runs: the sequence, and its three parts.
    prompt = PromptTemplate.from_template("What is the weather like in {city}? Answer in two sentences.")
    return prompt | FakeListLLM(responses=[ANSWER, ANSWER[::-1]]) | StrOutputParser()


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


def instrument(name, url, app=None):
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")))
    module, instrumentor = (WEB_INSTRUMENTATIONS if app else INSTRUMENTATIONS)[name]
    getattr(importlib.import_module(module), instrumentor)().instrument(tracer_provider=provider)
    if app:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)
    return provider


def application(url):
    import fastapi
    import openai

    app = fastapi.FastAPI()
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none")

    @app.get("/ask")
    async def ask(city: str):
        message = {"role": "user", "content": f"What is the weather like in {city}?"}
        told = await client.chat.completions.create(model="web", messages=[message])
        return {"answer": told.choices[0].message.content}

    return app


def serve(app):
    """Serves it in a thread; gives its port."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return server.servers[0].sockets[0].getsockname()[1]


def web(url):
    provider = None
    print(serve(application(url)), flush=True)
    for line in sys.stdin:
        command, *words = line.split()
        if command == "instrument":
            # Middleware cannot be added to what runs.
            app = application(url)
            provider = instrument(*words, app)
            print(serve(app), flush=True)
            continue
        if provider:
            # What is exported belongs to it.
            provider.force_flush()
        print(1e6 * time.process_time(), flush=True)


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


def drive(port, count):
    took = []
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(count):
        begin = time.perf_counter()
        connection.request("GET", "/ask?city=Hangzhou")
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        took.append(time.perf_counter() - begin)
    connection.close()
    return 1e6 * statistics.median(took)


def sink():
    taken = [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body at once: else the body waits for the acknowledgement of the head.
        wbufsize = -1

        def do_POST(self):
            taken[0] += len(self.rfile.read(int(self.headers["content-length"])))
            answer = COMPLETION if self.path.endswith("/chat/completions") else b""
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    for line in sys.stdin:
        command, *words = line.split() or [""]
        print(drive(*map(int, words)) if command == "drive" else taken[0], flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--sink"]:
        sink()
    elif sys.argv[1:2] == ["--web"]:
        web(sys.argv[2])
    else:
        main()
