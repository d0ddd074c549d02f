"""A FastAPI application that calls a model for each request, in the ways that applications do.

    web_app.py LOOP [uvicorn's options]

serves on a free port of loopback, prints it, and ends with its standard input. Each path calls the
model with the request's `id` in the prompt. `/executor` and `/pool` do so in threads that no context
follows.
"""

import asyncio
import contextvars
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import uvicorn
import web_calls
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from web_calls import acall, call

app = FastAPI()
waiting = httpx.AsyncClient(limits=httpx.Limits(max_connections=None))
pool = ThreadPoolExecutor(8)


@app.get("/sync")
def sync(id: str):
    call(id)
    return id


@app.get("/async")
async def asynchronous(id: str):
    await acall(id, waiting)
    return id


@app.get("/fresh")
async def fresh(id: str):
    await acall(id)
    return id


@app.get("/thread")
async def thread(id: str):
    await asyncio.to_thread(call, id)
    await run_in_threadpool(call, id)
    return id


@app.get("/gather")
async def gather(id: str):
    await asyncio.gather(*(acall(id, waiting) for _ in range(3)))
    return id


@app.get("/group")
async def group(id: str):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(acall(id, waiting))
        tasks.create_task(asyncio.to_thread(call, id))
    return id


@app.get("/stream")
async def stream(id: str):
    await acall(id, waiting)

    async def parts():
        for _ in range(3):
            yield id
            await acall(id, waiting)

    return StreamingResponse(parts())


@app.get("/background")
async def background(id: str, tasks: BackgroundTasks):
    tasks.add_task(acall, id, waiting)
    tasks.add_task(call, id)
    return id


@app.get("/copied")
def copied(id: str):
    pool.submit(contextvars.copy_context().run, call, id).result()
    return id


@app.get("/pool")
def in_pool(id: str):
    pool.submit(call, id).result()
    return id


@app.get("/executor")
async def executor(id: str):
    await asyncio.get_running_loop().run_in_executor(None, call, id)
    return id


def main():
    loop, *options = sys.argv[1:]
    options = dict(o.split("=") for o in options)
    listener = web_calls.listening()
    config = uvicorn.Config(app, loop=loop, log_level="warning", **options)
    server = uvicorn.Server(config)

    def end():
        server.should_exit = True

    web_calls.ends_with_input(end)
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
