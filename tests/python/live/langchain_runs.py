"""Runs of LangChain in many ways, with a record of its own made by a callback handler.

Reads names of steps from its standard input; after each it prints what the handler was told, as one
line of JSON: a list of runs with id, parent, kind, name, times, and the class of what was raised. With
the times is how long the thread then did something else or nothing: see `Record.waits`. The collector of
garbage is something else: it runs when a thread has made many objects, whatever it is in.
A step with `bare ` before it is taken without any handler, and prints how many runs it has.
"""

import asyncio
import gc
import itertools
import json
import sys
import threading
import time

from langchain_core.callbacks import BaseCallbackHandler, CallbackManager
from langchain_core.documents import Document
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.language_models.fake_chat_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import GenerationChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import BaseTool, ToolException, tool


ROLES = {
    "human": "user",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "system": "system",
    "tool": "tool",
}


def shown(value):
    """What is inside of a value, as JSON."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, dict):
        return {key: shown(inside) for key, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(inside) for inside in value]
    slots = [key for of in type(value).__mro__ for key in getattr(of, "__slots__", ())]
    own = {key: getattr(value, key) for key in slots if not key.startswith("__") and hasattr(value, key)}
    return {key: shown(inside) for key, inside in {**own, **getattr(value, "__dict__", {})}.items()}


def message(given):
    """A message in the form of the conventions."""
    parts = [{"type": "text", "content": given.content}] if given.content else []
    if given.type == "tool":
        parts = [{"type": "tool_call_response", "id": given.tool_call_id, "response": given.content}]
    for call in getattr(given, "tool_calls", []):
        part = {"type": "tool_call", "id": call["id"], "name": call["name"], "arguments": call["args"]}
        parts.append(part)
    name = {"name": given.name} if given.name else {}
    return {"role": ROLES[given.type], "parts": parts, **name}


def answered(result):
    """What a model answered, and how many tokens it took."""
    all_of, told = [], {}
    for choice in result.generations[0]:
        said = getattr(choice, "message", None)
        made = message(said) if said is not None else None
        made = made or {"role": "assistant", "parts": [{"type": "text", "content": choice.text}]}
        metadata = getattr(said, "response_metadata", {})
        if metadata.get("finish_reason"):
            made["finish_reason"] = metadata["finish_reason"]
        all_of.append(made)
        usage = getattr(said, "usage_metadata", None) or {}
        told = {"tokens": [usage.get("input_tokens"), usage.get("output_tokens")], "answers": metadata.get("model_name")}
    return {"got": all_of, **told}


# How long each thread was at collecting garbage, in nanoseconds.
COLLECTED = threading.local()


def collects(phase, info):
    now = time.thread_time_ns()
    if phase == "start":
        COLLECTED.since = now
    else:
        COLLECTED.time = getattr(COLLECTED, "time", 0) + now - COLLECTED.since


gc.callbacks.append(collects)


def idle(stamps, at):
    """How long a thread did not run, or was at collecting garbage, between this time and the next that it
    was seen."""
    if at + 1 >= len(stamps):
        return 0
    (wall, cpu, _), (later, more, _) = stamps[at : at + 2]
    return max(0, (later - wall) - (more - cpu))


class Record(BaseCallbackHandler):
    """What LangChain says of its runs."""

    # Also in an event loop: in a thread it would be told late.
    run_inline = True

    def __init__(self):
        self.runs = {}
        self.above = {}
        self.lock = threading.Lock()
        self.own = threading.local()
        self.threads = []

    def stamp(self, run=None):
        """Remembers when a thread was here, and for which run. Gives its place."""
        now = time.time_ns()
        stamps = getattr(self.own, "stamps", None)
        if stamps is None:
            stamps = self.own.stamps = []
            self.threads.append(stamps)
        stamps.append((now, time.thread_time_ns() - getattr(COLLECTED, "time", 0), run))
        return stamps, len(stamps) - 1

    def begins(self, kind, serialized, more, given):
        at = self.stamp(more["run_id"])
        name = more.get("name") or (serialized or {}).get("name")
        if not name and (serialized or {}).get("id"):
            name = serialized["id"][-1]
        parent = more.get("parent_run_id")
        self.above[more["run_id"]] = parent
        with self.lock:
            self.runs[more["run_id"]] = {
                "id": str(more["run_id"]),
                "parent": str(parent) if parent else None,
                "kind": kind,
                "name": name,
                "start": at[0][at[1]][0],
                "began": at,
                "given": given,
                "model": more.get("invocation_params", {}).get("model"),
            }

    def ends(self, run_id, error=None, **more):
        run = self.runs[run_id]
        at = self.stamp(run_id)
        with self.lock:
            run["end"] = at[0][at[1]][0]
            run["ended"] = at
            run["error"] = type(error).__name__ if error is not None else None
            run.update(more)

    def is_part(self, one, run_id):
        """Whether a run is this one, or belongs to it."""
        while one is not None and one != run_id:
            one = self.above.get(one)
        return one is not None

    def waits(self):
        """The runs. Of each beginning and end how long its thread did not run between then and when it was
        here next; and before an end, how long it did not run, or was with others, since it was here for
        the same run."""
        for run_id, run in self.runs.items():
            stamps, at = run.pop("began")
            run["start_waited"] = idle(stamps, at)
            if "ended" not in run:
                continue
            stamps, at = run.pop("ended")
            run["end_waited"] = idle(stamps, at)
            before = at - 1
            while before >= 0 and stamps[before][2] != ANY and not self.is_part(stamps[before][2], run_id):
                before -= 1
            others = stamps[at - 1][0] - stamps[before][0] if before >= 0 else 0
            run["end_late"] = others + (idle(stamps, at - 1) if at else 0)
        return list(self.runs.values())

    def on_chain_start(self, serialized, inputs, **more):
        self.begins("chain", serialized, more, shown(inputs))

    def on_llm_start(self, serialized, prompts, **more):
        asked = [{"role": "user", "parts": [{"type": "text", "content": text}]} for text in prompts]
        self.begins("text_completion", serialized, more, asked)

    def on_chat_model_start(self, serialized, messages, **more):
        [own] = messages
        self.begins("chat", serialized, more, [message(one) for one in own])

    def on_tool_start(self, serialized, text, **more):
        self.begins("execute_tool", serialized, more, shown(more.get("inputs") or text))

    def on_retriever_start(self, serialized, query, **more):
        self.begins("retrieval", serialized, more, query)

    def on_chain_end(self, outputs, *, run_id, **_):
        self.ends(run_id, got=shown(outputs))

    def on_llm_end(self, response, *, run_id, **_):
        self.ends(run_id, **answered(response))

    def on_tool_end(self, output, *, run_id, **_):
        # What a model asked for is answered by a message.
        of_message = getattr(output, "type", "") == "tool"
        self.ends(run_id, got=shown(output.content if of_message else output), message=of_message)

    def on_retriever_end(self, documents, *, run_id, **_):
        self.ends(run_id, got=[{"content": one.page_content} for one in documents])

    def on_chain_error(self, error, *, run_id, **_):
        self.ends(run_id, error)

    on_llm_error = on_tool_error = on_retriever_error = on_chain_error


# The record of the step at hand.
RECORD = None


# In the place of a run: whoever waits for it.
ANY = "any"


def here():
    if RECORD:
        RECORD.stamp(ANY)


def pause(seconds):
    """Sleeps. That is no waiting that excuses anybody."""
    here()
    time.sleep(seconds)
    here()


async def apause(seconds):
    here()
    await asyncio.sleep(seconds)
    here()


class Odd(Exception):
    """A class of our own."""


class Books(BaseRetriever):
    """Finds what it is asked for."""

    fails: bool = False

    def _get_relevant_documents(self, query, *, run_manager):
        if self.fails:
            raise LookupError(query)
        return [Document(page_content=query)]


def fail(_):
    raise Odd("no")


@tool
def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


@tool
def broken(number: int) -> int:
    """Nothing."""
    raise KeyError(number)


@tool
def excused(number: int) -> int:
    """Says what is wrong."""
    raise ToolException(f"not {number}")


excused.handle_tool_error = True


@tool
def several(number: int) -> dict:
    """Some, in a dict."""
    return {"all": list(range(number)), "text": "Grüße", "none": None}


def by_hand(config):
    """Begins a run and tells its end, and gives something else: nothing."""
    manager = CallbackManager.configure(inheritable_callbacks=config.get("callbacks"))
    run = manager.on_tool_start({"name": "by_hand"}, "x")
    pause(0.001)
    run.on_tool_end("y")


@tool
async def waits(number: int) -> int:
    """The number, after a while."""
    await apause(0.001)
    return number


@tool
async def breaks(number: int) -> int:
    """Nothing, after a while."""
    await apause(0.001)
    raise KeyError(number)


class Slow(Books):
    """Finds it in an event loop."""

    async def _aget_relevant_documents(self, query, *, run_manager):
        await apause(0.001)
        return [Document(page_content=query)]


class Keeps(BaseTool):
    """Keeps what speaks for its run: nothing tells when that is over."""

    name: str = "keeps"
    description: str = "Keeps."

    def _run(self, number: int, run_manager=None) -> int:
        KEPT.append(run_manager)
        return number


KEPT = []


class Counting(GenericFakeChatModel):
    """Says what it is and how many tokens it took."""

    @property
    def _identifying_params(self):
        return {"model": "fake-1", "temperature": 0.5}


class Streams(FakeListLLM):
    """Says a text in pieces."""

    def _stream(self, prompt, stop=None, run_manager=None, **kwargs):
        for piece in ("ei", "ns, ", "zwei"):
            yield GenerationChunk(text=piece)


def counted():
    return AIMessage(
        content="viele",
        usage_metadata={"input_tokens": 11, "output_tokens": 7, "total_tokens": 18},
        response_metadata={"model_name": "fake-1-b", "finish_reason": "stop"},
    )


ANSWERS = ["eins", "zwei", "drei"] * 100
llm = FakeListLLM(responses=ANSWERS)
streams = Streams(responses=ANSWERS)
chat = FakeListChatModel(responses=ANSWERS)
counting = Counting(messages=itertools.cycle([counted()]))
chain = PromptTemplate.from_template("Say {x}.") | llm | StrOutputParser()
talk = ChatPromptTemplate.from_messages([("human", "Say {x}.")]) | chat | StrOutputParser()
named = RunnableLambda(lambda x: x["x"]).with_config(run_name="Grüße 你好 🦀")
both = RunnableParallel(one=chain, two=talk)
search = RunnableLambda(lambda x: x["x"]) | Books() | RunnableLambda(len)


def count(x, config):
    found = double.invoke({"number": 2}, config) + len(Books().invoke("q", config))
    # Whoever is late is late by more than anybody needs to tell.
    pause(0.02)
    return found


def keep(x, config):
    found = Keeps().invoke({"number": 2}, config)
    pause(0.02)
    return found


async def acount(x, config):
    found = await waits.ainvoke({"number": 2}, config) + len(await Slow().ainvoke("q", config))
    await apause(0.02)
    return found


async def aanswer(x, config):
    found = await llm.ainvoke("alone", config)
    await apause(0.02)
    return found


def answer(x, config):
    found = [llm.invoke("alone", config), chat.invoke("alone", config)]
    pause(0.02)
    return found


tooled = RunnableLambda(count) | RunnableLambda(lambda n: n + 1)
rescued = (RunnableLambda(fail) | llm).with_fallbacks([chain])
ASKED = {"x": "three"}


def attempt(call, *arguments):
    try:
        return call(*arguments)
    except (Odd, KeyError, LookupError):
        return None


async def aattempt(waited):
    try:
        return await waited
    except (Odd, KeyError, LookupError):
        return None


def plain(config):
    chain.invoke(ASKED, config)
    talk.invoke(ASKED, config)
    named.invoke(ASKED, config)
    llm.invoke("alone", config)
    chat.invoke("alone", config)
    counting.invoke("how many", config)


def batch(config):
    chain.batch([{"x": f"number {n}"} for n in range(4)], config)
    llm.batch(["first", "second", "third"], config)
    # Begun together, by one function.
    chat.generate([[HumanMessage("one")], [HumanMessage("two")]], callbacks=config.get("callbacks"))
    both.invoke(ASKED, config)


def tools(config):
    tooled.invoke(ASKED, config)
    search.invoke(ASKED, config)
    double.invoke({"number": 1}, config)
    excused.invoke({"number": 1}, config)
    several.invoke({"number": 3}, config)
    by_hand(config)
    RunnableLambda(keep).invoke(ASKED, config)
    RunnableLambda(answer).invoke(ASKED, config)
    chain.invoke(ASKED, config)


def stream(config):
    for _ in chain.stream(ASKED, config):
        pass
    for _ in talk.stream(ASKED, config):
        pass
    for _ in streams.stream("pieces", config):
        pass


def errors(config):
    attempt((RunnableLambda(lambda x: x) | RunnableLambda(fail)).invoke, ASKED, config)
    attempt((RunnableLambda(lambda x: {"number": 1}) | broken).invoke, ASKED, config)
    attempt((RunnableLambda(lambda x: "q") | Books(fails=True)).invoke, ASKED, config)
    rescued.invoke(ASKED, config)


async def later(config):
    await chain.ainvoke(ASKED, config)
    await talk.ainvoke(ASKED, config)
    await counting.ainvoke("how many", config)
    await both.ainvoke(ASKED, config)
    await chain.abatch([ASKED] * 3, config)
    await tooled.ainvoke(ASKED, config)
    await search.ainvoke(ASKED, config)
    await RunnableLambda(acount).ainvoke(ASKED, config)
    await RunnableLambda(aanswer).ainvoke(ASKED, config)
    await aattempt(breaks.ainvoke({"number": 2}, config))
    async for _ in chain.astream(ASKED, config):
        pass
    async for _ in talk.astream(ASKED, config):
        pass
    await aattempt((RunnableLambda(lambda x: x) | RunnableLambda(fail)).ainvoke(ASKED, config))


async def crowd(config):
    await asyncio.gather(*(one.ainvoke(ASKED, config) for one in [chain, talk] * 8))


STEPS = {
    "plain": plain,
    "batch": batch,
    "tools": tools,
    "stream": stream,
    "errors": errors,
    "later": lambda config: asyncio.run(later(config)),
    "crowd": lambda config: asyncio.run(crowd(config)),
}


def main():
    global RECORD
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        record = Record()
        how, _, step = line.strip().rpartition(" ")
        is_bare = how == "bare"
        RECORD = None if is_bare else record
        STEPS[step]({} if is_bare else {"callbacks": [record]})
        record.stamp()
        print(json.dumps(record.waits()), flush=True)


if __name__ == "__main__":
    main()
