"""The like of web_app.py on aiohttp's server and client, where one task, and so one context, serves
all requests of a connection.

    web_aiohttp.py
"""

import asyncio

import aiohttp
import web_calls
from aiohttp import web
from web_calls import HEADERS, URL, body, call


async def acall(request):
    id = request.query["id"]
    async with request.app["client"].post(URL, json=body(id), headers=HEADERS) as answer:
        answer.raise_for_status()
        await answer.read()


async def asynchronous(request):
    await acall(request)
    return web.Response(text="done")


async def thread(request):
    await asyncio.to_thread(call, request.query["id"])
    return web.Response(text="done")


async def gather(request):
    await asyncio.gather(*(acall(request) for _ in range(3)))
    return web.Response(text="done")


async def stream(request):
    await acall(request)
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    for _ in range(3):
        await response.write(b"part")
        await acall(request)
    await response.write_eof()
    return response


async def executor(request):
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, call, request.query["id"])
    return web.Response(text="done")


async def main():
    app = web.Application()
    for handler in (asynchronous, thread, gather, stream, executor):
        name = "async" if handler is asynchronous else handler.__name__
        app.router.add_get(f"/{name}", handler)
    connector = aiohttp.TCPConnector(limit=0, ssl=web_calls.verified())
    runner = web.AppRunner(app)
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession(connector=connector) as app["client"]:
        await runner.setup()
        await web.SockSite(runner, web_calls.listening()).start()
        web_calls.ends_with_input(lambda: loop.call_soon_threadsafe(done.set))
        await done.wait()


asyncio.run(main())
