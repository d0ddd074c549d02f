"""Runs of LangGraph in many ways, with a record of its own made by LangChain's callback handler.

Reads names of steps from its standard input, as `langchain_runs.py` does, and answers as that.
"""

import asyncio
import operator
import time
import warnings
from typing import Annotated, TypedDict

import langchain_runs
from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Send

with warnings.catch_warnings():
    # It is deprecated, and what many use.
    warnings.simplefilter("ignore")
    from langgraph.prebuilt import create_react_agent


@tool
def weather(town: str) -> str:
    """The weather of a town."""
    return f"rain in {town}"


@tool
def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


class Decides(BaseChatModel):
    """Asks for two tools, and answers when it has what they say."""

    @property
    def _llm_type(self):
        return "decides"

    def bind_tools(self, tools, **kwargs):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        if messages[-1].type == "human":
            calls = [
                {"name": "weather", "args": {"town": "Köln"}, "id": "call_1", "type": "tool_call"},
                {"name": "double", "args": {"number": 21}, "id": "call_2", "type": "tool_call"},
            ]
            said = AIMessage("", id="said-1", tool_calls=calls)
        else:
            said = AIMessage("Rain, and 42.", id="said-2")
        return ChatResult(generations=[ChatGeneration(message=said)])


class Counted(TypedDict):
    """What the nodes of a graph hand on."""

    number: int
    path: Annotated[list[str], operator.add]


def adds(name, more):
    """A node that adds to the number."""

    def node(state: Counted):
        return {"number": state["number"] + more, "path": [name]}

    return node


async def awaits(state: Counted):
    await langchain_runs.apause(0.001)
    return {"number": state["number"] + 1, "path": ["awaits"]}


def fails(state: Counted):
    raise langchain_runs.Odd("no")


def large(state: Counted):
    return "far" if state["number"] > 10 else "near"


def counting(first, name=None):
    """Three nodes, of which a condition takes one."""
    graph = StateGraph(Counted)
    graph.add_node("first", first)
    graph.add_node("near", adds("near", 1))
    graph.add_node("far", adds("far", 100))
    graph.add_node("last", adds("last", 1000))
    graph.add_edge(START, "first")
    graph.add_conditional_edges("first", large, ["near", "far"])
    graph.add_edge(["near"], "last")
    graph.add_edge("far", "last")
    graph.add_edge("last", END)
    return graph.compile(name=name)


def spread(name):
    """Nodes at one time: four of one, sent by a condition, and two by edges."""
    graph = StateGraph(Counted)
    graph.add_node("one", lambda state: {"path": ["one"]})
    graph.add_node("two", lambda state: {"path": ["two"]})
    graph.add_node("each", lambda state: {"path": [str(state["number"])]})
    graph.add_edge(START, "one")
    graph.add_edge(START, "two")
    graph.add_conditional_edges("one", lambda state: [Send("each", {"number": n, "path": []}) for n in range(4)])
    return graph.compile(name=name)


def nested():
    """A graph that is a node of another one, and one that a node calls."""
    within = counting(adds("first", 1), "within")

    def calls(state: Counted):
        return {"number": within.invoke({"number": 50, "path": []})["number"], "path": ["calls"]}

    graph = StateGraph(Counted)
    graph.add_node("inner", within)
    graph.add_node("calls", calls)
    graph.add_edge(START, "inner")
    graph.add_edge("inner", "calls")
    return graph.compile(name="outer")


def by_hand():
    """A model and a `ToolNode`, put together as the prebuilt agents are."""
    model = Decides()
    graph = StateGraph(MessagesState)
    graph.add_node("asks", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([weather, double]))
    graph.add_edge(START, "asks")
    graph.add_conditional_edges("asks", tools_condition)
    graph.add_edge("tools", "asks")
    return graph.compile(name="by hand")


plain = counting(adds("first", 1))
named = counting(adds("first", 20), "Zähler 🦀")
later = counting(awaits, "later")
failing = counting(fails, "failing")
wide = spread("wide")
outer = nested()
tooled = by_hand()
agent = create_agent(Decides(), [weather, double], system_prompt="Be brief.")
helper = create_agent(Decides(), [weather, double], name="helper")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    react = create_react_agent(Decides(), [weather, double], name="react")

COUNT = {"number": 1, "path": []}


def question():
    return {"messages": [HumanMessage("How is it?", id="asked")]}


def invoke(config):
    plain.invoke(COUNT, config)
    named.invoke(COUNT, config)
    outer.invoke(COUNT, config)


def at_once(config):
    wide.invoke(COUNT, config)


def models(config):
    tooled.invoke(question(), config)
    agent.invoke(question(), config)
    helper.invoke(question(), config)
    react.invoke(question(), config)


def stream(config):
    for _ in plain.stream(COUNT, config):
        pass
    for _ in outer.stream(COUNT, config, stream_mode=["values", "updates"], subgraphs=True):
        pass
    for _ in helper.stream(question(), config, stream_mode="updates"):
        pass


def errors(config):
    langchain_runs.attempt(failing.invoke, COUNT, config)


async def awaited(config):
    await plain.ainvoke(COUNT, config)
    await later.ainvoke(COUNT, config)
    await outer.ainvoke(COUNT, config)
    await wide.ainvoke(COUNT, config)
    await tooled.ainvoke(question(), config)
    await helper.ainvoke(question(), config)
    await react.ainvoke(question(), config)
    await langchain_runs.aattempt(failing.ainvoke(COUNT, config))
    async for _ in later.astream(COUNT, config):
        pass


langchain_runs.STEPS = {
    "invoke": invoke,
    "at_once": at_once,
    "models": models,
    "stream": stream,
    "failing": errors,
    "awaited": lambda config: asyncio.run(awaited(config)),
}

if __name__ == "__main__":
    langchain_runs.main()
