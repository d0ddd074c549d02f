"""An ordinary program that uses the openai package. It knows nothing of being traced.

Where the provider is and which key to use come from OPENAI_BASE_URL and OPENAI_API_KEY, as always.
The last thing it does is to write down how many calls it made, if DEMO_REPORT names a file.
"""

import asyncio
import json
import os
import time

import openai

MODEL = "gpt-demo"
CALLS = []

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "examples": ["Hangzhou"]}},
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "The time at a place",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"type": "string", "examples": ["Asia/Shanghai"]}},
        },
    },
}


def user(text):
    return [{"role": "user", "content": text}]


def pace(chunks, delay_ms, first_delay_ms=200):
    """The stand-in reads this to take its time as a model does."""
    values = {"chunks": chunks, "delay_ms": delay_ms, "first_delay_ms": first_delay_ms}
    return {name: str(value) for name, value in values.items()}


def plain(client):
    CALLS.append("chat")
    client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": "Answer in one sentence."},
            {"role": "user", "content": "Why is the sky blue?"},
        ],
        temperature=0.2,
        max_tokens=100,
        metadata=pace(20, 0, 400),
    )


def streamed(client):
    CALLS.append("chat")
    stream = client.chat.completions.create(
        model=MODEL,
        messages=user("Tell me more about light, slowly."),
        stream=True,
        stream_options={"include_usage": True},
        metadata=pace(30, 40),
    )
    for _ in stream:
        pass


def tools(client):
    """Two tools at once, then the answer that uses what they gave."""
    CALLS.extend(["chat", "chat"])
    messages = user("What are the weather in Hangzhou and the time there?")
    first = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[WEATHER, CLOCK], metadata=pace(1, 0)
    )
    answer = first.choices[0].message
    messages.append(answer.model_dump(exclude_none=True, include={"role", "content", "tool_calls"}))
    for call in answer.tool_calls:
        result = "21 degrees, clear" if call.function.name == "get_weather" else "10:24"
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    text = "It is 21 degrees and clear in Hangzhou , and the time is 10:24 ."
    client.chat.completions.create(
        model=MODEL, messages=messages, tools=[WEATHER, CLOCK], metadata={"answer": text}
    )


def responses(client):
    CALLS.append("chat")
    client.responses.create(
        model=MODEL,
        instructions="Be brief.",
        input="And why is the sunset red?",
        reasoning={"effort": "low"},
        metadata=pace(12, 0, 300),
    )


def embedding(client):
    CALLS.append("embeddings")
    client.embeddings.create(model="embed-demo", input=["a blue sky", "a red sunset"])


def failing(client):
    CALLS.append("chat")
    try:
        client.chat.completions.create(model="error-404", messages=user("Are you there?"))
    except openai.NotFoundError:
        pass


def hang_up(client):
    """Reads a few chunks and has heard enough."""
    CALLS.append("chat")
    stream = client.chat.completions.create(
        model=MODEL, messages=user("Tell me everything."), stream=True, metadata=pace(200, 40)
    )
    for number, _ in enumerate(stream):
        if number == 8:
            stream.close()
            break


async def concurrent():
    """Three streams at a time, of different lengths."""
    async with openai.AsyncOpenAI() as client:

        async def one(question, chunks, delay):
            CALLS.append("chat")
            stream = await client.chat.completions.create(
                model=MODEL,
                messages=user(question),
                stream=True,
                stream_options={"include_usage": True},
                metadata=pace(chunks, delay),
            )
            async for _ in stream:
                pass

        await asyncio.gather(
            one("Name the colours of the rainbow.", 14, 60),
            one("What is a prism?", 24, 50),
            one("Who was first to say so?", 34, 40),
        )


def main():
    client = openai.OpenAI()
    for step in (plain, streamed, tools, responses, embedding, failing, hang_up):
        step(client)
        time.sleep(0.1)
    asyncio.run(concurrent())
    client.close()
    report = os.environ.get("DEMO_REPORT")
    if report:
        with open(report, "w") as file:
            json.dump({"calls": CALLS}, file)


if __name__ == "__main__":
    main()
