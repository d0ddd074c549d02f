"""The like of web_app.py where a thread handles one request after the other: Flask under gunicorn.

    web_flask.py [gunicorn's options]

`/run` starts an event loop of its own in the thread; `/pool` calls in a thread that nothing
follows.
"""

import asyncio
import contextvars
import sys
from concurrent.futures import ThreadPoolExecutor

import web_calls
from flask import Flask, Response, request, stream_with_context
from web_calls import acall, call

app = Flask(__name__)
pool = ThreadPoolExecutor(8)


@app.get("/sync")
def sync():
    call(request.args["id"])
    return "done"


@app.get("/run")
def run():
    id = request.args["id"]

    async def both():
        await asyncio.gather(acall(id), asyncio.to_thread(call, id))

    asyncio.run(both())
    call(id)
    return "done"


@app.get("/stream")
def stream():
    id = request.args["id"]

    def parts():
        for _ in range(3):
            yield "part"
            call(id)

    return Response(stream_with_context(parts()))


@app.get("/copied")
def copied():
    pool.submit(contextvars.copy_context().run, call, request.args["id"]).result()
    return "done"


@app.get("/pool")
def in_pool():
    pool.submit(call, request.args["id"]).result()
    return "done"


if __name__ == "__main__":
    web_calls.gunicorn("web_flask:app", *sys.argv[1:])
