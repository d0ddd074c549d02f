"""A FastAPI application that answers each request with LlamaIndex, whose models answer over HTTP.

    llama_index_fastapi.py

serves on a free port of loopback, prints it, and ends with its standard input. The request's `id` is
in what models, tools and retrievers are asked. Workflows there are where LlamaIndex has them.
"""

import asyncio

import uvicorn
import web_calls
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.agent import ReActAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import TextNode
from llama_index.core.tools import FunctionTool
from llama_index_remote import Remote, Vectors

try:
    from llama_index.core.workflow import Event, StartEvent, StopEvent, Workflow, step
except ImportError:
    Workflow = None

app = FastAPI()
Settings.llm = Remote()
Settings.embed_model = Vectors()
index = VectorStoreIndex([TextNode(text=f"text {n}") for n in range(3)])
engine = index.as_query_engine()
streaming = index.as_query_engine(streaming=True)
retriever = index.as_retriever()


def question(id):
    return f"request {id}."


@app.get("/sync")
def sync(id: str):
    return str(engine.query(question(id)))


@app.get("/async")
async def asynchronous(id: str):
    return str(await engine.aquery(question(id)))


@app.get("/gather")
async def gather(id: str):
    return len(await asyncio.gather(*(engine.aquery(question(id)) for _ in range(3))))


@app.get("/threaded")
async def threaded(id: str):
    return str(await asyncio.to_thread(engine.query, question(id)))


@app.get("/streamed")
def streamed(id: str):
    return "".join(streaming.query(question(id)).response_gen)


@app.get("/astreamed")
async def astreamed(id: str):
    async def parts():
        async for part in await Settings.llm.astream_complete(question(id)):
            yield part.delta

    return StreamingResponse(parts())


@app.get("/direct")
def direct(id: str):
    return str(Settings.llm.chat([ChatMessage(role="user", content=question(id))]))


@app.get("/adirect")
async def adirect(id: str):
    return str(await Settings.llm.achat([ChatMessage(role="user", content=question(id))]))


@app.get("/retrieve")
def retrieve(id: str):
    return len(retriever.retrieve(question(id)))


@app.get("/aretrieve")
async def aretrieve(id: str):
    return len(await retriever.aretrieve(question(id)))


def look(question: str) -> str:
    """Looks for the answer to a question."""
    return str(engine.query(question))


async def alook(question: str) -> str:
    """The same in an event loop."""
    return str(await engine.aquery(question))


tool = FunctionTool.from_defaults(look, async_fn=alook)

if hasattr(ReActAgent, "from_tools"):

    @app.get("/agent")
    def agented(id: str):
        return str(ReActAgent.from_tools([tool]).chat(question(id)))

    @app.get("/aagent")
    async def aagented(id: str):
        return str(await ReActAgent.from_tools([tool]).achat(question(id)))

else:

    @app.get("/agent")
    async def agented(id: str):
        return str(await ReActAgent(tools=[tool]).run(question(id)))

    @app.get("/aagent")
    def aagented(id: str):
        """In an event loop of its own, in a thread of the pool."""

        async def run():
            return str(await ReActAgent(tools=[tool]).run(question(id)))

        return asyncio.run(run())


if Workflow:

    class Middle(Event):
        question: str

    class Flow(Workflow):
        """Asks a model in one step, and an engine in the next."""

        @step
        async def first(self, event: StartEvent) -> Middle:
            await Settings.llm.acomplete(event.question)
            return Middle(question=event.question)

        @step
        async def second(self, event: Middle) -> StopEvent:
            return StopEvent(result=str(await engine.aquery(event.question)))

    @app.get("/workflow")
    async def flows(id: str):
        return await Flow(timeout=60).run(question=question(id))


def main():
    listener = web_calls.listening()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))

    def end():
        server.should_exit = True

    web_calls.ends_with_input(end)
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
