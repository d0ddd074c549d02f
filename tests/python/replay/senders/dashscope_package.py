"""dashscope, over requests, and over aiohttp where it is asynchronous."""

from importlib.metadata import version

import dashscope
from drive import Unsupported, path_after, run

SERVICES = "/api/v1/services/"
TASKS = "/api/v1/tasks/"
APPS = "/api/v1/apps/"


class Sender:
    name = "dashscope"
    version = version("dashscope")
    via = None

    def __init__(self, options):
        try:
            # The asynchronous client trusts nobody else.
            import certifi

            certifi.where = lambda: options.ca
        except ImportError:
            pass
        options.use("requests")
        dashscope.api_key = "stand-in"

    def send(self, x):
        dashscope.base_http_api_url = x.origin + "/api/v1"
        if TASKS in x.path:
            self.task(x)
            return self.via
        if APPS in x.path and isinstance(x.body, dict):
            self.application(x)
            return self.via
        if SERVICES not in x.path or not isinstance(x.body, dict):
            raise Unsupported
        service = path_after(x.path, SERVICES)
        body = x.body
        asked, parameters = body.get("input") or {}, dict(body.get("parameters") or {})
        given = dict(model=body.get("model"), **parameters)
        if service in (
            "aigc/text-generation/generation",
            "aigc/multimodal-generation/generation",
        ):
            self.generate(x, service, given, asked)
        elif service == "embeddings/text-embedding/text-embedding":
            self.via = "dashscope.TextEmbedding.call"
            dashscope.TextEmbedding.call(input=asked.get("texts") or asked.get("url"), **given)
        elif service == "embeddings/multimodal-embedding/multimodal-embedding":
            self.via = "dashscope.MultiModalEmbedding.call"
            self.kind("MultiModalEmbedding").call(input=asked.get("contents"), **given)
        elif service == "rerank/text-rerank/text-rerank":
            self.via = "dashscope.TextReRank.call"
            documents = asked.get("documents")
            self.kind("TextReRank").call(query=asked.get("query"), documents=documents, **given)
        elif service.endswith(("/image-synthesis", "/video-synthesis")):
            name = "ImageSynthesis" if service.endswith("image-synthesis") else "VideoSynthesis"
            self.via = "dashscope.%s.async_call" % name
            self.kind(name).async_call(prompt=asked.get("prompt"), **given)
        else:
            raise Unsupported
        return self.via

    def task(self, x):
        """What `call` does after it made a task, without the seconds between its questions."""
        id, _, step = path_after(x.path, TASKS).partition("/")
        if (x.method, step) == ("GET", ""):
            self.via = "dashscope.ImageSynthesis.fetch"
            self.kind("ImageSynthesis").fetch(id)
        elif (x.method, step) == ("POST", "cancel"):
            self.via = "dashscope.VideoSynthesis.cancel"
            self.kind("VideoSynthesis").cancel(id)
        else:
            raise Unsupported

    def application(self, x):
        given = dict(x.body.get("input") or {}, **(x.body.get("parameters") or {}))
        given["stream"] = x.headers.get("x-dashscope-sse") == "enable"
        self.via = "dashscope.Application.call"
        answer = self.kind("Application").call(app_id=x.path.split("/")[-2], **given)
        if given["stream"]:
            for _ in answer:
                pass

    def generate(self, x, service, given, asked):
        name = "Generation" if "text-generation" in service else "MultiModalConversation"
        streams = x.headers.get("x-dashscope-sse") == "enable"
        for member in ("prompt", "messages", "history"):
            if member in asked:
                given[member] = asked[member]
        if streams:
            given["stream"] = True
        if "aio" in x.file and hasattr(dashscope, "Aio" + name):
            self.via = "async dashscope.Aio%s.call" % name
            run(drained(self.kind("Aio" + name), given, streams))
            return
        self.via = "dashscope.%s.call" % name
        answer = self.kind(name).call(**given)
        if streams:
            for _ in answer:
                pass

    def kind(self, name):
        found = getattr(dashscope, name, None)
        if found is None:
            raise Unsupported
        return found


async def drained(kind, given, streams):
    answer = await kind.call(**given)
    if streams:
        async for _ in answer:
            pass
