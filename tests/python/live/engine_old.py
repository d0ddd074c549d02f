"""Serves with vLLM as it was before 0.5.5: the classes by which genspan knows what it did, with their names, attributes
and arguments, and an engine that makes tokens up. The server's side is given each token as it was there.

For each line it is told it is asked once for each of the kinds, and prints the ids as JSON.
"""

import dataclasses
import http.client
import http.server
import json
import sys
import threading
import time
import types
from typing import Optional

from pydantic import BaseModel  # noqa: F401  vLLM has it loaded.

OUTPUTS = '''
class CompletionOutput:
    def __init__(self, index, text, token_ids, reason):
        self.index, self.text, self.token_ids = index, text, token_ids
        self.cumulative_logprob, self.logprobs = -0.5, None
        self.finish_reason, self.stop_reason, self.lora_request = reason, None, None


class RequestOutput:
    def __init__(self, request_id, prompt_token_ids, outputs, metrics):
        self.request_id = request_id
        self.prompt = "nobody is told this " * 200
        self.prompt_token_ids, self.prompt_logprobs = prompt_token_ids, None
        self.outputs = outputs
        self.finished = all(one.finish_reason is not None for one in outputs)
        self.metrics, self.lora_request = metrics, None


class OldestOutput(RequestOutput):
    def __init__(self, *args):
        super().__init__(*args)
        del self.metrics, self.lora_request
'''

ENGINE = '''
class LLMEngine:
    def add_request(self, request_id, inputs, params, arrival_time=None, lora_request=None):
        return request_id
'''

ASYNC_ENGINE = '''
class RequestTracker:
    def __init__(self):
        self.streams, self.over = {}, []

    def process_request_output(self, request_output, *, verbose=False):
        request_id = request_output.request_id
        self.streams[request_id].append(request_output)
        if request_output.finished:
            if verbose:
                print("over", request_id)
            self.abort_request(request_id)

    def process_exception(self, request_id, exception, *, verbose=False):
        self.streams[request_id].append(exception)
        self.abort_request(request_id)

    def propagate_exception(self, exc, request_id=None):
        self.streams[request_id].append(exc)
        self.abort_request(request_id)

    def abort_request(self, request_id, *, verbose=False):
        self.over.append(request_id)
        self.streams.pop(request_id, None)


class AsyncLLMEngine:
    def __init__(self):
        self.tracker = RequestTracker()

    def _abort(self, request_id):
        self.tracker.abort_request(request_id, verbose=False)
'''


def module(name, source):
    for above in range(1, name.count(".") + 1):
        sys.modules.setdefault(name.rsplit(".", above)[0], types.ModuleType(name.rsplit(".", above)[0]))
    made = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), made.__dict__)
    return made


outputs = module("vllm.outputs", OUTPUTS)
LLM = module("vllm.engine.llm_engine", ENGINE).LLMEngine()
ENGINE = module("vllm.engine.async_llm_engine", ASYNC_ENGINE).AsyncLLMEngine()


class SamplingParams:
    def __init__(self):
        self.n = self.max_tokens = 1


SamplingParams.__module__ = "vllm.sampling_params"


@dataclasses.dataclass
class RequestMetrics:
    arrival_time: float
    last_token_time: float
    first_scheduled_time: Optional[float]
    first_token_time: Optional[float]
    time_in_queue: Optional[float]
    finished_time: Optional[float] = None


PROMPT = list(range(1000, 1300))


def step(id, made, metrics, reason, oldest=False):
    """One step of the engine: so many tokens are there of each answer."""
    answers = [
        outputs.CompletionOutput(index, "nobody is told that " * 10, list(range(9000, 9000 + tokens)), reason)
        for index, tokens in enumerate(made)
    ]
    kind = outputs.OldestOutput if oldest else outputs.RequestOutput
    ENGINE.tracker.process_request_output(kind(id, PROMPT, answers, metrics), verbose=False)


def finish(id, number, made, reason="stop", **kind):
    at = 1.7e9 + number
    times = RequestMetrics(at, at, at + 0.25, at + 1.25, 0.25)
    if kind.pop("monotonic", False):
        times.arrival_time = time.monotonic()
    for token in range(1, max(made)):
        step(id, [min(token, most) for most in made], times, None, **kind)
    times.finished_time = at + 3.25
    step(id, made, times, reason, **kind)


def work(kind, id, number):
    """What is done for a request of this kind."""
    ids = [f"{id}-0", f"{id}-1"] if kind == "prompts" else [id]
    for one in ids:
        # From 0.4.3 on nobody but `LLM` asks by this one.
        LLM.add_request(one, "nobody is told this", SamplingParams())
        ENGINE.tracker.streams[one] = []
    if kind == "prompts":
        for one in ids:
            finish(one, number, [40])
    elif kind == "group":
        finish(id, number, [3, 4], "length")
    elif kind == "refused":
        at = 1.7e9 + number
        step(id, [0], RequestMetrics(at, at, None, None, None, at + 0.5), "length")
    elif kind == "gone":
        for token in range(1, 20):
            step(id, [token], RequestMetrics(1.7e9, 1.7e9, 1.7e9, 1.7e9, 0.0), None)
        ENGINE._abort(id)
    elif kind == "failed":
        ENGINE.tracker.process_exception(id, ValueError("nobody is told that"))
    elif kind == "broken":
        ENGINE.tracker.propagate_exception(ValueError("nobody is told that"), id)
    else:
        finish(id, number, [100], monotonic=kind == "monotonic", oldest=kind == "oldest")


KINDS = ("single", "group", "prompts", "refused", "gone", "failed", "broken", "monotonic", "oldest")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        id, kind = asked["user"], asked["model"]
        work(kind, id, int(id.rsplit("-", 1)[1]))
        body = json.dumps({"id": id, "object": "chat.completion", "model": kind, "choices": []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    for number, _ in enumerate(sys.stdin):
        told = []
        for kind in KINDS:
            id = f"cmpl-{kind}-{number}"
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
            body = {"model": kind, "user": id, "messages": [{"role": "user", "content": "why"}]}
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            connection.getresponse().read()
            connection.close()
            told.append(id)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
