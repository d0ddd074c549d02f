"""A web application that calls a model for each request, in the ways that applications do.

    web_app.py LOOP [uvicorn's options]

serves on a free port of loopback, prints it, and ends with its standard input. Each path calls the
model once with the request's `id` in the prompt (`/gather` three times, `/executor` in a thread
that no context follows).
"""

import asyncio
import os
import socket
import sys
import threading

import httpx
import uvicorn
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

app = FastAPI()
plain = httpx.Client()
waiting = httpx.AsyncClient(limits=httpx.Limits(max_connections=None))

URL = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
HEADERS = {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}


def body(id, delay="20"):
    content = f"request {id}"
    return {
        "model": "web",
        "messages": [{"role": "user", "content": content}],
        "metadata": {"first_delay_ms": delay},
    }


def call(id):
    plain.post(URL, json=body(id), headers=HEADERS).raise_for_status()


async def acall(id):
    answer = await waiting.post(URL, json=body(id), headers=HEADERS)
    answer.raise_for_status()


@app.get("/sync")
def sync(id: str):
    call(id)
    return id


@app.get("/async")
async def asynchronous(id: str):
    await acall(id)
    return id


@app.get("/fresh")
async def fresh(id: str):
    async with httpx.AsyncClient() as client:
        await client.post(URL, json=body(id), headers=HEADERS)
    return id


@app.get("/thread")
async def thread(id: str):
    await asyncio.to_thread(call, id)
    await run_in_threadpool(call, id)
    return id


@app.get("/gather")
async def gather(id: str):
    await asyncio.gather(*(acall(id) for _ in range(3)))
    return id


@app.get("/stream")
async def stream(id: str):
    await acall(id)

    async def parts():
        for _ in range(3):
            yield id
            await acall(id)

    return StreamingResponse(parts())


@app.get("/background")
async def background(id: str, tasks: BackgroundTasks):
    tasks.add_task(acall, id)
    return id


@app.get("/executor")
async def executor(id: str):
    await asyncio.get_running_loop().run_in_executor(None, call, id)
    return id


def main():
    loop, *options = sys.argv[1:]
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, loop=loop, log_level="warning", **dict(o.split("=") for o in options))
    server = uvicorn.Server(config)

    def end_with_input():
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end_with_input, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    server.run(sockets=[listener])


main()
