"""A threaded HTTP server that answers each request with LlamaIndex, whose models answer over HTTP.

    llama_index_app.py

serves on a free port of loopback, prints it, and ends with its standard input. The request's `id` is
in what models are asked for.
"""

import asyncio
import threading

import httpx
import web_calls
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import ChatMessage, CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.schema import TextNode

client = httpx.Client()


def body(prompt, **more):
    return {"model": "web", "messages": [{"role": "user", "content": prompt}], **more}


def text_of(answer):
    return CompletionResponse(text=answer.json()["choices"][0]["message"]["content"])


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
                for line in got.iter_lines():
                    yield CompletionResponse(text="", delta=line)

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


Settings.llm = Remote()
Settings.embed_model = Vectors()
index = VectorStoreIndex([TextNode(text=f"text {n}") for n in range(3)])
engine = index.as_query_engine()
streamed = index.as_query_engine(streaming=True)


# The oldest LlamaIndex has one `asyncio.Lock` for all event loops, which two at a time spoil.
one_loop = threading.Lock()


def alone(coroutine):
    with one_loop:
        asyncio.run(coroutine)


async def gathered(question):
    await asyncio.gather(engine.aquery(question), engine.aquery(question))


PATHS = {
    "/sync": engine.query,
    "/async": lambda question: alone(engine.aquery(question)),
    "/gather": lambda question: alone(gathered(question)),
    "/streamed": lambda question: list(streamed.query(question).response_gen),
    "/direct": lambda question: Settings.llm.chat([ChatMessage(role="user", content=question)]),
    "/retrieve": index.as_retriever().retrieve,
}


def answer(path, id):
    PATHS[path](f"request {id}.")
    return "done"


if __name__ == "__main__":
    web_calls.serve(answer)
