"""ollama."""

from importlib.metadata import version

import ollama
from drive import Unsupported, run

METHODS = {
    "/api/chat": "chat",
    "/api/generate": "generate",
    "/api/embeddings": "embeddings",
    "/api/embed": "embed",
}


class Sender:
    name = "ollama"
    version = version("ollama")
    via = None

    def __init__(self, options):
        self.options = options
        options.use("httpx")

    def send(self, x):
        method = METHODS.get(x.path)
        if method is None:
            raise Unsupported
        self.via = "ollama." + method
        given = dict(x.body)
        settings = {"host": x.origin}
        if self.options.http2:
            settings["http2"] = True
        if x.is_async:
            self.via = "async " + self.via
            run(drained(ollama.AsyncClient(**settings), method, given))
            return self.via
        answer = getattr(ollama.Client(**settings), method)(**given)
        if given.get("stream"):
            for _ in answer:
                pass
        return self.via


async def drained(client, method, given):
    answer = await getattr(client, method)(**given)
    if given.get("stream"):
        async for _ in answer:
            pass
