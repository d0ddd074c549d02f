"""voyageai, over requests and aiohttp."""

from importlib.metadata import version

import voyageai
from drive import Unsupported, run


class Sender:
    name = "voyageai"
    version = version("voyageai")
    via = None

    def __init__(self, options):
        options.use("requests")

    def send(self, x):
        body = x.body
        if x.path == "/v1/embeddings":
            texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
            method, given = "embed", {"texts": texts, "model": body["model"]}
            if body.get("input_type"):
                given["input_type"] = body["input_type"]
        elif x.path == "/v1/rerank":
            method = "rerank"
            given = {n: body[n] for n in ("query", "documents", "model", "top_k") if n in body}
        else:
            raise Unsupported
        self.via = "voyageai." + method
        if x.is_async:
            self.via = "async " + self.via
            run(getattr(voyageai.AsyncClient(api_key="stand-in"), method)(**given))
        else:
            getattr(voyageai.Client(api_key="stand-in"), method)(**given)
        return self.via
