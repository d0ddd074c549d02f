"""A FastAPI application that answers each request with a chain of LangChain.

    langchain_app.py

serves on a free port of loopback, prints it, and ends with its standard input. The request's `id` is
in the prompt of each call of a model, and in what chains, tools and retrievers are given. Agents there
are where LangGraph is.
"""

import asyncio
from typing import Annotated

import uvicorn
import web_calls
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from langchain_core.documents import Document
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

try:
    from langchain.agents import create_agent
    from langgraph.prebuilt import InjectedState
except ImportError:
    create_agent = None

app = FastAPI()
# Slow enough that requests come in between.
slow = {"metadata": {"first_delay_ms": "20"}}
model = ChatOpenAI(model="web", max_retries=0, extra_body=slow)
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


def three(id):
    return [{"id": id}] * 3


@app.get("/batch")
def batch(id: str):
    """Each in a thread of a pool."""
    return chain.batch(three(id))


@app.get("/abatch")
async def abatch(id: str):
    return await chain.abatch(three(id))


both = RunnableParallel(one=chain, two=chain)


@app.get("/parallel")
def parallel(id: str):
    """The same, with what tells them apart."""
    return both.invoke({"id": id})


@app.get("/aparallel")
async def aparallel(id: str):
    return await both.ainvoke({"id": id})


@app.get("/threaded")
async def threaded(id: str):
    return await asyncio.to_thread(chain.invoke, {"id": id})


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


if create_agent:

    @tool
    def look(state: Annotated[dict, InjectedState]) -> str:
        """Asks a chain, and looks for something, for the request that the agent was given."""
        id = state["messages"][0].content.split()[1].rstrip(".")
        return chain.invoke({"id": id}) + Finds().invoke(id)[0].page_content

    @tool
    async def alook(state: Annotated[dict, InjectedState]) -> str:
        """The same in an event loop."""
        id = state["messages"][0].content.split()[1].rstrip(".")
        return await chain.ainvoke({"id": id})

    # A graph that asks the model, calls the tool for it, and asks it once more.
    agent = create_agent(model, [look])
    aagent = create_agent(model, [alook, look])

    def asked(id):
        return {"messages": [("user", f"request {id}.")]}

    @app.get("/agent")
    def agented(id: str):
        return agent.invoke(asked(id))["messages"][-1].content

    @app.get("/aagent")
    async def aagented(id: str):
        """Both tools at a time."""
        return (await aagent.ainvoke(asked(id)))["messages"][-1].content

    @app.get("/sagent")
    def streams(id: str):
        return len(list(agent.stream(asked(id))))


def main():
    listener = web_calls.listening()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))

    def end():
        server.should_exit = True

    web_calls.ends_with_input(end)
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
