"""openai before 1.0, over requests and aiohttp."""

from urllib.parse import parse_qs

import openai
from drive import Unsupported, run
from openai import version

DEPLOYMENTS = "/openai/deployments/"
ROUTES = (
    ("/chat/completions", "ChatCompletion"),
    ("/completions", "Completion"),
    ("/embeddings", "Embedding"),
)


class Sender:
    name = "openai"
    version = version.VERSION
    via = None

    def __init__(self, options):
        options.use("requests")
        openai.ca_bundle_path = options.ca

    def send(self, x):
        found = [(e, n) for e, n in ROUTES if x.path.endswith(e) and x.method == "POST"]
        if not found or not isinstance(x.body, dict) or "/threads" in x.path:
            raise Unsupported
        end, kind = found[0]
        given = {"api_key": "stand-in", "api_base": x.origin + x.path[: -len(end)], "request_timeout": 30}
        given.update(x.body)
        if DEPLOYMENTS in x.path:
            given["api_base"] = x.origin
            given["api_type"] = "azure"
            given["api_version"] = parse_qs(x.query).get("api-version", ["2024-02-01"])[0]
            given["engine"] = x.path.split(DEPLOYMENTS, 1)[1].split("/", 1)[0]
        kind = getattr(openai, kind)
        self.via = "openai.%s" % kind.__name__
        if x.is_async:
            self.via = "async " + self.via
            return run(self.send_async(kind, given))
        answer = kind.create(**given)
        if given.get("stream"):
            for _ in answer:
                pass
        return self.via

    async def send_async(self, kind, given):
        answer = await kind.acreate(**given)
        if given.get("stream"):
            async for _ in answer:
                pass
        return self.via
