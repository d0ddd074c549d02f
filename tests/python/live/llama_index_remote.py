"""Models of LlamaIndex that answer over HTTP: how the applications of the tests call one.

What they are asked has the request's id in it, as `request 17.`.
"""

import json
import re

import httpx
import web_calls
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback

client = httpx.Client(limits=httpx.Limits(max_connections=None))


def said_to(prompt):
    """What the model is to answer with: one that reasons and acts takes the tool `look` first."""
    if "Action Input" not in prompt:
        return {}
    asked = re.findall(r"request \d+\.", prompt)[-1]
    answer = f'Thought: I look.\nAction: look\nAction Input: {{"question": "{asked}"}}'
    # What the tool found is what the model says otherwise.
    if "The sky is blue" in prompt:
        answer = "Thought: I can answer without using any more tools.\nAnswer: done"
    return {"answer": answer}


def body(prompt, **more):
    return {
        "model": "web",
        "messages": [{"role": "user", "content": prompt}],
        "metadata": {"first_delay_ms": "20", **said_to(prompt)},
        **more,
    }


def text_of(answer):
    return CompletionResponse(text=answer.json()["choices"][0]["message"]["content"])


class Pieces:
    """The answers that a stream's lines make."""

    def __init__(self):
        self.text = ""

    def add(self, line):
        """None of a line without text."""
        if not line.startswith("data: {"):
            return None
        delta = json.loads(line[6:])["choices"][0]["delta"].get("content")
        self.text += delta or ""
        return CompletionResponse(text=self.text, delta=delta) if delta else None


class Remote(CustomLLM):
    """A model behind a network."""

    @property
    def metadata(self):
        return LLMMetadata(model_name="web")

    @llm_completion_callback()
    def complete(self, prompt, formatted=False, **_):
        answer = client.post(web_calls.URL, json=body(prompt), headers=web_calls.HEADERS)
        return text_of(answer)

    @llm_completion_callback()
    async def acomplete(self, prompt, formatted=False, **_):
        async with httpx.AsyncClient() as one:
            return text_of(await one.post(web_calls.URL, json=body(prompt), headers=web_calls.HEADERS))

    @llm_completion_callback()
    def stream_complete(self, prompt, formatted=False, **_):
        def pieces():
            asked = body(prompt, stream=True)
            with client.stream("POST", web_calls.URL, json=asked, headers=web_calls.HEADERS) as got:
                yield from filter(None, map(Pieces().add, got.iter_lines()))

        return pieces()

    @llm_completion_callback()
    async def astream_complete(self, prompt, formatted=False, **_):
        async def pieces():
            asked, all_of = body(prompt, stream=True), Pieces()
            async with httpx.AsyncClient() as one:
                async with one.stream("POST", web_calls.URL, json=asked, headers=web_calls.HEADERS) as got:
                    async for line in got.aiter_lines():
                        piece = all_of.add(line)
                        if piece:
                            yield piece

        return pieces()


def asked(texts):
    url = web_calls.URL.replace("/chat/completions", "/embeddings")
    return url, {"model": "web", "input": texts, "encoding_format": "float"}


def vectors(answer):
    return [one["embedding"] for one in answer.json()["data"]]


class Vectors(BaseEmbedding):
    """The same that gives embeddings."""

    def _get_text_embeddings(self, texts):
        url, body = asked(texts)
        return vectors(client.post(url, json=body, headers=web_calls.HEADERS))

    def _get_text_embedding(self, text):
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query):
        return self._get_text_embeddings([query])[0]

    async def _aget_query_embedding(self, query):
        url, body = asked([query])
        async with httpx.AsyncClient() as one:
            return vectors(await one.post(url, json=body, headers=web_calls.HEADERS))[0]
