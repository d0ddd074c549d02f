"""A server and a program that use engines: the functions of vLLM and SGLang by which genspan knows what
they did, with their names, arguments and objects, and nothing behind them.

For each line it is told it does everything once, and prints what was asked as JSON.
"""

import dataclasses
import enum
import http.client
import http.server
import json
import sys
import threading
import types
from typing import Optional

import pydantic  # noqa: F401  Both have it loaded.

VLLM = '''
class RequestState:
    def __init__(self, request_id, external_req_id, parent_req, prompt_len, queue, stats, token_ids):
        self.request_id = request_id
        self.external_req_id = external_req_id
        self.parent_req = parent_req
        self.request_index = 0
        self.lora_request = None
        self.prompt = "nobody is told this"
        self.prompt_token_ids = list(range(1000, 1000 + prompt_len))
        self.prompt_len = prompt_len
        self.detokenizer = FastIncrementalDetokenizer(token_ids)
        self.n = 1
        self.is_prefilling = False
        self.queue = queue
        self.num_cached_tokens = 3
        self.stats = stats


class ParentRequest:
    def __init__(self, request_id, external_req_id, n):
        self.request_id = request_id
        self.external_req_id = external_req_id
        self.sampling_params = SamplingParams(n=n)


class FastIncrementalDetokenizer:
    def __init__(self, token_ids):
        self.token_ids = token_ids


class RequestOutputCollector:
    def __init__(self):
        self.output = None


class SamplingParams:
    __slots__ = ("n", "temperature", "top_p", "max_tokens")

    def __init__(self, n=1, max_tokens=16):
        self.n, self.max_tokens = n, max_tokens
        self.temperature, self.top_p = 0.5, None


class OutputProcessor:
    def _update_stats_from_finished(self, req_state, finish_reason, iteration_stats):
        if iteration_stats is None:
            return
        iteration_stats.append(req_state.request_id)


class LLMEngine:
    def __init__(self, processor):
        self.processor = processor

    def add_request(self, request_id, prompt, params, arrival_time=None):
        return request_id
'''

SGLANG = '''
class TokenizerManager:
    async def _handle_batch_output(self, recv_obj):
        return recv_obj
'''


def module(name, source):
    for above in range(1, name.count(".") + 1):
        sys.modules.setdefault(name.rsplit(".", above)[0], types.ModuleType(name.rsplit(".", above)[0]))
    made = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), made.__dict__)
    return made


vllm = module("vllm.v1.engine.output_processor", VLLM)
module("vllm.v1.engine.llm_engine", "").LLMEngine = vllm.LLMEngine
sglang = module("sglang.srt.managers.tokenizer_manager", SGLANG)


class FinishReason(enum.IntEnum):
    STOP = 0
    LENGTH = 1


@dataclasses.dataclass
class Stats:
    num_generation_tokens: int = 0
    num_preemptions: int = 0
    arrival_time: float = 1.7e9
    queued_ts: float = 0.0
    scheduled_ts: float = 0.0
    first_token_ts: float = 0.0
    last_token_ts: float = 0.0
    first_token_latency: float = 0.0


@dataclasses.dataclass
class BatchStrOut:
    rids: list
    finished_reasons: list
    output_strs: list
    output_ids: Optional[list]
    prompt_tokens: list
    completion_tokens: list
    cached_tokens: list


class BatchStrOutput:
    """The newer one: with its four dozen fields it is as wide, and what counts is at either end of it."""

    __slots__ = (
        *("rids", "finished_reasons", "output_strs", "output_ids", "prompt_tokens", "completion_tokens"),
        *("cached_tokens", "retraction_counts", "time_stats"),
        *(f"input_{number:02}" for number in range(40)),
    )

    def __init__(self, **known):
        for name in self.__slots__:
            setattr(self, name, known.get(name))


@dataclasses.dataclass
class SchedulerReqTimeStats:
    """Comes as a pickle, which knows it by its attributes."""

    completion_time: float = 0.0
    wait_queue_entry_time: float = 0.0

    def __setstate__(self, state):
        self.__dict__.update(state)


def times_of(at):
    times = SchedulerReqTimeStats.__new__(SchedulerReqTimeStats)
    times.__setstate__(
        {
            "disagg_mode": None,
            "enable_metrics": False,
            "has_timing_data": True,
            "wait_queue_entry_time": at,
            "forward_entry_time": at + 0.25,
            "prefill_finished_time": at + 1.5,
            "queue_duration_s": 0.25,
        }
    )
    return times


PROCESSOR = vllm.OutputProcessor()
ENGINE = vllm.LLMEngine(PROCESSOR)
MANAGER = sglang.TokenizerManager()


def finish(id, number, external, *, queue, tokens, parent=None, stats=True):
    at = 500.0 + number
    counted = Stats(tokens, 0, 1.7e9, at, at + 0.25, at + 1.25, at + 3.25, 1.5) if stats else None
    state = vllm.RequestState(id, external, parent, 12, queue, counted, list(range(2000, 2000 + tokens)))
    PROCESSOR._update_stats_from_finished(state, FinishReason.LENGTH, [] if stats else None)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        id, number = asked["user"], int(asked["user"].rsplit("-", 1)[1])
        collector = vllm.RequestOutputCollector()
        if asked["model"] == "single":
            finish(id + "-0a1b2c3d", number, id, queue=collector, tokens=5)
        elif asked["model"] == "answers":
            parent = vllm.ParentRequest(id + "-0a1b2c3d", id, 2)
            for index, tokens in enumerate((5, 7)):
                finish(f"{index}_{id}-0a1b2c3d", number, id, queue=collector, tokens=tokens, parent=parent)
        elif asked["model"] == "prompts":
            for index in range(2):
                finish(f"{id}-{index}-0a1b2c3d", number, f"{id}-{index}", queue=collector, tokens=4)
        else:
            reasons = [None, {"type": "stop", "matched": 2}]
            batch = BatchStrOut(["other", id], reasons, ["no", "no"], None, [7, 300], [1, 400], [0, 256])
            if asked["model"] == "wide":
                # Before it in the step are others that go on: their tokens alone are more than is copied.
                others = range(11)
                batch = BatchStrOutput(
                    rids=[*map(str, others), id],
                    finished_reasons=[*(None for _ in others), reasons[1]],
                    output_strs=[*("no" for _ in others), "nobody is told this"],
                    output_ids=[list(range(1000 * other, 1000 * other + 40)) for other in range(1, 13)],
                    prompt_tokens=[*(7 for _ in others), 300],
                    completion_tokens=[*(1 for _ in others), 400],
                    cached_tokens=[*(0 for _ in others), 256],
                    retraction_counts=[0 for _ in range(12)],
                    time_stats=[*(times_of(300.5 + other) for other in others), times_of(700.0 + number)],
                )
            try:
                MANAGER._handle_batch_output(batch).send(None)
            except StopIteration:
                pass
        answer = {"id": id, "object": "chat.completion", "model": asked["model"], "choices": []}
        body = json.dumps(answer).encode()
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
        for kind in ("single", "answers", "prompts", "batch", "wide"):
            id = f"chatcmpl-{kind}-{number}"
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
            body = {"model": kind, "user": id, "messages": [{"role": "user", "content": "why"}]}
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            connection.getresponse().read()
            connection.close()
            told.append(id)
        ENGINE.add_request(str(number), "nobody is told this", vllm.SamplingParams(n=2))
        parent = vllm.ParentRequest(f"{number}-0a1b2c3d", str(number), 2)
        for index, tokens in enumerate((40, 50)):
            id = f"{index}_{number}-0a1b2c3d"
            finish(id, number, str(number), queue=None, tokens=tokens, parent=parent, stats=False)
        told.append(str(number))
        print(json.dumps(told), flush=True)


main()
