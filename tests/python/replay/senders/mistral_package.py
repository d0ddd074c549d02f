"""mistralai: the client of today, and that of before 1.0."""

from importlib.metadata import version

from drive import Unsupported, run

try:
    from mistralai.client import Mistral
except ImportError:
    Mistral = None


class Sender:
    name = "mistralai"
    version = version("mistralai")
    via = None

    def __init__(self, options):
        self.options = options
        options.use_httpx_of("mistralai")

    def send(self, x):
        if x.path not in ("/v1/chat/completions", "/v1/embeddings"):
            raise Unsupported
        given = dict(x.body)
        streams = given.pop("stream", False)
        kind = "embed" if x.path.endswith("embeddings") else "stream" if streams else "chat"
        self.via = "mistralai " + kind
        if x.is_async:
            self.via = "async " + self.via
        if Mistral is None:
            self.old(x, kind, given)
        elif x.is_async:
            run(self.asynchronous(x, kind, given))
        else:
            self.synchronous(x, kind, given)
        return self.via

    def made(self, x):
        given = {"api_key": "stand-in", "server_url": x.origin}
        if self.options.http2:
            name = "async_client" if x.is_async else "client"
            given[name] = self.options.client(x.is_async)
        return Mistral(**given)

    def synchronous(self, x, kind, given):
        client = self.made(x)
        if kind == "embed":
            client.embeddings.create(model=given["model"], inputs=given["input"])
        elif kind == "chat":
            client.chat.complete(**given)
        else:
            with client.chat.stream(**given) as events:
                for _ in events:
                    pass

    async def asynchronous(self, x, kind, given):
        client = self.made(x)
        if kind == "embed":
            await client.embeddings.create_async(model=given["model"], inputs=given["input"])
        elif kind == "chat":
            await client.chat.complete_async(**given)
        else:
            async for _ in await client.chat.stream_async(**given):
                pass

    def old(self, x, kind, given):
        from mistralai.async_client import MistralAsyncClient
        from mistralai.client import MistralClient
        from mistralai.models.chat_completion import ChatMessage

        if kind == "embed":
            given = {"model": given["model"], "input": given["input"]}
        else:
            messages = [ChatMessage(role=m["role"], content=m["content"]) for m in given["messages"]]
            known = ("temperature", "max_tokens", "top_p", "random_seed")
            given = {n: v for n, v in given.items() if n in known} | {
                "model": given["model"],
                "messages": messages,
            }
        method = {"embed": "embeddings", "chat": "chat", "stream": "chat_stream"}[kind]
        settings = {"api_key": "stand-in", "endpoint": x.origin, "max_retries": 1}
        if x.is_async:
            run(old_async(MistralAsyncClient, settings, method, given))
            return
        answer = getattr(MistralClient(**settings), method)(**given)
        if kind == "stream":
            for _ in answer:
                pass


async def old_async(kind, settings, method, given):
    client = kind(**settings)
    answer = getattr(client, method)(**given)
    if method == "chat_stream":
        async for _ in answer:
            pass
    else:
        await answer
