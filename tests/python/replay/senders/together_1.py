"""together before 2.0, over requests and aiohttp."""

import together
from drive import Unsupported, run
from together.version import VERSION


class Sender:
    name = "together"
    version = VERSION
    via = None

    def __init__(self, options):
        options.use("requests")

    def send(self, x):
        kinds = {"/v1/chat/completions": "chat.completions", "/v1/completions": "completions"}
        kind = kinds.get(x.path)
        if kind is None:
            raise Unsupported
        base = x.origin + "/v1"
        if x.is_async:
            self.via = "async together." + kind
            return run(self.send_async(together.AsyncTogether(api_key="stand-in", base_url=base), kind, x))
        self.via = "together." + kind
        client = together.Together(api_key="stand-in", base_url=base, max_retries=0)
        answer = resource(client, kind).create(**x.body)
        if x.body.get("stream"):
            for _ in answer:
                pass
        return self.via

    async def send_async(self, client, kind, x):
        answer = await resource(client, kind).create(**x.body)
        if x.body.get("stream"):
            async for _ in answer:
                pass
        return self.via


def resource(client, kind):
    for part in kind.split("."):
        client = getattr(client, part)
    return client
