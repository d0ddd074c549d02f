"""A server with SGLang's scheduler in a process of its own, as SGLang starts it: what plans requests is what is
installed, what it plans for is a clock.

For each line it is told it asks for everything once, and prints what came of it as JSON: for each id what it read, what
of it was cached, what it made, and how long it waited, was read and made.

    sglang_server.py ['--disable-radix-cache'] ['--newest']

With `--newest` it has what the newest SGLang (0.5.23) has: a function by which any cache is asked to keep what was read,
and what a request has made in an array.
"""

import array

import dataclasses
import http.client
import http.server
import inspect
import json
import multiprocessing
import os
import sys
import threading
import time

import pydantic  # noqa: F401  SGLang has it loaded.

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sglang_parts

sglang_parts.begin()

from sglang.srt.managers import io_struct, schedule_batch, schedule_policy, scheduler, tokenizer_manager
from sglang.srt.mem_cache import chunk_cache, memory_pool, radix_cache
from sglang.srt.sampling import sampling_params

try:
    from sglang.srt.mem_cache import common
except ImportError:
    common = None

RELEASE = getattr(common, "release_kv_cache", None) if hasattr(common, "__file__") else None
HAS_SERVERS_SIDE = hasattr(tokenizer_manager.TokenizerManager, "_handle_batch_output")
NEWEST = "--newest" in sys.argv
if NEWEST:

    def checkpoint_kv_cache(req, tree_cache):
        tree_cache.cache_unfinished_req(req)

    class Made(array.array):
        """What the rest of this version takes for a list."""

        def __radd__(self, other):
            return [*other, *self]

    code = checkpoint_kv_cache.__code__.replace(co_filename=common.__file__)
    common.checkpoint_kv_cache = type(checkpoint_kv_cache)(code, vars(common), "checkpoint_kv_cache")
# All prompts begin so.
SHARED = list(range(1000, 1040))


class Named:
    """What is not set is nothing."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return sglang_parts.Nothing()


class Scheduler(Named, scheduler.Scheduler):
    def __init__(self):
        self.waiting_queue, self.grammar_queue, self.sessions = [], [], {}
        self.max_req_input_len = self.max_req_len = 10_000
        self.tokenizer = None
        modes = getattr(scheduler, "DisaggregationMode", None)
        self.disaggregation_mode = modes.NULL if modes else None
        self.max_queued_requests = self.dllm_config = None


class Manager(Named, tokenizer_manager.TokenizerManager):
    def __init__(self):
        self.rid_to_state = {}


class Room(sglang_parts.Nothing):
    """There is place for so many tokens."""

    device, left = "cpu", 100_000

    def available_size(self):
        return self.left


def given(function, known):
    """What of it a function wants."""
    names = inspect.signature(function).parameters
    return {name: value for name, value in known.items() if name in names}


def made(kind, **known):
    """An object of a dataclass: of what is not known it has nothing."""
    fields = {field.name: None for field in dataclasses.fields(kind) if field.init}
    return kind(**{**fields, **{name: value for name, value in known.items() if name in fields}})


def within(call, *given):
    """When a call began and was over, and what it gave."""
    began = time.monotonic()
    gave = call(*given)
    return (began, time.monotonic()), gave


class Plan:
    """A scheduler, its cache, and the time."""

    def __init__(self, has_tree):
        self.room = Room()
        known = {"size": 64, "max_context_len": 2048, "device": "cpu", "use_records": False, "enable_memory_saver": False}
        kind = memory_pool.ReqToTokenPool
        self.pool = kind(**given(kind, known))
        cache = radix_cache.RadixCache if has_tree else chunk_cache.ChunkCache
        known = {
            "req_to_token_pool": self.pool,
            "token_to_kv_pool": self.room,
            "token_to_kv_pool_allocator": self.room,
            "page_size": 1,
            "disable": not has_tree,
        }
        if "params" in inspect.signature(cache).parameters:
            from sglang.srt.mem_cache.cache_init_params import CacheInitParams

            self.tree = cache(CacheInitParams(**given(CacheInitParams, {**known, "eviction_policy": "lru"})))
        else:
            self.tree = cache(**given(cache, known))
        self.scheduler = Scheduler()
        self.next = 0

    def come(self, id, prompt, tokens):
        params = sampling_params.SamplingParams(max_new_tokens=tokens)
        asked = made(
            io_struct.TokenizedGenerateReqInput,
            **{"rid": id, "input_text": "nobody is told this", "input_ids": prompt, "sampling_params": params},
            **{"return_logprob": False, "logprob_start_len": -1, "top_logprobs_num": 0, "stream": False},
        )
        self.scheduler.handle_generate_request(asked)
        request = self.scheduler.waiting_queue.pop()
        if NEWEST:
            request.output_ids = Made("q")
        return request

    def keep(self, request):
        """Keeps what was read for it."""
        if NEWEST:
            common.checkpoint_kv_cache(request, self.tree)
        else:
            self.tree.cache_unfinished_req(request)

    def take(self, request, chunk=None, again=False):
        """Takes it into a batch, or the next part of it."""
        kind = schedule_policy.PrefillAdder
        known = {
            "page_size": 1,
            "tree_cache": self.tree,
            "token_to_kv_pool_allocator": self.room,
            "running_batch": None,
            "new_token_ratio": 0.5,
            "rem_total_tokens": self.room.left,
            "rem_input_tokens": 10_000,
            "rem_chunk_tokens": chunk,
        }
        adder = kind(**given(kind, known))
        if again:
            request.init_next_round_input()
            more = getattr(adder, "add_chunked_req", None) or adder.add_being_chunked_req
            more(request)
        else:
            request.init_next_round_input(self.tree)
            known = {"has_chunked_req": False, "truncation_align_size": None}
            adder.add_one_req(request, **given(adder.add_one_req, known))
        if not adder.can_run_list:
            return False
        prefix = len(request.prefix_indices)
        if request.req_pool_idx is None:
            (request.req_pool_idx,) = self.pool.alloc(1)
        self.next += 1000
        self.pool.write((request.req_pool_idx, slice(0, prefix)), request.prefix_indices)
        whole = len(request.fill_ids)
        self.pool.write((request.req_pool_idx, slice(prefix, whole)), range(self.next, self.next + whole - prefix))
        request.kv_committed_len = request.kv_allocated_len = whole
        return True

    def retract_decode(self, request, _):
        """Has it give way."""
        if RELEASE:
            RELEASE(request, self.tree, is_insert=False)
        else:
            self.pool.free(request.req_pool_idx)
            self.tree.dec_lock_ref(request.last_node)
        for name in ("kv_committed_freed", "kv_overallocated_freed"):
            setattr(request, name, False)
        request.req_pool_idx, request.prefix_indices, request.last_node = None, [], None
        request.is_retracted = True

    def over(self, request, reason):
        request.finished_reason = reason
        request.kv_committed_len = request.kv_allocated_len = len(request.origin_input_ids) + len(request.output_ids) - 1
        if RELEASE:
            RELEASE(request, self.tree)
        else:
            self.tree.cache_finished_req(request)

    def run(self, kind, id, number):
        """A request of this kind; gives what came of it. Of each time it tells the least and the most that it
        can be: what ends it happens somewhere in a call, and the machine may do something else meanwhile."""
        prompt = [*SHARED, *range(5000 + 100 * number, 5020 + 100 * number)]
        tokens = 1 if kind == "one" else 4
        come, request = within(self.come, id, prompt, tokens)
        time.sleep(0.02)
        if kind == "waits":
            # Nor is there anything in the cache that could go.
            self.room.left = -Room.left
            for _ in range(3):
                if self.take(request):
                    raise RuntimeError("there was place")
            self.room.left = Room.left
            time.sleep(0.02)
        taken, is_taken = within(self.take, request, 10 if kind == "chunked" else None)
        if not is_taken:
            raise RuntimeError("there was no place")
        cached = len(request.prefix_indices)
        time.sleep(0.04)
        if kind == "chunked":
            self.keep(request)
            self.take(request, 1000, again=True)
            time.sleep(0.02)
        request.output_ids.append(7)
        first = None
        if kind != "one":
            first, _ = within(self.keep, request)
            for _ in range(3):
                time.sleep(0.02)
                request.output_ids.append(8)
            if kind == "retracted":
                self.retract_decode(request, Named())
                time.sleep(0.02)
                self.take(request)
                self.keep(request)
        reason = schedule_batch.FINISH_ABORT("gone") if kind == "abort" else schedule_batch.FINISH_LENGTH(tokens)
        over, _ = within(self.over, request, reason)
        first = first or over
        moments = (come, taken, first, over)
        return {
            "id": id,
            "kind": kind,
            "input": len(prompt),
            "output": len(request.output_ids),
            "cached": None if kind == "retracted" else cached,
            "reason": reason.to_json()["type"],
            "times": [[max(0, b[0] - a[1]), b[1] - a[0]] for a, b in zip(moments, moments[1:])],
            "unsure": NEWEST and kind in ("one", "retracted"),
        }


def engine(pipe, has_tree):
    """The process of the scheduler."""
    if HAS_SERVERS_SIDE:
        import setproctitle

        setproctitle.setproctitle("sglang::scheduler")
    plan = Plan(has_tree)
    pipe.send("ready")
    while asked := pipe.recv():
        pipe.send(plan.run(*asked))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        server.pipe.send((asked["model"], asked["user"], server.number))
        found = server.pipe.recv()
        if HAS_SERVERS_SIDE:
            kind = getattr(io_struct, "BatchStrOut", None) or io_struct.BatchStrOutput
            batch = made(
                kind,
                **{"rids": [found["id"]], "finished_reasons": [{"type": found["reason"]}]},
                **{"output_strs": ["nobody is told this"], "prompt_tokens": [found["input"]]},
                **{"completion_tokens": [found["output"]], "cached_tokens": [found["cached"] or 0]},
            )
            handled = server.manager._handle_batch_output(batch)
            if inspect.iscoroutine(handled):
                handled.close()
        server.found = found
        body = json.dumps({"id": found["id"], "object": "chat.completion", "model": asked["model"], "choices": []})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


def main():
    here, there = multiprocessing.Pipe()
    has_tree = "--disable-radix-cache" not in sys.argv
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=engine, args=(there, has_tree), daemon=True)
    process.start()
    if here.recv() != "ready":
        raise RuntimeError("the scheduler is not")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.pipe, server.manager = here, Manager()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(process.pid, flush=True)
    for number, _ in enumerate(sys.stdin):
        told = []
        for kind in ("plain", "one", "waits", "chunked", "retracted", "abort"):
            server.number = 10 * number + len(told)
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
            body = {"model": kind, "user": f"{kind}-{number}", "messages": [{"role": "user", "content": "why"}]}
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            connection.getresponse().read()
            connection.close()
            told.append(server.found)
        # By which a server asks whether its engine is well: nobody is told of it.
        here.send(("plain", f"HEALTH_CHECK_{number}", 0))
        here.recv()
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
