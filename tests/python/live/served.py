"""The provider stand-in's answers, served by a real server.

    served.py --certs DIR --server NAME [--plain]

NAME is `uvicorn` (asyncio and h11), `uvloop` (uvicorn with uvloop and httptools), `hypercorn`
or `gunicorn` (with a worker of uvicorn's). The application is FastAPI's. The first line printed is the port.
"""

import argparse
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from standin import routes

app = FastAPI()


class Asked:
    """A request as the stand-in reads it."""

    def __init__(self, request, body):
        self.method = request.method
        self.path = request.url.path
        self.query = dict(request.query_params)
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        self.body = body

    def json(self):
        import json

        try:
            return json.loads(self.body) if self.body else {}
        except ValueError:
            return None


class Reply:
    """An answer as the stand-in writes it: whole, or piece by piece through a queue."""

    def __init__(self):
        import asyncio

        self.ready = asyncio.Event()
        self.response = None
        self.pieces = asyncio.Queue()

    async def send(self, status, body, content_type="application/json", headers=()):
        headers = dict(headers)
        if isinstance(body, bytes):
            self.response = Response(body, status, headers, media_type=content_type)
        else:
            self.response = JSONResponse(body, status, headers)
        self.ready.set()

    async def begin(self, content_type="text/event-stream", headers=()):
        async def all_pieces():
            while (piece := await self.pieces.get()) is not None:
                yield piece

        headers = dict(headers)
        self.response = StreamingResponse(all_pieces(), 200, headers, media_type=content_type)
        self.ready.set()

    async def piece(self, data):
        await self.pieces.put(data)

    async def end(self, trailers=()):
        await self.pieces.put(None)


@app.get("/health")
async def health():
    return {"fine": True}


@app.api_route("/{path:path}", methods=["GET", "POST"])
async def answer(path: str, request: Request):
    import asyncio

    asked = Asked(request, await request.body())
    reply = Reply()
    task = asyncio.create_task(routes.answer(asked, reply, {}))
    await reply.ready.wait()
    # The task ends with the stream.
    app.state.tasks = getattr(app.state, "tasks", set())
    app.state.tasks.add(task)
    task.add_done_callback(app.state.tasks.discard)
    return reply.response


def listening():
    """A socket on loopback, and its port on standard output."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(512)
    sock.set_inheritable(True)
    return sock


def announce(sock):
    print(sock.getsockname()[1], flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--certs", required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--stop-with-stdin", action="store_true")
    options = parser.parse_args()
    certificate = os.path.join(options.certs, "server.pem")
    key = os.path.join(options.certs, "server.key")
    if not options.plain and not os.path.exists(certificate):
        import provider

        provider.make_certificate(options.certs, certificate, key)
    sock = listening()
    if options.stop_with_stdin and options.server != "gunicorn":
        threading.Thread(target=until_closed, daemon=True).start()
    if options.server in ("uvicorn", "uvloop"):
        run_uvicorn(sock, options, certificate, key)
    elif options.server == "hypercorn":
        run_hypercorn(sock, options, certificate, key)
    else:
        run_gunicorn(sock, options, certificate, key)


def until_closed():
    while sys.stdin.buffer.read1(4096):
        pass
    os._exit(0)


def run_uvicorn(sock, options, certificate, key):
    import uvicorn

    loop, http = ("asyncio", "h11") if options.server == "uvicorn" else ("uvloop", "httptools")
    tls = {} if options.plain else {"ssl_certfile": certificate, "ssl_keyfile": key}
    config = uvicorn.Config(app, loop=loop, http=http, log_level="warning", **tls)
    server = uvicorn.Server(config)
    config.load()
    announce(sock)
    server.run(sockets=[sock])


def run_hypercorn(sock, options, certificate, key):
    import asyncio

    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"fd://{sock.fileno()}"]
    config.loglevel = "WARNING"
    if not options.plain:
        config.certfile, config.keyfile = certificate, key
    announce(sock)
    asyncio.run(serve(app, config))


def run_gunicorn(sock, options, certificate, key):
    here = os.path.dirname(os.path.abspath(__file__))
    command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{sock.fileno()}"]
    command += ["--workers", "1", "--worker-class", "uvicorn_worker.UvicornWorker"]
    command += ["--log-level", "error", "--no-control-socket"]
    command += ["--pythonpath", here]
    if not options.plain:
        command += ["--certfile", certificate, "--keyfile", key]
    announce(sock)
    os.execv(command[0], [*command, "served:app"])


if __name__ == "__main__":
    main()
