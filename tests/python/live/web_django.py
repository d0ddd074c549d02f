"""The like of web_app.py on Django.

    web_django.py wsgi [gunicorn's options]
    web_django.py own
    web_django.py asgi LOOP [uvicorn's options]

`own` is the server that Django has itself, with a thread for each connection. `/pool` and `/executor`
call in threads that no context follows; `/copied` in one that is handed the context.
"""

import asyncio
import contextvars
import sys
from concurrent.futures import ThreadPoolExecutor

import django
import httpx
import web_calls
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from web_calls import acall, call

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="none", DEBUG=False)
django.setup()
pool = ThreadPoolExecutor(8)
waiting = None


def client():
    """That of the loop that serves: it is made in it."""
    global waiting
    if waiting is None:
        waiting = httpx.AsyncClient(limits=httpx.Limits(max_connections=None))
    return waiting


def sync(request):
    call(request.GET["id"])
    return HttpResponse("done")


def stream(request):
    id = request.GET["id"]

    def parts():
        for _ in range(3):
            yield b"part"
            call(id)

    return StreamingHttpResponse(parts())


def run(request):
    """An event loop in the thread of the handler, as Django starts one."""
    async_to_sync(acall)(request.GET["id"])
    return HttpResponse("done")


def copied(request):
    pool.submit(contextvars.copy_context().run, call, request.GET["id"]).result()
    return HttpResponse("done")


def in_pool(request):
    pool.submit(call, request.GET["id"]).result()
    return HttpResponse("done")


async def asynchronous(request):
    await acall(request.GET["id"], client())
    return HttpResponse("done")


async def thread(request):
    await sync_to_async(call, thread_sensitive=False)(request.GET["id"])
    await asyncio.to_thread(call, request.GET["id"])
    return HttpResponse("done")


async def gather(request):
    await asyncio.gather(*(acall(request.GET["id"], client()) for _ in range(3)))
    return HttpResponse("done")


async def astream(request):
    id = request.GET["id"]

    async def parts():
        for _ in range(3):
            yield b"part"
            await acall(id, client())

    return StreamingHttpResponse(parts())


async def executor(request):
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, call, request.GET["id"])
    return HttpResponse("done")


urlpatterns = [
    path("sync", sync),
    path("stream", stream),
    path("run", run),
    path("copied", copied),
    path("pool", in_pool),
    path("async", asynchronous),
    path("thread", thread),
    path("gather", gather),
    path("astream", astream),
    path("executor", executor),
]


def own():
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_):
            pass

    class Server(ThreadedWSGIServer):
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Quiet)
    server.set_app(get_wsgi_application())
    print(server.server_port, flush=True)
    web_calls.ends_with_input(server.shutdown)
    server.serve_forever()


def asgi(loop, *options):
    import uvicorn
    from django.core.asgi import get_asgi_application

    options = dict(o.split("=") for o in options)
    listener = web_calls.listening()
    config = uvicorn.Config(
        get_asgi_application(), loop=loop, log_level="warning", lifespan="off", **options
    )
    server = uvicorn.Server(config)

    def end():
        server.should_exit = True

    web_calls.ends_with_input(end)
    server.run(sockets=[listener])


if __name__ == "__main__":
    how, *rest = sys.argv[1:]
    if how == "wsgi":
        web_calls.gunicorn("web_django:application", *rest)
    elif how == "own":
        own()
    else:
        asgi(*rest)
else:
    from django.core.wsgi import get_wsgi_application

    application = get_wsgi_application()
