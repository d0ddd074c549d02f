"""openai from 1.0 on, Azure's client too."""

from urllib.parse import parse_qs

import openai
from drive import Unsupported
from senders.stainless import Stainless

DEPLOYMENTS = "/openai/deployments/"


class Sender(Stainless):
    ROUTES = (
        ("/chat/completions", "chat.completions.create"),
        ("/completions", "completions.create"),
        ("/embeddings", "embeddings.create"),
        ("/responses", "responses.create"),
    )

    def __init__(self, options):
        super().__init__(options, openai, openai.OpenAI, openai.AsyncOpenAI)

    def variant(self, x):
        return x.query

    def make(self, kind, x, base):
        if DEPLOYMENTS not in x.path:
            return super().make(kind, x, base)
        kind = openai.AsyncAzureOpenAI if x.is_async else openai.AzureOpenAI
        version = parse_qs(x.query).get("api-version", ["2024-02-01"])[0]
        deployment = x.path.split(DEPLOYMENTS, 1)[1].split("/", 1)[0]
        return kind(
            azure_endpoint=x.origin,
            azure_deployment=deployment,
            api_version=version,
            **self.settings(x.is_async),
        )

    def arguments(self, function, x):
        given = super().arguments(function, x)
        if DEPLOYMENTS in x.path:
            given.setdefault("model", x.path.split(DEPLOYMENTS, 1)[1].split("/", 1)[0])
        return given

    def send(self, x):
        # The assistants' threads end like the methods above.
        if x.method != "POST" or "/threads" in x.path:
            raise Unsupported
        return super().send(x)
