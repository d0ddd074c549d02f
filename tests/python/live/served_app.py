"""The application of served.py: the stand-in's answers through FastAPI."""

import asyncio
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from served_shapes import router
from standin import routes

app = FastAPI()
app.include_router(router)


class Asked:
    """A request as the stand-in reads it."""

    def __init__(self, request, body):
        self.method = request.method
        self.path = request.url.path
        self.query = dict(request.query_params)
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        self.body = body

    def json(self):
        try:
            return json.loads(self.body) if self.body else {}
        except ValueError:
            return None


class Reply:
    """An answer as the stand-in writes it: whole, or piece by piece through a queue."""

    def __init__(self):
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
    asked = Asked(request, await request.body())
    reply = Reply()
    task = asyncio.create_task(routes.answer(asked, reply, {}))
    await reply.ready.wait()
    # The task ends with the stream.
    app.state.tasks = getattr(app.state, "tasks", set())
    app.state.tasks.add(task)
    task.add_done_callback(app.state.tasks.discard)
    return reply.response
