"""google-genai, with a key for the Gemini API and with a token for Vertex AI."""

import datetime
import re
import sys

from drive import Unsupported, run
from google import genai
from google.auth import credentials

GEMINI = re.compile(r"^/(?P<version>v1\w*)/models/(?P<model>[^/:]+):(?P<method>\w+)$")
VERTEX = re.compile(
    r"^/(?P<version>v1\w*)/projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)"
    r"/publishers/google/models/(?P<model>[^/:]+):(?P<method>\w+)$"
)


class Token(credentials.Credentials):
    """Credentials that are nobody's."""

    def __init__(self):
        super().__init__()
        self.token = "stand-in"
        self.expiry = datetime.datetime(2999, 1, 1)

    def refresh(self, request):
        self.token = "stand-in"


class Sender:
    name = "google-genai"
    version = genai.__version__
    via = None

    def __init__(self, options):
        self.options = options
        using = [n for n in ("httpx2", "httpx") if n in sys.modules]
        options.use(using[0] if using else "requests")

    def client(self, x, found):
        http = {"base_url": x.origin, "api_version": found["version"]}
        if self.options.http2:
            http["client_args"] = {"http2": True}
            http["async_client_args"] = {"http2": True}
        if "project" in found:
            return genai.Client(
                vertexai=True,
                project=found["project"],
                location=found["location"],
                credentials=Token(),
                http_options=http,
            )
        return genai.Client(api_key="stand-in", http_options=http)

    def send(self, x):
        match = GEMINI.match(x.path) or VERTEX.match(x.path)
        if match is None or not isinstance(x.body, dict):
            raise Unsupported
        found = match.groupdict()
        if found["method"] == "batchEmbedContents":
            self.via = "google.genai embed_content"
            contents = [one.get("content") for one in x.body.get("requests") or ()]
            # It is closed when nobody holds it.
            client = self.client(x, found)
            client.models.embed_content(model=found["model"], contents=contents)
            return self.via
        given = {"model": found["model"], "contents": x.body.get("contents"), "config": config(x.body)}
        client = self.client(x, found)
        if found["method"] == "generateContent":
            self.via = "google.genai generate_content"
            if x.is_async:
                self.via = "async " + self.via
                run(client.aio.models.generate_content(**given))
            else:
                client.models.generate_content(**given)
        elif found["method"] == "streamGenerateContent":
            self.via = "google.genai generate_content_stream"
            if x.is_async:
                self.via = "async " + self.via
                run(drained(client, given))
            else:
                for _ in client.models.generate_content_stream(**given):
                    pass
        else:
            raise Unsupported
        return self.via


async def drained(client, given):
    async for _ in await client.aio.models.generate_content_stream(**given):
        pass


def config(body):
    """What the package takes apart from the contents, in one object."""
    settings = dict(body.get("generationConfig") or {})
    for name in ("systemInstruction", "tools", "toolConfig", "safetySettings", "cachedContent"):
        if body.get(name):
            settings[name] = body[name]
    return {snake(name): value for name, value in settings.items()}


def snake(name):
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda m: "_" + m.group(1).lower(), name)
