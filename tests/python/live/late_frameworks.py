"""A server that imports a framework within its first request, and uses it there at once: late_frameworks.py

Serves on a free port of loopback, each connection in a thread of its own, prints the port, and ends with its
standard input. Frameworks, and what they have in common, are not loaded before. With `--fastapi` it does so by
that, all in one event loop; so pydantic is loaded there.

`/langchain?id=ID&count=N` imports what it needs of LangChain (what tells of runs last of all), and goes on: a
run that takes long, with others in it, and then N runs of two each, of which every fourth fails in the inner
one, and every eighth in both. `/llama_index?...` does the same with spans of LlamaIndex. `/alangchain?...` does
the runs of two in an event loop, with others in between. The answer is what the
framework's own handler was told, as JSON: when the import was over, and of each run id, parent, name, when it
began and ended, and the class of what was raised.

`/lazy?...` has no handler: LangChain before 0.2 then imports what tells of runs in the first of them. What is
told of runs is by the program itself, and their names are what they are known by.

`/slow?name=NAME&seconds=S` makes the import of a module last so long from then on, as from a slow disk.

`/chains?step=STEP` takes a step of langchain_runs.py, and answers as that does.
"""

import asyncio
import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

# How many runs there are in the one that takes long, and for how long each waits, in seconds.
INNER = 20
PAUSE = 0.001
# How long the text of a UUID is.
UUID = 36


class Odd(Exception):
    """A class of our own."""


class Record:
    """What was told of runs, in order."""

    def __init__(self):
        self.runs = []
        self.by_id = {}

    def begins(self, id, parent, name):
        run = {"id": str(id), "parent": parent and str(parent), "name": name, "start": time.time_ns()}
        self.runs.append(run)
        self.by_id[str(id)] = run

    def ends(self, id, error=None):
        error = None if error is None else type(error).__name__
        self.by_id[str(id)].update(end=time.time_ns(), error=error)


def fails(number):
    """Whether the inner run of a call fails, and whether the outer one does with it."""
    return number % 4 == 3, number % 8 == 7


def inner_of(number):
    if fails(number)[0]:
        raise Odd(number)
    return number


def outer_of(number, inner):
    try:
        return inner()
    except Odd:
        if fails(number)[1]:
            raise
        return None


def each(count, call):
    """Calls what runs with each number, and the one that takes long before."""
    for number in [-1, *range(count)]:
        try:
            call(number)
        except Odd:
            pass


def told_to(record):
    """A handler that tells a record."""
    from langchain_core.callbacks import BaseCallbackHandler

    class Told(BaseCallbackHandler):
        run_inline = True

        def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, **more):
            name = more.get("name") or serialized["id"][-1]
            record.begins(run_id, parent_run_id, name)

        def on_chain_end(self, outputs, *, run_id, **_):
            record.ends(run_id)

        def on_chain_error(self, error, *, run_id, **_):
            record.ends(run_id, error)

    return Told()


def langchain(id, count):
    from langchain_core.runnables import RunnableLambda

    record = Record()
    told = told_to(record)
    imported = time.time_ns()
    inner = RunnableLambda(inner_of)

    def outer(number, config):
        within = {"callbacks": config["callbacks"], "run_name": f"inner {id} {number}"}
        if number >= 0:
            return outer_of(number, lambda: inner.invoke(number, within))
        for _ in range(INNER):
            inner.invoke(0, within)
            time.sleep(PAUSE)

    outer = RunnableLambda(outer)
    each(count, lambda n: outer.invoke(n, {"callbacks": [told], "run_name": f"outer {id} {n}"}))
    return {"imported": imported, "runs": record.runs}


async def alangchain(id: str, count: int):
    from langchain_core.runnables import RunnableLambda

    record = Record()
    told = told_to(record)
    imported = time.time_ns()

    async def ainner(number):
        await asyncio.sleep(0)
        return inner_of(number)

    async def aouter(number, config):
        within = {"callbacks": config["callbacks"], "run_name": f"inner {id} {number}"}
        try:
            return await inner.ainvoke(number, within)
        except Odd:
            if fails(number)[1]:
                raise

    inner, outer = RunnableLambda(ainner), RunnableLambda(aouter)
    for number in range(count):
        try:
            await outer.ainvoke(number, {"callbacks": [told], "run_name": f"outer {id} {number}"})
        except Odd:
            pass
        await asyncio.sleep(0)
    return {"imported": imported, "runs": record.runs}


def lazy(id, count):
    from langchain_core.runnables import RunnableLambda

    imported = time.time_ns()
    is_loaded = "langchain_core.callbacks.manager" in sys.modules
    record = Record()

    def told(name, parent, call):
        # It begins before; but what is done in it is not told of another one.
        record.begins(name, parent, name)
        try:
            result = call()
        except Odd as error:
            record.ends(name, error)
            raise
        record.ends(name)
        return result

    def inner(number, above):
        name = f"inner {id} {number} {len(record.runs)}"
        run = RunnableLambda(lambda number: told(name, above, lambda: inner_of(number)))
        return run, {"run_name": name}

    def outer(number, name, config):
        for at in range(INNER if number < 0 else 1):
            run, within = inner(number, name)
            within["callbacks"] = config["callbacks"]
            result = outer_of(number, lambda: run.invoke(max(number, 0), within))
            if number < 0:
                time.sleep(PAUSE)
        return result

    def call(number):
        name = f"outer {id} {number}"

        def run(number, config):
            return told(name, None, lambda: outer(number, name, config))

        return RunnableLambda(run).invoke(number, {"run_name": name})

    each(count, call)
    return {"imported": imported, "loaded": is_loaded, "runs": record.runs}


def llama_index(id, count):
    from llama_index.core.instrumentation import get_dispatcher
    from llama_index.core.instrumentation.span_handlers import BaseSpanHandler

    imported = time.time_ns()
    record = Record()

    class Told(BaseSpanHandler):
        def new_span(self, id_, bound_args, instance=None, parent_span_id=None, **_):
            record.begins(id_, parent_span_id, id_[: -len("-") - UUID])

        def prepare_to_exit_span(self, id_, *_, **more):
            record.ends(id_)

        def prepare_to_drop_span(self, id_, *_, err=None, **more):
            record.ends(id_, err)

    root, own = get_dispatcher(), get_dispatcher(__name__)
    before, root.span_handlers = root.span_handlers, [Told()]

    @own.span
    def inner(number):
        return inner_of(number)

    @own.span
    def outer(number):
        if number >= 0:
            return outer_of(number, lambda: inner(number))
        for _ in range(INNER):
            inner(0)
            time.sleep(PAUSE)

    each(count, outer)
    root.span_handlers = before
    return {"imported": imported, "runs": record.runs}


class Slow:
    """Takes its time to find a module, and leaves it to others."""

    def __init__(self, name, seconds):
        self.name, self.seconds = name, seconds

    def find_spec(self, name, *_):
        if name == self.name:
            time.sleep(self.seconds)


def slow(name, seconds):
    sys.meta_path.insert(0, Slow(name, float(seconds)))
    return {"imported": time.time_ns(), "runs": []}


def chains(step):
    import langchain_runs

    imported = time.time_ns()
    record = langchain_runs.Record()
    langchain_runs.RECORD = record
    langchain_runs.STEPS[step]({"callbacks": [record]})
    record.stamp()
    return {"imported": imported, "runs": record.waits()}


USES = {"langchain": langchain, "lazy": lazy, "llama_index": llama_index}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        asked = urlsplit(self.path)
        query = dict(parse_qsl(asked.query))
        if asked.path == "/slow":
            told = slow(**query)
        elif asked.path == "/chains":
            told = chains(**query)
        else:
            told = USES[asked.path[1:]](query["id"], int(query["count"]))
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve_async():
    """One event loop for all requests."""
    import uvicorn
    from fastapi import FastAPI

    app = FastAPI()
    app.get("/alangchain")(alangchain)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))

    def end():
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    server.run(sockets=[listener])


def main():
    if sys.argv[1:] == ["--fastapi"]:
        return serve_async()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
