"""Spans of LlamaIndex in many ways, with a record of its own made by handlers of its dispatcher.

Reads names of steps from its standard input; after each it prints what the handlers were told, as one
line of JSON: a list of spans with id, parent, kind, name, times, the class of what was raised, whether it
is a part of the span that it belongs to, and what it was given and gave where that is a text, messages or
documents. What a model does that has events and no span (to
0.10.37) has no id. A step with `bare ` before it is taken without any handler.
"""

import asyncio
import contextvars
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from llama_index.core import Document, Settings, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse, MockLLM
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.node_parser import NodeParser
from llama_index.core.response_synthesizers.base import BaseSynthesizer
from llama_index.core.tools import FunctionTool
from llama_index.core.tools.types import BaseTool

try:
    from llama_index.core.agent import AgentRunner
except ImportError:
    AgentRunner = None
try:
    from llama_index.core.workflow import Event, StartEvent, StopEvent, Workflow, step
except ImportError:
    Workflow = None

CHATS = {"chat", "predict", "stream", "stream_chat"}


def kind_of(method, instance):
    """What a method of an object does."""
    method = method.strip("_")
    plain = method[1:] if method[:1] == "a" and not method.startswith("add") else method
    if isinstance(instance, BaseLLM):
        if plain in CHATS:
            return "chat"
        return "text_completion" if "complete" in method else "chain"
    if isinstance(instance, BaseEmbedding):
        return "embeddings"
    if isinstance(instance, BaseRetriever):
        return "retrieval" if plain == "retrieve" else "chain"
    if isinstance(instance, BaseTool):
        return "execute_tool" if "call" in method else "chain"
    if AgentRunner and isinstance(instance, AgentRunner):
        return "invoke_agent" if method in {"chat", "achat"} else "chain"
    if type(instance).__name__.endswith("Agent") and method == "run":
        return "invoke_agent"
    return "chain"


def is_part(kind, method, instance, above):
    """Whether an object's method is a part of the span above, of the same object."""
    if above is None or instance is None or above["instance"] is not instance or above["end"]:
        return False
    models = {"chat", "text_completion"}
    if kind in models:
        return above["kind"] in models
    if kind != above["kind"]:
        return False
    same = method.strip("_") == above["method"].strip("_")
    return kind != "chain" or same or isinstance(instance, (BaseSynthesizer, NodeParser))


def given_of(kind, arguments):
    """What a span is given, by the arguments of its method."""
    own = {name: value for name, value in arguments.items() if name != "self"}
    if kind in {"chat", "text_completion"}:
        if "messages" in own:
            return [[m.role.value, m.content or ""] for m in own["messages"]]
        # Decorated functions have their arguments without names.
        named = {**own, **own.get("kwargs", {})}
        prompt = named.get("prompt", next(iter(own.get("args", ())), None))
        return [["user", prompt]] if isinstance(prompt, str) else None
    if kind == "execute_tool":
        return next(iter(own.values())) if len(own) == 1 else own
    value = next(iter(own.values())) if len(own) == 1 and kind != "embeddings" else None
    value = getattr(value, "query_str", value)
    return value if isinstance(value, str) else None


def got_of(kind, result):
    """What a span gives."""
    if kind in {"chat", "text_completion"}:
        if hasattr(result, "message"):
            return [[result.message.role.value, result.message.content or ""]]
        text = getattr(result, "text", result)
        return [["assistant", text]] if isinstance(text, str) else None
    if kind == "execute_tool":
        return result.content
    if kind == "retrieval":
        return [
            {"id": n.node.node_id, "score": n.score, "content": n.node.text} for n in result
        ]
    text = result if isinstance(result, str) else getattr(result, "response", None)
    return text if isinstance(text, str) and "Streaming" not in type(result).__name__ else None


class Record:
    """What LlamaIndex says of its spans."""

    def __init__(self):
        self.lock = threading.Lock()
        self.clear()

    def clear(self):
        self.spans = {}
        # Models that have events alone, and the functions that asked models.
        self.models = []
        self.asked = []

    def whole(self, span):
        """The one that a part is a part of."""
        while span["part"]:
            span = self.spans[span["parent"]]
        return span

    def begins(self, id_, instance, parent, arguments):
        now = time.time_ns()
        prefix = id_[:-37]
        method = prefix.rpartition(".")[2]
        kind = kind_of(method, instance)
        with self.lock:
            above = self.spans.get(parent)
            self.spans[id_] = {
                "id": id_,
                "parent": parent,
                "kind": kind,
                "name": f"{type(instance).__name__}.{method}" if instance is not None else prefix,
                "part": is_part(kind, method, instance, above),
                "start": now,
                "end": None,
                "error": None,
                "stream": None,
                "instance": instance,
                "method": method,
                "where": where(),
            }
            span = self.spans[id_]
            if kind == "execute_tool":
                span["tool"] = instance.metadata.name
            given = given_of(kind, arguments)
            if given is None:
                return
            if not span["part"]:
                span["given"] = given
            elif kind in {"chat", "text_completion"}:
                self.whole(span).setdefault("given", given)

    def ends(self, id_, result=None, error=None):
        now = time.time_ns()
        with self.lock:
            span = self.spans.get(id_)
            if span is None:
                return
            span["end"] = now
            span["error"] = type(error).__name__ if error is not None else None
            model = span["kind"] in {"chat", "text_completion"}
            whole = self.whole(span)
            if error is not None:
                whole.pop("got", None)
            elif span is whole or model:
                got = got_of(span["kind"], result)
                if got is not None and not (isinstance(result, str) and "got" in whole):
                    whole["got"] = got
                usage = (getattr(result, "raw", None) or {}).get("usage")
                if usage:
                    whole["tokens"] = [usage["prompt_tokens"], usage["completion_tokens"]]
            if model and type(result).__name__ in {"generator", "async_generator"}:
                span["stream"] = now
            # What it gives is to be read yet.
            span["gives"] = bool(span["stream"]) or "Streaming" in type(result).__name__

    def told(self, name, event):
        """Something is told of a model: its stream's end, or all of a model without a span."""
        now = time.time_ns()
        span_id, response = event.span_id, getattr(event, "response", None)
        kind = "chat" if name.startswith("LLMChat") else "text_completion"
        with self.lock:
            span = self.spans.get(span_id)
            if not HAS_SPANS:
                self.old(name, kind, span, (now, event))
            elif span["stream"] and name.endswith("EndEvent"):
                self.streamed(self.whole(span), got_of(span["kind"], response))
                # The end of the outermost one is that of the last of its parts.
                while span:
                    span["end"] = now
                    span = self.spans.get(span["parent"]) if span["part"] else None

    def streamed(self, model, got):
        """What the stream of a model gave, and what those gave whose stream it is."""
        model["got"] = got
        above = self.spans.get(model["parent"])
        while above:
            if above.get("gives") and not above["part"]:
                above["got"] = got[0][1] if above["kind"] == "chain" else got
            above = self.spans.get(above["parent"])

    def read(self, text):
        """What somebody read who has the answer of a query engine, whose model nothing is around."""
        with self.lock:
            for span in self.spans.values():
                if span.get("gives") and not span["part"] and span["kind"] == "chain":
                    span.setdefault("got", text)

    def old(self, name, kind, span, told):
        """To 0.10.37: what the frames of the functions that tell events say, not what these say."""
        now, event = told
        frame = sys._getframe(3)
        while not frame.f_code.co_name.startswith("wrapped_"):
            frame = frame.f_back
        if name.endswith("StartEvent"):
            at, around = frame.f_back, {id(one): of for one, of, _ in self.asked}
            while at is not None and id(at) not in around:
                at = at.f_back
            if at is not None:
                return
            given = given_of(kind, vars(event))
            if span and span["kind"] in {"chat", "text_completion"} and not span["end"]:
                span.setdefault("given", given)
                self.asked.append((frame, span, kind))
                return
            open_ = [s for s in self.spans.values() if not s["end"] and s["where"] == where()]
            model = {
                "id": None,
                "parent": open_[-1]["id"] if open_ else None,
                "kind": kind,
                "name": None,
                "part": False,
                "start": now,
                "end": None,
                "error": None,
                "given": given,
            }
            self.models.append(model)
            self.asked.append((frame, model, kind))
        elif name.endswith("EndEvent"):
            for one, of, asked in self.asked:
                if asked != kind:
                    continue
                is_stream = frame.f_code.co_name == "wrapped_gen"
                if is_stream:
                    stream = one.f_locals.get("f_return_val")
                    found = stream is frame.f_locals["f_return_val"]
                else:
                    found = one is frame
                if not found:
                    continue
                if is_stream or of["id"] is None:
                    of["end"] = now
                    self.streamed(of, got_of(kind, event.response))
                usage = (event.response.raw or {}).get("usage")
                if usage:
                    of["tokens"] = [usage["prompt_tokens"], usage["completion_tokens"]]

    def failed(self, error):
        """A model without a span failed, the only one that is asked."""
        now = time.time_ns()
        for model in self.models:
            if not model["end"]:
                model["end"], model["error"] = now, type(error).__name__

    def all(self):
        hidden = ("instance", "method", "where", "stream")
        spans = [*self.spans.values(), *self.models]
        return [{k: v for k, v in span.items() if k not in hidden} for span in spans]


def where():
    """The thread, and the task."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident(), id(task) if task else 0


RECORD = Record()


class Spans(BaseSpanHandler):
    """Passes spans on."""

    def new_span(self, *_, **__):
        return None

    prepare_to_exit_span = prepare_to_drop_span = new_span

    def span_enter(self, id_, bound_args, instance=None, parent_id=None, **_):
        RECORD.begins(id_, instance, parent_id, bound_args.arguments)

    def span_exit(self, id_, bound_args, instance=None, result=None, **_):
        RECORD.ends(id_, result=result)

    def span_drop(self, id_, bound_args, instance=None, err=None, **_):
        RECORD.ends(id_, error=err)


class Events(BaseEventHandler):
    """Passes events of models on."""

    def handle(self, event, **_):
        name = type(event).__name__
        if name.startswith(("LLMChat", "LLMCompletion")):
            RECORD.told(name, event)


class Odd(Exception):
    """A class of our own."""


class Broken(MockLLM):
    """A model that fails."""

    @llm_chat_callback()
    def chat(self, messages, **_):
        raise Odd

    @llm_completion_callback()
    def complete(self, prompt, formatted=False, **_):
        raise Odd


class Paced(MockLLM):
    """A model that takes its time for each piece."""

    @llm_chat_callback()
    def stream_chat(self, messages, **_):
        def pieces():
            for count in range(1, 4):
                time.sleep(0.02)
                message = ChatMessage(role="assistant", content="word " * count)
                yield ChatResponse(message=message, delta="word ")

        return pieces()


class Speaks(MockLLM):
    """A model that says in all what its pieces are: those of `MockLLM` are one more."""

    @llm_completion_callback()
    def stream_complete(self, prompt, formatted=False, **_):
        def pieces():
            text = ""
            for piece in ("be", "cau", "se"):
                text += piece
                yield CompletionResponse(text=text, delta=piece)

        return pieces()


class Echo(MockLLM):
    """A model that says what it is asked, in pieces."""

    @llm_chat_callback()
    def stream_chat(self, messages, **_):
        def pieces():
            asked = messages[-1].content
            for count in range(1, 4):
                message = ChatMessage(role="assistant", content=asked * count)
                yield ChatResponse(message=message, delta=asked)

        return pieces()


class Counted(MockLLM):
    """A model that says how many tokens it took."""

    @llm_completion_callback()
    def complete(self, prompt, formatted=False, **_):
        raw = {"model": "counted-1", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
        return CompletionResponse(text="counted", raw=raw)


class Books(BaseRetriever):
    """A retriever of our own."""

    def _retrieve(self, query_bundle):
        if "fail" in query_bundle.query_str:
            raise KeyError("no such book")
        return RETRIEVER.retrieve(query_bundle)


def multiply(a: int, b: int) -> int:
    """Multiplies two numbers."""
    return a * b


def fail(a: int) -> int:
    """Fails."""
    raise Odd


Settings.llm = MODEL = MockLLM(max_tokens=5)
Settings.embed_model = MockEmbedding(embed_dim=4)
INDEX = VectorStoreIndex.from_documents([Document(text=f"text {n}") for n in range(3)])
RETRIEVER = INDEX.as_retriever()
ENGINE = INDEX.as_query_engine()
STREAMED = INDEX.as_query_engine(streaming=True, llm=Speaks())
MESSAGES = [ChatMessage(role="user", content="how are you")]
TOOL = FunctionTool.from_defaults(multiply)
HAS_SPANS = hasattr(FunctionTool.call, "__wrapped__")


def attempt(what, *arguments):
    try:
        what(*arguments)
    except Exception as error:
        RECORD.failed(error)


async def aattempt(coroutine):
    try:
        await coroutine
    except (Exception, asyncio.CancelledError) as error:
        RECORD.failed(error)


def query():
    VectorStoreIndex.from_documents([Document(text="more"), Document(text="and more")])
    ENGINE.query("what?")
    Books().retrieve("a book")
    TOOL.call(2, 3)
    TOOL(4, 5)
    INDEX.as_chat_engine(chat_mode="context").chat("hello")


def models():
    MODEL.chat(MESSAGES)
    MODEL.complete("hello")
    if HAS_SPANS:
        MODEL.complete(prompt="by name", formatted=True)
    MODEL.chat(MESSAGES)
    Counted().predict(PROMPT)


def stream():
    text = ""
    for piece in STREAMED.query("what?").response_gen:
        text += piece
        time.sleep(0.01)
    RECORD.read(text)
    for _ in MODEL.stream_chat(MESSAGES):
        time.sleep(0.01)
    for _ in MODEL.stream_complete("hello"):
        time.sleep(0.01)
    # Those that are asked for first are read last, and by turns.
    messages = [ChatMessage(role="user", content=f"{n} ") for n in range(4)]
    streams = [Echo().stream_chat([message]) for message in messages]
    for _ in zip(streams[3], streams[1]):
        time.sleep(0.005)
    for one in reversed(streams):
        for _ in one:
            time.sleep(0.005)
    # It asks the model before it returns; an engine for queries asks it when its answer is read.
    for _ in SimpleChatEngine.from_defaults(llm=Paced()).stream_chat("hello").response_gen:
        pass


async def later():
    await ENGINE.aquery("what?")
    await RETRIEVER.aretrieve("what?")
    await TOOL.acall(2, 3)
    await MODEL.achat(MESSAGES)
    await MODEL.acomplete("hello")
    if HAS_SPANS:
        # Before, its events do not tell it from the model's that it calls.
        async for _ in await MODEL.astream_chat(MESSAGES):
            await asyncio.sleep(0.01)
        text = ""
        async for piece in (await STREAMED.aquery("what?")).response_gen:
            text += piece
        RECORD.read(text)


async def crowd():
    async def one(number):
        await asyncio.sleep(0.001 * number)
        await ENGINE.aquery(f"what {number}?")

    await asyncio.gather(*(one(number) for number in range(8)))


def errors():
    attempt(Books().retrieve, "fail")
    attempt(Broken().predict, PROMPT)
    attempt(Broken().chat, MESSAGES)
    attempt(FunctionTool.from_defaults(fail).call, 1)
    attempt(INDEX.as_query_engine(llm=Broken()).query, "what?")

    async def abroken():
        await aattempt(Broken().achat(MESSAGES))
        slow = asyncio.create_task(Slow().acomplete("hello"))
        await asyncio.sleep(0.05)
        slow.cancel()
        await aattempt(slow)

    asyncio.run(abroken())


class Slow(MockLLM):
    """A model that takes its time."""

    @llm_completion_callback()
    async def acomplete(self, prompt, formatted=False, **_):
        await asyncio.sleep(10)


def threads():
    def work(number):
        for _ in range(3):
            ENGINE.query(f"what {number}?")
            MODEL.chat(MESSAGES)

    with ThreadPoolExecutor(4) as pool:
        for number in range(4):
            pool.submit(work, number)
    # What is done for a span in another thread belongs to it where the context goes along.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(contextvars.copy_context().run, RETRIEVER.retrieve, "what?").result()


def agent():
    from llama_index.core.agent import ReActAgent

    if hasattr(ReActAgent, "from_tools"):
        ReActAgent.from_tools([TOOL], llm=MODEL).chat("hello")
        return

    async def run():
        await ReActAgent(tools=[TOOL], llm=MODEL).run("hello")

    asyncio.run(run())


if Workflow:

    class Middle(Event):
        number: int

    class Flow(Workflow):
        """Two steps, the first of which works."""

        @step
        async def first(self, event: StartEvent) -> Middle:
            await MODEL.achat(MESSAGES)
            await ENGINE.aquery("what?")
            return Middle(number=1)

        @step
        async def second(self, event: Middle) -> StopEvent:
            if FAILS:
                raise Odd
            return StopEvent(result="done")


FAILS = False


def workflow():
    global FAILS
    if not Workflow:
        return

    async def run():
        await Flow(timeout=20).run()

    asyncio.run(run())
    FAILS = True
    attempt(asyncio.run, run())
    FAILS = False


def prompt():
    from llama_index.core import PromptTemplate

    return PromptTemplate("how are you")


PROMPT = prompt()
STEPS = {
    "query": query,
    "models": models,
    "stream": stream,
    "later": lambda: asyncio.run(later()),
    "crowd": lambda: asyncio.run(crowd()),
    "errors": errors,
    "threads": threads,
    "agent": agent,
    "workflow": workflow,
}


def main():
    root = get_dispatcher()
    handlers = [*root.span_handlers, Spans()], [*root.event_handlers, Events()]
    none = root.span_handlers, root.event_handlers
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        how, _, step_ = line.strip().rpartition(" ")
        RECORD.clear()
        root.span_handlers, root.event_handlers = none if how == "bare" else handlers
        STEPS[step_]()
        time.sleep(0.05)
        print(json.dumps(RECORD.all()), flush=True)


if __name__ == "__main__":
    main()
