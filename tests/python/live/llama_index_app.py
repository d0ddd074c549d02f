"""A threaded HTTP server that answers each request with LlamaIndex, whose models answer over HTTP.

    llama_index_app.py

serves on a free port of loopback, prints it, and ends with its standard input. The request's `id` is
in what models are asked for.
"""

import asyncio
import threading

import web_calls
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import TextNode
from llama_index_remote import Remote, Vectors

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
