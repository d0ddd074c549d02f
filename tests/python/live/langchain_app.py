"""A FastAPI application that answers each request with a chain of LangChain.

    langchain_app.py

serves on a free port of loopback, prints it, and ends with its standard input. The request's `id` is
in the prompt of each call of a model.
"""

import asyncio

import uvicorn
import web_calls
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from langchain_core.documents import Document
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

app = FastAPI()
model = ChatOpenAI(model="web", max_retries=0)
prompt = ChatPromptTemplate.from_messages([("human", "request {id}.")])
chain = prompt | model | StrOutputParser()
fake = prompt | FakeListLLM(responses=["yes"])


@app.get("/sync")
def sync(id: str):
    return chain.invoke({"id": id})


@app.get("/async")
async def asynchronous(id: str):
    return await chain.ainvoke({"id": id})


@app.get("/gather")
async def gather(id: str):
    return await asyncio.gather(chain.ainvoke({"id": id}), chain.ainvoke({"id": id}))


@app.get("/streamed")
def streamed(id: str):
    return "".join(chain.stream({"id": id}))


@app.get("/astreamed")
async def astreamed(id: str):
    async def parts():
        async for part in chain.astream({"id": id}):
            yield part

    return StreamingResponse(parts())


@app.get("/fake")
async def faked(id: str):
    return await fake.ainvoke({"id": id})


@app.get("/direct")
def direct(id: str):
    """A call that no model of LangChain makes, in a chain."""
    return RunnableLambda(lambda x: web_calls.call(x)).invoke(id)


@tool
def asks(id: str) -> str:
    """A tool that calls a model itself."""
    return str(web_calls.call(id))


class Finds(BaseRetriever):
    """A retriever that does, as one does that embeds what it is asked."""

    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(page_content=str(web_calls.call(query)))]


@app.get("/tool")
def tooled(id: str):
    return RunnableLambda(lambda x: asks.invoke({"id": x})).invoke(id)


@app.get("/found")
async def found(id: str):
    return len(await RunnableLambda(Finds().ainvoke).ainvoke(id))


def main():
    listener = web_calls.listening()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))

    def end():
        server.should_exit = True

    web_calls.ends_with_input(end)
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
