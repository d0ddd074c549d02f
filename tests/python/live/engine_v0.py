"""Uses vLLM's V0 engine: its classes by which genspan knows what it did, with their names, attributes and arguments,
and nothing behind them.

    engine_v0.py serve      a server, whose engine is a process of its own, or (`own`) in its process
    engine_v0.py offline    a program that asks the engine in its own process

For each line it is told it does everything once, and prints what was asked as JSON.
"""

import dataclasses
import enum
import http.client
import http.server
import json
import multiprocessing
import sys
import threading
import types

import pydantic  # noqa: F401  vLLM has it loaded.

SEQUENCE = '''
class SequenceData:
    __slots__ = (
        "_prompt_token_ids", "_output_token_ids", "_cumulative_logprob", "_prompt_token_ids_tuple",
        "_num_computed_tokens", "_num_cached_tokens", "_stage", "_cached_all_token_ids", "_new_appended_tokens",
    )

    def __init__(self, read, made):
        prompt, answer = range(1000, 1000 + read), range(9000, 9000 + made)
        self._prompt_token_ids, self._output_token_ids = bytearray(read), bytearray(made)
        self._prompt_token_ids_tuple = tuple(prompt)
        self._cached_all_token_ids = [*prompt, *answer]
        self._new_appended_tokens = list(answer)
        self._num_computed_tokens, self._num_cached_tokens = read + made, 16
        self._cumulative_logprob, self._stage = -1.5, None


class Logprob:
    def __init__(self, logprob):
        self.logprob, self.rank, self.decoded_token = logprob, None, "nobody is told"


class Sequence:
    def __init__(self, seq_id, read, made, status):
        self.seq_id = seq_id
        self.inputs = {"type": "token", "prompt": "nobody is told this", "prompt_token_ids": list(range(1000, 1000 + read))}
        self.block_size, self.eos_token_id = 16, 2
        self.lora_request = self.prompt_adapter_request = None
        self.data = SequenceData(read, made)
        self.output_logprobs = [{9000 + at: Logprob(-0.25 * at)} for at in range(made)]
        self.output_text = "nobody is told this either " * 20
        self.status = status
        self.stop_reason = None
        self._last_output_token_ids_offset = self._last_output_text_offset = 0
        self.prefix_offset, self.read_offset = 5, 6
        self.tokens = ["nobody is told %d" % at for at in range(read + made)]


class SamplingParams:
    def __init__(self, n=1, max_tokens=16):
        self.n, self.max_tokens = n, max_tokens
        self.temperature, self.top_p = 0.5, None


class SequenceGroup:
    def __init__(self, request_id, seqs, metrics):
        self.request_id = request_id
        self.seqs, self.first_seq = seqs, seqs[0]
        self.arrival_time = metrics.arrival_time
        self.is_single_seq = len(seqs) == 1
        self.seqs_dict = {seq.seq_id: seq for seq in seqs}
        self.sampling_params = SamplingParams(len(seqs))
        self.metrics = metrics
        self.last_token_latency = 0.25
        self.lora_request = self.prompt_logprobs = self.state = self.pooling_params = self.pooled_data = None
        self.encoder_seq = self.trace_headers = self.prompt_adapter_request = None
        self.priority, self.cached_request_output = 0, None
'''

SCHEDULER = '''
class Scheduler:
    def _free_seq_group_cross_attn_blocks(self, seq_group):
        if seq_group.encoder_seq is not None:
            raise NotImplementedError
'''

ENGINE = '''
class LLMEngine:
    def add_request(self, request_id, prompt, params, arrival_time=None):
        return request_id
'''


def module(name, source):
    for above in range(1, name.count(".") + 1):
        sys.modules.setdefault(name.rsplit(".", above)[0], types.ModuleType(name.rsplit(".", above)[0]))
    made = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), made.__dict__)
    return made


vllm = module("vllm.sequence", SEQUENCE)
SCHEDULER = module("vllm.core.scheduler", SCHEDULER).Scheduler()
LLM = module("vllm.engine.llm_engine", ENGINE).LLMEngine()


class SequenceStatus(enum.IntEnum):
    RUNNING = 1
    FINISHED_STOPPED = 3
    FINISHED_LENGTH_CAPPED = 4


@dataclasses.dataclass
class RequestMetrics:
    arrival_time: float
    last_token_time: float
    first_scheduled_time: float
    first_token_time: float
    time_in_queue: float
    finished_time: float
    scheduler_time: float = 0.125


def finish(id, number, made, reason=SequenceStatus.FINISHED_STOPPED):
    """A request is over; `made` are the tokens of each of its answers."""
    at = 1.7e9 + number
    metrics = RequestMetrics(at, at + 3.0, at + 0.25, at + 1.25, 0.25, at + 3.25)
    sequences = [vllm.Sequence(index, 300, tokens, reason) for index, tokens in enumerate(made)]
    SCHEDULER._free_seq_group_cross_attn_blocks(vllm.SequenceGroup(id, sequences, metrics))


def work(kind, id, number, asks):
    """What the engine does for a request of this kind; `asks` says whether it is asked by its own function."""

    def ask(id):
        if asks:
            LLM.add_request(id, "nobody is told this", vllm.SamplingParams())

    if kind == "prompts":
        for index in range(2):
            ask(f"{id}-{index}")
            finish(f"{id}-{index}", number, [40])
    elif kind == "answers":
        ask(id)
        for index, tokens in enumerate((50, 70)):
            finish(f"{id}_parallel_sample_{index}", number, [tokens], SequenceStatus.FINISHED_LENGTH_CAPPED)
    elif kind == "group":
        ask(id)
        finish(id, number, [3, 4])
    else:
        ask(id)
        finish(id, number, [100])


def engine(pipe):
    """The process in which the engine is."""
    while asked := pipe.recv():
        work(*asked, True)
        pipe.send(None)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        id, kind = asked["user"], asked["model"]
        number = int(id.rsplit("-", 1)[1])
        if kind == "own":
            work(kind, id, number, False)
        else:
            self.server.pipe.send((kind, id, number))
            self.server.pipe.recv()
        answer = {"id": id, "object": "chat.completion", "model": kind, "choices": []}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve():
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=engine, args=(there,), daemon=True)
    process.start()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.pipe = here
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(process.pid, flush=True)
    for number, _ in enumerate(sys.stdin):
        told = []
        for kind in ("single", "answers", "group", "prompts", "own"):
            id = f"chatcmpl-{kind}-{number}"
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
            body = {"model": kind, "user": id, "messages": [{"role": "user", "content": "why"}]}
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            connection.getresponse().read()
            connection.close()
            told.append(id)
        print(json.dumps(told), flush=True)


def offline():
    print("ready", flush=True)
    for number, _ in enumerate(sys.stdin):
        one, two, three = (str(3 * number + more) for more in range(3))
        LLM.add_request(one, "nobody is told this", vllm.SamplingParams())
        LLM.add_request(two, "nobody is told this", vllm.SamplingParams(n=2))
        LLM.add_request(three, "nobody is told this", vllm.SamplingParams(n=2))
        for index, tokens in enumerate((50, 70)):
            finish(f"{two}_parallel_sample_{index}", number, [tokens])
        finish(one, number, [100])
        finish(three, number, [3, 4])
        print(json.dumps([one, two, three]), flush=True)


if __name__ == "__main__":
    {"serve": serve, "offline": offline}[sys.argv[1]]()
