"""Runs of LangChain's `AgentExecutor`, with a record of its own made by a callback handler.

Reads names of steps from its standard input, as `langchain_runs.py` does, and answers as that.
"""

import asyncio

import langchain_runs
from langchain.agents import AgentExecutor, create_react_agent
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.prompts import PromptTemplate
from langchain_core.tools import tool


@tool
def weather(town: str) -> str:
    """The weather of a town."""
    return f"rain in {town}"


ANSWERS = [
    "Thought: I look.\nAction: weather\nAction Input: Bonn",
    "I know now.\nFinal Answer: rain",
]
prompt = PromptTemplate.from_template("{tools} {tool_names} Answer {input}. {agent_scratchpad}")


def executor():
    agent = create_react_agent(FakeListLLM(responses=ANSWERS), [weather], prompt)
    return AgentExecutor(agent=agent, tools=[weather])


langchain_runs.STEPS = {
    "agent": lambda config: executor().invoke({"input": "it"}, config),
    "awaited": lambda config: asyncio.run(executor().ainvoke({"input": "it"}, config)),
}

if __name__ == "__main__":
    langchain_runs.main()
