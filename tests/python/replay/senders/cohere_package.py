"""cohere from 5.0 on."""

from importlib import import_module
from importlib.metadata import version

import cohere
from drive import Unsupported, run


class Sender:
    name = "cohere"
    version = version("cohere")
    via = None

    def __init__(self, options):
        self.options = options
        # The package imports it when a client is made, not before.
        import_module("cohere.base_client")
        options.use_httpx_of("cohere")

    def client(self, x, two):
        kinds = ("AsyncClient", "AsyncClientV2") if x.is_async else ("Client", "ClientV2")
        kind = getattr(cohere, kinds[two], None)
        if kind is None:
            raise Unsupported
        base = x.origin if hasattr(cohere, "ClientV2") else x.origin + "/v1"
        given = {"api_key": "stand-in", "base_url": base}
        if self.options.http2:
            given["httpx_client"] = self.options.client(x.is_async)
        return kind(**given)

    def send(self, x):
        _, major, name = (x.path.split("/") + ["", "", ""])[:3]
        if major not in ("v1", "v2") or name not in ("chat", "generate", "embed", "rerank"):
            raise Unsupported
        client = self.client(x, major == "v2")
        given = dict(x.body)
        streams = given.pop("stream", False)
        method = name + ("_stream" if streams else "")
        self.via = "cohere %s %s" % (major, method)
        if x.is_async:
            self.via = "async " + self.via
            run(self.send_async(client, method, given, streams))
            return self.via
        answer = getattr(client, method)(**given)
        if streams:
            for _ in answer:
                pass
        return self.via

    async def send_async(self, client, method, given, streams):
        if streams:
            async for _ in getattr(client, method)(**given):
                pass
        else:
            await getattr(client, method)(**given)
